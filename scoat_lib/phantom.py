"""The embedded cohort: synthetic chest CT in HU with exact masks, standing in for the paper's 19 + 8 private scans.

Everything is drawn in millimetres on a field of 358 mm, so volumes are the same at every size; what is drawn stands in
`anatomy.py` and `trees.py`, HU per tissue follow its TISSUES.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from scoat_lib.anatomy import Grid, add_emphysema, add_lesions, chest
from scoat_lib.files import PART, sync
from scoat_lib.scan import Scan
from scoat_lib.trees import add_trees

VERSION = 3  # raised when the same seed gives another scan
FOLLOW_UP = {  # Figure 6: date (2020), LOV in cm³, clinical stage
    "follow_a": (
        ("01-30", 428, "absorption"),
        ("02-04", 192, "absorption"),
        ("02-14", 34, "absorption"),
        ("02-22", 24, "absorption"),
    ),
    "follow_b": (
        ("02-01", 369, "early"),
        ("02-09", 503, "progressive"),
        ("02-17", 122, "absorption"),
        ("02-21", 110, "absorption"),
    ),
}


@dataclass(frozen=True)
class Scanner:
    """noise: standard deviation in HU. sharp: share of high frequencies. blur: in-plane mm. offset, gain: of HU."""

    noise: float
    sharp: float
    blur: float
    offset: float = 0.0
    gain: float = 1.0


SCANNERS = {"a": Scanner(noise=13, sharp=0.6, blur=0.9), "b": Scanner(noise=7, sharp=0.2, blur=1.6, offset=8, gain=0.985)}


@dataclass(frozen=True)
class Phantom:
    """A synthetic scan (int16 HU) and its exact masks, all on one grid.

    lesions, lungs, vessels, airways, fissures, emphysema: 0 and 1. lobes: 0, or a key of LOBES. kinds: 0, or 1 + the index
    in KINDS of the lesion's kind. tissues: 0, or 1 + the index in TISSUES of what was drawn there last.
    """

    scan: Scan
    lesions: Scan
    lungs: Scan
    lobes: Scan
    vessels: Scan
    airways: Scan
    fissures: Scan
    emphysema: Scan
    kinds: Scan
    tissues: Scan


def patient(
    seed: int,
    size: tuple[int, int, int] = (128, 128, 32),
    volume: float | None = None,
    scanner: str = "a",
    noise_seed: int | None = None,
    lesion_age: float = 0.0,
) -> Phantom:
    """One synthetic patient; the same seed gives the same anatomy and lesion sites at every size.

    size: rows, columns, slices, from 64 × 64 × 16. volume: of all lesions in cm³, met to half a voxel; None draws one, from
    0.3 to 700 cm³, 0 makes a healthy scan. scanner: a key of SCANNERS. noise_seed: another for a second scan of the patient.
    lesion_age: 0 (fresh) to 1 (fading): density of the lesions.
    Raises ValueError for a size below the least, an unknown scanner, or a volume that the lungs cannot hold.
    """
    if len(size) != 3 or min(size[:2]) < 64 or size[2] < 16:
        raise ValueError(f"size is {size}; it must be rows, columns, slices from 64 × 64 × 16")
    if scanner not in SCANNERS:
        raise ValueError(f"scanner is {scanner!r}; known: {', '.join(SCANNERS)}")
    grid = Grid.of(size)
    rng = np.random.default_rng([seed, VERSION])
    if volume is None:
        volume = float(np.exp(rng.uniform(np.log(0.3), np.log(700))))
    else:
        rng.uniform()
    hu, tissue, lungs, lobes, fissures = chest(grid, rng)
    emphysema = add_emphysema(grid, rng, hu, tissue, lungs, lobes)
    lesions, kinds = add_lesions(grid, rng, hu, tissue, lungs, volume, lesion_age)
    vessels, airways = add_trees(grid, rng, hu, tissue, lungs, lobes, kinds)
    hu = _scanned(grid, np.random.default_rng([seed if noise_seed is None else noise_seed, 77]), hu, SCANNERS[scanner])
    affine = np.diag([-grid.spacing[2], -grid.spacing[1], grid.spacing[0], 1.0])

    def scan(array: np.ndarray, dtype) -> Scan:
        """An array of slices as a Scan in the phantom's affine."""
        return Scan(np.ascontiguousarray(array.transpose(2, 1, 0).astype(dtype)), affine)

    masks = (lesions, lungs, lobes, vessels, airways, fissures, emphysema & ~lesions, kinds, tissue)
    return Phantom(scan(np.rint(hu), np.int16), *(scan(mask, np.uint8) for mask in masks))


