"""From cases to training slices: normalised, cached, split by patient, augmented (section IV-A; the data is the reader's).

A data folder is laid out like the unpacked public record (Zenodo 3757476):

    COVID-19-CT-Seg_20cases/NAME.nii.gz      the scan, HU
    Infection_Mask/NAME.nii.gz               its lesion mask, 0 and 1
    patients.csv                             optional, scan,patient: which scans are of one patient, where names do not say it
"""

from __future__ import annotations

import copy
import csv
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from scoat_lib import phantom, record, upright
from scoat_lib.files import PART, sync
from scoat_lib.scan import FLOOR, LUNG_WINDOW, Scan, calibrated, load_pair, window

SCANS, MASKS, PATIENTS = "COVID-19-CT-Seg_20cases", "Infection_Mask", "patients.csv"
RECORD_SIZE = "1.1 GB"  # scans and infection masks, packed, as the record lists them
TOGETHER = 32  # slices that are windowed and resampled at once
CACHE_VERSION = 2  # raised when the content of a cache changes for the same key
# a radiopaedia scan is named by case, study and series; a follow-up scan by patient and date
_PATIENT = re.compile(r"(radiopaedia_\d+)_\d+_\d+|(.+)_(?:\d{4}-)?\d{2}-\d{2}")
_FIRST_EDITION = re.compile(r"radiopaedia_0\d\d")


class DataError(ValueError):
    """A data folder that cannot be used as it is; its text says what was expected and where."""


def patient_of(name: str) -> str:
    """The patient a scan's name tells: radiopaedia_29_86490_1 and radiopaedia_29_86491_1 are two scans of radiopaedia_29.

    So are the dates of NAME_YYYY-MM-DD and NAME_MM-DD. Any other name is a patient of its own; NAME#k, a share of a scan's
    slices, is NAME's.
    """
    scan = name.split("#")[0]
    found = _PATIENT.fullmatch(scan)
    return next(filter(None, found.groups())) if found else scan


@dataclass(frozen=True)
class Case:
    """One scan of a patient and its lesion mask, still on disk. patient: who it is of; by default what the name tells."""

    name: str
    scan: Path
    mask: Path
    patient: str = ""

    def __post_init__(self):
        object.__setattr__(self, "patient", self.patient or patient_of(self.name))

    @property
    def source(self) -> str:
        """Where the scan comes from: the name up to its first underscore or digit ("coronacases", "radiopaedia")."""
        return "".join(c for c in self.name.split("_")[0] if not c.isdigit()) or self.name

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the bytes of both files."""
        digest = hashlib.sha256()
        for path in (self.scan, self.mask):
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        return digest.hexdigest()


@dataclass(frozen=True)
class Preprocessing:
    """What turns a scan into network input, kept with the weights that were trained for it.

    window: HU mapped to 0 and 1. spacing: in-plane mm per pixel to resample to, or None for the scan's own grid.
    mean, std: of windowed pixels, to centre and scale what the network sees. calibrate: bring each scan's own air and muscle
    to their HU first (`scan.calibrated`).
    """

    window: tuple[float, float] = LUNG_WINDOW
    spacing: float | None = None
    mean: float = 0.4
    std: float = 0.35
    calibrate: bool = False

    def normalise(self, windowed):
        """(windowed − mean) / std, for arrays and tensors alike."""
        return (windowed - self.mean) / self.std

    def slices(self, scan) -> np.ndarray:
        """The scan's axial slices, windowed to 0..1 and resampled in-plane: (slices, rows, columns) float32.

        What lies below −1024 HU, as the padding of a round field of view does, is raised to it.
        Raises ScanError where it is to be calibrated and cannot be.
        """
        axial = (calibrated(scan) if self.calibrate else scan).axial()
        out = np.empty((len(axial), *self.grid(scan)), np.float32)
        for start in range(0, len(axial), TOGETHER):  # a whole scan in float32, at its own size, would be twice the scan
            part = slice(start, start + TOGETHER)
            out[part] = resample_slices(window(np.maximum(axial[part], FLOOR), *self.window), out.shape[1:])
        return out

    @property
    def padding(self) -> float:
        """What a slice is padded with: −1024 HU after windowing."""
        return float(window(np.float32(FLOOR), *self.window))

    def grid(self, scan) -> tuple[int, int]:
        """Rows and columns of `slices(scan)`."""
        _, rows, columns = scan.axial().shape
        if self.spacing is None:
            return rows, columns
        _, row_mm, column_mm = scan.axial_spacing
        return max(1, round(rows * row_mm / self.spacing)), max(1, round(columns * column_mm / self.spacing))

    def to_dict(self) -> dict:
        """Plain values for JSON; `from_dict` undoes it."""
        return asdict(self) | {"window": list(self.window)}

    @classmethod
    def from_dict(cls, values: dict) -> Preprocessing:
        """The inverse of `to_dict`."""
        return cls(**(values | {"window": tuple(values["window"])}))


def resample_slices(slices: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bring (slices, H, W) to size, bilinear, anti-aliased where it shrinks; float32."""
    if slices.shape[1:] == tuple(size):
        return np.asarray(slices, np.float32)
    out = np.empty((len(slices), *size), np.float32)
    for start in range(0, len(slices), TOGETHER):
        part = torch.from_numpy(np.ascontiguousarray(slices[start : start + TOGETHER], np.float32))[:, None]
        out[start : start + TOGETHER] = F.interpolate(part, size=size, mode="bilinear", antialias=True)[:, 0].numpy()
    return out


