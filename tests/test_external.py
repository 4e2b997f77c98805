"""external.py: single slices and a second reader are scored, and nothing else is done with them."""

import json
import shutil

import numpy as np
import pytest
import torch

from scoat_lib import experiments, training
from scoat_lib.cohort import DataError
from scoat_lib.external import Slices, score_slices, second_reader
from scoat_lib.scan import Scan, ScanError
from scoat_lib.weights import load


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Five slices of a phantom's chest at 512 × 512, with classes."""
    from scoat_lib import phantom

    one = phantom.patient(seed=4, size=(128, 128, 16), volume=300.0)
    where = tmp_path_factory.mktemp("second") / "slices5"
    where.mkdir()
    affine = np.diag([-0.7, -0.7, 10.0, 1.0])
    chosen = np.arange(5, 10)
    big = one.scan.axial()[chosen].repeat(4, 1).repeat(4, 2).transpose(2, 1, 0)
    lesion = one.lesions.axial()[chosen].repeat(4, 1).repeat(4, 2).transpose(2, 1, 0)
    classes = lesion.astype(np.uint8)
    classes[:100][lesion[:100] > 0] = 2
    classes[:, :20] = 3  # effusion is no opacification
    Scan(np.ascontiguousarray(big), affine).save(where / "tr_im.nii.gz")
    Scan(np.ascontiguousarray(classes), affine).save(where / "tr_mask.nii.gz")
    return where


def test_opacification_is_ground_glass_and_consolidation(folder):
    slices = Slices.load(folder)
    classes = Scan.load(folder / "tr_mask.nii.gz").axial()
    assert slices.lesions.shape == (5, 512, 512)
    np.testing.assert_array_equal(slices.lesions, (classes == 1) | (classes == 2))
    assert not slices.lesions[:, :20].any()


def test_each_slice_is_scored_by_itself(folder):
    slices, segmenter = Slices.load(folder), load()
    segmenter.card["inference"] = {"threshold": 0.2, "flip": True, "smooth": 30.0}  # none of it is used
    found = score_slices(segmenter, slices)
    assert found["fingerprint"] == slices.fingerprint
    for z in (0, 3):
        alone = Scan(np.ascontiguousarray(slices.scan.voxels[:, :, z : z + 1]), slices.scan.affine)
        x = torch.from_numpy(segmenter.preprocessing.normalise(segmenter.preprocessing.slices(alone)))[:, None]
        with torch.inference_mode():
            p = torch.nn.functional.interpolate(torch.sigmoid(segmenter.model(x)), size=(512, 512), mode="bilinear")[
                0, 0
            ].numpy()
        counts = found["slices"][z]
        assert sum(counts.values()) == 512 * 512
        assert abs(counts["tp"] - np.count_nonzero((p > 0.5) & slices.lesions[z])) <= 20
        assert abs(counts["fp"] - np.count_nonzero((p > 0.5) & ~slices.lesions[z])) <= 20
        assert counts["tp"] + counts["fn"] == slices.lesions[z].sum()


def test_a_folder_that_is_none_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"tr_im\.nii\.gz: missing"):
        Slices.load(tmp_path)


def test_a_run_is_scored_on_both(folder, data_folder, tiny_recipe, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(data_folder, data)
    cohort, split = experiments.prepare(tiny_recipe, data)
    name = split.test[0]
    (data / "Second_Reader_Mask").mkdir()
    shutil.copy(data / "Infection_Mask" / f"{name}.nii.gz", data / "Second_Reader_Mask")
    np.testing.assert_array_equal(second_reader(cohort, name), cohort.masks[name])
    assert second_reader(cohort, split.test[1]) is None
    run = training.train(tiny_recipe, cohort, split, tmp_path / "run", accelerator="cpu", progress=False, at_most=3)
    path = experiments.evaluate_run(run.folder, data, tmp_path / "results", external=folder)
    content = json.loads(path.read_text())
    assert content["second reader"] == {name: content["patients"][name]}
    assert len(content["external"]["slices5"]["slices"]) == 5
    other = Scan.load(data / "Second_Reader_Mask" / f"{name}.nii.gz", mask=True)
    Scan(other.voxels[:-1], other.affine).save(data / "Second_Reader_Mask" / f"{name}.nii.gz")
    with pytest.raises(ScanError, match="shape"):
        second_reader(cohort, name)
