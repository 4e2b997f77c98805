"""One scan in, its Segmentation out: what `scoat_lib.segment`, `scoat segment` and a folder of scans share (Figure 6)."""

from __future__ import annotations

import importlib
import importlib.util
import platform
import warnings as python_warnings
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property, partial
from pathlib import Path
from types import ModuleType

import numpy as np
import torch

import scoat_lib
from scoat_lib import foreign, inference, upright
from scoat_lib.files import whole_file
from scoat_lib.scan import Scan, ScanError, check_distinct, check_hounsfield
from scoat_lib.weights import Segmenter, load

NAME, COLOUR = "lung opacification", (0, 213, 230)  # of label 1 in viewers; the colour of the pages' outlines
LABELS = {
    # the first two lines are how Slicer knows the kind; a name must not hold a space there
    "lung-opacification.ctbl": "# Color table file lung-opacification.ctbl\n# 2 values\n0 background 0 0 0 0\n"
    f"1 {NAME.replace(' ', '_')} {COLOUR[0]} {COLOUR[1]} {COLOUR[2]} 255\n",
    "lung-opacification.txt": "# ITK-SnAP Label Description File\n# IDX   -R-  -G-  -B-  -A--  VIS MSH  LABEL\n"
    '    0     0    0    0     0    0   0   "Clear Label"\n'
    f'    1  {COLOUR[0]:>4} {COLOUR[1]:>4} {COLOUR[2]:>4}     1    1   1   "{NAME}"\n',
}


@dataclass(frozen=True)
class Options:
    """How a scan is read and segmented; None does as the weights' card says.

    threshold: 0..1, exclusive. flip, smooth (σ in mm), branches: as in `inference.probabilities`. calibrate: as in
    `Preprocessing`. assume: as in `nifti.read`. hu: take the values as HU whatever they look like.
    """

    threshold: float | None = None
    flip: bool | None = None
    smooth: float | None = None
    calibrate: bool | None = None
    branches: str | int = "output"
    assume: tuple[str, ...] = ()
    hu: bool = False

    def settled(self, segmenter: Segmenter) -> dict:
        """The options with the card's word in place of None: plain values, equal where the masks are."""
        return {
            "threshold": segmenter.threshold if self.threshold is None else float(self.threshold),
            "flip": segmenter.flip if self.flip is None else self.flip,
            "smooth_mm": segmenter.smooth if self.smooth is None else float(self.smooth),
            "calibrate": segmenter.preprocessing.calibrate if self.calibrate is None else self.calibrate,
            "branches": self.branches,
            "assume": sorted([*self.assume, *(["hu"] if self.hu else [])]),
        }


