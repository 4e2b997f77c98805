"""ResNet encoders (He et al. 2016) of PSPNet, DeepLabV3+ and CE-Net, with torchvision's names, so that its weights fit."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from scoat_lib.blocks import conv_bn

LAYERS = {"resnet34": (3, 4, 6, 3), "resnet50": (3, 4, 6, 3), "resnet101": (3, 4, 23, 3)}
ENCODER_WEIGHTS = ("random", "imagenet")


class BasicBlock(nn.Module):
    """Two 3 × 3 convolutions with a shortcut."""

    expansion = 1

    def __init__(self, c_in: int, c: int, stride: int, dilation: int):
        super().__init__()
        self.conv1, self.bn1 = conv_bn(c_in, c, 3, stride=stride, dilation=dilation)
        self.conv2, self.bn2 = conv_bn(c, c, 3, dilation=dilation)
        self.downsample = _shortcut(c_in, c, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    """1 × 1, 3 × 3, 1 × 1 with a shortcut; the stride sits in the 3 × 3, as in torchvision."""

    expansion = 4

    def __init__(self, c_in: int, c: int, stride: int, dilation: int):
        super().__init__()
        self.conv1, self.bn1 = conv_bn(c_in, c, 1)
        self.conv2, self.bn2 = conv_bn(c, c, 3, stride=stride, dilation=dilation)
        self.conv3, self.bn3 = conv_bn(c, 4 * c, 1)
        self.downsample = _shortcut(c_in, 4 * c, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        y = self.bn3(self.conv3(torch.relu(self.bn2(self.conv2(y)))))
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


def _shortcut(c_in: int, c_out: int, stride: int) -> nn.Module | None:
    """A 1 × 1 convolution where channels or size change."""
    return nn.Sequential(*conv_bn(c_in, c_out, 1, stride=stride)) if stride != 1 or c_in != c_out else None


class ResNet(nn.Module):
    """The encoder without its classifier.

    backbone: "resnet34", "resnet50" or "resnet101". stride: 8, 16 or 32, the last map's; what the strides no longer
    do, dilation does. forward(x (N, C, H, W)) → the maps after the stem (stride 2) and the four stages.
    """

    def __init__(self, backbone: str, in_channels: int, width: int, stride: int = 32):
        super().__init__()
        block = BasicBlock if backbone == "resnet34" else Bottleneck
        self.conv1, self.bn1 = conv_bn(in_channels, width, 7, stride=2)
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.channels = [width]
        c_in, reached, dilation = width, 4, 1
        for stage, number in enumerate(LAYERS[backbone]):
            step, before = (2 if stage else 1), dilation
            if step == 2 and reached == stride:
                step, dilation = 1, 2 * dilation
            reached *= step
            c = width * 2**stage
            layers = []
            for index in range(number):
                # a dilated stage's first block still has the dilation of the stage before
                layers.append(block(c_in, c, step if index == 0 else 1, before if index == 0 else dilation))
                c_in = block.expansion * c
            setattr(self, f"layer{stage + 1}", nn.Sequential(*layers))
            self.channels.append(c_in)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        maps = [torch.relu(self.bn1(self.conv1(x)))]
        x = self.pool(maps[0])
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
            maps.append(x)
        return maps


def load_imagenet(encoder: nn.Module, backbone: str, names: Callable[[str], str | None] = lambda name: name) -> None:
    """Copy torchvision's ImageNet weights into an encoder of width 64; the first convolution sums over red, green, blue.

    names: torchvision's name → the encoder's, None for what it lacks (the classifier).
    Raises ValueError where torchvision is missing or the encoder is not as wide as the published one.
    """
    try:
        from torchvision import models
    except (ImportError, RuntimeError, OSError) as error:
        raise ValueError(f"encoder_weights='imagenet' needs torchvision, which cannot be imported here ({error})") from error
    published = getattr(models, backbone)(weights="IMAGENET1K_V1").state_dict()
    ours = encoder.state_dict()
    loaded = {names(name): value for name, value in published.items() if names(name) in ours}
    missing = sorted(set(ours) - set(loaded))
    if missing:
        raise ValueError(f"torchvision's {backbone} lacks {', '.join(missing[:3])}")
    for name, value in loaded.items():
        if value.ndim == 4 and value.shape[1] == 3 and ours[name].shape[1] == 1:
            loaded[name] = value.sum(1, keepdim=True)
        if loaded[name].shape != ours[name].shape:
            raise ValueError(
                f"encoder_weights='imagenet' needs width 64 and 1 or 3 channels: {name} is {tuple(ours[name].shape)}, "
                f"torchvision's {tuple(value.shape)}"
            )
    encoder.load_state_dict(loaded)
