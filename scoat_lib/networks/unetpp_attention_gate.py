"""V2 of Table III: UNet++ with Attention U-Net's gates on the skips into the six inner nodes."""

from __future__ import annotations

import torch
from torch import nn

from scoat_lib.attention import AttentionGate
from scoat_lib.networks.unetpp import OPTIONS, PlainNode, UNetPlusPlus

INNER = {"w/2": lambda c: max(1, c // 2), "w": lambda c: c, "2w": lambda c: 2 * c}


class GatedNode(PlainNode):
    """A plain node whose skips are gated by the up-sampled node below before they are concatenated."""

    def __init__(self, c_inner: int, c_skips: list[int], c_down: int, *arguments):
        super().__init__(c_skips, c_down, *arguments)
        self.gates = nn.ModuleList(AttentionGate(c, self.up.out_channels, c_inner) for c in c_skips)

    def forward(self, skips: list[torch.Tensor], below: torch.Tensor) -> torch.Tensor:
        up = self.up(below, skips[-1].shape[-2:])
        gated = [gate(skip, up)[0] for gate, skip in zip(self.gates, skips, strict=True)]
        return self.block(torch.cat([*gated, up], dim=1))


class UNetPPAttentionGate(UNetPlusPlus):
    """V2. Options: those of UNet++, and

    gate_channels: F_int, the channels in which skip and gating signal are compared, "w/2" (the 2-D Attention U-Net's),
        "w" or "2w" (w: the node's own).

    35.7 M parameters at width 64 (w/2), 36.3 M (w), 37.4 M (2w); the paper: 37.63 M.
    """

    options = OPTIONS | {"gate_channels": tuple(INNER)}

    def __init__(self, in_channels: int = 1, width: int = 64, gate_channels: str = "w/2", **options):
        self._inner = INNER[gate_channels]
        super().__init__(in_channels, width, **options)

    def make_node(self, i: int, j: int) -> nn.Module:
        """A gated node where i ≥ 1, a plain one on the full-resolution row."""
        if i == 0:
            return super().make_node(i, j)
        c = self.widths[i]
        return GatedNode(self._inner(c), [c] * j, self.widths[i + 1], c, *self.block_and_up)
