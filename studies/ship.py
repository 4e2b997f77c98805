"""Make a finished run on all patients the weights that the package ships: python -m studies.ship RUN

RUN is its folder, or the name of shipped weights, whose card is then made anew. Takes threshold, mirror image and smoothing
from results/shipped/operating-point-wWIDTH.json, and from the cross-validated runs how much is marked where there is nearly
nothing. Writes NAME-wWIDTH.safetensors into scoat_lib/shipped/ and prints the rows of its model card (README.md there),
recomputed from the cross-validated results of the same recipe in results/. The card's words are written by hand; a test
compares its numbers.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from scoat_lib import metrics, report, rule, weights
from scoat_lib.training import Recipe

ROOT = Path(__file__).resolve().parent.parent
NEARLY_NONE = 10  # lesion voxels


def quiet(results: list[dict], threshold: float) -> dict | None:
    """The most that runs marked, in cm³, in a scan with next to no lesion that they had not seen; None where there is no such.

    Without mirror image and smoothing, at the highest threshold that the runs counted at and that is not above `threshold`.
    {"ml", "scan", "lesion voxels", "threshold"}
    """
    found = []
    for result in results:
        for scan, counts in result["patients"].items():
            lesion, measured = counts["tp"] + counts["fn"], result["measures"][scan]
            if lesion < NEARLY_NONE:
                counted = max((t for t in measured["thresholds"] if float(t) <= threshold + 1e-9), key=float)
                tp, fp, _ = measured["thresholds"][counted]
                volume = round((tp + fp) * measured["voxel_mm3"] / 1000, 1)
                found.append({"ml": volume, "scan": scan, "lesion voxels": lesion, "threshold": float(counted)})
    return max(found, key=lambda one: one["ml"], default=None)


def main() -> None:
    """Write the file, print the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="folder of a finished run with fold -1, or the name of shipped weights")
    folder = parser.parse_args().run
    segmenter = weights.load(folder if folder in weights.shipped() else Path(folder) / "weights.safetensors")
    card = dict(segmenter.card)
    recipe = card.pop("recipe")
    if recipe["fold"] != -1:
        raise SystemExit(
            f"{folder}: trained on fold {recipe['fold']}; the shipped weights are trained on every patient (fold -1)"
        )
    point = json.loads((ROOT / "results" / "shipped" / f"operating-point-w{recipe['width']}.json").read_text())
    card["inference"] = {k: point["best"][k] for k in ("threshold", "flip", "smooth")}
    base = Recipe.from_dict({k: v for k, v in recipe.items() if k != "in_channels"})
    same = [r for r in report.alike(report.load(ROOT / "results"), base) if r["recipe"]["seed"] == recipe["seed"]]
    same = [r for r in same if r["recipe"]["network"] == recipe["network"]]
    card["quiet"] = quiet(same, card["inference"]["threshold"])
    segmenter.model.made_by = {k: recipe[k] for k in ("network", "in_channels", "width", "options")}
    name = f"{recipe['network']}-w{recipe['width']}"
    weights.save(
        ROOT / "scoat_lib" / "shipped" / f"{name}.safetensors",
        segmenter.model,
        segmenter.preprocessing,
        recipe,
        half=True,
        **card,
    )

    every = report.per_patient(same)
    large = every[every.lesion_voxels >= report.LEAST]
    chosen = next(r for r in point["rows"] if all(r[k] == v for k, v in card["inference"].items()))
    for what, frame, values in (
        *((f"{m}, ≥ {report.LEAST} voxels", large, 100 * large[m]) for m in ("DSC", "SEN", "PPV")),
        ("DSC, all", every, 100 * every.DSC),
        (f"operating point {card['inference']}", large, large.index.map(chosen["patients"])),
        ("best point of the others", large, large.index.map(point["left out"])),
    ):
        found = rule.interval(values, frame.fold)
        print(f"| {what} | {found.patients} | {found.mean:.1f} | {found.low:.1f} … {found.high:.1f} |")
    print(f"| DSC, pooled | {len(every)} | {report.summary(same).loc[recipe['network'], 'DSC, pooled']:.1f} | |")
    for result in sorted(same, key=lambda r: r["recipe"]["fold"]):
        for patient, counts in result["patients"].items():
            values = [f"{100 * v:.1f}" for v in metrics.from_counts(counts).values()]
            print("|", " | ".join([patient, str(result["recipe"]["fold"]), str(counts["tp"] + counts["fn"]), *values]), "|")


if __name__ == "__main__":
    main()
