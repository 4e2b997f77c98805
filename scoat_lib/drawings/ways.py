"""Two ways as drawings: patients through cross-validation (section IV-A), a scan through the tool (Figure 6)."""

from __future__ import annotations

from collections.abc import Sequence

from scoat_lib.drawings import svg
from scoat_lib.grids import GRIDS
from scoat_lib.weights import Segmenter

SOURCES = ("encoder", "plain", "map")  # colours of the patients' sources, in alphabetical order


def protocol(results: Sequence[dict]) -> svg.Drawing:
    """Patients → folds → train and test, as one network's runs (`report.load`, a run a fold) were dealt.

    The second cohort and the second reader stand apart: what is only scored. ValueError where two runs share a fold, or
    a patient lies in two folds.
    """
    runs = sorted(results, key=lambda r: r["recipe"]["fold"])
    if not runs or len({r["recipe"]["fold"] for r in runs}) < len(runs):
        raise ValueError(f"folds {[r['recipe']['fold'] for r in runs]}: one run of each fold is needed")
    folds = [_patients(r) for r in runs]
    if len({p for fold in folds for p in fold}) < sum(map(len, folds)):
        raise ValueError("a patient lies in two folds")
    sources = sorted({p.split("_")[0] for fold in folds for p in fold})
    colour = {source: svg.COLOURS[SOURCES[n % len(SOURCES)]] for n, source in enumerate(sources)}
    left, pitch, wide = 108, 98, 88
    parts = [svg.label(left - 16, 46, "patients", "end")]
    for column, fold in enumerate(folds):
        x = left + pitch * column
        for n, patient in enumerate(fold):
            cx, cy = x + 16 + 28 * (n % 3), 40 + 26 * (n // 3)
            paint = f'fill="{colour[patient.split("_")[0]]}"'
            parts.append(f'<circle cx="{cx}" cy="{cy}" r="10" {paint} class="patient"><title>{patient}</title></circle>')
        parts.append(svg.label(x + wide / 2, 112, f"fold {runs[column]['recipe']['fold']}"))
    for row in range(len(runs)):
        y = 130 + 38 * row
        parts.append(svg.label(left - 16, y + 19, f"run {row + 1}", "end"))
        for column in range(len(runs)):
            kind, word = ("attention", "test") if column == row else ("plain", "train")
            parts.append(svg.box(left + pitch * column, y, wide, 28, word, "", svg.COLOURS[kind]))
    right, low = left + pitch * len(runs) + 16, 130 + 38 * len(runs)
    parts += [_source(left + 150 * n, low + 26, source, colour[source], folds) for n, source in enumerate(sources)]
    parts += [
        svg.box(right + 14, 24, 236, 58, "every patient once", "by the run that never saw it", svg.COLOURS["attention"]),
        svg.line(f"M{right - 12} 144H{right + 60}V88"),
        svg.frame(right, 196, 264, 170, "only scored: no choice rests on them", svg.COLOURS["map"]),
        *_apart(runs, right + 14),
        svg.label(left, low + 58, "Fixed before the first run: length, last weights, threshold.", "start"),
        svg.label(left, low + 78, "So no run looks at its test fold.", "start"),
    ]
    count = sum(map(len, folds))
    text = (
        f"The cross-validation protocol. {count} patients are dealt into {len(folds)} folds of "
        f"{', '.join(str(len(f)) for f in folds)}. Each of {len(runs)} runs trains on all folds but one and is tested on that "
        "one, so that every patient is reported once, by the run that never saw it. The second cohort and the second reader "
        "stand apart: they are only scored."
    )
    root = "#drawing-protocol"
    rules = f"{root} .name{{font-size:14.5px}}{root} .size{{font-size:13.5px}}{root} .inner{{font-size:13px}}"
    return svg.drawing("protocol", right + 274, max(low + 92, 380), "".join(parts), text, rules, least=660)


def path(segmenter: Segmenter) -> svg.Drawing:
    """The path of a scan through `scoat segment`: file, checks, window, slices, network, probabilities, threshold, mask.

    What stands in the boxes is read from the weights: window, spacing, network, threshold.
    """
    p, made = segmenter.preprocessing, segmenter.model.made_by
    low, high = (f"{v:g}".replace("-", "−") for v in p.window)
    slices = f"{p.spacing:g} mm pixels" if p.spacing else "the scan's own pixels"
    labels = {
        changes["network"]: label for grid in GRIDS.values() for label, changes in grid.rows.items() if "network" in changes
    }
    whose = labels.get(made["network"], made["network"])
    times = "as it is and mirrored" if segmenter.flip else "each slice once"
    smooth = f"smoothed, σ {segmenter.smooth:g} mm" if segmenter.smooth else "slice by slice"
    steps = (
        ("NIfTI file", ("voxels in HU,", "and an affine"), "encoder"),
        ("checks", ("HU? spacing? upright?", "an error writes nothing"), "encoder"),
        ("window", (f"{low} … {high} HU", "become 0 … 1"), "plain"),
        ("slices", ("one by one, axial", slices), "plain"),
        ("network", (f"{whose}, width {made['width']}", times), "attention"),
        ("probabilities", ("0 … 1, on the scan's grid", smooth), "map"),
        ("threshold", (f"above {segmenter.threshold:g}", "is lesion"), "map"),
        ("mask, volume", ("NIfTI, same grid", "cm³ by the affine"), "attention"),
    )
    wide, high_, gap, per_row = 184, 82, 34, 4
    parts = []
    for n, (name, lines, kind) in enumerate(steps):
        row, place = divmod(n, per_row)
        x, y = 8 + (wide + gap) * place, 12 + (high_ + 56) * row
        parts.append(svg.box(x, y, wide, high_, "", "", svg.COLOURS[kind]))
        parts.append(f'<text x="{x + wide / 2}" y="{y + 27}" class="name">{svg.text(name)}</text>')
        parts += [svg.label(x + wide / 2, y + 50 + 18 * k, line) for k, line in enumerate(lines)]
        if place + 1 < per_row and n + 1 < len(steps):
            parts.append(svg.line(f"M{x + wide} {y + high_ / 2}H{x + wide + gap - 5}"))
        elif n + 1 < len(steps):
            turn, start = y + high_ + 28, 8 + wide / 2
            parts.append(svg.line(f"M{x + wide / 2} {y + high_}V{turn}H{start}V{y + high_ + 51}"))
    text = "The path of a scan through the tool, in eight steps. "
    text += "; ".join(f"{name}: {' '.join(lines)}" for name, lines, _ in steps) + "."
    return svg.drawing("path", 8 * 2 + per_row * wide + (per_row - 1) * gap, 244, "".join(parts), text, "", least=660)


def _patients(run: dict) -> list[str]:
    """The patients of a run's test fold."""
    return sorted({more["patient"] for more in run["measures"].values()})


def _source(x: float, y: float, source: str, colour: str, folds: list[list[str]]) -> str:
    """A source's colour, name and number of patients."""
    count = sum(p.startswith(f"{source}_") for fold in folds for p in fold)
    return f'<circle cx="{x + 8}" cy="{y - 5}" r="8" fill="{colour}"/>' + svg.label(x + 24, y, f"{source}, {count}", "start")


def _apart(runs: list[dict], x: float) -> list[str]:
    """The boxes of what is only scored, as far as the runs were scored on it."""
    slices = {len(r["external"]["ct100"]["slices"]) for r in runs if "ct100" in r.get("external", {})}
    scans = {name for r in runs for name in r.get("second reader", {})}
    cohort = f"{max(slices)} single slices" if slices else "not scored yet"
    reader = f"{len(scans)} scans, drawn again" if scans else "not scored yet"
    boxes = (("ct100: other patients", cohort), ("second reader", reader))
    return [svg.box(x, 210 + 66 * n, 236, 54, name, below, svg.COLOURS["map"]) for n, (name, below) in enumerate(boxes)]
