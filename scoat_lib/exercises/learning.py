"""Chapters 7 to 9: losses, metrics, training. The hidden tests of their exercises."""

from __future__ import annotations

import math

import numpy as np

from scoat_lib.exercises.core import Wrong, exercise, same


@exercise
def _dice_loss(answer):
    rng = np.random.default_rng(5)
    p, y = rng.random((4, 4)), (rng.random((4, 4)) > 0.5).astype(float)
    same(answer(p, y, 1.0), 1 - (2 * (p * y).sum() + 1) / ((p * p).sum() + (y * y).sum() + 1), "dice_loss")
    zeros = np.zeros((4, 4))
    same(answer(zeros, zeros, 1.0), 0.0, "dice_loss of nothing against nothing")


@exercise
def _stable_bce(answer):
    for z, y in ((0.3, 1), (-2.0, 0), (5.0, 0), (-4.0, 1)):
        p = 1 / (1 + math.exp(-z))
        same(answer(z, y), -(y * math.log(p) + (1 - y) * math.log(1 - p)), f"stable_bce({z}, {y})")
    for z, y, expected in ((1000.0, 0, 1000.0), (-1000.0, 1, 1000.0), (1000.0, 1, 0.0)):
        got = answer(z, y)
        if got is None or not np.isfinite(got) or abs(float(got) - expected) > 1e-6:
            raise Wrong(f"stable_bce({z:g}, {y}) gave {got}, expected {expected:g}")


@exercise
def _dsc_from(answer):
    for sen, ppv in ((0.8, 0.8), (1.0, 0.5), (0.3, 0.9)):
        same(answer(sen, ppv), 2 * sen * ppv / (sen + ppv), f"dsc_from({sen}, {ppv})")
    same(answer(0.0, 0.0), 0.0, "dsc_from(0, 0)")


@exercise
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


@exercise
def _papers_rate(answer):
    for epoch, restart, expected in (
        (0, None, 1e-2),
        (9, None, 1e-2),
        (10, None, 1e-3),
        (25, None, 1e-4),
        (30, 30, 1e-3),
        (45, 30, 1e-4),
    ):
        same(answer(epoch, restart), expected, f"papers_rate({epoch}, {restart})", 1e-9)


@exercise
def _steps(answer):
    for slices, batch, processes in ((100, 4, 1), (101, 4, 1), (1149, 4, 2), (3, 8, 1)):
        same(
            answer(slices, batch, processes), math.ceil(slices / (batch * processes)), f"steps({slices}, {batch}, {processes})"
        )


@exercise
def _iou_from_dsc(answer):
    for both, one, other in ((3, 2, 1), (5, 0, 0), (1, 9, 0)):
        dsc = 2 * both / (2 * both + one + other)
        same(answer(dsc), both / (both + one + other), f"iou_from_dsc({dsc:.3f})")


@exercise
def _volume_agreement(answer):
    a, b = np.zeros((4, 4), bool), np.zeros((4, 4), bool)
    a[0], b[3] = True, True
    same(answer(a, b), 1.0, "volume_agreement of two equal rows")
    b[2] = True
    same(answer(a, b), 1 - 2 * 4 / 12, "volume_agreement of 4 and 8 pixels")
    same(answer(a & False, b & False), 1.0, "volume_agreement of two empty masks")


@exercise
def _cosine_rate(answer):
    for t, expected in ((0.0, 0.0), (0.05, 0.5), (0.1, 1.0), (0.55, 0.505), (1.0, 0.01)):
        same(answer(t, 1.0, 0.1, 0.01), expected, f"cosine_rate({t}, 1, 0.1, 0.01)")
