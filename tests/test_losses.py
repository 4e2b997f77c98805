"""losses.py: each against loops written from its formula, MONAI where it has the same, and a tiny net that it trains."""

import math

import numpy as np
import pytest
import torch
from monai.losses import DiceLoss, FocalLoss

from scoat_lib import losses

NAMES = losses.names()


def loops(name, logits, target, smooth=1.0, gamma=2.0, alpha=0.5):
    """Each loss from its formula, pixel by pixel."""
    p = [1 / (1 + math.exp(-v)) for v in logits]
    n = len(p)
    both = sum(a * y for a, y in zip(p, target, strict=True))
    bce = -sum(y * math.log(a) + (1 - y) * math.log(1 - a) for a, y in zip(p, target, strict=True)) / n
    dice = 1 - (2 * both + smooth) / (sum(y * y for y in target) + sum(a * a for a in p) + smooth)
    return {
        "mae": sum(abs(a - y) for a, y in zip(p, target, strict=True)) / n,
        "iou": 1 - (both + smooth) / (sum(target) + sum(p) - both + smooth),
        "bce": bce,
        "dice": dice,
        "focal": -sum((1 - q) ** gamma * math.log(q) for q in (a if y == 1 else 1 - a for a, y in zip(p, target, strict=True)))
        / n,
        "bce-dice": bce + alpha * dice,
    }[name]


@pytest.fixture
def pair(rng):
    logits = torch.from_numpy(rng.normal(0, 3, (3, 1, 4, 5)).astype(np.float32))
    return logits, torch.from_numpy((rng.random((3, 1, 4, 5)) > 0.6).astype(np.float32))


@pytest.mark.parametrize("name", NAMES)
def test_against_loops(name, pair):
    logits, target = pair
    expected = loops(name, logits.flatten().double().tolist(), target.flatten().tolist())
    assert losses.create(name)(logits, target).item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("name", ["dice", "iou"])
def test_per_sample_averages_the_slices(name, pair):
    logits, target = pair
    each = [loops(name, a.flatten().double().tolist(), y.flatten().tolist()) for a, y in zip(logits, target, strict=True)]
    assert losses.create(name, over="sample")(logits, target).item() == pytest.approx(np.mean(each), abs=1e-5)
    assert losses.create(name)(logits, target).item() != pytest.approx(np.mean(each), abs=1e-4)


# hand-made 2 × 2 slices: logits, target, and each loss to six digits, worked out from the formulas with smooth 1
HAND = [
    ([[0.0, 0.0], [0.0, 0.0]], [[1, 0], [0, 1]], {"mae": 0.5, "bce": 0.693147, "dice": 0.25, "iou": 0.5, "focal": 0.173287}),
    ([[50.0, -50.0], [-50.0, 50.0]], [[1, 0], [0, 1]], {"mae": 0.0, "bce": 0.0, "dice": 0.0, "iou": 0.0, "focal": 0.0}),
    ([[-50.0, 50.0], [50.0, -50.0]], [[1, 0], [0, 1]], {"mae": 1.0, "bce": 50.0, "dice": 0.8, "iou": 0.8, "focal": 50.0}),
    ([[-50.0, -50.0], [-50.0, -50.0]], [[0, 0], [0, 0]], {"mae": 0.0, "bce": 0.0, "dice": 0.0, "iou": 0.0, "focal": 0.0}),
    ([[50.0, -50.0], [-50.0, -50.0]], [[0, 0], [0, 0]], {"mae": 0.25, "bce": 12.5, "dice": 0.5, "iou": 0.5, "focal": 12.5}),
]


@pytest.mark.parametrize(("logits", "target", "expected"), HAND)
def test_by_hand(logits, target, expected):
    a, y = torch.tensor(logits)[None, None], torch.tensor(target, dtype=torch.float32)[None, None]
    for name, value in expected.items():
        assert losses.create(name)(a, y).item() == pytest.approx(value, abs=1e-6), name
    total = expected["bce"] + 0.5 * expected["dice"]
    assert losses.create("bce-dice")(a, y).item() == pytest.approx(total, abs=1e-5)


