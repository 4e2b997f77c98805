"""The chapters: they run, their outputs hold, their exercises can be failed and passed, a reader finds what is promised."""

import ast
import base64
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import matplotlib
import nbformat
import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
BOOK = ROOT / "book"
sys.path.insert(0, str(BOOK))
import build  # noqa: E402
import parts  # noqa: E402
import stored  # noqa: E402

from scoat_lib import exercises, findings, grids  # noqa: E402
from scoat_lib.training import Recipe  # noqa: E402

CHAPTERS = build.chapters()
IDS = [p.stem for p in CHAPTERS]
NOTEBOOKS = {p.stem: nbformat.read(p, 4) for p in CHAPTERS}


def code_cells(notebook, tag=None):
    cells = [c for c in notebook.cells if c.cell_type == "code"]
    return [c for c in cells if tag in c.metadata.get("tags", [])] if tag else cells


def prose(notebook):
    return "\n".join(c.source for c in notebook.cells if c.cell_type == "markdown")


def has_picture(cell):
    shown = [o.get("data", {}) for o in cell.outputs]
    return any("image/png" in data or "<svg" in data.get("text/html", "") for data in shown)


@pytest.mark.parametrize("coloured", [0, 1], ids=["grey noise", "a map's colours"])
def test_a_picture_made_light_keeps_its_thin_red_line(coloured):
    """Noise takes every colour of a small palette, unless what is vivid, or an outline, has its own."""
    noise = np.random.default_rng(0).integers(0, 256, (900, 900), np.uint8)
    picture = (255 * matplotlib.colormaps["cividis" if coloured else "gray"](noise)[..., :3]).round().astype(np.uint8)
    if coloured:  # half in grey, as where a map lies on a slice
        picture[:, ::2] = noise[:, ::2, None]
    picture[450, 100:800] = TRUTH = (255, 59, 48)
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "PNG")
    output = {"data": {"image/png": base64.b64encode(stream.getvalue()).decode()}}
    before = len(output["data"]["image/png"])
    stored.lighten(output)
    png = output["data"]["image/png"]
    assert len(png) < before / 2
    line = np.asarray(Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB"))[450, 100:800].astype(int)
    assert np.abs(line - TRUTH).max() < 30


def test_every_notebook_of_the_folder_is_in_the_table_of_contents():
    assert {p.name for p in BOOK.glob("*.ipynb")} == {p.name for p in CHAPTERS}
    toc = (ROOT / "_toc.yml").read_text()
    for page in BOOK.glob("*.md"):
        assert f"book/{page.stem}" in toc


@pytest.mark.parametrize("name", IDS)
def test_a_chapter_has_its_parts(name):
    notebook = NOTEBOOKS[name]
    assert len(code_cells(notebook, "parameters")) == 1
    assert 'scale = "quick"' in code_cells(notebook, "parameters")[0].source
    assert len(code_cells(notebook, build.BOOTSTRAP)) == 1
    text = prose(notebook)
    for part in ("After this chapter you can", "Predict first", "## Exercises", "## What to read next", "The paper · section"):
        assert part in text, f"{name} has no {part!r}"
    assert text.count("{exercise-start}") >= 3
    moves = r"viewer\.(stack|ct|threshold|epochs|two_masks|spatial_attention)\("
    assert any(re.search(moves, c.source) for c in code_cells(notebook)), f"{name} has no widget"


@pytest.mark.parametrize("name", IDS)
def test_a_misspelt_scale_is_refused_before_anything_runs(name):
    """The cells from the parameters to the check alone: what a reader runs who typed `scale = "reel"`."""
    cells = code_cells(NOTEBOOKS[name])
    stop = next(n for n, cell in enumerate(cells) if "check_scale(scale)" in cell.source)
    assert stop <= 3
    lines = cells[stop].source.split("check_scale(scale)")[0].splitlines()
    imports = "\n".join(line for line in lines if not line.startswith(("plt.", "_ =")))
    place = {"scale": "reel", "data": ""}
    with pytest.raises(ValueError, match="scale is 'reel'; it must be one of quick, real, paper"):
        exec(imports + "\nfrom scoat_lib.exercises import check_scale\ncheck_scale(scale)", place)


def test_the_builders_scales_are_the_chapters():
    call = [sys.executable, str(BOOK / "build.py"), "--scale", "reel"]
    words = subprocess.run(call, capture_output=True, text=True).stderr
    assert all(scale in words for scale in exercises.SCALES)


@pytest.mark.parametrize("name", IDS)
def test_a_chapter_opens_with_a_picture(name):
    headings = 0
    for cell in NOTEBOOKS[name].cells:
        headings += len(re.findall("^## ", cell.source, re.M)) if cell.cell_type == "markdown" else 0
        if cell.cell_type == "code" and (has_picture(cell) or "viewer.stack" in cell.source):
            break
    assert headings <= 1, f"{name}: no picture before its second section"


def test_no_label_stands_twice():
    """Sphinx warns of it, and then no page is made."""
    where: dict[str, set[str]] = {}
    for name, notebook in NOTEBOOKS.items():
        for number, cell in enumerate(notebook.cells):
            labels = re.findall(r'"name": "([^"]+)"', json.dumps(cell.metadata))
            if cell.cell_type == "markdown":
                labels += re.findall(r"^(?::(?:name|label): |\()([\w-]+)(?:\)=)?$", cell.source, re.M)
            for label in labels:
                where.setdefault(label, set()).add(f"{name}, cell {number}")
    assert not {label: places for label, places in where.items() if len(places) > 1}


@pytest.mark.parametrize("name", IDS)
def test_no_viewer_has_the_id_of_a_heading(name):
    """Headings become ids; a viewer with the same one starts in the heading's section, above its words."""
    text = prose(NOTEBOOKS[name])
    headings = {re.sub(r"[^a-z0-9]+", "-", h.lower()).strip("-") for h in re.findall(r"^#+ (.+)$", text, re.M)}
    starts = r'viewer\.(?:ct|threshold|epochs|two_masks|spatial_attention)\([^"]*"([\w-]+)"'
    viewers = {n for cell in code_cells(NOTEBOOKS[name]) for n in re.findall(starts, cell.source)}
    assert not headings & viewers


@pytest.mark.parametrize("name", IDS)
def test_no_output_carries_what_changes_from_run_to_run(name):
    """pandas gives a styled table random names and prints its address; nbval would compare both."""
    for cell in code_cells(NOTEBOOKS[name]):
        for output in cell.outputs:
            data = output.get("data", {})
            assert not re.search(r'id="T_[0-9a-f]{5}', data.get("text/html", "")), cell.source
            text = output.get("text", "") or data.get("text/plain", "")
            assert not re.search(r"\bat 0x[0-9a-f]+", text), cell.source


@pytest.mark.parametrize("name", IDS)
def test_cells_fit_a_page(name):
    for cell in code_cells(NOTEBOOKS[name]):
        assert cell.source.count("\n") < 25
        for output in cell.outputs:
            assert output.output_type != "error"
            text = output.get("text", "") or output.get("data", {}).get("text/plain", "")
            assert text.count("\n") <= 60


@pytest.mark.parametrize("name", IDS)
def test_outputs_name_no_machine(name):
    pattern = re.compile(r"(?<![\w.])/(?:work|tmp|root|home|var|opt|Users)/[\w./-]+")
    for cell in code_cells(NOTEBOOKS[name]):
        for output in cell.outputs:
            data = output.get("data", {})
            text = output.get("text", "") + data.get("text/plain", "") + data.get("text/html", "")
            assert not pattern.search(text), pattern.search(text)
            assert output.get("name") != "stderr", f"{name} shows a warning: {text[:200]}"
    assert "papermill" not in NOTEBOOKS[name].metadata


@pytest.mark.parametrize("name", IDS)
def test_every_picture_has_its_own_alternative_text(name):
    texts = []
    for cell in code_cells(NOTEBOOKS[name]):
        if has_picture(cell) or any("widget-view" in k for o in cell.outputs for k in o.get("data", {})):
            alt = cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")
            assert len(alt) > 40, f"{name}: a picture without alternative text: {cell.source[:80]}"
            texts.append(alt)
    assert len(set(texts)) == len(texts)
    for line in re.findall(r"!\[([^\]]*)\]", prose(NOTEBOOKS[name])):
        assert line


@pytest.mark.parametrize("name", IDS)
def test_badges_and_bootstraps_name_the_one_address(name):
    notebook = NOTEBOOKS[name]
    badges = [c for c in notebook.cells if build.BADGE in c.metadata.get("tags", [])]
    assert [c.source for c in badges] == [build.badge(f"{name}.ipynb")]
    assert code_cells(notebook, build.BOOTSTRAP)[0].source == build.bootstrap()
    assert (BOOK / "_static" / "colab.svg").exists()


def test_the_package_leaves_colabs_torch_and_numpy_alone():
    import tomllib

    for need in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]:
        assert re.fullmatch(r"[\w-]+>=[\d.]+", need), f"{need}: only lower bounds, or Colab's own would be replaced"
    assert "only-if-needed" in build.bootstrap()


