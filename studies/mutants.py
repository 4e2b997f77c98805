"""Would a wrong line be noticed? Small mistakes planted in losses, metrics, attention, folds, claims and the rule.

    make mutants        # or: python -m studies.mutants --tools _build/tools [--number N] [--only losses …]

Each mutant is one change that cosmic-ray makes (another operator, number, comparison, a loop that never runs, …) in a copy of
the tree; the module's own tests run against it and stop at the first failure. A mutant that no test fails has survived. The
sample is drawn by a seed: places first, each as likely as another, then one of a place's mutants (an operator has a dozen, a
number two). Annotations and decorators are left out: a change in them changes nothing that runs here. Stopped and started
again, it goes on; where tests were only added since, what they killed stays killed and the survivors are tried again. Modules,
tests, seed and size of the sample stand in pyproject.toml, `tool.mutants`; what is said of survivors, one by one, in `SAID`
below. Writes results/mutants/table.json.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
WORK = ROOT / "_build" / "mutants"
KILLED, SURVIVED, ENDLESS = "killed", "survived", "never ends"
LONGEST = 1200  # s by the clock, of one mutant's tests, however busy the machine is


@dataclass(frozen=True, order=True)
class Mutant:
    """One change: the occurrence of an operator of cosmic-ray's in a module of scoat_lib; line: where it begins."""

    module: str
    operator: str
    occurrence: int
    line: int
    column: int

    @property
    def name(self) -> str:
        """Its name among the outcomes."""
        return f"{self.module} {self.operator} {self.occurrence}"


def settings() -> dict:
    """`tool.mutants` of pyproject.toml: modules (name → files of tests), seed, number."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mutants"]


def _left_out(source: str) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """(first, last) places of a module's annotations and decorators, each (line, column)."""
    nodes = []
    for node in ast.walk(ast.parse(source)):
        nodes += [getattr(node, name, None) for name in ("annotation", "returns")]
        nodes += getattr(node, "decorator_list", [])
    return [((n.lineno, n.col_offset), (n.end_lineno, n.end_col_offset)) for n in nodes if n is not None]


def mutants(module: str) -> Iterator[Mutant]:
    """All mutants of a module of scoat_lib."""
    from cosmic_ray.ast import ast_nodes, get_ast
    from cosmic_ray.plugins import get_operator, operator_names

    source = (ROOT / "scoat_lib" / f"{module}.py").read_text()
    left_out, tree = _left_out(source), get_ast(source)
    for name in sorted(operator_names()):
        kind = get_operator(name)
        if kind.arguments():
            continue
        operator = kind()
        places = (place for node in ast_nodes(tree) for place in operator.mutation_positions(node))
        for occurrence, (first, _) in enumerate(places):
            if not any(low <= first < high for low, high in left_out):
                yield Mutant(module, name, occurrence, *first)


def drawn(pool: list[Mutant], number: int, seed: int) -> tuple[list[Mutant], int]:
    """So many mutants of different places, and how many places there are; of a larger number these are the first."""
    places: dict[tuple, list[Mutant]] = {}
    for mutant in sorted(pool):
        kind = mutant.operator.split("/")[1].split("_")[0]
        places.setdefault((mutant.module, mutant.line, mutant.column, kind), []).append(mutant)
    order = sorted(places)
    random.Random(seed).shuffle(order)
    return [random.Random(f"{seed} {place}").choice(places[place]) for place in order[:number]], len(places)


def mutated(mutant: Mutant) -> str:
    """The module's text with the change."""
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator

    source = (ROOT / "scoat_lib" / f"{mutant.module}.py").read_text()
    return mutate_code(source, get_operator(mutant.operator)(), mutant.occurrence)


def change(mutant: Mutant) -> tuple[str, str]:
    """The first line that differs: as it is, and as it became."""
    old = (ROOT / "scoat_lib" / f"{mutant.module}.py").read_text().splitlines()
    new = mutated(mutant).splitlines()
    at = next((k for k, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)) - 1)
    return old[at].strip(), new[at].strip()


def copied(target: Path) -> None:
    """The tracked files, as they are in the working tree, in a folder of their own; never a compiled one."""
    shutil.rmtree(target, ignore_errors=True)
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)


def tested(tree: Path, tests: list[str], seconds: float) -> tuple[str, float]:
    """What became of a tree's tests in a forked child: (KILLED, SURVIVED or ENDLESS, processor seconds)."""
    began = resource.getrusage(resource.RUSAGE_CHILDREN)
    pid = os.fork()
    if pid == 0:
        os.setsid()
        resource.setrlimit(resource.RLIMIT_CPU, (int(seconds), int(seconds) + 5))
        code = 99
        try:
            os.chdir(tree)
            sys.path.insert(0, str(tree))
            silent = os.open(os.devnull, os.O_WRONLY)
            os.dup2(silent, 1)
            os.dup2(silent, 2)
            import pytest

            code = int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", *tests]))
        finally:
            os._exit(code)
    until = time.monotonic() + LONGEST
    status = None
    while status is None and time.monotonic() < until:
        done, value = os.waitpid(pid, os.WNOHANG)
        status = value if done else None
        time.sleep(0.05)
    if status is None:
        os.killpg(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = ended.ru_utime + ended.ru_stime - began.ru_utime - began.ru_stime
    if os.WIFSIGNALED(status):
        return (ENDLESS if os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGKILL) else KILLED), used
    return (SURVIVED if os.WEXITSTATUS(status) == 0 else KILLED), used


