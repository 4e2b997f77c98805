"""Equations 1 to 6: where to look (a map over the slice), then what to look for (a weight per channel)."""

from __future__ import annotations

import torch
from torch import nn

from scoat_lib.blocks import Up, h_r, h_r2, h_s


class SpatialAttention(nn.Module):
    """Equations 1 and 2: a map x_M that raises the up-sampled coarser features where both levels agree.

    c_skip: channels of x(i,j), C_u. c_up: channels of F_U(x(i+1,j)). c_inner: F, the channels of the two H_R.
    forward(skip (N, c_skip, H, W), up (N, c_up, H, W)) → x_s (N, c_up, H, W), x_M (N, 1, H, W) in 0..1.
    """

    def __init__(self, c_skip: int, c_up: int, c_inner: int, bias: bool = False):
        super().__init__()
        self.from_skip = h_r(c_skip, c_inner, bias=bias)
        self.from_up = h_r(c_up, c_inner, bias=bias)
        self.to_map = h_s(c_inner, bias=bias)

    def forward(self, skip: torch.Tensor, up: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x_M = self.to_map(self.from_skip(skip) + self.from_up(up))  # equation 1
        return (1 + x_M) * up, x_M  # equation 2


class ChannelAttention(nn.Module):
    """Equations 4 and 5, squeeze and excitation (Hu et al. 2018): one weight in 0..1 per channel of x_c.

    channels: C_m. reduction: r (the paper's is 16); the inner layer keeps at least one unit.
    forward(x_c (N, C_m, H, W)) → x_V (N, C_m, 1, 1).
    """

    def __init__(self, channels: int, reduction: int = 16):
        super().__init__()
        inner = max(1, channels // reduction)
        self.w1 = nn.Linear(channels, inner, bias=False)  # equation 5 prints no bias
        self.w2 = nn.Linear(inner, channels, bias=False)

    def forward(self, x_c: torch.Tensor) -> torch.Tensor:
        x_g = x_c.mean(dim=(2, 3))  # equation 4
        x_V = torch.sigmoid(self.w2(torch.relu(self.w1(x_g))))  # equation 5
        return x_V[:, :, None, None]


class AttentionNode(nn.Module):
    """One node X(i,j+1) with i, j+1 ≥ 1 of SCOAT-Net: equations 1 to 6 in order.

    c_skips: channels of x(i,0) … x(i,j). c_down: channels of x(i+1,j). c_out: C_u.
    The other arguments are options of `scoat_lib.networks.scoatnet`. With `keep_map` set, the
    last map stays in `x_M`, detached.
    forward(skips, below (N, c_down, h, w)) → (N, c_out, H, W).
    """

    def __init__(
        self,
        c_skips: list[int],
        c_down: int,
        c_out: int,
        c_inner: int,
        up: str = "bilinear-1x1",
        skip_limit: str = "j",
        kernel: int = 3,
        reduction: int = 16,
        bias: bool = False,
    ):
        super().__init__()
        self.up = Up(c_down, c_out, up, bias)
        self.spatial = SpatialAttention(c_skips[-1], self.up.out_channels, c_inner, bias)
        self.taken = len(c_skips) if skip_limit == "j" else len(c_skips) - 1
        c_m = sum(c_skips[: self.taken]) + self.up.out_channels
        self.channel = ChannelAttention(c_m, reduction)
        self.extract = h_r2(c_m, c_out, kernel, bias)
        self.shortcut = h_r(c_m, c_out, bias=bias)
        self.keep_map = False
        self.x_M: torch.Tensor | None = None

    def forward(self, skips: list[torch.Tensor], below: torch.Tensor) -> torch.Tensor:
        up = self.up(below, skips[-1].shape[-2:])
        x_s, x_M = self.spatial(skips[-1], up)  # equations 1 and 2
        if self.keep_map:
            self.x_M = x_M.detach()
        x_c = torch.cat([*skips[: self.taken], x_s], dim=1)  # equation 3
        x_V = self.channel(x_c)  # equations 4 and 5
        return self.extract(x_V * x_c) + self.shortcut(x_c)  # equation 6