# exercises


def answers(tag):
    found = []
    for name, notebook in NOTEBOOKS.items():
        for cell in code_cells(notebook, tag):
            exercise = re.search(r'check\("(\w+)"', cell.source).group(1)
            found.append(pytest.param(notebook, cell, exercise, id=f"{name}:{exercise}"))
    return found


def answer_of(notebook, cell, exercise):
    """Run the chapter's imports and the cell's definitions, not its check; return the function."""
    space: dict = {}
    for other in code_cells(notebook):
        for node in ast.parse(re.sub(r"^\s*%.*$", "    pass", other.source, flags=re.M)).body:
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                exec(compile(ast.Module([node], []), "imports", "exec"), space)
    body = [n for n in ast.parse(cell.source).body if not isinstance(n, ast.Expr)]
    exec(compile(ast.Module(body, []), "cell", "exec"), space)
    return space[exercise]


@pytest.mark.parametrize(("notebook", "cell", "exercise"), answers("exercise"))
def test_stubs_fail(notebook, cell, exercise):
    with pytest.raises((exercises.Wrong, TypeError, ValueError)):
        exercises.verify(exercise, answer_of(notebook, cell, exercise))
    assert "not yet" in cell.outputs[0].text


@pytest.mark.parametrize(("notebook", "cell", "exercise"), answers("solution"))
def test_solutions_pass(notebook, cell, exercise):
    exercises.verify(exercise, answer_of(notebook, cell, exercise))
    assert cell.outputs[0].text.strip() == "passed"


