"""V1 of Table III: UNet++ with the attention module of the residual attention network at the six inner nodes."""

from __future__ import annotations

import torch
from torch import nn

from scoat_lib.attention import ResidualAttention
from scoat_lib.networks.unetpp import PlainNode, UNetPlusPlus


class ResidualAttentionNode(PlainNode):
    """A plain node and then the attention module on its output."""

    def __init__(self, depth: int, c_skips: list[int], c_down: int, c_out: int, *arguments):
        super().__init__(c_skips, c_down, c_out, *arguments)
        self.attention = ResidualAttention(c_out, depth)

    def forward(self, skips: list[torch.Tensor], below: torch.Tensor) -> torch.Tensor:
        y, _ = self.attention(super().forward(skips, below))
        return y


class UNetPPResidualAttention(UNetPlusPlus):
    """V1. Options: those of UNet++. The mask's depth is 3, 2, 1 at levels 1, 2, 3, as in the original's three stages.

    39.6 M parameters at width 64; the paper's 53.43 M are not reproduced: where and how it put the module is not said.
    """

    def make_node(self, i: int, j: int) -> nn.Module:
        """A node with the attention module where i ≥ 1, a plain one on the full-resolution row."""
        if i == 0:
            return super().make_node(i, j)
        c = self.widths[i]
        return ResidualAttentionNode(4 - i, [c] * j, self.widths[i + 1], c, *self.block_and_up)
