"""What results say, in sentences and small tables for a page: they read well when nothing, a part or all was run."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from scoat_lib import claims, metrics, report, rule
from scoat_lib.cohort import patient_of
from scoat_lib.grids import Grid, get
from scoat_lib.report import NOT_RUN, Table

LEAST = f"{report.LEAST:,}".replace(",", " ")
NEARLY_NONE = 10  # lesion voxels, below which a scan is called nearly clear
TO = "\u00a0…\u00a0"  # between the ends of an interval in a table's cell, which is not broken there
SCORE = ("DSC, %", "DSC", "95 %", "Δ", "Δ, 95 %", "Δ 95 %", "p", "paper")  # what a table of scores says first
FAILS = ("DSC, % (rows)", "SEN, %", "PPV, %", "volume, predicted / true", "what goes wrong")  # of `failed`: before the lesions


def signed(value: float, digits: int = 1) -> str:
    """A number with its sign and a true minus; "–" for nan."""
    return "–" if value != value else f"{value:+.{digits}f}".replace("-", "−")


def plain(value: float, digits: int = 1) -> str:
    """A number with a true minus; "–" for nan."""
    return "–" if value != value else f"{value:.{digits}f}".replace("-", "−")


def minus(text: str) -> str:
    """A text whose numbers have a true minus in place of a hyphen."""
    return text.replace(" -", " −").replace("(-", "(−")


def count(number: int, what: str) -> str:
    """ "1 patient", "13 patients"."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def listed(names: Sequence[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def shown(table: Table | None, grid: Grid) -> pd.DataFrame:
    """A grid's table for a page: score, interval, paper, the other five metrics, Δ against the reference, p and n, in words.

    table: from `report.tables`; None where no row was run. Every row of the grid has a line.
    """
    lines: dict[str, dict] = {}
    for label in grid.rows:
        paper = plain(grid.paper.get(label, {}).get("DSC", math.nan), 2)
        row = None if table is None else table.rows.loc[label]
        if row is None or not row["all patients"]:
            lines[label] = {"DSC, %": NOT_RUN, "paper": paper}
            continue
        known = row["diff low"] == row["diff low"]
        lines[label] = {
            "n": str(int(row.patients)),
            "DSC, %": plain(row.DSC),
            "95 %": f"{plain(row.low)}{TO}{plain(row.high)}" if row.low == row.low else "–",
            "Δ": signed(row.difference) if row.difference == row.difference else "",
            "Δ, 95 %": f"{signed(row['diff low'])}{TO}{signed(row['diff high'])}" if known else "",
            "p": report.p_in_words(row.p),
            "paper": paper,
            **{m: plain(row[m]) for m in metrics.METRICS[1:]},
            "HD95, nominal mm": plain(row["HD95, mm"], 0),
            "folds": str(len(str(row.folds).split(","))),
            "seeds": row.seeds,
        }
    return pd.DataFrame.from_dict(lines, orient="index")[[*max(lines.values(), key=len)]].fillna("")


def parted(frame: pd.DataFrame, *groups: Sequence[str]) -> list[pd.DataFrame]:
    """A wide table as tables that fit a page: one for each group of columns, and one for those that no group names.

    "n" leads each. A group that has no column here makes no table; from the second on, lines without a word are left out.
    """
    named = {column for group in groups for column in group}
    tables = []
    for group in (*groups, [column for column in frame if column not in named]):
        columns = [column for column in group if column in frame and column != "n"]
        if columns:
            said = frame if not tables else frame[(frame[columns] != "").any(axis=1)]
            tables.append(said[[*(["n"] if "n" in frame else []), *columns]])
    return tables


def state(table: Table | None, grid: Grid) -> str:
    """How much of a grid was run: rows, folds and the patients of its reference row."""
    if table is None:
        return f"None of the {len(grid.rows)} rows was run yet."
    done = table.rows[table.rows["all patients"] > 0]
    whole = sum(len(str(text).split(", ")) == grid.folds for text in done.folds)
    verb = "was" if len(done) == 1 else "were"
    who = f"{len(done)} of {len(grid.rows)} rows {verb} run, {whole} of them on all {grid.folds} folds"
    first = table.rows.loc[grid.reference]
    if not first["all patients"]:
        return f"{who}; {grid.reference}, with which the others are compared, is not among them."
    return f"{who}; {grid.reference} has {count(int(first.patients), 'patient')} with at least {LEAST} lesion voxels."


def comparison(found: dict) -> str:
    """A comparison of `claims.compare` in sentences: the difference, its interval, n, the word, what could have been seen."""
    name = f"{found['one']} minus {found['other']}"
    if not found["patients"]:
        return f"{name}: {NOT_RUN}."
    who = count(found["patients"], "patient")
    difference = f"{signed(found['sign'] * found['difference'])} points of {found['metric']}"
    if found["low"] != found["low"]:
        return f"{name}: {difference} over {who}, too few for an interval."
    ends = sorted(found["sign"] * found[end] for end in ("low", "high"))
    text = f"{name}: {difference} (95 % interval {signed(ends[0])} … {signed(ends[1])}, {who})."
    better = "better" if found["sign"] > 0 else "worse"
    word = {claims.HOLDS: "holds", claims.FAILS: "does not hold", claims.OPEN: "is undecided"}[found["status"]]
    text += f" That {found['one']} is the {better} of the two **{word}**."
    beside = [f"They are equivalent within ±{rule.MARGIN:g} points."] if found["equivalent"] else []
    if found["excluded"]:
        near = f", by less than {claims.NEAR:g} points" if claims.at_the_end(found) else ""
        beside.append(f"A difference as large as the paper's {found['paper']:.1f} points is excluded here{near}.")
    if found["status"] == claims.OPEN:
        beside.append(
            f"A true difference of {found['visible']:.1f} points could have been seen. If the true difference were the one "
            f"measured, {claims.how_many(found['needed'])} would show it four times in five. The one measured is itself "
            "uncertain, so this is rough."
        )
    return " ".join([text, *beside])


