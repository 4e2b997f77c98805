"""How often `scoat_lib.foreign` takes a chest for something else, and whether it names what is none: heads, abdomens, limbs, …

    python -m studies.foreign --data FOLDER [--ct100 FOLDER]

False alarms are counted on real scans: whole ones, and single slices of a second cohort. What is no chest, or a chest of
another kind, is drawn here: crude shapes in millimetres, and phantoms with bright blood, much noise or no lesion. That the
drawn ones are named shows that the code does what it says; it is no detection rate, since no real scan of another part of the
body was at hand. The limits in foreign.py were set on the drawn ones and left as they were once the real ones were seen.

Writes results/readings/foreign.json.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from scoat_lib import foreign, phantom
from scoat_lib.anatomy import TISSUES
from scoat_lib.files import write_whole
from scoat_lib.scan import Scan, ScanError, check_hounsfield
from scoat_lib.upright import Chest
from studies.upright import part, scans_of

RESULT = Path(__file__).parents[1] / "results" / "readings" / "foreign.json"
SHAPE, SPACING = (40, 128, 128), (4.0, 2.8, 2.8)  # slices, rows, columns; mm
SEEDS = range(3)
BLOOD, MEDIUM = 1 + list(TISSUES).index("blood"), 260  # HU that contrast medium adds


def _scanned(hu: np.ndarray, rng: np.random.Generator, noise: float = 13.0) -> Scan:
    """Slices in HU as a scan with noise."""
    noisy = np.clip(hu + rng.normal(0, noise, hu.shape), -1024, 3071)
    return Scan(np.rint(noisy).astype(np.int16).transpose(2, 1, 0).copy(), np.diag([-SPACING[2], -SPACING[1], SPACING[0], 1.0]))


def _places(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """mm from the middle (slices, rows, columns), and how large this one is, about 1."""
    z, y, x = (s * (np.arange(n) - (n - 1) / 2) for n, s in zip(SHAPE, SPACING, strict=True))
    return z[:, None, None], y[None, :, None], x[None, None, :], float(rng.uniform(0.9, 1.1))


def _empty(y: np.ndarray, x: np.ndarray, back: float) -> np.ndarray:
    """Air above a couch whose top lies `back` mm behind the middle."""
    hu = np.full(SHAPE, -1000.0)
    couch = (y > back) & (y < back + 25) & (np.abs(x) < 200)
    hu[np.broadcast_to(couch, SHAPE)] = -850
    hu[np.broadcast_to(couch & ((y < back + 4) | (y > back + 21)), SHAPE)] = -150
    return hu


def table(seed: int) -> Scan:
    """An empty table: air and the couch."""
    rng = np.random.default_rng([seed, 1])
    _, y, x, size = _places(rng)
    return _scanned(_empty(y, x, 90 * size), rng)


def head(seed: int) -> Scan:
    """A head: scalp, skull, brain with ventricles, sinuses full of air."""
    rng = np.random.default_rng([seed, 2])
    z, y, x, size = _places(rng)
    hu = _empty(y, x, 100 * size)
    for shrink, value in ((1.0, 20), (0.94, 1000), (0.86, 35)):
        hu[(x / (78 * size)) ** 2 + (y / (96 * size)) ** 2 + (z / (110 * size)) ** 2 < shrink**2] = value
    hu[(np.abs(x) - 14) ** 2 + (y / 2.5) ** 2 + (z / 2) ** 2 < 8**2] = 5
    hu[(np.abs(x) - 16) ** 2 + (y + 70 * size) ** 2 + (z + 40) ** 2 < 12**2] = -1000
    return _scanned(hu, rng)


def limb(seed: int) -> Scan:
    """A thigh: skin and fat, muscle, a shaft of bone with marrow."""
    rng = np.random.default_rng([seed, 3])
    z, y, x, size = _places(rng)
    hu = _empty(y, x, 90 * size)
    radius = np.hypot(x, y) / size + 0 * z
    for most, value in ((85, -100), (70, 55), (15, 1100), (8, -50)):
        hu[radius < most] = value
    return _scanned(hu, rng)


def abdomen(seed: int) -> Scan:
    """An abdomen: fat, muscle, liver, spine, gas in the gut."""
    rng = np.random.default_rng([seed, 4])
    z, y, x, size = _places(rng)
    hu = _empty(y, x, 118 * size)
    oval = (np.abs(x) / (165 * size)) ** 2.4 + (np.abs(y) / (112 * size)) ** 2.4 + 0 * z
    for most, value in ((1.0, -100), (0.75, 50), (0.6, -95)):
        hu[oval < most] = value
    hu[((x + 60) / 75) ** 2 + ((y + 5) / 70) ** 2 + 0 * z < 1] = 60
    hu[(x / 22) ** 2 + ((y - 70 * size) / 20) ** 2 + 0 * z < 1] = 220
    for _ in range(14):
        at = rng.uniform((-70, -70, -20), (70, 10, 100))
        r = rng.uniform(8, 18)
        inside = (z - at[0]) ** 2 + (y - at[1]) ** 2 + (x - at[2]) ** 2
        hu[inside < (r + 4) ** 2] = 40
        hu[inside < r**2] = -990
    return _scanned(hu, rng)


def bright(seed: int) -> Scan:
    """A chest whose blood holds contrast medium."""
    one = phantom.patient(500 + seed, (128, 128, 40))
    return Scan((one.scan.voxels + MEDIUM * (one.tissues.voxels == BLOOD)).astype(np.int16), one.scan.affine)


def noisy(seed: int) -> Scan:
    """A chest under heavy noise, as of a very thin slice at a very low dose."""
    scan = phantom.patient(500 + seed, (128, 128, 40)).scan
    noise = np.random.default_rng([seed, 5]).normal(0, 180, scan.voxels.shape)
    return Scan(np.clip(scan.voxels + noise, -1024, 3071).astype(np.int16), scan.affine)


def healthy(seed: int) -> Scan:
    """A chest without a lesion."""
    return phantom.patient(500 + seed, (128, 128, 40), volume=0).scan


MADE = {  # what is drawn → (how, a word that its warning must hold; None: none may be given)
    "an empty table": (table, "only air"),
    "a head": (head, "a head"),
    "a limb": (limb, "a limb"),
    "an abdomen": (abdomen, "an abdomen"),
    "contrast medium in a phantom's blood": (bright, "contrast medium"),
    "a phantom with much noise": (noisy, "noisy"),
    "a phantom without a lesion": (healthy, None),
}


def judged(scan: Scan) -> list[str]:
    """What is said of a scan; what is refused as no HU at all counts as said."""
    try:
        check_hounsfield(scan)
    except ScanError as error:
        return [str(error)]
    return foreign.looks(scan)


def real(data: Path, ct100: Path | None) -> Iterator[tuple[str, str, Scan]]:
    """(group, name, scan) of real chests."""
    for name, scan in scans_of(data):
        yield f"{name.split('_')[0]}, whole scans", name, scan
    if ct100:
        scan = Scan.load(ct100 / "tr_im.nii.gz")
        for k in range(len(scan.axial())):
            yield "ct100, single slices", f"slice {k}", part(scan, k, k + 1)


def measure(data: Path, ct100: Path | None) -> dict:
    """What is written."""
    groups: dict = {}
    for group, name, scan in real(data, ct100):
        row = groups.setdefault(group, {"judged": 0, "false alarms": {}, "noise": [], "bright": []})
        row["judged"] += 1
        if said := judged(scan):
            row["false alarms"][name] = said
        chest = Chest.of(scan)
        for key, value in (("noise", foreign.noise(scan, chest)), ("bright", foreign.contrast(chest))):
            if value is not None:
                row[key].append(value)
    for row in groups.values():
        row["noise"] = round(max(row["noise"]), 1) if row["noise"] else None
        row["bright"] = round(max(row["bright"]), 3) if row["bright"] else None
    made = {}
    for what, (draw, word) in MADE.items():
        said = [judged(draw(seed)) for seed in SEEDS]
        right = [not one if word is None else any(word in text for text in one) for one in said]
        made[what] = {"drawn": len(said), "said rightly": sum(right), "for example": (said[0] or [None])[0]}
    return {
        "what": "false alarms on real chests; of drawn pictures, how many are named. No detection rate: no drawn one is real",
        "largest of a real group": "noise: HU; bright: share of what lies between the lungs that is brighter than "
        f"{foreign.BRIGHT:.0f} HU",
        "real": groups,
        "drawn": made,
    }


def main(argv: list[str] | None = None) -> int:
    """The command line; returns 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of real chest CTs, laid out like the record")
    parser.add_argument("--ct100", type=Path, help="folder with tr_im.nii.gz, single slices")
    parser.add_argument("--output", type=Path, default=RESULT, help="where the numbers go (default: %(default)s)")
    arguments = parser.parse_args(argv)
    content = measure(arguments.data, arguments.ct100)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    write_whole(arguments.output, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    for group, row in content["real"].items():
        print(
            f"{group}: {len(row['false alarms'])} of {row['judged']} false alarms; noise {row['noise']}, bright {row['bright']}"
        )
    for what, row in content["drawn"].items():
        print(f"{what}: {row['said rightly']} of {row['drawn']}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
