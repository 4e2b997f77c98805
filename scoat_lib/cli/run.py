"""`scoat phantom`, `train`, `evaluate`: scans that are made, one run."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from scoat_lib.cli.app import STOPPED, AsJson, Data, External, Threads, app, say, set_threads
from scoat_lib.cli.app import device as choose_device
from scoat_lib.cli.app import options as parse_options


@app.command("phantom")
def phantom_(
    folder: Annotated[Path, typer.Argument(help="A new folder; it is laid out like the public record.")],
    patients: Annotated[int, typer.Option(min=1, help="How many patients; without --follow-up.")] = 19,
    size: Annotated[tuple[int, int, int], typer.Option(help="Rows, columns and slices, from 64 64 16.")] = (128, 128, 32),
    seed: Annotated[int, typer.Option(help="Same seed, same patients.")] = 0,
    follow_up: Annotated[bool, typer.Option(help="Instead the 2 patients × 4 dates of Figure 6, another scanner.")] = False,
    json_: AsJson = False,
) -> None:
    """Make a synthetic cohort of chest CT scans with exact lesion, lung, lobe and vessel masks."""
    from scoat_lib import phantom

    phantom.write_cohort(folder, patients, size, seed, follow_up)
    volumes = json.loads((folder / "phantom.json").read_text())["lesion_cm3"]
    outcome = {"folder": str(folder), "lesion_cm3": volumes}
    say(
        json_,
        outcome,
        f"{len(volumes)} scans, lesions of {min(volumes.values()):g} to {max(volumes.values()):g} cm³ → {folder}",
    )


@app.command()
def train(
    data: Data = None,
    network: Annotated[str, typer.Option(help="scoatnet, unetpp, unet, …; a wrong name lists them all.")] = "scoatnet",
    option: Annotated[list[str] | None, typer.Option(help="A reading of the paper, NAME=VALUE; may be repeated.")] = None,
    width: Annotated[int, typer.Option(min=1, help="Channels at full resolution; 64 is the published network.")] = 8,
    loss: Annotated[str, typer.Option(help="mae, iou, bce, dice, focal or bce-dice.")] = "bce-dice",
    loss_option: Annotated[list[str] | None, typer.Option(help="An option of the loss, NAME=VALUE, as alpha=1.")] = None,
    schedule: Annotated[str, typer.Option(help="modern, paper, or paper-no-restart.")] = "modern",
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the training slices (the paper's first phase at most).")] = 16,
    until: Annotated[str, typer.Option(help="end or converged: when the paper's first phase ends.")] = "end",
    rate: Annotated[float | None, typer.Option(help="Learning rate; default 0.003 (modern) or the paper's 0.01.")] = None,
    batch: Annotated[int, typer.Option(min=1, help="Slices a step and device.")] = 4,
    accumulate: Annotated[int, typer.Option(min=1, help="Batches whose gradients are averaged before a step.")] = 1,
    size: Annotated[int, typer.Option(min=0, help="Pixels across 358 mm: 128, 256, 512; 0 keeps each scan's grid.")] = 128,
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="Bring each scan's own air and muscle to their HU first: for lost scales.")
    ] = False,
    fold: Annotated[int, typer.Option(min=-1, help="Fold of patients to report on, from 0; -1 trains on everybody.")] = 0,
    folds: Annotated[int, typer.Option(min=2, help="How many folds the patients are split into.")] = 5,
    validation: Annotated[int, typer.Option(min=0, help="Folds kept aside for watching; never the reported one.")] = 0,
    lesion_free: Annotated[float, typer.Option(min=0, max=1, help="Share of slices without lesion to train on.")] = 0.15,
    thin_below: Annotated[
        float, typer.Option(min=0, help="Of scans with slices closer than so many mm, every second one an epoch; 0: all.")
    ] = 2.0,
    augment: Annotated[float, typer.Option(min=0, help="Strength of random moves and brightness; 0 for none.")] = 2.0,
    precision: Annotated[
        str, typer.Option(help="32-true, or bf16-mixed: faster where the processor or GPU computes it.")
    ] = "32-true",
    seed: Annotated[int, typer.Option(help="Same seed, same weights on one machine.")] = 0,
    runs: Annotated[Path, typer.Option(help="Where the run's folder goes.")] = Path("runs"),
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    devices: Annotated[int, typer.Option(min=1, help="Processes, one a device.")] = 1,
    workers: Annotated[int, typer.Option(min=0, help="Processes that prepare slices.")] = 0,
    threads: Threads = 0,
    budget: Annotated[float, typer.Option(min=0, help="Stop cleanly after so many minutes (0: never).")] = 0,
    json_: AsJson = False,
) -> None:
    """Train a network on a fold of patients; cut short, the same command goes on where it stopped.

    Leaves RUNS/NAME with the weights, the curve as CSV and TensorBoard logs, and prints that folder.
    Then: scoat evaluate RUNS/NAME.
    """
    pairs, loss_pairs = parse_options(option or []), parse_options(loss_option or [])
    where = choose_device(device)
    from scoat_lib import experiments
    from scoat_lib.training import Deadline, Recipe
    from scoat_lib.training import train as train_run

    set_threads(threads)
    recipe = Recipe(
        network=network,
        options=pairs,
        width=width,
        loss=loss,
        loss_options=loss_pairs,
        schedule=schedule,
        epochs=epochs,
        until=until,
        rate=rate if rate is not None else (0.003 if schedule == "modern" else 0.01),
        batch=batch,
        accumulate=accumulate,
        size=size,
        calibrate=calibrate,
        fold=fold,
        folds=folds,
        validation=validation,
        lesion_free=lesion_free,
        thin_below=thin_below,
        augment=augment,
        precision=precision,
        devices=devices,
        seed=seed,
    )
    cohort, split = experiments.prepare(recipe, data)
    folder = runs / experiments.key(recipe, cohort.fingerprint)
    if not json_:
        print(f"{network}, width {width}: {len(split.train)} patients to train on, {len(split.test)} to report on → {folder}")
    done = train_run(
        recipe,
        cohort,
        split,
        folder,
        accelerator=where,
        workers=workers,
        progress=not json_ and sys.stderr.isatty(),
        stop_at=Deadline.after(60 * budget) if budget else None,
    )
    last = done.curve[-1] if done.curve else {}
    outcome = {"run": str(folder), "finished": done.finished, "epochs": len(done.curve), **last}
    if not done.finished:
        say(json_, outcome, f"stopped after {len(done.curve)} epochs; run the same command again to go on")
        raise typer.Exit(STOPPED)
    say(json_, outcome, f"{len(done.curve)} epochs, training loss {last['loss']:.4f}, DSC {last['DSC']:.3f}: {done.weights}")


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(help="A run's folder, or a weights file.")],
    data: Data = None,
    external: External = None,
    results: Annotated[Path, typer.Option(help="Where a run's result is written, one JSON file a run.")] = Path("results"),
    name: Annotated[str, typer.Option(help="What to call the data in the result; default: its folder's name.")] = "",
    threshold: Annotated[
        float | None, typer.Option(help="Probability above which a voxel is lesion; only for a weights file; default: its own.")
    ] = None,
    threads: Threads = 0,
    json_: AsJson = False,
) -> None:
    """Score a run on the patients it never saw, or a weights file on every patient of a data folder.

    A run's result is written to RESULTS; nothing is written for a weights file. Patients that the weights were trained on
    are marked: their scores say nothing about new patients.
    """
    from scoat_lib import experiments
    from scoat_lib.cohort import Cohort
    from scoat_lib.weights import load

    set_threads(threads)
    if run.is_dir():
        path = experiments.evaluate_run(run, data, results, name, external=external)
        patients, seen = json.loads(path.read_text())["patients"], set()
    else:
        segmenter = load(run)
        cohort = Cohort.open(data, segmenter.preprocessing)
        same = cohort.fingerprint == segmenter.card.get("data")
        seen = set(segmenter.card.get("split", {}).get("train", [])) & set(cohort.names)
        if same:
            seen = set(segmenter.card["split"]["train"])
        cut = segmenter.threshold if threshold is None else threshold
        asked = {"flip": segmenter.flip, "smooth": segmenter.smooth}
        patients, path = experiments.evaluate(segmenter, cohort, cohort.names, cut, **asked), None
    table = experiments.scores(patients)
    if json_:
        print(json.dumps({"result": str(path) if path else None, "trained_on": sorted(seen), "scores": table}))
        return
    width = max(len(n) for n in table)
    print(" " * width + "".join(f"{m:>8}" for m in experiments.metrics.METRICS))
    for patient, values in table.items():
        mark = "  (trained on)" if patient in seen else ""
        print(f"{patient:<{width}}" + "".join(f"{values[m]:8.3f}" for m in experiments.metrics.METRICS) + mark)
    if path:
        print(f"written to {path}")
