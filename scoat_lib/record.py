"""The public record (Ma et al., Zenodo 3757476) as people have it: its names and folders, and what its files get wrong, mended.

Two faults, both silent, in its ten radiopaedia scans: the headers swap front and back (`radiopaedia_7_85703_0` stands on its
head besides), and the values are 8-bit grey of a lung window instead of HU. The masks of these scans share the headers' fault.
A file is mended by its name and by what it shows, once: a note in its header's description says that it was.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.orientations import aff2axcodes

from scoat_lib import upright
from scoat_lib.scan import AIR_HU, MUSCLE_HU, Scan, ScanError, tissue_peaks

FOLDERS = {  # what the record calls them, and so the book
    "scan": "COVID-19-CT-Seg_20cases",
    "infection": "Infection_Mask",
    "lung": "Lung_Mask",
    "both": "Lung_and_Infection_Mask",
}
CORONACASES = tuple(f"coronacases_{n:03d}" for n in range(1, 11))
RADIOPAEDIA = tuple(
    f"radiopaedia_{rest}"
    for rest in ("4_85506_1", "7_85703_0", "10_85902_1", "10_85902_3", "14_85914_0", "27_86410_0", "29_86490_1", "29_86491_1",
                 "36_86526_0", "40_86625_0")
)  # fmt: skip
# pairs of directions that a file's header swaps
SWAPPED = dict.fromkeys(RADIOPAEDIA, ("front and back",)) | {"radiopaedia_7_85703_0": ("front and back", "head and foot")}
GREY_WINDOW = (-1350.0, 150.0)  # HU of the grey values 0 and 255, where a scan's own air and muscle cannot say better
LOWEST_HU = -1024  # what pads a round field of view lies far below air in the window, and is raised to this
OLD_SCALE = (1500 / 255, -1250.0)  # slope and intercept that this project's first download gave the grey values
MARK = "scoat-lib mended 1:"
WANTED = (
    "wanted: ct_scans/ or COVID-19-CT-Seg_20cases/ with coronacases_001.nii.gz … radiopaedia_40_86625_0.nii.gz (or Kaggle's "
    "coronacases_org_001.nii, radiopaedia_org_covid-19-pneumonia-4_85506_1-dcm.nii), and infection_mask/ or Infection_Mask/ "
    "with a mask of each (lung_mask/ and lung_and_infection_mask/ if you have them)"
)
_KINDS = {
    "scan": {"covid_19_ct_seg_20cases", "ct_scans", "ct_scan", "scans", "ct"},
    "infection": {"infection_mask", "infection_masks"},
    "lung": {"lung_mask", "lung_masks"},
    "both": {"lung_and_infection_mask", "lung_and_infection_masks"},
}
_AXIS = {"front and back": 1, "head and foot": 2}  # row of the affine


class RecordError(ValueError):
    """A copy of the record that cannot be used; its text says what, where and what to do."""


def case_name(filename: str) -> str | None:
    """The record's name of a case from a file's name in any of its releases, or None if it is not one of the twenty.

    "coronacases_org_001.nii" → "coronacases_001"; "radiopaedia_org_covid-19-pneumonia-10_85902_1-dcm.nii" →
    "radiopaedia_10_85902_1".
    """
    stem = filename.lower().removesuffix(".gz").removesuffix(".nii")
    stem = re.sub(r"[_-](lung_and_infection|lung|infection)?_?(mask|seg|label)s?$", "", stem)
    corona = re.fullmatch(r"coronacases_(?:org_)?(\d{1,3})", stem)
    if corona:
        name = f"coronacases_{int(corona[1]):03d}"
        return name if name in CORONACASES else None
    radio = re.fullmatch(r"radiopaedia_(?:org_)?(?:covid-19-pneumonia-)?(\d+_\d+_\d+)(?:-dcm)?", stem)
    name = f"radiopaedia_{radio[1]}" if radio else None
    return name if name in RADIOPAEDIA else None


def kind_of(folder: str) -> str | None:
    """What a folder of the record holds by its name: "scan", "infection", "lung", "both", or None."""
    plain = re.sub(r"[ -]", "_", folder.lower())
    return next((kind for kind, names in _KINDS.items() if plain in names), None)


@dataclass
class Copy:
    """What was recognised in a folder.

    files: {"scan", "infection", "lung" or "both": {case: path}}. strange: NIfTI files that are no file of the record's.
    """

    folder: Path
    files: dict[str, dict[str, Path]] = field(default_factory=dict)
    strange: list[Path] = field(default_factory=list)

    def __str__(self) -> str:
        """What is there, in a few words."""
        words = {"scan": "scans", "infection": "infection masks", "lung": "lung masks", "both": "masks of lung and infection"}
        return ", ".join(f"{len(self.files[kind])} {text}" for kind, text in words.items() if self.files.get(kind)) or "nothing"


def find(folder) -> Copy:
    """Recognise the record's files below a folder, by the names of folders and files; nothing is opened.

    A file's kind is that of the nearest folder above it with a known name. Raises RecordError for a folder that is missing,
    or two files of one kind and case.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise RecordError(f"{folder}: no such folder; name the one that holds the scans' and the masks' folders")
    found = Copy(folder)
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") or part == "__MACOSX" for part in path.relative_to(folder).parts)
        if hidden or not path.name.lower().endswith((".nii", ".nii.gz")) or not path.is_file():
            continue
        above = [folder.name, *path.relative_to(folder).parts[:-1]]
        kind = next((k for k in map(kind_of, reversed(above)) if k), None)
        name = case_name(path.name)
        if kind is None or name is None:
            found.strange.append(path)
            continue
        other = found.files.setdefault(kind, {}).setdefault(name, path)
        if other != path:
            raise RecordError(f"{path}: and {other} are both the {kind} of {name}; leave one of them")
    return found


