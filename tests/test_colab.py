"""Colab: what it has installed satisfies what the package asks for, so that nothing of it is replaced."""

import ast
import copy
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from dataclasses import replace
from pathlib import Path

import nbformat
import pytest
import torch
from nbclient import NotebookClient
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from scoat_lib.exercises import machine
from scoat_lib.folds import make_folds, split_of
from scoat_lib.training import Recipe, batches

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "colab"))
import rehearse  # noqa: E402

CONSTRAINTS = (ROOT / "tests" / "colab" / "constraints.txt").read_text()
VERSIONS = {canonicalize_name(name): version for name, version in re.findall(r"^([\w.-]+)==(\S+)$", CONSTRAINTS, flags=re.M)}
NOT_ON_COLAB = {"lightning-fabric", "monai", "connected-components-3d"}  # the bootstrap cell adds these


def bounds() -> dict[str, Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return {canonicalize_name(one.name): one for one in map(Requirement, project["dependencies"])}


def test_colabs_versions_satisfy_every_bound():
    refused = {name: f"{one.specifier} refuses {VERSIONS[name]}" for name, one in bounds().items()
               if name in VERSIONS and not one.specifier.contains(VERSIONS[name])}  # fmt: skip
    assert refused == {}
    assert set(bounds()) - set(VERSIONS) == NOT_ON_COLAB


def test_the_list_says_where_it_is_from_and_what_it_is_not():
    head = "\n".join(line for line in CONSTRAINTS.splitlines() if line.startswith("#"))
    for word in ("googlecolab/backend-info", "June 2026", "Left out", "Colab itself was not tried"):
        assert word in head
    assert {"torch", "numpy", "matplotlib", "ipywidgets"} <= set(VERSIONS)


PAPER = Recipe(size=512, width=64, schedule="paper", rate=0.01, until="converged", epochs=30)  # chapter 9's, at that scale


def test_a_batch_that_a_t4_does_not_hold_is_accumulated_to_the_same_step(monkeypatch):
    t4, a100, processor = ("cuda", 16e9), ("cuda", 80e9), ("cpu", 0.0)
    asked = {}

    def fit(one):
        return machine.fitted(PAPER, torch.device(one[0]), one[1], 512)

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **options: asked.update(options) or False)
    assert fit(t4) == replace(PAPER, batch=1, accumulate=4)  # no bfloat16 units: what torch emulates does not count
    assert asked == {"including_emulation": False}
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    assert fit(a100) == replace(PAPER, precision="bf16-mixed")
    assert fit(processor) == PAPER
    whole, single = batches(list(range(12)), 4, 1, 0, 1), batches(list(range(12)), 1, 4, 0, 1)
    assert whole == [[n for (n,) in single[i : i + 4]] for i in (0, 4, 8)]


def test_what_training_takes_is_said_before_it_starts(cohort, tiny_recipe, monkeypatch):
    split = split_of(make_folds(cohort, 3), 0)
    recipe = replace(tiny_recipe, schedule="paper", until="converged", batch=2)
    monkeypatch.setattr(machine, "_seconds", lambda *_: 9.0)
    plan = machine.plan(recipe, cohort, split, times=2)
    lesions = sum(len(cohort.lesion_slices[name]) for name in split.train)
    slices = int(re.search(r"(\d+) slices an epoch", plan.words).group(1))
    assert 0 < slices <= lesions
    epochs = recipe.epochs + 50
    assert (
        f"at most {epochs} epochs, trained twice. That takes about {2 * epochs * slices * 9 / 3600:.0f} hours here"
        in plan.words
    )
    assert "less than a minute on a T4" in plan.words
    assert "Precision: `32-true`. Batch 2. " in plan.words
    if not torch.cuda.is_available():
        assert plan.recipe == recipe
        assert "the processor, no GPU" in plan.words


def test_timing_a_step_moves_no_random_number(tiny_recipe):
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    assert machine._seconds(tiny_recipe, torch.device("cpu"), 64) > 0
    assert torch.equal(torch.rand(1), expected)


