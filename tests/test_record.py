"""record.py: the public record's names in every release, and its two faults mended once, by name and by what a file shows."""

import nibabel as nib
import numpy as np
import pytest

from scoat_lib import phantom, record, upright
from scoat_lib.cohort import MASKS, SCANS, DataError, find_cases
from scoat_lib.scan import AIR_HU, MUSCLE_HU, Scan, tissue_peaks

UPRIGHT = "radiopaedia_10_85902_1"
HEADLESS = "radiopaedia_7_85703_0"
KAGGLE = {
    "coronacases_001": "coronacases_org_001.nii",
    UPRIGHT: "radiopaedia_org_covid-19-pneumonia-10_85902_1-dcm.nii",
    HEADLESS: "radiopaedia_org_covid-19-pneumonia-7_85703_0-dcm.nii",
}


@pytest.fixture(scope="module")
def chest():
    return phantom.patient(41, (96, 96, 32), volume=60)


def as_recorded(chest, name, low=-1350.0, dtype=np.uint8):
    """The scan and its mask as the record has them: 8-bit grey of a window of 1500 HU, and a header that is wrong."""
    grey = np.rint(np.clip((chest.scan.voxels - low) / 1500, 0, 1) * 255).astype(dtype)
    wrong = record.reflected(chest.scan.affine, grey.shape, record.SWAPPED.get(name, ()))
    return nib.Nifti1Image(grey, wrong), nib.Nifti1Image(chest.lesions.voxels, wrong)


def saved(image, path):
    nib.save(image, path)
    return nib.load(path)


def test_the_constants_are_the_cohorts():
    assert (record.FOLDERS["scan"], record.FOLDERS["infection"]) == (SCANS, MASKS)
    assert len(record.CORONACASES) == len(record.RADIOPAEDIA) == 10
    assert set(record.SWAPPED) == set(record.RADIOPAEDIA)
    assert record.SWAPPED[HEADLESS] == ("front and back", "head and foot")


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("coronacases_001.nii.gz", "coronacases_001"),
        ("coronacases_org_001.nii", "coronacases_001"),
        ("coronacases_10.nii", "coronacases_010"),
        ("radiopaedia_4_85506_1.nii.gz", "radiopaedia_4_85506_1"),
        ("radiopaedia_org_covid-19-pneumonia-10_85902_1-dcm.nii", "radiopaedia_10_85902_1"),
        ("coronacases_001_infection_mask.nii.gz", "coronacases_001"),
        ("coronacases_011.nii", None),
        ("radiopaedia_1_2_3.nii", None),
        ("phantom_001.nii.gz", None),
    ],
)
def test_a_case_is_known_by_every_releases_name(file, name):
    assert record.case_name(file) == name


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("ct_scans", "scan"),
        ("COVID-19-CT-Seg_20cases", "scan"),
        ("Infection_Mask", "infection"),
        ("infection_mask", "infection"),
        ("lung_mask", "lung"),
        ("lung_and_infection_mask", "both"),
        ("Lung_and_Infection_Mask", "both"),
        ("data", None),
    ],
)
def test_a_folder_is_known_by_every_releases_name(folder, kind):
    assert record.kind_of(folder) == kind


@pytest.mark.parametrize("name", [UPRIGHT, HEADLESS])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float64])
def test_the_radiopaedia_scans_are_mended(chest, name, dtype, tmp_path):
    grey, lesions = as_recorded(chest, name, dtype=dtype)
    scan, done = record.mended_scan(saved(grey, tmp_path / "a.nii.gz"), name)
    assert done == (*record.SWAPPED[name], "HU by air and muscle")
    mask, _ = record.mended_mask(saved(lesions, tmp_path / "m.nii.gz"), scan, name)
    saved(scan, tmp_path / "b.nii.gz"), saved(mask, tmp_path / "n.nii.gz")
    got, got_mask = Scan.load(tmp_path / "b.nii.gz"), Scan.load(tmp_path / "n.nii.gz", mask=True)
    np.testing.assert_allclose(got.affine, chest.scan.affine, atol=1e-3)
    np.testing.assert_array_equal(got_mask.affine, got.affine)
    np.testing.assert_array_equal(got_mask.axial(), chest.lesions.axial())
    within = (chest.scan.axial() > -1000) & (chest.scan.axial() < 100)
    assert np.abs(got.axial() - chest.scan.axial())[within].mean() < 40
    assert upright.look(got).reversed_pairs == ()
    assert record.mark_of(nib.load(tmp_path / "b.nii.gz")) == done
    for form in ("get_sform", "get_qform"):  # readers differ in which they believe
        affine, code = getattr(nib.load(tmp_path / "b.nii.gz"), form)(coded=True)
        assert code == 1
        np.testing.assert_allclose(affine, got.affine, atol=1e-3)


