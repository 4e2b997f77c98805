"""Figures in one style: slices with contours (Figure 4), maps (Figure 5), curves; tables as pictures, Figure 3's box plot."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patheffects import withStroke
from matplotlib.ticker import LogLocator, NullFormatter
from scipy.optimize import isotonic_regression
from skimage.segmentation import clear_border

from scoat_lib import report, rule
from scoat_lib.metrics import METRICS
from scoat_lib.report import Table

HIT, FALSE, MISSED = "#3b8fd9", "#f5e14a", "#d1410c"  # blue, yellow, vermilion: apart in every common colour blindness
BLUE, ORANGE = "#4a6fa5", "#c25400"  # of a figure with one kind of thing, and of what stands out in it
CYCLE = (BLUE, ORANGE, "#3a7d44", "#7b4fa0", "#b58900", "#17868c", "#c4519f", "#6e6e6e")
# one network, one colour, in every figure; what is not named here takes the next of CYCLE
COLOURS = {
    "SCOAT-Net": ORANGE,
    "UNet++": BLUE,
    "U-Net": "#6e6e6e",
    "Attention U-Net": "#7b4fa0",
    "PSPNet": "#b58900",
    "ESPNetv2": "#8c564b",
    "DenseASPP": "#3a7d44",
    "DeepLabV3+": "#c4519f",
    "CE-Net": "#17868c",
    "V1, residual attention": "#b58900",
    "V2, attention gates": "#3a7d44",
    "V3, pyramid attention": "#17868c",
}
# one loss, one line, in every figure, as keywords of `Axes.plot`: where two coincide, the broken one is seen on the full
LOSSES = {
    "mae": {"color": "#7a7a7a", "ls": "-", "lw": 3.6, "zorder": 1.8},
    "iou": {"color": "#e69f00", "ls": "--", "lw": 1.6},
    "bce": {"color": "#0072b2", "ls": "-.", "lw": 1.6},
    "dice": {"color": "#009e73", "ls": ":", "lw": 2.2},
    "focal": {"color": "#cc79a7", "ls": (0, (5, 1)), "lw": 1.6},
    "bce-dice": {"color": "black", "ls": "-", "lw": 2.4, "zorder": 1.9},
}
MAP = "cividis"  # the colours of every attention map and every probability
WIDTH = 7.0  # inches of a figure that is as wide as a page's column
NARROW = {"font.size": 8, "legend.fontsize": "medium"}  # of figures that a phone shows whole: about 4.2 inches wide
TRUTH, PREDICTION = "#ff3b30", "#00d5e6"  # red and cyan differ in lightness too, so colour-blind readers can tell them apart
ON_WHITE = {"truth": "#c92a20", "prediction": "#007a87"}  # the same two as lines of a graph, where they would be pale


def style() -> None:
    """Set the one style of the book's figures: call it once, before the first figure.

    A figure of `WIDTH` inches fills a page's column of 672 pixels twice over, and its letters of 9 points are 12 pixels high.
    """
    plt.rcParams.update(
        {
            "figure.dpi": 192,
            "font.size": 9,
            "axes.titlesize": "medium",
            "axes.labelsize": "medium",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.prop_cycle": plt.cycler(color=CYCLE),
            "legend.frameon": False,
            "legend.fontsize": "medium",
            "image.cmap": MAP,
        }
    )


def mark_right(ax: Axes, mirrored: bool = False) -> None:
    """An R in the upper corner at the patient's right: at the left of a slice that is seen from the feet, else mirrored."""
    at, side = (0.97, "right") if mirrored else (0.03, "left")
    edge = [withStroke(linewidth=1.6, foreground="black")]  # white on air, and on a white chest wall too
    ax.text(at, 0.97, "R", color="w", fontsize=8, ha=side, va="top", transform=ax.transAxes, path_effects=edge)


