"""A DICOM series in a folder, sorted and doubted: what `Scan.load` stands on for a folder. Needs pydicom (extra `dicom`).

Geometry follows DICOM PS3.3, C.7.6.2.1.1 (equation C.7.6.2.1-1): the two directions of Image Orientation (Patient), the
slices' own Image Position (Patient), never their file names, numbers or Slice Location.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from scoat_lib.nifti import ScanError, axes_not_used, dicom_files

INSTALL = 'reading DICOM needs the extra "dicom": pip install "scoat-lib[dicom]"'
try:
    import pydicom
    from pydicom.pixels import apply_modality_lut, get_decoder, pixel_array
except ImportError as error:
    raise ImportError(INSTALL) from error

SAME_PLACE = 0.01  # mm between two slices below which they lie in one place
UNEVEN = 0.05  # share of the usual distance by which another may differ; headers round to hundredths of a mm
SIDEWAYS = 0.5  # mm by which a slice may lie beside the line through the first and the last
TILTED = 0.5  # degrees between that line and the slices' normal from which a gantry is said to be tilted
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
PLACE = ("ImageOrientationPatient", "ImagePositionPatient", "PixelSpacing", "Rows", "Columns")
SHARED, PER_FRAME = "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"
SIZES = {"ImageOrientationPatient": 6, "ImagePositionPatient": 3, "PixelSpacing": 2, "Rows": 1, "Columns": 1,
         "RescaleSlope": 1, "RescaleIntercept": 1, "GantryDetectorTilt": 1}  # fmt: skip
# what tells one acquisition of a series from another; never times, which differ from slice to slice
ACQUIRED = ("AcquisitionNumber", "TemporalPositionIdentifier", "FrameAcquisitionNumber", "TemporalPositionIndex",
            "AcquisitionDate")  # fmt: skip
TAGS = [*PLACE, *ACQUIRED, SHARED, PER_FRAME, "SeriesInstanceUID", "SeriesDescription", "SeriesNumber", "Modality", "ImageType",
        "NumberOfFrames", "SamplesPerPixel", "SeriesDate", "StudyDate", "RescaleSlope", "RescaleIntercept",
        "RescaleType", "ModalityLUTSequence", "GantryDetectorTilt", "LossyImageCompression"]  # fmt: skip
# where an enhanced CT keeps of each frame what a file of its own has in its header (PS3.3, C.7.6.16.2 and C.8.15.3)
GROUPS = {
    "PlanePositionSequence": ("ImagePositionPatient",),
    "PlaneOrientationSequence": ("ImageOrientationPatient",),
    "PixelMeasuresSequence": ("PixelSpacing",),
    "PixelValueTransformationSequence": ("RescaleSlope", "RescaleIntercept", "RescaleType"),
    "CTAcquisitionDetailsSequence": ("GantryDetectorTilt",),
    "FrameContentSequence": ("FrameAcquisitionNumber", "TemporalPositionIndex"),
}
CONVERT = "convert it: dcm2niix -z y -o OUTPUT_FOLDER DICOM_FOLDER"


@dataclass(frozen=True)
class Series:
    """One series of a folder.

    uid, description, modality, date ("2020-03-01"): as its header says, "" where silent. slices: how many, one a file or, of an
    enhanced CT, one a frame. spacing: mm between columns, rows and slices (the median), NaN where unknown. unusable: why it is
    no CT to segment, or "". paths, frames, headers: of each slice its file, its frame there (from 0; None for a file of one
    slice) and what `TAGS` name of its header.
    """

    uid: str
    description: str
    modality: str
    slices: int
    spacing: tuple[float, float, float]
    date: str
    unusable: str
    paths: tuple[Path, ...] = field(repr=False)
    headers: tuple = field(repr=False)
    frames: tuple[int | None, ...] = field(repr=False)

    def __str__(self) -> str:
        what = "file" if self.frames[0] is None else "frame"
        count = f"{self.slices} {what}" + "s" * (self.slices != 1)
        gap = f"{self.spacing[2]:.3g} mm apart" if np.isfinite(self.spacing[2]) else ""
        return f"{self.uid} ({', '.join(filter(None, [self.description or 'no description', count, gap, self.date]))})"


@dataclass(frozen=True)
class Placed:
    """A series whose slices stand in order: along the normal of their plane, feet to head in an axial scan.

    paths, frames, headers: of each slice, as `Series` has them. affine: 4 × 4, (column, row, slice) to mm right, anterior,
    superior. shape: columns, rows, slices. notes: what to say of it.
    """

    series: Series
    paths: tuple[Path, ...]
    frames: tuple[int | None, ...]
    headers: tuple
    affine: np.ndarray
    shape: tuple[int, int, int]
    notes: tuple[str, ...]


def find(folder) -> list[Series]:
    """The series of a folder, by number; subfolders are searched too where the folder itself holds no image (DICOMDIR).

    Only headers are read. Raises ScanError for what is no folder, one without DICOM, or a file that is damaged.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ScanError(
            f"{folder}: " + ("is no folder; name the folder of the series" if folder.exists() else "does not exist")
        )
    grouped: dict[str, list] = {}
    for path in _files(folder):
        header = _header(path)
        if header is not None:
            grouped.setdefault(str(header.get("SeriesInstanceUID", "")), []).extend(_slices(path, header))
    if not grouped:
        raise ScanError(f"{folder}: holds no DICOM images; name the folder that holds the series' files")
    found = [_series(uid, members) for uid, members in grouped.items()]
    return sorted(found, key=lambda s: (int(s.headers[0].get("SeriesNumber") or 0), s.uid))


