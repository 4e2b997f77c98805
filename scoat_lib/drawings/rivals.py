"""Block diagrams of Table II's rivals and of V1 to V3 of Table III: the idea of each in one look.

What a diagram holds is a table of parts, below. Sizes, dilations and repeats are read from the network itself, run on no data
at the published size; a table whose lines no longer fit the network's channels is refused, so that none is drawn wrongly.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch
from torch import nn

from scoat_lib.drawings import svg
from scoat_lib.networks import create

SIDE, WIDTH = 512, 64  # the published size, as in Figure 1
STEP, BOX, SMALL, ROUND = (144, 70), (120, 50), 32, 14  # pixels: column and row; a box; a box of one line; a circle's radius
LEAST = 840  # the narrowest drawing, so that all have letters of one size


@dataclass(frozen=True)
class Part:
    """One box of a diagram.

    column, row: its place. words: what stands in it; {d} is the module's dilation, {n} its number of parts, {h} the height of
    its output. module: the path below the network; its output's H × W × C stands in the box, unless `small`. takes: names of
    the parts whose outputs go in, as "name", "name~module" where another module lies on the line, and ":hv", ":vh", … for the
    line's way. Lines that meet in a box are concatenated, or added where its words begin with +; so in circles, + and ×.
    call: which call of a module that runs several times. wide: the box's width, in pixels. kind "note": words without a box.
    """

    column: float
    row: float
    words: str
    module: str = ""
    takes: str = ""
    kind: str = "plain"
    small: bool = False
    call: int = 0
    wide: float = BOX[0]

    @property
    def sign(self) -> bool:
        """Whether it is a circle."""
        return self.words in ("+", "×")


def _u_shape() -> dict[str, Part]:
    """Attention U-Net: encoder left, decoder right, a gate on each skip."""
    parts = {f"e{i}": Part(0, 1.25 * i, "encoder", f"encoder.{i}", f"e{i - 1}" * (i > 0), "encoder") for i in range(4)}
    parts["e4"] = Part(1.5, 5, "encoder", "encoder.4", "e3:vh", "encoder")
    for i in range(3, -1, -1):
        k, below = 3 - i, "e4" if i == 3 else f"d{i + 1}"
        signal, way = ("", ":hv") if i == 3 else (":step", "")
        parts[f"g{i}"] = Part(1.5, 1.25 * i, "gate", f"gates.{k}", f"e{i} {below}~up.{k}{signal}", "attention")
        parts[f"d{i}"] = Part(3.2, 1.25 * i, "decoder", f"decoder.{k}", f"g{i} {below}~up.{k}{way}")
    return parts | {"head": Part(4.4, 0, "1 × 1", "head", "d0")}


def _dense() -> dict[str, Part]:
    """DenseASPP: five rates in a row, each after all before it."""
    parts = {
        "stem": Part(0, 0, "7 × 7", "features.conv0", "", "encoder"),
        "b1": Part(0, 1, "dense block", "features.denseblock1", "stem", "encoder"),
        "b2": Part(0, 2, "dense block", "features.denseblock2", "b1~features.transition1", "encoder"),
        "b3": Part(0, 3, "dilation {d}", "features.denseblock3", "b2~features.transition2", "encoder"),
        "b4": Part(0, 4.45, "dilation {d}", "features.denseblock4", "b3~features.transition3", "encoder"),
    }
    before = ["b4~reduce"]
    for k in range(5):
        ways = " ".join(one + ":arc" * (n > 0) for n, one in enumerate(before))
        parts[f"p{k}"] = Part(1.02 + 0.83 * k, 4.45, "rate {d}", f"pyramid.{k}", ways, "attention", wide=94)
        before.insert(0, f"p{k}")
    ways = " ".join(one + ":arc" * (n > 0) for n, one in enumerate(before))
    return parts | {"head": Part(1.02 + 0.83 * 5, 4.45, "1 × 1", "head", ways, wide=94)}


def _node(i: int, j: int, pitch: float = 0.85) -> dict[str, Part]:
    """What every node X(i,j) of Table III's networks takes."""
    skips = {
        f"x{k}": Part(0, pitch * k, f"x({i},{k})", f"nodes.X({i},{k})", kind="encoder" if k == 0 else "plain") for k in range(j)
    }
    return skips | {"below": Part(0, pitch * j, f"x({i + 1},{j - 1})", f"nodes.X({i + 1},{j - 1})")}


