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
from scoat_lib.cohort import Cohort, DataError, data_folder, patient_of, with_statistics
from scoat_lib.external import Slices, score_slices, second_reader
from scoat_lib.files import write_whole
from scoat_lib.folds import Split, fewer, make_folds, split_by_source, split_of
from scoat_lib.training import IDENTITY, Recipe, Run, TrainingError, check_content, read_json, recipe_of
from scoat_lib.weights import Segmenter, load

RESULTS_VERSION = 3  # raised by hand when numerics change; tests/test_experiments.py fails if that was forgotten
TOLERANCE = 3.0  # mm of the surface Dice: about one pixel of the reduced scans
THRESHOLDS = tuple(round(0.1 * i, 1) for i in range(1, 10))
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
        "calibrate",
        "split",
        "folds",
        "fold",
        "fold_seed",
        "validation",
        "lesion_free",
        "thin_below",
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
    if recipe.patients:
        split = fewer(split, cohort, recipe.patients, recipe.fold_seed)
    return with_statistics(cohort, split.train), split


def probabilities(
    segmenter: Segmenter, cohort: Cohort, name: str, batch: int = 16, device="cpu", flip: bool = False, smooth: float = 0.0
) -> np.ndarray:
    """A case's lesion probabilities on the cohort's grid, by `inference.slice_probabilities`: (slices, H, W) float32.

    The cohort must have been made with the segmenter's preprocessing, mean and std aside.
    flip: average with the mirror image. smooth: σ in mm through the slices.
    """
    p = inference.slice_probabilities(segmenter, cohort.images[name], batch, device, flip=flip)
    return inference.smooth_through(p, cohort.spacing(name)[0], smooth)


def predict(segmenter: Segmenter, cohort: Cohort, name: str, threshold: float = 0.5, **options) -> np.ndarray:
    """A case's predicted lesion mask on the cohort's grid: (slices, H, W) bool. options: those of `probabilities`."""
    return probabilities(segmenter, cohort, name, **options) > threshold


def evaluate(segmenter: Segmenter, cohort: Cohort, names, threshold: float = 0.5, **options) -> dict[str, dict[str, int]]:
    """Voxel and region counts (`metrics.count`, 3-D, full connectivity, equation 10 in mm) of each named scan, whole.

    options: those of `probabilities`.
    """
    counts = {}
    for name in names:
        predicted = predict(segmenter, cohort, name, threshold, **options)
        counts[name] = metrics.count(predicted, np.asarray(cohort.masks[name]), spacing=cohort.spacing(name))
    return counts


def measure(probability: np.ndarray, truth: np.ndarray, spacing: Sequence[float]) -> dict:
    """What a scan's counts do not hold, from its probabilities; masks are the voxels above 0.5, counts are [tp, fp, fn].

    probability: (slices, H, W) in 0..1; truth: the same shape, bool; spacing: mm.
    {"regions in voxels": Na, Np, Nb, Nt with equation 10 in voxels; "thresholds": {"0.1": counts, … "0.9"}; "slices": counts of
    each slice; "lesions": for each true region (full connectivity) its voxels and how many of them were predicted, largest
    first; "hd95_mm", None where one of the two is empty; "diagonal_mm", the scan's own; "surface_dice"; "voxel_mm3"}.
    """
    predicted = probability > 0.5
    hd95 = metrics.hausdorff95(predicted, truth, spacing)
    labels, n = metrics.regions(truth)
    sizes = np.bincount(labels.ravel(), minlength=n + 1)[1:]
    hits = np.bincount(labels[predicted], minlength=n + 1)[1:]
    order = np.lexsort((hits, -sizes))
    in_voxels = metrics.count(predicted, truth)
    return {
        "regions in voxels": {k: in_voxels[k] for k in ("Na", "Np", "Nb", "Nt")},
        "thresholds": {f"{t:.1f}": _voxels(probability > np.float32(t), truth).sum(0).tolist() for t in THRESHOLDS},
        "slices": _voxels(predicted, truth).tolist(),
        "lesions": [[int(sizes[i]), int(hits[i])] for i in order],
        "hd95_mm": round(hd95, 3) if np.isfinite(hd95) else None,
        "diagonal_mm": round(float(np.linalg.norm(np.multiply(truth.shape, spacing))), 3),
        "surface_dice": round(metrics.surface_dice(predicted, truth, spacing, TOLERANCE), 5),
        "voxel_mm3": round(float(np.prod(spacing)), 5),
    }


