"""The phantom's anatomy, in HU and millimetres: body wall, bones, mediastinum, lungs, lobes, lesions; trees in `trees.py`.

Shapes are implicit functions of the position; lesions are the highest voxels of a rough field inside the lungs, cut where
their volume is the one asked for.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

FIELD_OF_VIEW = 358.4  # mm, in-plane
HEIGHT = 300.0  # mm, from below the diaphragm to above the apices

# HU: (value drawn around, accepted range of the tissue's median). Air, fat, muscle, blood, liver, bone: Bushberg et al.,
# The Essential Physics of Medical Imaging, 3rd ed. 2012. Lung, emphysema and lesions are our choice; Hansell et al. 2008 (the
# Fleischner glossary) says what ground glass and consolidation are, without numbers.
TISSUES = {
    "air": (-1000, (-1024, -950)),
    "lung": (-860, (-910, -780)),
    "emphysema": (-965, (-1000, -930)),
    "fat": (-100, (-120, -70)),
    "muscle": (50, (30, 70)),
    "blood": (42, (30, 60)),
    "liver": (58, (45, 70)),
    "cancellous bone": (190, (100, 350)),
    "cortical bone": (650, (350, 1500)),
    "ground glass": (-600, (-750, -400)),
    "consolidation": (5, (-120, 60)),
}
LOBES = {1: "right upper", 2: "right middle", 3: "right lower", 4: "left upper", 5: "left lower"}
KINDS = ("ground glass", "consolidation", "mixed", "crazy paving")


@dataclass
class Grid:
    """Positions in mm: z up from below the diaphragm, y to the back, x to the patient's left."""

    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    z: np.ndarray
    y: np.ndarray
    x: np.ndarray

    @classmethod
    def of(cls, size: tuple[int, int, int]) -> Grid:
        """The grid of a scan of rows × columns × slices."""
        rows, columns, slices = size
        pixel = FIELD_OF_VIEW / max(rows, columns)
        axes = [
            (np.arange(n, dtype=np.float32) + 0.5) * s for n, s in ((slices, HEIGHT / slices), (rows, pixel), (columns, pixel))
        ]
        z, y, x = axes[0][:, None, None], axes[1][None, :, None], axes[2][None, None, :]
        return cls((slices, rows, columns), (HEIGHT / slices, pixel, pixel), z, y - rows * pixel / 2, x - columns * pixel / 2)

    def noise(self, rng: np.random.Generator, millimetres: float) -> np.ndarray:
        """A smooth random field of standard deviation 1 whose bumps are about so large.

        Drawn on a coarse lattice of fixed size in mm, so one seed gives the same field at every resolution.
        """
        step = millimetres / 1.5
        extent = (HEIGHT, FIELD_OF_VIEW, FIELD_OF_VIEW)
        lattice = rng.standard_normal([int(np.ceil(e / step)) + 4 for e in extent]).astype(np.float32)
        lattice = ndimage.gaussian_filter(lattice, 0.8)
        lattice /= lattice.std()
        for axis, (count, gap) in enumerate(zip(self.shape, self.spacing, strict=True)):
            at = (np.arange(count) + 0.5) * gap / step + 1
            low = np.clip(at.astype(int), 0, lattice.shape[axis] - 2)
            share = (at - low).astype(np.float32)
            share = (share * share * (3 - 2 * share)).reshape([-1 if a == axis else 1 for a in range(3)])
            lattice = np.take(lattice, low, axis) * (1 - share) + np.take(lattice, low + 1, axis) * share
        return lattice

    def index(self, points: np.ndarray) -> np.ndarray:
        """(n, 3) points z, y, x in mm to voxel indices."""
        half = np.array([0, self.shape[1] * self.spacing[1] / 2, self.shape[2] * self.spacing[2] / 2])
        return np.clip(((points + half) / self.spacing).astype(int), 0, np.array(self.shape) - 1)

    def points(self, indices: np.ndarray) -> np.ndarray:
        """Voxel indices to points z, y, x in mm."""
        half = np.array([0, self.shape[1] * self.spacing[1] / 2, self.shape[2] * self.spacing[2] / 2])
        return (indices + 0.5) * self.spacing - half


