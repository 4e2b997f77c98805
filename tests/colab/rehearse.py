#!/usr/bin/env python3
"""Rehearse Colab: its versions in a fresh environment, a chapter's own bootstrap cell, then the chapter from an empty folder.

python tests/colab/rehearse.py 01 16

What this machine cannot have is said: Colab's CUDA torch is replaced by the CPU build of requirements.txt, and on a Python
older than Colab's some versions are left free. Colab itself is not asked. The bootstrap cell runs as it stands, but git takes
the repository from a local clone: the folder in the variable SCOAT_CLONE, or this checkout (its last commit).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
KEPT = ("torch", "numpy", "matplotlib", "ipywidgets", "pandas", "scipy")  # replaced ones would need a new start of the runtime
COLABS_PYTHON = (3, 12)
NEEDS_312 = ("tifffile",)  # Colab's versions of these have no release for an older Python
STARTUP = """import sys, types
sys.modules.setdefault("google", types.ModuleType("google"))
sys.modules["google.colab"] = types.ModuleType("google.colab")  # by this the bootstrap cell knows Colab
"""


def pins(text: str) -> dict[str, str]:
    """Name → version of lines NAME==VERSION."""
    return dict(re.findall(r"^([\w.-]+)==(\S+)$", text, flags=re.M))


def versions() -> tuple[dict[str, str], list[str]]:
    """What to install before the bootstrap, and in words what differs from Colab's."""
    colab = pins((ROOT / "tests" / "colab" / "constraints.txt").read_text())
    ours = pins((ROOT / "requirements.txt").read_text())["torch"]
    said = [f"torch {ours} (CPU) stands for Colab's {colab['torch']} (CUDA)"]
    colab["torch"] = ours
    left = ["setuptools"]  # pip brings what a newer torch asks for
    if sys.version_info[:2] < COLABS_PYTHON:
        left += NEEDS_312
        said.append(f"Python {sys.version.split()[0]} stands for Colab's {'.'.join(map(str, COLABS_PYTHON))}")
    said.append(f"versions left free: {', '.join(left)}")
    return {name: version for name, version in colab.items() if name not in left}, said


def prepare(folder: Path) -> Path:
    """A fresh environment with Colab's versions; its Python.

    One that is there already (complete) is used again, less all that a bootstrap cell has added since; where that replaced
    something, it is made anew. TORCH_INDEX: an index of small torch wheels, as for `make`.
    """
    python, wanted = folder / "bin" / "python", versions()[0]
    ready = folder / "colab.json"  # what was wanted, and all that it came to
    made = json.loads(ready.read_text()) if ready.exists() else {}
    if made.get("wanted") == wanted:
        fresh = made["fresh"]
        if added := sorted(set(installed(python)) - set(fresh)):
            subprocess.run([python, "-m", "pip", "uninstall", "-q", "-y", *added], check=True, capture_output=True)
        if installed(python) == fresh:
            return python
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    listed = folder / "wanted.txt"
    listed.write_text("".join(f"{name}=={version}\n" for name, version in wanted.items()))
    if index := os.environ.get("TORCH_INDEX"):
        subprocess.run([python, "-m", "pip", "install", "-q", "--index-url", index, f"torch=={wanted['torch']}"], check=True)
    subprocess.run([python, "-m", "pip", "install", "-q", "-r", str(listed)], check=True)
    ready.write_text(json.dumps({"wanted": wanted, "fresh": installed(python)}))
    return python


def installed(python: Path) -> dict[str, str]:
    """Name → version of an environment."""
    done = subprocess.run([python, "-m", "pip", "list", "--format", "json"], check=True, capture_output=True, text=True)
    return {one["name"].lower().replace("_", "-"): one["version"] for one in json.loads(done.stdout)}


