"""The ledger of claims: each with its verdict, why, its runs, what is missing, what other questions answer (chapter 16)."""

from __future__ import annotations

import copy
import html
import math
import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from scoat_lib import claims, report, rule
from scoat_lib.findings.comparisons import difference
from scoat_lib.grids import GRIDS
from scoat_lib.words import corrected, count, hold, listed_or_none, minus, signed

CHAPTER = {
    "1": "12-networks",
    "2a": "11-losses-compared",
    "2b": "11-losses-compared",
    "3": "13-attention-compared",
    "4": "06-scoatnet",
    "5a": "14-attention-maps",
    "5b": "14-attention-maps",
    "5c": "14-attention-maps",
    "6": "12-networks",
    "7a": "15-follow-up",
    "7b": "15-follow-up",
    "8": "09-training",
    "9": "14-attention-maps",
    "10": "12-networks",
    "11": "12-networks",
}
GRID_OF = {"1": "table2", "2a": "table1", "2b": "table1", "3": "table3", "8": "schedule", "10": "table2"}
RUNS_OF = {  # claim → the grid and the rows of it whose runs decide it; None: every row. A claim that is not here needs no run
    "1": ("table2", None),
    "2a": ("table1", None),
    "2b": ("table1", ("Dice", "BCE-Dice")),
    "3": ("table3", None),
    "5a": ("table2", ("SCOAT-Net",)),
    "5b": ("table2", ("SCOAT-Net",)),
    "5c": ("table2", ("SCOAT-Net",)),
    "6": ("table2", None),
    "7a": ("table2", ("SCOAT-Net",)),
    "8": ("schedule", ("paper, with restart", "paper, no restart")),
    "10": ("table2", ("UNet++", "U-Net")),
    "11": ("table2", None),
}
ASKED_BY = {  # grid → who asks for its rows
    "table1": "chapter 11",
    "table2": "chapter 12",
    "table3": "chapter 13",
    "schedule": "chapter 9 (claim 8)",
    "split": "chapters 2 and 17",
    "alpha": "chapter 11",
    "readings": "the register",
    "source": "protocol, step 4",
    "matched": "protocol, step 4",
    "patients": "protocol, step 6",
}
CHIPS = {
    claims.HOLDS: "#1b7a3d",
    claims.FAILS: "#b3261e",
    claims.OPEN: "#5f6b7a",
    claims.UNTESTABLE: "#6b4f9e",
    claims.WAITS: "#7d5a00",
}
NOTHING = "Nothing of this was run yet."
IN_PART = "in DSC alone: "  # before a word that speaks of a part of the claim


def chip(status: str) -> str:
    """One of the four words, or that it waits for runs, on its colour, as HTML: white on a dark tone, so that it reads on
    a light and on a dark page.
    """
    style = "color:#fff;border-radius:1em;padding:.1em .7em;white-space:nowrap;font-size:.9em"
    return f'<span class="verdict" style="background:{CHIPS[status]};{style}">{status}</span>'


Decided = Sequence[tuple[claims.Claim, claims.Verdict]]


def decided(results: list[dict], *numbers: str) -> Decided:
    """Every claim with its verdict, or those of some numbers."""
    return [(claim, claim.decide(results)) for claim in claims.CLAIMS if not numbers or claim.number in numbers]


def row_name(result: dict) -> str:
    """The name of a run's row in the table of every result: the first grid's that has such a row, else its network's."""
    rows_of = (report.row_of(result, GRIDS[name]) for name in ("table2", "table1", *GRIDS))
    return next(filter(None, rows_of), result["recipe"]["network"])


def anchor(name: str) -> str:
    """Where the runs of a row begin in the table of every result, as the end of an address: "runs-attention-u-net"."""
    plain = name.lower().replace("α", "alpha").replace("+", "plus")
    return "-".join(["runs", *re.findall("[a-z0-9]+", plain)])


