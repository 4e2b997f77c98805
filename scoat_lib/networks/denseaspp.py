"""DenseASPP (Yang M. et al. 2018), Table II: DenseNet-121 and densely connected dilated convolutions, 8.3 M parameters."""

from __future__ import annotations

import re
from collections import OrderedDict
from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional as F

from scoat_lib.blocks import BatchNorm, conv_bn, crop_like, initialise, pad_to_multiple, resize, round_up
from scoat_lib.networks.resnet import ENCODER_WEIGHTS, load_imagenet

BLOCKS = (6, 12, 24, 16)  # DenseNet-121 (Huang G. et al. 2017)
BLOCK_DILATIONS = (1, 1, 2, 4)  # output stride 8
RATES = (3, 6, 12, 18, 24)


class DenseLayer(nn.Module):
    """Batch norm, ReLU, 1 × 1 to 4 · growth; batch norm, ReLU, 3 × 3 to growth; appended to its input."""

    def __init__(self, c_in: int, growth: int, dilation: int):
        super().__init__()
        self.norm1, self.conv1 = BatchNorm(c_in), nn.Conv2d(c_in, 4 * growth, 1, bias=False)
        self.norm2 = BatchNorm(4 * growth)
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, padding=dilation, dilation=dilation, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        new = self.conv2(torch.relu(self.norm2(self.conv1(torch.relu(self.norm1(x))))))
        return torch.cat([x, new], 1)


def transition(c_in: int, c_out: int, pooled: bool) -> nn.Sequential:
    """Batch norm, ReLU, 1 × 1, and an average pooling where the map shrinks."""
    layers = [("norm", BatchNorm(c_in)), ("relu", nn.ReLU(inplace=True)), ("conv", nn.Conv2d(c_in, c_out, 1, bias=False))]
    return nn.Sequential(OrderedDict([*layers, ("pool", nn.AvgPool2d(2))] if pooled else layers))


class DenseASPPBlock(nn.Module):
    """One dilated convolution of the pyramid, from everything before it: 1 × 1 to c_inner, dilated 3 × 3 to c_out."""

    def __init__(self, c_in: int, c_inner: int, c_out: int, rate: int, normalise: bool):
        super().__init__()
        self.norm1 = BatchNorm(c_in) if normalise else nn.Identity()
        self.conv1, self.norm2 = conv_bn(c_in, c_inner, 1, bias=True)
        self.conv2 = nn.Conv2d(c_inner, c_out, 3, padding=rate, dilation=rate)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        new = self.conv2(torch.relu(self.norm2(self.conv1(torch.relu(self.norm1(x))))))
        return F.dropout2d(new, 0.1, self.training)


class DenseASPP(nn.Module):
    """DenseASPP on DenseNet-121, output stride 8, rates 3-6-12-18-24, after the authors' released configuration.

    Their batch norm keeps its averages almost fixed (momentum 0.0003), which suits weights from ImageNet; from random
    weights they would never arrive, so torch's 0.1 is used. Option, the default first:

    encoder_weights: "random", or "imagenet" (width 64, needs torchvision).

    forward(x (N, in_channels, H, W), H and W from 32) → logits (N, 1, H, W).
    """

    options: ClassVar[dict] = {"encoder_weights": ENCODER_WEIGHTS}

    def __init__(self, in_channels: int = 1, width: int = 64, encoder_weights: str = "random"):
        super().__init__()
        growth, c = round_up(width / 2), width
        self.features = nn.Sequential()
        self.features.conv0, self.features.norm0 = conv_bn(in_channels, width, 7, stride=2)
        self.features.add_module("relu0", nn.ReLU(inplace=True))
        self.features.add_module("pool0", nn.MaxPool2d(3, 2, 1))
        for index, (layers, dilation) in enumerate(zip(BLOCKS, BLOCK_DILATIONS, strict=True), start=1):
            block = nn.Sequential()
            for layer in range(layers):
                block.add_module(f"denselayer{layer + 1}", DenseLayer(c, growth, dilation))
                c += growth
            self.features.add_module(f"denseblock{index}", block)
            if index == 4:
                break
            self.features.add_module(f"transition{index}", transition(c, c // 2, pooled=index == 1))
            c //= 2
        if encoder_weights == "imagenet":
            load_imagenet(self.features, "densenet121", _torchvision_name)
        self.reduce = nn.Sequential(transition(c, c // 2, pooled=False), BatchNorm(c // 2))
        c //= 2
        self.pyramid = nn.ModuleList()
        for index, rate in enumerate(RATES):
            self.pyramid.append(DenseASPPBlock(c, 2 * width, width, rate, normalise=index > 0))
            c += width
        self.head = nn.Sequential(nn.Dropout2d(0.1), nn.Conv2d(c, 1, 1))
        initialise(self if encoder_weights == "random" else nn.ModuleList([self.reduce, self.pyramid, self.head]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        height, width = x.shape[-2:]
        padded = pad_to_multiple(x, 8)
        features = self.reduce(self.features(padded))
        for block in self.pyramid:
            features = torch.cat([block(features), features], 1)
        return crop_like(resize(self.head(features), padded), height, width)


def _torchvision_name(name: str) -> str | None:
    """features.denseblock1.denselayer1.norm.1.weight or …norm1.weight → denseblock1.denselayer1.norm1.weight."""
    if not name.startswith("features.") or name.startswith("features.norm5"):
        return None
    return re.sub(r"(norm|conv)\.([12])\.", r"\1\2.", name.removeprefix("features."))
