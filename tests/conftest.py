"""Fixtures shared by all tests: caches in a temporary folder, one thread, a small phantom cohort."""

import os
import tempfile

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


def pytest_sessionfinish():
    shutil.rmtree(_cache, ignore_errors=True)


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
