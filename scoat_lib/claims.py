"""The paper's claims as data, each with the test that decides it on real results; first, the paper against itself.

A claim "A is better than B" is decided on the differences of the patients that both report, by `rule.interval` (seeds averaged
first; results/PROTOCOL.md, "Rule"). A comparison

- holds, if the interval lies above 0 in the claim's direction;
- does not hold, if it lies below 0, or if the two are equivalent (DSC only, the whole interval within ±3 points) where the
  paper's own difference is larger than that;
- waits for runs, if it has no interval: nothing was run, or on fewer than five patients;
- is undecided else.

Beside the word stand, where true, that the two are equivalent and that the paper's size is excluded; and for what is undecided
the smallest difference that could have been seen.

A claim of several comparisons holds if each holds, does not hold if one is refuted after Holm's correction over them all, and
waits for runs while none of them has an interval.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from scipy import stats

from scoat_lib import metrics, networks, report, rule
from scoat_lib.grids import GRIDS, Grid
from scoat_lib.metrics import METRICS

HOLDS, FAILS, OPEN, UNTESTABLE = "holds", "does not hold", "undecided", "not testable here"
WAITS = "waits for runs"  # no verdict: nothing was run, or on too few patients for an interval
FEW_PARAMETERS = 0.15  # claim 4: "few" is at most so many more
FAR_BELOW = 10.0  # claim 6: points of RLP
WHOLE = 100.0  # points: no two scores differ by more
CARRIES = 5.0  # claim 7a: points of slice DSC that may be lost on the second cohort
SLICES, PATIENTS = 70, 40  # of the second cohort; its patients are not told apart, some forty is what is known
CHOSEN = "Others chose the second cohort's slices, and they may be easier"  # beside 7a
TINY_ML = 1.0  # claim 11
RUNS = 3  # claims 5a to 5c: runs at least whose maps were measured
NEAR = 0.5  # points; where the paper's size lies so near an interval's end, it is said
ROUNDING = 0.005  # half of the last digit the paper prints


@dataclass(frozen=True)
class Verdict:
    """What the results say of a claim: one of the four words or `WAITS`, why, and the comparisons behind it.

    asked: of a claim that is no comparison of two rows, what was asked and left undecided, each with "what", "difference" (from
    the value that decides), "visible", "needed" as `compare` has them, "patients" and "digits" to print.
    """

    status: str
    reason: str
    comparisons: tuple[dict, ...] = ()
    asked: tuple[dict, ...] = ()


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


def compare(
    results: list[dict], grid: Grid, one: str, other: str, metric: str = "DSC", sign: int = 1, least: int = report.LEAST
) -> dict:
    """Row `one` minus row `other`, times sign, over the patients of at least `least` lesion voxels that both report.

    {"one", "other", "metric", "sign", "patients", "status", "difference", "low", "high", "p", "refuted", "equivalent",
    "excluded", "paper", "visible", "needed"}, in points: refuted is the p of the claim's contrary, paper the paper's own
    difference (nan where it prints none), visible the smallest difference that such patients and runs would show, needed the
    patients that would decide the one that was seen.
    """
    printed = [grid.paper.get(label, {}).get(metric, math.nan) for label in (one, other)]
    found = {"one": one, "other": other, "metric": metric, "sign": sign, "paper": sign * (printed[0] - printed[1])}
    first, second = (_frame(results, grid, label) for label in (one, other))
    if first.empty or second.empty:
        return found | _judged([], [], math.nan)
    pairs = report.paired(first, second, metric, least)
    paper = found["paper"] if metric == "DSC" else math.nan
    judged = _judged(sign * pairs.difference, pairs.fold, paper, rule.MARGIN if metric == "DSC" else None)
    return found | judged | {"excluded": bool(found["paper"] > 0 and judged["high"] < found["paper"])}


def _judged(differences, folds, paper: float, margin: float | None = None) -> dict:
    """What the rule says of differences whose positive side is the claim's."""
    found = rule.interval(differences, folds)
    nothing = math.isnan(found.low)
    equivalent = margin is not None and not nothing and found.low > -margin and found.high < margin
    against = 1.0 if found.mean >= 0 else found.p
    status = WAITS if nothing else OPEN
    if found.low > 0:
        status = HOLDS
    elif found.high < 0 or (equivalent and paper > margin):
        status = FAILS
        if equivalent and paper > margin:
            against = min(against, _p_of_equivalence(found, margin))
    return {
        "patients": found.patients,
        "status": status,
        "difference": found.mean,
        "low": found.low,
        "high": found.high,
        "p": found.p,
        "refuted": math.nan if nothing else against,
        "equivalent": equivalent,
        "excluded": False,
        "visible": math.nan if nothing else rule.smallest_visible(differences, folds),
        "needed": math.nan if nothing or status != OPEN else rule.patients_needed(differences, folds),
    }