def _hourglass() -> dict[str, Part]:
    """V1 at X(1,2): trunk above, mask branch down and up below."""
    at, taken = "nodes.X(1,2).attention", "x0 x1 below~nodes.X(1,2).up"
    return _node(1, 2) | {
        "block": Part(1.05, 0.85, "block", "nodes.X(1,2).block", taken),
        "before": Part(2.05, 0.85, "unit", f"{at}.before", "block"),
        "trunk": Part(3.45, 0, "trunk: {n} units", f"{at}.trunk", "before"),
        "d0": Part(2.2, 2.05, "halve, unit", f"{at}.down.0", "before", "map"),
        "d1": Part(2.4, 3.1, "halve, unit", f"{at}.down.1", "d0", "map"),
        "bottom": Part(3.45, 4.1, "halve, {n} units", f"{at}.bottom", "d1:vh", "map"),
        "u0": Part(4.5, 3.1, "+ copy, unit", f"{at}.up.0", "bottom:hv d1~nodes.X(1,2).attention.skips.1", "map"),
        "u1": Part(4.7, 2.05, "+ copy, unit", f"{at}.up.1", "u0 d0~nodes.X(1,2).attention.skips.0", "map"),
        "mask": Part(4.7, 1.05, "mask M", f"{at}.to_mask", "u1", "map"),
        "times": Part(4.7, 0, "×", "", "trunk mask", "attention"),
        "after": Part(5.55, 0, "unit", f"{at}.after", "times"),
    }


def _gates() -> dict[str, Part]:
    """V2 at X(1,2): each skip through a gate that the level below steers; the second gate opened."""
    at = "nodes.X(1,2)"
    return _node(1, 2, 1.2) | {
        "up": Part(1.1, 2.4, "F_U", f"{at}.up", "below"),
        "g0": Part(1.1, 0, "gate", f"{at}.gates.0", "x0 up", "attention"),
        "skip": Part(2.15, 1.2, "1 × 1", f"{at}.gates.1.from_skip", "x1", "map"),
        "gate": Part(2.15, 2.4, "1 × 1", f"{at}.gates.1.from_gate", "up", "map"),
        "plus": Part(2.95, 1.8, "+", "", "skip gate", "map"),
        "map": Part(3.7, 1.8, "map, 0 to 1", f"{at}.gates.1.to_map", "plus", "map"),
        "times": Part(4.4, 0.6, "×", "", "x1:top map:hv", "attention"),
        "note": Part(3.75, 2.45, "the second gate, opened", kind="note"),
        "block": Part(5.3, 0.6, "block", f"{at}.block", "g0:hv times up:under"),
    }


def _scales() -> dict[str, Part]:
    """V3 at X(1,2): maps at three scales, averaged."""
    at, taken = "nodes.X(1,2)", "x0 x1 below~nodes.X(1,2).up"
    scales = {f"m{k}": Part(2.35, 0.95 + 0.9 * k, "3 × 3, σ", f"{at}.attention.to_map.{k}", "block", "map") for k in range(3)}
    return (
        _node(1, 2)
        | {"block": Part(1.15, 0.85, "block", f"{at}.block", taken)}
        | scales
        | {
            "mean": Part(3.45, 1.9, "mean map", "", "m0 m1 m2", "map", small=True),
            "times": Part(4.3, 0, "×", "", "block:top mean:hv", "attention"),
            "out": Part(5.2, 0, "x(1,2)", f"{at}.attention", "times"),
        }
    )


def _stages(first: str, rows: tuple[float, ...], words: tuple[str, ...] = ("stage",) * 4) -> dict[str, Part]:
    """A ResNet's stem and its four stages, one below the other."""
    parts = {"stem": Part(0, rows[0], first, "encoder.conv1", "", "encoder")}
    for k in range(1, 5):
        before = "stem" if k == 1 else f"s{k - 1}"
        parts[f"s{k}"] = Part(0, rows[k], words[k - 1], f"encoder.layer{k}", before, "encoder")
    return parts


