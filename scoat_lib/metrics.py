"""Equations 8 to 10: DSC, SEN, PPV, VA from voxels, RLP and RLR from regions and their centres; surface measures beside."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import cc3d
import numpy as np
from scipy import ndimage
from scipy.spatial import ConvexHull, QhullError, distance

METRICS = ("DSC", "SEN", "PPV", "VA", "RLP", "RLR")
CONNECTIVITY = {"full": {2: 8, 3: 26}, "edge": {2: 8, 3: 18}, "face": {2: 4, 3: 6}}
FOUND = ("holds-centre", "touched", "own-centre")
_MANY = 1000  # points, above which their hull is looked for
_BLOCK = 6  # side of the blocks of the branch and bound; between 4 and 8 makes no difference that can be measured


def evaluate(
    prediction: np.ndarray,
    truth: np.ndarray,
    connectivity: str = "full",
    per: str = "scan",
    found: str = "holds-centre",
    va_factor: float = 2.0,
    empty: float = 1.0,
    spacing: Sequence[float] | None = None,
) -> dict[str, float]:
    """The paper's six metrics of one prediction: fractions, not per cent (VA down to 1 − 2 · va_factor / 2 = −1).

    prediction, truth: boolean (or 0/1) arrays of one shape, 2-D, or 3-D with slices along the first axis.
    The other arguments are `count`'s and `from_counts`'s, and name what the paper leaves open.
    """
    return from_counts(count(prediction, truth, connectivity, per, found, spacing), va_factor, empty)


def count(
    prediction: np.ndarray,
    truth: np.ndarray,
    connectivity: str = "full",
    per: str = "scan",
    found: str = "holds-centre",
    spacing: Sequence[float] | None = None,
) -> dict[str, int]:
    """Voxels tp, fp, fn, tn and regions Na, Np, Nb, Nt, from which every table can be recomputed.

    connectivity: "full" (8 in 2-D, 26 in 3-D), "edge" (8, 18) or "face" (4, 6).
    per: "scan" takes the regions of a 3-D array as they are, "slice" those of each slice, added up.
    Np: predicted regions whose centre (equation 10) lies in the truth.
    found: what makes a true region count in Nt: "holds-centre", it contains the centre of a predicted region; "touched",
        a correct predicted region overlaps it; "own-centre", its own centre lies in the prediction.
    spacing: voxel size for the distances of equation 10; by default voxels count as cubes.
    Raises ValueError for arrays that are not binary, of different shapes, or of other than 2 or 3 dimensions.
    """
    a, b = _boolean(prediction, "prediction"), _boolean(truth, "truth")
    if a.shape != b.shape:
        raise ValueError(f"prediction has shape {a.shape}, truth {b.shape}; they must be equal")
    if a.ndim not in (2, 3):
        raise ValueError(f"arrays have {a.ndim} dimensions; 2 or 3 are meant")
    for value, known, name in ((connectivity, CONNECTIVITY, "connectivity"), (found, FOUND, "found")):
        if value not in known:
            raise ValueError(f"{name} is {value!r}; known: {', '.join(known)}")
    if per not in ("scan", "slice"):
        raise ValueError(f"per is {per!r}; known: scan, slice")
    tp, na, nb = int(np.count_nonzero(a & b)), int(np.count_nonzero(a)), int(np.count_nonzero(b))
    counts = {"tp": tp, "fp": na - tp, "fn": nb - tp, "tn": a.size - na - nb + tp}
    pairs = zip(a, b, strict=True) if per == "slice" and a.ndim == 3 else [(a, b)]
    scale = tuple(spacing)[-2:] if spacing is not None and per == "slice" else spacing
    regions = np.zeros(4, int)
    for one, other in pairs:
        regions += _count_regions(one, other, connectivity, found, scale)
    return counts | dict(zip(("Na", "Np", "Nb", "Nt"), map(int, regions), strict=True))


def from_counts(counts: dict[str, int], va_factor: float = 2.0, empty: float = 1.0) -> dict[str, float]:
    """Equations 8 and 9 from `count`'s numbers.

    va_factor: 2 as printed, VA = 1 − 2·abs(|Va|−|Vb|)/(|Va|+|Vb|), from −1; many authors use 1, from 0.
    empty: the value of all six where neither array has a voxel (default 1; math.nan leaves such cases out of means).
    Where only one is empty, every ratio with denominator zero is 0: nothing predicted has no precision, and a
    prediction on an empty truth has no sensitivity.
    """
    tp, fp, fn = counts["tp"], counts["fp"], counts["fn"]
    va, vb = tp + fp, tp + fn
    if va + vb == 0:
        return dict.fromkeys(METRICS, float(empty))

    def ratio(above: float, below: float) -> float:
        """0 where there is nothing to divide by."""
        return above / below if below else 0.0

    return {
        "DSC": ratio(2 * tp, va + vb),
        "SEN": ratio(tp, vb),
        "PPV": ratio(tp, va),
        "VA": 1 - va_factor * abs(va - vb) / (va + vb),
        "RLP": ratio(counts["Np"], counts["Na"]),
        "RLR": ratio(counts["Nt"], counts["Nb"]),
    }


def regions(mask: np.ndarray, connectivity: str = "full") -> tuple[np.ndarray, int]:
    """Label the connected regions of a 2-D or 3-D boolean array: (labels from 1, how many)."""
    mask = np.require(_boolean(mask, "mask"), requirements=["C", "W"])
    # as bytes: of boolean planes of a few pixels cc3d 4.1.1 labels some that are not set (8 neighbours; volumes are right)
    labels, n = cc3d.connected_components(
        mask.view(np.uint8), connectivity=CONNECTIVITY[connectivity][mask.ndim], return_N=True
    )
    return labels, int(n)


def region_centre(region: np.ndarray, spacing: Sequence[float] | None = None) -> tuple[int, ...]:
    """Equation 10, exact: the point of the region whose farthest edge point is nearest, u = argmin_i max_j ‖u_i − v_j‖.

    region: boolean array of any dimension with at least one true voxel, one region by intent (it is not checked).
    spacing: voxel size per axis; by default 1. Of several such points the first in array order is taken.
    The farthest point of a region from anywhere is a vertex of its convex hull, and that distance changes by no more
    than one moves; so whole blocks of points are ruled out by one distance (branch and bound), never all pairs tried.
    Raises ValueError for an empty region.
    """
    region = np.ascontiguousarray(_boolean(region, "region"))
    if not region.any():
        raise ValueError("the region is empty, so it has no centre")
    return centres(region.view(np.uint8), 1, spacing)[0]


def centres(labels: np.ndarray, n: int, spacing: Sequence[float] | None = None) -> list[tuple[int, ...]]:
    """`region_centre` of each of the labels 1..n. ValueError where one of them is missing, or there are others."""
    flat, shape = labels.ravel(), labels.shape
    places = np.flatnonzero(flat != 0)  # of booleans it is several times faster
    label = flat[places]
    if label.min(initial=1) < 1 or label.max(initial=0) > n:
        raise ValueError(f"labels go from {label.min()} to {label.max()}, where 1 to {n} are meant")
    label = label.astype(np.uint16 if n < 2**16 else np.int64)  # 16 bits are sorted in one pass
    order = np.argsort(label, kind="stable")
    places, label = places[order], label[order]
    at = np.array(np.unravel_index(places, shape), np.int32)
    outer = np.ones(len(places), bool)  # between two others of its region no point is a vertex of the hull
    for axis, size in enumerate(shape):
        step = math.prod(shape[axis + 1 :])
        between = (at[axis] > 0) & (at[axis] < size - 1)
        for near in (places - step, places + step):
            between &= flat.take(near, mode="clip") == label
        outer &= ~between
    scale = np.ones(len(shape)) if spacing is None else np.asarray(spacing, float)
    size = np.bincount(label, minlength=n + 1)
    if not size[1:].all():
        raise ValueError(f"no point has the label {int(np.argmin(size[1:])) + 1} of 1 to {n}")
    ends = np.cumsum(size)
    return [_centre(at[:, start:end], outer[start:end], scale) for start, end in pairwise(ends[: n + 1])]


def _centre(at: np.ndarray, outer: np.ndarray, scale: np.ndarray) -> tuple[int, ...]:
    """Equation 10 of one region. at: its points in array order, an axis a row; outer: where the hull's vertices are."""
    low = at.min(1)
    blocks = (at - low[:, None]) // _BLOCK
    grid = blocks.max(1) + 1
    member = blocks[0]
    for along, more in zip(blocks[1:], grid[1:], strict=True):
        member = member * more + along
    number = np.bincount(member)
    used = np.flatnonzero(number)
    hull = _hull_points(at[:, outer].T) * scale
    middle = (np.stack(np.unravel_index(used, grid), 1) * _BLOCK + (_BLOCK - 1) / 2 + low) * scale
    reach = np.linalg.norm((_BLOCK - 1) / 2 * scale)  # no point of a block is farther from its middle
    radius = np.sqrt(_farthest_squared(middle, hull))
    order = np.argsort(member.astype(np.uint16) if len(number) < 2**16 else member, kind="stable")
    ends = np.cumsum(number)
    best, best_index = math.inf, -1
    for block in np.argsort(radius, kind="stable"):
        if radius[block] - reach > math.sqrt(best) * (1 + 1e-12):
            break
        end = ends[used[block]]
        inside = order[end - number[used[block]] : end]
        squared = _farthest_squared(at[:, inside].T * scale, hull)
        least = squared.min()
        tied = int(inside[squared <= least * (1 + 1e-12)].min())
        if least < best * (1 - 1e-12):
            best, best_index = least, tied
        elif least <= best * (1 + 1e-12):
            best_index = min(best_index, tied)
    return tuple(at[:, best_index].tolist())


