"""What networks mark in a lung with next to no lesion, and a patient who was scanned twice (chapters 8, 10, 12, 18)."""

from __future__ import annotations

import pandas as pd

from scoat_lib import report
from scoat_lib.grids import get
from scoat_lib.report import NOT_RUN
from scoat_lib.words import TO, count, plain

NEARLY_NONE = 10  # lesion voxels, below which a scan is called nearly clear


def nearly_clear(results: list[dict], grid: str = "table2") -> pd.DataFrame:
    """The patients with a scan of fewer than `NEARLY_NONE` lesion voxels, by scan and row of a grid; seeds averaged.

    It may be empty. Columns row, patient, scan; true, found, false (voxels); ml (of the false ones, nominal); DSC (per cent);
    clear.
    """
    most = next(iter(report.scales(results, get(grid))), ({}, "", []))[2]
    rows = [
        {"row": r["row"], "patient": r["measures"][scan]["patient"], "scan": scan, "true": c["tp"] + c["fn"], "found": c["tp"]}
        | {"false": c["fp"], "ml": c["fp"] * r["measures"][scan]["voxel_mm3"] / 1000}
        | {"DSC": 200 * c["tp"] / max(1, 2 * c["tp"] + c["fp"] + c["fn"])}
        for r in most
        for scan, c in r["patients"].items()
        if "voxel_mm3" in r.get("measures", {}).get(scan, {})
    ]
    if not rows:
        return pd.DataFrame()
    frame = pd.DataFrame(rows).groupby(["row", "patient", "scan"], sort=False).mean().reset_index()
    frame["clear"] = frame.true < NEARLY_NONE
    return frame[frame.patient.isin(frame.patient[frame.clear])].reset_index(drop=True)


def voxels(number: float) -> str:
    """A number of voxels, whole, with a thin gap at the thousands."""
    return f"{number:,.0f}".replace(",", "\u202f")


def clear_by_row(results: list[dict], grid: str = "table2") -> pd.DataFrame:
    """For a page, of `nearly_clear`: a line a network; what it marks wrongly in the nearly clear scan, and the other scan."""
    frame = nearly_clear(results, grid)
    lines = {}
    for label in get(grid).rows if len(frame) else ():
        own = frame[frame.row == label]
        if len(own):
            clear, rest = own[own.clear], own[~own.clear]
            lines[label] = {
                f"scan with {voxels(clear.true.sum())} lesion voxels: marked wrongly (nominal ml)": _and_ml(clear),
                f"scan with {voxels(rest.true.sum())}: found": voxels(rest.found.sum()),
                "marked wrongly (nominal ml)": _and_ml(rest),
                "its DSC, %": plain(rest.DSC.mean()),
            }
    return pd.DataFrame.from_dict(lines, orient="index")


def _and_ml(frame: pd.DataFrame) -> str:
    return f"{voxels(frame.false.sum())} ({frame.ml.sum():.0f})"


def alarm(results: list[dict], label: str = "SCOAT-Net") -> str:
    """`false_alarm` in a sentence."""
    frame = nearly_clear(results)
    own = frame[frame.clear & (frame.row == label)] if len(frame) else frame
    if not len(own):
        return f"What {label} marks in a scan with next to no lesion: {NOT_RUN}."
    row = own.iloc[0]
    return (
        f"In a scan in which the first reader outlined {voxels(row.true)} voxels {label} marks {voxels(row.false)} wrongly "
        f"({row.ml:.0f} nominal ml): a false alarm, which neither DSC nor the primary endpoint shows."
    )