def place(folder, uid: str | None = None, assume: Collection[str] = ()) -> Placed:
    """One series of a folder with its slices in order, checked, without their pixels.

    uid: which series; None takes the only CT. assume: "even" takes slices with uneven gaps as evenly spread from the first to
    the last. Raises ScanError for no series or several (they are listed), no CT, localizers, several frames in a file that
    does not place each (an enhanced CT does), a compression that cannot be undone here, sizes or directions that differ or
    are none, several acquisitions, slices that are missing, double or shifted.
    """
    folder = Path(folder)
    series, notes = _choose(folder, uid)
    _refuse_unlike(series, folder)
    _refuse_packed(series, folder)
    first = series.headers[0]
    along_row, along_column = np.array(first.ImageOrientationPatient, float).reshape(2, 3)
    if abs(along_row @ along_column) > 1e-3 or abs(np.linalg.norm([along_row, along_column], axis=1) - 1).max() > 1e-3:
        raise ScanError(f"{folder}: its ImageOrientationPatient is no pair of perpendicular directions; correct its headers")
    normal = np.cross(along_row, along_column)
    corners = np.array([h.ImagePositionPatient for h in series.headers], float)
    order = np.argsort(corners @ normal, kind="stable")
    corners = corners[order]
    paths, frames, headers = (tuple(part[i] for i in order) for part in (series.paths, series.frames, series.headers))
    names = [_named(path, frame) for path, frame in zip(paths, frames, strict=True)]
    if len(paths) < 2:
        raise ScanError(f"{folder}: holds one slice only, {names[0]}; copy the whole series into the folder")
    _refuse_double(corners @ normal, names, folder)
    _refuse_mixed(headers, names, folder)
    notes += _check_gaps(corners @ normal, names, folder, "even" in assume)
    step = (corners[-1] - corners[0]) / (len(corners) - 1)
    notes += _check_line(corners, step, normal, first, folder)
    between_rows, between_columns = (float(s) for s in first.PixelSpacing)
    affine = np.eye(4)
    affine[:3] = np.column_stack([along_row * between_columns, along_column * between_rows, step, corners[0]])
    affine = LPS_TO_RAS @ affine
    notes += _doubts(series) + axes_not_used(assume, affine, "each of its slices says where it lies")
    shape = (int(first.Columns), int(first.Rows), len(paths))
    return Placed(series, paths, frames, headers, affine, shape, tuple(notes))


