"""Attention U-Net (Oktay et al. 2018), Table II: U-Net with a gate on each skip, 34.88 M parameters at width 64."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn

from scoat_lib.attention import AttentionGate
from scoat_lib.blocks import initialise, level_widths
from scoat_lib.networks.unet import UNet


class AttentionUNet(UNet):
    """Attention U-Net in its common 2-D form: interpolation and 3 × 3 convolution up, F_int half the skip's channels.

    The gating signal is the up-sampled level below (the paper of 2018 gates at the coarser grid; the 2-D form does not).
    No options. forward(x (N, in_channels, H, W), H and W from 32) → logits (N, 1, H, W).
    """

    options: ClassVar[dict] = {}

    def __init__(self, in_channels: int = 1, width: int = 64):
        super().__init__(in_channels, width, up="interpolated", bias=True)
        self.gates = nn.ModuleList(AttentionGate(c, c, max(1, c // 2)) for c in level_widths(width)[-2::-1])
        initialise(self.gates)

    def merge(self, level: int, skip: torch.Tensor, below: torch.Tensor) -> torch.Tensor:
        """The gated skip beside the level below."""
        gated, _ = self.gates[level](skip, below)
        return super().merge(level, gated, below)
