"""nifti.py: what a header contradicts is said; what is assumed is believed; forms are written as they came."""

import gzip

import nibabel as nib
import numpy as np
import pytest

from scoat_lib import nifti
from scoat_lib.scan import Scan, ScanError


@pytest.fixture
def array(rng):
    return rng.integers(-1000, 300, (10, 9, 8)).astype(np.int16)


AFFINE = np.diag([-0.7, -0.7, 0.6, 1.0])


def two_sizes(array, path):
    image = nib.Nifti1Image(array, AFFINE)
    image.set_qform(AFFINE, 1)
    other = AFFINE.copy()
    other[2, 2] = 0.8
    image.set_sform(other, 1)
    image.header["pixdim"][3] = 0.6
    nib.save(image, path)
    return path


@pytest.mark.fault("two sizes in sform and qform", "refused with both; one may be chosen")
def test_two_sizes_are_refused_with_both_and_may_be_chosen(array, tmp_path):
    path = two_sizes(array, tmp_path / "x.nii.gz")
    with pytest.raises(ScanError, match=r"0\.7 × 0\.7 × 0\.8 mm, its qform and pixdim 0\.7 × 0\.7 × 0\.6 mm.*33 %"):
        Scan.load(path)
    assert Scan.load(path, assume=["sform"]).spacing == pytest.approx((0.7, 0.7, 0.8))
    assert Scan.load(path, assume=["qform"]).spacing == pytest.approx((0.7, 0.7, 0.6))


@pytest.mark.fault("two sizes without a qform", "refused; no qform is advised")
def test_two_sizes_without_a_qform_do_not_advise_it(array, tmp_path):
    image = nib.load(two_sizes(array, tmp_path / "x.nii.gz"))
    image.header["qform_code"] = 0
    path = tmp_path / "y.nii.gz"
    path.write_bytes(gzip.compress(image.to_bytes()))
    for assume in ([], ["qform"]):
        with pytest.raises(ScanError, match=r"its pixdim 0\.7 × 0\.7 × 0\.6 mm.*: --assume sform or correct pixdim$"):
            Scan.load(path, assume=assume)
    assert Scan.load(path, assume=["sform"]).spacing == pytest.approx((0.7, 0.7, 0.8))


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.fault("an assumption against what the header says", "not used, and said")
def test_what_is_assumed_against_the_header_is_said(kind, array, tmp_path):
    image = kind(array, AFFINE)  # an sform only
    nib.save(image, tmp_path / "s.nii")
    image.set_qform(AFFINE, 1)
    image.set_sform(None, 0)
    nib.save(image, tmp_path / "q.nii")
    for name, word, said in (
        ("s.nii", "RAS", "--assume RAS is not used: its header has a form, by which its axes are LPS"),
        ("q.nii", "ras", "--assume RAS is not used: its header has a form, by which its axes are LPS"),
        ("s.nii", "qform", "--assume qform is not used: its header has no qform"),
        ("q.nii", "sform", "--assume sform is not used: its header has no sform"),
    ):
        scan = Scan.load(tmp_path / name, assume=[word])
        assert scan.notes == (said,)
        np.testing.assert_allclose(scan.affine, AFFINE, atol=1e-6)
    for name, word in (("s.nii", "LPS"), ("s.nii", "sform"), ("q.nii", "qform"), ("s.nii", "mm")):
        assert Scan.load(tmp_path / name, assume=[word]).notes == ()


@pytest.mark.fault("a qform that is no rotation", "refused where it is to be used")
def test_a_qform_that_is_no_rotation_is_not_assumed(array, tmp_path):
    image = nib.Nifti1Image(array, AFFINE)
    image.set_qform(AFFINE, 1)
    image.header["quatern_b"] = image.header["quatern_c"] = 0.9
    (tmp_path / "x.nii").write_bytes(image.to_bytes())
    assert Scan.load(tmp_path / "x.nii").notes == ()
    with pytest.raises(ScanError, match="its qform is no rotation"):
        Scan.load(tmp_path / "x.nii", assume=["qform"])


def test_a_tilted_gantry_is_no_contradiction(array, tmp_path):
    """Sheared slices: the column is longer than the slices' distance, the volume is the same."""
    sheared = np.diag([-0.7, -0.7, 2.5, 1.0])
    sheared[1, 2] = 2.5 * np.tan(np.radians(20))
    image = nib.Nifti1Image(array, sheared)
    image.set_sform(sheared, 1)
    image.set_qform(None, 0)
    image.header["pixdim"][1:4] = (0.7, 0.7, 2.5)
    nib.save(image, tmp_path / "x.nii")
    assert Scan.load(tmp_path / "x.nii").voxel_volume == pytest.approx(0.7 * 0.7 * 2.5)


