"""A NIfTI file read to its last byte, and its header's word on the place in the patient doubted: what `Scan.load` stands on."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.imageglobals import logger
from nibabel.orientations import axcodes2ornt

MOST_VOXELS = 2**31  # 512 × 512 × 8192; a header that claims more is broken
MOST_RATIO = 1100  # zlib packs nothing tighter
ALIKE = 0.01  # relative difference up to which two spacings are one
NEAR = 1.0  # mm by which the two forms may place the far corner apart
CHUNK = 1 << 20
SLABS = 64  # in so many parts a scan is scaled
UNITS = {0: "unknown", 1: "metre", 2: "mm", 3: "micron"}
CODES = {frozenset("LR"), frozenset("AP"), frozenset("SI")}


class ScanError(ValueError):
    """A scan or mask that cannot be used; its text names the file, the reason and what to do."""


def check_assumptions(assume: Collection[str]) -> None:
    """ValueError for an assumption that no reader knows: sform, qform, mm, axis codes such as LPS; even (`series.place`)."""
    for word in assume:
        if word not in ("sform", "qform", "mm", "even") and _axes(word) is None:
            raise ValueError(
                f"{word!r} cannot be assumed; known: sform, qform, mm, even, or three axis codes such as LPS or RAS"
            )


def read(path: Path, assume: Collection[str] = ()) -> tuple[np.ndarray, np.ndarray, nib.Nifti1Header, list[str]]:
    """Voxels (slope and intercept applied, to float32 then), affine in mm, header, and what is to be said of the file.

    The whole file is read, so that a packed one's checksum is looked at. assume: what to believe where the header
    contradicts itself or is silent: "sform", "qform", "mm", or axis codes such as "LPS" (`check_assumptions`); what is assumed
    against a header that says otherwise is not used, and that is said.
    Raises ScanError for a file that is missing, of another kind, cut off, damaged, longer than its header says, larger than
    any scan, without a place in the patient or a voxel's size, or whose two forms disagree on that size.
    """
    path = Path(path)
    _refuse_foreign(path)
    try:
        with _quiet(), np.errstate(invalid="ignore"):
            content = _unpacked(path) if path.name.lower().endswith(".gz") else _plain(path)
            kind = _image_class(content[:4])
            raw = kind.header_class(content[: kind.header_class.sizeof_hdr], check=False)  # as it is, before nibabel mends it
            _refuse_slope(raw, path)
            image = kind.from_bytes(content)
            array = _values(image.dataobj)
    except ScanError:
        raise
    except MemoryError as error:
        raise ScanError(f"{path}: does not fit into memory; crop it, or use a machine with more") from error
    except Exception as error:  # nibabel raises nearly anything on foreign bytes
        raise ScanError(
            f"{path}: is not a readable NIfTI file ({error or type(error).__name__}); expected .nii or .nii.gz"
        ) from error
    image.header["pixdim"][1:4] = raw["pixdim"][1:4]
    affine, notes = _place(image.header, path, assume)
    return array, affine, image.header, notes


@contextmanager
def _quiet() -> Iterator[None]:
    """Without nibabel's log, which tells the terminal what it mends in a header."""
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)


