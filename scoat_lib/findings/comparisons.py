"""One comparison in a few sentences; a table's rows as text with their intervals."""

from __future__ import annotations

import math

import pandas as pd

from scoat_lib import claims, report, rule
from scoat_lib.grids import GRIDS
from scoat_lib.metrics import METRICS
from scoat_lib.words import count, plain, signed


def points(c: dict) -> str:
    """A comparison (of `claims.compare`) in a few words: the difference with its interval, and of how many patients."""
    digits = 0 if c["metric"] in ("RLP", "RLR") and abs(c["difference"]) >= 10 else 1
    text = f"{signed(c['difference'], digits)} points of {c['metric']}"
    if math.isnan(c["low"]):
        return f"{text} ({count(c['patients'], 'patient')})"
    return f"{text} (95 % {signed(c['low'])} … {signed(c['high'])}, {count(c['patients'], 'patient')})"


def difference(results: list[dict], grid: str, one: str, other: str, metric: str = "DSC") -> str:
    """Two or three sentences on row `one` minus row `other` of a grid: difference, what it means, the paper's beside it."""
    c = claims.compare(results, GRIDS[grid], one, other, metric)
    if not c["patients"]:
        return f"{one} has not been compared with {other} yet."
    said = [f"{one} minus {other} is {points(c)}."]
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
        line = {"n": report.NOT_RUN, "DSC": "", "95 %": "", "paper": plain(printed, 2), "Δ": "", "Δ 95 %": "", "p": ""}
        line |= dict.fromkeys((*METRICS[1:], "DSC, all", "pooled", "LOV, %", "seeds"), "")
        if row["all patients"]:
            line |= {"n": str(int(row.patients)), "DSC": plain(row.DSC), "95 %": _range(row.low, row.high)}
            if row.difference == row.difference:
                line |= {"Δ": signed(row.difference), "Δ 95 %": _range(row["diff low"], row["diff high"], signed)}
                line |= {"p": report.p_in_words(row.p) or "–"}
            line |= {m: plain(row[m]) for m in METRICS[1:]}
            line |= {"DSC, all": plain(row["DSC, all"]), "pooled": plain(row["DSC, pooled"])}
            low, high = row.get("LOV low", math.nan), row.get("LOV high", math.nan)
            line["LOV, %"] = (
                f"{signed(row['LOV bias'], 0)} ({_range(low, high, lambda v: signed(v, 0))})" if low == low else "–"
            )
            line["seeds"] = row.seeds
        lines[label] = line
    return pd.DataFrame.from_dict(lines, orient="index")


def _range(low: float, high: float, show=plain) -> str:
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
