"""cli.py: the commands as a user meets them, their exit codes, their words."""

import contextlib
import io
import json
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace
from unittest import mock

import matplotlib as mpl
import nibabel as nib
import numpy as np
import pytest

from scoat_lib import cli, inference, weights
from scoat_lib.cohort import find_cases
from scoat_lib.files import PART
from scoat_lib.scan import Scan


def alone(*words, code=0):
    """The command in a process of its own: with what importing, warnings and the process's end add to its words."""
    done = subprocess.run([sys.executable, "-m", "scoat_lib", *map(str, words)], capture_output=True, text=True)
    assert done.returncode == code, done.stderr[-2000:]
    return done


def scoat(*words, code=0):
    """The same command in this process, which has imported everything long ago."""
    out, err, ended = io.StringIO(), io.StringIO(), 0
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        mock.patch.object(sys, "argv", ["scoat", *map(str, words)]),
        mpl.rc_context(),
    ):
        try:
            cli.main()
        except SystemExit as end:
            ended = end.code or 0
    assert ended == code, err.getvalue()[-2000:]
    return SimpleNamespace(stdout=out.getvalue(), stderr=err.getvalue())


@pytest.fixture(scope="module")
def trained(data_folder, tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    words = [
        "--width",
        4,
        "--epochs",
        1,
        "--size",
        64,
        "--folds",
        3,
        "--lesion-free",
        0,
        "--precision",
        "32-true",
        "--threads",
        1,
        "--calibrate",
    ]
    done = alone("train", "--data", data_folder, "--runs", runs, *words, "--json")
    return json.loads(done.stdout)


@pytest.mark.parametrize("command", ["phantom", "train", "evaluate", "experiment", "report", "segment"])
def test_help_explains_each_command(command):
    text = alone(command, "--help").stdout
    assert len(text) > 600
    assert "Traceback" not in text


HEAVY = {"torch", "monai", "pandas", "matplotlib", "numpy", "scipy", "nibabel", "skimage", "tqdm", "rich"}


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["segment", "--help"],
        ["segment", "--misspelt"],
        ["segment", "a.nii", "-o", "b.nii", "--threshold", "2"],
        ["segment", "a.nii", "-o", "b.nii", "--branches", "5"],
        ["segment", "a.nii", "-o", "b.nii", "--device", "tpu"],
        ["segment", "a.nii", "-o", "b.nii", "--follow-up", "c"],
        ["segment", "a.nii", "-o", "b.nii", "--report", "c.png"],
        ["train", "--device", "tpu"],
        ["train", "--option", "up"],
        ["experiment", "table3", "--folds", "x"],
        ["report", "--format", "html"],
    ],
    ids=" ".join,
)
def test_help_and_usage_errors_import_nothing_heavy(words):
    """They answer at once because nothing is imported that takes long; counted in modules, as times differ by machine."""
    code = (
        "import sys\n"
        "from scoat_lib.cli import main\n"
        "try:\n    main()\n"
        "except SystemExit as end:\n    code = end.code\n"
        f"print(code, *sorted({HEAVY} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)
    assert done.stderr.splitlines()[-1] == ("0" if "--help" in words else "2"), done.stderr[-500:]


def test_train_then_evaluate(trained, data_folder, tmp_path):
    assert trained["finished"]
    assert trained["epochs"] == 1
    table = alone("evaluate", trained["run"], "--data", data_folder, "--results", tmp_path)
    assert "pooled" in table.stdout
    (result,) = tmp_path.glob("*.json")
    again = json.loads(scoat("evaluate", trained["run"], "--data", data_folder, "--results", tmp_path, "--json").stdout)
    assert again["result"] == str(result)


def test_evaluating_weights_marks_the_patients_they_were_trained_on(trained, data_folder):
    out = json.loads(scoat("evaluate", f"{trained['run']}/weights.safetensors", "--data", data_folder, "--json").stdout)
    assert len(out["trained_on"]) == 4
    assert len(out["scores"]) == 6 + 3


def test_segment(trained, data_folder, tmp_path):
    case = find_cases(data_folder)[0]
    mask, probability = tmp_path / "mask.nii.gz", tmp_path / "p.nii.gz"
    done = scoat("segment", case.scan, "-o", mask, "--weights", f"{trained['run']}/weights.safetensors", "--probability",
                 probability, "--json")  # fmt: skip
    out = json.loads(done.stdout)
    written, scan = Scan.load(mask, mask=True), Scan.load(case.scan)
    assert written.voxels.shape == scan.voxels.shape
    np.testing.assert_allclose(written.affine, scan.affine)
    assert out["lov_cm3"] == pytest.approx(written.volume(), abs=0.01)
    np.testing.assert_array_equal(Scan.load(probability).voxels > 0.5, written.voxels > 0)
    other = tmp_path / "other.nii.gz"
    (tmp_path / f"{PART}of-a-killed-run.nii.gz").write_text("half")
    scoat("segment", case.scan, "-o", tmp_path / "m2.nii.gz", "--weights", f"{trained['run']}/weights.safetensors",
          "--probability", other, "--smooth", 20, "--no-calibrate")  # fmt: skip
    assert not list(tmp_path.glob(f"{PART}*"))
    segmenter = weights.load(f"{trained['run']}/weights.safetensors")
    assert segmenter.preprocessing.calibrate
    segmenter.preprocessing = replace(segmenter.preprocessing, calibrate=False)
    expected = inference.probabilities(segmenter, scan, smooth=20.0).axial()
    np.testing.assert_allclose(Scan.load(other).axial(), expected, atol=1e-5)
    assert np.abs(expected - Scan.load(probability).axial()).max() > 1e-3
    plain = inference.probabilities(segmenter, scan).axial()
    assert np.abs(plain - Scan.load(probability).axial()).max() > 1e-4, "calibrating did nothing"
    refused = scoat("segment", case.scan, "-o", mask, code=3)
    assert "exists already" in refused.stderr


def test_shipped_weights_segment_out_of_the_box(data_folder, tmp_path):
    if weights.SHIPPED not in weights.shipped():
        pytest.fail("no weights are shipped")
    case = find_cases(data_folder)[0]
    done = alone("segment", case.scan, "-o", tmp_path / "m.nii.gz")
    assert "cm³" in done.stdout
    assert done.stderr == ""


def test_bad_scans_are_one_line_and_exit_code_3(tmp_path):
    nib.save(nib.Nifti1Image(np.zeros((8, 8, 8), np.int16), np.eye(4)), tmp_path / "zero.nii.gz")
    (tmp_path / "text.nii.gz").write_text("no scan")
    for name, word in (("absent.nii.gz", "does not exist"), ("text.nii.gz", "NIfTI"), ("zero.nii.gz", "Hounsfield")):
        done = scoat("segment", tmp_path / name, "-o", tmp_path / "m.nii.gz", code=3)
        assert word in done.stderr
        assert name in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "m.nii.gz").exists()