TABLES: dict[str, tuple[str, str, dict[str, Part]]] = {
    "attention-unet": (
        "Attention U-Net",
        "A U-Net whose copies pass a gate: encoder on the left, decoder on the right. Each gate takes the copy and "
        "what comes up from the level below, and lets through the pixels that the coarser level asks for.",
        _u_shape(),
    ),
    "pspnet": (
        "PSPNet",
        "The encoder stops shrinking early. Its last map is averaged over grids of fields, from one that is the whole slice "
        "to a fine grid; each average is brought back to the map's size and laid beside it.",
        _stages("7 × 7", (0, 1, 2, 3, 4), ("stage", "stage", "dilation {d}", "dilation {d}"))
        | {
            f"b{k}": Part(1.6, 0.55 + 0.92 * k, "means: {h} × {h}", f"pyramid.{k}", "s4", "attention") for k in range(4)
        }
        | {"head": Part(3.2, 4, "3 × 3, 1 × 1", "head", "s4 b0 b1 b2 b3")},
    ),
    "espnetv2": (
        "ESPNetv2",
        "A small network: the slice, shrunk, is shown again at every level; most work is done by units of four cheap dilated "
        "convolutions, one of which is opened below; a thin decoder joins the levels on the way back.",
        {
            "slice": Part(0, 0, "slice", "", "", "map", small=True),
            "l1": Part(1, 0.8, "3 × 3", "level1", "slice", "encoder"),
            "l2": Part(1, 1.8, "halve", "down2", "l1 slice:vh", "encoder"),
            "l3d": Part(1, 2.8, "halve", "down3", "l2 slice:vh", "encoder"),
            "l3": Part(2.1, 2.8, "{n} units", "level3", "l3d", "encoder"),
            "l4d": Part(2.1, 3.8, "halve", "down4", "l3 slice:vh", "encoder"),
            "l4": Part(3.2, 3.8, "{n} units", "level4", "l4d", "encoder"),
            "context": Part(4.5, 2.8, "unit, pools", "context", "l3 l4~from4"),
            "p2": Part(4.5, 1.8, "1 × 1", "project2", "l2 context~project3"),
            "head": Part(4.5, 0.8, "1 × 1", "project1", "l1 p2:up"),
            "note": Part(0, 4.85, "inside a unit:", kind="note"),
            "r": Part(0.3, 5.65, "1 × 1", "level3.0.reduce", "", "attention"),
        }
        | {
            f"k{k}": Part(1.7, 4.75 + 0.6 * k, "dilation {d}", f"level3.0.branches.{k}", "r", "attention", small=True)
            for k in range(4)
        }
        | {"merge": Part(3.2, 5.65, "add up, 1 × 1", "level3.0.merge", "k0 k1 k2 k3", "attention")},
    ),
    "denseaspp": (
        "DenseASPP",
        "A dense encoder that stops shrinking early, and then a row of dilated convolutions of growing rate. Each takes the "
        "outputs of all before it, so that the reach of many rates adds up without holes.",
        _dense(),
    ),
    "deeplabv3plus": (
        "DeepLabV3+",
        "The encoder's last map goes through five branches side by side: a 1 × 1, three dilated convolutions, the mean of the "
        "whole map. What they give together is enlarged once, meets an "
        "early map of the encoder for its edges, and is enlarged again.",
        _stages("7 × 7", (0, 1, 2, 3, 4), ("stage", "stage", "stage", "dilation {d}"))
        | {"low": Part(1.5, 0.6, "1 × 1", "low_level", "s1")}
        | {"a0": Part(1.5, 1.75, "1 × 1", "pyramid.0", "s4", "attention")}
        | {f"a{k}": Part(1.5, 1.75 + 0.85 * k, "rate {d}", f"pyramid.{k}", "s4", "attention") for k in (1, 2, 3)}
        | {
            "a4": Part(1.5, 5.15, "mean of all", "image_pooling", "s4", "attention"),
            "project": Part(3, 3.45, "1 × 1", "project", "a0 a1 a2 a3 a4", "attention"),
            "decoder": Part(3, 0.6, "two 3 × 3", "decoder", "project low"),
            "head": Part(4.1, 0.6, "1 × 1", "head", "decoder"),
        },
    ),
    "cenet": (
        "CE-Net",
        "A U of residual stages whose coarsest map passes two modules: chains of dilated convolutions, added to it, and "
        "poolings of several sizes, laid beside it. On the way up the encoder's maps are added, not concatenated.",
        _stages("7 × 7", (0, 1.15, 2.55, 3.95, 5.4))
        | {
            f"c{k}": Part(1.25, 4.35 + 0.7 * k, words, "", "s4", "attention", small=True, wide=136)
            for k, words in enumerate(("dilation 1", "dilation 3", "dilations 1, 3", "dilations 1, 3, 5"))
        }
        | {"dac": Part(2.25, 5.4, "+", "", "c0 c1 c2 c3 s4", "attention")}
        | {
            f"r{k}": Part(3.15, 4.35 + 0.7 * k, "pooled: {h} × {h}", "context.1.pointwise", "dac", "map", small=True, call=k)
            for k in range(4)
        }
        | {
            "u0": Part(4.5, 5.4, "enlarge", "decoder.0", "dac r0 r1 r2 r3"),
            "p3": Part(4.5, 3.95, "+", "", "s3 u0"),
            "u1": Part(4.5, 3.25, "enlarge", "decoder.1", "p3"),
            "p2": Part(4.5, 2.55, "+", "", "s2 u1"),
            "u2": Part(4.5, 1.85, "enlarge", "decoder.2", "p2"),
            "p1": Part(4.5, 1.15, "+", "", "s1 u2"),
            "u3": Part(4.5, 0.45, "enlarge", "decoder.3", "p1"),
            "head": Part(3.2, 0, "enlarge, 3 × 3", "head", "u3"),
        },
    ),
    "unetpp-residual-attention": (
        "V1, residual attention",
        "After the node's block a trunk of two units runs beside a mask branch, which goes down three times and up again with "
        "copies across. The mask has a value for every pixel of every channel; one plus the mask multiplies the trunk.",
        _hourglass(),
    ),
    "unetpp-attention-gate": (
        "V2, attention gates",
        "Every earlier output of the level passes a gate before the block. In the opened one, skip and coarser level each pass "
        "a 1 × 1 convolution and are added; the sum becomes one map, and the map itself multiplies the skip.",
        _gates(),
    ),
    "unetpp-pyramid-attention": (
        "V3, pyramid attention",
        "After the node's block a 3 × 3 convolution makes a map at full, half and quarter size; the three maps are brought "
        "back and averaged, and one plus the mean map multiplies the block's output.",
        _scales(),
    ),
}  # fmt: skip


