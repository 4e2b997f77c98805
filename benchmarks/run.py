#!/usr/bin/env python3
"""Speed, side by side in one run: networks against MONAI's, equation 10 against all pairs, the data path against the network.

    python benchmarks/run.py [--width 8] [--size 128] [--batch 4] [--rounds 5] [--threads 1]

Writes benchmarks/last/table.md and benchmarks/last/result.json (hardware, versions, medians, ratios). Competitors take turns
within each round, so a noisy machine slows all of them; read the ratios, not the seconds.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
import time
from importlib import metadata
from pathlib import Path

import numpy as np
import torch
from monai.networks.nets import BasicUNetPlusPlus
from torch.utils.flop_counter import FlopCounterMode

from scoat_lib import losses, metrics, networks, phantom
from scoat_lib.blocks import level_widths
from scoat_lib.cohort import Cohort
from scoat_lib.files import write_whole
from scoat_lib.slices import Augmentation, SliceDataset
from scoat_lib.training import Recipe, supervised_loss

HERE = Path(__file__).parent


def competitors(width: int) -> dict[str, tuple[torch.nn.Module, torch.memory_format]]:
    """The networks, ours in the layout that `create` gives them and in torch's default."""
    torch.manual_seed(0)
    features = (*level_widths(width), width)
    monai = BasicUNetPlusPlus(2, 1, 1, features=features, deep_supervision=True)
    last, plain = torch.channels_last, torch.contiguous_format
    return {
        "MONAI BasicUNetPlusPlus": (monai, plain),
        "MONAI, channels_last": (
            BasicUNetPlusPlus(2, 1, 1, features=features, deep_supervision=True).to(memory_format=last),
            last,
        ),
        "unetpp": (networks.create("unetpp", width=width), last),
        "scoatnet": (networks.create("scoatnet", width=width), last),
        "scoatnet, not channels_last": (networks.create("scoatnet", width=width).to(memory_format=plain), plain),
    }


