"""What pages need from others, served by the site itself: MathJax, require.js, the widget manager; axe-core for the tests.

They come from the npm package index, in pinned versions with pinned checksums, and are kept in the user's cache folder.
Where they cannot be had, `fetch` raises Unavailable and the pages name a CDN's copies of the same versions instead.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
import urllib.request
from pathlib import Path

import pooch

# package → version, the index's own checksum of its archive, and the files of it that a page can ask for
PACKAGES = {
    "mathjax": (
        "3.2.2",
        "sha512-Bt+SSVU8eBG27zChVewOicYs7Xsdt40qm4+UpHyX7k0/O9NliPc+x77k1/FEsPsjKPZGJvtRZM1vO+geW0OhGw==",
        # glyphs are drawn, not set in a font: browsers refuse fonts from another folder to a page read from a disk
        ("es5/tex-svg.js", "es5/input/tex/extensions/", "LICENSE"),
    ),
    "requirejs": (
        "2.3.8",
        "sha512-7/cTSLOdYkNBNJcDMWf+luFvMriVm7eYxp4BcFCsAX0wF421Vyce5SXP17c+Jd5otXKGNehIonFlyQXSowL6Mw==",
        ("require.js",),
    ),
    "@jupyter-widgets/html-manager": (
        "1.0.6",
        "sha512-+Mn+Ra8wyIHrYaUpfmf9A3dsLkt/NuwzPQN8sthdxBD35VV5cOJbpmgMhNR27n/rmP3mKyEe0PWCJrtZrXTXDQ==",
        (
            "dist/embed-amd.js",
            "dist/embed.js.LICENSE.txt",
            *(f"dist/{font}.woff2" for font in ("1551f4f60c37af51121f", "d878b0a6a1144760244f", "7a3337626410ca2f4071")),
        ),
    ),
    "axe-core": (
        "4.14.1",
        "sha512-FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ==",
        ("axe.min.js",),
    ),
}
SERVED = ("mathjax", "requirejs", "@jupyter-widgets/html-manager")
MATHJAX = "mathjax/es5/tex-svg.js"
WIDGETS = ("requirejs/require.js", "@jupyter-widgets/html-manager/dist/embed-amd.js")
# the widget manager guesses where its icon fonts lie, and guesses wrong unless a CDN serves it
ICONS = re.compile(r"(?<=\.p=)`\$\{\w+\.origin\}\$\{\w+\.pathname\}`")
ICONS_HERE = '(document.documentElement.dataset.content_root||"")+"_vendor/@jupyter-widgets/html-manager/dist/"'
CDN = "https://cdn.jsdelivr.net/npm/"
INDEX = "https://registry.npmjs.org/"  # npm's own default, where neither npm nor NPM_CONFIG_REGISTRY names another


class Unavailable(RuntimeError):
    """A package cannot be had; the text says which and why."""


def cdn(path: str) -> str:
    """A CDN's address of one of the files above, in the pinned version."""
    name = next(n for n in PACKAGES if path.startswith(f"{n}/"))
    return f"{CDN}{name}@{PACKAGES[name][0]}{path.removeprefix(name)}"


def fetch(name: str, cache: Path | None = None) -> Path:
    """The folder with a package's files, from the cache or else from the index. Unavailable if it cannot be had."""
    version, checksum, wanted = PACKAGES[name]
    cache = cache or Path(pooch.os_cache("scoat-book"))
    mark = hashlib.sha256(repr((checksum, wanted)).encode()).hexdigest()[:8]
    folder = cache / f"{name.replace('/', '-').strip('@')}-{version}-{mark}"
    if folder.is_dir():
        return folder
    with tempfile.TemporaryDirectory() as there:
        try:
            archive = _archive(name, version, Path(there))
        except (OSError, subprocess.SubprocessError) as error:
            raise Unavailable(f"{name} {version}: {_reason(error)}") from error
        found = "sha512-" + base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
        if found != checksum:
            raise Unavailable(f"{name} {version}: its checksum is {found[:20]}…, not {checksum[:20]}…")
        cache.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(dir=cache))
        with tarfile.open(archive) as tar:
            members = [m for m in tar.getmembers() if m.isfile() and m.name.partition("/")[2].startswith(wanted)]
            for member in members:
                path = fresh / member.name.partition("/")[2]
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(tar.extractfile(member).read())
    try:
        fresh.rename(folder)
    except OSError:  # another build was quicker
        shutil.rmtree(fresh)
    return folder


def _archive(name: str, version: str, folder: Path) -> Path:
    """A package's archive in folder: through npm, which knows its index and proxies, or by its address."""
    if npm := shutil.which("npm"):
        words = [npm, "pack", f"{name}@{version}", "--silent", "--fetch-retries=0", "--pack-destination", str(folder)]
        subprocess.run(words, check=True, capture_output=True, text=True, timeout=180, cwd=folder)
        return next(folder.glob("*.tgz"))
    index = os.environ.get("NPM_CONFIG_REGISTRY", INDEX)
    address = f"{index.rstrip('/')}/{name}/-/{name.rpartition('/')[2]}-{version}.tgz"
    path = folder / "package.tgz"
    with urllib.request.urlopen(address, timeout=60) as answer, path.open("wb") as file:
        shutil.copyfileobj(answer, file)
    return path


def _reason(error: Exception) -> str:
    """An error in one short line."""
    lines = [line for line in (getattr(error, "stderr", None) or str(error)).splitlines() if line.strip()]
    return lines[0][:120] if lines else type(error).__name__


def serve_from(folder: Path, cache: Path | None = None) -> bool:
    """Put what pages need below folder; False, with one printed line, where it cannot be had and a CDN serves it."""
    shutil.rmtree(folder, ignore_errors=True)
    try:
        sources = {name: fetch(name, cache) for name in SERVED}
    except Unavailable as error:
        print(f"MathJax and the widget manager come from {CDN} in this build, not from the site ({error})", flush=True)
        return False
    for name, source in sources.items():
        shutil.copytree(source, folder / name)
    widgets = folder / WIDGETS[1]
    widgets.write_text(ICONS.sub(ICONS_HERE, widgets.read_text()))
    return True