def network(name: str) -> svg.Drawing:
    """The block diagram of a rival of Table II ("pspnet", …), or of a node of V1 to V3 ("unetpp-attention-gate", …).

    H × W × C in the boxes is measured on the network as published, at 512 × 512. ValueError for a name without a diagram, and
    where the network's channels are no longer those that the diagram's lines bring.
    """
    if name not in TABLES:
        raise ValueError(f"{name!r} has no block diagram; known: {', '.join(TABLES)}")
    title, words, parts = TABLES[name]
    measured = measure(name)
    check(name, parts, measured)
    lines = "".join(_way(parts, key, token, measured) for key in parts for token in parts[key].takes.split())
    boxes = "".join(_box(key, part, measured) for key, part in parts.items())
    (left, top), (right, low) = _extent(parts)
    spare = max(0, LEAST - (right - left)) / 2
    body = f'<g transform="translate({spare - left:.0f} {-top:.0f})">{lines}{boxes}</g>'
    width = max(LEAST, right - left)
    sizes = [f"{_words(p, measured)}, {_size(p, measured)}" for p in parts.values() if p.module and not p.small]
    about = f"{title}. {words} In order, with height × width × channels: {'; '.join(sizes)}."
    root = f"#drawing-{name}"
    small = f"{root} .name{{font-size:14.5px}}{root} .size{{font-size:13px}}{root} .inner{{font-size:12.5px}}"
    return svg.drawing(name, round(width), round(low - top), body, about, small, least=660)


