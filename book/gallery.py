"""The gallery: every figure and viewer of the book with its number and caption, gleaned from the pages once they are built.

A figure becomes a small picture below the site's folder `gallery/`: a PNG made smaller, a drawing as it is, a viewer's first
view. `slides.py` reads the pages with the same eyes.
"""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
import re
from dataclasses import dataclass
from pathlib import Path

import yaml
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
SMALL = 340  # pixels across
BEGINS, ENDS = "<!-- gallery begins -->", "<!-- gallery ends -->"
FIGURE = re.compile(r'<figure\b[^>]*\bid="(?P<id>[^"]+)"[^>]*>(?P<inside>.*?)</figure>', re.DOTALL)
STATE = re.compile(r'<script type="application/vnd\.jupyter\.widget-state\+json">(.*?)</script>', re.DOTALL)
# what a viewer that only scripts can draw shows here: a map to paint
PAINT = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 170 100"><rect width="170" height="100" fill="#f3f5f9"/>'
    + "".join(
        f'<rect x="{20 + 20 * (n % 4)}" y="{10 + 20 * (n // 4)}" width="18" height="18" rx="2" fill="{c}"/>'
        for n, c in enumerate(["#dfe6f2"] * 10 + ["#0b57c2"] + ["#dfe6f2"] * 4 + ["#6f9be0"])
    )
    + '<path d="M108 70l34-34 8 8-34 34-12 4z" fill="#c98600"/></svg>'
)


@dataclass(frozen=True)
class Shown:
    """A figure of a built page. picture: its file's path below the site's folder, at full size; alive: it can be moved."""

    page: str
    id: str
    number: str
    caption: str
    alt: str
    picture: str
    alive: bool


def pages(part_by_part: bool = False) -> list:
    """The names of the book's pages in order; or [(part's title, its chapters' names)] of the parts with notebooks."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    parts = [(part["caption"], [Path(c["file"]).name for c in part["chapters"]]) for part in toc["parts"]]
    if part_by_part:
        return [(title, names) for title, names in parts if all((ROOT / "book" / f"{n}.ipynb").exists() for n in names)]
    return [Path(toc["root"]).name, *(name for _, names in parts for name in names)]


def plain(text: str) -> str:
    """HTML's words alone; an equation as it was typed."""
    words = html.unescape(re.sub(r"<[^>]*>", "", text))
    return " ".join(re.sub(r"\\\((.*?)\\\)", r"\1", words).split())


def figures(site: Path, page: str, text: str) -> list[Shown]:
    """The figures of a page's HTML that have a place of their own, in order; their pictures are kept below site."""
    found, states = STATE.search(text), {}
    if found:
        states = json.loads(found.group(1))["state"]
    shown = [figure(site, page, match["id"], match["inside"], states) for match in FIGURE.finditer(text)]
    return [one for one in shown if one]


def figure(site: Path, page: str, name: str, inside: str, states: dict) -> Shown | None:
    """One figure; None for one without a caption."""
    said = re.search(r"<figcaption>(.*?)</figcaption>", inside, re.DOTALL)
    if not said:
        return None
    number = re.search(r'<span class="caption-number">(.*?)</span>', said[1])
    caption = re.search(r'<span class="caption-text">(.*?)</span><a class="headerlink"', said[1], re.DOTALL)
    alt = re.search(r'(?:alt|aria-label)="([^"]+)"', inside)
    view = re.search(r'"model_id": "(\w+)"', inside)
    if view:
        content, kind, alt_here = first_view(states, view[1])
        kept = keep(site, content, kind)
    elif "scoat-viewer" in inside:
        alt_here = html.unescape(alt[1])
        still = re.search(r'<div class="still"><img [^>]*src="data:image/png;base64,([^"]+)"', inside)
        kept = keep(site, base64.b64decode(still[1]), "png") if still else keep(site, PAINT.encode(), "svg")
    elif image := re.search(r'<img [^>]*src="\.\./(_images/[^"]+)"', inside):
        kept, alt_here = image[1], html.unescape(alt[1])
    else:
        drawn = next(m for m in re.finditer(r"<svg\b([^>]*)>.*?</svg>", inside, re.DOTALL) if " hidden" not in m[1])
        label = re.search(r'aria-label="([^"]+)"', drawn[1]) or re.search(r"<title>(.*?)</title>", drawn[0], re.DOTALL)
        kept, alt_here = keep(site, alone(drawn[0]).encode(), "svg"), html.unescape(label[1])
    return Shown(
        page,
        name,
        plain(number[1]) if number else "",
        plain(caption[1] if caption else said[1]),
        alt_here,
        kept,
        bool(view) or "scoat-viewer" in inside or "front-frames" in inside,
    )


