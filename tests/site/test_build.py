"""The builder: what is unchanged is neither run nor built again, and what is shown is never older than what is written."""

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "book"))
import build  # noqa: E402
import parts  # noqa: E402
import serve  # noqa: E402
import stored  # noqa: E402


def notebook(code="1 + 1", prose="words", outputs=()):
    cells = [
        {"cell_type": "markdown", "metadata": {}, "source": prose},
        {"cell_type": "code", "metadata": {}, "source": code, "outputs": list(outputs), "execution_count": None},
    ]
    return json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """One chapter in a folder, and the list of its runs, each of which prints its number."""
    path = tmp_path / "01-one.ipynb"
    path.write_text(notebook())
    done = []

    def run(source, target, parameters, threads):
        done.append(parameters)
        ran = json.loads(source.read_text())
        ran["cells"][1]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": f"run {len(done)}"}]
        target.write_text(json.dumps(ran))
        return 3.0

    monkeypatch.setattr(build, "run", run)
    monkeypatch.setattr(build, "chapters", lambda: [path])
    return path, done


def run_all(tmp_path, **parameters):
    build.run_all(tmp_path / "executed", {"scale": "quick"} | parameters, jobs=1, threads=1)
    return (tmp_path / "executed" / "01-one.ipynb").read_text()


def test_an_unchanged_chapter_is_not_run_again_and_keeps_its_outputs_and_its_seconds(runs, tmp_path, capsys):
    path, done = runs
    run_all(tmp_path)
    path.write_text(notebook(prose="better words"))
    text = run_all(tmp_path)
    assert len(done) == 1
    assert "better words" in text
    assert "run 1" in text
    assert "unchanged" in capsys.readouterr().out
    assert json.loads((tmp_path / "executed" / "seconds.json").read_text()) == {"01-one": 3.0}


def test_code_parameters_package_and_scans_make_a_chapter_run_again(runs, tmp_path, monkeypatch):
    path, done = runs
    run_all(tmp_path)
    path.write_text(notebook(code="2 + 2"))
    assert "run 2" in run_all(tmp_path)
    scans = tmp_path / "scans"
    scans.mkdir()
    run_all(tmp_path, scale="real", data=str(scans))
    (scans / "one.nii.gz").write_text("a scan")
    run_all(tmp_path, scale="real", data=str(scans))
    assert len(done) == 4
    house = tmp_path / "house"
    (house / "scoat_lib").mkdir(parents=True)
    (house / "requirements.txt").write_text("")
    monkeypatch.setattr(parts, "ROOT", house)
    run_all(tmp_path)
    (house / "scoat_lib" / "losses.py").write_text("changed = True")
    run_all(tmp_path)
    assert len(done) == 6


def test_a_chapter_killed_while_it_runs_anew_does_not_pass_for_the_old(runs, tmp_path, monkeypatch):
    path, _ = runs
    run_all(tmp_path)

    def killed(source, target, parameters, threads):
        target.write_text(notebook(code="2 + 2"))
        raise KeyboardInterrupt

    path.write_text(notebook(code="2 + 2"))
    as_before = build.run
    monkeypatch.setattr(build, "run", killed)
    with pytest.raises(KeyboardInterrupt):
        run_all(tmp_path)
    monkeypatch.setattr(build, "run", as_before)
    path.write_text(notebook())  # back to the code whose key was on record
    assert "run 2" in run_all(tmp_path)


def test_the_state_of_widgets_that_no_cell_shows_is_dropped():
    state = {stored.WIDGET_STATE: {"state": {"a1": {"model_name": "IntSliderModel", "state": {}}}}}
    text = json.loads(notebook()) | {"metadata": {"widgets": state}}
    assert "widgets" not in json.loads(stored.normal(json.dumps(text), "one"))["metadata"]
    view = {stored.WIDGET_VIEW: {"model_id": "a1"}}
    text["cells"][1]["outputs"] = [{"output_type": "display_data", "metadata": {}, "data": view}]
    kept = json.loads(stored.normal(json.dumps(text), "one"))["metadata"]["widgets"]
    assert len(kept[stored.WIDGET_STATE]["state"]) == 1


