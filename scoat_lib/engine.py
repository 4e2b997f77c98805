"""Many runs: `fill` does what is missing of a list of jobs, in local processes or on a Dask cluster.

A run is claimed by a lock that dies with its process, trains from its last epoch's checkpoint, and ends as one file; so
engines may be killed, started again and run side by side on one folder.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from filelock import FileLock, Timeout
from tqdm.auto import tqdm

from scoat_lib.cohort import Cohort, data_folder
from scoat_lib.experiments import evaluate_run, key, prepare
from scoat_lib.files import BusyError
from scoat_lib.training import RESTART_EPOCHS, Deadline, Recipe, TrainingError, train

DONE, STOPPED, BUSY = "done", "stopped", "busy"  # what became of a run that an engine took up


@dataclass(frozen=True)
class Job:
    """A recipe with all a worker needs to run it; paths must be valid where the worker is."""

    recipe: Recipe
    key: str
    data: str | None = None
    results: str = "results"
    runs: str = "runs"
    data_name: str = ""
    device: str = "cpu"
    external: str | None = None
    threads: int = 1
    stop_at: Deadline | None = None

    @property
    def result(self) -> Path:
        """Where the result will be."""
        return Path(self.results) / f"{self.key}.json"

    @property
    def folder(self) -> Path:
        """The run's folder, with its checkpoint."""
        return Path(self.runs) / self.key


def jobs(recipes: Sequence[Recipe], data=None, **settings) -> list[Job]:
    """A job for each recipe, in order, without twins. settings: `Job`'s other fields. Opens the data, and so checks it."""
    cohorts: dict = {}
    made: dict[str, Job] = {}
    for recipe in recipes:
        if recipe.preprocessing not in cohorts:
            cohorts[recipe.preprocessing] = Cohort.open(data, recipe.preprocessing)
        this = key(recipe, cohorts[recipe.preprocessing].fingerprint)
        made.setdefault(this, Job(recipe, this, str(data_folder(data)), **settings))
    return list(made.values())


def perform(job: Job) -> str:
    """Do one run, or go on with it, and write its result: "done", "stopped" (out of time) or "busy" (another engine's).

    The lock beside the run's folder goes with the process that holds it, however that ends.
    """
    torch.set_num_threads(job.threads)
    Path(job.runs).mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(f"{job.folder}.lock", timeout=0):
            if job.result.exists():
                return DONE
            cohort, split = prepare(job.recipe, job.data)
            # no DataLoader processes: Dask's workers are daemons and may not have any
            run = train(job.recipe, cohort, split, job.folder, accelerator=job.device, progress=False, stop_at=job.stop_at)
            if not run.finished:
                return STOPPED
            evaluate_run(job.folder, job.data, job.results, job.data_name, job.device, job.external)
    except (Timeout, BusyError):  # another engine's, or `scoat train`'s
        return BUSY
    return DONE


@dataclass
class Outcome:
    """What `fill` came to: keys by what became of them; failed holds the reason too."""

    done: list[str] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


def missing(wanted: Sequence[Job]) -> list[Job]:
    """The jobs without a result."""
    return [job for job in wanted if not job.result.exists()]


def fill(wanted: Sequence[Job], processes: int = 1, scheduler: str = "", progress: bool = True) -> Outcome:
    """Do what is missing of some jobs. Asking again does only what is still missing.

    processes: how many runs at once on this machine. scheduler: a Dask scheduler's address, or "local:N" for a cluster of
    N workers on this machine; runs then go there. A run that another engine works on is waited for.
    A run that fails does not stop the others; its reason is in the outcome.
    """
    todo, outcome = missing(wanted), Outcome()
    if not todo:
        return outcome
    watch = threading.Event()
    watcher = threading.Thread(target=_watch, args=(todo, watch), daemon=True)
    if progress:
        watcher.start()
    try:
        for job, state, reason in _on_dask(todo, scheduler) if scheduler else _in_processes(todo, processes):
            if state == DONE:
                outcome.done.append(job.key)
            elif state == STOPPED:
                outcome.stopped.append(job.key)
            else:
                outcome.failed[job.key] = reason
    finally:
        watch.set()
        if progress:
            watcher.join()
    return outcome


LOST = "the Dask scheduler does not answer any more; start it, and the same command goes on from the last epoch"
_EXIT = {0: DONE, 4: STOPPED, 5: BUSY}
_PAUSE = 2.0  # seconds between looks at processes, and before a busy run is asked for again


