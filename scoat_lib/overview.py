"""The page that shows what was found in one scan, and the page of one patient's dates (Figure 6).

Each is one file that asks nobody for anything. The pictures are the user's own data: they are returned, or written to the path
that is given, and nowhere else.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from PIL import Image
from scipy import ndimage

from scoat_lib.files import whole_file
from scoat_lib.scan import Scan, window
from scoat_lib.segmentation import Segmentation

OUTLINE = "#00d5e6"
MOST_BYTES = 2_000_000
TILE = 300  # pixels of a slice's longer side
COLUMNS, ROWS = 4, 3
FAINT = 0.05  # probabilities below are not coloured
BODY = -300.0  # HU: what is denser is patient or table
GENERATOR = "scoat segment"  # in each page, so that a page of ours is told from a file of the user's
RESEARCH = "Research use only. No medical device, no diagnosis."

STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #57606a; --page: #ffffff; --line: #d0d7de;
  --warn: #fff4d6; --mark: #00717c; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6edf3; --soft: #a3adb8; --page: #14181d; --line: #3a424c;
    --warn: #3d3212; --mark: #39d3e3; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--page);
  max-width: 78rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.5rem; margin: .5rem 0; overflow-wrap: anywhere; } h2 { font-size: 1.1rem; margin: 1.5rem 0 .5rem; }
.research { border: 2px solid var(--mark); padding: .3rem .8rem; font-weight: 600; }
.big { font-size: 2rem; font-weight: 600; }
.warnings { background: var(--warn); padding: .5rem 1rem .5rem 2rem; }
figure { margin: 1rem 0; } img { width: 100%; height: auto; background: #000; } figcaption, .soft { color: var(--soft); }
.dates { display: flex; flex-wrap: wrap; gap: .8rem; } .dates figure { flex: 1 1 13rem; max-width: 20rem; margin: 0; }
table { border-collapse: collapse; } th, td { text-align: left; padding: .25rem .8rem .25rem 0; vertical-align: top; }
td, th { border-bottom: 1px solid var(--line); overflow-wrap: anywhere; } .wide { overflow-x: auto; }
svg text { fill: var(--ink); font: 14px system-ui, sans-serif; } svg .grid { stroke: var(--line); }
svg .curve { stroke: var(--mark); fill: none; } svg .dot { fill: var(--mark); }
@media (max-width: 46rem) { /* a phone: what is wide keeps its size and scrolls inside itself */
  main > figure { overflow-x: auto; } main > figure > :is(img, svg) { width: 46rem; max-width: none; }
  main > figure > figcaption { position: sticky; left: 0; } }
"""


@dataclass(frozen=True)
class View:
    """One slice to be shown. grey: (H, W) 0..1. mask, probability: (H, W) or None. label: under it. square pixels of mm."""

    grey: np.ndarray
    mask: np.ndarray
    probability: np.ndarray | None
    label: str
    mm: float


@dataclass(frozen=True)
class Visit:
    """One date of a patient. volume: LOV in cm³. share: of both lungs in per cent, or None. view: the slice to be shown."""

    day: date
    name: str
    volume: float
    share: float | None
    warnings: str
    view: View


def chosen_slices(mask: np.ndarray, lungs: np.ndarray | None, number: int) -> list[int]:
    """Indices of `number` slices at even steps through the lungs, else through the whole scan; the largest outline is one.

    mask, lungs: (slices, rows, columns).
    """
    held = np.flatnonzero((lungs if lungs is not None and lungs.any() else np.ones((len(mask), 1, 1))).any((1, 2)))
    chosen = np.unique(np.rint(np.linspace(held[0], held[-1], min(number, held[-1] - held[0] + 1))).astype(int))
    areas = mask.sum((1, 2))
    if areas.any() and (largest := int(areas.argmax())) not in chosen:
        chosen[np.abs(chosen - largest).argmin()] = largest
    return sorted({int(k) for k in chosen})