def show_slice(
    ax: Axes,
    image: np.ndarray,
    truth=None,
    prediction=None,
    title: str = "",
    vmin=0.0,
    vmax=1.0,
    mirrored: bool | None = False,
) -> None:
    """Draw one (H, W) slice in grey, with the outlines of (H, W) masks and an R at the patient's right.

    mirrored: whether left and right are exchanged, so that the R changes sides; None where no patient is shown: no R.
    """
    ax.imshow(image, cmap="gray", vmin=vmin, vmax=vmax)
    for mask, colour, style in ((truth, TRUTH, "-"), (prediction, PREDICTION, "--")):
        if mask is not None and np.any(mask):
            ax.contour(np.asarray(mask, float), [0.5], colors=colour, linewidths=1.2, linestyles=style)
    if mirrored is not None:
        mark_right(ax, mirrored)
    ax.set_title(title)
    ax.set_axis_off()


def show_map(ax: Axes, values: np.ndarray, truth=None, title: str = "", vmin=0.0, vmax=1.0) -> AxesImage:
    """Draw one (h, w) map of attention or probability in the colours of all maps; its picture, for a colour bar.

    truth: an (H, W) mask, outlined in white over the whole map, whatever the map's own size.
    """
    outline = None if truth is None else np.asarray(truth, float)
    high, wide = np.shape(values if outline is None else outline)
    drawn = ax.imshow(
        values, cmap=MAP, vmin=vmin, vmax=vmax, interpolation="nearest", extent=(-0.5, wide - 0.5, high - 0.5, -0.5)
    )
    if outline is not None and outline.any():
        ax.contour(outline, [0.5], colors="white", linewidths=0.8)
    ax.set_title(title)
    ax.set_axis_off()
    return drawn


def around_lungs(image: np.ndarray, margin: int = 3) -> tuple[slice, slice]:
    """Rows and columns of the dark inside of a body in one (H, W) slice of 0..1; the whole slice where there is none.

    Dark is below the middle between the slice's darkest and brightest pixels. margin: pixels kept around it.
    """
    image = np.asarray(image, float)
    dark = image < (image.min() + image.max()) / 2
    inside = clear_border(np.pad(dark, 1, constant_values=True))[1:-1, 1:-1]
    if not inside.any():
        return slice(None), slice(None)
    rows, columns = (np.flatnonzero(inside.any(axis)) for axis in (1, 0))
    return tuple(slice(max(0, k[0] - margin), k[-1] + 1 + margin) for k in (rows, columns))


def show_errors(
    ax: Axes, image: np.ndarray, truth: np.ndarray, prediction: np.ndarray, title: str = "", mirrored: bool | None = False
) -> None:
    """One (H, W) slice in grey with what is found (blue), marked wrongly (yellow) and missed (vermilion) filled.

    mirrored: as in `show_slice`.
    """
    truth, prediction = np.asarray(truth, bool), np.asarray(prediction, bool)
    show_slice(ax, image, title=title, mirrored=mirrored)
    for where, colour in ((truth & prediction, HIT), (prediction & ~truth, FALSE), (truth & ~prediction, MISSED)):
        filled = np.zeros((*where.shape, 4))
        filled[where] = (*to_rgb(colour), 0.85)
        ax.imshow(filled, interpolation="nearest")


def slices(images: Sequence, truths=None, predictions=None, titles=None, columns: int = 4, mirrored=None) -> Figure:
    """A grid of axial slices, each with an R at the patient's right.

    truths, predictions, titles, mirrored (whether left and right are exchanged): lists as long as `images`, or None.
    """
    count = len(images)
    columns = min(columns, count)
    rows = -(-count // columns)
    high, wide = np.shape(images[0])
    titled = 0.27 if titles is not None else 0.05  # inches above each row
    height = rows * (WIDTH / columns * high / wide + titled)
    fig, axes = plt.subplots(rows, columns, figsize=(WIDTH, height), squeeze=False, layout="constrained")
    fig.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0.01, hspace=0.01)
    for ax in axes.flat:
        ax.set_axis_off()
    for i, (ax, image) in enumerate(zip(axes.flat, images, strict=False)):
        pick = [values[i] if values is not None else None for values in (truths, predictions, titles)]
        show_slice(ax, image, pick[0], pick[1], pick[2] or "", mirrored=mirrored is not None and bool(mirrored[i]))
    return fig


