"""`scoat experiment` and `scoat report`: many runs, and what they come to."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from scoat_lib.cli.app import BAD_INPUT, STOPPED, AsJson, Data, External, app, say
from scoat_lib.cli.app import device as choose_device


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
    grid: Annotated[
        list[str],
        typer.Argument(help="table1, table2, table3, matched, patients, schedule, split, readings, alpha, source, size."),
    ],
    data: Data = None,
    external: External = None,
    folds: Annotated[str, typer.Option(help="Which folds, as 0 or 0,2 or 0-4 or all.")] = "all",
    seeds: Annotated[str, typer.Option(help="Which seeds, as 0 or 0-2.")] = "0",
    only: Annotated[list[str] | None, typer.Option(help="Only the row of this name; may be repeated.")] = None,
    width: Annotated[int, typer.Option(min=1, help="Channels at full resolution; 64 is the published network.")] = 8,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the training slices.")] = 16,
    size: Annotated[int, typer.Option(min=0, help="Pixels across 358 mm: 128, 256, 512; 0 keeps each scan's grid.")] = 128,
    batch: Annotated[int, typer.Option(min=1, help="Slices a step.")] = 4,
    precision: Annotated[
        str, typer.Option(help="32-true, or bf16-mixed: faster where the processor or GPU computes it.")
    ] = "32-true",
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
    which_folds, which_seeds = _numbers(folds, "--folds"), _numbers(seeds, "--seeds") or [0]
    where = choose_device(device)
    from scoat_lib import engine, grids
    from scoat_lib.external import Slices
    from scoat_lib.training import Deadline, Recipe

    base = Recipe(width=width, epochs=epochs, size=size, batch=batch, precision=precision)
    recipes = []
    for word in grid:
        chosen = grids.get(word)
        unknown = set(only or []) - set(chosen.rows)
        if unknown:
            raise ValueError(f"grid {word} has no row {', '.join(sorted(unknown))}; known: {', '.join(chosen.rows)}")
        wanted = chosen.recipes(base, which_folds, which_seeds)
        if only:
            wanted = [r for r, label in zip(wanted, list(chosen.rows) * len(wanted), strict=False) if label in only]
        recipes += wanted
    if external:
        Slices.load(external)  # refuses a bad folder before hours of training
    jobs = engine.jobs(
        recipes,
        data,
        results=str(results),
        runs=str(runs),
        data_name=name,
        device=where,
        external=str(external) if external else None,
        threads=threads,
        stop_at=Deadline.after(60 * budget) if budget else None,
    )
    left = engine.missing(jobs)
    counts = {"wanted": len(jobs), "present": len(jobs) - len(left), "missing": len(left)}
    if dry_run or not left:
        listing = "".join(f"\n  {j.recipe.network} {j.recipe.loss} fold {j.recipe.fold} seed {j.recipe.seed}" for j in left)
        say(json_, counts, f"{counts['present']} of {len(jobs)} results are in {results}, {len(left)} missing{listing}")
        return
    outcome = engine.fill(jobs, processes, scheduler, progress=not json_)
    counts |= {"done": len(outcome.done), "stopped": len(outcome.stopped), "failed": outcome.failed}
    reasons = "".join(f"\n  {key}: {reason}" for key, reason in outcome.failed.items())
    say(json_, counts, f"{counts['present'] + counts['done']} of {len(jobs)} results are in {results}{reasons}")
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
    pair: Annotated[
        tuple[str, str] | None,
        typer.Option(help="Every patient's difference between two rows, as SCOAT-Net UNet++; drawn too."),
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace files that exist.")] = False,
) -> None:
    """Set the results beside the paper's tables: means, intervals, tests, surface distances, volumes, worst patients.

    With --output each table becomes NAME.txt (or .csv, .tex) and NAME.png; Figure 3's box plot and the volumes of the
    reference network too.
    """
    if format_ not in ("text", "csv", "latex"):
        raise typer.BadParameter(f"{format_!r} is none of text, csv, latex", param_hint="--format")
    from scoat_lib import claims as ledger
    from scoat_lib import grids, report

    for path in report.strays(results):
        print(f"scoat: warning: {path}: is no result (those are named by 20 hex digits) and is left out", file=sys.stderr)
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
        for index, table in enumerate(report.comparing(tables)):
            if not grid and (table.rows["all patients"] > 0).sum() < 2:
                continue  # asked for everything: a row alone compares nothing
            stem = name if index == 0 else f"{name}-{index + 1}"
            if pair and not grid and not set(pair) <= set(table.grid.rows):
                continue
            files[f"{stem}.{suffix}"] = report.pair_as_text(table, *pair) if pair else render(table)
            chosen.append((stem, table))
            if output is None:
                print(files[f"{stem}.{suffix}"])
            if output is None and not pair and format_ == "text":
                lines = report.worst(table, 1).round(1).to_string(index=False)
                print(f"worst patient of each row\n{lines}\n")
    if output is not None:
        _write_report(output, files, chosen, overwrite, pair)


def _write_report(output: Path, files: dict[str, str], chosen: list, overwrite: bool, pair: tuple[str, str] | None) -> None:
    """The tables' files and figures; nothing is written if one of the names is taken."""
    from scoat_lib import plots
    from scoat_lib.files import whole_file, write_whole

    def draw(figure, name: str) -> None:
        """Write a figure, whole or not at all."""
        with whole_file(output / name, ".png") as temporary:
            figure.savefig(temporary, dpi=150)

    figures = [f"{stem}{part}.png" for stem, _ in chosen for part in (("-pair",) if pair else ("", "-figure3"))]
    names = [*files, *figures]
    output.mkdir(parents=True, exist_ok=True)
    for name in names:
        if (output / name).exists() and not overwrite:
            raise ValueError(f"{output / name}: exists; choose another folder, or say --overwrite")
    for name, text in files.items():
        write_whole(output / name, text + "\n")
    for stem, table in chosen:
        if pair:
            draw(plots.paired_differences(table, *pair), f"{stem}-pair.png")
            continue
        draw(plots.table_figure(table), f"{stem}.png")
        reference = table.patients[table.grid.reference]
        if len(reference):
            title = f"{table.grid.reference}, {table.scale}"
            draw(plots.box_plot(reference, title), f"{stem}-figure3.png")
            if reference.true_ml.notna().any():
                draw(plots.bland_altman(reference, title), f"{stem}-volumes.png")
    print(f"{len(list(output.iterdir()))} files in {output}")