def briefly(found: dict) -> str:
    """A comparison of `claims.compare` in a line: the difference and its word; the interval stands where it is told in full."""
    name = f"{found['one']} minus {found['other']}"
    if not found["patients"]:
        return f"{name}: {NOT_RUN}."
    word = "no verdict yet" if found["status"] == claims.WAITS else f"**{found['status']}**"
    return f"{name}: {signed(found['sign'] * found['difference'])} points of {found['metric']}, {word}."


def corrected(comparisons: Sequence[dict]) -> str:
    """Beside a count of comparisons that hold: how many still do after Holm's correction over them all. Empty below two."""
    hold = sum(c["status"] == claims.HOLDS for c in comparisons)
    if len(comparisons) < 2 or not hold:
        return ""
    left = claims.holding_after_holm(comparisons)
    still = "none does" if not left else "all do" if left == hold > 1 else f"{left} still {'does' if left == 1 else 'do'}"
    return f"after Holm's correction over all {len(comparisons)}, {still}"


def lower(comparisons: Sequence[dict]) -> str:
    """Of the undecided comparisons those whose difference goes against the claim, by metric. Empty where there is none."""
    unsure = [c for c in comparisons if c["status"] == claims.OPEN]
    against = [c["metric"] for c in unsure if c["difference"] < 0]
    if not against:
        return ""
    each = listed([f"{against.count(m)} in {m}" for m in metrics.METRICS if m in against])
    ones = {c["one"] for c in comparisons}
    what = f"{ones.pop()}'s mean is the lower one" if len(ones) == 1 and all(c["sign"] > 0 for c in comparisons) else ""
    what = what or "the difference goes against the claim"
    number = len(against)
    if number == len(unsure):
        return f"in {'the undecided one' if number == 1 else f'all {number} undecided ones'} {what} ({each})"
    return f"in {number} of the {len(unsure)} undecided ones {what} ({each})"


def uneven_seeds(results: list[dict], grid: str, one: str, others: Sequence[str]) -> str:
    """Where a row has other seeds than those it is compared with: why, and the differences in DSC by the first seed alone.

    Empty where all have the same seeds on every fold.
    """
    most = next(iter(report.scales(results, get(grid))), ({}, "", []))[2]

    def has(label: str) -> set:
        """The folds and seeds of a row."""
        return {(r["recipe"]["fold"], r["recipe"]["seed"]) for r in most if r["row"] == label}

    unlike = [other for other in others if has(other) and has(one) and has(other) != has(one)]
    if not unlike:
        return ""
    first = [r for r in results if r["recipe"]["seed"] == 0]
    both = [(o, claims.compare(results, get(grid), one, o), claims.compare(first, get(grid), one, o)) for o in unlike]
    both = [(other, every, alone) for other, every, alone in both if alone["patients"] and every["patients"]]
    text = (
        "The protocol runs every network once and then some again with other seeds, SCOAT-Net, UNet++ and U-Net first. So a "
        f"patient's score is here a mean over {_seed_range(has(one))} for {one} and over {_seed_range(*map(has, unlike))} for "
        f"{listed(unlike) if len(unlike) < 4 else f'{len(unlike)} others'}. More seeds make a mean steadier, and neither "
        "higher nor lower."
    )
    if not both:
        return text
    if len(both) < 4:
        told = [f"{signed(a['difference'])} from {o} (with all seeds {signed(e['difference'])})" for o, e, a in both]
        return f"{text} By seed 0 alone {one} differs by {listed(told)} points of DSC."
    moved = max(abs(alone["difference"] - every["difference"]) for _, every, alone in both)
    turned = [f"{o} from *{e['status']}* to *{a['status']}*" for o, e, a in both if e["status"] != a["status"]]
    word = f"the word changes for {listed(turned)}" if turned else "no word changes"
    return f"{text} By seed 0 alone a difference in DSC moves by {moved:.1f} points at most, and {word}."


def _seed_range(*runs: set) -> str:
    """ "1 seed", "1 to 2 seeds": how many seeds the folds of some rows have."""
    each = [sum(f == fold for f, _ in of) for of in runs for fold in {f for f, _ in of}]
    return count(each[0], "seed") if min(each) == max(each) else f"{min(each)} to {max(each)} seeds"


def sides(table: report.Table, one: str, other: str) -> str:
    """How many patients of two rows of a table lie on which side of zero, and the mean without the one that lies outermost.

    Over the patients of the primary endpoint; ValueError below two of them.
    """
    points = report.paired(table.patients[one], table.patients[other]).difference
    if len(points) < 2:
        raise ValueError(f"{one} and {other} share {count(len(points), 'patient')} of at least {LEAST} voxels; two are needed")
    mean = points.mean()
    outermost = (points - mean).abs().idxmax()
    rest = points.drop(outermost).mean()
    keeps = "keeps its side" if rest * mean > 0 else "changes its side"
    return (
        f"{(points > 0).sum()} of {count(len(points), 'patient')} lie on {one}'s side, {(points < 0).sum()} on {other}'s. "
        f"Without the outermost, {outermost} ({signed(points[outermost])}), the mean is {signed(rest)} points in place of "
        f"{signed(mean)}: it {keeps}."
    )


