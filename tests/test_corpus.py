"""Five hundred files: each is read right, or refused with its name and the reason, quickly; nothing else happens."""

import time
import warnings
from collections import Counter

import corpus
import numpy as np
import pytest

from scoat_lib.scan import Scan, ScanError


@pytest.fixture(scope="module")
def met(tmp_path_factory):
    """What became of each file: (kind, expected, "read", "refused" or the exception's name, what was wrong)."""
    folder = tmp_path_factory.mktemp("corpus")
    found = []
    for kind, path, expected in corpus.make(folder):
        began = time.process_time()
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
        seconds = time.process_time() - began
        found.append((kind, expected, outcome, wrong or ("slow" if seconds > 5 else "")))
    return found


def test_every_file_is_read_right_or_refused_in_words(met, tried):
    assert len(met) >= 500
    assert [f"{kind}: {outcome}, {wrong}" for kind, _, outcome, wrong in met if wrong] == []
    assert {outcome for *_, outcome, _ in met} <= {"read", "refused"}
    words = {"read": "read, values and affine right", "refused": "refused, with its name and the reason"}
    for kind, expected, outcome, _ in met:
        bad = isinstance(expected, tuple) and isinstance(expected[0], str)
        what = "nothing, a valid file" if not bad and expected is not None else kind
        tried(f"scan: {what}", words[outcome] if expected is not None else "read, or " + words["refused"])


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
