"""DeepLabV3+ (Chen L.-C. et al. 2018), Table II: atrous spatial pyramid and a low-level branch, 45.7 M parameters."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn

from scoat_lib.blocks import BatchNorm, crop_like, h_r, initialise, pad_to_multiple, resize, round_up
from scoat_lib.networks.resnet import ENCODER_WEIGHTS, ResNet, load_imagenet

RATES = (6, 12, 18)  # at output stride 16


def separable(c_in: int, c_out: int, dilation: int = 1) -> nn.Sequential:
    """Depthwise 3 × 3, pointwise 1 × 1, batch norm, ReLU: the paper's atrous separable convolution."""
    return nn.Sequential(
        nn.Conv2d(c_in, c_in, 3, padding=dilation, dilation=dilation, groups=c_in, bias=False),
        nn.Conv2d(c_in, c_out, 1, bias=False),
        BatchNorm(c_out),
        nn.ReLU(inplace=True),
    )


class DeepLabV3Plus(nn.Module):
    """DeepLabV3+ with output stride 16 and separable convolutions in pyramid and decoder. Options, the default first:

    backbone: "resnet101", as in the paper's comparison (its best is an Xception), or "resnet50".
    encoder_weights: "random", or "imagenet" (width 64, needs torchvision).

    forward(x (N, in_channels, H, W), H and W from 32) → logits (N, 1, H, W).
    """

    options: ClassVar[dict] = {"backbone": ("resnet101", "resnet50"), "encoder_weights": ENCODER_WEIGHTS}

    def __init__(self, in_channels: int = 1, width: int = 64, backbone: str = "resnet101", encoder_weights: str = "random"):
        super().__init__()
        c, low = 4 * width, round_up(0.75 * width)  # 256 and 48
        self.encoder = ResNet(backbone, in_channels, width, stride=16)
        deep = self.encoder.channels[-1]
        self.pyramid = nn.ModuleList([h_r(deep, c), *(separable(deep, c, rate) for rate in RATES)])
        self.image_pooling = h_r(deep, c)
        self.project = nn.Sequential(*h_r(5 * c, c), nn.Dropout(0.5))
        self.low_level = h_r(self.encoder.channels[1], low)
        self.decoder = nn.Sequential(separable(c + low, c), separable(c, c))
        self.head = nn.Conv2d(c, 1, 1)
        initialise(self)
        if encoder_weights == "imagenet":
            load_imagenet(self.encoder, backbone)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        height, width = x.shape[-2:]
        padded = pad_to_multiple(x)
        maps = self.encoder(padded)
        low, deep = maps[1], maps[-1]
        whole = resize(self.image_pooling(deep.mean((2, 3), keepdim=True)), deep)
        context = self.project(torch.cat([*(layer(deep) for layer in self.pyramid), whole], 1))
        merged = self.decoder(torch.cat([resize(context, low), self.low_level(low)], 1))
        return crop_like(resize(self.head(merged), padded), height, width)