def surface_distances(prediction: np.ndarray, truth: np.ndarray, spacing: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Distances in mm from each edge voxel of the prediction to the truth's edge, and the other way round.

    An edge voxel has a face neighbour outside the mask (outside the array counts). Empty arrays if either mask is empty.
    """
    a, b = _boolean(prediction, "prediction"), _boolean(truth, "truth")
    if not a.any() or not b.any():
        return np.empty(0), np.empty(0)
    edge_a, edge_b = _edge(a), _edge(b)
    to_b = ndimage.distance_transform_edt(~edge_b, sampling=spacing)
    to_a = ndimage.distance_transform_edt(~edge_a, sampling=spacing)
    return to_b[edge_a], to_a[edge_b]


def surface_dice(prediction: np.ndarray, truth: np.ndarray, spacing: Sequence[float], tolerance: float) -> float:
    """Share of both surfaces that lies within `tolerance` mm of the other (Nikolov et al. 2021), by edge voxels. 0..1.

    Both empty: 1; one empty: 0.
    """
    there, back = surface_distances(prediction, truth, spacing)
    if len(there) + len(back) == 0:
        return 1.0 if not np.any(prediction) and not np.any(truth) else 0.0
    return float(((there <= tolerance).sum() + (back <= tolerance).sum()) / (len(there) + len(back)))


def hausdorff95(prediction: np.ndarray, truth: np.ndarray, spacing: Sequence[float]) -> float:
    """HD95 in mm: the larger of the two directions' 95th percentiles. Both empty: 0; one empty: infinite."""
    there, back = surface_distances(prediction, truth, spacing)
    if len(there) + len(back) == 0:
        return 0.0 if not np.any(prediction) and not np.any(truth) else math.inf
    return float(max(np.percentile(there, 95), np.percentile(back, 95)))


def _boolean(array: np.ndarray, name: str) -> np.ndarray:
    array = np.asarray(array)
    if array.dtype != bool:
        if not np.isin(array, (0, 1)).all():
            raise ValueError(
                f"{name} holds values other than 0 and 1 (a mask in 0..255, or probabilities?); threshold it first"
            )
        array = array.astype(bool)
    return array


def _edge(mask: np.ndarray) -> np.ndarray:
    return mask & ~ndimage.binary_erosion(mask, ndimage.generate_binary_structure(mask.ndim, 1), border_value=0)


def _count_regions(a: np.ndarray, b: np.ndarray, connectivity: str, found: str, spacing) -> np.ndarray:
    """Na, Np, Nb, Nt of one slice or scan."""
    labels_a, n_a = regions(a, connectivity)
    labels_b, n_b = regions(b, connectivity)
    if n_a == 0 or n_b == 0:
        return np.array([n_a, 0, n_b, 0])
    centres_a = centres(labels_a, n_a, spacing)
    correct = {index for index, centre in enumerate(centres_a, 1) if b[centre]}
    if found == "holds-centre":
        hit = {int(labels_b[centre]) for centre in centres_a if b[centre]}
    elif found == "touched":
        hit = set(np.unique(labels_b[np.isin(labels_a, list(correct)) & b]).tolist()) if correct else set()
    else:
        hit = {index for index, centre in enumerate(centres(labels_b, n_b, spacing), 1) if a[centre]}
    return np.array([n_a, len(correct), n_b, len(hit)])


def _hull_points(candidates: np.ndarray) -> np.ndarray:
    """The vertices of the convex hull of some points, or all of them where it would take longer to know."""
    if len(candidates) > _MANY and candidates.shape[1] > 1:
        try:
            return candidates[ConvexHull(candidates).vertices]
        except QhullError:  # flat in some direction: the candidates serve as they are
            return candidates
    return candidates


def _farthest_squared(points: np.ndarray, hull: np.ndarray) -> np.ndarray:
    """Largest squared distance from each point to the hull points, a few million pairs at a time."""
    step = max(1, 2_000_000 // len(hull))
    parts = [points[start : start + step] for start in range(0, len(points), step)]
    return np.concatenate([distance.cdist(part, hull, "sqeuclidean").max(1) for part in parts])
