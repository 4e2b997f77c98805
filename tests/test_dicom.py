"""dicom.py, series.py: a series of a phantom reads as its NIfTI; what is no whole CT is refused; a SEG goes out and back."""

import gzip
import json
import shutil
import subprocess
import sys

import nibabel as nib
import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
    ExplicitVRLittleEndian,
    JPEGLosslessSV1,
    RLELossless,
    generate_uid,
)

from scoat_lib import cli, dicom, phantom
from scoat_lib import series as series_module
from scoat_lib.scan import Scan, ScanError

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
NAME = "Noone^Of All"


@pytest.fixture(scope="module")
def chest():
    """A phantom's scan, 48 × 64 × 14 voxels, axes toward left, back and head, in whole HU."""
    made = phantom.patient(5, (64, 64, 16)).scan
    return Scan(made.voxels[8:56, :, :14], made.affine @ np.diag([1, 1, 0.2, 1]))  # slices 3.75 mm apart


def write_series(folder, chest, flip=False, slopes=None, start=1, uid=None, **header):
    """The slices of a scan, one file each, as a scanner would; slopes: of each slice (slope, intercept); flip: head first."""
    folder.mkdir(exist_ok=True, parents=True)
    lps = LPS @ chest.affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    uid, study, frame = uid or generate_uid(), generate_uid(), generate_uid()
    count = chest.voxels.shape[2]
    order = range(count)[::-1] if flip else range(count)
    for number, k in enumerate(order, start):
        slope, intercept = slopes[k] if slopes else (1, -1024)
        d = pydicom.Dataset()
        d.file_meta = FileMetaDataset()
        d.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        d.SOPClassUID = d.file_meta.MediaStorageSOPClassUID = CTImageStorage
        d.SOPInstanceUID = d.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        d.PatientName, d.PatientID, d.PatientBirthDate, d.PatientSex = NAME, "4711", "19700101", "O"
        d.StudyInstanceUID, d.SeriesInstanceUID, d.FrameOfReferenceUID = study, uid, frame
        d.StudyDate, d.StudyTime, d.StudyID, d.AccessionNumber, d.ReferringPhysicianName = "20200301", "101500", "1", "", ""
        d.Modality, d.SeriesNumber, d.SeriesDescription, d.InstanceNumber = "CT", 3, "Lung 2.0", number
        d.Manufacturer, d.ImageType, d.PatientPosition = "phantom", ["ORIGINAL", "PRIMARY", "AXIAL"], "HFS"
        d.PositionReferenceIndicator = ""
        d.ImageOrientationPatient = [f"{v:.10g}"[:16] for v in [*lps[:3, 0] / spacing[0], *lps[:3, 1] / spacing[1]]]
        d.ImagePositionPatient = [f"{v:.10g}"[:16] for v in (lps @ [0, 0, k, 1])[:3]]
        d.PixelSpacing = [f"{spacing[1]:.10g}", f"{spacing[0]:.10g}"]
        d.SliceThickness = f"{spacing[2]:.10g}"
        d.Rows, d.Columns = chest.voxels.shape[1], chest.voxels.shape[0]
        d.SamplesPerPixel, d.PhotometricInterpretation = 1, "MONOCHROME2"
        d.BitsAllocated, d.BitsStored, d.HighBit, d.PixelRepresentation = 16, 16, 15, 1
        d.RescaleSlope, d.RescaleIntercept, d.RescaleType = slope, intercept, "HU"
        stored = np.rint((chest.voxels[:, :, k].T.astype(float) - intercept) / slope)
        d.PixelData = stored.astype("<i2").tobytes()
        for tag, value in header.items():
            setattr(d, tag, value)
        d.save_as(folder / f"IM{number:04d}", enforce_file_format=True)
    return folder


def change(path, change):
    """Read a file, let `change` alter it, write it."""
    d = pydicom.dcmread(path)
    change(d)
    d.save_as(path)


def placed(chest, kind):
    """The phantom on other grids: the same voxels, another affine."""
    affine = chest.affine.copy()
    size = np.diag(np.linalg.norm(affine[:3, :3], axis=0))
    if kind == "oblique":
        a, b = np.radians([12, 7])
        turn = [[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]] @ np.array(
            [[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]]
        )
        affine[:3, :3] = turn @ affine[:3, :3]
    elif kind == "feet first, prone":
        affine[:3, :3] = np.diag([1, 1, 1]) @ size  # rows toward the patient's right, columns to the front
    elif kind == "rectangular pixels":
        affine[:3, :3] = affine[:3, :3] @ np.diag([1, 1.25, 1])
    elif kind == "rows from left to right":
        affine[:3, :3] = affine[:3, :3] @ np.diag([-1, 1, 1])
    return Scan(chest.voxels, affine)


KINDS = ["axial", "oblique", "feet first, prone", "rectangular pixels"]


