"""Chapters 13 to 18, register and first pages: what they say of results reads well with none, some and all of them; what they
say of mechanisms is computed here once more."""

import functools
import html
import json
import re
import sys
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch

from scoat_lib import attention, claims, findings, grids, report, words
from scoat_lib.cohort import patient_of
from scoat_lib.grids import GRIDS
from scoat_lib.training import Recipe

ROOT = Path(__file__).parents[2]
BOOK = ROOT / "book"
sys.path.insert(0, str(BOOK))
import parts  # noqa: E402

MINE = ("13-attention-compared", "14-attention-maps", "15-follow-up", "16-ledger", "17-what-goes-wrong", "18-beyond")
NOTEBOOKS = {name: nbformat.read(BOOK / f"{name}.ipynb", 4) for name in MINE}
PAGES = [BOOK / f"{name}.md" for name in ("ambiguities", "reproducibility", "intro", "map")]


def prose(name):
    return "\n".join(c.source for c in NOTEBOOKS[name].cells if c.cell_type == "markdown")


def code(name):
    return "\n".join(c.source for c in NOTEBOOKS[name].cells if c.cell_type == "code")


# made-up results


def counts(dsc, voxels=10_000):
    tp = round(dsc * voxels)
    return {"tp": tp, "fp": voxels - tp, "fn": voxels - tp, "tn": 9, "Na": 10, "Np": 5, "Nb": 10, "Nt": 5}


def run(scores, fold, seed=0, maps=True, **recipe):
    patients = {n: counts(v) for n, v in scores.items()}
    measures = {
        n: {
            "patient": n.rsplit("_", 2)[0] if n.count("_") > 1 else n,
            "hd95_mm": 5.0,
            "diagonal_mm": 400.0,
            "surface_dice": 0.8,
            "voxel_mm3": 8.0,
            "lesions": [[9000, 8000], [60, 30], [10, 0]],
            "slices": [[round(80 * v), 20, 20], [0, 3, 0]],
        }
        for n, v in scores.items()
    }
    slices = [{"tp": 60 + (7 * k) % 31, "fp": 20, "fn": 15 + k % 5, "tn": 9} for k in range(69)] + [
        {"tp": 0, "fp": 1, "fn": 0, "tn": 9}
    ]
    result = {
        "recipe": Recipe(fold=fold, seed=seed, **recipe).to_dict(),
        "data": {"name": "ct128", "fingerprint": "f"},
        "folds": {"train": ["other_1"], "validation": [], "test": list(patients)},
        "patients": patients,
        "measures": measures,
        "external": {"ct100": {"fingerprint": "g", "slices": slices}},
        "provenance": {"commit": "0123456789", "device": "CPU", "seconds": 60, "date": "2026-11-26"},
    }
    if maps and recipe.get("network") == "scoatnet":
        areas = {n: [0.9, 0.85, 0.8 - 0.001 * k] for k, n in enumerate(patients)}
        result["attention"] = {
            "run": "r",
            "nodes": areas,
            "contrast": {n: [1.5, 1.0, 0.9 - 0.001 * k] for k, n in enumerate(patients)},
            "epochs": areas,
        }
    return result


NAMES = [f"p{k}" for k in range(13)]
FOLD = {n: k % 5 for k, n in enumerate(NAMES)}
LEVEL = {n: 0.6 + 0.02 * k for k, n in enumerate(NAMES)}
NOISE = dict(zip(NAMES, np.random.default_rng(0).normal(size=13), strict=True))
GAIN = {"scoatnet": 2.0, "unetpp": 1.0, "unet": -1.0, "pspnet": -15.0}


def row(gain, folds=range(5), seed=0, **recipe):
    return [
        run(
            {n: LEVEL[n] + (gain + (seed + 1) * 0.4 * NOISE[n] * (gain > 0)) / 100 for n in NAMES if FOLD[n] == f},
            f,
            seed,
            **recipe,
        )
        for f in folds
    ]


def whole():
    """Every row of the three tables, the splits and the schedules on five folds, SCOAT-Net with two seeds."""
    results = []
    for name in {c["network"] for g in ("table2", "table3") for c in GRIDS[g].rows.values()}:
        results += row(GAIN.get(name, 0.3), network=name)
    for loss in ("mae", "iou", "bce", "dice", "focal"):
        results += row(-2.0, network="scoatnet", loss=loss, maps=False)
    for label in ("paper, with restart", "paper, no restart"):
        results += row(0.5, network="scoatnet", maps=False, **{k: v for k, v in GRIDS["schedule"].rows[label].items()})
    results += row(9.0, network="scoatnet", split="slice", maps=False)
    return results + row(2.0, network="scoatnet", seed=1, maps=False)


