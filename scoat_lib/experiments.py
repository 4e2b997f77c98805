"""A recipe → a run → one JSON result, from which every table can be recomputed (section IV); `engine.py` does many."""

from __future__ import annotations

import csv
import datetime
import hashlib
import json
import platform
import subprocess
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import numpy as np
import torch

from scoat_lib import inference, metrics
from scoat_lib.cohort import (
    Cohort,
    DataError,
    Split,
    data_folder,
    make_folds,
    split_by_source,
    split_of,
    with_statistics,
)
from scoat_lib.slices import scan_slices
from scoat_lib.training import Recipe, Run, TrainingError, write_whole
from scoat_lib.weights import Segmenter, load

RESULTS_VERSION = 2  # raised by hand when numerics change; tests/test_experiments.py fails if that was forgotten
TOLERANCE = 3.0  # mm of the surface Dice: about one pixel of the reduced scans
PACKAGES = ("torch", "lightning-fabric", "monai", "numpy", "scipy", "connected-components-3d", "nibabel")


# The fields a recipe had when RESULTS_VERSION was last raised. A field added later is hashed only where it is not at its
# default, so that results from before it keep their names; with the next version this list is written anew.
_FIRST_FIELDS = frozenset(
    [
        "network",
        "options",
        "width",
        "loss",
        "loss_options",
        "schedule",
        "epochs",
        "until",
        "rate",
        "batch",
        "accumulate",
        "clip",
        "supervision",
        "size",
        "window",
        "split",
        "folds",
        "fold",
        "fold_seed",
        "validation",
        "lesion_free",
        "augment",
        "precision",
        "seed",
    ]
)


def key(recipe: Recipe, fingerprint: str) -> str:
    """The name of a result: a hash of the whole recipe, the data's fingerprint and RESULTS_VERSION. 20 hex digits."""
    default = Recipe().to_dict()
    hashed = {k: v for k, v in recipe.to_dict().items() if k in _FIRST_FIELDS or v != default[k]}
    content = {"recipe": hashed, "data": fingerprint, "version": RESULTS_VERSION}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:20]


def prepare(recipe: Recipe, data=None, cache=None) -> tuple[Cohort, Split]:
    """The cohort of a data folder as a recipe wants it, with the training patients' mean and std, and the recipe's split.

    Raises DataError or ScanError for data that cannot be used, ValueError for folds that do not exist.
    """
    cohort = Cohort.open(data, recipe.preprocessing, cache)
    if recipe.split == "slice":
        cohort = cohort.dealt_by_slice(recipe.folds, recipe.fold_seed)
        folds = [[n for n in cohort.names if n.endswith(f"#{i}")] for i in range(recipe.folds)]
        split = split_of(folds, recipe.fold, recipe.validation)
    elif recipe.split == "source":
        split = split_by_source(cohort, recipe.fold)
    elif recipe.fold == -1:
        split = Split(tuple(cohort.names), (), ())
    else:
        split = split_of(make_folds(cohort, recipe.folds, recipe.fold_seed), recipe.fold, recipe.validation)
    return with_statistics(cohort, split.train), split


def predict(
    segmenter: Segmenter,
    cohort: Cohort,
    name: str,
    threshold: float = 0.5,
    batch: int = 16,
    device="cpu",
    flip: bool = False,
    smooth: float = 0.0,
):
    """A case's predicted lesion mask on the cohort's grid: (slices, H, W) bool.

    flip: average with the mirror image. smooth: σ in mm through the slices.
    """
    model = segmenter.model.to(device).eval()
    parts = []
    with torch.inference_mode():
        for x in scan_slices(cohort, name, batch):
            x = x.to(device).contiguous(memory_format=torch.channels_last)
            p = torch.sigmoid(model(x).double())  # so that a logit just above 0 stays above one half
            if flip:
                p = (p + torch.sigmoid(model(x.flip(-1)).double()).flip(-1)) / 2
            parts.append(p[:, 0].cpu().numpy())
    between = cohort.spacing(name)[0] if smooth else 1.0  # the spacing reads the scan's file
    return inference.smooth_through(np.concatenate(parts), between, smooth) > threshold


def evaluate(
    segmenter: Segmenter, cohort: Cohort, names, threshold: float = 0.5, device="cpu", flip: bool = False, smooth: float = 0.0
) -> dict[str, dict[str, int]]:
    """Voxel and region counts (`metrics.count`, 3-D, full connectivity) of each named patient, whole scan; see `predict`."""
    counts = {}
    for name in names:
        predicted = predict(segmenter, cohort, name, threshold, device=device, flip=flip, smooth=smooth)
        counts[name] = metrics.count(predicted, np.asarray(cohort.masks[name]))
    return counts