def claim(results: list[dict], number: str) -> str:
    """A claim of the ledger with its word and how many of its comparisons say what."""
    (found,) = [c for c in claims.CLAIMS if c.number == number]
    verdict = found.decide(results)
    text = f"Claim {number}, “{found.text}”: **{verdict.status}**"
    runs = [c for c in verdict.comparisons if c["patients"]]
    if not verdict.comparisons:
        return f"{text} ({minus(verdict.reason)})."
    if not runs:
        return f"{text}."
    states = [c["status"] for c in verdict.comparisons]
    if len(states) == 1:
        return f"{text}."
    verbs = {
        claims.HOLDS: ("holds", "hold"),
        claims.FAILS: ("does not hold", "do not hold"),
        claims.OPEN: ("is undecided", "are undecided"),
        claims.WAITS: ("waits for runs", "wait for runs"),
    }
    parts = [f"{states.count(s)} {verb[states.count(s) > 1]}" for s, verb in verbs.items() if s in states]
    said = f"{text}; of {len(states)} comparisons {', '.join(parts)}, each by its own interval"
    return "; ".join(filter(None, [said, corrected(verdict.comparisons), lower(verdict.comparisons)])) + "."


def of_network(results: list[dict], network: str) -> list[dict]:
    """A network's runs by the protocol's recipe."""
    return [r for r in report.alike(results) if r["recipe"]["network"] == network]


def patients_beside(results: list[dict], names: dict[str, str]) -> pd.DataFrame:
    """Every patient's DSC in per cent by network, lightest fold first; seeds averaged. names: network → label. May be empty."""
    frames = {label: report.per_patient(of_network(results, name)) for name, label in names.items()}
    frames = {label: frame for label, frame in frames.items() if len(frame)}
    if not frames:
        return pd.DataFrame()
    wide = pd.DataFrame({label: 100 * frame.DSC for label, frame in frames.items()})
    about = pd.concat([frame[["fold", "lesion_voxels"]] for frame in frames.values()])
    about = about[~about.index.duplicated()].reindex(wide.index)
    wide.insert(0, "fold", about.fold.astype(int))
    wide.insert(1, "lesion voxels", about.lesion_voxels.astype(int))
    return wide.sort_values(["fold", "lesion voxels"]).rename_axis(None)


# --- chapter 8 -------------------------------------------------------------------------------------------------------


def readers(agreement: dict | None, least: int = report.LEAST) -> pd.DataFrame:
    """The two readers scan by scan: DSC in per cent, either's lesion voxels, whether the scan counts. May be empty."""
    rows = {
        scan: {
            "DSC, %": plain(100 * c["DSC"]),
            "voxels, first reader": c["tp"] + c["fn"],
            "voxels, second reader": c["tp"] + c["fp"],
            "counts": "yes" if c["tp"] + c["fn"] >= least else f"no, below {LEAST} voxels",
        }
        for scan, c in (agreement or {"scans": {}})["scans"].items()
    }
    return pd.DataFrame.from_dict(rows, orient="index")


def about_readers(agreement: dict | None) -> str:
    """The two readers' DSC: mean, lowest, highest, number of scans; and how much fewer or more the second outlines."""
    if not agreement:
        return "The two readers were not compared yet."
    d = agreement["DSC, per cent"]
    large = [c for c in agreement["scans"].values() if c["tp"] + c["fn"] >= d["least voxels"]]
    fewer = sum(c["fp"] < c["fn"] for c in large)
    return (
        f"Over the {d['scans']} scans of at least {LEAST} lesion voxels the two readers reach a mean DSC of "
        f"{d['mean']:.1f} % with each other, from {d['lowest']:.1f} to {d['highest']:.1f} %. In "
        f"{f'all {fewer}' if fewer == len(large) else f'{fewer} of them'} the second outlines less than the first."
    )


def against_readers(results: list[dict], agreement: dict | None, network: str = "scoatnet", label: str = "SCOAT-Net") -> str:
    """A network beside the two readers, on the scans that its folds left out and both read."""
    if not agreement:
        return f"{label} beside the readers: {NOT_RUN}."
    frame = report.against_readers(of_network(results, network), agreement)
    frame = frame[frame.lesion_voxels >= report.LEAST]
    if not len(frame):
        return f"{label} beside the readers: {NOT_RUN} on a scan that both have read."
    which = "On the one scan" if len(frame) == 1 else f"Over the {len(frame)} scans"
    return (
        f"{which} of at least {LEAST} lesion voxels that both have outlined, {label}, always trained without the patient, has "
        f"a mean DSC of {frame['first'].mean():.1f} % with the first reader and {frame.second.mean():.1f} % with the second; "
        f"the two readers have {frame.readers.mean():.1f} % with each other."
    )


def beside_readers(results: list[dict], agreement: dict | None, names: dict[str, str]) -> pd.DataFrame:
    """DSC of networks with each of two readers, and of these with each other, on the scans that both read and a fold left out.

    names: network → label.
    """
    columns = ("with the first reader, %", "with the second, %", "the readers with each other, %", "scans")
    rows = {}
    for network, label in names.items() if agreement else ():
        frame = report.against_readers(of_network(results, network), agreement)
        if len(frame) and len(frame := frame[frame.lesion_voxels >= report.LEAST]):
            means = [plain(frame[column].mean()) for column in ("first", "second", "readers")]
            rows[label] = dict(zip(columns, [*means, len(frame)], strict=True))
    return pd.DataFrame(rows, columns if not rows else None).T


