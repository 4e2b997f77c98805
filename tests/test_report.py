"""report.py: tables are recomputed from counts; nothing is quoted that no file holds."""

import json

import numpy as np
import pytest

from scoat_lib import findings, grids, report
from scoat_lib.training import Recipe


def result(network, patients, fold=0, seed=0):
    recipe = Recipe(network=network, fold=fold, seed=seed).to_dict()
    counts = {
        n: {"tp": tp, "fp": fp, "fn": fn, "tn": 9, "Na": 2, "Np": 1, "Nb": 2, "Nt": 1} for n, (tp, fp, fn) in patients.items()
    }
    provenance = {"commit": "abcdef0123", "device": "CPU", "seconds": 90.0, "date": "2026-11-24"}
    return {"recipe": recipe, "data": {"name": "d", "fingerprint": "f"}, "patients": counts, "provenance": provenance}


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


def test_pairs_are_of_the_same_patients_only(results):
    first, second = (report.per_patient([r for r in results if r["recipe"]["network"] == n]) for n in ("scoatnet", "unetpp"))
    pairs = report.paired(first, second)
    assert pairs.difference.to_dict() == pytest.approx({"a": 10})  # b has too few voxels, c is the one's alone
    assert report.paired(first, second, least=0).difference.to_dict() == pytest.approx({"a": 10, "b": 100 * (10 / 12 - 1)})
    found = report.between(first, second)
    assert (found.mean, found.patients) == (pytest.approx(10), 1)
    assert np.isnan(found.low)  # one patient has no interval


def test_a_patients_scans_count_once():
    """Counts are added before ratios, distances averaged, and an empty prediction takes its scan's diagonal."""
    made = result("scoatnet", {"radiopaedia_29_86490_1": (0, 0, 7), "radiopaedia_29_86491_1": (900, 100, 100)})
    made["measures"] = {
        "radiopaedia_29_86490_1": {"hd95_mm": None, "diagonal_mm": 500.0, "surface_dice": 0.0, "voxel_mm3": 1000.0},
        "radiopaedia_29_86491_1": {"hd95_mm": 10.0, "diagonal_mm": 400.0, "surface_dice": 0.8, "voxel_mm3": 2000.0},
    }
    (row,) = report.per_patient([made]).to_dict("records")
    assert row["lesion_voxels"] == 1007
    assert row["DSC"] == pytest.approx(1800 / (1800 + 207))
    assert row["RLP"] == pytest.approx(2 / 4)
    assert row["hd95_mm"] == pytest.approx(255)
    assert row["surface_dice"] == pytest.approx(0.4)
    assert (row["true_ml"], row["predicted_ml"]) == pytest.approx((2007, 2000))
    assert report.summary([made]).loc["scoatnet", "all patients"] == 1
    seeds = [made, {**made, "recipe": made["recipe"] | {"seed": 1}}]
    assert report.summary(seeds).loc["scoatnet", "patients"] == 1


def with_lesions(network, fold, patients, seed=0):
    """A result whose scans hold two lesions and counts at two thresholds. patients: name → (tp, fp, fn)."""
    made = result(network, patients, fold, seed)
    made["measures"] = {
        name: {
            "patient": name.partition("#")[0],
            "voxel_mm3": 10.0,
            "lesions": [[tp + fn - 50, tp], [50, 0]],
            "thresholds": {"0.3": [tp + 20, fp + 20, fn - 20], "0.5": [tp, fp, fn]},
            "hd95_mm": 3.0,
            "surface_dice": 0.5,
        }
        for name, (tp, fp, fn) in patients.items()
    }
    return made


