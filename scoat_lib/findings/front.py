"""The book's findings for its first page."""

from __future__ import annotations

from scoat_lib import claims, report, rule
from scoat_lib.findings.comparisons import difference
from scoat_lib.findings.ledger import decided
from scoat_lib.findings.maps import ablation, ablations
from scoat_lib.findings.readers import against_readers
from scoat_lib.findings.volumes import leak
from scoat_lib.grids import GRIDS
from scoat_lib.words import LEAST, corrected, hold, listed_or_none, lower, lowered


def intervals(verdict: claims.Verdict) -> tuple[list[str], int, int]:
    """Of a claim's comparisons: the words of those with an interval; how many have one; how many have too few patients."""
    states = [c["status"] for c in verdict.comparisons if c["low"] == c["low"]]
    order = (claims.HOLDS, claims.FAILS, claims.OPEN)
    every = [f"{states.count(s)} {hold(s, states.count(s))}" for s in order if s in states]
    return every, len(states), sum(c["patients"] > 0 for c in verdict.comparisons) - len(states)


def findings(results: list[dict], folder) -> list[str]:
    """The book's findings for its first page, each one or a few sentences with its numbers, or what is missing.

    Of SCOAT-Net and UNet++ that page has the numbers at its top, so what follows from them is told. What dealing slices is
    worth stands here once it was run.
    """
    first = decided(results, "1")[0][1]
    if any(c["patients"] for c in first.comparisons):
        every, seen, few = intervals(first)
        beside = corrected(first.comparisons), lower(first.comparisons)
        table = (
            f"Of the {len(first.comparisons)} comparisons behind “best of nine networks on all six metrics” {seen} have enough "
            f"patients for an interval{f': {listed_or_none(every)}, each by its own interval' if every else ''}."
            + "".join(f" {text[0].upper()}{text[1:]}." for text in beside if text)
            + (f" {few} rest on fewer than {rule.FEWEST} patients." if few else "")
        )
    else:
        table = "Whether SCOAT-Net is the best of nine networks was not run yet."
    agreement = report.readers(folder)
    if agreement:
        a = agreement["DSC, per cent"]
        readers = (
            f"Two readers of the same {a['scans']} scans of at least {LEAST} lesion voxels agree to a "
            f"mean DSC of {a['mean']:.1f} ({a['lowest']:.1f} to {a['highest']:.1f}). {against_readers(results, agreement)}"
        )
    else:
        readers = "How two readers agree was not measured."
    numbers, _, follows = difference(results, "table2", "SCOAT-Net", "UNet++").partition(". ")
    beside = f"SCOAT-Net beside UNet++, the network that it was made from: {lowered(follows)}" if follows else numbers
    dealt = claims.compare(results, GRIDS["split"], "by slice", "by patient")["patients"]
    return [beside, table, ablation(ablations(folder)), *([leak(results)] if dealt else []), readers]