@pytest.mark.parametrize("cut_off", [True, False], ids=["killed", "the clock set back"])
def test_a_site_cut_off_or_from_the_future_is_built_from_nothing(cut_off, tmp_path, monkeypatch, tried):
    """Sphinx takes a page that is newer than its source for whole."""
    for name in ("chapters", "fill_in", "replace_changed"):
        monkeypatch.setattr(build, name, lambda *_: [])
    monkeypatch.setattr(build.vendor, "serve_from", lambda _: None)
    monkeypatch.setattr(build, "key_of", lambda _: f"{time.perf_counter_ns()}")  # something has changed each time
    monkeypatch.setattr(build, "published", lambda: "")
    monkeypatch.setattr(build, "finish", lambda _: None)
    page = tmp_path / "_build" / "html" / "page.html"
    page.parent.mkdir(parents=True)
    kept = []

    def jupyter_book(*_, **__):
        kept.append(page.exists())
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text("<html>")
        if cut_off and len(kept) == 1:
            raise KeyboardInterrupt
        return subprocess.CompletedProcess([], 0)

    monkeypatch.setattr(build.subprocess, "run", jupyter_book)
    if cut_off:
        with pytest.raises(KeyboardInterrupt):
            build.build_site(tmp_path, tmp_path)
    else:
        build.build_site(tmp_path, tmp_path)
        ahead = page.stat().st_mtime + 3600
        os.utime(page, (ahead, ahead))
    build.build_site(tmp_path, tmp_path)
    build.build_site(tmp_path, tmp_path)
    assert kept == [False, False, True]
    tried(
        "the site's builder killed" if cut_off else "the clock set back between two builds of the site",
        "the site is built from nothing",
    )


def test_a_site_of_the_same_parts_is_not_built_again(tmp_path, monkeypatch):
    for name in ("chapters", "fill_in", "finish"):
        monkeypatch.setattr(build, name, lambda *_: [])
    monkeypatch.setattr(build.vendor, "serve_from", lambda _: None)
    book, builds = tmp_path / "book", []
    book.mkdir()
    (book / "page.md").write_text("one")
    monkeypatch.setattr(build, "BOOK", book)

    def jupyter_book(*_, **__):
        builds.append((tmp_path / "out" / "source" / "book" / "page.md").read_text())
        (tmp_path / "out" / "_build" / "html").mkdir(parents=True, exist_ok=True)
        (tmp_path / "out" / "_build" / "html" / "index.html").write_text(builds[-1])
        return subprocess.CompletedProcess([], 0)

    monkeypatch.setattr(build, "published", lambda: "")
    monkeypatch.setattr(build.subprocess, "run", jupyter_book)
    for text in ("one", "one", "two", "two"):
        (book / "page.md").write_text(text)
        assert build.build_site(tmp_path, tmp_path / "out").read_text() == text
    assert builds == ["one", "two"]
    monkeypatch.setattr(build, "published", lambda: "https://example.org/book/")
    build.build_site(tmp_path, tmp_path / "out")
    assert len(builds) == 3


def test_parts_of_pages_are_kept_with_their_files_until_the_results_change(tmp_path, monkeypatch):
    made, results = [], tmp_path / "results"
    results.mkdir()
    monkeypatch.setattr(parts, "ROOT", tmp_path / "house")
    (tmp_path / "house").mkdir()
    (tmp_path / "house" / "requirements.txt").write_text("")
    monkeypatch.setattr(parts, "RESULTS", results)

    def produce(folder):
        made.append(1)
        return parts.keep(folder, "table.csv", b"a,b")

    def page(name):
        downloads = tmp_path / name / "downloads"
        downloads.parent.mkdir()
        said = parts.part(parts.kept_parts(), "<!-- table files -->", produce, downloads)
        assert (downloads / "table.csv").read_bytes() == b"a,b"
        return said

    assert page("first") == page("second") == "{download}`table.csv <downloads/table.csv>`"
    assert len(made) == 1
    (results / "run.json").write_text("{}")
    page("third")
    assert len(made) == 2