def _p_of_equivalence(found: rule.Interval, margin: float) -> float:
    """Twice the larger of the two one-sided p-values: below 5 % where the whole 95 % interval lies within the margin."""
    t = float(stats.t.isf((1 - rule.LEVEL) / 2, found.freedom))
    error = (found.high - found.low) / (2 * t)
    if error == 0:
        return 0.0
    return float(2 * stats.t.sf((margin - abs(found.mean)) / error, found.freedom))


def _frame(results: list[dict], grid: Grid, label: str) -> pd.DataFrame:
    """A row's patients at the scale and on the data at which most of the grid's rows were run."""
    return report.per_patient(_runs(results, grid, label))


def _runs(results: list[dict], grid: Grid, label: str) -> list[dict]:
    _, _, most = next(iter(report.scales(results, grid)), ({}, "", []))
    return [result for result in most if result["row"] == label]


def all_of(comparisons: list[dict], what: str) -> Verdict:
    """Holds if every comparison does, does not hold if one is refuted after Holm's correction, waits for runs while none has an
    interval, else undecided; and why.
    """
    states = [c["status"] for c in comparisons]
    verbs = {
        HOLDS: ("holds", "hold"),
        FAILS: ("does not hold", "do not hold"),
        OPEN: (OPEN, OPEN),
        WAITS: (WAITS, "wait for runs"),
    }
    counts = ", ".join(f"{states.count(s)} {verb[states.count(s) > 1]}" for s, verb in verbs.items() if s in states)
    refuted = refuted_after_holm(comparisons)
    alike = {HOLDS: HOLDS, WAITS: WAITS}.get(states[0], OPEN) if len(set(states)) == 1 else OPEN
    status = FAILS if any(refuted) else alike
    text = f"{what}: {counts} of {len(states)} {_s(len(states), 'comparison')}"
    for c, sure in zip(comparisons, refuted, strict=True):
        words = _beside(c)
        if c["status"] == FAILS:
            found = "the contrary" if c["high"] < 0 else "no difference of the claim's size"
            words.insert(0, found + ("" if sure else ", but not after Holm's correction"))
        if words or len(comparisons) == 1:
            minus = "minus" if c["sign"] > 0 else "below"
            text += f"; {c['one']} {minus} {c['other']} in {c['metric']}: {_points(c)}" + "".join(f", {w}" for w in words)
    return Verdict(status, text, tuple(comparisons))


def _s(number: int, word: str) -> str:
    return word if number == 1 else f"{word}s"


def _points(c: dict) -> str:
    """A comparison's difference, its interval and n, in words."""
    if not c["patients"]:
        return "not run"
    if c["low"] != c["low"]:
        return f"{c['difference']:+.1f}, {c['patients']} patients, too few for an interval"
    text = f"{c['difference']:+.1f} ({c['low']:+.1f} … {c['high']:+.1f}, {c['patients']} patients)"
    return text + _needs(c)


def _needs(c: dict, digits: int = 1) -> str:
    """Of what is undecided and has an interval: what could have been seen, and what would decide."""
    if c["status"] != OPEN:
        return ""
    seen = f"{c['visible']:.{digits}f}" if c["visible"] < WHOLE else f"not even {WHOLE:.0f}"
    return f"; {seen} could have been seen, {how_many(c['needed'])} would decide"


