"""segmentation.py: `scoat_lib.segment` from a path, an array, a scan; the files for viewers."""

import json
import re
import subprocess
import sys
from itertools import permutations, product

import nibabel as nib
import numpy as np
import pytest
import torch

import scoat_lib
from scoat_lib import networks, phantom, segmentation, weights
from scoat_lib.cohort import Preprocessing, find_cases
from scoat_lib.scan import Scan, ScanError


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    return weights.save(path, networks.create("unet", width=4), Preprocessing(spacing=5.6))


@pytest.fixture(scope="module")
def path(data_folder):
    return find_cases(data_folder)[0].scan


def test_a_path_an_array_and_a_scan_give_one_mask(path, file, tmp_path):
    found = scoat_lib.segment(path, weights=file)
    scan = Scan.load(path)
    assert found.mask.shape == found.probabilities.shape == scan.voxels.shape
    np.testing.assert_array_equal(found.mask > 0, found.probabilities > 0.5)
    assert 0 < found.mask.mean() < 1
    assert found.volume == pytest.approx(found.mask.sum() * np.prod(scan.spacing) / 1000, rel=1e-5)
    assert repr(found).startswith(f"Segmentation: lung opacification volume {found.volume:.1f} cm³")
    array = scoat_lib.segment(scan.axial(), spacing=scan.axial_spacing, weights=weights.load(file))
    assert array.mask.shape == scan.axial().shape
    np.testing.assert_array_equal(array.mask, found.mask_scan.axial())
    assert array.volume == pytest.approx(found.volume)
    np.testing.assert_array_equal(scoat_lib.segment(scan, weights=file).mask, found.mask)
    saved = Scan.load(found.save(tmp_path / "m.nii.gz"))
    np.testing.assert_allclose(saved.affine, scan.affine)
    np.testing.assert_array_equal(saved.voxels, found.mask)


ORDERS = [
    "".join(pairs[axis][way] for axis, way in zip(order, ways, strict=True))
    for pairs in [("LR", "AP", "SI")]
    for order in permutations(range(3))
    for ways in product((0, 1), repeat=3)
]
SIX = ("RAS", "LPI", "PIR", "SAL", "ILP", "ASR")


@pytest.fixture(scope="module")
def shipped_mask():
    """A phantom, the shipped weights, and what they find in it as it is."""
    scan, segmenter = phantom.patient(5, (64, 64, 16), volume=300).scan, weights.load()
    found = segmentation.of(scan, segmenter, segmentation.Options())
    assert found.volume > 20
    return scan, segmenter, found


@pytest.mark.fault("a scan in another order or direction of its axes", "the same mask and volume")
@pytest.mark.parametrize("codes", [pytest.param(c, marks=() if c in SIX else pytest.mark.long) for c in ORDERS])
def test_a_reoriented_copy_gives_the_same_mask_and_volume(codes, shipped_mask, tmp_path):
    scan, segmenter, whole = shipped_mask
    copy = Scan.load(scan.reoriented(codes).save(tmp_path / "copy.nii.gz"))
    assert "".join(nib.aff2axcodes(copy.affine)) == codes
    found = segmentation.of(copy, segmenter, segmentation.Options())
    assert found.mask.shape == copy.voxels.shape
    np.testing.assert_array_equal(found.mask_scan.axial(), whole.mask_scan.axial())
    assert found.volume == pytest.approx(whole.volume, rel=1e-5)
    assert found.warnings == whole.warnings


def test_options_reach_the_network(path, file):
    plain = scoat_lib.segment(path, weights=file)
    assert scoat_lib.segment(path, weights=file, threshold=0.45).volume > plain.volume
    assert np.abs(scoat_lib.segment(path, weights=file, smooth=20.0).probabilities - plain.probabilities).max() > 1e-4
    with pytest.raises(TypeError, match="treshold"):
        scoat_lib.segment(path, weights=file, treshold=0.5)


def test_a_volume_that_may_be_nothing_is_said(path, file):
    def said(ml, **options):
        segmenter = weights.load(file)
        segmenter.card["quiet"] = {"ml": ml}
        found = segmentation.of(Scan.load(path), segmenter, segmentation.Options(**options))
        return found.volume, [text for text in found.warnings if "next to no lesion" in text]

    volume, texts = said(0.0)
    assert volume > 1
    assert not texts
    assert not said(volume - 0.5)[1]
    assert said(volume + 0.5)[1] == [
        f"{volume:.0f} cm³ are no more than was marked in a scan with next to no lesion ({volume + 0.5:.0f} cm³); "
        "look whether there is any"
    ]
    nothing, texts = said(volume, threshold=0.999)
    assert nothing == 0
    assert not texts, "an empty mask claims nothing"


@pytest.mark.parametrize("spacing", [None, (1.0, 1.0), (5.0, 0.7, 0.0), (5.0, 0.7, float("nan"))])
def test_an_array_needs_a_spacing(spacing, file):
    with pytest.raises(ValueError, match="an array needs the mm between its slices, rows and columns"):
        scoat_lib.segment(np.zeros((16, 64, 64)), spacing=spacing, weights=file)


