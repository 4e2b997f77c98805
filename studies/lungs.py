"""How well the lungs' rule finds the lungs of real scans: python -m studies.lungs --data FOLDER

FOLDER holds scans, lesion masks and for some scans lung masks (Lung_Mask). Writes results/lungs/NAME.json: by scan with a
lung mask DSC of both lungs and of each, error of the volume and share of the lesion voxels inside; of the other scans the last
alone; the same for phantoms, whose lungs are known exactly.

The rule's free values are chosen from GRID by the mean over patients of DSC and lesion share inside: once with each patient
left out ("patient left out"), once on every second patient by name and reported on the others ("half").
A Lung_Mask of MedSeg's does not tell right from left. So `sides_of` names the parts of its slices that lie on one side, and
each lung's DSC is over the slices in which every part has a side.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from itertools import product
from pathlib import Path

import numpy as np
from scipy import ndimage

from scoat_lib import experiments, lungs, phantom
from scoat_lib.cohort import Cohort, data_folder, find_cases
from scoat_lib.lungs import LEFT, RIGHT, Rule
from scoat_lib.scan import Scan, check_same_grid
from scoat_lib.training import write_whole

GRID = [Rule(threshold=t, ball=b, wall=w) for t, b, w in product((-320.0, -250.0, -180.0), (6.0, 10.0), (0.0, 40.0))]
GOAL = 0.95
LEAST = 1000  # lesion voxels of a scan whose share inside counts in the choice
ACROSS = 15.0  # mm that a part may reach over the middle and still be one side's
PHANTOMS = {seed: (128, 128, slices) for seed, slices in ((400, 32), (401, 60), (402, 100), (403, 32), (404, 60), (405, 100))}


def dice(a: np.ndarray, b: np.ndarray) -> float:
    """DSC of two boolean arrays; 1 if both are empty."""
    total = np.count_nonzero(a) + np.count_nonzero(b)
    return 2 * np.count_nonzero(a & b) / total if total else 1.0


def sides_of(mask: np.ndarray, column_mm: float) -> tuple[np.ndarray, np.ndarray]:
    """Sides of a lung mask (slices, H, W) that has none: labels, and which slices have one for every part (boolean)."""
    across = np.flatnonzero(mask.any((0, 1)))
    middle, reach = (across[0] + across[-1]) / 2, ACROSS / column_mm
    labels, told = np.zeros(mask.shape, np.uint8), np.ones(len(mask), bool)
    for k, slice_ in enumerate(mask):
        parts, _ = ndimage.label(slice_)
        for n, box in enumerate(ndimage.find_objects(parts), 1):
            first, last = box[1].start, box[1].stop - 1
            if last < middle + reach or first > middle - reach:
                labels[k][parts == n] = RIGHT if (first + last) / 2 < middle else LEFT
            else:
                told[k] = False
    return labels, told


def measured(found: np.ndarray, truth: np.ndarray, sides: np.ndarray, told: np.ndarray, lesion: np.ndarray) -> dict:
    """What is written of one scan; all arrays axial, found and sides as labels."""
    return {
        "DSC": round(dice(found > 0, truth), 4),
        "DSC, right": round(dice(found[told] == RIGHT, sides[told] == RIGHT), 4),
        "DSC, left": round(dice(found[told] == LEFT, sides[told] == LEFT), 4),
        "slices with sides": int(told.sum()),
        "slices": len(told),
        "volume error, %": round(100 * (np.count_nonzero(found) / np.count_nonzero(truth) - 1), 2),
    } | inside(found, lesion)


def inside(found: np.ndarray, lesion: np.ndarray) -> dict:
    """Lesion voxels and their share inside the lungs."""
    share = float(np.mean(found[lesion] > 0)) if lesion.any() else None
    return {"lesion voxels": int(lesion.sum()), "lesion inside": None if share is None else round(share, 4)}


def worth(scans: dict[str, dict], patients: dict[str, str]) -> float:
    """Mean over patients of DSC, and of the lesion share inside where there is enough lesion, averaged."""

    def mean(values: dict[str, float]) -> float:
        by_patient: dict[str, list[float]] = {}
        for name, value in values.items():
            by_patient.setdefault(patients[name], []).append(value)
        return float(np.mean([np.mean(v) for v in by_patient.values()]))

    inside_ = {n: s["lesion inside"] for n, s in scans.items() if s["lesion voxels"] >= LEAST}
    return (
        (mean({n: s["DSC"] for n, s in scans.items()}) + mean(inside_)) / 2
        if inside_
        else mean({n: s["DSC"] for n, s in scans.items()})
    )


def choice(by_rule: list[dict[str, dict]], patients: dict[str, str], among: list[str]) -> int:
    """The place in GRID of the rule that is worth most on some scans."""
    return int(np.argmax([worth({n: found[n] for n in among}, patients) for found in by_rule]))


def chosen(by_rule: list[dict[str, dict]], patients: dict[str, str]) -> dict:
    """The rule on all, with each patient left out, and on half of the patients."""
    names = sorted(patients)
    every = sorted(set(patients.values()))
    half = every[::2]
    out: dict[str, dict] = {}
    for patient in every:
        best = choice(by_rule, patients, [n for n in names if patients[n] != patient])
        for name in (n for n in names if patients[n] == patient):
            out[name] = {"rule": asdict(GRID[best])} | by_rule[best][name]
    first = [n for n in names if patients[n] in half]
    rest = [n for n in names if patients[n] not in half]
    best = choice(by_rule, patients, first)
    return {
        "all": asdict(GRID[choice(by_rule, patients, names)]),
        "patient left out": out,
        "half": {"chosen on": first, "rule": asdict(GRID[best]), "reported": {n: by_rule[best][n] for n in rest}},
    }


def phantoms(sizes: dict[int, tuple[int, int, int]]) -> dict[str, dict]:
    """The shipped rule on phantoms of some seeds and sizes."""
    found = {}
    for seed, size in sizes.items():
        one = phantom.patient(seed, size, scanner="ab"[seed % 2])
        lobes, truth = one.lobes.axial(), one.lungs.axial() > 0
        sides = np.where(np.isin(lobes, (1, 2, 3)), RIGHT, LEFT) * truth
        result = lungs.segment(one.scan).axial()
        found[f"seed {seed}"] = measured(result, truth, sides, np.ones(len(truth), bool), one.lesions.axial() > 0)
    return found


def main(argv: list[str] | None = None) -> int:
    """The command line; returns 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="folder of scans with Lung_Mask beside them")
    parser.add_argument("--results", type=Path, default=Path(__file__).parents[1] / "results")
    parser.add_argument("--no-choice", action="store_true", help="score the shipped rule only; the file then holds no choice")
    parser.add_argument("--only-masks", action="store_true", help="leave out the scans without a lung mask, and the phantoms")
    arguments = parser.parse_args(argv)
    cohort = Cohort(())
    cohort.cases = {
        case.name: case for case in find_cases(data_folder(arguments.data))
    }  # for the fingerprint; nothing is cached
    grid = [] if arguments.no_choice else GRID
    by_rule: list[dict[str, dict]] = [{} for _ in grid]
    scans, others, notes = {}, {}, {}
    for name, case in cohort.cases.items():
        path = case.scan.parent.parent / "Lung_Mask" / case.scan.name
        if arguments.only_masks and not path.exists():
            continue
        scan, lesion = Scan.load(case.scan), Scan.load(case.mask, mask=True).axial() > 0
        result = lungs.segment(scan)
        if result.notes:
            notes[name] = [note.removeprefix(f"{case.scan}: ") for note in result.notes]
        if not path.exists():
            others[name] = inside(result.axial(), lesion) | {"lungs, cm³": round(result.volume())}
            continue
        mask = Scan.load(path)
        check_same_grid(mask, scan)
        truth = mask.axial() > 0
        sides, told = sides_of(truth, scan.axial_spacing[2])
        scans[name] = measured(result.axial(), truth, sides, told, lesion)
        for rule, found in zip(grid, by_rule, strict=True):
            found[name] = measured(lungs.segment(scan, rule).axial(), truth, sides, told, lesion)
        print(name, scans[name], flush=True)
    if not scans:
        raise SystemExit(f"{arguments.data}: holds no Lung_Mask/NAME.nii.gz of its scans")
    selection = {}
    if grid:
        patients = {name: cohort.cases[name].patient for name in scans}
        values = [asdict(r) | {"worth": round(worth(f, patients), 5)} for r, f in zip(grid, by_rule, strict=True)]
        selection = {"choice": chosen(by_rule, patients) | {"grid": values}}
    content = {
        "data": {"name": data_folder(arguments.data).name, "fingerprint": cohort.fingerprint},
        "goal, DSC": GOAL,
        "rule": asdict(Rule()),
        "scans": scans,
        "below the goal": sorted(name for name, found in scans.items() if found["DSC"] < GOAL),
        "scans without a lung mask": others,
        "notes": notes,
        "looked at while the rule was written": LOOKED_AT,
        "phantoms": {} if arguments.only_masks else phantoms(PHANTOMS),
        "provenance": experiments.provenance(experiments.device_name()),
    } | selection
    out = arguments.results / "lungs" / f"{data_folder(arguments.data).name}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    write_whole(out, experiments.as_json(content))
    print(out)
    return 0


LOOKED_AT = (
    "lung masks of radiopaedia_10_85902_1, radiopaedia_36_86526_0 and radiopaedia_7_85703_0, and pictures of five coronacases "
    "scans and of radiopaedia_14_85914_0, which have no lung mask here; nothing of the other three scans with one"
)


if __name__ == "__main__":
    raise SystemExit(main())