def table_figure(table: Table, metric: str = "DSC") -> Figure:
    """A table as a picture: each row's mean with its 95 % interval, its patients as points, the paper's value beside.

    For DSC the agreement of two readers of this record is drawn as a band, from the lowest to the highest of four scans.
    """
    with plt.rc_context(NARROW):
        return _table_figure(table, metric)


def _table_figure(table: Table, metric: str) -> Figure:
    """`table_figure` in the style that is set."""
    rows = table.rows
    figure, ax = plt.subplots(figsize=(4.2, 1 + 0.36 * len(rows)), layout="constrained")
    if metric == "DSC":
        middle, low, high = report.BETWEEN_READERS
        ax.axvspan(low, high, color="0.5", alpha=0.15, lw=0)
        ax.axvline(middle, color="0.5", lw=1, ls=":", label="two readers, four scans")
    for index, (label, row) in enumerate(rows.iterrows()):
        if f"paper {metric}" in rows and row[f"paper {metric}"] == row[f"paper {metric}"]:
            ax.plot(
                row[f"paper {metric}"],
                index,
                "D",
                mfc="none",
                color="0.4",
                label="paper (its own data)" if index == 0 else None,
            )
        if not row["all patients"]:
            ax.annotate("not run", (0.01, index), xycoords=("axes fraction", "data"), va="center", color="0.4")
            continue
        frame = table.patients[label]
        large = frame[frame.lesion_voxels >= report.LEAST]
        ax.plot(100 * large[metric], np.full(len(large), index), ".", color=BLUE, alpha=0.5)
        found = rule.interval(100 * large[metric], large.fold)
        low, high = max(found.low, 0), min(found.high, 100)  # what a score can be
        ax.plot([low, high], [index, index], color=BLUE, lw=2)
        for end, cut, mark in ((found.low, low, "<"), (found.high, high, ">")):
            if end != cut and end == end:
                ax.plot(cut, index, mark, color=BLUE, ms=5)
        ax.plot(
            row[metric], index, "o", color=BLUE, label="ours: mean, 95 %, patients" if label == table.grid.reference else None
        )
    ax.set_yticks(range(len(rows)), rows.index)
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_xlabel(f"{metric}, %")
    figure.suptitle(f"{table.grid.title}\n{table.scale}", fontsize="medium", x=0.01, ha="left")
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def paired_differences(table: Table, one: str, other: str, metric: str = "DSC") -> Figure:
    """Every patient's difference between two rows of a table, largest first, with the mean and its interval by the rule.

    Patients below the primary endpoint's number of voxels are hollow and not in the mean. ValueError if a row was not run.
    """
    first, second = table.patients[one], table.patients[other]
    if not len(first) or not len(second):
        raise ValueError(f"{one} or {other} was not run in {table.grid.name}")
    every = report.paired(first, second, metric, least=0).sort_values("difference", ascending=False)
    large = every.lesion_voxels >= report.LEAST
    figure, ax = plt.subplots(figsize=(WIDTH, 1.4 + 0.28 * len(every)), layout="constrained")
    for index, (name, row) in enumerate(every.iterrows()):
        ax.plot([0, row.difference], [index, index], color="0.8", lw=1, zorder=1)
        ax.plot(row.difference, index, "o", color=BLUE, mfc=BLUE if large[name] else "none")
    found = report.between(first, second, metric)
    ax.plot(found.mean, len(every), "D", color=ORANGE)
    ax.plot([found.low, found.high], [len(every), len(every)], color=ORANGE, lw=2)
    ax.axvline(0, color="0.3", lw=1)
    ax.set_yticks(range(len(every) + 1), [*every.index, f"mean of {found.patients}, 95 %"])
    ax.invert_yaxis()
    ax.set_xlabel(f"{metric}, {one} minus {other}, points")
    ax.set_title(f"{one} and {other}, patient by patient\n{table.scale}", loc="left")
    return figure


