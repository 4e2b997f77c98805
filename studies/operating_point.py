"""Threshold, mirror image and smoothing for the shipped weights, chosen on patients that the folds' networks never saw.

    python -m studies.operating_point RUN [RUN ...] --data FOLDER

RUN: finished runs of one recipe on different folds. For every threshold, with and without averaging the mirror image, and for
several widths of smoothing through the slices, the DSC of each patient by the run that left it out; their mean over patients
with at least 1 000 lesion voxels (the protocol's primary endpoint), over all, and pooled. "left out": each of those patients
scored at the point that is best for the others, the mean of which is what the choice itself may hope for on new patients.
Written to results/shipped/operating-point-wWIDTH.json. The protocol's own scores keep 0.5, no mirror image and no smoothing;
the weights that are shipped are judged on other patients still.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch

from scoat_lib import experiments
from scoat_lib.files import write_whole
from scoat_lib.inference import smooth_through
from scoat_lib.report import LEAST
from scoat_lib.weights import load
from studies.finished import answers, same_recipe

THRESHOLDS = (0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6)
SMOOTH = (0.0, 1.0, 2.0, 3.0)  # mm
POINT = ("flip", "smooth", "threshold")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, nargs="+", help="folders of finished runs, one a fold")
    parser.add_argument("--data", required=True, help="the folder of scans they were trained on")
    parser.add_argument("--results", type=Path, default=Path(__file__).parents[1] / "results")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    counts: dict[tuple[bool, float, float], dict[str, np.ndarray]] = {}
    shared, runs = same_recipe(chosen.run, ("fold",))
    for recipe, folder in runs:
        cohort, split = experiments.prepare(recipe, chosen.data)
        segmenter = load(folder / "weights.safetensors")
        for name in split.test:
            truth = np.asarray(cohort.masks[name])
            plain, mirrored = answers(segmenter, cohort, name)
            for flip, p in ((False, plain), (True, (plain + mirrored) / 2)):
                for smooth in SMOOTH:
                    smoothed = smooth_through(p, cohort.spacing(name)[0], smooth)
                    for cut in THRESHOLDS:
                        a = smoothed > cut
                        found = np.array([(a & truth).sum(), a.sum(), truth.sum()])
                        patients = counts.setdefault((flip, smooth, cut), {})
                        patients[cohort.cases[name].patient] = patients.get(cohort.cases[name].patient, 0) + found
    rows = []
    for point, patients in counts.items():
        dsc = {n: 200 * both / max(1, a + b) for n, (both, a, b) in patients.items()}
        large = [dsc[n] for n, (_, _, b) in patients.items() if b >= LEAST]
        total = np.sum(list(patients.values()), axis=0)
        rows.append(
            dict(zip(POINT, point, strict=True))
            | {"primary": round(float(np.mean(large)), 2) if large else None}
            | {"all": round(float(np.mean(list(dsc.values()))), 2)}
            | {"pooled": round(float(200 * total[0] / (total[1] + total[2])), 2)}
            | {"patients": {n: round(v, 2) for n, v in dsc.items()}}
        )
    best = max(rows, key=lambda row: (row["primary"] or 0.0, row["pooled"]))
    judged = [n for n, (_, _, voxels) in patients.items() if voxels >= LEAST]
    left_out = {}
    for name in judged if len(judged) > 1 else []:
        others = [n for n in judged if n != name]
        chosen_by_others = max(rows, key=lambda row: np.mean([row["patients"][n] for n in others]))
        left_out[name] = chosen_by_others["patients"][name]
    content = {"recipe": shared, "folds": sorted(recipe.fold for recipe, _ in runs), "rows": rows}
    content |= {"best": {k: best[k] for k in (*POINT, "primary", "all", "pooled")}}
    content |= {"left out": left_out | ({"mean": round(float(np.mean(list(left_out.values()))), 2)} if left_out else {})}
    content |= {"provenance": experiments.provenance(experiments.device_name())}
    out = chosen.results / "shipped" / f"operating-point-w{shared['width']}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    write_whole(out, json.dumps(content, indent=1) + "\n")
    print(json.dumps(content["best"]), out)


if __name__ == "__main__":
    main()