def pad_slices(slices: np.ndarray, size: tuple[int, int], fill: float = 0.0) -> tuple[np.ndarray, tuple[slice, slice]]:
    """Centre the last two axes in size: (padded, where), and padded[..., *where] is the input again.

    fill: what stands around them; for windowed slices `Preprocessing.padding`, for masks 0.

    ValueError if the input is larger.
    """
    h, w = slices.shape[-2:]
    if h > size[0] or w > size[1]:
        raise ValueError(f"slices of {h} × {w} do not fit into {size[0]} × {size[1]}")
    top, left = (size[0] - h) // 2, (size[1] - w) // 2
    where = (slice(top, top + h), slice(left, left + w))
    padded = np.full((*slices.shape[:-2], *size), fill, slices.dtype)
    padded[(..., *where)] = slices
    return padded, where


def find_cases(folder) -> list[Case]:
    """The cases of a data folder, by name.

    For a copy of the public record that is named otherwise, or still in grey values, it says what was recognised and which
    command mends it. DataError if the folder is not laid out as the record, a mask is missing, patients.csv is not of these
    scans, or the scans are named as in the first edition of the reduced copies.
    """
    folder = Path(folder)
    scans = folder / SCANS
    expected = f"expected {SCANS}/NAME.nii.gz and {MASKS}/NAME.nii.gz below it"
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; {expected}")
    if not scans.is_dir():
        raise DataError(f"{folder}: holds no folder {SCANS}; {expected}{record.advice(folder)}")
    cases = []
    for path in sorted(p for p in scans.iterdir() if p.name.endswith((".nii", ".nii.gz")) and not p.name.startswith(".")):
        mask = folder / MASKS / path.name
        if not mask.exists():
            raise DataError(f"{mask}: missing, the lesion mask of {path.name}; {expected}{record.advice(folder)}")
        if record.case_name(path.name) in record.RADIOPAEDIA and record.is_grey(path):
            raise DataError(f"{path}: holds the public record's 8-bit grey values, not HU{record.advice(folder)}")
        cases.append(Case(path.name.removesuffix(".gz").removesuffix(".nii"), path, mask))
    if not cases:
        raise DataError(f"{scans}: holds no .nii or .nii.gz file; {expected}{record.advice(folder)}")
    first = [case.name for case in cases if _FIRST_EDITION.fullmatch(case.name)]
    if first:
        raise DataError(
            f"{scans}: holds {', '.join(first)}, names of the first edition of the reduced copies, in which seven scans lay "
            "upside down and HU were off by up to 230; take the second edition, with the record's names (results/PROTOCOL.md)"
        )
    return _with_patients(cases, folder / PATIENTS)


