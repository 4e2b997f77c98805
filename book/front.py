"""The first page's moving parts, made when the site is built: a phantom under a slider, the findings, a card for each chapter.

`build.py` puts what these functions return in place of the page's markers.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import html
import inspect
import io
import json
import math
import os
import re
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
SEED, SIZE, VOLUME = 101, (384, 384, 16), 180.0  # a phantom that trained nothing; cm³ of lesion
LINES = {
    "01-lungs-in-ct": "What a number in a CT scan means, and what an opacity looks like.",
    "02-cohort-and-folds": "A patient belongs to one side of every split. Headers can lie.",
    "03-unetpp": "The network under SCOAT-Net, built node by node.",
    "04-spatial-attention": "Where to look: equations 1 and 2, by hand and in code.",
    "05-channel-attention": "What to listen to: equations 3 to 6, by hand and in code.",
    "06-scoatnet": "The whole network in under 100 lines, with trained weights in it.",
    "07-losses": "Six losses, and what each asks of a single pixel.",
    "08-metrics": "Six scores of two masks, and how well two readers agree.",
    "09-training": "The loop, the schedule, and what came of them on real scans.",
    "10-cross-validation": "What fourteen patients can decide, and how the rule was chosen.",
    "11-losses-compared": "Table I again: why MAE may find nothing and Dice marks more.",
    "12-networks": "Table II again: nine networks, what they cost and what they find.",
    "13-attention-compared": "Table III again: four ways to put attention into UNet++.",
    "14-attention-maps": "Three questions to put to a map before you believe it.",
    "15-follow-up": "Volumes over weeks: how far one patient's number can be trusted.",
    "16-ledger": "Every claim of the paper, and its verdict by what was run.",
    "17-what-goes-wrong": "Five mistakes that flatter a score, made on purpose.",
    "18-beyond": "Thresholds, doubt, calibration: what the paper did not try.",
}


# --- the picture -----------------------------------------------------------------------------------------------------


@functools.cache
def picture() -> str:
    """A phantom's slices with truth and prediction as SVG below a slider, as HTML; kept under _build between builds.

    The prediction is the shipped weights', by the operating point on their card.
    """
    from scoat_lib import phantom, weights

    made_by = "".join(inspect.getsource(f) for f in (_picture, _frame, outline))
    key = hashlib.sha256(f"{made_by}{SEED}{SIZE}{VOLUME}{phantom.VERSION}".encode())
    for path in sorted(Path(weights.__file__).parent.glob("shipped/*.safetensors")):
        key.update(path.read_bytes())
    kept = ROOT / "_build" / "front" / f"{key.hexdigest()[:16]}.json"
    if kept.exists():
        return json.loads(kept.read_text())
    made = _picture()
    kept.parent.mkdir(parents=True, exist_ok=True)
    partial = kept.with_suffix(f".{os.getpid()}")
    partial.write_text(json.dumps(made))
    partial.replace(kept)
    return made


def _picture() -> str:
    from scoat_lib import inference, phantom, weights
    from scoat_lib.scan import window

    person = phantom.patient(SEED, SIZE, volume=VOLUME)
    predicted = inference.segment(weights.load(), person.scan).axial() > 0
    truth, grey = person.lesions.axial() > 0, window(person.scan.axial())
    shown = np.flatnonzero(person.lungs.axial().any((1, 2)))
    start = max(range(len(shown)), key=lambda n: int(truth[shown[n]].sum()))
    frames = [_frame(grey[z], truth[z], predicted[z], n != start, n + 1, len(shown)) for n, z in enumerate(shown)]
    dsc = 2 * (predicted & truth).sum() / (predicted.sum() + truth.sum())
    caption = (
        f"A phantom: a synthetic chest whose lesions are known to the voxel. It trained no network. The shipped weights, "
        f"trained on real scans, reach a DSC of {100 * dsc:.0f} % on it."
    )
    return "\n".join(
        [
            '<figure class="front-picture" id="first-picture"><div class="front-frames">',
            *frames,
            '</div><div class="front-controls"><label><span>Slice</span>',
            f'<input type="range" min="1" max="{len(shown)}" value="{start + 1}" aria-label="Slice">',
            f"<output>{start + 1} of {len(shown)}</output></label>",
            *(
                f'<label class="{name}"><input type="checkbox" value="{name}" checked> {words}</label>'
                for name, words in (("truth", "truth"), ("prediction", "prediction"))
            ),
            f"</div><figcaption>{caption}</figcaption></figure>",
        ]
    )


def _frame(grey: np.ndarray, truth: np.ndarray, predicted: np.ndarray, hidden: bool, number: int, of: int) -> str:
    """One slice as SVG: the picture as JPEG, both masks as outlines."""
    stream = io.BytesIO()
    Image.fromarray(np.uint8(255 * np.clip(grey, 0, 1))).save(stream, "JPEG", quality=80)
    data = base64.b64encode(stream.getvalue()).decode()
    rows, columns = grey.shape
    words = f"Slice {number} of {of} of a phantom chest, with the true lesions and the predicted ones"
    return (
        f'<svg role="img" aria-label="{words}" viewBox="0 0 {columns} {rows}"{" hidden" if hidden else ""}>'
        f'<image width="{columns}" height="{rows}" href="data:image/jpeg;base64,{data}"/>'
        f'<path class="truth" d="{outline(truth)}"/><path class="prediction" d="{outline(predicted)}"/></svg>'
    )


def outline(mask: np.ndarray) -> str:
    """A mask's borders as an SVG path, in pixels."""
    from skimage import measure

    parts = []
    for line in measure.find_contours(np.pad(mask, 1).astype(float), 0.5):
        points = measure.approximate_polygon(line, 0.3) - 0.5
        parts.append("M" + "L".join(f"{x:.1f} {y:.1f}" for y, x in points) + "Z")
    return "".join(parts)


