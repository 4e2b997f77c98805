"""report.py: tables are recomputed from counts; nothing is quoted that no file holds."""

import json

import numpy as np
import pytest

from scoat_lib import report
from scoat_lib.training import Recipe


def result(network, patients, fold=0, seed=0):
    recipe = Recipe(network=network, fold=fold, seed=seed).to_dict()
    counts = {
        n: {"tp": tp, "fp": fp, "fn": fn, "tn": 9, "Na": 2, "Np": 1, "Nb": 2, "Nt": 1} for n, (tp, fp, fn) in patients.items()
    }
    provenance = {"commit": "abcdef0123", "device": "CPU", "seconds": 90.0, "date": "2026-11-24"}
    return {"recipe": recipe, "data": {"name": "d"}, "patients": counts, "provenance": provenance}


@pytest.fixture
def results():
    return [
        result("scoatnet", {"a": (900, 100, 100), "b": (5, 0, 2)}),
        result("scoatnet", {"c": (1000, 0, 1000)}, fold=1),
        result("unetpp", {"a": (800, 200, 200), "b": (7, 0, 0)}),
    ]


def test_summary_recomputes_the_endpoints(results):
    table = report.summary(results)
    row = table.loc["scoatnet"]
    assert row["DSC, ≥ 1000 voxels"] == pytest.approx(100 * (0.9 + 2 / 3) / 2)
    assert row["DSC, all"] == pytest.approx(100 * (0.9 + 10 / 12 + 2 / 3) / 3)
    assert row["DSC, pooled"] == pytest.approx(100 * 2 * 1905 / (2 * 1905 + 100 + 1102))
    assert (row["patients"], row["all patients"], row["folds"]) == (2, 3, "0, 1")
    assert table.loc["unetpp"]["patients"] == 1


def test_paired_compares_the_same_patients_only(results):
    d = report.paired(results, "scoatnet", "unetpp")
    assert d["patients"] == 1
    assert d["difference"] == pytest.approx(10)
    assert np.isnan(d["low"])  # one patient has no interval
    with pytest.raises(ValueError, match="no patient"):
        report.paired(results[:2], "scoatnet", "unetpp")
    with pytest.raises(ValueError, match="no results"):
        report.paired([], "scoatnet", "unetpp")


def test_the_interval_covers_the_spread():
    rng = np.random.default_rng(0)
    many = {f"p{i}": (900 + int(v), 100, 100) for i, v in enumerate(rng.normal(0, 60, 30))}
    base = {name: (900, 100, 100) for name in many}
    d = report.paired([result("scoatnet", many), result("unetpp", base)], "scoatnet", "unetpp")
    assert d["low"] < d["difference"] < d["high"]
    assert d["high"] - d["low"] < 4


def test_only_the_folders_own_files_are_read(tmp_path, results):
    (tmp_path / "development").mkdir()
    for name in ("a.json", "development/b.json", "phantom-realism.json"):
        (tmp_path / name).write_text(json.dumps(results[0]))
    assert len(report.load(tmp_path)) == 1
    assert report.load(tmp_path / "absent") == []
    assert report.summary([]).empty
    assert list(report.provenance(results).commit.unique()) == ["abcdef01"]