def test_dsc_against_the_threshold_adds_scans_and_averages_seeds():
    runs = [with_lesions("scoatnet", 0, {"a": (900, 100, 200), "b": (400, 0, 100)})]
    runs += [with_lesions("scoatnet", 0, {"a": (700, 100, 400), "b": (400, 0, 100)}, seed=1)]
    frame = report.by_threshold(runs)
    assert list(frame.index) == ["a"]  # b has 500 lesion voxels
    both = [200 * 900 / (2 * 900 + 100 + 200), 200 * 700 / (2 * 700 + 100 + 400)]
    assert frame.loc["a", 0.5] == pytest.approx(sum(both) / 2)
    assert frame.loc["a", 0.3] == pytest.approx(100 * (920 / (920 + 150) + 720 / (720 + 250)) / 2)
    assert report.by_threshold([]).empty
    other = [with_lesions("unetpp", 0, {"a": (900, 100, 200), "c": (900, 100, 200)})]
    beside = report.beside_thresholds({"one": other, "two": runs, "not run": []})
    assert {label: list(frame.index) for label, frame in beside.items()} == {"one": ["a"], "two": ["a"]}
    assert list(report.by_threshold(runs, least=0).index) == ["a", "b"]


def test_the_patients_that_fail_are_named_with_what_goes_wrong():
    runs = []
    for network, lost in (("scoatnet", 0), ("unetpp", 100)):
        runs.append(with_lesions(network, 0, {"missed": (300 - lost, 50, 900 + lost), "good": (1800, 100, 100)}))
        runs.append(with_lesions(network, 1, {"flooded": (1000 - lost, 1500, 100 + lost)}))
    table = report.tables(runs, grids.get("table2"))[0]
    found = report.failures(table, runs, number=2)
    assert list(found.index) == ["missed", "flooded"]
    dsc = [200 * tp / (2 * tp + 50 + fn) for tp, fn in ((300, 900), (200, 1000))]
    assert found.loc["missed", "DSC"] == pytest.approx(sum(dsc) / 2)
    assert (found.loc["missed", "lowest"], found.loc["missed", "highest"]) == pytest.approx((min(dsc), max(dsc)))
    assert found.loc["missed", "lesions"] == 2
    assert found.loc["missed", "largest, ml"] == pytest.approx(11.5)
    assert found.loc["missed", "below 1 ml, %"] == pytest.approx(100 * 0.5 / 12)
    assert found.loc["missed", "volume"] == pytest.approx((350 + 250) / 2 / 1200)
    shown = findings.patients.failed(table, runs)
    assert shown.loc["missed", "what goes wrong"] == "much is missed"
    assert shown.loc["flooded", "what goes wrong"].startswith("much is marked that is none")
    assert findings.patients.failed(None, []).empty


def test_only_the_folders_own_files_are_read(tmp_path, results):
    (tmp_path / "development").mkdir()
    key = "0123456789abcdef0123"
    for name in (f"{key}.json", f"development/{key}.json", "phantom-realism.json", "readers.json"):
        (tmp_path / name).write_text(json.dumps(results[0]))
    old = json.loads((tmp_path / f"{key}.json").read_text())
    old["recipe"].pop("calibrate")  # a result of before recipes had this field
    (tmp_path / f"{key}.json").write_text(json.dumps(old))
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
        n: {"hd95_mm": 8.0, "surface_dice": v, "voxel_mm3": 2.0, "lesions": [[60_000, 100], [40, 0]], "patient": n}
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
    assert np.isnan(table.rows.p["UNet++"])  # all of one fold: nothing is known of how runs differ
    assert table.rows["paper DSC"]["SCOAT-Net"] == 89.48
    text = report.as_text(table)
    assert text.count(report.NOT_RUN) == 7
    assert "width 8" in text
    latex = report.as_latex(table)
    assert latex.count(report.NOT_RUN) == 7
    assert "toprule" in latex


