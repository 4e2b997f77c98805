"""U-Net (Ronneberger et al. 2015), Table II: with batch norm and padded convolutions, 31.04 M parameters at width 64."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn

from scoat_lib.blocks import BatchNorm, crop_like, h_r2, initialise, level_widths, pad_to_multiple


class UNet(nn.Module):
    """U-Net with five levels. Options, the default first:

    up: "transposed", a 2 × 2 transposed convolution as published, or "interpolated", an interpolation and a 3 × 3
        convolution with batch norm and ReLU (the variant quoted with 34.5 M parameters).

    forward(x (N, in_channels, H, W), H and W from 32) → logits (N, 1, H, W).
    """

    options: ClassVar[dict] = {"up": ("transposed", "interpolated")}

    def __init__(self, in_channels: int = 1, width: int = 64, up: str = "transposed", bias: bool = False):
        super().__init__()
        widths = level_widths(width)
        self.pool = nn.MaxPool2d(2)
        self.encoder = nn.ModuleList(h_r2(a, b, 3, bias) for a, b in zip((in_channels, *widths), widths, strict=False))
        pairs = list(zip(widths[::-1], widths[-2::-1], strict=False))  # (1024, 512) … (128, 64)
        self.up = nn.ModuleList(self.make_up(a, b, up) for a, b in pairs)
        self.decoder = nn.ModuleList(h_r2(2 * b, b, 3, bias) for _, b in pairs)
        self.head = nn.Conv2d(widths[0], 1, 1)
        initialise(self)

    @staticmethod
    def make_up(c_in: int, c_out: int, kind: str) -> nn.Module:
        """c_in channels to c_out at twice the size."""
        if kind == "transposed":
            return nn.ConvTranspose2d(c_in, c_out, 2, 2)
        interpolate = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
        return nn.Sequential(interpolate, nn.Conv2d(c_in, c_out, 3, padding=1), BatchNorm(c_out), nn.ReLU(inplace=True))

    def merge(self, level: int, skip: torch.Tensor, below: torch.Tensor) -> torch.Tensor:
        """What a decoder block sees: the skip and the up-sampled level below. Attention U-Net gates the skip here."""
        return torch.cat([skip, below], dim=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        height, width = x.shape[-2:]
        x = pad_to_multiple(x)
        skips = []
        for level, block in enumerate(self.encoder):
            x = block(self.pool(x) if level else x)
            skips.append(x)
        for level, (up, block) in enumerate(zip(self.up, self.decoder, strict=True)):
            x = block(self.merge(level, skips[-2 - level], up(x)))
        return crop_like(self.head(x), height, width)
