"""The page "What it costs": its tables and curves, made from results/speed/cpu.json (`make bench`) when the site is built.

What was measured and what is computed from a maker's published peaks never stand in one table without a word for each.
"""

from __future__ import annotations

import io
import json
import math
import re
from pathlib import Path

import numpy as np

NOT_YET = "Not measured yet (`python benchmarks/run.py --keep`)."
SLICES, MIRRORED = 200, 2  # of the scan that is priced; each slice goes through the network twice
CORES = 8  # of the host, for each GPU
# peaks in TFLOP/s without sparsity (float32 on the plain cores; 16 bits on the tensor cores), GB/s, GB: the makers' data sheets
GPUS = {
    "T4": {"float32": 8.1, "16 bits": 65, "GB/s": 320, "GB": 16, "bfloat16": False},
    "A100 (SXM, 80 GB)": {"float32": 19.5, "16 bits": 312, "GB/s": 2039, "GB": 80, "bfloat16": True},
    "H100 (SXM)": {"float32": 67, "16 bits": 989, "GB/s": 3350, "GB": 80, "bfloat16": True},
}


def load(results: Path) -> dict:
    """The parts of the kept measurement, by name; empty where there is none."""
    path = results / "speed" / "cpu.json"
    return json.loads(path.read_text())["parts"] if path.exists() else {}


def slope(x: list[float], y: list[float]) -> float:
    """The exponent by which y grows with x: the least-squares slope of their logarithms; NaN of fewer than two points."""
    return float(np.polyfit(np.log(x), np.log(y), 1)[0]) if len(x) > 1 else math.nan


def markdown(head: list[str], rows: list[list]) -> str:
    """A markdown table."""
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in [head, ["---"] * len(head), *rows])


def speed(results: Path) -> str:
    """Every line of the benchmark with its goal and whether it is met, and on what it was measured."""
    parts = load(results)
    rows, clocks = [], set()
    for part in parts.values():
        clocks.add((part["machine"]["clock"], part["machine"]["processor"], part["machine"]["cores"]))
        for line in part.get("lines", []):
            verdict = "" if line["met"] is None else "met" if line["met"] else "**missed**"
            why = [line.get("how"), line.get("limit") if not line["met"] else None]
            why += [f"checked: {line['check']}" if line.get("check") else None]
            small = "; ".join(filter(None, why))
            what = f"{line['what']}<br><small>{small}</small>" if small else line["what"]
            rows.append([what, f"{line['value']:g} {line['unit']}", line["goal"], verdict])
    if not rows:
        return NOT_YET
    loads = [part["machine"]["load at the start"] for part in parts.values()]
    words = {"cpu": "processor seconds, since other work ran beside it", "wall": "seconds by the clock"}
    where = "; ".join(f"{name}, {cores} cores, {words[kind]}" for kind, name, cores in sorted(clocks))
    said = f"Measured on: {where}. The load was {min(loads):g} to {max(loads):g}."
    return f"{said}\n\n{markdown(['what', 'measured', 'goal', 'verdict'], rows)}"


def curves(results: Path) -> list[tuple[str, str, list[float], list[float], str]]:
    """(against, of what, x, y, unit) for each curve that was measured."""
    parts, found = load(results), []
    rows = parts.get("growth", {}).get("rows", {})
    for axis, name in (("width", "width, at 128 × 128"), ("size", "side of a slice, at width 8")):
        some = rows.get(axis, [])
        x = [float(row[axis]) for row in some]
        for key, of, scale, unit in (
            ("seconds", "time of a slice", 1e3, "ms"),
            ("training bytes", "training memory of a slice", 2**-20, "MB"),
        ):
            if some:
                found.append((name, of, x, [row[key] * scale for row in some], unit))
    for line in parts.get("memory", {}).get("lines", []):
        x = [float(row["slices"]) for row in line["rows"]]
        found.append(("slices of 512 × 512", "time of a scan", x, [row["seconds"] for row in line["rows"]], "s"))
        found.append(("slices of 512 × 512", "memory of a scan", x, [float(row["MB"]) for row in line["rows"]], "MB"))
    for line in parts.get("engine", {}).get("lines", [])[1:]:
        way = line["what"].rpartition(" ")[2]
        taken = [line["seconds"][f"{way} {n}"] for n in (1, 2)]
        found.append((f"workers, {way}", "time of the runs", [1.0, 2.0], taken, "s"))
    return found


def growth(results: Path) -> str:
    """The curves as a figure with a table of their slopes."""
    found = curves(results)
    if not found:
        return NOT_YET
    rows = [
        [against, of, f"{_plainly(y[0])} … {_plainly(y[-1])} {unit}", f"{x[0]:g} … {x[-1]:g}", f"{slope(x, y):.2f}"]
        for against, of, x, y, unit in found
    ]
    caption = "How cost grows, both axes logarithmic. Slope 1: twice the size costs twice as much."
    picture = f"```{{raw}} html\n<figure>{_drawn(found)}<figcaption>{caption}</figcaption></figure>\n```"
    return f"{picture}\n\n{markdown(['against', 'what', 'from … to', 'over', 'slope'], rows)}"


