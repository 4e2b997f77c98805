"""The command `scoat`: phantom, train, evaluate, segment, experiment, report."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="SCOAT-Net: segment COVID-19 lung opacification in chest CT. For research and teaching, not for clinical use.",
    epilog="Exit codes: 0 done; 2 the command was misspelt; 3 a file or folder cannot be used (the message says why); "
    "4 stopped by --budget before the end, run the same command again to go on.",
)
BAD_INPUT, STOPPED = 3, 4

Data = Annotated[
    Path | None,
    typer.Option(
        help="Folder with COVID-19-CT-Seg_20cases/ and Infection_Mask/. Default: the variable SCOAT_DATA, else the "
        "download folder, else a synthetic cohort."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the outcome as one JSON object, and nothing else.")]
Threads = Annotated[int, typer.Option(min=0, help="Processor threads; 0 leaves the choice to torch.")]


def _say(json_wanted: bool, outcome: dict, text: str) -> None:
    print(json.dumps(outcome) if json_wanted else text)


def _threads(number: int) -> None:
    if number:
        import torch

        torch.set_num_threads(number)


def _device(wanted: str) -> str:
    """ "cpu" or "cuda"; auto takes a GPU where there is one."""
    import torch

    if wanted not in ("auto", "cpu", "cuda"):
        raise typer.BadParameter(f"{wanted!r} is none of auto, cpu, cuda", param_hint="--device")
    if wanted == "cuda" and not torch.cuda.is_available():
        raise typer.BadParameter("torch sees no CUDA device here; use --device cpu", param_hint="--device")
    return "cuda" if wanted == "cuda" or (wanted == "auto" and torch.cuda.is_available()) else "cpu"


def _options(pairs: list[str]) -> dict:
    """["up=bilinear", "reduction=8"] → {"up": "bilinear", "reduction": 8}."""
    options = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise typer.BadParameter(f"{pair!r} is not NAME=VALUE")
        try:
            options[name] = json.loads(value.lower() if value.lower() in ("true", "false") else value)
        except json.JSONDecodeError:
            options[name] = value
    return options


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
    _say(
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
    fold: Annotated[int, typer.Option(min=-1, help="Fold of patients to report on, from 0; -1 trains on everybody.")] = 0,
    folds: Annotated[int, typer.Option(min=2, help="How many folds the patients are split into.")] = 5,
    validation: Annotated[int, typer.Option(min=0, help="Folds kept aside for watching; never the reported one.")] = 0,
    lesion_free: Annotated[float, typer.Option(min=0, max=1, help="Share of slices without lesion to train on.")] = 0.15,
    augment: Annotated[float, typer.Option(min=0, help="Strength of random moves and brightness; 0 for none.")] = 1.0,
    precision: Annotated[str, typer.Option(help="bf16-mixed (faster) or 32-true.")] = "bf16-mixed",
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
    from scoat_lib import experiments
    from scoat_lib.training import Recipe
    from scoat_lib.training import train as train_run

    _threads(threads)
    where = _device(device)
    recipe = Recipe(
        network=network,
        options=_options(option or []),
        width=width,
        loss=loss,
        loss_options=_options(loss_option or []),
        schedule=schedule,
        epochs=epochs,
        until=until,
        rate=rate if rate is not None else (0.003 if schedule == "modern" else 0.01),
        batch=batch,
        accumulate=accumulate,
        size=size,
        fold=fold,
        folds=folds,
        validation=validation,
        lesion_free=lesion_free,
        augment=augment,
        precision=precision,
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
        devices=devices,
        workers=workers,
        progress=not json_ and sys.stderr.isatty(),
        stop_at=time.time() + 60 * budget if budget else None,
    )
    last = done.curve[-1] if done.curve else {}
    outcome = {"run": str(folder), "finished": done.finished, "epochs": len(done.curve), **last}
    if not done.finished:
        _say(json_, outcome, f"stopped after {len(done.curve)} epochs; run the same command again to go on")
        raise typer.Exit(STOPPED)
    _say(json_, outcome, f"{len(done.curve)} epochs, training loss {last['loss']:.4f}, DSC {last['DSC']:.3f}: {done.weights}")


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(help="A run's folder, or a weights file.")],
    data: Data = None,
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

    _threads(threads)
    if run.is_dir():
        path = experiments.evaluate_run(run, data, results, name)
        patients, seen = json.loads(path.read_text())["patients"], set()
    else:
        segmenter = load(run)
        cohort = Cohort.open(data, segmenter.preprocessing)
        same = cohort.fingerprint == segmenter.card.get("data")
        seen = set(segmenter.card.get("split", {}).get("train", [])) & set(cohort.names)
        if same:
            seen = set(segmenter.card["split"]["train"])
        cut = segmenter.threshold if threshold is None else threshold
        patients, path = experiments.evaluate(segmenter, cohort, cohort.names, cut, flip=segmenter.flip), None
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


def _numbers(text: str, option: str) -> list[int] | None:
    """ "0,2-4" → [0, 2, 3, 4]; "all" → None."""
    if text == "all":
        return None
    numbers: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            raise typer.BadParameter(f"{text!r} is not like 0 or 0,2 or 0-4 or all", param_hint=option)
        numbers += range(int(first), int(last or first) + 1)
    return numbers


@app.command()
def experiment(
    grid: Annotated[list[str], typer.Argument(help="table1, table2, table3, schedule, split, readings, alpha, source, size.")],
    data: Data = None,
    folds: Annotated[str, typer.Option(help="Which folds, as 0 or 0,2 or 0-4 or all.")] = "all",
    seeds: Annotated[str, typer.Option(help="Which seeds, as 0 or 0-2.")] = "0",
    only: Annotated[list[str] | None, typer.Option(help="Only the row of this name; may be repeated.")] = None,
    width: Annotated[int, typer.Option(min=1, help="Channels at full resolution; 64 is the published network.")] = 8,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the training slices.")] = 16,
    size: Annotated[int, typer.Option(min=0, help="Pixels across 358 mm: 128, 256, 512; 0 keeps each scan's grid.")] = 128,
    batch: Annotated[int, typer.Option(min=1, help="Slices a step.")] = 4,
    precision: Annotated[str, typer.Option(help="bf16-mixed (faster) or 32-true.")] = "bf16-mixed",
    results: Annotated[Path, typer.Option(help="Where results go, one JSON file a run.")] = Path("results"),
    runs: Annotated[Path, typer.Option(help="Where checkpoints and weights go.")] = Path("runs"),
    name: Annotated[str, typer.Option(help="What to call the data in the results; default: its folder's name.")] = "",
    processes: Annotated[int, typer.Option(min=1, help="Runs at once; several may share one GPU.")] = 1,
    threads: Annotated[int, typer.Option(min=1, help="Processor threads of each run.")] = 1,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    budget: Annotated[float, typer.Option(min=0, help="Stop cleanly after so many minutes (0: never).")] = 0,
    scheduler: Annotated[str, typer.Option(help="A Dask scheduler's address, or local:N for N local workers.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List what is missing and do nothing.")] = False,
    json_: AsJson = False,
) -> None:
    """Train and score what is missing of a table's grid; asked again, it does only what is still missing.

    Killed at any moment, the same command goes on from the last epoch. Two of them may work on the same folders.
    Then: scoat report.
    """
    from scoat_lib import experiments, grids
    from scoat_lib.training import Recipe

    base = Recipe(width=width, epochs=epochs, size=size, batch=batch, precision=precision)
    recipes = []
    for word in grid:
        chosen = grids.get(word)
        unknown = set(only or []) - set(chosen.rows)
        if unknown:
            raise ValueError(f"grid {word} has no row {', '.join(sorted(unknown))}; known: {', '.join(chosen.rows)}")
        wanted = chosen.recipes(base, _numbers(folds, "--folds"), _numbers(seeds, "--seeds") or [0])
        if only:
            wanted = [r for r, label in zip(wanted, list(chosen.rows) * len(wanted), strict=False) if label in only]
        recipes += wanted
    where = _device(device)
    jobs = experiments.jobs(
        recipes,
        data,
        results=str(results),
        runs=str(runs),
        data_name=name,
        device=where,
        threads=threads,
        stop_at=time.time() + 60 * budget if budget else None,
    )
    left = experiments.missing(jobs)
    counts = {"wanted": len(jobs), "present": len(jobs) - len(left), "missing": len(left)}
    if dry_run or not left:
        listing = "".join(f"\n  {j.recipe.network} {j.recipe.loss} fold {j.recipe.fold} seed {j.recipe.seed}" for j in left)
        _say(json_, counts, f"{counts['present']} of {len(jobs)} results are in {results}, {len(left)} missing{listing}")
        return
    outcome = experiments.fill(jobs, processes, scheduler, progress=not json_)
    counts |= {"done": len(outcome.done), "stopped": len(outcome.stopped), "failed": outcome.failed}
    reasons = "".join(f"\n  {key}: {reason}" for key, reason in outcome.failed.items())
    _say(json_, counts, f"{counts['present'] + counts['done']} of {len(jobs)} results are in {results}{reasons}")
    if outcome.failed:
        raise typer.Exit(BAD_INPUT)
    if outcome.stopped:
        raise typer.Exit(STOPPED)


@app.command("report")
def report_(
    grid: Annotated[list[str] | None, typer.Argument(help="Which grids; default: all that have a result.")] = None,
    results: Annotated[Path, typer.Option(help="The folder of results.")] = Path("results"),
    format_: Annotated[str, typer.Option("--format", help="text, csv or latex.")] = "text",
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="A folder for the tables, as files, with figures.")
    ] = None,
    claims: Annotated[bool, typer.Option("--claims", help="The ledger of the paper's claims instead of tables.")] = False,
    overwrite: Annotated[bool, typer.Option(help="Replace files that exist.")] = False,
) -> None:
    """Set the results beside the paper's tables: means, intervals, tests, surface distances, volumes, worst patients.

    With --output each table becomes NAME.txt (or .csv, .tex) and NAME.png; Figure 3's box plot and the volumes of the
    reference network too.
    """
    from scoat_lib import claims as ledger
    from scoat_lib import grids, report

    if format_ not in ("text", "csv", "latex"):
        raise typer.BadParameter(f"{format_!r} is none of text, csv, latex", param_hint="--format")
    found = report.load(results)
    if not found:
        raise ValueError(f"{results}: holds no result; make some with `scoat experiment`, or give the right folder")
    if claims:
        print(ledger.as_text(found))
        return
    render = {"text": report.as_text, "csv": lambda t: t.rows.to_csv(), "latex": report.as_latex}[format_]
    suffix = {"text": "txt", "csv": "csv", "latex": "tex"}[format_]
    files: dict[str, str] = {}
    chosen = []
    for name in grid or grids.GRIDS:
        tables = report.tables(found, grids.get(name))
        if grid and not tables:
            raise ValueError(f"{results}: holds no result of grid {name}; make some with `scoat experiment {name}`")
        for index, table in enumerate(tables):
            if not grid and (table.rows["all patients"] > 0).sum() < 2:
                continue
            stem = name if index == 0 else f"{name}-{index + 1}"
            files[f"{stem}.{suffix}"] = render(table)
            chosen.append((stem, table))
            if output is None:
                print(files[f"{stem}.{suffix}"])
                if format_ == "text":
                    lines = report.worst(table, 1).round(1).to_string(index=False)
                    print(f"worst patient of each row\n{lines}\n")
    if output is not None:
        _write_report(output, files, chosen, overwrite)


def _write_report(output: Path, files: dict[str, str], chosen: list, overwrite: bool) -> None:
    """The tables' files and figures; nothing is written if one of the names is taken."""
    from scoat_lib import plots

    names = [*files, *(f"{stem}.png" for stem, _ in chosen), *(f"{stem}-figure3.png" for stem, _ in chosen)]
    output.mkdir(parents=True, exist_ok=True)
    for name in names:
        if (output / name).exists() and not overwrite:
            raise ValueError(f"{output / name}: exists; choose another folder, or say --overwrite")
    for name, text in files.items():
        (output / name).write_text(text + "\n")
    for stem, table in chosen:
        plots.table_figure(table).savefig(output / f"{stem}.png", dpi=150)
        reference = table.patients[table.grid.reference]
        if len(reference):
            title = f"{table.grid.reference}, {table.scale}"
            plots.box_plot(reference, title).savefig(output / f"{stem}-figure3.png", dpi=150)
            if reference.true_ml.notna().any():
                plots.bland_altman(reference, title).savefig(output / f"{stem}-volumes.png", dpi=150)
    print(f"{len(list(output.iterdir()))} files in {output}")


