"""Figures 1 and 2 in a layout of our own, as SVG: the plain U-Net, the grids of UNet++ and SCOAT-Net, one attention node.

Text and lines take the colour of the page around them, so a drawing reads on light and on dark ground. Pointing at a node of
a grid (or moving to it with the tab key) leaves only what it takes; that is done in CSS, without a kernel or a script.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass

DEPTH = 4
COLOURS = {"encoder": "#b07d18", "plain": "#4a7fc1", "attention": "#e06c1b", "map": "#8f5bb5"}
ARROWS = {"down": "#b07d18", "up": "#1c9a8a", "skip": "currentColor"}
LARGE = {"step": (190, 140), "box": (136, 54), "origin": (132, 116)}  # with H × W × C in each node
SMALL = {"step": (112, 96), "box": (76, 36), "origin": (88, 96)}


@dataclass(frozen=True)
class Drawing:
    """An SVG that a notebook shows inline. svg: its source. text: what is to be seen, for readers who do not see it."""

    svg: str
    text: str

    def _repr_html_(self) -> str:
        about = html.escape(self.text.split(".")[0])
        return f'<div class="drawing" tabindex="0" role="group" aria-label="{about}" style="overflow-x:auto">{self.svg}</div>'

    def __repr__(self) -> str:
        return self.text


def takes(i: int, j: int, network: str = "unetpp") -> list[tuple[int, int]]:
    """The nodes whose outputs X(i,j) takes, the one below last; of the encoder's, the one above. network: also "unet"."""
    if j == 0:
        return [(i - 1, 0)] if i else []
    earlier = [(i, 0)] if network == "unet" else [(i, k) for k in range(j)]
    return [*earlier, (i + 1, j - 1)]


def grid(network: str, side: int = 512, width: int = 64, sizes: bool = True) -> Drawing:
    """The nodes of "unet", "unetpp" or "scoatnet" with every connection, and H × W × C at each node.

    side: of the input slice, in pixels. width: channels at full resolution. sizes: whether H × W × C is written.
    Raises ValueError for a network that is no such grid.
    """
    body, style = _panel(network, side, width, sizes, LARGE)
    title = {"unet": "U-Net", "unetpp": "UNet++", "scoatnet": "SCOAT-Net"}[network]
    text = f"{title} as a grid. {_words(network, side, width)}"
    return _drawing(f"grid-{network}", 964, 712, body + _legend(network, 560, 470), text, style)


def beside() -> Drawing:
    """The plain U-Net beside UNet++, without sizes: what the second adds to the first."""
    parts, rules = [], ""
    for number, (network, title) in enumerate((("unet", "U-Net"), ("unetpp", "UNet++"))):
        body, style = _panel(network, 512, 64, False, SMALL)
        head = f'<text x="400" y="470" class="big">{title}</text>'
        parts.append(f'<g transform="translate({594 * number} 0)">{head}{body}</g>')
        rules += style
    text = (
        "U-Net beside UNet++. U-Net: five encoder nodes down the left side, four decoder nodes up the diagonal, one long "
        "copy in each of four levels. UNet++: the same outline, its inside filled with six more nodes, and each node joined "
        "with all earlier ones of its level."
    )
    return _drawing("beside", 1180, 506, "".join(parts), text, rules, least=640)


