"""A check on quality: MONAI's U-Net, Attention U-Net and UNet++ trained by the very recipe, fold and seed of ours.

    python -m studies.peers --data FOLDER [--network monai-unetpp] [--fold 0] [--seed 0]

One result a run goes to results/peers/, in the form of results/. If MONAI's networks did clearly better than ours under
one recipe, ours would be at fault. Cut short, the same command goes on.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import ClassVar

import torch
from monai.networks.nets import AttentionUnet, BasicUNet, BasicUNetPlusPlus
from torch import nn

from scoat_lib import experiments, networks
from scoat_lib.blocks import crop_like, level_widths, pad_to_multiple
from scoat_lib.training import Recipe, train


class Peer(nn.Module):
    """A network of MONAI's under our contract: any H × W, one logit a pixel, a list of branches in training."""

    options: ClassVar[dict] = {}

    def __init__(self, in_channels: int = 1, width: int = 64):
        super().__init__()
        self.net = self.make(in_channels, width)

    def forward(self, x: torch.Tensor):
        height, width = x.shape[-2:]
        output = self.net(pad_to_multiple(x))
        branches = [crop_like(o, height, width) for o in (output if isinstance(output, list) else [output])]
        return branches if self.training and len(branches) > 1 else branches[-1]


class MonaiUNet(Peer):
    def make(self, in_channels: int, width: int) -> nn.Module:
        return BasicUNet(2, in_channels, 1, features=(*level_widths(width), width))


class MonaiUNetPlusPlus(Peer):
    def make(self, in_channels: int, width: int) -> nn.Module:
        return BasicUNetPlusPlus(2, in_channels, 1, features=(*level_widths(width), width), deep_supervision=True)


class MonaiAttentionUNet(Peer):
    def make(self, in_channels: int, width: int) -> nn.Module:
        return AttentionUnet(2, in_channels, 1, channels=level_widths(width), strides=(2, 2, 2, 2))


PEERS = {"monai-unet": MonaiUNet, "monai-unetpp": MonaiUNetPlusPlus, "monai-attention-unet": MonaiAttentionUNet}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="folder of real scans, laid out like the record")
    parser.add_argument("--network", choices=tuple(PEERS), default="monai-unetpp")
    parser.add_argument("--fold", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--results", type=Path, default=Path(__file__).parents[1] / "results" / "peers")
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    networks._NETWORKS.update(PEERS)  # for this process only
    recipe = Recipe(network=chosen.network, fold=chosen.fold, seed=chosen.seed)
    cohort, split = experiments.prepare(recipe, chosen.data)
    folder = chosen.runs / experiments.key(recipe, cohort.fingerprint)
    train(recipe, cohort, split, folder, accelerator="cpu")
    print(experiments.evaluate_run(folder, chosen.data, chosen.results))


if __name__ == "__main__":
    main()
