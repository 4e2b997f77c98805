"""Faults from outside: two at once, a full disk, a read-only one, a clock set back. One line, exit code 3, nothing half.

The disks are real ones: a small tmpfs and a read-only mount, in a mount namespace of their own. What a full or read-only disk
does to each command is tried in one interpreter for all of them: this file, as a script.
"""

import ast
import contextlib
import errno
import functools
import gc
import hashlib
import http.server
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback
import zipfile
from dataclasses import replace
from itertools import permutations, product
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from scoat_lib import experiments, files, phantom, training
from scoat_lib.cli import main
from scoat_lib.cohort import find_cases
from scoat_lib.scan import Scan, ScanError, on_grid_of
from scoat_lib.training import Deadline

ROOT = Path(__file__).parents[1]


# the table

NAMED = {  # what the table must count, and how tests call it
    "scale": ("offset of 1024", "applied twice", "inverted grey", "padded or not", "8-bit picture", "cut off below muscle"),
    "place": ("sform and qform of two sizes", "pixdim against the sform", "neither sform nor qform", "metres", "microns"),
    "anatomy": ("two places", "lies otherwise than the header says", "voxel side", "slope that is infinite"),
    "damage": (
        "bit flipped",
        "cut off, packed",
        "two files joined",
        "bytes after the end",
        "32 000³",
        "web page",
        "LFS",
        "unpacks to",
    ),
    "identity": ("two devices",),
    "loss": ("the scan itself as the mask's place", "one of the scans as an output"),
    "errors": (
        "names and places that cannot be",
        "foreign recipe.json",
        "foreign or half JSON",
        "damaged checkpoint",
        "page that cannot",
    ),
    "downloads": ("Retry-After", "redirections in a circle", "bomb of an archive", "leads out of the folder", "Content-Length"),
    "kills": ("SIGKILL: ", "SIGKILL while a folder"),
    "disks and clocks": ("clock set back", "two trainings", "Dask worker", "Dask scheduler"),
    "numbers": ("diverges", "batches of 1, 4, 16", "another order or direction of its axes"),
    "other pictures": ("picture of another kind",),
    "strangers": ("pickle of a stranger", "checkpoint of a stranger", "a pipe that nobody writes to"),
}


