"""A CT scan: NIfTI in and out with its affine, HU windows, spacing, volumes, and checks on what comes in (section IV-A)."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.orientations import (
    apply_orientation,
    axcodes2ornt,
    inv_ornt_aff,
    io_orientation,
    ornt_transform,
)
from scipy.ndimage import gaussian_filter1d
from scipy.signal import find_peaks

from scoat_lib import nifti
from scoat_lib.files import whole_file
from scoat_lib.nifti import ScanError

SPACING_RANGE = (0.05, 20.0)  # mm; micro-CT lies below, no chest CT has slices further apart
MAX_TILT = 35.0  # degrees between a voxel axis and its anatomical axis; a gantry tilts by up to 30
LUNG_WINDOW = (-1250.0, 250.0)  # HU: centre −500, width 1500
FLOOR = -1024.0  # HU: nothing is less dense than air; scanners and exports pad a round field of view with less
CANONICAL = axcodes2ornt(("L", "P", "S"))
AIR_HU, MUSCLE_HU = -1000.0, 45.0  # what `calibrated` brings a scan's own air and muscle to
FAT_TO_MUSCLE = (90.0, 170.0)  # HU from the one's peak to the other's, wherever the scale begins


AIR_RANGE, SOFT_RANGE = (-1100.0, -600.0), (-250.0, 250.0)  # HU of air and lung, of fat to contrast-filled muscle
LEAST_AIR, LEAST_SOFT = 0.01, 0.02  # share of a chest's voxels, what pads it left out
IMPOSSIBLE, MOST_BELOW = -1150.0, 0.2  # HU that noise alone reaches, and the share of a scan below from which it is none
DENSE, MOST_DENSE = 600.0, 0.15  # HU of dense bone, and the share of it that no chest has
FAT = (-150.0, -30.0)  # HU
OFF = 80.0  # HU by which a scan's own air or muscle may lie off before it is said
SHIFTED, TOGETHER = 35.0, 25.0  # HU by which both may lie off, and how far apart, where it is as after a shift
GAP = 50.0  # HU by which muscle may lie nearer to air or further from it than it should, where a shift is believed
SAME = 15.0  # HU between two ways to find one peak
LONGEST_NAME = 240  # bytes; file systems take 255, and a temporary name beside it is longer
INT16 = 32767  # NIfTI-1 holds no longer side


@dataclass(frozen=True)
class Scan:
    """A volume on a voxel grid in the patient.

    voxels: 3-D array along the file's own axes (HU for a CT, 0 and 1 for a mask).
    affine: 4 × 4, voxel index to millimetres (right, anterior, superior).
    path: where it was read from, for messages. header: of that file, whose forms are written to whatever is saved on its grid.
    notes: what is to be said of the file though it can be used.
    """

    voxels: np.ndarray
    affine: np.ndarray
    path: Path | None = None
    header: nib.Nifti1Header | None = field(default=None, repr=False)
    notes: tuple[str, ...] = ()

    def __post_init__(self):
        if np.ndim(self.voxels) != 3:
            raise ScanError(f"{self._name}: has {np.ndim(self.voxels)} axes; a scan has three")
        if 0 in self.voxels.shape:
            raise ScanError(f"{self._name}: is empty (shape {self.voxels.shape})")
        _check_affine(np.asarray(self.affine, float), self._name)

    @property
    def _name(self) -> str:
        return str(self.path) if self.path else "scan in memory"

    @classmethod
    def load(cls, path, mask: bool = False, assume: Collection[str] = (), series: str | None = None) -> Scan:
        """Read a NIfTI file (.nii or .nii.gz, any dtype of real numbers, slope and intercept applied), to its last byte.

        A folder that holds DICOM files is read as the one CT series in it, or as the one whose UID `series` names.

        mask: also require the values 0 and 1 only, and return uint8; otherwise float32 or the file's integer type.
        assume: see `nifti.read` and `series.place`. Raises ScanError for a file that is missing, damaged, not a NIfTI, not
        3-D (trailing axes of 1 are dropped), empty, not finite, or with an unusable or contradictory place in the patient.
        """
        path = Path(path)
        if path.is_dir() and (series or nifti.holds_dicom(path)):
            array, affine, header, notes = _read_series(path, series, assume)
        else:
            array, affine, header, notes = nifti.read(path, assume)
        while array.ndim > 3 and array.shape[-1] == 1:
            array = array[..., 0]
        if array.ndim != 3:
            raise ScanError(
                f"{path}: has shape {array.shape}; a scan has three axes (take one volume of a series, or stack 2-D slices)"
            )
        if array.dtype.kind not in "iufb":
            raise ScanError(f"{path}: holds {array.dtype} values; a CT holds one real number per voxel")
        if array.size == 0:
            raise ScanError(f"{path}: is empty (shape {array.shape})")
        if array.dtype.kind == "f":
            with np.errstate(over="ignore"):
                array = array.astype(np.float32, copy=False)
            bad = array.size - int(np.count_nonzero(np.isfinite(array)))
            if bad:
                raise ScanError(
                    f"{path}: {bad} voxels are NaN or infinite, or too large for float32; replace them (air is -1024 HU) and "
                    "save again"
                )
        if mask:
            array = _binary(array, str(path))
        return cls(np.asarray(array), np.asarray(affine, float), path, header, tuple(notes))

    def save(self, path, overwrite: bool = True) -> Path:
        """Write a NIfTI file, whole or not at all; the affine is kept to the bit the format holds (float32).

        On the grid of a file that was read, its sform and qform are written as they came, with their codes; where its pixdim is
        no size (0, or negative), the affine's is written, and no qform, which hangs on it. Boolean voxels become uint8, 64-bit
        integers int32. Raises ScanError for a name that does not end in .nii or .nii.gz, a missing folder, an existing file
        when overwrite is False, or integers that do not fit.
        """
        path = Path(path)
        check_writable(path, overwrite)
        suffix = ".nii.gz" if path.name.endswith(".nii.gz") else ".nii"
        array = self.voxels.astype(np.uint8) if self.voxels.dtype == bool else self.voxels
        if array.dtype == np.float16:
            array = array.astype(np.float32)
        elif array.dtype in (np.int64, np.uint64):
            low, high, most = int(array.min()), int(array.max()), np.iinfo(np.int32)
            if low < most.min or high > most.max:
                raise ScanError(
                    f"{path}: values from {low} to {high} do not fit into 32 bits; scale them, or save them as float64"
                )
            array = array.astype(np.int32)
        kind = nib.Nifti2Image if max(array.shape) > INT16 else nib.Nifti1Image
        placed = self.header is not None and (int(self.header["sform_code"]) or int(self.header["qform_code"]))
        # with an affine that is not the sform, nibabel writes it over both forms
        image = kind(array, None if placed else self.affine)
        image.header.set_xyzt_units("mm")
        if placed:
            self._write_forms(image)
        with whole_file(path, suffix) as temporary:
            nib.save(image, temporary)
        return path

    def _write_forms(self, image: nib.Nifti1Image) -> None:
        """Give an image the forms of the file that this scan was read from."""
        sform, sform_code = self.header.get_sform(coded=True)
        image.set_sform(sform, sform_code, update_affine=False)
        size = self.header["pixdim"][1:4]
        if not (np.isfinite(size) & (size > 0)).all():
            image.header["pixdim"][1:4] = self.spacing
            return
        try:
            qform, qform_code = self.header.get_qform(coded=True)
            image.set_qform(qform, qform_code, update_affine=False)
        except Exception:  # nibabel raises several things for a qform that is no rotation; the sform holds alone then
            image.set_qform(None, 0, update_affine=False)
        image.header["pixdim"][1:4] = size

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Millimetres between voxel centres along each of the file's axes."""
        return tuple(float(s) for s in np.linalg.norm(np.asarray(self.affine, float)[:3, :3], axis=0))

    @property
    def voxel_volume(self) -> float:
        """Volume of one voxel in mm³ (the determinant, so a tilted gantry is accounted for)."""
        return float(abs(np.linalg.det(np.asarray(self.affine, float)[:3, :3])))

    def volume(self) -> float:
        """Volume of the non-zero voxels in cm³ (for a mask: the lung opacification volume, LOV)."""
        return int(np.count_nonzero(self.voxels)) * self.voxel_volume / 1000.0

    def _to_canonical(self) -> np.ndarray:
        return ornt_transform(io_orientation(self.affine), CANONICAL)

    def axial(self) -> np.ndarray:
        """Slices as a radiologist sees them: (slices, rows, columns), feet to head, front to back, patient's right first."""
        return apply_orientation(self.voxels, self._to_canonical()).transpose(2, 1, 0)

    @property
    def axial_spacing(self) -> tuple[float, float, float]:
        """Millimetres between slices, rows and columns of `axial()`."""
        transform = self._to_canonical()
        spacing = np.empty(3)
        spacing[transform[:, 0].astype(int)] = self.spacing
        return tuple(float(s) for s in spacing[::-1])

    def with_axial(self, slices: np.ndarray) -> Scan:
        """A scan on this one's grid and axes from an array in the order of `axial()`; ValueError if shapes differ."""
        if slices.shape != self.axial().shape:
            raise ValueError(f"axial array has shape {slices.shape}; the scan's is {self.axial().shape}")
        result = self.blank(slices.dtype)
        result.axial()[:] = slices
        return result

    def blank(self, dtype) -> Scan:
        """A scan on this one's grid and axes whose voxels are not set yet; write into its `axial()`, which is a view."""
        return Scan(np.empty_like(self.voxels, dtype, subok=False), self.affine, None, self.header)

    def reoriented(self, codes: str) -> Scan:
        """The same patient with voxel axes toward `codes`, for example "RAS" or "PIR"; nothing is resampled."""
        transform = ornt_transform(io_orientation(self.affine), axcodes2ornt(tuple(codes)))
        voxels = apply_orientation(self.voxels, transform)
        return Scan(np.ascontiguousarray(voxels), self.affine @ inv_ornt_aff(transform, self.voxels.shape), self.path)