def read(folder, uid: str | None = None, assume: Collection[str] = ()) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Voxels in HU (columns, rows, slices; each slice by its own slope and intercept), affine in mm, and what is to be said.

    Integers where every slope and intercept is one, else float32. Arguments and errors: as `place`; ScanError also for a file
    that is cut off or cannot be unpacked.
    """
    placed = place(folder, uid, assume)
    columns, rows, slices = placed.shape
    whole = all(_is_whole(h) for h in placed.series.headers)
    volume = np.empty((slices, rows, columns), np.int16 if whole else np.float32)
    for index, where in enumerate(zip(placed.paths, placed.frames, placed.headers, strict=True)):
        hu = _pixels(*where)
        if whole and volume.dtype == np.int16 and (hu.min() < -32768 or hu.max() > 32767):
            volume = volume.astype(np.int32)
        volume[index] = hu
    return volume.transpose(2, 1, 0), placed.affine, list(placed.notes)


def _files(folder: Path) -> list[Path]:
    """The DICOM files of a folder, or of all below it."""
    return dicom_files(folder) or dicom_files(folder, below=True)


def _header(path: Path):
    """What `TAGS` name of a file's header; None for a file without an image (reports, directories)."""
    with _readable(path):
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=TAGS)
        for tag in TAGS:
            header.get(tag)  # only now is its text made a number
        return header if "Rows" in header else None


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """ScanError with the file's name for whatever pydicom raises."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom tells every odd value of a header, used here or not
            yield
    except Exception as error:  # on foreign bytes it raises several things
        text = " ".join(str(error).split())[:200] or type(error).__name__
        raise ScanError(
            f"{path}: is not a readable DICOM file ({text}); copy the series again, or take the file away"
        ) from error


def _slices(path: Path, header) -> list[tuple]:
    """(path, frame, header) of each slice of a file: of an enhanced CT each frame has a header made of its groups."""
    if PER_FRAME not in header:
        return [(path, None, header)]
    shared = (header.get(SHARED) or [pydicom.Dataset()])[0]
    plain = {e.tag: e for e in header if e.keyword not in (SHARED, PER_FRAME, "NumberOfFrames")}
    found = []
    for number, groups in enumerate(header[PER_FRAME].value):
        frame = pydicom.Dataset(dict(plain))  # it keeps the dictionary that it is given
        with _readable(path):
            for group, tags in GROUPS.items():
                values = (groups.get(group) or shared.get(group) or [pydicom.Dataset()])[0]
                for tag in tags:
                    if tag in values:
                        frame[tag] = values[tag]
        kind = (groups.get("CTImageFrameTypeSequence") or shared.get("CTImageFrameTypeSequence") or [None])[0]
        if kind is not None and "FrameType" in kind:
            frame.ImageType = kind.FrameType
        found.append((path, number, frame))
    if len(found) != int(header.get("NumberOfFrames") or 1):
        count = f"{header.get('NumberOfFrames')} frames, and the place of {len(found)}"
        raise ScanError(f"{path}: holds {count}; copy the series again, or take the file away")
    return found


def _named(path: Path, frame: int | None) -> str:
    """How a slice is called in a message."""
    return path.name if frame is None else f"{path.name} (frame {frame + 1})"


def _series(uid: str, members: list) -> Series:
    paths, frames, headers = zip(*members, strict=True)
    first = headers[0]
    date = next((str(d) for d in (first.get(t) for t in ("AcquisitionDate", "SeriesDate", "StudyDate")) if d), "")
    return Series(
        uid=uid,
        description=str(first.get("SeriesDescription") or ""),
        modality=str(first.get("Modality") or ""),
        slices=len(paths),
        frames=frames,
        spacing=_spacing(headers),
        date=f"{date[:4]}-{date[4:6]}-{date[6:8]}" if len(date) == 8 else date,
        unusable=_unusable(headers),
        paths=paths,
        headers=headers,
    )


def _spacing(headers) -> tuple[float, float, float]:
    """Millimetres between columns, rows and slices; NaN where the headers do not say."""
    try:
        rows, columns = (float(s) for s in headers[0].PixelSpacing)
        directions = np.array(headers[0].ImageOrientationPatient, float).reshape(2, 3)
        along = np.sort(np.array([h.ImagePositionPatient for h in headers], float) @ np.cross(*directions))
    except (AttributeError, TypeError, ValueError):
        return (np.nan,) * 3
    with np.errstate(invalid="ignore"):
        return columns, rows, float(np.median(np.diff(along))) if len(along) > 1 else np.nan


def _unusable(headers) -> str:
    """Why no file of a series can be a slice of a CT, or ""."""
    modality = str(headers[0].get("Modality") or "of no named modality")
    if modality != "CT":
        return f"is {modality}, not CT"
    if any(int(h.get("NumberOfFrames") or 1) > 1 for h in headers):
        return f"holds several frames in one file, without the place of each (no enhanced CT); {CONVERT}"
    if all(_is_localizer(h) for h in headers):
        return "is a localizer (scout), no stack of slices"
    if any(int(h.get("SamplesPerPixel") or 1) != 1 for h in headers):
        return "is a picture in colour, no CT"
    lacking = [t for t in PLACE if all(not h.get(t) for h in headers)]
    return f"lacks {lacking[0]}, so its place in the patient is unknown" if lacking else ""


def _is_localizer(header) -> bool:
    return "LOCALIZER" in [str(word).upper() for word in header.get("ImageType") or []]


def _choose(folder: Path, uid: str | None) -> tuple[Series, list[str]]:
    """The series that is asked for, or the only one that can be a CT, and a note on those passed over."""
    found = find(folder)
    listed = "; ".join(map(str, found))
    if uid is not None:
        chosen = [s for s in found if s.uid == uid]
        if not chosen:
            raise ScanError(f"{folder}: holds no series {uid}; it holds {listed}")
    else:
        chosen = [s for s in found if not s.unusable]
        if len(chosen) > 1:
            several = "; ".join(map(str, chosen))
            raise ScanError(f"{folder}: holds {len(chosen)} series; choose one with --series UID: {several}")
        if not chosen and len(found) > 1:
            each = "; ".join(f"{s} {s.unusable}" for s in found)
            raise ScanError(f"{folder}: holds {len(found)} series, none of them a CT to segment: {each}")
    (series,) = chosen or found
    if series.unusable:
        raise ScanError(f"{folder}: the series {series.uid} {series.unusable}")
    passed = len(found) - 1 if uid is None else 0
    return series, [f"of {passed + 1} series the only CT was taken, {series}"] if passed else []


def _refuse_unlike(series: Series, folder: Path) -> None:
    """ScanError unless all files are slices of one grid: placed, no localizer, of one size, spacing and direction."""
    names = [_named(path, frame) for path, frame in zip(series.paths, series.frames, strict=True)]
    for name, header in zip(names, series.headers, strict=True):
        if _is_localizer(header):
            raise ScanError(f"{folder}: {name} is a localizer (scout) among the slices; take such files out of the folder")
        lacking = [t for t in PLACE if not header.get(t)]
        if lacking:
            raise ScanError(f"{folder}: {name} lacks {lacking[0]}, so its place in the patient is unknown; take it away")
        for tag, size in SIZES.items():
            value = header.get(tag)
            if value is None or value == "":
                continue
            try:
                numbers = np.atleast_1d(np.array(value, float))
            except (TypeError, ValueError):
                numbers = np.array([])
            wrong = len(numbers) != size or not np.isfinite(numbers).all()
            if wrong or (tag == "PixelSpacing" and numbers.min() <= 0):
                what = ("positive" if tag == "PixelSpacing" else "finite") + " number" + "s" * (size > 1)
                shown = " ".join(str(value).split())[:100]
                raise ScanError(f"{folder}: {name} has {tag} {shown}, not {size} {what}; correct it, or take it away")
    for what, tags, near in (
        ("size", ("Rows", "Columns"), 0),
        ("pixel spacing", ("PixelSpacing",), 1e-3),
        ("orientation", ("ImageOrientationPatient",), 1e-3),
    ):
        values = np.array([np.hstack([np.array(h[t].value, float) for t in tags]) for h in series.headers])
        usual = np.array(Counter(map(tuple, values)).most_common(1)[0][0])
        other = np.abs(values - usual).max(axis=1) > near
        if other.any():
            index = int(np.argmax(other))
            raise ScanError(
                f"{folder}: its slices differ in {what}: {int(other.sum())} of {len(values)} do, {names[index]} "
                f"has {_shown(values[index])}, most have {_shown(usual)}; keep the slices of one reconstruction"
            )


def _refuse_packed(series: Series, folder: Path) -> None:
    """ScanError for a compression that no installed decoder undoes."""
    for path in series.paths[:1]:
        syntax = pydicom.filereader.read_file_meta_info(path).get("TransferSyntaxUID")
        if syntax is None or not syntax.is_compressed or syntax.is_deflated:
            continue
        try:
            there = get_decoder(syntax).is_available
        except NotImplementedError:
            there = False
        if not there:
            raise ScanError(
                f"{folder}: its slices are compressed ({syntax.name}), which nothing installed here undoes; "
                f"pip install pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg, or {CONVERT}"
            )


def _refuse_double(along: np.ndarray, names: list[str], folder: Path) -> None:
    """ScanError for two slices in one place; along: mm along the normal."""
    double = np.diff(along) < SAME_PLACE
    if double.any():
        index = int(np.argmax(double))
        raise ScanError(
            f"{folder}: {int(double.sum())} of its slices lie where another lies, {names[index]} and "
            f"{names[index + 1]} first; it holds copies, or several phases or times: keep one of each place"
        )


def _refuse_mixed(headers, names: list[str], folder: Path) -> None:
    """ScanError where slices of several acquisitions alternate along the normal; one after the other they may be one scan."""
    for tag in ACQUIRED:
        values = [str(header.get(tag, "nothing")) for header in headers]
        starts = [k for k in range(len(values)) if k == 0 or values[k] != values[k - 1]]
        again = [value for value, times in Counter(values[k] for k in starts).items() if times > 1]
        if len(again) > 1:  # one alone may be a slice that was taken anew
            raise ScanError(
                f"{folder}: holds several acquisitions, the slices of one between those of another: {tag} is "
                f"{', '.join(again[:4])} by turns, first at {names[starts[1]]}; keep the files of one"
            )


def _check_gaps(along: np.ndarray, names: list[str], folder: Path, even: bool) -> list[str]:
    """What is to be said of the distances between neighbours, in mm along the normal; ScanError where they are not one."""
    gaps = np.diff(along)
    usual = float(np.median(gaps))
    odd = np.abs(gaps - usual) > max(UNEVEN * usual, 2 * SAME_PLACE)
    if not odd.any():
        return []
    index = int(np.argmax(gaps))
    if gaps[index] > 1.5 * usual:
        missing = int(np.rint(gaps[odd] / usual - 1).clip(0).sum())
        what = (
            f"about {missing} of its slices are missing: between {names[index]} and {names[index + 1]} lie "
            f"{gaps[index]:.4g} mm, elsewhere {usual:.4g} mm"
        )
    else:
        what = f"its slices lie unevenly, from {gaps.min():.4g} to {gaps.max():.4g} mm apart"
    if even:
        return [f"{what}; they are taken as evenly spread, {gaps.mean():.4g} mm apart, so the volume is an estimate"]
    raise ScanError(f"{folder}: {what}; copy the series again, or take it as evenly spread: --assume even")


def _check_line(corners: np.ndarray, step: np.ndarray, normal: np.ndarray, first, folder: Path) -> list[str]:
    """What is to be said of the line that the slices' corners lie on; ScanError where they lie on none."""
    unit = step / np.linalg.norm(step)
    off = corners - corners[0]
    beside = np.linalg.norm(off - np.outer(off @ unit, unit), axis=1)
    if beside.max() > SIDEWAYS:
        raise ScanError(
            f"{folder}: its slices are shifted against each other by up to {beside.max():.3g} mm, so they are no straight "
            "stack; take the slices of one reconstruction"
        )
    tilt = float(np.degrees(np.arccos(np.clip(unit @ normal, -1, 1))))
    said = abs(float(first.get("GantryDetectorTilt") or 0))
    if tilt > TILTED:
        return [
            f"its gantry was tilted: each slice lies sheared against the next, by {tilt:.1f}°; the mask's affine holds the "
            "shear and the volume is right, but a viewer that knows no shear shows it slanting"
        ]
    if said > TILTED:
        return [f"its header says that the gantry was tilted by {said:g}°, but its slices stand straight; they are believed"]
    return []


