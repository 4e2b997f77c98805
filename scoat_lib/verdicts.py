"""What the results say, in words, tables and one drawing: the pages' sentences about real scans are made here at each build.

Every function takes the list of results (`report.load`) or a file's content, and has something true to say of an empty list, of
a few runs and of all of them. Numbers in a sentence are rounded here and nowhere else.
"""

from __future__ import annotations

import copy
import html
import json
import math
import re
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pandas as pd

from scoat_lib import claims, report, rule
from scoat_lib.cohort import patient_of
from scoat_lib.grids import GRIDS
from scoat_lib.metrics import METRICS
from scoat_lib.words import LEAST, against_readers, briefly, corrected, count, listed, lower, minus, signed

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
_MARKS = {
    claims.HOLDS: "#2e9e56",
    claims.FAILS: "#e05a52",
    claims.OPEN: "#7b8aa0",
    claims.UNTESTABLE: "#8e78c4",
    claims.WAITS: "#b58a2a",
}
FRAME = 20.0  # points: what reaches farther ends in an arrow or a number, so that the others can be told from dots
NOTHING = "Nothing of this was run yet."
MEASURED, EQUIVALENT = "measured", "equivalent"
IN_PART = "in DSC alone: "  # before a word that speaks of a part of the claim


def _list(words: Sequence[str]) -> str:
    return listed(words) or "none"


def _points(c: dict) -> str:
    digits = 0 if c["metric"] in ("RLP", "RLR") and abs(c["difference"]) >= 10 else 1
    text = f"{signed(c['difference'], digits)} points of {c['metric']}"
    if math.isnan(c["low"]):
        return f"{text} ({count(c['patients'], 'patient')})"
    return f"{text} (95 % {signed(c['low'])} … {signed(c['high'])}, {count(c['patients'], 'patient')})"


# --- one comparison --------------------------------------------------------------------------------------------------


def difference(results: list[dict], grid: str, one: str, other: str, metric: str = "DSC") -> str:
    """Two or three sentences on row `one` minus row `other` of a grid: difference, what it means, the paper's beside it."""
    c = claims.compare(results, GRIDS[grid], one, other, metric)
    if not c["patients"]:
        return f"{one} has not been compared with {other} yet."
    said = [f"{one} minus {other} is {_points(c)}."]
    if math.isnan(c["low"]):
        said.append(f"An interval needs {rule.FEWEST} patients in two folds, so nothing is decided.")
    elif c["status"] == claims.OPEN:
        said.append(
            f"The interval includes 0, so the sign is undecided; a true difference of {c['visible']:.1f} points could have "
            f"been seen. If it were the one measured, {_needed(c)} would show it four times in five."
        )
    else:
        where = "above" if c["low"] > 0 else "below" if c["high"] < 0 else "around"
        said.append(f"The interval lies {where} 0.")
    if not math.isnan(c["paper"]):
        size = "excludes that size" if c["excluded"] else "does not exclude that size"
        beside = "" if math.isnan(c["low"]) or c["paper"] <= 0 else f"; our interval {size}"
        if beside and claims.at_the_end(c):
            where = "by less" if c["excluded"] else "whose end is less"
            beside += f", {where} than {claims.NEAR:g} points{'' if c['excluded'] else ' from it'}"
        said.append(f"The paper prints {signed(c['paper'])}{beside}.")
    if c["equivalent"]:
        said.append(f"The two are equivalent within ±{rule.MARGIN:g} points.")
    return " ".join(said)


def _needed(c: dict) -> str:
    return claims.how_many(c["needed"])


def rows(table: report.Table) -> pd.DataFrame:
    """A table as text cells for a page: n, DSC with its interval, the paper's, Δ with interval and p, the other metrics, LOV.

    A row that was not run says so; "–" stands where there is no number.
    """
    lines = {}
    for label, row in table.rows.iterrows():
        printed = row.get("paper DSC", math.nan)
        line = {"n": report.NOT_RUN, "DSC": "", "95 %": "", "paper": _cell(printed, 2), "Δ": "", "Δ 95 %": "", "p": ""}
        line |= dict.fromkeys((*METRICS[1:], "DSC, all", "pooled", "LOV, %", "seeds"), "")
        if row["all patients"]:
            line |= {"n": str(int(row.patients)), "DSC": _cell(row.DSC), "95 %": _range(row.low, row.high)}
            if row.difference == row.difference:
                line |= {"Δ": signed(row.difference), "Δ 95 %": _range(row["diff low"], row["diff high"], signed)}
                line |= {"p": report.p_in_words(row.p) or "–"}
            line |= {m: _cell(row[m]) for m in METRICS[1:]}
            line |= {"DSC, all": _cell(row["DSC, all"]), "pooled": _cell(row["DSC, pooled"])}
            low, high = row.get("LOV low", math.nan), row.get("LOV high", math.nan)
            line["LOV, %"] = (
                f"{signed(row['LOV bias'], 0)} ({_range(low, high, lambda v: signed(v, 0))})" if low == low else "–"
            )
            line["seeds"] = row.seeds
        lines[label] = line
    return pd.DataFrame.from_dict(lines, orient="index")