def test_against_monai(pair):
    logits, target = pair
    monai_dice = DiceLoss(sigmoid=True, squared_pred=True, batch=True, smooth_nr=1.0, smooth_dr=1.0)
    assert losses.create("dice")(logits, target).item() == pytest.approx(monai_dice(logits, target).item(), abs=1e-6)
    monai_iou = DiceLoss(sigmoid=True, jaccard=True, batch=True, smooth_nr=1.0, smooth_dr=1.0)
    # MONAI's Jaccard doubles numerator and denominator before it smooths
    ours = losses.create("iou", smooth=0.5)(logits, target).item()
    assert ours == pytest.approx(monai_iou(logits, target).item(), abs=1e-6)
    assert losses.create("focal")(logits, target).item() == pytest.approx(FocalLoss(gamma=2.0)(logits, target).item(), abs=1e-6)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("value", [-100.0, 100.0])
def test_finite_at_plus_and_minus_100(name, dtype, value):
    for truth in (0.0, 1.0):
        logits = torch.full((2, 1, 8, 8), value, dtype=dtype, requires_grad=True)
        loss = losses.create(name)(logits, torch.full((2, 1, 8, 8), truth))
        loss.backward()
        assert torch.isfinite(loss)
        assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("name", ["bce", "focal", "bce-dice"])
def test_a_confident_mistake_still_has_a_gradient(name):
    logits = torch.full((1, 1, 2, 2), -30.0, requires_grad=True)
    losses.create(name)(logits, torch.ones(1, 1, 2, 2)).backward()
    assert logits.grad.abs().min() > 0.05


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_the_derivatives(name):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 1, 2, 2, generator=generator)
    target = (torch.rand(2, 1, 2, 2, generator=generator) > 0.5).float()
    loss = losses.create(name)
    leaf = logits.clone().requires_grad_()
    loss(leaf, target).backward()
    for index in np.ndindex(2, 1, 2, 2):
        step = torch.zeros_like(logits)
        step[index] = 1e-2
        slope = (loss(logits + step, target) - loss(logits - step, target)).item() / 2e-2
        assert leaf.grad[index].item() == pytest.approx(slope, abs=2e-4)


@pytest.mark.parametrize("name", NAMES)
def test_each_trains_a_tiny_net(name):
    torch.manual_seed(0)
    image = torch.randn(4, 1, 16, 16)
    target = (torch.nn.functional.avg_pool2d(image, 3, 1, 1) > 0.2).float()
    net = torch.nn.Sequential(torch.nn.Conv2d(1, 8, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(8, 1, 1))
    optimiser = torch.optim.Adam(net.parameters(), 0.03)
    loss = losses.create(name)
    for _ in range(200):
        optimiser.zero_grad()
        value = loss(net(image), target)
        value.backward()
        optimiser.step()
    predicted = net(image) > 0
    dsc = 2 * (predicted & target.bool()).sum() / (predicted.sum() + target.sum())
    assert dsc > 0.85


@pytest.mark.parametrize("name", NAMES)
def test_good_is_better_than_bad(name):
    target = torch.zeros(2, 1, 8, 8)
    target[:, :, 2:5, 2:5] = 1
    good, bad = (target - 0.5) * 6, (0.5 - target) * 6
    assert losses.create(name)(good, target) < losses.create(name)(bad, target)


def test_summing_the_pixels_is_a_factor_of_their_number(pair):
    logits, target = pair
    mean, total = (losses.create("bce", pixels=p)(logits, target).item() for p in ("mean", "sum"))
    assert total == pytest.approx(20 * mean, rel=1e-5)


def test_alpha_weighs_the_dice_term(pair):
    logits, target = pair
    bce, dice = losses.create("bce")(logits, target), losses.create("dice")(logits, target)
    torch.testing.assert_close(losses.create("bce-dice", alpha=2.0)(logits, target), bce + 2 * dice)


@pytest.mark.parametrize(
    ("name", "options", "word"),
    [
        ("tversky", {}, "known: mae, iou"),
        ("mae", {"gamma": 1}, "known: none"),
        ("dice", {"over": "pixel"}, "known: batch, sample"),
        ("bce-dice", {"alpha": -1}, "a number from 0"),
    ],
)
def test_unknown_options_list_the_known(name, options, word):
    with pytest.raises(ValueError, match=word):
        losses.create(name, **options)


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="must be equal"):
        losses.create("bce")(torch.zeros(2, 1, 4, 4), torch.zeros(2, 4, 4))


@pytest.mark.parametrize("other", [(1, 1, 4, 8), (1, 1, 8, 4), (2, 1, 4, 4)])
def test_a_larger_or_smaller_target_is_refused_alike(other):
    for shapes in ((other, (1, 1, 4, 4)), ((1, 1, 4, 4), other)):
        with pytest.raises(ValueError, match="must be equal"):
            losses.create("bce")(*map(torch.zeros, shapes))
