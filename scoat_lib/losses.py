"""The six losses of Table I on logits, equation 7 (BCE-Dice) among them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial

import torch
from torch.nn import functional as F

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def _prepare(logits: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Both as float32 (sums of 2.6 · 10⁵ bf16 pixels would lose them), after a check of their shapes."""
    if logits.shape != target.shape:
        raise ValueError(f"logits have shape {tuple(logits.shape)}, the target {tuple(target.shape)}; they must be equal")
    return logits.float(), target.float()


def _sums(*terms: torch.Tensor, over: str) -> list[torch.Tensor]:
    """Sum each (N, C, H, W) term over its pixels and channels, and over the batch too if `over` is "batch"."""
    return [t.sum() if over == "batch" else t.flatten(1).sum(1) for t in terms]


def mae(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Mean of |p − Y| over pixels and batch, p = sigmoid(logit) (Willmott & Matsuura 2005). Range 0..1."""
    logits, target = _prepare(logits, target)
    return (torch.sigmoid(logits) - target).abs().mean()


def iou(logits: torch.Tensor, target: torch.Tensor, over: str = "batch", smooth: float = 1.0) -> torch.Tensor:
    """1 − Σ(Y·p) / (ΣY + Σp − Σ(Y·p)), the soft Jaccard loss as in UNet 3+ (Huang et al. 2020). Range 0..1.

    over: "batch" sums over all slices of the batch, "sample" takes each slice's ratio and averages. smooth: see `dice`.
    """
    logits, target = _prepare(logits, target)
    p = torch.sigmoid(logits)
    both, y, p = _sums(target * p, target, p, over=over)
    return (1 - (both + smooth) / (y + p - both + smooth)).mean()


def bce(logits: torch.Tensor, target: torch.Tensor, pixels: str = "mean") -> torch.Tensor:
    """Binary cross-entropy, −[Y log p + (1−Y) log(1−p)], averaged over the batch: the first term of equation 7.

    pixels: "mean" (default) or "sum" over each slice's pixels. The paper does not say; at 512 × 512 the two differ by
    2.6 · 10⁵, and with "sum" the dice term of equation 7 has no weight left.
    """
    logits, target = _prepare(logits, target)
    each = F.binary_cross_entropy_with_logits(logits, target, reduction="none").flatten(1)
    return (each.sum(1) if pixels == "sum" else each.mean(1)).mean()


def dice(logits: torch.Tensor, target: torch.Tensor, over: str = "batch", smooth: float = 1.0) -> torch.Tensor:
    """1 − 2 Σ(Y·p) / (ΣY² + Σp²) (Milletari et al. 2016). The paper prints it without the 1: the slope is the same.

    over: "batch" (default) sums over all slices of the batch, so a slice with a large lesion outweighs the others and a
        slice without lesion only adds its false positives. "sample" takes each slice's ratio and averages: every slice
        weighs the same, and on one without lesion the ratio is smooth / (Σp² + smooth), which pulls hard on the last
        false pixels.
    smooth: added above and below, so that 0/0 becomes 1 (loss 0). Range 0..1.
    """
    logits, target = _prepare(logits, target)
    p = torch.sigmoid(logits)
    both, y, p = _sums(target * p, target * target, p * p, over=over)
    return (1 - (2 * both + smooth) / (y + p + smooth)).mean()


def focal(logits: torch.Tensor, target: torch.Tensor, gamma: float = 2.0) -> torch.Tensor:
    """Mean of −(1 − p_t)^γ log p_t, p_t the probability given to the true class (Lin et al. 2017), without class weight."""
    logits, target = _prepare(logits, target)
    cross_entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    # 1 − p_t from the logit itself, not as 1 − exp(−cross_entropy), which rounds to 0 for confident pixels
    missing = torch.sigmoid(logits * (1 - 2 * target))
    return (missing**gamma * cross_entropy).mean()


def bce_dice(
    logits: torch.Tensor,
    target: torch.Tensor,
    alpha: float = 0.5,
    over: str = "batch",
    smooth: float = 1.0,
    pixels: str = "mean",
) -> torch.Tensor:
    """Equation 7: L_bce + α · L_dice, α = 0.5 in the paper. Options of `bce` and `dice`."""
    return bce(logits, target, pixels) + alpha * dice(logits, target, over, smooth)


_LOSSES: dict[str, Loss] = {"mae": mae, "iou": iou, "bce": bce, "dice": dice, "focal": focal, "bce-dice": bce_dice}
_CHOICES = {"over": ("batch", "sample"), "pixels": ("mean", "sum")}


def names() -> tuple[str, ...]:
    """The losses that `create` knows, in the order of Table I."""
    return tuple(_LOSSES)


def create(name: str, **options) -> Loss:
    """A loss by name: callable(logits, target), both of one shape (N, 1, H, W), target in 0..1 → scalar tensor.

    Finite for logits up to ±100 and beyond; bf16 and fp16 inputs are computed in float32.
    Raises ValueError for an unknown name, option or value, and lists the known ones.
    """
    if name not in _LOSSES:
        raise ValueError(f"unknown loss {name!r}; known: {', '.join(names())}")
    known = list(inspect.signature(_LOSSES[name]).parameters)[2:]
    for key, value in options.items():
        if key not in known:
            raise ValueError(f"loss {name} has no option {key!r}; known: {', '.join(known) or 'none'}")
        if key in _CHOICES:
            if value not in _CHOICES[key]:
                raise ValueError(f"option {key} of loss {name} is {value!r}; known: {', '.join(_CHOICES[key])}")
        elif not isinstance(value, (int, float)) or isinstance(value, bool) or value < 0:
            raise ValueError(f"option {key} of loss {name} is {value!r}; it must be a number from 0")
    return partial(_LOSSES[name], **options)
