"""A recipe → a run → one JSON result, from which every table can be recomputed (section IV); and whole grids of them.

`fill` does what is missing of a list of recipes: in local processes, or on a Dask cluster. A run is claimed by a lock that
dies with its process, trains from its last epoch's checkpoint, and ends as one file; so engines may be killed, started again
and run side by side on one folder.
"""

from __future__ import annotations

import contextlib
import csv
import datetime
import hashlib
import json
import multiprocessing
import multiprocessing.connection
import os
import platform
import subprocess
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock, Timeout
from tqdm.auto import tqdm

from scoat_lib import metrics
from scoat_lib.cohort import (
    Cohort,
    DataError,
    Split,
    data_folder,
    make_folds,
    scan_slices,
    split_by_source,
    split_of,
    with_statistics,
)
from scoat_lib.training import RESTART_EPOCHS, Recipe, Run, TrainingError, train, write_whole
from scoat_lib.weights import Segmenter, load

RESULTS_VERSION = 2  # raised by hand when numerics change; tests/test_experiments.py fails if that was forgotten
TOLERANCE = 3.0  # mm of the surface Dice: about one pixel of the reduced scans
DONE, STOPPED, BUSY = "done", "stopped", "busy"  # what became of a run that an engine took up
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
    segmenter: Segmenter, cohort: Cohort, name: str, threshold: float = 0.5, batch: int = 16, device="cpu", flip: bool = False
):
    """A case's predicted lesion mask on the cohort's grid: (slices, H, W) bool. flip: average with the mirror image."""
    model = segmenter.model.to(device).eval()
    cut, parts = float(np.log(threshold / (1 - threshold))), []
    with torch.inference_mode():
        for x in scan_slices(cohort, name, batch):
            x = x.to(device).contiguous(memory_format=torch.channels_last)
            logits = model(x).float()
            if flip:
                p = (torch.sigmoid(logits) + torch.sigmoid(model(x.flip(-1)).float()).flip(-1)) / 2
                logits = torch.logit(p)
            parts.append((logits > cut)[:, 0].cpu().numpy())
    return np.concatenate(parts)


def evaluate(
    segmenter: Segmenter, cohort: Cohort, names, threshold: float = 0.5, device="cpu", flip: bool = False
) -> dict[str, dict[str, int]]:
    """Voxel and region counts (`metrics.count`, 3-D, full connectivity) of each named patient, whole scan."""
    counts = {}
    for name in names:
        predicted = predict(segmenter, cohort, name, threshold, device=device, flip=flip)
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
        return {m: float(np.mean([table[n][m] for n in names])) if names else float("nan") for m in metrics.METRICS}

    pooled = {k: sum(c[k] for c in patients.values()) for k in next(iter(patients.values()), {})}
    summary = {
        f"mean, {len(large)} patients of ≥ {least} voxels": mean(large),
        f"mean, all {len(patients)}": mean(list(patients)),
        "pooled": metrics.from_counts(pooled) if patients else mean([]),
    }
    return table | summary


@dataclass(frozen=True)
class Job:
    """A recipe with all a worker needs to run it; paths must be valid where the worker is."""

    recipe: Recipe
    key: str
    data: str | None = None
    results: str = "results"
    runs: str = "runs"
    data_name: str = ""
    device: str = "cpu"
    threads: int = 1
    stop_at: float | None = None

    @property
    def result(self) -> Path:
        """Where the result will be."""
        return Path(self.results) / f"{self.key}.json"

    @property
    def folder(self) -> Path:
        """The run's folder, with its checkpoint."""
        return Path(self.runs) / self.key


def jobs(recipes: Sequence[Recipe], data=None, **settings) -> list[Job]:
    """A job for each recipe, in order, without twins. settings: `Job`'s other fields. Opens the data, and so checks it."""
    cohorts: dict = {}
    made: dict[str, Job] = {}
    for recipe in recipes:
        if recipe.preprocessing not in cohorts:
            cohorts[recipe.preprocessing] = Cohort.open(data, recipe.preprocessing)
        cohort = cohorts[recipe.preprocessing]
        if recipe.split == "slice":
            cohort = cohort.dealt_by_slice(recipe.folds, recipe.fold_seed)
        this = key(recipe, cohort.fingerprint)
        made.setdefault(this, Job(recipe, this, str(data_folder(data)), **settings))
    return list(made.values())


def perform(job: Job) -> str:
    """Do one run, or go on with it, and write its result: "done", "stopped" (out of time) or "busy" (another engine's).

    The lock beside the run's folder goes with the process that holds it, however that ends.
    """
    if job.result.exists():
        return DONE
    torch.set_num_threads(job.threads)
    Path(job.runs).mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(f"{job.folder}.lock", timeout=0):
            if job.result.exists():
                return DONE
            cohort, split = prepare(job.recipe, job.data)
            # no DataLoader processes: Dask's workers are daemons and may not have any
            run = train(job.recipe, cohort, split, job.folder, accelerator=job.device, progress=False, stop_at=job.stop_at)
            if not run.finished:
                return STOPPED
            evaluate_run(job.folder, job.data, job.results, job.data_name, job.device)
    except Timeout:
        return BUSY
    return DONE


@dataclass
class Outcome:
    """What `fill` came to: keys by what became of them; failed holds the reason too."""

    done: list[str] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


def missing(wanted: Sequence[Job]) -> list[Job]:
    """The jobs without a result."""
    return [job for job in wanted if not job.result.exists()]