def _cell(value: float, digits: int = 1) -> str:
    return f"{value:.{digits}f}" if value == value else "–"


def _range(low: float, high: float, show=_cell) -> str:
    return f"{show(low)} … {show(high)}" if low == low else "–"


def seeds(runs: list[dict]) -> str:
    """How far runs of one recipe and fold lie apart that differ in nothing but the seed, and that few say little."""
    spread = report.seed_spread(runs)
    if not spread["freedom"]:
        return "No run was repeated with another seed at this scale, so what the seed alone does is not measured."
    what = f"{count(spread['groups'], 'fold')} of a network {'was' if spread['groups'] == 1 else 'were'}"
    return (
        f"{what} trained more than once, by runs that differ in nothing but the seed ({count(spread['runs'], 'run')}). Between "
        f"the runs of a fold the mean DSC has a standard deviation of {spread['sd']:.1f} points."
        + (" So few runs give only a rough idea of it." if spread["freedom"] < 10 else "")
    )


# --- the ledger ------------------------------------------------------------------------------------------------------


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
        why = _why_at_length(verdict) + _runs_linked(claim.number, results)
        cells = (link, html.escape(claim.where), chip(verdict.status), why)
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
        return html.escape(_why(verdict))
    said = verdict.reason.partition(";")[0]
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


def _why(verdict: claims.Verdict) -> str:
    """The reason, short where nothing was run and where many comparisons say it at length."""
    if verdict.comparisons and not any(c["patients"] for c in verdict.comparisons):
        return "not run"
    return minus(verdict.reason)


def forest(decisions: Decided, dsc: bool = True) -> str:
    """Every comparison behind the ledger as one drawing (SVG in HTML): ours with its interval, the paper's as a diamond.

    It is drawn twice: names beside the lines, and, for a phone and hidden elsewhere, names above them.
    dsc: the comparisons in DSC, or those in the other metrics, of claim 1 only UNet++'s. Each label is a link to its chapter.
    """
    found = []
    for claim, verdict in decisions:
        for c in verdict.comparisons:
            if (c["metric"] == "DSC") == dsc and (dsc or claim.number != "1" or c["other"] == "UNet++"):
                found.append((claim.number, c))
    edges = [0.0, 5.0, -5.0]
    for _, c in found:
        edges += [c["paper"]] if c["paper"] == c["paper"] else []
        edges += [min(max(v, -FRAME), FRAME) for v in (c["difference"], c["low"], c["high"]) if v == v]
    ends = min(edges) - 1, max(edges) + 1
    words = ", ".join(f"{c['one']} {'minus' if c['sign'] > 0 else 'below'} {c['other']} {_said(c)}" for _, c in found)
    title = f"<title>{html.escape(words)}</title>"
    beside, above = (_forest(found, *ends, narrow) for narrow in (False, True))
    return (
        f'<div class="forest" style="overflow-x:auto"><svg role="group" {beside[0]} style="min-width:620px;max-width:820px;'
        f'width:100%" font-size="13" font-family="inherit" fill="currentColor">{title}{beside[1]}</svg></div>'
        f'<div class="forest-narrow" hidden><svg role="group" {above[0]} style="width:100%" font-size="12" '
        f'font-family="inherit" fill="currentColor">{title}{above[1]}</svg></div>'
    )


