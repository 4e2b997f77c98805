"""Attention modules and maps: what they add, how maps narrow, what flattening them costs (chapters 13 and 14)."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from scoat_lib import claims, report, rule
from scoat_lib.cohort import patient_of
from scoat_lib.findings.ledger import decided, why
from scoat_lib.grids import GRIDS
from scoat_lib.words import LEAST, briefly, count, hold, listed_or_none, lowered, plain, signed

MEASURED, EQUIVALENT = "measured", "equivalent"


def modules(results: list[dict], counts: pd.DataFrame) -> str:
    """Chapter 13's findings. counts: index row of Table III, columns "ours, added" and "paper, added", in millions."""
    added = [f"{label.split(',')[0]} {r['ours, added']:.2f} M ({r['paper, added']:.2f} M)" for label, r in counts.iterrows()]
    said = [
        "Three of the four modules multiply by one plus a map; only the gates of V2 multiply by the map itself.",
        f"Ours add, with the paper's number in brackets: {listed_or_none(added[1:])}.",
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
        said.append(f"Minus UNet++, in points of DSC: {listed_or_none(each)}.")
    missing = [label.split(",")[0] for label in others if label not in run]
    if missing:
        said.append(f"Not run beside UNet++ yet: {listed_or_none(missing)}.")
    return "\n".join(f"- {s}" for s in said)


def maps(results: list[dict], ablations: Sequence[dict] = ()) -> str:
    """Chapter 14's findings on real scans: claims 5a, 5b, 5c, and what flattening does (contents of ablation-*.json)."""
    return "\n".join(f"- {s}" for s in [ablation(ablations), *narrowing(results)])


def narrowing(results: list[dict]) -> list[str]:
    """Claims 5a, 5b and 5c, a sentence each, or one for all where none has been measured enough."""
    found = decided(results, "5a", "5b", "5c")
    reasons = {why(verdict) for _, verdict in found}
    if len(reasons) == 1:  # none has been measured enough
        return [
            f"Claims {listed_or_none([c.number for c, _ in found])} {hold(found[0][1].status, len(found))}: {reasons.pop()}."
        ]
    return [f"Claim {c.number} ({lowered(c.text)}) {hold(v.status, 1)}: {why(v)}." for c, v in found]


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
        text += f" So the network leans on {listed_or_none(leans)}."
    if better:
        text += f" It does better without {listed_or_none(better)}."
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
            line |= {f"{what} {node}": plain(v, 2) for node, v in zip(nodes, means, strict=True)}
        line["patients not seen"] = str(len({patient_of(s) for s in measured["nodes"] if s in unseen}))
        lines[f"fold {result['recipe']['fold']}, seed {result['recipe']['seed']}"] = line
    return pd.DataFrame.from_dict(lines, orient="index")


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
