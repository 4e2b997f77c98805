"""The paper's claims as data, each with the test that decides it on real results; first, the paper against itself.

A claim "A is better than B" is decided on the per-patient differences d of the patients that both report. Two things make mean
d uncertain: which patients there are (its 95 % bootstrap interval), and the seeds (the tolerance: how much two runs that differ
in the seed alone differ by, 19 times in 20: t · √2 · s, with s the standard deviation over seeds of the metric's mean on one
fold and t Student's quantile for the runs that were repeated). The two are added as independent errors are, by squares, on
each side of the mean. The claim

- holds, if the interval so widened lies above 0;
- does not hold, if it lies below 0;
- is undecided else, and always with fewer than five patients or without a repeated run. Where the widened interval ends below
  the paper's own advantage, that is said beside the word.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from scipy import stats

from scoat_lib import networks, report
from scoat_lib.grids import GRIDS, Grid
from scoat_lib.metrics import METRICS

HOLDS, FAILS, OPEN, UNTESTABLE = "holds", "does not hold", "undecided", "not testable here"
FEWEST = 5  # patients, below which an interval says nothing
ROUNDING = 0.005  # half of the last digit the paper prints


@dataclass(frozen=True)
class Verdict:
    """What the results say of a claim: one of the four words, why, and the comparisons behind it."""

    status: str
    reason: str
    comparisons: tuple[dict, ...] = ()


@dataclass(frozen=True)
class Claim:
    """A statement of the paper, where it stands, and its test: results → Verdict."""

    number: str
    text: str
    where: str
    decide: Callable[[list[dict]], Verdict]


# --- the paper against itself ----------------------------------------------------------------------------------------


def impossible_rows() -> pd.DataFrame:
    """Rows of Tables I to III whose DSC exceeds (SEN + PPV) / 2, by how many points beyond rounding.

    Case by case DSC is the harmonic mean of SEN and PPV, which never exceeds the arithmetic one; so neither do means over
    the same cases.
    """
    rows = []
    for name in ("table1", "table2", "table3"):
        for label, paper in GRIDS[name].paper.items():
            bound = (paper["SEN"] + paper["PPV"]) / 2
            if paper["DSC"] > bound + 2 * ROUNDING:
                rows.append({"table": name, "row": label, "DSC": paper["DSC"], "(SEN + PPV) / 2": bound})
    return pd.DataFrame(rows)


def contradictions() -> pd.DataFrame:
    """Sentences of the paper beside its own tables: what is said, what the table prints, whether they agree."""
    losses, nets = GRIDS["table1"].paper, GRIDS["table2"].paper

    def best(table, metric, largest=True):
        """The row with the largest, or smallest, value."""
        return (max if largest else min)(table, key=lambda label: table[label][metric])

    said = [
        ("BCE-Dice is the best loss but for SEN and RLR", [best(losses, m) for m in ("DSC", "PPV", "VA", "RLP")], {"BCE-Dice"}),
        ("IoU, BCE and focal loss have the highest DSC", [best(losses, "DSC")], {"IoU", "BCE", "Focal"}),
        ("U-Net has the lowest SEN of the networks", [best(nets, "SEN", largest=False)], {"U-Net"}),
        ("SCOAT-Net is the best of the networks on all metrics", [best(nets, m) for m in METRICS], {"SCOAT-Net"}),
    ]
    rows = [
        {"said": text, "the table": ", ".join(dict.fromkeys(found)), "agree": set(found) <= meant}
        for text, found, meant in said
    ]
    return pd.DataFrame(rows)


# --- decisions -------------------------------------------------------------------------------------------------------


def tolerance(results: list[dict], metric: str = "DSC") -> float:
    """Points by which two runs differ, 19 times in 20, that differ in the seed alone; nan without a repeated run."""
    spread = report.seed_spread(results, metric)
    return float(stats.t.ppf(0.975, spread["freedom"]) * math.sqrt(2) * spread["sd"]) if spread["freedom"] else math.nan


def at_scale(results: list[dict], grid: Grid = GRIDS["table2"]) -> list[dict]:
    """The results on the data, width, size and epochs at which most of a grid's rows were run, whatever else they vary.

    A run of fewer epochs has another spread over seeds than the runs that are compared.
    """
    base, _, group = next(iter(report.scales(results, grid)), ({}, "", []))
    wanted = {k: base[k] for k in ("width", "size", "epochs") if k in base}
    data = group[0]["data"] if group else None
    return [r for r in results if r["data"] == data and all(r["recipe"][k] == v for k, v in wanted.items())]


def compare(results: list[dict], grid: Grid, one: str, other: str, metric: str = "DSC", sign: int = 1) -> dict:
    """Row `one` minus row `other`, times sign, over the patients of the primary endpoint that both report.

    {"one", "other", "metric", "sign", "patients", "status", "difference", "low", "high", "least", "most", "paper"}, in points:
    low and high are the interval over patients, least and most that interval widened by the seeds, paper the paper's own
    difference (nan where it prints none).
    """
    printed = [grid.paper.get(label, {}).get(metric, math.nan) for label in (one, other)]
    found = {"one": one, "other": other, "metric": metric, "sign": sign, "patients": 0, "status": OPEN}
    found |= dict.fromkeys(("difference", "low", "high", "least", "most"), math.nan)
    found["paper"] = sign * (printed[0] - printed[1])
    first, second = (_frame(results, grid, label) for label in (one, other))
    if first.empty or second.empty:
        return found
    large = first[first.lesion_voxels >= report.LEAST]
    points = (sign * 100 * (large[metric] - second[metric].reindex(large.index))).dropna()
    low, high = report.interval(points)
    mean = float(points.mean())
    least, most = widened(low, high, mean, tolerance(at_scale(results, grid), metric))
    found |= {"difference": mean, "low": low, "high": high, "patients": len(points), "least": least, "most": most}
    if len(points) >= FEWEST and (least > 0 or most < 0):
        found["status"] = HOLDS if least > 0 else FAILS
    return found


def widened(low: float, high: float, mean: float, limit: float) -> tuple[float, float]:
    """An interval over patients with the seeds' tolerance added by squares on either side; nan where one is unknown."""
    return mean - math.hypot(mean - low, limit), mean + math.hypot(high - mean, limit)