def _voxels(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """tp, fp, fn of each slice: (slices, 3)."""
    each = (predicted & truth, predicted & ~truth, ~predicted & truth)
    return np.stack([np.count_nonzero(part, axis=(1, 2)) for part in each], axis=1)


def write_result(folder, run: Run, cohort: Cohort, data_name: str, found: dict, device: str, seconds: float) -> Path:
    """One JSON file, written whole or not at all; its name is `key`. Returns its path.

    found: "patients" and "measures", both by scan, and where they were taken "second reader" and "external".
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    result = {
        "recipe": run.recipe.to_dict(),
        "data": {"name": data_name, "fingerprint": cohort.fingerprint},
        "folds": run.split.to_dict(),
        **found,
        "curve": run.curve,
        "results_version": RESULTS_VERSION,
        "provenance": provenance(device) | {"seconds": round(seconds, 1)},
    }
    path = folder / f"{key(run.recipe, cohort.fingerprint)}.json"
    write_whole(path, as_json(result))
    return path


def as_json(content: dict) -> str:
    """JSON that a person can read: what holds only numbers and words stands on one line."""

    def flat(value) -> bool:
        """Whether a value is a leaf, or a list or mapping of leaves."""
        parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        return not any(isinstance(part, (dict, list)) for part in parts)

    def text(value, depth: int) -> str:
        """A value, indented where it is nested."""
        if flat(value):
            return json.dumps(value, sort_keys=True, ensure_ascii=False)
        space = "\n" + " " * (depth + 1)
        if isinstance(value, dict):
            parts = (f"{json.dumps(k, ensure_ascii=False)}: {text(value[k], depth + 1)}" for k in sorted(value))
            return "{" + space + ("," + space).join(parts) + "\n" + " " * depth + "}"
        if all(isinstance(part, list) and flat(part) for part in value):
            return json.dumps(value)
        return "[" + space + ("," + space).join(text(part, depth + 1) for part in value) + "\n" + " " * depth + "]"

    return text(content, 0) + "\n"


def _read_curve(path: Path) -> list[dict]:
    """A run's curve as `train` wrote it; TrainingError names a file that is none."""
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        curve = [{k: float(v) if "." in v or "e" in v else int(v) for k, v in row.items()} for row in rows]
        if not curve or not all("seconds" in row for row in curve):
            raise ValueError("it holds no epochs")
    except (ValueError, TypeError, AttributeError, csv.Error) as error:
        raise TrainingError(f"{path}: is damaged ({error}); remove the run's folder and train it again") from error
    return curve


def evaluate_run(folder, data=None, results="results", data_name: str = "", device: str = "cpu", external=None) -> Path:
    """Score a finished run on the fold it never saw and write the result; its path.

    Where the data holds a second reader's masks, its scans are scored against those too; external: the folder of the second
    cohort (`external.py`), scored slice by slice.
    Raises TrainingError if the folder holds no finished run, DataError if the data is not what it was trained on.
    """
    folder = Path(folder)
    if not (folder / "recipe.json").exists():
        raise TrainingError(f"{folder}: holds no run (no recipe.json); give a folder that `scoat train` made")
    identity = read_json(folder / "recipe.json", "remove the run's folder and train it again")
    check_content(identity, IDENTITY, folder / "recipe.json", "is no run's", "give a run's folder")
    recipe = recipe_of(identity["recipe"], folder / "recipe.json")
    cohort, split = prepare(recipe, data)
    if cohort.fingerprint != identity["data"] or split.to_dict() != identity["split"]:
        raise DataError(f"{folder}: was trained on other data than {data_folder(data)}; give the folder it was trained on")
    if not (folder / "weights.safetensors").exists():
        raise TrainingError(f"{folder}: the run is not finished; go on with `scoat train` and the same options")
    curve = _read_curve(folder / "curve.csv")
    began = time.perf_counter()
    segmenter = load(folder / "weights.safetensors")
    found: dict[str, dict] = {"patients": {}, "measures": {}, "second reader": {}}
    for name in split.test:
        truth, spacing = np.asarray(cohort.masks[name]), cohort.spacing(name)
        probability = probabilities(segmenter, cohort, name, device=device)
        found["patients"][name] = metrics.count(probability > 0.5, truth, spacing=spacing)
        found["measures"][name] = {"patient": cohort.cases[name].patient} | measure(probability, truth, spacing)
        other = second_reader(cohort, name)
        if other is not None:
            found["second reader"][name] = metrics.count(probability > 0.5, other, spacing=spacing)
    if external is not None:
        found["external"] = {Path(external).name: score_slices(segmenter, Slices.load(external), device)}
    seconds = sum(row["seconds"] for row in curve) + time.perf_counter() - began
    name = data_name or data_folder(data).name
    return write_result(results, Run(folder, recipe, split, curve, True), cohort, name, found, device_name(device), seconds)


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


def together(scans: dict[str, dict[str, int]], patients: dict[str, str] | None = None) -> dict[str, dict[str, int]]:
    """Counts by patient from counts by scan: a patient's scans are added up before any ratio is taken.

    patients: whose each scan is; by default what the scans' names tell (`cohort.patient_of`).
    """
    added: dict[str, dict[str, int]] = {}
    for name, counts in scans.items():
        whole = added.setdefault((patients or {}).get(name) or patient_of(name), dict.fromkeys(counts, 0))
        for k, v in counts.items():
            whole[k] += v
    return added


def scores(
    scans: dict[str, dict[str, int]], least: int = 1000, patients: dict[str, str] | None = None
) -> dict[str, dict[str, float]]:
    """The six metrics per patient, and three summaries: the mean over patients with at least `least` lesion voxels (the
    protocol's primary endpoint), the mean over all, and the metrics of all voxels and regions pooled.

    scans, patients: see `together`.
    """
    counted = together(scans, patients)
    table = {name: metrics.from_counts(counts) for name, counts in sorted(counted.items())}
    large = [name for name, c in counted.items() if c["tp"] + c["fn"] >= least]

    def mean(names) -> dict[str, float]:
        """The metrics' means over some patients."""
        return {m: float(np.mean([table[n][m] for n in names])) if names else float("nan") for m in metrics.METRICS}

    pooled = {k: sum(c[k] for c in counted.values()) for k in next(iter(counted.values()), {})}
    summary = {
        f"mean, {len(large)} patient{'' if len(large) == 1 else 's'} of ≥ {least} voxels": mean(large),
        f"mean, all {len(counted)}": mean(list(counted)),
        "pooled": metrics.from_counts(pooled) if counted else mean([]),
    }
    return table | summary
