"""The builder: what is unchanged is neither run nor built again, and what is shown is never older than what is written."""

import base64
import io
import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "book"))
import build  # noqa: E402
import serve  # noqa: E402


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
    monkeypatch.setattr(build, "ROOT", house)
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


@pytest.mark.parametrize("cut_off", [True, False], ids=["killed", "the clock set back"])
def test_a_site_cut_off_or_from_the_future_is_built_from_nothing(cut_off, tmp_path, monkeypatch, tried):
    """Sphinx takes a page that is newer than its source for whole."""
    for name in ("chapters", "fill_in", "replace_changed"):
        monkeypatch.setattr(build, name, lambda *_: [])
    monkeypatch.setattr(build.vendor, "serve_from", lambda _: None)
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
    buffer = io.BytesIO()
    Image.new("L", (30, 20)).save(buffer, "PNG")
    source = f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    models = {
        "box": {"state": {"children": ["IPY_MODEL_html"]}},
        "html": {"state": {"value": f'<figure><img alt="r = 16" src="{source}"></figure>'}},
    }
    view = {"output_type": "display_data", "metadata": {}, "data": {build.WIDGET_VIEW: {"model_id": "box"}}}
    page = json.loads(notebook(outputs=[view]))
    page["cells"][1]["metadata"]["mystnb"] = {"image": {"alt": 'Bars of six nodes, "X(1,3)" highest.'}}
    page["metadata"]["widgets"] = {build.WIDGET_STATE: {"state": models}}
    page = json.loads(build.with_texts(json.dumps(page)))
    value = page["metadata"]["widgets"][build.WIDGET_STATE]["state"]["html"]["state"]["value"]
    assert 'alt="Bars of six nodes, &quot;X(1,3)&quot; highest: r = 16"' in value
    assert 'width="30" height="20"' in value


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
