"""ipywidgets viewers that work without a kernel: a slider linked in the browser to a stack of pictures made beforehand."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence

import ipywidgets as widgets
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from PIL import Image
from scipy import ndimage


def picture(image: np.ndarray, truth=None, prediction=None, zoom: int = 2) -> bytes:
    """A PNG of one (H, W) slice in 0..1, `zoom` times as large, with outlines: truth red, prediction cyan."""
    grey = np.clip(np.asarray(image, np.float32), 0, 1).repeat(zoom, 0).repeat(zoom, 1)
    rgb = np.stack([np.uint8(np.rint(grey * 15) * 17)] * 3, -1)  # 16 greys: pages hold many pictures, so each is small
    for mask, colour in ((truth, (255, 59, 48)), (prediction, (0, 213, 230))):
        if mask is not None:
            large = np.asarray(mask, bool).repeat(zoom, 0).repeat(zoom, 1)
            rgb[large & ~ndimage.binary_erosion(large)] = colour
    buffer = io.BytesIO()
    Image.fromarray(rgb).convert("P", palette=Image.Palette.ADAPTIVE, colors=24).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def drawing(figure: Figure, dpi: int = 70) -> bytes:
    """A matplotlib figure as a PNG for `stack`, in few colours; the figure is closed."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=dpi, bbox_inches="tight")
    plt.close(figure)
    small = io.BytesIO()
    Image.open(buffer).convert("P", palette=Image.Palette.ADAPTIVE, colors=48).save(small, "PNG", optimize=True)
    return small.getvalue()


def stack(pictures: Sequence[bytes], name: str, labels: Sequence[str] | None = None, start: int = 0) -> widgets.VBox:
    """A slider over PNG pictures. It works in a static page, where no kernel answers.

    name: what the slider moves along ("slice", "epoch"). labels: a line under each picture, and its alternative text.
    ipywidgets 7, which Colab has, knows no `Stack`: there the kernel changes the picture, so the slider needs one.
    ValueError without a picture, and where there are not as many labels as pictures.
    """
    if not pictures:
        raise ValueError("a stack needs at least one picture")
    texts = list(labels) if labels is not None else [f"{name} {k + 1} of {len(pictures)}" for k in range(len(pictures))]
    slider = widgets.IntSlider(value=start, min=0, max=len(pictures) - 1, description=name, continuous_update=True)
    views = []
    for png, text in zip(pictures, texts, strict=True):
        # as HTML: an Image widget has no alternative text, and a Label would be typeset
        source = f"data:image/png;base64,{base64.b64encode(png).decode()}"
        words = html.escape(text)
        views.append(f'<figure><img alt="{words}" src="{source}"><figcaption>{words}</figcaption></figure>')
    if hasattr(widgets, "Stack"):
        shown = widgets.Stack([widgets.HTML(view) for view in views], selected_index=start)
        widgets.jslink((slider, "value"), (shown, "selected_index"))
    else:
        shown = widgets.HTML(views[start])
        slider.observe(lambda change: setattr(shown, "value", views[change["new"]]), "value")
    return widgets.VBox([slider, shown])
