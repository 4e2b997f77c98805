"""What is measured, for the markers of pages: findings, tables, times, files to download. Made at each build, never written."""

from __future__ import annotations

import base64
import hashlib
import inspect
import io
import json
import os
import re
import shutil
import tempfile
import zipfile
from pathlib import Path

import costs
import front
import scans
import yaml

from scoat_lib.files import PART, write_whole

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "results"


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


def repository() -> tuple[str, str]:
    """The repository's address and branch, from the one place where they stand: _config.yml."""
    config = yaml.safe_load((ROOT / "_config.yml").read_text())["repository"]
    return config["url"], config["branch"]


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
