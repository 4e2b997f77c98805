"""A table's rows beside each other: the best, the worst, what is told apart (chapters 10 to 13)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from scoat_lib import claims, report, rule
from scoat_lib.grids import get
from scoat_lib.report import NOT_RUN, Table
from scoat_lib.words import count, listed


def best_and_worst(table: Table | None) -> str:
    """Which rows have the highest and the lowest mean DSC: of those that saw most patients, and of all over those they share.

    A mean over other patients is another mean, so no row is ranked against one that reports fewer. With fewer than two rows,
    that.
    """
    frames = {} if table is None else {label: f[f.lesion_voxels >= report.LEAST] for label, f in table.patients.items()}
    frames = {label: 100 * frame.DSC for label, frame in frames.items() if len(frame)}
    if len(frames) < 2:
        return "Fewer than two rows were run, so nothing can be compared."
    most = max(map(len, frames.values()))
    fullest = {label: frame for label, frame in frames.items() if len(frame) == most}
    said = []
    for some in [fullest, frames] if len(fullest) < len(frames) else [frames]:
        wide = pd.DataFrame(some).dropna()
        if wide.shape[1] > 1 and len(wide):
            which = "all" if some is frames else "the"
            of = "" if some is frames else " that saw most patients"
            dsc = wide.mean()
            said.append(
                f"over the {count(len(wide), 'patient')} that {which} {len(some)} rows{of} share, {dsc.idxmax()} has the "
                f"highest mean DSC ({dsc.max():.1f} %) and {dsc.idxmin()} the lowest ({dsc.min():.1f} %)"
            )
    text = "; ".join(said) or "no two rows share a patient"
    return text[0].upper() + text[1:] + "."


def told_apart(results: list[dict], grid: str, one: str) -> str:
    """Which rows differ from `one` in DSC after Holm's correction over those that were run, which do not, which are equivalent.

    Those that only their own interval sets apart are named: one of so many comparisons leans out by chance.
    """
    found = {o: claims.compare(results, get(grid), one, o) for o in get(grid).rows if o != one}
    run = {o: c for o, c in found.items() if c["low"] == c["low"]}
    if not run:
        return f"No row can be compared with {one} yet."
    p = dict(zip(run, rule.holm([c["p"] for c in run.values()]), strict=True))
    below = [o for o, c in run.items() if p[o] < 1 - rule.LEVEL and c["difference"] > 0]
    above = [o for o, c in run.items() if p[o] < 1 - rule.LEVEL and c["difference"] < 0]
    rest = [o for o in run if o not in below + above]
    parts = []
    if below:
        least = min(run[o]["difference"] for o in below)
        parts.append(f"{listed(below)} {'lies' if len(below) == 1 else 'lie'} below {one}, by {least:.1f} points or more")
    if above:
        parts.append(f"{listed(above)} {'lies' if len(above) == 1 else 'lie'} above {'it' if below else one}")
    if rest:
        parts.append(f"{listed(rest)} cannot be told apart from {'it' if below or above else one}")
    text = "; ".join(parts) + f" (after Holm's correction for {count(len(run), 'comparison')})."
    for o in rest:
        c = run[o]
        if c["low"] > 0 or c["high"] < 0:
            where = "below" if c["low"] > 0 else "above"
            text += f" {o} lies {where} it by its own interval alone; with so many comparisons that can be chance."
    if rest:
        seen = max(run[o]["visible"] for o in rest)
        least = f"A difference of {seen:.1f} points" if seen < claims.WHOLE else f"Of some not even {claims.WHOLE:.0f} points"
        text += f" {least} would have been seen four times in five, in one comparison alone."
    alike = [o for o, c in run.items() if c["equivalent"]]
    text += f" Equivalent to it within ±{rule.MARGIN:g} points: {listed(alike)}." if alike else ""
    missing = [o for o in found if o not in run]
    text += f" Not run, or on fewer than {rule.FEWEST} patients: {listed(missing)}." if missing else ""
    n = {c["patients"] for c in run.values()}
    low, high = min(n), max(n)
    return f"{text} (n = {low})" if low == high else f"{text} (n = {low} to {high})"


def trade(table: Table | None, order: Sequence[str] = ("BCE", "BCE-Dice", "Dice", "IoU")) -> str:
    """Sensitivity and precision in the order that the formulas ask for, over the patients that these rows share.

    Whether the rows keep the order is said only from `rule.FEWEST` patients on.
    """
    frames = {} if table is None else {o: table.patients[o] for o in order if len(table.patients[o])}
    if len(frames) < 2:
        return f"Sensitivity and precision by loss: {NOT_RUN}, or one loss only."
    frames = {label: frame[frame.lesion_voxels >= report.LEAST] for label, frame in frames.items()}
    shared = pd.concat({label: 100 * frame[["SEN", "PPV"]] for label, frame in frames.items()}, axis=1, join="inner")
    if not len(shared):
        return "Sensitivity and precision by loss: no patient is shared by the rows that were run."
    rows = shared.mean().unstack()  # a mean over other patients is another mean
    text = "; ".join(f"{label} SEN {rows.SEN[label]:.1f} and PPV {rows.PPV[label]:.1f} %" for label in frames)
    text = f"Over {count(len(shared), 'patient')} that these rows share: {text}."
    if len(shared) < rule.FEWEST:
        return f"{text} Too few to say whether they keep the order that the formulas ask for."
    sen, ppv = (rows[metric][list(frames)] for metric in ("SEN", "PPV"))
    rises, falls = (np.diff(sen) > 0).all(), (np.diff(ppv) < 0).all()
    kept = {
        (True, True): "The order is the one that the formulas ask for.",
        (True, False): "Sensitivity rises in that order, but precision does not fall at each step.",
        (False, True): "Precision falls in that order, but sensitivity does not rise at each step.",
    }.get((bool(rises), bool(falls)), "Neither keeps the order that the formulas ask for.")
    return f"{text} {kept}"


def lost(table: Table | None, label: str = "MAE") -> str:
    """Whether a loss found any lesion: its mean DSC, n, and the paper's beside it."""
    if table is None or not table.rows.patients[label]:
        return f"{label}: {NOT_RUN}."
    row = table.rows.loc[label]
    found = table.patients[label]
    nothing = int((found.tp == 0).sum())
    text = f"{label} has a mean DSC of {row.DSC:.1f} % (n = {int(row.patients)}); the paper prints {row['paper DSC']:.2f}."
    if nothing == len(found):
        return f"{text} It marks no lesion voxel in any of {count(len(found), 'patient')}, small lesions included."
    return f"{text} In {nothing} of {len(found)} patients it marks no lesion voxel." if nothing else text