def averages(measured: dict) -> dict[str, float]:
    """DSC in per cent by what is averaged, named for a reader. A file that does not part scans from patients averaged scans."""
    plainly = {
        "all slices, empty ones 1": "all slices, DSC 1 where both masks are empty",
        "all slices, empty ones left out": "all slices but those where both masks are empty",
    }
    if "all scans" not in measured["average"]:
        plainly["all patients"] = "all scans"
    return {plainly.get(name, name): value for name, value in measured["average"].items()}


def averaged(measured: dict, results: list[dict], network: str = "scoatnet") -> pd.DataFrame:
    """DSC in per cent by what is averaged (`averages`), and over how many: "n" counts patients, scans or slices, in words.

    results: the runs that were read anew hold their slices' counts; "–" where none of them is there.
    """
    every = measured["patients"]["all"]
    runs = [r for r in of_network(results, network) if r["recipe"]["seed"] == measured["recipe"]["seed"]]
    slices = [c for r in runs for scan, more in r["measures"].items() for c in more.get("slices", ()) if scan in every]
    scans = count(len(every), "scan")
    number = {
        "patients with at least 1 000 lesion voxels": count(len(measured["patients"]["primary"]), "patient"),
        "all patients": count(len({patient_of(name) for name in every}), "patient"),
        "all scans": scans,
        "all voxels pooled": scans,
        "slices with lesion": sum(tp + fn > 0 for tp, _, fn in slices),
        "all slices, DSC 1 where both masks are empty": len(slices),
        "all slices but those where both masks are empty": sum(tp + fp + fn > 0 for tp, fp, fn in slices),
    }
    rows = {}
    for name, value in averages(measured).items():
        n = number[name]
        n = n if isinstance(n, str) else count(n, "slice") if n else "–"
        rows[name] = {"DSC, %": plain(math.nan if value is None else value), "n": n}
    return pd.DataFrame.from_dict(rows, orient="index")


def readings(measured: dict | None) -> str:
    """How far one network's DSC moves with what is averaged, and RLP with what a region is (results/readings)."""
    if not measured:
        return f"What the definitions do to one trained network: {NOT_RUN}."
    average = {k: v for k, v in averages(measured).items() if v is not None}
    low, high = min(average, key=average.get), max(average, key=average.get)
    rlp = {(r["connectivity"], r["per"]): r["RLP"] for r in measured["regions"] if r["found"] == "holds-centre"}
    seed = f"seed {measured['recipe']['seed']} alone, " if "recipe" in measured else ""
    return (
        f"One network ({seed}{len(measured['patients']['all'])} scans): its DSC is {average[low]:.0f} % ({low}) or "
        f"{average[high]:.0f} % ({high}). Over the {len(measured['patients']['primary'])} of at least {LEAST} lesion voxels "
        f"its RLP is {rlp['full', 'scan']:.0f} % with regions of the whole scan and "
        f"{rlp['full', 'slice']:.0f} % with regions of each slice; with face connectivity in place of full it is "
        f"{rlp['face', 'scan']:.0f} %."
    )


def of_one_seed(measured: dict | None, results: list[dict], network: str = "scoatnet") -> str:
    """That the readings' tables are of one seed, and what the mean over the seeds is, as in the chapters that follow."""
    if not measured:
        return f"The tables of one seed: {NOT_RUN}."
    seed = measured["recipe"]["seed"]
    runs = of_network(results, network)
    text = f"Both tables are of seed {seed} alone."
    if {r["recipe"]["seed"] for r in runs} <= {seed}:
        return text
    frame = report.per_patient(runs)
    large = frame[frame.lesion_voxels >= report.LEAST]
    (full,) = [r for r in measured["regions"] if (r["connectivity"], r["per"], r["found"]) == ("full", "scan", "holds-centre")]
    average = measured["average"]
    pairs = [
        ("DSC", 100 * large.DSC.mean(), average["patients with at least 1 000 lesion voxels"]),
        ("pooled DSC", 100 * report.pooled(frame), average["all voxels pooled"]),
        ("RLP", 100 * large.RLP.mean(), full["RLP"]),
        ("RLR", 100 * large.RLR.mean(), full["RLR"]),
    ]
    each = listed([f"{name} {plain(mean)} % in place of {plain(alone)} %" for name, mean, alone in pairs])
    return f"{text} Chapters 9 to 13 average all seeds of a patient first, which gives other values: {each}."


def entry(results: list[dict], one: str = "SCOAT-Net", other: str = "UNet++") -> str:
    """What the primary endpoint's limit in voxels is in nominal ml, and who would count by a limit in ml."""
    volumes = {m["voxel_mm3"] for r in of_network(results, "scoatnet") for m in r["measures"].values() if "voxel_mm3" in m}
    frame = report.per_patient(of_network(results, "scoatnet"))
    if not volumes or not len(frame):
        return f"What {LEAST} voxels are in ml: {NOT_RUN}."
    low, high = (report.LEAST * v / 1000 for v in (min(volumes), max(volumes)))
    number = {ml: int((frame.true_ml >= ml).sum()) for ml in (low, high)}
    counting = [f"all {n}" if n == len(frame) else f"{n} of {len(frame)}" for n in (number[low], number[high])]
    text = (
        f"{LEAST} voxels are {low:.0f} nominal ml in the scans with thin slices and {high:.0f} in those with thick ones, so a "
        f"patient with thick slices needs {high / low:.0f} times the disease to count. A limit in ml would have been better. "
        f"If {low:.0f} ml were asked of everybody, {counting[0]} patients would count, and {counting[1]} "
        f"if {high:.0f} ml were"
    )
    every = claims.compare(results, get("table2"), one, other, least=0)
    if number[low] != len(frame) or every["low"] != every["low"]:
        return f"{text}."
    ends = f"{signed(every['low'])} … {signed(every['high'])}"
    return (
        f"{text}. Over all {every['patients']} {one} minus {other} is {signed(every['difference'])} points of DSC "
        f"(95 % {ends}), {every['status']}."
    )