CASES = {
    "none": [],
    "some": row(2.0, folds=(0,), network="scoatnet") + row(1.0, folds=(0,), network="unetpp"),
    "all": whole(),
}
COUNTS = pd.DataFrame(
    {"ours, added": [0, 4.48, 0.56, 0.04, 1.19], "paper, added": [0, 18.41, 2.61, 0.03, 3.71]}, index=list(GRIDS["table3"].rows)
)


@functools.cache
def decisions(case):
    return findings.ledger.decided(CASES[case])


@functools.cache
def spoken(case):
    """Every sentence that the pages make of results."""
    results = CASES[case]
    return {
        "difference": findings.comparisons.difference(results, "table2", "SCOAT-Net", "UNet++"),
        "ledger": findings.ledger.in_words(results, decisions(case)),
        "modules": findings.maps.modules(results, COUNTS),
        "maps": findings.maps.maps(results),
        "volumes": findings.volumes.volumes(results),
        "leak": findings.volumes.leak(results),
        "lesions": findings.patients.small_lesions(results),
        "seeds": findings.comparisons.seeds(results),
        "findings": " ".join(findings.front.findings(results, ROOT / "results")),
    }


@pytest.mark.parametrize("case", CASES)
def test_sentences_read_well_whatever_is_there(case):
    for what, text in spoken(case).items():
        assert not re.search(r"\bnan\b|\binf\b|None|\{|\}", text), (what, text)
        assert not re.search(r"  |\.\.|:\.| ,|\( |, and \.", text), (what, text)
        assert text.rstrip().endswith("."), (what, text)
        assert not re.search(r"\b(is|are) (waits?|holds?|does)\b", text), (what, text)
        assert "-" not in re.sub(r"[A-Za-z)]-[A-Za-z]|^- ", "", text, flags=re.M), (what, "a hyphen stands for a minus", text)


def test_with_no_result_the_pages_say_so_and_quote_no_score():
    said = spoken("none")
    for what in ("difference", "leak", "lesions", "volumes", "maps", "modules"):
        assert re.search("not (run|measured|been compared)|Not run|wait for runs|0 runs", said[what]), (what, said[what])
    assert "points of DSC" not in " ".join(said.values())


def test_a_few_patients_get_no_interval():
    text = findings.comparisons.difference(CASES["some"], "table2", "SCOAT-Net", "UNet++")
    assert "(3 patients)" in text
    assert "95 %" not in text
    assert "nothing is decided" in text


def test_a_full_comparison_says_what_the_rule_says():
    results = CASES["all"]
    c = claims.compare(results, GRIDS["table2"], "SCOAT-Net", "UNet++")
    text = findings.comparisons.difference(results, "table2", "SCOAT-Net", "UNet++")
    assert words.signed(c["difference"]) in text
    assert words.signed(c["high"]) in text
    assert "+4.7" in text
    assert ("excludes" in text) == c["excluded"]
    assert ("equivalent" in text) == c["equivalent"]


def test_undecided_is_said_with_its_needs():
    results = row(0.4, network="scoatnet") + row(0.0, network="unetpp")
    for result in results:  # as much noise as gain
        if result["recipe"]["network"] == "scoatnet":
            for name in result["patients"]:
                result["patients"][name] = counts(LEVEL[name] + 0.06 * NOISE[name] - 0.06 * np.mean(list(NOISE.values())))
    c = claims.compare(results, GRIDS["table2"], "SCOAT-Net", "UNet++")
    assert c["status"] == claims.OPEN
    frame = findings.ledger.undecided(findings.ledger.decided(results, "1", "3"))
    assert {"1", "3"} <= set(frame.claim)
    line = frame[(frame.claim == "1") & (frame.comparison == "SCOAT-Net minus UNet++, DSC")].iloc[0]
    assert line["could be seen"] == f"{c['visible']:.1f}"
    assert "could have been seen" in findings.comparisons.difference(results, "table2", "SCOAT-Net", "UNet++")


# the ledger


@pytest.mark.parametrize("case", CASES)
def test_the_ledger_has_a_chip_a_link_and_a_reason_for_every_claim(case):
    text = findings.ledger.ledger(decisions(case), CASES[case])
    assert text.count('class="verdict"') == len(claims.CLAIMS)
    for claim, verdict in decisions(case):
        (line,) = re.findall(rf'<tr id="claim-{claim.number}">.*?</tr>', text)
        assert f">{verdict.status}</span>" in line
        assert len(re.sub(r"<details>.*?</details>|<.*?>", "", line)) < 700, "a cell that can be read"
        page = re.search(r'href="([\w-]+)\.html"', line).group(1)
        assert (BOOK / f"{page}.ipynb").exists()


