"""Volumes, the second cohort, the leak and doubt: what carries over to use (chapters 15, 17, 18)."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pandas as pd

from scoat_lib import claims, report, rule
from scoat_lib.cohort import patient_of
from scoat_lib.findings.comparisons import points
from scoat_lib.findings.ledger import decided, why
from scoat_lib.grids import GRIDS
from scoat_lib.words import LEAST, count, hold, listed_or_none, minus, signed


def volumes(results: list[dict]) -> str:
    """Chapter 15's findings on real scans: bias and limits of agreement of LOV, and the second cohort (claim 7a)."""
    found = report.tables(results, GRIDS["table2"])
    row = found[0].rows.loc["SCOAT-Net"] if found else {"all patients": 0}
    if not row["all patients"]:
        said = ["SCOAT-Net's volumes on real scans were not measured yet."]
    elif math.isnan(row["LOV low"]):
        few = f"limits of agreement need {rule.FEWEST} patients."
        said = [
            f"On {count(int(row.patients), 'real patient')} SCOAT-Net's LOV is off by {signed(row['LOV bias'], 0)} %; {few}"
        ]
    else:
        limits = f"{signed(row['LOV low'], 0)} … {signed(row['LOV high'], 0)} % (each ± {row['LOV ±']:.0f})"
        said = [
            f"On {int(row.patients)} real patients that the network had not seen, its LOV is off by "
            f"{signed(row['LOV bias'], 0)} % on average, and the limits of agreement are {limits}."
        ]
        span = round(row["LOV high"]) - round(row["LOV low"])
        said.append(f"The limits span {span} points: one patient's volume is known no better than that.")
    told = carries_over(results)
    first, _, rest = told.partition(". The protocol's rule")
    if rest:
        so = ", so this does not show that the network travels"
        told = f"{first}. {claims.CHOSEN}{so if so in rest else ''}."
    return "\n".join(f"- {s}" for s in [*said, told])


def believable(results: list[dict], courses: dict[str, Sequence[float]]) -> str:
    """How large a change of a volume must be to be more than SCOAT-Net's error, and which changes of some courses are so large.

    courses: a patient → volumes in cm³ by date; of the first fall its own bound is told. An error is in per cent of its date's
    volume, and two are taken for independent: a change from V1 to V2 must exceed half the limits' width times √(V1² + V2²).
    """
    half = _half_limits(results)
    if math.isnan(half):
        return f"What change can be believed was not measured: limits of agreement need {rule.FEWEST} patients."
    start = next(iter(courses.values()))[0]
    rest = 1 - half**2
    left = start * (1 - math.sqrt(1 - rest**2)) / rest if half < 1 else 0.0  # from here on a fall exceeds its bound
    said = [
        f"Two volumes of about the same size must differ by more than {100 * half * math.sqrt(2):.0f} % of either before this "
        f"network's error alone is an unlikely reason."
    ]
    if left >= 10:
        said.append(f"After {start:.0f} cm³ believe a fall to less than {10 * math.floor(left / 10)} cm³.")
    steps = [(a, b) for volumes in courses.values() for a, b in pairwise(volumes)]
    passed = [(a, b) for a, b in steps if abs(a - b) > half * math.hypot(a, b)]
    failed = [step for step in steps if step not in passed]
    told = [[f"{a:.0f} to {b:.0f}" for a, b in some] for some in (passed, failed)]
    said.append(
        f"Of the {len(steps)} changes in the paper's Figure 6, in cm³, these are large enough: {listed_or_none(told[0])}; "
        f"these are not: {listed_or_none(told[1])}."
    )
    return " ".join(said)


def _half_limits(results: list[dict]) -> float:
    """Half the width of SCOAT-Net's limits of agreement, as a share of the volume; nan where there are none."""
    found = report.tables(results, GRIDS["table2"])
    if not found or not found[0].rows.loc["SCOAT-Net", "all patients"]:
        return math.nan
    row = found[0].rows.loc["SCOAT-Net"]
    return (row["LOV high"] - row["LOV low"]) / 200


def second_volumes(agreement: dict | None) -> dict[str, float]:
    """By patient: how much more the second reader outlines than the first, per cent; of scans of the endpoint's size."""
    scans = (agreement or {"scans": {}})["scans"]
    large = {scan: c for scan, c in scans.items() if c["tp"] + c["fn"] >= report.LEAST}
    return {patient_of(scan): 100 * ((c["tp"] + c["fp"]) / (c["tp"] + c["fn"]) - 1) for scan, c in large.items()}


