"""What the engine costs beside the training itself, and what a second worker is worth, local and on Dask."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from clock import line

from scoat_lib import engine, phantom
from scoat_lib.training import Recipe

RESULTS = Path(__file__).parents[1] / "results"


def usual_run() -> float | None:
    """The median seconds of the runs in results/, which were made by the engine; None where there are none."""
    found = [json.loads(path.read_text()) for path in RESULTS.glob("*.json")]
    seconds = [r["provenance"]["seconds"] for r in found if "recipe" in r and "seconds" in r.get("provenance", {})]
    return statistics.median(seconds) if seconds else None


def workers(epochs: int, size: int, seeds: int) -> list[dict]:
    """Small runs by `engine.fill`: what one costs beside the same training in this process, and two at once beside one.

    Seconds are the wall's: waiting for one another is what is measured. Every engine's results are compared.
    """
    recipe = Recipe(network="scoatnet", width=4, epochs=epochs, size=size, folds=3)
    with tempfile.TemporaryDirectory() as folder:
        data = phantom.write_cohort(Path(folder) / "data", 3, (size, size, 16))

        def jobs(name: str):
            places = {"results": str(Path(folder) / name), "runs": str(Path(folder) / f"{name}-runs")}
            Path(places["results"]).mkdir()
            return engine.jobs([replace(recipe, seed=s) for s in range(seeds)], data, data_name="phantom", **places)

        def took(name: str, do) -> tuple[float, list]:
            wanted = jobs(name)
            began = time.perf_counter()
            do(wanted)
            return time.perf_counter() - began, [json.loads(job.result.read_text())["patients"] for job in wanted]

        def alone(wanted):
            for job in wanted:
                engine.perform(job)

        took("warm", lambda wanted: engine.perform(wanted[0]) and alone(wanted[1:]))
        ways = {
            "here": alone,
            "local 1": lambda w: engine.fill(w, 1, progress=False),
            "local 2": lambda w: engine.fill(w, 2, progress=False),
            "Dask 1": lambda w: engine.fill(w, scheduler="local:1", progress=False),
            "Dask 2": lambda w: engine.fill(w, scheduler="local:2", progress=False),
        }
        seen = {name: took(name.replace(" ", "-"), do) for name, do in ways.items()}
    if any(patients != seen["here"][1] for _, patients in seen.values()):
        raise RuntimeError("the engines' results differ from those of the same runs in one process")
    seconds = {name: s for name, (s, _) in seen.items()}
    usual = usual_run()
    more = (seconds["local 1"] - seconds["here"]) / seeds
    share = 100 * more / usual if usual else float("nan")
    check = "every engine's results are those of the same runs in this process"
    lines = [
        line("the engine's own time, of a run of results/", round(share, 2), "%", "< 2", share < 2 if usual else None,
             how=f"{more:.1f} s a run, to start Python and torch; the median run took {(usual or 0) / 60:.0f} min", check=check)
    ]  # fmt: skip
    for way in ("local", "Dask"):
        value = seconds[f"{way} 1"] / seconds[f"{way} 2"]
        lines.append(line(f"one worker's time / two workers', {way}", round(value, 2), "×", "≥ 1.8", value >= 1.8,
                          how=f"{seeds} runs of {seconds['here'] / seeds:.0f} s each", check=check,
                          limit="as many cores as workers; starting takes part of it", seconds=seconds))  # fmt: skip
    return lines