@app.command()
def segment(
    scan: Annotated[Path, typer.Argument(help="A chest CT as NIfTI, in HU (.nii or .nii.gz).")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Where the mask goes (.nii or .nii.gz).")],
    weights: Annotated[str | None, typer.Option(help="A weights file; default: the ones that come with scoat.")] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Probability above which a voxel is lesion; default: the weights' own.")
    ] = None,
    flip: Annotated[
        bool | None, typer.Option(help="Average each slice with its mirror image; default: as the weights ask.")
    ] = None,
    probability: Annotated[Path | None, typer.Option(help="Also write the probability of each voxel here.")] = None,
    branches: Annotated[str, typer.Option(help="output (as trained), mean of the four branches, or 1 to 4.")] = "output",
    batch: Annotated[int, typer.Option(min=1, help="Slices at once; fewer take less memory.")] = 16,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    threads: Threads = 0,
    overwrite: Annotated[bool, typer.Option(help="Replace files that exist.")] = False,
    json_: AsJson = False,
) -> None:
    """Mark the lung opacification in a scan: a mask on the scan's own grid, and its volume (LOV) in cm³.

    Research and teaching only: no medical device, no diagnosis.
    """
    from scoat_lib import inference
    from scoat_lib.scan import Scan, ScanError, check_hounsfield, check_writable
    from scoat_lib.weights import load

    _threads(threads)
    where = _device(device)
    if threshold is not None and not 0 < threshold < 1:
        raise typer.BadParameter(f"{threshold} does not lie between 0 and 1", param_hint="--threshold")
    targets = [output] + ([probability] if probability else [])
    if len({t.absolute() for t in [*targets, scan]}) <= len(targets):
        raise ScanError("the scan, the mask and the probability map need three different names")
    for target in targets:
        check_writable(target, overwrite)
    volume = Scan.load(scan)
    check_hounsfield(volume)
    segmenter = load(weights)
    choice = int(branches) if branches.isdigit() else branches
    began = time.perf_counter()
    p = inference.probabilities(segmenter, volume, batch, where, choice, flip)
    mask = inference.threshold_mask(p, segmenter.threshold if threshold is None else threshold)
    mask.save(output, overwrite)
    if probability:
        p.save(probability, overwrite)
    lov = inference.opacification_volume(mask)
    outcome = {
        "mask": str(output),
        "lov_cm3": round(lov, 2),
        "lesion_voxels": int(mask.voxels.sum()),
        "spacing_mm": [round(s, 4) for s in volume.spacing],
        "seconds": round(time.perf_counter() - began, 2),
    }
    _say(json_, outcome, f"lung opacification volume {lov:.1f} cm³ → {output}")


def main() -> None:
    """Run the command; errors in the input become one line on stderr and exit code 3."""
    from scoat_lib.cohort import DataError, LeakageError
    from scoat_lib.scan import ScanError
    from scoat_lib.training import TrainingError
    from scoat_lib.weights import WeightsError

    try:
        app()
    except (ScanError, DataError, LeakageError, TrainingError, WeightsError, ValueError) as error:
        print(f"scoat: {error}", file=sys.stderr)
        raise SystemExit(BAD_INPUT) from None


if __name__ == "__main__":
    main()