def _read_series(folder: Path, uid: str | None, assume: Collection[str]) -> tuple:
    """What `nifti.read` returns, of a folder of DICOM files; without pydicom its ScanError, which names the extra."""
    try:
        from scoat_lib import series
    except ImportError:
        return nifti.read(folder, assume)
    array, affine, notes = series.read(folder, uid, assume)
    return array, affine, None, notes


def window(hu: np.ndarray, low: float = LUNG_WINDOW[0], high: float = LUNG_WINDOW[1]) -> np.ndarray:
    """Map HU to 0..1 linearly between low and high and clip outside; float32. ValueError unless low < high."""
    if not low < high:
        raise ValueError(f"window from {low} to {high} HU is empty; low must be below high")
    found = np.array(hu, np.float32)
    found -= low
    found /= high - low
    return np.clip(found, 0, 1, out=found)


def tissue_peaks(scan: Scan) -> tuple[float, float] | None:
    """Where air and muscle lie on the scan's own scale, or None if its histogram has no peak for one of them.

    Air: the lowest peak below −600, above what pads a round field of view. Muscle: the upper of two peaks between −150 and
    330 that are as far apart as fat and muscle (contrast medium may add a third above them), else the highest.
    """
    edges = np.linspace(-1180.0, 400.0, 317)
    low, high = scan.voxels.min(), scan.voxels.max()
    counts = np.zeros(len(edges) - 1)
    for slice_ in scan.axial():  # one at a time, as a copy of the whole would be as large as the scan
        least, most = max(low, edges[0]), min(high, edges[-1])
        inside = slice_[(slice_ > low) & (slice_ < high) & (slice_ >= least) & (slice_ <= most)]  # what was cut off piles up
        if inside.dtype.kind in "iu":
            whole = np.bincount(inside.astype(np.intp) - int(edges[0]), minlength=int(edges[-1] - edges[0]) + 1)
            counts += whole[:-1].reshape(len(counts), -1).sum(1)
        else:
            counts += np.histogram(inside, len(counts), (edges[0], edges[-1]))[0]
    counts = gaussian_filter1d(counts, 3)
    centres = (edges[:-1] + edges[1:]) / 2

    def peaks(low: float, high: float, least: float) -> np.ndarray:
        """Centres of the peaks between low and high that stand out by `least` of the highest."""
        part = np.pad(np.where((centres > low) & (centres < high), counts, 0), 1)
        return centres[find_peaks(part, prominence=max(least * part.max(), 1e-9))[0] - 1]

    air, soft = peaks(-1180, -600, 0.25), peaks(-150, 330, 0.15)
    if not len(air) or not len(soft):
        return None
    pair = len(soft) > 1 and FAT_TO_MUSCLE[0] <= soft[1] - soft[0] <= FAT_TO_MUSCLE[1]
    return float(air[0]), float(soft[1] if pair else soft[-1])