@pytest.mark.parametrize("low", [-1350.0, -1250.0, -1400.0])
def test_grey_becomes_hu_by_the_scans_own_air_and_muscle(chest, low):
    scan, done = record.mended_scan(as_recorded(chest, UPRIGHT, low)[0], UPRIGHT)
    got = Scan(_values(scan), scan.affine)
    assert "HU by air and muscle" in done
    assert tissue_peaks(got) == pytest.approx((AIR_HU, MUSCLE_HU), abs=15)
    assert got.voxels.min() >= record.LOWEST_HU


def _values(image):
    """What a file of this image would read as."""
    return nib.Nifti1Image.from_bytes(image.to_bytes()).get_fdata()


def test_without_air_and_muscle_the_window_stands(rng):
    grey = rng.integers(60, 110, (24, 24, 5)).astype(np.uint8)  # a crop of a lung
    grey[0] = 0
    scan, done = record.mended_scan(nib.Nifti1Image(grey, np.diag([-3, -3, 4, 1.0])), "radiopaedia_4_85506_1")
    assert done == ("front and back", "HU by window")
    assert _values(scan).max() == pytest.approx(109 / 255 * 1500 - 1350, abs=1)
    assert _values(scan).min() == pytest.approx(-1024, abs=6)


@pytest.mark.parametrize("name", [UPRIGHT, HEADLESS])
def test_nothing_is_mended_twice(chest, name, tmp_path):
    grey, lesions = as_recorded(chest, name)
    scan, _ = record.mended_scan(grey, name)
    scan = saved(scan, tmp_path / "a.nii.gz")
    assert record.mended_scan(scan, name) == (scan, ())
    mask = saved(record.mended_mask(lesions, scan, name)[0], tmp_path / "m.nii.gz")
    assert record.mended_mask(mask, scan, name) == (mask, ())


def test_peaks_that_no_chest_has_are_not_believed(rng):
    """Humps at −700 and 0 HU of the window: 700 HU apart, where air and muscle are 1045."""
    grey = np.where(rng.random((40, 40, 8)) < 0.5, rng.normal(110, 6, (40, 40, 8)), rng.normal(230, 2, (40, 40, 8)))
    grey = np.clip(np.rint(grey), 0, 255).astype(np.uint8)
    assert record.mended_scan(nib.Nifti1Image(grey, np.diag([-3, -3, 4, 1.0])), "coronacases_001")[1] == ("HU by window",)


def test_the_note_in_the_header_keeps_what_shows_nothing_from_being_turned_back(rng, tmp_path):
    grey = rng.integers(0, 256, (24, 24, 5)).astype(np.uint8)
    first, done = record.mended_scan(nib.Nifti1Image(grey, np.diag([-3, -3, 4, 1.0])), HEADLESS)
    assert set(record.SWAPPED[HEADLESS]) < set(done)  # by its name alone
    first = saved(first, tmp_path / "a.nii.gz")
    assert record.mended_scan(first, HEADLESS) == (first, ())


def test_a_turned_volume_keeps_its_place(chest):
    shape, affine = (
        chest.scan.voxels.shape,
        chest.scan.affine @ np.array([[1, 0, 0.1, 5], [0, 1, 0, -7], [0, 0.1, 1, 300], [0, 0, 0, 1.0]]),
    )
    turned = record.reflected(affine, shape, ("front and back", "head and foot"))
    ends = np.array([[0, 0, 0, 1], [*(np.array(shape) - 1), 1]]).T
    np.testing.assert_allclose((turned @ ends).sum(1), (affine @ ends).sum(1), atol=1e-6)  # the same centre
    np.testing.assert_allclose((turned @ ends)[1:3, 0], (affine @ ends)[1:3, 1], atol=1e-6)  # ends change places
    np.testing.assert_allclose((turned @ ends)[0], (affine @ ends)[0])  # right and left as they were


