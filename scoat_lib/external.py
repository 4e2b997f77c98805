"""What networks are only tested on: a second cohort of single slices, and a second reader of the same scans.

The second cohort lies in a folder as MedSeg distributes its data set No. 1 (100 slices collected by the Italian Society of
Medical and Interventional Radiology): tr_im.nii.gz, the slices in HU, and tr_mask.nii.gz, 1 ground glass, 2 consolidation,
3 pleural effusion. The second reader's masks (MedSeg's data set No. 2) lie in Second_Reader_Mask/ beside the scans.
Nothing is trained, chosen or tuned on either.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scoat_lib import inference
from scoat_lib.cohort import Cohort, DataError, resample_slices
from scoat_lib.scan import Scan, check_same_grid
from scoat_lib.weights import Segmenter

IMAGES, CLASSES, READER = "tr_im.nii.gz", "tr_mask.nii.gz", "Second_Reader_Mask"
OPACIFICATION = (1, 2)  # ground glass and consolidation; 3 is pleural effusion


@dataclass(frozen=True)
class Slices:
    """Single slices of many patients with their lesions. scan: HU, one slice beside another. lesions: (slices, H, W) bool."""

    scan: Scan
    lesions: np.ndarray
    fingerprint: str

    @classmethod
    def load(cls, folder) -> Slices:
        """The slices of a folder. DataError if a file is missing or the two differ in shape, ScanError for a bad one."""
        folder = Path(folder)
        paths = [folder / IMAGES, folder / CLASSES]
        for path in paths:
            if not path.exists():
                raise DataError(f"{path}: missing; the second cohort is {IMAGES} and {CLASSES}, as MedSeg distributes them")
        scan, classes = Scan.load(paths[0]), Scan.load(paths[1])
        check_same_grid(classes, scan)
        fingerprint = hashlib.sha256(b"".join(hashlib.sha256(path.read_bytes()).digest() for path in paths)).hexdigest()
        return cls(scan, np.isin(classes.axial(), OPACIFICATION), fingerprint)


def score_slices(segmenter: Segmenter, slices: Slices, device="cpu") -> dict:
    """{"fingerprint", "slices": [{"tp", "fp", "fn", "tn"}, …]}: each slice by itself, at 0.5, neither mirrored nor smoothed.

    The slices are brought to the grid the weights were trained on and the probabilities back to the slices' own.
    """
    predicted = inference.probabilities(segmenter, slices.scan, device=device, flip=False, smooth=0.0).axial() > 0.5
    counts = []
    for a, b in zip(predicted, slices.lesions, strict=True):
        tp, na, nb = (int(np.count_nonzero(part)) for part in (a & b, a, b))
        counts.append({"tp": tp, "fp": na - tp, "fn": nb - tp, "tn": a.size - na - nb + tp})
    return {"fingerprint": slices.fingerprint, "slices": counts}


def second_reader(cohort: Cohort, name: str) -> np.ndarray | None:
    """The second reader's lesions of a scan on the cohort's grid, (slices, H, W) bool; None where that reader has not seen it.

    ScanError if the mask is on another grid than its scan.
    """
    case = cohort.cases[name]
    path = case.scan.parent.parent / READER / case.scan.name
    if not path.exists() or "#" in name:
        return None
    mask = Scan.load(path, mask=True)
    check_same_grid(mask, Scan.load(case.scan))
    return resample_slices(mask.axial().astype(np.float32), cohort.masks[name].shape[1:]) >= 0.5