def excluded(comparison: dict) -> bool:
    """Whether an advantage as large as the paper's can be ruled out, with five patients or more."""
    return comparison["patients"] >= FEWEST and comparison["paper"] > 0 and comparison["most"] < comparison["paper"]


def _frame(results: list[dict], grid: Grid, label: str) -> pd.DataFrame:
    """A row's patients at the scale and on the data at which most of the grid's rows were run."""
    _, _, most = next(iter(report.scales(results, grid)), ({}, "", []))
    return report.per_patient([result for result in most if result["row"] == label])


def all_of(comparisons: list[dict], what: str) -> Verdict:
    """Holds if every comparison does, does not hold if one does not, else undecided; says which are decided or excluded."""
    states = [c["status"] for c in comparisons]
    counts = ", ".join(f"{states.count(s)} {s}" for s in (HOLDS, FAILS, OPEN) if s in states)
    status = FAILS if FAILS in states else HOLDS if set(states) == {HOLDS} else OPEN
    text = f"{what}: {counts} of {len(states)} comparisons"
    for c in comparisons:
        if c["status"] == FAILS or excluded(c):
            word = (
                "the opposite" if c["status"] == FAILS else f"an advantage of the paper's {c['paper']:.1f} points is excluded"
            )
            minus = "minus" if c["sign"] > 0 else "below"
            interval = f"{c['difference']:+.1f} ({c['least']:+.1f} … {c['most']:+.1f} with the seeds, {c['patients']} patients)"
            text += f"; {c['one']} {minus} {c['other']} in {c['metric']}: {interval}, {word}"
    return Verdict(status, text, tuple(comparisons))


def _better(grid: str, one: str, others, wanted=METRICS, sign: int = 1):
    def decide(results: list[dict]) -> Verdict:
        """The verdict over all rivals and metrics."""
        rivals = [label for label in GRIDS[grid].rows if label != one] if others is None else others
        found = [compare(results, GRIDS[grid], one, other, m, sign) for other in rivals for m in wanted]
        return all_of(found, f"{one} against {len(rivals)} on {', '.join(wanted)}")

    return decide


