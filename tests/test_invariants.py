"""What holds for any input, by Hypothesis: metrics, losses, folds, padding, augmentation, and any scan written and read."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage
from scipy.spatial.distance import cdist

from scoat_lib import losses, metrics
from scoat_lib.cohort import Case, pad_slices
from scoat_lib.folds import Split, check_leakage, fewer, make_folds, split_of
from scoat_lib.scan import Scan
from scoat_lib.slices import Augmentation

few = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
planes = st.tuples(st.integers(1, 9), st.integers(1, 9))
boxes = st.tuples(st.integers(1, 4), st.integers(1, 6), st.integers(1, 6))


def pairs(shapes):
    return shapes.flatmap(lambda shape: st.tuples(arrays(bool, shape), arrays(bool, shape)))


def several_centres(mask):
    """Whether a region of a 2-D mask has several points that equation 10 would take: a flip may then choose another."""
    import cc3d

    labels = cc3d.connected_components(mask.astype(np.uint8), connectivity=8)
    for label in range(1, labels.max() + 1):
        region = np.pad(labels == label, 1)
        worst = cdist(np.argwhere(region), np.argwhere(region & ~ndimage.binary_erosion(region))).max(1)
        if (np.abs(worst - worst.min()) < 1e-9).sum() > 1:
            return True
    return False


# metrics


@few
@given(pairs(st.one_of(planes, boxes)))
def test_metrics_stay_in_their_range(pair):
    values = metrics.evaluate(*pair)
    assert set(values) == set(metrics.METRICS)
    for name, value in values.items():
        assert (-1 if name == "VA" else 0) <= value <= 1, name


@few
@given(pairs(st.one_of(planes, boxes)), st.integers(0, 2))
def test_flips_change_no_voxel_count_and_no_number_of_regions(pair, axis):
    prediction, truth = pair
    axis = axis % prediction.ndim
    one, other = metrics.count(prediction, truth), metrics.count(np.flip(prediction, axis), np.flip(truth, axis))
    for key in ("tp", "fp", "fn", "tn", "Na", "Nb"):
        assert one[key] == other[key], key


@few
@given(pairs(planes), st.integers(0, 1))
def test_flips_move_no_centre_that_is_the_only_one(pair, axis):
    prediction, truth = pair
    if not several_centres(prediction):
        assert metrics.count(*pair) == metrics.count(np.flip(prediction, axis), np.flip(truth, axis))


@few
@given(st.one_of(planes, boxes).flatmap(lambda shape: arrays(bool, shape)))
def test_a_perfect_prediction_scores_one(mask):
    assert set(metrics.evaluate(mask, mask).values()) == {1.0}


@few
@given(pairs(st.one_of(planes, boxes)))
def test_exchanged_roles_exchange_sensitivity_and_precision(pair):
    one, other = metrics.evaluate(*pair), metrics.evaluate(*pair[::-1])
    assert one["DSC"] == other["DSC"]
    assert one["VA"] == other["VA"]
    assert (one["SEN"], one["PPV"]) == (other["PPV"], other["SEN"])


NEIGHBOURS = {"full": 3, "edge": 2, "face": 1}


@few
@given(st.one_of(planes, boxes).flatmap(lambda shape: arrays(bool, shape)), st.sampled_from(sorted(NEIGHBOURS)))
@example(np.arange(10).reshape(5, 2) == 8, "full")
def test_regions_are_scipys(mask, connectivity):
    """cc3d 4.1.1 labels pixels that are not set in a boolean plane such as (5, 2); bytes are right."""
    labels, n = metrics.regions(mask, connectivity)
    structure = ndimage.generate_binary_structure(mask.ndim, min(NEIGHBOURS[connectivity], mask.ndim))
    others, m = ndimage.label(mask, structure)
    assert n == m
    np.testing.assert_array_equal(labels > 0, mask)
    assert len({*zip(labels[mask].tolist(), others[mask].tolist(), strict=True)}) == n


# losses


@pytest.mark.parametrize("name", losses.names())
@few
@given(seed=st.integers(0, 2**31), scale=st.floats(0.1, 8.0), share=st.floats(0.0, 1.0))
def test_losses_fall_along_their_gradient(name, seed, scale, share):
    generator = torch.Generator().manual_seed(seed)
    logits = (scale * torch.randn(2, 1, 6, 5, generator=generator)).requires_grad_()
    target = (torch.rand(2, 1, 6, 5, generator=generator) < share).float()
    loss = losses.create(name)
    value = loss(logits, target)
    (gradient,) = torch.autograd.grad(value, logits)
    size = float(gradient.norm())
    assert np.isfinite(size)
    if size > 1e-4:
        step = 1e-2 * gradient / size
        assert loss(logits - step, target) < value < loss(logits + step, target)


@pytest.mark.parametrize("name", losses.names())
@few
@given(seed=st.integers(0, 2**31))
def test_losses_know_neither_the_order_nor_the_side(name, seed):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(3, 1, 6, 5, generator=generator)
    target = (torch.rand(3, 1, 6, 5, generator=generator) < 0.3).float()
    loss = losses.create(name)
    value = float(loss(logits, target))
    assert float(loss(logits.flip(-1), target.flip(-1))) == pytest.approx(value, rel=1e-5)
    assert float(loss(logits.flip(0), target.flip(0))) == pytest.approx(value, rel=1e-5)
    sure = 30 * (2 * target - 1)
    assert float(loss(sure, target)) <= value


# folds


@st.composite
def cohorts(draw):
    """Patients of two sources, some with several scans, of any burden; as `make_folds` sees them."""
    patients = draw(st.integers(2, 25))
    cases, burden = {}, {}
    for number in range(patients):
        source = draw(st.sampled_from(["alpha", "beta"]))
        for scan in range(draw(st.integers(1, 3))):
            name = f"{source}_{number:03d}_{scan}"
            cases[name] = Case(name, None, None, f"{source}_{number:03d}")
            burden[name] = draw(st.integers(0, 50_000))
    return SimpleNamespace(cases=cases, burden=burden, names=list(cases)), patients


@few
@given(cohorts(), st.data())
def test_folds_partition_patients(drawn, data):
    cohort, patients = drawn
    k, seed = data.draw(st.integers(2, patients)), data.draw(st.integers(0, 9))
    folds = make_folds(cohort, k, seed)
    assert len(folds) == k
    assert sorted(scan for fold in folds for scan in fold) == sorted(cohort.cases)
    held = [{cohort.cases[scan].patient for scan in fold} for fold in folds]
    assert sum(map(len, held)) == patients == len(set().union(*held))
    assert max(map(len, held)) - min(map(len, held)) <= 1
    assert folds == make_folds(cohort, k, seed)
    for fold in range(k):
        split = split_of(folds, fold, min(1, k - 2))
        assert not {cohort.cases[s].patient for s in split.train} & {cohort.cases[s].patient for s in split.test}
        assert sorted((*split.train, *split.validation, *split.test)) == sorted(cohort.cases)
        check_leakage(split)


@few
@given(cohorts(), st.data())
def test_fewer_patients_are_always_among_more(drawn, data):
    cohort, patients = drawn
    split = Split(tuple(sorted(cohort.cases)), (), ())
    more = data.draw(st.integers(1, patients))
    less = data.draw(st.integers(1, more))
    large, small = fewer(split, cohort, more), fewer(split, cohort, less)
    assert set(small.train) <= set(large.train)
    assert len({cohort.cases[name].patient for name in small.train}) == less


# slices


@few
@given(boxes, st.integers(0, 7), st.integers(0, 7), st.floats(-1, 1, width=32))
def test_padding_can_be_undone(shape, below, beside, fill):
    slices = np.random.default_rng(sum(shape)).random(shape, np.float32)
    padded, where = pad_slices(slices, (shape[1] + below, shape[2] + beside), fill)
    assert padded.shape == (shape[0], shape[1] + below, shape[2] + beside)
    np.testing.assert_array_equal(padded[(..., *where)], slices)
    outside = np.ones(padded.shape, bool)
    outside[(..., *where)] = False
    assert (padded[outside] == fill).all()


@few
@given(st.integers(0, 2**31), st.floats(0.0, 3.0))
def test_augmentation_keeps_images_in_range_and_masks_binary(seed, strength):
    rng = np.random.default_rng(seed)
    image = torch.from_numpy(rng.random((1, 16, 12), np.float32))
    mask = torch.from_numpy((rng.random((1, 16, 12)) < 0.3).astype(np.float32))
    change = Augmentation().scaled(strength).draw(rng, (16, 12))
    one, other = change.apply(image, mask), change.apply(image, mask)
    assert one[0].shape == image.shape
    assert 0 <= float(one[0].min()) <= float(one[0].max()) <= 1
    assert set(one[1].unique().tolist()) <= {0.0, 1.0}
    for a, b in zip(one, other, strict=True):
        assert torch.equal(a, b)


# scans


@st.composite
def scans(draw):
    """A scan a hospital could send: any number type, order and direction of the axes, tilt, place, and size of a voxel."""
    shape = draw(st.tuples(*[st.integers(1, 7)] * 3))
    dtype = np.dtype(draw(st.sampled_from(["uint8", "int8", "int16", "uint16", "int32", "float32"])))
    rng = np.random.default_rng(draw(st.integers(0, 2**31)))
    low, high = (-1024, 3071) if dtype.kind == "f" else (max(-1024, np.iinfo(dtype).min), min(3071, np.iinfo(dtype).max))
    voxels = rng.integers(low, high, shape, endpoint=True).astype(dtype)
    directions = np.eye(3)[:, draw(st.permutations(range(3)))] * draw(st.tuples(*[st.sampled_from([-1, 1])] * 3))
    tilt = np.deg2rad(draw(st.floats(-25, 25)))
    turn = np.array([[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ directions * draw(st.tuples(*[st.floats(0.3, 8.0)] * 3))
    affine[:3, 3] = draw(st.tuples(*[st.floats(-500, 500)] * 3))
    return Scan(voxels, affine)


@few
@given(scan=scans(), ending=st.sampled_from([".nii", ".nii.gz"]))
def test_any_valid_scan_is_read_as_it_was_written(scan, ending, tmp_path_factory):
    path = scan.save(tmp_path_factory.mktemp("scans") / f"scan{ending}")
    again = Scan.load(path)
    np.testing.assert_array_equal(again.voxels, scan.voxels)
    np.testing.assert_allclose(again.affine, scan.affine, rtol=1e-6, atol=1e-4)
    assert again.voxel_volume == pytest.approx(scan.voxel_volume, rel=1e-5)


@few
@given(scan=scans())
def test_axial_slices_go_back_to_where_they_came_from(scan):
    np.testing.assert_array_equal(scan.with_axial(scan.axial()).voxels, scan.voxels)
    assert sorted(scan.axial_spacing) == pytest.approx(sorted(scan.spacing))


@few
@given(scan=scans(), codes=st.sampled_from(["RAS", "LPS", "PIR", "SAL", "IRA"]))
def test_another_order_of_the_axes_is_the_same_patient(scan, codes):
    turned = scan.reoriented(codes)
    np.testing.assert_array_equal(turned.axial(), scan.axial())
    assert turned.axial_spacing == pytest.approx(scan.axial_spacing)
    assert turned.volume() == pytest.approx(scan.volume())
