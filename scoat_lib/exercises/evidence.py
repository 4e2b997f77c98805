"""Chapters 10 to 13: evidence. The hidden tests of their exercises."""

from __future__ import annotations

import math

import numpy as np

from scoat_lib.exercises.core import Wrong, exercise, same


@exercise
def _bootstrap_mean(answer):
    values = np.random.default_rng(1).normal(80, 6, 30)
    got = answer(values, 4000)
    if got is None or len(got) != 2:
        raise Wrong("bootstrap_mean returns two numbers, low and high")
    half = 1.96 * values.std() / math.sqrt(len(values))
    for end, expected in zip(got, (values.mean() - half, values.mean() + half), strict=True):
        if abs(end - expected) > 0.25 * half:
            raise Wrong(f"the interval is {float(got[0]):.2f} … {float(got[1]):.2f}, expected about {expected:.2f} at one end")


@exercise
def _smallest_p(answer):
    for n, expected in ((5, 0.0625), (6, 0.03125), (10, 1 / 512)):
        same(answer(n), expected, f"smallest_p({n})")


@exercise
def _holm_correct(answer):
    cases = (
        ([0.01, 0.04, 0.03], [0.03, 0.06, 0.06]),
        ([0.5, 0.001], [0.5, 0.002]),
        ([0.9, 0.8, 0.7], [1.0, 1.0, 1.0]),
    )
    for p, expected in cases:
        same(answer(list(p)), expected, f"holm_correct({p})")


@exercise
def _mae_minimiser(answer):
    for share, expected in ((0.05, 0.0), (0.49, 0.0), (0.51, 1.0)):
        same(answer(share), expected, f"mae_minimiser({share})")


@exercise
def _dice_cut(answer):
    for chances in ([1.0, 1.0, 0.0], [0.9, 0.5, 0.4, 0.1], [0.3] * 10):
        total, q = sum(chances), sorted(chances)[::-1]
        best = max(2 * sum(q[:k]) / (k + total) for k in range(1, len(q) + 1))
        same(answer(list(chances)), (best, best / 2), f"dice_cut({chances[:4]} …)")


@exercise
def _focal_gradient(answer):
    def loss(z, gamma):
        """Focal loss of one lesion pixel from its logit."""
        q = 1 / (1 + math.exp(-z))
        return -((1 - q) ** gamma) * math.log(q)

    for q, gamma in ((0.2, 2.0), (0.7, 2.0), (0.5, 0.0), (0.9, 1.0)):
        z, h = math.log(q / (1 - q)), 1e-5
        numeric = (loss(z + h, gamma) - loss(z - h, gamma)) / (2 * h)
        same(answer(q, gamma), numeric, f"focal_gradient({q}, {gamma})", 1e-5)


@exercise
def _separable(answer):
    for c_in, c_out, k in ((8, 16, 3), (256, 256, 3), (3, 5, 1)):
        same(answer(c_in, c_out, k), k * k * c_in + c_in * c_out, f"separable({c_in}, {c_out}, {k})")


@exercise
def _receptive_field(answer):
    cases = (([(3, 1, 1)], 3), ([(3, 1, 1), (3, 1, 1)], 5), ([(3, 2, 1), (3, 1, 1)], 7), ([(3, 1, 6)], 13))
    for layers, expected in (*cases, ([(7, 2, 1), (3, 2, 1), (3, 1, 2)], 27)):
        same(answer(layers), expected, f"receptive_field({layers})")


@exercise
def _gridding(answer):
    for dilations, expected in (([1], 1.0), ([2], 3 / 5), ([2, 2], 5 / 9), ([1, 2, 3], 1.0), ([2, 4], 7 / 13)):
        same(answer(dilations), expected, f"gridding({dilations})")


@exercise
def _gate_by_hand(answer):
    for skip, signal in ((1.0, 0.0), (0.5, 2.0), (-1.0, -4.0)):
        expected = skip / (1 + math.exp(-(max(0.0, 2 * skip - signal) - 1)))
        same(answer(skip, signal), expected, f"gate_by_hand({skip}, {signal})")


@exercise
def _gate_parameters(answer):
    for c, f in ((8, 4), (128, 64)):
        same(answer(c, f), 2 * c * f + 7 * f + 3, f"gate_parameters({c}, {f})")


@exercise
def _pyramid_map(answer):
    x = np.random.default_rng(2).normal(0, 2, (8, 12))
    expected = np.zeros_like(x)
    for r in range(8):
        for c in range(12):
            for step in (1, 2, 4):
                block = x[r // step * step : (r // step + 1) * step, c // step * step : (c // step + 1) * step]
                expected[r, c] += 1 / (1 + math.exp(-block.max())) / 3
    same(answer(x.copy()), expected, "pyramid_map of an 8 × 12 array")
