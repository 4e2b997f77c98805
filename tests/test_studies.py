"""studies/: what measures finished runs writes files that hold what the pages read."""

import importlib
import json
import subprocess
import sys
from pathlib import Path
from unittest import mock

import matplotlib as mpl
import pytest

from scoat_lib import experiments, metrics
from scoat_lib.training import Recipe
from scoat_lib.weights import load

ROOT = Path(__file__).parents[1]


def test_the_most_that_is_marked_where_next_to_nothing_is_ill():
    from studies.ship import quiet

    measured = {"voxel_mm3": 1000.0, "thresholds": {"0.2": [3, 60, 4], "0.3": [3, 40, 4], "0.4": [2, 30, 5]}}
    ill = {"voxel_mm3": 1000.0, "thresholds": {"0.2": [3000, 9000, 4]}}
    runs = [{"patients": {"s": {"tp": 2, "fn": 5}, "t": {"tp": 3000, "fn": 4}}, "measures": {"s": measured, "t": ill}}]
    assert quiet(runs, 0.3) == {"ml": 43.0, "scan": "s", "lesion voxels": 7, "threshold": 0.3}
    assert quiet(runs, 0.35) == quiet(runs, 0.3)  # never less than what 0.35 would mark
    assert quiet([], 0.3) is None