def _plainly(value: float) -> str:
    """A number of three digits, without powers of ten."""
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def _drawn(found: list) -> str:
    """The curves as one SVG, a panel for each."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    from scoat_lib import plots

    columns = 2
    figure = Figure(figsize=(8, 2.9 * -(-len(found) // columns)), layout="constrained")
    FigureCanvasSVG(figure)
    for number, (against, of, x, y, unit) in enumerate(found, 1):
        ax = figure.add_subplot(-(-len(found) // columns), columns, number)
        ax.loglog(x, y, "o-", color=plots.BLUE, base=2)
        ax.spines[["top", "right"]].set_visible(False)
        ax.set_xticks(x, [f"{v:g}" for v in x], minor=False)
        shown = y[:1]
        for value in y[1:]:  # as many as do not touch
            shown += [value] if abs(math.log(value / shown[-1])) > 0.12 * abs(math.log(max(y) / min(y))) else []
        ax.set_yticks(shown, [_plainly(v) for v in shown], minor=False)
        ax.minorticks_off()
        ax.set_xlabel(against)
        ax.set_ylabel(unit)
        ax.set_title(f"{of}: slope {slope(x, y):.2f}".replace("-", "−"), fontsize=10)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    svg = text[text.index("<svg") :].replace("<svg ", '<svg role="img" aria-label="Curves of cost, also in the table" ', 1)
    svg = re.sub(r'width="[\d.]+pt" height="[\d.]+pt"', 'style="width: 100%; min-width: 36rem; height: auto"', svg, count=1)
    return '<div style="overflow-x: auto">' + "\n".join(row for row in svg.splitlines() if row.strip()) + "</div>"


def needs(parts: dict) -> dict | None:
    """What the shipped network and its host need for the priced scan, from what was measured; None where a part is missing.

    flops, bytes: of the network. share: of the roof that the measured processor reaches. network, host: seconds there.
    """
    widths = {(row["width"], row["kind"]): row for row in parts.get("roofline", {}).get("lines", []) if "width" in row}
    scan = next(iter(parts.get("scan", {}).get("lines", [])), None)
    if (8, "inference") not in widths or scan is None:
        return None
    row = widths[8, "inference"]
    passes = SLICES * MIRRORED
    share = scan["stages"]["network"]
    return {
        "flops": row["flops"] * passes,
        "bytes": row["bytes"] * passes,
        "share": row["gflops"] / row["roof"],
        "network": scan["seconds"] * share,
        "host": scan["seconds"] * (1 - share),
        "training": widths.get((64, "training")),
    }


def priced(need: dict, gpu: dict, kind: str) -> tuple[float, float]:
    """(least, modelled) seconds of the network for the priced scan on a GPU: its roofline, and that by the share measured.

    kind: "float32" or "16 bits", whose numbers are half as many bytes.
    """
    moved = need["bytes"] / (1 if kind == "float32" else 2)
    least = max(need["flops"] / (gpu[kind] * 1e12), moved / (gpu["GB/s"] * 1e9))
    return least, least / need["share"]


def machines(results: Path) -> str:
    """One scan on the machine that measured, and on GPUs as computed from their peaks."""
    need = needs(load(results))
    if need is None:
        return NOT_YET
    rows = [
        ["this processor", "**measured**", "float32", f"{need['network']:.1f} s", f"{need['network'] + need['host']:.1f} s"]
    ]
    for name, gpu in GPUS.items():
        for kind in ("float32", "16 bits"):
            least, modelled = priced(need, gpu, kind)
            whole = max(modelled, need["host"] / CORES)
            shown = f"{1e3 * least:.0f} ms at least, {1e3 * modelled:.0f} ms modelled"
            rows.append([name, "computed", kind, shown, f"{whole:.1f} s, modelled"])
    head = ["machine", "how known", "numbers", "the network's time", "one scan in a row of many"]
    return markdown(head, rows)


def model(results: Path, scans: int = 10_000, gpus: int = 64) -> str:
    """The cost model in words and a table: many scans on many GPUs, and an epoch of the published network."""
    need = needs(load(results))
    if need is None:
        return NOT_YET
    rows = []
    for name, gpu in GPUS.items():
        _, modelled = priced(need, gpu, "16 bits")
        each = max(modelled, need["host"] / CORES)
        limit = "the network" if modelled >= need["host"] / CORES else f"the host's {CORES} cores"
        hours = scans * each / 3600
        rows.append([name, f"{each:.2f} s", limit, f"{60 * hours / gpus:.1f} min", f"{hours:.1f} GPU hours"])
    table = markdown(["GPU", "one scan", "limited by", f"{scans} scans on {gpus}", "together"], rows)
    text = (
        f"Of the {need['network'] + need['host']:.1f} s that a scan took here, {need['network']:.1f} s are the network's and "
        f"{need['host']:.1f} s the host's: reading, checks, resampling, lungs, writing. The network reaches "
        f"{100 * need['share']:.0f} % of this processor's roof, and the model grants each GPU the same share of its own. Two "
        "things in it are a model's and not the program's: `scoat segment` computes in float32 on a GPU, and it takes one "
        f"scan of a folder at a time, so that {CORES} cores need {CORES} folders.\n\n{table}"
    )
    if need["training"]:
        work = 3 * need["training"]["flops"] * 16  # 512 × 512 has 16 times the pixels of the measured slice
        share = need["training"]["gflops"] / need["training"]["roof"]
        rows = []
        for name, gpu in GPUS.items():
            kinds = ["float32", "16 bits"] if gpu["bfloat16"] else ["float32"]  # training knows no other 16 bits
            for kind in kinds:
                least = work * 1000 / (gpu[kind] * 1e12)
                rows.append([name, kind.replace("16 bits", "bfloat16"), f"{least:.0f} s", f"{least / share:.0f} s"])
        head = ["GPU", "numbers", "at its peak", "modelled"]
        text += f"\n\nTraining on 1 000 slices of 512 × 512 at the published width 64, computed:\n\n{markdown(head, rows)}"
    return text