@pytest.mark.parametrize("case", CASES)
def test_every_line_of_the_ledger_links_to_the_runs_that_decide_it(case, monkeypatch, filled):
    """Which runs a claim's test reads is seen by looking over its shoulder; each has its place in the table of every result."""
    read, runs = [], claims._runs

    def watched(results, grid, label):
        found = runs(results, grid, label)
        read.extend((grid.name, label) for _ in found)
        return found

    monkeypatch.setattr(claims, "_runs", watched)
    text, places = findings.ledger.ledger(decisions(case), CASES[case]), filled(CASES[case])["reproducibility.md"]
    for claim in claims.CLAIMS:
        (line,) = re.findall(rf'<tr id="claim-{claim.number}">.*?</tr>', text)
        read.clear()
        claim.decide(CASES[case])
        measured = [r for r in runs(CASES[case], GRIDS["table2"], "SCOAT-Net") if "attention" in r]
        if claim.number.startswith("5"):  # of the runs that it reads those whose maps were measured
            read[:] = [("table2", "SCOAT-Net")] * len(measured)
        links = re.findall(r'<a href="reproducibility\.html#(runs-[^"]+)">(.*?) \((\d+)\)</a>', line)
        assert {label for _, label, _ in links} == {label for _, label in read}, claim.number
        assert {grid for grid, _ in read} <= {findings.ledger.RUNS_OF.get(claim.number, ("none",))[0]}
        for place, label, number in links:
            assert f'<span id="{place}"></span>' in places
            assert int(number) == len(findings.ledger.runs_of(claim.number, CASES[case])[label])
            assert not claim.number.startswith("5") or int(number) == len(measured)


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return np.dot([0.2126, 0.7152, 0.0722], [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts])


@pytest.mark.parametrize("colour", findings.ledger.CHIPS.values())
def test_chips_can_be_read(colour):
    assert 1.05 / (luminance(colour) + 0.05) >= 4.5


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dsc", [True, False])
def test_the_forest_draws_every_comparison_once(case, dsc):
    from xml.etree import ElementTree

    text = findings.forest.forest(decisions(case), dsc)
    beside, above = ElementTree.fromstring(f"<both>{text}</both>".replace(" hidden>", ' hidden="">'))
    assert "hidden" in above.attrib
    assert "hidden" not in beside.attrib
    wanted = [
        c
        for n, v in ((claim.number, verdict) for claim, verdict in decisions(case))
        for c in v.comparisons
        if (c["metric"] == "DSC") == dsc and (dsc or n != "1" or c["other"] == "UNet++")
    ]
    for svg in (beside, above):
        assert len(svg.findall(".//a")) == len(wanted)
        beyond = svg.findall(".//text[@class='beyond']")  # a number in place of a dot
        assert len(svg.findall(".//circle")) + len(beyond) == sum(c["patients"] > 0 for c in wanted)
        assert len(svg.findall(".//polygon")) == sum(c["paper"] == c["paper"] for c in wanted)
    assert "nan" not in text
    names = [float(a.find("text").attrib["y"]) for a in above.iter("a")]
    dots = [float(c.attrib["cy"]) for c in above.iter("circle")]
    if len(dots) == len(names):  # each name stands above its own line, below the one before
        assert all(0 < y - name < 20 for name, y in zip(names, dots, strict=True))
        assert all(name > y + 8 for name, y in zip(names[1:], dots, strict=False))


def test_an_interval_beyond_the_forests_frame_ends_in_an_arrow_and_leaves_the_others_their_room():
    def one(low, high, paper):
        beside = {"one": "A", "other": "B", "metric": "DSC", "sign": 1, "patients": 9, "status": claims.OPEN, "excluded": False}
        return beside | {"low": low, "high": high, "difference": (low + high) / 2, "paper": paper}

    wide, narrow = one(-102.0, 104.0, 4.7), one(-1.0, 4.5, 4.7)
    claim = claims.CLAIMS[0]
    nan = float("nan")
    far = narrow | {"difference": 78.1, "low": nan, "high": nan, "status": claims.WAITS, "patients": 2}
    assert ">+78.1 →</text>" in findings.forest.forest([(claim, claims.Verdict(claims.OPEN, "", (narrow, far)))])
    text = findings.forest.forest([(claim, claims.Verdict(claims.OPEN, "", (wide, narrow)))]).split(
        '<div class="forest-narrow"'
    )[0]
    lines = [
        (float(a), float(b))
        for a, b in re.findall(r'<line x1="([\d.]+)" x2="([\d.]+)" y1="[\d.]+" y2="[\d.]+" stroke="#', text)
    ]
    assert text.count("<polygon") == 2 + 2  # two arrows, two diamonds
    assert lines[1][1] - lines[1][0] > 45  # 5.5 points of some 42, on 400 units


def one(name, low, high, paper, p=0.01, metric="DSC"):
    """A comparison with an interval, as `claims.compare` makes it."""
    status = claims.HOLDS if low > 0 else claims.FAILS if high < 0 else claims.OPEN
    beside = {"one": "A", "other": name, "metric": metric, "sign": 1, "patients": 13, "status": status, "p": p}
    return beside | {"low": low, "high": high, "difference": (low + high) / 2, "paper": paper, "excluded": high < paper}


