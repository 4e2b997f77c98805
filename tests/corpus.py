"""Small NIfTI files of every kind that a hospital or a bad day could send: for test_corpus.py, from a seed.

Two generators: of noise, for what a file can be, and of phantoms, for what its values and its place in the patient can be.
`make(folder)` writes them and yields (kind, path, expected): expected is voxels and affine of a file that must be read right,
the words of which one must stand in the ScanError of a file that must be refused, or None for a file of the fuzzer, which may
be either but nothing else.
"""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterator
from itertools import permutations, product
from pathlib import Path

import nibabel as nib
import numpy as np

from scoat_lib import phantom
from scoat_lib.scan import Scan

TIMES = 10  # files of each fault
DTYPES = ("u1", "i1", "i2", "u2", "i4", "u4", "i8", "f4", "f8")


def _array(rng: np.random.Generator, shape=(9, 8, 7)) -> np.ndarray:
    return rng.integers(-1000, 400, shape).astype(np.int16)


def _affine(rng: np.random.Generator) -> np.ndarray:
    spacing = rng.uniform(0.6, 3.0, 3)
    affine = np.eye(4)
    order = list(permutations(range(3)))[rng.integers(6)]
    for axis, world in enumerate(order):
        affine[:3, axis] = 0
        affine[world, axis] = spacing[axis] * rng.choice([-1, 1])
    affine[:3, 3] = rng.uniform(-200, 200, 3)
    return affine.astype(np.float32).astype(float)


def _bytes(array, affine, kind=nib.Nifti1Image, **header) -> bytes:
    image = kind(array, affine)
    image.header.set_xyzt_units("mm")
    for name, value in header.items():
        image.header[name] = value
    return image.to_bytes()


def _valid(rng: np.random.Generator) -> Iterator[tuple[str, str, bytes, tuple]]:
    """kind, suffix, bytes, (voxels, affine)."""
    for dtype, packed in product(DTYPES, (False, True)):
        for _ in range(3):
            affine = _affine(rng)
            info = np.iinfo(dtype) if dtype[0] in "iu" else None
            array = rng.integers(max(-1000, info.min) if info else -1000, min(400, info.max) if info else 400, (9, 8, 7))
            raw = (
                _bytes(array.astype(dtype), affine) if dtype != "i8" else nib.Nifti1Image(array, affine, dtype="i8").to_bytes()
            )
            yield f"dtype {dtype}", ".nii.gz" if packed else ".nii", raw, (array, affine)
    for order, signs in product(permutations(range(3)), product((1, -1), repeat=3)):  # all 48 orientations
        affine = np.eye(4)
        affine[:3, :3] = 0
        for axis, world in enumerate(order):
            affine[world, axis] = signs[axis] * (0.7, 0.8, 2.5)[axis]
        array = _array(rng)
        yield "orientation", ".nii.gz", _bytes(array, affine), (array, affine)
    for k in range(20):
        array, affine = _array(rng), _affine(rng)
        if k % 2:
            image = nib.Nifti1Image(array.astype(">i2"), affine, nib.Nifti1Header(endianness=">"))
            yield "big-endian", ".nii", image.to_bytes(), (array, affine)
        else:
            yield "NIfTI-2", ".nii.gz", _bytes(array, affine, nib.Nifti2Image), (array, affine)
    for k in range(20):
        array, affine = _array(rng), _affine(rng)
        more = array[..., None] if k % 2 else array[..., None, None]
        yield f"{more.ndim} axes, the last of one", ".nii.gz", _bytes(more, affine), (array, affine)
    for _ in range(20):
        array, affine = _array(rng), _affine(rng)
        raw = bytearray(_bytes(array, affine))
        raw[112:120] = np.array([0.5, -3], "<f4").tobytes()  # scl_slope, scl_inter
        yield "slope and intercept", ".nii.gz", bytes(raw), (array * 0.5 - 3, affine)
    for _ in range(20):
        array, affine = _array(rng), _affine(rng)
        turn = np.radians(rng.uniform(-20, 20))
        tilt = np.array([[1, 0, 0], [0, np.cos(turn), -np.sin(turn)], [0, np.sin(turn), np.cos(turn)]])
        affine[:3, :3] = tilt @ affine[:3, :3]
        affine = affine.astype(np.float32).astype(float)
        yield "oblique", ".nii.gz", _bytes(array, affine), (array, affine)
    for _ in range(10):  # only a qform
        array, affine = _array(rng), _affine(rng)
        image = nib.Nifti1Image(array, affine)
        image.set_sform(None, 0)
        image.set_qform(affine, 1)
        yield "qform only", ".nii.gz", image.to_bytes(), (array, image.header.get_qform())
    for _ in range(10):  # packed in two members, as block-wise packers do, and filled up with noughts, as tapes are
        array, affine = _array(rng), _affine(rng)
        raw = _bytes(array, affine)
        yield (
            "packed in members",
            ".raw.nii.gz",
            gzip.compress(raw[:400]) + gzip.compress(raw[400:]) + bytes(512),
            (array, affine),
        )
    own = np.random.default_rng(1)  # what was drawn before these came stays as it was
    for k in range(20):
        array, affine = _array(own), _affine(own)
        image = nib.Nifti1Image(array, affine)
        image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"x" * (300 + 20_000 * k)))
        yield "a long extension of the header", ".nii" if k % 2 else ".nii.gz", image.to_bytes(), (array, affine)
    for k in range(20):  # as old writers leave pixdim where the sform holds
        array, affine = _array(own), _affine(own)
        raw = bytearray(_bytes(array, affine, qform_code=k % 2))
        raw[80:92] = np.array([0.0 if k % 4 < 2 else -1.0, 0, 0], "<f4").tobytes()
        yield "no pixdim but an sform", ".nii.gz", bytes(raw), (array, affine)