def calibrated(scan: Scan) -> Scan:
    """The scan with its own air at −1000 HU and its own muscle at 45 HU, by one line through the two; float32.

    For exports whose scale was lost (8-bit pictures); a scan in true HU changes by some units. ScanError if air or muscle
    cannot be found.
    """
    found = tissue_peaks(scan)
    if found is None:
        raise ScanError(
            f"{scan._name}: its histogram has no peak of air or none of muscle, so its HU cannot be checked against them; "
            "give a whole chest, not a crop of a lung"
        )
    air, muscle = found
    gain = (MUSCLE_HU - AIR_HU) / (muscle - air)
    voxels = ((np.asarray(scan.voxels, np.float32) - air) * gain + AIR_HU).astype(np.float32)
    return Scan(voxels, scan.affine, scan.path)


def check_hounsfield(scan: Scan) -> list[str]:
    """Raise ScanError for a scan that cannot be in HU, and return what looks doubtful though it may be.

    Judged by where the scan's mass lies, not by its minimum: every chest CT holds air and lung near −1000 and soft tissue near
    0. What pads the field of view (whatever lies below −1024, and the lowest value where it is a block) is left out; but a scan
    that is neither padding nor soft tissue there was shifted down. A shift of less than 35 HU is not said: from one scanner and
    patient to the next air and muscle differ too. Nor is a stretch told from a crop that shows no air but the lungs'.
    """
    low, high = float(scan.voxels.min()), float(scan.voxels.max())
    if low == high:
        raise ScanError(f"{scan._name}: holds one value only, {low:g}; a scan in Hounsfield units holds air and tissue")
    if low >= 0 and high <= 255:
        raise ScanError(
            f"{scan._name}: runs from {low:g} to {high:g}, so it is not in Hounsfield units (air is -1000); it looks like an "
            "8-bit picture; data/download.py converts the public record's"
        )
    inside = _without_padding(scan.voxels)
    air, soft = (float(np.mean((inside >= a) & (inside <= b))) if len(inside) else 0.0 for a, b in (AIR_RANGE, SOFT_RANGE))
    dense = float(np.mean(inside > DENSE)) if len(inside) else 0.0
    unpadded = _without_padding(scan.voxels, floor=-np.inf) if soft < LEAST_SOFT else inside
    below = float(np.mean(unpadded < IMPOSSIBLE)) if len(unpadded) else 0.0
    if below > MOST_BELOW and soft < LEAST_SOFT:
        raise ScanError(
            f"{scan._name}: is not in Hounsfield units: {100 * below:.0f} % of it lies below {IMPOSSIBLE:g}, where nothing is; "
            f"{_shift(unpadded)}"
        )
    if air < LEAST_AIR or dense > max(MOST_DENSE, air):
        raise ScanError(
            f"{scan._name}: is not in Hounsfield units, or no chest: too little of it lies near air's -1000 HU; "
            f"{_shift(inside)}"
        )
    notes = []
    if soft < LEAST_SOFT:
        notes.append(f"only {100 * soft:.1f} % of it is soft tissue; is it a whole chest, and in Hounsfield units?")
    peaks = tissue_peaks(scan)
    if not notes and high < MUSCLE_HU - SAME and (peaks is None or peaks[1] < MUSCLE_HU - OFF):
        notes.append(
            f"nothing in it is denser than {high:g} HU: what is denser was cut off, muscle too, so that its scale cannot be "
            "checked; export it with its whole range"
        )
    return notes + _misplaced(scan, peaks)


