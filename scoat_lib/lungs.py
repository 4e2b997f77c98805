"""The lungs of a scan by a rule, left and right apart, so that an opacification volume is also a share of the lung (Figure 6).

What lies inside the body and is full of air, less windpipe, large bronchi and gut, is lung that air reaches. What air does not
reach any more, consolidation and vessels, is given back by closing: with a ball, and along the chest wall, whose distance
from the middle of the chest may not dip inward. All sizes are in millimetres and most work is done on a grid of 2 to 3 mm.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cc3d
import numpy as np
from scipy import ndimage
from skimage.segmentation import watershed

from scoat_lib import upright
from scoat_lib.scan import FLOOR, Scan, ScanError, check_hounsfield, check_same_grid

RIGHT, LEFT = 1, 2
IN_PLANE, BETWEEN = 2.0, 3.0  # mm of the grid that the rule works on, where the scan is finer
GAS = -950.0  # HU; a large part of the body whose median is lower holds gas alone, no lung
GUT = -970.0  # HU; the same of a hole in one slice that tissue walls in: windpipe, gullet, stomach, colon
SEED = -400.0  # HU; what is less airy is lung within REACH of what is airier, so nothing leaks through a thin diaphragm
REACH = 6  # voxels of the grid
WALLED = 0.6  # share of a hole's rim that is denser than WALL
WALL = -600.0  # HU
LEAST_SHARE = 0.05  # of the largest airy part's volume, for another to be taken as lung at first
LEAST_VOLUME = 50.0  # cm³ of a whole scan's airy lung, below which there is none
LEAST_AREA = 0.08  # of the body's in the slice where the lungs are largest
PIPE = (60.0, 900.0)  # mm² of the windpipe's and the main bronchi's holes in a slice, together
SIDES = {RIGHT: "right", LEFT: "left"}


@dataclass(frozen=True)
class Rule:
    """The rule's free values; studies/lungs.py scores them, and beside them a choice among others, patient left out by patient.

    threshold: HU below which a voxel holds air. ball: mm, radius of the closing. wall: degrees about the middle of the chest,
    and wall_mm: mm along the body, on either side, over which the chest wall is closed; 0 leaves it as it is. deepest: mm,
    beyond which nothing is given back along a ray.
    """

    threshold: float = -250.0
    ball: float = 8.0
    wall: float = 40.0
    wall_mm: float = 40.0
    deepest: float = 45.0


def segment(scan: Scan, rule: Rule | None = None, checked: bool = False) -> Scan:
    """The lungs of a scan in HU: uint8 on its shape and affine; 0 elsewhere, 1 the patient's right lung, 2 the left.

    Right 1, left 2 is the convention of lungmask's R231 (Hofmanninger et al. 2020); others number the other way, so look
    before you compare. Vessels, consolidation and lesions at the rim belong to the lung; windpipe and main bronchi do not.
    checked: its values have been through `check_hounsfield` already.
    `notes` of the result says what is doubtful: one lung only, lungs that the scan cuts off. Any orientation and spacing.
    Raises ScanError for a scan that is not in HU, or that shows no lungs (a head, an abdomen, an empty table).
    """
    rule = rule or Rule()
    if not checked:
        check_hounsfield(scan)
    grid = _Grid.of(scan)
    body = np.stack([upright.body_of(slice_, grid.mm[1]) for slice_ in grid.hu])
    pipe = _windpipe(grid, body) | _gas(grid, body)
    walled = ndimage.binary_dilation(pipe, np.ones((1, 3, 3)))  # half a pixel of wall on either side
    inner = ndimage.binary_erosion(body, np.ones((1, 3, 3)), border_value=1)  # the skin's edge is half air
    air = inner & (grid.hu < rule.threshold) & ~walled
    airy = _airy(scan, grid, body, air)
    middle = _middle(body, airy)
    sides = _sides(airy, middle, grid.mm)
    whole = _given_back(sides, body & ~walled, middle, grid.mm, rule)
    whole = _islands(whole, air, grid)
    result = scan.blank(np.uint8)
    grid.back(scan, whole, sides, rule.threshold, result.axial())
    return replace(result, notes=_notes(scan, result))


def share(mask: Scan, lungs: Scan) -> dict[str, float | None]:
    """What part of the lungs a lesion mask fills, in per cent: {"both", "right", "left", "outside"}.

    mask: 0 and 1. lungs: as `segment` returns them, on the same grid. "both" is the paper's percentage of infection: lesion
    voxels inside the lungs over the lungs' voxels; "right" and "left" the same of one lung, None where there is none.
    "outside": per cent of the lesion voxels that lie in neither lung (0 for an empty mask). Raises ScanError if the grids
    differ, ValueError for values other than these.
    """
    check_same_grid(mask, lungs)
    of_lung, of_lesion = np.zeros(3, int), np.zeros(3, int)  # voxels by label
    for lesion, labels in zip(mask.axial(), lungs.axial(), strict=True):
        inside = lesion == 1
        if np.count_nonzero(lesion) != np.count_nonzero(inside):
            raise ValueError("a lesion mask holds values other than 0 and 1; give the mask, not the probability")
        for label in (RIGHT, LEFT):
            there = labels == label
            of_lung[label] += np.count_nonzero(there)
            of_lesion[label] += np.count_nonzero(there & inside)
        of_lung[0] += np.count_nonzero(labels)
        of_lesion[0] += np.count_nonzero(inside)
    if of_lung[0] != of_lung[1:].sum():
        raise ValueError("a lung mask holds values other than 0, 1 (right) and 2 (left); give what lungs.segment returns")

    def per_cent(part, whole) -> float | None:
        """A part in per cent; None of nothing."""
        return 100 * float(part) / float(whole) if whole else None

    return {
        "both": per_cent(of_lesion[1:].sum(), of_lung[1:].sum()),
        "right": per_cent(of_lesion[RIGHT], of_lung[RIGHT]),
        "left": per_cent(of_lesion[LEFT], of_lung[LEFT]),
        "outside": per_cent(of_lesion[0] - of_lesion[1:].sum(), of_lesion[0]) or 0.0,
    }


@dataclass(frozen=True)
class _Grid:
    """A scan's axial slices as means of blocks of about 2 to 3 mm: hu (slices, H, W) float32, mm of a voxel, block sizes."""

    hu: np.ndarray
    mm: tuple[float, float, float]
    blocks: tuple[int, int, int]

    @classmethod
    def of(cls, scan: Scan) -> _Grid:
        """The grid of a scan; what does not fill a block repeats its last voxels."""
        slices, spacing = scan.axial(), scan.axial_spacing
        blocks = tuple(max(1, round(g / s)) for g, s in zip((BETWEEN, IN_PLANE, IN_PLANE), spacing, strict=True))
        counts = [-(-n // b) for n, b in zip(slices.shape, blocks, strict=True)]
        hu = np.empty(counts, np.float32)
        pad = [(0, c * b - n) for n, b, c in zip(slices.shape[1:], blocks[1:], counts[1:], strict=True)]
        for k in range(counts[0]):
            thick = np.maximum(slices[k * blocks[0] : (k + 1) * blocks[0]], FLOOR).mean(0, dtype=np.float32)
            thick = np.pad(thick, pad, mode="edge")
            hu[k] = thick.reshape(counts[1], blocks[1], counts[2], blocks[2]).mean((1, 3))
        return cls(hu, tuple(s * b for s, b in zip(spacing, blocks, strict=True)), blocks)

    @property
    def voxel(self) -> float:
        """cm³."""
        return float(np.prod(self.mm)) / 1000

    def back(self, scan: Scan, whole: np.ndarray, sides: np.ndarray, threshold: float, result: np.ndarray) -> None:
        """Write labels on the scan's own axial grid into `result`, uint8.

        Outlines are interpolated as distances; where the outline is air against tissue, the scan's own voxels place it.
        """
        if self.blocks == (1, 1, 1):
            result[:] = whole
            return
        slices, band = scan.axial(), max(self.mm[1:])
        # beyond the box every distance is the largest; its outermost voxels too, so nothing changes where it is cut
        box = _box(whole > 0, _reach(2 * band, self.mm))
        counts = zip(slices.shape, self.hu.shape, self.blocks, box, strict=True)
        places, grids = zip(*(_linear(*one) for one in counts), strict=True)
        whole, sides = whole[box], sides[box]
        fields = [_signed(whole == side, self.mm, 2 * band) for side in SIDES]
        fields.append(ndimage.binary_dilation((whole > 0) & (sides == 0), np.ones((1, 3, 3))).astype(np.float32))
        result[:] = 0
        slices, result = slices[places], result[places]
        for k, (low, high, part) in enumerate(zip(*grids[0], strict=True)):
            planes = []
            for field in fields:
                plane = (1 - part) * field[low] + part * field[high]
                for low_, high_, part_ in grids[1:]:  # rows, then columns: the plane is turned by each
                    plane = ((1 - part_)[:, None] * plane[low_] + part_[:, None] * plane[high_]).T
                planes.append(plane)
            best = np.maximum(planes[0], planes[1])
            edge = (np.abs(best) < band) & (planes[2] < 0.5)
            inside = np.where(edge, slices[k] < threshold, best > 0)
            result[k] = np.where(planes[0] >= planes[1], RIGHT, LEFT).astype(np.uint8) * inside


def _box(mask: np.ndarray, margin) -> tuple[slice, ...]:
    """Where a mask that is not empty lies, with so many voxels around it on each axis as there are."""
    found = ndimage.find_objects(mask.astype(np.uint8))[0]
    return tuple(
        slice(max(0, part.start - m), min(n, part.stop + m)) for part, m, n in zip(found, margin, mask.shape, strict=True)
    )


def _linear(fine: int, coarse: int, block: int, part: slice) -> tuple[slice, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Which fine voxels lie between block centres of a part; and for each the two around it, counted from the part's first, and
    the share of the second, float32; repeated beyond the ends."""
    at = np.clip((np.arange(fine) + 0.5) / block - 0.5, 0, coarse - 1)
    low = at.astype(int)
    high = np.minimum(low + 1, coarse - 1)
    within = np.flatnonzero((low >= part.start) & (high < part.stop))
    place = slice(int(within[0]), int(within[-1]) + 1)
    return place, (low[place] - part.start, high[place] - part.start, (at - low)[place].astype(np.float32))


def _signed(mask: np.ndarray, mm, most: float) -> np.ndarray:
    """mm to the outline, positive inside, cut at ±most; −most everywhere for an empty mask."""
    result = np.full(mask.shape, -most, np.float32)
    if mask.any():
        box = _box(mask, _reach(most, mm))
        distance = ndimage.distance_transform_edt(mask[box], mm)
        distance -= ndimage.distance_transform_edt(~mask[box], mm)
        distance -= min(mm[1:]) / 2 * np.sign(distance)  # the outline runs between two voxels, not through their centres
        result[box] = np.clip(distance, -most, most)
    return result


def _reach(far: float, mm) -> list[int]:
    """So many voxels of each axis go beyond so many mm."""
    return [int(np.ceil(far / m)) + 1 for m in mm]


def _windpipe(grid: _Grid, body: np.ndarray) -> np.ndarray:
    """Windpipe and main bronchi, boolean: a small round hole of gas near the middle of a slice, followed from head to feet.

    A hole is followed while it stays small and mostly walled by tissue, so it ends where a bronchus enters its lung.
    """
    pixel = grid.mm[1] * grid.mm[2]
    pipe = np.zeros(body.shape, bool)
    above = None
    for k in range(len(body) - 1, -1, -1):
        if not body[k].any():
            continue
        if above is None:
            above = _hole(grid.hu[k], body[k], grid.mm)
            if above is not None:
                pipe[k] = above
            continue
        near = ndimage.binary_dilation(above)
        found = np.zeros_like(above)
        for threshold in (-700, -800, -850, -900):
            labels, _ = ndimage.label(body[k] & (grid.hu[k] < threshold))
            for n in np.unique(labels[near & (labels > 0)]):
                hole = labels == n
                most = max(250.0, 1.8 * pixel * np.count_nonzero(above & ndimage.binary_dilation(hole)))
                if hole.sum() * pixel <= min(most, PIPE[1]) and _walled(grid.hu[k], hole) and not (hole & found).any():
                    found |= hole
        above = found if found.any() else None
        pipe[k] = found
    return pipe


def _walled(hu: np.ndarray, hole: np.ndarray) -> bool:
    """Whether tissue, not lung, surrounds a hole."""
    ring = ndimage.binary_dilation(hole) & ~hole
    return bool(np.mean(hu[ring] > WALL) > WALLED)


def _gas(grid: _Grid, body: np.ndarray) -> np.ndarray:
    """Holes of a slice that are full of gas and walled in by tissue, boolean: gut below the lungs, windpipe between them."""
    result = np.zeros(body.shape, bool)
    for k, hu in enumerate(grid.hu):
        labels, _ = ndimage.label(body[k] & (hu < -700))
        sizes, gas = np.bincount(labels.ravel()), np.bincount(labels[hu < GUT], minlength=labels.max() + 1)
        most = [n for n in np.flatnonzero(2 * gas >= sizes) if n]  # of others the median is no gas
        for n, median in zip(most, ndimage.median(hu, labels, most) if most else (), strict=True):
            hole = labels == n
            if median < GUT and _walled(hu, hole):
                result[k] |= hole
    return result


def _hole(hu: np.ndarray, body: np.ndarray, mm) -> np.ndarray | None:
    """The windpipe in a slice, where it can be told: small, round, full of gas, near the middle; else None."""
    labels, _ = ndimage.label(body & (hu < -700))
    rows, columns = np.flatnonzero(body.any(1)), np.flatnonzero(body.any(0))
    middle, best, chosen = (columns[0] + columns[-1]) / 2, np.inf, None
    for n, box in enumerate(ndimage.find_objects(labels), 1):
        hole = labels[box] == n
        area = hole.sum() * mm[1] * mm[2]
        row, column = ((part.start + part.stop - 1) / 2 for part in box)
        off = abs(column - middle) * mm[2]
        central = abs((row - rows[0]) / max(1, rows[-1] - rows[0]) - 0.5) < 0.3 and off < 30
        round_ = PIPE[0] < area < 700 and max(hole.shape) * mm[1] < 40 and hole.mean() > 0.5
        if central and round_ and off < best and hu[box][hole].min() < -850 and _walled(hu, labels == n):
            best, chosen = off, labels == n
    return chosen


def _airy(scan: Scan, grid: _Grid, body: np.ndarray, air: np.ndarray) -> np.ndarray:
    """The large airy parts of the body that are no gas alone. ScanError, with what was seen instead, if they are no lungs."""
    labels = cc3d.connected_components(air & (grid.hu < SEED), connectivity=6)
    sizes = np.bincount(labels.reshape(-1))
    sizes[0] = 0
    medians = {n: float(np.median(grid.hu[labels == n])) for n in np.flatnonzero(sizes > LEAST_SHARE * max(1, sizes.max()))}
    kept = [n for n, median in medians.items() if median > GAS]
    airy = np.isin(labels, kept)
    if not body.any():
        reason = "no body is seen, only air and perhaps a table"
    elif not medians:
        reason = "nothing inside the body holds air"
    elif not kept:
        n = max(medians, key=lambda n: sizes[n])
        reason = f"the body's largest airy part, {sizes[n] * grid.voxel:.0f} cm³, is gas at {medians[n]:.0f} HU and no lung"
    else:
        volume = airy.sum() * grid.voxel
        least = LEAST_VOLUME * min(1.0, len(body) * grid.mm[0] / 100)  # a slab holds less
        widest = max(float(a.sum() / b.sum()) for a, b in zip(airy, body, strict=True) if b.any())
        if volume >= least and widest >= LEAST_AREA:
            return ndimage.binary_dilation(airy, iterations=REACH, mask=air)
        reason = f"its airy parts, {volume:.0f} cm³ and at most {100 * widest:.0f} % of the body in a slice, are too small"
    name = str(scan.path) if scan.path else "scan in memory"
    raise ScanError(f"{name}: shows no lungs: {reason}; give a CT of the chest in Hounsfield units")


def _middle(body: np.ndarray, airy: np.ndarray) -> np.ndarray:
    """(slices, 2): row and column of the middle of the chest, the same row in all slices, columns smoothed along the body."""
    columns = np.full(len(body), np.nan)
    for k in np.flatnonzero(airy.any((1, 2))):
        across = np.flatnonzero(body[k].any(0))
        columns[k] = (across[0] + across[-1]) / 2
    seen = np.flatnonzero(np.isfinite(columns))
    smooth = ndimage.median_filter(columns[seen], min(9, len(seen)), mode="nearest")
    row = float(np.nonzero(airy)[1].mean())
    return np.stack([np.full(len(body), row), np.interp(np.arange(len(body)), seen, smooth)], 1)


def _sides(airy: np.ndarray, middle: np.ndarray, mm) -> np.ndarray:
    """uint8: RIGHT and LEFT of what is airy. Where the two touch, they part at the narrowest place between their cores."""
    box, whole = _box(airy, (1, 1, 1)), np.zeros(airy.shape, np.uint8)
    whole[box] = _sides_within(airy[box], middle[box[0], 1] - box[2].start, mm)
    return whole


def _sides_within(airy: np.ndarray, middle: np.ndarray, mm) -> np.ndarray:
    """`_sides` of the part of a scan that holds what is airy; middle: the middle's column in each slice."""
    by_middle = np.where(np.arange(airy.shape[2]) < middle[:, None, None], RIGHT, LEFT).astype(np.uint8)
    by_middle = np.broadcast_to(by_middle, airy.shape)
    depth = ndimage.distance_transform_edt(airy, mm)
    for least in (0, 2, 3, 4, 5, 6, 8, 10, 12, 15):
        labels = cc3d.connected_components(depth > least, connectivity=6)
        sizes = np.bincount(labels.reshape(-1))
        sizes[0] = 0
        cores = np.flatnonzero(sizes > 0.02 * sizes.sum())
        right = {n: float(np.mean(by_middle[labels == n] == RIGHT)) for n in cores}
        if all(not 0.15 < part < 0.85 for part in right.values()):
            break
    else:
        return by_middle * airy
    markers = np.zeros(airy.shape, np.int32)
    for n in cores:
        markers[labels == n] = RIGHT if right[n] > 0.5 else LEFT
    result = markers if least == 0 else watershed(-depth, markers, mask=airy)
    return np.where(airy & (result == 0), by_middle, result).astype(np.uint8)


def _given_back(sides: np.ndarray, allowed: np.ndarray, middle: np.ndarray, mm, rule: Rule) -> np.ndarray:
    """The lungs with what air does not reach: each side closed along the chest wall, then with a ball; uint8."""
    result = np.zeros(sides.shape, np.uint8)
    for side in SIDES:
        lung = sides == side
        if lung.any():
            rays = _Rays.of(lung, side, middle, mm)
            closed = _closed(lung | (rays.behind(lung, _wall(rays.outermost, mm, rule)) & allowed), rule.ball, mm) & allowed
            result[closed & (result == 0) & ((sides == 0) | lung)] = side
    return result


def _closed(mask: np.ndarray, radius: float, mm) -> np.ndarray:
    """A mask closed with a ball of radius mm; holes that nothing enters are filled."""
    margin = _reach(radius, mm)
    found = ndimage.find_objects(mask.astype(np.uint8))[0]
    part = np.pad(mask[found], [(m, m) for m in margin])
    if radius:
        part = ndimage.distance_transform_edt(~part, mm) <= radius
        part = ndimage.distance_transform_edt(part, mm) > radius
    part = ndimage.binary_fill_holes(part)
    result = mask.copy()
    result[found] |= part[tuple(slice(m, -m) for m in margin)]
    return result


DEGREES = 3.0  # of a ray
FRONT = -50.0  # degrees; further to the front the heart, not the wall, bounds the lung


@dataclass(frozen=True)
class _Rays:
    """A lung seen from the middle of the chest, along rays that run to its side.

    radius: mm of each voxel; ray: its number, 0 straight to the front; usable: whether a ray of this side meets it;
    outermost (slices, rays): mm to the last airy voxel of the lung, 0 where there is none.
    """

    radius: np.ndarray
    ray: np.ndarray
    usable: np.ndarray
    outermost: np.ndarray

    @classmethod
    def of(cls, lung: np.ndarray, side: int, middle: np.ndarray, mm) -> _Rays:
        """The rays of one lung."""
        rows = (np.arange(lung.shape[1])[None, :, None] - middle[:, 0, None, None]) * mm[1]
        columns = (np.arange(lung.shape[2])[None, None] - middle[:, 1, None, None]) * mm[2]
        aside = -columns if side == RIGHT else columns
        radius, angle = np.hypot(rows, aside), np.degrees(np.arctan2(rows, aside))  # 0 sideways, 90 to the back
        usable = (aside > 0) & (angle > FRONT)
        angle += 90
        angle /= DEGREES
        ray = np.clip(angle, 0, int(180 / DEGREES) - 1).astype(np.uint8)
        outermost = np.zeros((len(lung), int(180 / DEGREES)), np.float32)
        at = np.nonzero(lung & usable)
        np.maximum.at(outermost, (at[0], ray[at]), radius[at])
        return cls(radius, ray, usable, outermost)

    def behind(self, lung: np.ndarray, wall: np.ndarray) -> np.ndarray:
        """What lies between the lung's last airy voxels and the wall (slices, rays), boolean; no lines of single voxels."""
        slices = np.arange(len(lung))[:, None, None]
        first, last = self.outermost[slices, self.ray], wall[slices, self.ray]
        behind = self.usable & (first > 0) & (self.radius > first) & (self.radius <= last)
        return ndimage.binary_opening(behind | lung, np.ones((1, 3, 3))) & behind


def _wall(outermost: np.ndarray, mm, rule: Rule) -> np.ndarray:
    """The chest wall's distance along one side's rays, mm (slices, rays).

    A dent in the lung's distance that is narrower than twice `rule.wall` degrees or `rule.wall_mm` is filled out to what
    surrounds it.
    """
    reach = (round(rule.wall_mm / mm[0]), round(rule.wall / DEGREES))
    if min(reach) < 1:
        return outermost
    padded = ndimage.grey_closing(np.pad(outermost, [(r, r) for r in reach]), size=[2 * r + 1 for r in reach])
    wall = padded[tuple(slice(r, -r) for r in reach)]
    wall[wall - outermost > rule.deepest] = 0  # so far from the wall lies an organ, the liver most often
    return wall


def _islands(whole: np.ndarray, air: np.ndarray, grid: _Grid) -> np.ndarray:
    """The lungs with the small airy islands that touch them and hold no gas alone, as in a lobe full of consolidation."""
    labels, count = cc3d.connected_components(air & (whole == 0), connectivity=6, return_N=True)
    result = whole.copy()
    spread = {side: ndimage.binary_dilation(whole == side) for side in SIDES}
    sizes = np.bincount(labels.reshape(-1), minlength=count + 1)
    touching = {side: np.bincount(labels[mask], minlength=count + 1) for side, mask in spread.items()}
    for n in range(1, count + 1):
        side = max(SIDES, key=lambda s: touching[s][n])
        if touching[side][n] > 0.5 * sizes[n]:
            result[labels == n] = side
    return result


def _notes(scan: Scan, lungs: Scan) -> tuple[str, ...]:
    """What is doubtful about a scan's lungs."""
    name = str(scan.path) if scan.path else "scan in memory"
    by_slice = np.stack([np.bincount(slice_.ravel(), minlength=3) for slice_ in lungs.axial()])
    sizes, areas = by_slice.sum(0), by_slice[:, 1:].sum(1)
    notes = []
    for side, word in SIDES.items():
        if sizes[side] < 0.1 * sizes[1:].sum():
            volume = sizes[side] * scan.voxel_volume / 1000
            notes.append(f"{name}: hardly any of the {word} lung is found ({volume:.0f} cm³); do not trust its share")
    cut = [word for k, word in ((0, "below"), (-1, "above")) if areas[k] > 0.2 * areas.max()]
    if cut:
        notes.append(f"{name}: the scan ends inside the lungs ({' and '.join(cut)}); shares are of the part that it shows")
    return tuple(notes)