def test_only_changed_files_get_a_new_date(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    for folder in (old, new):
        (folder / "deep").mkdir(parents=True)
        (folder / "deep" / "same").write_text("same")
        (folder / "other").write_text(folder.name)
    (old / "gone").write_text("gone")
    before = (old / "deep" / "same").stat().st_mtime_ns
    build.replace_changed(new, old)
    assert (old / "deep" / "same").stat().st_mtime_ns == before
    assert (old / "other").read_text() == "new"
    assert not (old / "gone").exists()
    assert not new.exists()


def test_pictures_of_widgets_say_what_they_show():
    models = {
        "box": {"state": {"children": ["IPY_MODEL_html"]}},
        "html": {"state": {"value": '<figure><img alt="r = 16" src="data:image/png;base64,"></figure>'}},
    }
    view = {"output_type": "display_data", "metadata": {}, "data": {stored.WIDGET_VIEW: {"model_id": "box"}}}
    page = json.loads(notebook(outputs=[view]))
    page["cells"][1]["metadata"]["mystnb"] = {"image": {"alt": 'Bars of six nodes, "X(1,3)" highest.'}}
    page["metadata"]["widgets"] = {stored.WIDGET_STATE: {"state": models}}
    page = json.loads(stored.with_texts(json.dumps(page)))
    value = page["metadata"]["widgets"][stored.WIDGET_STATE]["state"]["html"]["state"]["value"]
    assert 'alt="Bars of six nodes, &quot;X(1,3)&quot; highest: r = 16"' in value


def widget_notebook(names, counts, cells="metadata"):
    """A page with a slider linked to a picture, its widgets called `names`, its cells counted `counts`."""
    box, image, link = names
    models = {
        link: {"state": {"source": [f"IPY_MODEL_{box}", "value"], "target": [f"IPY_MODEL_{image}", "value"]}},
        box: {"state": {"children": [f"IPY_MODEL_{image}"]}},
        image: {"state": {"value": "a picture"}},
    }
    view = {"output_type": "display_data", "metadata": {}, "data": {stored.WIDGET_VIEW: {"model_id": box}}}
    page = json.loads(notebook(outputs=[view]))
    page["cells"][1]["execution_count"] = counts
    page["cells"][1]["metadata"] = {"execution": {"iopub.status.busy": f"{counts}"}}
    page["metadata"] = {"papermill": {"duration": counts}, "widgets": {stored.WIDGET_STATE: {"state": models}}}
    return json.dumps(page)


def test_two_runs_of_a_notebook_are_committed_as_the_same_bytes():
    one = stored.normal(widget_notebook(["a" * 32, "b" * 32, "c" * 32], 7), "01-one")
    two = stored.normal(widget_notebook(["f" * 32, "0" * 32, "9" * 32], 1), "01-one")
    assert one == two == stored.normal(one, "01-one")
    page = json.loads(one)
    assert page["cells"][1]["execution_count"] == 1
    models = page["metadata"]["widgets"][stored.WIDGET_STATE]["state"]
    shown = page["cells"][1]["outputs"][0]["data"][stored.WIDGET_VIEW]["model_id"]
    (image,) = models[shown]["state"]["children"]
    assert models[image.removeprefix("IPY_MODEL_")]["state"]["value"] == "a picture"
    assert shown not in json.loads(stored.normal(one, "02-two"))["metadata"]["widgets"][stored.WIDGET_STATE]["state"]


@pytest.mark.parametrize("path", [*build.chapters(), build.BOOK / "template" / "chapter.ipynb"], ids=lambda p: p.stem)
def test_committed_notebooks_are_in_the_one_form(path):
    assert path.read_text() == stored.normal(path.read_text(), path.stem), "run make normalise"


def test_a_notebook_reads_as_text(tmp_path):
    path = tmp_path / "one.ipynb"
    path.write_text(notebook(outputs=[{"output_type": "stream", "name": "stdout", "text": "2 voxels"}]))
    assert stored.as_text(path) == "--- 0 markdown\nwords\n--- 1 code\n1 + 1\n> text\n2 voxels\n"


def test_an_unknown_chapter_is_refused_with_those_there_are():
    words = [sys.executable, str(ROOT / "book" / "build.py"), "--chapter", "99"]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 2
    assert "no chapter 99: one of 01, 02" in done.stderr


def test_served_pages_reload_when_the_site_was_built_again(tmp_path):
    import functools
    import threading

    (tmp_path / "page.html").write_text("<html><body>page</body></html>")
    server = serve.Server(("127.0.0.1", 0), functools.partial(serve.Handler, directory=tmp_path))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"

    def get(name):
        return urllib.request.urlopen(f"{address}/{name}").read().decode()

    assert "location.reload" in get("page.html")
    assert get("_build_number") == "0"
    server.build_number += 1
    assert get("_build_number") == "1"
    server.shutdown()


def test_a_handout_has_every_exercise_and_no_solution(tmp_path):
    made = build.handout(tmp_path / "handout")
    assert [path.name for path in made] == [path.name for path in build.chapters()]
    for path, chapter in zip(made, build.chapters(), strict=True):
        nb, whole = nbformat.read(path, 4), nbformat.read(chapter, 4)
        nbformat.validate(nb)
        text, full = ("\n".join(c.source for c in one.cells) for one in (nb, whole))
        assert "solution-start" not in text
        assert "solution-end" not in text
        assert text.count("{exercise-start}") == full.count("{exercise-start}") > 0
        assert text.count("```") % 2 == 0, f"{path.name}: a fence without its other"
        assert not [c for c in nb.cells if "solution" in c.metadata.get("tags", []) or c.get("outputs")]
        code = [c.source for c in whole.cells if c.cell_type == "code" and "solution" not in c.metadata.get("tags", [])]
        assert [c.source for c in nb.cells if c.cell_type == "code"] == code
        written = re.findall(r"```\{solution-start\}.*?```\n(.*?)```\{solution-end\}", full, flags=re.DOTALL)
        for words in written:
            assert words.strip()[:60] not in text or not words.strip()


def test_another_folders_package_is_refused(tmp_path, monkeypatch, capsys):
    """Outputs of another checkout's package once passed for this one's."""
    monkeypatch.setattr(build.scoat_lib, "__file__", str(tmp_path / "scoat_lib" / "__init__.py"))
    monkeypatch.setattr(sys, "argv", ["build.py", "--chapter", "07"])
    monkeypatch.setattr(build, "run_all", lambda *_, **__: pytest.fail("it ran"))
    with pytest.raises(SystemExit):
        build.main()
    assert f"scoat_lib comes from {tmp_path}, not from {ROOT}" in capsys.readouterr().err