def measure(predicted: np.ndarray, truth: np.ndarray, spacing: Sequence[float]) -> dict:
    """What counts do not hold of one patient: {"hd95_mm", "surface_dice", "voxel_mm3", "lesions"}.

    predicted, truth: (slices, H, W) bool. spacing: mm. hd95_mm is None where one of the two is empty. lesions: for each true
    region (full connectivity) its voxels and how many of them were predicted, largest first.
    """
    hd95 = metrics.hausdorff95(predicted, truth, spacing)
    labels, n = metrics.regions(truth)
    sizes = np.bincount(labels.ravel(), minlength=n + 1)[1:]
    hits = np.bincount(labels[predicted], minlength=n + 1)[1:]
    order = np.lexsort((hits, -sizes))
    return {
        "hd95_mm": round(hd95, 3) if np.isfinite(hd95) else None,
        "surface_dice": round(metrics.surface_dice(predicted, truth, spacing, TOLERANCE), 5),
        "voxel_mm3": round(float(np.prod(spacing)), 5),
        "lesions": [[int(sizes[i]), int(hits[i])] for i in order],
    }


def write_result(
    folder, run: Run, cohort: Cohort, patients: dict, seconds: float, device: str, data_name: str, measures: dict | None = None
) -> Path:
    """One JSON file, written whole or not at all; its name is `key`. Returns its path."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    result = {
        "recipe": run.recipe.to_dict(),
        "data": {"name": data_name, "fingerprint": cohort.fingerprint},
        "folds": run.split.to_dict(),
        "patients": patients,
        "measures": measures or {},
        "curve": run.curve,
        "results_version": RESULTS_VERSION,
        "provenance": provenance(device) | {"seconds": round(seconds, 1)},
    }
    path = folder / f"{key(run.recipe, cohort.fingerprint)}.json"
    write_whole(path, json.dumps(result, indent=1, sort_keys=True) + "\n")
    return path


def evaluate_run(folder, data=None, results="results", data_name: str = "", device: str = "cpu") -> Path:
    """Score a finished run on the fold it never saw and write the result; its path.

    Raises TrainingError if the folder holds no finished run, DataError if the data is not what it was trained on.
    """
    folder = Path(folder)
    if not (folder / "recipe.json").exists():
        raise TrainingError(f"{folder}: holds no run (no recipe.json); give a folder that `scoat train` made")
    identity = json.loads((folder / "recipe.json").read_text())
    recipe = Recipe.from_dict(identity["recipe"])
    cohort, split = prepare(recipe, data)
    if cohort.fingerprint != identity["data"] or split.to_dict() != identity["split"]:
        raise DataError(f"{folder}: was trained on other data than {data_folder(data)}; give the folder it was trained on")
    if not (folder / "weights.safetensors").exists():
        raise TrainingError(f"{folder}: the run is not finished; go on with `scoat train` and the same options")
    with open(folder / "curve.csv", newline="") as file:
        curve = [{k: float(v) if "." in v or "e" in v else int(v) for k, v in row.items()} for row in csv.DictReader(file)]
    began = time.perf_counter()
    segmenter, counts, measures = load(folder / "weights.safetensors"), {}, {}
    for patient in split.test:
        predicted, truth = predict(segmenter, cohort, patient, device=device), np.asarray(cohort.masks[patient])
        counts[patient] = metrics.count(predicted, truth)
        measures[patient] = measure(predicted, truth, cohort.spacing(patient))
    seconds = sum(row["seconds"] for row in curve) + time.perf_counter() - began
    run = Run(folder, recipe, split, curve, True)
    name = data_name or data_folder(data).name
    return write_result(results, run, cohort, counts, seconds, device_name(device), name, measures)


def provenance(device: str) -> dict:
    """Commit, whether the tree was changed, device, versions and date: where a number came from, never its key."""
    root = Path(__file__).parent

    def git(*words: str) -> str | None:
        """What git answers; None where it is missing or this is no repository."""
        try:
            out = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            return None
        return out.stdout.strip()

    status = git("status", "--porcelain", "--", str(root))
    return {
        "commit": git("rev-parse", "HEAD"),
        "dirty": None if status is None else bool(status),
        "device": device,
        "versions": {"python": platform.python_version()} | {name: metadata.version(name) for name in PACKAGES},
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
    }


def device_name(device: str = "cpu") -> str:
    """The accelerator's name, or the processor's architecture and the number of torch threads."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    return f"CPU {platform.machine()}, {torch.get_num_threads()} thread{'s' if torch.get_num_threads() > 1 else ''}"


def scores(patients: dict[str, dict[str, int]], least: int = 1000) -> dict[str, dict[str, float]]:
    """The six metrics per patient, and three summaries: the mean over patients with at least `least` lesion voxels (the
    protocol's primary endpoint), the mean over all, and the metrics of all voxels and regions pooled.
    """
    table = {name: metrics.from_counts(counts) for name, counts in sorted(patients.items())}
    large = [name for name, c in patients.items() if c["tp"] + c["fn"] >= least]

    def mean(names) -> dict[str, float]:
        """The metrics' means over some patients."""
        return {m: float(np.mean([table[n][m] for n in names])) if names else float("nan") for m in metrics.METRICS}

    pooled = {k: sum(c[k] for c in patients.values()) for k in next(iter(patients.values()), {})}
    summary = {
        f"mean, {len(large)} patients of ≥ {least} voxels": mean(large),
        f"mean, all {len(patients)}": mean(list(patients)),
        "pooled": metrics.from_counts(pooled) if patients else mean([]),
    }
    return table | summary