@dataclass(eq=False)
class Segmentation:
    """What was found in one scan.

    scan, mask_scan (uint8, 1 is lesion), probability_scan (float32, 0..1): on one grid. probability: the last of these, or what
    makes it when it is asked for. warnings: what is to be said of the scan. axial: whether the arrays below run as `Scan.axial`
    does (slices, rows, columns), else along the file's axes. checked: whether its values have been found to be HU.
    """

    scan: Scan
    mask_scan: Scan
    probability: Scan | Callable[[], Scan]
    warnings: tuple[str, ...] = ()
    axial: bool = False
    checked: bool = False

    @cached_property
    def probability_scan(self) -> Scan:
        """The lesion probability of every voxel, on the scan's grid."""
        return self.probability if isinstance(self.probability, Scan) else self.probability()

    @property
    def mask(self) -> np.ndarray:
        """uint8, 1 where the lungs are taken for opacified; in the shape of what came in."""
        return self.mask_scan.axial() if self.axial else self.mask_scan.voxels

    @property
    def probabilities(self) -> np.ndarray:
        """float32 in 0..1, in the shape of what came in."""
        return self.probability_scan.axial() if self.axial else self.probability_scan.voxels

    @property
    def volume(self) -> float:
        """Lung opacification volume (LOV) in cm³."""
        return inference.opacification_volume(self.mask_scan)

    @cached_property
    def lungs(self) -> Scan | None:
        """The lungs (uint8, 1 right, 2 left) on the scan's grid; None where this version cannot find lungs.

        ScanError where they cannot be found in this scan.
        """
        module = optional("lungs")
        return module.segment(self.scan, checked=self.checked) if module else None

    @cached_property
    def shares(self) -> dict[str, float | None]:
        """What part of the right lung, the left lung and both is lesion, in per cent, None for a lung that is not there.

        Keys as `lungs.share` gives them: "both", "right", "left", "outside". Empty where there is no lung mask. ScanError as
        `lungs`.
        """
        return {} if self.lungs is None else optional("lungs").share(self.mask_scan, self.lungs)

    def percent(self) -> tuple[dict[str, float], list[str]]:
        """The `shares` that can be had (keys "both", "right", "left"), and what is to be said of them; raises nothing."""
        try:
            known = {side: self.shares[side] for side in ("both", "right", "left") if self.shares.get(side) is not None}
            return known, [f"lungs: {note}" for note in (self.lungs.notes if self.lungs else ())]
        except ScanError as error:
            return {}, [f"no share of the lungs: {error}"]

    def save(self, path, overwrite: bool = True) -> Path:
        """Write the mask as NIfTI on the scan's own grid; see `Scan.save`. ScanError where that file is the scan's own."""
        if self.scan.path:
            check_distinct([Path(self.scan.path)], [Path(path)])
        return self.mask_scan.save(path, overwrite)

    def __repr__(self) -> str:
        said = f", {len(self.warnings)} warnings" if self.warnings else ""
        return f"Segmentation: lung opacification volume {self.volume:.1f} cm³{said}"


def segment(scan, spacing: Collection[float] | None = None, weights=None, device: str = "cpu", batch: int = 16, **options):
    """The lung opacification in a chest CT: a Segmentation with .mask, .probabilities, .volume (cm³) and .save(path).

    scan: the path of a NIfTI file, a folder with a DICOM series (extra `dicom`), a `Scan`, or an array in HU: slices from feet
    to head, rows from front to back, columns from the patient's right to the left, as SimpleITK's GetArrayFromImage gives an
    axial CT. spacing: mm between slices, rows and columns; for an array only, and needed there. weights: a file, the name of
    shipped ones, or a Segmenter that was loaded before; None for the shipped ones. device: "cpu" or "cuda". batch: slices at
    once. options: those of `Options`. What is doubtful about the scan is a Python warning too.
    Raises ScanError for a scan that cannot be used, ValueError for a spacing that is missing, too much, or not above 0.
    """
    axial = not isinstance(scan, (str, Path, Scan))
    if axial:
        scan = from_array(scan, spacing)
    elif spacing is not None:
        raise ValueError("spacing is for arrays; a file's spacing stands in its header")
    options = Options(**options)
    if not isinstance(scan, Scan):
        scan = Scan.load(scan, assume=options.assume)
    segmenter = weights if isinstance(weights, Segmenter) else load(weights)
    found = of(scan, segmenter, options, device, batch)
    found.axial = axial
    for text in found.warnings:
        python_warnings.warn(text, stacklevel=2)
    return found


def from_array(array, spacing: Collection[float] | None) -> Scan:
    """A Scan from HU in the order of `Scan.axial` and mm between slices, rows and columns; ValueError for a bad spacing."""
    array = np.asarray(array)
    if spacing is None or np.shape(spacing) != (3,) or not all(np.isfinite(s) and s > 0 for s in spacing):
        raise ValueError(
            f"spacing is {spacing}; an array needs the mm between its slices, rows and columns, as spacing=(5.0, 0.7, 0.7)"
        )
    if array.ndim != 3 or not np.issubdtype(array.dtype, np.number) or np.iscomplexobj(array):
        raise ScanError(f"scan in memory: {array.dtype} of shape {array.shape}; give real HU as slices × rows × columns")
    if not np.isfinite(array).all():
        raise ScanError("scan in memory: some voxels are NaN or infinite; replace them (air is -1024 HU)")
    slices, rows, columns = (float(s) for s in spacing)
    return Scan(np.array(array, order="C").transpose(2, 1, 0), np.diag([-columns, -rows, slices, 1.0]))