def marked(path: Path) -> list[str]:
    """The faults that a file of tests notes: the first word of each marker and of each call of `tried`."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if (
            isinstance(node, ast.Call)
            and node.args
            and getattr(node.func, "attr", getattr(node.func, "id", "")) in ("fault", "tried")
        ):
            constants = (part.value for part in ast.walk(node.args[0]) if isinstance(part, ast.Constant))
            found.append("".join(map(str, constants)))
    return found


def test_every_marked_fault_is_counted_and_every_named_one_is_marked():
    """Code against code: what a long run then counts stands in results/faults/table.json."""
    import corpus

    from studies import faults

    by_file = {path.stem: marked(path) for path in (ROOT / "tests").rglob("test_*.py")}
    assert {name for name, found in by_file.items() if found} <= set(faults.PARTS)
    assert set(faults.PARTS) <= set(by_file)
    chest = phantom.patient(1, (64, 64, 32)).scan
    kinds = [*corpus.faults(), *(kind for kind, *_ in corpus._chest_faults(0, chest))]
    everything = [fault for name in faults.PARTS for fault in by_file[name]] + kinds
    assert [word for words in NAMED.values() for word in words if not any(word in fault for fault in everything)] == []


def test_two_files_of_tests_may_share_a_part_of_the_table(tmp_path, monkeypatch):
    from studies import faults

    monkeypatch.setattr(faults, "PARTS", {"test_a": "one", "test_b": "one", "test_c": "two"})
    for name, rows in (("test_a", [["x", "seen", 2]]), ("test_b", [["x", "seen", 3], ["y", "seen", 1]]), ("test_c", [])):
        (tmp_path / f"{name}.json").write_text(json.dumps({"test": rows}))
    found = faults.gathered(tmp_path)
    assert [(row["fault"], row["times"]) for row in found["one"]] == [("x", 5), ("y", 1)]
    assert found["two"] == []


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
    assert process.poll() is None, "it was still training when it was killed"
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (tmp_path / "run" / training.CHECKPOINT).exists()
    entered = False
    with files.one_writer(tmp_path / "run" / ".lock", "it", patience=training.LOCK_PATIENCE):
        entered = True
    assert entered


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

    with pytest.raises(OSError, match=r"Not all of it could be written.*result\.json"):
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
    done = []
    again = training.train(recipe, cohort, split, tmp_path / "run", on_epoch=lambda n, _: done.append(n), **settings)
    assert done == [3], "continued from the older checkpoint"
    assert [row["epoch"] for row in again.curve] == [1, 2, 3]
    assert again.weights.read_bytes() == alone.weights.read_bytes()
    tried("clock set back between two epochs", "same final bits")


# what lies where ours belongs


FOREIGN = (
    '{"recipe": {"net',
    "",
    '{"name": 1}',
    "[1]",
    "\0\5",
    "<html>",
    '{"recipe": [], "data": {}, "patients": {}}',
    '{"recipe": {}, "data": {}, "patients": {}}',
    '{"recipe": {"width": "8"}, "data": {"name": "d"}, "patients": {}}',
    '{"recipe": {"seed": true}, "data": {"name": "d"}, "patients": {}}',
    '{"recipe": {}, "data": {"name": "d"}, "patients": {"a": {"tp": 1}}}',
    '{"recipe": {}, "data": {"name": "d"}, "patients": {}, "measures": {"a": {"lesions": [3]}}}',
    '{"recipe": {}, "data": {"name": "d"}, "patients": {}, "folds": 5}',
    "[" * 100_000,
)


@pytest.mark.parametrize("text", FOREIGN, ids=range(len(FOREIGN)))
def test_a_foreign_or_half_result_is_named(text, tmp_path, tried):
    path = tmp_path / f"{'0' * 20}.json"
    path.write_text(text)
    for more in ([], ["--claims"]):
        code, words = said(scoat, "report", "--results", tmp_path, *more)
        assert code == 3
        assert words.count("\n") == 1
        assert str(path) in words
    path.rename(tmp_path / "foreign.json")
    code, words = said(scoat, "report", "--results", tmp_path)
    assert code == 3
    assert words.splitlines()[0].startswith(f"scoat: warning: {tmp_path / 'foreign.json'}: is no result")
    tried("a foreign or half JSON file among the results", "named, in one line", 3)


IDENTITY = {"recipe": {}, "data": "", "split": {}}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"recipe": []}, "recipe is a list of 0"),
        ({"recipe": {"epochs": "3"}}, "epochs is '3'"),
        ({"recipe": {"net": 1}}, "has no field net"),
        ({"recipe": {"network": "another"}}, "network 'another' is unknown"),
        ({"split": []}, "split is a list of 0"),
        ({"split": {"test": "a"}}, "test is 'a', not a list"),
    ],
)
def test_a_foreign_recipe_in_a_runs_folder_is_named(changes, reason, tmp_path, tried):
    path = tmp_path / "run" / "recipe.json"
    path.parent.mkdir()
    path.write_text(json.dumps(IDENTITY | changes))
    code, words = said(scoat, "evaluate", path.parent, "--results", tmp_path / "r")
    assert code == 3
    assert words.count("\n") == 1
    assert words.startswith(f"scoat: {path}: ")
    assert reason in words
    tried("a foreign recipe.json in a run's folder", "named, in one line")


def test_what_nobody_foresaw_is_one_line_too_and_a_traceback_for_who_asks(tmp_path, monkeypatch):
    from scoat_lib import report

    monkeypatch.setattr(report, "load", lambda _: {}["nothing"])
    code, words = said(scoat, "report", "--results", tmp_path)
    assert code == 3
    assert words == (
        "scoat: something was met that nobody foresaw (KeyError: 'nothing'); set SCOAT_DEBUG=1 for the whole story\n"
    )
    monkeypatch.setenv("SCOAT_DEBUG", "1")
    code, words = said(scoat, "report", "--results", tmp_path)
    assert code == -1
    assert "Traceback" in words


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


@pytest.mark.fault("a page that cannot be written under its name", "one line before any work")
def test_a_page_that_cannot_be_written_is_said_before_any_work(data_folder, tmp_path, monkeypatch):
    from scoat_lib import segmentation

    monkeypatch.setattr(segmentation, "of", lambda *_: pytest.fail("the work was begun"))
    (tmp_path / "d.html").mkdir()
    (tmp_path / "e.png").mkdir()
    (tmp_path / "other.html").write_text("mine")
    scan, long = find_cases(data_folder)[0].scan, f"{'n' * 245}.html"
    for page, more, reason in (
        ("d.html", ["--overwrite"], "d.html: is a folder; give a file name"),
        ("e.html", ["--overwrite"], "e.png: is a folder; give a file name"),
        (long, [], "a name of 250 bytes is too long"),
        ("no/page.html", [], "does not exist; create it first"),
        ("other.html", [], "other.html: exists already"),
    ):
        code, words = said(scoat, "segment", scan, "-o", tmp_path / "m.nii.gz", "--report", tmp_path / page, *more)
        assert code == 3
        assert words.count("\n") == 1
        assert reason in words
    assert sorted(p.name for p in tmp_path.iterdir()) == ["d.html", "e.png", "other.html"]


# disks


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


def served(folder: Path) -> tuple[str, dict[str, str]]:
    """The address of a small record, and its archives' hashes."""
    archives = folder / "served"
    archives.mkdir()
    for name, part in (("COVID-19-CT-Seg_20cases", 1), ("Infection_Mask", 0)):
        with zipfile.ZipFile(archives / f"{name}.zip", "w") as file:
            for k in range(2):
                voxels = np.random.default_rng(k).integers(0, 2 + 1000 * part, (32, 32, 8)) - 1000 * part
                image = nib.Nifti1Image(voxels.astype(np.int16), np.diag([-2.8, -2.8, 4, 1]))
                file.writestr(f"coronacases_00{k + 1}.nii", image.to_bytes())
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=archives))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    hashes = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in archives.iterdir()}
    return f"http://127.0.0.1:{server.server_port}", hashes


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves a folder, and says nothing."""

    def log_message(self, *_):
        pass


def mounted(disk: Path, state: str) -> None:
    """Mount a tmpfs that is to be filled up, or "read-only"."""
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", disk], check=True)
    if state == "read-only":
        subprocess.run(["mount", "-o", "remount,ro", "none", disk], check=True)


def every_command(state: str, data: Path, folder: Path) -> dict:
    """What each command says when it is to write to a disk in a bad state: {command: [exit code, stderr, files left]}."""
    from test_download import download

    disk, good = folder / "disk", folder / "good"
    mounted(disk, state)
    (url, hashes), scan = served(folder), find_cases(data)[0].scan
    named = folder / "named"  # as the record's
    for part in ("COVID-19-CT-Seg_20cases", "Infection_Mask"):
        (named / part).mkdir(parents=True)
        shutil.copy(data / part / scan.name, named / part / "coronacases_001.nii.gz")
    scans = folder / "scans"
    scans.mkdir()
    shutil.copy(scan, scans)
    tiny = ["--data", data, "--width", 4, "--epochs", 1, "--batch", 8, "--size", 64, "--device", "cpu"]
    train = ["train", "--folds", 3, "--lesion-free", 0, *tiny]
    grid = ["experiment", "table3", "--only", "UNet++", "--folds", 0, *tiny]
    fetched = ["--mirror", url, "--quiet", "--output"]
    run = Path(json.loads(quiet(*train, "--runs", good, "--json"))["run"])
    commands = {
        "segment": (scoat, "segment", scan, "-o", disk / "mask.nii", "--device", "cpu"),
        "segment --probability": (scoat, "segment", scan, "-o", folder / "m.nii", "--probability", disk / "p.nii"),
        "segment --report": (scoat, "segment", scan, "-o", folder / "n.nii", "--report", disk / "page.html"),
        "segment --labels": (scoat, "segment", scan, "-o", disk / "tiny.nii.gz", "--labels", "--threshold", 0.999),
        "segment, a folder": (scoat, "segment", scans, "-o", disk / "masks"),
        "segment, a folder, --report": (scoat, "segment", scans, "-o", folder / "masks", "--report", disk / "pages"),
        "train": (scoat, *train, "--runs", disk / "runs"),
        "evaluate": (scoat, "evaluate", run, "--data", data, "--results", disk / "results"),
        "experiment, its runs": (scoat, *grid, "--runs", disk / "w", "--results", folder / "r"),
        "experiment, its results": (scoat, *grid, "--runs", good, "--results", disk / "r"),
        "report": (scoat, "report", "table3", "--results", ROOT / "results", "-o", disk / "report"),
        "phantom": (scoat, "phantom", disk / "phantom", "--patients", 1, "--size", 64, 64, 16),
        "download": (lambda *words: download.main([*map(str, words)], hashes), *fetched, disk / "data"),
        "download --from": (lambda *words: download.main([*map(str, words)]), "--from", named, "--output", disk / "data"),
    }
    found = {}
    for name, (function, *words) in commands.items():
        if name.startswith("download"):
            download.SPARE = -(1 << 40)  # the space is not looked at first, so that the disk says it
        if state == "full":  # a tiny run's result needs less than 8 kB
            spare = 0 if name in ("evaluate", "experiment, its results") else 8
            (disk / "filler").write_bytes(bytes((256 - spare) * 1024))
        found[name] = said(function, *words)
        found[name] += (left(disk),)
    os.environ["SCOAT_CACHE"] = str(disk / "cache")
    found["the cache"] = said(scoat, *train, "--runs", folder / "other")
    found["the cache"] += (left(disk),)
    return found


def quiet(*words) -> str:
    """What `scoat` prints."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        scoat(*words)
    return out.getvalue()