def fill(wanted: Sequence[Job], processes: int = 1, scheduler: str = "", progress: bool = True) -> Outcome:
    """Do what is missing of some jobs. Asking again does only what is still missing.

    processes: how many runs at once on this machine. scheduler: a Dask scheduler's address, or "local:N" for a cluster of
    N workers on this machine; runs then go there. A run that another engine works on is waited for.
    A run that fails does not stop the others; its reason is in the outcome.
    """
    todo, outcome = missing(wanted), Outcome()
    if not todo:
        return outcome
    watch = threading.Event()
    watcher = threading.Thread(target=_watch, args=(todo, watch), daemon=True)
    if progress:
        watcher.start()
    try:
        for job, state, reason in _on_dask(todo, scheduler) if scheduler else _in_processes(todo, processes):
            if state == DONE:
                outcome.done.append(job.key)
            elif state == STOPPED:
                outcome.stopped.append(job.key)
            else:
                outcome.failed[job.key] = reason
    finally:
        watch.set()
        if progress:
            watcher.join()
    return outcome


_EXIT = {0: DONE, 4: STOPPED, 5: BUSY}
_PAUSE = 2.0  # seconds between looks at processes, and before a busy run is asked for again


def _in_processes(todo: Sequence[Job], processes: int) -> Iterator[tuple[Job, str, str]]:
    """Each run in a process of its own, so that one that dies takes no other with it."""
    context = multiprocessing.get_context("spawn")
    waiting, running, asked = deque(todo), {}, set()
    try:
        while waiting or running:
            while waiting and len(running) < processes:
                job = waiting.popleft()
                process = context.Process(target=_process, args=(job, os.getpid()))
                process.start()
                running[process] = job
            multiprocessing.connection.wait([p.sentinel for p in running], timeout=_PAUSE)
            for process in [p for p in running if p.exitcode is not None]:
                job, state = running.pop(process), _EXIT.get(process.exitcode, "failed")
                if state == BUSY:
                    waiting.append(job)
                    if all(j.key in asked for j in waiting):
                        time.sleep(_PAUSE)
                    asked.add(job.key)
                    continue
                yield job, state, "" if state != "failed" else _reason(job, process.exitcode)
    finally:
        for process in running:
            process.terminate()


def _process(job: Job, parent: int) -> None:
    """The life of a process: its words go to a file beside the run's folder; it does not outlive the engine."""

    def leave_with_parent() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=leave_with_parent, daemon=True).start()
    Path(job.runs).mkdir(parents=True, exist_ok=True)
    with open(f"{job.folder}.log", "a") as log, contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
        try:
            state = perform(job)
        except Exception:
            traceback.print_exc()
            log.flush()
            sys.exit(1)
    sys.exit({v: k for k, v in _EXIT.items()}[state])


def _reason(job: Job, code: int) -> str:
    log = Path(f"{job.folder}.log")
    lines = log.read_text().strip().splitlines() if log.exists() else []
    return f"{lines[-1] if lines else 'no word'} (exit code {code}; {log})"


def _on_dask(todo: Sequence[Job], scheduler: str) -> Iterator[tuple[Job, str, str]]:
    """The runs on a Dask cluster, whose workers see the same folders; a run whose worker dies is given to another."""
    try:
        from distributed import Client, LocalCluster, as_completed
    except ImportError as error:
        raise TrainingError(f"--scheduler needs the package distributed ({error}); pip install 'scoat-lib[cluster]'") from error
    kind, _, number = scheduler.partition(":")
    with contextlib.ExitStack() as stack:
        if kind == "local" and number.isdigit() and int(number) > 0:
            # no spilling: a run's memory is torch's, which Dask cannot move
            cluster = stack.enter_context(
                LocalCluster(int(number), threads_per_worker=1, dashboard_address=None, memory_limit=0)
            )
            client = stack.enter_context(Client(cluster))
        else:
            client = stack.enter_context(Client(scheduler, timeout=30))
        futures = {client.submit(perform, job, pure=False, retries=2): job for job in todo}
        pending = as_completed(futures)
        for future in pending:
            job = futures[future]
            if future.status != "finished":
                yield job, "failed", repr(future.exception())
            elif future.result() == BUSY:
                time.sleep(_PAUSE)
                again = client.submit(perform, job, pure=False, retries=2)
                futures[again] = job
                pending.add(again)
            else:
                yield job, future.result(), ""


def planned_epochs(recipe: Recipe) -> int:
    """How many epochs a run has, at most."""
    return recipe.epochs + (RESTART_EPOCHS if recipe.schedule == "paper" else 0)


def _watch(todo: Sequence[Job], stop: threading.Event) -> None:
    """A bar over the epochs of all runs, read from their curves, wherever they are computed."""

    def done(job: Job) -> int:
        if job.result.exists():
            return planned_epochs(job.recipe)
        try:
            return max(0, (job.folder / "curve.csv").read_text().count("\n") - 1)
        except OSError:
            return 0

    total = sum(planned_epochs(job.recipe) for job in todo)
    with tqdm(total=total, initial=sum(map(done, todo)), unit="epoch", desc=f"{len(todo)} runs") as bar:
        while not stop.wait(_PAUSE):
            bar.update(sum(map(done, todo)) - bar.n)
            bar.set_postfix_str(f"{sum(job.result.exists() for job in todo)} of {len(todo)} done")
        bar.update(sum(map(done, todo)) - bar.n)
