"""The networks of Tables II and III by name: `names()`, `create()`, and the attention maps of Figure 5."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from scoat_lib.attention import AttentionNode
from scoat_lib.networks.attention_unet import AttentionUNet
from scoat_lib.networks.cenet import CENet
from scoat_lib.networks.deeplabv3plus import DeepLabV3Plus
from scoat_lib.networks.denseaspp import DenseASPP
from scoat_lib.networks.espnetv2 import ESPNetv2
from scoat_lib.networks.pspnet import PSPNet
from scoat_lib.networks.scoatnet import SCOATNet
from scoat_lib.networks.unet import UNet
from scoat_lib.networks.unetpp import UNetPlusPlus
from scoat_lib.networks.unetpp_attention_gate import UNetPPAttentionGate
from scoat_lib.networks.unetpp_pyramid_attention import UNetPPPyramidAttention
from scoat_lib.networks.unetpp_residual_attention import UNetPPResidualAttention

_NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "scoatnet": SCOATNet,
    "unetpp": UNetPlusPlus,
    "unetpp-residual-attention": UNetPPResidualAttention,
    "unetpp-attention-gate": UNetPPAttentionGate,
    "unetpp-pyramid-attention": UNetPPPyramidAttention,
    "unet": UNet,
    "attention-unet": AttentionUNet,
    "pspnet": PSPNet,
    "espnetv2": ESPNetv2,
    "denseaspp": DenseASPP,
    "deeplabv3plus": DeepLabV3Plus,
    "cenet": CENet,
}


def names() -> tuple[str, ...]:
    """The networks that `create` knows."""
    return tuple(_NETWORKS)


def create(name: str, in_channels: int = 1, width: int = 64, **options) -> nn.Module:
    """A network with fresh weights, in torch's channels-last memory layout.

    name: one of `names()`. width: channels at full resolution (64 is the published network; 4 the narrowest tested).
    options: the readings of the paper by name, listed in the network class's docstring.
    The result maps (N, in_channels, H, W) to logits (N, 1, H, W), for any H, W from 32 and any N; in training mode a
    deeply supervised network returns the list of its four branches. `made_by` on it holds the call, for `weights.save`.
    Raises ValueError for an unknown name, option or value, and lists the known ones.
    """
    if name not in _NETWORKS:
        raise ValueError(f"unknown network {name!r}; known: {', '.join(names())}")
    if in_channels < 1:
        raise ValueError(f"in_channels is {in_channels}; a slice has at least one")
    network = _NETWORKS[name]
    for key, value in options.items():
        if key not in network.options:
            raise ValueError(f"{name} has no option {key!r}; known: {', '.join(network.options) or 'none'}")
        allowed = network.options[key]
        if allowed is int:
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(f"option {key} of {name} is {value!r}; it must be an integer from 1")
        elif value not in allowed:
            raise ValueError(f"option {key} of {name} is {value!r}; known: {', '.join(map(repr, allowed))}")
    model = network(in_channels, width, **options).to(memory_format=torch.channels_last)
    model.made_by = {"network": name, "in_channels": in_channels, "width": width, "options": options}
    return model


def parameters(model: nn.Module) -> int:
    """The number of trainable numbers in a network (batch norm's running statistics are not among them)."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


@torch.no_grad()
def attention_maps(model: nn.Module, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """The maps x_M of equation 1 for a batch x (N, C, H, W), by node: {"X(1,1)": (N, 1, h, w) in 0..1, …}.

    The model is left in the mode and on the device it was in; x goes there, and the maps come back on the CPU. Where the
    network padded x, so are the maps (h = padded H / 2^i). Raises ValueError for a network without such nodes.
    """
    nodes = {name: node for name, node in getattr(model, "nodes", {}).items() if isinstance(node, AttentionNode)}
    if not nodes:
        raise ValueError(f"{type(model).__name__} has no spatial attention nodes; only scoatnet has")
    was_training = model.training
    model.eval()
    try:
        for node in nodes.values():
            node.keep_map = True
        model(x.to(next(model.parameters()).device))
        return {name: node.x_M.cpu() for name, node in sorted(nodes.items())}
    finally:
        for node in nodes.values():
            node.keep_map, node.x_M = False, None
        model.train(was_training)
