"""What the paper's open definitions do to one and the same trained network: the readings that need no training.

    python -m studies.evaluation_readings RUN [RUN ...] --data FOLDER

RUN: finished runs of one recipe on different folds. Each patient is segmented by the run that left it out, at 0.5. Written
to results/readings/evaluation-wWIDTH.json, in per cent: DSC by what a prediction uses (`output`), by what is averaged, by
the value of empty cases; RLP and RLR by connectivity, by slice or scan, by what counts as found; VA by its factor. Means are
over the patients with at least 1 000 lesion voxels, where nothing else is said.
"""

from __future__ import annotations

import argparse
import json
import math
from collections import Counter
from itertools import product
from pathlib import Path

import numpy as np
import torch

from scoat_lib import experiments, metrics
from scoat_lib.cohort import patient_of
from scoat_lib.files import write_whole
from scoat_lib.report import LEAST
from scoat_lib.slices import scan_slices
from scoat_lib.weights import load
from studies.finished import same_recipe

OUTPUTS = {
    "logits of X(0,4)": lambda branches: branches[-1] > 0,
    "mean of the branches' logits": lambda branches: branches.mean(dim=0) > 0,
    "mean of the branches' probabilities": lambda branches: torch.sigmoid(branches).mean(dim=0) > 0.5,
}


def predictions(model, cohort, name: str) -> dict[str, np.ndarray]:
    """A patient's mask (slices, H, W) by each reading of what a prediction uses."""
    parts: dict[str, list] = {reading: [] for reading in OUTPUTS}
    with torch.inference_mode():
        for x in scan_slices(cohort, name, 16):
            branches = torch.stack(model.branches(x.contiguous(memory_format=torch.channels_last)))[:, :, 0]
            for reading, decide in OUTPUTS.items():
                parts[reading].append(decide(branches).numpy())
    return {reading: np.concatenate(masks) for reading, masks in parts.items()}


def per_cent(values) -> float | None:
    """The mean in per cent, without those that are left out (nan); None where nothing is left."""
    counted = [v for v in values if not math.isnan(v)]
    return round(100 * float(np.mean(counted)), 2) if counted else None


def by_output(masks: dict, truths: dict, large: list[str]) -> dict[str, dict[str, float]]:
    """DSC of each reading of `output`: the primary endpoint and pooled over all."""
    found = {}
    for reading in OUTPUTS:
        counts = {n: metrics.count(masks[n][reading], truths[n]) for n in truths}
        total = {k: sum(c[k] for c in counts.values()) for k in ("tp", "fp", "fn")}
        pooled = 2 * total["tp"] / (2 * total["tp"] + total["fp"] + total["fn"])
        found[reading] = {
            "primary": per_cent(metrics.from_counts(counts[n])["DSC"] for n in large),
            "pooled": round(100 * pooled, 2),
        }
    return found


def by_average(masks: dict[str, np.ndarray], truths: dict[str, np.ndarray], large: list[str]) -> dict[str, float]:
    """DSC by what is averaged, and by the value of a slice that is empty in truth and prediction."""
    voxels = {n: metrics.count(masks[n], truths[n]) for n in truths}
    people: dict[str, Counter] = {}
    for name, counts in voxels.items():
        people.setdefault(patient_of(name), Counter()).update(counts)
    slices = [[metrics.count(a, b) for a, b in zip(masks[n], truths[n], strict=True)] for n in truths]
    flat = [c for case in slices for c in case]
    lesion = [c for c in flat if c["tp"] + c["fn"]]
    total = {k: sum(c[k] for c in flat) for k in ("tp", "fp", "fn")}
    return {
        "patients with at least 1 000 lesion voxels": per_cent(metrics.from_counts(voxels[n])["DSC"] for n in large),
        "all patients": per_cent(metrics.from_counts(c)["DSC"] for c in people.values()),
        "all scans": per_cent(metrics.from_counts(c)["DSC"] for c in voxels.values()),
        "all voxels pooled": round(200 * total["tp"] / (2 * total["tp"] + total["fp"] + total["fn"]), 2),
        "slices with lesion": per_cent(metrics.from_counts(c)["DSC"] for c in lesion),
        "all slices, empty ones 1": per_cent(metrics.from_counts(c)["DSC"] for c in flat),
        "all slices, empty ones left out": per_cent(metrics.from_counts(c, empty=math.nan)["DSC"] for c in flat),
    }


def by_region(masks: dict, truths: dict, spacings: dict, large: list[str]) -> list[dict]:
    """RLP and RLR by connectivity, by slice or scan, by what makes a true region count as found."""
    rows = []
    for connectivity, per, found in product(("full", "face"), ("scan", "slice"), metrics.FOUND):
        scores = [metrics.evaluate(masks[n], truths[n], connectivity, per, found, spacing=spacings[n]) for n in large]
        means = {name: per_cent(s[name] for s in scores) for name in ("RLP", "RLR")}
        rows.append({"connectivity": connectivity, "per": per, "found": found} | means)
    return rows


def main() -> None:
    """Predict once, read it every way, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, nargs="+", help="folders of finished runs, one a fold")
    parser.add_argument("--data", required=True, help="the folder of scans they were trained on")
    parser.add_argument("--results", type=Path, default=Path(__file__).parents[1] / "results")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    masks, truths, spacings = {}, {}, {}
    shared, runs = same_recipe(chosen.run, ("fold",))
    for recipe, folder in runs:
        cohort, split = experiments.prepare(recipe, chosen.data)
        model = load(folder / "weights.safetensors").model.eval()
        for name in split.test:
            masks[name] = predictions(model, cohort, name)
            truths[name] = np.asarray(cohort.masks[name]).astype(bool)
            spacings[name] = cohort.spacing(name)
    large = [n for n, truth in truths.items() if truth.sum() >= LEAST]
    last = {n: masks[n]["logits of X(0,4)"] for n in masks}
    scores = {factor: [metrics.evaluate(last[n], truths[n], va_factor=factor)["VA"] for n in large] for factor in (2.0, 1.0)}
    content = {
        "recipe": shared,
        "folds": sorted(recipe.fold for recipe, _ in runs),
        "patients": {"primary": large, "all": sorted(truths)},
        "output": by_output(masks, truths, large),
        "average": by_average(last, truths, large),
        "regions": by_region(last, truths, spacings, large),
        "VA": {f"factor {factor:g}": per_cent(values) for factor, values in scores.items()},
        "provenance": experiments.provenance(experiments.device_name()),
    }
    out = chosen.results / "readings" / f"evaluation-w{shared['width']}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    write_whole(out, json.dumps(content, indent=1) + "\n")
    print(json.dumps({k: content[k] for k in ("output", "average", "regions", "VA")}, indent=1), out)


if __name__ == "__main__":
    main()