def nearly_clear(results: list[dict], grid: str = "table2") -> pd.DataFrame:
    """The patients with a scan of fewer than `NEARLY_NONE` lesion voxels, by scan and row of a grid; seeds averaged.

    It may be empty. Columns row, patient, scan; true, found, false (voxels); ml (of the false ones, nominal); DSC (per cent);
    clear.
    """
    most = next(iter(report.scales(results, get(grid))), ({}, "", []))[2]
    rows = [
        {"row": r["row"], "patient": r["measures"][scan]["patient"], "scan": scan, "true": c["tp"] + c["fn"], "found": c["tp"]}
        | {"false": c["fp"], "ml": c["fp"] * r["measures"][scan]["voxel_mm3"] / 1000}
        | {"DSC": 200 * c["tp"] / max(1, 2 * c["tp"] + c["fp"] + c["fn"])}
        for r in most
        for scan, c in r["patients"].items()
        if "voxel_mm3" in r.get("measures", {}).get(scan, {})
    ]
    if not rows:
        return pd.DataFrame()
    frame = pd.DataFrame(rows).groupby(["row", "patient", "scan"], sort=False).mean().reset_index()
    frame["clear"] = frame.true < NEARLY_NONE
    return frame[frame.patient.isin(frame.patient[frame.clear])].reset_index(drop=True)


def voxels(number: float) -> str:
    """A number of voxels, whole, with a thin gap at the thousands."""
    return f"{number:,.0f}".replace(",", "\u202f")


def clear_by_row(results: list[dict], grid: str = "table2") -> pd.DataFrame:
    """For a page, of `nearly_clear`: a line a network; what it marks wrongly in the nearly clear scan, and the other scan."""
    frame = nearly_clear(results, grid)
    lines = {}
    for label in get(grid).rows if len(frame) else ():
        own = frame[frame.row == label]
        if len(own):
            clear, rest = own[own.clear], own[~own.clear]
            lines[label] = {
                f"scan with {voxels(clear.true.sum())} lesion voxels: marked wrongly (nominal ml)": _and_ml(clear),
                f"scan with {voxels(rest.true.sum())}: found": voxels(rest.found.sum()),
                "marked wrongly (nominal ml)": _and_ml(rest),
                "its DSC, %": plain(rest.DSC.mean()),
            }
    return pd.DataFrame.from_dict(lines, orient="index")


def _and_ml(frame: pd.DataFrame) -> str:
    return f"{voxels(frame.false.sum())} ({frame.ml.sum():.0f})"


def alarm(results: list[dict], label: str = "SCOAT-Net") -> str:
    """`false_alarm` in a sentence."""
    frame = nearly_clear(results)
    own = frame[frame.clear & (frame.row == label)] if len(frame) else frame
    if not len(own):
        return f"What {label} marks in a scan with next to no lesion: {NOT_RUN}."
    row = own.iloc[0]
    return (
        f"In a scan in which the first reader outlined {voxels(row.true)} voxels {label} marks {voxels(row.false)} wrongly "
        f"({row.ml:.0f} nominal ml): a false alarm, which neither DSC nor the primary endpoint shows."
    )


def clear_by_scan(results: list[dict], grid: str = "table2") -> pd.DataFrame:
    """For a page, of `nearly_clear`: a line a scan, means over the rows of a grid with the lowest and the highest row."""
    frame = nearly_clear(results, grid)
    lines = {}
    for scan, own in frame.groupby("scan", sort=False) if len(frame) else ():
        lines[scan] = {
            "true voxels": voxels(own.true.mean()),
            **{
                name: f"{voxels(own[c].mean())} ({voxels(own[c].min())}{TO}{voxels(own[c].max())})"
                for name, c in (("of them found", "found"), ("marked wrongly", "false"), ("the same, nominal ml", "ml"))
            },
            "DSC, %": f"{plain(own.DSC.mean())} ({plain(own.DSC.min())}{TO}{plain(own.DSC.max())})",
        }
    return pd.DataFrame.from_dict(lines, orient="index")


def false_alarm(results: list[dict], agreement: dict | None, label: str = "SCOAT-Net", grid: str = "table2") -> str:
    """What one network, and each row of a grid, marks in the scan with next to no lesion; what the readers outlined there."""
    frame = nearly_clear(results, grid)
    own = frame[frame.clear & (frame.row == label)] if len(frame) else frame
    if not len(own):
        return f"What {label} marks in a scan with next to no lesion: {NOT_RUN}."
    row = own.iloc[0]
    every = frame[frame.clear & (frame.scan == row.scan)]
    second = (agreement or {"scans": {}})["scans"].get(row.scan)
    outlined = f"the first reader outlined {voxels(row.true)} voxels"
    outlined += f" and the second {voxels(second['tp'] + second['fp'])}" if second else ""
    hit = "none of them in the first reader's outline" if not row.found else f"{voxels(row.found)} of them in the outline"
    text = (
        f"In the scan {row.scan} {outlined}. {label}, trained without this patient, marks {voxels(row.found + row.false)} "
        f"voxels there, {row.ml:.0f} nominal ml, {hit}. That is a false alarm in a scan that was found almost clear."
    )
    if len(every) > 1:
        least, largest = every.loc[every.false.idxmin()], every.loc[every.false.idxmax()]
        text += (
            f" Every one of the {len(every)} networks of chapter 12 raises it: from {voxels(least.false)} voxels "
            f"({least.ml:.0f} ml, {least.row}) to {voxels(largest.false)} ({largest.ml:.0f} ml, {largest.row})."
            if least.false > 100
            else f" Of the {len(every)} networks of chapter 12 {largest.row} marks most there, {voxels(largest.false)} voxels."
        )
    whole = frame[(frame.patient == row.patient) & (frame.row == label)].true.sum()
    out = f", and the primary endpoint leaves this patient out ({voxels(whole)} lesion voxels in all scans)"
    return (
        f"{text} DSC is 0 for it, as it would be for a single false voxel, so DSC does not show it"
        f"{out if whole < report.LEAST else ''}. It is the only scan of its kind here, so these data do not say how often a "
        "clear lung is marked."
    )