def _forest(found: list[tuple[str, dict]], low: float, high: float, narrow: bool) -> tuple[str, str]:
    """The drawing's viewBox and what is in it. low, high: the axis' ends. narrow: names above the lines, not beside them."""
    room = 7.2 * max((len(_label(*one)) for one in found), default=0)  # for the longest name
    left, width, step, top = (14, 326, 40, 20) if narrow else (20 + room, 400, 26, 26)

    def x(value: float) -> float:
        """The place of a value on the axis."""
        return left + width * (min(max(value, low), high) - low) / (high - low)

    parts = []
    bottom = top + step * len(found)
    unit = 5 if high - low < 60 else 20
    for tick in range(math.ceil(low / unit) * unit, int(high) + 1, unit):
        parts.append(
            f'<line x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{top - 8}" y2="{bottom}" stroke="currentColor" '
            f'stroke-opacity="{0.9 if tick == 0 else 0.15}"/><text x="{x(tick):.1f}" y="{bottom + 15}" '
            f'text-anchor="middle">{signed(tick, 0) if tick else 0}</text>'
        )
    for index, (number, c) in enumerate(found):
        y = top + step * index + (28 if narrow else step / 2)
        parts.append(_forest_row(number, c, y, x, (left, y - 12, "start") if narrow else (left - 10, y + 4, "end"), narrow))
    lines = (
        "points in the claim’s direction;",
        "dot and line: ours, 95 % (arrow: farther)",
        "hollow dot: too few patients;",
        "diamond: the paper, filled where it is",
        "larger than our interval allows",
    )
    lines = lines if narrow else (" ".join(lines[:2]), " ".join(lines[2:]))
    for index, line in enumerate(lines):
        parts.append(f'<text x="10" y="{bottom + 34 + 17 * index}">{line}</text>')
    more = 20 if narrow else 30
    return f'viewBox="0 0 {left + width + more:.0f} {bottom + 24 + 17 * len(lines)}"', "".join(parts)


def about_forest(decisions: Decided) -> str:
    """What `forest` draws in DSC and does not say: colours that Holm's correction over a claim's lines takes, and diamonds.

    A filled diamond may stand close to the interval's end, and a hollow one on the interval's left.
    """
    of = {claim.number: [c for c in v.comparisons if c["metric"] == "DSC" and c["low"] == c["low"]] for claim, v in decisions}
    lost, coloured = [], 0
    for number, found in of.items():
        holm = rule.holm([c["p"] for c in found])
        own = [(c, p) for c, p in zip(found, holm, strict=True) if c["low"] > 0 or c["high"] < 0]
        coloured += len(own)
        lost += [
            f"{c['one']} minus {c['other']} (p = {p:.2f}, chapter {int(CHAPTER[number][:2])})"
            for c, p in own
            if p >= 1 - rule.LEVEL
        ]
    said = ["The colours are by each line's own interval, without a correction for many lines."]
    if coloured:
        said.append(
            f"With Holm's correction over the lines of a claim here, {len(lost)} of the {coloured} green or red lines "
            + (f"would be grey: {_list(lost)}." if lost else "would be grey.")
        )
    drawn = [c for found in of.values() for c in found if c["paper"] == c["paper"]]
    near = min((c for c in drawn if c["excluded"]), key=lambda c: c["paper"] - c["high"], default=None)
    if near:
        said.append(
            "A filled diamond lies to the right of the interval: our patients exclude that size. The nearest is that of "
            f"{near['one']} minus {near['other']}: the interval ends at {signed(near['high'], 2)}, the paper has "
            f"{signed(near['paper'], 2)}."
        )
    left = sum(c["paper"] < c["low"] for c in drawn)
    if left:
        stands = "One hollow diamond stands" if left == 1 else f"{left} hollow diamonds stand"
        said.append(f"{stands} to the left of the interval: there our difference is larger than the paper's.")
    return " ".join(said)


def _said(c: dict) -> str:
    return f"{signed(c['difference'])}, {c['status']}" if c["patients"] else report.NOT_RUN


def _label(number: str, c: dict) -> str:
    minus = "−" if c["sign"] > 0 else "below"
    metric = "" if c["metric"] == "DSC" else f", {c['metric']}"
    return f"{number} · {c['one']} {minus} {c['other']}{metric}"