def _values(stored: nib.arrayproxy.ArrayProxy) -> np.ndarray:
    """The values of an image along Fortran's order, as a file has them; float32 where a slope or an intercept is applied.

    nibabel scales in float64, which a large intercept needs, and holds that twice over; a few slices at a time are enough.
    """
    if (stored.slope, stored.inter) == (1, 0) or stored.dtype.kind not in "iuf" or 0 in stored.shape:
        return np.asanyarray(stored)
    values = np.empty(stored.shape, np.float32, order="F")
    axis = max((k for k, side in enumerate(stored.shape) if side > 1), default=0)  # the last one: its slices lie together
    together = max(1, stored.shape[axis] // SLABS)
    for start in range(0, stored.shape[axis], together):
        part = (slice(None),) * axis + (slice(start, start + together),)
        with np.errstate(over="ignore"):  # infinite then, and refused with the other infinities
            values[part] = stored[part]
    return values


def _image_class(first: bytes) -> type:
    size = {int.from_bytes(first, "little"), int.from_bytes(first, "big")}
    return nib.Nifti2Image if 540 in size else nib.Nifti1Image


def _expected(start: bytes, path: Path, packed: int) -> int:
    """The bytes that a file has by its header, which `start` holds; packed: the bytes it has on the disk."""
    kind = _image_class(start[:4]).header_class
    if len(start) < kind.sizeof_hdr:
        raise ScanError(f"{path}: is cut off within its header ({len(start)} bytes); copy or download it again")
    header = kind(start[: kind.sizeof_hdr])  # without its extensions, which `start` may cut
    shape, size = header.get_data_shape(), header.get_data_dtype().itemsize
    voxels = 1
    for side in shape:
        voxels *= max(0, int(side))
    if voxels > MOST_VOXELS or voxels * size > packed * MOST_RATIO:
        sides = " × ".join(map(str, shape))
        raise ScanError(f"{path}: its header claims {sides} voxels, which {packed} bytes cannot hold; the header is damaged")
    return int(header.get_data_offset()) + voxels * size


def _plain(path: Path) -> bytes:
    length = path.stat().st_size
    with open(path, "rb") as file:
        start = file.read(600)
        expected = _expected(start, path, length)
        if length < expected:
            raise ScanError(f"{path}: is cut off or damaged ({length} of {expected} bytes); copy or download it again")
        content = start + file.read(max(0, expected - len(start)))
        _refuse_more(content[expected:] + file.read(CHUNK + 1), path, expected)
    return content


def _unpacked(path: Path) -> bytes:
    """A gzip file's content: every member to its end, so that each checksum and length is compared."""
    parts: list[bytes] = []
    have, expected, packed = 0, None, path.stat().st_size
    member, rest = zlib.decompressobj(31), b""
    try:
        with open(path, "rb") as file:
            while chunk := rest or file.read(CHUNK):
                rest = b""
                part = member.decompress(chunk, CHUNK)
                rest = member.unconsumed_tail
                if part:
                    parts.append(part)
                    have += len(part)
                if expected is None and have >= 600:
                    parts = [b"".join(parts)]
                    expected = _expected(parts[0], path, packed)
                if expected is not None and have > expected + CHUNK:
                    raise _too_long(path, expected)  # here: `flush` would unpack all the rest at once
                if member.eof:
                    rest = member.unused_data or file.read(CHUNK)
                    rest = rest.lstrip(b"\0")  # tape and block devices fill up with noughts
                    if not rest:
                        continue
                    if not rest.startswith(b"\x1f\x8b"):
                        raise ScanError(f"{path}: something follows the packed scan ({len(rest)} bytes or more); pack it again")
                    member = zlib.decompressobj(31)
        last = member.flush()
        parts, have = [*parts, last], have + len(last)
    except zlib.error as error:
        raise ScanError(f"{path}: is cut off or damaged ({error}); copy or download it again and compare its size") from error
    content = b"".join(parts)
    expected = _expected(content, path, packed) if expected is None else expected
    if have < expected or (have == expected and not member.eof):
        raise ScanError(
            f"{path}: is cut off or damaged ({have} of {expected} bytes); copy or download it again and compare its size"
        )
    _refuse_more(content[expected:], path, expected)
    return content[:expected]


def _refuse_more(more: bytes, path: Path, expected: int) -> None:
    """A tape fills its last block up with noughts; anything else behind the scan, or more of them, is not the scan's."""
    if len(more) > CHUNK or more.strip(b"\0"):
        raise _too_long(path, expected)


def _too_long(path: Path, expected: int) -> ScanError:
    return ScanError(f"{path}: goes on after the {expected} bytes that its header says; are two files joined in it?")


def _refuse_foreign(path: Path) -> None:
    """Say what a path is if it cannot be a NIfTI file: missing, a folder, DICOM, empty, or another format's name or bytes."""
    convert = "convert it first: dcm2niix -z y -f %p_%s -o OUTPUT_FOLDER DICOM_FOLDER"
    try:
        there = path.exists()
    except OSError as error:  # a name longer than the file system allows
        raise ScanError(f"{path}: cannot be looked for ({error.strerror})") from error
    if not there:
        raise ScanError(f"{path}: does not exist")
    if path.is_dir():
        if holds_dicom(path):
            raise ScanError(f'{path}: is a folder of DICOM files; pip install "scoat-lib[dicom]" reads it, or {convert}')
        raise ScanError(f"{path}: is a folder, not a NIfTI file; name one .nii or .nii.gz file in it")
    if not path.is_file():
        raise ScanError(f"{path}: is no file that can be read again (a pipe or a device); save the scan as a file first")
    if _is_dicom(path):
        raise ScanError(f"{path}: is a DICOM file, one slice of a series; name the folder of the series, or {convert}")
    name = path.name.lower()
    if path.stat().st_size == 0:
        raise ScanError(f"{path}: is empty (0 bytes); copy or download it again")
    if not name.endswith((".nii", ".nii.gz")):
        raise ScanError(f"{path}: is not a NIfTI file by its name; expected .nii or .nii.gz")
    with open(path, "rb") as file:
        first = file.read(400)
    if first.startswith(b"version https://git-lfs"):
        raise ScanError(f"{path}: is a Git LFS pointer, not the scan; fetch the scan itself: git lfs pull")
    if first.lstrip()[:15].lower().startswith((b"<!doctype html", b"<html", b"<?xml")):
        raise ScanError(f"{path}: is a web page, not a scan; download the file itself")
    packed = first.startswith(b"\x1f\x8b")
    if name.endswith(".gz") and not packed:
        is_nifti = first[344:348] in (b"n+1\0", b"ni1\0") or first[4:8] in (b"n+2\0", b"ni2\0")
        advice = f"rename it to {path.name[:-3]}" if is_nifti else "copy or download it again"
        raise ScanError(f"{path}: is not a packed NIfTI file, it is not gzipped; {advice}")
    if packed and not name.endswith(".gz"):
        raise ScanError(f"{path}: is gzipped; rename it to {path.name}.gz")


def holds_dicom(folder: Path) -> bool:
    """Whether a folder itself, not one below it, holds DICOM files."""
    return any(p.is_file() and _is_dicom(p) for p in Path(folder).iterdir())


def dicom_files(folder: Path, below: bool = False) -> list[Path]:
    """The DICOM files of a folder itself, or of all below it, in order; hidden ones and a directory of others (DICOMDIR) are
    passed over."""
    paths = Path(folder).rglob("*") if below else Path(folder).iterdir()
    named = (p for p in paths if not p.name.startswith(".") and p.name != "DICOMDIR" and p.is_file())
    return sorted(p for p in named if _is_dicom(p))


def _is_dicom(path: Path) -> bool:
    try:
        with open(path, "rb") as file:
            return path.suffix.lower() in (".dcm", ".ima") or file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def _axes(word: str):
    """The orientation that axis codes name, or None if they name none."""
    letters = word.upper()
    named = len(letters) == 3 and all(len(pair & set(letters)) == 1 for pair in CODES)
    return axcodes2ornt(tuple(letters)) if named else None


def _refuse_slope(raw: nib.Nifti1Header, path: Path) -> None:
    """An infinite slope, which nibabel takes for none; 0 and NaN stand for none."""
    if np.isinf(raw["scl_slope"]):
        raise ScanError(
            f"{path}: its header multiplies by {float(raw['scl_slope']):g} (scl_slope); correct it, to 1 if the stored values "
            "are the true ones"
        )


def _place(header: nib.Nifti1Header, path: Path, assume: Collection[str]) -> tuple[np.ndarray, list[str]]:
    """The affine in mm, and what is to be said where the header's two forms, or it and what is assumed, place it differently.

    header: with pixdim as the file has it, 0 or negative even.
    """
    axes = min(3, len(header.get_data_shape()))
    size = np.array([*map(float, header["pixdim"][1 : 1 + axes]), 1.0, 1.0, 1.0])[:3]
    unit = UNITS.get(int(header["xyzt_units"]) & 7, "unknown")
    if unit in ("metre", "micron") and "mm" not in assume:
        factor = 1000.0 if unit == "metre" else 0.001
        raise ScanError(
            f"{path}: its header gives lengths in {unit}s, so a voxel would be {_shown(size * factor)} mm; if the numbers "
            f"{_shown(size)} are mm, say --assume mm, else write it in mm"
        )
    sform, qform = int(header["sform_code"]), int(header["qform_code"])
    if not sform and not qform:
        codes = next((word for word in assume if _axes(word) is not None), None)
        if codes is None:
            raise ScanError(
                f"{path}: its header holds neither an sform nor a qform, so nothing says which way up it lies; name its axes, "
                "as --assume LPS (voxels run to the left, to the back, to the head), or write a form into it"
            )
        _refuse_no_size(size, path)
        return _from_axes(_axes(codes), size), []
    if not sform or (qform and "qform" in assume):
        _refuse_no_size(size, path)
        other = _qform(header, path, needed=True)
        return other, _not_used(assume, other, header)
    own = header.get_sform()
    other = _qform(header, path, needed=False) if qform and _is_size(size) else None
    if "sform" not in assume and axes > 2:
        _refuse_two_sizes(own, size, path, other is not None)
    notes = _not_used(assume, own, header)
    if other is not None:
        far = np.append(np.asarray([*header.get_data_shape(), 1, 1, 1][:3]) - 1, 1.0)
        gap = max(float(np.linalg.norm((own - other) @ corner)) for corner in (np.array([0, 0, 0, 1.0]), far))
        if gap > NEAR and "sform" not in assume:
            ways = ["".join(nib.aff2axcodes(a)) for a in (own, other)]
            notes.append(
                f"its sform ({ways[0]}) and its qform ({ways[1]}) place it up to {gap:.0f} mm apart; the sform is used "
                "(--assume qform for the other), and both are written to the mask"
            )
    return own, notes


def _not_used(assume: Collection[str], affine: np.ndarray, header: nib.Nifti1Header) -> list[str]:
    """What is to be said of assumptions against which a header with a form speaks."""
    notes = [
        f"--assume {form} is not used: its header has no {form}"
        for form in ("sform", "qform")
        if form in assume and not int(header[f"{form}_code"])
    ]
    return notes + axes_not_used(assume, affine, "its header has a form")


def axes_not_used(assume: Collection[str], affine: np.ndarray, why: str) -> list[str]:
    """What is to be said of axis codes that are assumed where the affine is known and says otherwise."""
    codes = next((word.upper() for word in assume if _axes(word) is not None), None)
    if codes is None or not np.isfinite(affine).all():
        return []
    ways = "".join(way or "?" for way in nib.aff2axcodes(affine))
    return [f"--assume {codes} is not used: {why}, by which its axes are {ways}"] if ways != codes else []


def _from_axes(ornt, size: np.ndarray) -> np.ndarray:
    """The affine of voxels that run along the named axes, the first voxel at the origin."""
    affine = np.eye(4)
    for axis, (world, sign) in enumerate(ornt):
        affine[:3, axis] = 0.0
        affine[int(world), axis] = sign * size[axis]
    return affine


def _is_size(size: np.ndarray) -> bool:
    return bool((np.isfinite(size) & (size > 0)).all())


def _refuse_no_size(size: np.ndarray, path: Path) -> None:
    if not _is_size(size):
        raise ScanError(
            f"{path}: its header gives a voxel of {_shown(size)} mm (pixdim), where each side must be above 0; correct pixdim"
        )


def _qform(header: nib.Nifti1Header, path: Path, needed: bool) -> np.ndarray | None:
    try:
        return header.get_qform()
    except Exception as error:
        if needed:
            raise ScanError(f"{path}: its qform is no rotation ({error}), so it gives no place; correct its header") from error
        return None


def _refuse_two_sizes(sform: np.ndarray, size: np.ndarray, path: Path, has_qform: bool) -> None:
    """The sform's voxel against pixdim's, which is the qform's too: one of the two volumes would be wrong."""
    sides = np.linalg.norm(sform[:3, :3], axis=0)
    size = np.abs(size)  # some writers give a direction by its sign
    volume, other = abs(np.linalg.det(sform[:3, :3])), float(np.prod(size))
    if not np.isfinite(sides).all() or other <= 0 or not np.isfinite(other):
        return  # `Scan` refuses the one; the other is no size at all, as old writers leave it
    # of a tilted gantry the slices' axis is longer than their distance: then the volumes agree
    apart = np.abs(sides / size - 1) > ALIKE
    if abs(volume / other - 1) > ALIKE and apart.any():
        whose, way = ("qform and pixdim", "--assume qform") if has_qform else ("pixdim", "correct pixdim")
        raise ScanError(
            f"{path}: its sform gives a voxel spacing of {_shown(sides)} mm, its {whose} {_shown(size)} mm; volumes "
            f"would differ by {100 * abs(volume / other - 1):.0f} %; find out which is right: --assume sform or {way}"
        )


def _shown(sides) -> str:
    return " × ".join(f"{s:.4g}" for s in sides)