def _scanned(grid: Grid, rng, hu: np.ndarray, scanner: Scanner) -> np.ndarray:
    """Blur by the scanner's kernel, add its noise, correct its calibration: what leaves the scanner, −1024 … 3071 HU."""
    sigma = scanner.blur / 2.355 / grid.spacing[1]
    hu = ndimage.gaussian_filter(hu, (0, sigma, sigma))
    white = rng.standard_normal(grid.shape, np.float32)
    soft = ndimage.gaussian_filter(white, (0, 0.9, 0.9))
    shaped = soft / soft.std() * (1 - scanner.sharp) + (white - soft) / (white - soft).std() * scanner.sharp
    noisy = hu + scanner.noise * shaped / shaped.std()
    return np.clip(scanner.gain * noisy + scanner.offset, -1024, 3071)


def write_cohort(
    folder, patients: int = 19, size: tuple[int, int, int] = (128, 128, 32), seed: int = 0, follow_up: bool = False
):
    """Write a cohort laid out like the public record, with lung, lobe and vessel masks beside; returns the folder.

    Lesion volumes are spread evenly in their logarithm from 0.3 to 700 cm³ over the patients, in random order, so one is tiny.
    follow_up: the 2 patients × 4 dates of Figure 6 on scanner b instead of the 19 of section IV-A.
    The folder appears whole or not at all. Raises ValueError if it exists already.
    """
    folder = Path(folder)
    if folder.exists():
        raise ValueError(f"{folder}: exists already; choose another folder or remove it")
    folder.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([seed, VERSION, 5])
    if follow_up:
        made = [
            (f"{name}_{date}", dict(seed=1000 * (seed + 1) + number, volume=lov, noise_seed=visit, lesion_age=visit / 6))
            for number, (name, visits) in enumerate(FOLLOW_UP.items())
            for visit, (date, lov, _) in enumerate(visits)
        ]
        scanner = "b"
    else:
        volumes = rng.permutation(np.exp(np.linspace(np.log(0.3), np.log(700), patients)))
        made = [(f"phantom_{i + 1:03d}", dict(seed=1000 * seed + i, volume=float(v))) for i, v in enumerate(volumes)]
        scanner = "a"
    temporary = Path(tempfile.mkdtemp(prefix=PART, dir=folder.parent))
    try:
        for part in ("COVID-19-CT-Seg_20cases", "Infection_Mask", "Lung_Mask", "Lobe_Mask", "Vessel_Mask"):
            (temporary / part).mkdir()
        volumes = {}
        for name, arguments in made:
            one = patient(size=size, scanner=scanner, **arguments)
            one.scan.save(temporary / "COVID-19-CT-Seg_20cases" / f"{name}.nii.gz")
            one.lesions.save(temporary / "Infection_Mask" / f"{name}.nii.gz")
            one.lungs.save(temporary / "Lung_Mask" / f"{name}.nii.gz")
            one.lobes.save(temporary / "Lobe_Mask" / f"{name}.nii.gz")
            one.vessels.save(temporary / "Vessel_Mask" / f"{name}.nii.gz")
            volumes[name] = round(one.lesions.volume(), 3)
        about = {"what": "synthetic chest CT, no patient's", "version": VERSION, "seed": seed, "lesion_cm3": volumes}
        (temporary / "phantom.json").write_text(json.dumps(about, indent=1))
        temporary.chmod(0o755)
        sync(temporary)
        try:
            temporary.rename(folder)
        except OSError:
            if not (folder / "phantom.json").exists():  # else another process made the same one first
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def finer(folder, name: str, pixels: int = 512) -> Phantom:
    """A phantom of a written cohort as a scanner of `pixels` rows and columns would see it: the same anatomy and lesion sites.

    folder: what `write_cohort` returned. ValueError where it holds no phantoms, or none of this name.
    """
    path = Path(folder) / "phantom.json"
    if not path.exists():
        raise ValueError(f"{folder}: holds no phantom.json, so these are not phantoms; only phantoms can be drawn again finer")
    about = json.loads(path.read_text())
    if name not in about["lesion_cm3"] or not name.startswith("phantom_"):
        raise ValueError(f"{folder}: no phantom {name!r} of a cohort; it has {', '.join(about['lesion_cm3'])}")
    slices = Scan.load(Path(folder) / "COVID-19-CT-Seg_20cases" / f"{name}.nii.gz").axial().shape[0]
    seed = 1000 * about["seed"] + int(name.removeprefix("phantom_")) - 1
    return patient(seed, (pixels, pixels, slices), volume=about["lesion_cm3"][name])


def default_cohort(cache, follow_up: bool = False) -> Path:
    """The cohort that stands in where no data is given: 19 patients (or the follow-up's 8 scans), made once, kept in cache."""
    folder = Path(cache) / f"phantom-{'follow-up' if follow_up else 'cohort'}-v{VERSION}"
    return folder if (folder / "phantom.json").exists() else write_cohort(folder, follow_up=follow_up)