def _forest_row(number: str, c: dict, y: float, x, name: tuple[float, float, str], narrow: bool) -> str:
    """One line of the drawing. name: where its name stands, and which end of it. narrow: the name is above the line."""
    label = html.escape(_label(number, c))
    colour = _MARKS[c["status"]]
    at = f'x="{name[0]:.0f}" y="{name[1]}" text-anchor="{name[2]}"'
    text = f'<a href="{CHAPTER[number]}.html"><text {at}>{label}</text></a>'
    if c["low"] == c["low"]:
        text += f'<line x1="{x(c["low"]):.1f}" x2="{x(c["high"]):.1f}" y1="{y}" y2="{y}" stroke="{colour}" stroke-width="3"/>'
        for end, way in ((c["low"], -1), (c["high"], 1)):
            if x(end) == x(end + way):  # it goes on beyond the frame
                tip = f"{x(end) + 6 * way:.1f},{y} {x(end):.1f},{y - 5} {x(end):.1f},{y + 5}"
                text += f'<polygon points="{tip}" fill="{colour}"/>'
    way = 1 if c["difference"] > 0 else -1
    if c["patients"] and x(c["difference"]) == x(c["difference"] + way):  # it lies beyond the frame: a number, and no dot
        number, known = signed(c["difference"]), c["low"] == c["low"]
        number += f" ({signed(c['low'])} … {signed(c['high'])})" if known else ""
        number = f"{number} →" if way > 0 else f"← {number}"
        height = y + (4 if not known else 15 if narrow else -8)  # off the line, where there is one, on the page's own ground
        ground = 'paint-order="stroke" stroke="var(--pst-color-background, Canvas)" stroke-width="4"'
        at = f'x="{x(c["difference"]):.1f}" y="{height}" text-anchor="{"end" if way > 0 else "start"}"'
        text += f'<text class="beyond" {at} {ground}>{number}</text>'
    elif c["patients"]:
        inside = f'fill="{colour}"' if c["low"] == c["low"] else f'fill="none" stroke="{colour}" stroke-width="2"'
        text += f'<circle cx="{x(c["difference"]):.1f}" cy="{y}" r="4.5" {inside}/>'
    else:
        # right of the diamond where that would lie on the words
        begin = x(0) if not 0 <= x(c["paper"]) - x(0) < 60 else x(c["paper"])
        text += f'<text x="{begin + 8:.1f}" y="{y + 4}" fill-opacity="0.7">{report.NOT_RUN}</text>'
    if c["paper"] == c["paper"]:
        p = x(c["paper"])
        corners = f"{p - 5:.1f},{y} {p:.1f},{y - 5} {p + 5:.1f},{y} {p:.1f},{y + 5}"
        inside = "currentColor" if c["excluded"] else "none"
        text += f'<polygon points="{corners}" fill="{inside}" stroke="currentColor" stroke-width="1.5"/>'
    return text


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
            most = f"{len(never)} of {len(grid.rows)} rows" if len(never) > 4 else _list(never)
            what = "; ".join([*([most] if never else []), *([_list(some)] if some else [])])
            lines.append((grid.title, what, asked, name))
    for step, rows_of in ((3, ("SCOAT-Net", "UNet++", "U-Net")), (6, ("V2, attention gates", "V3, pyramid attention"))):
        grid = GRIDS["table2" if step == 3 else "table3"]
        found = report.scales(results, grid)
        runs = {(r["row"], r["recipe"]["fold"], r["recipe"]["seed"]) for r in (found[0][2] if found else [])}
        done = sum(row in rows_of and seed in (1, 2) for row, _, seed in runs)
        of = 2 * grid.folds * len(rows_of)
        if done < of:
            what = f"seeds 1 and 2 of {_list([row.partition(',')[0] for row in rows_of])}: {of - done} of {of} runs"
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
    counts = [f"{len(found)} {_hold(status, len(found))} ({_list(found)})" for status, found in by.items() if found]
    said = [f"Of the {number} claims {_list(counts)}."]
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


# --- the chapters' findings ------------------------------------------------------------------------------------------


def modules(results: list[dict], counts: pd.DataFrame) -> str:
    """Chapter 13's findings. counts: index row of Table III, columns "ours, added" and "paper, added", in millions."""
    added = [f"{label.split(',')[0]} {r['ours, added']:.2f} M ({r['paper, added']:.2f} M)" for label, r in counts.iterrows()]
    said = [
        "Three of the four modules multiply by one plus a map; only the gates of V2 multiply by the map itself.",
        f"Ours add, with the paper's number in brackets: {_list(added[1:])}.",
        briefly(claims.compare(results, GRIDS["table3"], "SCOAT-Net", "UNet++")).replace("**", ""),
    ]
    others = [label for label in GRIDS["table3"].rows if label not in ("UNet++", "SCOAT-Net")]
    compared = {label: claims.compare(results, GRIDS["table3"], label, "UNet++") for label in others}
    run = {label: c for label, c in compared.items() if c["patients"]}
    if run:
        each = [
            f"{label.split(',')[0]} {signed(c['difference'])} ({count(c['patients'], 'patient')}, "
            f"{'no verdict' if c['status'] == claims.WAITS else c['status']})"
            for label, c in run.items()
        ]
        said.append(f"Minus UNet++, in points of DSC: {_list(each)}.")
    missing = [label.split(",")[0] for label in others if label not in run]
    if missing:
        said.append(f"Not run beside UNet++ yet: {_list(missing)}.")
    return "\n".join(f"- {s}" for s in said)