def paired(copy: Copy, kinds=None) -> dict[str, dict[str, Path]]:
    """The files to take of a copy, once it is whole: {"scan": {case: path}, "infection": …}.

    kinds: masks to take; None takes every kind that is there, and infection masks in any case. Raises RecordError, with the
    names that are wanted, for no scan, a scan without its mask, a mask without its scan, or a file that is not known.
    """
    scans = copy.files.get("scan", {})
    if not scans:
        raise RecordError(f"{copy.folder}: no scan of the public record was recognised ({copy} found); {WANTED}")
    if copy.strange:
        shown = ", ".join(str(path.relative_to(copy.folder)) for path in copy.strange[:3])
        more = f" and {len(copy.strange) - 3} more" if len(copy.strange) > 3 else ""
        raise RecordError(
            f"{copy.folder}: {shown}{more}: not a file of the public record by its name; move it away, or {WANTED}"
        )
    taken = ["infection", *(k for k in ("lung", "both") if copy.files.get(k))] if kinds is None else list(kinds)
    for kind in taken:
        masks = copy.files.get(kind, {})
        without, alone = sorted(set(scans) - set(masks)), sorted(set(masks) - set(scans))
        if without or alone:
            what = f"no {kind} mask of {', '.join(without)}" if without else f"{kind} masks without a scan: {', '.join(alone)}"
            raise RecordError(f"{copy.folder}: {what}; {WANTED}")
    return {"scan": scans} | {kind: copy.files[kind] for kind in taken}


def advice(folder) -> str:
    """For an error message about a data folder: what of the record was recognised and which command mends it, else ""."""
    try:
        copy = find(folder)
    except (RecordError, OSError) as error:
        return f"; {error}" if isinstance(error, RecordError) and Path(folder).is_dir() else ""
    if not copy.files.get("scan"):
        return ""
    return (
        f"; it looks like a copy of the public record ({copy}): python data/download.py --from {folder} --output NEW_FOLDER "
        "brings it into shape and mends what the record gets wrong"
    )


def mark_of(image) -> tuple[str, ...] | None:
    """What was mended in a file by its own header, for example ("front and back", "HU"), or None if it has no such note."""
    text = bytes(image.header["descrip"]).split(b"\0")[0].decode("ascii", "replace")
    return tuple(text.removeprefix(MARK).strip().split(", ")) if text.startswith(MARK) else None


