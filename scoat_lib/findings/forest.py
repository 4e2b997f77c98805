"""The ledger drawn: every comparison with its interval, the paper's difference beside it (chapter 16)."""

from __future__ import annotations

import html
import math

from scoat_lib import claims, report, rule
from scoat_lib.findings.ledger import CHAPTER, Decided
from scoat_lib.words import listed_or_none, signed

_MARKS = {
    claims.HOLDS: "#2e9e56",
    claims.FAILS: "#e05a52",
    claims.OPEN: "#7b8aa0",
    claims.UNTESTABLE: "#8e78c4",
    claims.WAITS: "#b58a2a",
}
FRAME = 20.0  # points: what reaches farther ends in an arrow or a number, so that the others can be told from dots


def forest(decisions: Decided, dsc: bool = True) -> str:
    """Every comparison behind the ledger as one drawing (SVG in HTML): ours with its interval, the paper's as a diamond.

    It is drawn twice: names beside the lines, and, for a phone and hidden elsewhere, names above them.
    dsc: the comparisons in DSC, or those in the other metrics, of claim 1 only UNet++'s. Each label is a link to its chapter.
    """
    found = []
    for claim, verdict in decisions:
        for c in verdict.comparisons:
            if (c["metric"] == "DSC") == dsc and (dsc or claim.number != "1" or c["other"] == "UNet++"):
                found.append((claim.number, c))
    edges = [0.0, 5.0, -5.0]
    for _, c in found:
        edges += [c["paper"]] if c["paper"] == c["paper"] else []
        edges += [min(max(v, -FRAME), FRAME) for v in (c["difference"], c["low"], c["high"]) if v == v]
    ends = min(edges) - 1, max(edges) + 1
    words = ", ".join(f"{c['one']} {'minus' if c['sign'] > 0 else 'below'} {c['other']} {_said(c)}" for _, c in found)
    title = f"<title>{html.escape(words)}</title>"
    beside, above = (_forest(found, *ends, narrow) for narrow in (False, True))
    return (
        f'<div class="forest" style="overflow-x:auto"><svg role="group" {beside[0]} style="min-width:620px;max-width:820px;'
        f'width:100%" font-size="13" font-family="inherit" fill="currentColor">{title}{beside[1]}</svg></div>'
        f'<div class="forest-narrow" hidden><svg role="group" {above[0]} style="width:100%" font-size="12" '
        f'font-family="inherit" fill="currentColor">{title}{above[1]}</svg></div>'
    )


def _forest(found: list[tuple[str, dict]], low: float, high: float, narrow: bool) -> tuple[str, str]:
    """The drawing's viewBox and what is in it. low, high: the axis' ends. narrow: names above the lines, not beside them."""
    room = 7.2 * max((len(_label(*one)) for one in found), default=0)  # for the longest name
    left, width, step, top = (14, 326, 40, 20) if narrow else (20 + room, 400, 26, 26)

    def x(value: float) -> float:
        """The place of a value on the axis."""
        return left + width * (min(max(value, low), high) - low) / (high - low)

    parts = []
    bottom = top + step * len(found)
    unit = 5 if high - low < 60 else 20
    for tick in range(math.ceil(low / unit) * unit, int(high) + 1, unit):
        parts.append(
            f'<line x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{top - 8}" y2="{bottom}" stroke="currentColor" '
            f'stroke-opacity="{0.9 if tick == 0 else 0.15}"/><text x="{x(tick):.1f}" y="{bottom + 15}" '
            f'text-anchor="middle">{signed(tick, 0) if tick else 0}</text>'
        )
    for index, (number, c) in enumerate(found):
        y = top + step * index + (28 if narrow else step / 2)
        parts.append(_forest_row(number, c, y, x, (left, y - 12, "start") if narrow else (left - 10, y + 4, "end"), narrow))
    lines = (
        "points in the claim’s direction;",
        "dot and line: ours, 95 % (arrow: farther)",
        "hollow dot: too few patients;",
        "diamond: the paper, filled where it is",
        "larger than our interval allows",
    )
    lines = lines if narrow else (" ".join(lines[:2]), " ".join(lines[2:]))
    for index, line in enumerate(lines):
        parts.append(f'<text x="10" y="{bottom + 34 + 17 * index}">{line}</text>')
    more = 20 if narrow else 30
    return f'viewBox="0 0 {left + width + more:.0f} {bottom + 24 + 17 * len(lines)}"', "".join(parts)