def node() -> Drawing:
    """One attention node X(i,j+1): equations 1 to 6 on its arrows, with the shape of what flows along them."""
    a, p, e, m = (COLOURS[k] for k in ("attention", "plain", "encoder", "map"))
    parts = [
        _frame(170, 172, 345, 262, "where", a),
        _frame(570, 190, 290, 130, "what", m),
        _box(0.5, 28, 157, 54, "x(i,0) … x(i,j−1)", "H × W × C_u each", p),
        _box(2, 110, 154, 54, "x(i,j)", "H × W × C_u", p),
        _box(2, 350, 154, 54, "x(i+1,j)", "H/2 × W/2 × C_d", e),
        _box(184, 352, 54, 50, "F_U", "", ARROWS["up"]),
        _box(268, 196, 60, 38, "H_R", "", a),
        _box(268, 276, 60, 38, "H_R", "", a),
        _circle(362, 255, "+", a),
        _box(392, 236, 56, 38, "H_S", "", a),
        _circle(420, 377, "×", a),
        _box(522, 28, 34, 378, "", "", p),
        f'<text transform="translate(544 217) rotate(-90)" class="name">{_text("x_c : concatenation")}</text>',
        _box(584, 228, 122, 56, "x_g", "mean of H × W", m),
        _box(724, 228, 126, 56, "x_V", "σ(w₂ ReLU(w₁·))", m),
        _circle(787, 137, "×", m),
        _box(838, 110, 84, 54, "H_R²", "two 3 × 3", a),
        _box(838, 350, 84, 54, "H_R", "1 × 1", a),
        _circle(958, 255, "+", a),
        _box(992, 228, 108, 54, "x(i,j+1)", "H × W × C_u", a),
        _line("M156 55H518"), _line("M156 137H518"), _line("M163 137V215H264"), _line("M156 377H180"), _line("M238 377H404"),
        _line("M252 377V295H264"), _line("M328 215H362V239"), _line("M328 295H362V271"), _line("M378 255H388"),
        _line("M420 274V361"), _line("M436 377H518"), _line("M556 137H771"), _line("M564 137V256H580"), _line("M706 256H720"),
        _line("M787 228V153"), _line("M803 137H834"), _line("M556 377H834"), _line("M922 137H958V239"),
        _line("M922 377H958V271"), _line("M974 255H988"),
        _label(300, 398, "H × W × C_u"), _label(428, 298, "x_M", "start"), _label(428, 318, "H × W × 1", "start"),
        _label(428, 348, "1 + x_M", "start"), _label(452, 398, "x_s", "start"),
        _label(664, 128, "x_c : H × W × C_m"), _label(797, 178, "C_m weights", "start"), _label(700, 398, "H × W × C_m"),
        _number(384, 222, 1), _number(396, 352, 2), _number(539, 14, 3), _number(600, 218, 4), _number(740, 218, 5),
        _number(932, 255, 6),
    ]  # fmt: skip
    text = (
        "One attention node of SCOAT-Net, from left to right. The coarser node's output is enlarged by F_U. Equation 1: it and "
        "x(i,j) each pass an H_R, are added, and H_S makes of the sum the map x_M of one channel. Equation 2: one plus the map "
        "multiplies the enlarged features, which gives x_s. Equation 3: x_s and all earlier outputs of the level are "
        "concatenated to x_c. Equation 4: the mean of each channel, x_g. Equation 5: a weight for each channel, x_V. "
        "Equation 6: the weighted x_c passes H_R squared, the unweighted one H_R, and their sum is the node's output."
    )
    larger = "#drawing-node .name{font-size:17px}#drawing-node .size{font-size:15.5px}#drawing-node .inner{font-size:14.5px}"
    return _drawing("node", 1104, 442, "".join(parts), text, larger, least=640)


def _place(i: int, j: int, form: dict) -> tuple[int, int]:
    """The middle of a node."""
    return form["origin"][0] + form["step"][0] * j, form["origin"][1] + form["step"][1] * i


def _kind(network: str, i: int, j: int) -> str:
    if j == 0:
        return "encoder"
    return "attention" if network == "scoatnet" and i > 0 else "plain"