@pytest.mark.parametrize("name", [UPRIGHT, HEADLESS])
def test_a_file_that_is_upright_already_is_not_turned(chest, name):
    whole = nib.Nifti1Image(chest.scan.voxels, chest.scan.affine)
    assert record.mended_scan(whole, name) == (whole, ())
    grey = as_recorded(chest, "coronacases_001")[0]  # upright, but grey
    scan, done = record.mended_scan(grey, name)
    assert done == ("HU by air and muscle",)
    np.testing.assert_allclose(scan.affine, chest.scan.affine, atol=1e-4)
    mask = nib.Nifti1Image(chest.lesions.voxels, chest.lesions.affine)
    assert record.mended_mask(mask, scan, name) == (mask, ())


def test_half_mended_files_get_the_other_half(chest):
    turned = record.reflected(chest.scan.affine, chest.scan.voxels.shape, ("front and back",))
    _, done = record.mended_scan(nib.Nifti1Image(chest.scan.voxels, turned), UPRIGHT)  # HU, but turned
    assert done == ("front and back",)
    _, done = record.mended_scan(nib.Nifti1Image(chest.scan.voxels, turned), HEADLESS)  # its feet are right, its front is not
    assert done == ("front and back",)


def test_a_coronacases_scan_is_never_turned(chest):
    turned = record.reflected(chest.scan.affine, chest.scan.voxels.shape, ("front and back",))
    image = nib.Nifti1Image(chest.scan.voxels, turned)
    assert record.mended_scan(image, "coronacases_001") == (image, ())


def test_the_scale_of_the_first_download_is_mended(chest, tmp_path):
    grey, _ = as_recorded(chest, UPRIGHT)
    grey.header.set_slope_inter(1500 / 255, -1250)
    old = saved(grey, tmp_path / "a.nii.gz")
    assert record.is_grey(tmp_path / "a.nii.gz")
    scan, done = record.mended_scan(old, UPRIGHT)
    assert done == ("front and back", "HU by air and muscle")
    assert tissue_peaks(Scan(_values(scan), scan.affine)) == pytest.approx((AIR_HU, MUSCLE_HU), abs=15)


def test_slope_and_intercept_of_a_scan_in_hu_are_kept(chest, tmp_path):
    turned = record.reflected(chest.scan.affine, chest.scan.voxels.shape, ("front and back",))
    image = nib.Nifti1Image((chest.scan.voxels + 1024).astype(np.uint16), turned)
    image.header.set_slope_inter(1, -1024)
    scan, _ = record.mended_scan(saved(image, tmp_path / "a.nii.gz"), UPRIGHT)
    assert scan.get_data_dtype() == np.uint16
    np.testing.assert_array_equal(_values(scan), chest.scan.voxels)


def test_masks_that_cannot_pair_are_refused(chest):
    grey, lesions = as_recorded(chest, UPRIGHT)
    scan, _ = record.mended_scan(grey, UPRIGHT)
    with pytest.raises(record.RecordError, match="another's mask"):
        record.mended_mask(nib.Nifti1Image(lesions.get_fdata()[:-1], lesions.affine), scan, UPRIGHT)
    other = Scan(np.asarray(lesions.dataobj), lesions.affine).reoriented("ALS")
    with pytest.raises(record.RecordError, match="do not pair"):
        record.mended_mask(nib.Nifti1Image(other.voxels, other.affine), scan, UPRIGHT)
    with pytest.raises(record.RecordError, match="three axes"):
        record.mended_scan(nib.Nifti1Image(np.zeros((3, 3), np.uint8), np.eye(4)), UPRIGHT)