def test_the_page_says_what_chapter_9_takes_on_a_t4():
    page = (ROOT / "book" / "colab.md").read_text()
    operations, put_out = machine.cost(PAPER, 512)
    epoch = 680 * machine.STEP * operations / machine.T4
    assert f"about {epoch / 60:.0f} minutes" in page
    (row,) = (line for line in page.splitlines() if line.startswith("| twice 80 such epochs"))
    assert machine.spoken(2 * 80 * epoch) in row
    assert f"{operations / 1e9:,.0f} GFLOP".replace(",", " ") in page
    assert f"put out {put_out / 1e9:.1f} GB a slice" in page


CHAPTERS = sorted((ROOT / "book").glob("[0-9]*.ipynb"))


def code_of(notebook):
    cells = [c for c in json.loads(notebook.read_text())["cells"] if c["cell_type"] == "code"]
    return [re.sub(r"^\s*%.*$", "    pass", "".join(c["source"]), flags=re.M) for c in cells]


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_a_chapter_asks_for_its_scans_before_it_reads_any(path):
    """`scale = "real"` without scans is then refused, or fetches them; a chapter that reads none says so."""

    def loads(line):
        names = [node for node in ast.walk(line) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)]
        return "data" in [name.id for name in names]

    body = [line for cell in code_of(path) for line in ast.parse(cell).body]
    lines, reads = [ast.unparse(line) for line in body], [ast.unparse(line) for line in body if loads(line)]
    if reads:
        assert reads[0] == "data = scans_for(scale, data)"
        assert lines.index(reads[0]) == lines.index("check_scale(scale)") + 1
    else:
        (parameters,) = (cell for cell in code_of(path) if cell.startswith("scale ="))
        assert "reads no scans of yours" in parameters