def test_a_mask_never_replaces_its_scan(data_folder, tmp_path):
    scan = tmp_path / "s.nii.gz"
    scan.write_bytes(find_cases(data_folder)[0].scan.read_bytes())
    before = scan.read_bytes()
    done = scoat("segment", scan, "-o", scan, "--overwrite", code=3)
    assert "is the same file as" in done.stderr
    assert scan.read_bytes() == before


def test_misspelt_commands_are_exit_code_2(tmp_path):
    assert "--epoch" in alone("train", "--epoch", "3", code=2).stderr
    assert "--smooth" in scoat("segment", tmp_path / "a.nii", "-o", tmp_path / "b.nii", "--smooth", "-1", code=2).stderr
    assert "tpu" in scoat("train", "--device", "tpu", code=2).stderr
    assert (
        "between 0 and 1" in scoat("segment", tmp_path / "a.nii", "-o", tmp_path / "b.nii", "--threshold", "2", code=2).stderr
    )


def test_bad_values_are_exit_code_3(data_folder, tmp_path):
    done = scoat("train", "--data", data_folder, "--network", "vgg", "--runs", tmp_path, code=3)
    assert "known: scoatnet" in done.stderr
    done = scoat("train", "--data", tmp_path, "--runs", tmp_path / "runs", code=3)
    assert "COVID-19-CT-Seg_20cases" in done.stderr
    assert not (tmp_path / "runs").exists()


def test_a_budget_stops_with_exit_code_4(data_folder, tmp_path):
    words = ["--data", data_folder, "--width", 4, "--size", 64, "--folds", 3, "--runs", tmp_path, "--threads", 1, "--json"]
    out = json.loads(alone("train", *words, "--budget", 0.0001, code=4).stdout)
    assert out["finished"] is False


