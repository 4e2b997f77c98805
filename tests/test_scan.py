"""scan.py: what goes in comes out, on every axis order; what cannot be used is refused in words."""

import gzip
import re

import nibabel as nib
import numpy as np
import pytest

from scoat_lib import phantom
from scoat_lib.scan import Scan, ScanError, calibrated, check_hounsfield, load_pair, tissue_peaks, window

AFFINE = np.array([[-0.7, 0, 0, 100], [0, -0.8, 0, 90], [0, 0, 2.5, -300], [0, 0, 0, 1.0]])


def write(path, array, affine=AFFINE, **header):
    image = nib.Nifti1Image(array, affine)
    for key, value in header.items():
        image.header[key] = value
    nib.save(image, path)
    return path


@pytest.fixture
def volume(rng):
    return rng.integers(-1000, 400, (5, 6, 7)).astype(np.int16)


@pytest.mark.parametrize("dtype", [np.int16, np.uint8, np.int32, np.uint16, np.float32, np.float64])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_round_trip_keeps_voxels_affine_and_spacing(tmp_path, volume, dtype, suffix):
    array = np.abs(volume).astype(dtype)
    scan = Scan.load(write(tmp_path / f"a{suffix}", array))
    again = Scan.load(scan.save(tmp_path / f"b{suffix}"))
    np.testing.assert_array_equal(again.voxels, array.astype(again.voxels.dtype))
    np.testing.assert_allclose(again.affine, AFFINE, atol=1e-5)
    assert again.spacing == pytest.approx((0.7, 0.8, 2.5))


def test_slope_and_intercept_are_applied(tmp_path):
    image = nib.Nifti1Image(np.full((3, 3, 3), 100, np.uint8), AFFINE)
    image.header.set_slope_inter(1500 / 255, -1250)
    nib.save(image, tmp_path / "a.nii")
    assert Scan.load(tmp_path / "a.nii").voxels[0, 0, 0] == pytest.approx(100 * 1500 / 255 - 1250, abs=0.01)


@pytest.mark.parametrize("codes", ["LPS", "RAS", "PIR", "SAL", "ASL", "IRP"])
def test_axial_is_the_same_for_every_axis_order(volume, codes):
    scan = Scan(volume, AFFINE)
    turned = scan.reoriented(codes)
    assert "".join(nib.aff2axcodes(turned.affine)) == codes
    np.testing.assert_array_equal(turned.axial(), scan.axial())
    assert turned.axial_spacing == pytest.approx((2.5, 0.8, 0.7))
    np.testing.assert_array_equal(turned.with_axial(turned.axial()).voxels, turned.voxels)


def test_axial_is_feet_to_head_front_to_back_right_to_left():
    array = np.zeros((4, 4, 4), np.int16)
    array[0, 0, 0] = 1  # in RAS+ index 0 is left... so with positive axes: patient's left-most is the last of a row
    scan = Scan(array, np.eye(4))  # axes toward right, anterior, superior
    slices = scan.axial()
    assert slices[0, 3, 3] == 1  # feet, back, patient's left


def test_volume_uses_the_determinant(volume):
    tilted = AFFINE.copy()
    tilted[1, 2] = 1.0  # a tilted gantry: slices shear against each other
    scan = Scan(np.ones((10, 10, 10), np.uint8), tilted)
    assert scan.volume() == pytest.approx(1000 * 0.7 * 0.8 * 2.5 / 1000)


def test_window_maps_and_clips():
    np.testing.assert_allclose(window([-2000, -1250, -500, 250, 900]), [0, 0, 0.5, 1, 1])
    with pytest.raises(ValueError, match="empty"):
        window([0], 5, 5)


def check_refused(path, *words, **options):
    with pytest.raises(ScanError) as caught:
        Scan.load(path, **options)
    assert path.name in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_refuses_what_is_no_nifti(tmp_path, volume):
    check_refused(tmp_path / "absent.nii", "does not exist")
    (tmp_path / "empty.nii").touch()
    check_refused(tmp_path / "empty.nii", "empty")
    (tmp_path / "text.nii").write_text("hello " * 100)
    check_refused(tmp_path / "text.nii", "NIfTI")
    (tmp_path / "text.nii.gz").write_bytes(gzip.compress(b"hello " * 100))
    check_refused(tmp_path / "text.nii.gz", "NIfTI")
    (tmp_path / "notes.txt").write_text("hello")
    check_refused(tmp_path / "notes.txt", "expected .nii")


