#!/usr/bin/env python3
"""Speed, side by side in one run: every line a ratio or a share, with its goal, its check against the plain way, and its limit.

    python benchmarks/run.py [--small] [--only start scan …] [--clock wall] [--keep]

Writes benchmarks/last/result.json and table.md; --keep also results/speed/cpu.json, of which the page "What it costs" is made.
Competitors take turns within each round, so a noisy machine slows all of them; read the ratios, not the seconds. Where more
waits to run than there are cores, the processor's own seconds are taken in place of the wall's, and the file says so.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import arrays
import engines
import nets
import torch
import whole
from clock import Clock, machine

from scoat_lib.files import write_whole

HERE = Path(__file__).parent
KEPT = HERE.parent / "results" / "speed" / "cpu.json"
FULL = {
    "rounds": 3, "size": 512, "slices": 200, "counts": [50, 100, 200], "net": 128, "batch": 4, "widths": [8, 16],
    "roofline": [8, 16, 64], "window": 16, "shape": (200, 512, 512), "balls": 400, "grow": [4, 8, 16, 32],
    "sizes": [128, 256, 512], "epochs": 3, "seeds": 2, "runs": 64,
}  # fmt: skip
SMALL = FULL | {
    "rounds": 1, "size": 128, "slices": 16, "counts": [16, 24], "net": 64, "batch": 1, "widths": [4], "roofline": [4],
    "window": 2, "shape": (16, 64, 64), "balls": 10, "grow": [4, 8], "sizes": [64, 128], "epochs": 1,
}  # fmt: skip


def parts(clock: Clock, s: dict, bfloat16: bool) -> dict:
    """What can be measured, by name, in order: each gives lines, growth its rows."""
    return {
        "start": lambda: whole.start(clock, s["rounds"]),
        "scan": lambda: whole.whole_scan(clock, s["size"], s["slices"], max(1, s["rounds"] - 1)),
        "memory": lambda: whole.memory(clock, s["size"], s["counts"]),
        "window": lambda: [
            row for w in s["widths"] for row in whole.sliding_window(clock, w, s["window"], s["net"], s["rounds"])
        ],
        "training": lambda: nets.training(clock, s["widths"][0], s["net"], s["batch"], s["rounds"]),
        "roofline": lambda: nets.roofline(clock, s["roofline"], s["net"], s["rounds"], bfloat16),
        "metrics": lambda: arrays.six_metrics(clock, s["shape"], s["balls"], s["rounds"]),
        "centre": lambda: arrays.centre(clock, s["rounds"]),
        "augmentation": lambda: arrays.augmentation(clock, s["net"], 4 * s["batch"], s["rounds"]),
        "engine": lambda: engines.workers(s["epochs"], s["runs"], s["seeds"]),
        "growth": lambda: nets.growth(clock, s["grow"], s["sizes"], s["rounds"]),
    }


def verdict(line: dict) -> str:
    """Of a line in one word."""
    return "" if line["met"] is None else "met" if line["met"] else "missed"


def table(lines: list[dict]) -> str:
    """The lines in markdown, checks and limits under the numbers' columns."""
    head = ["what", "measured", "goal", "verdict", "how", "limit", "checked"]
    rows = [
        [row["what"], f"{row['value']:g} {row['unit']}", row["goal"], verdict(row), row.get("how", ""), row.get("limit", ""),
         row.get("check", "")] for row in lines
    ]  # fmt: skip
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in [head, ["---"] * len(head), *rows])


def main() -> None:
    """Measure what is asked for, in turn, and write after each part, so that a run cut short keeps what it has."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = list(parts(Clock("wall"), FULL, False))
    parser.add_argument("--only", nargs="+", choices=names, default=names, help="these parts; the others stay as they were")
    parser.add_argument("--small", action="store_true", help="seconds instead of minutes: to see that it runs, not to measure")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", choices=("auto", "wall", "cpu"), default="auto")
    parser.add_argument("--output", type=Path, default=HERE / "last")
    parser.add_argument("--keep", action="store_true", help=f"also write {KEPT.relative_to(HERE.parent)}")
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    clock, settings = Clock(a.clock), SMALL if a.small else FULL
    about = machine(a.threads, clock)
    a.output.mkdir(parents=True, exist_ok=True)
    place = a.output / "result.json"
    kept = json.loads(place.read_text()) if place.exists() and a.only != names else {}
    result = {"machine": about, "small": a.small, "settings": settings, "parts": kept.get("parts", {})}
    for name, measure in parts(clock, settings, about["bfloat16"]).items():
        if name not in a.only:
            continue
        began = time.perf_counter()
        found = measure()
        spent = {"seconds spent": round(time.perf_counter() - began, 1), "machine": machine(a.threads, clock)}
        result["parts"][name] = ({"rows": found} if name == "growth" else {"lines": found}) | spent
        print(f"[{name}] {spent['seconds spent']:.0f} s", flush=True)
        result["parts"] = {n: result["parts"][n] for n in names if n in result["parts"]}
        text = json.dumps(result, indent=1, ensure_ascii=False) + "\n"
        lines = [row for part in result["parts"].values() for row in part.get("lines", [])]
        write_whole(place, text)
        write_whole(a.output / "table.md", table(lines) + "\n")
        if a.keep:
            KEPT.parent.mkdir(exist_ok=True)
            write_whole(KEPT, text)
    print(table(lines))


if __name__ == "__main__":
    main()
