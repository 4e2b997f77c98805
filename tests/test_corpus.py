"""Five hundred files: each is read right, or refused with its name and the reason, quickly; nothing else happens."""

import contextlib
import gzip
import json
import subprocess
import sys
import time
import tracemalloc
import warnings
import zlib
from collections import Counter
from pathlib import Path

import corpus
import nibabel as nib
import numpy as np
import pytest

from scoat_lib.scan import Scan, ScanError

SLOW = 5.0  # s of a processor
TIMES, FLOOR = 4, 2 << 20  # bytes: a file may take so many times what its voxels hold; a small one what reading takes at all


def honest(path) -> int:
    """The bytes that a file truly holds, unpacked as far as it goes."""
    packed = path.read_bytes()
    if not packed.startswith(b"\x1f\x8b"):
        return len(packed)
    size = 0
    with contextlib.suppress(EOFError, OSError, zlib.error), gzip.open(path) as file:
        while part := file.read(1 << 16):
            size += len(part)
    return max(size, len(packed))


@pytest.fixture(scope="module")
def met(tmp_path_factory):
    """What became of each file: (kind, expected, "read", "refused" or the exception's name, what was wrong)."""
    folder = tmp_path_factory.mktemp("corpus")
    found = []
    tracemalloc.start()
    for kind, path, expected in corpus.make(folder):
        began = time.process_time()
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        wrong = ""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                scan = Scan.load(path)
        except ScanError as error:
            outcome = "refused"
            if str(path) not in str(error):
                wrong = f"does not name {path.name}: {error}"
            elif isinstance(expected, tuple) and isinstance(expected[0], str) and not any(w in str(error) for w in expected):
                wrong = f"another reason: {error}"
            elif isinstance(expected, tuple) and not isinstance(expected[0], str):
                wrong = f"a good file is refused: {error}"
        except Exception as error:
            outcome, wrong = type(error).__name__, str(error)
        else:
            outcome = "read"
            if isinstance(expected, tuple) and isinstance(expected[0], str):
                wrong = "a bad file is read"
            elif expected is not None:
                voxels, affine = expected
                if not np.allclose(scan.voxels, voxels, atol=1e-3) or not np.allclose(scan.affine, affine, atol=1e-4):
                    wrong = "read wrong"
        seconds, (_, peak) = time.process_time() - began, tracemalloc.get_traced_memory()
        if not wrong and seconds > SLOW:
            wrong = f"slow: {seconds:.0f} s"
        elif not wrong and peak - before > max(FLOOR, TIMES * honest(path)):
            wrong = f"takes {peak - before} bytes of memory for {honest(path)}"
        found.append((kind, expected, outcome, wrong))
    tracemalloc.stop()
    return found


def test_every_file_is_read_right_or_refused_in_words(met, tried):
    assert len(met) >= 500
    assert [f"{kind}: {outcome}, {wrong}" for kind, _, outcome, wrong in met if wrong] == []
    assert {outcome for *_, outcome, _ in met} <= {"read", "refused"}
    words = {"read": "read, values and affine right", "refused": "refused, with its name and the reason"}
    for kind, expected, outcome, _ in met:
        bad = isinstance(expected, tuple) and isinstance(expected[0], str)
        what = "an undamaged file" if not bad and expected is not None else kind
        tried(f"scan: {what}", words[outcome] if expected is not None else "read, or " + words["refused"])


PROGRAM = """
import json, resource, sys, warnings
from scoat_lib.scan import Scan, ScanError
warnings.simplefilter("ignore")
said = []
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sys.argv[1:]:
    try:
        Scan.load(path)
        said.append("read")
    except ScanError as error:
        said.append(str(error))
print(json.dumps([(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024, said]))
"""