def test_every_hidden_test_belongs_to_one_exercise():
    used = [p.values[2] for p in answers("exercise")]
    projects = re.findall(r'^check\("(\w+)"', (BOOK / "projects.md").read_text(), flags=re.M)
    assert sorted([*used, *projects]) == sorted(exercises.names())
    assert [p.values[2] for p in answers("solution")] == used


def test_solutions_fold_and_belong_to_exercises():
    for name, notebook in NOTEBOOKS.items():
        text = prose(notebook)
        labels = re.findall(r":label: (\S+)", text)
        assert re.findall(r"\{solution-start\} (\S+)", text) == labels, name
        assert text.count(":class: dropdown") == len(labels)


# references, the map, the package's page


def test_the_page_of_the_package_is_what_its_docstrings_say():
    assert (BOOK / "api.md").read_text() == build.api(), "run python book/build.py --api"


@pytest.fixture
def filled(tmp_path):
    """The pages with markers as a build fills them."""
    for name in ("reproducibility.md", "ambiguities.md"):
        (tmp_path / name).write_text((BOOK / name).read_text())
    (tmp_path / "seconds.json").write_text('{"01-lungs-in-ct": 3.4}')
    parts.fill_in(tmp_path, tmp_path)
    pages = {name: (tmp_path / name).read_text() for name in ("reproducibility.md", "ambiguities.md")}
    assert not any("<!--" in text for text in pages.values())
    return pages


