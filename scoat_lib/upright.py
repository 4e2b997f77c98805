"""Which way up a scan lies, by its own anatomy: front and back, head and foot, left and right, beside what its header says.

Cues, each counted only where it is seen: the spine, the other bones, the table, the flat back, the wall behind the lungs and
what settles in them (front and back); the lungs' width and outline, the windpipe, the shoulders' bones (head and foot); the
heart and the liver (left and right). All are measured on a grid of about 4 mm, so neither pixel size nor slice number matters.
Nothing is ever turned here: a scan that seems to lie otherwise is named, with what to do.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from skimage.morphology import convex_hull_image

from scoat_lib.scan import Scan, ScanError, check_hounsfield

AS_SAID, REVERSED, UNKNOWN = "as the header says", "reversed", "cannot know"
LEAST_MM = 100.0  # of a stack that is believed in more than front and back
GRID = 4.0  # mm
MOST_SLICES = 64  # spread over the scan; more change nothing but the time
SURE = {"front and back": 0.4, "head and foot": 0.4, "left and right": 0.5}  # a score from here on is a verdict
# each cue: the value at which it counts for three quarters of its weight, and its weight
CUES = {
    "front and back": {
        "spine": (0.2, 3.0),
        "bones": (0.12, 2.0),
        "table": (0.4, 2.0),
        "flat back": (0.08, 1.0),
        "wall": (0.05, 1.0),
        "settled": (0.25, 0.5),
    },
    "head and foot": {"width": (0.1, 2.0), "outline": (0.1, 1.0), "windpipe": (0.5, 2.0), "shoulders": (0.4, 1.5)},
    "left and right": {"liver": (0.08, 2.0), "heart": (0.03, 1.5), "left side": (0.08, 1.0), "dome": (0.5, 1.0)},
}
LEAST = {"front and back": 4.0, "head and foot": 3.0, "left and right": 2.5}  # weight below which no score reaches 1


class UprightWarning(UserWarning):
    """A scan seems to lie otherwise than its header says."""


@dataclass(frozen=True)
class Verdict:
    """One pair of directions.

    says: AS_SAID, REVERSED or UNKNOWN. score: −1 (surely reversed) to 1 (surely as the header says); 0 where nothing was seen.
    cues: what was seen, each −1 to 1.
    """

    says: str
    score: float
    cues: dict[str, float]


@dataclass(frozen=True)
class Position:
    """The three verdicts on a scan."""

    front_back: Verdict
    head_foot: Verdict
    left_right: Verdict

    @property
    def reversed_pairs(self) -> tuple[str, ...]:
        """Names of the pairs that are reversed, of "front and back", "head and foot", "left and right"."""
        named = zip(CUES, (self.front_back, self.head_foot, self.left_right), strict=True)
        return tuple(name for name, verdict in named if verdict.says == REVERSED)


def look(scan: Scan, chest: Chest | None = None) -> Position:
    """Which way up a scan in HU lies, by what it shows; any grid, a whole chest, a part of one, or a single slice.

    chest: `Chest.of(scan)`, where it was made before.

    A single slice or a thin slab has no head and foot; without heart or liver there is no left and right: UNKNOWN.
    Raises ScanError for a scan that is not in HU.
    """
    if chest is None:
        check_hounsfield(scan)
        chest = Chest.of(scan)
    front_back = _verdict("front and back", _front_back_cues(chest))
    head_foot = _verdict("head and foot", _head_foot_cues(chest))
    feet = {AS_SAID: 1, REVERSED: -1, UNKNOWN: 0}[head_foot.says]
    return Position(front_back, head_foot, _verdict("left and right", _left_right_cues(chest, feet)))


def warning(scan: Scan, name: str | None = None, chest: Chest | None = None) -> str | None:
    """One line that says which directions of a scan seem reversed and what to do, or None if none does.

    name: of the scan, for the line; else its path. chest: as in `look`. A scan that cannot be judged (not in HU) gives None.
    Of a stack shorter than `LEAST_MM` only front and back are believed: the other two were wrong in up to one of twenty such
    stacks (results/readings/upright.json).
    """
    try:
        position = look(scan, chest)
    except ScanError:
        return None
    height = scan.axial().shape[0] * scan.axial_spacing[0]
    pairs = [pair for pair in position.reversed_pairs if height >= LEAST_MM or pair == "front and back"]
    if not pairs:
        return None
    where = name or (str(scan.path) if scan.path else "scan in memory")
    doubts = []
    if "front and back" in pairs:
        doubts.append("or the patient lies face down")
    if "left and right" in pairs:
        doubts.append("or the heart lies on the right")
    verdicts = dict(zip(CUES, (position.front_back, position.head_foot, position.left_right), strict=True))
    seen = "; ".join(f"{pair} {_because(verdicts[pair])}" for pair in pairs)
    return (
        f"{where}: {', '.join(pairs)} seem{'s' if len(pairs) == 1 else ''} reversed against the header"
        f"{' (' + ', '.join(doubts) + ')' if doubts else ''}, by the image itself: {seen}. Nothing was turned. Look at it, and "
        "correct the affine of scan and mask; for the public record: python data/download.py --from FOLDER --output FOLDER"
    )


def warn(scan: Scan, name: str | None = None) -> str | None:
    """Issue `warning(scan, name)` as an UprightWarning if there is one; returns its text, or None."""
    text = warning(scan, name)
    if text:
        warnings.warn(text, UprightWarning, stacklevel=2)
    return text


def _because(verdict: Verdict) -> str:
    """The cues that speak for a reversal, strongest first, with the score."""
    seen = sorted((value, cue) for cue, value in verdict.cues.items() if value < -0.3)
    return f"by {', '.join(cue for _, cue in seen)}, score {verdict.score:.2f}"


def _verdict(pair: str, values: dict[str, tuple[float, float]]) -> Verdict:
    """A verdict from {cue: (value, share of its weight)}; a value that is not finite was not seen."""
    total = weights = 0.0
    cues = {}
    for cue, (value, share) in values.items():
        scale, weight = CUES[pair][cue]
        if np.isfinite(value) and share > 0:
            cues[cue] = float(np.tanh(value / scale))
            total += weight * share * cues[cue]
            weights += weight * share
    score = total / max(weights, LEAST[pair])
    says = UNKNOWN if abs(score) < SURE[pair] else AS_SAID if score > 0 else REVERSED
    return Verdict(says, round(score, 4), {cue: round(value, 3) for cue, value in cues.items()})


def _coarse(scan: Scan) -> tuple[np.ndarray, tuple[float, float, float]]:
    """Some axial slices as block means of about GRID mm, float32, and their spacing in mm."""
    slices, (between, row_mm, column_mm) = scan.axial(), scan.axial_spacing
    step = max(1, round(GRID / between), -(-len(slices) // MOST_SLICES))
    rows, columns = max(1, round(GRID / row_mm)), max(1, round(GRID / column_mm))
    chosen = slices[min(step // 2, len(slices) - 1) :: step]
    h, w = chosen.shape[1] // rows, chosen.shape[2] // columns
    if h < 1 or w < 1:
        return np.full((len(chosen), 1, 1), -1000, np.float32), (between * step, row_mm, column_mm)
    blocks = chosen[:, : h * rows, : w * columns].reshape(len(chosen), h, rows, w, columns)
    return blocks.mean((2, 4), dtype=np.float32), (between * step, row_mm * rows, column_mm * columns)


def body_of(grey: np.ndarray, row_mm: float) -> np.ndarray:
    """The patient in one slice: what is not the air around, without table and blankets, lungs filled; boolean.

    grey: HU (H, W), means of 2 mm or more. row_mm: mm between rows.
    """
    air = grey < -400
    labels, count = ndimage.label(air)
    outside = np.zeros(labels.shape, bool)
    if count:
        top, bottom, left, right = labels[0], labels[-1], labels[:, 0], labels[:, -1]
        corners = {int(v) for v in (top[0], top[-1], bottom[0], bottom[-1])}
        across = set(left.tolist()) & set(right.tolist())
        border = sorted({int(v) for v in np.concatenate([top, bottom, left, right])} - {0})
        around = {n for n in border if n in corners or n in across}
        # a lung that the field of view cuts touches the border too, but it is no corner, and not as empty as air
        rest = [n for n in border if n not in around]
        around |= {n for n, m in zip(rest, ndimage.median(grey, labels, rest) if rest else (), strict=True) if m < -930}
        outside = np.isin(labels, sorted(around))
    solid = ~outside
    square = np.ones((3, 3), bool)
    times = 2 if row_mm < 4.5 else 1
    opened = ndimage.binary_opening(np.pad(solid, 2, mode="edge"), square, iterations=times)[2:-2, 2:-2]
    labels, count = ndimage.label(opened)
    if not count:
        return np.zeros(solid.shape, bool)
    largest = labels == 1 + int(np.argmax(ndimage.sum_labels(opened, labels, range(1, count + 1))))
    return ndimage.binary_fill_holes(ndimage.binary_dilation(ndimage.binary_fill_holes(largest), square) & solid)


class Chest:
    """What a coarse scan shows, slice by slice: body, lungs, bones, what lies beside the body; all boolean (slices, H, W).

    grey: HU, float32. mm: spacing. body_area, lung_area: mm² by slice. usable: slices with a body; with_lungs: with lungs.
    """

    def __init__(self, grey: np.ndarray, millimetres: tuple[float, float, float]):
        self.grey, self.mm = grey, millimetres
        self.pixel = millimetres[1] * millimetres[2]  # mm²
        self.air = grey < -400
        self.body = np.stack([body_of(grey[k], self.mm[1]) for k in range(len(grey))])
        self.lungs = self._lungs()
        # bone ends at 100 HU where an 8-bit window did; soft tissue lies below four fifths of that
        self.bones = (grey >= min(180.0, 0.8 * float(grey.max()))) & self.body
        self.beside = (grey > -800) & ~ndimage.binary_dilation(self.body, np.ones((1, 3, 3), bool))
        self.body_area = self.body.sum((1, 2)) * self.pixel
        self.lung_area = self.lungs.sum((1, 2)) * self.pixel
        self.usable = np.flatnonzero(self.body_area > 8000)
        self.with_lungs = [int(k) for k in self.usable if self.lung_area[k] > 0.1 * self.body_area[k]]
        self.widths, self.solid = self._outlines()

    @classmethod
    def of(cls, scan: Scan) -> Chest:
        """What a scan in HU shows."""
        return cls(*_coarse(scan))

    def _lungs(self) -> np.ndarray:
        """The large airy parts of the body that are not gas alone."""
        airy = self.body & self.air
        labels, count = ndimage.label(airy)
        if not count:
            return airy
        every = range(1, count + 1)
        sizes, medians = ndimage.sum_labels(airy, labels, every), ndimage.median(self.grey, labels, every)
        kept = [n for n, size, median in zip(every, sizes, medians, strict=True) if size > 0.06 * sizes.max() and median > -950]
        return np.isin(labels, kept)

    def _outlines(self) -> tuple[dict[int, float], dict[int, float]]:
        """Width of the lungs in mm, and the share that they fill of their hulls, by slice with lungs."""
        widths, solid = {}, {}
        for k in self.with_lungs:
            across = np.flatnonzero(self.lungs[k].any(0))
            widths[k] = float(across[-1] - across[0] + 1) * self.mm[2]
            labels, count = ndimage.label(self.lungs[k])
            sizes = ndimage.sum_labels(self.lungs[k], labels, range(1, count + 1))
            large = [n + 1 for n in range(count) if sizes[n] > 0.2 * sizes.max()]
            hulls = sum(int(convex_hull_image(labels == n).sum()) for n in large)
            solid[k] = float(sum(sizes[n - 1] for n in large)) / hulls
        return widths, solid

    def middle(self, k: int) -> float:
        """The column between the patient's sides: of the body, and of the lungs where they are."""
        columns = np.flatnonzero(self.body[k].any(0))
        weight = self.body[k].sum(0)
        body = 0.5 * (float(weight @ np.arange(len(weight))) / weight.sum() + (columns[0] + columns[-1]) / 2)
        if self.lung_area[k] <= 0.1 * self.body_area[k]:
            return body
        across = np.flatnonzero(self.lungs[k].any(0))
        return 0.5 * body + 0.25 * (across[0] + across[-1])


