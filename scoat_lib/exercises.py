"""The hidden tests of the book's exercises. A chapter says `check("name", answer)`; the answer is told what it got wrong.

Each test is written from the formula and asks nothing of the package, so it can be read as a solution in disguise: try first.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

_CHECKS: dict[str, Callable] = {}


class Wrong(AssertionError):
    """An answer that is not right yet; its text is a hint."""


def names() -> tuple[str, ...]:
    """The exercises that have a test."""
    return tuple(_CHECKS)


def verify(name: str, answer: Callable) -> None:
    """Raise Wrong, with a hint, unless the answer is right. KeyError for an unknown exercise."""
    _CHECKS[name](answer)


def check(name: str, answer: Callable) -> None:
    """Print whether the answer is right, or what is still wrong with it."""
    try:
        verify(name, answer)
    except Wrong as hint:
        print(f"not yet: {hint}")
    except (TypeError, ValueError, IndexError, KeyError, AttributeError, ZeroDivisionError) as error:
        print(f"not yet: your code stopped with {type(error).__name__}: {error}")
    else:
        print("passed")


def _exercise(function: Callable) -> Callable:
    _CHECKS[function.__name__.removeprefix("_")] = function
    return function


def _same(got, expected, what: str, tolerance: float = 1e-6) -> None:
    if got is None or got is Ellipsis:
        raise Wrong(f"{what} returned nothing")
    got = np.asarray(got.detach() if hasattr(got, "detach") else got, float)
    expected = np.asarray(expected, float)
    if got.shape != expected.shape:
        raise Wrong(f"{what} has shape {got.shape}, expected {expected.shape}")
    if not np.allclose(got, expected, atol=tolerance, rtol=1e-5):
        shown = f"{got.round(4).tolist()}, expected {expected.round(4).tolist()}" if expected.size <= 4 else "other values"
        raise Wrong(f"{what} gave {shown}")


@_exercise
def _to_grey(answer):
    hu = np.array([-2000.0, -1000.0, -500.0, 0.0, 3000.0])
    for low, high in ((-1250, 250), (-160, 240)):
        expected = [min(max((v - low) / (high - low), 0), 1) for v in hu]
        _same(answer(hu, low, high), expected, f"to_grey with the window {low} … {high}")


@_exercise
def _volume_cm3(answer):
    mask = np.zeros((4, 5, 6), bool)
    mask[1:3, 1:4, 2] = True
    _same(answer(mask, (5.0, 0.7, 0.8)), 6 * 5.0 * 0.7 * 0.8 / 1000, "volume_cm3 of six voxels of 5 × 0.7 × 0.8 mm")
    _same(answer(~mask, (1.0, 1.0, 1.0)), 114 / 1000, "volume_cm3 of 114 voxels of 1 mm³")


@_exercise
def _leaks(answer):
    train = [("anna", 3), ("anna", 5), ("ben", 1), ("cleo", 9)]
    for test, expected in (
        ([("dora", 1)], set()),
        ([("anna", 4)], {"anna"}),
        ([("ben", 2), ("cleo", 1), ("emil", 0)], {"ben", "cleo"}),
    ):
        got = answer(train, test)
        if got is None or set(got) != expected:
            raise Wrong(f"leaks(…) gave {got} for the test slices {test}; patients on both sides are {expected or 'none'}")


@_exercise
def _deal(answer):
    names, burden = [f"p{i}" for i in range(10)], {f"p{i}": (i * 7) % 10 for i in range(10)}
    folds = answer(names, burden, 5)
    if folds is None or len(folds) != 5 or sorted(n for f in folds for n in f) != sorted(names):
        raise Wrong("deal must return 5 lists that hold every name exactly once")
    if any(len(f) != 2 for f in folds):
        raise Wrong("10 names in 5 folds are 2 each")
    ranked = sorted(names, key=burden.get)
    for start in (0, 5):
        hand = set(ranked[start : start + 5])
        if any(len(hand & set(f)) != 1 for f in folds):
            raise Wrong("each fold must get one of the five lightest and one of the five heaviest patients")


@_exercise
def _node_inputs(answer):
    for (i, j), expected in {
        (0, 1): ["X(0,0)", "X(1,0)"],
        (0, 4): ["X(0,0)", "X(0,1)", "X(0,2)", "X(0,3)", "X(1,3)"],
        (2, 2): ["X(2,0)", "X(2,1)", "X(3,1)"],
        (3, 1): ["X(3,0)", "X(4,0)"],
    }.items():
        got = answer(i, j)
        if got is None or list(got) != expected:
            raise Wrong(
                f"node_inputs({i}, {j}) gave {got}; first the level's earlier nodes, then the one below: {len(expected)} names"
            )


@_exercise
def _input_channels(answer):
    for width, i, j in ((64, 0, 1), (64, 3, 1), (8, 1, 3), (4, 0, 4)):
        _same(answer(width, i, j), (j + 1) * width * 2**i, f"input_channels({width}, {i}, {j})")


@_exercise
def _attention_map(answer):
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(3, 4, 4)), rng.normal(size=(3, 4, 4))
    summed = np.maximum(a, 0) + np.maximum(b, 0)
    expected = 1 / (1 + np.exp(-(summed.mean(0) - summed.mean())))
    _same(answer(a, b), expected, "attention_map")


@_exercise
def _attend(answer):
    rng = np.random.default_rng(2)
    x_M, up = rng.random((4, 4)), rng.normal(size=(3, 4, 4))
    _same(answer(x_M, up), (1 + x_M) * up, "attend")


@_exercise
def _squeeze(answer):
    x = np.random.default_rng(3).normal(size=(5, 3, 4))
    _same(answer(x), [x[c].sum() / 12 for c in range(5)], "squeeze")


@_exercise
def _excite(answer):
    rng = np.random.default_rng(4)
    x_g, w1, w2 = rng.normal(size=6), rng.normal(size=(2, 6)), rng.normal(size=(6, 2))
    inner = [max(0.0, sum(w1[k, c] * x_g[c] for c in range(6))) for k in range(2)]
    _same(answer(x_g, w1, w2), [1 / (1 + math.exp(-sum(w2[c, k] * inner[k] for k in range(2)))) for c in range(6)], "excite")


@_exercise
def _conv_parameters(answer):
    for k, i, o, bias in ((3, 1, 64, False), (1, 64, 1, True), (3, 128, 64, True), (1, 7, 5, False)):
        _same(answer(k, i, o, bias), k * k * i * o + (o if bias else 0), f"conv_parameters({k}, {i}, {o}, {bias})")


@_exercise
def _excitation_parameters(answer):
    for c_m, r in ((256, 16), (1024, 16), (8, 16), (384, 4)):
        _same(answer(c_m, r), 2 * c_m * max(1, c_m // r), f"excitation_parameters({c_m}, {r})")


@_exercise
def _dice_loss(answer):
    rng = np.random.default_rng(5)
    p, y = rng.random((4, 4)), (rng.random((4, 4)) > 0.5).astype(float)
    _same(answer(p, y, 1.0), 1 - (2 * (p * y).sum() + 1) / ((p * p).sum() + (y * y).sum() + 1), "dice_loss")
    zeros = np.zeros((4, 4))
    _same(answer(zeros, zeros, 1.0), 0.0, "dice_loss of nothing against nothing")


@_exercise
def _stable_bce(answer):
    for z, y in ((0.3, 1), (-2.0, 0), (5.0, 0), (-4.0, 1)):
        p = 1 / (1 + math.exp(-z))
        _same(answer(z, y), -(y * math.log(p) + (1 - y) * math.log(1 - p)), f"stable_bce({z}, {y})")
    for z, y, expected in ((1000.0, 0, 1000.0), (-1000.0, 1, 1000.0), (1000.0, 1, 0.0)):
        got = answer(z, y)
        if got is None or not np.isfinite(got) or abs(float(got) - expected) > 1e-6:
            raise Wrong(f"stable_bce({z:g}, {y}) gave {got}, expected {expected:g}")


@_exercise
def _dsc_from(answer):
    for sen, ppv in ((0.8, 0.8), (1.0, 0.5), (0.3, 0.9)):
        _same(answer(sen, ppv), 2 * sen * ppv / (sen + ppv), f"dsc_from({sen}, {ppv})")
    _same(answer(0.0, 0.0), 0.0, "dsc_from(0, 0)")


@_exercise
def _centre(answer):
    shapes = [
        [(0, 0)],
        [(0, c) for c in range(7)],
        [(r, 0) for r in range(5)] + [(0, c) for c in range(1, 6)] + [(4, c) for c in range(1, 6)],
        [(r, c) for r in range(4) for c in range(6)],
    ]
    for points in shapes:
        worst = [max((a - c) ** 2 + (b - d) ** 2 for c, d in points) for a, b in points]
        best = {p for p, w in zip(points, worst, strict=True) if w == min(worst)}
        got = answer(points)
        if got is None or tuple(map(int, got)) not in best:
            raise Wrong(
                f"centre of the {len(points)} points from {points[0]} to {points[-1]} gave {got}, not one of {sorted(best)}"
            )


@_exercise
def _papers_rate(answer):
    for epoch, restart, expected in (
        (0, None, 1e-2),
        (9, None, 1e-2),
        (10, None, 1e-3),
        (25, None, 1e-4),
        (30, 30, 1e-3),
        (45, 30, 1e-4),
    ):
        _same(answer(epoch, restart), expected, f"papers_rate({epoch}, {restart})", 1e-9)


@_exercise
def _steps(answer):
    for slices, batch, processes in ((100, 4, 1), (101, 4, 1), (1149, 4, 2), (3, 8, 1)):
        _same(
            answer(slices, batch, processes), math.ceil(slices / (batch * processes)), f"steps({slices}, {batch}, {processes})"
        )