def card(path: Path) -> None:
    """The picture that a link to the book shows elsewhere, as a PNG of 1200 × 630: the title beside the first page's slice."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from scoat_lib import plots

    shown = next(m for m in re.finditer(r"<svg\b([^>]*)>.*?</svg>", picture(), re.DOTALL) if " hidden" not in m[1])[0]
    grey = Image.open(io.BytesIO(base64.b64decode(re.search(r"base64,([^\"]+)", shown)[1])))
    figure = Figure(figsize=(12, 6.3), dpi=100, facecolor="#14213d")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.53, 0.06, 0.44, 0.88))
    axes.imshow(grey, cmap="gray")
    axes.set_axis_off()
    for name, colour, dashes in (("truth", plots.TRUTH, "-"), ("prediction", plots.PREDICTION, "--")):
        for ring in re.search(rf'class="{name}" d="([^"]*)"', shown)[1].split("Z")[:-1]:
            points = [tuple(map(float, point.split())) for point in ring.removeprefix("M").split("L")]
            axes.plot(*zip(*points, points[0], strict=True), color=colour, linewidth=1.6, linestyle=dashes)
    words = [
        ("The SCOAT-Net\nbook", 0.56, 46, "#ffffff"),
        ("One paper on segmenting CT scans,\nrebuilt from its equations.", 0.32, 20, "#d5dbe6"),
    ]
    for text, y, size, colour in words:
        figure.text(0.06, y, text, fontsize=size, color=colour, family="DejaVu Serif")
    figure.text(0.06, 0.2, "truth", fontsize=16, color=plots.TRUTH)
    figure.text(0.13, 0.2, "prediction", fontsize=16, color=plots.PREDICTION)
    figure.savefig(path, metadata={"Software": None})


# --- the findings ----------------------------------------------------------------------------------------------------


def headlines(results: list[dict], folder) -> list[tuple[str, str, str]]:
    """The findings at a glance: a word, a number, and what the number is. What was not run says so, but for what dealing slices
    adds to a score: it stands here once it was run.
    """
    from scoat_lib import claims, findings, grids, report, rule
    from scoat_lib.words import corrected, count, lower, signed

    def points(grid, one, other, about):
        """A comparison in DSC."""
        c = claims.compare(results, grids.get(grid), one, other)
        if not c["patients"]:
            return report.NOT_RUN, "–", f"{about}."
        beside = f"{count(c['patients'], 'patient')}, too few for an interval"
        if not math.isnan(c["low"]):
            beside = f"95 % {signed(c['low'])} … {signed(c['high'])}, {count(c['patients'], 'patient')}"
            beside += f"; equivalent within ±{rule.MARGIN:g} points" if c["equivalent"] else ""
        base = next(iter(report.scales(results, grids.get(grid))), ({}, "", []))[0]
        size = base.get("size", "?")
        ours = f" (ours: width {base['width']}, {size} × {size} pixels)" if "width" in base else ""
        paper = f" The paper prints {signed(c['paper'])}{ours}." if not math.isnan(c["paper"]) else ""
        return c["status"], signed(c["difference"]), f"points of DSC: {about} ({beside}).{paper}"

    ((_, best),) = findings.ledger.decided(results, "1")
    every, seen, few = findings.front.intervals(best)
    beside = [text for text in (corrected(best.comparisons), lower(best.comparisons)) if text]
    hold = sum(c["status"] == claims.HOLDS for c in best.comparisons)
    others = [*every[bool(hold) :], *([f"{few} rest on too few patients"] if few else [])]
    by = " by their own intervals" if seen else ""
    table = ", ".join(
        [f"of {len(best.comparisons)} comparisons behind “best of nine networks on six metrics” hold{by}", *others]
    )
    table = "; ".join([table, *beside])

    ablations, agreement = findings.maps.ablations(folder), report.readers(folder)
    flat = (report.NOT_RUN, "–", "What its attention maps are worth to a trained SCOAT-Net.")
    if ablations:
        found = findings.maps.flattening(ablations, "all maps flat")
        word = findings.maps.flattening_word(found)
        beside = "" if math.isnan(found.low) else f"95 % {signed(found.low)} … {signed(found.high)}, "
        about = f"points of DSC when each attention map is replaced by its mean ({beside}{count(found.patients, 'patient')})."
        flat = (word, signed(found.mean), about)
    readers = (report.NOT_RUN, "–", "How well two readers agree on the same scans.")
    if agreement:
        a = agreement["DSC, per cent"]
        about = f"% DSC between two readers, the mean over {a['scans']} scans ({a['lowest']:.1f} to {a['highest']:.1f})."
        readers = (findings.maps.MEASURED, f"{a['mean']:.1f}", about)
    dealt = points("split", "by slice", "by patient", "what dealing slices in place of patients adds to a score")
    return [
        points("table2", "SCOAT-Net", "UNet++", "SCOAT-Net minus UNet++"),
        (best.status if seen or few else report.NOT_RUN, str(hold), f"{table}."),
        flat,
        *([dealt] if dealt[0] != report.NOT_RUN else []),
        readers,
    ]


def findings(results: list[dict], folder) -> str:
    """`headlines` as HTML: a row each."""
    rows = []
    for word, number, about in headlines(results, folder):
        chip = f'<span class="front-word" data-word="{word.replace(" ", "-")}">{word}</span>'
        rows.append(f"<li>{chip}<b>{number}</b> <span>{html.escape(about)}</span></li>")
    return '<ol class="front-findings">' + "\n".join(rows) + "</ol>"


# --- the cards -------------------------------------------------------------------------------------------------------


def cards() -> str:
    """Every chapter as a card with its title and a line, in the parts of the table of contents (markdown for sphinx-design)."""
    parts = []
    for part in yaml.safe_load((ROOT / "_toc.yml").read_text())["parts"]:
        names = [Path(c["file"]).name for c in part["chapters"] if Path(c["file"]).name in LINES]
        if names:
            parts += [f"### {part['caption']}", "", "::::{grid} 1 2 2 2", ":gutter: 2", ":class-container: front-cards", ""]
            for name in names:
                parts += [
                    f":::{{grid-item-card}} {title(name)}",
                    f":link: {name}",
                    ":link-type: doc",
                    "",
                    LINES[name],
                    ":::",
                    "",
                ]
            parts += ["::::", ""]
    return "\n".join(parts)


def title(name: str) -> str:
    """A chapter's title, from the first line of its notebook."""
    cells = json.loads((ROOT / "book" / f"{name}.ipynb").read_text())["cells"]
    return "".join(cells[0]["source"]).splitlines()[0].removeprefix("# ")
