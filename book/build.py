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
import base64
import hashlib
import html
import inspect
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import costs
import front
import gallery
import nbformat
import numpy as np
import scans
import slides
import vendor
import yaml
from matplotlib.colors import to_rgb
from PIL import Image

from scoat_lib import plots
from scoat_lib.files import PART, BusyError, one_writer, remove_parts, sync, write_whole

ROOT = Path(__file__).resolve().parent.parent
BOOK = ROOT / "book"
RESULTS = ROOT / "results"
# beside the book's folder in a site's source: its settings, and files that pages include so that nothing is written twice
INCLUDED = ("_config.yml", "_toc.yml", "CITATION.cff", "CHANGELOG.md", "results/PROTOCOL.md", "scoat_lib/shipped/README.md")
BADGE = "colab-badge"  # the tag of the cell that holds the badge
WIDGET_STATE = "application/vnd.jupyter.widget-state+json"
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
HEAVY, HEAVIEST = 150_000, 230_000  # letters of a stored picture: where few colours begin, and what they must come below
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


def inputs(parameters: dict) -> str:
    """What a chapter's outputs depend on beside its own code: package, results, pinned versions, parameters, scans."""
    digest = hashlib.sha256(json.dumps(parameters, sort_keys=True).encode())
    files = [*sorted((ROOT / "scoat_lib").rglob("*")), *sorted((ROOT / "results").rglob("*")), ROOT / "requirements.txt"]
    for path in files:
        if path.is_file() and "__pycache__" not in path.parts:
            digest.update(f"{path.relative_to(ROOT)}".encode() + path.read_bytes())
    for path in sorted(Path(parameters["data"]).rglob("*")) if "data" in parameters else []:
        digest.update(f"{path} {path.stat().st_size} {path.stat().st_mtime_ns}".encode())
    return digest.hexdigest()


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


def clean(path: Path, executed: Path | None = None) -> None:
    """Write a notebook as it is committed (`normal`). executed: where it is read, if not where it is written."""
    write_whole(path, normal((executed or path).read_text(), path.stem))


def normal(text: str, name: str) -> str:
    """A notebook without what differs from run to run and means nothing: times, paths, machines, counts of runs, drawn names.

    text: the notebook's JSON. name: its file's stem, from which the names of its widgets are made. The same for the same
    content, so that a diff shows what an author changed.
    """
    notebook = nbformat.reads(text, 4)
    notebook.metadata.pop("papermill", None)
    notebook.metadata.kernelspec = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook.metadata.language_info = {"name": "python", "file_extension": ".py", "mimetype": "text/x-python"}
    notebook.cells = [c for c in notebook.cells if "injected-parameters" not in c.metadata.get("tags", [])]
    count = 0
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number:03d}"
        for key in ("papermill", "execution", "ExecuteTime", "collapsed", "scrolled"):
            cell.metadata.pop(key, None)
        if cell.cell_type == "code":
            cell.outputs = one_stream(cell.outputs)
            for output in cell.outputs:
                lighten(output)
            count += 1  # in order from 1, whatever was run how often; none at all, and nbval takes the cell for one never run
            for one in (cell, *(o for o in cell.outputs if o.output_type == "execute_result")):
                one.execution_count = count
    if not any(WIDGET_VIEW in o.get("data", {}) for c in notebook.cells for o in c.get("outputs", [])):
        notebook.metadata.pop("widgets", None)  # the state of sliders that no cell shows any more
    return named_widgets(nbformat.writes(notebook, 4) + "\n", name)


