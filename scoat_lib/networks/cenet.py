"""CE-Net (Gu et al. 2019), Table II: ResNet-34, dense atrous convolution (DAC), residual multi-kernel pooling (RMP)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional as F

from scoat_lib.blocks import BatchNorm, crop_like, h_r, initialise, level_widths, pad_to_multiple, resize, round_up
from scoat_lib.networks.resnet import ENCODER_WEIGHTS, ResNet, load_imagenet

POOLS = (2, 3, 5, 6)


class DAC(nn.Module):
    """Dense atrous convolution: four cascades of 3 × 3 with dilations 1, 3, 5 that share their layers, added to x."""

    def __init__(self, channels: int):
        super().__init__()
        self.dilated = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=d, dilation=d) for d in (1, 3, 5))
        self.pointwise = nn.Conv2d(channels, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        one, three, five = self.dilated
        first = one(x)
        second = three(first)
        chains = [first, self.pointwise(three(x)), self.pointwise(second), self.pointwise(five(second))]
        return x + sum(torch.relu(chain) for chain in chains)


class RMP(nn.Module):
    """Residual multi-kernel pooling: poolings of 2, 3, 5 and 6, each one channel, beside the map itself: C + 4.

    A map smaller than a pooling is pooled as a whole.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.pointwise = nn.Conv2d(channels, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        height, width = x.shape[-2:]
        pooled = [F.max_pool2d(x, (min(k, height), min(k, width))) for k in POOLS]
        return torch.cat([*(resize(self.pointwise(p), x) for p in pooled), x], 1)


def decoder(c_in: int, c_out: int) -> nn.Sequential:
    """1 × 1 to a quarter, transposed 3 × 3 to twice the size, 1 × 1 to c_out; batch norm and ReLU after each."""
    inner = max(1, c_in // 4)
    return nn.Sequential(
        *h_r(c_in, inner, bias=True),
        nn.ConvTranspose2d(inner, inner, 3, 2, 1, output_padding=1),
        BatchNorm(inner),
        nn.ReLU(inplace=True),
        *h_r(inner, c_out, bias=True),
    )


class CENet(nn.Module):
    """CE-Net as its authors released it. Option, the default first:

    encoder_weights: "random", or "imagenet" (width 64, needs torchvision), as the authors did.

    forward(x (N, in_channels, H, W), H and W from 32) → logits (N, 1, H, W).
    """

    options: ClassVar[dict] = {"encoder_weights": ENCODER_WEIGHTS}

    def __init__(self, in_channels: int = 1, width: int = 64, encoder_weights: str = "random"):
        super().__init__()
        w = level_widths(width)
        self.encoder = ResNet("resnet34", in_channels, width)
        self.context = nn.Sequential(DAC(w[3]), RMP(w[3]))
        self.decoder = nn.ModuleList([decoder(w[3] + 4, w[2]), decoder(w[2], w[1]), decoder(w[1], w[0]), decoder(w[0], w[0])])
        half = round_up(width / 2)
        self.head = nn.Sequential(
            nn.ConvTranspose2d(w[0], half, 4, 2, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(half, half, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(half, 1, 3, padding=1),
        )
        initialise(self)
        if encoder_weights == "imagenet":
            load_imagenet(self.encoder, "resnet34")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        height, width = x.shape[-2:]
        _, e1, e2, e3, e4 = self.encoder(pad_to_multiple(x, 32))
        d4, d3, d2, d1 = self.decoder
        y = d4(self.context(e4)) + e3
        y = d2(d3(y) + e2) + e1
        return crop_like(self.head(d1(y)), height, width)