def how_many(needed: float, of: str = " patients") -> str:
    """The patients that would decide, to one digit (below 20 to two): the difference behind them is uncertain itself.

    of: what stands behind the number.
    """
    if not math.isfinite(needed):
        return f"no number{' of' if of else ''}{of}"
    if needed > 300:
        return f"{'thousands' if needed >= 2000 else 'hundreds'}{' of' if of else ''}{of}"
    size = 1 if needed < 20 else 10 ** math.floor(math.log10(needed))
    return f"about {size * round(needed / size)}{of}"


def _asked(c: dict, what: str, digits: int = 1) -> tuple[dict, ...]:
    """`Verdict.asked` of one question."""
    if c["status"] != OPEN:
        return ()
    return ({k: c[k] for k in ("difference", "visible", "needed", "patients")} | {"what": what, "digits": digits},)


def _beside(c: dict) -> list[str]:
    """What is true beside a comparison's word."""
    words = [f"equivalent within ±{rule.MARGIN:g} points"] if c["equivalent"] else []
    near = f", by less than {NEAR:g} points" if at_the_end(c) else ""
    return words + ([f"the paper's {c['paper']:.1f} points are excluded{near}"] if c["excluded"] else [])


def at_the_end(c: dict) -> bool:
    """Whether the paper's size lies within `NEAR` points of the upper end of a comparison's interval, inside or outside."""
    return bool(c["paper"] > 0 and abs(c["paper"] - c["high"]) < NEAR)


def holding_after_holm(comparisons: Sequence[dict]) -> int:
    """How many comparisons that hold still do after Holm's correction over them all; one that was not run counts with p = 1."""
    corrected = rule.holm([c["p"] if c["p"] == c["p"] else 1.0 for c in comparisons])
    return sum(p < 1 - rule.LEVEL and c["status"] == HOLDS for p, c in zip(corrected, comparisons, strict=True))


def refuted_after_holm(comparisons: Sequence[dict]) -> list[bool]:
    """Which comparisons refute a claim after Holm's correction over them all.

    One that was not run counts with p = 1, so that the correction does not grow as rows come in.
    """
    corrected = rule.holm([c["refuted"] if c["refuted"] == c["refuted"] else 1.0 for c in comparisons])
    return [p < 1 - rule.LEVEL and c["status"] == FAILS for p, c in zip(corrected, comparisons, strict=True)]


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
        HOLDS if ours <= FEW_PARAMETERS else FAILS,
        f"few is at most +{100 * FEW_PARAMETERS:.0f} %; built from the equations {counts['unetpp']:.2f} → "
        f"{counts['scoatnet']:.2f} M, +{100 * ours:.1f} %; the paper's own counts, +{100 * paper:.1f} %, are not reproduced",
    )


def _maps(key: str, what: str, unit: str, sign: int):
    """Decide a claim about attention maps from the change, first to last, of a measure on the patients that a run left out."""

    def decide(results: list[dict]) -> Verdict:
        """The verdict over the runs whose maps were measured: three at least, each patient counted once."""
        steps: dict[str, list[float]] = {}
        folds, runs = {}, 0
        for result in _runs(results, GRIDS["table2"], "SCOAT-Net"):
            measured = result.get("attention", {}).get(key, {})
            unseen = {scan: values for scan, values in measured.items() if scan in result["folds"]["test"]}
            runs += bool(unseen)
            for scan, values in unseen.items():
                patient = result["measures"][scan]["patient"]
                steps.setdefault(patient, []).append(sign * (values[-1] - values[0]))
                folds[patient] = result["recipe"]["fold"]
        if runs < RUNS:
            return Verdict(WAITS, f"the maps of {runs} run{'' if runs == 1 else 's'} were measured; {RUNS} are asked for")
        values = [float(np.mean(v)) for v in steps.values()]
        found = _judged(values, [folds[p] for p in steps], math.nan)
        if math.isnan(found["low"]):
            return Verdict(WAITS, f"the maps of {runs} runs were measured, on too few patients or folds for an interval")
        seen = {k: sign * found[k] for k in ("difference", "low", "high")}
        low, high = sorted((seen["low"], seen["high"]))
        digits = 3 if min(abs(low), abs(high)) < 0.005 else 2  # so that it is seen on which side of 0 an end lies
        mean, low_end, high_end = (f"{v:+.{digits}f}" for v in (seen["difference"], low, high))
        return Verdict(
            found["status"],
            f"{what} changes by {mean} ({low_end} … {high_end}) {unit}{_just(low, high)}; {found['patients']} patients not "
            f"seen in training, {runs} runs{_needs(found, 2)}",
            asked=_asked(found, what.rstrip(","), 2),
        )

    return decide