def _doubts(series: Series) -> list[str]:
    """What is to be said of the values."""
    notes = []
    headers = series.headers
    own = [["RescaleSlope" in h, "RescaleIntercept" in h] for h in headers if "ModalityLUTSequence" not in h]
    silent, half = sum(not any(h) for h in own), sum(any(h) and not all(h) for h in own)
    if silent:
        notes.append(f"{silent} of its {len(headers)} slices have no rescale slope; their values are taken as HU")
    if half:  # the standard wants both (PS3.3, C.11.1), and pydicom applies neither alone
        notes.append(
            f"{half} of its {len(headers)} slices have a rescale slope or an intercept alone; it is not applied, and their "
            "values are taken as HU"
        )
    kinds = {str(h.get("RescaleType") or "HU") for h in headers} - {"HU", "US"}  # US: unspecified
    if kinds:
        notes.append(f"its values are {', '.join(sorted(kinds))} by its header, not HU")
    if any(str(h.get("LossyImageCompression") or "00") == "01" for h in headers):
        notes.append("it was compressed with loss")
    return notes


def _is_whole(header) -> bool:
    """Whether HU of a slice are integers."""
    slope, intercept = (float(header.get(t) or d) for t, d in (("RescaleSlope", 1), ("RescaleIntercept", 0)))
    return slope.is_integer() and intercept.is_integer() and "ModalityLUTSequence" not in header


def _pixels(path: Path, frame: int | None, header) -> np.ndarray:
    """A slice in HU, (rows, columns), by its own slope and intercept; of a file with several frames only the one is read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if frame is not None:
                return apply_modality_lut(pixel_array(path, index=frame), header)
            dataset = pydicom.dcmread(path)
            return apply_modality_lut(dataset.pixel_array, dataset)
    except MemoryError:
        raise
    except Exception as error:  # the decoders raise several things
        text = " ".join(str(error).split())[:200] or type(error).__name__
        raise ScanError(f"{path}: is cut off or damaged ({text}); copy the series again") from error


def _shown(values) -> str:
    return " × ".join(f"{v:.4g}" for v in values)