def left(disk: Path) -> str:
    """What is wrong with the files that a command left, which are removed then; "" for nothing."""
    from test_kills import whole_files

    wrong = [f"{p} is left" for p in disk.rglob(f"{files.PART}*")]
    try:
        whole_files(disk)
    except Exception as error:
        wrong.append(f"half a file: {error}")
    for path in disk.iterdir():
        if path.name != "filler":
            shutil.rmtree(path, ignore_errors=True)
            path.unlink(missing_ok=True)
    return "; ".join(wrong)


def test_what_a_failed_writer_left_open_is_closed_in_silence(tmp_path, monkeypatch):
    """Python 3.13 tells of a buffer that cannot be written at its end; the command has said so already, in one line."""
    told = []
    monkeypatch.setattr(sys, "unraisablehook", told.append)

    class Left:
        def __init__(self):
            self.cycle = self

        def __del__(self):
            raise OSError(errno.ENOSPC, "No space left on device")

    def fails():
        left = Left()
        raise OSError(errno.ENOSPC, f"No space left on device, {left.cycle is left}")

    with contextlib.suppress(OSError), files.whole_file(tmp_path / "mask.nii"):
        fails()
    gc.collect()
    assert not told
    assert not list(tmp_path.iterdir())


def test_only_what_nobody_writes_any_more_is_removed(tmp_path):
    (tmp_path / f"{files.PART}left").write_text("of a killed process")
    (tmp_path / ".part-of-another-program").write_text("theirs")
    with files.whole_file(tmp_path / "mask.nii") as temporary:
        temporary.write_text("half")
        words = f"from pathlib import Path; from scoat_lib.files import remove_parts; remove_parts(Path({str(tmp_path)!r}))"
        subprocess.run([sys.executable, "-c", words], check=True)
        assert temporary.read_text() == "half"
    assert sorted(p.name for p in tmp_path.iterdir()) == [".part-of-another-program", "mask.nii"]