def _power_ellipse(x, y, a, b, power):
    return (np.abs(x / a) ** power + np.abs(y / b) ** power) ** (1 / power)


def chest(grid: Grid, rng: np.random.Generator):
    """Body wall, bones, mediastinum, organs below the diaphragm, lungs with lobes and fissures, before vessels and lesions."""
    z, y, x = grid.z, grid.y, grid.x
    s = rng.uniform(0.92, 1.06)
    fat_mm = rng.uniform(7, 20)
    y = y - rng.uniform(-8, 8)
    hu = np.full(grid.shape, TISSUES["air"][0], np.float32)
    tissue = np.ones(grid.shape, np.uint8)
    code = {name: i for i, name in enumerate(TISSUES, 1)}
    rough = grid.noise(rng, 14)

    def put(where, name, texture=0.0):
        """Fill a region with a tissue."""
        value = TISSUES[name][0] + texture
        np.copyto(hu, np.broadcast_to(value, grid.shape).astype(np.float32), where=np.broadcast_to(where, grid.shape))
        tissue[np.broadcast_to(where, grid.shape)] = code[name]

    height = z / HEIGHT
    shoulder = 1 + 0.05 * np.clip((height - 0.7) / 0.3, 0, 1)
    half_w, half_d = (131 * s + 14 + 1.4 * fat_mm) * shoulder, 88 * s + 14 + fat_mm  # mm: cage, muscle, fat
    body = _power_ellipse(x, y, half_w, half_d, 2.5)
    put(body < 1, "fat", 6 * rough)
    put(np.abs(y - (half_d + 10 - 0.0012 * x**2)) < 2.5, "fat", -150)  # the couch, curved under the back

    # the rib cage narrows toward the apices
    narrow = np.sqrt(np.clip(1 - np.clip((height - 0.5) / 0.52, 0, 1) ** 2.6, 0.02, 1))
    cage_w, cage_d = 131 * s * narrow, 88 * s * (0.35 + 0.65 * narrow)
    cage = _power_ellipse(x, y, cage_w, cage_d, 2.3)
    inside_fat = (1 - body) * half_d > fat_mm
    put(inside_fat & (body < 1), "muscle", 5 * rough)
    back = (y > 0.55 * half_d) & (np.abs(x) > 12) & (np.abs(x) < 60) & (body < 0.94)
    put(back, "muscle", 5 * rough)
    girdle = (_power_ellipse(x, y, 131 * s, 88 * s, 2.3) - 1) * 88 * s  # mm outside the cage as it is before it narrows
    wall = (cage - 1) * 88 * s  # mm outside the cage as it is
    armpit = (wall > 15) & (girdle < 6) & (np.abs(y + 6) < 10 + 1.2 * (wall - 15) + 5 * rough)
    put(armpit, "fat", 6 * rough)
    planes = np.abs(grid.noise(rng, 42)) < 0.03
    put((body < 1) & inside_fat & planes & (wall > 12), "fat")  # planes between muscles

    vertebra, disc, spine_y = _bones(put, (z, y, x), s, body, wall, girdle, rough)

    # inside the cage: mediastinal fat, then what lies in it, then the lungs' share of the room
    cavity = cage < 0.965
    put(cavity, "fat", 12 * rough)
    heart = np.sqrt(((x - 20 * s) / (60 * s)) ** 2 + ((y + 24 * s) / (47 * s)) ** 2 + ((z - 98) / 52) ** 2)
    hilar = 9 * np.exp(-(((z - 160) / 38) ** 2))  # the mediastinum is widest at the hila
    column = np.minimum(
        _power_ellipse(x, y - 16, (25 + hilar + 3 * np.sin(z / 17)) * s, 58 * s, 2),
        np.abs(x + 3 * np.sin(z / 40))
        / (4 + 10 * np.clip((z - 215) / 60, 0, 1) + 9 * np.exp(-(((y + 82 * s) / 16) ** 2))),  # the anterior junction
    )
    aorta = np.hypot(x - 25 * s, y - 42 * s) / (12.5 * s)
    arch_of_aorta = np.sqrt(((x - 16 * s) / (19 * s)) ** 2 + ((y - 10 * s) / (42 * s)) ** 2 + ((z - 196) / 13) ** 2)
    great = np.minimum(np.hypot(x + 20 * s, y + 14 * s) / 11, np.hypot(x - 4 * s, y + 22 * s) / 15)
    hump = _power_ellipse(x, y - spine_y, 31 * s, 26 * s, 2)
    dome_r = 106 * s - 0.0125 * ((x + 62 * s) ** 2 + (y + 18) ** 2)
    dome_l = 91 * s - 0.0125 * ((x - 62 * s) ** 2 + (y + 18) ** 2)
    dome = np.where(x < 0, dome_r, dome_l) + 2.5 * np.sin(x / 23) * np.cos(y / 29)
    below = cavity & (z < dome)
    put(below & (z < dome - 3), "liver", 4 * rough)
    put(
        below & (x > 15) & (z < dome - 4) & (_power_ellipse(x - 60 * s, y + 15, 45 * s, 42 * s, 2) < 1),
        "muscle",
        8 * rough - 8,
    )
    gas = ((x - 58 * s) / 24) ** 2 + ((y + 40 * s) / 13) ** 2 + ((z - dome + 22) / 13) ** 2
    put(below & (gas < 1) & (y < -34 * s), "air")  # in the stomach, above its fluid
    put(below & (z >= dome - 3), "muscle")
    middle = (column < 1) | (heart < 1) | (aorta < 1.15) | (arch_of_aorta < 1.1) | (hump < 1)
    above = cavity & ~below
    put(above & middle & (rough > 0.35) & (height > 0.45), "muscle", -12)  # nodes, oesophagus, thymus remnants
    put(above & (heart < 0.97), "blood", 3 * rough)
    put((aorta < 1) & (z < 205) & cavity, "blood")
    put((arch_of_aorta < 1) & cavity, "blood")
    put(above & (great < 1) & (height > 0.52) & (z < 230), "blood")
    put((vertebra < 1) & cavity & ~disc, "cancellous bone", 30 * rough)

    lungs = above & ~middle & (cage < 0.955)
    lungs = ndimage.binary_opening(lungs, iterations=1)
    labels, n = ndimage.label(lungs)
    if n > 2:  # crumbs of the opening
        sizes = ndimage.sum_labels(lungs, labels, range(1, n + 1))
        lungs = np.isin(labels, 1 + np.argsort(sizes)[-2:])
    gravity = 32 * np.clip(y / (88 * s), -1, 1)
    put(lungs, "lung", gravity + 14 * rough + 10 * grid.noise(rng, 5) + rng.uniform(-45, 90))  # 90: a shallow breath

    lobes, fissures = _divide(grid, rng, hu, lungs, y)
    return hu, tissue, lungs, lobes, fissures