def groups(table: Table | None, one: Sequence[str], what: str) -> str:
    """The mean DSC of some rows beside that of the others, over the patients that all share. what: the some, in words."""
    frames = {} if table is None else {n: f[f.lesion_voxels >= report.LEAST].DSC for n, f in table.patients.items() if len(f)}
    wide = 100 * pd.DataFrame(frames).dropna()
    own, others = ([label for label in wide if (label in one) == inside] for inside in (True, False))
    if not len(wide) or not own or not others:
        return f"{what[0].upper()}{what[1:]} beside the others: {NOT_RUN}."
    dsc = wide.mean()
    apart = {True: "every one of them lies above every other", False: "the two groups overlap"}
    ends = [f"{dsc[some].min():.1f} to {dsc[some].max():.1f} %" for some in (own, others)]
    return (
        f"Over the {count(len(wide), 'patient')} that all {len(dsc)} rows share, {what} ({listed(own)}) reach {ends[0]}, the "
        f"other {len(others)} {ends[1]}: {apart[bool(dsc[own].min() > dsc[others].max())]}."
    )


def spread(table: Table | None) -> str:
    """How far patients differ from each other, and networks, in mean DSC: standard deviations over a table's rows."""
    frames = {label: 100 * frame.DSC for label, frame in table.patients.items() if len(frame)} if table is not None else {}
    wide = pd.DataFrame(frames).dropna()
    if len(frames) < 2 or len(wide) < 2:
        return f"How far patients differ, and networks: {NOT_RUN}."
    patients, rows = wide.mean(axis=1).std(), wide.mean(axis=0).std()
    more, less = ("patient", "network") if patients > rows else ("network", "patient")
    return (
        f"From patient to patient the mean DSC differs with a standard deviation of {patients:.1f} points, from row to row of "
        f"{rows:.1f} ({count(len(frames), 'row')}, {count(len(wide), 'patient')}). Which {more} it is moves the score more "
        f"than which {less}."
    )