def flops(model: torch.nn.Module, size: int) -> int:
    """Of one forward pass over one slice."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(torch.zeros(1, 1, size, size))
    return counter.get_total_flops()


def turns(jobs: dict, rounds: int) -> dict[str, list[float]]:
    """Seconds of each job, in turn, after one unmeasured round."""
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for turn in range(rounds + 1):
        for name, job in jobs.items():
            began = time.perf_counter()
            job()
            if turn:
                seconds[name].append(time.perf_counter() - began)
    return seconds


def bench_networks(width: int, size: int, batch: int, rounds: int) -> list[dict]:
    """A training step (all branches, BCE-Dice, AdamW) and an inference pass of every competitor."""
    loss = losses.create("bce-dice")
    target = (torch.rand(batch, 1, size, size) > 0.9).float()
    models = competitors(width)
    work = {name: flops(model, size) for name, (model, _) in models.items()}
    rows = []
    for kind in ("training", "inference"):
        jobs = {}
        for name, (model, layout) in models.items():
            x = torch.randn(batch, 1, size, size).contiguous(memory_format=layout)
            optimiser = torch.optim.AdamW(model.parameters())

            def step(model=model, x=x, optimiser=optimiser):
                model.train()
                optimiser.zero_grad()
                supervised_loss(model(x), target, loss).backward()
                optimiser.step()

            @torch.inference_mode()
            def infer(model=model, x=x):
                model.eval()(x)

            jobs[name] = step if kind == "training" else infer
        seconds = turns(jobs, rounds)
        base = seconds["MONAI BasicUNetPlusPlus"]
        for name, values in seconds.items():
            median = statistics.median(values)
            passes = 3 if kind == "training" else 1
            rows.append(
                {
                    "what": kind,
                    "network": name,
                    "images/s": round(batch / median, 2),
                    "GFLOP/s": round(passes * batch * work[name] / median / 1e9, 1),
                    "GFLOP forward": round(work[name] / 1e9, 2),
                    "× MONAI": round(statistics.median(b / v for b, v in zip(base, values, strict=True)), 2),
                }
            )
    return rows


def all_pairs(region: np.ndarray) -> tuple[int, ...]:
    """Equation 10 as it is printed, a thousand points at a time."""
    points = np.argwhere(region)
    worst = np.concatenate(
        [((points[i : i + 1000, None] - points[None]) ** 2).sum(-1).max(1) for i in range(0, len(points), 1000)]
    )
    return tuple(int(v) for v in points[worst.argmin()])


def bench_centre(rounds: int) -> list[dict]:
    """A disc of 20 000 pixels and a large lesion of a phantom."""
    r, c = np.mgrid[:180, :180]
    lesion = phantom.patient(3, (128, 128, 32), volume=400).lesions.axial() > 0
    labels, n = metrics.regions(lesion)
    largest = labels == 1 + np.argmax(np.bincount(labels.ravel())[1:]) if n else lesion
    rows = []
    for name, region in (("disc", (r - 90) ** 2 + (c - 90) ** 2 < 80**2), ("3-D lesion of a phantom", largest)):
        assert metrics.region_centre(region) == all_pairs(region)
        seconds = turns(
            {"ours": lambda x=region: metrics.region_centre(x), "all pairs": lambda x=region: all_pairs(x)}, min(rounds, 3)
        )
        ratio = statistics.median(b / a for a, b in zip(seconds["ours"], seconds["all pairs"], strict=True))
        rows.append(
            {
                "region": name,
                "points": int(region.sum()),
                "ms": round(1e3 * statistics.median(seconds["ours"]), 2),
                "× all pairs": round(ratio),
            }
        )
    return rows


def bench_data(width: int, batch: int, rounds: int) -> dict:
    """Augmented slices a second from the cache, beside what the network eats in training."""
    with tempfile.TemporaryDirectory() as folder:
        data = phantom.write_cohort(Path(folder) / "cohort", 3, (128, 128, 16))
        cohort = Cohort.open(data, Recipe().preprocessing, Path(folder) / "cache")
        dataset = SliceDataset(cohort, cohort.names, 1.0, Augmentation())
        model = networks.create("scoatnet", width=width).train()
        loss = losses.create("bce-dice")
        image, target = (torch.stack(t) for t in zip(*(dataset[i] for i in range(batch)), strict=True))

        def step():
            supervised_loss(model(image.contiguous(memory_format=torch.channels_last)), target, loss).backward()
            model.zero_grad()

        seconds = turns({"data": lambda: [dataset[i] for i in range(batch)], "network": step}, rounds)
    data_rate, network_rate = (batch / statistics.median(seconds[k]) for k in ("data", "network"))
    return {
        "slices/s": round(data_rate, 1),
        "network slices/s": round(network_rate, 1),
        "data ÷ network": round(data_rate / network_rate, 1),
    }


def table(rows: list[dict]) -> str:
    """A markdown table."""
    heads = list(rows[0])
    lines = ["| " + " | ".join(heads) + " |", "| " + " | ".join("---" for _ in heads) + " |"]
    return "\n".join(lines + ["| " + " | ".join(str(r[h]) for h in heads) + " |" for r in rows])


def main() -> None:
    """Run all three and write the table and the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("width", 8), ("size", 128), ("batch", 4), ("rounds", 5), ("threads", 1)):
        parser.add_argument(f"--{name}", type=int, default=value)
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    result = {
        "hardware": {
            "processor": platform.processor() or platform.machine(),
            "machine": platform.machine(),
            "threads": a.threads,
        },
        "versions": {n: metadata.version(n) for n in ("torch", "monai", "numpy", "scipy")},
        "settings": {"width": a.width, "size": a.size, "batch": a.batch, "rounds": a.rounds},
        "networks": bench_networks(a.width, a.size, a.batch, a.rounds),
        "equation 10": bench_centre(a.rounds),
        "data path": bench_data(a.width, a.batch, a.rounds),
    }
    text = "\n\n".join(
        [
            f"Width {a.width}, {a.size} × {a.size}, batch {a.batch}, {a.threads} thread, medians of {a.rounds} rounds.",
            table(result["networks"]),
            table(result["equation 10"]),
            table([result["data path"]]),
        ]
    )
    folder = HERE / "last"
    folder.mkdir(exist_ok=True)
    write_whole(folder / "table.md", text + "\n")
    write_whole(folder / "result.json", json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    print(text)


if __name__ == "__main__":
    main()
