"""Figures 1 and 2 in a layout of our own, as SVG: the plain U-Net, the grids of UNet++ and SCOAT-Net, one attention node.

Text and lines take the colour of the page around them, so a drawing reads on light and on dark ground. Pointing at a node of
a grid (or moving to it by keys, or tapping it) leaves only what it takes, and says in words what that is and by which equation
(`viewers/grid.js`). Where no script runs, CSS does the first of the two.
"""

from __future__ import annotations

import dataclasses
import json
import re

from scoat_lib import viewer
from scoat_lib.drawings import svg
from scoat_lib.drawings.svg import ARROWS, COLOURS, Drawing, box, circle, drawing, frame, label, line, number

DEPTH = 4
LARGE = {"step": (188, 140), "box": (150, 54), "origin": (132, 116)}  # with H × W × C in each node
SMALL = {"step": (112, 96), "box": (76, 36), "origin": (88, 96)}


def takes(i: int, j: int, network: str = "unetpp") -> list[tuple[int, int]]:
    """The nodes whose outputs X(i,j) takes, the one below last; of the encoder's, the one above. network: also "unet"."""
    if j == 0:
        return [(i - 1, 0)] if i else []
    earlier = [(i, 0)] if network == "unet" else [(i, k) for k in range(j)]
    return [*earlier, (i + 1, j - 1)]


def grid(network: str, side: int = 512, width: int = 64, sizes: bool = True) -> Drawing:
    """The nodes of "unet", "unetpp" or "scoatnet" with every connection, and H × W × C at each node.

    side: of the input slice, in pixels. width: channels at full resolution. sizes: whether H × W × C is written.
    A node that is pointed at, tapped or moved to by keys tells what it takes (`told`). Raises ValueError for a network that
    is no such grid.
    """
    body, style = _panel(network, side, width, sizes, LARGE)
    title = {"unet": "U-Net", "unetpp": "UNet++", "scoatnet": "SCOAT-Net"}[network]
    text = f"{title} as a grid. {_words(network, side, width)}"
    name = f"grid-{network}"
    root, says = f"#drawing-{name}", f"#{name} .says"
    style += (
        f"{root} .e.on{{opacity:1;stroke-width:3.2}}{root} .e.off{{opacity:.1}}{root} .n.off{{opacity:.35}}"
        f"{root} .n.self rect{{stroke-width:3.6}}{says}{{min-height:{15 if network == 'scoatnet' else 7}em;padding:.5em .8em;"
        f"border:1px dotted currentColor;border-radius:6px;text-align:start}}"
        f"{says} p{{margin:0 0 .25em}}{says} i{{font-family:serif}}"
    )
    style += f"{root} .name{{font-size:17px}}{root} .size,{root} .inner{{font-size:15.8px}}"  # 11 pixels of a page's column
    drawn = drawing(name, 964, 712, body + _legend(network, 560, 470), text, style)
    nodes = {f"{i}{j}": told(network, i, j, side, width) for i, j in _nodes(network)}
    script = f"(() => {{\n{viewer.source('grid.js')}\ngridViewer(document.getElementById({json.dumps(name)}), "
    script += json.dumps(nodes, separators=(",", ":"), ensure_ascii=False).replace("</script", "<\\/script") + ");\n})();"
    hint = "<p>Point at a node, tap it, or move to it with the tab key and the arrow keys: here stands what it takes.</p>"
    return dataclasses.replace(drawn, name=name, says=hint, script=script)