def beyond(table: Table | None) -> str:
    """That a symmetric interval may pass the ends of what a score can be, where one of a table's rows does. Else empty."""
    if table is None:
        return ""
    low, high = ([o for o, r in table.rows.iterrows() if test(r)] for test in (lambda r: r.low < 0, lambda r: r.high > 100))
    parts = [f"that of {listed(o)} passes {end}" for o, end in ((low, "below 0"), (high, "above 100")) if o]
    if not parts:
        return ""
    return (
        f"An interval of the rule is symmetric, so it may pass the ends of what a score can be: {listed(parts)}. There the "
        "patients scatter too much for it; read the dots."
    )


def unmarked(results: list[dict], grid: str, label: str) -> str:
    """In how many scans a row marks nothing at all, and what HD95 is there. Empty where there is none."""
    most = next(iter(report.scales(results, get(grid))), ({}, "", []))[2]
    scored = [(scan, c, r["measures"].get(scan, {})) for r in most if r["row"] == label for scan, c in r["patients"].items()]
    nothing = [more["diagonal_mm"] for _, c, more in scored if c["tp"] + c["fp"] == 0 and "diagonal_mm" in more]
    if not nothing:
        return ""
    ends = f"{min(nothing):.0f} to {max(nothing):.0f}" if len(nothing) > 1 else f"{nothing[0]:.0f}"
    where = f"In {len(nothing)} of {count(len(scored), 'scan')}"
    return (
        f"{where} {label} marks nothing. Such a scan has no HD95. Its own diagonal is put "
        f"in, {ends} nominal mm, and that is most of the row's mean."
    )


def p_twice(first: Table | None, second: Table | None, label: str, chapter: str) -> str:
    """Why one comparison has one p in a table and another p in another table of another number of rows.

    first: the table on the page. second: the other, of the chapter that is named. Empty where the two p agree or one is none.
    """
    if first is None or second is None or label not in first.rows.index or label not in second.rows.index:
        return ""
    here, there = first.rows.p[label], second.rows.p[label]
    if here != here or there != there or report.p_in_words(here) == report.p_in_words(there):
        return ""
    alone = report.between(first.patients[label], first.patients[first.grid.reference]).p
    return (
        f"{label} against {first.grid.reference} has p = {report.p_in_words(here)} here and {report.p_in_words(there)} in "
        f"{chapter}, from the same patients: Holm's correction depends on the other rows of a table. Uncorrected it is "
        f"{report.p_in_words(alone)} in both."
    )


def seeds(results: list[dict]) -> str:
    """How much the seed alone moves a fold's mean, over all runs by the protocol's recipe that were repeated."""
    found = report.seed_spread(report.alike(results))
    if not found["freedom"]:
        return "No run was repeated with another seed yet."
    freedom = found["freedom"]
    ends = [found["sd"] * math.sqrt(freedom / stats.chi2.ppf(q, freedom)) for q in (0.975, 0.025)]
    which = "One network was" if found["groups"] == 1 else f"{found['groups']} pairs of a network and a fold were"
    return (
        f"{which} trained more than once, from other random starts ({found['runs']} runs). Between such runs the mean DSC of "
        f"the fold's patients has a standard deviation of {found['sd']:.1f} points. So few runs give a rough idea of it: the "
        f"true one lies between {ends[0]:.1f} and {ends[1]:.1f} (95 %, if runs scatter normally)."
    )