def _misplaced(scan: Scan, peaks: tuple[float, float] | None) -> list[str]:
    """What is to be said where air or muscle do not lie where they should: where they lie, and what would mend it.

    peaks: `tissue_peaks` of the scan.
    """
    everything = _without_padding(scan.voxels, floor=-np.inf)
    below = float(np.mean(everything < IMPOSSIBLE)) if len(everything) else 0.0
    if below <= MOST_BELOW and (peaks is None or not (_off(*peaks) or _is_shift(*peaks))):
        return []
    found, far = peaks, below > MOST_BELOW
    if peaks is None or (abs(peaks[1] - MUSCLE_HU) > OFF and (far or not FAT[0] < peaks[1] < FAT[1])):
        pair = _pair(everything, GAP)  # `tissue_peaks` looks where the two belong; of a scan shifted far it finds others
        if pair and not _is_inverted(everything, *pair) and (_off(*pair) or _is_shift(*pair)):
            found = pair
    if found is None or not (_off(*found) or _is_shift(*found)):
        return [f"{100 * below:.0f} % of it lies below {IMPOSSIBLE:g} HU, where nothing is; check its slope and intercept"]
    air, muscle = found
    where, right = " and ".join(_off(air, muscle) or _lie(air, muscle)), MUSCLE_HU - AIR_HU
    if abs(muscle - air - right) >= GAP:
        return [
            f"{where}; {muscle - air:.0f} HU lie between air and muscle, where {right:.0f} are usual, so no shift would mend "
            "it: check its slope, and whether it shows air outside the body"
        ]
    off = (air - AIR_HU + muscle - MUSCLE_HU) / 2
    mended = f"{where}; {'subtract' if off > 0 else 'add'} {abs(off):.0f} to bring both there"
    same = peaks is not None and max(abs(a - b) for a, b in zip(peaks, found, strict=True)) <= SAME
    return [mended + ("; if its scale was lost, try --calibrate" if same else "")]