def _dice_buys(results: list[dict]) -> Verdict:
    grid = GRIDS["table1"]
    found = [compare(results, grid, "Dice", "BCE-Dice", m) for m in ("SEN", "RLR")]
    found += [compare(results, grid, "Dice", "BCE-Dice", m, -1) for m in ("PPV", "RLP")]
    return all_of(found, "Dice against BCE-Dice, up in SEN and RLR, down in PPV and RLP")


def _variants(results: list[dict]) -> Verdict:
    grid = GRIDS["table3"]
    variants = [label for label in grid.rows if label != "UNet++"]
    found = [compare(results, grid, one, "UNet++", m) for one in variants for m in ("DSC", "RLR")]
    found += [compare(results, grid, "SCOAT-Net", other) for other in variants if other != "SCOAT-Net"]
    return all_of(found, "four variants over UNet++ on DSC and RLR, SCOAT-Net over the others on DSC")


def _few_parameters(results: list[dict]) -> Verdict:
    with torch.device("meta"):
        counts = {name: networks.parameters(networks.create(name)) / 1e6 for name in ("unetpp", "scoatnet")}
    ours = counts["scoatnet"] / counts["unetpp"] - 1
    printed = GRIDS["table3"].parameters
    paper = printed["SCOAT-Net"] / printed["UNet++"] - 1
    return Verdict(
        HOLDS if ours <= paper else FAILS,
        f"built from the equations {counts['unetpp']:.2f} → {counts['scoatnet']:.2f} M, +{100 * ours:.1f} %; the paper's own "
        f"counts, +{100 * paper:.1f} %, are not reproduced",
    )


def _maps_narrow(key: str, what: str):
    def decide(results: list[dict]) -> Verdict:
        """The verdict over the runs whose maps were measured: two at least, and all must say the same."""
        comparisons = []
        for result in results:
            shares = np.array(list(result.get("attention", {}).get(key, {}).values()))
            if len(shares) >= FEWEST:
                steps = shares[:, -1] - shares[:, 0]
                low, high = report.interval(steps)
                comparisons.append({"run": result["attention"]["run"], "difference": steps.mean(), "low": low, "high": high})
        if not comparisons:
            return Verdict(OPEN, "no run's maps were measured on real scans")
        text = ", ".join(f"{100 * c['difference']:+.1f} ({100 * c['low']:+.1f} … {100 * c['high']:+.1f})" for c in comparisons)
        status = OPEN
        if len(comparisons) > 1:
            narrower, wider = all(c["high"] < 0 for c in comparisons), all(c["low"] > 0 for c in comparisons)
            status = HOLDS if narrower else FAILS if wider else OPEN
        runs = f"{len(comparisons)} run{'s' if len(comparisons) > 1 else ' only'}"
        return Verdict(status, f"{what} changes by {text} points of the slice, {runs}", tuple(comparisons))

    return decide


def _restart(results: list[dict]) -> Verdict:
    found = [compare(results, GRIDS["schedule"], "paper, with restart", "paper, no restart")]
    return all_of(found, "with the restart against without")


def _tiny(results: list[dict]) -> Verdict:
    grid, missed = GRIDS["table2"], {}
    for label in grid.rows:
        frame = _frame(results, grid, label)
        if len(frame):
            tiny = frame[frame.lesion_voxels < report.LEAST]
            if len(tiny):
                missed[label] = bool((tiny.tp == 0).any())
    if len(missed) < FEWEST:
        return Verdict(OPEN, f"{len(missed)} networks were tested on a patient of fewer than {report.LEAST} lesion voxels")
    share = np.mean(list(missed.values()))
    text = f"{sum(missed.values())} of {len(missed)} networks find no voxel of a patient of fewer than {report.LEAST}"
    return Verdict(HOLDS if share > 0.5 else FAILS, text)


