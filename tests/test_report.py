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
    third = result("cenet", {"z": (900, 100, 100)})  # a network that reports other patients takes none away
    assert report.paired([*results, third], "scoatnet", "unetpp") == pytest.approx(d, nan_ok=True)
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
    old = json.loads((tmp_path / "a.json").read_text())
    old["recipe"].pop("calibrate")  # a result of before recipes had this field
    (tmp_path / "a.json").write_text(json.dumps(old))
    assert len(report.load(tmp_path)) == 1
    assert len(report.alike(report.load(tmp_path))) == 1
    assert report.load(tmp_path / "absent") == []
    assert report.summary([]).empty
    assert list(report.provenance(results).commit.unique()) == ["abcdef01"]


# --- tables of grids -------------------------------------------------------------------------------------------------


def measured(network, values, fold=0, seed=0, **fields):
    made = result(network, {n: (round(1e4 * v), round(1e4 * (1 - v)), round(1e4 * (1 - v))) for n, v in values.items()})
    made["recipe"] = Recipe(network=network, fold=fold, seed=seed, **fields).to_dict()
    made["measures"] = {
        n: {"hd95_mm": None if v == 0 else 8.0, "surface_dice": v, "voxel_mm3": 2.0, "lesions": [[60_000, 100], [40, 0]]}
        for n, v in values.items()
    }
    return made


VALUES = {f"p{k}": 0.5 + 0.05 * k for k in range(6)}


def test_a_table_shows_every_row_and_says_what_was_not_run():
    from scoat_lib import grids

    rivals = [measured("unetpp", VALUES), measured("scoatnet", {n: v + 0.02 for n, v in VALUES.items()})]
    other_scale = measured("unet", VALUES, width=16)
    (table, wide) = report.tables([*rivals, other_scale], grids.get("table2"))
    assert list(table.rows.index) == list(grids.get("table2").rows)
    assert table.rows.patients["UNet++"] == 6
    assert table.rows.patients["U-Net"] == 0  # its run is of another scale
    assert wide.rows.patients["U-Net"] == 6
    assert report.comparing([wide, table]) == [table]  # a row alone compares nothing
    assert report.comparing([wide]) == [wide]
    assert table.rows.difference["UNet++"] == pytest.approx(-2)
    assert table.rows.p["UNet++"] == pytest.approx(2 / 2**6)
    assert table.rows["paper DSC"]["SCOAT-Net"] == 89.48
    text = report.as_text(table)
    assert text.count(report.NOT_RUN) == 7
    assert "width 8" in text
    latex = report.as_latex(table)
    assert latex.count(report.NOT_RUN) == 7
    assert "toprule" in latex


def test_rows_are_averaged_over_the_patients_that_all_have():
    from scoat_lib import grids

    few = {n: VALUES[n] for n in ("p0", "p1")}
    results = [measured("unetpp", VALUES), measured("scoatnet", VALUES), measured("unet", few)]
    (table,) = report.tables(results, grids.get("table2"))
    assert set(table.rows.patients) == {0, 2}
    assert table.rows.DSC["UNet++"] == pytest.approx(52.5)
    assert table.rows.pairs["UNet++"] == 6  # a difference uses all patients of its two rows
    assert table.rows.pairs["U-Net"] == 2


def test_seeds_are_averaged_before_patients():
    frame = report.per_patient([measured("unet", {"p0": 0.5}), measured("unet", {"p0": 0.7}, seed=1)])
    assert frame.DSC["p0"] == pytest.approx(0.6)
    assert len(frame) == 1


def test_a_row_is_found_whatever_the_scale():
    from scoat_lib import grids

    alpha, table1 = grids.get("alpha"), grids.get("table1")
    made = measured("scoatnet", VALUES, loss_options={"alpha": 2.0}, width=16)
    assert report.row_of(made, alpha) == "α = 2"
    assert report.row_of(made, table1) is None  # another α is not Table I's BCE-Dice
    assert report.row_of(measured("scoatnet", VALUES, loss="mae"), table1) == "MAE"
    assert report.row_of(measured("scoatnet", VALUES, split="slice"), table1) is None
    assert report.row_of(measured("unetpp", VALUES, loss="mae"), table1) is None


def test_volumes_distances_and_lesions():
    from scoat_lib import grids

    results = [measured("scoatnet", VALUES), measured("unetpp", VALUES)]
    row = report.tables(results, grids.get("table2"))[0].rows.loc["SCOAT-Net"]
    assert row["HD95, mm"] == 8
    assert row["surface Dice"] == pytest.approx(62.5)
    assert row["LOV bias"] == pytest.approx(0, abs=1e-9)
    recall = report.lesion_recall(results)
    assert recall.lesions.tolist() == [12, 0, 0, 12]
    assert recall.found.tolist()[::3] == [0, 1]
    assert recall.covered.iloc[3] == pytest.approx(100 / 60_000)


def test_holm():
    assert report.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    with_gap = report.holm([float("nan"), 0.02, 0.5])
    assert np.isnan(with_gap[0])
    assert with_gap[1:] == pytest.approx([0.04, 0.5])


def test_results_of_other_numerics_are_left_out(tmp_path, results):
    from scoat_lib.experiments import RESULTS_VERSION

    (tmp_path / "old.json").write_text(json.dumps(results[0] | {"results_version": RESULTS_VERSION - 1}))
    (tmp_path / "new.json").write_text(json.dumps(results[0] | {"results_version": RESULTS_VERSION}))
    (tmp_path / "attention").mkdir()
    (tmp_path / "attention" / "new.json").write_text('{"nodes": {}}')
    (loaded,) = report.load(tmp_path)
    assert loaded["attention"] == {"nodes": {}}


def test_the_worst_patients_are_named():
    from scoat_lib import grids

    (table,) = report.tables([measured("scoatnet", VALUES), measured("unetpp", VALUES)], grids.get("table2"))
    worst = report.worst(table, 1)
    assert set(worst.patient) == {"p0"}
    assert set(worst.row) == {"SCOAT-Net", "UNet++"}


def test_alike_keeps_to_one_recipe(results):
    made = [measured("unet", VALUES), measured("unet", VALUES, width=16), measured("unet", VALUES, loss="mae")]
    assert report.alike(made) == made[:1]
    assert report.alike(made, loss=None) == [made[0], made[2]]
    assert report.alike(made, loss="mae") == [made[2]]
