"""SIGKILL at random moments: started again, the same bits; never half a file under a final name, never a cut cache believed.

Each piece of work runs in a forked child that is killed; what lies there afterwards is checked, and at the end the work is done
once undisturbed. Forks need a process without threads, so each case runs in an interpreter of its own: this file, as a script.
Three times each in `make test`, twenty times in `make test-long`.
"""

import contextlib
import hashlib
import http.server
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import traceback
import zipfile
from dataclasses import replace
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from safetensors import safe_open

from scoat_lib import engine, experiments, inference, training
from scoat_lib.cohort import Cohort, find_cases
from scoat_lib.scan import Scan
from scoat_lib.training import Recipe
from scoat_lib.weights import load

TINY = Recipe(width=4, epochs=3, size=64, folds=3, batch=8, precision="32-true", lesion_free=0.0)
TIMES = [pytest.param(3, id="3 times"), pytest.param(20, id="20 times", marks=pytest.mark.long)]


def child(work) -> int:
    """The number of a process that does `work` and ends."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.setsid()
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return pid


def module(folder: str, name: str):
    """A script of the house as a module."""
    place = Path(__file__).parents[1] / folder
    sys.path.insert(0, str(place))
    spec = importlib.util.spec_from_file_location(name, place / f"{name}.py")
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def in_child(work) -> None:
    """Do `work` in a child and wait for it: this process never computes, so that it stays fit to fork."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0


def run_disturbed(work, check, clear, times: int, seed: int = 0) -> int:
    """Do `work` in a child and kill it, so many times, `check` after each; then let it end. How many kills disturbed it.

    The first run, left alone, tells how long it takes. What a kill leaves is gone on with; a kill that comes after the end is
    no try, and the work begins anew after it, cleared. AssertionError where fewer than half could disturb.
    """
    rng = np.random.default_rng(seed)
    began = time.monotonic()
    assert os.waitpid(child(work), 0)[1] == 0
    whole, killed = time.monotonic() - began, 0
    clear()
    for _ in range(3 * times):
        pid = child(work)
        time.sleep(rng.uniform(0.02, 0.9) * whole)
        try:
            os.killpg(pid, signal.SIGKILL)
        except ProcessLookupError:  # not yet a group of its own
            os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        check()
        if os.WIFSIGNALED(status):
            killed += 1
        else:
            assert status == 0
            clear()
        if killed == times:
            break
    assert os.waitpid(child(work), 0)[1] == 0
    assert killed >= times / 2, f"only {killed} of {times} kills came before the end"
    return killed


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


def a_killed_cache_is_made_whole(data_folder: Path, tmp_path: Path, times: int) -> int:
    cache = tmp_path / "cache"
    whole = Cohort.open(data_folder, cache=tmp_path / "whole")

    def check():
        whole_files(cache)

    killed = run_disturbed(lambda: Cohort.open(data_folder, cache=cache), check, lambda: shutil.rmtree(cache), times)
    again = Cohort.open(data_folder, cache=cache)
    for name in whole.names:
        np.testing.assert_array_equal(again.images[name], whole.images[name])
        np.testing.assert_array_equal(again.masks[name], whole.masks[name])
    return killed


def killed_training_ends_with_the_same_bits(data_folder: Path, tmp_path: Path, times: int) -> int:
    recipe = replace(TINY, epochs=3)
    cohort, split = experiments.prepare(recipe, data_folder)

    def work(folder=tmp_path / "run"):
        training.train(recipe, cohort, split, folder, accelerator="cpu", progress=False)

    in_child(lambda: work(tmp_path / "alone"))
    killed = run_disturbed(work, lambda: whole_files(tmp_path / "run"), lambda: shutil.rmtree(tmp_path / "run"), times)
    assert (tmp_path / "run" / "weights.safetensors").read_bytes() == (tmp_path / "alone" / "weights.safetensors").read_bytes()
    return killed


def computed(job) -> tuple[bytes, dict]:
    """The weights of a run and its result, without what it took and when."""
    result = json.loads(job.result.read_text())
    del result["provenance"]
    for row in result["curve"]:
        del row["seconds"]
    return (job.folder / "weights.safetensors").read_bytes(), result