def _panel(network: str, side: int, width: int, sizes: bool, form: dict) -> tuple[str, str]:
    """A grid's elements, and the rules that leave a node's inputs alone when it is pointed at."""
    if network not in ("unet", "unetpp", "scoatnet"):
        raise ValueError(f"{network!r} is drawn by no grid; known: unet, unetpp, scoatnet")
    wanted = [(i, j) for i in range(DEPTH + 1) for j in range(DEPTH + 1 - i)]
    if network == "unet":
        wanted = [(i, j) for i, j in wanted if j == 0 or i + j == DEPTH]
    root, edges, boxes, rules = f".p-{network}", [], [], []
    w, h = form["box"]
    for i, j in wanted:
        x, y = _place(i, j, form)
        for a, b in takes(i, j, network) if network != "unet" or j == 0 else [(i, 0), (i + 1, j - 1)]:
            edges.append(_edge(a, b, i, j, form))
        size = f"{side >> i} × {side >> i} × {width << i}"
        names = [f"X({a},{b})" for a, b in takes(i, j, network)]
        source = "the slice" if not names else names[0] if j == 0 else f"{', '.join(names[:-1])} and, enlarged, {names[-1]}"
        tip = f"<title>X({i},{j}) takes {source}; it gives {size}</title>"
        colour = COLOURS[_kind(network, i, j)]
        inner = _box(x - w // 2, y - h // 2, w, h, f"X({i},{j})", size if sizes else "", colour)
        label = f'role="img" aria-label="{re.sub("<[^>]+>", "", tip)}"'
        boxes.append(f'<g class="n n{i}{j}" tabindex="0" {label}>{tip}{inner}</g>')
        pointed = f"{root}:has(.n{i}{j}:is(:hover,:focus))"
        rules.append(f"{pointed} .e:not(.to{i}{j}){{opacity:.1}}{pointed} .to{i}{j}{{opacity:1;stroke-width:3}}")
        if i == 0 and j and (network != "unet" or j == DEPTH):
            at, below = x + w // 4, y + h // 2
            boxes.append(_line(f"M{at} {below}v12", head=False) + f'<circle cx="{at}" cy="{below + 19}" r="7" class="head"/>')
    x, y = _place(0, 0, form)[0] - w // 4, _place(0, 0, form)[1] - h // 2
    start = _line(f"M{x} {y - 36}V{y - 6}") + _label(x, y - 44, f"slice, {side} × {side} × 1" if sizes else "slice")
    levels = _label(4, y - 2, "level", "start") if sizes else ""
    levels += "".join(f'<text x="8" y="{_place(i, 0, form)[1] + 6}" class="level">{i}</text>' for i in range(DEPTH + 1))
    return f'<g class="p-{network}">{start}{levels}{"".join(edges)}{"".join(boxes)}</g>', "".join(rules)


def _edge(a: int, b: int, i: int, j: int, form: dict) -> str:
    """The connection from X(a,b) to X(i,j)."""
    (x1, y1), (x2, y2), (w, h) = _place(a, b, form), _place(i, j, form), form["box"]
    top = y1 - h // 2
    if j == 0:
        kind, path = "down", f"M{x1} {y1 + h // 2}V{y2 - h // 2 - 6}"
    elif a > i:
        kind, path = "up", f"M{x1 + w // 3} {top}L{x2 - w // 2 + 12} {y2 + h // 2 + 5}"
    elif j - b == 1:
        kind, path = "skip", f"M{x1 + w // 2} {y1}H{x2 - w // 2 - 6}"
    else:  # arcs nest: the longer one starts further left, rises higher and lands further right
        far = j - b - 2
        start, end, rise = x1 + w * (0.42 - 0.18 * far), x2 - w * (0.42 - 0.18 * far), 0.55 * h + 0.45 * h * (far + 1)
        kind, path = (
            "skip",
            f"M{start:.0f} {top}C{start + 40:.0f} {top - rise:.0f} {end - 40:.0f} {top - rise:.0f} {end:.0f} {top - 6}",
        )
    return f'<path d="{path}" class="e {kind} to{i}{j}" marker-end="url(#MARK-{kind})"/>'


def _words(network: str, side: int, width: int) -> str:
    """A grid's text alternative."""
    levels = ", ".join(f"{side >> i} × {side >> i} × {width << i}" for i in range(DEPTH + 1))
    text = f"Rows are levels 0 to 4; a node of each gives, as height × width × channels, {levels}. "
    text += "The encoder goes down the left column. "
    if network == "unet":
        return (
            text
            + "The decoder climbs the diagonal; each of its nodes takes the level's encoder node and, enlarged, the one below."
        )
    text += "Every other node takes all earlier nodes of its level and, enlarged, the node below to its left; "
    text += "the four on the top row each have an output."
    return text + " The six nodes inside the triangle carry attention." * (network == "scoatnet")


def _legend(network: str, x: int, y: int) -> str:
    """What colours and lines mean, in the grid's empty corner."""
    kinds = {"encoder": "encoder node", "plain": "decoder node" if network == "unet" else "plain node of the skip pathway"}
    if network == "scoatnet":
        kinds = {"encoder": "encoder node", "plain": "plain node", "attention": "node with attention, equations 1 to 6"}
    parts = []
    for row, (kind, words) in enumerate(kinds.items()):
        parts.append(_box(x, y + 26 * row, 34, 18, "", "", COLOURS[kind]) + _label(x + 46, y + 26 * row + 14, words, "start"))
    y += 26 * len(kinds) + 8
    lines = {"down": "2 × 2 max-pooling", "up": "enlarged: bilinear, and 1 × 1 convolution", "skip": "copied along the level"}
    for row, (kind, words) in enumerate(lines.items()):
        at = y + 24 * row
        line = f'<path d="M{x} {at + 4}H{x + 30}" class="e {kind}" marker-end="url(#MARK-{kind})"/>'
        parts.append(line + _label(x + 46, at + 9, words, "start"))
    at = y + 24 * len(lines)
    parts.append(
        f'<circle cx="{x + 17}" cy="{at + 5}" r="8" class="head"/>'
        + _label(x + 46, at + 10, "1 × 1 convolution to one logit a pixel", "start")
    )
    return "".join(parts)


def _text(words: str) -> str:
    """H_R² and x_M with their indices lowered; everything escaped."""
    parts, rest = [], words
    while "_" in rest:
        before, rest = rest.split("_", 1)
        parts.append(html.escape(before) + f'<tspan baseline-shift="sub" font-size="75%">{html.escape(rest[:1])}</tspan>')
        rest = rest[1:]
    return "".join(parts) + html.escape(rest)


def _box(x: float, y: float, w: float, h: float, name: str, below: str, colour: str) -> str:
    middle = x + w / 2
    paint = f'fill="{colour}" fill-opacity=".16" stroke="{colour}" stroke-width="1.6"'
    shape = f'<rect x="{x}" y="{y}" width="{w}" height="{h}" rx="7" {paint}/>'
    first = f'<text x="{middle}" y="{y + h / 2 + (-4 if below else 5)}" class="name">{_text(name)}</text>' if name else ""
    second = f'<text x="{middle}" y="{y + h / 2 + 17}" class="size inner">{_text(below)}</text>' if below else ""
    return shape + first + second


def _circle(x: float, y: float, sign: str, colour: str) -> str:
    shape = f'<circle cx="{x}" cy="{y}" r="15" fill="{colour}" fill-opacity=".16" stroke="{colour}" stroke-width="1.6"/>'
    return shape + f'<text x="{x}" y="{y + 6}" class="sign">{sign}</text>'


def _frame(x: float, y: float, w: float, h: float, words: str, colour: str) -> str:
    shape = f'<rect x="{x}" y="{y}" width="{w}" height="{h}" rx="10" fill="none" stroke="{colour}" stroke-dasharray="3 4"/>'
    return shape + f'<text x="{x + w / 2}" y="{y + h - 9}" class="size">{words}</text>'


def _line(path: str, head: bool = True) -> str:
    return f'<path d="{path}" class="flow"' + (' marker-end="url(#MARK-skip)"' if head else "") + "/>"


def _label(x: float, y: float, words: str, anchor: str = "middle") -> str:
    return f'<text x="{x}" y="{y}" class="size" style="text-anchor:{anchor}">{_text(words)}</text>'


def _number(x: float, y: float, number: int) -> str:
    return f'<g><circle cx="{x}" cy="{y}" r="10" class="ring"/><text x="{x}" y="{y + 4.5}" class="ringed">{number}</text></g>'


def _drawing(name: str, width: int, height: int, body: str, text: str, rules: str, least: int = 620) -> Drawing:
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
        + rules.replace(".p-", f"{root} .p-")
    )
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" id="drawing-{name}" viewBox="0 0 {width} {height}" role="{role}" '
        f'aria-label="{html.escape(text)}" style="width:100%;min-width:{least}px;height:auto">'
        f"<style>{style}</style><defs>{markers}</defs>{body.replace('MARK', mark)}</svg>"
    )
    return Drawing(svg, text)