def about_forest(decisions: Decided) -> str:
    """What `forest` draws in DSC and does not say: colours that Holm's correction over a claim's lines takes, and diamonds.

    A filled diamond may stand close to the interval's end, and a hollow one on the interval's left.
    """
    of = {claim.number: [c for c in v.comparisons if c["metric"] == "DSC" and c["low"] == c["low"]] for claim, v in decisions}
    lost, coloured = [], 0
    for number, found in of.items():
        holm = rule.holm([c["p"] for c in found])
        own = [(c, p) for c, p in zip(found, holm, strict=True) if c["low"] > 0 or c["high"] < 0]
        coloured += len(own)
        lost += [
            f"{c['one']} minus {c['other']} (p = {p:.2f}, chapter {int(CHAPTER[number][:2])})"
            for c, p in own
            if p >= 1 - rule.LEVEL
        ]
    said = ["The colours are by each line's own interval, without a correction for many lines."]
    if coloured:
        said.append(
            f"With Holm's correction over the lines of a claim here, {len(lost)} of the {coloured} green or red lines "
            + (f"would be grey: {listed_or_none(lost)}." if lost else "would be grey.")
        )
    drawn = [c for found in of.values() for c in found if c["paper"] == c["paper"]]
    near = min((c for c in drawn if c["excluded"]), key=lambda c: c["paper"] - c["high"], default=None)
    if near:
        said.append(
            "A filled diamond lies to the right of the interval: our patients exclude that size. The nearest is that of "
            f"{near['one']} minus {near['other']}: the interval ends at {signed(near['high'], 2)}, the paper has "
            f"{signed(near['paper'], 2)}."
        )
    left = sum(c["paper"] < c["low"] for c in drawn)
    if left:
        stands = "One hollow diamond stands" if left == 1 else f"{left} hollow diamonds stand"
        said.append(f"{stands} to the left of the interval: there our difference is larger than the paper's.")
    return " ".join(said)


def _said(c: dict) -> str:
    return f"{signed(c['difference'])}, {c['status']}" if c["patients"] else report.NOT_RUN


def _label(number: str, c: dict) -> str:
    minus = "−" if c["sign"] > 0 else "below"
    metric = "" if c["metric"] == "DSC" else f", {c['metric']}"
    return f"{number} · {c['one']} {minus} {c['other']}{metric}"


def _forest_row(number: str, c: dict, y: float, x, name: tuple[float, float, str], narrow: bool) -> str:
    """One line of the drawing. name: where its name stands, and which end of it. narrow: the name is above the line."""
    label = html.escape(_label(number, c))
    colour = _MARKS[c["status"]]
    at = f'x="{name[0]:.0f}" y="{name[1]}" text-anchor="{name[2]}"'
    text = f'<a href="{CHAPTER[number]}.html"><text {at}>{label}</text></a>'
    if c["low"] == c["low"]:
        text += f'<line x1="{x(c["low"]):.1f}" x2="{x(c["high"]):.1f}" y1="{y}" y2="{y}" stroke="{colour}" stroke-width="3"/>'
        for end, way in ((c["low"], -1), (c["high"], 1)):
            if x(end) == x(end + way):  # it goes on beyond the frame
                tip = f"{x(end) + 6 * way:.1f},{y} {x(end):.1f},{y - 5} {x(end):.1f},{y + 5}"
                text += f'<polygon points="{tip}" fill="{colour}"/>'
    way = 1 if c["difference"] > 0 else -1
    if c["patients"] and x(c["difference"]) == x(c["difference"] + way):  # it lies beyond the frame: a number, and no dot
        number, known = signed(c["difference"]), c["low"] == c["low"]
        number += f" ({signed(c['low'])} … {signed(c['high'])})" if known else ""
        number = f"{number} →" if way > 0 else f"← {number}"
        height = y + (4 if not known else 15 if narrow else -8)  # off the line, where there is one, on the page's own ground
        ground = 'paint-order="stroke" stroke="var(--pst-color-background, Canvas)" stroke-width="4"'
        at = f'x="{x(c["difference"]):.1f}" y="{height}" text-anchor="{"end" if way > 0 else "start"}"'
        text += f'<text class="beyond" {at} {ground}>{number}</text>'
    elif c["patients"]:
        inside = f'fill="{colour}"' if c["low"] == c["low"] else f'fill="none" stroke="{colour}" stroke-width="2"'
        text += f'<circle cx="{x(c["difference"]):.1f}" cy="{y}" r="4.5" {inside}/>'
    else:
        # right of the diamond where that would lie on the words
        begin = x(0) if not 0 <= x(c["paper"]) - x(0) < 60 else x(c["paper"])
        text += f'<text x="{begin + 8:.1f}" y="{y + 4}" fill-opacity="0.7">{report.NOT_RUN}</text>'
    if c["paper"] == c["paper"]:
        p = x(c["paper"])
        corners = f"{p - 5:.1f},{y} {p:.1f},{y - 5} {p + 5:.1f},{y} {p:.1f},{y + 5}"
        inside = "currentColor" if c["excluded"] else "none"
        text += f'<polygon points="{corners}" fill="{inside}" stroke="currentColor" stroke-width="1.5"/>'
    return text
