"""Notebooks as they are committed: nothing in them that means nothing, pictures that weigh little, and as text for a diff."""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
import re
from pathlib import Path

import nbformat
import numpy as np
from matplotlib.colors import to_rgb
from PIL import Image

from scoat_lib import plots
from scoat_lib.files import write_whole

WIDGET_STATE = "application/vnd.jupyter.widget-state+json"
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
HEAVY, HEAVIEST = 150_000, 230_000  # letters of a stored picture: where few colours begin, and what they must come below


def clean(path: Path, executed: Path | None = None) -> None:
    """Write a notebook as it is committed (`normal`). executed: where it is read, if not where it is written."""
    write_whole(path, normal((executed or path).read_text(), path.stem))


def normal(text: str, name: str) -> str:
    """A notebook without what differs from run to run and means nothing: times, paths, machines, counts of runs, drawn names.

    text: the notebook's JSON. name: its file's stem, from which the names of its widgets are made. The same for the same
    content, so that a diff shows what an author changed.
    """
    notebook = nbformat.reads(text, 4)
    notebook.metadata.pop("papermill", None)
    notebook.metadata.kernelspec = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook.metadata.language_info = {"name": "python", "file_extension": ".py", "mimetype": "text/x-python"}
    notebook.cells = [c for c in notebook.cells if "injected-parameters" not in c.metadata.get("tags", [])]
    count = 0
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number:03d}"
        for key in ("papermill", "execution", "ExecuteTime", "collapsed", "scrolled"):
            cell.metadata.pop(key, None)
        if cell.cell_type == "code":
            cell.outputs = one_stream(cell.outputs)
            for output in cell.outputs:
                lighten(output)
            count += 1  # in order from 1, whatever was run how often; none at all, and nbval takes the cell for one never run
            for one in (cell, *(o for o in cell.outputs if o.output_type == "execute_result")):
                one.execution_count = count
    if not any(WIDGET_VIEW in o.get("data", {}) for c in notebook.cells for o in c.get("outputs", [])):
        notebook.metadata.pop("widgets", None)  # the state of sliders that no cell shows any more
    return named_widgets(nbformat.writes(notebook, 4) + "\n", name)


def named_widgets(text: str, name: str) -> str:
    """A notebook's JSON with its widgets named by the order in which the cells reach them, and stored in that order."""
    notebook = json.loads(text)
    store = notebook["metadata"].get("widgets", {}).get(WIDGET_STATE, {})
    models = store.get("state", {})
    views = [o.get("data", {}).get(WIDGET_VIEW) for c in notebook["cells"] for o in c.get("outputs", [])]
    order: dict[str, str] = {}  # a widget's drawn name → its own
    root = hashlib.sha256(name.encode()).hexdigest()[:26]

    def reach(todo: list[str]) -> None:
        while todo:
            if (model := todo.pop(0)) in models and model not in order:
                order[model] = f"{root}{len(order):06x}"
                todo = re.findall(r"IPY_MODEL_(\w+)", json.dumps(models[model])) + todo

    def content(model: str) -> str:
        """What a widget is, whatever it and those it leads to are called."""
        text = json.dumps(models[model], sort_keys=True)
        return re.sub(r"IPY_MODEL_(\w+)", lambda found: order.get(found[1], ""), text)

    reach([view["model_id"] for view in views if view])
    for model in sorted(models, key=content):  # those that no cell shows: links between others
        reach([model])
    text = json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
    text = re.sub("|".join(order) or "(?!)", lambda found: order[found[0]], text)
    return json.dumps(json.loads(text), indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def as_text(path: Path) -> str:
    """A notebook for the eye: its cells' sources, and what they printed; pictures and widgets as one line each."""
    lines = []
    for number, cell in enumerate(json.loads(path.read_text())["cells"]):
        tags = " ".join(cell["metadata"].get("tags", []))
        lines += [f"--- {number} {cell['cell_type']} {tags}".rstrip(), "".join(cell["source"])]
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            said = "".join(output.get("text", data.get("text/plain", "")))
            kinds = sorted(kind for kind in data if kind != "text/plain")
            mark = f" {hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:8]}" if kinds else ""
            lines += [f"> {', '.join(kinds) or 'text'}{mark}", said.rstrip()]
    return "\n".join(lines) + "\n"


def lighten(output: dict) -> None:
    """An output's large PNG in as few colours as it takes to weigh little: what weighs is a slice's noise in 24 bits.

    The few vivid pixels of outlines have colours of their own, or greys would take all and a thin red line would turn grey.
    """
    png = output.get("data", {}).get("image/png", "")
    if len(png) < HEAVY:
        return
    with Image.open(io.BytesIO(base64.b64decode(png))) as picture:
        if picture.mode == "P":  # it has been here before
            return
        whole = picture.convert("RGB")
    for colours in (228, 128, 48, 24):  # and 24 for outlines: a palette holds 256
        stream = io.BytesIO()
        in_few_colours(whole, colours).save(stream, "PNG", optimize=True)
        small = base64.b64encode(stream.getvalue()).decode()
        if len(small) < HEAVIEST:
            break
    if len(small) < len(png):
        output["data"]["image/png"] = small


def in_few_colours(whole: Image.Image, colours: int) -> Image.Image:
    """A picture in so many colours, and 24 for outlines, and for all vivid pixels where these are fewer than one in ten."""
    pixels = np.asarray(whole).reshape(-1, 3)
    outlines = [np.round(255 * np.array(to_rgb(colour))) for colour in (plots.TRUTH, plots.PREDICTION)]
    own = np.any([np.abs(pixels - colour).max(1) < 60 for colour in outlines], axis=0)  # a map's colours leave none for a line
    vivid = np.ptp(pixels, axis=1) > 60
    if vivid.mean() < 0.1:
        own |= vivid
    if not own.any() or own.all():
        return whole.quantize(colours, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    parts = ((pixels[~own], colours), (pixels[own], 24))
    found = [Image.fromarray(part[None]).quantize(n, Image.Quantize.MEDIANCUT).getpalette()[: 3 * n] for part, n in parts]
    palette = Image.new("P", (1, 1))
    palette.putpalette(found[0] + found[1])
    return whole.quantize(palette=palette, dither=Image.Dither.NONE)


def one_stream(outputs: list) -> list:
    """What a cell printed in one piece: a busy machine hands it over in several."""
    kept: list = []
    for output in outputs:
        if kept and output.output_type == "stream" and kept[-1].get("name") == output.name:
            kept[-1].text += output.text
        else:
            kept.append(output)
    return kept


def with_texts(text: str) -> str:
    """A notebook whose widgets' pictures say what they show: the cell's alternative text before the picture's own line."""
    notebook = json.loads(text)
    models = notebook["metadata"].get("widgets", {}).get(WIDGET_STATE, {}).get("state", {})

    def mend(model: str, about: str) -> None:
        state = models.get(model, {}).get("state", {})
        if "<img alt=" in str(state.get("value", "")):
            state["value"] = state["value"].replace('<img alt="', f'<img alt="{html.escape(about)}: ', 1)
        for child in state.get("children", []):
            mend(child.removeprefix("IPY_MODEL_"), about)

    for cell in notebook["cells"]:
        about = cell["metadata"].get("mystnb", {}).get("image", {}).get("alt", "")
        for output in cell.get("outputs", []):
            lighten(output)
            if about and (view := output.get("data", {}).get(WIDGET_VIEW)):
                mend(view["model_id"], about.rstrip("."))
    return json.dumps(notebook)