def body_box(slices: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns of (slices, rows, columns) HU that hold more than air, with a margin; all where nothing does."""
    dense = (slices[:: max(1, len(slices) // 16)] > BODY).mean(0)
    box = []
    for axis in (1, 0):
        held = np.flatnonzero((dense > 0.3).mean(axis) > 0.02)
        size = dense.shape[1 - axis]
        margin = size // 40
        box.append(slice(max(0, held[0] - margin), min(size, held[-1] + 1 + margin)) if len(held) else slice(0, size))
    return box[0], box[1]


def _resized(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    small = Image.fromarray(np.ascontiguousarray(image, np.float32)).resize(shape[::-1], Image.Resampling.BILINEAR)
    return np.asarray(small)


def _view(hu, mask, probability, mm: tuple[float, float], label: str) -> View:
    """A slice with rows and columns of mm each, brought to square pixels."""
    height, width = hu.shape[0] * mm[0], hu.shape[1] * mm[1]
    pixel = max(height, width) / TILE
    shape = max(1, round(height / pixel)), max(1, round(width / pixel))
    parts = [window(hu), np.asarray(mask, np.float32), probability]
    return View(*(None if part is None else _resized(part, shape) for part in parts), label, pixel)


def axial_views(found: Segmentation, number: int = COLUMNS * ROWS) -> list[View]:
    """Axial slices from head to feet, cut to the body, with their outline's area."""
    hu, mask, p = (scan.axial() for scan in (found.scan, found.mask_scan, found.probability_scan))
    lungs = lungs_of(found)
    box, mm = body_box(hu), found.scan.axial_spacing
    views = []
    for k in reversed(chosen_slices(mask, lungs.axial() if lungs else None, number)):
        area = mask[k].sum() * mm[1] * mm[2] / 100
        label = f"slice {k + 1} of {len(hu)}" + (f", {area:.1f} cm²" if area else "")
        views.append(_view(hu[k][box], mask[k][box], p[k][box], mm[1:], label))
    return views


def coronal_view(found: Segmentation) -> View:
    """The coronal slice with the largest outline, else the middle one, head up."""
    hu, mask, p = (scan.axial() for scan in (found.scan, found.mask_scan, found.probability_scan))
    areas = mask.sum((0, 2))
    row = int(areas.argmax()) if areas.any() else hu.shape[1] // 2
    dz, _, dx = found.scan.axial_spacing
    columns = body_box(hu)[1]
    parts = (part[::-1, row, columns] for part in (hu, mask, p))
    return _view(*parts, (dz, dx), f"coronal, row {row + 1} of {hu.shape[1]} from the front")


def lungs_of(found: Segmentation) -> Scan | None:
    """The lungs of a scan, or None where they cannot be had."""
    try:
        return found.lungs
    except ValueError:
        return None


def largest_view(scan: Scan, mask: Scan) -> View:
    """The axial slice with the largest outline, else the middle one, cut to the body."""
    hu, marked = scan.axial(), mask.axial()
    areas = marked.sum((1, 2))
    k = int(areas.argmax()) if areas.any() else len(hu) // 2
    box = body_box(hu)
    return _view(hu[k][box], marked[k][box], None, scan.axial_spacing[1:], f"slice {k + 1} of {len(hu)}")


def _show(ax, view: View, coloured: bool = False) -> None:
    ax.imshow(view.grey, cmap="gray", vmin=0, vmax=1, interpolation="bilinear")
    if coloured:
        p = np.ma.masked_less(view.probability, FAINT)
        ax.imshow(p, cmap="inferno", vmin=0, vmax=1, alpha=0.75, interpolation="nearest")
    elif view.mask.max() > 0.5 > view.mask.min():
        ax.contour(view.mask, [0.5], colors=OUTLINE, linewidths=1.0)
    ax.set_axis_off()
    ax.text(0.02, 0.5, "R", transform=ax.transAxes, color="w", fontsize=8, va="center")
    ax.text(0.5, -0.01, view.label, transform=ax.transAxes, color="w", fontsize=8, ha="center", va="top", parse_math=False)


def _montage(parts: Sequence[tuple[str, Sequence[View], bool]], coronal: View, title: str = "", foot: str = "") -> Figure:
    """Blocks of slices beside each other (heading, views, coloured), the coronal one under each; white on black."""
    rows = -(-max(len(views) for _, views, _ in parts) // COLUMNS)
    shape = max((view.grey.shape for _, views, _ in parts for view in views), key=lambda s: s[0] / s[1])
    tile, wide = 2.2, COLUMNS * 2.2
    height = tile * shape[0] / shape[1] + 0.22
    low = min(3.0, wide * coronal.grey.shape[0] / coronal.grey.shape[1]) + 0.3
    top, bottom = (0.75 if title else 0.4), (0.4 if foot else 0.15)
    whole = rows * height + low + top + bottom
    figure = Figure(figsize=(wide * len(parts), whole), facecolor="k")
    FigureCanvasAgg(figure)
    for block, (heading, views, coloured) in enumerate(parts):
        for k, view in enumerate(views):
            row, column = divmod(k, COLUMNS)
            place = [(block * wide + column * tile) / figure.get_figwidth(), 1 - (top + (row + 1) * height - 0.2) / whole]
            _show(figure.add_axes([*place, tile * 0.98 / figure.get_figwidth(), (height - 0.22) / whole]), view, coloured)
        place = [(block * wide + 0.1) / figure.get_figwidth(), (bottom + 0.25) / whole]
        _show(figure.add_axes([*place, (wide - 1.2) / figure.get_figwidth(), (low - 0.3) / whole]), coronal, coloured)
        figure.text(
            (block * wide + 0.1) / figure.get_figwidth(),
            1 - (top - 0.12) / whole,
            heading,
            color="w",
            fontsize=10,
            parse_math=False,
        )
        if coloured:
            bar = figure.add_axes([((block + 1) * wide - 0.8) / figure.get_figwidth(), place[1], 0.012, (low - 0.5) / whole])
            figure.colorbar(ScalarMappable(cmap="inferno"), cax=bar).ax.tick_params(colors="w", labelsize=8)
    figure.text(0.1 / figure.get_figwidth(), 1 - 0.3 / whole, title, color="w", fontsize=13, parse_math=False)
    figure.text(0.1 / figure.get_figwidth(), 0.15 / whole, foot, color="w", fontsize=10, parse_math=False)
    return figure


def _encoded(figure: Figure, kind: str, quality: int = 88, dpi: int = 130) -> bytes:
    buffer = io.BytesIO()
    more = {"pil_kwargs": {"quality": quality, "optimize": True}} if kind == "jpg" else {}
    figure.savefig(buffer, format=kind, dpi=dpi, facecolor="k", **more)
    return buffer.getvalue()


def _data(content: bytes, kind: str = "jpeg") -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def report(found: Segmentation, name: str, facts: dict[str, object], threshold: float) -> tuple[str, bytes]:
    """The page of one scan as (HTML, PNG): slices with outlines and probability, volume, shares of the lungs, warnings.

    name: what to call the scan. facts: what else is to stand in the table (weights, options, versions, date). threshold: the
    probability above which a voxel was taken for lesion. The page is one file below 2 MB that loads nothing from elsewhere.
    """
    views, coronal = axial_views(found), coronal_view(found)
    lov = f"{found.volume:.1f} cm³"
    regions = int(ndimage.label(found.mask_scan.voxels)[1])
    outlined = [("Outlines", views, False)]
    coloured = [("Probability", views, True)]
    png = _encoded(_montage(outlined + coloured, coronal, f"{name}: lung opacification volume {lov}", RESEARCH), "png", dpi=100)
    words = f"{len(views)} axial slices and a coronal one of {name}"
    figures = (
        (outlined, f"{words}; {regions} outlined regions, {lov} together.",
         f"What is taken for opacification, outlined: {regions} regions. From head to feet, the patient's right on the left "
         "(R), lung window (−1250 to 250 HU). The slice with the largest outline is among them."),
        (coloured, f"{words}, coloured by the probability of opacification.",
         f"How sure the network is. What lies above {threshold:g} was outlined; below {FAINT:g} nothing is coloured."),
    )  # fmt: skip
    for quality in (88, 75, 60, 40):
        shown = "".join(_figure(_encoded(_montage(parts, coronal), "jpg", quality), *texts) for parts, *texts in figures)
        page = _page(name, _measures(found, lov) + _warned(found.warnings) + shown + _table(facts))
        if len(page.encode()) < MOST_BYTES:
            break
    return page, png


def follow_up(patient: str, visits: Sequence[Visit], facts: dict[str, object]) -> str:
    """The page of one patient's dates as HTML: volume against date, a slice of each date, a table; as `report`.

    visits: two or more, in any order. ValueError for fewer.
    """
    if len(visits) < 2:
        raise ValueError(f"{patient}: a follow-up needs two dates or more, here {len(visits)}")
    visits = sorted(visits, key=lambda visit: (visit.day, visit.name))
    tiles = []
    for visit in visits:
        figure = Figure(figsize=(3.2, 3.2 * visit.view.grey.shape[0] / visit.view.grey.shape[1] + 0.2), facecolor="k")
        FigureCanvasAgg(figure)
        _show(figure.add_axes([0, 0.06, 1, 0.94]), visit.view)
        said = f"{visit.day}: {visit.volume:.1f} cm³"
        alt = f"Axial slice of {patient} on {visit.day}, the one with the largest outline, {visit.view.label}."
        tiles.append(_figure(_encoded(figure, "jpg", 80 if len(visits) < 12 else 55, 110), alt, said, wide=False))
    rows = [
        [visit.day, visit.name, f"{visit.volume:.1f}", "" if visit.share is None else f"{visit.share:.1f}", visit.warnings]
        for visit in visits
    ]
    head = ["date", "scan", "volume, cm³", "share of the lungs, %", "warnings"]
    body = (
        f'<figure tabindex="0">{_chart(visits)}<figcaption>'
        "Lung opacification volume against the date (as the paper's Figure 6)."
        "</figcaption></figure><h2>The slice with the largest outline at each date</h2>"
        f'<div class="dates">{"".join(tiles)}</div>'
        '<p class="soft">Slices are chosen date by date; nothing is registered, so they need not show the same place.</p>'
        f'<div class="wide"><table><tr>{"".join(f"<th>{h}</th>" for h in head)}</tr>'
        + "".join(f"<tr>{''.join(f'<td>{html.escape(str(cell))}</td>' for cell in row)}</tr>" for row in rows)
        + "</table></div>"
        + _table(facts)
    )
    return _page(f"{patient}: {len(visits)} dates", body)


def _chart(visits: Sequence[Visit]) -> str:
    """Volume against date as SVG whose colours follow the page's."""
    width, height, left, right, top, bottom = 900, 300, 60, 60, 30, 40
    first, last = visits[0].day.toordinal(), visits[-1].day.toordinal()
    most = max(max(visit.volume for visit in visits), 1e-9) * 1.1
    digits = 0 if most > 22 else 1

    def x(visit: Visit) -> float:
        """Where its day lies, in pixels from the left."""
        return left + (visit.day.toordinal() - first) / max(1, last - first) * (width - left - right)

    def y(volume: float) -> float:
        """Where a volume lies, in pixels from the top."""
        return height - bottom - volume / most * (height - top - bottom)

    points = " ".join(f"{x(v):.1f},{y(v.volume):.1f}" for v in visits)
    lines = "".join(
        f'<line class="grid" x1="{left}" x2="{width - right}" y1="{y(v):.1f}" y2="{y(v):.1f}"/>'
        f'<text x="{left - 8}" y="{y(v) + 5:.1f}" text-anchor="end">{v:.{digits}f}</text>'
        for v in np.linspace(0, most / 1.1, 3)
    )
    dots, free = "", -np.inf
    for v in visits:
        dots += f'<circle class="dot" cx="{x(v):.1f}" cy="{y(v.volume):.1f}" r="5"/>'
        dots += f'<text x="{x(v):.1f}" y="{y(v.volume) - 10:.1f}" text-anchor="middle">{v.volume:.{digits}f}</text>'
        if x(v) - free > 85:  # dates a few days apart would be written over each other
            dots += f'<text x="{x(v):.1f}" y="{height - 12}" text-anchor="middle">{v.day}</text>'
            free = x(v)
    said = "; ".join(f"{v.day}: {v.volume:.{digits}f} cm³" for v in visits)
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="Volume against date. {said}">'
        f'<text x="{left}" y="16">cm³</text>{lines}<polyline class="curve" stroke-width="2" points="{points}"/>{dots}</svg>'
    )


def _figure(picture: bytes, alt: str, caption: str, wide: bool = True) -> str:
    text = html.escape(alt, quote=True)
    reached = ' tabindex="0"' if wide else ""  # on a phone it scrolls, and what scrolls must be reached by keys too
    shown = f'<img alt="{text}" src="{_data(picture)}">'
    return f"<figure{reached}>{shown}<figcaption>{html.escape(caption)}</figcaption></figure>"


def _measures(found: Segmentation, lov: str) -> str:
    said = f'<p>Lung opacification volume (LOV) <span class="big">{lov}</span></p>'
    shares, doubts = found.percent()
    said += "".join(f"<p>{html.escape(text)}</p>" for text in doubts)
    names = {"right": "right lung", "left": "left lung", "both": "both lungs"}
    cells = "".join(f"<tr><th>{names[s]}</th><td>{shares[s]:.1f} %</td></tr>" for s in names if s in shares)
    return said + (f"<h2>Share of the lungs that is opacified</h2><table>{cells}</table>" if cells else "")


def _warned(warnings: Sequence[str]) -> str:
    items = "".join(f"<li>{html.escape(text)}</li>" for text in warnings)
    return f'<h2>Warnings</h2><ul class="warnings">{items}</ul>' if items else "<p>No warnings.</p>"


def _table(facts: dict[str, object]) -> str:
    rows = "".join(f"<tr><th>{html.escape(str(k))}</th><td>{html.escape(str(v))}</td></tr>" for k, v in facts.items())
    return f'<h2>How it was made</h2><div class="wide"><table>{rows}</table></div>'


def _page(title: str, body: str) -> str:
    safe = html.escape(title)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">"
        f'<meta name="generator" content="{GENERATOR}">'
        f"<title>{safe}</title><style>{STYLE}</style></head><body><main>"
        f'<p class="research">{RESEARCH}</p><h1>{safe}</h1>{body}</main></body></html>\n'
    )


def write(path: Path, page: str, png: bytes | None = None) -> list[Path]:
    """Write a page, and its picture beside it as .png, each whole or not at all; the paths."""
    written = [Path(path)]
    with whole_file(written[0], ".html") as temporary:
        temporary.write_text(page, encoding="utf-8")
    if png is not None:
        written.append(written[0].with_suffix(".png"))
        with whole_file(written[1], ".png") as temporary:
            temporary.write_bytes(png)
    return written
