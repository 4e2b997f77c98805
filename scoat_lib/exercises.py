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


@_exercise
def _bootstrap_mean(answer):
    values = np.random.default_rng(1).normal(80, 6, 30)
    got = answer(values, 4000)
    if got is None or len(got) != 2:
        raise Wrong("bootstrap_mean returns two numbers, low and high")
    half = 1.96 * values.std() / math.sqrt(len(values))
    for end, expected in zip(got, (values.mean() - half, values.mean() + half), strict=True):
        if abs(end - expected) > 0.25 * half:
            raise Wrong(f"the interval is {float(got[0]):.2f} … {float(got[1]):.2f}, expected about {expected:.2f} at one end")


@_exercise
def _smallest_p(answer):
    for n, expected in ((5, 0.0625), (6, 0.03125), (10, 1 / 512)):
        _same(answer(n), expected, f"smallest_p({n})")


@_exercise
def _holm_correct(answer):
    cases = (
        ([0.01, 0.04, 0.03], [0.03, 0.06, 0.06]),
        ([0.5, 0.001], [0.5, 0.002]),
        ([0.9, 0.8, 0.7], [1.0, 1.0, 1.0]),
    )
    for p, expected in cases:
        _same(answer(list(p)), expected, f"holm_correct({p})")


@_exercise
def _mae_minimiser(answer):
    for share, expected in ((0.05, 0.0), (0.49, 0.0), (0.51, 1.0)):
        _same(answer(share), expected, f"mae_minimiser({share})")


@_exercise
def _dice_cut(answer):
    for chances in ([1.0, 1.0, 0.0], [0.9, 0.5, 0.4, 0.1], [0.3] * 10):
        total, q = sum(chances), sorted(chances)[::-1]
        best = max(2 * sum(q[:k]) / (k + total) for k in range(1, len(q) + 1))
        _same(answer(list(chances)), (best, best / 2), f"dice_cut({chances[:4]} …)")


@_exercise
def _focal_gradient(answer):
    def loss(z, gamma):
        q = 1 / (1 + math.exp(-z))
        return -((1 - q) ** gamma) * math.log(q)

    for q, gamma in ((0.2, 2.0), (0.7, 2.0), (0.5, 0.0), (0.9, 1.0)):
        z, h = math.log(q / (1 - q)), 1e-5
        numeric = (loss(z + h, gamma) - loss(z - h, gamma)) / (2 * h)
        _same(answer(q, gamma), numeric, f"focal_gradient({q}, {gamma})", 1e-5)


@_exercise
def _separable(answer):
    for c_in, c_out, k in ((8, 16, 3), (256, 256, 3), (3, 5, 1)):
        _same(answer(c_in, c_out, k), k * k * c_in + c_in * c_out, f"separable({c_in}, {c_out}, {k})")


@_exercise
def _receptive_field(answer):
    cases = (([(3, 1, 1)], 3), ([(3, 1, 1), (3, 1, 1)], 5), ([(3, 2, 1), (3, 1, 1)], 7), ([(3, 1, 6)], 13))
    for layers, expected in (*cases, ([(7, 2, 1), (3, 2, 1), (3, 1, 2)], 27)):
        _same(answer(layers), expected, f"receptive_field({layers})")


@_exercise
def _gridding(answer):
    for dilations, expected in (([1], 1.0), ([2], 3 / 5), ([2, 2], 5 / 9), ([1, 2, 3], 1.0), ([2, 4], 7 / 13)):
        _same(answer(dilations), expected, f"gridding({dilations})")


@_exercise
def _gate_by_hand(answer):
    for skip, signal in ((1.0, 0.0), (0.5, 2.0), (-1.0, -4.0)):
        expected = skip / (1 + math.exp(-(max(0.0, 2 * skip - signal) - 1)))
        _same(answer(skip, signal), expected, f"gate_by_hand({skip}, {signal})")


@_exercise
def _gate_parameters(answer):
    for c, f in ((8, 4), (128, 64)):
        _same(answer(c, f), 2 * c * f + 7 * f + 3, f"gate_parameters({c}, {f})")