def is_grey(path) -> bool:
    """Whether a scan of the record still holds 8-bit grey, or the scale of this project's first download; reads one slice."""
    try:
        image = nib.load(path)
        if mark_of(image) is not None or len(image.shape) != 3:
            return False
        if _old_scale(image):
            return True
        middle = np.asanyarray(image.dataobj[..., image.shape[2] // 2])
        return bool(middle.size and middle.min() >= 0 and 1 < middle.max() <= 255)
    except Exception:  # whoever reads the scan says what is wrong with it
        return False


def _old_scale(image) -> bool:
    """Whether a file has the scale that this project's first download gave the grey values."""
    scale = getattr(image.dataobj, "slope", 1.0), getattr(image.dataobj, "inter", 0.0)
    return image.get_data_dtype() == np.uint8 and bool(np.allclose(scale, OLD_SCALE, rtol=0, atol=1e-3))


def mended_scan(image, name: str):
    """A scan of the record with its header and its HU mended: (image, what was done), or (the same image, ()).

    image: of nibabel, three axes. name: the record's ("radiopaedia_10_85902_1"); it says which directions the header swaps, and
    a direction is turned unless the image itself shows that it is right. Grey values 0…255 become HU by a slope and an
    intercept through the scan's own air and muscle, or by GREY_WINDOW where they are not found, whatever the name. A file that
    was mended before (see `mark_of`) is left alone. Raises RecordError for another number of axes.
    """
    if mark_of(image) is not None:
        return image, ()
    if len(image.shape) != 3 or 0 in image.shape:
        raise RecordError(f"{name}: has shape {image.shape}; a scan has three axes; take the file from the record again")
    raw, scale = _stored(image)
    values = raw if _old_scale(image) else raw * scale[0] + scale[1] if scale else raw
    grey = bool(values.min() >= 0 and values.max() <= 255)
    done = ()
    if grey:
        raw = np.rint(values).astype(np.uint8)
        scale, how = _scale(raw, image.affine)
        least = int(np.clip(np.ceil((LOWEST_HU - scale[1]) / scale[0]), 0, 255))
        raw = np.maximum(raw, np.uint8(least))
        values, done = raw * np.float32(scale[0]) + np.float32(scale[1]), (how,)
    turns = _turns(values, image.affine, name)
    if not grey and not turns:
        return image, ()
    mended = nib.Nifti1Image(raw, reflected(image.affine, image.shape, turns))
    if scale:
        mended.header.set_slope_inter(*scale)
    return _marked(mended, (*turns, *done)), (*turns, *done)


def _stored(image) -> tuple[np.ndarray, tuple[float, float] | None]:
    """The numbers as they lie in the file, and their slope and intercept if they have any; 64-bit integers become 32-bit."""
    data = image.dataobj
    raw = np.asanyarray(data.get_unscaled() if hasattr(data, "get_unscaled") else data)
    if raw.dtype in (np.int64, np.uint64):
        raw = raw.astype(np.int32)
    slope, intercept = getattr(data, "slope", 1.0), getattr(data, "inter", 0.0)
    return raw, None if (slope, intercept) == (1.0, 0.0) else (float(slope), float(intercept))


def _scale(grey: np.ndarray, affine: np.ndarray) -> tuple[tuple[float, float], str]:
    """Slope and intercept from grey values to HU, and how they were found."""
    low, high = GREY_WINDOW
    slope = (high - low) / 255
    peaks = tissue_peaks(Scan(grey.astype(np.float32) * np.float32(slope) + np.float32(low), affine))
    gain = (MUSCLE_HU - AIR_HU) / (peaks[1] - peaks[0]) if peaks else 0
    if not 0.75 < gain < 1.35:  # no lung window of a chest is so much narrower or wider
        return (slope, low), "HU by window"
    return (slope * gain, (low - peaks[0]) * gain + AIR_HU), "HU by air and muscle"


def _turns(hu: np.ndarray, affine: np.ndarray, name: str) -> tuple[str, ...]:
    """The pairs that the record's header swaps and the image does not show to be right."""
    expected = SWAPPED.get(name, ())
    if not expected:
        return ()
    try:
        position = upright.look(Scan(hu, affine))
    except ScanError:
        return expected
    said = {"front and back": position.front_back.says, "head and foot": position.head_foot.says}
    return tuple(pair for pair in expected if said[pair] != upright.AS_SAID)


def reflected(affine: np.ndarray, shape, pairs) -> np.ndarray:
    """The affine with the world's direction of each pair reversed about the volume's centre; voxels stay where they are."""
    affine = np.array(affine, float)
    centre = affine @ np.append((np.asarray(shape[:3]) - 1) / 2, 1)
    for pair in pairs:
        row = _AXIS[pair]
        affine[row] *= -1
        affine[row, 3] += 2 * centre[row]
    return affine


def mended_mask(mask, scan, name: str):
    """A mask with the header of its mended scan: (image, what was done), or (the same image, ()) where nothing is to do.

    mask, scan: of nibabel; the scan as `mended_scan` left it. Voxels pair one to one. Raises RecordError if the shapes differ,
    or the mask's axes run neither as the scan's do nor as they did before it was mended.
    """
    turns = tuple(word for word in mark_of(scan) or () if word in _AXIS)
    if mask.shape[:3] != scan.shape[:3]:
        raise RecordError(f"{name}: its mask has shape {mask.shape}, its scan {scan.shape}; is it another's mask?")
    if not turns or mark_of(mask) is not None or np.allclose(mask.affine, scan.affine, atol=1e-3):
        return mask, ()
    before = reflected(scan.affine, scan.shape, turns)
    axes = aff2axcodes(mask.affine)
    if axes not in (aff2axcodes(before), aff2axcodes(scan.affine)):
        raise RecordError(
            f"{name}: its mask's axes run {''.join(axes)}, its scan's {''.join(aff2axcodes(before))}, so voxels do not pair; "
            "take the mask from the record again"
        )
    raw, scale = _stored(mask)
    mended = nib.Nifti1Image(raw, scan.affine)
    if scale:
        mended.header.set_slope_inter(*scale)
    return _marked(mended, turns), turns


def _marked(image, done):
    """The image in mm, both its affines set, with the note of what was mended."""
    image.header.set_xyzt_units("mm")
    image.set_sform(image.affine, code=1)
    image.set_qform(image.affine, code=1)
    image.header["descrip"] = f"{MARK} {', '.join(done)}".encode()[:79]
    return image