def _bones(put, position, s: float, body: np.ndarray, wall: np.ndarray, girdle: np.ndarray, rough: np.ndarray):
    """Ribs, shoulder blades, collarbones, spine and sternum through `put`.

    wall, girdle: mm outside the rib cage, narrowed toward the apices or not. Returns the vertebrae's implicit function, where
    discs are, and the spine's y.
    """
    z, y, x = position
    height = z / HEIGHT
    # ribs: oblique rings in the wall, cortex around marrow
    phase = np.mod(z + 0.45 * (-y) + 6 * np.sin(x / 60), 25.0) / 25.0
    rib = (wall > 1) & (wall < 9.5) & (phase < 0.44) & (np.abs(x) > 18) & (body < 0.97) & (z > 12)
    core = (wall > 3.2) & (wall < 7.3) & (phase > 0.1) & (phase < 0.34)
    put(rib, "cortical bone", 60 * rough)
    put(rib & core, "cancellous bone", 25 * rough)

    # shoulder blades: triangles behind the cage, tip down; collarbones: bars from the sternum outward, up and back
    blade = (np.abs(girdle - 9) < 2.3) & (y > 10 * s) & (np.abs(np.abs(x) - 82 * s) < 0.3 * (z - 158)) & (z < 288)
    put(blade & (body < 0.97), "cortical bone", 40 * rough)
    along = np.clip((np.abs(x) - 14 * s) / (106 * s), 0, 1)
    bar = np.hypot(y + s * (76 - 52 * along), z - 266 - 22 * along)
    put((bar < 6) & (np.abs(x) > 14 * s) & (np.abs(x) < 120 * s) & (body < 0.98), "cortical bone", 40 * rough)
    put((bar < 3) & (np.abs(x) > 17 * s) & (np.abs(x) < 117 * s) & (body < 0.98), "cancellous bone", 20 * rough)

    # spine: vertebral bodies and discs, canal, arch
    spine_y = 62 * s
    vertebra = _power_ellipse(x, y - spine_y, 20 * s, 15 * s, 2.2)
    disc = np.mod(z + 4, 27.0) < 5
    put(vertebra < 1, "cortical bone", 40 * rough)
    put((vertebra < 0.85) & ~disc, "cancellous bone", 30 * rough)
    put((vertebra < 1) & disc, "muscle", 30)
    arch = (_power_ellipse(x, y - spine_y - 24 * s, 17 * s, 13 * s, 2) < 1) & ~disc
    spinous = (np.abs(x) < 4) & (y > spine_y + 30 * s) & (y < spine_y + 46 * s) & ~disc & (body < 0.97)
    put(arch | spinous, "cortical bone", 50 * rough)
    put(_power_ellipse(x, y - spine_y - 22 * s, 10 * s, 8 * s, 2) < 1, "muscle", -10)

    # sternum
    sternum = _power_ellipse(x, y + 0.955 * 88 * s + 4, 19 * s, 7, 2.5)
    put((sternum < 1) & (height > 0.22) & (height < 0.8), "cortical bone", 20)
    put((sternum < 0.68) & (height > 0.22) & (height < 0.8), "cancellous bone")
    return vertebra, disc, spine_y


