"""Building blocks of section III: H_R, H_S, H_R², the residual block, F_U, and what small inputs and batches need."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F

LEVEL_FACTORS = (1, 2, 4, 8, 16)  # channels of levels 0..4 as multiples of the width; the paper's width is 64


class BatchNorm(nn.BatchNorm2d):
    """Batch normalisation that falls back on its running statistics where a batch holds one value per channel.

    torch refuses to normalise a single value in training; a 1 × 1 map of a batch of one then passes as in evaluation.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training and x.shape[0] * x.shape[2] * x.shape[3] == 1:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)
        return super().forward(x)


def conv_bn(
    c_in: int, c_out: int, kernel: int, bias: bool = False, stride: int = 1, dilation: int = 1, groups: int = 1
) -> list[nn.Module]:
    """A convolution that keeps H × W (divided by stride, rounded up), and its batch norm (which makes a bias redundant)."""
    padding = dilation * (kernel // 2)
    return [nn.Conv2d(c_in, c_out, kernel, stride, padding, dilation, groups, bias=bias), BatchNorm(c_out)]


def h_r(c_in: int, c_out: int, kernel: int = 1, bias: bool = False) -> nn.Sequential:
    """H_R: 1 × 1 convolution, batch norm, ReLU. (N, c_in, H, W) → (N, c_out, H, W)."""
    return nn.Sequential(*conv_bn(c_in, c_out, kernel, bias), nn.ReLU(inplace=True))


def h_s(c_in: int, bias: bool = False) -> nn.Sequential:
    """H_S: 1 × 1 convolution to one channel, batch norm, sigmoid. (N, c_in, H, W) → (N, 1, H, W) in 0..1."""
    return nn.Sequential(*conv_bn(c_in, 1, 1, bias), nn.Sigmoid())


def h_r2(c_in: int, c_out: int, kernel: int = 3, bias: bool = False) -> nn.Sequential:
    """H_R²: the two-layer convolution "for feature extraction" of equation 6; kernel 3 by default, 1 is H_R twice."""
    return nn.Sequential(*h_r(c_in, c_out, kernel, bias), *h_r(c_out, c_out, kernel, bias))


class ResidualBlock(nn.Module):
    """Two 3 × 3 convolutions with batch norm and a 1 × 1 shortcut over the whole input, added before the last ReLU.

    shortcut_norm: batch norm on the shortcut too (default), or a bare 1 × 1 convolution.
    """

    def __init__(self, c_in: int, c_out: int, shortcut_norm: bool = True, bias: bool = False):
        super().__init__()
        self.body = nn.Sequential(*conv_bn(c_in, c_out, 3, bias), nn.ReLU(inplace=True), *conv_bn(c_out, c_out, 3, bias))
        shortcut = conv_bn(c_in, c_out, 1, bias)
        self.shortcut = nn.Sequential(*(shortcut if shortcut_norm else shortcut[:1]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.body(x) + self.shortcut(x))


class Up(nn.Module):
    """F_U: bilinear interpolation to a given H × W, and what follows it.

    kind: "bilinear-1x1" adds a 1 × 1 convolution to c_out channels and its batch norm after the interpolation,
    "bilinear-1x1-early" the same with the batch norm before it, "bilinear-1x1-bare" a convolution with a bias and no batch
    norm, "bilinear" nothing (c_in channels stay). Equation 2 states C_u channels for x_s, which an interpolation alone cannot
    give; equation 1 puts H_R, and so its batch norm, around F_U: hence the first is the default.
    align_corners: whether the middles of the two maps' corner pixels fall on each other.
    """

    def __init__(self, c_in: int, c_out: int, kind: str = "bilinear-1x1", bias: bool = False, align_corners: bool = False):
        super().__init__()
        self.align_corners = align_corners
        self.out_channels = c_in if kind == "bilinear" else c_out
        self.early = kind == "bilinear-1x1-early"
        if kind == "bilinear":
            self.reduce = nn.Identity()
        elif kind == "bilinear-1x1-bare":
            self.reduce = nn.Conv2d(c_in, c_out, 1)
        else:
            self.reduce = nn.Sequential(*conv_bn(c_in, c_out, 1, bias))

    def forward(self, x: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        # A 1 × 1 convolution and an interpolation commute, and convolving the small map first costs a quarter. Batch norm and
        # an interpolation commute in evaluation only: the interpolated map has a smaller variance.
        if not isinstance(self.reduce, nn.Sequential):
            return self.enlarge(self.reduce(x), size)
        convolution, norm = self.reduce
        x = convolution(x)
        return self.enlarge(norm(x), size) if self.early else norm(self.enlarge(x, size))

    def enlarge(self, x: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        """The interpolation alone: (N, C, h, w) → (N, C, *size)."""
        return F.interpolate(x, size=size, mode="bilinear", align_corners=self.align_corners)


def pad_to_multiple(x: torch.Tensor, multiple: int = 16, least: int = 32) -> torch.Tensor:
    """Pad below and on the right, repeating the border, so that H and W are multiples and at least `least`.

    (N, C, H, W) → (N, C, H', W'). Undone by `crop_like`.
    """
    h, w = x.shape[-2:]
    bottom = max(least, -(-h // multiple) * multiple) - h
    right = max(least, -(-w // multiple) * multiple) - w
    return F.pad(x, (0, right, 0, bottom), mode="replicate") if bottom or right else x


def resize(x: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Bilinear interpolation of (N, C, h, w) to the H × W of another map."""
    return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)


def round_up(channels: float, multiple: int = 1) -> int:
    """The next multiple from a number of channels up, at least one: what a narrow network's groups need."""
    return max(1, math.ceil(channels / multiple)) * multiple


def crop_like(x: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Take back what `pad_to_multiple` added: the upper left height × width of each map."""
    return x[..., :height, :width]


def level_widths(width: int) -> tuple[int, ...]:
    """Channels of levels 0..4 for a width (64 gives 64, 128, 256, 512, 1024). ValueError below 1."""
    if width < 1:
        raise ValueError(f"width is {width}; it must be at least 1 (64 is the published network, 4 the narrowest tested)")
    return tuple(width * factor for factor in LEVEL_FACTORS)


def initialise(module: nn.Module) -> nn.Module:
    """He initialisation of every convolution, ones and zeros for every batch norm; in place, returns the module."""
    for layer in module.modules():
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return module