def heat_map(table: Table, metric: str = "DSC") -> Figure:
    """Every patient's metric (per cent) by row: a column a patient, heaviest lesions first; grey where it was not run.

    Patients below the primary endpoint's number of voxels stand right of the line. ValueError where no row was run.
    """
    frames = {label: frame for label, frame in table.patients.items() if len(frame)}
    if not frames:
        raise ValueError(f"no row of {table.grid.name} was run")
    wide = pd.DataFrame({label: 100 * frame[metric] for label, frame in frames.items()}).T.reindex(table.rows.index)
    voxels = pd.concat([frame.lesion_voxels for frame in frames.values()]).groupby(level=0).first()
    order = voxels.sort_values(ascending=False).index
    wide, large = wide[order], int((voxels >= report.LEAST).sum())
    figure, ax = plt.subplots(figsize=(max(WIDTH, 1.8 + 0.3 * len(order)), 1.7 + 0.34 * len(wide)), layout="constrained")
    colours = plt.get_cmap("viridis").with_extremes(bad="0.85")
    drawn = ax.imshow(wide.to_numpy(float), cmap=colours, vmin=0, vmax=100, aspect="auto")
    for (y, x), value in np.ndenumerate(wide.to_numpy(float)):
        if value == value:
            ax.text(x, y, f"{value:.0f}", ha="center", va="center", fontsize=8, color="black" if value > 60 else "white")
    if 0 < large < len(order):
        ax.axvline(large - 0.5, color="white", lw=3)
    ax.set_xticks(range(len(order)), order, rotation=60, ha="right", fontsize=8)
    ax.set_yticks(range(len(wide)), wide.index)
    figure.colorbar(drawn, ax=ax, pad=0.01, label=f"{metric}, %")
    return figure


def against_threshold(results: dict[str, list[dict]], least: int = report.LEAST) -> Figure:
    """Mean DSC over the patients that all report, of at least `least` lesion voxels, against the threshold, by network.

    results: label → the network's runs; seeds are averaged. A dot stands at the protocol's 0.5, a ring at the best threshold,
    which looks at the patients that it is scored on. ValueError where nothing was run.
    """
    curves = report.beside_thresholds(results, least)
    if not curves:
        raise ValueError("none of these networks was run")
    figure, ax = plt.subplots(figsize=(WIDTH, 3.8), layout="constrained")
    ends = {}
    for index, (label, frame) in enumerate(curves.items()):
        mean, colour = frame.mean(), COLOURS.get(label, CYCLE[index % len(CYCLE)])
        ax.plot(mean.index, mean, color=colour)
        ax.plot(0.5, mean[0.5], "o", color=colour)
        ax.plot(mean.idxmax(), mean.max(), "o", color=colour, mfc="none", ms=10)
        ends[label] = (0.9, mean[0.9], colour)
    names(ax, ends, 0.97)
    ax.set(
        xlabel="threshold on the probability",
        ylabel=f"mean DSC of {len(frame)} patients, %",
        xlim=(0.05, 1.15),
        xticks=np.arange(0.1, 1, 0.1),
    )
    return figure


