"""Chapters 1 to 6: data and network. The hidden tests of their exercises."""

from __future__ import annotations

import math

import numpy as np

from scoat_lib.exercises.core import Wrong, exercise, same


@exercise
def _to_grey(answer):
    hu = np.array([-2000.0, -1000.0, -500.0, 0.0, 3000.0])
    for low, high in ((-1250, 250), (-160, 240)):
        expected = [min(max((v - low) / (high - low), 0), 1) for v in hu]
        same(answer(hu, low, high), expected, f"to_grey with the window {low} … {high}")


@exercise
def _volume_cm3(answer):
    mask = np.zeros((4, 5, 6), bool)
    mask[1:3, 1:4, 2] = True
    same(answer(mask, (5.0, 0.7, 0.8)), 6 * 5.0 * 0.7 * 0.8 / 1000, "volume_cm3 of six voxels of 5 × 0.7 × 0.8 mm")
    same(answer(~mask, (1.0, 1.0, 1.0)), 114 / 1000, "volume_cm3 of 114 voxels of 1 mm³")


@exercise
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


@exercise
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


@exercise
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


@exercise
def _input_channels(answer):
    for width, i, j in ((64, 0, 1), (64, 3, 1), (8, 1, 3), (4, 0, 4)):
        same(answer(width, i, j), (j + 1) * width * 2**i, f"input_channels({width}, {i}, {j})")


@exercise
def _attention_map(answer):
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(3, 4, 4)), rng.normal(size=(3, 4, 4))
    summed = np.maximum(a, 0) + np.maximum(b, 0)
    expected = 1 / (1 + np.exp(-(summed.mean(0) - summed.mean())))
    same(answer(a, b), expected, "attention_map")


@exercise
def _attend(answer):
    rng = np.random.default_rng(2)
    x_M, up = rng.random((4, 4)), rng.normal(size=(3, 4, 4))
    same(answer(x_M, up), (1 + x_M) * up, "attend")


@exercise
def _squeeze(answer):
    x = np.random.default_rng(3).normal(size=(5, 3, 4))
    same(answer(x), [x[c].sum() / 12 for c in range(5)], "squeeze")


@exercise
def _excite(answer):
    rng = np.random.default_rng(4)
    x_g, w1, w2 = rng.normal(size=6), rng.normal(size=(2, 6)), rng.normal(size=(6, 2))
    inner = [max(0.0, sum(w1[k, c] * x_g[c] for c in range(6))) for k in range(2)]
    same(answer(x_g, w1, w2), [1 / (1 + math.exp(-sum(w2[c, k] * inner[k] for k in range(2)))) for c in range(6)], "excite")


@exercise
def _conv_parameters(answer):
    for k, i, o, bias in ((3, 1, 64, False), (1, 64, 1, True), (3, 128, 64, True), (1, 7, 5, False)):
        same(answer(k, i, o, bias), k * k * i * o + (o if bias else 0), f"conv_parameters({k}, {i}, {o}, {bias})")


@exercise
def _excitation_parameters(answer):
    for c_m, r in ((256, 16), (1024, 16), (8, 16), (384, 4)):
        same(answer(c_m, r), 2 * c_m * max(1, c_m // r), f"excitation_parameters({c_m}, {r})")


@exercise
def _hounsfield(answer):
    for mu, water, expected in ((0.19, 0.19, 0.0), (0.0, 0.19, -1000.0), (0.38, 0.19, 1000.0), (0.2, 0.25, -200.0)):
        same(answer(mu, water), expected, f"hounsfield({mu}, {water})", 1e-6)


@exercise
def _standardise(answer):
    train, test = [np.array([[0.0, 2.0]]), np.array([[4.0], [6.0]])], [np.array([[3.0, 13.0]])]
    got = answer([a.copy() for a in train], [a.copy() for a in test])
    if got is None or len(got) != 2:
        raise Wrong("standardise returns two lists")
    sd = math.sqrt(5)
    same(got[1][0], [[0.0, 10 / sd]], "the test array")
    same(got[0][0], [[-3 / sd, -1 / sd]], "the first training array")


@exercise
def _count_nodes(answer):
    for depth in (1, 2, 4, 5):
        nodes = [(i, j) for i in range(depth + 1) for j in range(depth + 1 - i)]
        extra = [(i, j) for i, j in nodes if j > 0 and i + j < depth]
        same(answer(depth), (len(nodes), len(extra)), f"count_nodes({depth})")


@exercise
def _spatial_parameters(answer):
    for c_skip, c_up, f in ((8, 8, 8), (128, 256, 1)):
        same(answer(c_skip, c_up, f), f * (c_skip + c_up) + 5 * f + 2, f"spatial_parameters({c_skip}, {c_up}, {f})")


@exercise
def _bottleneck(answer):
    for channels, r, inner in ((256, 16, 16), (24, 16, 1), (8, 16, 1), (96, 4, 24)):
        same(answer(channels, r), (inner, 2 * channels * inner), f"bottleneck({channels}, {r})")


@exercise
def _attention_nodes(answer):
    for depth, expected in ((2, [(1, 1)]), (4, [(1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (3, 1)])):
        same(answer(depth), expected, f"attention_nodes({depth})")