def test_a_row_and_its_difference_are_over_the_same_patients():
    from scoat_lib import grids

    few = {n: VALUES[n] for n in ("p0", "p1")}
    more = VALUES | {"q": 0.9}  # the reference was not run on q
    results = [measured("unetpp", more), measured("scoatnet", {n: v + 0.02 for n, v in VALUES.items()}), measured("unet", few)]
    (table,) = report.tables(results, grids.get("table2"))
    assert table.rows.patients[["UNet++", "U-Net", "SCOAT-Net"]].tolist() == [6, 2, 6]
    assert table.rows.DSC["UNet++"] == pytest.approx(62.5)
    assert table.rows.DSC["U-Net"] == pytest.approx(52.5)
    assert table.rows.difference["U-Net"] == pytest.approx(-2)
    text = report.pair_as_text(table, "SCOAT-Net", "U-Net")
    assert "mean Δ +2.0 over 2 patients" in text
    assert report.pair_as_text(table, "SCOAT-Net", "CE-Net").endswith(report.NOT_RUN)
    with pytest.raises(ValueError, match="no row VNet; known: PSPNet"):
        report.pair_as_text(table, "SCOAT-Net", "VNet")


def test_intervals_and_p_are_the_rules():
    from scoat_lib import grids, rule

    gains = dict(zip(VALUES, (0.01, 0.03, 0.02, 0.05, 0.0, 0.04), strict=True))
    results = []
    for fold in range(3):
        mine = {n: VALUES[n] for n in list(VALUES)[fold::3]}
        results += [measured("unetpp", mine, fold), measured("scoatnet", {n: v + gains[n] for n, v in mine.items()}, fold)]
    (table,) = report.tables(results, grids.get("table2"))
    row = table.rows.loc["UNet++"]
    wanted = rule.interval([-100 * g for g in gains.values()], [0, 1, 2, 0, 1, 2])
    assert (row.difference, row["diff low"], row["diff high"], row.p) == pytest.approx(
        (wanted.mean, wanted.low, wanted.high, wanted.p), abs=1e-2
    )
    own = rule.interval([100 * v for v in VALUES.values()], [0, 1, 2, 0, 1, 2])
    assert (row.low, row.high) == pytest.approx((own.low, own.high))
    text = report.pair_as_text(table, "SCOAT-Net", "UNet++")
    assert "smallest difference to be seen" in text
    assert text.index("p3") < text.index("p4")  # the largest gain first


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
    assert recall.lesions.tolist() == [6, 0, 0, 6]  # each once, whoever scored it
    assert recall.found.tolist()[::3] == [0, 1]
    assert recall.covered.iloc[3] == pytest.approx(100 / 60_000)


def test_volumes_are_judged_in_per_cent_with_the_limits_own_interval():
    from scoat_lib import grids

    over = {"a": 500, "b": -200, "c": 100, "d": 0, "e": 300}
    results = [result("scoatnet", {n: (9000, 1000 + extra, 1000) for n, extra in over.items()})]
    results[0]["measures"] = {n: {"voxel_mm3": 2.0, "patient": n} for n in over}
    row = report.tables(results, grids.get("table2"))[0].rows.loc["SCOAT-Net"]
    errors = np.array([v / 100 for v in over.values()])
    assert row["LOV bias"] == pytest.approx(errors.mean())
    assert row["LOV high"] == pytest.approx(errors.mean() + 1.96 * errors.std(ddof=1))
    assert row["LOV ±"] == pytest.approx(2.776 * errors.std(ddof=1) * np.sqrt(1 / 5 + 1.96**2 / 8), rel=1e-3)


def test_p_is_never_printed_as_nought():
    assert [report.p_in_words(p) for p in (0.0, 0.0004, 0.032, 0.49, float("nan"))] == [
        "< 0.001",
        "< 0.001",
        "0.032",
        "0.49",
        "",
    ]


