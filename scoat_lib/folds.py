"""Folds by patient, the splits that they make, and whether a patient or a scan stands on both sides (section IV-A)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import zip_longest
from pathlib import Path

import numpy as np

from scoat_lib.cohort import Cohort, DataError, by_patient, patient_of
from scoat_lib.files import write_whole


class LeakageError(ValueError):
    """A patient, or the same scan under two names, stands on both sides of a split."""


@dataclass(frozen=True)
class Split:
    """Names of the patients a run learns from, may choose by, and is reported on."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]

    def to_dict(self) -> dict[str, list[str]]:
        """{"train": […], "validation": […], "test": […]}."""
        return {part: list(names) for part, names in asdict(self).items()}


def make_folds(cohort: Cohort, k: int = 5, seed: int = 0) -> list[list[str]]:
    """k lists of scans, every patient's scans in one; stratified by source and lesion burden.

    Within each source patients are ranked by burden (all their scans' lesion voxels) and dealt out k at a time, each hand in
    random order, so every fold gets its share of light and heavy patients of each source.
    ValueError unless 2 ≤ k ≤ number of patients.
    """
    patients = by_patient(cohort.cases)
    if not 2 <= k <= len(patients):
        raise ValueError(f"{k} folds of {len(patients)} patients: k must be from 2 to the number of patients")
    rng = np.random.default_rng(seed)
    voxels = cohort.burden
    burden = {patient: sum(voxels[scan] for scan in scans) for patient, scans in patients.items()}
    source = {patient: cohort.cases[scans[0]].source for patient, scans in patients.items()}
    folds: list[list[str]] = [[] for _ in range(k)]
    for one in sorted(set(source.values())):
        ranked = sorted((p for p in patients if source[p] == one), key=lambda p: (burden[p], p))
        for start in range(0, len(ranked), k):
            hand = ranked[start : start + k]
            # the smallest folds are served first, in random order among equals
            order = sorted(range(k), key=lambda f: (len(folds[f]), rng.random()))
            for patient, fold in zip(rng.permutation(hand), order, strict=False):
                folds[fold].append(str(patient))
    return [sorted(scan for patient in fold for scan in patients[patient]) for fold in folds]


def split_of(folds: Sequence[Sequence[str]], fold: int, validation: int = 0) -> Split:
    """The split that reports `folds[fold]`: the rest trains, less `validation` of its folds kept to choose by.

    ValueError if there is no such fold, or nothing would be left to train on.
    """
    if not 0 <= fold < len(folds):
        raise ValueError(f"fold {fold} does not exist; there are {len(folds)}, from 0")
    if not 0 <= validation < len(folds) - 1:
        raise ValueError(f"{validation} folds for validation leave nothing to train on")
    chosen = [(fold + 1 + i) % len(folds) for i in range(validation)]
    rest = [i for i in range(len(folds)) if i != fold and i not in chosen]

    def names(indices) -> tuple[str, ...]:
        """The patients of some folds, sorted."""
        return tuple(sorted(name for i in indices for name in folds[i]))

    return Split(names(rest), names(chosen), names([fold]))


def fewer(split: Split, cohort: Cohort, patients: int, seed: int = 0) -> Split:
    """The split with so many of its training patients, of each source in turn; fewer are always among more.

    ValueError if it does not have so many.
    """
    scans_of = by_patient({name: cohort.cases[name] for name in split.train})
    if not 1 <= patients <= len(scans_of):
        raise ValueError(f"{patients} patients to train on: the split has {len(scans_of)}")
    rng = np.random.default_rng([seed, len(scans_of)])
    sources: dict[str, list[str]] = {}
    for patient in rng.permutation(sorted(scans_of)):
        sources.setdefault(cohort.cases[scans_of[patient][0]].source, []).append(str(patient))
    turns = zip_longest(*(sources[source] for source in sorted(sources)))
    order = [patient for turn in turns for patient in turn if patient is not None]
    return replace(split, train=tuple(sorted(scan for patient in order[:patients] for scan in scans_of[patient])))


def split_by_source(cohort: Cohort, fold: int) -> Split:
    """The split that learns from one source's cases and reports the others': another scanner, for real.

    fold: which source, in alphabetical order. ValueError if there is no such source, or only one.
    """
    sources = sorted({case.source for case in cohort.cases.values()})
    if len(sources) < 2:
        raise ValueError(f"all cases come from {sources[0]}; a split by source needs two")
    if not 0 <= fold < len(sources):
        raise ValueError(f"fold {fold} does not exist; there are {len(sources)} sources: {', '.join(sources)}")
    chosen = [name for name, case in cohort.cases.items() if case.source == sources[fold]]
    return Split(tuple(sorted(chosen)), (), tuple(sorted(set(cohort.names) - set(chosen))))


def check_leakage(split: Split, cohort: Cohort | None = None) -> None:
    """Raise LeakageError if a patient stands in two parts of a split, or (given the cohort) the same slices do.

    The patient is the case's, or without a cohort what the name tells. Slices are compared by content, so that a copy under
    another name, packed anew or with another mask, is found.
    """
    owner: dict[str, tuple[str, str]] = {}
    for part, names in split.to_dict().items():
        for name in names:
            if cohort is None:
                keys = {"patient " + patient_of(name): "of the same patient as"}
            else:
                pixels = hashlib.sha256(np.ascontiguousarray(cohort.images[name]).tobytes()).hexdigest()
                keys = {"patient " + cohort.cases[name].patient: "of the same patient as", pixels: "the same scan as"}
            for key, relation in keys.items():
                other_part, other_name = owner.setdefault(key, (part, name))
                if other_part != part:
                    same = f"{name}" if name == other_name else f"{name}, {relation} {other_name},"
                    raise LeakageError(f"{same} stands in both {other_part} and {part}; a patient belongs to one part")


def write_folds(path, folds: Sequence[Sequence[str]], cohort: Cohort, seed: int) -> None:
    """Keep the folds in a JSON file, with what they were made from."""
    content = {
        "fingerprint": cohort.fingerprint,
        "seed": seed,
        "stratified_by": ["source", "lesion burden"],
        "folds": [list(fold) for fold in folds],
        "lesion_voxels": cohort.burden,
    }
    write_whole(Path(path), json.dumps(content, indent=1, sort_keys=True) + "\n")


def read_folds(path, cohort: Cohort) -> list[list[str]]:
    """Folds from `write_folds`. DataError if they name other patients than the cohort's, or one twice."""
    folds = json.loads(Path(path).read_text())["folds"]
    named = [name for fold in folds for name in fold]
    if sorted(named) != sorted(cohort.names):
        raise DataError(
            f"{path}: names {len(named)} patients, the data folder holds {len(cohort.names)}; "
            f"differing: {', '.join(sorted(set(named) ^ set(cohort.names))) or 'one is named twice'}"
        )
    return folds