def test_what_cannot_be_segmented_says_why(path, file, tmp_path):
    with pytest.raises(ValueError, match="spacing is for arrays"):
        scoat_lib.segment(path, spacing=(5.0, 0.7, 0.7), weights=file)
    with pytest.raises(ScanError, match="does not exist"):
        scoat_lib.segment(tmp_path / "none.nii.gz", weights=file)
    with pytest.raises(ScanError, match="slices × rows × columns"):
        scoat_lib.segment(np.zeros((64, 64)), spacing=(5.0, 0.7, 0.7), weights=file)
    with pytest.raises(ScanError, match="NaN or infinite"):
        scoat_lib.segment(np.full((16, 64, 64), np.nan), spacing=(5.0, 0.7, 0.7), weights=file)


def test_doubts_are_python_warnings(path, file):
    with pytest.warns(UserWarning, match="not checked for its scale"):
        found = scoat_lib.segment(path, weights=file, hu=True)
    assert "not checked for its scale" in found.warnings


def test_importing_the_package_imports_nothing_heavy():
    code = "import sys, scoat_lib; print(*sorted({'torch', 'numpy', 'pandas', 'nibabel'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
    assert scoat_lib.segment is segmentation.segment
    with pytest.raises(AttributeError, match="no attribute 'segmant'"):
        _ = scoat_lib.segmant


def test_label_files_hold_a_line_a_label_as_the_viewers_read_it(tmp_path):
    """Slicer splits at spaces: index, name, four of 0..255. ITK-SNAP: index, three of 0..255, 0..1, two flags, "name"."""
    segmentation.write_labels(tmp_path)
    table = [line.split() for line in (tmp_path / "lung-opacification.ctbl").read_text().splitlines() if line[0] != "#"]
    assert [row[:2] for row in table] == [["0", "background"], ["1", "lung_opacification"]]
    assert all(len(row) == 6 and all(0 <= int(value) <= 255 for value in row[2:]) for row in table)
    lines = (tmp_path / "lung-opacification.txt").read_text().splitlines()
    assert lines[0] == "# ITK-SnAP Label Description File"
    labels = [line.split(maxsplit=7) for line in lines if line[0] != "#"]
    assert [(row[0], row[7]) for row in labels] == [("0", '"Clear Label"'), ("1", '"lung opacification"')]
    assert labels[1][1:4] == table[1][2:5]
    segmentation.write_labels(tmp_path)
    (tmp_path / "lung-opacification.txt").write_text("mine")
    with pytest.raises(ScanError, match="exists and is another file"):
        segmentation.write_labels(tmp_path)
    assert (tmp_path / "lung-opacification.txt").read_text() == "mine"


@pytest.mark.fault("the scan, or a link to it, as the mask's place", "refused; the scan is whole")
def test_a_mask_never_replaces_its_scan(path, file, tmp_path):
    scan = tmp_path / "scan.nii.gz"
    scan.write_bytes(path.read_bytes())
    (tmp_path / "link.nii.gz").symlink_to(scan)
    found = scoat_lib.segment(scan, weights=file)
    for target in (scan, tmp_path / "link.nii.gz"):
        with pytest.raises(ScanError, match="is read"):
            found.save(target)
    assert scan.read_bytes() == path.read_bytes()
    assert found.save(tmp_path / "mask.nii.gz").exists()


def command(*words):
    """Exit code and what was said; in this process, as `main` turns errors into a line."""
    done = subprocess.run([sys.executable, "-m", "scoat_lib", "segment", *map(str, words)], capture_output=True, text=True)
    return done.returncode, " ".join((done.stdout + done.stderr).split())


def test_what_cannot_be_written_is_said_before_the_work(path, file, tmp_path):
    (tmp_path / "lung-opacification.txt").write_text("mine")
    code, text = command(path, "-o", tmp_path / "o.nii.gz", "--weights", file, "--labels")
    assert code == 3
    assert "lung-opacification.txt: exists and is another file" in text
    assert not (tmp_path / "o.nii.gz").exists()


def test_smoothing_has_an_end(path, file, tmp_path):
    for sigma in ("inf", "1e7"):
        code, text = command(path, "-o", tmp_path / "o.nii.gz", "--weights", file, "--smooth", sigma)
        assert code == 2
        assert "Traceback" not in text
        assert "--smooth" in text


def test_what_lies_outside_the_lungs_is_in_the_json(path, file, tmp_path):
    code, text = command(path, "-o", tmp_path / "o.nii.gz", "--weights", file, "--json")
    assert code == 0
    said = json.loads(text[text.index("{") : text.rindex("}") + 1])["lungs_percent"]
    found = scoat_lib.segment(path, weights=file)
    assert said["outside"] == pytest.approx(found.shares["outside"], abs=0.01)


def test_a_series_whose_mask_has_no_ending_is_told_so(file, tmp_path):
    (tmp_path / "series").mkdir()
    (tmp_path / "series" / "1").write_bytes(bytes(128) + b"DICM")
    code, text = command(tmp_path / "series", "-o", tmp_path / "mask", "--weights", file, "--dicom-seg", tmp_path / "s.dcm")
    assert code == 2
    assert "must end in .nii.gz" in re.sub(r"[│\s]+", " ", text)
