"""Fixtures shared by all tests: caches in a temporary folder, one thread, a small phantom cohort."""

import json
import os
import tempfile
from collections import Counter
from functools import partial
from pathlib import Path

_cache = tempfile.mkdtemp(prefix="scoat-tests-")
os.environ["SCOAT_CACHE"] = _cache
os.environ.pop("SCOAT_DATA", None)

import shutil  # noqa: E402

import numpy as np  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402

from scoat_lib import phantom  # noqa: E402
from scoat_lib.cohort import Cohort  # noqa: E402
from scoat_lib.training import Recipe  # noqa: E402

FAULTS = Path(__file__).parents[1] / "_build" / "faults"  # what each file of tests tried and met, for studies.faults
_tried: dict[str, Counter] = {}


def pytest_sessionfinish():
    shutil.rmtree(_cache, ignore_errors=True)
    for name, counts in _tried.items():
        FAULTS.mkdir(parents=True, exist_ok=True)
        rows = [{"fault": fault, "what happened": what, "times": n} for (fault, what), n in sorted(counts.items())]
        (FAULTS / f"{name}.json").write_text(json.dumps(rows, indent=1) + "\n")


def _note(path: Path, fault: str, what: str, times: int = 1) -> None:
    _tried.setdefault(path.stem, Counter())[fault, what] += times


@pytest.fixture(scope="module")
def tried(request):
    """Note what became of a fault that was tried: tried(fault, what happened, times). Called after it was checked."""
    return partial(_note, request.node.path)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    """Note the fault that a passed test has in its marker."""
    report = yield
    if report.when == "call" and report.passed and (mark := item.get_closest_marker("fault")):
        _note(item.path, *mark.args)
    return report


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.fixture(scope="session")
def data_folder(tmp_path_factory):
    """Six small phantom patients, laid out like the record."""
    return phantom.write_cohort(tmp_path_factory.mktemp("data") / "cohort", 6, (64, 64, 16), seed=3)


@pytest.fixture(scope="session")
def cohort(data_folder):
    return Cohort.open(data_folder, Recipe(size=64).preprocessing)


@pytest.fixture(scope="session")
def tiny_recipe():
    """Seconds on one core."""
    return Recipe(width=4, epochs=3, size=64, folds=3, batch=8, precision="32-true", lesion_free=0.0)