def test_what_lies_beyond_the_forests_frame_has_its_numbers_off_the_line_and_no_dot():
    claim = claims.CLAIMS[0]
    text = findings.forest.forest(
        [(claim, claims.Verdict(claims.OPEN, "", (one("B", 3.1, 76.0, 3.7), one("C", -1.0, 4.0, 2.0))))]
    )
    for svg in text.split('<div class="forest-narrow"'):
        assert svg.count("<circle") == 1, "C's"
        (height,) = re.findall(r'<text class="beyond" x="[\d.]+" y="([\d.]+)"[^>]*>\+39\.5 \(\+3\.1 … \+76\.0\) →</text>', svg)
        line = float(re.search(r'<line x1="[\d.]+" x2="[\d.]+" y1="([\d.]+)" y2="[\d.]+" stroke="#', svg)[1])
        assert abs(float(height) - line) > 7
        assert 'paint-order="stroke"' in svg, "on a ground of its own"


def test_the_words_under_the_forest_are_its_lines():
    """Which colours a correction takes, the nearest filled diamond and those on the left are counted here by hand."""
    by_number = {claim.number: claim for claim in claims.CLAIMS}
    first = (one("U", 0.5, 4.0, 4.1, p=0.03), one("V", 2.0, 6.0, 1.0, p=0.001), one("W", -1.0, 3.0, 2.0, p=0.4))
    second = (one("X", 1.0, 3.0, 4.7, p=0.02), one("Y", 1.0, 3.0, 4.7, p=0.9, metric="SEN"))
    said = findings.forest.about_forest(
        [(by_number["1"], claims.Verdict(claims.OPEN, "", first)), (by_number["2a"], claims.Verdict(claims.HOLDS, "", second))]
    )
    assert "1 of the 3 green or red lines would be grey: A minus U (p = 0.06, chapter 12)." in said
    assert "The nearest is that of A minus U: the interval ends at +4.00, the paper has +4.10." in said
    assert "One hollow diamond stands to the left of the interval" in said
    assert findings.forest.about_forest(decisions("none")).count(".") == 1, "nothing was run: one sentence on the colours"
    text = prose("16-ledger")
    assert "green here" not in text, "which line is green is the runs' matter"
    assert not re.search(r"as for (U-Net|UNet\+\+)", text)
    assert "findings.forest.about_forest(decisions)" in code("16-ledger")


def test_an_end_that_would_round_to_0_shows_its_side():
    def reason(change):
        """Claim 5a's of maps that change so much on each patient."""
        results = row(2.0, network="scoatnet")
        for k, r in enumerate(results):
            r["attention"]["nodes"] = {n: [0.5, 0.5, 0.5 + change[(j + k) % 2]] for j, n in enumerate(r["patients"])}
        return claims.CLAIMS[[c.number for c in claims.CLAIMS].index("5a")].decide(results).reason

    low, high = re.search(r"\(([-+.\d]+) … ([-+.\d]+)\)", reason((0.0, 0.1))).groups()
    assert len(low) == len(high) == 5
    for start in np.arange(0, 0.1, 0.002):  # somewhere the lower end comes near 0
        low, high = re.search(r"\(([-+.\d]+) … ([-+.\d]+)\)", reason((start - 0.05, start + 0.05))).groups()
        assert float(low) != 0 or len(low) == 6
        assert ("only just" in reason((start - 0.05, start + 0.05))) == (0 < 20 * float(low) < float(high) - float(low)), start


def test_patients_needed_are_told_to_a_digit():
    told = {43: "about 40 patients", 143: "about 100 patients", 7: "about 7 patients", 301: "hundreds of patients"}
    told |= {1999: "hundreds of patients", 3366: "thousands of patients", float("inf"): "no number of patients"}
    assert {needed: claims.how_many(needed) for needed in told} == told
    assert claims.how_many(301, "") == "hundreds"


def test_that_claim_7a_holds_is_never_told_alone():
    """The second cohort's slices were chosen by others: beside each place where the claim's word stands, it is said."""
    results = row(2.0, network="scoatnet")
    for r in results:
        r["external"] = {
            "ct100": {"fingerprint": "g", "slices": [{"tp": 90, "fp": 5, "fn": 5 + k % 3, "tn": 9} for k in range(69)]}
        }
    found = findings.ledger.decided(results)
    (verdict,) = (v for claim, v in found if claim.number == "7a")
    assert verdict.status == claims.HOLDS
    told = findings.volumes.carries_over(results), findings.volumes.volumes(results), findings.ledger.in_words(results, found)
    for said in (*told, html.unescape(findings.ledger.ledger(found, results))):
        assert claims.CHOSEN in said
        assert "does not show that the network travels" in said
    protocol = (ROOT / "results" / "PROTOCOL.md").read_text()
    assert re.search(rf"a design effect of {claims.SLICES} / {claims.PATIENTS}\b", protocol)
    assert f"multiplied by {claims.SLICES} / {claims.PATIENTS}" in verdict.reason
    assert claims.design_effect() == claims.SLICES / claims.PATIENTS