def _faulty(rng: np.random.Generator) -> Iterator[tuple[str, str, bytes, tuple[str, ...]]]:
    """kind, suffix, bytes as they are on the disk, words of which one must be in the error."""
    for k in range(TIMES):
        array, affine = _array(rng), _affine(rng)
        raw = _bytes(array, affine)
        packed = gzip.compress(raw)
        cut = rng.uniform(0.05, 0.98)
        yield "cut off, packed", ".nii.gz", packed[: int(cut * len(packed))], ("cut off",)
        yield "cut off", ".nii", raw[: int(cut * len(raw))], ("cut off",)
        place = int(rng.integers(30, len(packed) - 1))
        flipped = bytearray(packed)
        flipped[place] ^= 1 << int(rng.integers(8))
        yield (
            "a bit flipped, packed",
            ".nii.gz",
            bytes(flipped),
            ("cut off or damaged", "not a readable", "follows the packed", "claims"),
        )
        more = rng.integers(1, 255, 40 + k).astype(np.uint8).tobytes()
        yield "bytes after the end, packed", ".nii.gz", packed + more, ("follows the packed scan",)
        yield "bytes after the end", ".nii", raw + more, ("goes on after",)
        yield "two files joined, packed", ".nii.gz", packed + packed, ("goes on after",)
        yield "two files joined", ".nii", raw + raw, ("goes on after",)
        huge = bytearray(raw)
        huge[40:48] = np.array([3, 32000, 32000, 32000], "<i2").tobytes()
        yield "a header that claims 32 000³ voxels", ".nii", bytes(huge), ("claims",)
        yield "a header that claims 32 000³ voxels, packed", ".nii.gz", gzip.compress(bytes(huge)), ("claims",)
        yield "a web page", ".nii.gz", b"\n<!DOCTYPE html><html>" + more, ("web page",)
        yield "a Git LFS pointer", ".nii.gz", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", ("Git LFS",)
        yield "gzipped, named .nii", ".nii", packed, ("rename it to",)
        yield "not gzipped, named .nii.gz", ".nii.gz", raw, ("rename it to",)
        yield "plain text", ".nii", b"a scan of the chest\n" * (20 + k), ("not a readable", "cut off", "claims")
        yield "an empty file", ".nii.gz", b"", ("is empty",)
        yield "DICOM by its bytes", ".nii", bytes(128) + b"DICM" + more, ("DICOM",)

        image = nib.Nifti1Image(array, affine)
        wrong = affine.copy()
        wrong[:3, 2] *= rng.uniform(1.05, 2)
        image.set_qform(affine, 1)
        image.set_sform(wrong, 1)
        yield "sform and qform of two sizes", ".nii.gz", gzip.compress(image.to_bytes()), ("sform gives a voxel spacing",)
        image = nib.Nifti1Image(array, None)
        image.header.set_zooms((0.7, 0.7, 2.0))
        yield "neither sform nor qform", ".nii.gz", gzip.compress(image.to_bytes()), ("neither an sform nor a qform",)
        yield "lengths in metres", ".nii.gz", gzip.compress(_bytes(array, affine, xyzt_units=1)), ("metres",)
        yield "lengths in microns", ".nii.gz", gzip.compress(_bytes(array, affine, xyzt_units=3)), ("microns",)
        holes = array.astype(np.float32)
        holes[tuple(rng.integers(0, 7, 3))] = rng.choice([np.nan, np.inf, -np.inf])
        yield "not finite", ".nii.gz", gzip.compress(_bytes(holes, affine)), ("NaN or infinite",)
        yield "a picture of two axes", ".nii", _bytes(array[..., 0], affine), ("three axes",)
        yield "several volumes", ".nii.gz", gzip.compress(_bytes(np.stack([array] * 2, -1), affine)), ("three axes",)
        yield "complex values", ".nii", _bytes(array.astype(np.complex64), affine), ("one real number",)
        colour = np.zeros(array.shape, [("R", "u1"), ("G", "u1"), ("B", "u1")])
        yield "colours", ".nii", _bytes(colour, affine), ("one real number", "not a readable")
        flat = affine.copy()
        flat[:3, 1] = flat[:3, 0]
        parallel = bytearray(raw)
        parallel[280:328] = flat[:3].astype("<f4").tobytes()  # srow_x, srow_y, srow_z
        yield "axes that are parallel", ".nii", bytes(parallel), ("parallel", "sform gives")
        turn = np.radians(rng.uniform(38, 44))
        skew = np.diag([0.8, 0.8, 2.0, 1.0])
        skew[:2, :2] = 0.8 * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        yield "oblique beyond a gantry's tilt", ".nii.gz", gzip.compress(_bytes(array, skew)), ("oblique",)
        yield "spacing of no scanner", ".nii.gz", gzip.compress(_bytes(array, np.diag([0.001, 0.001, 30, 1]))), ("spacing",)