def _divide(grid: Grid, rng: np.random.Generator, hu: np.ndarray, lungs: np.ndarray, y: np.ndarray):
    """Five lobes of the lungs, and the fissures between them, which are drawn into hu; y as the patient lies."""
    z, x = grid.z, grid.x
    wave = 5 * np.sin(x / 31 + rng.uniform(0, 6)) + 3 * np.sin(y / 27 + rng.uniform(0, 6))
    oblique = z - (148 + 1.02 * y + wave)
    horizontal = z - (156 + wave - 0.08 * y)
    right, left = lungs & (x < 0), lungs & (x >= 0)
    lobes = np.zeros(grid.shape, np.uint8)
    for label, where in (
        (1, right & (oblique > 0) & (horizontal > 0)),
        (2, right & (oblique > 0) & (horizontal <= 0)),
        (3, right & (oblique <= 0)),
        (4, left & (oblique > 0)),
        (5, left & (oblique <= 0)),
    ):
        lobes[where] = label
    thick = rng.uniform(0.5, 1.3)  # mm; a thick fissure is one of the paper's failure cases
    fissures = np.zeros(grid.shape, bool)
    for distance, where in ((oblique / 1.43, lungs), (horizontal, right & (oblique > 0))):
        blur = max(0.6, 0.45 * float(np.mean(grid.spacing)))
        share = np.clip(thick / (2.5 * blur) * np.exp(-0.5 * (distance / blur) ** 2), 0, 0.6) * where
        hu += share * (TISSUES["muscle"][0] - 40 - hu)
        fissures |= share > 0.1
    return lobes, fissures


def add_emphysema(grid: Grid, rng, hu, tissue, lungs, lobes) -> np.ndarray:
    """Holes of low density, mostly in the upper lobes of every third patient; no lesion, but a trap for thresholds."""
    field = grid.noise(rng, 11) + 0.8 * np.isin(lobes, (1, 4))
    extent = rng.uniform(1.6, 2.2) if rng.random() < 0.34 else 9.0
    where = lungs & (field > extent)
    hu[where] = TISSUES["emphysema"][0]
    tissue[where] = 1 + list(TISSUES).index("emphysema")
    return where