def two_scans(results: list[dict], grid: str = "table2") -> str:
    """Why the patient with the nearly clear scan scores low: what each of the scans adds to it, over the rows of a grid."""
    frame = nearly_clear(results, grid)
    clear, rest = (frame[frame.clear], frame[~frame.clear]) if len(frame) else (frame, frame)
    if not len(clear) or not len(rest):
        return f"The patient with a nearly clear scan: {NOT_RUN}."
    share = 100 * clear.false.sum() / (clear.false.sum() + rest.false.sum())
    few, wrong = voxels(clear.true.mean()), voxels(clear.false.mean())
    return (
        f"{clear.patient.iloc[0]} is two scans. In one the mask has {voxels(rest.true.mean())} voxels, and "
        f"the mean DSC over {count(rest.row.nunique(), 'network')} is {plain(rest.DSC.mean(), 0)} % "
        f"({plain(rest.DSC.min(), 0)} to {plain(rest.DSC.max(), 0)} %). In the other it has {few}, and {wrong} "
        f"are marked wrongly on average: {share:.0f} % of the patient's false voxels lie there. So the lesions of this patient "
        "are not hard to outline. A false alarm in a nearly clear scan is added to the voxels of the other scan."
    )


def centres(results: list[dict], network: str = "scoatnet", label: str = "SCOAT-Net") -> str:
    """RLP and RLR with equation 10 in millimetres and in voxels, over the primary endpoint's patients; seeds averaged."""
    rows = []
    for result in of_network(results, network):
        whole: dict[str, dict] = {}
        for scan, c in result["patients"].items():
            more = result["measures"][scan]
            if "regions in voxels" in more:
                row = whole.setdefault(more["patient"], {"mm": dict.fromkeys(c, 0), "voxels": dict.fromkeys(c, 0)})
                for unit, added in (("mm", c), ("voxels", c | more["regions in voxels"])):
                    row[unit] = {k: row[unit][k] + added[k] for k in c}
        for patient, row in whole.items():
            if row["mm"]["tp"] + row["mm"]["fn"] >= report.LEAST:
                scores = {unit: metrics.from_counts(v) for unit, v in row.items()}
                rows.append({"patient": patient} | {f"{m} {u}": 100 * s[m] for u, s in scores.items() for m in ("RLP", "RLR")})
    if not rows:
        return f"Regions by millimetres and by voxels: {NOT_RUN}."
    mean = pd.DataFrame(rows).groupby("patient").mean().mean()
    patients = len({row["patient"] for row in rows})
    return (
        f"On the real scans of this book ({label}, {count(patients, 'patient')}): RLP {mean['RLP mm']:.1f} % and RLR "
        f"{mean['RLR mm']:.1f} % with equation 10 in millimetres; {mean['RLP voxels']:.1f} % and {mean['RLR voxels']:.1f} % "
        f"in voxels."
    )


# --- chapter 9 -------------------------------------------------------------------------------------------------------


def endpoint(results: list[dict], network: str, label: str) -> str:
    """A network's primary endpoint with its interval, n, and the plain and pooled DSC beside it."""
    frame = report.per_patient(of_network(results, network))
    if not len(frame):
        return f"{label} on real scans: {NOT_RUN}."
    large = frame[frame.lesion_voxels >= report.LEAST]
    found = rule.interval(100 * large.DSC, large.fold)
    pooled = 100 * report.pooled(frame)
    between = f" (95 % interval {found.low:.1f} … {found.high:.1f})" if found.low == found.low else ""
    return (
        f"{label}: mean DSC {plain(found.mean)} %{between} over {count(found.patients, 'patient')} with at least "
        f"{LEAST} lesion voxels, {100 * frame.DSC.mean():.1f} % over all {len(frame)}, {pooled:.1f} % of all voxels pooled."
    )


def origin(results: list[dict]) -> str:
    """Where runs came from, in a sentence: how many, of which version of the code, on what, when."""
    if not results:
        return f"Where each run came from: {NOT_RUN}."
    frame = report.provenance(results)
    dates, devices = sorted(frame.date), sorted(set(frame.device))
    when = dates[0] if dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]}"
    commits = listed(sorted(set(frame.commit)))
    return f"{count(len(frame), 'run')} of commit {commits}, on {listed(devices)}, {when}."


# --- chapter 10 ------------------------------------------------------------------------------------------------------


