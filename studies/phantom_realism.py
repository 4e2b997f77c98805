#!/usr/bin/env python3
"""How near the phantom cohort is to real scans, as numbers: python -m studies.phantom_realism --data FOLDER [--train].

Writes results/phantom-realism.json: HU medians per tissue against the cited ranges; distances between lung histograms,
phantom–real beside real–real; noise in soft tissue; with --train also DSC across the gap, in both directions.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from itertools import combinations, product
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage
from scipy.stats import wasserstein_distance

from scoat_lib import anatomy, experiments, phantom, weights
from scoat_lib.cohort import Cohort, cache_folder, find_cases
from scoat_lib.files import write_whole
from scoat_lib.scan import load_pair
from scoat_lib.training import Recipe, train

ROOT = Path(__file__).resolve().parent.parent
BINS = np.arange(-1000, -199, 20)


def lung_histogram(slices: np.ndarray) -> np.ndarray:
    """Share of voxels per 20 HU in the lungs, found alike in both: air inside the body, holes closed, two largest parts."""
    body = ndimage.binary_opening(slices > -300, np.ones((1, 3, 3)))
    body = np.stack([ndimage.binary_fill_holes(s) for s in body])
    air = body & (slices < -300)
    labels, n = ndimage.label(ndimage.binary_erosion(air))
    if n == 0:
        return np.zeros(len(BINS) - 1)
    sizes = ndimage.sum_labels(np.ones_like(labels), labels, range(1, n + 1))
    lungs = np.isin(labels, 1 + np.argsort(sizes)[-2:])
    lungs = ndimage.binary_closing(lungs, np.ones((1, 5, 5)))
    counts, _ = np.histogram(slices[lungs], BINS)
    return counts / max(1, counts.sum())


def noise(slices: np.ndarray) -> tuple[float, float]:
    """In soft tissue: standard deviation of what a 3 × 3 median takes away (HU), and its share above half the Nyquist rate."""
    tissue = ndimage.binary_erosion((slices > -20) & (slices < 110), np.ones((1, 7, 7)))
    residual = slices - ndimage.median_filter(slices, (1, 3, 3))
    spread = float(residual[tissue].std()) if tissue.any() else float("nan")
    shares = []
    for z in range(len(slices)):
        rows, columns = np.nonzero(tissue[z])
        if len(rows) < 400:
            continue
        r, c = int(np.median(rows)), int(np.median(columns))
        patch = slices[z, r - 8 : r + 8, c - 8 : c + 8]
        if patch.shape != (16, 16) or np.ptp(patch) > 300:
            continue
        power = np.abs(np.fft.fft2((patch - patch.mean()) * np.outer(np.hanning(16), np.hanning(16)))) ** 2
        frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(16), np.fft.fftfreq(16)))
        shares.append(power[frequency > 0.25].sum() / power[frequency > 0.07].sum())
    return spread, float(np.median(shares)) if shares else float("nan")


def distances(one: list[np.ndarray], other: list[np.ndarray] | None = None) -> dict[str, float]:
    """Wasserstein distances in HU between histograms, of one list's pairs or across two: median and range."""
    centres = (BINS[1:] + BINS[:-1]) / 2
    pairs = combinations(one, 2) if other is None else product(one, other)
    values = [wasserstein_distance(centres, centres, a, b) for a, b in pairs if a.any() and b.any()]
    return {"median": round(float(np.median(values)), 1), "low": round(min(values), 1), "high": round(max(values), 1)}


def tissue_medians(patients: int) -> dict[str, dict]:
    """Median HU of each tissue over some phantoms, and whether it lies in the cited range."""
    found: dict[str, list[np.ndarray]] = {name: [] for name in anatomy.TISSUES}
    for seed in range(patients):
        one = phantom.patient(seed)
        for code, name in enumerate(anatomy.TISSUES, 1):
            found[name].append(one.scan.voxels[one.tissues.voxels == code])
    result = {}
    for name, (_, (low, high)) in anatomy.TISSUES.items():
        values = np.concatenate(found[name])
        if len(values):
            median = float(np.median(values))
            result[name] = {
                "median": median,
                "range": [low, high],
                "inside": bool(low <= median <= high),
                "voxels": len(values),
            }
    return result


def across(data: Path) -> dict[str, dict[str, float]]:
    """DSC on the real scans of a network trained on phantoms, and on phantoms of the shipped weights."""
    synthetic = phantom.default_cohort(cache_folder())
    recipe = Recipe(fold=-1, epochs=16)
    cohort, split = experiments.prepare(recipe, synthetic)
    with tempfile.TemporaryDirectory() as folder:
        run = train(recipe, cohort, split, folder, progress=False)
        segmenter = weights.load(run.weights)
    real = Cohort.open(data, segmenter.preprocessing)
    there = experiments.scores(experiments.evaluate(segmenter, real, real.names))
    shipped = weights.load()
    phantoms = Cohort.open(synthetic, shipped.preprocessing)
    back = experiments.scores(experiments.evaluate(shipped, phantoms, phantoms.names))

    def summary(table: dict) -> dict[str, float]:
        return {name: round(values["DSC"], 3) for name, values in list(table.items())[-3:]}

    return {"trained on phantoms, tested on real": summary(there), "trained on real, tested on phantoms": summary(back)}


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--name", default="", help="what to call the data; default: its folder's name")
    parser.add_argument("--train", action="store_true", help="minutes: train on phantoms and cross over")
    parser.add_argument("--threads", type=int, default=1)
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    real = [load_pair(c.scan, c.mask)[0].axial().astype(np.float32) for c in find_cases(a.data)]
    made = [phantom.patient(seed).scan.axial().astype(np.float32) for seed in range(8)]
    histograms = [lung_histogram(s) for s in real], [lung_histogram(s) for s in made]
    spreads = [noise(s) for s in real], [noise(s) for s in made]
    result = {
        "data": {"name": a.name or a.data.name, "scans": len(real)},
        "phantom": {"version": phantom.VERSION, "patients": len(made), "size": [128, 128, 32]},
        "HU medians": tissue_medians(6),
        "lung histogram distance, HU": {
            "real–real": distances(histograms[0]),
            "phantom–real": distances(*histograms),
            "phantom–phantom": distances(histograms[1]),
        },
        "noise": {
            kind: {
                "HU": round(float(np.nanmedian([s for s, _ in values])), 1),
                "share above half Nyquist": round(float(np.nanmedian([p for _, p in values])), 2),
            }
            for kind, values in zip(("real", "phantom"), spreads, strict=True)
        },
        "provenance": experiments.provenance(experiments.device_name()),
    }
    if a.train:
        result["DSC across"] = across(a.data)
    text = json.dumps(result, indent=1, ensure_ascii=False)
    write_whole(ROOT / "results" / "phantom-realism.json", text + "\n")
    print(text)


if __name__ == "__main__":
    main()