def test_phantom_makes_a_cohort(tmp_path):
    out = json.loads(alone("phantom", tmp_path / "c", "--patients", 2, "--size", 64, 64, 16, "--json").stdout)
    assert len(out["lesion_cm3"]) == 2
    assert len(find_cases(tmp_path / "c")) == 2
    scoat("phantom", tmp_path / "c", code=3)


def test_the_commands_defaults_are_the_recipes(tmp_path, monkeypatch):
    """One place decides: a default typed twice once sent every run to another pixel size."""
    from scoat_lib import cli, experiments
    from scoat_lib.training import Recipe

    class Seen(Exception):
        pass

    def prepare(recipe, data):
        raise Seen(recipe)

    monkeypatch.setattr(experiments, "prepare", prepare)
    with pytest.raises(Seen) as caught:
        cli.app(["train", "--runs", str(tmp_path)], standalone_mode=False)
    assert caught.value.args[0] == Recipe()


def test_an_experiment_does_what_is_missing_and_a_report_shows_it(data_folder, tmp_path):
    words = ["--data", data_folder, "--results", tmp_path / "r", "--runs", tmp_path / "w", "--width", 4, "--epochs", 1]
    words += ["--size", 64, "--precision", "32-true", "--folds", "0", "--only", "SCOAT-Net", "--only", "UNet++"]
    listed = json.loads(scoat("experiment", "table3", *words, "--dry-run", "--json").stdout)
    assert listed == {"wanted": 2, "present": 0, "missing": 2}
    assert not (tmp_path / "r").exists()
    done = json.loads(alone("experiment", "table3", *words, "--processes", 2, "--json").stdout)
    assert (done["done"], done["failed"]) == (2, {})
    again = scoat("experiment", "table3", *words)
    assert "2 of 2 results" in again.stdout
    text = alone("report", "table3", "--results", tmp_path / "r").stdout
    assert text.count("not run") == 3
    assert "worst patient" in text
    scoat("report", "table3", "--results", tmp_path / "r", "--format", "latex", "-o", tmp_path / "out")
    assert {"table3.tex", "table3.png", "table3-figure3.png"} <= {p.name for p in (tmp_path / "out").iterdir()}
    refused = scoat("report", "table3", "--results", tmp_path / "r", "-o", tmp_path / "out", "--format", "latex", code=3)
    assert "exists" in refused.stderr
    assert "WAITS FOR RUNS" in scoat("report", "--claims", "--results", tmp_path / "r").stdout


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["experiment", "table9"], 3, "known: table1"),
        (["experiment", "table3", "--only", "V9"], 3, "has no row V9"),
        (["experiment", "table3", "--folds", "x"], 2, "is not like 0"),
        (["experiment", "table3", "--folds", "7"], 3, "folds 0 to 4"),
        (["report", "--results", "nowhere"], 3, "holds no result"),
        (["report", "--format", "html"], 2, "none of text"),
    ],
)
def test_bad_words_of_experiment_and_report(words, code, text, data_folder):
    more = ["--data", data_folder] if words[0] == "experiment" else []
    done = scoat(*words, *more, code=code)
    assert text in " ".join(done.stderr.split())


# --- nothing is lost, and what goes wrong is one line -----------------------------------------------------------------


@pytest.fixture
def small(data_folder, tmp_path):
    """A small scan of its own, with its bytes."""
    path = tmp_path / "scan.nii.gz"
    path.write_bytes(find_cases(data_folder)[0].scan.read_bytes())
    return path


@pytest.mark.fault("the scan itself as the mask's place, however spelt", "refused; the scan is whole")
def test_the_scan_is_never_its_masks_place(small, tmp_path):
    kept = small.read_bytes()
    (tmp_path / "sub").mkdir()
    (tmp_path / "link.nii.gz").symlink_to(small)
    (tmp_path / "hard.nii.gz").hardlink_to(small)
    for scan, output in (
        (small, small),
        (small, tmp_path / "sub" / ".." / "scan.nii.gz"),
        (tmp_path / "link.nii.gz", small),
        (small, tmp_path / "link.nii.gz"),
        (small, tmp_path / "hard.nii.gz"),
    ):
        done = scoat("segment", scan, "-o", output, "--overwrite", code=3)
        assert "is the same file as" in done.stderr
        assert small.read_bytes() == kept
    done = scoat("segment", small, "-o", tmp_path / "m.nii.gz", "--probability", tmp_path / "sub" / ".." / "m.nii.gz", code=3)
    assert "which is written too" in done.stderr