def told(network: str, i: int, j: int, side: int = 512, width: int = 64) -> dict:
    """What X(i,j) takes and gives: {"takes": its inputs as "ij", "lines": HTML, one sentence or equation each}.

    The channels side by side are those of the first convolution of the node (`tests/test_drawings.py` compares them with the
    networks').
    """
    own, inputs = width << i, takes(i, j, network)

    def size(level: int) -> str:
        """H × W × C of a level."""
        return f"{side >> level} × {side >> level} × {width << level}"

    def x(a: int, b: int) -> str:
        """A node's output as the text writes it."""
        return f"<i>x</i>({a},{b})"

    block = "<i>B</i>"
    what = "two 3 × 3 convolutions" if network == "unet" else "a residual block"
    if j == 0:
        source = f"X({i - 1},0), {size(i - 1)}, made half as large by max-pooling" if i else f"the slice, {side} × {side} × 1"
        lines = [f"<b>X({i},{j})</b> takes {source}."]
        lines += [f"{x(i, 0)} = {block}({f'pool({x(i - 1, 0)})' if i else 'slice'}), where {block} is {what}."]
    else:
        *level, below = inputs
        each = ", ".join(f"X({a},{b})" for a, b in level)
        lines = [
            f"<b>X({i},{j})</b> takes {each}, {size(i)}{' each' if len(level) > 1 else ''}, and X({below[0]},{below[1]}), "
            f"{size(i + 1)}, enlarged to {size(i)}."
        ]
        lines += [f"Side by side: {len(inputs)} × {own} = {len(inputs) * own} channels."]
        up, copies = f"<i>F<sub>U</sub></i>({x(*below)})", ", ".join(x(*node) for node in level)
        lines += (
            _equations(i, j, up, copies)
            if _kind(network, i, j) == "attention"
            else [f"{x(i, j)} = {block}([{copies}, {up}]), where {block} is {what}."]
        )
    return {"takes": [f"{a}{b}" for a, b in inputs], "lines": [*lines, f"It gives {size(i)}."]}


def _equations(i: int, j: int, up: str, copies: str) -> list[str]:
    """Equations 1 to 6 at X(i,j), with its own inputs."""
    h_r, h_s = "<i>H<sub>R</sub></i>", "<i>H<sub>S</sub></i>"
    x_m, x_s, x_c, x_g, x_v = (f"<i>x<sub>{k}</sub></i>" for k in "MscgV")
    return [
        f"(1) {x_m} = {h_s}({h_r}(<i>x</i>({i},{j - 1})) + {h_r}({up})), one channel",
        f"(2) {x_s} = (1 + {x_m}) × {up}",
        f"(3) {x_c} = [{copies}, {x_s}]",
        f"(4) {x_g} = the mean of each channel of {x_c}",
        f"(5) {x_v} = σ(<i>w</i><sub>2</sub> ReLU(<i>w</i><sub>1</sub> {x_g})), a weight for each channel",
        f"(6) <i>x</i>({i},{j}) = <i>H<sub>R</sub></i>²({x_v} × {x_c}) + {h_r}({x_c})",
    ]


def _nodes(network: str) -> list[tuple[int, int]]:
    """Levels and positions of a grid's nodes."""
    every = [(i, j) for i in range(DEPTH + 1) for j in range(DEPTH + 1 - i)]
    return [(i, j) for i, j in every if network != "unet" or j == 0 or i + j == DEPTH]


def order(network: str = "unetpp") -> list[Drawing]:
    """The nodes of a grid lit one after the other, as they can be computed: a drawing for each step, its text the step's line.

    Lit is the step's node with what it takes; what was computed before is blue, what is still to come is grey.
    """
    steps = sorted(_nodes(network), key=lambda node: (node[1] > 0, node[1], node[0]))
    drawn, (w, h) = [], SMALL["box"]
    for step, (i, j) in enumerate(steps):
        inputs = takes(i, j, network)
        parts = [_edge(a, b, i, j, SMALL) for a, b in inputs]
        for turn, (a, b) in enumerate(steps):
            x, y = _place(a, b, SMALL)
            colour = COLOURS["attention"] if turn == step else COLOURS["plain"] if turn < step else "currentColor"
            kind = "now" if turn == step else "done" if turn < step else "ahead"
            parts.append(f'<g class="{kind}">{box(x - w // 2, y - h // 2, w, h, f"X({a},{b})", "", colour)}</g>')
        text = f"step {step + 1} of {len(steps)}: X({i},{j}) takes {', '.join(f'X({a},{b})' for a, b in inputs) or 'the slice'}"
        name = f"order-{step + 1}"
        root = f"#drawing-{name}"
        rules = (
            f"{root} .e{{stroke:{COLOURS['attention']};stroke-width:2.6;opacity:1}}{root} .ahead{{opacity:.4}}"
            f"{root} .now rect{{fill-opacity:.5;stroke-width:3.4}}@media(max-width:600px){{{root}{{min-width:0!important}}}}"
        )
        drawn.append(drawing(name, 600, 520, "".join(parts), text, rules, least=0))
    return drawn


