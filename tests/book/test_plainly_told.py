"""Chapters 8 to 13 and the first page: what a verdict does not say by itself is said beside it, and is recomputed here."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from scoat_lib import claims, findings, grids, record, report, rule, words
from scoat_lib.cohort import Cohort, patient_of
from scoat_lib.folds import make_folds
from scoat_lib.networks import create, parameters
from scoat_lib.training import Recipe

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "book"))
import front  # noqa: E402

RESULTS = report.load(ROOT / "results")
READERS = report.readers(ROOT / "results")
TABLE2 = grids.get("table2")


def cells(number):
    return json.loads(next((ROOT / "book").glob(f"{number}-*.ipynb")).read_text())["cells"]


def prose(number):
    return " ".join("".join(c["source"]) for c in cells(number) if c["cell_type"] == "markdown")


def code(number):
    return "\n".join("".join(c["source"]) for c in cells(number) if c["cell_type"] == "code")


def row(label):
    return [r for r in RESULTS if report.row_of(r, TABLE2) == label]


# the nearly clear scan


def counted(label, scan):
    """A row's voxels in a scan, straight from the files: found, false, in the mask; over the seeds."""
    each = [r["patients"][scan] for r in row(label) if scan in r["patients"]]
    return [np.mean([c[k] for c in each]) for k in ("tp", "fp")] + [np.mean([c["tp"] + c["fn"] for c in each])]


def test_the_false_alarm_in_the_nearly_clear_scan_is_told_with_its_voxels():
    (scan,) = {s for r in RESULTS for s, c in r["patients"].items() if c["tp"] + c["fn"] < 10}
    found, false, true = counted("SCOAT-Net", scan)
    volume = row("SCOAT-Net")[0]["measures"]
    ml = false * next(m["voxel_mm3"] for r in row("SCOAT-Net") for s, m in r["measures"].items() if s == scan) / 1000
    assert volume
    text = findings.alarms.false_alarm(RESULTS, READERS)
    assert f"In the scan {scan} the first reader outlined {true:.0f} voxels" in text
    second = READERS["scans"][scan]
    assert f"and the second {second['tp'] + second['fp']}." in text
    assert f"marks {findings.alarms.voxels(found + false)} voxels there, {ml:.0f} nominal ml, none of them" in text
    assert found == 0
    by_row = {label: counted(label, scan)[1] for label in TABLE2.rows}
    least, most = min(by_row, key=by_row.get), max(by_row, key=by_row.get)
    assert f"Every one of the {len(by_row)} networks" in text
    assert f"from {findings.alarms.voxels(by_row[least])} voxels" in text
    assert f"to {findings.alarms.voxels(by_row[most])} (" in text
    assert f"{most})" in text
    table = findings.alarms.clear_by_row(RESULTS)
    assert list(table.index) == list(TABLE2.rows)
    assert [cell.split(" (")[0] for cell in table.iloc[:, 0]] == [findings.alarms.voxels(v) for v in by_row.values()]
    assert findings.alarms.voxels(false) in findings.alarms.alarm(RESULTS)


def test_the_patient_with_a_nearly_clear_scan_is_no_hard_one():
    frame = findings.alarms.nearly_clear(RESULTS)
    clear, rest = frame[frame.clear], frame[~frame.clear]
    share = 100 * clear.false.sum() / frame.false.sum()
    text = findings.alarms.two_scans(RESULTS)
    assert f"{share:.0f} % of the patient's false voxels" in text
    assert share > 80
    assert rest.DSC.min() > 60, "the other scan is outlined well by every network"
    scans = findings.alarms.clear_by_scan(RESULTS)
    assert set(scans.index) == set(frame.scan)
    assert scans["marked wrongly"][clear.scan.iloc[0]].startswith(f"{findings.alarms.voxels(clear.false.mean())} (")


def test_no_chapter_excuses_the_false_alarm():
    assert "a network's 0 on that scan says nothing" not in prose("08")
    assert "whatever the network" not in prose("10")
    assert "is hard for every network" not in prose("12")
    for number in ("08", "10", "12"):
        assert re.search(r"alarms\.(clear_by_row|clear_by_scan)\(results\)", code(number)), number
        assert re.search(r"alarms\.(false_alarm|two_scans|alarm)\(results", code(number)), number


