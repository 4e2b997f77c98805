"""metrics.py: by hand, by loops, against MONAI; equation 10 against all pairs of points."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from monai.metrics import compute_dice, compute_hausdorff_distance, compute_surface_dice
from scipy import ndimage

from scoat_lib import metrics
from scoat_lib.metrics import count, evaluate, from_counts, hausdorff95, region_centre, surface_dice


def all_pairs(region, spacing=None):
    """Equation 10 as it is printed: every point against every edge point, the first of equals."""
    scale = np.ones(region.ndim) if spacing is None else np.asarray(spacing)
    points = np.argwhere(region)
    edge = []
    for p in points:
        neighbours = [tuple(p + d * s) for d in np.eye(region.ndim, dtype=int) for s in (-1, 1)]
        if any(not all(0 <= c < n for c, n in zip(q, region.shape, strict=True)) or not region[q] for q in neighbours):
            edge.append(p)
    edge = np.array(edge)
    worst = [round(float((((p - edge) * scale) ** 2).sum(1).max()), 9) for p in points]
    return tuple(int(v) for v in points[int(np.argmin(worst))])


NASTY = {
    "one voxel": [(3, 4)],
    "a line": [(2, c) for c in range(9)],
    "a column": [(r, 0) for r in range(8)],
    "a diagonal": [(i, i) for i in range(9)],
    "a ring": [(r, c) for r in range(9) for c in range(9) if 9 <= (r - 4) ** 2 + (c - 4) ** 2 <= 17],
    "a C": [(r, c) for r in range(9) for c in range(9) if 9 <= (r - 4) ** 2 + (c - 4) ** 2 <= 17 and not (c > 5 and 2 < r < 6)],
    "an L": [(r, 0) for r in range(9)] + [(8, c) for c in range(7)],
    "touching the border": [(r, c) for r in range(9) for c in range(4)],
    "everything": [(r, c) for r in range(9) for c in range(9)],
}


@pytest.mark.parametrize("points", NASTY.values(), ids=NASTY)
def test_centres_of_nasty_regions(points):
    region = np.zeros((9, 9), bool)
    region[tuple(np.array(points).T)] = True
    assert region_centre(region) == all_pairs(region)
    for axis in range(3):  # the same, flat, in 3-D
        flat = np.expand_dims(region, axis).repeat(3, axis)
        flat[(slice(None),) * axis + ([0, 2],)] = False
        assert region_centre(flat) == all_pairs(flat)


@settings(max_examples=60, deadline=None)
@given(arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.booleans()))
def test_centres_of_random_regions(region):
    if region.any():
        assert region_centre(region) == all_pairs(region)
        assert region_centre(region, (0.7, 2.5)) == all_pairs(region, (0.7, 2.5))


@pytest.mark.parametrize("seed", range(12))
def test_centres_of_smooth_regions_in_3d(seed):
    rng = np.random.default_rng(seed)
    region = ndimage.gaussian_filter(rng.normal(size=(9, 12, 11)), 1.5) > 0.02
    assert region_centre(region) == all_pairs(region)
    assert region_centre(region, (4, 0.7, 0.7)) == all_pairs(region, (4, 0.7, 0.7))


def test_the_centre_of_a_c_is_a_point_of_it_and_its_centroid_is_not():
    region = np.zeros((9, 9), bool)
    region[tuple(np.array(NASTY["a C"]).T)] = True
    centroid = tuple(np.round(np.argwhere(region).mean(0)).astype(int))
    assert not region[centroid]
    assert region[region_centre(region)]


def test_an_empty_region_has_no_centre():
    with pytest.raises(ValueError, match="empty"):
        region_centre(np.zeros((3, 3), bool))


def test_the_six_metrics_by_hand():
    truth = np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1]], bool)
    found = np.array([[0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0], [1, 0, 0, 0]], bool)
    assert count(found, truth) == {"tp": 2, "fp": 3, "fn": 3, "tn": 8, "Na": 2, "Np": 1, "Nb": 2, "Nt": 1}
    values = evaluate(found, truth)
    assert values == pytest.approx({"DSC": 0.4, "SEN": 0.4, "PPV": 0.4, "VA": 1.0, "RLP": 0.5, "RLR": 0.5})


def test_against_loops_on_random_masks(rng):
    for _ in range(20):
        a, b = rng.random((6, 7)) > 0.6, rng.random((6, 7)) > 0.5
        tp = sum(bool(x and y) for x, y in zip(a.flat, b.flat, strict=True))
        va, vb = sum(map(bool, a.flat)), sum(map(bool, b.flat))
        v = evaluate(a, b)
        assert v["DSC"] == pytest.approx(2 * tp / (va + vb))
        assert v["SEN"] == pytest.approx(tp / vb)
        assert v["PPV"] == pytest.approx(tp / va)
        assert v["VA"] == pytest.approx(1 - 2 * abs(va - vb) / (va + vb))
        assert v["DSC"] <= (v["SEN"] + v["PPV"]) / 2 + 1e-12  # the harmonic mean
        one = from_counts(count(a, b), va_factor=1)
        assert one["VA"] == pytest.approx(1 - abs(va - vb) / (va + vb))


def test_dsc_is_monais(rng):
    a, b = rng.random((4, 1, 16, 16)) > 0.5, rng.random((4, 1, 16, 16)) > 0.5
    theirs = compute_dice(torch.from_numpy(a), torch.from_numpy(b)).flatten()
    for one, other, value in zip(a[:, 0], b[:, 0], theirs, strict=True):
        assert evaluate(one, other)["DSC"] == pytest.approx(value.item(), abs=1e-6)


def test_empty_cases_have_a_stated_value():
    nothing, something = np.zeros((5, 5), bool), np.eye(5, dtype=bool)
    assert set(evaluate(nothing, nothing).values()) == {1.0}
    assert all(math.isnan(v) for v in evaluate(nothing, nothing, empty=math.nan).values())
    assert evaluate(nothing, something) == {"DSC": 0, "SEN": 0, "PPV": 0, "VA": -1, "RLP": 0, "RLR": 0}
    assert evaluate(something, nothing) == {"DSC": 0, "SEN": 0, "PPV": 0, "VA": -1, "RLP": 0, "RLR": 0}


def test_connectivity_decides_how_many_regions():
    diagonal = np.eye(4, dtype=bool)
    assert count(diagonal, diagonal)["Na"] == 1
    assert count(diagonal, diagonal, connectivity="face")["Na"] == 4
    steps = np.zeros((3, 3, 3), bool)
    steps[[0, 1, 2], [0, 1, 2], [0, 1, 2]] = True
    assert [count(steps, steps, connectivity=c)["Na"] for c in ("full", "edge", "face")] == [1, 3, 3]
    ledge = np.zeros((2, 2, 2), bool)
    ledge[0, 0, 0] = ledge[0, 1, 1] = True
    assert [count(ledge, ledge, connectivity=c)["Na"] for c in ("full", "edge", "face")] == [1, 1, 2]


def test_per_slice_counts_each_slices_regions():
    ball = np.zeros((4, 8, 8), bool)
    ball[1:3, 2:5, 2:5] = True
    assert count(ball, ball)["Na"] == 1
    assert count(ball, ball, per="slice")["Na"] == 2


def test_what_counts_as_found():
    truth, found = np.zeros((9, 24), bool), np.zeros((9, 24), bool)
    truth[1:4, 1:6] = truth[1:4, 8:11] = True
    found[2, 0:9] = True  # one region over two true ones; its centre lies in the first
    truth[6:9, 14:24] = True
    found[5:8, 12:20] = True
    truth[6, 15:17] = False  # where that prediction has its centre
    centres = {f: count(found, truth, found=f) for f in metrics.FOUND}
    assert {v["Nb"] for v in centres.values()} == {3}
    assert {v["Na"] for v in centres.values()} == {2}
    assert {v["Np"] for v in centres.values()} == {1}
    assert centres["holds-centre"]["Nt"] == 1
    assert centres["touched"]["Nt"] == 2
    own = sum(bool(found[c]) for c in metrics.centres(*metrics.regions(truth)))
    assert centres["own-centre"]["Nt"] == own == 2


def test_refuses_what_is_no_mask():
    good = np.zeros((4, 4), bool)
    with pytest.raises(ValueError, match=r"0\.\.255"):
        evaluate(good.astype(np.uint8) + 255, good)
    with pytest.raises(ValueError, match="must be equal"):
        evaluate(good, good[:3])
    with pytest.raises(ValueError, match="2 or 3"):
        evaluate(good[0], good[0])
    for option in ({"connectivity": "8"}, {"found": "half"}, {"per": "patient"}):
        with pytest.raises(ValueError, match="known"):
            evaluate(good, good, **option)


@pytest.mark.parametrize("shift", [1, 3])
def test_surfaces_of_shifted_squares(shift):
    a = np.zeros((20, 30), bool)
    a[5:15, 5:15] = True
    b = np.roll(a, shift, axis=1)
    assert hausdorff95(a, b, (1.0, 2.0)) == pytest.approx(2.0 * shift, abs=0.01)
    assert surface_dice(a, b, (1.0, 2.0), tolerance=2.0 * shift) == 1
    assert surface_dice(a, b, (1.0, 2.0), tolerance=0.5) < 1


def test_surfaces_against_monai(rng):
    a = ndimage.gaussian_filter(rng.normal(size=(24, 24, 24)), 3) > 0.02
    b = ndimage.gaussian_filter(rng.normal(size=(24, 24, 24)), 3) > 0.02
    x, y = torch.from_numpy(a)[None, None], torch.from_numpy(b)[None, None]
    theirs = compute_hausdorff_distance(x, y, include_background=True, percentile=95, spacing=(2.0, 1.0, 1.0)).item()
    assert hausdorff95(a, b, (2.0, 1.0, 1.0)) == pytest.approx(theirs, abs=0.02)
    nsd = compute_surface_dice(x, y, class_thresholds=[1.0], include_background=True, spacing=(2.0, 1.0, 1.0)).item()
    assert surface_dice(a, b, (2.0, 1.0, 1.0), 1.0) == pytest.approx(nsd, abs=0.02)


def test_surfaces_of_empty_masks():
    nothing, something = np.zeros((5, 5), bool), np.ones((5, 5), bool)
    assert surface_dice(nothing, nothing, (1, 1), 1) == 1
    assert surface_dice(nothing, something, (1, 1), 1) == 0
    assert hausdorff95(nothing, nothing, (1, 1)) == 0
    assert hausdorff95(something, nothing, (1, 1)) == math.inf


def test_read_only_and_turned_arrays_are_counted(rng):
    """A memory-mapped mask is read-only, which once stopped the region count."""
    mask = rng.random((4, 6, 5)) > 0.5
    expected = count(mask, mask)
    for other in (np.asfortranarray(mask), mask[::-1][::-1]):
        frozen = other.copy(order="K")
        frozen.flags.writeable = False
        assert count(frozen, frozen) == expected


def test_the_centre_of_a_large_disc_in_one_slice():
    """Its points span no volume, so they have no hull in 3-D."""
    row, column = np.mgrid[:80, :80]
    flat = np.zeros((3, 80, 80), bool)
    flat[1] = (row - 40) ** 2 + (column - 38) ** 2 < 30**2
    flat[1, 40:44, 50:] = False
    assert region_centre(flat) == (1, *region_centre(flat[1]))
    assert region_centre(flat, (5, 0.7, 0.7)) == (1, *region_centre(flat[1], (0.7, 0.7)))


def test_corners_join_in_a_slice_only_where_all_neighbours_count():
    steps = np.eye(3, dtype=bool)
    assert [metrics.regions(steps, c)[1] for c in ("full", "edge", "face")] == [1, 1, 3]


def test_centres_of_labels_that_touch_each_other_and_the_border(rng):
    """Each region's own, by all pairs: a neighbour of another label, or the array's end, is no point of it."""
    labels = np.zeros((7, 9, 8), np.int32)
    labels[:4, 2:, :5], labels[4:, :6, 3:], labels[:4, :2, :] = 1, 2, 3
    labels[rng.random(labels.shape) < 0.3] = 0
    for spacing in (None, (5.0, 0.7, 1.3)):
        scale = np.ones(3) if spacing is None else np.array(spacing)
        for index, centre in enumerate(metrics.centres(labels, 3, spacing), 1):
            points = np.argwhere(labels == index)
            worst = (((points[:, None] - points[None]) * scale) ** 2).sum(-1).max(1)
            assert centre == tuple(points[np.argmax(worst <= worst.min() * (1 + 1e-12))])


def test_labels_that_are_missing_or_too_many_are_refused():
    labels = np.array([[1, 1, 0, 3]])
    with pytest.raises(ValueError, match="label 2 of 1 to 3"):
        metrics.centres(labels, 3)
    with pytest.raises(ValueError, match="from 1 to 3, where 1 to 2"):
        metrics.centres(labels, 2)
    assert metrics.centres(np.zeros((3, 3), int), 0) == []
