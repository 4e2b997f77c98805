"""The phantom's vessels and airways: trees of tubes that fork to every part of a lobe and fill their share of each voxel."""

from __future__ import annotations

import numpy as np

from scoat_lib.anatomy import HEIGHT, TISSUES, Grid

LEAVES = 110  # ends of the arterial tree of a lobe, and of the venous


def add_trees(grid: Grid, rng, hu, tissue, lungs, lobes, kinds):
    """Arteries, veins and airways: from each hilum to the lobes and on, ever thinner; returns vessel and airway masks.

    Each fills its share of a voxel, so what is thinner than a voxel is grey. The masks hold where the share is 0.4 or more.
    """
    vessels, airways = _trees(grid, rng, lobes)
    names = list(TISSUES)
    share = _fill(grid, vessels) * (lungs & (kinds != 2))  # consolidation hides vessels, ground glass does not
    hu += share * (TISSUES["blood"][0] - hu)
    tissue[(share > 0.9) & (kinds == 0)] = 1 + names.index("blood")
    lumen = _fill(grid, airways)
    wall = np.clip(_fill(grid, [(a, b, first + 1.2, last + 1.2) for a, b, first, last in airways]) - lumen, 0, 1) * lungs
    hu += 0.5 * wall * (TISSUES["muscle"][0] - hu)
    hu += lumen * (TISSUES["air"][0] + 15 - hu)
    tissue[lumen > 0.9] = 1 + names.index("air")
    found = lumen >= 0.4
    return (share >= 0.4) & ~found, found


def _trees(grid: Grid, rng, lobes):
    """Vessels, and airways with the trachea, as tubes: (start, end, first radius, last radius), points z, y, x in mm."""
    carina = np.array([176.0, 6.0, 0.0])
    vessels = []
    airways = [(np.array([HEIGHT + 10, -8.0, 0.0]), carina, 8.5, 8.0)]
    for side, labels in ((-1, (1, 2, 3)), (1, (4, 5))):
        hilum = np.array([154.0, 0.0, side * 33.0])
        beside = np.array([2.0, 6.0, side * 1.5])  # an airway runs behind its artery
        airways.append((carina, hilum + beside, 7.0, 5.6))
        for label in labels:
            members = np.argwhere(lobes == label)
            if len(members) == 0:
                continue
            middle = grid.points(members.mean(axis=0))
            for root, width in ((hilum, 1.0), (hilum + [-17, 12, -side * 4], 0.9)):  # arteries, veins
                # fractions of the sorted voxel list, so the choice follows the seed, not the resolution
                ends = grid.points(members[(rng.random(LEAVES) * len(members)).astype(int)])
                ends = ends + 0.08 * (middle - ends)  # the outermost centimetre shows no vessel
                tree = _grow(root, ends, rng)
                vessels += [(a, b, width * first, width * last) for a, b, first, last, _ in tree]
                if width == 1:
                    airways += [(a + beside, b + beside, 0.8 * first, 0.8 * last) for a, b, first, last, n in tree if n >= 6]
    return vessels, airways


def _grow(start: np.ndarray, ends: np.ndarray, rng) -> list[tuple]:
    """A tree that forks in two until each branch has one end; tubes with how many ends each feeds.

    A branch for n ends goes part of the way to their middle, then they are divided across their widest direction. Its radius
    is 0.7 mm × n^0.4: near Murray's law (1926), in which the cubes of the radii add up.
    """
    n = len(ends)
    radius = 0.7 * n**0.4
    if n == 1:
        return [(start, ends[0], radius, 0.35, 1)]
    middle = ends.mean(axis=0)
    fork = start + rng.uniform(0.34, 0.52) * (middle - start) + rng.normal(0, 0.05, 3) * np.linalg.norm(middle - start)
    spread = ends - middle
    along = spread @ np.linalg.eigh(spread.T @ spread)[1][:, -1]
    first = along > np.median(along)
    if first.all() or not first.any():
        first = np.arange(n) < n // 2
    tubes = [(start, fork, radius, 0.94 * radius, n)]
    return tubes + _grow(fork, ends[first], rng) + _grow(fork, ends[~first], rng)


def _fill(grid: Grid, tubes: list[tuple]) -> np.ndarray:
    """The share of each voxel (0 to 1) that tubes fill: points spread evenly in them, each with its part of the volume."""
    pixel = min(grid.spacing[1:])
    step, patch = min(0.8, pixel / 2), (0.4 * pixel) ** 2  # mm between discs, mm² a point
    total = np.zeros(int(np.prod(grid.shape)))
    begins, ends, firsts, lasts = (np.array([t[k] for t in tubes], float) for k in range(4))
    lengths = np.linalg.norm(ends - begins, axis=1)
    counts = np.maximum(2, (lengths / step).astype(int))
    which = np.repeat(np.arange(len(tubes)), counts)
    t = (np.arange(len(which)) - np.repeat(np.cumsum(counts) - counts, counts) + 0.5) / counts[which]
    centres = begins[which] + t[:, None] * (ends - begins)[which]
    radii = firsts[which] + t * (lasts - firsts)[which]
    axis = (ends - begins) / np.maximum(lengths, 1e-6)[:, None]
    aside = np.cross(axis, np.where(np.abs(axis[:, :1]) < 0.8, [1.0, 0, 0], [0, 1.0, 0]))
    aside /= np.linalg.norm(aside, axis=1, keepdims=True)
    other = np.cross(axis, aside)
    points = np.maximum(1, np.ceil(np.pi * radii**2 / patch).astype(int))
    half = np.array([0, grid.shape[1] * grid.spacing[1] / 2, grid.shape[2] * grid.spacing[2] / 2])
    for n in np.unique(points):
        at = points == n
        k = np.arange(n)
        out = np.sqrt((k + 0.5) / n) * (n > 1)  # a sunflower's seeds, each disc turned against the one before
        turn = (2.399963 * k + 1.7 * np.flatnonzero(at)[:, None])[..., None]
        shift = out[:, None] * (np.cos(turn) * aside[which[at], None] + np.sin(turn) * other[which[at], None])
        place = centres[at, None] + radii[at, None, None] * shift
        index = np.floor((place + half) / grid.spacing).astype(int).reshape(-1, 3)
        volume = np.repeat(np.pi * radii[at] ** 2 / n * (lengths / counts)[which[at]], n)
        inside = ((index >= 0) & (index < grid.shape)).all(axis=1)
        flat = np.ravel_multi_index(tuple(index[inside].T), grid.shape)
        met, into = np.unique(flat, return_inverse=True)  # of millions of voxels a few thousand
        total[met] += np.bincount(into, volume[inside])
    return np.clip(total / np.prod(grid.spacing), 0, 1).reshape(grid.shape).astype(np.float32)
