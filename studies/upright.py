"""How often `scoat_lib.upright` misses a reversed scan and how often it cries wolf: front–back, head–foot, left–right apart.

    python -m studies.upright --data FOLDER [--ct100 FOLDER] [--ct512 FOLDER]

Every whole scan is judged as it is and turned all eight ways under its own header, slabs and single slices of it as they are
and turned in all three pairs at once. The scans must be upright as they come (those of ct128, ct512 and ct100 were looked at,
each). Writes results/readings/upright.json.

The cues' scales and weights were set on the eight coronacases scans of ct128 (whole, slabs, single slices) and on phantoms of
seeds 100 to 105 and 200 to 207. Of the radiopaedia scans, outlines of body and lungs were looked at in three before that, and
the shares of bone in all; no verdict on one. Every other group was judged only after that, and nothing was changed for it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import numpy as np

from scoat_lib import phantom, upright
from scoat_lib.cohort import SCANS
from scoat_lib.files import write_whole
from scoat_lib.scan import Scan

RESULT = Path(__file__).parents[1] / "results" / "readings" / "upright.json"
PAIRS = {"front and back": "front_back", "head and foot": "head_foot", "left and right": "left_right"}
SLABS = (40, 80, 120)  # mm
BETWEEN = 12  # mm from one single slice of a scan to the next that is judged
FRESH = range(300, 308)  # seeds of phantoms that were not used while tuning


def part(scan: Scan, first: int, last: int) -> Scan:
    """The axial slices first … last − 1 of a scan, on the same grid."""
    between, row_mm, column_mm = scan.axial_spacing
    voxels = np.ascontiguousarray(scan.axial()[first:last].transpose(2, 1, 0))
    return Scan(voxels, np.diag([-column_mm, -row_mm, between, 1.0]))


def turned(scan: Scan, front_back: bool, head_foot: bool, left_right: bool) -> Scan:
    """The scan with its axial voxels reversed along the named pairs, its header as it was."""
    slices = scan.axial()[:: -1 if head_foot else 1, :: -1 if front_back else 1, :: -1 if left_right else 1]
    return scan.with_axial(slices)


EIGHT = tuple(product((False, True), repeat=3))
TWO = ((False,) * 3, (True,) * 3)


def count(tally: dict, group: str, scan: Scan, turns=EIGHT) -> None:
    """Judge a scan turned in each of some ways and add what was said to the tally."""
    for ways in turns:
        position = upright.look(turned(scan, *ways))
        for (pair, attribute), is_reversed in zip(PAIRS.items(), ways, strict=True):
            cell = tally.setdefault(group, {}).setdefault(pair, dict.fromkeys(_COLUMNS, 0))
            says = getattr(position, attribute).says
            state = "reversed" if is_reversed else "upright"
            cell[f"{state}: {says}"] += 1


_COLUMNS = tuple(f"{s}: {v}" for s in ("upright", "reversed") for v in (upright.AS_SAID, upright.UNKNOWN, upright.REVERSED))


def scans_of(folder: Path) -> Iterator[tuple[str, Scan]]:
    """The scans of a data folder, by name."""
    for path in sorted((folder / SCANS).glob("*.nii*")):
        yield path.name.split(".nii")[0], Scan.load(path)


def count_parts(tally: dict, group: str, scan: Scan) -> None:
    """Slabs of a scan, half of each overlapping the next, and single slices."""
    slices, between = len(scan.axial()), scan.axial_spacing[0]
    for millimetres in SLABS:
        length = max(2, round(millimetres / between))
        for first in range(0, slices - length + 1, max(1, length // 2)):
            count(tally, f"{group}, slabs of {millimetres} mm", part(scan, first, first + length), TWO)
    for first in range(0, slices, max(1, round(BETWEEN / between))):
        count(tally, f"{group}, single slices", part(scan, first, first + 1), TWO)


def rates(cell: dict[str, int]) -> dict[str, float | int]:
    """Misses and false alarms of one group and pair, as shares, with what they were counted on."""
    reversed_ = sum(n for name, n in cell.items() if name.startswith("reversed"))
    upright_ = sum(n for name, n in cell.items() if name.startswith("upright"))
    return {
        "judged": reversed_ + upright_,
        "missed, said to be right": round(cell[f"reversed: {upright.AS_SAID}"] / reversed_, 4),
        "missed, cannot know": round(cell[f"reversed: {upright.UNKNOWN}"] / reversed_, 4),
        "false alarms": round(cell[f"upright: {upright.REVERSED}"] / upright_, 4),
        "upright, cannot know": round(cell[f"upright: {upright.UNKNOWN}"] / upright_, 4),
    } | cell


def measure(data: Path | None, ct100: Path | None = None, ct512: Path | None = None, phantoms=FRESH) -> dict:
    """All groups' rates: {group: {pair: {…}}}."""
    tally: dict = {}
    for seed in phantoms:
        scan = phantom.patient(seed, (128, 128, 64), scanner="ab"[seed % 2]).scan
        count(tally, "phantoms, whole", scan)
        count_parts(tally, "phantoms", scan)
        count(tally, "phantoms of 16 slices, whole", phantom.patient(seed, (64, 64, 16)).scan)
    for name, scan in scans_of(data) if data else ():
        source = name.split("_")[0]
        count(tally, f"{source}, whole", scan)
        count_parts(tally, source, scan)
    for name, scan in scans_of(ct512) if ct512 else ():
        count(tally, f"{name.split('_')[0]} at 512 × 512, first to last lesion", scan)
    if ct100:
        scan = Scan.load(ct100 / "tr_im.nii.gz")
        for k in range(len(scan.axial())):
            count(tally, "ct100, single slices", part(scan, k, k + 1))
    return {group: {pair: rates(cell) for pair, cell in pairs.items()} for group, pairs in tally.items()}


def described(groups: dict) -> dict:
    """What is written: the groups' rates, and which of them the cues were set on."""
    looked_at = [group for group in groups if group.startswith("coronacases") and "512" not in group]
    return {
        "what": "whole scans and the slices of ct100 turned all eight ways under their own header, slabs and single slices of "
        "scans in two; shares of those reversed, and of those upright, per pair of directions",
        "looked at while tuning": [*looked_at, "phantoms of seeds 100-105 and 200-207 (not among those counted here)"],
        "looked at before that, outlines of body and lungs only": [
            "radiopaedia_10_85902_1",
            "radiopaedia_14_85914_0",
            "radiopaedia_29_86490_1",
        ],
        "same patients as looked at": [group for group in groups if "512" in group],
        "no verdict looked at while tuning": [g for g in groups if "coronacases" not in g],
        "sure": upright.SURE,
        "groups": groups,
    }


def main(argv: list[str] | None = None) -> int:
    """The command line; returns 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of upright scans, laid out like the record")
    parser.add_argument("--ct100", type=Path, help="folder with tr_im.nii.gz, single slices")
    parser.add_argument("--ct512", type=Path, help="folder of upright parts of scans at 512 × 512")
    parser.add_argument("--output", type=Path, default=RESULT, help="where the numbers go (default: %(default)s)")
    arguments = parser.parse_args(argv)
    groups = measure(arguments.data, arguments.ct100, arguments.ct512)
    content = described(groups)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    write_whole(arguments.output, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    for group, pairs in groups.items():
        for pair, cell in pairs.items():
            missed = cell["missed, said to be right"]
            print(f"{group:48} {pair:15} n {cell['judged']:5} wrong {missed:.3f} unknown {cell['missed, cannot know']:.3f} "
                  f"false alarms {cell['false alarms']:.3f}")  # fmt: skip
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
