"""What the site serves for others: pinned, checked, cached, and a CDN's copies when it cannot be had."""

import base64
import hashlib
import io
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import nbformat
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "book"))
import book_pages
import build
import vendor


@pytest.fixture
def index(tmp_path, monkeypatch):
    """An index in a folder with one package, asked for by address; its checksum is pinned."""
    file = tmp_path / "index" / "requirejs" / "-" / "requirejs-2.3.8.tgz"
    file.parent.mkdir(parents=True)
    with tarfile.open(file, "w:gz") as tar:
        for name in ("package/require.js", "package/other.js", "package/../../escaped"):
            member = tarfile.TarInfo(name)
            member.size = 2
            tar.addfile(member, io.BytesIO(b"//"))
    checksum = "sha512-" + base64.b64encode(hashlib.sha512(file.read_bytes()).digest()).decode()
    monkeypatch.setitem(vendor.PACKAGES, "requirejs", ("2.3.8", checksum, ("require.js",)))
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", (tmp_path / "index").as_uri())
    monkeypatch.setattr(vendor.shutil, "which", lambda _: None)
    return file


def test_a_package_is_fetched_once_and_only_what_is_wanted(index, tmp_path):
    folder = vendor.fetch("requirejs", tmp_path / "cache")
    assert [p.name for p in folder.rglob("*")] == ["require.js"]
    index.unlink()
    assert vendor.fetch("requirejs", tmp_path / "cache") == folder
    assert not (tmp_path / "escaped").exists()


def test_a_changed_archive_is_refused(index, tmp_path):
    index.write_bytes(index.read_bytes() + b" ")
    with pytest.raises(vendor.Unavailable, match="checksum"):
        vendor.fetch("requirejs", tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("requirejs*"))


def test_without_the_index_the_build_says_so_in_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", (tmp_path / "nowhere").as_uri())
    monkeypatch.setattr(vendor.shutil, "which", lambda _: None)
    assert not vendor.serve_from(tmp_path / "_served" / "_vendor", tmp_path / "cache")
    said = capsys.readouterr().out
    assert said.count("\n") == 1
    assert vendor.CDN in said


@pytest.mark.parametrize("served", [True, False])
def test_addresses_of_the_scripts(tmp_path, served):
    class Config:
        html_extra_path = ()

    class App:
        srcdir = tmp_path

    if served:
        path = tmp_path / book_pages.SERVED / "_vendor" / vendor.MATHJAX
        path.parent.mkdir(parents=True)
        path.touch()
    config = Config()
    book_pages.choose_scripts(App(), config)
    for address in (config.mathjax_path, *config.nb_ipywidgets_js):
        assert address.startswith("../_vendor/" if served else vendor.CDN)
    assert vendor.cdn("@jupyter-widgets/html-manager/dist/embed-amd.js") == (
        "https://cdn.jsdelivr.net/npm/@jupyter-widgets/html-manager@1.0.6/dist/embed-amd.js"
    )


@pytest.mark.parametrize("served", [False, True])
def test_a_site_of_two_pages_asks_a_cdn_only_where_nothing_could_be_fetched(tmp_path, served):
    """A real build with the book's own configuration: equations, and a widget that works without a kernel."""
    source, output = tmp_path / "source", tmp_path / "output"
    for name in build.INCLUDED:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(build.ROOT / name, source / name)
    shutil.copytree(build.BOOK / "_static", source / "book" / "_static")
    for name in ("notation.md", "references.bib", "book_pages.py", "vendor.py"):
        shutil.copy(build.BOOK / name, source / "book")
    chapter = nbformat.read(build.BOOK / "04-spatial-attention.ipynb", 4)
    view = "application/vnd.jupyter.widget-view+json"
    widget = next(c for c in chapter.cells if any(view in o.get("data", {}) for o in c.get("outputs", [])))
    chapter.cells = [nbformat.v4.new_markdown_cell("# A page\n\n$$x_M = \\sigma(z)$$"), widget]
    nbformat.write(chapter, source / "book" / "page.ipynb")
    (source / "_toc.yml").write_text("format: jb-book\nroot: book/notation\nchapters:\n- file: book/page\n")
    if served:
        for path in (vendor.MATHJAX, *vendor.WIDGETS):
            (source / "_served" / "_vendor" / path).parent.mkdir(parents=True, exist_ok=True)
            (source / "_served" / "_vendor" / path).touch()
    command = [str(Path(sys.executable).with_name("jupyter-book")), "build", str(source), "--path-output", str(output), "-q"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    page = (output / "_build" / "html" / "book" / "page.html").read_text()
    scripts = [s for s in re.findall(r'<script[^>]*src="([^"]+)"', page) if "mathjax" in s or "requirejs" in s or "embed" in s]
    assert len(scripts) == 3
    for script in scripts:
        if served:
            assert (output / "_build" / "html" / "book" / script.partition("?")[0]).exists(), script
        else:
            assert script.startswith(vendor.CDN), script
    outside = set(re.findall(r'(?:src|href)="(https?://[^/"]+)', page)) - {
        "https://github.com",
        "https://colab.research.google.com",
    }
    assert bool(outside & {vendor.CDN.rstrip("/").removesuffix("/npm")}) != served


def test_pictures_carry_their_size_and_wait(tmp_path):
    from PIL import Image

    Image.new("L", (30, 20)).save(tmp_path / "a.png")
    body = '<p><img alt="one" src="../_images/a.png" /><img alt="two" src="../_images/a.png" /></p>'
    first, second = book_pages.lazy_pictures(body, {"a.png": tmp_path / "a.png"}).split("/>")[:2]
    assert 'width="30" height="20"' in first
    assert "lazy" not in first
    assert 'loading="lazy"' in second