def test_an_installed_copy_in_an_empty_folder_has_the_books_runs(tmp_path):
    source = tmp_path / "source"  # a copy: setuptools leaves a folder "build" where it builds
    for name in ("scoat_lib", "results"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    wheel = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(tmp_path), str(source)]
    done = subprocess.run(wheel, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    zipfile.ZipFile(next(tmp_path.glob("*.whl"))).extractall(tmp_path / "installed")
    empty = tmp_path / "empty" / "notebook"
    empty.mkdir(parents=True)
    code = """
import json
from scoat_lib import findings, report, words
print(report.__file__)
names = [r["recipe"] for r in report.load("../results")]
print(json.dumps([names, report.readers("../results"), findings.maps.ablations("../results"),
                  findings.volumes.read("../results", "uncertainty/w8.json"), report.load("my-results")]))
"""
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "installed")}
    done = subprocess.run([sys.executable, "-c", code], cwd=empty, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    where, found = done.stdout.splitlines()
    assert where.startswith(str(tmp_path))
    from scoat_lib import findings, report

    here = ROOT / "results"
    names = [r["recipe"] for r in report.load(here)]
    assert names
    expected = [
        names,
        report.readers(here),
        findings.maps.ablations(here),
        findings.volumes.read(here, "uncertainty/w8.json"),
        [],
    ]
    assert json.loads(found) == json.loads(json.dumps(expected))


def test_only_the_chapters_own_folder_is_replaced(tmp_path, monkeypatch):
    from scoat_lib import report

    (tmp_path / "notebook").mkdir()
    monkeypatch.chdir(tmp_path / "notebook")
    assert report.of_book("../results") == ROOT / "results"
    assert report.of_book("results") == Path("results")
    (tmp_path / "results").mkdir()
    assert report.of_book("../results") == Path("../results")


def test_the_rehearsal_says_what_stands_for_what():
    wanted, said = rehearse.versions()
    ours = rehearse.pins((ROOT / "requirements.txt").read_text())["torch"]
    assert wanted["torch"] == ours
    assert f"torch {ours} (CPU) stands for Colab's {VERSIONS['torch']} (CUDA)" in said
    for name in ("numpy", "matplotlib", "ipywidgets"):
        assert wanted[name] == VERSIONS[name]
    assert any("left free" in line for line in said)


def test_a_second_rehearsal_begins_with_what_colab_has_and_no_more(tmp_path, monkeypatch):
    """What the last one's bootstrap cell added would count as Colab's own."""
    there, ran = {}, []

    def pip(words, **_):
        ran.append([str(word) for word in words])
        if "install" in words and "-r" in words:
            there.update(numpy="2.0", torch="2.13")
        if "uninstall" in words:
            for name in words[words.index("-y") + 1 :]:
                del there[name]

    monkeypatch.setattr(rehearse.subprocess, "run", pip)
    monkeypatch.setattr(rehearse, "installed", lambda python: dict(there))
    monkeypatch.setattr(rehearse.shutil, "rmtree", lambda *_, **__: there.clear())
    monkeypatch.setenv("TORCH_INDEX", "https://example.org")
    (tmp_path / "colab").mkdir()
    rehearse.prepare(tmp_path / "colab")
    assert any(words[3:7] == ["install", "-q", "--index-url", "https://example.org"] for words in ran)
    there.update(monai="1.5")
    ran.clear()
    rehearse.prepare(tmp_path / "colab")
    assert there == {"numpy": "2.0", "torch": "2.13"}
    assert [words[3] for words in ran] == ["uninstall"]
    there.update(numpy="1.0")  # replaced: nothing can be trusted
    rehearse.prepare(tmp_path / "colab")
    assert there == {"numpy": "2.0", "torch": "2.13"}


def test_the_rehearsal_sees_a_chapter_without_its_runs(tmp_path, monkeypatch):
    chapter, environment = ROOT / "book" / "16-ledger.ipynb", {}
    stored = rehearse.missing_runs(chapter)

    def papermill(said):
        cells = [{"outputs": [{"text": "not run " * said}]}]
        return lambda words, cwd, **_: [(cwd.parent / "ran.ipynb").write_text(json.dumps({"cells": cells})), Done][1]

    class Done:
        returncode = 0

    monkeypatch.setattr(rehearse.subprocess, "run", papermill(stored))
    rehearse.play(chapter, tmp_path / "good", environment)
    monkeypatch.setattr(rehearse.subprocess, "run", papermill(stored + 1))
    with pytest.raises(SystemExit, match="was not run"):
        rehearse.play(chapter, tmp_path / "bad", environment)


@pytest.mark.long
@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_a_chapter_run_twice_in_one_kernel_says_the_same(path, monkeypatch):
    """A reader who chooses "Run all" again: no cell may live on what an earlier pass left behind."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    notebook = nbformat.read(path, 4)
    once = [cell for cell in notebook.cells if cell.cell_type == "code"]
    twice = copy.deepcopy(once)
    for cell in twice:
        cell.id = f"{cell.id}-again"
    notebook.cells = [*once, *twice]
    NotebookClient(notebook, timeout=None, resources={"metadata": {"path": str(ROOT / "book")}}).execute()
    strict = [n for n, cell in enumerate(once) if "nbval-ignore-output" not in cell.metadata.get("tags", [])]
    assert any(once[n].outputs for n in strict)
    differing = {once[n].source: [said(once[n]), said(twice[n])] for n in strict if said(once[n]) != said(twice[n])}
    assert differing == {}


def said(cell):
    """A cell's outputs without the count of runs, what was printed in one piece."""
    printed = "".join(output.text for output in cell.outputs if output.output_type == "stream")
    return printed, [output.data for output in cell.outputs if output.output_type != "stream"]


@pytest.mark.long
def test_the_rehearsal_passes():
    words = [sys.executable, str(ROOT / "tests" / "colab" / "rehearse.py"), "01", "16"]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "16-ledger: runs" in done.stdout
    assert f"ipywidgets {VERSIONS['ipywidgets']}" in done.stdout
