"""Is it a chest as the networks know it? No lungs, another part of the body, contrast medium, much noise: each is named.

Nothing is refused here. The networks were trained on chests without contrast medium; of another picture their mask means
little, and nothing in the mask says so. How often a chest is taken for something else stands in
results/readings/foreign.json (studies/foreign.py).
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from skimage.morphology import convex_hull_image

from scoat_lib.scan import Scan
from scoat_lib.upright import Chest

LEAST_BODY = 15.0  # cm² of a slice, below which it holds no body, only a couch or a blanket
SMALL = 420.0  # cm² of a slice: no adult's trunk is so small, heads and limbs are
SHELL = 0.5  # share of a small body that its bones close in: a skull
FEW = 0.3  # share of a long scan's slices with a body that show lungs
LONG = 100.0  # mm
BRIGHT, MOST_BRIGHT = 130.0, 0.2  # HU of blood with contrast medium, and what part of the mediastinum may be brighter
FRONT = 0.55  # of the lungs' depth, where heart and large vessels lie and the spine does not
LEAST_MEDIASTINUM = 10.0  # cm² of all slices together
NOISY = 100.0  # HU, standard deviation in soft tissue from one voxel to the next
SOFT = (-150.0, 150.0)  # HU
MOST_SLICES = 16  # whose noise is measured


def looks(scan: Scan, chest: Chest | None = None) -> list[str]:
    """What looks wrong with a scan in HU as a chest CT, a phrase each; nothing for one like those that the networks know.

    chest: `Chest.of(scan)`, where it was made before.
    """
    chest = chest or Chest.of(scan)
    said = [_part(chest)] if not len(chest.with_lungs) else _few(chest)
    share = contrast(chest)
    if share is not None and share > MOST_BRIGHT:
        said.append(
            f"{100 * share:.0f} % of what lies between its lungs is brighter than {BRIGHT:.0f} HU, as blood with contrast "
            "medium is; the networks saw none, so look at the mask"
        )
    spread = noise(scan, chest)
    if spread is not None and spread > NOISY:
        said.append(f"it is noisy (standard deviation {spread:.0f} HU in soft tissue); what is small in the mask may be noise")
    return said


def _part(chest: Chest) -> str:
    """What a scan without lungs seems to show."""
    with_body = [k for k in range(len(chest.body)) if chest.body_area[k] > 100 * LEAST_BODY]
    if not with_body:
        seen = "only air is seen, and perhaps a table"
    else:
        area = float(np.median(chest.body_area[with_body])) / 100
        closed = [_closed_in(chest.bones[k]) / max(1, int(chest.body[k].sum())) for k in with_body]
        what = "an abdomen or a pelvis"
        if area < SMALL:
            what = "a head" if float(np.median(closed)) > SHELL else "a limb or a neck"
        seen = f"it looks like {what} (a slice of the body has {area:.0f} cm²)"
    return f"shows no lungs: {seen}; the mask means nothing unless it is a chest"


def _closed_in(bones: np.ndarray) -> int:
    """Pixels that bones close in, theirs too."""
    closed = ndimage.binary_closing(np.pad(bones, 2), np.ones((3, 3), bool), iterations=2)[2:-2, 2:-2]
    return int(ndimage.binary_fill_holes(closed).sum())


def _few(chest: Chest) -> list[str]:
    """A phrase where most of a long scan is no chest."""
    lungs, bodies = len(chest.with_lungs), int((chest.body_area > 100 * LEAST_BODY).sum())
    if len(chest.body) * chest.mm[0] < LONG or lungs >= FEW * bodies:
        return []
    return [f"lungs are seen in {100 * lungs / bodies:.0f} % of its slices only; crop it to the chest if it goes on elsewhere"]


def contrast(chest: Chest) -> float | None:
    """What part of heart and large vessels is brighter than BRIGHT: 0..1; None where too little of them is seen."""
    bright = whole = 0
    for k in chest.with_lungs:
        rows = np.flatnonzero(chest.lungs[k].any(1))
        last = rows[0] + int(FRONT * (rows[-1] - rows[0]))
        inner = convex_hull_image(chest.lungs[k]) & ~ndimage.binary_dilation(chest.lungs[k])
        inner[last + 1 :] = False
        inner = ndimage.binary_erosion(inner)
        whole += int(inner.sum())
        bright += int((ndimage.gaussian_filter(chest.grey[k], 1)[inner] > BRIGHT).sum())  # smoothed: noise is no contrast
    return bright / whole if whole * chest.pixel >= 100 * LEAST_MEDIASTINUM else None


def noise(scan: Scan, chest: Chest) -> float | None:
    """Standard deviation in HU of soft tissue's second differences along a row, as of white noise; None without soft tissue."""
    slices = scan.axial()
    rows, columns = (max(1, round(m / s)) for m, s in zip(chest.mm[1:], scan.axial_spacing[1:], strict=True))
    step = max(1, round(chest.mm[0] / scan.axial_spacing[0]))  # one slice of so many is the chest's, the middle one
    found = []
    for k in np.unique(np.linspace(0, len(chest.body) - 1, MOST_SLICES).astype(int)):
        smooth = ndimage.gaussian_filter(chest.grey[k], 1)  # else, of large pixels, only the quiet ones would be taken
        soft = chest.body[k] & (smooth > SOFT[0]) & (smooth < SOFT[1])
        where = np.repeat(np.repeat(soft, rows, 0), columns, 1)
        at = min(step // 2, len(slices) - 1) + k * step
        grey = slices[at][: where.shape[0], : where.shape[1]].astype(np.float32)
        inner = where[:, 2:] & where[:, 1:-1] & where[:, :-2]
        found.append((grey[:, 2:] - 2 * grey[:, 1:-1] + grey[:, :-2])[inner])
    found = np.concatenate(found)
    return float(1.4826 * np.median(np.abs(found)) / np.sqrt(6)) if len(found) > 100 else None
