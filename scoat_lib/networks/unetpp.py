"""UNet++ (Zhou et al. 2018), the network SCOAT-Net starts from: Tables II and III, and the topology of Figure 1.

A node X(i,j) has resolution level i (0 full, 4 coarsest) and position j along the skip pathway, i + j ≤ 4. It takes every
earlier node of its level and the up-sampled node below. Bilinear interpolation up, 2 × 2 max-pooling down.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from scoat_lib.blocks import (
    ResidualBlock,
    Up,
    crop_like,
    h_r2,
    initialise,
    level_widths,
    pad_to_multiple,
)

DEPTH = 4
OPTIONS = {
    "up": ("bilinear-1x1", "bilinear-1x1-early", "bilinear-1x1-bare", "bilinear"),
    "block": ("residual", "vgg"),
    "shortcut_norm": (True, False),
    "bias": (False, True),
    "align_corners": (False, True),
    "heads": ("separate", "shared"),
    "head_kernel": (1, 3),
    "deep_supervision": (True, False),
    "output": ("last", "mean-logits", "mean-probabilities"),
}


class PlainNode(nn.Module):
    """A node of UNet++: F_U of the node below, concatenation with the level's earlier nodes, one convolution block.

    forward(skips, each (N, c, H, W), below (N, c_down, h, w)) → (N, c_out, H, W).
    """

    def __init__(self, c_skips: list[int], c_down: int, c_out: int, make_block, up: str, bias: bool, align_corners: bool):
        super().__init__()
        self.up = Up(c_down, c_out, up, bias, align_corners)
        self.block = make_block(sum(c_skips) + self.up.out_channels, c_out)

    def forward(self, skips: list[torch.Tensor], below: torch.Tensor) -> torch.Tensor:
        return self.block(torch.cat([*skips, self.up(below, skips[-1].shape[-2:])], dim=1))


class UNetPlusPlus(nn.Module):
    """UNet++ with four levels of skip pathways and a head on each of X(0,1) … X(0,4).

    Options, each a reading the paper leaves open, the default first:
    up: "bilinear-1x1", a 1 × 1 convolution to the node's channels with batch norm after the interpolation,
        "bilinear-1x1-early", with batch norm before it, "bilinear-1x1-bare", with a bias and no batch norm, or
        "bilinear" alone, which keeps the coarser level's channels.
    block: "residual" (the paper's), or "vgg", two 3 × 3 convolutions without shortcut (Zhou et al. 2018).
    shortcut_norm: batch norm on the residual block's 1 × 1 shortcut.
    bias: False, or a bias in each convolution that batch norm follows.
    align_corners: whether F_U aligns the corners of the two grids.
    heads: "separate", one convolution per branch, or "shared", one for all four. head_kernel: theirs, 1 or 3.
    deep_supervision: in training mode return the four branches' logits, not the last one's only.
    output: in evaluation mode, the logits of X(0,4) ("last"), the mean of the four ("mean-logits"), or the logit of
        the mean of their probabilities ("mean-probabilities").

    forward(x (N, in_channels, H, W), H and W from 32) → logits (N, 1, H, W); a list of four in training mode.
    """

    options = OPTIONS

    def __init__(
        self,
        in_channels: int = 1,
        width: int = 64,
        up: str = "bilinear-1x1",
        block: str = "residual",
        shortcut_norm: bool = True,
        bias: bool = False,
        align_corners: bool = False,
        heads: str = "separate",
        head_kernel: int = 1,
        deep_supervision: bool = True,
        output: str = "last",
    ):
        super().__init__()
        self.widths = level_widths(width)
        self.up, self.bias, self.align_corners = up, bias, align_corners
        self.deep_supervision, self.output = deep_supervision, output

        def make_block(c_in: int, c_out: int) -> nn.Module:
            """The convolution block that `block` names."""
            return ResidualBlock(c_in, c_out, shortcut_norm, bias) if block == "residual" else h_r2(c_in, c_out, 3, bias)

        self.make_block = make_block
        self.block_and_up = (make_block, up, bias, align_corners)  # what every kind of node is made with
        self.pool = nn.MaxPool2d(2)
        self.nodes = nn.ModuleDict()
        for i, c in enumerate(self.widths):
            self.nodes[f"X({i},0)"] = make_block(in_channels if i == 0 else self.widths[i - 1], c)
        for j in range(1, DEPTH + 1):
            for i in range(DEPTH + 1 - j):
                self.nodes[f"X({i},{j})"] = self.make_node(i, j)

        def make_head() -> nn.Conv2d:
            """Features of the full-resolution row to one logit a pixel."""
            return nn.Conv2d(self.widths[0], 1, head_kernel, padding=head_kernel // 2)

        shared = make_head()
        branches = range(1, DEPTH + 1)
        self.heads = nn.ModuleList(shared if heads == "shared" else make_head() for _ in branches)
        initialise(self)

    def make_node(self, i: int, j: int) -> nn.Module:
        """The module at X(i,j), j ≥ 1; SCOAT-Net replaces it where i ≥ 1."""
        c = self.widths[i]
        return PlainNode([c] * j, self.widths[i + 1], c, *self.block_and_up)

    def features(self, x: torch.Tensor) -> list[torch.Tensor]:
        """X(0,1) … X(0,4) for an input whose sides are multiples of 16."""
        rows: list[list[torch.Tensor]] = []
        for i in range(DEPTH + 1):
            x = self.nodes[f"X({i},0)"](x if i == 0 else self.pool(x))
            rows.append([x])
        for j in range(1, DEPTH + 1):
            for i in range(DEPTH + 1 - j):
                rows[i].append(self.nodes[f"X({i},{j})"](rows[i], rows[i + 1][j - 1]))
        return rows[0][1:]

    def branches(self, x: torch.Tensor) -> list[torch.Tensor]:
        """The logits (N, 1, H, W) of all four branches, whatever the mode."""
        height, width = x.shape[-2:]
        features = self.features(pad_to_multiple(x))
        return [crop_like(head(f), height, width) for head, f in zip(self.heads, features, strict=True)]

    def forward(self, x: torch.Tensor) -> torch.Tensor | list[torch.Tensor]:
        if self.training and self.deep_supervision:
            return self.branches(x)
        if self.output == "last":
            height, width = x.shape[-2:]
            return crop_like(self.heads[-1](self.features(pad_to_multiple(x))[-1]), height, width)
        stacked = torch.stack(self.branches(x))
        if self.output == "mean-logits":
            return stacked.mean(0)
        # log(p / (1 − p)) of the mean probability, from log-sigmoids, so that ±100 stays finite
        log_p = torch.logsumexp(F.logsigmoid(stacked.float()), 0)
        return log_p - torch.logsumexp(F.logsigmoid(-stacked.float()), 0)