def measure(name: str) -> dict[str, list[tuple[list[int], tuple[int, int, int]]]]:
    """Every module's calls, at the published size: the channels of what goes in, and (C, H, W) of what comes out."""
    calls: dict[str, list] = {}
    with torch.device("meta"):
        model = create(name, width=WIDTH).eval()

        def look(path: str):
            """The hook of one module."""

            def keep(module: nn.Module, given: tuple, out) -> None:
                """Note what went in and came out."""
                flat = [t for g in given for t in (g if isinstance(g, list) else [g])]
                out = out[0] if isinstance(out, tuple) else out
                if isinstance(out, torch.Tensor):
                    taken = [t.shape[1] for t in flat if isinstance(t, torch.Tensor)]
                    calls.setdefault(path, []).append((taken, tuple(out.shape[1:])))

            return keep

        for path, module in model.named_modules():
            module.register_forward_hook(look(path))
        model(torch.empty(1, 1, SIDE, SIDE))
    for path, module in model.named_modules():
        if path in calls:
            dilations = [max(m.dilation) for m in module.modules() if isinstance(m, nn.Conv2d)]
            calls[path].append({"d": max(dilations, default=1), "n": len(module) if isinstance(module, nn.Sequential) else 1})
    return calls


def check(name: str, parts: dict[str, Part], measured: dict) -> None:
    """Raise ValueError where a part's module is gone, or takes other channels than the lines that lead to it bring."""
    for key, part in parts.items():
        if part.module and part.module not in measured:
            raise ValueError(
                f"{name} has no module {part.module}, which its diagram shows: mend the table in drawings/rivals.py"
            )
        brought = [_channels(parts, token, measured) for token in part.takes.split()]
        if not brought or (not part.module and not part.sign):
            continue
        if part.sign:
            fits = len(set(brought) - {1}) == 1
        elif part.words.startswith("+"):
            fits = {*brought} == {*measured[part.module][part.call][0]}
        else:
            wanted = measured[part.module][part.call][0]
            fits = sum(wanted) == sum(brought)
        if not fits:
            raise ValueError(
                f"{name}: the lines to {key} bring {' and '.join(map(str, brought))} channels, which do not fit it: "
                "mend the table in drawings/rivals.py"
            )


def _split(token: str) -> tuple[str, str, str]:
    """Name, module on the line, way."""
    return re.fullmatch(r"([^~:]+)(?:~([^:]+))?(?::(\w+))?", token).groups(default="")


def _out(parts: dict[str, Part], key: str, measured: dict) -> tuple[int, int, int]:
    """(C, H, W) of a part's output; of one without a module, its inputs' largest."""
    part = parts[key]
    if part.module:
        return measured[part.module][part.call][1]
    if not part.takes:
        return (1, SIDE, SIDE)
    return max(_brought(parts, token, measured) for token in part.takes.split())


def _brought(parts: dict[str, Part], token: str, measured: dict) -> tuple[int, int, int]:
    """(C, H, W) of what a line brings."""
    key, through, _ = _split(token)
    return measured[through][0][1] if through else _out(parts, key, measured)


def _channels(parts: dict[str, Part], token: str, measured: dict) -> int:
    """How many channels a line brings; a module on the line must fit what comes."""
    key, through, _ = _split(token)
    if through and through not in measured:
        raise ValueError(f"a line of the diagram passes {through}, which is gone: mend the table in drawings/rivals.py")
    if through and sum(measured[through][0][0]) != _out(parts, key, measured)[0]:
        raise ValueError(f"{through} takes {measured[through][0][0]} channels, {key} has {_out(parts, key, measured)[0]}")
    return _brought(parts, token, measured)[0]


def _place(part: Part) -> tuple[float, float]:
    """A part's middle."""
    return STEP[0] * part.column, STEP[1] * part.row


def _words(part: Part, measured: dict) -> str:
    """A part's words, their numbers filled in."""
    if not part.module:
        return part.words
    numbers = measured[part.module][-1]
    return part.words.format(**numbers, h=measured[part.module][part.call][1][1])


def _size(part: Part, measured: dict) -> str:
    """H × W × C of a part's output."""
    c, h, w = measured[part.module][part.call][1]
    return f"{h} × {w} × {c}"


def _box(key: str, part: Part, measured: dict) -> str:
    """A part's circle or box; below the last one, how much its map is then enlarged."""
    x, y = (round(v, 1) for v in _place(part))
    if part.kind == "note":
        return svg.label(x, y + 5, part.words)
    colour = svg.COLOURS[part.kind]
    if part.sign:
        return svg.circle(x, y, part.words, colour)
    w, h = (round(2 * v) for v in _half(part))
    below = _size(part, measured) if part.module and not part.small else ""
    last = ""
    if key == "head" and measured[part.module][0][1][1] < SIDE:
        last = svg.label(
            x, y - h / 2 - 8 if ":up" in part.takes else y + h / 2 + 18, f"enlarged × {SIDE // measured[part.module][0][1][1]}"
        )
    return svg.box(round(x - w / 2, 1), round(y - h / 2, 1), w, h, _words(part, measured), below, colour) + last