def _just(low: float, high: float) -> str:
    """Whether 0 lies outside an interval by less than a twentieth of its width."""
    near = low > 0 or high < 0
    return ", which only just leaves out 0" if near and min(abs(low), abs(high)) < (high - low) / 20 else ""


def _espnet(results: list[dict]) -> Verdict:
    """ESPNetv2's RLP at least ten points below the mean of the other eight, patient by patient."""
    grid, one = GRIDS["table2"], "ESPNetv2"
    frames = {label: _frame(results, grid, label) for label in grid.rows}
    missing = [label for label, frame in frames.items() if frame.empty]
    if missing:
        return Verdict(WAITS, f"not run: {', '.join(missing)}")
    wide = pd.DataFrame({label: 100 * frame.RLP for label, frame in frames.items()}).dropna()
    own = frames[one].loc[wide.index]
    wide, own = wide[own.lesion_voxels >= report.LEAST], own[own.lesion_voxels >= report.LEAST]
    below = wide.drop(columns=one).mean(axis=1) - wide[one]
    printed = {label: row["RLP"] for label, row in grid.paper.items()}
    paper = float(np.mean([v for label, v in printed.items() if label != one])) - printed[one]
    found = _judged(below - FAR_BELOW, own.fold, math.nan)
    shown = found | {a: -found[b] - FAR_BELOW for a, b in (("difference", "difference"), ("low", "high"), ("high", "low"))}
    return Verdict(
        found["status"],
        f"ESPNetv2's RLP minus the mean of the other eight: {_points(shown)}; the claim asks for -{FAR_BELOW:.0f} or less; "
        f"the paper: -{paper:.1f}",
        asked=_asked(found, f"ESPNetv2's RLP, {FAR_BELOW:.0f} points below the others' mean"),
    )


def _carries_over(results: list[dict]) -> Verdict:
    """SCOAT-Net's mean slice DSC on the second cohort against that on left-out lesion slices of its own."""
    runs = _runs(results, GRIDS["table2"], "SCOAT-Net")
    scored = [r for r in runs if r.get("external")]
    if not scored:
        return Verdict(WAITS, "no run was scored on a second cohort")
    own = own_slices(runs)
    home = rule.interval(100 * own.DSC, own.fold)
    if math.isnan(home.low):
        return Verdict(WAITS, f"{home.patients} patients of its own cohort were left out by a run; {rule.FEWEST} are needed")
    if len(scored) < 2:
        return Verdict(WAITS, "one run alone was scored on the second cohort")
    away = second_cohort(scored)
    t = float(stats.t.isf((1 - rule.LEVEL) / 2, home.freedom))
    lost = home.mean - away["mean"]
    own_error = (home.high - home.low) / (2 * t)
    half = t * math.hypot(own_error, away["error"])
    status = HOLDS if lost + half < CARRIES else FAILS if lost - half > CARRIES else OPEN
    both = t + float(stats.t.ppf(rule.POWER, home.freedom))  # standard errors that are seen with the rule's power
    room = ((CARRIES - lost) / both) ** 2 - away["error"] ** 2  # for the error of its own patients
    ends = (-lost - half, half - lost) if lost < 0 else (lost - half, lost + half)  # of what is gained, else of what is lost
    found = {
        "status": status,
        "difference": CARRIES - lost,
        "visible": both * math.hypot(own_error, away["error"]),
        "needed": home.patients * own_error**2 / room if room > 0 else math.inf,
        "patients": home.patients,
    }
    return Verdict(
        status,
        f"mean slice DSC of {away['mean']:.1f} % on {away['slices']} slices of other patients and scanners, and of "
        f"{home.mean:.1f} % on left-out lesion slices of its own {home.patients} patients: {abs(lost):.1f} points are "
        f"{'gained' if lost < 0 else 'lost'} before rounding (95 % {ends[0]:+.1f} … {ends[1]:+.1f}{_needs(found)}). The "
        f"protocol's rule asks one thing, whether a fall of {CARRIES:g} points is excluded. {CHOSEN}"
        f"{', so this does not show that the network travels' if status == HOLDS else ''}. As some {PATIENTS} patients gave "
        f"the cohort's {SLICES} slices, the variance of their mean is multiplied by {SLICES} / {PATIENTS}, as if a patient's "
        f"slices were all alike",
        asked=_asked(found, f"slice DSC, less than {CARRIES:g} points lost on the second cohort"),
    )


