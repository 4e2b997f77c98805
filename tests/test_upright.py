"""upright.py: which way up a scan lies, by what it shows: turned all eight ways, in parts, on any grid; when it cannot know."""

import warnings
from itertools import product

import numpy as np
import pytest

from scoat_lib import phantom, upright
from scoat_lib.scan import Scan, ScanError
from scoat_lib.upright import AS_SAID, REVERSED, UNKNOWN

PAIRS = ("front_back", "head_foot", "left_right")


@pytest.fixture(scope="module")
def chest():
    return phantom.patient(41, (96, 96, 48)).scan


def turned(scan, front_back=False, head_foot=False, left_right=False):
    slices = scan.axial()[:: -1 if head_foot else 1, :: -1 if front_back else 1, :: -1 if left_right else 1]
    return scan.with_axial(slices)


def said(scan):
    position = upright.look(scan)
    return tuple(getattr(position, pair).says for pair in PAIRS)


def part(scan, first, last):
    between, row_mm, column_mm = scan.axial_spacing
    slices = scan.axial()[first:last]
    return Scan(np.ascontiguousarray(slices.transpose(2, 1, 0)), np.diag([-column_mm, -row_mm, between, 1.0]))


@pytest.mark.fault("a patient upside down, mirrored or head down", "told, pair by pair")
@pytest.mark.parametrize("ways", list(product((False, True), repeat=3)))
def test_all_eight_ways_are_told_apart(chest, ways):
    assert said(turned(chest, *ways)) == tuple(REVERSED if way else AS_SAID for way in ways)


@pytest.mark.parametrize("seed", [5, 6])
@pytest.mark.parametrize("size", [(64, 64, 16), (128, 128, 32)])
def test_other_patients_and_grids_raise_no_alarm(seed, size):
    scan = phantom.patient(seed, size, scanner="ab"[seed % 2]).scan
    assert upright.look(scan).reversed_pairs == ()
    assert upright.look(turned(scan, front_back=True)).front_back.says == REVERSED


@pytest.mark.parametrize("codes", ["RAS", "PIL"])
def test_the_files_axes_do_not_matter(chest, codes):
    assert said(chest.reoriented(codes)) == (AS_SAID,) * 3
    assert said(turned(chest.reoriented(codes), front_back=True)) == (REVERSED, AS_SAID, AS_SAID)


def test_eight_bit_windows_without_bone_still_tell(chest):
    cut = Scan(np.clip(chest.voxels, -1024, 110), chest.affine)
    assert said(cut) == (AS_SAID,) * 3
    assert upright.look(cut).front_back.cues["spine"] > 0.5
    assert said(turned(cut, True, True, False)) == (REVERSED, REVERSED, AS_SAID)


def test_a_patient_face_down_raises_no_alarm(chest):
    slices = chest.axial().copy()
    body = slices > -1001
    body[:] = upright.Chest(slices.astype(np.float32), chest.axial_spacing).body
    table = np.where(body, -1000, slices)  # what lies beside the patient
    down = np.where(body, slices, np.where(table[:, ::-1] > -800, table[:, ::-1], -1000))
    verdict = upright.look(chest.with_axial(down)).front_back
    assert verdict.says != REVERSED
    assert verdict.cues["table"] < -0.9  # it was seen in front
    assert verdict.score > 0.2  # and the bones were believed more


def test_a_single_slice_has_no_head_and_foot_but_a_front(chest):
    slice_ = part(chest, 26, 27)
    position = upright.look(slice_)
    assert (position.front_back.says, position.head_foot.says) == (AS_SAID, UNKNOWN)
    assert position.head_foot.score == 0
    assert upright.look(turned(slice_, front_back=True)).front_back.says == REVERSED
    assert upright.look(turned(slice_, left_right=True)).left_right.says != AS_SAID


def test_without_heart_or_liver_left_and_right_cannot_be_known(chest):
    above = part(chest, 36, 44)  # the apices
    assert upright.look(above).left_right.says == UNKNOWN
    assert upright.look(turned(above, left_right=True)).left_right.says == UNKNOWN


@pytest.mark.parametrize("hu", [-1000, 40])
def test_what_is_no_chest_is_refused_or_cannot_be_known(hu):
    voxels = np.full((40, 40, 30), hu, np.int16)
    voxels[:8, :, :] = -1000
    scan = Scan(voxels, np.diag([-4, -4, 4, 1.0]))
    assert upright.warning(scan) is None
    with pytest.raises(ScanError):  # of one value, or with nothing that is air and not padding
        upright.look(scan)
    noisy = Scan(voxels + np.random.default_rng(0).integers(-30, 30, voxels.shape), scan.affine)
    assert said(noisy) == (UNKNOWN,) * 3


def test_grey_values_are_refused_and_not_warned_of(chest):
    grey = Scan(np.clip((chest.voxels + 1350) / 6, 0, 255).astype(np.uint8), chest.affine)
    with pytest.raises(ScanError, match="Hounsfield"):
        upright.look(grey)
    assert upright.warning(grey) is None


def test_the_warning_says_what_where_and_what_to_do(chest, tmp_path):
    assert upright.warning(chest, "anna") is None
    text = upright.warning(turned(chest, True, True, False), "anna.nii.gz")
    for word in ("anna.nii.gz", "front and back", "head and foot", "face down", "Nothing was turned", "affine", "spine"):
        assert word in text
    assert "left and right" not in text
    assert "heart lies on the right" in upright.warning(turned(chest, False, False, True), "anna")
    path = turned(chest, front_back=True).save(tmp_path / "bert.nii.gz")
    assert "bert.nii.gz" in upright.warning(Scan.load(path))


def test_warn_warns_once_and_changes_nothing(chest):
    scan = turned(chest, front_back=True)
    before = scan.voxels.copy()
    with pytest.warns(upright.UprightWarning, match="front and back seems reversed"):
        upright.warn(scan, "anna")
    np.testing.assert_array_equal(scan.voxels, before)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert upright.warn(chest, "anna") is None


def test_a_scan_of_512_is_judged_as_one_of_128():
    small = phantom.patient(41, (128, 128, 50)).scan
    large = Scan(small.voxels.repeat(4, 0).repeat(4, 1).repeat(4, 2), np.diag([-0.7, -0.7, 1.5, 1.0]))
    assert said(large) == (AS_SAID,) * 3


def test_the_study_counts_misses_and_false_alarms_apart(chest):
    from studies import upright as study

    tally = {}
    study.count(tally, "one", part(chest, 0, 48))
    for pair in study.PAIRS:
        rates = study.rates(tally["one"][pair])
        assert rates["judged"] == 8
        assert rates["missed, said to be right"] == rates["missed, cannot know"] == rates["false alarms"] == 0
    cell = dict.fromkeys(study._COLUMNS, 0) | {
        f"upright: {AS_SAID}": 7,
        f"upright: {REVERSED}": 1,
        f"reversed: {REVERSED}": 5,
        f"reversed: {UNKNOWN}": 2,
        f"reversed: {AS_SAID}": 1,
    }
    rates = study.rates(cell)
    assert (rates["missed, said to be right"], rates["missed, cannot know"], rates["false alarms"]) == (0.125, 0.25, 0.125)
