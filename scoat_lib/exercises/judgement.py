"""Chapters 14 to 18: judgement. The hidden tests of their exercises."""

from __future__ import annotations

import math

import numpy as np

from scoat_lib.exercises.core import Wrong, exercise, same


@exercise
def _area(answer):
    for what, m, expected in (
        ("an even map", np.ones((4, 4)), 1.0),
        ("a diagonal of ones", np.eye(4), 0.25),
        ("[1 3]", np.array([[1.0, 3.0]]), 0.8),
    ):
        same(answer(m), expected, f"area of {what}")


@exercise
def _pointing_game(answer):
    maps = [np.array([[0.1, 0.9], [0.2, 0.3]]), np.array([[0.5, 0.4], [0.6, 0.1]]), np.ones((2, 2))]
    masks = [np.array([[0, 1], [0, 0]], bool), np.array([[1, 0], [0, 0]], bool), np.array([[1, 0], [0, 0]], bool)]
    same(answer(maps, masks), 2 / 3, "pointing_game of three maps")


@exercise
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
    same(answer(trained, randoms, mask), ratios[0] - sum(ratios[1:]) / 4, "excess")


@exercise
def _lov(answer):
    mask = np.zeros((5, 5, 5))
    mask[1:3, 1:4, 2] = 1
    turn = np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]])
    for matrix in (np.diag([2.0, 2.0, 5.0]), np.diag([-0.7, -0.7, 1.0]), turn @ np.diag([2.0, 3.0, 4.0])):
        affine = np.eye(4)
        affine[:3, :3], affine[:3, 3] = matrix, (10, -20, 5)
        volume = np.linalg.norm(matrix[:, 0]) * np.linalg.norm(matrix[:, 1]) * np.linalg.norm(matrix[:, 2])
        same(answer(mask, affine), 6 * volume / 1000, "lov of six voxels")


@exercise
def _limits_of_agreement(answer):
    same(answer([3.0, 5.0, 4.0], [1.0, 4.0, 4.0]), (1.0, 1 - 1.96, 1 + 1.96), "limits_of_agreement")


@exercise
def _believable(answer):
    for s in (1.0, 12.5):
        same(answer(s), 2.7718585822512662 * s, f"believable({s})")


@exercise
def _cannot_be(answer):
    for row, expected in (
        ((85.74, 84.97, 83.52), True),
        ((87.73, 87.28, 87.93), True),
        ((89.48, 88.74, 90.64), False),
        ((80.0, 80.0, 80.0), False),
    ):
        same(answer(*row), expected, f"cannot_be{row}")


@exercise
def _decide(answer):
    cases = (
        ((1.5, 4.5, 9, 4.7), "holds"),
        ((0.2, 5.0, 13, 2.0), "holds"),
        ((-0.5, 5.0, 13, 4.7), "undecided"),
        ((-0.5, 1.5, 13, 4.7), "does not hold"),
        ((-0.5, 1.5, 13, 2.0), "undecided"),
        ((0.5, 1.5, 13, 4.7), "holds"),
        ((-3.5, 1.5, 13, 4.7), "undecided"),
        ((-4.0, -0.5, 9, 2.0), "does not hold"),
        ((1.5, 4.5, 4, 4.7), "waits for runs"),
        ((-4.0, -0.5, 4, 2.0), "waits for runs"),
    )
    for arguments, expected in cases:
        if answer(*arguments) != expected:
            raise Wrong(f"decide{arguments} gave {answer(*arguments)!r}, expected {expected!r}")


@exercise
def _dsc_range(answer):
    for sen, ppv in ((0.9, 0.9), (0.8, 0.6), (0.3, 0.4)):
        same(answer(sen, ppv), (max(0.0, sen + ppv - 1), 2 / (1 / sen + 1 / ppv)), f"dsc_range({sen}, {ppv})")


@exercise
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


@exercise
def _safe_dice(answer):
    one, other = np.array([[1, 1, 0]]), np.array([[0, 1, 0]])
    same(answer(one, other), 2 / 3, "safe_dice of [1 1 0] and [0 1 0]")
    same(answer(0 * one, 0 * one), 1.0, "safe_dice of two empty masks")
    for bad in ((one, 255 * other), (one * 0.5, other), (one, other[:, :2])):
        try:
            answer(*bad)
        except ValueError:
            continue
        raise Wrong("values other than 0 and 1, or different shapes, must raise ValueError")


@exercise
def _inflation(answer):
    d = np.array([0.2, 0.1, 0.3])
    same(answer([0.5, 0.6, 0.4], [0.7, 0.7, 0.7]), (d.mean(), 0.1 / math.sqrt(3)), "inflation")


@exercise
def _calibration_error(answer):
    p, t = np.array([0.05, 0.05, 0.95, 0.95, 1.0]), np.array([0, 1, 1, 1, 0])
    same(answer(p, t), 0.4 * 0.45 + 0.6 * abs(2.9 / 3 - 2 / 3), "calibration_error")


@exercise
def _with_mirror(answer):
    x = np.arange(6.0).reshape(2, 3)

    def predict(a):
        """A prediction that knows left from right."""
        return a * np.array([[1, 2, 4]])

    same(answer(predict, x), [[0, 2, 5], [7.5, 8, 12.5]], "with_mirror")


@exercise
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
    same(answer(arrays, truths, candidates), expected, "best_threshold of four patients")