def kaggle(chest, folder, masks=True):
    """A folder as Kaggle has it."""
    for kind in ("ct_scans", "infection_mask", "lung_mask"):
        (folder / kind).mkdir(parents=True)
    for name, file in KAGGLE.items():
        if name.startswith("radiopaedia"):
            scan, lesions = as_recorded(chest, name)
        else:
            scan, lesions = (nib.Nifti1Image(s.voxels, s.affine) for s in (chest.scan, chest.lesions))
        nib.save(scan, folder / "ct_scans" / file)
        if masks:
            nib.save(lesions, folder / "infection_mask" / f"{name}.nii")
            nib.save(lesions, folder / "lung_mask" / f"{name}.nii")
    return folder


def test_kaggles_copy_is_recognised_and_paired(chest, tmp_path):
    copy = record.find(kaggle(chest, tmp_path / "k"))
    assert str(copy) == "3 scans, 3 infection masks, 3 lung masks"
    files = record.paired(copy)
    assert set(files) == {"scan", "infection", "lung"}
    assert set(files["scan"]) == set(files["infection"]) == set(KAGGLE)


def test_a_folder_one_too_deep_and_a_folder_per_file_are_recognised(chest, tmp_path):
    folder = kaggle(chest, tmp_path / "k" / "covid19-ct-scans")
    file = folder / "ct_scans" / KAGGLE["coronacases_001"]
    file.rename(tmp_path / "x.nii")
    file.mkdir()
    (tmp_path / "x.nii").rename(file / file.name)
    assert str(record.find(tmp_path / "k")) == "3 scans, 3 infection masks, 3 lung masks"


def test_what_is_missing_or_unknown_is_refused_with_the_names_that_are_wanted(chest, tmp_path):
    with pytest.raises(record.RecordError, match="no such folder"):
        record.find(tmp_path / "no")
    folder = kaggle(chest, tmp_path / "k")
    mask = folder / "infection_mask" / f"{UPRIGHT}.nii"
    mask.rename(tmp_path / "away.nii")
    with pytest.raises(record.RecordError, match=rf"no infection mask of {UPRIGHT}.*wanted: ct_scans"):
        record.paired(record.find(folder))
    (tmp_path / "away.nii").rename(mask)
    (folder / "ct_scans" / "anna.nii").write_bytes(b"x")
    with pytest.raises(record.RecordError, match=r"ct_scans/anna.nii: not a file of the public record.*wanted"):
        record.paired(record.find(folder))
    (folder / "ct_scans" / "anna.nii").rename(folder / "ct_scans" / "coronacases_001.nii")
    with pytest.raises(record.RecordError, match="both the scan of coronacases_001"):
        record.find(folder)
    (tmp_path / "empty").mkdir()
    with pytest.raises(record.RecordError, match="no scan of the public record"):
        record.paired(record.find(tmp_path / "empty"))


def test_find_cases_says_what_it_recognised_and_which_command_mends_it(chest, tmp_path):
    folder = kaggle(chest, tmp_path / "k")
    with pytest.raises(DataError) as caught:
        find_cases(folder)
    for word in ("3 scans, 3 infection masks", "python data/download.py --from", str(folder), "expected"):
        assert word in str(caught.value)
    # unpacked by hand under the record's own names, but with the scans' names of another release
    (folder / "ct_scans").rename(folder / SCANS)
    (folder / "infection_mask").rename(folder / MASKS)
    with pytest.raises(DataError, match=r"missing.*--from"):
        find_cases(folder)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError) as caught:
        find_cases(tmp_path / "empty")
    assert "--from" not in str(caught.value)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16])
def test_find_cases_refuses_the_records_grey_values(chest, tmp_path, dtype):
    grey, lesions = as_recorded(chest, UPRIGHT, dtype=dtype)
    for kind, image in ((SCANS, grey), (MASKS, lesions)):
        (tmp_path / kind).mkdir()
        nib.save(image, tmp_path / kind / f"{UPRIGHT}.nii.gz")
    with pytest.raises(DataError, match=r"8-bit grey.*--from"):
        find_cases(tmp_path)
    scan, _ = record.mended_scan(grey, UPRIGHT)
    nib.save(scan, tmp_path / SCANS / f"{UPRIGHT}.nii.gz")
    assert [case.name for case in find_cases(tmp_path)] == [UPRIGHT]
    (tmp_path / SCANS / f"{UPRIGHT}.nii.gz").write_bytes(b"damaged")  # whoever reads it says so
    assert len(find_cases(tmp_path)) == 1