def add_lesions(grid: Grid, rng, hu, tissue, lungs, volume: float, age: float):
    """Draw lesions of a total volume (cm³) into hu; returns their mask and kinds (0, or 1 + index in KINDS)."""
    count = int(rng.integers(1, 4) if volume < 3 else rng.integers(4, 11))
    sites = rng.random((count, 400, 3))
    traits = rng.random((count, 8))
    roughness = 0.55 * grid.noise(rng, 16) + 0.28 * grid.noise(rng, 7)
    septa = np.abs(grid.noise(rng, 6))
    grain = grid.noise(rng, 4)
    kinds = np.zeros(grid.shape, np.uint8)
    voxel = float(np.prod(grid.spacing)) / 1000
    wanted = round(volume / voxel)
    if volume > 0:
        wanted = max(1, wanted)
    if wanted > 0.8 * np.count_nonzero(lungs):
        raise ValueError(f"lesions of {volume:g} cm³ do not fit into lungs of {np.count_nonzero(lungs) * voxel:.0f} cm³")
    if wanted == 0:
        return np.zeros(grid.shape, bool), kinds
    low, high = np.array([30, -95, -125]), np.array([260, 95, 125])
    depth_mm = ndimage.distance_transform_edt(lungs, sampling=grid.spacing)
    field = np.full(grid.shape, -np.inf, np.float32)
    which = np.zeros(grid.shape, np.uint8)
    spread = np.clip((volume / 60) ** (1 / 3), 0.28, 1.6)
    for site, trait in zip(sites, traits, strict=True):
        candidates = low + site * (high - low)
        at = tuple(grid.index(candidates).T)
        # peripheral and dorsal by preference, lower zones a little
        weight = np.exp(-depth_mm[at] / 9 + 1.3 * candidates[:, 1] / 90 - 0.5 * candidates[:, 0] / HEIGHT) * lungs[at]
        if not weight.any():
            continue
        centre = candidates[int(np.argmax(np.cumsum(weight) >= trait[0] * weight.sum()))]
        radii = spread * (10 + 22 * trait[1:4]) * np.array([1.1, 0.8, 1.0])
        distance = sum(((p - c) / r) ** 2 for p, c, r in zip((grid.z, grid.y, grid.x), centre, radii, strict=True))
        kind = KINDS[int(np.searchsorted([0.5, 0.62, 0.85], trait[4]))]
        value = 1 - np.sqrt(distance) + 0.6 * roughness + 0.1 * trait[5]
        value = (value - 0.018 * depth_mm + 0.35 * np.minimum(grid.y / 90, 0.8)).astype(np.float32)
        better = value > field
        field[better] = value[better]
        which[better] = 1 + KINDS.index(kind)
    inside = np.flatnonzero(lungs)
    values = field.ravel()[inside]
    order = np.argsort(-values, kind="stable")[:wanted]
    mask = np.zeros(grid.shape, bool)
    mask.ravel()[inside[order]] = True
    kinds[mask] = which[mask]
    depth = np.clip((field - values[order[-1]]) / 0.8, 0, 1)
    glass, solid = TISSUES["ground glass"][0], TISSUES["consolidation"][0]
    target = glass + 55 * grain + 130 * depth + rng.uniform(-60, 60)
    paving = np.where(septa < 0.3, -330, target)
    core = depth > 0.42
    dense = np.where(kinds == 2, depth > 0.08, core & (kinds == 3)) & mask
    target = np.where(kinds == 4, paving, target)
    target = np.where(dense, solid + 12 * grain, target)
    strength = np.clip(0.62 + 0.6 * depth, 0, 1) * (1 - 0.45 * age)
    strength = np.where(dense, 1 - 0.45 * age, strength)
    hu[mask] += (strength * (target - hu))[mask]
    names = list(TISSUES)
    tissue[mask] = 1 + names.index("ground glass")
    tissue[dense] = 1 + names.index("consolidation")
    return mask, kinds