def test_two_readers_are_compared_scan_by_scan(data_folder, tmp_path):
    import shutil

    from scoat_lib.cohort import find_cases
    from scoat_lib.scan import Scan

    folder = tmp_path / "data"
    shutil.copytree(data_folder, folder)
    (folder / "Second_Reader_Mask").mkdir()
    one, two, *_ = find_cases(folder)
    shutil.copy(one.mask, folder / "Second_Reader_Mask")
    mask = Scan.load(two.mask, mask=True)
    Scan(mask.voxels * (mask.voxels.cumsum().reshape(mask.voxels.shape) % 2 == 0), mask.affine).save(
        folder / "Second_Reader_Mask" / two.mask.name
    )
    words = [sys.executable, "-m", "studies.readers", "--data", folder, "--results", tmp_path / "r"]
    done = subprocess.run([*map(str, words)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads((tmp_path / "r" / "readers.json").read_text())
    assert list(found["scans"]) == [one.name, two.name]
    assert found["scans"][one.name]["DSC"] == 1
    assert found["scans"][two.name]["DSC"] == pytest.approx(2 / 3, abs=0.01)  # every second voxel


def test_what_is_measured_on_a_finished_run(data_folder, tmp_path):
    """The six scripts behind chapters 2, 8, 14, 18 and the register, on phantoms: their files hold what the pages read."""

    def script(name, *words):
        words = [f"studies.{name}", *words, "--data", data_folder, "--results", tmp_path / "r"]
        with mock.patch.object(sys, "argv", [*map(str, words)]), mpl.rc_context():
            importlib.import_module(f"studies.{name}").main()

    script("attention_course", "--epochs", "1", "--runs", tmp_path / "w")
    (result,) = (tmp_path / "r").glob("*.json")
    course = json.loads((tmp_path / "r" / "attention" / result.name).read_text())
    assert course["nodes"]
    assert all(len(v) == 3 and all(0 < a <= 1 for a in v) for v in course["nodes"].values())
    assert all(len(v) == 1 for v in course["epochs"].values())
    assert all(len(v) == 3 and min(v) > 0 for v in course["contrast"].values())
    assert set(course["learning"]) == set(course["nodes"])
    assert all(len(v) == 1 and len(v[0]) == 3 and v[0][0] + v[0][2] > 0 for v in course["learning"].values())
    run = tmp_path / "w" / result.stem
    script("attention_ablation", run)
    ablated = json.loads((tmp_path / "r" / "attention" / f"ablation-{result.name}").read_text())
    assert len(ablated["pooled_dsc"]) == 10
    assert set(ablated["patients"]["as trained"]) == set(json.loads(result.read_text())["patients"])
    script("operating_point", run)
    chosen = json.loads((tmp_path / "r" / "shipped" / "operating-point-w8.json").read_text())
    plain = next(r for r in chosen["rows"] if (r["flip"], r["smooth"], r["threshold"]) == (False, 0, 0.5))
    assert chosen["best"]["primary"] is None  # no phantom of this fold has so many lesion voxels
    assert chosen["best"]["pooled"] >= plain["pooled"]
    assert len(chosen["rows"]) == 2 * 4 * 9
    assert chosen["left out"] == {}

    counts = json.loads(result.read_text())["patients"]
    dsc = {n: 200 * c["tp"] / max(1, 2 * c["tp"] + c["fp"] + c["fn"]) for n, c in counts.items()}
    script("evaluation_readings", run)
    read = json.loads((tmp_path / "r" / "readings" / "evaluation-w8.json").read_text())
    tp, fp, fn = (sum(c[k] for c in counts.values()) for k in ("tp", "fp", "fn"))
    assert read["average"]["all voxels pooled"] == pytest.approx(200 * tp / (2 * tp + fp + fn), abs=0.01)
    assert read["output"]["logits of X(0,4)"]["pooled"] == read["average"]["all voxels pooled"]
    assert read["average"]["all patients"] == pytest.approx(sum(dsc.values()) / len(dsc), abs=0.01)
    assert read["average"]["all slices, empty ones 1"] >= read["average"]["all slices, empty ones left out"]
    assert read["patients"]["primary"] == []
    assert read["VA"]["factor 2"] is None
    assert len(read["regions"]) == 12

    script("hu_scale")
    scales = json.loads((tmp_path / "r" / "readings" / "hu-scale.json").read_text())
    assert scales["data"]["fingerprint"] == json.loads(result.read_text())["data"]["fingerprint"]
    for row in scales["patients"].values():  # phantoms are in HU
        assert row["air"] == pytest.approx(-1000, abs=15)
        assert row["muscle"] == pytest.approx(50, abs=15)
        assert row["lesion calibrated"] == pytest.approx(row["lesion"], abs=20)

    script("uncertainty", run)
    doubt = json.loads((tmp_path / "r" / "uncertainty" / "w8.json").read_text())
    voxels = sum(sum(c[k] for k in ("tp", "fp", "fn", "tn")) for c in counts.values())
    one = doubt["answers"]["one network"]
    assert set(doubt["answers"]) == {"one network", "with the mirror image"}, "no ensemble of one"
    recipe = Recipe.from_dict(json.loads((run / "recipe.json").read_text())["recipe"])
    cohort, split = experiments.prepare(recipe, data_folder)
    again = experiments.evaluate(load(run / "weights.safetensors"), cohort, split.test, flip=True)
    both = {n: 100 * metrics.from_counts(c)["DSC"] for n, c in again.items()}
    assert doubt["answers"]["with the mirror image"]["patients"] == pytest.approx(both, abs=0.05)
    for smooth in (0.0, 3.0):
        row = next(r for r in chosen["rows"] if (r["flip"], r["smooth"], r["threshold"]) == (True, smooth, 0.5))
        again = experiments.evaluate(load(run / "weights.safetensors"), cohort, split.test, flip=True, smooth=smooth)
        found = {n: 100 * metrics.from_counts(c)["DSC"] for n, c in again.items()}
        assert row["patients"] == pytest.approx(found, abs=0.05)
    assert one["patients"] == pytest.approx(dsc, abs=0.02)
    assert sum(b["voxels"] for b in one["bins"]) == sum(b["voxels"] for b in doubt["doubt"]) == voxels
    lesion = sum(b["voxels"] * b["was"] for b in one["bins"])
    assert lesion == pytest.approx(tp + fn, rel=0.02, abs=40)
    assert 0 <= one["ece"] <= one["ece without the easy background"] <= 1


def test_the_index_of_results_is_made_from_them():
    from scoat_lib import report
    from studies import index

    results = report.load(ROOT / "results")
    made = index.text(results)
    assert (ROOT / "results" / "INDEX.md").read_text() == made, "python -m studies.index"
    assert made.count(".json`") == len(results)
    assert "of 15 runs" in made
    assert "of 70 runs" in made  # six rivals, V1 to V3 and five losses on five folds
    assert "of 30 runs" in made


def test_the_table_of_faults_is_whole():
    """`make test-long`, then `python -m studies.faults`."""
    import corpus
    import test_kills

    parts = json.loads((ROOT / "results" / "faults" / "table.json").read_text())["parts"]
    times = {row["fault"]: row["times"] for rows in parts.values() for row in rows}
    scans = {fault.removeprefix("scan: "): n for fault, n in times.items() if fault.startswith("scan: ")}
    kinds = {*corpus.faults(), "fuzzed header", "an undamaged file"}
    assert set(scans) >= kinds
    assert min(scans[kind] for kind in kinds) >= corpus.TIMES
    assert sum(scans.values()) >= 500
    kills = {fault: n for fault, n in times.items() if fault.startswith("SIGKILL: ")}
    assert set(kills) == {f"SIGKILL: {case.replace('_', ' ')}" for case in test_kills.CASES}
    assert min(kills.values()) >= 3
    assert {"a full disk", "a read-only disk", "two trainings in one folder", "two downloads into one folder"} <= set(times)


def test_a_killed_mutant_stays_killed_while_tests_are_only_added(tmp_path):
    from studies.mutants import KILLED, SURVIVED, stands, state

    (tmp_path / "scoat_lib").mkdir()
    module, tests = tmp_path / "scoat_lib" / "sums.py", tmp_path / "test_sums.py"

    def made(text, one="def add(a, b):\n    return a + b\n"):
        module.write_text(one)
        tests.write_text(text)
        return state("sums", ["test_sums.py"], tmp_path)

    old = "@mark(1)\ndef test_one():\n    assert add(1, 1) == 2\n"
    then = made(old)
    assert stands(KILLED, then, then)
    assert stands(SURVIVED, then, then)
    assert stands(KILLED, then, made("# a remark\n" + old))
    more = made(old + "def test_two():\n    assert add(1, 2) == 3\n")
    assert stands(KILLED, then, more)
    assert not stands(SURVIVED, then, more)
    for text in (old.replace("== 2", ">= 2"), old.replace("mark(1)", "mark(2)"), ""):
        assert not stands(KILLED, then, made(text))
    assert not stands(KILLED, then, made(old, "def add(a, b):\n    return b + a\n"))