def one_line(done):
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr[-2000:]
    assert lines[0].startswith("scoat: ")
    return lines[0]


@pytest.mark.fault("names and places that cannot be", "one line, exit code 3")
def test_every_error_is_one_line(small, data_folder, tmp_path):
    (tmp_path / "folder.nii").mkdir()
    (tmp_path / "file").write_text("x")
    long = tmp_path / ("n" * 253 + ".nii")
    train = ["train", "--data", data_folder, "--width", 4, "--epochs", 1, "--size", 64]
    run = tmp_path / "run"
    run.mkdir()
    (run / "recipe.json").write_text('{"rec')
    for words, text in (
        (["segment", small, "-o", tmp_path / "folder.nii"], "is a folder"),
        (["segment", tmp_path / "folder.nii", "-o", tmp_path / "m.nii"], "is a folder"),
        (["segment", small, "-o", long], "too long"),
        (["segment", long, "-o", tmp_path / "m.nii"], "File name too long; choose a shorter name"),
        (["segment", tmp_path / ("n" * 300 + ".nii"), "-o", tmp_path / "m.nii"], "n.nii"),
        (["segment", small, "-o", tmp_path / "file" / "m.nii"], "does not exist"),
        (["segment", small, "-o", tmp_path / "m.nii", "--assume", "sideways"], "cannot be assumed"),
        ([*train, "--runs", tmp_path / "file"], "file"),
        (["evaluate", run, "--results", tmp_path / "r"], "recipe.json: is not whole JSON"),
        (["report", "--results", tmp_path / "nothing"], "holds no result"),
    ):
        assert text in one_line(scoat(*words, code=3)), words
    for words, text in (
        (["segment", long, "-o", tmp_path / "m.nii"], "File name too long; choose a shorter name"),
        (["evaluate", run, "--results", tmp_path / "r"], "recipe.json: is not whole JSON"),
    ):
        assert text in one_line(alone(*words, code=3)), words


def test_a_result_cut_in_half_is_named_and_a_stray_is_said(tmp_path):
    from test_report import result

    key = "0123456789abcdef0123"
    (tmp_path / f"{key}.json").write_text(json.dumps(result("scoatnet", {"a": (900, 100, 100)})))
    (tmp_path / "package.json").write_text('{"name": 1}')
    assert "package.json: is no result" in scoat("report", "table2", "--results", tmp_path).stderr
    (tmp_path / f"{key[::-1]}.json").write_text('{"recipe": {')
    assert f"{key[::-1]}.json: is not whole JSON" in scoat("report", "--results", tmp_path, code=3).stderr


def test_a_traceback_is_there_for_who_asks(small, tmp_path, monkeypatch):
    monkeypatch.setenv("SCOAT_DEBUG", "1")
    assert "Traceback" in alone("segment", small, "-o", tmp_path, code=1).stderr


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError(28, "No space left on device", "/x/m.nii"), "/x/m.nii: No space left on device; make room"),
        (PermissionError(13, "Permission denied", "/x"), "/x: Permission denied; you may not read or write there"),
        (MemoryError(), "the memory is not enough"),
        (RuntimeError("a\n  b"), "a b; set SCOAT_DEBUG=1"),
        (ImportError("No module named 'distributed'"), "No module named 'distributed'; install what is missing"),
    ],
)
def test_errors_in_words(error, text):
    from scoat_lib.cli.app import in_words

    said = in_words(error)
    assert said.startswith(text)
    assert "\n" not in said


def test_what_a_scan_says_of_itself_is_a_warning(small, tmp_path):
    image = nib.load(small)
    turned = image.affine.copy()
    turned[0] *= -1
    image.set_sform(image.affine, 1)
    image.set_qform(turned, 1)
    nib.save(image, tmp_path / "two.nii.gz")
    done = scoat("segment", tmp_path / "two.nii.gz", "-o", tmp_path / "m.nii.gz", "--json")
    assert "scoat: warning:" in done.stderr
    assert any("qform" in w for w in json.loads(done.stdout)["warnings"])
    quiet = scoat("segment", tmp_path / "two.nii.gz", "-o", tmp_path / "m.nii.gz", "--overwrite", "--assume", "sform", "--json")
    assert not any("qform" in w for w in json.loads(quiet.stdout)["warnings"])