def maps(results: list[dict], ablations: Sequence[dict] = ()) -> str:
    """Chapter 14's findings on real scans: claims 5a, 5b, 5c, and what flattening does (contents of ablation-*.json)."""
    return "\n".join(f"- {s}" for s in [ablation(ablations), *narrowing(results)])


def narrowing(results: list[dict]) -> list[str]:
    """Claims 5a, 5b and 5c, a sentence each, or one for all where none has been measured enough."""
    found = decided(results, "5a", "5b", "5c")
    reasons = {_why(verdict) for _, verdict in found}
    if len(reasons) == 1:  # none has been measured enough
        return [f"Claims {_list([c.number for c, _ in found])} {_hold(found[0][1].status, len(found))}: {reasons.pop()}."]
    return [f"Claim {c.number} ({_small(c.text)}) {_hold(v.status, 1)}: {_why(v)}." for c, v in found]


def _small(text: str) -> str:
    return text[0].lower() + text[1:]


def ablation(contents: Sequence[dict]) -> str:
    """What flattening the maps and the channel weights cost networks that were trained with them, patient by patient.

    contents: of ablation-*.json. Of a patient the scans and runs are averaged; the interval is the rule's. What the network
    leans on is said only where an interval lies below 0; where the whole interval lies within the margin, the
    network is equivalent without the part.
    """
    if not contents:
        return "What the maps and the channel weights are worth to a network trained on real scans was not measured yet."
    said, leans, better, alike, unsure, n = [], [], [], [], [], 0
    for words, key, what in (
        ("every attention map", "all maps flat", "its maps"),
        ("every node's channel weights", "all channel weights flat", "its channel weights"),
    ):
        found = flattening(contents, key)
        n = found.patients
        interval = "" if math.isnan(found.low) else f" (95 % {signed(found.low)} … {signed(found.high)})"
        said.append(
            f"replacing {words} by {'its' if key == 'all maps flat' else 'their'} mean changes the DSC by "
            f"{signed(found.mean)} points{interval}"
        )
        word = flattening_word(found)
        if word == MEASURED:
            (leans if found.high < 0 else better).append(what)
        elif word == EQUIVALENT:
            alike.append(f"{what}: a fall of more than {max(0.0, -found.low):.1f} points is excluded")
        else:
            unsure.append(what)
    over = f"{count(n, 'patient')} of at least {LEAST} lesion voxels that a run had not seen"
    text = f"In {count(len(contents), 'run')}, over {over}: {'; '.join(said)}."
    if leans:
        text += f" So the network leans on {_list(leans)}."
    if better:
        text += f" It does better without {_list(better)}."
    if alike:
        text += f" It is equivalent within ±{rule.MARGIN:g} points without {'; without '.join(alike)}."
    return text + (f" Whether the network leans on {' or on '.join(unsure)} is undecided." if unsure else "")


def flattening(contents: Sequence[dict], key: str) -> rule.Interval:
    """The rule's interval of DSC with a part flattened minus as trained, in points, over the patients.

    contents: as of `ablations`; their "small" patients are left out. key: a row of their tables, such as "all maps flat".
    KeyError for another.
    """
    rows = [
        (patient_of(scan), c["fold"], 100 * (c["patients"][key][scan] - dsc))
        for c in contents
        for scan, dsc in c["patients"]["as trained"].items()
        if patient_of(scan) not in c["small"]
    ]
    frame = pd.DataFrame(rows, columns=["patient", "fold", "lost"]).groupby("patient").mean()
    return rule.interval(frame.lost, frame.fold)


def flattening_word(found: rule.Interval) -> str:
    """The one word for a change by flattening: `MEASURED` (0 is excluded), `EQUIVALENT` (within the margin), or undecided."""
    if found.high < 0 or found.low > 0:
        return MEASURED
    alike = found.low > -rule.MARGIN and found.high < rule.MARGIN
    return EQUIVALENT if alike else claims.OPEN