def test_refuses_dicom_and_names_dcm2niix(tmp_path):
    folder = tmp_path / "series"
    folder.mkdir()
    (folder / "IM0001").write_bytes(b"\0" * 128 + b"DICM" + b"\0" * 20)
    check_refused(folder / "IM0001", "DICOM", "dcm2niix")
    check_refused(folder, "holds no DICOM images")
    (tmp_path / "other").mkdir()
    check_refused(tmp_path / "other", "folder")


@pytest.mark.parametrize("keep", [0.3, 0.9, 0.999])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_refuses_a_cut_off_file(tmp_path, rng, keep, suffix):
    whole = write(tmp_path / f"whole{suffix}", rng.integers(-1000, 400, (20, 20, 20)).astype(np.int16)).read_bytes()
    cut = tmp_path / f"cut{suffix}"
    cut.write_bytes(whole[: int(keep * len(whole)) - 1])
    check_refused(cut)


def test_refuses_other_shapes(tmp_path):
    check_refused(write(tmp_path / "flat.nii", np.zeros((4, 4), np.int16)), "three axes")
    check_refused(write(tmp_path / "series.nii", np.zeros((4, 4, 4, 2), np.int16)), "three axes")
    assert Scan.load(write(tmp_path / "one.nii", np.zeros((4, 5, 6, 1), np.int16))).voxels.shape == (4, 5, 6)


def test_refuses_values_that_are_no_hu(tmp_path, volume):
    array = volume.astype(np.float32)
    array[0, 0, 0], array[1, 1, 1] = np.nan, np.inf
    check_refused(write(tmp_path / "nan.nii", array), "2 voxels", "NaN")
    check_refused(write(tmp_path / "complex.nii", np.zeros((3, 3, 3), np.complex64)), "complex")
    with pytest.raises(ScanError, match="Hounsfield"):
        check_hounsfield(Scan(np.arange(27).reshape(3, 3, 3), AFFINE))