def _untestable(reason: str):
    return lambda results: Verdict(UNTESTABLE, reason)


CLAIMS: tuple[Claim, ...] = (
    Claim("1", "SCOAT-Net beats eight other networks on all six metrics", "Table II", _better("table2", "SCOAT-Net", None)),
    Claim("2a", "BCE-Dice is the best of six losses", "Table I", _better("table1", "BCE-Dice", None, ("DSC",))),
    Claim("2b", "Dice buys SEN and RLR at the cost of PPV and RLP", "Table I", _dice_buys),
    Claim("3", "All four attention variants beat UNet++ on DSC and RLR; SCOAT-Net's is the best", "Table III", _variants),
    Claim("4", "The attention adds few parameters (35.02 → 38.73 M)", "Table III", _few_parameters),
    Claim(
        "5a",
        "Attention maps narrow from early to late nodes",
        "Figure 5",
        _maps_narrow("nodes", "the map's effective area, from X(1,1) to X(1,3),"),
    ),
    Claim(
        "5b",
        "Attention maps shrink as training goes on",
        "Figure 5",
        _maps_narrow("epochs", "the map's effective area, from the first epoch to the last,"),
    ),
    Claim(
        "6",
        "ESPNetv2's RLP is far below the rest",
        "Table II",
        _better("table2", "ESPNetv2", tuple(r for r in GRIDS["table2"].rows if r != "ESPNetv2"), ("RLP",), -1),
    ),
    Claim(
        "7",
        "It carries over to another scanner, and LOV follows the clinical course",
        "Figure 6",
        _untestable("no real patient was scanned twice here; chapter 15 follows phantoms, whose volumes are known"),
    ),
    Claim("8", "The restart at 0.001 helps slightly", "Section IV-A", _restart),
    Claim(
        "9",
        "Fissures mislead UNet++ and not SCOAT-Net",
        "Figure 5",
        _untestable("fissures are not outlined in the real scans; chapter 14 measures it on phantoms, which know them"),
    ),
    Claim(
        "10",
        "UNet++ against U-Net: DSC, SEN, VA slightly up, RLP and RLR down",
        "Table II",
        lambda results: all_of(
            [compare(results, GRIDS["table2"], "UNet++", "U-Net", m) for m in ("DSC", "SEN", "VA")]
            + [compare(results, GRIDS["table2"], "UNet++", "U-Net", m, -1) for m in ("RLP", "RLR")],
            "UNet++ against U-Net, up in DSC, SEN, VA, down in RLP, RLR",
        ),
    ),
    Claim("11", "Most networks miss the tiny region", "Figure 4", _tiny),
)


def ledger(results: list[dict]) -> pd.DataFrame:
    """Every claim with its verdict: claim, where, verdict, why."""
    rows = []
    for claim in CLAIMS:
        verdict = claim.decide(results)
        rows.append(
            {"claim": f"{claim.number}. {claim.text}", "where": claim.where, "verdict": verdict.status, "why": verdict.reason}
        )
    return pd.DataFrame(rows)


def as_text(results: list[dict]) -> str:
    """The ledger for a terminal, the paper against itself first."""
    lines = ["The paper against itself: DSC may not exceed (SEN + PPV) / 2 over the same cases, yet"]
    lines += [f"  {r.table} {r.row}: {r.DSC:.2f} > {r['(SEN + PPV) / 2']:.3f}" for _, r in impossible_rows().iterrows()]
    lines += ["Sentences that its tables contradict:"]
    lines += [f"  {r.said}: the table has {r['the table']}" for _, r in contradictions().iterrows() if not r.agree]
    alike = at_scale(results)
    spread = report.seed_spread(alike)
    known = f"{tolerance(alike):.1f} points of DSC (sd over seeds {spread['sd']:.2f}, {spread['freedom']} repeats)"
    lines += [f"\nThe ledger. Tolerance: {known if spread['groups'] else 'unknown, no run was repeated with another seed'}"]
    for _, row in ledger(results).iterrows():
        lines += [f"  {row.claim} ({row['where']})", f"     {row.verdict.upper()}: {row.why}"]
    return "\n".join(lines)
