"""The page of real scans: whose weights outline whom, what its pictures say, and that none of a patient is in git."""

import inspect
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "book"))
import build  # noqa: E402
import scans  # noqa: E402

from scoat_lib.scan import Scan  # noqa: E402
from scoat_lib.training import Recipe  # noqa: E402

PICTURES = {"book/_static/page.png"}  # of the book itself: phantoms


def tracked():
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    return [name for name in names if name and (ROOT / name).exists()]


def test_no_tracked_file_holds_a_real_scan():
    """No scan, no picture but the known ones, and nowhere the class that every picture of a real scan carries."""
    names = tracked()
    kinds = (".nii", ".nii.gz", ".dcm", ".mha", ".nrrd", ".png", ".jpg", ".jpeg", ".webp", ".gif", ".tif", ".npy", ".npz")
    assert {n for n in names if n.lower().endswith(kinds)} == PICTURES
    mark = f"scan-tiles {scans.MARK}"
    assert mark in scans.figure([], "", scans.MARK)
    assert [n for n in names if n != "tests/book/test_scans.py" and mark in (ROOT / n).read_text(errors="replace")] == []


def test_what_the_builder_keeps_is_ignored_by_git():
    for path in (
        "_build/scans/x.json",
        "_build/quick/source/book/real-scans.md",
        "_build/real/_build/html/book/real-scans.html",
    ):
        assert subprocess.run(["git", "check-ignore", "-q", path], cwd=ROOT).returncode == 0, path
    assert scans.KEPT == ROOT / "_build" / "scans"


@pytest.mark.parametrize("words", [("--data", "."), ("--scale", "real", "--data", ".")])
def test_no_chapter_is_kept_with_real_scans(words, monkeypatch, capsys):
    monkeypatch.setattr(build, "run_all", lambda *_, **__: pytest.fail("it ran"))
    monkeypatch.setattr(sys, "argv", ["build.py", "--in-place", *words])
    with pytest.raises(SystemExit):
        build.main()
    assert "no picture of a real scan" in capsys.readouterr().err


def test_nor_with_scans_that_lie_where_chapters_look(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(build, "run_all", lambda *_, **__: pytest.fail("it ran"))
    monkeypatch.setenv("SCOAT_DATA", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["build.py", "--in-place", "--chapter", "01"])
    with pytest.raises(SystemExit):
        build.main()
    assert "no picture of a real scan" in capsys.readouterr().err


@pytest.fixture
def person():
    """A scan of 16 slices with a body, a lesion, and a prediction that is half right."""
    hu = np.full((16, 40, 48), -1000, np.float32)
    hu[:, 5:35, 5:43] = 40
    truth = np.zeros(hu.shape, bool)
    truth[6:9, 10:20, 10:20] = True
    predicted = np.roll(truth, 5, 2)
    scan = Scan(hu.transpose(2, 1, 0).copy(), np.diag([-2.0, -2.0, 5.0, 1.0]))
    return scans.Subject("one", scan, truth, predicted, "left out of training", None)


def test_pictures_say_scores_and_volumes_of_the_whole_scan(person):
    both, wrong = scans.errors(person)
    assert "DSC of the scan 50 %, left out of training" in both
    assert "50 pixels found, 50 false, 50 missed" in wrong
    assert [kind in wrong for kind in ('class="hit"', 'class="false"', 'class="missed"')] == [True] * 3
    assert "LOV 6 cm³, predicted 6 cm³" in scans.coronal(person)  # 300 voxels of 20 mm³
    assert 'viewBox="0 0 ' in scans.middle(person)
    assert "slice 8 of 16" in scans.middle(person)


def test_a_mask_in_flat_voxels_is_brought_to_square_ones():
    flat = np.zeros((4, 6), bool)
    flat[1:3, 2:4] = True
    large = scans.square(flat, (5.0, 2.5))
    assert large.shape == (8, 6)
    assert large.dtype == bool
    assert abs(int(large.sum()) - 8) <= 2


def run_of(folder, name, data="same", weights=True, test=("a",), **changes):
    place = folder / name
    place.mkdir()
    recipe = replace(Recipe(), **changes).to_dict()
    identity = {"recipe": recipe, "data": data, "split": {"train": ["b"], "validation": [], "test": list(test)}}
    (place / "recipe.json").write_text(json.dumps(identity))
    if weights:
        (place / "weights.safetensors").write_text("")
    return place / "weights.safetensors"


def test_only_finished_runs_of_the_recipe_on_the_same_data_speak_for_whom_they_left_out(tmp_path):
    wanted = run_of(tmp_path, "z", fold=1, seed=0)
    run_of(tmp_path, "later", fold=1, seed=1)
    run_of(tmp_path, "other-data", data="other", test=("c",))
    run_of(tmp_path, "unfinished", weights=False, test=("d",))
    run_of(tmp_path, "another-loss", loss="dice", test=("e",))
    run_of(tmp_path, "another-network", network="unet", test=("f",))
    assert scans.left_out(tmp_path, "same") == {"a": wanted}
    assert scans.left_out(None, "same") == {}


def test_the_page_says_how_to_get_scans_and_where_they_come_from():
    text = (ROOT / "book" / "real-scans.md").read_text()
    assert "<!-- real scans -->" in text
    assert "10.5281/zenodo.3757476" in scans.RECORD
    assert "CC BY 4.0" in scans.RECORD
    assert "MedSeg" in scans.MEDSEG
    for maker in (scans._of_patients, scans._of_slices):
        source = inspect.getsource(maker)
        assert source.count("figure(") == len(re.findall(r", MARK[,)]", source)) > 0, (
            "each picture of a patient carries the mark"
        )