def test_without_results_the_false_alarm_is_not_run():
    for text in (
        findings.alarms.false_alarm([], READERS),
        findings.alarms.two_scans([]),
        findings.alarms.alarm([]),
        findings.readers.entry([]),
    ):
        assert text.endswith("not run.")
    assert not len(findings.alarms.clear_by_row([]))
    assert not len(findings.alarms.clear_by_scan([]))


# beside a count of comparisons


def holm(p):
    """Holm's correction from its definition."""
    order, largest, made = np.argsort(p), 0.0, np.empty(len(p))
    for rank, k in enumerate(order):
        largest = max(largest, (len(p) - rank) * p[k])
        made[k] = min(1.0, largest)
    return made


@pytest.mark.parametrize("number", ["1", "2a", "2b", "10"])
def test_a_count_of_what_holds_has_the_number_after_holms_correction_beside_it(number):
    ((_, verdict),) = findings.ledger.decided(RESULTS, number)
    of = verdict.comparisons
    left = sum((holm([c["p"] for c in of]) < 0.05) & np.array([c["status"] == claims.HOLDS for c in of]))
    text = words.claim(RESULTS, number)
    assert "each by its own interval" in text
    assert claims.holding_after_holm(of) == left
    if hold := sum(c["status"] == claims.HOLDS for c in of):
        said = re.search(rf"after Holm's correction over all {len(of)}, (none|all|\d+) of the {hold} that hold still do", text)[
            1
        ]
        assert said in {str(left) if left else "none", "all" if left == hold else "none"}
    against = [c["metric"] for c in of if c["status"] == claims.OPEN and c["difference"] < 0]
    for metric in set(against):
        assert f"{against.count(metric)} in {metric}" in text
    assert bool(against) == ("undecided ones" in text or "the undecided one" in text)


def test_comparisons_that_stay_after_the_correction_are_counted():
    def made(p, status, difference=1.0, metric="DSC"):
        refuted = p if status == claims.FAILS else 1.0
        return {"p": p, "refuted": refuted, "status": status, "difference": difference, "metric": metric, "one": "A", "sign": 1}

    three = [made(0.001, claims.HOLDS), made(0.04, claims.HOLDS), made(0.5, claims.OPEN, -1.0, "RLP")]
    begins = "after Holm's correction over all"
    assert words.corrected(three) == f"{begins} 3, 1 of the 2 that hold still does"
    assert words.corrected([*three[:1], made(0.002, claims.HOLDS)]) == f"{begins} 2, all of the 2 that hold still do"
    lost = words.corrected([made(float("nan"), claims.WAITS), made(0.03, claims.HOLDS)])
    assert lost == f"{begins} 2, the one that holds no longer does", "0.06"
    assert words.corrected(three[2:]) == ""
    assert words.corrected([three[2], three[2]]) == ""
    sure, weak = made(0.001, claims.FAILS), made(0.04, claims.FAILS)
    assert words.corrected([weak, three[2]]) == f"{begins} 2, the one that does not hold is then undecided"
    assert words.corrected([sure, weak, three[2]]) == f"{begins} 3, 1 of the 2 that do not hold stays refuted"
    assert (
        words.corrected([sure, three[0]])
        == f"{begins} 2, the one that holds still does and the one that does not hold stays refuted"
    )
    assert words.lower(three) == "in the undecided one A's mean is the lower one (1 in RLP)"
    assert words.lower(three[:2]) == ""


def test_a_claim_that_is_refuted_in_part_says_why_it_is_undecided():
    """Claim 3 had two comparisons that did not hold and was undecided, without a word why."""
    for number in ("1", "3"):
        ((claim, verdict),) = findings.ledger.decided(RESULTS, number)
        fails = [c for c in verdict.comparisons if c["status"] == claims.FAILS]
        if fails and verdict.status == claims.OPEN:
            left = r"none of the \d+ that do not hold stays refuted|the one that does not hold is then undecided"
            assert re.search(left, words.claim(RESULTS, number))
            assert re.search(left, findings.ledger.ledger([(claim, verdict)], RESULTS))
            assert "the contrary" not in verdict.reason or any(c["high"] < 0 for c in fails)