def clear_by_scan(results: list[dict], grid: str = "table2") -> pd.DataFrame:
    """For a page, of `nearly_clear`: a line a scan, means over the rows of a grid with the lowest and the highest row."""
    frame = nearly_clear(results, grid)
    lines = {}
    for scan, own in frame.groupby("scan", sort=False) if len(frame) else ():
        lines[scan] = {
            "true voxels": voxels(own.true.mean()),
            **{
                name: f"{voxels(own[c].mean())} ({voxels(own[c].min())}{TO}{voxels(own[c].max())})"
                for name, c in (("of them found", "found"), ("marked wrongly", "false"), ("the same, nominal ml", "ml"))
            },
            "DSC, %": f"{plain(own.DSC.mean())} ({plain(own.DSC.min())}{TO}{plain(own.DSC.max())})",
        }
    return pd.DataFrame.from_dict(lines, orient="index")


def false_alarm(results: list[dict], agreement: dict | None, label: str = "SCOAT-Net", grid: str = "table2") -> str:
    """What one network, and each row of a grid, marks in the scan with next to no lesion; what the readers outlined there."""
    frame = nearly_clear(results, grid)
    own = frame[frame.clear & (frame.row == label)] if len(frame) else frame
    if not len(own):
        return f"What {label} marks in a scan with next to no lesion: {NOT_RUN}."
    row = own.iloc[0]
    every = frame[frame.clear & (frame.scan == row.scan)]
    second = (agreement or {"scans": {}})["scans"].get(row.scan)
    outlined = f"the first reader outlined {voxels(row.true)} voxels"
    outlined += f" and the second {voxels(second['tp'] + second['fp'])}" if second else ""
    hit = "none of them in the first reader's outline" if not row.found else f"{voxels(row.found)} of them in the outline"
    text = (
        f"In the scan {row.scan} {outlined}. {label}, trained without this patient, marks {voxels(row.found + row.false)} "
        f"voxels there, {row.ml:.0f} nominal ml, {hit}. That is a false alarm in a scan that was found almost clear."
    )
    if len(every) > 1:
        least, largest = every.loc[every.false.idxmin()], every.loc[every.false.idxmax()]
        text += (
            f" Every one of the {len(every)} networks of chapter 12 raises it: from {voxels(least.false)} voxels "
            f"({least.ml:.0f} ml, {least.row}) to {voxels(largest.false)} ({largest.ml:.0f} ml, {largest.row})."
            if least.false > 100
            else f" Of the {len(every)} networks of chapter 12 {largest.row} marks most there, {voxels(largest.false)} voxels."
        )
    whole = frame[(frame.patient == row.patient) & (frame.row == label)].true.sum()
    out = f", and the primary endpoint leaves this patient out ({voxels(whole)} lesion voxels in all scans)"
    return (
        f"{text} DSC is 0 for it, as it would be for a single false voxel, so DSC does not show it"
        f"{out if whole < report.LEAST else ''}. It is the only scan of its kind here, so these data do not say how often a "
        "clear lung is marked."
    )


def two_scans(results: list[dict], grid: str = "table2") -> str:
    """Why the patient with the nearly clear scan scores low: what each of the scans adds to it, over the rows of a grid."""
    frame = nearly_clear(results, grid)
    clear, rest = (frame[frame.clear], frame[~frame.clear]) if len(frame) else (frame, frame)
    if not len(clear) or not len(rest):
        return f"The patient with a nearly clear scan: {NOT_RUN}."
    share = 100 * clear.false.sum() / (clear.false.sum() + rest.false.sum())
    few, wrong = voxels(clear.true.mean()), voxels(clear.false.mean())
    return (
        f"{clear.patient.iloc[0]} is two scans. In one the mask has {voxels(rest.true.mean())} voxels, and "
        f"the mean DSC over {count(rest.row.nunique(), 'network')} is {plain(rest.DSC.mean(), 0)} % "
        f"({plain(rest.DSC.min(), 0)} to {plain(rest.DSC.max(), 0)} %). In the other it has {few}, and {wrong} "
        f"are marked wrongly on average: {share:.0f} % of the patient's false voxels lie there. So the lesions of this patient "
        "are not hard to outline. A false alarm in a nearly clear scan is added to the voxels of the other scan."
    )