@pytest.mark.parametrize("flip", [False, True], ids=["feet to head", "head to feet"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_series_reads_as_the_nifti_of_the_same_phantom(tmp_path, chest, kind, flip):
    made = placed(chest, kind)
    made.save(tmp_path / "a.nii.gz")
    expected = Scan.load(tmp_path / "a.nii.gz")
    found = Scan.load(write_series(tmp_path / "series", made, flip))
    np.testing.assert_array_equal(found.voxels, expected.voxels)
    np.testing.assert_allclose(found.affine, expected.affine, atol=1e-4)
    assert found.voxels.dtype == np.int16
    assert found.notes == ()
    lesion = Scan((expected.voxels > -300).astype(np.uint8), expected.affine)
    assert Scan((found.voxels > -300).astype(np.uint8), found.affine).volume() == pytest.approx(lesion.volume(), rel=1e-6)
    np.testing.assert_array_equal(found.axial(), expected.axial())


def test_slices_against_the_normal_come_in_its_order_and_lie_where_they_lay(tmp_path, chest):
    """Rows from the patient's left to right: the normal points to the feet, so the first slice is the uppermost."""
    made = placed(chest, "rows from left to right")
    found = Scan.load(write_series(tmp_path / "series", made))
    assert "".join(nib.aff2axcodes(found.affine)) == "RPI"
    assert np.linalg.det((LPS @ found.affine)[:3, :3]) > 0
    np.testing.assert_array_equal(found.axial(), made.axial())
    for voxel in np.ndindex(2, 2, 2):  # a place in the patient holds the same value
        index = np.array(voxel) * (np.array(made.voxels.shape) - 1)
        there = np.rint(np.linalg.inv(found.affine) @ made.affine @ [*index, 1]).astype(int)[:3]
        assert found.voxels[tuple(there)] == made.voxels[tuple(index)]


def test_each_slice_has_its_own_slope_and_intercept(tmp_path, chest):
    slopes = [(1 + k % 3, -1024 - 100 * (k % 4)) for k in range(14)]
    even = Scan(chest.voxels // 6 * 6, chest.affine)
    found = Scan.load(write_series(tmp_path / "whole", even, slopes=slopes))
    assert found.voxels.dtype == np.int16
    for k, (slope, _) in enumerate(slopes):
        assert np.abs(found.voxels[:, :, k].astype(int) - even.voxels[:, :, k]).max() <= slope / 2
    np.testing.assert_array_equal(found.voxels[:, :, 0], even.voxels[:, :, 0])
    broken = Scan.load(write_series(tmp_path / "broken", even, slopes=[(0.25 + 0.5 * (k % 2), -1000.5) for k in range(14)]))
    assert broken.voxels.dtype == np.float32
    assert np.abs(broken.voxels - even.voxels).max() <= 0.375


def test_values_beyond_sixteen_bits_are_kept(tmp_path, chest):
    found = Scan.load(write_series(tmp_path / "s", chest, slopes=[(1, -1024)] * 14))
    for path in (tmp_path / "s").iterdir():
        change(path, lambda d: setattr(d, "RescaleIntercept", -40000))
    moved = Scan.load(tmp_path / "s")
    assert moved.voxels.dtype == np.int32
    np.testing.assert_array_equal(moved.voxels, found.voxels.astype(int) + 1024 - 40000)


def test_run_length_coding_is_undone(tmp_path, chest):
    folder = write_series(tmp_path / "s", chest)
    for path in folder.iterdir():
        d = pydicom.dcmread(path)
        d.compress(RLELossless)
        d.save_as(path)
    np.testing.assert_array_equal(Scan.load(folder).voxels, chest.voxels)


def test_series_are_listed(tmp_path, chest):
    write_series(tmp_path / "s", chest, uid="1.2.3")
    (found,) = dicom.series(tmp_path / "s")
    assert (found.uid, found.description, found.modality, found.slices) == ("1.2.3", "Lung 2.0", "CT", 14)
    assert found.date == "2020-03-01"
    assert found.unusable == ""
    assert found.spacing == pytest.approx(chest.spacing, rel=1e-6)
    assert "1.2.3 (Lung 2.0, 14 files," in str(found)
    assert "2020-03-01" in str(found)


def check_refused(folder, *words, uid=None, assume=()):
    with pytest.raises(ScanError) as caught:
        dicom.load(folder, uid, assume)
    assert str(folder) in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_several_series_are_listed_and_one_is_chosen(tmp_path, chest):
    write_series(tmp_path / "s", chest, uid="1.2.3")
    other = Scan(chest.voxels - 5, chest.affine)
    write_series(tmp_path / "s", other, uid="1.2.4", start=100, SeriesDescription="Soft 5.0")
    check_refused(tmp_path / "s", "2 series", "--series", "1.2.3 (Lung 2.0, 14 files", "1.2.4 (Soft 5.0, 14 files")
    with pytest.raises(ScanError, match="2 series"):
        Scan.load(tmp_path / "s")
    np.testing.assert_array_equal(dicom.load(tmp_path / "s", "1.2.4").voxels, other.voxels)
    np.testing.assert_array_equal(Scan.load(tmp_path / "s", series="1.2.3").voxels, chest.voxels)
    check_refused(tmp_path / "s", "no series 1.2.5", "1.2.4 (Soft", uid="1.2.5")


def test_what_lies_beside_the_only_ct_is_passed_over_and_said(tmp_path, chest):
    write_series(tmp_path / "s", chest, uid="1.2.3")
    write_series(tmp_path / "s", chest, start=50, uid="1.2.4", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    write_series(tmp_path / "s", chest, start=80, uid="1.2.5", Modality="MR")
    (tmp_path / "s" / "notes.txt").write_text("hello")
    found = dicom.load(tmp_path / "s")
    np.testing.assert_array_equal(found.voxels, chest.voxels)
    (note,) = found.notes
    assert "of 3 series the only CT was taken, 1.2.3" in note
    check_refused(tmp_path / "s", "localizer", uid="1.2.4")
    check_refused(tmp_path / "s", "is MR, not CT", uid="1.2.5")


def test_a_disk_with_folders_below_is_searched(tmp_path, chest):
    folder = write_series(tmp_path / "disk" / "PA0" / "SE0", chest, uid="1.2.3")
    np.testing.assert_array_equal(dicom.load(tmp_path / "disk").voxels, chest.voxels)
    assert not dicom.is_series(tmp_path / "disk"), "a folder of folders may be a folder of scans"
    assert dicom.is_series(folder)
    (tmp_path / "disk" / "DICOMDIR").write_bytes(bytes(128) + b"DICM")
    assert dicom.is_series(tmp_path / "disk")
    np.testing.assert_array_equal(Scan.load(tmp_path / "disk").voxels, chest.voxels)
    assert not dicom.is_series(folder / "IM0001")
    assert not dicom.is_series(tmp_path / "absent")


def test_refuses_a_folder_without_dicom(tmp_path):
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "notes.txt").write_text("hello")
    check_refused(tmp_path / "s", "holds no DICOM images")
    check_refused(tmp_path / "absent", "does not exist")
    check_refused(tmp_path / "s" / "notes.txt", "is no folder")


@pytest.mark.parametrize(("gone", "count"), [([5], 1), ([4, 5, 6], 3), ([2, 9], 2)])
def test_refuses_missing_slices(tmp_path, chest, gone, count):
    folder = write_series(tmp_path / "s", chest)
    for number in gone:
        (folder / f"IM{number:04d}").unlink()
    check_refused(folder, f"about {count} of its slices are missing", "--assume even")
    found = Scan.load(folder, assume=["even"])
    assert any("evenly spread" in note for note in found.notes)
    total = found.spacing[2] * (found.voxels.shape[2] - 1)
    assert total == pytest.approx(chest.spacing[2] * 13, rel=1e-6)


def move(folder, number, *by):
    def moved(d):
        d.ImagePositionPatient = [float(p) + b for p, b in zip(d.ImagePositionPatient, by, strict=True)]

    change(folder / f"IM{number:04d}", moved)


@pytest.mark.fault("uneven, double and shifted slices of a series", "refused; the place is named")
def test_refuses_uneven_and_double_and_shifted_slices(tmp_path, chest):
    thick = chest.spacing[2]
    folder = write_series(tmp_path / "uneven", chest)
    move(folder, 5, 0, 0, 0.3 * thick)
    check_refused(folder, "lie unevenly", "--assume even")
    folder = write_series(tmp_path / "rounded", chest)
    move(folder, 5, 0, 0, 0.01)
    assert dicom.load(folder).notes == ()
    folder = write_series(tmp_path / "double", chest)
    move(folder, 5, 0, 0, thick)
    check_refused(folder, "1 of its slices lie where another lies", "IM0005", "IM0006", assume=["even"])
    folder = write_series(tmp_path / "shifted", chest)
    move(folder, 5, 0, 4, 0)
    check_refused(folder, "shifted against each other by up to 4 mm", assume=["even"])


def write_enhanced(folder, chest, slopes=None, order=None, shared=(), parts=1, **header):
    """The slices of a scan as frames of an enhanced CT; order: of the frames; shared: groups said once; parts: files."""
    folder.mkdir(exist_ok=True, parents=True)
    single = write_series(folder / "single", chest, slopes=slopes)
    files = [pydicom.dcmread(path) for path in sorted(single.iterdir())]
    shutil.rmtree(single)
    files = [files[k] for k in (order or range(len(files)))]
    for part in range(parts):
        some = files[part::parts]
        d = pydicom.Dataset({e.tag: e for e in some[0]})
        d.file_meta = some[0].file_meta
        d.SOPClassUID = d.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
        d.SOPInstanceUID = d.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        for tag in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "RescaleSlope",
                    "RescaleIntercept", "RescaleType"):  # fmt: skip
            delattr(d, tag)
        d.NumberOfFrames = len(some)
        d.PerFrameFunctionalGroupsSequence = [_groups(file, set(series_module.GROUPS) - set(shared)) for file in some]
        d.SharedFunctionalGroupsSequence = [_groups(some[0], set(shared))]
        d.PixelData = b"".join(file.PixelData for file in some)
        for tag, value in header.items():
            setattr(d, tag, value)
        d.save_as(folder / f"EN{part:04d}", enforce_file_format=True)
    return folder


def _groups(file, names):
    groups = pydicom.Dataset()
    for name in names:
        item = pydicom.Dataset()
        for tag in series_module.GROUPS[name]:
            if tag in file:
                setattr(item, tag, file[tag].value)
        if len(item):
            setattr(groups, name, [item])
    return groups


ONCE = ("PlaneOrientationSequence", "PixelMeasuresSequence")


@pytest.mark.parametrize("parts", [1, 2], ids=["one file", "two files"])
@pytest.mark.parametrize("kind", [*KINDS, "tilted"])
def test_an_enhanced_ct_reads_as_the_series_of_single_slices(tmp_path, chest, kind, parts):
    made = tilted(chest, 15) if kind == "tilted" else placed(chest, kind)
    slopes = [(1 + k % 3, -1024 + k) for k in range(14)]
    order = np.random.default_rng(0).permutation(14).tolist()
    expected = Scan.load(write_series(tmp_path / "single", made, slopes=slopes))
    found = Scan.load(write_enhanced(tmp_path / "enhanced", made, slopes, order, ONCE, parts))
    np.testing.assert_array_equal(found.voxels, expected.voxels)
    np.testing.assert_array_equal(found.affine, expected.affine)
    assert found.voxels.dtype == expected.voxels.dtype
    assert found.notes == expected.notes
    (series,) = dicom.series(tmp_path / "enhanced")
    assert "14 frames, " in str(series)


def test_an_enhanced_ct_with_all_groups_in_each_frame_or_compressed(tmp_path, chest):
    expected = Scan.load(write_series(tmp_path / "single", chest))
    folder = write_enhanced(tmp_path / "each", chest)
    np.testing.assert_array_equal(Scan.load(folder).voxels, expected.voxels)
    change(folder / "EN0000", lambda d: d.compress(RLELossless))
    np.testing.assert_array_equal(Scan.load(folder).voxels, expected.voxels)


def test_frames_that_are_no_whole_stack_are_refused_by_number(tmp_path, chest):
    folder = write_enhanced(tmp_path / "missing", chest, order=[k for k in range(14) if k not in (6, 7)])
    check_refused(folder, "about 2 of its slices are missing", "EN0000 (frame 6)", "EN0000 (frame 7)")
    folder = write_enhanced(tmp_path / "phases", chest, order=[*range(14), *range(14)])
    check_refused(folder, "14 of its slices lie where another lies", "(frame 1)", "(frame 15)", "several phases")
    folder = write_enhanced(tmp_path / "place", chest)
    change(folder / "EN0000", lambda d: d.PerFrameFunctionalGroupsSequence[4].__delattr__("PlanePositionSequence"))
    check_refused(folder, "EN0000 (frame 5) lacks ImagePositionPatient")
    folder = write_enhanced(tmp_path / "count", chest, NumberOfFrames=13)
    check_refused(folder, "holds 13 frames, and the place of 14")
    folder = write_enhanced(tmp_path / "cut", chest)
    (folder / "EN0000").write_bytes((folder / "EN0000").read_bytes()[:-500])
    check_refused(folder, "EN0000", "cut off or damaged")


def test_of_an_enhanced_ct_no_segmentation_is_written(tmp_path, chest):
    folder = write_enhanced(tmp_path / "s", chest, shared=ONCE)
    mask = Scan(lesion(chest), Scan.load(folder).affine)
    with pytest.raises(ScanError, match=r"several slices in one file, of which no DICOM SEG is written here; .* convert"):
        dicom.save_segmentation(mask, folder, tmp_path / "out.dcm")
    assert not (tmp_path / "out.dcm").exists()


def test_two_times_in_one_series_are_refused(tmp_path, chest):
    write_series(tmp_path / "s", chest, uid="1.2.3")
    write_series(tmp_path / "s", chest, uid="1.2.3", start=100)
    check_refused(tmp_path / "s", "14 of its slices lie where another lies")


@pytest.mark.fault("two acquisitions in one series, half a slice apart", "refused; both named")
@pytest.mark.parametrize(
    ("tag", "values"),
    [("AcquisitionNumber", (1, 2)), ("TemporalPositionIdentifier", (1, 2)), ("AcquisitionDate", ("20200301", "20200401"))],
)
def test_two_acquisitions_between_each_other_are_refused(tmp_path, chest, tag, values):
    between = chest.affine.copy()
    between[:3, 3] += between[:3, 2] / 2
    for k, affine in enumerate((chest.affine, between)):
        write_series(tmp_path / "s", Scan(chest.voxels, affine), uid="1.2.3", start=1 + 100 * k, **{tag: values[k]})
    check_refused(tmp_path / "s", f"several acquisitions, the slices of one between those of another: {tag} is {values[0]}")


def test_frames_of_two_acquisitions_between_each_other_are_refused(tmp_path, chest):
    folder = write_enhanced(tmp_path / "s", chest)

    def alternate(d):
        for k, groups in enumerate(d.PerFrameFunctionalGroupsSequence):
            groups.FrameContentSequence = [pydicom.Dataset()]
            groups.FrameContentSequence[0].FrameAcquisitionNumber = 1 + k % 2

    change(folder / "EN0000", alternate)
    check_refused(folder, "several acquisitions", "FrameAcquisitionNumber is 1, 2 by turns, first at EN0000 (frame 2)")


def test_acquisitions_one_after_the_other_are_one_scan(tmp_path, chest):
    """Step and shoot: a rotation of the tube takes some slices, the next the next; or one slice is taken anew."""
    folder = write_series(tmp_path / "s", chest)
    for k, path in enumerate(sorted(folder.iterdir())):
        change(path, lambda d, k=k: setattr(d, "AcquisitionNumber", 1 + k // 4))
    assert dicom.load(folder).notes == ()
    change(folder / "IM0006", lambda d: setattr(d, "AcquisitionNumber", 9))
    assert dicom.load(folder).voxels.shape == chest.voxels.shape


@pytest.mark.fault("geometry of too few or too many numbers, or of none", "refused; file and tag named")
@pytest.mark.parametrize("every", [False, True], ids=["one slice", "all slices"])
@pytest.mark.parametrize(
    ("tag", "value"),
    [
        ("PixelSpacing", ["5.6"]),
        ("PixelSpacing", ["-5.6", "5.6"]),
        ("PixelSpacing", ["0", "5.6"]),
        ("PixelSpacing", ["nan", "5.6"]),
        ("ImagePositionPatient", ["1", "2"]),
        ("ImagePositionPatient", ["1", "2", "inf"]),
        ("ImageOrientationPatient", ["1", "0", "0", "0", "1"]),
        ("Rows", [64, 64]),
        ("GantryDetectorTilt", ["0", "0"]),
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid value:UserWarning")
def test_refuses_geometry_that_is_none(tmp_path, chest, tag, value, every):
    folder = write_series(tmp_path / "s", Scan(chest.voxels[:, :, :4], chest.affine))
    for path in sorted(folder.iterdir())[0 if every else 2 : 4 if every else 3]:
        change(path, lambda d: setattr(d, tag, value))
    check_refused(folder, f"IM000{1 if every else 3} has {tag} ", "number")


@pytest.mark.fault("geometry that is no number at all", "refused; file and tag named")
def test_refuses_geometry_that_is_no_number(tmp_path, chest):
    words = "\\".join(map(str, pydicom.dcmread(write_series(tmp_path / "s", chest) / "IM0003").PixelSpacing)).encode()
    path = tmp_path / "s" / "IM0003"
    path.write_bytes(path.read_bytes().replace(words, b"x" * len(words), 1))
    check_refused(tmp_path / "s", f"IM0003 has PixelSpacing {'x' * len(words)}, not 2 positive numbers")


def test_axes_that_are_assumed_of_a_series_are_said(tmp_path, chest):
    folder = write_series(tmp_path / "s", chest)
    assert dicom.load(folder, assume=["RAS"]).notes == (
        "--assume RAS is not used: each of its slices says where it lies, by which its axes are LPS",
    )
    assert dicom.load(folder, assume=["LPS"]).notes == ()


def tilted(chest, degrees):
    """A tilted gantry: the slices' plane leans, the table moves on along the patient."""
    affine = chest.affine.copy()
    a = np.radians(degrees)
    affine[:3, 1] = np.linalg.norm(affine[:3, 1]) * np.array([0, -np.cos(a), np.sin(a)])
    return Scan(chest.voxels, affine)


def test_a_tilted_gantry_is_said_and_the_volume_is_right(tmp_path, chest):
    made = tilted(chest, 20)
    found = Scan.load(write_series(tmp_path / "s", made, GantryDetectorTilt=20))
    (note,) = found.notes
    assert "gantry was tilted" in note
    assert "by 20.0°" in note
    np.testing.assert_allclose(found.affine, made.affine, atol=1e-4)
    assert found.voxel_volume == pytest.approx(chest.voxel_volume * np.cos(np.radians(20)), rel=1e-6)
    straight = Scan.load(write_series(tmp_path / "straight", chest, GantryDetectorTilt=20))
    assert "stand straight" in straight.notes[0]
    assert Scan.load(write_series(tmp_path / "none", chest, GantryDetectorTilt=0)).notes == ()


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ({"Modality": "MR"}, ["is MR, not CT"]),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, ["is a localizer (scout), no stack of slices"]),
        ({"NumberOfFrames": 4}, ["several frames in one file", "dcm2niix"]),
        ({"SamplesPerPixel": 3}, ["in colour"]),
        ({"ImagePositionPatient": None}, ["lacks ImagePositionPatient"]),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, ["no pair of perpendicular directions"]),
    ],
    ids=lambda v: "-".join(v) if isinstance(v, dict) else "",
)
def test_refuses_what_is_no_stack_of_ct_slices(tmp_path, chest, header, words):
    check_refused(write_series(tmp_path / "s", chest, **header), *words)


def test_refuses_slices_of_several_grids(tmp_path, chest):
    for tag, value, word in (
        ("Rows", 20, "differ in size: 1 of 14 do, IM0003 has 20 × 48"),
        ("PixelSpacing", [1.5, 1.5], "differ in pixel spacing"),
        ("ImageOrientationPatient", [0, 1, 0, 0, 0, -1], "differ in orientation"),
        ("ImageType", ["ORIGINAL", "PRIMARY", "LOCALIZER"], "IM0003 is a localizer"),
        ("ImagePositionPatient", None, "IM0003 lacks ImagePositionPatient"),
    ):
        folder = write_series(tmp_path / tag, chest)
        change(folder / "IM0003", lambda d, tag=tag, value=value: setattr(d, tag, value))
        check_refused(folder, word)


def test_refuses_a_single_slice(tmp_path, chest):
    folder = write_series(tmp_path / "s", Scan(chest.voxels[:, :, :1], chest.affine))
    check_refused(folder, "one slice only")


def test_refuses_a_compression_that_nothing_undoes(tmp_path, chest, monkeypatch):
    folder = write_series(tmp_path / "s", chest)
    for path in folder.iterdir():
        d = pydicom.dcmread(path)
        d.file_meta.TransferSyntaxUID = JPEGLosslessSV1
        d.PixelData = encapsulate([b"\xff\xd8\xff\xd9"])
        d.save_as(path)

    class Nothing:
        is_available = False

    monkeypatch.setattr(series_module, "get_decoder", lambda uid: Nothing)  # whatever is installed where this runs
    check_refused(folder, "compressed (JPEG Lossless", "pip install pylibjpeg", "dcm2niix")


@pytest.mark.fault("a damaged file of a series", "refused by its name")
def test_refuses_damaged_files_by_name(tmp_path, chest):
    folder = write_series(tmp_path / "s", chest)
    whole = (folder / "IM0004").read_bytes()
    (folder / "IM0004").write_bytes(whole[:-500])
    check_refused(folder, "IM0004", "cut off or damaged")
    (folder / "IM0004").write_bytes(whole)
    assert dicom.load(folder).voxels.shape == chest.voxels.shape
    (folder / "text.dcm").write_text("hello")
    check_refused(folder, "text.dcm", "not a readable DICOM file")


def test_what_is_said_of_values(tmp_path, chest):
    folder = write_series(tmp_path / "s", chest, LossyImageCompression="01", RescaleType="OD")
    change(folder / "IM0002", lambda d: d.__delattr__("RescaleSlope"))
    change(folder / "IM0002", lambda d: d.__delattr__("RescaleIntercept"))
    notes = " ".join(dicom.load(folder).notes)
    for words in ("1 of its 14 slices have no rescale slope", "OD by its header", "with loss"):
        assert words in notes
    assert "alone" not in notes


@pytest.mark.parametrize("tag", ["RescaleSlope", "RescaleIntercept"])
def test_half_a_rescale_is_said(tmp_path, chest, tag):
    folder = write_series(tmp_path / "s", chest)
    change(folder / "IM0002", lambda d: d.__delattr__(tag))
    assert "1 of its 14 slices have a rescale slope or an intercept alone; it is not applied" in " ".join(
        dicom.load(folder).notes
    )


def lesion(chest):
    """A mask that touches some slices, no two alike, no axis symmetric."""
    mask = np.zeros(chest.voxels.shape, np.uint8)
    for k in range(3, 9):
        mask[5 + k : 20, 8 : 12 + k, k] = 1
    return mask


@pytest.mark.parametrize("kind", [*KINDS, "rows from left to right", "tilted"])
def test_a_segmentation_reads_back_voxel_for_voxel_in_its_place(tmp_path, chest, kind):
    import highdicom as hd

    made = tilted(chest, 15) if kind == "tilted" else placed(chest, kind)
    folder = write_series(tmp_path / "s", made, flip=True)
    source = Scan.load(folder)
    mask = Scan(lesion(chest), source.affine)
    path = dicom.save_segmentation(mask, folder, tmp_path / "out.dcm", weights="shipped")
    written = hd.seg.segread(path)
    # each frame by its own place in the patient, read without our code
    again = np.zeros_like(mask.voxels)
    first = np.linalg.inv(LPS @ source.affine)
    for frame, item in zip(written.pixel_array, written.PerFrameFunctionalGroupsSequence, strict=True):
        corner = np.array(item.PlanePositionSequence[0].ImagePositionPatient, float)
        index = first @ [*corner, 1]
        np.testing.assert_allclose(index[:2], 0, atol=1e-3)
        assert index[2] == pytest.approx(np.rint(index[2]), abs=1e-3)
        again[:, :, int(np.rint(index[2]))] = frame.T
    np.testing.assert_array_equal(again, mask.voxels)
    shared = written.SharedFunctionalGroupsSequence[0]
    np.testing.assert_allclose(
        np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float).reshape(2, 3),
        ((LPS @ source.affine)[:3, :2] / np.array(source.spacing[:2])).T,
        atol=1e-6,
    )
    assert [float(s) for s in shared.PixelMeasuresSequence[0].PixelSpacing] == pytest.approx(source.spacing[1::-1], rel=1e-5)


def test_a_segmentation_says_what_it_is(tmp_path, chest):
    folder = write_series(tmp_path / "s", chest)
    mask = Scan(lesion(chest), Scan.load(folder).affine)
    d = pydicom.dcmread(dicom.save_segmentation(mask, folder, tmp_path / "out.dcm", weights="shipped"))
    source = pydicom.dcmread(folder / "IM0001")
    (segment,) = d.SegmentSequence
    assert segment.SegmentLabel == "COVID-19 lung opacity"
    assert segment.SegmentedPropertyTypeCodeSequence[0].CodeMeaning == "Opacity"
    assert segment.AnatomicRegionSequence[0].CodeMeaning == "Lung"
    (algorithm,) = segment.SegmentationAlgorithmIdentificationSequence
    assert "SCOAT-Net" in algorithm.AlgorithmName
    assert algorithm.AlgorithmVersion == __import__("scoat_lib").__version__
    assert "weights" in algorithm.AlgorithmParameters
    assert "research use only" in d.SeriesDescription
    assert d.StudyInstanceUID == source.StudyInstanceUID
    assert d.FrameOfReferenceUID == source.FrameOfReferenceUID
    assert d.SeriesInstanceUID != source.SeriesInstanceUID


def test_of_the_patient_a_segmentation_repeats_what_the_standard_asks_and_no_more(tmp_path, chest):
    asked = {"PatientName": NAME, "PatientID": "4711", "PatientBirthDate": "19700101", "ReferringPhysicianName": "Sent^By"}
    other = {
        "InstitutionName": "Hospital", "OperatorsName": "Op^Erator", "PatientAge": "050Y", "PatientComments": "comment on them",
        "OtherPatientIDs": "ID-9", "EthnicGroup": "group", "Occupation": "baker", "AdditionalPatientHistory": "history",
        "PatientAddress": "street", "StationName": "station", "StudyDescription": "why they came", "PatientWeight": "71.5",
        "ProtocolName": "protocol", "NameOfPhysiciansReadingStudy": "Read^By",
    }  # fmt: skip
    folder = write_series(tmp_path / "s", chest, ReferringPhysicianName="Sent^By", **other)
    scan = Scan.load(folder)
    mask = Scan(lesion(chest), scan.affine)
    d = pydicom.dcmread(dicom.save_segmentation(mask, folder, tmp_path / "out.dcm"))
    for tag, value in asked.items():
        assert d[tag].value == value
    text = str(d)
    for tag, value in other.items():
        assert tag not in d or not d[tag].value, tag
        assert value not in text, tag
    mask.save(tmp_path / "m.nii")
    everything = (tmp_path / "m.nii").read_bytes() + repr(scan.notes).encode()
    for value in (*asked.values(), *other.values(), "20200301"):
        assert value.encode() not in everything


def test_an_empty_mask_is_a_segmentation_too(tmp_path, chest):
    folder = write_series(tmp_path / "s", chest)
    mask = Scan(np.zeros(chest.voxels.shape, np.uint8), Scan.load(folder).affine)
    path = dicom.save_segmentation(mask, folder, tmp_path / "out.dcm")
    assert not pydicom.dcmread(path).pixel_array.any()


def test_a_mask_with_its_axes_turned_lands_on_the_series_grid(tmp_path, chest):
    folder = write_series(tmp_path / "s", chest)
    mask = Scan(lesion(chest), Scan.load(folder).affine)
    uids = [pydicom.dcmread(p).SOPInstanceUID for p in sorted(folder.iterdir())]
    path = dicom.save_segmentation(mask.reoriented("RAS"), folder, tmp_path / "out.dcm")
    np.testing.assert_array_equal(dicom.read_segmentation(path, uids), mask.voxels.transpose(2, 1, 0))


def test_a_segmentation_is_refused_before_anything_is_written(tmp_path, chest):
    folder = write_series(tmp_path / "s", chest)
    affine = Scan.load(folder).affine
    mask = Scan(lesion(chest), affine)
    moved = affine.copy()
    moved[0, 3] += 3
    out = tmp_path / "out.dcm"
    for bad, path, word in (
        (Scan(mask.voxels, moved), out, "mm away"),
        (Scan(mask.voxels[1:], affine), out, "shape"),
        (Scan(mask.voxels * 3, affine), out, "0 and 1"),
        (mask, tmp_path / "out.nii", "end in .dcm"),
        (mask, tmp_path / "absent" / "out.dcm", "does not exist"),
    ):
        with pytest.raises(ScanError, match=word):
            dicom.save_segmentation(bad, folder, path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["s"]
    out.write_text("kept")
    with pytest.raises(ScanError, match="exists already"):
        dicom.save_segmentation(mask, folder, out)
    assert out.read_text() == "kept"
    named = folder / "IM0003.dcm"
    (folder / "IM0003").rename(named)
    before = named.read_bytes()
    with pytest.raises(ScanError, match="is the same file"):
        dicom.save_segmentation(mask, folder, named, overwrite=True)
    assert named.read_bytes() == before
    change(named, lambda d: d.__delattr__("StudyInstanceUID"))
    for path in folder.iterdir():
        change(path, lambda d: d.__delattr__("FrameOfReferenceUID"))
    with pytest.raises(ScanError, match="must repeat of its source"):
        dicom.save_segmentation(mask, folder, tmp_path / "other.dcm")
    assert not (tmp_path / "other.dcm").exists()


def test_a_segmentation_that_reads_back_otherwise_is_not_kept(tmp_path, chest, monkeypatch):
    folder = write_series(tmp_path / "s", chest)
    mask = Scan(lesion(chest), Scan.load(folder).affine)
    read = dicom.read_segmentation
    monkeypatch.setattr(dicom, "read_segmentation", lambda *a: read(*a)[::-1])
    with pytest.raises(ScanError, match="does not read back"):
        dicom.save_segmentation(mask, folder, tmp_path / "out.dcm")
    assert not (tmp_path / "out.dcm").exists()


def test_without_pydicom_one_line_names_the_extra(tmp_path, chest):
    folder = write_series(tmp_path / "s", chest)
    for module in ("pydicom", "highdicom"):
        block = f"import sys; sys.modules[{module!r}] = None\n"
        code = block + f"import scoat_lib.dicom as d; d.check_segmentation_path({str(tmp_path / 'a.dcm')!r}, False)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        last = done.stderr.strip().splitlines()[-1]
        assert last == 'ImportError: reading DICOM needs the extra "dicom": pip install "scoat-lib[dicom]"'
    code = f"import sys; sys.modules['pydicom'] = None\nfrom scoat_lib.scan import Scan\nScan.load({str(folder)!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert 'folder of DICOM files; pip install "scoat-lib[dicom]"' in done.stderr.strip().splitlines()[-1]


@pytest.fixture
def scoat(monkeypatch, capsys):
    """The command in this process: scoat(words …, code=0) → what it printed and what it said on stderr."""

    def run(*words, code=0):
        monkeypatch.setattr(sys, "argv", ["scoat", *map(str, words)])
        with pytest.raises(SystemExit) as left:
            cli.main()
        printed = capsys.readouterr()
        assert (left.value.code or 0) == code, printed.err[-2000:]
        return printed

    return run


def test_the_command_takes_a_series_and_gives_a_segmentation(tmp_path, scoat):
    made = phantom.patient(5, (64, 64, 16)).scan
    made.save(tmp_path / "chest.nii.gz")
    folder = write_series(tmp_path / "s", made, flip=True, uid="1.2.3")
    seg = tmp_path / "out.dcm"
    first = json.loads(scoat("segment", tmp_path / "chest.nii.gz", "-o", tmp_path / "a.nii.gz", "--json").out)
    done = scoat("segment", folder, "-o", tmp_path / "b.nii.gz", "--dicom-seg", seg, "--series", "1.2.3", "--json")
    one, other = (Scan.load(tmp_path / name, mask=True) for name in ("a.nii.gz", "b.nii.gz"))
    assert one.voxels.any()
    np.testing.assert_array_equal(other.voxels, one.voxels)
    np.testing.assert_allclose(other.affine, one.affine, atol=1e-4)
    assert json.loads(done.out)["lov_cm3"] == first["lov_cm3"] > 0
    uids = [pydicom.dcmread(p).SOPInstanceUID for p in sorted(folder.iterdir())][::-1]
    np.testing.assert_array_equal(dicom.read_segmentation(seg, uids), other.voxels.transpose(2, 1, 0))
    everything = gzip.decompress((tmp_path / "b.nii.gz").read_bytes()) + (done.out + done.err).encode()
    for private in (NAME, "Noone", "4711", "19700101"):
        assert private.encode() not in everything
    # what is refused is one line, before anything is written
    for words, said in (
        (["-o", tmp_path / "c.nii.gz", "--series", "1.2.9"], "no series 1.2.9"),
        (["-o", tmp_path / "c.nii.gz", "--dicom-seg", seg], "out.dcm: exists already"),
        (["-o", tmp_path / "c.nii.gz", "--dicom-seg", tmp_path / "c.nii"], "end in .dcm"),
    ):
        refused = scoat("segment", folder, *words, code=3).err
        assert said in refused
        assert refused.count("\n") == 1
    assert not (tmp_path / "c.nii.gz").exists()
