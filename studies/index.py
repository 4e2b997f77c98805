"""An index of results/ that a person can read: python -m studies.index writes results/INDEX.md, and a test asks for it anew.

One line a run: the tables it belongs to, row, fold, seed, size and width, primary DSC, minutes, commit, file. Then how much is
there of the protocol's steps 1 to 3.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from scoat_lib import experiments, grids, report
from scoat_lib.files import write_whole
from scoat_lib.training import Recipe

STEPS = (
    ("1. SCOAT-Net, UNet++, U-Net", [("table2", label) for label in ("SCOAT-Net", "UNet++", "U-Net")], (0,)),
    (
        "2. the other rows of Tables I to III",
        [
            (name, label)
            for name in ("table1", "table2", "table3")
            for label in grids.get(name).rows
            if label not in ("SCOAT-Net", "UNet++", "U-Net", "BCE-Dice")
        ],
        (0,),
    ),
    ("3. more seeds of step 1's three", [("table2", label) for label in ("SCOAT-Net", "UNet++", "U-Net")], (1, 2)),
)


def text(results: list[dict]) -> str:
    """The index of some results (`report.load`) as Markdown."""
    lines = ["# The runs in this folder", "", "Made by `python -m studies.index`, not written.", ""]
    lines += ["| tables | row | fold | seed | size | width | epochs | primary DSC | patients | minutes | commit | file |"]
    lines += ["| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"]
    rows = []
    for result in results:
        named = {name: report.row_of(result, grid) for name, grid in grids.GRIDS.items()}
        named = {name: label for name, label in named.items() if label}
        recipe, frame = result["recipe"], report.per_patient([result])
        large = frame[frame.lesion_voxels >= report.LEAST]
        key = experiments.key(Recipe.from_dict(recipe), result["data"]["fingerprint"])
        rows.append(
            [", ".join(named), next(iter(named.values()), recipe["network"]), recipe["fold"], recipe["seed"], recipe["size"]]
            + [recipe["width"], recipe["epochs"], f"{100 * large.DSC.mean():.1f}" if len(large) else "–", len(large)]
            + [round(result["provenance"]["seconds"] / 60), (result["provenance"]["commit"] or "unknown")[:8], f"`{key}.json`"]
        )
    lines += ["| " + " | ".join(map(str, row)) + " |" for row in sorted(rows, key=lambda r: (r[0], r[1], r[3], r[2]))]
    lines += ["", "Of the protocol's steps (ct128, width 8, five folds):", ""]
    have = {(row_of_run(r), r["recipe"]["fold"], r["recipe"]["seed"]) for r in results if default(r)}
    for title, wanted, seeds in STEPS:
        all_of = [(row, fold, seed) for row in wanted for fold in range(5) for seed in seeds]
        there = sum((key_of(row), fold, seed) in have for row, fold, seed in all_of)
        lines.append(f"- {title}: {there} of {len(all_of)} runs")
    return "\n".join(lines) + "\n"


def key_of(row: tuple[str, str]) -> str:
    """A grid's row as the changed fields of its recipe, so that one run that stands in two tables is one."""
    return str(sorted(grids.get(row[0]).recipe(row[1], Recipe()).to_dict().items()))


def row_of_run(result: dict) -> str:
    """A result's recipe, fold and seed aside, in the form of `key_of`."""
    return str(sorted((result["recipe"] | {"fold": 0, "seed": 0}).items()))


def default(result: dict) -> bool:
    """Whether a run is at the protocol's scale."""
    wanted = Recipe().to_dict()
    return all(result["recipe"][k] == wanted[k] for k in ("width", "size", "epochs", "schedule", "split", "precision"))


def main() -> None:
    """Write the index."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=Path(__file__).parents[1] / "results")
    folder = parser.parse_args().results
    write_whole(folder / "INDEX.md", text(report.load(folder)))


if __name__ == "__main__":
    main()