def rivals(simulation: dict | None, names: dict[str, str]) -> pd.DataFrame:
    """The simulation's candidates at 95 % by mean width, with their worst false decisions. names: candidate → words."""
    rows = {}
    for candidate in (simulation or {"candidates": ()})["candidates"]:
        if candidate["level"] == rule.LEVEL and candidate["name"] in names:
            passes = candidate["passes"] and candidate["defined for every layout"]
            rows[names[candidate["name"]]] = {
                "mean width, points": candidate["mean width"],
                "false decisions at worst, %": 100 * candidate["worst false decisions"],
                "passes": "yes" if passes else "no",
            }
    frame = pd.DataFrame.from_dict(rows, orient="index")
    return frame.sort_values("mean width, points").round(1) if len(frame) else frame


def visible(simulation: dict | None, shape: str = "normal") -> pd.DataFrame:
    """The smallest difference that is seen four times in five, points, 13 patients in five folds: by spreads and seeds."""
    cells = (simulation or {"smallest difference": ()})["smallest difference"]
    rows = [(p, r, s, points) for kind, p, r, s, points, _ in cells if kind == shape]
    frame = pd.DataFrame(rows, columns=["patients' sd", "a run's sd", "seeds", "points"])
    wide = frame.pivot_table(index=["patients' sd", "a run's sd"], columns="seeds", values="points")
    return wide.rename(columns={k: count(k, "seed") for k in wide}).rename_axis(columns=None)


def tested(simulation: dict | None) -> str:
    """How often the bootstrap over patients and the chosen rule decide falsely at their worst, and what the rule costs."""
    if not simulation:
        return f"The simulation: {NOT_RUN}."
    at = {c["name"]: c for c in simulation["candidates"] if c["level"] == rule.LEVEL}
    bootstrap, chosen = at["percentile bootstrap over patients"], at[rule.NAME]
    (again,) = [c for c in simulation["confirmation"] if c["name"] == rule.NAME]
    return (
        f"At its worst the bootstrap over patients makes {100 * bootstrap['worst false decisions']:.0f} % false decisions, the "
        f"larger of two errors {100 * chosen['worst false decisions']:.1f} %, where up to "
        f"{100 * simulation['allowed false decisions']:.1f} % pass. Run again with new random numbers, five times as many, it "
        f"makes {100 * again['worst false decisions']:.1f} %. The price is width: {chosen['mean width']:.1f} points "
        f"on average, {bootstrap['mean width']:.1f} for the bootstrap."
    )


def sees(simulation: dict | None) -> str:
    """The smallest difference that the rule sees with 1 and 3 seeds."""
    if not simulation:
        return f"The smallest difference that can be seen: {NOT_RUN}."
    seen = visible(simulation)
    once, thrice = seen["1 seed"], seen["3 seeds"]
    return (
        f"With one seed the smallest difference that can be seen is {once.min():.1f} to {once.max():.1f} points, with three "
        f"seeds {thrice.min():.1f} to {thrice.max():.1f}. Where patients differ by 4 points and runs by 1.5 it is "
        f"{once[4.0, 1.5]:.1f} with one seed and {thrice[4.0, 1.5]:.1f} with three."
    )