def _peak(*paths) -> tuple[int, list[str]]:
    """Bytes by which reading files, one after the other, raises the peak of a process of its own, and what it says of each."""
    words = [sys.executable, "-c", PROGRAM, *map(str, paths)]
    done = subprocess.run(words, capture_output=True, text=True, cwd=Path(__file__).parents[1], timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize(("dtype", "suffix"), [("i2", ".nii"), ("i2", ".nii.gz"), ("f8", ".nii.gz")])
def test_a_large_scan_takes_at_most_four_times_its_size(dtype, suffix, tmp_path):
    voxels = np.random.default_rng(0).integers(0, 200, (160, 160, 96)).astype(dtype)
    path = tmp_path / f"scan{suffix}"
    nib.save(nib.Nifti1Image(voxels, np.diag([0.8, 0.8, 2, 1])), path)
    peak, said = _peak(path)
    assert said == ["read"]
    assert peak < TIMES * voxels.nbytes + FLOOR


def test_a_header_that_lies_about_its_size_takes_no_memory(tmp_path, tried):
    """It claims more than there is, or less: a thousand times as much, a packer's best ratio, a single row."""
    raw = bytearray(nib.Nifti1Image(np.zeros((120, 120, 100), np.int16), np.eye(4)).to_bytes())
    honest_size = len(raw)
    raw[-1] = 1
    paths = []
    for claimed in (
        (32000, 32000, 32000),
        (2000, 1000, 1000),
        (1200, 1200, 1000),
        (130, 120, 100),
        (110, 120, 100),
        (32767, 1, 1),
    ):
        raw[40:48] = np.array([3, *claimed], "<i2").tobytes()
        for suffix in (".nii", ".nii.gz"):
            paths.append(tmp_path / f"{len(paths)}{suffix}")
            paths[-1].write_bytes(bytes(raw) if suffix == ".nii" else gzip.compress(bytes(raw)))
    peak, said = _peak(*paths)
    assert [str(path) in text for path, text in zip(paths, said, strict=True)] == [True] * 12, said
    assert peak < TIMES * honest_size
    tried(
        "scan: a header that lies about its size", "refused, with its name and the reason; no memory for what is not there", 12
    )


def test_a_bomb_is_left_before_it_is_unpacked(tmp_path, tried):
    """256 kB that unpack to 256 MB, of ones or of noughts, behind an honest header."""
    raw = nib.Nifti1Image(np.zeros((20, 20, 10), np.int16), np.eye(4)).to_bytes()
    paths = [tmp_path / "ones.nii.gz", tmp_path / "noughts.nii.gz"]
    for path, value in zip(paths, (b"\1", b"\0"), strict=True):
        pack = zlib.compressobj(1, zlib.DEFLATED, 31)
        block = value * (1 << 20)
        path.write_bytes(pack.compress(raw) + b"".join(pack.compress(block) for _ in range(256)) + pack.flush())
    peak, said = _peak(*paths)
    assert [f"{path}: goes on after" in text for path, text in zip(paths, said, strict=True)] == [True, True], said
    assert peak < 16 << 20
    tried("scan: a packed file that unpacks to far more than its header says", "refused before it is unpacked", 2)


REFUSED = "refused, with its name and the reason"


def _raw(path: Path, affine: np.ndarray, at: int, values: list[float], qform: int = 1, sform: int = 1) -> Path:
    """A NIfTI file into whose header 4-byte numbers are written, and the codes of its forms."""
    image = nib.Nifti1Image(np.zeros((6, 5, 4), np.int16), affine)
    image.set_qform(affine, 1)
    raw = bytearray(image.to_bytes())
    raw[at : at + 4 * len(values)] = np.array(values, "<f4").tobytes()
    raw[252:256] = np.array([qform, sform], "<i2").tobytes()
    path.write_bytes(raw)
    return path


@pytest.mark.fault("scan: a voxel side of 0 or less where nothing else gives its size", REFUSED)
@pytest.mark.parametrize("side", [0.0, -5.0, np.nan, np.inf])
def test_a_voxel_side_that_is_none_is_refused_where_the_volume_hangs_on_it(side, tmp_path):
    affine = np.diag([-0.7, -0.7, 5.0, 1.0])
    pixdim = [0.7, 0.7, side]
    for name, qform, sform, assume in (("q.nii", 1, 0, ()), ("assumed.nii", 1, 1, ["qform"]), ("none.nii", 0, 0, ["LPS"])):
        path = _raw(tmp_path / name, affine, 80, pixdim, qform, sform)
        with pytest.raises(
            ScanError, match=rf"{name}: its header gives a voxel of 0\.7 × 0\.7 × {side:.4g} mm.*correct pixdim"
        ):
            Scan.load(path, assume=assume)
    held = _raw(tmp_path / "sform.nii", affine, 80, pixdim)
    scan = Scan.load(held)
    assert (scan.spacing, scan.notes) == (pytest.approx((0.7, 0.7, 5)), ())
    mask = Scan.load(scan.with_axial(scan.axial() + 1).save(tmp_path / "mask.nii.gz"), mask=True)
    np.testing.assert_array_equal(mask.affine, scan.affine)
    assert nib.load(mask.path).header.get_zooms() == pytest.approx((0.7, 0.7, 5))


@pytest.mark.fault("scan: a slope that is infinite", REFUSED)
def test_an_infinite_slope_is_refused_and_none_is_none(tmp_path):
    for slope in (np.inf, -np.inf):
        path = _raw(tmp_path / "x.nii", np.eye(4), 112, [slope, 3])
        with pytest.raises(ScanError, match=r"x\.nii: its header multiplies by -?inf \(scl_slope\)"):
            Scan.load(path)
    for slope in (0, np.nan):
        assert not Scan.load(_raw(tmp_path / "x.nii", np.eye(4), 112, [slope, 3])).voxels.any()


@pytest.mark.fault("scan: numbers too large for float32", REFUSED)
def test_numbers_too_large_are_refused(tmp_path, recwarn):
    voxels = np.zeros((6, 5, 4))
    voxels[0, 0, 0], voxels[1, 1, 1] = 1e300, -3.5e38
    nib.save(nib.Nifti1Image(voxels, np.eye(4)), tmp_path / "x.nii")
    with pytest.raises(ScanError, match=r"x\.nii: 2 voxels are NaN or infinite, or too large"):
        Scan.load(tmp_path / "x.nii")
    assert not len(recwarn)


def test_every_fault_stands_ten_times_in_it(met):
    faults = Counter(kind for kind, expected, *_ in met if isinstance(expected, tuple) and isinstance(expected[0], str))
    assert len(faults) >= 28
    assert min(faults.values()) >= 10


def test_a_reoriented_copy_gives_the_same_slices_and_volume(tmp_path):
    """Any order and direction of the axes: one patient, one picture, one volume."""
    from itertools import permutations, product

    rng = np.random.default_rng(5)
    affine = np.diag([-0.8, -0.7, 2.5, 1.0])
    affine[:3, 3] = (100, 90, -300)
    scan = Scan(rng.integers(-1000, 300, (12, 10, 6)).astype(np.int16), affine)
    pairs = ("LR", "AP", "SI")
    for order, picks in product(permutations(range(3)), product((0, 1), repeat=3)):
        codes = "".join(pairs[axis][picks[axis]] for axis in order)
        path = scan.reoriented(codes).save(tmp_path / "copy.nii.gz", overwrite=True)
        copy = Scan.load(path)
        np.testing.assert_array_equal(copy.axial(), scan.axial())
        assert copy.volume() == pytest.approx(scan.volume())
        np.testing.assert_allclose(copy.axial_spacing, scan.axial_spacing, rtol=1e-6)