def test_the_first_page_has_both_counts():
    ((_, verdict),) = findings.ledger.decided(RESULTS, "1")
    _, number, about = front.headlines(RESULTS, ROOT / "results")[1]
    assert number == str(sum(c["status"] == claims.HOLDS for c in verdict.comparisons))
    assert "hold by their own intervals" in about
    for text in (words.corrected(verdict.comparisons), words.lower(verdict.comparisons)):
        assert text in about
        assert f"{text[0].upper()}{text[1:]}." in findings.front.findings(RESULTS, ROOT / "results")[1]


# seeds


def test_the_tables_of_one_seed_say_so_and_what_the_mean_over_seeds_is():
    measured = json.loads((ROOT / "results" / "readings" / "evaluation-w8.json").read_text())
    text, frame = findings.readers.of_one_seed(measured, RESULTS), report.per_patient(words.of_network(RESULTS, "scoatnet"))
    large = frame[frame.lesion_voxels >= report.LEAST]
    assert "seed 0 alone" in text
    alone = measured["average"]["patients with at least 1 000 lesion voxels"]
    assert f"DSC {100 * large.DSC.mean():.1f} % in place of {alone:.1f} %" in text
    assert f"RLP {100 * large.RLP.mean():.1f} % in place of" in text
    one = [r for r in RESULTS if r["recipe"]["seed"] == 0]
    assert findings.readers.of_one_seed(measured, one) == "Both tables are of seed 0 alone."
    assert "seed 0 alone" in findings.readers.readings(measured)
    assert "findings.readers.of_one_seed(measured, results)" in code("08")
    point = json.loads((ROOT / "results" / "shipped" / "operating-point-w8.json").read_text())
    assert point["recipe"]["seed"] == 0
    assert "All of this is of seed 0 alone. Chapters 9 to 13 average all seeds" in prose("18")


def test_other_seeds_than_a_rivals_are_told_with_the_first_seeds_difference():
    keep = [r for r in RESULTS if r["recipe"]["seed"] == 0 or r["recipe"]["network"] == "scoatnet"]
    text = words.uneven_seeds(keep, "table2", "SCOAT-Net", ("UNet++", "U-Net"))
    first = [r for r in keep if r["recipe"]["seed"] == 0]
    for other in ("UNet++", "U-Net"):
        alone = report.between(
            *(report.per_patient([r for r in first if report.row_of(r, TABLE2) == n]) for n in ("SCOAT-Net", other))
        )
        assert f"{words.signed(alone.mean)} from {other}" in text
    assert words.uneven_seeds(first, "table2", "SCOAT-Net", ("UNet++", "U-Net")) == "", "all have one seed"
    three = [r | {"recipe": r["recipe"] | {"seed": s}} for r in first for s in range(3)]
    assert words.uneven_seeds(three, "table2", "SCOAT-Net", ("UNet++", "U-Net")) == "", "all have three"
    many = words.uneven_seeds(keep, "table2", "SCOAT-Net", [n for n in TABLE2.rows if n != "SCOAT-Net"])
    assert re.search(r"moves by \d\.\d points at most, and (no word changes|the word changes for )", many)
    assert words.uneven_seeds([], "table2", "SCOAT-Net", ("UNet++",)) == ""


def test_what_a_seed_moves_has_an_interval_of_its_own():
    found = report.seed_spread(report.alike(RESULTS))
    low, high = (found["sd"] * np.sqrt(found["freedom"] / stats.chi2.ppf(q, found["freedom"])) for q in (0.975, 0.025))
    assert f"between {low:.1f} and {high:.1f} (95 %" in findings.compared.seeds(RESULTS)


# the rule, as it is told


def test_chapter_10_tells_the_words_as_the_protocol_and_the_ledger_do():
    text = prose("10")
    assert "or it lies wholly within ±3 points where the paper's own difference is larger than 3" in text
    flat = pd.Series(np.linspace(-0.5, 0.6, 13))
    for paper, word in ((4.7, claims.FAILS), (2.0, claims.OPEN)):
        assert claims._judged(flat, [k % 5 for k in range(13)], paper, rule.MARGIN)["status"] == word
    assert "comes from the same rule" in text
    assert f"±{rule.MARGIN:g} points are a choice of ours" in text
    limits = f"loses at most {claims.CARRIES:g} points", f"{claims.FAR_BELOW:g} points of RLP"
    for limit in (*limits, f"{100 * claims.FEW_PARAMETERS:g} % more parameters"):
        assert limit in text


