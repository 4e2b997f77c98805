"""Equations 1 to 6: where to look (a map over the slice), then what to look for (a weight per channel).

Below them the three rivals of Table III: the residual attention network's module, Attention U-Net's gate, pyramid attention.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from scoat_lib.blocks import BatchNorm, ResidualBlock, Up, conv_bn, h_r, h_r2, h_s, resize


class SpatialAttention(nn.Module):
    """Equations 1 and 2: a map x_M that raises the up-sampled coarser features where both levels agree.

    c_skip: channels of x(i,j), C_u. c_up: channels of F_U(x(i+1,j)). c_inner: F, the channels of the two H_R.
    relu: "each", H_R's own before the sum, as equation 1 is printed, or "sum", one after it, as in the authors' network.
    forward(skip (N, c_skip, H, W), up (N, c_up, H, W)) → x_s (N, c_up, H, W), x_M (N, 1, H, W) in 0..1.
    """

    def __init__(self, c_skip: int, c_up: int, c_inner: int, bias: bool = False, relu: str = "each"):
        super().__init__()
        taken = slice(None) if relu == "each" else slice(2)  # H_R whole, or its convolution and batch norm
        self.from_skip = h_r(c_skip, c_inner, bias=bias)[taken]
        self.from_up = h_r(c_up, c_inner, bias=bias)[taken]
        self.after = nn.Identity() if relu == "each" else nn.ReLU(inplace=True)
        self.to_map = h_s(c_inner, bias=bias)

    def forward(self, skip: torch.Tensor, up: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x_M = self.to_map(self.after(self.from_skip(skip) + self.from_up(up)))  # equation 1
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

    c_skips: channels of x(i,0) … x(i,j). c_down: channels of x(i+1,j). c_out: C_u. kernel: of H_R², or "residual" for a
    residual block over the weighted features in place of equation 6. The other arguments are options of
    `scoat_lib.networks.scoatnet`. With `keep_map` set, the last map stays in `x_M`, detached.
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
        kernel: int | str = 3,
        reduction: int = 16,
        bias: bool = False,
        relu: str = "each",
        align_corners: bool = False,
    ):
        super().__init__()
        self.up = Up(c_down, c_out, up, bias, align_corners)
        self.spatial = SpatialAttention(c_skips[-1], self.up.out_channels, c_inner, bias, relu)
        self.taken = len(c_skips) if skip_limit == "j" else len(c_skips) - 1
        c_m = sum(c_skips[: self.taken]) + self.up.out_channels
        self.channel = ChannelAttention(c_m, reduction)
        self.residual = kernel == "residual"
        if self.residual:
            self.extract = ResidualBlock(c_m, c_out, bias=bias)
        else:
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
        if self.residual:
            return self.extract(x_V * x_c)
        return self.extract(x_V * x_c) + self.shortcut(x_c)  # equation 6


class AttentionGate(nn.Module):
    """Attention U-Net's gate (Oktay et al. 2018): one coefficient a pixel, from the skip and a coarser gating signal.

    c_skip, c_gate: channels of the skip and of the gating signal, which has been brought to the skip's size.
    c_inner: F_int, the channels in which they are compared.
    forward(skip (N, c_skip, H, W), gate (N, c_gate, H, W)) → the skip times its map, and the map (N, 1, H, W) in 0..1.
    """

    def __init__(self, c_skip: int, c_gate: int, c_inner: int, bias: bool = True):
        super().__init__()
        self.from_skip = nn.Sequential(*conv_bn(c_skip, c_inner, 1, bias))
        self.from_gate = nn.Sequential(*conv_bn(c_gate, c_inner, 1, bias))
        self.to_map = h_s(c_inner, bias)

    def forward(self, skip: torch.Tensor, gate: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        coefficients = self.to_map(torch.relu(self.from_skip(skip) + self.from_gate(gate)))
        return coefficients * skip, coefficients


class PyramidAttention(nn.Module):
    """Pyramid attention (Wang W. et al. 2019): maps computed at several scales, brought back and averaged.

    channels: C. scales: how many, each half the size of the one before, from the full one.
    Each scale's map is a 3 × 3 convolution to one channel and a sigmoid (the original's is a softmax over the places).
    forward(x (N, C, H, W)) → (1 + mean map) · x, and the mean map (N, 1, H, W) in 0..1.
    """

    def __init__(self, channels: int, scales: int = 3):
        super().__init__()
        self.to_map = nn.ModuleList(nn.Conv2d(channels, 1, 3, padding=1) for _ in range(scales))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        maps, coarse = [], x
        for index, layer in enumerate(self.to_map):
            coarse = F.max_pool2d(coarse, 2, ceil_mode=True) if index else x
            maps.append(resize(torch.sigmoid(layer(coarse)), x))
        mean = torch.stack(maps).mean(0)
        return (1 + mean) * x, mean


class ResidualUnit(nn.Module):
    """A pre-activation bottleneck (He et al. 2016), the unit of the residual attention network: C → C/4 → C/4 → C."""

    def __init__(self, channels: int):
        super().__init__()
        inner = max(1, channels // 4)
        self.body = nn.Sequential(
            *_before(channels, inner, 1),
            *_before(inner, inner, 3),
            *_before(inner, channels, 1),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x)


def _before(c_in: int, c_out: int, kernel: int) -> list[nn.Module]:
    """Batch norm and ReLU before the convolution."""
    return [BatchNorm(c_in), nn.ReLU(inplace=True), nn.Conv2d(c_in, c_out, kernel, padding=kernel // 2, bias=False)]


class ResidualAttention(nn.Module):
    """The attention module of the residual attention network (Wang F. et al. 2017), p = 1, t = 2, r = 1.

    A trunk of t residual units beside a mask branch, an hourglass of `depth` poolings with skips; output (1 + M) · T.
    channels: C. depth: 3, 2, 1 in the original's three stages.
    forward(x (N, C, H, W)) → the output, same shape, and the mask M (N, C, H, W) in 0..1.
    """

    def __init__(self, channels: int, depth: int):
        super().__init__()

        def units(number: int) -> nn.Sequential:
            """So many residual units in a row."""
            return nn.Sequential(*[ResidualUnit(channels) for _ in range(number)])

        self.before, self.trunk, self.after = units(1), units(2), units(1)
        self.down = nn.ModuleList(units(1) for _ in range(depth - 1))
        self.bottom = units(2)
        self.skips = nn.ModuleList(units(1) for _ in range(depth - 1))
        self.up = nn.ModuleList(units(1) for _ in range(depth - 1))
        self.to_mask = nn.Sequential(*_before(channels, channels, 1), *_before(channels, channels, 1), nn.Sigmoid())

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.before(x)
        kept, m = [], x
        for down, skip in zip(self.down, self.skips, strict=True):
            m = down(_halve(m))
            kept.append(skip(m))
        m = self.bottom(_halve(m))
        for up, skip in zip(self.up, reversed(kept), strict=True):
            m = up(resize(m, skip) + skip)
        mask = self.to_mask(resize(m, x))
        return self.after((1 + mask) * self.trunk(x)), mask


def _halve(x: torch.Tensor) -> torch.Tensor:
    """The original's 3 × 3 max-pooling with stride 2."""
    return F.max_pool2d(x, 3, 2, 1)