@_exercise
def _pyramid_map(answer):
    x = np.random.default_rng(2).normal(0, 2, (8, 12))
    expected = np.zeros_like(x)
    for r in range(8):
        for c in range(12):
            for step in (1, 2, 4):
                block = x[r // step * step : (r // step + 1) * step, c // step * step : (c // step + 1) * step]
                expected[r, c] += 1 / (1 + math.exp(-block.max())) / 3
    _same(answer(x.copy()), expected, "pyramid_map of an 8 × 12 array")


@_exercise
def _area(answer):
    for m, expected in (
        (np.ones((4, 4)), 1.0),
        (np.eye(4), 0.25),
        (np.array([[1.0, 3.0]]), 0.8),
    ):
        _same(answer(m), expected, f"area of {m.tolist()}")


@_exercise
def _pointing_game(answer):
    maps = [np.array([[0.1, 0.9], [0.2, 0.3]]), np.array([[0.5, 0.4], [0.6, 0.1]]), np.ones((2, 2))]
    masks = [np.array([[0, 1], [0, 0]], bool), np.array([[1, 0], [0, 0]], bool), np.array([[1, 0], [0, 0]], bool)]
    _same(answer(maps, masks), 2 / 3, "pointing_game of three maps")


@_exercise
def _excess(answer):
    rng = np.random.default_rng(3)
    mask = rng.random((6, 6)) > 0.6
    trained = rng.random((6, 6)) + mask
    randoms = [rng.random((6, 6)) + 0.1 for _ in range(4)]
    ratios = [
        (sum(m[i, j] for i, j in np.argwhere(mask)) / mask.sum())
        / (sum(m[i, j] for i, j in np.argwhere(~mask)) / (~mask).sum())
        for m in (trained, *randoms)
    ]
    _same(answer(trained, randoms, mask), ratios[0] - sum(ratios[1:]) / 4, "excess")


@_exercise
def _lov(answer):
    mask = np.zeros((5, 5, 5))
    mask[1:3, 1:4, 2] = 1
    turn = np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]])
    for matrix in (np.diag([2.0, 2.0, 5.0]), np.diag([-0.7, -0.7, 1.0]), turn @ np.diag([2.0, 3.0, 4.0])):
        affine = np.eye(4)
        affine[:3, :3], affine[:3, 3] = matrix, (10, -20, 5)
        volume = np.linalg.norm(matrix[:, 0]) * np.linalg.norm(matrix[:, 1]) * np.linalg.norm(matrix[:, 2])
        _same(answer(mask, affine), 6 * volume / 1000, "lov of six voxels")


@_exercise
def _limits_of_agreement(answer):
    _same(answer([3.0, 5.0, 4.0], [1.0, 4.0, 4.0]), (1.0, 1 - 1.96, 1 + 1.96), "limits_of_agreement")


@_exercise
def _believable(answer):
    for s in (1.0, 12.5):
        _same(answer(s), 2.7718585822512662 * s, f"believable({s})")


@_exercise
def _cannot_be(answer):
    for row, expected in (
        ((85.74, 84.97, 83.52), True),
        ((87.73, 87.28, 87.93), True),
        ((89.48, 88.74, 90.64), False),
        ((80.0, 80.0, 80.0), False),
    ):
        _same(answer(*row), expected, f"cannot_be{row}")


@_exercise
def _decide(answer):
    cases = (
        ((1.5, 4.5, 3.0, 1.0, 9), "holds"),
        ((0.2, 1.4, 0.8, 1.0, 9), "undecided"),
        ((0.2, 0.9, 0.6, 1.0, 9), "does not hold"),
        ((-3.0, -0.5, -2.0, 1.0, 9), "does not hold"),
        ((1.5, 4.5, 3.0, 1.0, 4), "undecided"),
        ((-0.5, 3.0, 1.2, 1.0, 9), "undecided"),
    )
    for arguments, expected in cases:
        if answer(*arguments) != expected:
            raise Wrong(f"decide{arguments} gave {answer(*arguments)!r}, expected {expected!r}")


@_exercise
def _dsc_range(answer):
    for sen, ppv in ((0.9, 0.9), (0.8, 0.6), (0.3, 0.4)):
        _same(answer(sen, ppv), (max(0.0, sen + ppv - 1), 2 / (1 / sen + 1 / ppv)), f"dsc_range({sen}, {ppv})")


@_exercise
def _group_folds(answer):
    slices = [(f"p{i % 7}", i) for i in range(50)]
    folds = answer(list(slices), 3)
    if folds is None or len(folds) != 3:
        raise Wrong("group_folds returns k lists")
    if sorted(s for fold in folds for s in fold) != sorted(slices):
        raise Wrong("every slice must be in exactly one list")
    owners = [{p for p, _ in fold} for fold in folds]
    if sum(len(o) for o in owners) != 7:
        raise Wrong("a patient is in two lists")
    if max(map(len, owners)) - min(map(len, owners)) > 1:
        raise Wrong("the numbers of patients differ by more than one")


@_exercise
def _safe_dice(answer):
    one, other = np.array([[1, 1, 0]]), np.array([[0, 1, 0]])
    _same(answer(one, other), 2 / 3, "safe_dice of [1 1 0] and [0 1 0]")
    _same(answer(0 * one, 0 * one), 1.0, "safe_dice of two empty masks")
    for bad in ((one, 255 * other), (one * 0.5, other), (one, other[:, :2])):
        try:
            answer(*bad)
        except ValueError:
            continue
        raise Wrong("values other than 0 and 1, or different shapes, must raise ValueError")