def clone(folder: Path, branch: str) -> Path:
    """A bare clone whose branch is the last commit of SCOAT_CLONE, or of this checkout."""
    source = Path(os.environ.get("SCOAT_CLONE") or ROOT)
    subprocess.run(["git", "clone", "-q", "--bare", str(source), str(folder)], check=True)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=source, check=True, capture_output=True, text=True).stdout.strip()
    subprocess.run(["git", "update-ref", f"refs/heads/{branch}", commit], cwd=folder, check=True)
    return folder


def surroundings(work: Path, python: Path) -> dict[str, str]:
    """The variables under which a kernel is Colab's: its Python, the module google.colab, git that reads the local clone."""
    sys.path.insert(0, str(ROOT / "book"))
    import parts

    url, branch = parts.repository()
    kernel = work / "jupyter" / "kernels" / "colab"
    kernel.mkdir(parents=True)
    words = [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (kernel / "kernel.json").write_text(json.dumps({"argv": words, "display_name": "Colab", "language": "python"}))
    startup = work / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "colab.py").write_text(STARTUP)
    local = clone(work / "clone.git", branch)
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "SCOAT_DATA", "VIRTUAL_ENV")}
    return kept | {
        "JUPYTER_PATH": str(work / "jupyter"),
        "IPYTHONDIR": str(work / "ipython"),
        "SCOAT_CACHE": str(work / "cache"),
        "PIP_NO_WARN_SCRIPT_LOCATION": "1",
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{local.as_uri()}.insteadOf",
        "GIT_CONFIG_VALUE_0": url,
    }


def missing_runs(notebook: Path) -> int:
    """How often a notebook's outputs say that something was not run."""
    cells = json.loads(notebook.read_text())["cells"]
    return sum(json.dumps(cell.get("outputs", [])).count("not run") for cell in cells)


def play(chapter: Path, work: Path, environment: dict[str, str]) -> None:
    """Run one chapter from a folder that holds nothing else. SystemExit if a cell fails or if it lacks the book's runs."""
    folder = work / chapter.stem / "content"
    folder.mkdir(parents=True)
    shutil.copy(chapter, folder)
    words = [sys.executable, "-m", "papermill", chapter.name, "../ran.ipynb", "-k", "colab", "--no-progress-bar"]
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{chapter.stem} failed:\n{done.stderr[-3000:]}")
    lacks, stored = missing_runs(folder.parent / "ran.ipynb"), missing_runs(chapter)
    if lacks > stored:
        sys.exit(f"{chapter.stem}: says {lacks} times that something was not run, and in the book {stored} times")


def rehearse(numbers: list[str], folder: Path) -> str:
    """Prepare, bootstrap, run; what happened in a few lines. SystemExit where a chapter fails or a package was replaced."""
    chapters = [path for number in numbers for path in sorted((ROOT / "book").glob(f"{number}-*.ipynb"))]
    if len(chapters) != len(numbers):
        sys.exit(f"no such chapter among {', '.join(numbers)}; give two digits each, like 01 16")
    print("; ".join(versions()[1]), flush=True)
    python = prepare(folder)
    before = installed(python)
    with tempfile.TemporaryDirectory() as work:
        environment = surroundings(Path(work), python)
        for chapter in chapters:
            play(chapter, Path(work), environment)
            print(f"{chapter.stem}: runs", flush=True)
    after = installed(python)
    if "scoat-lib" not in after:
        sys.exit("the bootstrap cell did not install scoat-lib")
    changed = [f"{name} {version} → {after.get(name)}" for name, version in before.items() if after.get(name) != version]
    if changed:
        sys.exit(f"the bootstrap cell replaced what Colab has: {', '.join(changed)}")
    kept = ", ".join(f"{name} {after[name]}" for name in KEPT)
    added = ", ".join(f"{name} {version}" for name, version in after.items() if name not in before)
    return f"kept: {kept}\nadded: {added}"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("chapters", nargs="+", metavar="NN")
    parser.add_argument("--environment", type=Path, default=ROOT / "_build" / "colab", help="where Colab's versions go")
    arguments = parser.parse_args()
    print(rehearse(arguments.chapters, arguments.environment.resolve()))


if __name__ == "__main__":
    main()
