"""Figures: slices with contours (truth red, prediction cyan, as in Figure 4), feature maps, curves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

TRUTH, PREDICTION = "#ff3b30", "#00d5e6"  # red and cyan differ in lightness too, so colour-blind readers can tell them apart


def show_slice(ax: Axes, image: np.ndarray, truth=None, prediction=None, title: str = "", vmin=0.0, vmax=1.0) -> None:
    """Draw one (H, W) slice in grey, with the outlines of (H, W) masks."""
    ax.imshow(image, cmap="gray", vmin=vmin, vmax=vmax, interpolation="nearest")
    for mask, colour, style in ((truth, TRUTH, "-"), (prediction, PREDICTION, "--")):
        if mask is not None and np.any(mask):
            ax.contour(np.asarray(mask, float), [0.5], colors=colour, linewidths=1.2, linestyles=style)
    ax.set_title(title, fontsize=9)
    ax.set_axis_off()


def slices(images: Sequence, truths=None, predictions=None, titles=None, columns: int = 4, size: float = 2.2) -> Figure:
    """A grid of slices; the arguments after `images` are lists of the same length, or None."""
    count = len(images)
    rows = -(-count // columns)
    fig, axes = plt.subplots(rows, min(columns, count), figsize=(size * min(columns, count), size * rows * 1.1), squeeze=False)
    for ax in axes.flat:
        ax.set_axis_off()
    for i, (ax, image) in enumerate(zip(axes.flat, images, strict=False)):
        pick = [values[i] if values is not None else None for values in (truths, predictions, titles)]
        show_slice(ax, image, pick[0], pick[1], pick[2] or "")
    fig.tight_layout(pad=0.4)
    return fig


def maps(arrays: dict[str, np.ndarray], cmap: str = "magma", vmin=None, vmax=None, size: float = 2.2) -> Figure:
    """Named (H, W) maps in a row, each with its colour bar."""
    fig, axes = plt.subplots(1, len(arrays), figsize=(size * len(arrays), size * 1.1), squeeze=False)
    for ax, (name, array) in zip(axes.flat, arrays.items(), strict=True):
        drawn = ax.imshow(array, cmap=cmap, vmin=vmin, vmax=vmax, interpolation="nearest")
        fig.colorbar(drawn, ax=ax, fraction=0.046, pad=0.03).ax.tick_params(labelsize=7)
        ax.set_title(name, fontsize=9)
        ax.set_axis_off()
    fig.tight_layout(pad=0.5)
    return fig


def curve(ax: Axes, rows: list[dict], key: str, label: str = "") -> None:
    """One column of a training curve against the epoch."""
    ax.plot([r["epoch"] for r in rows], [r[key] for r in rows], marker="o", markersize=3, label=label or key)
    ax.set_xlabel("epoch")
    ax.set_ylabel(key)
