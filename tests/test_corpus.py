"""Five hundred files: each is read right, or refused with its name and the reason, quickly; nothing else happens."""

import contextlib
import gzip
import os
import re
import signal
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

from scoat_lib import segmentation
from scoat_lib.scan import Scan, ScanError

SLOW, HANG = 5.0, 60  # s of a processor; s on the clock, for what waits without computing
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


@contextlib.contextmanager
def no_hang():
    """An end to what waits for ever: TimeoutError."""

    def end(*_):
        raise TimeoutError(f"has not ended after {HANG} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(HANG)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


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
            with warnings.catch_warnings(), no_hang():
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
                cubic_mm = abs(np.linalg.det(affine[:3, :3]))
                if not np.isclose(scan.volume(), np.count_nonzero(voxels) * cubic_mm / 1000, rtol=1e-4):
                    wrong = "its volume is wrong"
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
    words = {"read": "read; values, affine and volume right", "refused": "refused, with its name and the reason"}
    for kind, expected, outcome, _ in met:
        bad = isinstance(expected, tuple) and isinstance(expected[0], str)
        what = "an undamaged file" if not bad and expected is not None else kind
        tried(f"scan: {what}", words[outcome] if expected is not None else "read, or " + words["refused"])


def test_chests_of_a_wrong_scale_or_place_are_refused_or_doubted(tmp_path, tried):
    """What `scoat segment` and `scoat_lib.segment` ask before they segment."""
    words = {
        corpus.REFUSED: "refused, with its name and the reason",
        corpus.WARNED: "a warning that says it",
        corpus.FINE: "read, nothing is said",
    }
    wrong, times = [], Counter()
    for kind, path, outcome, pattern in corpus.chests(tmp_path):
        try:
            with no_hang():
                doubts = segmentation.doubts(Scan.load(path))
            what, text = corpus.WARNED if doubts else corpus.FINE, " | ".join(doubts)
        except ScanError as error:
            what, text = corpus.REFUSED, str(error)
        named = what != corpus.REFUSED or str(path) in text
        if what != outcome or not named or not re.search(pattern, text):
            wrong.append(f"{kind}, {path.name}: {what}, {text}")
        times[kind] += 1
        tried(f"scan: {kind}", words[what])
    assert wrong == []
    assert len(times) == 13
    assert set(times.values()) == {corpus.TIMES}


def test_security_says_how_many_broken_files_are_tried(met):
    broken = sum(expected is None or isinstance(expected[0], str) for _, expected, *_ in met)
    said = " ".join((Path(__file__).parents[1] / "SECURITY.md").read_text().split())
    assert (
        f"{broken} broken or mutated files and {12 * corpus.TIMES} scans of a wrong scale or place are part of the tests"
        in said
    )


@pytest.mark.fault("scan: a pipe that nobody writes to", "refused, with its name and the reason")
@pytest.mark.parametrize("name", ["x.nii", "x.nii.gz", "x"])
def test_a_pipe_is_refused_at_once(name, tmp_path):
    os.mkfifo(tmp_path / name)
    (tmp_path / f"link-{name}").symlink_to(tmp_path / name)
    for path in (tmp_path / name, tmp_path / f"link-{name}"):
        with no_hang(), pytest.raises(ScanError, match=rf"{name}: is no file that can be read again \(a pipe or a device\)"):
            Scan.load(path)


def _peak(*paths) -> tuple[int, list[str]]:
    """Bytes that reading files, one after the other, takes at most, and what is said of each.

    Counted by Python's own allocations: the peak of a process is its parent's after a fork, and hides what is smaller.
    """
    said = []
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    try:
        for path in paths:
            try:
                Scan.load(path)
                said.append("read")
            except ScanError as error:
                said.append(str(error))
        return tracemalloc.get_traced_memory()[1] - before, said
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize(("dtype", "suffix"), [("u1", ".nii"), ("i2", ".nii"), ("i2", ".nii.gz"), ("f8", ".nii.gz")])
def test_a_large_scan_takes_at_most_four_times_its_size(dtype, suffix, scaled, tmp_path):
    """A slope makes float32 of it, which is four times a byte already, so that the byte itself comes on top."""
    voxels = np.random.default_rng(0).integers(0, 200, (160, 160, 96)).astype(dtype)
    path = tmp_path / f"scan{suffix}"
    raw = bytearray(nib.Nifti1Image(voxels, np.diag([0.8, 0.8, 2, 1])).to_bytes())
    if scaled:
        raw[112:120] = np.array([1500 / 255, -1250], "<f4").tobytes()  # scl_slope, scl_inter
    path.write_bytes(gzip.compress(raw, 1) if suffix == ".nii.gz" else raw)
    peak, said = _peak(path)
    assert said == ["read"]
    assert peak < max(TIMES * voxels.nbytes, (voxels.itemsize + 4) * voxels.size if scaled else 0) + FLOOR


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