def a_killed_engine_leaves_whole_results(data_folder: Path, tmp_path: Path, times: int) -> int:
    recipes = [replace(TINY, epochs=1, seed=seed) for seed in (31, 32)]
    jobs, alone = (
        engine.jobs(recipes, data_folder, results=str(tmp_path / f"r{more}"), runs=str(tmp_path / f"w{more}"))
        for more in ("", "-alone")
    )

    def work(jobs=jobs):
        assert [engine.perform(job) for job in jobs] == [engine.DONE] * 2

    def check():
        whole_files(tmp_path)

    def clear():
        shutil.rmtree(tmp_path / "r")
        shutil.rmtree(tmp_path / "w")

    in_child(lambda: work(alone))
    killed = run_disturbed(work, check, clear, times)
    assert engine.missing(jobs) == []
    assert engine.fill(jobs, progress=False) == engine.Outcome()
    assert [computed(job) for job in jobs] == [computed(job) for job in alone]
    return killed


def a_killed_segmentation_leaves_no_half_mask(data_folder: Path, tmp_path: Path, times: int) -> int:
    scan, segmenter = Scan.load(find_cases(data_folder)[0].scan), load()

    def work(name="mask.nii.gz"):
        inference.segment(segmenter, scan).save(tmp_path / name)

    in_child(lambda: work("whole.nii.gz"))
    killed = run_disturbed(work, lambda: whole_files(tmp_path), lambda: (tmp_path / "mask.nii.gz").unlink(), times)
    masks = [Scan.load(tmp_path / name).voxels for name in ("mask.nii.gz", "whole.nii.gz")]
    np.testing.assert_array_equal(*masks)
    return killed


def a_killed_unpacking_goes_on(data_folder: Path, tmp_path: Path, times: int) -> int:
    download = module("data", "download")
    download.SPARE = 0
    archive, folder = tmp_path / "Infection_Mask.zip", tmp_path / "Infection_Mask"
    with zipfile.ZipFile(archive, "w") as file:
        for index in range(150):
            case = find_cases(data_folder)[index % 6]
            file.write(case.mask, f"phantom_{index:03d}.nii.gz")

    def work():
        download.unpack(archive, folder, progress=False)

    killed = run_disturbed(work, lambda: whole_files(folder) if folder.exists() else None, lambda: shutil.rmtree(folder), times)
    assert len(list(folder.glob("*.nii.gz"))) == 150
    return killed


class Slow(http.server.BaseHTTPRequestHandler):
    """Serves a folder's archives from any byte on, a piece at a time, so that a download lasts."""

    folder, piece = Path(), 0

    def log_message(self, *_):
        pass

    def do_GET(self):
        body, wanted = (self.folder / Path(self.path).name).read_bytes(), self.headers.get("Range")
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        if start >= len(body):
            return self.send_error(416)
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            for at in range(start, len(body), self.piece):
                self.wfile.write(body[at : at + self.piece])
                time.sleep(0.02)


def a_killed_download_goes_on(data_folder: Path, tmp_path: Path, times: int) -> int:
    download = module("data", "download")
    download.SPARE = 0
    Slow.folder = tmp_path / "served"
    Slow.folder.mkdir()
    for part in ("COVID-19-CT-Seg_20cases", "Infection_Mask"):
        with zipfile.ZipFile(Slow.folder / f"{part}.zip", "w") as file:
            for path in (data_folder / part).glob("*.nii.gz"):
                file.write(path, path.name)
    archives = list(Slow.folder.iterdir())
    hashes = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in archives}
    Slow.piece = max(path.stat().st_size for path in archives) // 40  # an archive takes most of a second
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    pid = os.fork()
    if pid == 0:
        server.serve_forever()
    words = ["--mirror", f"http://127.0.0.1:{server.server_port}", "--quiet", "--output"]

    def work(name="data"):
        assert download.main([*words, str(tmp_path / name)], hashes) == 0

    def check():
        if (tmp_path / "data").exists():
            whole_files(tmp_path / "data")

    try:
        in_child(lambda: work("whole"))
        killed = run_disturbed(work, check, lambda: shutil.rmtree(tmp_path / "data"), times)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    found, whole = ({p.relative_to(tmp_path / n) for p in (tmp_path / n).rglob("*")} for n in ("data", "whole"))
    assert found == whole, sorted(map(str, found ^ whole))
    for path in (tmp_path / "whole").rglob("*.nii.gz"):
        again = Scan.load(tmp_path / "data" / path.relative_to(tmp_path / "whole"))
        np.testing.assert_array_equal(again.voxels, Scan.load(path).voxels)
    return killed