def _mean(values: list[float], weights=None) -> float:
    """The weighted mean of what is finite, NaN for nothing."""
    values = np.asarray(values, float)
    weights = np.ones(len(values)) if weights is None else np.asarray(weights, float)
    seen = np.isfinite(values)
    return float(np.average(values[seen], weights=weights[seen])) if seen.any() else np.nan


def _front_back_cues(chest: Chest) -> dict[str, tuple[float, float]]:
    """Each positive where the first row is the front."""
    seen: dict[str, list[float]] = {name: [] for name in CUES["front and back"]}
    for k in chest.with_lungs:  # the neck and the abdomen only add doubt
        body, bone, mm = chest.body[k], chest.bones[k], chest.mm[1]
        rows, columns = np.flatnonzero(body.any(1)), np.flatnonzero(body.any(0))
        first, last = int(rows[0]), int(rows[-1])
        centre, half = (first + last) / 2, (last - first + 1) / 2
        middle = chest.middle(k)
        strip = np.abs(np.arange(body.shape[1]) - middle) * chest.mm[2] < 35
        at = np.arange(len(body))
        seen["spine"].append((_spine_row(bone[:, strip], chest.pixel) - centre) / half)
        by_row = bone.sum(1)
        seen["bones"].append((by_row @ at / by_row.sum() - centre) / half if by_row.sum() * chest.pixel > 500 else np.nan)
        beside = chest.beside[k][:, columns[0] : columns[-1] + 1]
        behind, before = beside[int(centre + half / 2) :], beside[: max(1, int(centre - half / 2))]
        seen["table"].append(float(behind.any(0).mean() - before.any(0).mean()))
        depth = max(1, round(0.24 * half))
        cut = first == 0 or last == len(body) - 1
        width = columns[-1] - columns[0] + 1
        seen["flat back"].append(np.nan if cut else float(body[last - depth].sum() - body[first + depth].sum()) / width)
        lungs = chest.lungs[k]
        rows = np.flatnonzero(lungs.sum(1) > 2)
        if len(rows) * mm < 20:
            continue
        ridge = np.flatnonzero(body[:, max(0, int(middle) - 2) : int(middle) + 3].any(1))
        wall = ((ridge[-1] - rows[-1]) - (rows[0] - ridge[0])) / (2 * half) if len(ridge) and not cut else np.nan
        seen["wall"].append(float(wall))
        row = np.nonzero(lungs)[0]
        row = (row - row.mean()) / max(1, (rows[-1] - rows[0]) / 2)
        grey = chest.grey[k][lungs]
        seen["settled"].append(float((grey - grey.mean()) @ row / (row @ row)) / 150)
    return {name: (_mean(values), 1.0) for name, values in seen.items()}