def test_results_of_other_numerics_are_left_out(tmp_path, results):
    from scoat_lib.experiments import RESULTS_VERSION

    old, new = "0" * 20, "1" * 20
    (tmp_path / f"{old}.json").write_text(json.dumps(results[0] | {"results_version": RESULTS_VERSION - 1}))
    (tmp_path / f"{new}.json").write_text(json.dumps(results[0] | {"results_version": RESULTS_VERSION}))
    (tmp_path / "attention").mkdir()
    (tmp_path / "attention" / f"{new}.json").write_text('{"nodes": {}}')
    (loaded,) = report.load(tmp_path)
    assert loaded["attention"] == {"nodes": {}}


def test_a_file_that_is_no_whole_result_is_named(tmp_path, results):
    path = tmp_path / f"{'a' * 20}.json"
    for text, reason in (
        (json.dumps(results[0])[:-40], "is not whole JSON"),
        ('{"x": 1}', "is no result"),
        ("[]", "is no result"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=f"{path.name}: {reason}"):
            report.load(tmp_path)


def test_a_network_is_set_beside_two_readers():
    def c(tp, fp, fn):
        return {"tp": tp, "fp": fp, "fn": fn, "tn": 9, "Na": 1, "Np": 1, "Nb": 1, "Nt": 1}

    runs = [result("scoatnet", {"x": (800, 200, 200), "y": (1, 0, 0)}, seed=k) for k in range(2)]
    runs[0]["second reader"] = {"x": c(900, 100, 300)}
    runs[1]["second reader"] = {"x": c(700, 300, 500)}
    frame = report.against_readers(runs, {"scans": {"x": {"DSC": 0.75}}})
    (row,) = frame.to_dict("records")
    assert row == pytest.approx(
        {"first": 80, "second": 100 * (1800 / 2200 + 1400 / 2200) / 2, "readers": 75, "lesion_voxels": 1000}
    )
    assert report.against_readers([result("scoatnet", {"y": (1, 0, 0)})], {"scans": {}}).empty


def test_the_readers_band_is_the_measured_one():
    from pathlib import Path

    found = report.readers(Path(__file__).parents[1] / "results")["DSC, per cent"]
    assert pytest.approx((found["mean"], found["lowest"], found["highest"]), abs=0.06) == report.BETWEEN_READERS
    assert found["scans"] == 4
    assert report.readers(Path(__file__).parent) is None


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


def test_alike_keeps_to_one_data_set(results):
    """Runs of one recipe on other data are no further seeds."""
    stranger = result("scoatnet", {"a": (0, 100, 1000)}, seed=1)
    stranger["data"] = {"name": "d", "fingerprint": "another"}
    assert report.alike([stranger, *results]) == results


def test_a_row_says_how_many_seeds_its_folds_have(results):
    grid = grids.get("table2")
    assert report.tables(results, grid)[0].rows.loc["SCOAT-Net"].seeds == "1"
    again = result("scoatnet", {"a": (900, 100, 100), "b": (5, 0, 2)}, seed=1)
    assert report.tables([*results, again], grid)[0].rows.loc["SCOAT-Net"].seeds == "1–2"


def test_a_lesion_that_several_runs_reported_counts_once(results):
    two = [result("scoatnet", {"a": (900, 100, 100)}, seed=s) for s in (0, 1)]
    for run, hit in zip(two, (0, 20), strict=True):
        run["measures"] = {"a": {"voxel_mm3": 1000.0, "lesions": [[20, hit]]}}
    (row,) = report.lesion_recall(two, (0.1, 100)).to_dict("records")
    assert row == {"lesions": 1, "found": 0.5, "covered": 0.5}


def test_a_row_of_noughts_has_no_worst_patient(results):
    nought = [result("unet", {"a": (0, 0, 1000), "c": (0, 0, 2000)})]
    text = findings.patients.worst_patients(report.tables([*results, *nought], grids.get("table2"))[0])
    assert text == "The worst patient is c (2000 lesion voxels) in 1 row and a (1000 lesion voxels) in 1 row."
    alone = report.tables(nought, grids.get("table2"))[0]
    assert findings.patients.worst_patients(alone) == "No row has one worst patient."