@pytest.fixture(scope="module", params=["full", "read-only"])
def met(request, data_folder, tmp_path_factory):
    """What every command says on a disk that is full or read-only: (state, {command: [exit code, words, what is wrong]})."""
    folder = tmp_path_factory.mktemp("disks")
    for apart in (["unshare", "--mount"], ["unshare", "--user", "--map-root-user", "--mount"]):
        try:
            if subprocess.run([*apart, "mount", "-t", "tmpfs", "none", folder], capture_output=True).returncode == 0:
                break
        except FileNotFoundError:
            continue
    else:
        pytest.skip("mounting a disk of one's own is not permitted here")
    words = [*apart, sys.executable, __file__, request.param, data_folder, folder]
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, cwd=ROOT, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    return request.param, json.loads((folder / "met.json").read_text())


def test_a_disk_that_takes_nothing_is_said_in_a_line_and_leaves_nothing_half(met, tried):
    state, found = met
    reasons = {"full": r"No space left on device|[Nn]ot all of it", "read-only": r"[Rr]ead-only file system|is not writable"}
    reason = reasons[state]
    wrong = {}
    for command, (code, text, files_left) in found.items():
        lines = [line for line in text.splitlines() if "warning" not in line.lower()]
        shown = lines[-1] if lines else ""
        right = code == 3 and re.search(reason, shown) and "/disk" in shown and not files_left
        if not right or (len(lines) != 1 and not command.startswith("experiment")):
            wrong[command] = (code, text[-600:], files_left)
    assert not wrong
    assert len(found) == 15
    tried(f"a {state} disk", "one line, exit code 3, nothing half", len(found))


if __name__ == "__main__":
    import torch

    torch.set_num_threads(1)
    sys.path.insert(0, str(ROOT))
    here = Path(sys.argv[3])
    os.environ["SCOAT_CACHE"] = str(here / "cache")
    (here / "met.json").write_text(json.dumps(every_command(sys.argv[1], Path(sys.argv[2]), here)))