def runs_of(number: str, results: list[dict]) -> dict[str, list[dict]]:
    """The runs that decide a claim, by row of its grid, in the grid's order; rows without a run are left out.

    A claim on the maps rests on the runs whose maps were measured.
    """
    if number not in RUNS_OF:
        return {}
    grid, labels = RUNS_OF[number]
    _, _, most = next(iter(report.scales(results, GRIDS[grid])), ({}, "", []))
    if number in ("5a", "5b", "5c"):
        most = [r for r in most if "attention" in r]
    found = {label: [r for r in most if r["row"] == label] for label in labels or GRIDS[grid].rows}
    return {label: runs for label, runs in found.items() if runs}


def _runs_linked(number: str, results: list[dict]) -> str:
    """A claim's runs as HTML, folded: each row linked to its runs in the table of every result."""
    found = runs_of(number, results)
    if not found:
        return ""
    each = ", ".join(
        f'<a href="reproducibility.html#{anchor(row_name(runs[0]))}">{html.escape(label)} ({len(runs)})</a>'
        for label, runs in found.items()
    )
    return f'<details class="runs"><summary>from {count(sum(map(len, found.values())), "run")}</summary>{each}</details>'


def ledger(decisions: Decided, results: list[dict]) -> str:
    """The ledger (of `decided`) as an HTML table: claim, linked to its chapter; where the paper says it; a chip; why, with a
    link to the runs behind it.
    """
    lines, pad = [], ' style="padding:.35em .6em;vertical-align:top"'
    for claim, verdict in decisions:
        link = f'<a href="{CHAPTER[claim.number]}.html">{claim.number}. {html.escape(claim.text)}</a>'
        at_length = _why_at_length(verdict) + _runs_linked(claim.number, results)
        cells = (link, html.escape(claim.where), chip(verdict.status), at_length)
        lines.append(f'<tr id="claim-{claim.number}">' + "".join(f"<td{pad}>{c}</td>" for c in cells) + "</tr>")
    head = "".join(f'<th scope="col">{c}</th>' for c in ("claim", "in the paper", "verdict", "why"))
    return (
        f'<div style="overflow-x:auto"><table class="ledger" style="text-align:left"><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _why_at_length(verdict: claims.Verdict) -> str:
    """The reason as HTML; of many comparisons the counts, and each of those that were run below a line that unfolds."""
    run = [c for c in verdict.comparisons if c["patients"]]
    if len(verdict.comparisons) < 2 or not run:
        return html.escape(why(verdict))
    said = verdict.reason.partition(";")[0]
    if beside := corrected(verdict.comparisons):
        said += f"; {beside}"
    for key, words in (
        ("equivalent", f"equivalent within ±{rule.MARGIN:g} points"),
        ("excluded", "the paper's size is excluded"),
    ):
        number = sum(c[key] for c in run)
        said += f"; in {number} {words}" if number else ""
    if len(run) < len(verdict.comparisons):
        missing = len(verdict.comparisons) - len(run)
        said += f"; {missing} {'was' if missing == 1 else 'were'} not run"
    each = "".join(f"<li>{html.escape(_one(c))}</li>" for c in run)
    return f"{html.escape(said)}.<details><summary>each comparison</summary><ul>{each}</ul></details>"


def _one(c: dict) -> str:
    """A comparison in a line."""
    low = "" if math.isnan(c["low"]) else f" ({signed(c['low'])} … {signed(c['high'])})"
    beside = [
        c["status"],
        *(["equivalent"] if c["equivalent"] else []),
        *(["the paper's size excluded"] if c["excluded"] else []),
    ]
    minus = "minus" if c["sign"] > 0 else "below"
    return f"{c['one']} {minus} {c['other']}, {c['metric']}: {signed(c['difference'])}{low}, {', '.join(beside)}"


def why(verdict: claims.Verdict) -> str:
    """The reason, short where nothing was run and where many comparisons say it at length."""
    if verdict.comparisons and not any(c["patients"] for c in verdict.comparisons):
        return "not run"
    return minus(verdict.reason)


def undecided(decisions: Decided) -> pd.DataFrame:
    """Everything undecided that has an interval: what could have been seen, and how many patients would decide.

    Fewest needed first. Columns claim, comparison, "difference" (in the claim's direction, from what would decide), "could be
    seen", "patients now", "patients needed"; text cells.
    """
    lines = []
    for claim, verdict in decisions:
        if verdict.status != claims.OPEN:
            continue
        open_ones = [c for c in verdict.comparisons if c["status"] == claims.OPEN and c["low"] == c["low"]]
        minus = {1: "minus", -1: "below"}
        asked = [c | {"what": f"{c['one']} {minus[c['sign']]} {c['other']}, {c['metric']}", "digits": 1} for c in open_ones]
        for c in [*asked, *verdict.asked]:
            lines.append(
                {
                    "claim": claim.number,
                    "comparison": c["what"],
                    "difference": signed(c["difference"], c["digits"]),
                    "could be seen": f"{c['visible']:.{c['digits']}f}" if c["visible"] < claims.WHOLE else "–",
                    "patients now": str(c["patients"]),
                    "patients needed": claims.how_many(c["needed"], ""),
                    "exactly": c["needed"],
                }
            )
    columns = ["claim", "comparison", "difference", "could be seen", "patients now", "patients needed"]
    lines.sort(key=lambda line: line["exactly"])
    return pd.DataFrame(lines, columns=columns)


def missing(results: list[dict], folder) -> pd.DataFrame:
    """What the protocol or a chapter asks for and was not run, a line each, in text cells.

    A row counts as run with its first run; one that lacks folds says how many it has.
    """
    lines = []
    for name, asked in ASKED_BY.items():
        grid, found = GRIDS[name], report.scales(results, GRIDS[name])
        runs = found[0][2] if found else []
        have = {label: {r["recipe"]["fold"] for r in runs if r["row"] == label} for label in grid.rows}
        never = [label for label, folds in have.items() if not folds]
        some = [f"{label} ({len(f)} of {grid.folds} folds)" for label, f in have.items() if 0 < len(f) < grid.folds]
        if never or some:
            most = f"{len(never)} of {len(grid.rows)} rows" if len(never) > 4 else listed_or_none(never)
            what = "; ".join([*([most] if never else []), *([listed_or_none(some)] if some else [])])
            lines.append((grid.title, what, asked, name))
    for step, rows_of in ((3, ("SCOAT-Net", "UNet++", "U-Net")), (6, ("V2, attention gates", "V3, pyramid attention"))):
        grid = GRIDS["table2" if step == 3 else "table3"]
        found = report.scales(results, grid)
        runs = {(r["row"], r["recipe"]["fold"], r["recipe"]["seed"]) for r in (found[0][2] if found else [])}
        done = sum(row in rows_of and seed in (1, 2) for row, _, seed in runs)
        of = 2 * grid.folds * len(rows_of)
        if done < of:
            what = f"seeds 1 and 2 of {listed_or_none([row.partition(',')[0] for row in rows_of])}: {of - done} of {of} runs"
            lines.append(("More seeds", what, f"protocol, step {step}", grid.name))
    if not any((report.of_book(folder) / "peers").glob("*.json")):
        lines.append(("MONAI's networks beside ours", "its U-Net, Attention U-Net and UNet++", "chapter 12", "–"))
    return pd.DataFrame(lines, columns=["comparison", "not run", "asked by", "grid"])


def in_words(results: list[dict], decisions: Decided) -> str:
    """The ledger in a few sentences: how many of each word, and which claims."""
    by: dict[str, list[str]] = {status: [] for status in CHIPS}
    for claim, verdict in decisions:
        by[verdict.status].append(claim.number)
    number = len(claims.CLAIMS)
    counts = [f"{len(found)} {hold(status, len(found))} ({listed_or_none(found)})" for status, found in by.items() if found]
    said = [f"Of the {number} claims {listed_or_none(counts)}."]
    if "7a" in by[claims.HOLDS]:
        said.append(f"7a holds by its rule alone. {claims.CHOSEN}, so it does not show that the network travels.")
    if by[claims.WAITS]:
        said.append(f"What waits has no run yet that could decide it, or fewer than {rule.FEWEST} patients.")
    said.append(difference(results, "table2", "SCOAT-Net", "UNet++"))
    against = len(claims.impossible_rows())
    said.append(f"{against} of the paper's 20 table rows break DSC ≤ (SEN + PPV) / 2, whatever any run says.")
    return " ".join(said)


def changed(results: list[dict], decisions: Decided) -> pd.DataFrame:
    """Which verdicts change when the question is put otherwise: no cut at 1 000 voxels, the scan as unit, the second cohort.

    A line for each claim that rests on comparisons; four columns of words. The second cohort is scored in DSC only, so a claim
    that asks for other metrics too is marked there by `IN_PART`, and one that asks for others alone gets "–".
    Sensitivity, never the ledger's word.
    """
    alone = _scans_alone(results)
    lines = {}
    for claim, verdict in decisions:
        if claim.number not in GRID_OF:
            continue
        grid = GRIDS[GRID_OF[claim.number]]
        of = [(c["one"], c["other"], c["metric"], c["sign"]) for c in verdict.comparisons]
        every = [claims.compare(results, grid, *what, least=0) for what in of]
        away = [_on_slices(results, grid, one, other, sign) for one, other, metric, sign in of if metric == "DSC"]
        lines[f"{claim.number}. {claim.text}"] = {
            "the ledger": verdict.status,
            "every patient": claims.all_of(every, "").status,
            "scan as unit": claim.decide(alone).status,
            "second cohort, DSC": ("" if len(away) == len(of) else IN_PART) + claims.all_of(away, "").status if away else "–",
        }
    return pd.DataFrame.from_dict(lines, orient="index")


def _scans_alone(results: list[dict]) -> list[dict]:
    """The results with every scan a patient of its own."""
    alone = copy.deepcopy(results)
    for result in alone:
        for scan, more in result.get("measures", {}).items():
            more["patient"] = scan.partition("#")[0] + " alone"
    return alone


def _on_slices(results: list[dict], grid, one: str, other: str, sign: int) -> dict:
    """A comparison in DSC on the second cohort, slice by slice, runs paired by fold and seed; keys as `claims.compare`'s.

    One pair of runs says nothing of how runs differ, so it waits.
    """
    scored = {}
    for _, _, group in report.scales(results, grid)[:1]:
        for result in group:
            if result["row"] in (one, other) and result.get("external"):
                (found,) = result["external"].values()
                dsc = [2 * c["tp"] / (2 * c["tp"] + c["fp"] + c["fn"]) for c in found["slices"] if c["tp"] + c["fn"]]
                scored[result["row"], result["recipe"]["fold"], result["recipe"]["seed"]] = np.array(dsc)
    runs = [key[1:] for key in scored if key[0] == one and (other, *key[1:]) in scored]
    base = {
        "one": one,
        "other": other,
        "metric": "DSC",
        "sign": sign,
        "paper": math.nan,
        "equivalent": False,
        "excluded": False,
    }
    base |= {"visible": math.nan, "needed": math.inf}
    if not runs:
        nothing = dict.fromkeys(("difference", "low", "high", "p", "refuted"), math.nan)
        return base | nothing | {"patients": 0, "status": claims.WAITS}
    each = sign * 100 * np.array([scored[(one, *run)] - scored[(other, *run)] for run in runs])
    slices, k = each.mean(0), len(each)
    if k == 1:
        nothing = dict.fromkeys(("low", "high", "p", "refuted"), math.nan)
        return base | nothing | {"difference": float(slices.mean()), "patients": len(slices), "status": claims.WAITS}
    variance = slices.var(ddof=1) / len(slices) * claims.design_effect() + each.mean(1).var(ddof=1) / k
    mean, error = float(slices.mean()), math.sqrt(variance)
    p = math.erfc(abs(mean) / error / math.sqrt(2)) if error else float(mean == 0)
    low, high = mean - 1.96 * error, mean + 1.96 * error
    status = claims.HOLDS if low > 0 else claims.FAILS if high < 0 else claims.OPEN
    numbers = {"difference": mean, "low": low, "high": high, "p": p, "refuted": 1.0 if mean >= 0 else p}
    return base | numbers | {"patients": len(slices), "status": status}
