#!/usr/bin/env python3
"""Run the chapters through papermill and build the site, or keep their outputs in the notebooks.

python book/build.py                                   quick scale, phantom cohort → _build/quick
python book/build.py --scale real --data FOLDER        real scans → _build/real (ignored by git)
python book/build.py --data FOLDER --external FOLDER   quick scale on real scans; the page of real scans with both cohorts
python book/build.py --chapter 07                      one chapter run, the others as stored → _build/chapter
python book/build.py --in-place                        quick scale, outputs kept in book/*.ipynb (with --chapter 07: its alone)
python book/build.py --badges                          the repository's address of _config.yml into the notebooks
python book/build.py --api                             book/api.md from the package's docstrings
python book/build.py --new TITLE                       book/NN-title.ipynb, a chapter to fill, from book/template/chapter.ipynb
python book/build.py --normalise                       the notebooks as they are committed: nothing in them that means nothing
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import gallery
import scans
import slides
import vendor
from parts import ROOT, fill_in, inputs, repository
from stored import as_text, clean, normal, with_texts

import scoat_lib
from scoat_lib.files import PART, BusyError, one_writer, remove_parts, sync, write_whole

BOOK = ROOT / "book"
# beside the book's folder in a site's source: its settings, and files that pages include so that nothing is written twice
INCLUDED = ("_config.yml", "_toc.yml", "CITATION.cff", "CHANGELOG.md", "results/PROTOCOL.md", "scoat_lib/shipped/README.md")
BADGE = "colab-badge"  # the tag of the cell that holds the badge
BOOTSTRAP = "colab-bootstrap"  # and of the cell that installs the package on Colab


def chapters() -> list[Path]:
    """The notebooks of the table of contents, in order."""
    toc = (ROOT / "_toc.yml").read_text()
    files = re.findall(r"file: (\S+)", toc)
    return [path for path in (ROOT / f"{name}.ipynb" for name in files) if path.exists()]


def run(notebook: Path, output: Path, parameters: dict, threads: int) -> float:
    """One notebook through papermill in a process of its own; seconds. RuntimeError with the cell's error if it fails."""
    began = time.perf_counter()
    # papermill writes after every cell, and one whose builder was killed goes on for a while
    part = output.with_name(f"{PART}{os.getpid()}-{output.name}")
    words = [sys.executable, "-m", "papermill", str(notebook), str(part), "--cwd", str(BOOK), "--no-progress-bar"]
    for key, value in parameters.items():
        words += ["-p", key, value]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads), "PYTHONHASHSEED": "0"}
    done = subprocess.run(words, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise RuntimeError(f"{notebook.name} failed:\n{done.stderr[-3000:]}")
    sync(part)
    part.replace(output)
    return time.perf_counter() - began


def run_all(target: Path, parameters: dict, jobs: int, threads: int, only: list[Path] | None = None) -> None:
    """Every chapter into target, `jobs` at a time, with a line for each; one whose code and inputs are unchanged is kept."""
    target.mkdir(parents=True, exist_ok=True)
    record = target / "runs.json"
    runs = json.loads(record.read_text()) if record.exists() else {}
    remove_parts(target)
    ground = inputs(parameters)
    with ThreadPoolExecutor(jobs) as pool:
        waiting = []
        for path in only or chapters():
            key = hashlib.sha256(f"{ground}{code(path)}".encode()).hexdigest()
            kept = runs.get(path.stem, {}).get("key") == key and (target / path.name).exists()
            if kept:
                write_whole(target / path.name, with_prose(target / path.name, path))
            elif runs.pop(path.stem, None):  # before it is run: killed in between, its new outputs must not pass for the old
                write_whole(record, json.dumps(runs))
            job = None if kept else pool.submit(run, path, target / path.name, parameters, threads)
            waiting.append((path, key, job))
        for number, (path, key, job) in enumerate(waiting, 1):
            print(f"[{number}/{len(waiting)}] {path.stem} ", end="", flush=True)
            if job:
                runs[path.stem] = {"key": key, "seconds": job.result()}
                write_whole(record, json.dumps(runs))
            print(f"{runs[path.stem]['seconds']:.0f} s" if job else "unchanged", flush=True)
    write_whole(target / "seconds.json", json.dumps({name: one["seconds"] for name, one in runs.items()}))


def code(notebook: Path) -> str:
    """A notebook's code and its cells' tags, without prose and outputs."""
    cells = [c for c in json.loads(notebook.read_text())["cells"] if c["cell_type"] == "code"]
    return json.dumps([["".join(c["source"]), c["metadata"].get("tags", [])] for c in cells])


def with_prose(executed: Path, notebook: Path) -> str:
    """A notebook as it stands now, with the outputs of an earlier run of the same code."""
    old, new = json.loads(executed.read_text()), json.loads(notebook.read_text())
    ran = [c for c in old["cells"] if c["cell_type"] == "code" and "injected-parameters" not in c["metadata"].get("tags", [])]
    for cell, before in zip([c for c in new["cells"] if c["cell_type"] == "code"], ran, strict=True):
        cell["outputs"], cell["execution_count"] = before["outputs"], before["execution_count"]
    new["metadata"].pop("widgets", None)
    if "widgets" in old["metadata"]:
        new["metadata"]["widgets"] = old["metadata"]["widgets"]
    return json.dumps(new)


def new_chapter(title: str) -> Path:
    """A chapter to fill, with every part that a chapter has, from the template: the next number, the title, the one address."""
    number = max(int(path.name[:2]) for path in BOOK.glob("[0-9][0-9]-*.ipynb")) + 1
    name = f"{number:02d}-{re.sub('[^a-z0-9]+', '-', title.lower()).strip('-')}"
    notebook = json.loads((BOOK / "template" / "chapter.ipynb").read_text())
    for cell in notebook["cells"]:
        cell["source"] = "".join(cell["source"]).replace("NUMBER · TITLE", f"{number} · {title}").replace("NAME", name)
    path = BOOK / f"{name}.ipynb"
    write_whole(path, normal(json.dumps(notebook), name))
    write_badges([path])
    return path


def build_site(executed: Path, output: Path, **patients: Path | None) -> Path:
    """The site from executed notebooks, warnings as errors; returns its first page. What is unchanged is not built again.

    patients: what the page of real scans is made of (`scans.page`); by default phantoms.
    """
    source, fresh = output / "source", output / "fresh"
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.copytree(
        BOOK,
        fresh / "book",
        ignore=shutil.ignore_patterns(
            "*.ipynb", "build.py", "front.py", "parts.py", "scans.py", "stored.py", "__pycache__", ".ipynb_checkpoints"
        ),
    )
    for name in INCLUDED:
        (fresh / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, fresh / name)
    for path in chapters():
        (fresh / "book" / path.name).write_text(with_texts((executed / path.name).read_text()))
    vendor.serve_from(fresh / "_served" / "_vendor")
    fill_in(fresh / "book", executed, patients)
    made_from = key_of(fresh)
    replace_changed(fresh, source)
    site, unfinished, record = output / "_build", output / "unfinished", output / "made-from"
    page = site / "html" / "index.html"
    if unfinished.exists() or newest(site) > time.time():
        # a page that was cut off, or dated by a clock since set back, would pass for unchanged
        shutil.rmtree(site, ignore_errors=True)
    if page.exists() and record.exists() and record.read_text() == made_from:
        return page
    unfinished.touch()
    jupyter_book = Path(sys.executable).with_name("jupyter-book")
    words = [str(jupyter_book), "build", str(source), "--path-output", str(output), "-W", "-n", "--keep-going", "-q"]
    done = subprocess.run(words, capture_output=True, text=True, env=os.environ | {"BOOK_ADDRESS": published()})
    if done.returncode:
        raise RuntimeError(f"the site has warnings:\n{(done.stdout + done.stderr)[-4000:]}")
    finish(site / "html")
    write_whole(record, made_from)
    unfinished.unlink()
    return page


def key_of(folder: Path) -> str:
    """What a site is made from, as a hash: every file of its source, the pinned versions, its address, this file."""
    digest = hashlib.sha256(f"{sys.version} {published()}".encode())
    for path in [*sorted(p for p in folder.rglob("*") if p.is_file()), ROOT / "requirements.txt", Path(__file__)]:
        name = path.relative_to(folder) if path.is_relative_to(folder) else path.name
        digest.update(f"{name}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def finish(site: Path) -> None:
    """What is made from built pages: the gallery, the slides of each part."""
    if not (site / "book" / "gallery.html").exists():
        return
    texts = {name: (site / "book" / f"{name}.html").read_text() for name in gallery.pages()}
    gallery.fill(site, texts)
    slides.make(site, texts)


def published() -> str:
    """The site's address where it is known: the variable BOOK_ADDRESS, or GitHub's pages of the repository that git came from.

    Empty where _config.yml still holds a stand-in: then no page claims to live anywhere.
    """
    from book_pages import address_of
    from publish_check import git, remote

    url, _ = repository()
    return os.environ.get("BOOK_ADDRESS") or (address_of(url) if remote(git("remote", "get-url", "origin")) == url else "")


def newest(folder: Path) -> float:
    """The date of a folder's newest file, in seconds since 1970; 0 where there is none."""
    return max((path.stat().st_mtime for path in folder.rglob("*") if path.is_file()), default=0.0)


def replace_changed(fresh: Path, folder: Path) -> None:
    """Make folder what fresh is, and remove fresh; equal files keep their dates, by which Sphinx tells what has changed."""
    new = {p.relative_to(fresh): p for p in fresh.rglob("*") if p.is_file()}
    for path in [p for p in folder.rglob("*") if p.is_file() and p.relative_to(folder) not in new]:
        path.unlink()
    for name, path in new.items():
        target = folder / name
        if not target.exists() or target.read_bytes() != path.read_bytes():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(path, target)
            os.utime(target)
    shutil.rmtree(fresh)


def api() -> str:
    """book/api.md: every public name of the package with its signature and docstring, room by room."""
    package = ROOT / "scoat_lib"
    rooms = (
        "files nifti series scan upright foreign dicom record anatomy trees phantom cohort folds slices blocks attention "
        "networks losses metrics weights inference lungs segmentation overview external training grids experiments engine "
        "rule report claims words findings plots viewer drawings"
    )
    lines = ["# The package", "", "Every public name, from the docstrings (`python book/build.py --api` writes this page).", ""]
    for room in rooms.split():
        files = [package / f"{room}.py"] if (package / f"{room}.py").exists() else sorted((package / room).glob("*.py"))
        for path in files:
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            tree = ast.parse(path.read_text())
            lines += [f"## `{name}`", "", "```text", inspect.cleandoc(ast.get_docstring(tree) or ""), "```", ""]
            for node in tree.body:
                if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
                    lines += _entry(node)
    return "\n".join(lines).rstrip() + "\n"


def _entry(node: ast.FunctionDef | ast.ClassDef) -> list[str]:
    """A function, or a class with its public methods, as markdown."""
    if isinstance(node, ast.ClassDef):
        bases = ", ".join(ast.unparse(b) for b in node.bases)
        head = f"class {node.name}" + (f"({bases})" if bases else "")
    else:
        returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
        head = f"{node.name}({ast.unparse(node.args)}){returns}"
    text = inspect.cleandoc(ast.get_docstring(node) or "")
    for method in node.body if isinstance(node, ast.ClassDef) else []:
        words = ast.get_docstring(method) if isinstance(method, ast.FunctionDef) else None
        if words and not method.name.startswith("_"):
            text += f"\n\n.{method.name}: {inspect.cleandoc(words).splitlines()[0]}"
    return [f"### {node.name}", "", "```text", head, "", text, "```", ""]


def badge(name: str) -> str:
    """The markdown of a chapter's Colab badge."""
    url, branch = repository()
    path = url.removeprefix("https://github.com/")
    address = f"https://colab.research.google.com/github/{path}/blob/{branch}/book/{name}"
    return f"[![Open this chapter in Colab](_static/colab.svg)]({address})"


def bootstrap() -> str:
    """The first code cell: on Colab it adds the package and leaves Colab's own torch and numpy alone; elsewhere, nothing."""
    url, branch = repository()
    return "\n".join(
        [
            "import importlib.util",
            "import sys",
            "",
            'if "google.colab" in sys.modules and importlib.util.find_spec("scoat_lib") is None:',
            f'    %pip install -q --upgrade-strategy only-if-needed "scoat-lib @ git+{url}@{branch}"',
        ]
    )


def write_badges(paths: list[Path] | None = None) -> None:
    """Bring the repository's address into every notebook."""
    for path in paths or chapters():
        notebook = json.loads(path.read_text())
        for cell in notebook["cells"]:
            tags = cell["metadata"].get("tags", [])
            if BADGE in tags:
                cell["source"] = badge(path.name)
            if BOOTSTRAP in tags:
                cell["source"] = bootstrap()
        write_whole(path, normal(json.dumps(notebook), path.stem))


def handout(folder: Path) -> list[Path]:
    """Every chapter without its solutions, neither code nor words, and without outputs; the files, in a folder that is made."""
    made = []
    folder.mkdir(parents=True, exist_ok=True)
    for path in chapters():
        notebook, kept, inside = json.loads(path.read_text()), [], False
        for cell in notebook["cells"]:
            if cell["cell_type"] == "code":
                if not inside:
                    kept.append(cell | {"outputs": [], "execution_count": None})
                continue
            left, closing = [], False
            for line in "".join(cell["source"]).splitlines(keepends=True):
                inside = inside or line.startswith("```{solution-start}")
                left += [] if inside or closing else [line]
                closing = line.startswith("```{solution-end}")  # its fence closes on the next line
                inside = inside and not closing
            kept += [cell | {"source": left}] if "".join(left).strip("`\n ") else []
        notebook["cells"] = kept
        notebook["metadata"].pop("widgets", None)
        made.append(folder / path.name)
        write_whole(made[-1], json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")
    return made


def main() -> int:
    """The command line; 0, or 1 and what went wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", choices=("quick", "real", "paper"), default="quick")
    parser.add_argument("--data", type=Path, help="folder of real scans; needed for real and paper")
    parser.add_argument("--external", type=Path, help="folder of the second cohort (tr_im.nii.gz), for the page of real scans")
    parser.add_argument(
        "--runs", type=Path, help="folder of finished runs, to outline patients they left out; by default runs/"
    )
    parser.add_argument("--in-place", action="store_true", help="keep the outputs in book/*.ipynb; build no site")
    parser.add_argument("--chapter", metavar="NN", help="run this chapter alone; the others keep their stored outputs")
    parser.add_argument("--fresh", action="store_true", help="run and build everything anew, changed or not")
    parser.add_argument("--badges", action="store_true", help="only write the Colab badges and bootstrap cells")
    parser.add_argument("--api", action="store_true", help="only write book/api.md")
    parser.add_argument("--new", metavar="TITLE", help="a new chapter from the template")
    parser.add_argument("--normalise", action="store_true", help="only bring the notebooks into the form that is committed")
    parser.add_argument("--text", type=Path, metavar="NOTEBOOK", help="only print a notebook as text, for git diff")
    parser.add_argument("--handout", type=Path, metavar="FOLDER", help="only write the chapters without solutions, to hand out")
    parser.add_argument("--jobs", type=int, default=2, help="chapters at a time")
    parser.add_argument("--threads", type=int, default=1, help="torch threads each")
    arguments = parser.parse_args()
    if not Path(scoat_lib.__file__).is_relative_to(ROOT):
        # its outputs would pass for this folder's: what is unchanged is told by the files that lie here
        parser.error(f"scoat_lib comes from {Path(scoat_lib.__file__).parents[1]}, not from {ROOT}: pip install -e {ROOT}")
    if arguments.badges:
        write_badges()
        return 0
    if arguments.api:
        write_whole(BOOK / "api.md", api())
        return 0
    if arguments.text:
        print(as_text(arguments.text), end="")
        return 0
    if arguments.handout:
        print(f"{len(handout(arguments.handout))} chapters without solutions are in {arguments.handout}")
        return 0
    if arguments.normalise:
        for path in [*chapters(), BOOK / "template" / "chapter.ipynb"]:
            clean(path)
        return 0
    if arguments.new:
        path = new_chapter(arguments.new)
        print(f"{path.relative_to(ROOT)} is there. Write it into _toc.yml, and a line about it into LINES of book/front.py;")
        print(f"then `make outputs N={path.name[:2]}` runs it, and `make chapter N={path.name[:2]}` builds and checks it.")
        return 0
    if arguments.scale != "quick" and arguments.data is None:
        parser.error(f"--scale {arguments.scale} needs --data FOLDER (python data/download.py fetches the public record)")
    for folder in (arguments.data, arguments.external, arguments.runs):
        if folder is not None and not folder.is_dir():
            parser.error(f"{folder}: no such folder")
    if arguments.in_place and (arguments.scale != "quick" or arguments.data):
        parser.error("only quick outputs are kept in the notebooks: no picture of a real scan goes into git")
    real = scans.at_hand(arguments.data)
    if arguments.in_place and real:
        parser.error(
            f"the chapters would read {real}, and no picture of a real scan goes into git: unset SCOAT_DATA, or set "
            "SCOAT_CACHE to an empty folder"
        )
    only = [path for path in chapters() if arguments.chapter and path.name.startswith(f"{arguments.chapter}-")]
    if arguments.chapter and not only:
        parser.error(f"no chapter {arguments.chapter}: one of {', '.join(path.stem[:2] for path in chapters())}")
    if arguments.chapter and arguments.scale != "quick":
        parser.error("--chapter runs at quick scale")
    output = ROOT / "_build" / ("chapter" if only else arguments.scale)
    if arguments.fresh:
        shutil.rmtree(output, ignore_errors=True)
    executed = output / "executed"
    parameters = {"scale": arguments.scale} | ({"data": str(arguments.data.resolve())} if arguments.data else {})
    try:
        output.mkdir(parents=True, exist_ok=True)
        with one_writer(output / ".lock", "another build of the book"):
            run_all(executed, parameters, arguments.jobs, arguments.threads, only)
            for path in chapters() if only and not arguments.in_place else []:
                if path not in only:
                    shutil.copy(path, executed / path.name)
            if arguments.in_place:
                for path in only or chapters():
                    clean(path, executed / path.name)
                print("outputs are kept in book/; look at `git diff --stat book` before you commit")
                return 0
            print("building the site …", flush=True)
            runs = arguments.runs or (ROOT / "runs" if (ROOT / "runs").is_dir() else None)
            page = build_site(executed, output, data=real, external=arguments.external, runs=runs)
    except (RuntimeError, BusyError) as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    print(f"open {page.parent / 'book' / only[0].with_suffix('.html').name if only else page}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