def equivalence(simulation: dict | None) -> str:
    """How often networks that truly differ by the margin are called equivalent."""
    if not simulation:
        return f"Equivalence in the simulation: {NOT_RUN}."
    worst = simulation["equivalence"]["worst error at a true difference of the margin"]
    return (
        f"Networks that truly differ by {rule.MARGIN:g} points are called equivalent in at most "
        f"{100 * worst['whole interval']:.1f} % of the trials. The usual two one-sided tests at 5 % would do so in up to "
        f"{100 * worst['two one-sided tests at 5 %']:.1f} %, so the stricter form is used."
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


# --- chapters 11 and 12 ----------------------------------------------------------------------------------------------


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


def failed(table: Table | None, results: list[dict]) -> pd.DataFrame:
    """The four patients that networks fail most, with what goes wrong, as text cells; see `report.failures`. May be empty."""
    frame = pd.DataFrame() if table is None else report.failures(table, results)
    if not len(frame):
        return frame
    cells = {
        "DSC, % (rows)": [f"{r.DSC:.0f} ({r.lowest:.0f} … {r.highest:.0f})" for r in frame.itertuples()],
        "SEN, %": frame.SEN.map("{:.0f}".format),
        "PPV, %": frame.PPV.map("{:.0f}".format),
        "lesions": frame.lesions.map("{:.0f}".format),
        "largest, nominal ml": frame["largest, ml"].map("{:.1f}".format),
        "below 1 nominal ml, %": frame["below 1 ml, %"].map("{:.0f}".format),
        "what goes wrong": [_wrong(r) for _, r in frame.iterrows()],
        "lesion voxels": frame.voxels.map("{:.0f}".format),
        "volume, predicted / true": frame.volume.map("{:.2f}".format),
    }
    return pd.DataFrame(cells, index=frame.index).rename_axis(None)


def hard(table: Table | None, results: list[dict]) -> str:
    """Of the patients that networks fail most, how many are hard for all: even the best row lies below the mean of all."""
    frames = [] if table is None else [frame for frame in table.patients.values() if len(frame)]
    if not frames:
        return f"Whether the network fails or the patient: {NOT_RUN}."
    if len(frames) == 1:
        return "One row alone was run, so a weak network and a hard patient look alike."
    frame = report.failures(table, results)
    mean = 100 * pd.concat(frames).DSC.mean()
    number, of = int((frame.highest < mean).sum()), count(len(frame), "patient")
    beside = f"the mean over all rows and patients, {mean:.0f} %"
    if number == len(frame):
        return f"The patient: in all {of} even the best of {len(frames)} networks stays below {beside}."
    if not number:
        return f"The network: in each of the {of} at least one of {len(frames)} networks reaches {beside}."
    return (
        f"Both: in {number} of {of} even the best of {len(frames)} networks stays below {beside}; in the rest at least one "
        f"network reaches it."
    )


def _wrong(row: pd.Series) -> str:
    """What a patient's sensitivity and precision say, with a word on size where the lesions are small."""
    if row.SEN < row.PPV - 10:
        text = "much is missed"
    elif row.PPV < row.SEN - 10:
        text = "much is marked that is none"
    else:
        text = "as much is missed as is marked wrongly"
    return text + (", and the lesions are small" if row["largest, ml"] < 10 else "")


def thresholds(results: dict[str, list[dict]]) -> pd.DataFrame:
    """What another threshold than 0.5 would be worth to each network, in per cent of DSC. results: label → runs."""
    rows = {}
    for label, frame in report.beside_thresholds(results).items():
        mean = frame.mean()
        best = mean.idxmax()
        shown = [plain(mean[0.5]), plain(mean[best]), f"{best:g}", len(frame)]
        rows[label] = dict(zip(("DSC at 0.5", "at its best threshold", "which is", "patients"), shown, strict=True))
    return pd.DataFrame(rows).T


def rings(results: dict[str, list[dict]]) -> str:
    """Where each network's best threshold lies beside half of the DSC it reaches there, which is the best cut of right
    probabilities. results: label → runs.
    """
    means = {label: frame.mean() for label, frame in report.beside_thresholds(results).items()}
    if len(means) < 2:
        return f"Where the rings stand: {NOT_RUN} on two networks."
    at, half = ({label: f(mean) for label, mean in means.items()} for f in (lambda m: m.idxmax(), lambda m: m.max() / 200))
    low, high = min(at.values()), max(at.values())
    lowest = [label for label in at if at[label] == low]

    def halves(labels: list[str]) -> str:
        """Half of the DSC of some networks: one number or two."""
        ends = sorted({f"{half[label]:.2f}" for label in labels})
        return ends[0] if len(ends) == 1 else f"{ends[0]} to {ends[-1]}"

    text = f"The best thresholds lie from {low:g} to {high:g}. "
    lies = "lies" if len(lowest) == 1 else "lie"
    text += f"Lowest, at {low:g}, {lies} {listed(lowest)}; half of the DSC is {halves(lowest)} there."
    below = [label for label in at if label not in lowest and at[label] < half[label]]
    if below:
        stands, its = ("The ring of", "stands"), "its"
        if len(below) > 1:
            stands, its = ("The rings of", "stand"), "their"
        text += f" {stands[0]} {listed(below)} {stands[1]} below half of {its} DSC as well ({halves(below)})."
    return f"{text} The grid has steps of 0.1, too coarse to say more."


def turned(results: dict[str, list[dict]]) -> str:
    """Where each network's best threshold lies, who gains most by it, and who would pass whom. results: label → runs."""
    means = {label: frame.mean() for label, frame in report.beside_thresholds(results).items()}
    if len(means) < 2:
        return f"What another threshold would change: {NOT_RUN} on two networks."
    fixed = pd.Series({label: mean[0.5] for label, mean in means.items()})
    best = pd.Series({label: mean.max() for label, mean in means.items()})
    below = sum(mean.idxmax() < 0.5 for mean in means.values())
    where = f"All {below}" if below == len(means) else f"{below} of {len(means)}"
    gain = best - fixed
    said = [
        f"{where} best thresholds lie below 0.5.",
        f"{gain.idxmax()} gains most, {gain.max():.1f} points, and {gain.idxmin()} least, {gain.min():.1f}.",
    ]
    passed = {a: [b for b in fixed.index if fixed[a] < fixed[b] and best[a] > best[b]] for a in fixed.index}
    each = [f"{a} passes {listed(others)}" for a, others in passed.items() if others]
    said.append(f"With each network at its best, {'; '.join(each)}." if each else "Nobody passes another by it.")
    first = fixed.idxmax()
    said.append(f"{first} stays first." if best.idxmax() == first else f"{best.idxmax()} comes first in place of {first}.")
    return " ".join(said)


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


def tiny(results: list[dict]) -> str:
    """How many pieces of the true masks are under 1 nominal ml, and how many of them are one or two voxels."""
    sizes = {
        (scan, index): (size, size * more["voxel_mm3"] / 1000)
        for r in of_network(results, "scoatnet")
        for scan, more in r.get("measures", {}).items()
        for index, (size, _) in enumerate(more["lesions"])
    }
    small = [size for size, ml in sizes.values() if ml < claims.TINY_ML]
    if not small:
        return f"How small the lesions of claim 11 are: {NOT_RUN}."
    return (
        f"Claim 11 counts a piece of the mask as found when one voxel of it is marked. Of the {len(sizes)} pieces "
        f"{len(small)} are under {claims.TINY_ML:g} nominal ml, and {sum(s < 3 for s in small)} of these are one or two voxels."
    )


def worst_patients(table: Table | None) -> str:
    """For how many rows each patient is the worst; a row that several patients share the lowest DSC of has none."""
    if table is None:
        return f"The worst patients: {NOT_RUN}."
    found = report.worst(table, 1)
    shared = [label for label, f in table.patients.items() if list(f.DSC).count(min(f.DSC, default=0)) > 1]
    found = found[~found.row.isin(shared)]
    if found.empty:
        return "No row has one worst patient."
    counted = found.groupby("patient", sort=False).agg(rows=("row", "size"), voxels=("lesion_voxels", "first"))
    named = [f"{p} ({r.voxels:.0f} lesion voxels) in {count(int(r.rows), 'row')}" for p, r in counted.iterrows()]
    return f"The worst patient is {listed(named)}."
