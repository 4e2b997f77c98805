"""ESPNetv2 (Mehta et al. 2019), Table II: extremely efficient spatial pyramids (EESP) of dilated depthwise convolutions."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional as F

from scoat_lib.blocks import BatchNorm, conv_bn, crop_like, initialise, pad_to_multiple, resize, round_up

BRANCHES = 4  # K
REACH = (13, 11, 9, 7)  # largest receptive field of an EESP at levels 2, 3, 4 and beyond
REPEATS = (3, 7)  # EESP units after the down-sampling to levels 3 and 4
POOLINGS = 4  # of the light pyramid pooling
GRAIN = BRANCHES * BRANCHES  # channels an EESP's output must be a multiple of


class NormAct(nn.Sequential):
    """Batch norm and PReLU."""

    def __init__(self, channels: int):
        super().__init__(BatchNorm(channels), nn.PReLU(channels))


def cbr(c_in: int, c_out: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution, batch norm, PReLU."""
    return nn.Sequential(*conv_bn(c_in, c_out, kernel, stride=stride, groups=groups), nn.PReLU(c_out))


class EESP(nn.Module):
    """Reduce by grouped 1 × 1, split into K dilated depthwise 3 × 3, fuse hierarchically, merge by grouped 1 × 1.

    c_out: a multiple of 16. reach: the largest receptive field, 3 + 2·branch, beyond which a branch falls back on 3.
    stride 2: the merged maps without activation, for `DownSampler`.
    """

    def __init__(self, c_in: int, c_out: int, reach: int, stride: int = 1):
        super().__init__()
        inner = c_out // BRANCHES
        self.residual = stride == 1 and c_in == c_out
        self.reduce = cbr(c_in, inner, 1, groups=BRANCHES)
        fields = sorted(f if f <= reach else 3 for f in (3 + 2 * k for k in range(BRANCHES)))
        self.branches = nn.ModuleList(
            nn.Conv2d(inner, inner, 3, stride, (f - 1) // 2, (f - 1) // 2, groups=inner, bias=False) for f in fields
        )
        self.fuse = NormAct(c_out)
        self.merge = nn.Sequential(*conv_bn(c_out, c_out, 1, groups=BRANCHES))
        self.act = nn.PReLU(c_out) if stride == 1 else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        reduced, sums = self.reduce(x), []
        for branch in self.branches:
            y = branch(reduced)
            sums.append(y + sums[-1] if sums else y)  # against the gridding of dilated convolutions
        merged = self.merge(self.fuse(torch.cat(sums, 1)))
        return self.act(merged + x if self.residual else merged)


class DownSampler(nn.Module):
    """Average pooling beside a strided EESP, plus the input slice shrunk to the same size ("input reinforcement")."""

    def __init__(self, c_in: int, c_out: int, reach: int, in_channels: int):
        super().__init__()
        self.eesp = EESP(c_in, c_out - c_in, reach, stride=2)
        self.reinforce = nn.Sequential(cbr(in_channels, in_channels, 3), *conv_bn(in_channels, c_out, 1))
        self.act = nn.PReLU(c_out)

    def forward(self, x: torch.Tensor, slices: torch.Tensor) -> torch.Tensor:
        pooled = _shrink(x)
        while slices.shape[-1] > pooled.shape[-1]:
            slices = _shrink(slices)
        return self.act(torch.cat([pooled, self.eesp(x)], 1) + self.reinforce(slices))


def _shrink(x: torch.Tensor) -> torch.Tensor:
    return F.avg_pool2d(x, 3, 2, 1)


class LightPyramidPooling(nn.Module):
    """Four poolings one after another, a depthwise 3 × 3 on each, brought back, concatenated, projected."""

    def __init__(self, channels: int):
        super().__init__()
        self.stages = nn.ModuleList(
            nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False) for _ in range(POOLINGS)
        )
        self.project = cbr(channels * (POOLINGS + 1), channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps, pooled = [x], x
        for stage in self.stages:
            pooled = _shrink(pooled)
            maps.append(resize(stage(pooled), x))
        return self.project(torch.cat(maps, 1))


class ESPNetv2(nn.Module):
    """ESPNetv2's segmentation network after the authors' release; width 64 is their scale s = 2.

    No options. The auxiliary output of level 3 is left out: every network here is trained on its output alone.
    forward(x (N, in_channels, H, W), H and W from 32) → logits (N, 1, H, W).
    """

    options: ClassVar[dict] = {}

    def __init__(self, in_channels: int = 1, width: int = 64):
        super().__init__()
        c = channels(width)
        self.level1 = cbr(in_channels, c[0], 3, stride=2)
        self.down2 = DownSampler(c[0], c[1], REACH[0], in_channels)
        self.down3 = DownSampler(c[1], c[2], REACH[1], in_channels)
        self.level3 = nn.Sequential(*[EESP(c[2], c[2], REACH[2]) for _ in range(REPEATS[0])])
        self.down4 = DownSampler(c[2], c[3], REACH[2], in_channels)
        self.level4 = nn.Sequential(*[EESP(c[3], c[3], REACH[3]) for _ in range(REPEATS[1])])
        self.from4 = cbr(c[3], c[2], 1)
        self.context = nn.Sequential(EESP(2 * c[2], c[2], 7), LightPyramidPooling(c[2]))
        self.project3 = nn.Sequential(nn.Dropout2d(0.2), nn.Conv2d(c[2], 1, 1, bias=False))
        self.act3 = NormAct(1)
        self.project2 = cbr(c[1] + 1, 1, 1)
        self.project1 = nn.Sequential(nn.Dropout2d(0.2), nn.Conv2d(c[0] + 1, 1, 1, bias=False))
        initialise(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        height, width = x.shape[-2:]
        slices = pad_to_multiple(x)
        level1 = self.level1(slices)
        level2 = self.down2(level1, slices)
        level3 = self.level3(self.down3(level2, slices))
        level4 = self.level4(self.down4(level3, slices))
        y = self.context(torch.cat([level3, resize(self.from4(level4), level3)], 1))
        y = resize(self.act3(self.project3(y)), level2)
        y = resize(self.project2(torch.cat([level2, y], 1)), level1)
        y = self.project1(torch.cat([level1, y], 1))
        return crop_like(resize(y, slices), height, width)


def channels(width: int) -> list[int]:
    """Channels of levels 1 to 4: 32, 128, 256, 512 at width 64, rounded up to what groups of four need below."""
    if width < 1:
        raise ValueError(f"width is {width}; it must be at least 1 (64 is the published network, 4 the narrowest tested)")
    c = [round_up(width / 2, GRAIN)]
    for factor in (2, 4, 8):
        c.append(max(round_up(factor * width, GRAIN), c[-1] + GRAIN))
    return c