def _spine_row(strip: np.ndarray, pixel: float) -> float:
    """The row of the largest bone in the middle of a slice, NaN without one of a vertebra's size."""
    closed = ndimage.binary_closing(np.pad(strip, 2), np.ones((3, 3), bool), iterations=2)[2:-2, 2:-2]
    labels, count = ndimage.label(closed)
    if not count:
        return np.nan
    sizes = ndimage.sum_labels(closed, labels, range(1, count + 1))
    largest = int(np.argmax(sizes))
    if not 350 < sizes[largest] * pixel < 5000:  # mm²; above, it is a heart full of contrast medium
        return np.nan
    return float(ndimage.center_of_mass(labels == largest + 1)[0])


def _head_foot_cues(chest: Chest) -> dict[str, tuple[float, float]]:
    """Each positive where the first slice is nearest the feet."""
    count, cues = len(chest.grey), {}
    widths, solid = chest.widths, chest.solid
    part = [k for k in widths if chest.lung_area[k] > 0.15 * chest.lung_area.max()]
    if len(part) < 3 or len(part) * chest.mm[0] < 40:  # mm; a slab so thin shows no direction
        return cues
    third = max(1, len(part) // 3)
    low, high = part[:third], part[-third:]
    mean = np.mean([widths[k] for k in part])
    cues["width"] = (float(np.mean([widths[k] for k in low]) - np.mean([widths[k] for k in high])) / mean, 1.0)
    cues["outline"] = (float(np.mean([solid[k] for k in high]) - np.mean([solid[k] for k in low])), 1.0)
    pipe = np.array([k in chest.usable and _windpipe(chest, k) for k in range(count)])
    share = pipe.mean()
    if 0 < share < 1:
        apart = np.flatnonzero(pipe).mean() - np.flatnonzero(~pipe).mean()
        cues["windpipe"] = (float(apart) / (count / 2), float(4 * share * (1 - share)))
    bones = chest.bones.sum((1, 2)) / np.maximum(1, chest.body.sum((1, 2)))
    third = max(1, count // 3)
    if bones.mean() > 0:
        cues["shoulders"] = (float(bones[-third:].mean() - bones[:third].mean()) / float(bones.mean()), 1.0)
    return cues


def _windpipe(chest: Chest, k: int) -> bool:
    """Whether a slice shows a small round hole full of air near its middle."""
    rows = np.flatnonzero(chest.body[k].any(1))
    labels, _ = ndimage.label(chest.body[k] & (chest.grey[k] < -700))
    middle = chest.middle(k)
    for n, box in enumerate(ndimage.find_objects(labels), 1):
        hole = labels[box] == n
        area = hole.sum() * chest.pixel
        if not 60 < area < 700 or max(hole.shape) * chest.mm[1] > 40 or hole.mean() < 0.5:
            continue
        row = (box[0].start + box[0].stop - 1) / 2
        column = (box[1].start + box[1].stop - 1) / 2
        central = abs((row - rows[0]) / max(1, rows[-1] - rows[0]) - 0.5) < 0.3
        if central and abs(column - middle) * chest.mm[2] < 25 and chest.grey[k][box][hole].min() < -850:
            return True
    return False


def _left_right_cues(chest: Chest, feet: int) -> dict[str, tuple[float, float]]:
    """Each positive where the first column is the patient's right.

    feet: 1 if the first slice is nearest the feet, −1 if the last is, 0 if that is not known.
    """
    solid = chest.solid
    most = max((chest.lung_area[k] / chest.body_area[k] for k in chest.with_lungs), default=0)
    order = list(chest.usable)[:: -1 if feet < 0 else 1]
    lung_slices = [k for k in order if k in solid]
    if feet and lung_slices:  # the heart lies in the lower half of the lungs, the liver within 80 mm below them
        lower = set(lung_slices[: max(1, round(0.65 * len(lung_slices)))])
        base = order.index(lung_slices[0])
        reach = round(80 / chest.mm[0])
        abdomen = order[max(0, base - reach) : base]
    else:
        lower = set(lung_slices)
        abdomen = [k for k in order if k not in solid and len(order) > 1]
    heart, side, dome, liver = [], [], [], [_denser_right(chest, k) for k in abdomen]
    for k in lung_slices:
        if k not in lower:
            continue
        islands = _islands(chest, k)
        if islands:
            dome.append(islands)
        if solid[k] > 0.65 and chest.lung_area[k] / chest.body_area[k] > max(0.2, 0.5 * most):
            heart.append(_heart_offset(chest, k))
            if not islands:
                side.append(-_denser_right(chest, k))
    return {
        "liver": (_mean(liver), min(1.0, len(liver) * chest.mm[0] / 20)),
        "heart": (_mean(heart), 1.0),
        "left side": (_mean(side), 1.0),
        "dome": (_mean(dome), 1.0 if len(chest.grey) == 1 else 0.5),  # the left one may show first
    }


def _denser_right(chest: Chest, k: int) -> float:
    """How much more of the first half of the body's inside is soft tissue than of the second, as a share."""
    inside = ndimage.binary_erosion(chest.body[k], iterations=max(1, round(25 / chest.mm[1]))) & ~chest.bones[k]
    soft, middle = inside & (chest.grey[k] > 0), round(chest.middle(k))
    shares = [soft[:, part].sum() / max(1, inside[:, part].sum()) for part in (slice(None, middle), slice(middle + 1, None))]
    return float(shares[0] - shares[1])


def _heart_offset(chest: Chest, k: int) -> float:
    """How far the middle between the lungs lies toward the last column, as a share of the chest's half width."""
    lungs, middle = chest.lungs[k], round(chest.middle(k))
    across = np.flatnonzero(lungs.any(0))
    offsets = []
    for row in lungs:
        right, left = np.flatnonzero(row[:middle]), np.flatnonzero(row[middle + 1 :])
        if len(right) and len(left):
            offsets.append((right[-1] + left[0] + middle + 1) / 2 - middle)
    if len(offsets) * chest.mm[1] < 40:
        return np.nan
    return float(np.mean(offsets)) / ((across[-1] - across[0]) / 2)


def _islands(chest: Chest, k: int) -> int:
    """1 if a large round island of soft tissue lies in the first lung only (the liver's dome), −1 if in the second, else 0."""
    holes = ndimage.binary_fill_holes(chest.lungs[k]) & ~chest.lungs[k]
    labels, _ = ndimage.label(holes)
    middle, found = chest.middle(k), 0
    for n, box in enumerate(ndimage.find_objects(labels), 1):
        hole = labels[box] == n
        if hole.sum() * chest.pixel < 500 or hole.mean() < 0.6 or np.median(chest.grey[k][box][hole]) < -50:
            continue
        column = (box[1].start + box[1].stop - 1) / 2
        if abs(column - middle) * chest.mm[2] > 30:
            found += 1 if column < middle else -1
    return int(np.sign(found))