def test_what_was_not_run_stands_in_one_list(tmp_path):
    nothing = findings.ledger.missing([], tmp_path)
    assert set(nothing.grid) == {*findings.ledger.ASKED_BY, "–"}
    assert "9 of 9 rows" in nothing[nothing.comparison.str.startswith("Table II:")].iloc[0]["not run"]
    every = findings.ledger.missing(CASES["all"], tmp_path)
    assert not {"table1", "split"} & set(every.grid)
    assert "modern, as long as the paper's" in every[every.grid == "schedule"].iloc[0]["not run"]
    seeds = every[every.comparison == "More seeds"]
    assert list(seeds["not run"].str.extract(r"(\d+ of \d+) runs")[0]) == ["25 of 30", "20 of 20"]
    some = findings.ledger.missing(CASES["some"], tmp_path)
    assert "SCOAT-Net (1 of 5 folds)" in some[some.grid == "table2"].iloc[0]["not run"]
    (tmp_path / "peers").mkdir()
    (tmp_path / "peers" / "a.json").write_text("{}")
    assert "–" not in set(findings.ledger.missing([], tmp_path).grid)


@pytest.mark.parametrize("case", ["none", "all"])
def test_chapter_17_asks_about_dealt_slices_only_where_they_were_run(case, monkeypatch):
    from scoat_lib import findings, words

    monkeypatch.setattr(report, "load", lambda folder: CASES[case])
    (source,) = (
        c.source for c in NOTEBOOKS["17-what-goes-wrong"].cells if "findings.volumes.leak" in c.source and "dealt =" in c.source
    )
    shown = []
    space = {"report": report, "grids": grids, "words": words, "findings": findings, "Markdown": str, "display": shown.append}
    exec(source, space)
    tables = [one for one in shown if isinstance(one, pd.DataFrame)]
    asked = [one for one in shown if isinstance(one, str) and "?" in one]
    assert bool(space["dealt"]) == bool(tables) == bool(asked) == (case == "all")
    assert shown[-1] == findings.volumes.leak(CASES[case])
    assert "What is knowing" not in prose("17-what-goes-wrong")


def test_verdicts_under_other_questions():
    frame = findings.ledger.changed(CASES["all"], decisions("all"))
    assert {str(word).removeprefix(findings.ledger.IN_PART) for word in frame.to_numpy().ravel()} <= {
        *findings.ledger.CHIPS,
        "–",
    }
    tenth = frame.loc[next(row for row in frame.index if row.startswith("10."))]  # asks for five metrics
    assert tenth["second cohort, DSC"].startswith(findings.ledger.IN_PART)
    assert not tenth["every patient"].startswith(findings.ledger.IN_PART)
    assert list(frame["the ledger"]) == [v.status for c, v in decisions("all") if c.number in findings.ledger.GRID_OF]
    nothing = findings.ledger.changed([], decisions("none"))
    assert {word.removeprefix(findings.ledger.IN_PART) for word in nothing.to_numpy().ravel()} == {claims.WAITS, "–"}


def test_without_the_cut_small_patients_count():
    small = {n: counts(v, 400) for n, v in LEVEL.items() if n in NAMES[:3]}
    results = []
    for one in row(2.0, network="scoatnet") + row(1.0, network="unetpp"):
        one["patients"] |= {n: c for n, c in small.items() if n in one["patients"]}
        results.append(one)
    grid = GRIDS["table2"]
    assert claims.compare(results, grid, "SCOAT-Net", "UNet++")["patients"] == 10
    assert claims.compare(results, grid, "SCOAT-Net", "UNet++", least=0)["patients"] == 13


def test_a_table_for_a_page():
    table = report.tables(CASES["all"], GRIDS["table3"])[0]
    frame = findings.comparisons.rows(table)
    assert frame.loc["UNet++", "n"] == "13"
    assert "…" in frame.loc["UNet++", "Δ 95 %"]
    assert not re.fullmatch(r"0\.0+", frame.loc["V1, residual attention", "p"]), "a p of 0.00"
    some = report.tables(CASES["some"], GRIDS["table3"])[0]
    assert findings.comparisons.rows(some).loc["V1, residual attention", "n"] == report.NOT_RUN


