"""Two readers and the networks beside each; averages over patients, and what a reading of the text moves (chapters 8, 9)."""

from __future__ import annotations

import math

import pandas as pd

from scoat_lib import claims, metrics, report, rule
from scoat_lib.cohort import patient_of
from scoat_lib.grids import get
from scoat_lib.report import NOT_RUN
from scoat_lib.words import LEAST, count, listed, of_network, plain, signed


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
