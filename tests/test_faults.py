"""Faults from outside: two at once, a clock set back, foreign files where ours belong. One line, exit code 3, nothing half."""

import contextlib
import io
import os
import signal
import subprocess
import sys
import time
import traceback
from dataclasses import replace
from itertools import permutations, product
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from scoat_lib import experiments, files, training
from scoat_lib.cli import main
from scoat_lib.cohort import find_cases
from scoat_lib.scan import Scan, ScanError, on_grid_of
from scoat_lib.training import Deadline

ROOT = Path(__file__).parents[1]


# two at once


def holder(lock: Path) -> subprocess.Popen:
    """Another process that holds a lock until it is killed."""
    program = (
        "import sys, time\nfrom pathlib import Path\nfrom scoat_lib.files import one_writer\n"
        "with one_writer(Path(sys.argv[1]), 'it'):\n    print('held', flush=True)\n    time.sleep(600)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(lock)], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout.readline() == "held\n"
    return process


@pytest.fixture
def prepared(data_folder, tiny_recipe):
    recipe = replace(tiny_recipe, epochs=1)
    return recipe, *experiments.prepare(recipe, data_folder)


def test_a_second_training_in_one_folder_is_refused_and_a_killed_one_is_no_hindrance(prepared, tmp_path, monkeypatch, tried):
    monkeypatch.setattr(training, "LOCK_PATIENCE", 0.1)
    (tmp_path / "run").mkdir()
    other = holder(tmp_path / "run" / ".lock")
    with pytest.raises(files.BusyError, match="another training is writing here already"):
        training.train(*prepared, tmp_path / "run", accelerator="cpu", progress=False)
    assert [p.name for p in (tmp_path / "run").iterdir()] == [".lock"], "the second has written something"
    tried("two trainings in one folder", "the second refused in one line")
    (tmp_path / "run" / f"{files.PART}left").write_text("half")
    other.kill()
    other.wait()
    assert training.train(*prepared, tmp_path / "run", accelerator="cpu", progress=False).finished
    assert not list((tmp_path / "run").glob(f"{files.PART}*"))
    tried("a lock left by a killed process", "taken over")


def test_an_engine_waits_for_a_training_by_hand(prepared, data_folder, tmp_path, monkeypatch, tried):
    from scoat_lib import engine

    monkeypatch.setattr(training, "LOCK_PATIENCE", 0.1)
    (job,) = engine.jobs([prepared[0]], data_folder, results=str(tmp_path / "r"), runs=str(tmp_path / "w"))
    job.folder.mkdir(parents=True)
    other = holder(job.folder / ".lock")
    assert engine.perform(job) == engine.BUSY
    other.kill()
    other.wait()
    assert engine.perform(job) == engine.DONE
    tried("an engine on a folder in training", "waits, then goes on")


def test_loaders_of_a_killed_training_let_its_folder_go(data_folder, tiny_recipe, tmp_path):
    """The lock's file is open in the loaders too, which outlive a killed training by some seconds."""
    program = (
        "import sys\nfrom dataclasses import replace\nfrom scoat_lib import experiments, training\n"
        "from scoat_lib.training import Recipe\n"
        "recipe = Recipe(width=4, epochs=500, size=64, folds=3, batch=8)\n"
        "cohort, split = experiments.prepare(recipe, sys.argv[1])\n"
        "training.train(recipe, cohort, split, sys.argv[2], accelerator='cpu', progress=False, workers=2)\n"
    )
    words = [sys.executable, "-c", program, str(data_folder), str(tmp_path / "run")]
    process = subprocess.Popen(words, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"})
    until = time.monotonic() + 240
    while not (tmp_path / "run" / training.CHECKPOINT).exists() and time.monotonic() < until:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    with files.one_writer(tmp_path / "run" / ".lock", "it", patience=training.LOCK_PATIENCE):
        pass


def test_a_second_download_into_one_folder_is_refused(tmp_path, capsys, tried):
    from test_download import download

    (tmp_path / "data").mkdir()
    other = holder(tmp_path / "data" / ".lock")
    assert download.main(["--output", str(tmp_path / "data"), "--mirror", "http://127.0.0.1:9", "--quiet"]) == 3
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "another download is writing here already" in said
    assert [p.name for p in (tmp_path / "data").iterdir()] == [".lock"]
    tried("two downloads into one folder", "the second refused in one line")
    other.kill()
    other.wait()
    assert download.main(["--output", str(tmp_path / "data"), "--mirror", "http://127.0.0.1:9", "--quiet"]) == 3
    assert "no connection" in capsys.readouterr().err
    tried("a lock left by a killed process", "taken over")


# whole files


def test_what_a_writer_cannot_end_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "result.json"
    files.write_whole(path, "old")

    def fall_short():
        with files.whole_file(path) as temporary:
            temporary.write_text("ne")
            raise OSError("4096 requested and 0 written")  # numpy's, without a number or a name

    with pytest.raises(OSError, match=r"result\.json"):
        fall_short()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["result.json"]


def test_what_is_written_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    done = []
    monkeypatch.setattr(files.os, "fsync", lambda _: done.append("sync"))
    replace_ = Path.replace
    monkeypatch.setattr(Path, "replace", lambda self, target: done.append("name") or replace_(self, target))
    files.write_whole(tmp_path / "result.json", "new")
    assert done == ["sync", "name", "sync"]


# the clock


def test_a_clock_set_back_or_forward_changes_no_deadline(monkeypatch, tried):
    soon, late, right = Deadline.after(3600), Deadline.after(-1), time.time()
    for hours in (-48, 48):
        monkeypatch.setattr(training.time, "time", lambda hours=hours: right + 3600 * hours)
        assert not soon.passed
        assert late.passed
        tried("clock set back or forward during a budget", "no effect")
    elsewhere = replace(soon, machine="another")
    assert elsewhere.passed  # by the clock, which is two days ahead


def test_a_clock_set_back_changes_no_run(prepared, tmp_path, monkeypatch, tried):
    recipe, cohort, split = prepared
    recipe = replace(recipe, epochs=3)
    settings = {"accelerator": "cpu", "progress": False}
    alone = training.train(recipe, cohort, split, tmp_path / "alone", **settings)
    training.train(recipe, cohort, split, tmp_path / "run", at_most=2, **settings)
    for number, name in enumerate((training.CHECKPOINT, training.BEFORE)):  # the older one is newer by its date
        os.utime(tmp_path / "run" / name, (number * 1000, number * 1000))
    now = time.time() - 1e6
    monkeypatch.setattr(training.time, "time", lambda: now)
    again = training.train(recipe, cohort, split, tmp_path / "run", **settings)
    assert [row["epoch"] for row in again.curve] == [1, 2, 3]
    assert again.weights.read_bytes() == alone.weights.read_bytes()
    tried("clock set back between two epochs", "same final bits")


def said(function, *words) -> tuple[int, str]:
    """The exit code of a command, 0 when it ends well and −1 when it crashes, and what it wrote to stderr."""
    err, out = io.StringIO(), io.StringIO()
    with contextlib.redirect_stderr(err), contextlib.redirect_stdout(out):
        try:
            code = function(*words) or 0
        except SystemExit as end:
            code = end.code or 0
        except BaseException:
            traceback.print_exc()
            code = -1
    return code, err.getvalue() + (out.getvalue() if words and words[0] == "experiment" else "")


def scoat(*words):
    """`scoat` in this process."""
    sys.argv = ["scoat", *map(str, words)]
    return main()


# what lies where ours belongs


@pytest.mark.parametrize("text", ['{"recipe": {"net', "", '{"name": 1}', "[1]", "\0\5", "<html>"])
def test_a_foreign_or_half_result_is_named(text, tmp_path, tried):
    path = tmp_path / f"{'0' * 20}.json"
    path.write_text(text)
    code, words = said(scoat, "report", "--results", tmp_path)
    assert code == 3
    assert words.count("\n") == 1
    assert str(path) in words
    path.rename(tmp_path / "foreign.json")
    code, words = said(scoat, "report", "--results", tmp_path)
    assert code == 3
    assert words.splitlines()[0].startswith(f"scoat: warning: {tmp_path / 'foreign.json'}: is no result")
    tried("a foreign or half JSON file among the results", "named, in one line", 2)


@pytest.mark.parametrize("text", ["", "epoch,loss\n1,0.", "epoch,loss\n1,half", "\0"])
def test_a_curve_that_is_not_one_is_named(text, prepared, data_folder, tmp_path, tried):
    run = training.train(*prepared, tmp_path / "run", accelerator="cpu", progress=False)
    (run.folder / "curve.csv").write_text(text)
    with pytest.raises(training.TrainingError, match=r"curve\.csv: is damaged"):
        experiments.evaluate_run(run.folder, data_folder, tmp_path / "r")
    assert not list(tmp_path.glob("r/*"))
    tried("a damaged curve.csv in a run's folder", "named, in one line")


def test_a_mask_in_any_of_48_orientations_is_brought_to_its_scans_grid(data_folder, tmp_path, tried):
    case = find_cases(data_folder)[0]
    scan, mask = Scan.load(case.scan), nib.load(case.mask)
    kept = np.asanyarray(mask.dataobj)
    assert kept.any()
    for number, (order, signs) in enumerate(product(permutations(range(3)), product((1, -1), repeat=3))):
        turned = mask.as_reoriented(np.array([*zip(order, signs, strict=True)]))
        nib.save(turned, tmp_path / f"{number}.nii.gz")
        np.testing.assert_array_equal(on_grid_of(Scan.load(tmp_path / f"{number}.nii.gz", mask=True), scan).voxels, kept)
        tried("a mask in another orientation of its scan's grid", "brought to the scan's")
    assert number == 47
    elsewhere = nib.Nifti1Image(kept, mask.affine @ np.array([[1, 0, 0, 1], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]))
    nib.save(elsewhere, tmp_path / "elsewhere.nii.gz")
    with pytest.raises(ScanError, match="mm away from its scan"):
        on_grid_of(Scan.load(tmp_path / "elsewhere.nii.gz", mask=True), scan)
