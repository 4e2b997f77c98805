"""What the simulation says of the rule: coverage, false verdicts, the smallest difference that can be seen (chapter 10)."""

from __future__ import annotations

import pandas as pd

from scoat_lib import rule
from scoat_lib.report import NOT_RUN
from scoat_lib.words import count


def rivals(simulation: dict | None, names: dict[str, str]) -> pd.DataFrame:
    """The simulation's candidates at 95 % by mean width, with their worst false decisions. names: candidate → words."""
    rows = {}
    for candidate in (simulation or {"candidates": ()})["candidates"]:
        if candidate["level"] == rule.LEVEL and candidate["name"] in names:
            passes = candidate["passes"] and candidate["defined for every layout"]
            rows[names[candidate["name"]]] = {
                "mean width, points": candidate["mean width"],
                "false decisions at worst, %": 100 * candidate["worst false decisions"],
                "passes": "yes" if passes else "no",
            }
    frame = pd.DataFrame.from_dict(rows, orient="index")
    return frame.sort_values("mean width, points").round(1) if len(frame) else frame


def visible(simulation: dict | None, shape: str = "normal") -> pd.DataFrame:
    """The smallest difference that is seen four times in five, points, 13 patients in five folds: by spreads and seeds."""
    cells = (simulation or {"smallest difference": ()})["smallest difference"]
    rows = [(p, r, s, points) for kind, p, r, s, points, _ in cells if kind == shape]
    frame = pd.DataFrame(rows, columns=["patients' sd", "a run's sd", "seeds", "points"])
    wide = frame.pivot_table(index=["patients' sd", "a run's sd"], columns="seeds", values="points")
    return wide.rename(columns={k: count(k, "seed") for k in wide}).rename_axis(columns=None)


def tested(simulation: dict | None) -> str:
    """How often the bootstrap over patients and the chosen rule decide falsely at their worst, and what the rule costs."""
    if not simulation:
        return f"The simulation: {NOT_RUN}."
    at = {c["name"]: c for c in simulation["candidates"] if c["level"] == rule.LEVEL}
    bootstrap, chosen = at["percentile bootstrap over patients"], at[rule.NAME]
    (again,) = [c for c in simulation["confirmation"] if c["name"] == rule.NAME]
    return (
        f"At its worst the bootstrap over patients makes {100 * bootstrap['worst false decisions']:.0f} % false decisions, the "
        f"larger of two errors {100 * chosen['worst false decisions']:.1f} %, where up to "
        f"{100 * simulation['allowed false decisions']:.1f} % pass. Run again with new random numbers, five times as many, it "
        f"makes {100 * again['worst false decisions']:.1f} %. The price is width: {chosen['mean width']:.1f} points "
        f"on average, {bootstrap['mean width']:.1f} for the bootstrap."
    )


def sees(simulation: dict | None) -> str:
    """The smallest difference that the rule sees with 1 and 3 seeds."""
    if not simulation:
        return f"The smallest difference that can be seen: {NOT_RUN}."
    seen = visible(simulation)
    once, thrice = seen["1 seed"], seen["3 seeds"]
    return (
        f"With one seed the smallest difference that can be seen is {once.min():.1f} to {once.max():.1f} points, with three "
        f"seeds {thrice.min():.1f} to {thrice.max():.1f}. Where patients differ by 4 points and runs by 1.5 it is "
        f"{once[4.0, 1.5]:.1f} with one seed and {thrice[4.0, 1.5]:.1f} with three."
    )


def equivalence(simulation: dict | None) -> str:
    """How often networks that truly differ by the margin are called equivalent."""
    if not simulation:
        return f"Equivalence in the simulation: {NOT_RUN}."
    worst = simulation["equivalence"]["worst error at a true difference of the margin"]
    return (
        f"Networks that truly differ by {rule.MARGIN:g} points are called equivalent in at most "
        f"{100 * worst['whole interval']:.1f} % of the trials. The usual two one-sided tests at 5 % would do so in up to "
        f"{100 * worst['two one-sided tests at 5 %']:.1f} %, so the stricter form is used."
    )