def _lie(air: float, muscle: float) -> list[str]:
    each = ("air", air, AIR_HU), ("muscle", muscle, MUSCLE_HU)
    return [f"its {name} lies near {peak:.0f} HU, where {right:.0f} is usual" for name, peak, right in each]


def _off(air: float, muscle: float) -> list[str]:
    """A phrase for each of the two that lies far off; not for fat, which few slices may show alone."""
    far = abs(air - AIR_HU) > OFF, abs(muscle - MUSCLE_HU) > OFF and not FAT[0] < muscle < FAT[1]
    return [phrase for phrase, is_far in zip(_lie(air, muscle), far, strict=True) if is_far]


def _is_shift(air: float, muscle: float) -> bool:
    """Whether both lie off, and by nearly the same: a scan whose air is the lungs' has its muscle where it belongs."""
    by = air - AIR_HU, muscle - MUSCLE_HU
    return min(map(abs, by)) > SHIFTED and abs(by[0] - by[1]) < TOGETHER


def _without_padding(voxels: np.ndarray, floor: float = FLOOR - 100) -> np.ndarray:
    """The values of a scan without what pads it: below a floor, by default −1024 less some noise, and a block at the lowest."""
    inside = np.asarray(voxels).ravel("K")[:: max(1, voxels.size // 4_000_000)]
    inside = inside[inside >= floor]
    for _ in range(2):  # a rectangle around the reconstructed field may be padded with another value
        if len(inside) and np.mean(inside == inside.min()) > 0.005:
            inside = inside[inside > inside.min()]
    return inside


def _pair(inside: np.ndarray, apart: float = 200.0) -> tuple[float, float] | None:
    """Where the two largest peaks lie that are as far apart as air and muscle, give or take `apart` HU; None without them."""
    if len(inside) < 100:
        return None
    low, high = np.percentile(inside, [0.1, 99.9])
    edges = np.arange(low - 100, high + 120, 10.0)  # with room, else what smoothing mirrors there moves a peak to the edge
    counts = gaussian_filter1d(np.histogram(inside, edges)[0].astype(float), 2)
    peaks = find_peaks(np.pad(counts, 1), prominence=0.1 * counts.max())[0] - 1
    centres = (edges[:-1] + edges[1:]) / 2
    wide = MUSCLE_HU - AIR_HU
    pairs = [
        (counts[a] + counts[b], centres[a], centres[b])
        for i, a in enumerate(peaks)
        for b in peaks[i + 1 :]
        if abs(centres[b] - centres[a] - wide) < apart
    ]
    return tuple(float(centre) for centre in max(pairs)[1:]) if pairs else None


def _is_inverted(inside: np.ndarray, first: float, second: float) -> bool:
    """Of a `_pair`: bone is denser than muscle, nothing lighter than air."""
    return float(np.mean(inside > second + 150)) < float(np.mean(inside < first - 150))


def _shift(inside: np.ndarray) -> str:
    """What would bring values that are not in HU to HU, by their two largest peaks: air, and soft tissue 1 045 HU above it."""
    pair = _pair(inside)
    if pair is None:
        return "check the header's slope and intercept (a stored offset of 1024 is common)"
    first, second = pair
    if not _is_inverted(inside, first, second):
        off = first - AIR_HU
        way, known = (
            ("subtract", "a stored offset of 1024 is common") if off > 0 else ("add", "-1024 was perhaps applied twice")
        )
        return f"its air seems to lie near {first:.0f}: {way} {abs(off):.0f} ({known})"
    return f"it looks inverted: its air seems to lie near {second:.0f}, above its soft tissue; multiply it by -1"


def load_pair(scan_path, mask_path) -> tuple[Scan, Scan]:
    """A scan and its mask, brought to the scan's axes; ScanError if the scan is not in HU, the mask not binary or elsewhere."""
    scan = Scan.load(scan_path)
    check_hounsfield(scan)
    return scan, on_grid_of(Scan.load(mask_path, mask=True), scan)


def on_grid_of(mask: Scan, scan: Scan) -> Scan:
    """The mask with its axes in the scan's order and direction, where both cover one grid; nothing is resampled.

    ScanError (`check_same_grid`) where they do not.
    """
    turned = mask.reoriented("".join(nib.aff2axcodes(scan.affine)))
    try:
        check_same_grid(turned, scan)
    except ScanError:
        check_same_grid(mask, scan)  # says it of the mask as it is stored
        return mask
    return turned


def check_same_grid(mask: Scan, scan: Scan) -> None:
    """Raise ScanError unless both have the same shape and affine (to a hundredth of a millimetre at the far corner)."""
    if mask.voxels.shape != scan.voxels.shape:
        raise ScanError(
            f"{mask._name}: has shape {mask.voxels.shape}, its scan {scan._name} {scan.voxels.shape}; is it another's mask?"
        )
    far = np.append(np.asarray(scan.voxels.shape) - 1, 1)
    for corner in (np.array([0, 0, 0, 1]), far):
        gap = float(np.linalg.norm((mask.affine - scan.affine) @ corner))
        if gap > 0.01:
            raise ScanError(
                f"{mask._name}: lies {gap:.2f} mm away from its scan {scan._name} (affines differ); "
                "resample it onto the scan's grid"
            )


def check_writable(path, overwrite: bool, endings: tuple[str, ...] = (".nii", ".nii.gz")) -> None:
    """Raise ScanError, before any work is done, if a file of such an ending, in small letters, cannot be written to path."""
    path = Path(path)
    if not path.name.endswith(endings):
        raise ScanError(f"{path}: the name must end in {' or '.join(endings)}")
    if len(os.fsencode(path.name)) > LONGEST_NAME:
        raise ScanError(
            f"{path.parent}: a name of {len(os.fsencode(path.name))} bytes is too long for a file; choose a shorter one"
        )
    if not path.parent.is_dir():
        raise ScanError(f"{path}: the folder {path.parent} does not exist; create it first")
    if path.is_dir():
        raise ScanError(f"{path}: is a folder; give a file name")
    if path.exists() and not overwrite:
        raise ScanError(f"{path}: exists already; choose another name or allow overwriting")
    if not os.access(path.parent, os.W_OK):
        raise ScanError(f"{path}: the folder {path.parent} is not writable")


def _check_affine(affine: np.ndarray, name: str) -> None:
    if affine.shape != (4, 4) or not np.isfinite(affine).all():
        raise ScanError(f"{name}: its affine is not a finite 4 × 4 matrix")
    axes = affine[:3, :3]
    spacing = np.linalg.norm(axes, axis=0)
    low, high = SPACING_RANGE
    if spacing.min() < low or spacing.max() > high:
        shown = " × ".join(f"{s:.4g}" for s in spacing)
        raise ScanError(f"{name}: voxel spacing {shown} mm is outside {low} to {high} mm; correct its header")
    unit = axes / spacing
    if abs(np.linalg.det(unit)) < 0.5:
        raise ScanError(f"{name}: its voxel axes are nearly parallel (a broken affine); correct its header")
    tilt = np.degrees(np.arccos(np.clip(np.abs(unit).max(axis=0), 0, 1)))
    matched = np.isfinite(io_orientation(affine)[:, 0]).all()
    if tilt.max() > MAX_TILT or not matched:
        raise ScanError(
            f"{name}: is oblique by {tilt.max():.0f}° (up to {MAX_TILT:.0f}° passes as axial); resample it to axial slices"
        )


def _binary(array: np.ndarray, name: str) -> np.ndarray:
    values = np.unique(array)
    if not np.isin(values, (0, 1)).all():
        shown = ", ".join(f"{v:g}" for v in values[:6]) + (", …" if len(values) > 6 else "")
        advice = "divide by 255" if set(values.tolist()) <= {0, 255} else "keep one label and make it 1"
        raise ScanError(f"{name}: a mask holds 0 and 1 only, this one {shown}; {advice}")
    return array.astype(np.uint8)


def check_distinct(read: Collection[Path], written: Collection[Path]) -> None:
    """Raise ScanError, before anything is done, if a file to be written is one that is read, or two outputs are one file.

    Files are compared as they are on the disk, whatever their spelling, through links too.
    """
    for index, path in enumerate(written):
        for other, what in [(p, "is read") for p in read] + [(p, "is written too") for p in list(written)[:index]]:
            if _one_file(path, other):
                raise ScanError(f"{path}: is the same file as {other}, which {what}; choose another name")


def _one_file(one: Path, other: Path) -> bool:
    one, other = Path(one), Path(other)
    if one.exists() and other.exists():
        return one.samefile(other)
    return one.resolve() == other.resolve()