def against_cost(table: Table, cost: dict[str, float], name: str) -> Figure:
    """Mean DSC of a table's rows with its 95 % interval by the rule against what a network costs; each dot named.

    A row of fewer than five patients is a ring with its n: its mean cannot be set beside the others'. cost: row → a number
    above 0, on a logarithmic axis. name: the axis. ValueError where no row was run.
    """
    rows = table.rows[table.rows.patients > 0]
    if not len(rows):
        raise ValueError(f"no row of {table.grid.name} was run")
    figure, ax = plt.subplots(figsize=(WIDTH, 4), layout="constrained")
    dots = {}
    for index, label in enumerate(table.rows.index):
        if label not in rows.index:
            continue
        frame = table.patients[label]
        large = frame[frame.lesion_voxels >= report.LEAST]
        found = rule.interval(100 * large.DSC, large.fold)
        colour = COLOURS.get(label, CYCLE[index % len(CYCLE)])
        ax.plot([cost[label]] * 2, [found.low, found.high], color=colour, lw=2)
        few = len(large) < rule.FEWEST
        ax.plot(cost[label], rows.DSC[label], "o", color=colour, mfc="none" if few else colour)
        top = found.high if found.high == found.high else rows.DSC[label]
        dots[f"{label}, n = {len(large)}" if few else label] = (cost[label], top, colour)
    ax.set_xscale("log")
    low, high = min(cost[label] for label in rows.index), max(cost[label] for label in rows.index)
    ax.set_xlim(low / 2, high * 2)
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_major_formatter("{x:g}")
    ax.xaxis.set_minor_formatter(NullFormatter())
    # an interval of two folds may reach beyond what a DSC can be; it is cut off at the frame
    ax.set_ylim(max(0, rows.DSC.min() - 15), min(100, rows.DSC.max() + 15))
    ax.set(xlabel=f"{name}, logarithmic", ylabel="DSC, %")
    _above(ax, dots)
    return figure


def _above(ax: Axes, places: dict[str, tuple[float, float, str]]) -> None:
    """Each name above its (x, y, colour), in the colour; where two would meet, the later one stands a line higher."""
    line, letter = ax.figure.dpi * 12 / 72, ax.figure.dpi * 5.5 / 72  # pixels of 9 points
    roof = ax.get_ylim()[1]
    taken: list[tuple[float, float, float]] = []
    for name, (x, y, colour) in sorted(places.items(), key=lambda one: one[1][1]):
        at, height = ax.transData.transform((x, min(y, roof)))
        start, half = height, letter * len(name) / 2
        while any(abs(at - other) < half + wide and abs(height - up) < line for other, up, wide in taken):
            height += line / 4
        taken.append((at, height, half))
        offset = (0, (height - start) * 72 / ax.figure.dpi + 3)
        how = {"textcoords": "offset points", "ha": "center", "va": "bottom", "annotation_clip": False}
        how["path_effects"] = [withStroke(linewidth=2, foreground="white")]
        ax.annotate(name, (x, min(y, roof)), xytext=offset, color=colour, **how)


def names(ax: Axes, places: dict[str, tuple[float, float, str]], x: float) -> None:
    """Names in a column at x, each tied to its (x, y, colour) by a thin line, a line of text apart from each other.

    They stand in place of a legend. Set scale and limits of the axes before: the distances are those of the axes as they are.
    """
    high = max(ax.transData.transform([(x, y) for y in ax.get_ylim()])[:, 1])
    gap = ax.figure.dpi * 11 / 72  # 11 points; a layout makes the axes higher than they are now, and the gaps with them
    order = sorted(places, key=lambda name: places[name][1])
    wanted = ax.transData.transform([(x, places[name][1]) for name in order])[:, 1]
    steps = gap * np.arange(len(order))
    heights = isotonic_regression(wanted - steps).x + steps  # the nearest heights in this order that keep the gap
    heights = heights - max(0.0, heights[-1] - high)  # a long column ends at the top
    back = ax.transData.inverted().transform([(0, height) for height in heights])[:, 1]
    for name, height in zip(order, back, strict=True):
        at, y, colour = places[name]
        ax.plot([at, x], [y, height], color=colour, lw=0.8, alpha=0.6, zorder=1, clip_on=False, scalex=False, scaley=False)
        ax.annotate(name, (x, height), xytext=(3, 0), textcoords="offset points", va="center", annotation_clip=False)


