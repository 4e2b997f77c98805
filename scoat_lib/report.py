"""results/*.json → tables. Every number on a page about real scans comes through here, with its provenance."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd

from scoat_lib import metrics

LEAST = 1000  # lesion voxels a patient needs for the primary endpoint (results/PROTOCOL.md)


def load(folder) -> list[dict]:
    """The results of a folder, by file name; its subfolders (development runs) are left out. Empty if there is none."""
    return [json.loads(path.read_text()) for path in sorted(Path(folder).glob("*.json")) if not path.name.startswith("phantom")]


def patients(results: list[dict]) -> pd.DataFrame:
    """One row per network, seed and reported patient: the six metrics (fractions), lesion voxels, fold, width."""
    rows = []
    for result in results:
        recipe = result["recipe"]
        for name, counts in result["patients"].items():
            rows.append(
                {k: recipe[k] for k in ("network", "loss", "schedule", "size", "width", "seed", "fold", "split")}
                | {"data": result["data"]["name"], "patient": name, "lesion_voxels": counts["tp"] + counts["fn"]}
                | metrics.from_counts(counts)
                | {k: counts[k] for k in ("tp", "fp", "fn")}
            )
    return pd.DataFrame(rows)


def summary(results: list[dict], by: str = "network", least: int = LEAST) -> pd.DataFrame:
    """Per cent by `by`: mean per-patient DSC of patients with at least `least` lesion voxels (the primary endpoint), the mean
    over all patients, the pooled DSC, how many patients and folds; then the other five metrics' primary means.
    """
    table = patients(results)
    if table.empty:
        return pd.DataFrame()
    rows = {}
    for key, group in table.groupby(by, sort=True):
        large = group[group.lesion_voxels >= least]
        total = group[["tp", "fp", "fn"]].sum()
        rows[key] = {
            f"DSC, ≥ {least} voxels": 100 * large.DSC.mean(),
            "patients": len(large),
            "DSC, all": 100 * group.DSC.mean(),
            "all patients": len(group),
            "DSC, pooled": 200 * total.tp / (2 * total.tp + total.fp + total.fn),
            "folds": ", ".join(map(str, sorted(group.fold.unique()))),
        } | {m: 100 * large[m].mean() for m in metrics.METRICS[1:]}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(by)


def paired(
    results: list[dict], one: str, other: str, least: int = LEAST, draws: int = 10_000, seed: int = 0
) -> dict[str, float]:
    """DSC of network `one` minus `other` over the patients that both report: mean, 95 % interval by bootstrap over patients.

    Returns {"difference", "low", "high", "patients"}, in points (per cent). ValueError if no patient is shared.
    """
    table = patients(results)
    if table.empty:
        raise ValueError("there are no results to compare")
    wide = table[table.lesion_voxels >= least].pivot_table(index=["patient", "seed"], columns="network", values="DSC").dropna()
    if one not in wide or other not in wide or wide.empty:
        raise ValueError(f"no patient is reported by both {one} and {other}")
    difference = 100 * (wide[one] - wide[other]).groupby("patient").mean().to_numpy()
    rng = np.random.default_rng(seed)
    means = rng.choice(difference, (draws, len(difference))).mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return {"difference": float(difference.mean()), "low": float(low), "high": float(high), "patients": len(difference)}


def provenance(results: list[dict]) -> pd.DataFrame:
    """Where each result came from: network, fold, seed, commit, device, minutes, date."""
    rows = [
        {k: r["recipe"][k] for k in ("network", "width", "fold", "seed")}
        | {"commit": (r["provenance"]["commit"] or "unknown")[:8], "device": r["provenance"]["device"]}
        | {"minutes": round(r["provenance"]["seconds"] / 60, 1), "date": r["provenance"]["date"]}
        for r in results
    ]
    return pd.DataFrame(rows)