@pytest.mark.fault("two places in sform and qform", "said; both are written to the mask")
def test_two_places_are_said_and_both_are_written(array, tmp_path):
    image = nib.Nifti1Image(array, AFFINE)
    mirrored = AFFINE.copy()
    mirrored[0] *= -1
    image.set_qform(mirrored, 3)
    image.set_sform(AFFINE, 2)
    nib.save(image, tmp_path / "x.nii.gz")
    scan = Scan.load(tmp_path / "x.nii.gz")
    assert "sform (LPS) and its qform (RPS) place it" in scan.notes[0]
    np.testing.assert_allclose(scan.affine, AFFINE, atol=1e-6)
    np.testing.assert_allclose(Scan.load(tmp_path / "x.nii.gz", assume=["qform"]).affine, mirrored, atol=1e-6)
    assert Scan.load(tmp_path / "x.nii.gz", assume=["sform"]).notes == ()
    assumed = Scan.load(tmp_path / "x.nii.gz", assume=["qform"])
    for derived in (scan, scan.with_axial(scan.axial() > 0), assumed, assumed.with_axial(assumed.axial() > 0)):
        derived.save(tmp_path / "out.nii.gz")
        out = nib.load(tmp_path / "out.nii.gz").header
        assert (int(out["qform_code"]), int(out["sform_code"])) == (3, 2)
        np.testing.assert_allclose(out.get_qform(), mirrored, atol=1e-5)
        np.testing.assert_allclose(out.get_sform(), AFFINE, atol=1e-6)
    scan.reoriented("RAS").save(tmp_path / "turned.nii.gz")  # another grid: no form of the old one
    assert nib.aff2axcodes(nib.load(tmp_path / "turned.nii.gz").affine) == ("R", "A", "S")


@pytest.mark.fault("neither sform nor qform", "refused; the axes may be named")
def test_without_a_form_the_axes_may_be_named(array, tmp_path):
    image = nib.Nifti1Image(array, None)
    image.header.set_zooms((0.7, 0.8, 2.5))
    nib.save(image, tmp_path / "x.nii")
    with pytest.raises(ScanError, match=r"neither an sform nor a qform.*--assume LPS"):
        Scan.load(tmp_path / "x.nii")
    for codes in ("LPS", "ras", "PIR"):
        scan = Scan.load(tmp_path / "x.nii", assume=[codes])
        assert "".join(nib.aff2axcodes(scan.affine)) == codes.upper()
        assert scan.spacing == pytest.approx((0.7, 0.8, 2.5))
    np.testing.assert_array_equal(Scan.load(tmp_path / "x.nii", assume=["LPS"]).axial(), array.transpose(2, 1, 0))


@pytest.mark.fault("lengths in metres", "refused; mm may be assumed")
def test_metres_may_be_a_slip(array, tmp_path):
    image = nib.Nifti1Image(array, AFFINE)
    image.header.set_xyzt_units("meter")
    nib.save(image, tmp_path / "x.nii")
    with pytest.raises(ScanError, match=r"in metres, so a voxel would be 700 × 700 × 600 mm.*--assume mm"):
        Scan.load(tmp_path / "x.nii")
    assert Scan.load(tmp_path / "x.nii", assume=["mm"]).spacing == pytest.approx((0.7, 0.7, 0.6))


@pytest.mark.parametrize("word", ["up", "LLS", "LP", "LPSR", "LAP", ""])
def test_what_cannot_be_assumed_is_refused(word):
    with pytest.raises(ValueError, match="cannot be assumed; known: sform, qform, mm"):
        nifti.check_assumptions([word])
    nifti.check_assumptions(["sform", "mm", "ASR"])


def test_the_log_of_nibabel_is_kept_quiet_and_given_back(array, tmp_path, capfd):
    from nibabel.imageglobals import logger

    before = logger.level
    raw = bytearray(nib.Nifti1Image(array, AFFINE).to_bytes())
    raw[252:254] = (77).to_bytes(2, "little")  # a qform_code that is none
    (tmp_path / "x.nii").write_bytes(raw)
    Scan.load(tmp_path / "x.nii")
    assert capfd.readouterr().err == ""
    assert logger.level == before


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
def test_scaled_values_are_nibabels_rounded_once(dtype, order, tmp_path):
    """In float64, then to float32: scaled in float32, some would be off by a bit, and all by far with a large intercept."""
    info = np.iinfo(dtype) if dtype[0] in "iu" else None
    low, high = (info.min, info.max) if info else (-1e5, 1e5)
    rng = np.random.default_rng(3)
    voxels = rng.uniform(low, high, (7, 6, 70)).astype(dtype) if info is None else rng.integers(low, high, (7, 6, 70), dtype)
    for slope, inter in ((0.1, 0), (1, -1024), (1500 / 255, -1250), (-1, 3.7), (3e-5, -2e9), (1e30, 1)):
        for more in ((), (1, 1)):
            header = nib.Nifti1Header(endianness=order)
            raw = bytearray(
                nib.Nifti1Image(voxels.reshape(*voxels.shape, *more), AFFINE, header, dtype=np.dtype(order + dtype)).to_bytes()
            )
            raw[112:120] = np.array([slope, inter], f"{order}f4").tobytes()  # scl_slope, scl_inter
            (tmp_path / "x.nii").write_bytes(raw)
            with np.errstate(over="ignore"):
                expected = nib.load(tmp_path / "x.nii").get_fdata().reshape(voxels.shape).astype(np.float32)
            if not np.isfinite(expected).all():
                with pytest.raises(ScanError, match="too large for float32"):
                    Scan.load(tmp_path / "x.nii")
                continue
            found = Scan.load(tmp_path / "x.nii").voxels
            assert (found.dtype, found.flags.f_contiguous) == (np.float32, True)  # as the file has them
            np.testing.assert_array_equal(found, expected)


def test_memory_stays_below_four_times_the_scan(tmp_path):
    import tracemalloc

    big = np.zeros((256, 256, 60), np.int16)
    for name in ("x.nii", "x.nii.gz"):
        nib.save(nib.Nifti1Image(big, AFFINE), tmp_path / name)
        tracemalloc.start()
        Scan.load(tmp_path / name)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 4 * big.nbytes, name
