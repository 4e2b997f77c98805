"""What SCOAT-Net's attention is worth to a trained network: flatten it, and score the run's own patients again.

    python -m studies.attention_ablation RUN --data FOLDER

RUN: a finished run of `scoat train` with network scoatnet. Each map x_M (equation 1) is replaced by its mean over the slice,
node by node and all at once; so are the channel weights x_V (equation 5), by their mean over the channels. Written to
results/attention/ablation-KEY.json: the DSC of all voxels of the run's test patients pooled, and of each patient.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from torch import nn

from scoat_lib import experiments, metrics
from scoat_lib.files import write_whole
from scoat_lib.networks.scoatnet import ATTENTION_NODES
from scoat_lib.training import Recipe
from scoat_lib.weights import load


class Flat(nn.Module):
    """A module whose output is replaced by its own mean over some axes."""

    def __init__(self, inner: nn.Module, axes: tuple[int, ...]):
        super().__init__()
        self.inner, self.axes = inner, axes

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        m = self.inner(x)
        return m.mean(self.axes, keepdim=True).expand_as(m)


def flatten(model: nn.Module, maps: tuple[str, ...] = (), channels: tuple[str, ...] = ()) -> None:
    """Flatten the maps of some nodes and the channel weights of others, in place."""
    for name in maps:
        model.nodes[name].spatial.to_map = Flat(model.nodes[name].spatial.to_map, (2, 3))
    for name in channels:
        model.nodes[name].channel = Flat(model.nodes[name].channel, (1,))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="the folder of a finished run")
    parser.add_argument("--data", required=True, help="the folder of scans it was trained on")
    parser.add_argument("--results", type=Path, default=Path(__file__).parents[1] / "results")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    recipe = Recipe.from_dict(json.loads((chosen.run / "recipe.json").read_text())["recipe"])
    cohort, split = experiments.prepare(recipe, chosen.data)
    cases = {"as trained": {}} | {f"map of {n} flat": {"maps": (n,)} for n in ATTENTION_NODES}
    cases |= {"all maps flat": {"maps": ATTENTION_NODES}, "all channel weights flat": {"channels": ATTENTION_NODES}}
    cases["both flat"] = {"maps": ATTENTION_NODES, "channels": ATTENTION_NODES}
    pooled, patients = {}, {}
    for case, what in cases.items():
        segmenter = load(chosen.run / "weights.safetensors")
        flatten(segmenter.model, **what)
        counts = experiments.evaluate(segmenter, cohort, split.test)
        total = {k: sum(c[k] for c in counts.values()) for k in next(iter(counts.values()))}
        pooled[case] = round(metrics.from_counts(total)["DSC"], 5)
        patients[case] = {name: round(metrics.from_counts(c)["DSC"], 5) for name, c in counts.items()}
        print(f"{case:26s} {pooled[case]:.4f}", flush=True)
    content = {"run": experiments.key(recipe, cohort.fingerprint), "fold": recipe.fold, "seed": recipe.seed}
    content |= {"pooled_dsc": pooled, "patients": patients, "provenance": experiments.provenance(experiments.device_name())}
    out = chosen.results / "attention" / f"ablation-{content['run']}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    write_whole(out, json.dumps(content, indent=1) + "\n")
    print(out)


if __name__ == "__main__":
    main()