def test_refuses_unusable_affines(tmp_path, volume):
    for scale, word in ((0.001, "spacing"), (100, "spacing")):
        with pytest.raises(ScanError, match=word):
            Scan(volume, np.diag([scale, 1, 1, 1.0]))
    with pytest.raises(ScanError, match="spacing"):
        Scan(volume, np.diag([0, 1, 1, 1.0]))
    c, s = np.cos(np.radians(42)), np.sin(np.radians(42))
    with pytest.raises(ScanError, match="oblique by 42"):
        Scan(volume, np.array([[1, 0, 0, 0], [0, c, -s, 0], [0, s, c, 0], [0, 0, 0, 1.0]]))
    parallel = np.array([[1, 0.95, 0, 0], [0, 0.2, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    with pytest.raises(ScanError, match="parallel"):
        Scan(volume, parallel)


def test_slightly_oblique_scans_pass(volume):
    c, s = np.cos(np.radians(20)), np.sin(np.radians(20))
    scan = Scan(volume, np.array([[1, 0, 0, 0], [0, c, -s, 0], [0, s, c, 0], [0, 0, 0, 1.0]]))
    assert scan.axial().shape == (7, 6, 5)


def test_refuses_masks_that_are_not_binary(tmp_path):
    labels = np.zeros((4, 4, 4), np.uint8)
    labels[0] = 3
    check_refused(write(tmp_path / "labels.nii", labels), "0 and 1", "3", mask=True)
    labels[0] = 255
    check_refused(write(tmp_path / "bytes.nii", labels), "divide by 255", mask=True)


def test_refuses_another_scans_mask(tmp_path, volume):
    scan = write(tmp_path / "scan.nii", volume)
    write(tmp_path / "cut.nii", np.zeros((5, 6, 6), np.uint8))
    with pytest.raises(ScanError, match="another's mask"):
        load_pair(scan, tmp_path / "cut.nii")
    moved = AFFINE.copy()
    moved[2, 3] += 2.5
    write(tmp_path / "moved.nii", np.zeros((5, 6, 7), np.uint8), moved)
    with pytest.raises(ScanError, match=r"2\.50 mm away"):
        load_pair(scan, tmp_path / "moved.nii")


@pytest.mark.fault("integers beyond 32 bits, to be saved", "refused; nothing is written")
@pytest.mark.parametrize("value", [2**31, -(2**31) - 1, 2**32 + 5])
def test_integers_that_do_not_fit_are_refused(tmp_path, value):
    with pytest.raises(ScanError, match=rf"x\.nii: values from .*{value}.* do not fit into 32 bits"):
        Scan(np.array([0, value] * 4).reshape(2, 2, 2), AFFINE).save(tmp_path / "x.nii")
    assert not list(tmp_path.iterdir())
    most = Scan(np.array([-(2**31), 2**31 - 1] * 4).reshape(2, 2, 2), AFFINE)
    np.testing.assert_array_equal(Scan.load(most.save(tmp_path / "x.nii")).voxels, most.voxels)


def test_saves_whole_or_not_at_all(tmp_path, volume, monkeypatch):
    scan = Scan(volume, AFFINE)
    target = scan.save(tmp_path / "a.nii.gz")
    before = target.read_bytes()
    with pytest.raises(ScanError, match="exists already"):
        scan.save(target, overwrite=False)
    monkeypatch.setattr(nib, "save", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        scan.save(target)
    assert target.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.nii.gz"]
    with pytest.raises(ScanError, match=r"must end in \.nii"):
        scan.save(tmp_path / "a.mhd")
    with pytest.raises(ScanError, match="does not exist"):
        scan.save(tmp_path / "no" / "a.nii")


@pytest.mark.parametrize(("gain", "shift", "top"), [(1, 0, None), (0.96, 145, 250), (1.15, 130, None), (1, -40, 200)])
def test_a_lost_scale_is_found_again(gain, shift, top):
    """Any line through HU, and a top that was cut off, is undone by air and muscle; true HU stay nearly as they are."""
    true = phantom.patient(2, (128, 128, 32)).scan
    voxels = true.voxels * gain + shift
    scan = Scan(voxels if top is None else np.minimum(voxels, top), true.affine, "a.nii")
    air, muscle = tissue_peaks(scan)
    assert air == pytest.approx(-1000 * gain + shift, abs=10)
    assert muscle == pytest.approx(50 * gain + shift, abs=15)
    again = calibrated(scan)
    within = true.voxels < 60
    assert np.abs(again.voxels - true.voxels)[within].max() < 20
    assert again.voxels.dtype == np.float32
    assert again.path == scan.path
    np.testing.assert_array_equal(again.affine, true.affine)


def test_fat_and_contrast_medium_are_not_taken_for_muscle(rng):
    def chest(**parts):
        voxels = np.concatenate([rng.normal(hu, 15, n) for hu, n in parts.values()])
        return Scan(voxels.reshape(-1, 10, 10), np.eye(4))

    base = {"air": (-1000, 40_000), "lung": (-850, 20_000)}
    assert tissue_peaks(chest(**base, fat=(-100, 20_000), muscle=(45, 9_000)))[1] == pytest.approx(45, abs=8)
    assert tissue_peaks(chest(**base, muscle=(45, 20_000)))[1] == pytest.approx(45, abs=8)
    with_contrast = chest(**base, fat=(-100, 20_000), muscle=(45, 20_000), blood=(220, 8_000))
    assert tissue_peaks(with_contrast)[1] == pytest.approx(45, abs=8)
    padded = chest(**base, muscle=(45, 20_000)).voxels.copy()
    padded[:300] = -1100
    assert tissue_peaks(Scan(padded, np.eye(4)))[0] == pytest.approx(-1000, abs=8)
    cut_off = np.minimum(chest(**base, muscle=(45, 20_000), bone=(500, 20_000)).voxels, 250)
    assert tissue_peaks(Scan(cut_off, np.eye(4)))[1] == pytest.approx(45, abs=8)


def test_a_crop_without_muscle_cannot_be_calibrated(rng):
    lung = Scan(rng.normal(-850, 30, (20, 20, 20)), np.eye(4), "crop.nii.gz")
    assert tissue_peaks(lung) is None
    with pytest.raises(ScanError, match=r"crop.nii.gz: .* none of muscle.*whole chest"):
        calibrated(lung)
    assert tissue_peaks(Scan(np.full((4, 4, 4), 40.0), np.eye(4))) is None


# --- are these Hounsfield units? ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def chest():
    from scoat_lib import phantom

    return phantom.patient(seed=2, size=(96, 96, 24), volume=60.0).scan


@pytest.mark.fault("an offset of 1024, and inverted grey, with a padding value", "refused, with the shift")
@pytest.mark.parametrize("padding", [None, -1000, -1024, -2000, -3024, -32768])
def test_a_scale_is_judged_by_its_mass_whatever_pads_it(chest, padding):
    outside = np.hypot(*np.mgrid[-48:48, -48:48]) > 46

    def padded(voxels):
        voxels = np.array(voxels, np.int32)
        if padding is not None:
            voxels[outside] = padding
        return Scan(voxels, chest.affine)

    assert check_hounsfield(padded(chest.voxels)) == []
    with pytest.raises(ScanError, match=r"not in Hounsfield units.*subtract 10\d\d"):
        check_hounsfield(padded(chest.voxels.astype(np.int32) + 1024))
    with pytest.raises(ScanError, match=r"not in Hounsfield units.*looks inverted"):
        check_hounsfield(padded(-chest.voxels.astype(np.int32)))


@pytest.mark.fault("an intercept of -1024 that was applied twice", "refused, with the shift")
@pytest.mark.parametrize("padding", [None, -2048, -3024, -32768])
def test_a_scan_shifted_down_is_refused_with_the_shift(chest, padding):
    voxels = chest.voxels.astype(np.int32) - 1024
    if padding is not None:
        voxels[np.hypot(*np.mgrid[-48:48, -48:48]) > 46] = padding
    with pytest.raises(ScanError, match=r"not in Hounsfield units: \d\d % of it lies below -1150.*: add 10\d\d"):
        check_hounsfield(Scan(voxels, chest.affine))


def test_a_padded_lung_without_soft_tissue_passes(chest, rng):
    lung = rng.normal(-850, 60, (40, 40, 10))
    lung[np.hypot(*np.mgrid[-20:20, -20:20]) > 16] = -2000
    (note,) = check_hounsfield(Scan(lung, chest.affine))
    assert "is soft tissue" in note


def test_a_scale_somewhat_off_is_said(chest):
    (note,) = check_hounsfield(Scan(chest.voxels.astype(np.int32) + 130, chest.affine))
    assert "muscle lies near" in note
    assert "--calibrate" in note
    with pytest.raises(ScanError, match="one value only"):
        check_hounsfield(Scan(np.full((4, 4, 4), -1000), chest.affine))


@pytest.mark.fault("HU that are shifted by 60 to 700", "a warning, with the shift that mends it")
@pytest.mark.parametrize("padding", [None, -3024])
@pytest.mark.parametrize("shift", [-700, -500, -300, -250, -200, -150, -100, -60, 60, 90, 130, 200, 300, 400])
def test_the_shift_that_is_said_mends_it_and_so_does_what_is_advised(chest, shift, padding):
    voxels = chest.voxels.astype(np.int32) + shift
    if padding is not None:
        voxels[np.hypot(*np.mgrid[-48:48, -48:48]) > 46] = padding
    scan = Scan(voxels, chest.affine)
    (note,) = check_hounsfield(scan)
    way, by = re.search(r"; (add|subtract) (\d+) to bring both there", note).groups()
    assert {"add": 1, "subtract": -1}[way] * int(by) == pytest.approx(-shift, abs=12)
    if "--calibrate" in note:
        inside = (chest.voxels < 60) & (voxels != padding)
        assert np.abs(calibrated(scan).voxels - chest.voxels)[inside].max() < 25
    assert check_hounsfield(Scan(chest.voxels.astype(np.int32) + 30 * np.sign(shift), chest.affine)) == []


@pytest.mark.fault("HU that are stretched or squeezed", "a warning that advises no shift")
@pytest.mark.parametrize("gain", [0.7, 0.85, 1.15, 1.3, 1.5])
def test_what_no_shift_would_mend_advises_none(chest, gain):
    (note,) = check_hounsfield(Scan(np.rint(chest.voxels * gain).astype(np.int32), chest.affine))
    assert "check its slope" in note
    assert "to bring both" not in note
    assert "--calibrate" not in note


@pytest.mark.fault("HU cut off below muscle", "a warning that says where")
@pytest.mark.parametrize("top", [-200, -100, 0, 20])
def test_a_scan_cut_off_below_muscle_is_said(chest, top):
    (note,) = check_hounsfield(Scan(np.clip(chest.voxels, -1000, top), chest.affine))
    assert f"nothing in it is denser than {top} HU: what is denser was cut off" in note
    assert check_hounsfield(Scan(np.clip(chest.voxels, -1000, 60), chest.affine)) == []


def test_a_slice_whose_only_air_is_the_lungs_gets_no_advice(rng):
    """As the second cohort's crops are: in HU, with a peak at −850 where air's would be."""
    parts = {-860: 30_000, 45: 20_000}
    voxels = np.concatenate([rng.normal(hu, 25, n) for hu, n in parts.items()]).reshape(-1, 50, 1)
    (note,) = check_hounsfield(Scan(voxels, np.eye(4)))
    assert "whether it shows air outside the body" in note
    assert "--calibrate" not in note


def test_a_mask_in_another_order_of_axes_is_turned(chest, tmp_path):
    mask = Scan((chest.voxels > 0).astype(np.uint8), chest.affine)
    chest.save(tmp_path / "scan.nii.gz")
    for codes in ("RAS", "ASL", "SPR"):
        mask.reoriented(codes).save(tmp_path / "mask.nii.gz")
        _, turned = load_pair(tmp_path / "scan.nii.gz", tmp_path / "mask.nii.gz")
        np.testing.assert_array_equal(turned.voxels, mask.voxels)
        np.testing.assert_allclose(turned.affine, chest.affine, atol=1e-4)
    Scan(mask.voxels[:-1], mask.affine).save(tmp_path / "mask.nii.gz")
    with pytest.raises(ScanError, match="shape"):
        load_pair(tmp_path / "scan.nii.gz", tmp_path / "mask.nii.gz")


def test_peaks_do_not_depend_on_how_numbers_are_stored():
    """Whole numbers are counted one by one, others in bins; the bins are the same."""
    scan = phantom.patient(3, (64, 64, 16)).scan
    whole = np.round(scan.voxels).astype(np.int16)
    expected = tissue_peaks(Scan(whole.astype(np.float64), scan.affine))
    assert expected is not None
    for voxels in (whole, whole.astype(np.int32), whole.astype(np.float32), np.asfortranarray(whole)):
        assert tissue_peaks(Scan(voxels, scan.affine)) == expected


def test_a_window_leaves_its_input_alone():
    hu = np.array([-2000.0, 0.0, 500.0], np.float32)
    window(hu)
    assert hu.tolist() == [-2000, 0, 500]


@pytest.mark.parametrize("codes", ["LPS", "RAS", "SAL"])
def test_a_blank_scan_is_written_through_its_axial_view(codes):
    scan = phantom.patient(3, (64, 64, 16)).scan.reoriented(codes)
    made = scan.blank(np.uint8)
    made.axial()[:] = np.arange(made.voxels.size).reshape(made.axial().shape) % 251
    assert made.voxels.dtype == np.uint8
    np.testing.assert_array_equal(made.affine, scan.affine)
    np.testing.assert_array_equal(made.voxels, scan.with_axial(made.axial()).voxels)
    np.testing.assert_array_equal(made.axial().ravel(), np.arange(made.voxels.size) % 251)