def warmed() -> None:
    """What every child would import anew, but nothing of ours."""
    sys.dont_write_bytecode = True
    os.environ |= {"PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(WORK / "tree")}
    import hypothesis  # noqa: F401
    import matplotlib.pyplot  # noqa: F401
    import monai.losses
    import monai.metrics
    import monai.networks.nets  # noqa: F401
    import nibabel  # noqa: F401
    import pandas  # noqa: F401
    import pytest  # noqa: F401
    import scipy.stats  # noqa: F401
    import skimage.measure  # noqa: F401
    import torch

    torch.set_num_threads(1)
    mine = [name for name in sys.modules if name.split(".")[0] == "scoat_lib"]
    if mine:
        raise SystemExit(f"{mine[0]} is imported already, so its mutants would not be seen")


def run(sample: list[Mutant], tests: dict[str, list[str]]) -> dict[str, str]:
    """{a mutant's name: its outcome}; kept in WORK after each, so that a stopped run goes on."""
    kept, tree = WORK / "outcomes.json", WORK / "tree"
    now = {m: state(m, tests[m]) for m in tests}
    before = json.loads(kept.read_text()) if kept.exists() else {"states": {}, "outcomes": {}}
    states, found = before["states"], before["outcomes"]
    todo = [m for m in sample if m.name not in found or not stands(found[m.name][0], states[found[m.name][1]], now[m.module])]
    if todo:
        copied(tree)
        warmed()
    budgets: dict[str, float] = {}
    for number, mutant in enumerate(todo, 1):
        if mutant.module not in budgets:
            outcome, used = tested(tree, tests[mutant.module], 600)
            if outcome != SURVIVED:
                raise SystemExit(f"{' '.join(tests[mutant.module])}: fails without any mutant")
            budgets[mutant.module] = 20 + 4 * used
            print(f"{mutant.module}: its tests take {used:.1f} s of a processor", flush=True)
        place = tree / "scoat_lib" / f"{mutant.module}.py"
        try:
            place.write_text(mutated(mutant))
            outcome, _ = tested(tree, tests[mutant.module], budgets[mutant.module])
        finally:
            shutil.copy2(ROOT / "scoat_lib" / place.name, place)
        name = f"{mutant.module} {_hash(json.dumps(now[mutant.module]))}"
        states[name], found[mutant.name] = now[mutant.module], [outcome, name]
        kept.write_text(json.dumps(before, indent=1))
        if outcome == SURVIVED:
            old, new = change(mutant)
            print(f"{number} of {len(todo)}: {mutant.name}, line {mutant.line}, survived\n  - {old}\n  + {new}", flush=True)
    return {m.name: found[m.name][0] for m in sample}


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def state(module: str, tests: list[str], root: Path = ROOT) -> dict:
    """A module and its tests as they are: hashes of the "module"'s text, and of each statement at the top of the "tests"."""
    parts = [ast.dump(node) for path in tests for node in ast.parse((root / path).read_text()).body]
    return {"module": _hash((root / "scoat_lib" / f"{module}.py").read_text()), "tests": sorted(map(_hash, parts))}


def stands(outcome: str, then: dict, now: dict) -> bool:
    """Whether an outcome of one state counts in another: the same, or a mutant noticed by tests that are all still there."""
    return then == now or (outcome != SURVIVED and then["module"] == now["module"] and set(then["tests"]) <= set(now["tests"]))


def table(sample: list[Mutant], outcomes: dict[str, str], places: int, seed: int) -> dict:
    """What is written."""
    modules: dict = {}
    for mutant in sample:
        row = modules.setdefault(mutant.module, {"mutants": 0, KILLED: 0, ENDLESS: 0, SURVIVED: []})
        row["mutants"] += 1
        outcome = outcomes[mutant.name]
        if outcome != SURVIVED:
            row[outcome] += 1
            continue
        old, new = change(mutant)
        row[SURVIVED].append({"was": old, "became": new, "said": SAID.get(new, "not looked at yet")})
    alive = sum(len(row[SURVIVED]) for row in modules.values())
    return {
        "what": "mutants of cosmic-ray, each against its module's own tests",
        "places": places,
        "seed": seed,
        "sample": len(sample),
        "noticed": len(sample) - alive,
        "modules": dict(sorted(modules.items())),
    }


SAID: dict[str, str] = {  # a survivor's line as it became → why it stays
    "for down, skip in zip(self.down, self.skips, strict=False):": "both lists are made of equal length a few lines above",
    "for up, skip in zip(self.up, reversed(kept), strict=False):": "both lists are made of equal length a few lines above",
    '(temporary / "made-by.json").write_text(json.dumps(about | {"grid_mm": grid}, indent= 0))': "a layout; it is read as JSON",
}


def main(argv: list[str] | None = None) -> None:
    """Draw the sample, run it, write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tools", type=Path, help="an environment with cosmic-ray; else this one's")
    parser.add_argument("--number", type=int, default=settings()["number"], help="of mutants (default: %(default)s)")
    parser.add_argument("--only", nargs="*", choices=list(settings()["modules"]), help="modules; writes nothing")
    parser.add_argument("--results", type=Path, default=ROOT / "results")
    arguments = parser.parse_args(argv)
    if arguments.tools:  # last, so that nothing of this environment is replaced by the tools'
        sys.path += map(str, arguments.tools.resolve().glob("lib/python3*/site-packages"))
    chosen = settings()
    seed, tests = chosen["seed"], chosen["modules"]
    WORK.mkdir(parents=True, exist_ok=True)
    pool = [mutant for module in tests for mutant in mutants(module)]
    sample, places = drawn(pool, arguments.number, seed)
    if arguments.only:
        sample = [mutant for mutant in sample if mutant.module in arguments.only]
    outcomes = run(sample, tests)
    content = table(sample, outcomes, places, seed)
    print(content["noticed"], "of", content["sample"], "noticed")
    if not arguments.only:
        out = arguments.results / "mutants" / "table.json"
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
