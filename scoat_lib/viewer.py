"""Viewers that work without a kernel: sliders over pictures made beforehand, and small scripts of ours over a whole scan.

`stack` is an ipywidgets slider. `ct`, `threshold`, `epochs`, `two_masks` and `spatial_attention` put a script of `viewers/`
into the page with its numbers; nothing is asked of a server. Where no script runs, a still picture or a sentence stands there.
"""

from __future__ import annotations

import base64
import html
import io
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import ipywidgets as widgets
import matplotlib
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from scoat_lib.overview import body_box
from scoat_lib.plots import WIDTH
from scoat_lib.scan import Scan, window

WINDOWS = {"lung": (-1250, 250), "soft-tissue": (-160, 240), "bone": (-200, 1000)}  # HU, black and white
COLUMN = 672  # pixels of a page across its column, which a slider's picture fills; it is drawn with about twice as many
LOWEST, STEP = -1024, 16  # HU of the smallest of 256 levels, and between two of them: what a page can hold
LETTERS = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"  # the figures' own
THRESHOLDS = tuple(round(0.01 * k, 2) for k in range(1, 100))
FEWER = THRESHOLDS[9::10]  # 0.1 … 0.9, where a page holds the probabilities of many epochs


def picture(image: np.ndarray, truth=None, prediction=None, zoom: int | None = None, mirrored: bool | None = False) -> bytes:
    """A PNG of one (H, W) slice in 0..1, `zoom` times as large, with outlines: truth red, prediction cyan.

    zoom: a whole number; by default what brings the slice nearest to twice the pixels of a page's column.
    mirrored: whether left and right are exchanged. An R stands at the patient's right; None where no patient is shown: no R.
    """
    zoom = zoom or max(1, round(2 * COLUMN / np.shape(image)[1]))
    line = max(2, round(2 * zoom * np.shape(image)[1] / COLUMN))
    grey = np.clip(np.asarray(image, np.float32), 0, 1).repeat(zoom, 0).repeat(zoom, 1)
    rgb = np.stack([np.uint8(np.rint(grey * 15) * 17)] * 3, -1)  # 16 greys: pages hold many pictures, so each is small
    for mask, colour in ((truth, (255, 59, 48)), (prediction, (0, 213, 230))):
        if mask is not None:
            large = np.asarray(mask, bool).repeat(zoom, 0).repeat(zoom, 1)
            rgb[large & ~ndimage.binary_erosion(large, iterations=line)] = colour
    drawn = Image.fromarray(rgb)
    if mirrored is not None and drawn.width >= 200:  # a smaller one has no room for a letter
        wide, size = drawn.width, max(10, drawn.width // 50)
        at, anchor = (wide - size, "ra") if mirrored else (size, "la")
        edge = {"stroke_width": max(1, size // 10), "stroke_fill": "black"}
        ImageDraw.Draw(drawn).text((at, size), "R", "white", ImageFont.truetype(LETTERS, size), anchor, **edge)
    buffer = io.BytesIO()
    drawn.convert("P", palette=Image.Palette.ADAPTIVE, colors=24).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def drawing(figure: Figure) -> bytes:
    """A matplotlib figure as a PNG for `stack`, in few colours; the figure is closed.

    It is drawn as wide as every figure of a page (`plots.WIDTH`), with its own proportions and letters of the size they have.
    """
    wide, high = figure.get_size_inches()
    figure.set_size_inches(WIDTH, high * WIDTH / wide)
    if figure.get_layout_engine() is None:
        figure.set_layout_engine("constrained")
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=2 * COLUMN / WIDTH)
    plt.close(figure)
    small = io.BytesIO()
    Image.open(buffer).convert("P", palette=Image.Palette.ADAPTIVE, colors=48).save(small, "PNG", optimize=True)
    return small.getvalue()


def _img(png: bytes, text: str) -> str:
    """A PNG as HTML, as wide as a page's column."""
    with Image.open(io.BytesIO(png)) as image:
        height = round(COLUMN * image.height / image.width)
    source = f"data:image/png;base64,{base64.b64encode(png).decode()}"
    size = f'width="{COLUMN}" height="{height}" style="--natural: {COLUMN}px; height: auto"'
    return f'<img alt="{html.escape(text)}" {size} src="{source}">'


def stack(pictures: Sequence[bytes | str], name: str, labels: Sequence[str] | None = None, start: int = 0) -> widgets.VBox:
    """A slider over pictures. It works in a static page, where no kernel answers.

    pictures: PNGs, or SVGs as text (`drawings`), which take the page's colours. name: what the slider moves along ("slice",
    "epoch"). labels: a line under each picture, and its alternative text: it is what says where the slider stands, so it has
    the value in it.
    ipywidgets 7, which Colab has, knows no `Stack`: there the kernel changes the picture, so the slider needs one.
    ValueError without a picture, and where there are not as many labels as pictures.
    """
    if not pictures:
        raise ValueError("a stack needs at least one picture")
    texts = list(labels) if labels is not None else [f"{name} {k + 1} of {len(pictures)}" for k in range(len(pictures))]
    slider = widgets.IntSlider(value=start, min=0, max=len(pictures) - 1, description=name, readout=False)
    # as HTML: an Image widget has no alternative text, and a Label would be typeset
    views = [
        f"<figure>{shown if isinstance(shown, str) else _img(shown, text)}<figcaption>{html.escape(text)}</figcaption></figure>"
        for shown, text in zip(pictures, texts, strict=True)
    ]
    if hasattr(widgets, "Stack"):
        shown = widgets.Stack([widgets.HTML(view) for view in views], selected_index=start)
        widgets.jslink((slider, "value"), (shown, "selected_index"))
    else:
        shown = widgets.HTML(views[start])
        slider.observe(lambda change: setattr(shown, "value", views[change["new"]]), "value")
    return widgets.VBox([slider, shown])


@dataclass(frozen=True)
class Viewer:
    """A piece of a page that moves without a kernel. html: its whole source. text: what it shows, for who does not see it."""

    html: str
    text: str

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return self.text


def ct(scan: Scan, name: str, truth=None, prediction=None, start: int | None = None) -> Viewer:
    """A whole scan to read: slices, level and width of the window, HU under the pointer, masks on and off.

    name: the viewer's id, once on a page. truth, prediction: boolean (slices, rows, columns) arrays in the order of
    `scan.axial()`. start: the slice shown first, from 0; by default that with most truth. HU come in steps of 16, and the air
    around the body is cut off where nothing is marked in it; rows and columns are counted as the whole slice's.
    ValueError for arrays of another shape or a slice outside the scan.
    """
    answers = [] if prediction is None else [np.asarray(prediction, bool)]
    return _scan(scan, name, truth, answers, (0.5,), 0.5, start, windows=WINDOWS)


def threshold(
    scan: Scan, probabilities: np.ndarray, name: str, truth=None, at: float = 0.5, start: int | None = None
) -> Viewer:
    """One patient under a threshold from 0.01 to 0.99: the outline of every slice, the volume and the DSC of the whole scan.

    probabilities: (slices, rows, columns) in 0..1 in the order of `scan.axial()`. at: the threshold shown first, one of
    `THRESHOLDS`. The other arguments are `ct`'s. A voxel is lesion where its probability is above the threshold, to the bit.
    """
    return _scan(scan, name, truth, [probabilities], THRESHOLDS, at, start)


def epochs(
    scan: Scan,
    answers: Sequence[np.ndarray],
    name: str,
    truth=None,
    at: float = 0.5,
    start: int | None = None,
    of: int | None = None,
) -> Viewer:
    """How a prediction grows while a network learns: one patient, a slider over the epochs and one over the threshold,
    which is one of `FEWER`.

    answers: probabilities (slices, rows, columns) after each epoch, the first first. of: the epochs of the whole run,
    by default as many as answers. The other arguments are `threshold`'s. ValueError without an answer.
    """
    if not len(answers):
        raise ValueError("epochs needs the probabilities of at least one epoch")
    names = [f"{k} of {of or len(answers)}" for k in range(1, len(answers) + 1)]
    return _scan(scan, name, truth, answers, FEWER, at, start, along="epoch", names=names)


def two_masks(name: str, examples: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> Viewer:
    """Two masks to paint, and the six metrics of equations 8 and 9 with equation 10's centres, as they change.

    name: the viewer's id, once on a page. examples: what to begin with, name → (truth, prediction), boolean (rows, columns)
    arrays of one shape. ValueError without an example or with shapes that differ.
    """
    shapes = {np.shape(mask) for pair in examples.values() for mask in pair}
    if len(shapes) != 1 or len(next(iter(shapes))) != 2:
        raise ValueError(f"two_masks needs examples of one shape (rows, columns); these have {sorted(shapes)}")
    rows, columns = shapes.pop()

    def lines(mask: np.ndarray) -> list[str]:
        return ["".join("#" if value else "." for value in row) for row in np.asarray(mask, bool)]

    data = {
        "rows": rows,
        "columns": columns,
        "examples": {k: {"truth": lines(t), "prediction": lines(p)} for k, (t, p) in examples.items()},
    }
    still = picture(np.full((rows, columns), 0.25), *next(iter(examples.values())), zoom=16, mirrored=None)
    text = "Two masks of pixels to paint, with DSC, SEN, PPV, VA, RLP and RLR as they change"
    return _viewer(name, "paintViewer", ("metrics", "paint"), data, text, still)


def spatial_attention(name: str, here: np.ndarray, below: np.ndarray) -> Viewer:
    """Equations 1 and 2 on one channel, with x(i,j) (4, 4) and x(i+1,j) (2, 2) to paint from 0 to 6.

    name: the viewer's id, once on a page. here, below: what to begin with. Every 1 × 1 convolution does nothing; the batch
    norm of H_S subtracts the mean and adds β. ValueError for other shapes.
    """
    if np.shape(here) != (4, 4) or np.shape(below) != (2, 2):
        raise ValueError(f"here has shape {np.shape(here)} and below {np.shape(below)}; (4, 4) and (2, 2) are meant")
    data = {
        "here": np.asarray(here, float).ravel().tolist(),
        "below": np.asarray(below, float).ravel().tolist(),
    }
    return _viewer(
        name, "mapViewer", ("attention", "map"), data, "A map of 4 × 4 squares and one of 2 × 2 to paint, with x_M and x_s"
    )


def _scan(
    scan: Scan, name: str, truth, answers, thresholds, at, start, windows=None, along: str = "", names: Sequence[str] = ()
) -> Viewer:
    """The one viewer behind `ct`, `threshold` and `epochs`."""
    hu = scan.axial()
    for mask in [truth, *answers] if truth is not None else answers:
        if np.shape(mask) != hu.shape:
            raise ValueError(f"{name}: an array has shape {np.shape(mask)}, the scan's slices {hu.shape}; they must be equal")
    if at not in thresholds:
        raise ValueError(f"{name}: threshold {at} is not one of the steps {thresholds[0]} … {thresholds[-1]}")
    busiest = truth if truth is not None else hu > -250
    start = int(np.asarray(busiest).sum((1, 2)).argmax()) if start is None else start
    if not 0 <= start < len(hu):
        raise ValueError(f"{name}: slice {start} of a scan of {len(hu)}")
    levels = np.clip(np.rint((np.asarray(hu, float) - LOWEST) / STEP), 0, 255)
    # a voxel's number of steps below its probability: above a step is then exact, whatever the number's precision
    counted = [np.searchsorted(thresholds, np.asarray(a, float), side="left") for a in answers]
    low, high = WINDOWS["lung"]
    box = _box(hu, [truth, *counted] if truth is not None else counted)
    hu, levels, counted = hu[:, *box], levels[:, *box], [c[:, *box] for c in counted]
    truth = None if truth is None else np.asarray(truth, bool)[:, *box]
    answers = [np.asarray(a)[:, *box] for a in answers]
    data = {
        "shape": hu.shape,
        "first": [box[0].start, box[1].start],
        "spacing": scan.axial_spacing[1:],
        "voxel": scan.voxel_volume,
        "low": LOWEST,
        "step": STEP,
        "voxels": _packed(levels),
        "slice": start,
        "level": (low + high) / 2,
        "width": high - low,
        "about": name.replace("-", " "),
    }
    if truth is not None:
        data["truth"] = _packed(truth)
    if answers:
        data |= {"answers": [_packed(c) for c in counted], "answer": len(answers) - 1, "along": along, "names": list(names)}
        data |= {"thresholds": list(thresholds), "start": list(thresholds).index(at)}
    if windows:
        data["windows"] = windows
    shown = [truth[start]] if truth is not None else [None]
    shown += [np.asarray(answers[-1][start]) > at] if answers else [None]
    parts = ["slice by slice", "with its window to choose" if windows else "", f"with {len(answers)} {along}s" if along else ""]
    parts += ["with a threshold to choose" if len(thresholds) > 1 else ""]
    text = f"A scan of {len(hu)} slices, {', '.join(p for p in parts if p)}"
    still = picture(window(hu[start]), *shown, zoom=max(1, 384 // hu.shape[2]))
    return _viewer(name, "scanViewer", ("scan",), data, text, still)


def _box(hu: np.ndarray, marked: Sequence[np.ndarray]) -> tuple[slice, slice]:
    """Rows and columns of the body (`overview.body_box`), and of every voxel that a mask or a step of a threshold marks."""
    box = []
    for axis, body in enumerate(body_box(hu), 1):
        held = np.flatnonzero(np.any([np.asarray(m).any((0, 3 - axis)) for m in marked], axis=0)) if len(marked) else []
        first, last = (min(body.start, held[0]), max(body.stop, held[-1] + 1)) if len(held) else (body.start, body.stop)
        box.append(slice(int(first), int(last)))
    return box[0], box[1]


def _packed(array: np.ndarray) -> str:
    """Whole numbers from 0 to 255, (slices, rows, columns), as text that `unpacked` of scan.js unpacks.

    Kept is by how much each differs from the mean of its neighbours above and to the left: a third of the bytes less.
    """
    values = np.asarray(array).astype(np.int16)
    before = np.pad(values, ((0, 0), (1, 0), (1, 0)))
    guess = (before[:, :-1, 1:] + before[:, 1:, :-1]) >> 1
    difference, kept = (values - guess).astype(np.uint8).tobytes(), []
    for strategy in (zlib.Z_FILTERED, zlib.Z_HUFFMAN_ONLY):  # noise holds no repeats to look for
        deflate = zlib.compressobj(9, zlib.DEFLATED, 15, 9, strategy)
        kept.append(deflate.compress(difference) + deflate.flush())
    return base64.b64encode(min(kept, key=len)).decode()


def source(name: str) -> str:
    """The text of a script or a style of viewers/."""
    return files("scoat_lib").joinpath("viewers", name).read_text(encoding="utf-8")


def _viewer(name: str, starts: str, scripts: Sequence[str], data: dict, text: str, still: bytes | None = None) -> Viewer:
    """A figure with its style, its numbers and its script; `still` stands in where no script runs."""
    if not name.replace("-", "").isalnum() or not name[0].isalpha():
        raise ValueError(f"name is {name!r}; a viewer's name has letters, digits and hyphens, a letter first")
    said = html.escape(text)
    image = f'<img alt="{said}" src="data:image/png;base64,{base64.b64encode(still).decode()}">' if still else ""
    note = "<noscript><p>This figure moves where scripts may run; here it stands still.</p></noscript>"
    code = "\n".join(source(f"{script}.js") for script in ("common", *scripts))
    numbers = json.dumps(data, separators=(",", ":"), ensure_ascii=False).replace("<", "\\u003c")
    return Viewer(
        f'<div class="scoat-viewer" id="{name}" role="group" aria-label="{said}"><style>{source("viewers.css")}</style>'
        f'<div class="still">{image}{note}</div>'
        f"<script>(() => {{\n{code}\nbegin({starts}, {json.dumps(name)}, {numbers});\n}})();</script></div>",
        text,
    )