def test_doubt_and_ablation_speak_from_their_files():
    assert "not measured yet" in findings.volumes.doubt(None)
    content = {
        "answers": {"one network": {"patients": {"a": 1, "b": 2}, "ece": 0.001, "ece without the easy background": 0.05}},
        "doubt": [{"from": 0.0, "to": 0.01, "wrong": 0.0008}, {"from": 0.4, "to": 1.0, "wrong": 0.41}],
    }
    assert "0.08 %" in findings.volumes.doubt(content)
    assert "41 %" in findings.volumes.doubt(content)
    two_scans = content["answers"]["one network"] | {"patients": {"radiopaedia_29_1_1": 1, "radiopaedia_29_2_1": 2}}
    assert findings.volumes.doubt(content | {"answers": {"one network": two_scans}}).startswith("On 1 real patient not seen")

    def flattened(fold, maps, channels, patients=("a", "b")):
        """One run's file; the losses in points of two patients."""
        plain = {f"{p}{fold}": 0.8 for p in patients}
        lost = {"as trained": [0, 0], "all maps flat": maps, "all channel weights flat": channels}
        each = {k: {p: d + v / 100 for (p, d), v in zip(plain.items(), vs, strict=True)} for k, vs in lost.items()}
        return {
            "fold": fold,
            "seed": 0,
            "small": [],
            "patients": each,
            "pooled_dsc": {k: sum(v.values()) / 2 for k, v in each.items()},
        }

    runs = [flattened(f, [-1.0 + f, 1.5 - f], [-20.0 - f, -21.0]) for f in range(3)]
    text = findings.maps.ablation(runs)
    assert "In 3 runs, over 6 patients" in text
    assert "by −21.0 points (95 % −2" in text
    assert findings.maps.flattening([run | {"small": ["b1", "b2"]} for run in runs], "all maps flat").mean == pytest.approx(
        0.375
    )
    assert "leans on its channel weights. It is equivalent within ±3 points without its maps: a fall of more than" in text
    one_run_alone = [flattened(0, [0, 0], [-40.0, -30.0]), flattened(1, [0, 0], [2.0, 1.0]), flattened(2, [0, 0], [1.0, 2.0])]
    assert "leans on its channel weights is undecided" in findings.maps.ablation(one_run_alone)
    wide = [
        flattened(0, [-40.0, -30.0], [-40.0, -30.0]),
        flattened(1, [2.0, 1.0], [2.0, 1.0]),
        flattened(2, [1.0, 2.0], [1.0, 2.0]),
    ]
    assert "leans on its maps or on its channel weights is undecided" in findings.maps.ablation(wide)
    few = findings.maps.ablation(runs[:1])
    assert "95 %" not in few
    assert "is undecided" in few
    assert "not measured" in findings.maps.ablation([])


def test_flattening_leaves_out_whom_the_endpoint_leaves_out():
    measured = findings.maps.ablations(ROOT / "results")
    if not measured:
        pytest.skip("no ablation was measured")
    runs = [json.loads((ROOT / "results" / f"{c['run']}.json").read_text()) for c in measured]
    lesion = {}
    for run in runs:
        for scan, c in run["patients"].items():
            patient = patient_of(scan)
            lesion[patient] = lesion.get(patient, 0) + c["tp"] + c["fn"]
    small = {patient for patient, voxels in lesion.items() if voxels < 1000}
    assert small
    assert {patient for c in measured for patient in c["small"]} == small
    assert findings.maps.flattening(measured, "all maps flat").patients == len(lesion) - len(small)


# the pages


@pytest.mark.parametrize("name", MINE)
def test_a_chapter_ends_with_what_was_found(name):
    headings = re.findall(r"^## (.+)$", prose(name), re.M)
    assert "What we found" in headings
    assert headings.index("What we found") >= len(headings) - 3


@pytest.mark.parametrize("name", MINE)
def test_cells_that_show_results_are_run_and_not_compared(name):
    for cell in NOTEBOOKS[name].cells:
        shows = cell.cell_type == "code" and re.search(r"findings\.|results/|report\.tables|ablations", cell.source)
        if shows and cell.outputs:
            assert "nbval-ignore-output" in cell.metadata["tags"], cell.source


VOID = (
    "nine points",
    "seven points",
    "13 holds",
    "68.3",
    "79.4",
    "72.0",
    "75.3",
    "74.0",
    "sd 0.93",
    "−53",
    "radiopaedia_01",
)


@pytest.mark.parametrize("name", MINE)
def test_no_sentence_keeps_a_number_of_the_first_edition(name):
    for old in VOID:
        assert old not in prose(name), old


@pytest.mark.parametrize("page", [*PAGES, ROOT / "scoat_lib" / "shipped" / "README.md"], ids=lambda p: p.name)
def test_no_page_keeps_a_number_of_the_first_edition(page):
    """The card's 74.0 happens to be a number of the first edition too; tests/test_weights_inference.py recomputes it."""
    measured = json.loads((ROOT / "results" / "shipped" / "operating-point-w8.json").read_text())
    again = {f"{measured['left out']['mean']:.1f}"} if page.name == "README.md" else set()
    for old in {*VOID, "nine of the fifteen", "two patients", "10 000 draws"} - again:
        assert old not in page.read_text(), old