def beside_second(own: pd.DataFrame, agreement: dict | None) -> str:
    """The two readers' volumes beside SCOAT-Net's, on the scans that both outlined. own: its patients, from `report.tables`."""
    second = second_volumes(agreement)
    if not second:
        return "How far two readers' volumes differ was not measured."
    values = np.array(list(second.values()))
    side = "less" if (values < 0).all() else "more" if (values > 0).all() else "less or more"
    ends = sorted(abs(values)) if side != "less or more" else sorted(values)
    mean = abs(values.mean()) if side != "less or more" else values.mean()
    said = (
        f"Two readers differ as well. On {count(len(values), 'scan')} of at least {LEAST} lesion voxels the second outlined "
        f"{ends[0]:.0f} to {ends[-1]:.0f} % {side} than the first, {mean:.0f} % on average."
    )
    error = 100 * (own.predicted_ml / own.true_ml - 1) if len(own) else pd.Series(dtype=float)
    error = error[error.index.isin(second)]
    if not len(error):
        return minus(said)
    each = listed_or_none([f"{signed(v, 0)} %" for v in error])
    said += f" On the same {'scan' if len(error) == 1 else 'scans'} SCOAT-Net is off from the first reader by "
    said += f"{signed(error.mean(), 0)} % on average ({each})."
    if error.mean() * values.mean() > 0:
        said += " So a part of what looks like the network's error may be the first reader's choice."
    return minus(said)


def carries_over(results: list[dict]) -> str:
    """Claim 7a, another scanner, in a sentence: slice DSC on the second cohort beside that on left-out slices of its own."""
    ((_, verdict),) = decided(results, "7a")
    return f"Claim 7a (another scanner) {hold(verdict.status, 1)}: {why(verdict)}."


def leak(results: list[dict]) -> str:
    """What dealing slices instead of patients was worth to SCOAT-Net: one or two sentences."""
    c = claims.compare(results, GRIDS["split"], "by slice", "by patient")
    if not c["patients"]:
        return "What dealing slices is worth to a trained network on real scans was not run yet (grid `split`)."
    said = f"Folds of slices in place of folds of patients give SCOAT-Net {points(c)}."
    if math.isnan(c["low"]):
        return said + f" That is too few patients for an interval ({rule.FEWEST} in two folds are needed)."
    paper = GRIDS["table2"].paper
    gap = paper["SCOAT-Net"]["DSC"] - paper["UNet++"]["DSC"]
    than = "more" if c["difference"] > gap else "less"
    word = {
        claims.HOLDS: "The interval lies above 0: the gain is a fact, and it is knowledge of the patient, not of lungs",
        claims.FAILS: "The interval lies below 0",
        claims.OPEN: "The interval includes 0",
    }[c["status"]]
    return f"{said} {word}. Its mean is {than} than the {gap:.1f} points by which the paper's SCOAT-Net leads UNet++."


def doubt(content: dict | None) -> str:
    """What results/uncertainty/wN.json says of calibration and doubt, in two sentences; content: the file's, or None."""
    if not content:
        return "Calibration and doubt on real patients were not measured yet (`python -m studies.uncertainty`)."
    one = content["answers"]["one network"]
    patients = len({patient_of(scan) for scan in one["patients"]})
    rows_ = content["doubt"]
    calm, torn = rows_[0], rows_[-1]
    return (
        f"On {count(patients, 'real patient')} not seen in training the expected calibration error is {one['ece']:.4f} over "
        f"all voxels and {one['ece without the easy background']:.3f} over those given 0.05 or more. Where network and mirror "
        f"image differ by less than {calm['to']:g}, {_share(calm['wrong'])} of the voxels are wrong; where they differ by "
        f"{torn['from']:g} or more, {_share(torn['wrong'])}."
    )


def _share(value: float) -> str:
    return f"{100 * value:.2g} %" if value < 0.1 else f"{100 * value:.0f} %"


def read(folder, name: str) -> dict | None:
    """A study's file of the results' folder; None where it was not measured."""
    path = report.of_book(folder) / name
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