def areas(results: list[dict], nodes: Sequence[str]) -> pd.DataFrame:
    """Effective area and contrast of the maps, mean over the patients that a run had not seen; a line for each measured run.

    nodes: of Figure 5, in order. Columns (run, node) in text cells; empty where no run was measured.
    """
    lines = {}
    for result in sorted(results, key=lambda r: (r["recipe"]["fold"], r["recipe"]["seed"])):
        measured = result.get("attention")
        if not measured:
            continue
        unseen = set(result["folds"]["test"])
        line: dict = {}
        for what, key in (("area", "nodes"), ("contrast", "contrast")):
            values = [v for scan, v in measured.get(key, {}).items() if scan in unseen]
            means = np.mean(values, axis=0) if values else [math.nan] * len(nodes)
            line |= {f"{what} {node}": _cell(v, 2) for node, v in zip(nodes, means, strict=True)}
        line["patients not seen"] = str(len({patient_of(s) for s in measured["nodes"] if s in unseen}))
        lines[f"fold {result['recipe']['fold']}, seed {result['recipe']['seed']}"] = line
    return pd.DataFrame.from_dict(lines, orient="index")


def volumes(results: list[dict]) -> str:
    """Chapter 15's findings on real scans: bias and limits of agreement of LOV, and the second cohort (claim 7a)."""
    found = report.tables(results, GRIDS["table2"])
    row = found[0].rows.loc["SCOAT-Net"] if found else {"all patients": 0}
    if not row["all patients"]:
        said = ["SCOAT-Net's volumes on real scans were not measured yet."]
    elif math.isnan(row["LOV low"]):
        few = f"limits of agreement need {rule.FEWEST} patients."
        said = [
            f"On {count(int(row.patients), 'real patient')} SCOAT-Net's LOV is off by {signed(row['LOV bias'], 0)} %; {few}"
        ]
    else:
        limits = f"{signed(row['LOV low'], 0)} … {signed(row['LOV high'], 0)} % (each ± {row['LOV ±']:.0f})"
        said = [
            f"On {int(row.patients)} real patients that the network had not seen, its LOV is off by "
            f"{signed(row['LOV bias'], 0)} % on average, and the limits of agreement are {limits}."
        ]
        span = round(row["LOV high"]) - round(row["LOV low"])
        said.append(f"The limits span {span} points: one patient's volume is known no better than that.")
    told = carries_over(results)
    first, _, rest = told.partition(". The protocol's rule")
    if rest:
        so = ", so this does not show that the network travels"
        told = f"{first}. {claims.CHOSEN}{so if so in rest else ''}."
    return "\n".join(f"- {s}" for s in [*said, told])


def believable(results: list[dict], courses: dict[str, Sequence[float]]) -> str:
    """How large a change of a volume must be to be more than SCOAT-Net's error, and which changes of some courses are so large.

    courses: a patient → volumes in cm³ by date; of the first fall its own bound is told. An error is in per cent of its date's
    volume, and two are taken for independent: a change from V1 to V2 must exceed half the limits' width times √(V1² + V2²).
    """
    half = _half_limits(results)
    if math.isnan(half):
        return f"What change can be believed was not measured: limits of agreement need {rule.FEWEST} patients."
    start = next(iter(courses.values()))[0]
    rest = 1 - half**2
    left = start * (1 - math.sqrt(1 - rest**2)) / rest if half < 1 else 0.0  # from here on a fall exceeds its bound
    said = [
        f"Two volumes of about the same size must differ by more than {100 * half * math.sqrt(2):.0f} % of either before this "
        f"network's error alone is an unlikely reason."
    ]
    if left >= 10:
        said.append(f"After {start:.0f} cm³ believe a fall to less than {10 * math.floor(left / 10)} cm³.")
    steps = [(a, b) for volumes in courses.values() for a, b in pairwise(volumes)]
    passed = [(a, b) for a, b in steps if abs(a - b) > half * math.hypot(a, b)]
    failed = [step for step in steps if step not in passed]
    told = [[f"{a:.0f} to {b:.0f}" for a, b in some] for some in (passed, failed)]
    said.append(
        f"Of the {len(steps)} changes in the paper's Figure 6, in cm³, these are large enough: {_list(told[0])}; these are "
        f"not: {_list(told[1])}."
    )
    return " ".join(said)