def a_killed_book_runs_what_is_missing(data_folder: Path, tmp_path: Path, times: int) -> int:
    build = module("book", "build")
    pages = [tmp_path / f"0{number}-page.ipynb" for number in (1, 2)]
    for number, path in enumerate(pages):
        kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
        notebook = nbformat.v4.new_notebook(metadata={"kernelspec": kernel})
        lines = ('scale = "paper"', "import time\n\ntime.sleep(0.2)\nprint(scale)", f"print({number} + 1)")
        notebook.cells = [nbformat.v4.new_code_cell(line, id=f"cell-{k}") for k, line in enumerate(lines)]
        notebook.cells[0].metadata.tags = ["parameters"]
        nbformat.write(notebook, path)
    build.chapters = lambda: pages
    build.inputs = lambda _: "the same"
    target = tmp_path / "executed"

    def outputs(path: Path) -> list[str]:
        """What a notebook's last two cells printed."""
        return ["".join(o.text for o in cell.outputs) for cell in nbformat.read(path, 4).cells[-2:]]

    def work():
        build.run_all(target, {"scale": "quick"}, jobs=2, threads=1)

    def check():
        for path in target.glob("[!.]*.ipynb"):
            assert outputs(path) == ["quick\n", f"{int(path.name[:2])}\n"], f"half a chapter: {path.name}"
        if target.exists():
            whole_files(target)

    killed = run_disturbed(work, check, lambda: shutil.rmtree(target), times)
    check()
    assert sorted(p.name for p in target.iterdir()) == ["01-page.ipynb", "02-page.ipynb", "runs.json", "seconds.json"], (
        "something is left"
    )
    return killed


def work_that_mostly_ends_at_once(data_folder: Path, tmp_path: Path, times: int) -> int:
    """For the test of `run_disturbed` itself: one run can be killed, every other one has ended before."""
    sleep, steps = time.sleep, []

    def work():
        if len(steps) == 1:
            sleep(600)

    def until(_):
        """Instead of a random time."""
        if len(steps) == 1:
            sleep(0.05)
        else:
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)

    time.sleep = until
    return run_disturbed(work, lambda: steps.append("check"), lambda: steps.append("clear"), times)


CASES = {
    function.__name__: function
    for function in (
        a_killed_cache_is_made_whole,
        killed_training_ends_with_the_same_bits,
        a_killed_engine_leaves_whole_results,
        a_killed_segmentation_leaves_no_half_mask,
        a_killed_unpacking_goes_on,
        a_killed_download_goes_on,
        a_killed_book_runs_what_is_missing,
    )
}


@pytest.mark.parametrize("times", TIMES)
@pytest.mark.parametrize("case", list(CASES))
def test_killed_and_started_again(case, times, data_folder, tmp_path, tried):
    done = started(case, data_folder, tmp_path, times)
    assert done.returncode == 0, done.stderr[-3000:]
    killed = int(done.stdout.splitlines()[-1])
    tried(f"SIGKILL: {case.replace('_', ' ')}", "started again, ended whole and the same; no half file in between", killed)


def started(case, *more) -> subprocess.CompletedProcess:
    """A case in an interpreter of its own, whose last line is how often it was killed in its work."""
    return subprocess.run([*map(str, [sys.executable, __file__, case, *more])], capture_output=True, text=True, timeout=1800)


def test_kills_that_come_after_the_end_do_not_count(tmp_path):
    done = started("work_that_mostly_ends_at_once", tmp_path, tmp_path, 4)
    assert done.returncode == 1
    assert "only 1 of 4 kills came before the end" in done.stderr


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(globals()[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])))