def learning(measured: Sequence[dict]) -> Figure:
    """DSC of some lesion slices after each epoch: of patients that a run trains on, and of those that it leaves out.

    measured: the "attention" of results (`report.load`) whose runs were followed. A thin line a run, a thick one their mean.
    ValueError where no run was followed.
    """
    courses: dict[str, list[np.ndarray]] = {"trained on": [], "left out": []}
    for content in measured:
        of = {kind: [] for kind in courses}
        for name, counts in content.get("learning", {}).items():
            tp, fp, fn = np.array(counts, float).T
            kind = "trained on" if name in content["trained_on"] else "left out"
            of[kind].append(200 * tp / np.maximum(1, 2 * tp + fp + fn))
        for kind, rows in of.items():
            if rows:
                courses[kind].append(np.mean(rows, axis=0))
    if not any(courses.values()):
        raise ValueError("no run was followed from epoch to epoch (python -m studies.attention_course)")
    figure, ax = plt.subplots(figsize=(WIDTH, 3.4), layout="constrained")
    for (kind, rows), colour in zip(courses.items(), (BLUE, ORANGE), strict=True):
        for row in rows:
            ax.plot(range(1, len(row) + 1), row, color=colour, alpha=0.35, lw=1)
        if rows:
            mean = np.mean(rows, axis=0)
            ax.plot(range(1, len(mean) + 1), mean, color=colour, lw=2.5)
            ax.annotate(kind, (len(mean), mean[-1]), xytext=(6, 0), textcoords="offset points", color=colour, va="center")
    ax.set(xlabel="epoch", ylabel="DSC of lesion slices, %")
    ax.margins(x=0.12)
    return figure


def followed(results: Sequence[dict], nodes: Sequence[str]) -> Figure:
    """How far the maps of measured runs reach: from node to node, along training, and how they tell lesion from elsewhere.

    results: those of `report.load` that hold "attention"; nodes: of Figure 5, in order. Panels one above the other, a run a
    colour, in the order of folds and seeds: a thin line for each patient that it had not seen, a thick one for their mean.
    The middle panel stands only where a run was measured after each epoch. ValueError where none was measured.
    """
    measured = [r for r in results if r.get("attention", {}).get("nodes")]
    if not measured:
        raise ValueError("the maps of no run were measured (python -m studies.attention_course)")
    measured.sort(key=lambda r: (r["recipe"]["fold"], r["recipe"]["seed"]))
    panels = {
        "nodes": ("From node to node", "effective area"),
        "epochs": (f"{nodes[-1]} along training", "effective area"),
        "contrast": ("Lesion over elsewhere, from node to node", "contrast (1: none)"),
    }
    if not any(r["attention"].get("epochs") for r in measured):
        del panels["epochs"]
    figure, axes = plt.subplots(len(panels), 1, figsize=(WIDTH, 0.5 + 2.1 * len(panels)), layout="constrained", squeeze=False)
    for ax, (key, (title, what)) in zip(axes.flat, panels.items(), strict=True):
        for number, r in enumerate(measured):
            colour, values = CYCLE[number % len(CYCLE)], r["attention"].get(key, {})
            unseen = [row for scan, row in values.items() if scan in r["folds"]["test"]]
            for row in unseen:
                ax.plot(_steps(row, key), row, color=colour, lw=0.9, alpha=0.45)
            if unseen:
                mean, name = np.mean(unseen, axis=0), f"fold {r['recipe']['fold']}, seed {r['recipe']['seed']}"
                ax.plot(_steps(mean, key), mean, color=colour, lw=3, label=name, solid_capstyle="round")
        if key == "contrast":
            ax.axhline(1, color="0.4", lw=1)
        ax.set_title(title, loc="left")
        ax.set(ylabel=what, xlabel="epoch" if key == "epochs" else None)
        ax.margins(x=0.03)
        if key != "epochs":
            ax.set_xticks(range(len(nodes)), nodes)
    lines, names_ = axes[0, 0].get_legend_handles_labels()
    figure.legend(lines, names_, loc="outside upper left", ncols=min(4, max(1, len(lines))))
    return figure