def optional(name: str) -> ModuleType | None:
    """A module of this package; None where this version lacks it, or a library that it needs is not installed."""
    full = f"scoat_lib.{name}"
    if importlib.util.find_spec(full) is None:
        return None
    try:
        return importlib.import_module(full)
    except ImportError:
        return None


def check_labels(folder, overwrite: bool = False) -> dict[Path, str]:
    """The label files of a folder and their text; ScanError where a file of that name is another, unless overwrite."""
    paths = {Path(folder) / name: text for name, text in LABELS.items()}
    for path, text in paths.items():
        if path.exists() and not overwrite and path.read_text(errors="replace") != text:
            raise ScanError(f"{path}: exists and is another file; choose another folder, or say --overwrite")
    return paths


def write_labels(folder, overwrite: bool = False) -> list[Path]:
    """Write what tells 3D Slicer (.ctbl) and ITK-SNAP (.txt) a mask's name and colour into a folder; the paths.

    ScanError as of `check_labels`, before anything is written.
    """
    paths = check_labels(folder, overwrite)
    for path, text in paths.items():
        with whole_file(path, path.suffix) as temporary:
            temporary.write_text(text)
    return list(paths)


def facts(weights: str, settled: dict) -> dict[str, str]:
    """What a page says of how a mask was made: weights, options (`Options.settled`), versions, date of the run."""
    assumed = ", ".join(settled["assume"])
    return {
        "weights": weights,
        "threshold": f"{settled['threshold']:g}",
        "averaged with its mirror image": "yes" if settled["flip"] else "no",
        "smoothed through the slices": f"σ = {settled['smooth_mm']:g} mm" if settled["smooth_mm"] else "no",
        "HU calibrated by the scan's own tissue": "yes" if settled["calibrate"] else "no",
        "branches": str(settled["branches"]),
        "assumed of the header": assumed or "nothing",
        "versions": f"scoat-lib {scoat_lib.__version__}, torch {torch.__version__}, Python {platform.python_version()}",
        "date of the run": datetime.now().astimezone().isoformat(" ", "minutes"),
    }


def doubts(scan: Scan, hu: bool = False) -> list[str]:
    """What is to be said of a scan before it is segmented; ScanError where it cannot be in HU, unless hu says it is."""
    said = [*scan.notes, *(["not checked for its scale"] if hu else check_hounsfield(scan))]
    name, chest = str(scan.path) if scan.path else "scan in memory", upright.Chest.of(scan)
    if turned := upright.warning(scan, name, None if hu else chest):
        said.append(turned.removeprefix(f"{name}: "))
    return said + foreign.looks(scan, chest)


def of(scan: Scan, segmenter: Segmenter, options: Options, device: str = "cpu", batch: int = 16) -> Segmentation:
    """The Segmentation of a scan that is in memory; ScanError where it cannot be used."""
    said = doubts(scan, options.hu)
    settled = options.settled(segmenter)
    if settled["calibrate"] != segmenter.preprocessing.calibrate:
        segmenter = replace(segmenter, preprocessing=replace(segmenter.preprocessing, calibrate=settled["calibrate"]))
    p = inference.coarse_probabilities(segmenter, scan, batch, device, options.branches, settled["flip"], settled["smooth_mm"])
    mask = inference.enlarged_mask(p, scan, settled["threshold"], batch)
    found = Segmentation(scan, mask, partial(inference.enlarged, p, scan, batch), checked=not options.hu)
    if 0 < found.volume < segmenter.quiet:
        said.append(
            f"{found.volume:.0f} cm³ are no more than was marked in a scan with next to no lesion ({segmenter.quiet:.0f} cm³); "
            "look whether there is any"
        )
    return replace(found, warnings=tuple(said))