def design_effect() -> float:
    """How much the variance of a mean over the second cohort's slices grows if a patient's slices are alike: n / patients."""
    return SLICES / PATIENTS


def own_slices(runs: list[dict]) -> pd.DataFrame:
    """By patient that a run left out: mean DSC of its lesion slices ("DSC", a fraction), "slices", "fold"; seeds averaged."""
    rows = []
    for result in runs:
        for scan, more in result.get("measures", {}).items():
            for tp, fp, fn in more.get("slices", []):
                if tp + fn:
                    dsc = 2 * tp / (2 * tp + fp + fn)
                    rows.append((more["patient"], result["recipe"]["fold"], result["recipe"]["seed"], scan, dsc))
    frame = pd.DataFrame(rows, columns=["patient", "fold", "seed", "scan", "DSC"])
    each = frame.groupby(["patient", "fold", "seed"]).DSC.agg(["mean", "size"]).reset_index()
    by = each.groupby("patient")
    return pd.DataFrame({"DSC": by["mean"].mean(), "slices": by["size"].first(), "fold": by.fold.first()})


def second_cohort(runs: list[dict]) -> dict[str, float]:
    """Mean slice DSC on the second cohort, per cent: {"mean", "error", "low", "high", "slices", "runs"}.

    Each slice is averaged over the runs; slices without opacification are left out. error: of the slices, its variance times
    `design_effect`, and of the runs, nan for one run alone. The interval is the normal one.
    """
    each = []
    for result in runs:
        (found,) = result["external"].values()
        counts = [c for c in found["slices"] if c["tp"] + c["fn"]]
        each.append([100 * metrics.from_counts(c | dict.fromkeys(("Na", "Np", "Nb", "Nt"), 0))["DSC"] for c in counts])
    scores = np.array(each)
    by_slice = scores.mean(axis=0)
    n, k = len(by_slice), len(scores)
    of_runs = scores.mean(axis=1).var(ddof=1) / k if k > 1 else math.nan
    variance = by_slice.var(ddof=1) / n * design_effect() + of_runs
    mean, error = float(by_slice.mean()), math.sqrt(variance)
    return {"mean": mean, "error": error, "low": mean - 1.96 * error, "high": mean + 1.96 * error, "slices": n, "runs": k}


def _restart(results: list[dict]) -> Verdict:
    """Claim 8. The run without a restart is, to the bit, the first phase of the run with it: before against after."""
    found = [compare(results, GRIDS["schedule"], "paper, with restart", "paper, no restart")]
    return all_of(found, "with the restart against without")