def _with_patients(cases: list[Case], table: Path) -> list[Case]:
    """The cases with the patients that patients.csv gives; as they are where there is none."""
    if not table.exists():
        return cases
    with open(table, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if not rows or not {"scan", "patient"} <= set(rows[0]) or not all(row["scan"] and row["patient"] for row in rows):
        raise DataError(f"{table}: needs the columns scan and patient, both filled in each row")
    patients = {row["scan"]: row["patient"] for row in rows}
    differing = sorted(set(patients) ^ {case.name for case in cases})
    if differing or len(patients) != len(rows):
        raise DataError(
            f"{table}: must name each scan of the folder once; differing: {', '.join(differing) or 'one is named twice'}"
        )
    return [replace(case, patient=patients[case.name]) for case in cases]


def data_folder(data=None) -> Path:
    """Where the data is: `data`, else the variable SCOAT_DATA, else the download folder, else the phantom cohort.

    The phantom cohort is made on first use, in the user's cache folder.
    """
    if data:
        return Path(data)
    if os.environ.get("SCOAT_DATA"):
        return Path(os.environ["SCOAT_DATA"])
    downloaded = download_folder()
    if (downloaded / SCANS).is_dir() and (downloaded / MASKS).is_dir():
        return downloaded
    return phantom.default_cohort(cache_folder())


def download_folder() -> Path:
    """Where data/download.py puts the public record unless it is told otherwise."""
    return cache_folder() / "zenodo-3757476"


def cache_folder() -> Path:
    """Where downloads, phantoms and caches go: the variable SCOAT_CACHE, else the user's cache folder."""
    if os.environ.get("SCOAT_CACHE"):
        return Path(os.environ["SCOAT_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "scoat"


class Cohort:
    """Cases as memory-mapped slices, written once per content and preprocessing.

    images[NAME]: (slices, H, W) float16 in 0..1. masks[NAME]: (slices, H, W) bool.
    """

    def __init__(self, cases: Sequence[Case], preprocessing: Preprocessing | None = None, cache=None):
        names = [case.name for case in cases]
        if len(set(names)) < len(names):
            raise DataError(f"case names repeat: {', '.join(sorted({n for n in names if names.count(n) > 1}))}")
        self.cases = {case.name: case for case in cases}
        self.preprocessing = preprocessing or Preprocessing()
        self._cache = Path(cache) if cache else cache_folder() / "slices"
        self.images, self.masks, self._spacing = {}, {}, {}
        for name in names:
            self.images[name], self.masks[name], self._spacing[name] = self._opened(self.cases[name])
        self.lesion_slices = {name: np.flatnonzero(self.masks[name].any(axis=(1, 2))) for name in names}

    @classmethod
    def open(cls, data=None, preprocessing: Preprocessing | None = None, cache=None, names=None) -> Cohort:
        """The cohort of a data folder (see `data_folder`), or of some of its cases.

        Raises DataError for an unknown name or a bad folder, ScanError for a bad file.
        """
        folder = data_folder(data)
        cases = find_cases(folder)
        if names is not None:
            missing = sorted(set(names) - {case.name for case in cases})
            if missing:
                raise DataError(f"{folder}: has no case {', '.join(missing)}; known: {', '.join(c.name for c in cases)}")
            cases = [case for case in cases if case.name in set(names)]
        return cls(cases, preprocessing, cache)

    @property
    def names(self) -> list[str]:
        """The cases' names, in the order of their files."""
        return list(self.cases)

    @property
    def burden(self) -> dict[str, int]:
        """Lesion voxels per case, on the cached grid."""
        return {name: int(np.count_nonzero(mask)) for name, mask in self.masks.items()}

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of the largest slices: what a batch is padded to."""
        shapes = [image.shape[1:] for image in self.images.values()]
        return max(h for h, _ in shapes), max(w for _, w in shapes)

    @property
    def patients(self) -> dict[str, list[str]]:
        """The patients' names, each with its scans, in the order of their files."""
        return by_patient(self.cases)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over names, patients and contents of all cases: two cohorts with one fingerprint hold the same data."""
        digest = hashlib.sha256()
        for name in sorted(self.cases):
            case = self.cases[name]
            digest.update(f"{name} {case.patient} {case.fingerprint}\n".encode())
        return digest.hexdigest()

    def spacing(self, name: str) -> tuple[float, float, float]:
        """A case's voxel size in mm on the cached grid: between slices, rows, columns."""
        return self._spacing[name]

    def dealt_by_slice(self, k: int, seed: int = 0) -> Cohort:
        """The same slices under names NAME#0 … NAME#k−1, each scan's slices dealt out at random: for showing what leaks.

        A split of these names puts neighbouring slices of one patient on both sides; `check_leakage` raises on it.
        The data are the same, and so is the fingerprint.
        """
        dealt = copy.copy(self)
        dealt.fingerprint = self.fingerprint
        dealt.cases, dealt.images, dealt.masks, dealt._spacing = {}, {}, {}, {}
        rng = np.random.default_rng(seed)
        for name, case in self.cases.items():
            hands = rng.permutation(len(self.images[name])) % k
            for hand in range(k):
                chosen = np.flatnonzero(hands == hand)
                dealt.cases[f"{name}#{hand}"] = case
                dealt.images[f"{name}#{hand}"] = self.images[name][chosen]
                dealt.masks[f"{name}#{hand}"] = self.masks[name][chosen]
                dealt._spacing[f"{name}#{hand}"] = self._spacing[name]
        dealt.lesion_slices = {n: np.flatnonzero(m.any(axis=(1, 2))) for n, m in dealt.masks.items()}
        return dealt

    def _opened(self, case: Case) -> tuple[np.ndarray, np.ndarray, tuple[float, float, float]]:
        """A case's slices, masks and spacing from its cache; a cache that is cut or lacks a part is made again."""
        for last in (False, True):
            folder = self._written(case)
            try:
                images, masks = (np.load(folder / part, mmap_mode="r") for part in ("images.npy", "masks.npy"))
                spacing = tuple(float(mm) for mm in json.loads((folder / "made-by.json").read_text())["grid_mm"])
                if images.shape != masks.shape or len(spacing) != 3:
                    raise ValueError("its parts do not belong together")
                return images, masks, spacing
            except (ValueError, KeyError, OSError, EOFError) as error:
                if last:
                    raise DataError(f"{folder}: this cache cannot be read though it was just made ({error})") from error
                shutil.rmtree(folder, ignore_errors=True)

    def _written(self, case: Case) -> Path:
        made_by = {
            "version": CACHE_VERSION,
            "case": case.fingerprint,
            "window": list(self.preprocessing.window),
            "spacing": self.preprocessing.spacing,
        } | ({"calibrate": True} if self.preprocessing.calibrate else {})
        key = hashlib.sha256(json.dumps(made_by, sort_keys=True).encode()).hexdigest()[:24]
        folder = self._cache / key
        if folder.is_dir():
            return folder
        scan, mask = load_pair(case.scan, case.mask)
        upright.warn(scan, case.name)
        images = self.preprocessing.slices(scan).astype(np.float16)
        masks = resample_slices(mask.axial().astype(np.float32), self.preprocessing.grid(scan)) >= 0.5
        try:
            return self._keep(folder, scan, images, masks, made_by | {"name": case.name})
        except OSError as error:
            why = error.strerror or f"not all of it could be written: {error}"
            raise DataError(
                f"{self._cache}: the cache of slices cannot be written ({why}); make room, or name another folder for it in "
                "the variable SCOAT_CACHE"
            ) from error

    def _keep(self, folder: Path, scan: Scan, images: np.ndarray, masks: np.ndarray, about: dict) -> Path:
        """Write a case's cache, whole or not at all."""
        self._cache.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=PART, dir=self._cache))
        try:
            np.save(temporary / "images.npy", np.ascontiguousarray(images))
            np.save(temporary / "masks.npy", np.ascontiguousarray(masks))
            _, rows, columns = scan.axial().shape
            between, row_mm, column_mm = scan.axial_spacing
            grid = [between, row_mm * rows / masks.shape[1], column_mm * columns / masks.shape[2]]
            (temporary / "made-by.json").write_text(json.dumps(about | {"grid_mm": grid}, indent=1))
            sync(temporary)
            try:
                temporary.rename(folder)
            except OSError:  # another process was first; its copy holds the same
                if not folder.is_dir():
                    raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return folder


def by_patient(cases: dict[str, Case]) -> dict[str, list[str]]:
    """Scans by the patient whom they are of; cases: by name."""
    found: dict[str, list[str]] = {}
    for name, case in cases.items():
        found.setdefault(case.patient, []).append(name)
    return found


def with_statistics(cohort: Cohort, names: Sequence[str]) -> Cohort:
    """The same cohort with mean and std of the given (training) patients' windowed pixels in its preprocessing."""
    total = squares = count = 0.0
    for name in names:
        values = np.asarray(cohort.images[name], np.float64)
        total, squares, count = total + values.sum(), squares + (values**2).sum(), count + values.size
    mean = total / count
    std = max(1e-3, (squares / count - mean**2) ** 0.5)
    normalised = copy.copy(cohort)
    normalised.preprocessing = replace(cohort.preprocessing, mean=round(float(mean), 4), std=round(float(std), 4))
    return normalised
