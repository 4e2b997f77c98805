"""PSPNet (Zhao H. et al. 2017), Table II: a dilated ResNet-50 and a pyramid of pooled contexts, 46.6 M parameters."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional as F

from scoat_lib.blocks import conv_bn, crop_like, h_r, initialise, level_widths, pad_to_multiple, resize
from scoat_lib.networks.resnet import ENCODER_WEIGHTS, ResNet, load_imagenet

BINS = (1, 2, 3, 6)


class PSPNet(nn.Module):
    """PSPNet with output stride 8, bins 1-2-3-6, average pooling. Options, the default first:

    backbone: "resnet50", of the paper's ablations, or "resnet101".
    encoder_weights: "random", or "imagenet" (width 64, needs torchvision).
    The auxiliary loss on the fourth stage is left out: every network here is trained on its output alone.

    forward(x (N, in_channels, H, W), H and W from 32) → logits (N, 1, H, W).
    """

    options: ClassVar[dict] = {"backbone": ("resnet50", "resnet101"), "encoder_weights": ENCODER_WEIGHTS}

    def __init__(self, in_channels: int = 1, width: int = 64, backbone: str = "resnet50", encoder_weights: str = "random"):
        super().__init__()
        c = level_widths(width)[3]  # 512
        self.encoder = ResNet(backbone, in_channels, width, stride=8)
        deep = self.encoder.channels[-1]
        self.pyramid = nn.ModuleList(h_r(deep, c) for _ in BINS)
        self.head = nn.Sequential(
            *conv_bn(deep + len(BINS) * c, c, 3), nn.ReLU(inplace=True), nn.Dropout2d(0.1), nn.Conv2d(c, 1, 1)
        )
        initialise(self)
        if encoder_weights == "imagenet":
            load_imagenet(self.encoder, backbone)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        height, width = x.shape[-2:]
        padded = pad_to_multiple(x, 8)
        deep = self.encoder(padded)[-1]
        contexts = [resize(h(F.adaptive_avg_pool2d(deep, b)), deep) for b, h in zip(BINS, self.pyramid, strict=True)]
        return crop_like(resize(self.head(torch.cat([deep, *contexts], 1)), padded), height, width)