def test_the_p_of_the_tables_is_the_rules():
    table = report.tables(RESULTS, TABLE2)[0]
    alone = {
        label: report.between(table.patients[label], table.patients["SCOAT-Net"]).p
        for label in table.rows.index[table.rows.p.notna()]
    }
    assert list(table.rows.p.dropna()) == pytest.approx(list(holm(list(alone.values()))))


def test_one_comparison_with_two_p_is_explained():
    second, third = (report.tables(RESULTS, grids.get(n))[0] for n in ("table2", "table3"))
    text = findings.compared.p_twice(third, second, "UNet++", "there")
    shown = [report.p_in_words(t.rows.p["UNet++"]) for t in (third, second)]
    if shown[0] == shown[1]:
        assert text == ""
        return
    assert f"p = {shown[0]} here and {shown[1]} in there" in text
    alone = report.between(third.patients["UNet++"], third.patients["SCOAT-Net"]).p
    assert f"Uncorrected it is {report.p_in_words(alone)}" in text
    assert (
        findings.compared.p_twice(None, second, "UNet++", "there")
        == findings.compared.p_twice(second, second, "UNet++", "there")
        == ""
    )


def test_before_the_first_run_means_of_this_edition():
    for number in ("08", "09", "10", "16"):
        for found in re.finditer(r"before the first run(.{17})", prose(number)):
            assert found[1].startswith(" of this edition") or found[1].startswith('" does not'), (number, found[0])
    assert "its numbers had been seen" in prose("09")


def test_the_papers_size_at_an_intervals_end_is_said():
    for high, paper, near in ((4.7, 4.76, True), (4.8, 4.76, True), (4.2, 4.76, False), (4.0, -1.0, False)):
        assert claims.at_the_end({"high": high, "paper": paper}) is near
    for other in ("UNet++", "U-Net"):
        c = claims.compare(RESULTS, TABLE2, "SCOAT-Net", other)
        near = c["excluded"] and c["paper"] - c["high"] < 0.5
        assert ("by less than 0.5 points" in words.comparison(c)) == near


def test_a_number_of_patients_is_no_sharper_than_it_is():
    told = {
        14.0: "about 14",
        28.0: "about 30",
        71.0: "about 70",
        161.0: "about 200",
        818.0: "hundreds of",
        3366.0: "thousands of",
    }
    for needed, text in told.items():
        assert claims.how_many(needed) == f"{text} patients"
    assert claims.how_many(float("inf")) == "no number of patients"


# units and ends


def test_nominal_is_explained_with_the_voxels_of_the_results():
    sizes = sorted({m["voxel_mm3"] for r in RESULTS for m in r["measures"].values()})
    assert sizes == pytest.approx([2.8**2 * slices for slices in (1, 2.5, 4)])
    assert "2.8 mm in the plane and 1, 2.5 or 4 mm from slice to slice" in prose("08")
    table = report.tables(RESULTS, TABLE2)[0]
    assert "HD95, nominal mm" in words.shown(table, TABLE2)
    assert {"largest, nominal ml", "below 1 nominal ml, %"} <= set(findings.patients.failed(table, row("SCOAT-Net")))
    low, high = (sizes[0], sizes[-1])
    text = findings.readers.entry(RESULTS)
    assert f"are {low:.0f} nominal ml in the scans with thin slices and {high:.0f} in those with thick ones" in text
    every = claims.compare(RESULTS, TABLE2, "SCOAT-Net", "UNet++", least=0)
    assert f"{words.signed(every['difference'])} points of DSC (95 % {words.signed(every['low'])}" in text


def test_an_interval_beyond_what_a_score_can_be_and_an_empty_masks_distance_are_told():
    table = report.tables(RESULTS, grids.get("table1"))[0]
    low = [label for label in table.rows.index if table.rows.low[label] < 0]
    assert bool(low) == ("below 0" in findings.compared.beyond(table))
    assert all(label in findings.compared.beyond(table) for label in low)
    assert findings.compared.beyond(None) == ""
    mae = [r for r in RESULTS if report.row_of(r, grids.get("table1")) == "MAE"]
    empty = [s for r in mae for s, c in r["patients"].items() if c["tp"] + c["fp"] == 0]
    if empty:
        assert findings.compared.unmarked(RESULTS, "table1", "MAE").startswith(
            f"In {len(empty)} of {sum(len(r['patients']) for r in mae)} scans"
        )
    assert findings.compared.unmarked([], "table1", "MAE") == ""