def _steps(values: Sequence[float], key: str) -> range:
    """Where a course's values stand: epochs count from 1, nodes from 0."""
    return range(1, 1 + len(values)) if key == "epochs" else range(len(values))


def box_plot(frame: pd.DataFrame, title: str = "") -> Figure:
    """Figure 3: the six metrics over the patients of one network (`report.per_patient`), each patient a point.

    Box, line (median) and diamond (mean) are of the patients of the primary endpoint; one below its number of voxels is a
    hollow point. The patients below the whisker are named.
    """
    figure, ax = plt.subplots(figsize=(WIDTH, 4.6), layout="constrained")
    rng = np.random.default_rng(0)
    large = frame.lesion_voxels >= report.LEAST if "lesion_voxels" in frame else pd.Series(True, frame.index)
    large = large if large.any() else ~large
    for index, metric in enumerate(METRICS, 1):
        values = 100 * frame[metric]
        boxed = values[large]
        ax.boxplot(boxed, positions=[index], widths=0.44, showfliers=False, medianprops={"color": "black"})
        places = pd.Series(index + rng.uniform(-0.12, 0.12, len(values)), values.index)
        ax.plot(places[large], boxed, ".", color=BLUE, alpha=0.6)
        ax.plot(places[~large], values[~large], "o", color=BLUE, mfc="none", ms=4)
        ax.plot(index, boxed.mean(), "D", mfc="none", color=ORANGE, ms=6)
        q1, q3 = np.percentile(boxed, [25, 75])
        for name, value in values[values < q1 - 1.5 * (q3 - q1)].items():
            way = (5, "bottom") if index % 2 else (-5, "top")  # names of neighbours at one height do not meet
            where = {"xytext": (0, way[0]), "textcoords": "offset points", "ha": "center", "va": way[1]}
            ax.annotate(str(name), (places[name], value), fontsize=8, **where)
    ax.margins(y=0.08)
    ax.set_xticks(range(1, len(METRICS) + 1), METRICS)
    ax.set_ylabel("%")
    ax.set_title(title)
    return figure


def bland_altman(frame: pd.DataFrame, title: str = "", second: dict[str, float] | None = None) -> Figure:
    """LOV against the truth in per cent of it, per patient, with bias and 95 % limits of agreement (Bland & Altman 1986).

    Only patients with at least `report.LEAST` lesion voxels: a per cent of next to nothing means nothing.
    second: by patient, how much more a second reader outlined than the first, per cent; hollow triangles.
    """
    frame = frame[frame.lesion_voxels >= report.LEAST]
    difference = (100 * (frame.predicted_ml - frame.true_ml) / frame.true_ml).dropna()
    mean = frame.true_ml.loc[difference.index]
    figure, ax = plt.subplots(figsize=(WIDTH, 3.4), layout="constrained")
    ax.plot(mean, difference, "o", color=BLUE)
    bias, spread = difference.mean(), 1.96 * difference.std()
    for value, style in ((bias, "-"), (bias - spread, "--"), (bias + spread, "--")):
        ax.axhline(value, color=ORANGE, ls=style, lw=1)
        ax.annotate(
            f"{value:+.0f} %".replace("-", "−"),
            (0.985, value),
            xycoords=("axes fraction", "data"),
            fontsize=8,
            va="bottom",
            ha="right",
        )
    for name in difference.abs().nlargest(2).index:
        ax.annotate(str(name), (mean[name], difference[name]), xytext=(6, 0), textcoords="offset points", fontsize=7)
    both = {name: value for name, value in (second or {}).items() if name in mean.index}
    if both:
        ax.plot([mean[name] for name in both], list(both.values()), "^", color="0.3", mfc="none", ms=8)
        last = max(both, key=lambda name: mean[name])
        ax.annotate("second reader", (mean[last], both[last]), xytext=(9, -3), textcoords="offset points", color="0.3")
    ax.set_xlabel("true volume, nominal cm³")
    ax.set_ylabel("predicted − true, % of true")
    ax.set_title(title)
    return figure
