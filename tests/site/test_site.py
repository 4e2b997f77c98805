"""The rendered site in a real browser, desktop and phone: no console error of ours, equations typeset, sliders that move.

Needs Debian's chromium and chromium-driver, and npm for copies of what pages take from a CDN (MathJax, require.js, the
widget manager); without them the tests are skipped and say so. Pictures of every page: _build/pictures.
"""

import functools
import http.server
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "book"))
import build  # noqa: E402

CHROMIUM, DRIVER, NPM = (shutil.which(n) for n in ("chromium", "chromedriver", "npm"))
pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER and NPM), reason="needs chromium, chromedriver and npm on the PATH")
PACKAGES = ("mathjax@3.2.2", "requirejs@2.3.8", "@jupyter-widgets/html-manager@1.0.6")
CDN = {  # what the pages ask for → where it lies in the npm packages
    "https://cdn.jsdelivr.net/npm/mathjax@3/es5/": "/_local/mathjax/es5/",
    "https://cdnjs.cloudflare.com/ajax/libs/require.js/2.3.4/require.min.js": "/_local/requirejs/require.js",
    "https://cdn.jsdelivr.net/npm/@jupyter-widgets/html-manager@1.0.6/dist/": "/_local/@jupyter-widgets/html-manager/dist/",
}
# the theme itself: a constant declared twice, its mode before the first choice, icon fonts asked for below the page
KNOWN = (
    "THEBE_JS_URL",
    "Got invalid theme mode",
    "fa-solid-900",
    "fa-regular-400",
    "fa-brands-400",
    ".woff",
    ".ttf",
    "favicon.ico",
    "fontawesome",
)
FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
]
FLAGS += ["--disable-component-update", "--disable-sync", "--hide-scrollbars"]
PAGES = [
    "intro",
    *[p.stem for p in build.chapters()],
    "ambiguities",
    "notation",
    "map",
    "api",
    "cluster",
    "reproducibility",
    "teachers",
    "references",
]


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """The site from the committed outputs, its CDN addresses pointed at local copies, served on this machine."""
    folder = tmp_path_factory.mktemp("site")
    page = build.build_site(ROOT / "book", folder)
    html = page.parent
    packages = folder / "npm"
    packages.mkdir()
    subprocess.run(
        [NPM, "install", "--silent", "--no-audit", "--no-fund", "--prefix", packages, *PACKAGES], check=True, timeout=300
    )
    (html / "_local").symlink_to(packages / "node_modules")
    for path in html.rglob("*.html"):
        text = path.read_text()
        for address, local in CDN.items():
            text = text.replace(address, local)
        text = re.sub(r' integrity="sha256-[^"]+"', "", text)  # of the CDN's minified file
        path.write_text(text)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=html))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in [*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


def look(browser, address, width, name):
    """Load a page at a width and keep a picture of it for a person to look at."""
    from selenium.webdriver.support.ui import WebDriverWait

    browser.get_log("browser")
    browser.set_window_size(width, 1000)
    browser.get(address)
    if browser.execute_script("return document.querySelectorAll('.math').length"):
        wait = "return document.querySelectorAll('mjx-container').length > 0"
        WebDriverWait(browser, 30).until(lambda b: b.execute_script(wait))
    if browser.execute_script("return document.querySelectorAll('script[type*=widget-view]').length"):
        wait = "return document.querySelectorAll('.widget-slider, .jupyter-widgets').length > 0"
        WebDriverWait(browser, 30).until(lambda b: b.execute_script(wait))
    pictures = ROOT / "_build" / "pictures"
    pictures.mkdir(parents=True, exist_ok=True)
    height = min(9000, browser.execute_script("return document.documentElement.scrollHeight"))
    browser.set_window_size(width, height)
    browser.save_screenshot(str(pictures / f"{name}-{width}.png"))


@pytest.mark.parametrize("width", [1280, 420])
@pytest.mark.parametrize("name", PAGES)
def test_a_page_opens_without_an_error_of_ours(site, browser, name, width):
    look(browser, f"{site}/book/{name}.html", width, name)
    errors = [e["message"] for e in browser.get_log("browser") if e["level"] == "SEVERE"]
    assert not [e for e in errors if not any(k in e for k in KNOWN)]
    raw = browser.execute_script(
        "return [...document.querySelectorAll('.math')].filter(m => !m.querySelector('mjx-container')).length"
    )
    assert raw == 0, "an equation is not typeset"
    wrong = browser.execute_script(
        "return [...document.querySelectorAll('mjx-merror, [data-mjx-error]')].map(e => e.textContent)"
    )
    assert not wrong, f"an equation is refused: {wrong}"
    overflow = browser.execute_script("return document.documentElement.scrollWidth - window.innerWidth")
    assert overflow < 20, f"the page is {overflow} pixels wider than the window"
    bare = browser.execute_script(
        "return [...document.querySelectorAll('.bd-article img')].filter(i => !i.alt || i.alt.startsWith('<Figure')).length"
    )
    assert bare == 0, "a picture without alternative text"


@pytest.mark.parametrize("name", ["01-lungs-in-ct", "05-channel-attention", "07-losses"])
def test_a_slider_moves_its_picture_without_a_kernel(site, browser, name):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.ui import WebDriverWait

    look(browser, f"{site}/book/{name}.html", 1280, name)
    shown = "return [...document.querySelectorAll('.widget-html img')].filter(i => i.offsetParent !== null).map(i => i.src)[0]"
    WebDriverWait(browser, 30).until(lambda b: b.execute_script(shown))
    before = browser.execute_script(shown)
    handle = browser.find_element(By.CSS_SELECTOR, ".noUi-handle")
    browser.execute_script("arguments[0].scrollIntoView()", handle)
    handle.send_keys(Keys.ARROW_RIGHT)
    WebDriverWait(browser, 10).until(lambda b: b.execute_script(shown) != before)
    assert browser.execute_script(shown) != before
