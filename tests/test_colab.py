"""Colab: what it has installed satisfies what the package asks for, so that nothing of it is replaced."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

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
from scoat_lib import report, verdicts
print(report.__file__)
names = [r["recipe"] for r in report.load("../results")]
print(json.dumps([names, report.readers("../results"), verdicts.ablations("../results"),
                  verdicts.read("../results", "uncertainty/w8.json"), report.load("my-results")]))
"""
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "installed")}
    done = subprocess.run([sys.executable, "-c", code], cwd=empty, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    where, found = done.stdout.splitlines()
    assert where.startswith(str(tmp_path))
    from scoat_lib import report, verdicts

    here = ROOT / "results"
    names = [r["recipe"] for r in report.load(here)]
    assert names
    expected = [names, report.readers(here), verdicts.ablations(here), verdicts.read(here, "uncertainty/w8.json"), []]
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
def test_the_rehearsal_passes():
    words = [sys.executable, str(ROOT / "tests" / "colab" / "rehearse.py"), "01", "16"]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "16-ledger: runs" in done.stdout
    assert f"ipywidgets {VERSIONS['ipywidgets']}" in done.stdout
