"""What becomes of a score when the threshold is moved (chapter 12)."""

from __future__ import annotations

import pandas as pd

from scoat_lib import report
from scoat_lib.report import NOT_RUN
from scoat_lib.words import listed, plain


def thresholds(results: dict[str, list[dict]]) -> pd.DataFrame:
    """What another threshold than 0.5 would be worth to each network, in per cent of DSC. results: label → runs."""
    rows = {}
    for label, frame in report.beside_thresholds(results).items():
        mean = frame.mean()
        best = mean.idxmax()
        shown = [plain(mean[0.5]), plain(mean[best]), f"{best:g}", len(frame)]
        rows[label] = dict(zip(("DSC at 0.5", "at its best threshold", "which is", "patients"), shown, strict=True))
    return pd.DataFrame(rows).T


def rings(results: dict[str, list[dict]]) -> str:
    """Where each network's best threshold lies beside half of the DSC it reaches there, which is the best cut of right
    probabilities. results: label → runs.
    """
    means = {label: frame.mean() for label, frame in report.beside_thresholds(results).items()}
    if len(means) < 2:
        return f"Where the rings stand: {NOT_RUN} on two networks."
    at, half = ({label: f(mean) for label, mean in means.items()} for f in (lambda m: m.idxmax(), lambda m: m.max() / 200))
    low, high = min(at.values()), max(at.values())
    lowest = [label for label in at if at[label] == low]

    def halves(labels: list[str]) -> str:
        """Half of the DSC of some networks: one number or two."""
        ends = sorted({f"{half[label]:.2f}" for label in labels})
        return ends[0] if len(ends) == 1 else f"{ends[0]} to {ends[-1]}"

    text = f"The best thresholds lie from {low:g} to {high:g}. "
    lies = "lies" if len(lowest) == 1 else "lie"
    text += f"Lowest, at {low:g}, {lies} {listed(lowest)}; half of the DSC is {halves(lowest)} there."
    below = [label for label in at if label not in lowest and at[label] < half[label]]
    if below:
        stands, its = ("The ring of", "stands"), "its"
        if len(below) > 1:
            stands, its = ("The rings of", "stand"), "their"
        text += f" {stands[0]} {listed(below)} {stands[1]} below half of {its} DSC as well ({halves(below)})."
    return f"{text} The grid has steps of 0.1, too coarse to say more."


def turned(results: dict[str, list[dict]]) -> str:
    """Where each network's best threshold lies, who gains most by it, and who would pass whom. results: label → runs."""
    means = {label: frame.mean() for label, frame in report.beside_thresholds(results).items()}
    if len(means) < 2:
        return f"What another threshold would change: {NOT_RUN} on two networks."
    fixed = pd.Series({label: mean[0.5] for label, mean in means.items()})
    best = pd.Series({label: mean.max() for label, mean in means.items()})
    below = sum(mean.idxmax() < 0.5 for mean in means.values())
    where = f"All {below}" if below == len(means) else f"{below} of {len(means)}"
    gain = best - fixed
    said = [
        f"{where} best thresholds lie below 0.5.",
        f"{gain.idxmax()} gains most, {gain.max():.1f} points, and {gain.idxmin()} least, {gain.min():.1f}.",
    ]
    passed = {a: [b for b in fixed.index if fixed[a] < fixed[b] and best[a] > best[b]] for a in fixed.index}
    each = [f"{a} passes {listed(others)}" for a, others in passed.items() if others]
    said.append(f"With each network at its best, {'; '.join(each)}." if each else "Nobody passes another by it.")
    first = fixed.idxmax()
    said.append(f"{first} stays first." if best.idxmax() == first else f"{best.idxmax()} comes first in place of {first}.")
    return " ".join(said)
