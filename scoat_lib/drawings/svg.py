"""What every drawing is made of: boxes, lines, labels, and the SVG around them, in the colours of the page it stands on."""

from __future__ import annotations

import html
from dataclasses import dataclass

COLOURS = {"encoder": "#b07d18", "plain": "#4a7fc1", "attention": "#e06c1b", "map": "#8f5bb5"}
ARROWS = {"down": "#b07d18", "up": "#1c9a8a", "skip": "currentColor"}


@dataclass(frozen=True)
class Drawing:
    """An SVG that a notebook shows inline. svg: its source. text: what is to be seen, for readers who do not see it.

    name, says, script: of a drawing that answers to pointer and keys: its id, what stands below it at first, its script.
    """

    svg: str
    text: str
    name: str = ""
    says: str = ""
    script: str = ""

    def _repr_html_(self) -> str:
        about = html.escape(self.text.split(".")[0])
        shown = f'<div class="drawing" tabindex="0" role="group" aria-label="{about}" style="overflow-x:auto">{self.svg}</div>'
        if not self.script:
            return shown
        says = f'<div class="says" aria-live="polite">{self.says}</div>'
        return f'<div id="{self.name}">{shown}{says}<script>{self.script}</script></div>'

    def __repr__(self) -> str:
        return self.text


def text(words: str) -> str:
    """H_R² and x_M with their indices lowered; everything escaped."""
    parts, rest = [], words
    while "_" in rest:
        before, rest = rest.split("_", 1)
        parts.append(html.escape(before) + f'<tspan baseline-shift="sub" font-size="75%">{html.escape(rest[:1])}</tspan>')
        rest = rest[1:]
    return "".join(parts) + html.escape(rest)


def box(x: float, y: float, w: float, h: float, name: str, below: str, colour: str, apart: float = 0) -> str:
    """A rounded box with a name and, below it, a smaller line. apart: how much farther the two lie from each other."""
    middle = x + w / 2
    paint = f'fill="{colour}" fill-opacity=".16" stroke="{colour}" stroke-width="1.6"'
    shape = f'<rect x="{x}" y="{y}" width="{w}" height="{h}" rx="7" {paint}/>'
    first = (
        f'<text x="{middle}" y="{y + h / 2 + (-4 - apart / 2 if below else 5)}" class="name">{text(name)}</text>'
        if name
        else ""
    )
    second = f'<text x="{middle}" y="{y + h / 2 + 17 + apart / 2}" class="size inner">{text(below)}</text>' if below else ""
    return shape + first + second


def circle(x: float, y: float, sign: str, colour: str) -> str:
    """A circle with a sign in it: what is added, multiplied."""
    shape = f'<circle cx="{x}" cy="{y}" r="15" fill="{colour}" fill-opacity=".16" stroke="{colour}" stroke-width="1.6"/>'
    return shape + f'<text x="{x}" y="{y + 6}" class="sign">{sign}</text>'


def frame(x: float, y: float, w: float, h: float, words: str, colour: str) -> str:
    """A dotted frame around several boxes, with words at its foot."""
    shape = f'<rect x="{x}" y="{y}" width="{w}" height="{h}" rx="10" fill="none" stroke="{colour}" stroke-dasharray="3 4"/>'
    return shape + f'<text x="{x + w / 2}" y="{y + h - 9}" class="size">{words}</text>'


def line(path: str, head: bool = True) -> str:
    """A line along an SVG path, with an arrow's head unless head is False."""
    return f'<path d="{path}" class="flow"' + (' marker-end="url(#MARK-skip)"' if head else "") + "/>"


def label(x: float, y: float, words: str, anchor: str = "middle") -> str:
    """Small words. anchor: start, middle or end."""
    return f'<text x="{x}" y="{y}" class="size" style="text-anchor:{anchor}">{text(words)}</text>'


def number(x: float, y: float, number: int) -> str:
    """The number of an equation, in a ring."""
    return f'<g><circle cx="{x}" cy="{y}" r="10" class="ring"/><text x="{x}" y="{y + 4.5}" class="ringed">{number}</text></g>'


def drawing(name: str, width: int, height: int, body: str, text: str, rules: str, least: int = 620) -> Drawing:
    """The SVG around the elements; ids and rules carry its name, so that several drawings share a page."""
    mark = f"{name}-mark"
    markers = "".join(
        f'<marker id="{mark}-{kind}" viewBox="0 0 8 8" refX="5" refY="4" markerWidth="9" markerHeight="9" orient="auto" '
        f'markerUnits="userSpaceOnUse"><path d="M0 0L8 4L0 8z" fill="{colour}"/></marker>'
        for kind, colour in ARROWS.items()
    )
    root, role = f"#drawing-{name}", "group" if "tabindex" in body else "img"  # what can be pointed at is named one by one
    style = (
        f"{root} text{{fill:currentColor;font-family:system-ui,sans-serif;text-anchor:middle}}"
        f"{root} .name{{font-size:16px;font-weight:600}}{root} .size{{font-size:14px}}{root} .inner{{font-size:13.5px}}"
        f"{root} .big{{font-size:26px;font-weight:600}}"
        f"{root} .level{{font-size:20px;text-anchor:start;opacity:.75}}{root} .sign{{font-size:19px}}"
        f"{root} .e,{root} .flow{{fill:none;stroke-width:1.8}}{root} .flow{{stroke:currentColor;opacity:.85}}"
        f"{root} .down{{stroke:{ARROWS['down']}}}{root} .up{{stroke:{ARROWS['up']};stroke-dasharray:7 4}}"
        f"{root} .skip{{stroke:currentColor;opacity:.6}}{root} .head{{fill:none;stroke:currentColor;stroke-width:1.8}}"
        f"{root} .ring{{fill:currentColor}}{root} .ringed{{font-size:13px;font-weight:700;fill:#fff;mix-blend-mode:difference}}"
        f"{root} .n{{cursor:pointer;outline-offset:3px}}"
        # the theme lays a pale card under a cell's HTML in dark mode; a drawing needs none
        f"html[data-theme] .cell_output .text_html:has({root}){{background:none!important;color:inherit!important}}"
        # a phone's reader pushes it aside, and has letters of ten pixels
        f"@media(max-width:600px){{{root}{{min-width:{max(least, round(0.75 * width))}px!important}}}}"
        + rules.replace(".p-", f"{root}:not(.live) .p-")  # where a script answers, it does this
    )
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" id="drawing-{name}" viewBox="0 0 {width} {height}" role="{role}" '
        f'aria-label="{html.escape(text)}" style="width:100%;min-width:{least}px;height:auto">'
        f"<style>{style}</style><defs>{markers}</defs>{body.replace('MARK', mark)}</svg>"
    )
    return Drawing(svg, text)