def test_how_small_the_tiny_lesions_are():
    lesions = {
        (scan, k): (size, size * m["voxel_mm3"] / 1000)
        for r in row("U-Net")
        for scan, m in r["measures"].items()
        for k, (size, _) in enumerate(m["lesions"])
    }
    small = [size for size, ml in lesions.values() if ml < 1]
    text = findings.patients.tiny(RESULTS)
    assert f"Of the {len(lesions)} pieces {len(small)} are under 1 nominal ml" in text
    assert f"and {sum(s <= 2 for s in small)} of these are one or two voxels" in text


# other sentences


def test_a_bound_on_three_rounded_numbers_allows_for_all_three():
    assert "+ 0.01" in code("08")
    assert pytest.approx(2 * claims.ROUNDING) == 0.01


def test_chapter_9_and_10s_folds_are_not_chapter_2s():
    first = [make_folds(Cohort.open(None, Recipe(size=s).preprocessing), 5, seed=0)[0] for s in (64, 128)]
    assert set(first[0]) != set(first[1])
    assert "Fold 0 is here not quite that of" in prose("09")
    assert "the folds are not quite those of chapter 2" in prose("10")


def test_chapter_12s_width_8():
    share = {
        label: parameters(create(c["network"]).to("meta")) / parameters(create(c["network"], width=8))
        for label, c in TABLE2.rows.items()
    }
    assert "about a 60th of the parameters, but a 31st of ESPNetv2's" in prose("12")
    assert round(share.pop("ESPNetv2")) == 31
    assert all(58 < v < 65 for v in share.values()), share
    assert torch.is_tensor(next(create("unet", width=8).parameters()))


def test_the_difference_is_told_in_full_in_chapter_10_alone():
    for number in ("09", "13"):
        assert "words.comparison(" not in code(number)
        assert "words.briefly(" in code(number)
    assert "words.comparison(" in code("10")
    c = claims.compare(RESULTS, TABLE2, "SCOAT-Net", "UNet++")
    told = f"SCOAT-Net minus UNet++: {words.signed(c['difference'])} points of DSC, **{c['status']}**"
    alike, apart = (words.briefly(c | {"equivalent": value}) for value in (True, False))
    assert alike == f"{told}, equivalent within ±{rule.MARGIN:g} points."
    assert apart == f"{told}."
    assert words.briefly(c) == (alike if c["equivalent"] else apart)
    assert "not run" in words.briefly(claims.compare([], TABLE2, "SCOAT-Net", "UNet++"))


def test_the_scans_kept_aside_are_named_and_no_run_saw_them():
    used = {scan for result in RESULTS for part in result["folds"].values() for scan in part}
    aside = [name for name in (*record.CORONACASES, *record.RADIOPAEDIA) if name not in used]
    assert len(used) == 15
    named = [f"`{name}`" for name in aside]
    assert f"{', '.join(named[:-1])} and {named[-1]}" in prose("02")
    assert ", ".join(named) in (ROOT / "scoat_lib" / "shipped" / "README.md").read_text()
    again = [name for name in aside if patient_of(name) in {patient_of(scan) for scan in used}]
    assert again == ["radiopaedia_10_85902_3"]


def test_chapter_13_says_which_of_the_papers_differences_equivalence_refutes():
    printed = grids.get("table3").paper
    gap = {label: row["DSC"] - printed["UNet++"]["DSC"] for label, row in printed.items() if label != "UNet++"}
    v1, v2, v3, scoat = (next(v for k, v in gap.items() if k.startswith(name)) for name in ("V1", "V2", "V3", "SCOAT"))
    assert f"V2's {v2:.1f} and SCOAT-Net's {scoat:.1f} are larger, V1's {v1:.1f} and V3's {v3:.1f} are not." in prose("13")
    assert min(v2, scoat) > rule.MARGIN > max(v1, v3)
