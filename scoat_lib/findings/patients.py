"""Patients and lesions that networks fail on, and in what way (chapters 10, 12, 18)."""

from __future__ import annotations

import pandas as pd

from scoat_lib import claims, report
from scoat_lib.report import NOT_RUN, Table
from scoat_lib.words import count, listed, of_network

FAILS = ("DSC, % (rows)", "SEN, %", "PPV, %", "volume, predicted / true", "what goes wrong")  # of `failed`: before the lesions


def failed(table: Table | None, results: list[dict]) -> pd.DataFrame:
    """The four patients that networks fail most, with what goes wrong, as text cells; see `report.failures`. May be empty."""
    frame = pd.DataFrame() if table is None else report.failures(table, results)
    if not len(frame):
        return frame
    cells = {
        "DSC, % (rows)": [f"{r.DSC:.0f} ({r.lowest:.0f} … {r.highest:.0f})" for r in frame.itertuples()],
        "SEN, %": frame.SEN.map("{:.0f}".format),
        "PPV, %": frame.PPV.map("{:.0f}".format),
        "lesions": frame.lesions.map("{:.0f}".format),
        "largest, nominal ml": frame["largest, ml"].map("{:.1f}".format),
        "below 1 nominal ml, %": frame["below 1 ml, %"].map("{:.0f}".format),
        "what goes wrong": [_wrong(r) for _, r in frame.iterrows()],
        "lesion voxels": frame.voxels.map("{:.0f}".format),
        "volume, predicted / true": frame.volume.map("{:.2f}".format),
    }
    return pd.DataFrame(cells, index=frame.index).rename_axis(None)


def hard(table: Table | None, results: list[dict]) -> str:
    """Of the patients that networks fail most, how many are hard for all: even the best row lies below the mean of all."""
    frames = [] if table is None else [frame for frame in table.patients.values() if len(frame)]
    if not frames:
        return f"Whether the network fails or the patient: {NOT_RUN}."
    if len(frames) == 1:
        return "One row alone was run, so a weak network and a hard patient look alike."
    frame = report.failures(table, results)
    mean = 100 * pd.concat(frames).DSC.mean()
    number, of = int((frame.highest < mean).sum()), count(len(frame), "patient")
    beside = f"the mean over all rows and patients, {mean:.0f} %"
    if number == len(frame):
        return f"The patient: in all {of} even the best of {len(frames)} networks stays below {beside}."
    if not number:
        return f"The network: in each of the {of} at least one of {len(frames)} networks reaches {beside}."
    return (
        f"Both: in {number} of {of} even the best of {len(frames)} networks stays below {beside}; in the rest at least one "
        f"network reaches it."
    )


def _wrong(row: pd.Series) -> str:
    """What a patient's sensitivity and precision say, with a word on size where the lesions are small."""
    if row.SEN < row.PPV - 10:
        text = "much is missed"
    elif row.PPV < row.SEN - 10:
        text = "much is marked that is none"
    else:
        text = "as much is missed as is marked wrongly"
    return text + (", and the lesions are small" if row["largest, ml"] < 10 else "")


def worst_patients(table: Table | None) -> str:
    """For how many rows each patient is the worst; a row that several patients share the lowest DSC of has none."""
    if table is None:
        return f"The worst patients: {NOT_RUN}."
    found = report.worst(table, 1)
    shared = [label for label, f in table.patients.items() if list(f.DSC).count(min(f.DSC, default=0)) > 1]
    found = found[~found.row.isin(shared)]
    if found.empty:
        return "No row has one worst patient."
    counted = found.groupby("patient", sort=False).agg(rows=("row", "size"), voxels=("lesion_voxels", "first"))
    named = [f"{p} ({r.voxels:.0f} lesion voxels) in {count(int(r.rows), 'row')}" for p, r in counted.iterrows()]
    return f"The worst patient is {listed(named)}."


def tiny(results: list[dict]) -> str:
    """How many pieces of the true masks are under 1 nominal ml, and how many of them are one or two voxels."""
    sizes = {
        (scan, index): (size, size * more["voxel_mm3"] / 1000)
        for r in of_network(results, "scoatnet")
        for scan, more in r.get("measures", {}).items()
        for index, (size, _) in enumerate(more["lesions"])
    }
    small = [size for size, ml in sizes.values() if ml < claims.TINY_ML]
    if not small:
        return f"How small the lesions of claim 11 are: {NOT_RUN}."
    return (
        f"Claim 11 counts a piece of the mask as found when one voxel of it is marked. Of the {len(sizes)} pieces "
        f"{len(small)} are under {claims.TINY_ML:g} nominal ml, and {sum(s < 3 for s in small)} of these are one or two voxels."
    )


def small_lesions(runs: list[dict]) -> str:
    """How recall falls with the size of a lesion: one sentence."""
    frame = report.lesion_recall(runs)
    frame = frame[frame.lesions > 0]
    if frame.empty:
        return "How recall falls with the size of a lesion was not measured on real scans yet."
    first, last = frame.iloc[0], frame.iloc[-1]
    return (
        f"On real scans the network touched {100 * first.found:.0f} % of the {int(first.lesions)} lesions of {frame.index[0]}, "
        f"and {100 * last.found:.0f} % of the {int(last.lesions)} of {frame.index[-1]}."
    )