def _extent(parts: dict[str, Part]) -> tuple[tuple[float, float], tuple[float, float]]:
    """Upper left and lower right corner of what is drawn."""
    places = [(_place(p), _half(p)) for p in parts.values()]
    arcs = [_rise(parts, t, p) for p in parts.values() for t in p.takes.split() if t.endswith(":arc")]
    under = 40 if any(t.endswith(":under") for p in parts.values() for t in p.takes.split()) else 0
    top = min([y - h for (_, y), (_, h) in places] + arcs) - 10
    low = max(y + h for (_, y), (_, h) in places) + 24 + under
    return (min(x - w for (x, _), (w, _) in places) - 8, top), (max(x + w for (x, _), (w, _) in places) + 8, low)


def _rise(parts: dict[str, Part], token: str, part: Part) -> float:
    """How high an arc's handles stand: the higher, the farther it reaches."""
    (x1, y), (x2, _) = _place(parts[_split(token)[0]]), _place(part)
    return y - BOX[1] / 2 - 0.27 * (x2 - x1)


def _way(parts: dict[str, Part], key: str, token: str, measured: dict) -> str:
    """The line from one part to another; its colour and dashes say whether the map shrinks, grows or stays."""
    source, _, way = _split(token)
    a, b = parts[source], parts[key]
    (x1, y1), (x2, y2) = _place(a), _place(b)
    before, after = _out(parts, source, measured)[1], (_out(parts, key, measured)[1])
    kind = "down" if after < before else "up" if after > before else "skip"
    wa, ha = _half(a)
    wb, hb = _half(b)
    gap = 5
    if way == "arc":
        rise, start, end = _rise(parts, token, b), x1 + wa * 0.55, x2 - wb * 0.55
        path = f"M{start:.0f} {y1 - ha:.0f}C{start + 20:.0f} {rise:.0f} {end - 20:.0f} {rise:.0f} {end:.0f} {y2 - hb - gap:.0f}"
    elif way == "under":
        path = f"M{x1:.0f} {y1 + ha:.0f}V{y1 + ha + 34:.0f}H{x2:.0f}V{y2 + hb + gap:.0f}"
    elif way == "top":
        path = f"M{x1:.0f} {y1 - ha:.0f}V{y2:.0f}H{x2 - wb - gap:.0f}"
    elif way == "step":
        path = f"M{x1 - 34:.0f} {y1 - ha:.0f}V{(y1 + y2) / 2:.0f}H{x2:.0f}V{y2 + hb + gap:.0f}"
    elif way == "hv":
        up = y2 < y1
        path = f"M{x1 + wa:.0f} {y1:.0f}H{x2:.0f}V{y2 + hb + gap if up else y2 - hb - gap:.0f}"
    elif way == "vh":
        path = f"M{x1:.0f} {y1 + (ha if y2 > y1 else -ha):.0f}V{y2:.0f}H{x2 - wb - gap:.0f}"
    elif abs(x1 - x2) < 60:
        path = f"M{x1:.0f} {y1 + (ha if y2 > y1 else -ha):.0f}L{x2:.0f} {y2 - hb - gap if y2 > y1 else y2 + hb + gap:.0f}"
    elif abs(y1 - y2) < 1:
        side = 1 if x2 > x1 else -1
        path = f"M{x1 + side * wa:.0f} {y1:.0f}H{x2 - side * (wb + gap):.0f}"
    else:
        side = 1 if x2 > x1 else -1
        start, end = x1 + side * wa, x2 - side * (wb + gap)
        middle = (start + end) / 2
        path = f"M{start:.0f} {y1:.0f}C{middle:.0f} {y1:.0f} {middle:.0f} {y2:.0f} {end:.0f} {y2:.0f}"
    return f'<path d="{path}" class="e {kind} to-{key}" marker-end="url(#MARK-{kind})"/>'


def _half(part: Part) -> tuple[float, float]:
    """Half of a part's width and height."""
    return (ROUND, ROUND) if part.sign else (part.wide / 2, (SMALL if part.small else BOX[1]) / 2)