def _half_limits(results: list[dict]) -> float:
    """Half the width of SCOAT-Net's limits of agreement, as a share of the volume; nan where there are none."""
    found = report.tables(results, GRIDS["table2"])
    if not found or not found[0].rows.loc["SCOAT-Net", "all patients"]:
        return math.nan
    row = found[0].rows.loc["SCOAT-Net"]
    return (row["LOV high"] - row["LOV low"]) / 200


def second_volumes(agreement: dict | None) -> dict[str, float]:
    """By patient: how much more the second reader outlines than the first, per cent; of scans of the endpoint's size."""
    scans = (agreement or {"scans": {}})["scans"]
    large = {scan: c for scan, c in scans.items() if c["tp"] + c["fn"] >= report.LEAST}
    return {patient_of(scan): 100 * ((c["tp"] + c["fp"]) / (c["tp"] + c["fn"]) - 1) for scan, c in large.items()}


def beside_second(own: pd.DataFrame, agreement: dict | None) -> str:
    """The two readers' volumes beside SCOAT-Net's, on the scans that both outlined. own: its patients, from `report.tables`."""
    second = second_volumes(agreement)
    if not second:
        return "How far two readers' volumes differ was not measured."
    values = np.array(list(second.values()))
    side = "less" if (values < 0).all() else "more" if (values > 0).all() else "less or more"
    ends = sorted(abs(values)) if side != "less or more" else sorted(values)
    mean = abs(values.mean()) if side != "less or more" else values.mean()
    said = (
        f"Two readers differ as well. On {count(len(values), 'scan')} of at least {LEAST} lesion voxels the second outlined "
        f"{ends[0]:.0f} to {ends[-1]:.0f} % {side} than the first, {mean:.0f} % on average."
    )
    error = 100 * (own.predicted_ml / own.true_ml - 1) if len(own) else pd.Series(dtype=float)
    error = error[error.index.isin(second)]
    if not len(error):
        return minus(said)
    each = _list([f"{signed(v, 0)} %" for v in error])
    said += f" On the same {'scan' if len(error) == 1 else 'scans'} SCOAT-Net is off from the first reader by "
    said += f"{signed(error.mean(), 0)} % on average ({each})."
    if error.mean() * values.mean() > 0:
        said += " So a part of what looks like the network's error may be the first reader's choice."
    return minus(said)


def carries_over(results: list[dict]) -> str:
    """Claim 7a, another scanner, in a sentence: slice DSC on the second cohort beside that on left-out slices of its own."""
    ((_, verdict),) = decided(results, "7a")
    return f"Claim 7a (another scanner) {_hold(verdict.status, 1)}: {_why(verdict)}."


def leak(results: list[dict]) -> str:
    """What dealing slices instead of patients was worth to SCOAT-Net: one or two sentences."""
    c = claims.compare(results, GRIDS["split"], "by slice", "by patient")
    if not c["patients"]:
        return "What dealing slices is worth to a trained network on real scans was not run yet (grid `split`)."
    said = f"Folds of slices in place of folds of patients give SCOAT-Net {_points(c)}."
    if math.isnan(c["low"]):
        return said + f" That is too few patients for an interval ({rule.FEWEST} in two folds are needed)."
    paper = GRIDS["table2"].paper
    gap = paper["SCOAT-Net"]["DSC"] - paper["UNet++"]["DSC"]
    than = "more" if c["difference"] > gap else "less"
    word = {
        claims.HOLDS: "The interval lies above 0: the gain is a fact, and it is knowledge of the patient, not of lungs",
        claims.FAILS: "The interval lies below 0",
        claims.OPEN: "The interval includes 0",
    }[c["status"]]
    return f"{said} {word}. Its mean is {than} than the {gap:.1f} points by which the paper's SCOAT-Net leads UNet++."


def small_lesions(runs: list[dict]) -> str:
    """How recall falls with the size of a lesion: one sentence."""
    frame = report.lesion_recall(runs)
    frame = frame[frame.lesions > 0]
    if frame.empty:
        return "How recall falls with the size of a lesion was not measured on real scans yet."
    first, last = frame.iloc[0], frame.iloc[-1]
    return (
        f"On real scans the network touched {100 * first.found:.0f} % of the {int(first.lesions)} lesions of {frame.index[0]}, "
        f"and {100 * last.found:.0f} % of the {int(last.lesions)} of {frame.index[-1]}."
    )