def _in_processes(todo: Sequence[Job], processes: int) -> Iterator[tuple[Job, str, str]]:
    """Each run in a process of its own, so that one that dies takes no other with it."""
    context = multiprocessing.get_context("spawn")
    waiting, running, asked = deque(todo), {}, set()
    try:
        while waiting or running:
            while waiting and len(running) < processes:
                job = waiting.popleft()
                heard, tell = context.Pipe(duplex=False)
                process = context.Process(target=_process, args=(job, os.getpid(), tell))
                process.start()
                tell.close()
                running[process] = job, heard
            multiprocessing.connection.wait([p.sentinel for p in running], timeout=_PAUSE)
            for process in [p for p in running if p.exitcode is not None]:
                job, heard = running.pop(process)
                state = _EXIT.get(process.exitcode, "failed")
                if state == BUSY:
                    waiting.append(job)
                    if all(j.key in asked for j in waiting):
                        time.sleep(_PAUSE)
                    asked.add(job.key)
                    continue
                yield job, state, "" if state != "failed" else _reason(job, process.exitcode, heard)
    finally:
        for process in running:
            process.terminate()


def _process(job: Job, parent: int, tell) -> None:
    """The life of a process: its words go to a file beside the run's folder; it does not outlive the engine.

    Why it failed goes to the engine by a pipe too: the disk of the file may be full.
    """

    def leave_with_parent() -> None:
        """End this process when the engine has gone."""
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=leave_with_parent, daemon=True).start()
    try:
        with _words_to(Path(f"{job.folder}.log")):
            state = perform(job)
    except Exception as error:  # whatever stops one run must not stop the others
        tell.send(f"{type(error).__name__}: {' '.join(str(error).split())}")
        sys.exit(1)
    sys.exit({v: k for k, v in _EXIT.items()}[state])


@contextlib.contextmanager
def _words_to(path: Path) -> Iterator[None]:
    """Send what is printed to the end of a file, and a traceback too; where the disk takes no more, it is lost."""
    path.parent.mkdir(parents=True, exist_ok=True)
    log = open(path, "a", buffering=1)  # noqa: SIM115  (closing it may fail on a full disk, and must not hide the reason)
    try:
        with contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
            yield
    except Exception:
        with contextlib.suppress(OSError):
            log.write(traceback.format_exc())
        raise
    finally:
        with contextlib.suppress(OSError):
            log.close()


def _reason(job: Job, code: int, heard) -> str:
    with contextlib.suppress(EOFError):
        if heard.poll():
            return heard.recv()
    log = Path(f"{job.folder}.log")
    lines = log.read_text().strip().splitlines() if log.exists() else []
    return f"{lines[-1] if lines else 'no word'} (exit code {code}; {log})"


def _on_dask(todo: Sequence[Job], scheduler: str) -> Iterator[tuple[Job, str, str]]:
    """The runs on a Dask cluster, whose workers see the same folders; a run whose worker dies is given to another."""
    try:
        from distributed import Client, LocalCluster, as_completed
    except ImportError as error:
        raise TrainingError(f"--scheduler needs the package distributed ({error}); pip install 'scoat-lib[cluster]'") from error
    kind, _, number = scheduler.partition(":")
    with contextlib.ExitStack() as stack:
        if kind == "local" and number.isdigit() and int(number) > 0:
            # no spilling: a run's memory is torch's, which Dask cannot move
            cluster = stack.enter_context(
                LocalCluster(int(number), threads_per_worker=1, dashboard_address=None, memory_limit=0)
            )
            client = stack.enter_context(Client(cluster))
        else:
            client = stack.enter_context(Client(scheduler, timeout=30))
        futures = {client.submit(perform, job, pure=False, retries=2): job for job in todo}
        pending = as_completed(futures)
        for future in pending:
            job = futures[future]
            if future.status in ("cancelled", "lost"):  # nobody here cancels
                yield job, "failed", LOST
            elif future.status != "finished":
                yield job, "failed", repr(future.exception())
            elif future.result() == BUSY:
                time.sleep(_PAUSE)
                again = client.submit(perform, job, pure=False, retries=2)
                futures[again] = job
                pending.add(again)
            else:
                yield job, future.result(), ""


def planned_epochs(recipe: Recipe) -> int:
    """How many epochs a run has, at most."""
    return recipe.epochs + (RESTART_EPOCHS if recipe.schedule == "paper" else 0)


def _watch(todo: Sequence[Job], stop: threading.Event) -> None:
    """A bar over the epochs of all runs, read from their curves, wherever they are computed."""

    def done(job: Job) -> int:
        """Epochs of a run so far."""
        if job.result.exists():
            return planned_epochs(job.recipe)
        try:
            return max(0, (job.folder / "curve.csv").read_text().count("\n") - 1)
        except OSError:
            return 0

    total = sum(planned_epochs(job.recipe) for job in todo)
    with tqdm(total=total, initial=sum(map(done, todo)), unit="epoch", desc=f"{len(todo)} runs") as bar:
        while not stop.wait(_PAUSE):
            bar.update(sum(map(done, todo)) - bar.n)
            bar.set_postfix_str(f"{sum(job.result.exists() for job in todo)} of {len(todo)} done")
        bar.update(sum(map(done, todo)) - bar.n)