def first_view(states: dict, model: str) -> tuple[bytes, str, str]:
    """The picture that a stack of a page's widgets shows first: what is in its file, its kind, and its alternative text."""
    todo = [model]
    while todo:
        state = states[todo.pop(0)]["state"]
        value = str(state.get("value", ""))
        if image := re.search(r'<img [^>]*?src="data:image/png;base64,([^"]+)"', value):
            return base64.b64decode(image[1]), "png", html.unescape(re.search(r'alt="([^"]*)"', value)[1])
        if drawn := re.search(r"<svg\b.*?</svg>", value, re.DOTALL):
            return alone(drawn[0]).encode(), "svg", html.unescape(re.search(r'aria-label="([^"]*)"', drawn[0])[1])
        children = [child.removeprefix("IPY_MODEL_") for child in state.get("children", [])]
        chosen = state.get("selected_index")
        todo += children if chosen is None else [children[chosen]]
    raise ValueError(f"the widget {model} shows no picture")


def alone(svg: str) -> str:
    """A drawing of a page as a file of its own: dark on white, with the front page's two colours."""
    svg = re.sub(r'style="width:100%[^"]*"', "", svg, count=1)
    if "xmlns=" not in svg.split(">", 1)[0]:
        svg = svg.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"', 1)
    rules = (
        "svg{color:#1c2533}.truth{fill:none;stroke:#ff3b30;stroke-width:1.6}"
        ".prediction{fill:none;stroke:#00d5e6;stroke-width:1.6;stroke-dasharray:4 2}"
    )
    return svg.replace("</svg>", f"<style>{rules}</style></svg>")


def keep(site: Path, content: bytes, kind: str) -> str:
    """A file below gallery/, named by its content; its path below site."""
    name = f"gallery/{hashlib.sha256(content).hexdigest()[:16]}.{kind}"
    (site / "gallery").mkdir(exist_ok=True)
    if not (site / name).exists():
        (site / name).write_bytes(content)
    return name


def small(site: Path, picture: str) -> tuple[str, int, int]:
    """A picture's small version, made where it is not there yet: its path, width and height."""
    if picture.endswith(".svg"):
        box = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', (site / picture).read_text())
        return picture, SMALL, round(SMALL * float(box[2]) / float(box[1]))
    target = site / "gallery" / f"small-{Path(picture).stem[:16]}.webp"
    if not target.exists():
        target.parent.mkdir(exist_ok=True)
        with Image.open(site / picture) as image:
            image = image.convert("RGBA")
            page = Image.new("RGBA", image.size, "white")
            page.alpha_composite(image)
            page.thumbnail((SMALL, 2 * SMALL))
            stream = io.BytesIO()
            page.convert("RGB").save(stream, "WEBP", quality=72)
        target.write_bytes(stream.getvalue())
    with Image.open(target) as image:
        return f"gallery/{target.name}", *image.size


def card(site: Path, one: Shown) -> str:
    """A figure as a card: the small picture, its number, its caption, all one link to its place."""
    path, width, height = small(site, one.picture)
    chip = '<span class="gallery-alive">can be moved</span>' if one.alive else ""
    number = f"<b>{html.escape(one.number)}</b> " if one.number else ""
    return (
        f'<li><a href="{one.page}.html#{one.id}"><img src="../{path}" width="{width}" height="{height}" loading="lazy" '
        f'alt="{html.escape(one.alt)}"><span>{number}{html.escape(one.caption)}</span>{chip}</a></li>'
    )


def fill(site: Path, texts: dict[str, str]) -> int:
    """Put the figures of the pages (texts: name → HTML) into the gallery's page below site; how many there are."""
    sections, count = [], 0
    for page in pages():
        if shown := figures(site, page, texts[page]):
            title = plain(re.search(r"<h1>(.*?)(?:<a class=\"headerlink\"|</h1>)", texts[page], re.DOTALL)[1])
            cards = "\n".join(card(site, one) for one in shown)
            sections.append(f'<h2 id="of-{page}">{html.escape(title)}</h2>\n<ul class="gallery">\n{cards}\n</ul>')
            count += len(shown)
    path = site / "book" / "gallery.html"
    before, rest = path.read_text().split(BEGINS)
    words = f"<p>{count} figures and viewers.</p>"
    path.write_text(f"{before}{BEGINS}{words}{''.join(sections)}{ENDS}{rest.split(ENDS)[1]}")
    return count