def doubt(content: dict | None) -> str:
    """What results/uncertainty/wN.json says of calibration and doubt, in two sentences; content: the file's, or None."""
    if not content:
        return "Calibration and doubt on real patients were not measured yet (`python -m studies.uncertainty`)."
    one = content["answers"]["one network"]
    patients = len({patient_of(scan) for scan in one["patients"]})
    rows_ = content["doubt"]
    calm, torn = rows_[0], rows_[-1]
    return (
        f"On {count(patients, 'real patient')} not seen in training the expected calibration error is {one['ece']:.4f} over "
        f"all voxels and {one['ece without the easy background']:.3f} over those given 0.05 or more. Where network and mirror "
        f"image differ by less than {calm['to']:g}, {_share(calm['wrong'])} of the voxels are wrong; where they differ by "
        f"{torn['from']:g} or more, {_share(torn['wrong'])}."
    )


def _share(value: float) -> str:
    return f"{100 * value:.2g} %" if value < 0.1 else f"{100 * value:.0f} %"


def read(folder, name: str) -> dict | None:
    """A study's file of the results' folder; None where it was not measured."""
    path = report.of_book(folder) / name
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def ablations(folder) -> list[dict]:
    """The contents of attention/ablation-*.json, by fold and seed; empty where nothing was measured.

    "small" is added: the run's patients below `report.LEAST` lesion voxels, whom the protocol's endpoint leaves out.
    """
    folder = report.of_book(folder)
    found = []
    for path in sorted((folder / "attention").glob("ablation-*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        run = json.loads((folder / f"{content['run']}.json").read_text(encoding="utf-8"))
        frame = report.per_patient([run])
        found.append(content | {"small": sorted(frame.index[frame.lesion_voxels < report.LEAST])})
    return sorted(found, key=lambda c: (c["fold"], c["seed"]))


def intervals(verdict: claims.Verdict) -> tuple[list[str], int, int]:
    """Of a claim's comparisons: the words of those with an interval; how many have one; how many have too few patients."""
    states = [c["status"] for c in verdict.comparisons if c["low"] == c["low"]]
    order = (claims.HOLDS, claims.FAILS, claims.OPEN)
    every = [f"{states.count(s)} {_hold(s, states.count(s))}" for s in order if s in states]
    return every, len(states), sum(c["patients"] > 0 for c in verdict.comparisons) - len(states)


def findings(results: list[dict], folder) -> list[str]:
    """The book's findings for its first page, each one or a few sentences with its numbers, or what is missing.

    Of SCOAT-Net and UNet++ that page has the numbers at its top, so what follows from them is told. What dealing slices is
    worth stands here once it was run.
    """
    first = decided(results, "1")[0][1]
    if any(c["patients"] for c in first.comparisons):
        every, seen, few = intervals(first)
        beside = corrected(first.comparisons), lower(first.comparisons)
        table = (
            f"Of the {len(first.comparisons)} comparisons behind “best of nine networks on all six metrics” {seen} have enough "
            f"patients for an interval{f': {_list(every)}, each by its own interval' if every else ''}."
            + "".join(f" {text[0].upper()}{text[1:]}." for text in beside if text)
            + (f" {few} rest on fewer than {rule.FEWEST} patients." if few else "")
        )
    else:
        table = "Whether SCOAT-Net is the best of nine networks was not run yet."
    agreement = report.readers(folder)
    if agreement:
        a = agreement["DSC, per cent"]
        readers = (
            f"Two readers of the same {a['scans']} scans of at least {LEAST} lesion voxels agree to a "
            f"mean DSC of {a['mean']:.1f} ({a['lowest']:.1f} to {a['highest']:.1f}). {against_readers(results, agreement)}"
        )
    else:
        readers = "How two readers agree was not measured."
    numbers, _, follows = difference(results, "table2", "SCOAT-Net", "UNet++").partition(". ")
    beside = f"SCOAT-Net beside UNet++, the network that it was made from: {_small(follows)}" if follows else numbers
    dealt = claims.compare(results, GRIDS["split"], "by slice", "by patient")["patients"]
    return [beside, table, ablation(ablations(folder)), *([leak(results)] if dealt else []), readers]


def _hold(status: str, number: int) -> str:
    words = {claims.HOLDS: ("holds", "hold"), claims.FAILS: ("does not hold", "do not hold")}
    words |= {claims.WAITS: ("waits for runs", "wait for runs")}
    if status not in words:
        return f"{'is' if number == 1 else 'are'} {status}"
    return words[status][number != 1]