def beside() -> Drawing:
    """The plain U-Net beside UNet++, without sizes: what the second adds to the first."""
    parts, rules = [], ""
    for place, (network, title) in enumerate((("unet", "U-Net"), ("unetpp", "UNet++"))):
        body, style = _panel(network, 512, 64, False, SMALL)
        head = f'<text x="400" y="470" class="big">{title}</text>'
        parts.append(f'<g transform="translate({594 * place} 0)">{head}{body}</g>')
        rules += style
    text = (
        "U-Net beside UNet++. U-Net: five encoder nodes down the left side, four decoder nodes up the diagonal, one long "
        "copy in each of four levels. UNet++: the same outline, its inside filled with six more nodes, and each node joined "
        "with all earlier ones of its level."
    )
    rules += "#drawing-beside .name,#drawing-beside .level,#drawing-beside .size{font-size:19.5px}"
    return drawing("beside", 1180, 506, "".join(parts), text, rules, least=640)


def node(only: str = "") -> Drawing:
    """One attention node X(i,j+1): equations 1 to 6 on its arrows, with the shape of what flows along them.

    only: "where" draws equations 3 to 6 and what they take pale. ValueError for another word.
    """
    if only not in ("", "where"):
        raise ValueError(f"{only!r} is no part of a node that can stand out; known: where")
    a, p, e, m = (COLOURS[k] for k in ("attention", "plain", "encoder", "map"))
    where = [
        frame(170, 172, 345, 262, "where", a),
        box(2, 104, 154, 66, "x(i,j)", "H × W × C_u", p, apart=8),
        box(2, 344, 154, 66, "x(i+1,j)", "H/2 × W/2 × C_d", e, apart=8),
        box(184, 352, 54, 50, "F_U", "", ARROWS["up"]),
        box(268, 196, 60, 38, "H_R", "", a),
        box(268, 276, 60, 38, "H_R", "", a),
        circle(362, 255, "+", a),
        box(392, 236, 56, 38, "H_S", "", a),
        circle(420, 377, "×", a),
        line("M163 137V215H264"), line("M156 377H180"), line("M238 377H404"), line("M252 377V295H264"),
        line("M328 215H362V239"), line("M328 295H362V271"), line("M378 255H388"), line("M420 274V361"), line("M436 377H518"),
        line("M156 137H163", head=False),
        label(312, 402, "H × W × C_u"), label(428, 294, "x_M", "start"), label(412, 333, "H × W × 1", "end"),
        label(428, 342, "1 + x_M", "start"), label(452, 400, "x_s", "start"),
        number(384, 222, 1), number(396, 352, 2),
    ]  # fmt: skip
    rest = [
        frame(568, 186, 296, 136, "what", m),
        box(1, 22, 178, 66, "x(i,0) … x(i,j−1)", "H × W × C_u each", p, apart=8),
        box(522, 28, 34, 378, "", "", p),
        f'<text transform="translate(545 217) rotate(-90)" class="name">{svg.text("x_c : concatenation")}</text>',
        box(576, 222, 100, 66, "x_g", "mean", m, apart=10),
        box(692, 222, 164, 66, "x_V", "σ(w₂ ReLU(w₁·))", m, apart=10),
        circle(787, 137, "×", m),
        box(833, 103, 94, 68, "H_R²", "two 3 × 3", a, apart=12),
        box(833, 343, 94, 68, "H_R", "1 × 1", a, apart=12),
        circle(958, 255, "+", a),
        box(992, 222, 122, 66, "x(i,j+1)", "H × W × C_u", a, apart=8),
        line("M179 55H518"), line("M163 137H518"), line("M556 137H771"), line("M564 137V256H572"), line("M676 256H688"),
        line("M787 222V153"), line("M803 137H829"), line("M556 377H829"), line("M927 137H958V239"),
        line("M927 377H958V271"), line("M974 255H988"),
        label(664, 120, "x_c : H × W × C_m"), label(778, 176, "C_m weights", "end"), label(694, 402, "H × W × C_m"),
        number(539, 14, 3), number(592, 210, 4), number(708, 210, 5), number(932, 255, 6),
    ]  # fmt: skip
    pale = f'<g opacity=".3">{"".join(rest)}</g>' if only else "".join(rest)
    text = (
        "One attention node of SCOAT-Net, from left to right. The coarser node's output is enlarged by F_U. Equation 1: it and "
        "x(i,j) each pass an H_R, are added, and H_S makes of the sum the map x_M of one channel. Equation 2: one plus the map "
        "multiplies the enlarged features, which gives x_s. Equation 3: x_s and all earlier outputs of the level are "
        "concatenated to x_c. Equation 4: the mean of each channel, x_g. Equation 5: a weight for each channel, x_V. "
        "Equation 6: the weighted x_c passes H_R squared, the unweighted one H_R, and their sum is the node's output."
    )
    # a page's column is 672 pixels, so that 18.3 of the drawing's are 11 of the page's
    larger = "#drawing-node .name{font-size:19px}#drawing-node .size{font-size:18.3px}#drawing-node .inner{font-size:18.3px}"
    return drawing("node", 1116, 442, "".join(where) + pale, text, larger, least=640)


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
    wanted = _nodes(network)
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
        inner = box(x - w // 2, y - h // 2, w, h, f"X({i},{j})", size if sizes else "", colour)
        role = f'role="img" aria-label="{re.sub("<[^>]+>", "", tip)}"'
        boxes.append(f'<g class="n n{i}{j}" data-node="{i}{j}" tabindex="0" {role}>{tip}{inner}</g>')
        pointed = f"{root}:has(.n{i}{j}:is(:hover,:focus))"
        rules.append(f"{pointed} .e:not(.to{i}{j}){{opacity:.1}}{pointed} .to{i}{j}{{opacity:1;stroke-width:3}}")
        if i == 0 and j and (network != "unet" or j == DEPTH):
            at, below = x + w // 4, y + h // 2
            boxes.append(line(f"M{at} {below}v12", head=False) + f'<circle cx="{at}" cy="{below + 19}" r="7" class="head"/>')
    x, y = _place(0, 0, form)[0] - w // 4, _place(0, 0, form)[1] - h // 2
    start = line(f"M{x} {y - 36}V{y - 6}") + label(x, y - 44, f"slice, {side} × {side} × 1" if sizes else "slice")
    levels = label(4, y - 2, "level", "start") if sizes else ""
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
        parts.append(box(x, y + 26 * row, 34, 18, "", "", COLOURS[kind]) + label(x + 46, y + 26 * row + 14, words, "start"))
    y += 26 * len(kinds) + 8
    lines = {"down": "2 × 2 max-pooling", "up": "enlarged: bilinear, and 1 × 1 convolution", "skip": "copied along the level"}
    for row, (kind, words) in enumerate(lines.items()):
        at = y + 24 * row
        line = f'<path d="M{x} {at + 4}H{x + 30}" class="e {kind}" marker-end="url(#MARK-{kind})"/>'
        parts.append(line + label(x + 46, at + 9, words, "start"))
    at = y + 24 * len(lines)
    parts.append(
        f'<circle cx="{x + 17}" cy="{at + 5}" r="8" class="head"/>'
        + label(x + 46, at + 10, "1 × 1 convolution to one logit a pixel", "start")
    )
    return "".join(parts)