def test_the_page_on_reproducibility_lists_every_result(filled):
    text = filled["reproducibility.md"]
    assert "| 01-lungs-in-ct | 3 |" in text
    runs = [p.name for p in (ROOT / "results").glob("*.json") if "recipe" in json.loads(p.read_text())]
    assert sorted(re.findall(r"\| `([0-9a-f]{20}\.json)` \|", text)) == sorted(runs)
    measured = ROOT / "results" / "phantom-realism.json"
    if not measured.exists():
        assert "studies.phantom_realism" in text
        return
    near = json.loads(measured.read_text())
    for name, tissue in near["HU medians"].items():
        assert f"| {name} | {tissue['median']:.0f} |" in text
    from scoat_lib import phantom

    assert near["phantom"]["version"] == phantom.VERSION, "measure the phantoms anew"


def test_the_register_shows_what_every_reading_does_or_that_it_was_not_run(filled):
    text = filled["ambiguities.md"]
    path = ROOT / "results" / "readings" / "evaluation-w8.json"
    if path.exists():
        for name, value in findings.readers.averages(json.loads(path.read_text())).items():
            assert f"| {name} | {value:.1f} |" in text
        assert text.count("| holds-centre |") == 4
    for label in grids.get("readings").rows:
        assert re.search(rf"^\| {re.escape(label)} \| (not run|[\d.]+) \|", text, flags=re.M) or "No row of the grid" in text


def test_the_plan_for_teachers_names_exercises_that_exist():
    text = (BOOK / "teachers.md").read_text()
    rows = [line for line in text.splitlines() if re.match(r"\| \d+ \|", line)]
    assert len(rows) == 12
    named = {n for row in rows for n in re.findall(r"`(\w+)`", row)}
    assert named <= set(exercises.names()), named - set(exercises.names())


def test_cited_works_exist():
    keys = set(re.findall(r"^@\w+\{(\w+),", (BOOK / "references.bib").read_text(), flags=re.M))
    pages = [prose(n) for n in NOTEBOOKS.values()] + [p.read_text() for p in BOOK.glob("*.md")]
    cited = {k.strip() for page in pages for group in re.findall(r"\{cite(?::t)?\}`([^`]+)`", page) for k in group.split(",")}
    assert cited <= keys, cited - keys
    assert keys <= cited, f"never cited: {keys - cited}"


def test_the_map_points_at_tests_that_exist():
    text = (BOOK / "map.md").read_text()
    for name in re.findall(r"`(test_\w+\.py)", text):
        assert (ROOT / "tests" / name).exists(), name
    source = "\n".join(p.read_text() for p in (ROOT / "tests").glob("test_*.py"))
    for name in re.findall(r"::(test_\w+)`", text):
        assert f"def {name}(" in source, name


def test_the_register_names_options_that_exist():
    from scoat_lib.networks.scoatnet import SCOATNet

    known = set(SCOATNet.options) | set(Recipe().to_dict()) | {"pixels", "over", "smooth", "va_factor", "connectivity", "per"}
    known |= {"found", "empty", "threshold"}
    for row in (BOOK / "ambiguities.md").read_text().splitlines():
        cells = row.split(" | ")
        if len(cells) == 4 and not cells[0].startswith(("| question", "| ---")):
            for option in re.findall(r"`([\w-]+)`", cells[2]):
                assert option in known, option