def named_widgets(text: str, name: str) -> str:
    """A notebook's JSON with its widgets named by the order in which the cells reach them, and stored in that order."""
    notebook = json.loads(text)
    store = notebook["metadata"].get("widgets", {}).get(WIDGET_STATE, {})
    models = store.get("state", {})
    views = [o.get("data", {}).get(WIDGET_VIEW) for c in notebook["cells"] for o in c.get("outputs", [])]
    order: dict[str, str] = {}  # a widget's drawn name → its own
    root = hashlib.sha256(name.encode()).hexdigest()[:26]

    def reach(todo: list[str]) -> None:
        while todo:
            if (model := todo.pop(0)) in models and model not in order:
                order[model] = f"{root}{len(order):06x}"
                todo = re.findall(r"IPY_MODEL_(\w+)", json.dumps(models[model])) + todo

    def content(model: str) -> str:
        """What a widget is, whatever it and those it leads to are called."""
        text = json.dumps(models[model], sort_keys=True)
        return re.sub(r"IPY_MODEL_(\w+)", lambda found: order.get(found[1], ""), text)

    reach([view["model_id"] for view in views if view])
    for model in sorted(models, key=content):  # those that no cell shows: links between others
        reach([model])
    text = json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
    text = re.sub("|".join(order) or "(?!)", lambda found: order[found[0]], text)
    return json.dumps(json.loads(text), indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def as_text(path: Path) -> str:
    """A notebook for the eye: its cells' sources, and what they printed; pictures and widgets as one line each."""
    lines = []
    for number, cell in enumerate(json.loads(path.read_text())["cells"]):
        tags = " ".join(cell["metadata"].get("tags", []))
        lines += [f"--- {number} {cell['cell_type']} {tags}".rstrip(), "".join(cell["source"])]
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            said = "".join(output.get("text", data.get("text/plain", "")))
            kinds = sorted(kind for kind in data if kind != "text/plain")
            mark = f" {hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:8]}" if kinds else ""
            lines += [f"> {', '.join(kinds) or 'text'}{mark}", said.rstrip()]
    return "\n".join(lines) + "\n"


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


def lighten(output: dict) -> None:
    """An output's large PNG in as few colours as it takes to weigh little: what weighs is a slice's noise in 24 bits.

    The few vivid pixels of outlines have colours of their own, or greys would take all and a thin red line would turn grey.
    """
    png = output.get("data", {}).get("image/png", "")
    if len(png) < HEAVY:
        return
    with Image.open(io.BytesIO(base64.b64decode(png))) as picture:
        if picture.mode == "P":  # it has been here before
            return
        whole = picture.convert("RGB")
    for colours in (228, 128, 48, 24):  # and 24 for outlines: a palette holds 256
        stream = io.BytesIO()
        in_few_colours(whole, colours).save(stream, "PNG", optimize=True)
        small = base64.b64encode(stream.getvalue()).decode()
        if len(small) < HEAVIEST:
            break
    if len(small) < len(png):
        output["data"]["image/png"] = small


def in_few_colours(whole: Image.Image, colours: int) -> Image.Image:
    """A picture in so many colours, and 24 for outlines, and for all vivid pixels where these are fewer than one in ten."""
    pixels = np.asarray(whole).reshape(-1, 3)
    outlines = [np.round(255 * np.array(to_rgb(colour))) for colour in (plots.TRUTH, plots.PREDICTION)]
    own = np.any([np.abs(pixels - colour).max(1) < 60 for colour in outlines], axis=0)  # a map's colours leave none for a line
    vivid = np.ptp(pixels, axis=1) > 60
    if vivid.mean() < 0.1:
        own |= vivid
    if not own.any() or own.all():
        return whole.quantize(colours, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    parts = ((pixels[~own], colours), (pixels[own], 24))
    found = [Image.fromarray(part[None]).quantize(n, Image.Quantize.MEDIANCUT).getpalette()[: 3 * n] for part, n in parts]
    palette = Image.new("P", (1, 1))
    palette.putpalette(found[0] + found[1])
    return whole.quantize(palette=palette, dither=Image.Dither.NONE)


def one_stream(outputs: list) -> list:
    """What a cell printed in one piece: a busy machine hands it over in several."""
    kept: list = []
    for output in outputs:
        if kept and output.output_type == "stream" and kept[-1].get("name") == output.name:
            kept[-1].text += output.text
        else:
            kept.append(output)
    return kept


def build_site(executed: Path, output: Path, **patients: Path | None) -> Path:
    """The site from executed notebooks, warnings as errors; returns its first page. What is unchanged is not built again.

    patients: what the page of real scans is made of (`scans.page`); by default phantoms.
    """
    source, fresh = output / "source", output / "fresh"
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.copytree(
        BOOK,
        fresh / "book",
        ignore=shutil.ignore_patterns("*.ipynb", "build.py", "front.py", "scans.py", "__pycache__", ".ipynb_checkpoints"),
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


def with_texts(text: str) -> str:
    """A notebook whose widgets' pictures say what they show: the cell's alternative text before the picture's own line."""
    notebook = json.loads(text)
    models = notebook["metadata"].get("widgets", {}).get(WIDGET_STATE, {}).get("state", {})

    def mend(model: str, about: str) -> None:
        state = models.get(model, {}).get("state", {})
        if "<img alt=" in str(state.get("value", "")):
            state["value"] = state["value"].replace('<img alt="', f'<img alt="{html.escape(about)}: ', 1)
        for child in state.get("children", []):
            mend(child.removeprefix("IPY_MODEL_"), about)

    for cell in notebook["cells"]:
        about = cell["metadata"].get("mystnb", {}).get("image", {}).get("alt", "")
        for output in cell.get("outputs", []):
            lighten(output)
            if about and (view := output.get("data", {}).get(WIDGET_VIEW)):
                mend(view["model_id"], about.rstrip("."))
    return json.dumps(notebook)


def fill_in(source: Path, executed: Path, patients: dict[str, Path | None] | None = None) -> None:
    """What is measured, into the pages' markers: findings, seconds of each chapter, every result, the readings' effects."""
    live = {
        "<!-- front: picture -->": front.picture,
        "<!-- front: cards -->": front.cards,
        "<!-- times -->": lambda: times(executed),
        "<!-- clone -->": clone,
        "<!-- binder -->": binder,
        "<!-- real scans -->": lambda: scans.page(**(patients or {})),
        "<!-- speed: table -->": lambda: costs.speed(RESULTS),
        "<!-- speed: growth -->": lambda: costs.growth(RESULTS),
        "<!-- speed: machines -->": lambda: costs.machines(RESULTS),
        "<!-- speed: model -->": lambda: costs.model(RESULTS),
    }
    slow = {  # hang on the package and on results/ alone, and are kept below _build
        "<!-- findings -->": findings,
        "<!-- front: findings -->": headlines,
        "<!-- provenance -->": provenance,
        "<!-- readings of the evaluation -->": evaluation_readings,
        "<!-- readings trained anew -->": trained_readings,
        "<!-- phantom realism -->": phantom_realism,
        "<!-- minutes a run -->": minutes,
        "<!-- table files -->": table_files,
        "<!-- run files -->": run_files,
        "<!-- weight files -->": weight_files,
        "<!-- path of a scan -->": path_of_a_scan,
        "<!-- faults -->": faults,
    }
    kept = kept_parts()
    for page in source.glob("*.md"):
        text = page.read_text()
        for marker, produce in live.items():
            if marker in text:
                text = text.replace(marker, produce())
        for marker, produce in slow.items():
            if marker in text:
                text = text.replace(marker, part(kept, marker, produce, source / "downloads"))
        page.write_text(text)
    if (source / "_static").is_dir():
        if not (kept / "card.png").exists():
            front.card(kept / f"{PART}card.png")
            (kept / f"{PART}card.png").replace(kept / "card.png")
        shutil.copy(kept / "card.png", source / "_static" / "card.png")


def kept_parts() -> Path:
    """The folder for parts of pages made from this package, these results and this builder; older ones are removed."""
    key = hashlib.sha256(f"{inputs({})} {RESULTS}".encode() + Path(__file__).read_bytes() + Path(front.__file__).read_bytes())
    if not RESULTS.is_relative_to(ROOT):
        for path in sorted(p for p in RESULTS.rglob("*") if p.is_file()):
            key.update(path.name.encode() + path.read_bytes())
    folder = ROOT / "_build" / "parts" / key.hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    os.utime(folder)
    for old in sorted(folder.parent.iterdir(), key=lambda path: path.stat().st_mtime)[:-4]:
        shutil.rmtree(old, ignore_errors=True)
    return folder


def part(kept: Path, marker: str, produce, downloads: Path) -> str:
    """What stands for a marker, from `kept` or made and kept; the files that it puts into downloads come with it."""
    path = kept / f"{re.sub('[^a-z]+', '-', marker).strip('-')}.json"
    if not path.exists():
        if inspect.signature(produce).parameters:
            with tempfile.TemporaryDirectory() as there:
                text = produce(Path(there) / downloads.name)
                made = [path for path in sorted(Path(there).rglob("*")) if path.is_file()]
                files = {path.name: base64.b64encode(path.read_bytes()).decode() for path in made}
        else:
            text, files = produce(), {}
        kept.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps({"text": text, "files": files}))
    found = json.loads(path.read_text())
    for name, content in found["files"].items():
        keep(downloads, name, base64.b64decode(content))
    return found["text"]


def path_of_a_scan() -> str:
    """The path of a scan through the tool, with what the shipped weights say, as a figure."""
    from scoat_lib import drawings, weights

    drawn = drawings.path(weights.load())
    caption = (
        "The path of a scan through the tool. What stands in the boxes is read from the weights that come with the package."
    )
    return f'```{{raw}} html\n<figure id="fig-path">{drawn._repr_html_()}<figcaption>{caption}</figcaption></figure>\n```'


def table(head: list[str], rows: list[list]) -> str:
    """A markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def times(executed: Path) -> str:
    """Seconds of each chapter."""
    path = executed / "seconds.json"
    if not path.exists():
        return "Not timed in this build."
    return table(["page", "seconds"], [[name, f"{value:.0f}"] for name, value in json.loads(path.read_text()).items()])


def findings() -> str:
    """The findings of the first page as a list, from results/ as they are."""
    from scoat_lib import findings, report

    return "\n".join(f"1. {said}" for said in findings.front.findings(report.load(RESULTS), RESULTS))


def headlines() -> str:
    """The same findings at a glance, for the top of the first page."""
    from scoat_lib import report

    return front.findings(report.load(RESULTS), RESULTS)


def provenance() -> str:
    """Every result: its row, where it was made and its file; what all share is said once. A sentence where there is none."""
    from scoat_lib import experiments, findings, report, training

    results = report.load(RESULTS)
    if not results:
        return "No run is in `results/` yet."
    columns = ["fold", "seed", "width", "epochs", "commit", "device", "minutes", "date"]
    rows = []
    for result in results:
        r, p = result["recipe"], result["provenance"]
        key = experiments.key(training.Recipe.from_dict(r), result["data"]["fingerprint"])
        of_run = {name: r[name] for name in columns[:4]}
        of_run |= {"commit": (p["commit"] or "unknown")[:8], "device": p["device"], "date": p["date"]}
        of_run["minutes"] = round(p["seconds"] / 60)
        rows.append((findings.ledger.row_name(result), of_run, f"`{key}.json`"))
    shared = [name for name in columns if len(rows) > 1 and len({of_run[name] for _, of_run, _ in rows}) == 1]
    told = [name for name in columns if name not in shared]
    same = ", ".join(f"{name} {rows[0][1][name]}" for name in shared)
    lines = sorted([label, *(of_run[name] for name in told), file] for label, of_run, file in rows)
    seen = set()
    for line in lines:  # the ledger links to the first run of each row
        name = line[0]
        line[0] = name if name in seen else f'<span id="{findings.ledger.anchor(name)}"></span>{name}'
        seen.add(name)
    return (f"All of them: {same}.\n\n" if same else "") + table(["row", *told, "file in `results/`"], lines)


def evaluation_readings() -> str:
    """results/readings/evaluation-w8.json as three tables; a sentence where it was not measured."""
    path = RESULTS / "readings" / "evaluation-w8.json"
    if not path.exists():
        return "Not measured yet (`python -m studies.evaluation_readings`)."
    from scoat_lib import findings, words
    from scoat_lib.cohort import patient_of

    r = json.loads(path.read_text())
    cases = r["patients"]
    folds = words.listed([str(fold) for fold in r["folds"]])
    people = words.count(len({patient_of(name) for name in cases["all"]}), "patient")
    who = f"{len(cases['all'])} scans of {people}, folds {folds}; {len(cases['primary'])} with at least 1 000 lesion voxels"
    output = table(
        ["what a prediction uses", "DSC, primary", "DSC, pooled"],
        [[name, f"{v['primary']:.1f}", f"{v['pooled']:.1f}"] for name, v in r["output"].items()],
    )
    average = table(["what is averaged", "DSC"], [[name, f"{v:.1f}"] for name, v in findings.readers.averages(r).items()])
    regions = table(
        ["connectivity", "regions of a", "a true region is found when", "RLP", "RLR"],
        [[v["connectivity"], v["per"], v["found"], f"{v['RLP']:.1f}", f"{v['RLR']:.1f}"] for v in r["regions"]],
    )
    va = ", ".join(f"{name} {value:.1f}" for name, value in r["VA"].items())
    about = f"{r['recipe']['network']}, width {r['recipe']['width']}, {who}; per cent."
    return f"{about} VA: {va}.\n\n{output}\n\n{average}\n\n{regions}"


def phantom_realism() -> str:
    """results/phantom-realism.json as two tables and a sentence; a sentence alone where it was not measured."""
    path = RESULTS / "phantom-realism.json"
    if not path.exists():
        return "Not measured yet (`python -m studies.phantom_realism`)."
    r = json.loads(path.read_text())
    tissues = table(
        ["tissue", "median HU", "accepted range"],
        [[name, f"{v['median']:.0f}", "{} … {}".format(*v["range"])] for name, v in r["HU medians"].items()],
    )
    measures = [
        [f"distance of lung histograms, {name}", f"{v['median']:.0f} HU ({v['low']:.0f} … {v['high']:.0f})"]
        for name, v in r["lung histogram distance, HU"].items()
    ]
    for kind, v in r["noise"].items():
        share = f"{100 * v['share above half Nyquist']:.0f} % of it above half the Nyquist rate"
        measures.append([f"noise in soft tissue, {kind}", f"{v['HU']:.1f} HU, {share}"])
    for how, v in r.get("DSC across", {}).items():
        measures.append([f"DSC pooled, {how}", f"{100 * v['pooled']:.0f} %"])
    across = [f"{100 * v['pooled']:.0f} % ({how})" for how, v in r.get("DSC across", {}).items()]
    words = (
        f"The last rows are the honest ones: a network trained on one kind and tested on the other has a pooled DSC of "
        f"{' and '.join(across)}."
        if across
        else "A network trained on one kind was not tested on the other."
    )
    return f"{tissues}\n\n{table(['measure', 'value'], measures)}\n\n{words}"


def faults() -> str:
    """results/faults/table.json as one table a part; a sentence where the suite has not made it."""
    path = RESULTS / "faults" / "table.json"
    if not path.exists():
        return "Not tried yet (`make test-long`, then `python -m studies.faults`)."
    content = json.loads(path.read_text())
    tables = []
    for part, rows in content["parts"].items():
        lines = [[row["fault"].removeprefix("scan: "), row["times"], row["what happened"]] for row in rows]
        if lines:
            tables.append(table([part, "tried", "what happened"], lines))
    return "\n\n".join(tables)


def trained_readings() -> str:
    """The grid `readings`, every row of it, run or not, at each scale that was run."""
    from scoat_lib import grids, report

    grid = grids.get("readings")
    results = report.load(RESULTS)
    found = report.comparing(report.tables(results, grid))
    if not found:
        return "No row of the grid was run yet."
    parts = []
    for one in found:
        rows = []
        for label, row in one.rows.iterrows():
            if not row["all patients"]:
                rows.append([label, report.NOT_RUN, "", "", ""])
                continue
            change = f"{row.difference:+.1f}" if row.difference == row.difference else "–"
            rows.append([label, f"{row.DSC:.1f}", change, f"{row['DSC, pooled']:.1f}", row.seeds])
        head = ["reading", "DSC, primary", "against the default", "DSC, pooled", "seeds"]
        parts.append(f"{one.scale}; folds {one.rows.folds.dropna().iloc[0]}:\n\n{table(head, rows)}\n\n{_seeds(one, results)}")
    return "\n\n".join(parts)


def _seeds(table, results: list[dict]) -> str:
    """How far two runs of a grid's reference lie apart at a table's scale when nothing but the seed differs."""
    from scoat_lib import findings, report

    grid = table.grid
    same = [r for base, data, group in report.scales(results, grid) if (base, data) == (table.base, table.data) for r in group]
    return findings.comparisons.seeds([r for r in same if r["row"] == grid.reference])


def clone() -> str:
    """The commands that bring the download's script, and with it the scans, to a machine that has the package alone."""
    url, branch = repository()
    fetch = f"    ![ -d book ] || git clone -q --depth 1 --branch {branch} {url} book\n"
    return fetch + "    !python book/data/download.py --output /content/ct"


def binder() -> str:
    """A link that opens the book's notebooks on Binder."""
    url, branch = repository()
    return f"[Binder](https://mybinder.org/v2/gh/{url.removeprefix('https://github.com/')}/{branch}?urlpath=lab/tree/book)"


def minutes() -> str:
    """The shortest and the longest run of results/ at the protocol's recipe."""
    from scoat_lib import report

    found = [r["provenance"]["seconds"] / 60 for r in report.alike(report.load(RESULTS))]
    return f"{min(found):.0f} to {max(found):.0f} minutes, by network and load" if found else "not run yet"


def keep(folder: Path, name: str, content: bytes) -> str:
    """Put a file beside the pages; the markdown of a link to it."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(content)
    return f"{{download}}`{name} <{folder.name}/{name}>`"


def table_files(folder: Path) -> str:
    """Every grid's fullest table of two rows or more as CSV and as LaTeX, with links; a sentence where there is none."""
    from scoat_lib import grids, report

    results, rows = report.load(RESULTS), []
    for name in grids.GRIDS:
        for one in report.comparing(report.tables(results, grids.get(name)))[:1]:
            if (one.rows["all patients"] > 0).sum() < 2:
                continue  # a row alone compares nothing
            csv = keep(folder, f"{name}.csv", one.rows.to_csv().encode())
            tex = keep(folder, f"{name}.tex", (report.as_latex(one) + "\n").encode())
            done = one.rows[one.rows["all patients"] > 0]
            folds = sum(len(str(text).split(",")) for text in done.folds)
            run = f"{len(done)} of {len(one.grid.rows)} rows, {folds} of {len(one.grid.rows) * one.grid.folds} folds of them"
            rows.append([one.grid.title, one.scale, run, csv, tex])
    return (
        table(["table", "scale", "what was run", "CSV", "LaTeX"], rows) if rows else "No table has two rows that were run yet."
    )


def run_files(folder: Path) -> str:
    """All of results/ in one archive, the same bytes for the same files, with a link."""
    files, buffer = [path for path in sorted(RESULTS.rglob("*")) if path.suffix in (".json", ".md")], io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in files:
            archive.writestr(zipfile.ZipInfo(f"results/{path.relative_to(RESULTS).as_posix()}"), path.read_bytes())
    link = keep(folder, "results.zip", buffer.getvalue())
    return (
        f"{link}, {len(files)} files, {len(buffer.getvalue()) / 1e6:.1f} MB: [the protocol](protocol) (`PROTOCOL.md`), an "
        "index (`INDEX.md`), one JSON file a run, and what was measured on finished runs in folders of their own."
    )


def weight_files(folder: Path) -> str:
    """The shipped weights and their model card, with links."""
    shipped = ROOT / "scoat_lib" / "shipped"
    links = [keep(folder, path.name, path.read_bytes()) for path in sorted(shipped.glob("*.safetensors"))]
    card = keep(folder, "model-card.txt", (shipped / "README.md").read_bytes())
    read = f"Read [the model card](model-card) first, which is here as a file too: {card}. No medical device."
    return f"{', '.join(links)}: what `scoat segment` uses. {read}"


def api() -> str:
    """book/api.md: every public name of the package with its signature and docstring, room by room."""
    package = ROOT / "scoat_lib"
    rooms = (
        "files nifti series scan upright foreign dicom record anatomy trees phantom cohort slices blocks attention networks "
        "losses metrics weights inference lungs segmentation overview external training grids experiments engine rule report "
        "claims words findings plots viewer drawings"
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


def repository() -> tuple[str, str]:
    """The repository's address and branch, from the one place where they stand: _config.yml."""
    config = yaml.safe_load((ROOT / "_config.yml").read_text())["repository"]
    return config["url"], config["branch"]


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
