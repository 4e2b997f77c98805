"""The house: imports flow one way, no scan in git, the commands of the README exist."""

import ast
import json
import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ORDER = ["files", "nifti", "series", "scan", "upright", "foreign", "dicom", "record", "anatomy", "trees", "phantom", "cohort",
         "folds", "slices", "blocks", "attention", "networks", "losses", "metrics", "weights", "inference", "lungs",
         "segmentation", "overview", "external", "training", "grids", "experiments", "engine", "rule", "report",
         "claims", "words", "findings", "plots", "viewer", "drawings", "cli"]  # fmt: skip
MODULES = sorted(p for p in (ROOT / "scoat_lib").rglob("*.py") if p.name != "__init__.py" or p.parent.name == "networks")


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.name)
def test_a_module_imports_only_from_above_itself(path):
    room = path.relative_to(ROOT / "scoat_lib").parts[0].removesuffix(".py")
    if room not in ORDER:
        assert room in ("__main__", "exercises")
        return
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("scoat_lib"):
            parts = node.module.split(".")[1:2] or [a.name for a in node.names]
            for part in parts:
                assert part == room or ORDER.index(part) < ORDER.index(room), f"{path.name} imports {part}"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.name)
def test_public_names_are_documented(path):
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree)
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{path.name}: {node.name}"


def test_no_scan_and_no_pickle_is_in_git():
    names = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout.splitlines()
    assert not [n for n in names if re.search(r"\.(nii|nii\.gz|dcm|nrrd|pt|pth|ckpt)$", n)]


def test_the_readmes_commands_exist():
    readme, makefile = (ROOT / "README.md").read_text(), (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"`?make (\w[\w-]*)", readme)):
        assert re.search(rf"^{target}:", makefile, flags=re.M), target
    assert "make test" in (ROOT / ".ci" / "run").read_text()


def test_an_installation_says_what_it_does_and_how_large_it_is_before_it_begins():
    """What make would run, as it would run it; nothing is installed. pip itself is not silenced: it names each file's size."""
    words = ["make", "--dry-run", "--always-make", ".venv/ready", "TORCH_INDEX=https://example.org"]
    outside = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}  # `make test` sets them
    done = subprocess.run(words, cwd=ROOT, env=outside, capture_output=True, text=True, check=True)
    lines = [line for line in done.stdout.splitlines() if line]
    first = lines[0].replace("$(grep -c == requirements.txt)", str((ROOT / "requirements.txt").read_text().count("==")))
    assert re.match(r'echo "installing into \.venv, once: the \d{3} packages of requirements\.txt, about 2 GB of disk', first)
    assert "the environment takes 2 GB of disk with the small torch" in (ROOT / "README.md").read_text()
    fetching = [line for line in lines if "pip install" in line and "--no-deps" not in line]
    assert len(fetching) == 2
    assert not [line for line in fetching if " -q" in line]


def test_requirements_are_pinned():
    for line in (ROOT / "requirements.txt").read_text().splitlines():
        assert line.startswith("#") or "==" in line, line


def test_results_are_whole_and_named_by_their_key():
    from scoat_lib import experiments
    from scoat_lib.training import Recipe

    for path in (ROOT / "results").glob("*.json"):
        if not re.fullmatch("[0-9a-f]{20}", path.stem):
            continue
        content = json.loads(path.read_text())
        assert content["results_version"] == experiments.RESULTS_VERSION
        assert path.stem == experiments.key(Recipe.from_dict(content["recipe"]), content["data"]["fingerprint"])
        assert set(content["patients"]) == set(content["folds"]["test"])
        assert not set(content["folds"]["train"]) & set(content["folds"]["test"])