def _fuzzed(rng: np.random.Generator, number: int) -> Iterator[tuple[str, str, bytes, None]]:
    for k in range(number):
        raw = bytearray(_bytes(_array(rng), _affine(rng)))
        for _ in range(int(rng.integers(1, 12))):
            raw[int(rng.integers(0, 348))] = int(rng.integers(256))
        yield "fuzzed header", ".nii" if k % 2 else ".nii.gz", bytes(raw) if k % 2 else gzip.compress(bytes(raw)), None


def make(folder: Path, seed: int = 0, fuzzed: int = 120) -> Iterator[tuple[str, Path, object]]:
    """Write the corpus, one file after the other; see the module."""
    rng = np.random.default_rng(seed)
    number = 0

    def write(suffix: str, content: bytes) -> Path:
        nonlocal number
        number += 1
        path = folder / f"{number:04d}{suffix}"
        path.write_bytes(content)
        return path

    for kind, suffix, raw, expected in _valid(rng):
        if suffix == ".nii.gz":
            buffer = io.BytesIO()
            with gzip.GzipFile(fileobj=buffer, mode="wb") as file:
                file.write(raw)
            raw = buffer.getvalue()
        yield kind, write(suffix, raw), expected
    for kind, suffix, content, words in _faulty(rng):
        yield kind, write(suffix, content), words
    yield from ((kind, write(suffix, content), None) for kind, suffix, content, _ in _fuzzed(rng, fuzzed))


REFUSED, WARNED, FINE = "refused", "warned", "fine"
PADDING = (None, -1000, -1024, -1500, -2000, -2048, -3024, -4000, -10_000, -32_768)  # what lies outside the field of view
TURNED = ("front and back", "head and foot", "left and right")  # of `Scan.axial`'s axes: rows, slices, columns


