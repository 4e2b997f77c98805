"""SIGKILL at random moments: started again, the same bits; never half a file under a final name, never a cut cache believed.

Each piece of work runs in a forked child that is killed; what lies there afterwards is checked, and at the end the work is done
once undisturbed. Three times each in `make test`, twenty times in `make test-long`.
"""

import importlib.util
import json
import os
import shutil
import signal
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from scoat_lib import engine, experiments, inference, training
from scoat_lib.cohort import Cohort, find_cases
from scoat_lib.scan import Scan
from scoat_lib.weights import load

TIMES = [pytest.param(3, id="3 times"), pytest.param(20, id="20 times", marks=pytest.mark.long)]


def disturbed(work, check, times: int, seed: int = 0) -> int:
    """Do `work` in a child and kill it, so many times, `check` after each; then let it end. How many kills came too late."""
    rng = np.random.default_rng(seed)

    def child() -> int:
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                os.setsid()
                work()
                code = 0
            finally:
                os._exit(code)
        return pid

    began = time.monotonic()
    _, status = os.waitpid(child(), 0)  # once undisturbed, for the time it takes; whoever calls clears its traces
    assert status == 0
    whole, late = time.monotonic() - began, 0
    yield whole
    for _ in range(times):
        pid = child()
        time.sleep(rng.uniform(0.02, 0.9) * whole)
        try:
            os.killpg(pid, signal.SIGKILL)
        except ProcessLookupError:  # not yet a group of its own
            os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        late += os.WIFEXITED(status)
        check()
    _, status = os.waitpid(child(), 0)
    assert status == 0
    yield late


def run_disturbed(work, check, clear, times):
    """`disturbed` from a cleared start; the undisturbed first run only measures the time."""
    steps = disturbed(work, check, times)
    next(steps)
    clear()
    assert next(steps) < times, "every kill came too late to disturb anything"


def whole_files(folder: Path) -> None:
    """Every file under a final name can be read to its end."""
    for path in folder.rglob("*"):
        if not path.is_file() or any(part.startswith(".") for part in path.relative_to(folder).parts):
            continue
        if path.name.endswith((".nii", ".nii.gz")):
            Scan.load(path)
        elif path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix == ".npy":
            np.load(path)
        elif path.suffix == ".safetensors":
            with safe_open(path, "np") as file:
                assert all(file.get_tensor(key) is not None for key in file.keys())  # noqa: SIM118
        elif path.suffix == ".csv":
            rows = path.read_text().splitlines()
            assert len({row.count(",") for row in rows}) == 1


@pytest.mark.parametrize("times", TIMES)
def test_a_killed_cache_is_made_whole(data_folder, tmp_path, times):
    cache = tmp_path / "cache"
    whole = Cohort.open(data_folder, cache=tmp_path / "whole")

    def check():
        whole_files(cache)

    run_disturbed(lambda: Cohort.open(data_folder, cache=cache), check, lambda: shutil.rmtree(cache), times)
    again = Cohort.open(data_folder, cache=cache)
    for name in whole.names:
        np.testing.assert_array_equal(again.images[name], whole.images[name])
        np.testing.assert_array_equal(again.masks[name], whole.masks[name])


@pytest.mark.parametrize("times", TIMES)
def test_killed_training_ends_with_the_same_bits(data_folder, tiny_recipe, tmp_path, times):
    recipe = replace(tiny_recipe, epochs=3)
    cohort, split = experiments.prepare(recipe, data_folder)

    def work(folder=tmp_path / "run"):
        training.train(recipe, cohort, split, folder, accelerator="cpu", progress=False)

    work(tmp_path / "alone")
    run_disturbed(work, lambda: whole_files(tmp_path / "run"), lambda: shutil.rmtree(tmp_path / "run"), times)
    assert (tmp_path / "run" / "weights.safetensors").read_bytes() == (tmp_path / "alone" / "weights.safetensors").read_bytes()


@pytest.mark.parametrize("times", TIMES)
def test_a_killed_engine_leaves_whole_results(data_folder, tiny_recipe, tmp_path, times):
    recipes = [replace(tiny_recipe, epochs=1, seed=seed) for seed in (31, 32)]
    jobs = engine.jobs(recipes, data_folder, results=str(tmp_path / "r"), runs=str(tmp_path / "w"))

    def work():
        assert [engine.perform(job) for job in jobs] == [engine.DONE] * 2

    def check():
        whole_files(tmp_path)

    def clear():
        shutil.rmtree(tmp_path / "r")
        shutil.rmtree(tmp_path / "w")

    run_disturbed(work, check, clear, times)
    assert engine.missing(jobs) == []
    assert engine.fill(jobs, progress=False) == engine.Outcome()


@pytest.mark.parametrize("times", TIMES)
def test_a_killed_segmentation_leaves_no_half_mask(data_folder, tmp_path, times):
    scan, segmenter = Scan.load(find_cases(data_folder)[0].scan), load()
    whole = inference.segment(segmenter, scan)

    def work():
        inference.segment(segmenter, scan).save(tmp_path / "mask.nii.gz")

    run_disturbed(work, lambda: whole_files(tmp_path), lambda: (tmp_path / "mask.nii.gz").unlink(), times)
    np.testing.assert_array_equal(Scan.load(tmp_path / "mask.nii.gz").voxels, whole.voxels)


@pytest.mark.parametrize("times", TIMES)
def test_a_killed_unpacking_goes_on(data_folder, tmp_path, times):
    spec = importlib.util.spec_from_file_location("download", Path(__file__).parents[1] / "data" / "download.py")
    download = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(download)
    download.SPARE = 0
    archive, folder = tmp_path / "Infection_Mask.zip", tmp_path / "Infection_Mask"
    with zipfile.ZipFile(archive, "w") as file:
        for index in range(150):
            case = find_cases(data_folder)[index % 6]
            file.write(case.mask, f"phantom_{index:03d}.nii.gz")

    def work():
        download.unpack(archive, folder, progress=False)

    run_disturbed(work, lambda: whole_files(folder) if folder.exists() else None, lambda: shutil.rmtree(folder), times)
    assert len(list(folder.glob("*.nii.gz"))) == 150
