"""Figure 5's two claims on real scans: how far SCOAT-Net's maps x_M reach, node by node and epoch by epoch.

    python -m studies.attention_course --data FOLDER [--external FOLDER] [--fold 0] [--seed 1]
    python -m studies.attention_course --data FOLDER --run RUN        a finished run's last weights only

Trains one run as `scoat train` would (its result goes to results/), and after each epoch measures every map on some lesion
slices of every patient with at least 1 000 lesion voxels. results/attention/KEY.json holds, by patient,

- "nodes": after the last epoch, the effective area of X(1,1), X(2,2), X(1,3), the nodes of Figure 5;
- "epochs": the effective area of X(1,3) after each epoch;
- "contrast": of the same nodes the map's mean on the lesion over its mean elsewhere, 1 where it does not tell them apart;
- "all": area and contrast of every node after every epoch;
- "learning": [tp, fp, fn] of these slices after each epoch, of patients that were trained on and of those left out.

The effective area of a map m is (sum m)^2 / (n sum m^2): 1 where it is even, k/n where k of n pixels share it.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from scoat_lib import experiments
from scoat_lib.files import write_whole
from scoat_lib.networks import attention_maps
from scoat_lib.networks.scoatnet import ATTENTION_NODES
from scoat_lib.report import LEAST
from scoat_lib.training import Recipe, train
from scoat_lib.weights import load

FIGURE5 = ("X(1,1)", "X(2,2)", "X(1,3)")
SLICES = 10  # of a patient, evenly over those with lesion


def effective_area(maps: torch.Tensor) -> float:
    """Mean over maps (N, 1, h, w) of (sum m)^2 / (n sum m^2)."""
    flat = maps.flatten(1).double()
    return float((flat.sum(1) ** 2 / (flat.shape[1] * (flat**2).sum(1)).clamp_min(1e-30)).mean())


def contrast(maps: torch.Tensor, masks: torch.Tensor) -> float:
    """Mean over maps of the mean on the lesion over the mean elsewhere; masks (N, 1, H, W) are shrunk to the maps."""
    inside = F.adaptive_avg_pool2d(masks, maps.shape[-2:])
    on = (maps * inside).sum((1, 2, 3)) / inside.sum((1, 2, 3)).clamp_min(1e-9)
    off = (maps * (1 - inside)).sum((1, 2, 3)) / (1 - inside).sum((1, 2, 3)).clamp_min(1e-9)
    return float((on / off.clamp_min(1e-9)).mean())


@torch.no_grad()
def voxels(model: torch.nn.Module, x: torch.Tensor, truth: torch.Tensor) -> list[int]:
    """[tp, fp, fn] of slices x (N, C, H, W) against bool masks of their size.

    The model stays in the mode and on the device it was in; x goes there, and the answer is counted where the masks are.
    """
    was_training = model.training
    predicted = (model.eval()(x.to(next(model.parameters()).device)) > 0).cpu()
    model.train(was_training)
    return [int((a & b).sum()) for a, b in ((predicted, truth), (predicted, ~truth), (~predicted, truth))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="folder of real scans, laid out like the record")
    parser.add_argument("--external", help="folder of the second cohort, on which the run is scored too")
    parser.add_argument("--name", default="", help="what to call the data in the result; default: its folder's name")
    parser.add_argument("--fold", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--run", type=Path, help="measure this finished run instead of training one")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--results", type=Path, default=Path(__file__).parents[1] / "results")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    if chosen.run:
        recipe = Recipe.from_dict(json.loads((chosen.run / "recipe.json").read_text())["recipe"])
    else:
        recipe = Recipe(network="scoatnet", fold=chosen.fold, seed=chosen.seed, epochs=chosen.epochs)
    cohort, split = experiments.prepare(recipe, chosen.data)
    this = experiments.key(recipe, cohort.fingerprint)
    folder = chosen.runs / this
    watched = {name: n for name, n in cohort.burden.items() if n >= LEAST}
    course: dict[str, dict[str, dict[str, list[float]]]] = {}
    learning: dict[str, list[list[int]]] = {}
    kept = folder / "attention.json"
    if kept.exists() and not chosen.run:
        course, learning = json.loads(kept.read_text())

    def look(epoch: int, model: torch.nn.Module) -> None:
        for name in watched:
            with_lesion = cohort.lesion_slices[name]
            picked = with_lesion[np.linspace(0, len(with_lesion) - 1, min(SLICES, len(with_lesion))).astype(int)]
            x = torch.from_numpy(np.asarray(cohort.images[name][picked], np.float32))[:, None]
            x = cohort.preprocessing.normalise(x).contiguous(memory_format=torch.channels_last)
            masks = torch.from_numpy(np.asarray(cohort.masks[name][picked], np.float32))[:, None]
            counts = learning.setdefault(name, [])
            del counts[epoch - 1 :]  # of a run that was cut short after this epoch's measure
            counts.append(voxels(model, x, masks > 0))
            for node, maps in attention_maps(model, x).items():
                values = course.setdefault(name, {}).setdefault(node, {"area": [], "contrast": []})
                for what, value in (("area", effective_area(maps)), ("contrast", contrast(maps, masks))):
                    del values[what][epoch - 1 :]
                    values[what].append(round(value, 5))
        if not chosen.run:
            write_whole(kept, json.dumps([course, learning]))

    if chosen.run:
        look(1, load(chosen.run / "weights.safetensors").model)
        provenance = experiments.provenance(experiments.device_name())
    else:
        train(recipe, cohort, split, folder, accelerator="cpu", on_epoch=look)
        result = experiments.evaluate_run(folder, chosen.data, chosen.results, chosen.name, external=chosen.external)
        provenance = json.loads(Path(result).read_text())["provenance"]
    out = chosen.results / "attention" / f"{this}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "run": this,
        "trained_on": list(split.train),
        "nodes": {name: [nodes[n]["area"][-1] for n in FIGURE5] for name, nodes in course.items()},
        "contrast": {name: [nodes[n]["contrast"][-1] for n in FIGURE5] for name, nodes in course.items()},
        "epochs": {} if chosen.run else {name: nodes["X(1,3)"]["area"] for name, nodes in course.items()},
        "all": course,
        "learning": {} if chosen.run else learning,
        "provenance": provenance,
    }
    assert set(next(iter(course.values()))) == set(ATTENTION_NODES)
    write_whole(out, json.dumps(content, indent=1) + "\n")
    print(out)


if __name__ == "__main__":
    main()