def _chest_faults(k: int, chest: Scan) -> Iterator[tuple[str, bytes, str, str]]:
    """The k-th phantom with one fault each: kind, bytes, outcome, a pattern of what is said."""
    hu, affine = chest.voxels.astype(np.int32), np.asarray(chest.affine)
    outside = np.hypot(*np.mgrid[-1:1:64j, -1:1:64j]) > 0.97

    def stored(voxels, padding=None, **header) -> bytes:
        """As int16, or int32 where that is too short."""
        voxels = voxels.copy()
        if padding is not None:
            voxels[outside] = padding
        short = voxels.min() >= -32_768 and voxels.max() <= 32_767
        return _bytes(voxels.astype(np.int16 if short else np.int32), affine, **header)

    def with_header(at: int, values, codes: tuple[int, int]) -> bytes:
        """The phantom as it is, 4-byte numbers written into its header, and the codes of qform and sform."""
        image = nib.Nifti1Image(hu.astype(np.int16), affine)
        image.header.set_xyzt_units("mm")
        image.set_qform(affine, 1)
        raw = bytearray(image.to_bytes())
        raw[at : at + 4 * len(values)] = np.array(values, "<f4").tobytes()
        raw[252:256] = np.array(codes, "<i2").tobytes()
        return bytes(raw)

    padding, size = PADDING[k], list(chest.spacing)
    yield "a chest, padded or not", stored(hu, padding), FINE, ""
    yield "HU stored with an offset of 1024", stored(hu + 1024, padding), REFUSED, r"not in Hounsfield.*subtract 10\d\d"
    padded = None if padding is None or padding > -2000 else padding  # as it is once -1024 is added twice
    yield "an offset of -1024 applied twice", stored(hu - 1024, padded), REFUSED, r"not in Hounsfield.*add (99|10\d)\d"
    yield "inverted grey", stored(-hu, padding), REFUSED, "not in Hounsfield.*looks inverted"
    by = (-700, -500, -300, -200, -100, -60, 60, 100, 200, 300)[k]
    yield "HU shifted by some hundred", stored(hu + by), WARNED, f"; {'subtract' if by > 0 else 'add'} \\d+ to bring both there"
    grey = np.clip((hu + 1250) * 255 / (1500 + 50 * k), 0, 255).astype(np.uint8)
    yield "an 8-bit picture", _bytes(grey, affine), REFUSED, "not in Hounsfield units.*8-bit picture"
    yield "cut off below muscle", stored(np.clip(hu, -1000, 20 - 25 * k)), WARNED, "what is denser was cut off"
    ways = [bool(k % 7 + 1 & bit) for bit in (1, 2, 4)]
    axes = tuple(slice(None, None, -1 if way else 1) for way in (ways[1], ways[0], ways[2]))
    turned = chest.with_axial(chest.axial()[axes]).voxels
    pairs = ", ".join(name for name, way in zip(TURNED, ways, strict=True) if way)
    yield "a patient who lies otherwise than the header says", stored(turned), WARNED, f"{pairs} seems? reversed"
    moved = affine.copy()
    moved[:, k % 3] *= -1
    moved[2, 3] += 5 * k
    image = nib.Nifti1Image(hu.astype(np.int16), affine)
    image.set_sform(affine, 1)
    image.set_qform(moved, 1)
    yield "two places", image.to_bytes(), WARNED, "its sform .* and its qform .* place it up to"
    size[k % 3] *= 1.05 + 0.1 * k
    yield "a pixdim against the sform", with_header(80, size, (k % 2, 1)), REFUSED, "its sform gives a voxel spacing"
    size[k % 3] = (0, -1, np.nan, np.inf)[k % 4]
    yield "a voxel side that is none", with_header(80, size, (1, 0)), REFUSED, "its header gives a voxel of"
    slope = with_header(112, [(-1) ** k * np.inf, k], (1, 1))
    yield "a slope that is infinite", slope, REFUSED, r"multiplies by -?inf"
    huge = hu.astype(float)
    huge[tuple(5 + k for _ in range(3))] = 1e39 * (-1) ** k
    yield "numbers too large for float32", _bytes(huge, affine), REFUSED, "1 voxels are NaN or infinite, or too large"


def chests(folder: Path) -> Iterator[tuple[str, Path, str, str]]:
    """Ten phantom patients with every fault of scale or place, one file after the other.

    (kind, path, REFUSED, WARNED or FINE, a regular expression of what must be said).
    """
    for k in range(TIMES):
        chest = phantom.patient(100 + k, (64, 64, 32), volume=20.0 * k, scanner="ab"[k % 2]).scan
        for number, (kind, raw, outcome, pattern) in enumerate(_chest_faults(k, chest)):
            path = folder / f"chest-{k}-{number:02d}.nii.gz"
            path.write_bytes(gzip.compress(raw, 1))
            yield kind, path, outcome, pattern


def faults() -> list[str]:
    """The kinds of faults, in order."""
    return list(dict.fromkeys(kind for kind, *_ in _faulty(np.random.default_rng(0))))