@_exercise
def _inflation(answer):
    d = np.array([0.2, 0.1, 0.3])
    _same(answer([0.5, 0.6, 0.4], [0.7, 0.7, 0.7]), (d.mean(), 0.1 / math.sqrt(3)), "inflation")


@_exercise
def _calibration_error(answer):
    p, t = np.array([0.05, 0.05, 0.95, 0.95, 1.0]), np.array([0, 1, 1, 1, 0])
    _same(answer(p, t), 0.4 * 0.45 + 0.6 * abs(2.9 / 3 - 2 / 3), "calibration_error")


@_exercise
def _with_mirror(answer):
    x = np.arange(6.0).reshape(2, 3)

    def predict(a):
        return a * np.array([[1, 2, 4]])

    _same(answer(predict, x), [[0, 2, 5], [7.5, 8, 12.5]], "with_mirror")


@_exercise
def _best_threshold(answer):
    rng = np.random.default_rng(6)
    truths = [rng.random((6, 6)) > 0.6 for _ in range(4)]
    arrays = [np.clip(0.3 * t + 0.5 * rng.random(t.shape), 0, 1) for t in truths]
    candidates, expected = [0.2, 0.4, 0.6], []
    for left in range(4):
        means = []
        for cut in candidates:
            scores = []
            for p, t in ((arrays[i], truths[i]) for i in range(4) if i != left):
                a = p > cut
                scores.append(2 * (a & t).sum() / (a.sum() + t.sum()) if a.any() or t.any() else 1.0)
            means.append(sum(scores) / 3)
        expected.append(candidates[means.index(max(means))])
    _same(answer(arrays, truths, candidates), expected, "best_threshold of four patients")


@_exercise
def _hounsfield(answer):
    for mu, water, expected in ((0.19, 0.19, 0.0), (0.0, 0.19, -1000.0), (0.38, 0.19, 1000.0), (0.2, 0.25, -200.0)):
        _same(answer(mu, water), expected, f"hounsfield({mu}, {water})", 1e-6)


@_exercise
def _standardise(answer):
    train, test = [np.array([[0.0, 2.0]]), np.array([[4.0], [6.0]])], [np.array([[3.0, 13.0]])]
    got = answer([a.copy() for a in train], [a.copy() for a in test])
    if got is None or len(got) != 2:
        raise Wrong("standardise returns two lists")
    sd = math.sqrt(5)
    _same(got[1][0], [[0.0, 10 / sd]], "the test array")
    _same(got[0][0], [[-3 / sd, -1 / sd]], "the first training array")


@_exercise
def _count_nodes(answer):
    for depth in (1, 2, 4, 5):
        nodes = [(i, j) for i in range(depth + 1) for j in range(depth + 1 - i)]
        extra = [(i, j) for i, j in nodes if j > 0 and i + j < depth]
        _same(answer(depth), (len(nodes), len(extra)), f"count_nodes({depth})")


@_exercise
def _spatial_parameters(answer):
    for c_skip, c_up, f in ((8, 8, 8), (128, 256, 1)):
        _same(answer(c_skip, c_up, f), f * (c_skip + c_up) + 5 * f + 2, f"spatial_parameters({c_skip}, {c_up}, {f})")


@_exercise
def _bottleneck(answer):
    for channels, r, inner in ((256, 16, 16), (24, 16, 1), (8, 16, 1), (96, 4, 24)):
        _same(answer(channels, r), (inner, 2 * channels * inner), f"bottleneck({channels}, {r})")


@_exercise
def _attention_nodes(answer):
    for depth, expected in ((2, [(1, 1)]), (4, [(1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (3, 1)])):
        _same(answer(depth), expected, f"attention_nodes({depth})")


@_exercise
def _iou_from_dsc(answer):
    for both, one, other in ((3, 2, 1), (5, 0, 0), (1, 9, 0)):
        dsc = 2 * both / (2 * both + one + other)
        _same(answer(dsc), both / (both + one + other), f"iou_from_dsc({dsc:.3f})")


@_exercise
def _volume_agreement(answer):
    a, b = np.zeros((4, 4), bool), np.zeros((4, 4), bool)
    a[0], b[3] = True, True
    _same(answer(a, b), 1.0, "volume_agreement of two equal rows")
    b[2] = True
    _same(answer(a, b), 1 - 2 * 4 / 12, "volume_agreement of 4 and 8 pixels")
    _same(answer(a & False, b & False), 1.0, "volume_agreement of two empty masks")


@_exercise
def _cosine_rate(answer):
    for t, expected in ((0.0, 0.0), (0.05, 0.5), (0.1, 1.0), (0.55, 0.505), (1.0, 0.01)):
        _same(answer(t, 1.0, 0.1, 0.01), expected, f"cosine_rate({t}, 1, 0.1, 0.01)")