# what the chapters say of mechanisms


def test_what_the_modules_multiply_by():
    """Chapter 13: three multiply by one plus a map, the gates by the map itself; SCOAT-Net's channel weights lower too."""
    torch.manual_seed(0)
    x, g = torch.rand(2, 8, 16, 16), torch.rand(2, 8, 16, 16)
    gated, m = attention.AttentionGate(8, 8, 4)(x, g)
    torch.testing.assert_close(gated, m * x)
    raised, m = attention.PyramidAttention(8)(x)
    torch.testing.assert_close(raised, (1 + m) * x)
    raised, m = attention.SpatialAttention(8, 8, 8)(x, g)
    torch.testing.assert_close(raised, (1 + m) * g)
    assert (1 + m).min().item() >= 1
    weights = attention.ChannelAttention(16, 4)(torch.rand(2, 16, 8, 8))
    weights = weights[1] if isinstance(weights, tuple) else weights
    text = prose("13-attention-compared")
    assert "All four multiply features by something between 0 and 1" not in text
    assert "The other three can only raise" not in text
    assert "V2's gates multiply by the map itself" in text


def test_a_closing_gate_is_slow_and_not_shut():
    """Chapter 13: the gradient that passes a gate is scaled by the gate, and never quite 0."""
    x = torch.ones(1, requires_grad=True)
    for logit in (-2.0, -6.0):
        gate = torch.sigmoid(torch.tensor([logit]))
        (slope,) = torch.autograd.grad((gate * x).sum(), x)
        assert slope.item() == pytest.approx(gate.item())
        assert slope.item() > 0
    assert "stays closed" not in prose("13-attention-compared")


def test_chapter_13_shows_its_table_of_maps():
    assert '"every map is in 0..1:"' not in code("13-attention-compared")
    shown = [c for c in NOTEBOOKS["13-attention-compared"].cells if '"on lesions"' in c.source]
    assert any("text/html" in o.get("data", {}) for c in shown for o in c.outputs)


def test_chapter_18_says_of_its_curve_what_the_curve_does():
    assert "falls on both sides" not in prose("18-beyond")
    shown = next(c for c in NOTEBOOKS["18-beyond"].cells if "def curve_in_words" in c.source)
    space: dict = {"np": np}
    exec(shown.source.split("\n\n\ndisplay")[0], space)
    assert "falls from there on" in space["curve_in_words"]([0.1, 0.2, 0.3], [0.7, 0.6, 0.5])
    assert "falls on both sides" in space["curve_in_words"]([0.1, 0.2, 0.3], [0.6, 0.7, 0.5])
    assert "rises to the last" in space["curve_in_words"]([0.1, 0.2, 0.3], [0.5, 0.6, 0.7])


def test_the_score_of_doing_nothing_is_the_share_of_empty_slices():
    """Chapter 17."""
    from scoat_lib import metrics

    masks = [np.zeros((8, 8), bool) for _ in range(6)] + [np.eye(8, dtype=bool) for _ in range(4)]
    assert np.mean([metrics.evaluate(np.zeros_like(m), m)["DSC"] for m in masks]) == 0.6


def test_a_constant_miss_does_not_cancel():
    """Chapter 15: 34 → 24 becomes 14 → 4 when 20 are missed."""
    text = prose("15-follow-up")
    fall, kept, missed = (round(100 * (1 - now / then)) for now, then in ((24, 34), (0.8 * 24, 0.8 * 34), (24 - 20, 34 - 20)))
    assert fall == kept
    assert f"27 → 19 cm³, and both fall by {kept} %" in text
    assert f"34 → 24 cm³ becomes 14 → 4 cm³, a fall of {missed} %" in text


# register, reproducibility, first page


@pytest.fixture
def filled(tmp_path, monkeypatch):
    def fill(results=(), files=None):
        """The pages as a build fills them from a folder that holds these results and studies' files."""
        folder = tmp_path / "results"
        folder.mkdir(exist_ok=True)
        for k, result in enumerate(results):
            (folder / f"{k:020x}.json").write_text(json.dumps(result))
        for name, content in (files or {}).items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(json.dumps(content))
        monkeypatch.setattr(parts, "RESULTS", folder)
        pages = tmp_path / "pages"
        pages.mkdir(exist_ok=True)
        for name in ("reproducibility.md", "ambiguities.md", "intro.md"):
            (pages / name).write_text((BOOK / name).read_text())
        parts.fill_in(pages, tmp_path)
        text = {name: (pages / name).read_text() for name in ("reproducibility.md", "ambiguities.md", "intro.md")}
        assert not any("<!--" in t for t in text.values())
        return text

    return fill