def test_the_register_counts_are_the_packages():
    import torch

    from scoat_lib.networks import create, parameters

    def millions(name, **options):
        with torch.device("meta"):
            return parameters(create(name, **options)) / 1e6

    text = (BOOK / "ambiguities.md").read_text()
    base = millions("scoatnet")
    up = [millions("scoatnet", up=u) for u in ("bilinear-1x1", "bilinear-1x1-bare", "bilinear")]
    assert ", ".join(f"{v:.2f} M" for v in up) in text
    assert f"{base:.2f} M, {millions('scoatnet', extraction='1x1'):.2f} M" in text
    for more in ({"attention_up": "raw"}, {"skip_limit": "j-1"}):
        assert f"{base:.2f} M, {millions('scoatnet', **more):.2f} M" in text
    blocks = [millions("unetpp"), millions("unetpp", shortcut_norm=False), millions("unetpp", block="vgg")]
    assert ", ".join(f"{v:.2f} M" for v in blocks) in text
    assert f"{millions('scoatnet', bias=True) - base:.3f} M more" in text
    for inner in ("1", "w/8", "2w"):
        assert abs(millions("scoatnet", attention_channels=inner) / base - 1) < 0.03
    assert round(1e6 * (base - millions("scoatnet", heads="shared"))) == 195


# they run


def test_papermill_runs_every_chapter_and_their_site_builds_without_a_warning(tmp_path):
    build.run_all(tmp_path / "executed", {"scale": "quick"}, jobs=2, threads=1)
    page = build.build_site(tmp_path / "executed", tmp_path / "site")
    assert page.exists()
    html = (page.parent / "book" / "02-cohort-and-folds.html").read_text()
    assert "application/vnd.jupyter.widget-state+json" in html
    assert "Figure size" not in html


def test_stored_outputs_hold(tmp_path):
    """pytest --nbval: text strictly, pictures and what training makes (tag nbval-ignore-output) by running only."""
    halves = [CHAPTERS[0::2], CHAPTERS[1::2]]  # two at a time, one torch thread each
    words = [sys.executable, "-m", "pytest", "--nbval", "-q", "-p", "no:cacheprovider", "--override-ini", "addopts="]
    environment = {**__import__("os").environ, "OMP_NUM_THREADS": "1"}
    running = [
        subprocess.Popen(
            [*words, *map(str, half)], cwd=BOOK, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
        )
        for half in halves
    ]
    for process in running:
        output, _ = process.communicate(timeout=1500)
        assert process.returncode == 0, output[-4000:]


def test_bad_calls_of_the_builder_are_refused(tmp_path):
    def call(*words):
        return subprocess.run([sys.executable, str(BOOK / "build.py"), *words], capture_output=True, text=True)

    assert "needs --data" in call("--scale", "real").stderr
    assert "no such folder" in call("--scale", "real", "--data", str(tmp_path / "x")).stderr
    assert "no picture of a real scan" in call("--scale", "real", "--data", str(tmp_path), "--in-place").stderr


def test_a_new_chapter_from_the_template_has_every_part(tmp_path, monkeypatch):
    """`make new-chapter`, run as a build runs it, through the tests above."""
    import shutil

    for name in ("template", "18-beyond.ipynb"):
        (shutil.copytree if name == "template" else shutil.copy)(BOOK / name, tmp_path / name)
    monkeypatch.setattr(build, "BOOK", tmp_path)
    path = build.new_chapter("Lobes & vessels")
    assert path.name == "19-lobes-vessels.ipynb"
    assert nbformat.read(path, 4).cells[0].source.startswith("# 19 · Lobes & vessels\n")
    build.run(path, tmp_path / "executed.ipynb", {"scale": "quick"}, 1)
    stored.clean(path, tmp_path / "executed.ipynb")
    name, notebook = path.stem, nbformat.read(path, 4)
    monkeypatch.setitem(NOTEBOOKS, name, notebook)
    test_a_chapter_has_its_parts(name)
    test_a_misspelt_scale_is_refused_before_anything_runs(name)
    test_a_chapter_opens_with_a_picture(name)
    test_no_label_stands_twice()
    test_no_output_carries_what_changes_from_run_to_run(name)
    test_cells_fit_a_page(name)
    test_outputs_name_no_machine(name)
    test_every_picture_has_its_own_alternative_text(name)
    test_badges_and_bootstraps_name_the_one_address(name)
    (stub,), (solution,) = code_cells(notebook, "exercise"), code_cells(notebook, "solution")
    test_stubs_fail(notebook, stub, "dsc_from")
    test_solutions_pass(notebook, solution, "dsc_from")