def tiny_lesions(runs: list[dict]) -> dict:
    """The share of lesions under 1 ml of which any voxel was found, per cent, with the rule's interval clustered by patient.

    A ratio of sums over patients, seeds averaged first; its interval comes from each patient's linear contribution to it.
    "difference", "visible", "needed": as `compare`'s, of one half against it. {"share", "low", "high", "lesions", "patients",
    "status", …}.
    """
    seeds: dict[str, dict[int, np.ndarray]] = {}
    folds = {}
    for result in runs:
        for more in result.get("measures", {}).values():
            small = [hit > 0 for size, hit in more["lesions"] if size * more["voxel_mm3"] / 1000 < TINY_ML]
            if small:
                each, seed = seeds.setdefault(more["patient"], {}), result["recipe"]["seed"]
                each[seed] = each.get(seed, np.zeros(2)) + (sum(small), len(small))
                folds[more["patient"]] = result["recipe"]["fold"]
    found = {patient: np.mean(list(each.values()), axis=0) for patient, each in seeds.items()}
    if not found:
        judged = _judged([], [], math.nan)
        return judged | {"share": math.nan, "low": math.nan, "high": math.nan, "lesions": 0, "patients": 0}
    hits, lesions = np.array(list(found.values())).T
    share = hits.sum() / lesions.sum()
    linear = 100 * (share + (hits - share * lesions) / lesions.mean())
    judged = _judged(50 - linear, [folds[p] for p in found], math.nan)
    ends = {"low": 50 - judged["high"], "high": 50 - judged["low"]}
    return judged | ends | {"share": 100 * share, "lesions": round(lesions.sum())}


def _tiny(results: list[dict]) -> Verdict:
    """Most networks find fewer than half of the lesions under 1 ml."""
    grid = GRIDS["table2"]
    rows = {label: tiny_lesions(_runs(results, grid, label)) for label in grid.rows}
    rows = {label: row for label, row in rows.items() if not math.isnan(row["low"])}
    if not rows:
        return Verdict(WAITS, f"no network was run on {rule.FEWEST} patients, of two folds, with lesions under {TINY_ML:g} ml")
    fewer = [label for label, row in rows.items() if row["high"] < 50]
    more = [label for label, row in rows.items() if row["low"] > 50]
    most = len(grid.rows) / 2
    status = HOLDS if len(fewer) > most else FAILS if len(more) > most else OPEN
    shares = ", ".join(  # a share has ends of its own
        f"{label} {r['share']:.0f} % ({max(0.0, r['low']):.0f} … {min(100.0, r['high']):.0f})" for label, r in rows.items()
    )
    return Verdict(
        status,
        f"of {len(rows)} {_s(len(rows), 'network')} {len(fewer)} find{'s' if len(fewer) == 1 else ''} fewer than half of the "
        f"lesions under {TINY_ML:g} ml (nominal), {len(more)} more than half: {shares}",
        asked=tuple(
            asked
            for label, row in rows.items()
            for asked in _asked(row, f"{label}, lesions under {TINY_ML:g} ml found, below one half")
            if status == OPEN
        ),
    )


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
        _maps("nodes", "the map's effective area, from X(1,1) to X(1,3),", "of the slice", -1),
    ),
    Claim(
        "5b",
        "Attention maps shrink as training goes on",
        "Figure 5",
        _maps("epochs", "the map's effective area, from the first epoch to the last,", "of the slice", -1),
    ),
    Claim(
        "5c",
        "Late attention maps point at lesions more than early ones",
        "Figure 5",
        _maps("contrast", "lesion against elsewhere in the map, from X(1,1) to X(1,3),", "(1: alike)", 1),
    ),
    Claim("6", "ESPNetv2's RLP is far below the rest", "Table II", _espnet),
    Claim("7a", "It carries over to another scanner", "Figure 6", _carries_over),
    Claim(
        "7b",
        "LOV follows the clinical course",
        "Figure 6",
        _untestable("no patient of the public data was scanned on several dates with his course on record"),
    ),
    Claim("8", "The restart at 0.001 helps slightly", "Section IV-A", _restart),
    Claim(
        "9",
        "Fissures mislead UNet++ and not SCOAT-Net",
        "Figure 5",
        _untestable(
            "fissures are not outlined in the real scans; chapter 14 asks SCOAT-Net alone, on a phantom, which knows them"
        ),
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
    lines += ["", "The ledger"]
    for _, row in ledger(results).iterrows():
        lines += [f"  {row.claim} ({row['where']})", f"     {row.verdict.upper()}: {row.why}"]
    return "\n".join(lines)
