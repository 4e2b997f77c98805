"""Do the probabilities mean what they say, and is doubt where the errors are? On real patients that the networks never saw.

    python -m studies.uncertainty RUN [RUN ...] --data FOLDER

RUN: finished runs of one recipe; several seeds of one fold make an ensemble for that fold's patients. Three answers are judged:
one network (the lowest seed of each fold), its mean with the mirror image, and the mean over the fold's runs, where there are
several. Written to results/uncertainty/wWIDTH.json: by answer, ten bins of probability with what was said and what was lesion,
the expected calibration error of all voxels and of those given 0.05 or more (the easy background apart), DSC of each patient;
and the share of wrong voxels by doubt, the distance between the answer and the mirror image's.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch

from scoat_lib import experiments, metrics
from scoat_lib.files import write_whole
from scoat_lib.training import Recipe
from scoat_lib.weights import load
from studies.finished import answers, same_recipe

EASY = 0.05
DOUBT = (0.0, 0.01, 0.05, 0.1, 0.2, 0.4, 1.0)


class Tally:
    """Counts of one answer over many patients."""

    def __init__(self):
        self.voxels, self.said, self.lesion = np.zeros(10), np.zeros(10), np.zeros(10)
        self.hard, self.dsc = [np.zeros(10) for _ in range(3)], {}

    def add(self, name: str, p: np.ndarray, truth: np.ndarray) -> None:
        """One patient's probabilities and truth."""
        for table, where in (((self.voxels, self.said, self.lesion), np.ones_like(truth)), (self.hard, p >= EASY)):
            q, t = p[where], truth[where]
            bins = np.minimum((q * 10).astype(int), 9)
            for total, weight in zip(table, (None, q, t), strict=True):
                total += np.bincount(bins, weight, 10)
        self.dsc[name] = round(100 * metrics.evaluate(p > 0.5, truth)["DSC"], 2)

    def content(self) -> dict:
        """As it is written."""

        def error(voxels, said, lesion):
            return round(float(np.abs(said - lesion).sum() / max(1, voxels.sum())), 5)

        rows = [
            {"voxels": int(n), "said": round(float(s / n), 4), "was": round(float(t / n), 4)}
            for n, s, t in zip(self.voxels, self.said, self.lesion, strict=True)
            if n
        ]
        own = {"ece": error(self.voxels, self.said, self.lesion), "ece without the easy background": error(*self.hard)}
        return own | {"bins": rows, "patients": self.dsc}


def main() -> None:
    """Predict, count, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, nargs="+", help="folders of finished runs of one recipe")
    parser.add_argument("--data", required=True, help="the folder of scans they were trained on")
    parser.add_argument("--results", type=Path, default=Path(__file__).parents[1] / "results")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    by_fold: dict[int, list[tuple[Recipe, Path]]] = {}
    shared, found = same_recipe(chosen.run, ("fold", "seed"))
    for recipe, folder in found:
        by_fold.setdefault(recipe.fold, []).append((recipe, folder))
    tallies = {"one network": Tally(), "with the mirror image": Tally()}
    wrong, all_of = np.zeros(len(DOUBT) - 1), np.zeros(len(DOUBT) - 1)
    for runs in by_fold.values():
        runs.sort(key=lambda run: run[0].seed)
        cohort, split = experiments.prepare(runs[0][0], chosen.data)
        segmenters = [load(folder / "weights.safetensors") for _, folder in runs]
        for name in split.test:
            truth = np.asarray(cohort.masks[name]).astype(bool)
            found = [answers(segmenter, cohort, name) for segmenter in segmenters]
            plain, mirrored = found[0]
            tallies["one network"].add(name, plain, truth)
            tallies["with the mirror image"].add(name, (plain + mirrored) / 2, truth)
            if len(found) > 1:
                ensemble = tallies.setdefault(f"mean of {len(found)} seeds", Tally())
                ensemble.add(name, np.mean([p for p, _ in found], axis=0), truth)
            at = np.clip(np.digitize(np.abs(plain - mirrored), DOUBT) - 1, 0, len(DOUBT) - 2)
            all_of += np.bincount(at.ravel(), minlength=len(all_of))
            wrong += np.bincount(at.ravel(), ((plain + mirrored > 1) != truth).ravel(), len(all_of))
    content = {
        "recipe": shared,
        "runs": {fold: [recipe.seed for recipe, _ in runs] for fold, runs in sorted(by_fold.items())},
        "answers": {name: tally.content() for name, tally in tallies.items()},
        "doubt": [
            {"from": low, "to": high, "voxels": int(n), "wrong": round(float(w / max(1, n)), 5)}
            for low, high, n, w in zip(DOUBT, DOUBT[1:], all_of, wrong, strict=False)
        ],
        "provenance": experiments.provenance(experiments.device_name()),
    }
    out = chosen.results / "uncertainty" / f"w{shared['width']}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    write_whole(out, json.dumps(content, indent=1) + "\n")
    print(json.dumps({k: content[k] for k in ("runs", "answers", "doubt")}, indent=1), out)


if __name__ == "__main__":
    main()