def test_pages_without_any_result(filled):
    text = filled()
    assert "No run is in `results/` yet" in text["reproducibility.md"]
    assert "not measured" in text["reproducibility.md"].lower()
    assert "No row of the grid was run yet" in text["ambiguities.md"]
    assert "Not measured" in text["ambiguities.md"]
    assert "has not been compared with UNet++ yet" in text["intro.md"]


def test_pages_with_results(filled):
    near = {
        "HU medians": {"lung": {"median": -850.0, "range": [-950, -700]}},
        "lung histogram distance, HU": {"real–real": {"median": 60, "low": 20, "high": 100}},
        "noise": {"real": {"HU": 20.0, "share above half Nyquist": 0.5}},
        "DSC across": {"phantom → real": {"pooled": 0.47}},
    }
    both = row(2.0, folds=(0,), network="scoatnet") + row(2.0, folds=(0,), network="scoatnet", seed=1)
    early = row(1.0, folds=(0,), network="scoatnet", options={"up": "bilinear-1x1-early"})
    text = filled([*both, *early, *row(1.0, network="unetpp")], {"phantom-realism.json": near})
    every = re.findall(r"^\| (.+?) \|.*\| `[0-9a-f]{20}\.json` \|$", text["reproducibility.md"], flags=re.M)
    named = [re.sub("<.*?>", "", name) for name in every]
    assert named[:3] == ["F_U: batch norm before the interpolation", "SCOAT-Net", "SCOAT-Net"]
    assert set(named[3:]) == {"UNet++"}
    first = [re.search('id="(.*?)"', name).group(1) for name in every if "id=" in name]
    assert first == [findings.ledger.anchor(name) for name in dict.fromkeys(named)], (
        "each row has one place that can be linked to"
    )
    assert re.search(r"^All of them: width 8, .*commit 01234567, device CPU", text["reproducibility.md"], flags=re.M)
    assert "| lung | -850 |" in text["reproducibility.md"]
    assert "| DSC pooled, phantom → real | 47 % |" in text["reproducibility.md"]
    assert "| F_U: batch norm before the interpolation |" in text["ambiguities.md"]
    assert "differ in nothing but the seed" in text["ambiguities.md"]
    assert "points of DSC" in text["intro.md"]


def test_the_readings_grid_asks_for_the_early_batch_norm():
    assert grids.get("readings").rows["F_U: batch norm before the interpolation"] == {"options": {"up": "bilinear-1x1-early"}}


@pytest.mark.parametrize(
    "words",
    [
        "batch norm before it",
        "millimetres",
        "align_corners",
        "Biases of equation 5",
        "class weight",
        "He initialisation",
        "equally central",
    ],
)
def test_the_register_lists_a_reading(words):
    assert words in (BOOK / "ambiguities.md").read_text()


def test_the_registers_facts():
    from scoat_lib import losses, metrics
    from scoat_lib.networks import create

    model = create("scoatnet", width=4)
    assert model.nodes["X(1,1)"].channel
    assert not [n for n, _ in model.named_parameters() if ".channel." in n and n.endswith("bias")], "equation 5 has no bias"
    logits, truth = torch.tensor([[[[1.0, -1.0]]]]), torch.tensor([[[[1.0, 0.0]]]])
    swapped = losses.create("focal")(-logits, 1 - truth)
    torch.testing.assert_close(losses.create("focal")(logits, truth), swapped), "no class weight: both classes alike"
    assert metrics.region_centre(np.ones((1, 2), bool)) == (0, 0), "a tie: the first in array order"
    torch.manual_seed(0)
    x = torch.randn(2, 1, 32, 32)
    late, early = create("scoatnet", width=4), create("scoatnet", width=4, up="bilinear-1x1-early")
    early.load_state_dict(late.state_dict())
    torch.testing.assert_close(late.eval()(x), early.eval()(x), atol=1e-4, rtol=1e-4)
    late.train(), early.train()
    assert not torch.allclose(late(x)[-1], early(x)[-1], atol=1e-2), "in training the two orders differ"


def test_one_pair_of_runs_decides_nothing_on_the_second_cohort():
    grid = GRIDS["table2"]
    alone = [r for r in CASES["all"] if r["recipe"]["fold"] == 0 and r["recipe"]["seed"] == 0]
    found = findings.ledger._on_slices(alone, grid, "SCOAT-Net", "UNet++", 1)
    assert (found["status"], found["patients"] > 0) == (claims.WAITS, True)
    assert np.isnan(found["low"])
    more = findings.ledger._on_slices([r for r in CASES["all"] if r["recipe"]["seed"] == 0], grid, "SCOAT-Net", "UNet++", 1)
    assert more["low"] <= more["difference"] <= more["high"]
