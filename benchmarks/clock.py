"""What every benchmark shares: taking turns, ratios of medians, processes with their peak memory, what the machine is."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import torch

# starts a command from a small process, whose own memory does not count in the command's peak, as it would in the caller's
LAUNCH = """
import json, os, sys, time
began = time.perf_counter()
process = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=[
    (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0), (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0)])
_, status, used = os.wait4(process, 0)
print(json.dumps({"wall": time.perf_counter() - began, "cpu": used.ru_utime + used.ru_stime, "MB": used.ru_maxrss / 1024,
                  "code": os.waitstatus_to_exitcode(status)}))
"""


class Clock:
    """Seconds by the wall, or by the processor where other work shares the machine: those are this process's alone.

    kind: "wall", "cpu", or "auto", which takes the processor's where more waits to run than there are cores.
    """

    def __init__(self, kind: str = "auto"):
        busy = os.getloadavg()[0] > 0.5 * (os.cpu_count() or 1)
        self.kind = ("cpu" if busy else "wall") if kind == "auto" else kind
        self.now: Callable[[], float] = time.process_time if self.kind == "cpu" else time.perf_counter

    def of(self, child: dict) -> float:
        """The seconds of a process that `child` ran."""
        return child[self.kind]

    def turns(self, jobs: dict[str, Callable], rounds: int, warm: bool = True) -> dict[str, list[float]]:
        """Seconds of each job, in turn, after one unmeasured round; a noisy machine then slows all of them alike."""
        seconds: dict[str, list[float]] = {name: [] for name in jobs}
        for turn in range(rounds + warm):
            for name, job in jobs.items():
                began = self.now()
                job()
                if turn or not warm:
                    seconds[name].append(self.now() - began)
        return seconds


def ratio(above: list[float], below: list[float]) -> float:
    """The median over rounds of one job's seconds by another's."""
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


def child(words: list[str]) -> dict:
    """Run a command: {"wall", "cpu": seconds, "MB": its own peak, "code": exit code}."""
    done = subprocess.run([sys.executable, "-c", LAUNCH, *map(str, words)], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def line(what: str, value: float, unit: str, goal: str, met: bool | None, **more) -> dict:
    """A line of the table. met: None where there is no goal. more: how, check, limit: words beside the number."""
    return {"what": what, "value": value, "unit": unit, "goal": goal, "met": met} | more


def machine(threads: int, clock: Clock) -> dict:
    """Processor, cores, load, versions, as far as a ratio can depend on them."""
    known = Path("/proc/cpuinfo")
    text = known.read_text() if known.exists() else ""
    name = next((row.split(":")[1].strip() for row in text.splitlines() if row.startswith("model name")), platform.processor())
    return {
        "processor": name or platform.machine(),
        "cores": os.cpu_count(),
        "threads": threads,
        "load at the start": round(os.getloadavg()[0], 1),
        "clock": clock.kind,
        "bfloat16": any(flag in text.split() for flag in ("avx512_bf16", "amx_bf16", "bf16")),
        "versions": {n: metadata.version(n) for n in ("torch", "monai", "numpy", "scipy", "connected-components-3d")},
        "torch's instructions": torch.backends.cpu.get_cpu_capability(),
        "date": time.strftime("%Y-%m-%d"),
    }
