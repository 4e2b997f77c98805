"""The rendered site in a real browser, on a desktop and on a phone, with nothing but the site to ask.

Needs Debian's chromium and chromium-driver. Without them, or without the package index, the tests are skipped and say what is
missing; with CI set, that is a failure. Pictures of every page, for a person to look at: _build/pictures.
"""

import functools
import http.server
import json
import os
import re
import shutil
import sys
import threading
import time
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "book"))
import build  # noqa: E402
import vendor  # noqa: E402

CHROMIUM, DRIVER = (shutil.which(name) for name in ("chromium", "chromedriver"))
FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
]
WIDTHS = {"desktop": 1280, "phone": 390}
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text())
PAGES = ["intro", *(Path(entry["file"]).name for part in TOC["parts"] for entry in part["chapters"])]
VIEWERS = [path.stem for path in build.chapters()]
KNOWN = ()  # console errors that are not ours: none is left
HEAVIEST_PAGE, HEAVIEST_SITE = 2e6, 60e6  # bytes


def missing(what):
    """Something a machine lacks: a skip here, a failure in CI, where nobody reads the skips."""
    if os.environ.get("CI"):
        pytest.fail(what, pytrace=False)
    pytest.skip(what)


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="session")
def html(tmp_path_factory):
    """The site's folder, from the committed outputs."""
    return build.build_site(ROOT / "book", tmp_path_factory.mktemp("site")).parent


@pytest.fixture(scope="session")
def address(html):
    if not (html / "_vendor").exists():
        missing("the package index of npm cannot be reached: the site would ask a CDN for MathJax and the widget manager")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=html))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


class Browser:
    """Chromium at one width, and what is asked of a page in one go."""

    def __init__(self, width, profile):
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service

        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM
        for flag in [*FLAGS, f"--user-data-dir={profile}"]:
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(DRIVER))
        self.width = width
        self.run = self.driver.execute_script
        self.resize(900)

    def resize(self, height):
        size = {"width": self.width, "height": height, "deviceScaleFactor": 1, "mobile": self.width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    def wait(self, script, what, seconds=30):
        """Until a script's expression is true."""
        end = time.monotonic() + seconds
        while not self.run(f"return {script}"):
            assert time.monotonic() < end, f"not within {seconds} s: {what}"
            time.sleep(0.05)

    def open(self, page, theme="light"):
        """Load a page until its equations and widgets stand; what the console and the network said on the way."""
        self.driver.get_log("browser"), self.driver.get_log("performance")
        self.driver.get(page)
        self.wait("document.readyState === 'complete'", "the page's scripts")
        self.run(f"document.documentElement.dataset.theme = '{theme}'")
        self.wait("[...document.querySelectorAll('.bd-article .math')].every(m => m.querySelector('mjx-container'))", "typeset")
        views = "document.querySelectorAll('script[type*=\"widget-view\"]').length"
        self.wait(f"document.querySelectorAll('.widget-slider').length >= {views}", "every widget shown")
        time.sleep(0.25)  # book.js looks at a changed page 0.1 s later
        errors = [e["message"] for e in self.driver.get_log("browser") if e["level"] == "SEVERE"]
        self.errors = [e for e in errors if not any(k in e for k in KNOWN)]
        sent = [json.loads(e["message"])["message"] for e in self.driver.get_log("performance")]
        sent = [m["params"]["request"]["url"] for m in sent if m["method"] == "Network.requestWillBeSent"]
        self.outside = [u for u in sent if not u.startswith(("http://127.0.0.1", "file:", "data:", "blob:"))]

    def picture(self, name):
        folder = ROOT / "_build" / "pictures"
        folder.mkdir(parents=True, exist_ok=True)
        self.resize(min(6000, self.run("return document.documentElement.scrollHeight")))
        self.driver.save_screenshot(str(folder / f"{name}-{self.width}.png"))
        self.resize(900)


@pytest.fixture(scope="session", params=WIDTHS)
def browser(request, tmp_path_factory):
    """One browser a width, for all its tests."""
    if not (CHROMIUM and DRIVER):
        missing("no Chromium to read the site with: `apt-get install chromium chromium-driver`, or their like, on the PATH")
    one = Browser(WIDTHS[request.param], tmp_path_factory.mktemp("profile"))
    yield one
    one.driver.quit()


@pytest.fixture(scope="session")
def axe():
    try:
        return (vendor.fetch("axe-core") / "axe.min.js").read_text()
    except vendor.Unavailable as error:
        missing(f"axe-core cannot be had: {error}")


FAULTS = r"""
const all = (s, r = document) => [...r.querySelectorAll(s)], faults = [];
const article = document.querySelector('.bd-article'), window_ = document.documentElement.clientWidth;
const say = (fault, e) => faults.push(fault + ': ' + (e?.outerHTML ?? '').slice(0, 160));
const scrolls = e => { for (; e && e !== article; e = e.parentElement)
  if (['auto', 'scroll'].includes(getComputedStyle(e).overflowX)) return true; };
const seen = e => e.checkVisibility() && e.getClientRects().length;
if (document.documentElement.scrollWidth > window_) say(`the page is ${document.documentElement.scrollWidth} wide`);
for (const e of all('mjx-merror, [data-mjx-error]')) say('an equation is refused', e);
for (const e of all('mjx-container', article)) if (!e.querySelector('mjx-assistive-mml')) say('an equation without MathML', e);
const left = e => e.getBoundingClientRect().left;
for (const e of all('mjx-container[display] > svg', article).filter(seen)) {
  if (left(e) < left(e.parentElement) - 1) say('an equation loses its left edge', e);
}
for (const e of all('.bd-article *').filter(seen)) {
  const box = e.getBoundingClientRect();
  if ((box.right > window_ + 1 || box.left < -1) && box.width && !scrolls(e) && !e.closest('mjx-assistive-mml')) {
    say('off the window', e); break; }
}
for (const e of all('img', article)) {
  const short = e.closest('.jupyter-widgets') && e.alt.length < 40;
  if (!e.alt || e.alt.startsWith('<Figure') || short) say('no alternative text', e);
  const small = e.width < Math.min(0.79 * e.naturalWidth, 639);
  if (small && window_ < 600 && e.complete && e.closest('.cell_output') && seen(e)) {
    say(`a figure shrunk to ${e.width} of ${e.naturalWidth}`, e);
  }
}
const waiting = all('.cell_output img[src$=".png"]', article).slice(1).filter(i => i.loading !== 'lazy');
for (const e of waiting) say('a picture that does not wait', e);
for (const e of all('.bd-article table.table td').filter(seen)) {
  const lines = (e.firstElementChild ?? e).clientHeight / parseFloat(getComputedStyle(e).lineHeight);
  const words = e.textContent.trim().split(/\s+/).length;
  if (words >= 8 && lines > 4 && words / lines < 1.7 && e.clientWidth < 130) say('a column of single words', e);
}
for (const e of all('*', article)) {
  const style = ['auto', 'scroll'].includes(getComputedStyle(e).overflowX);
  if (style && e.scrollWidth > e.clientWidth + 1 && seen(e) && e.tabIndex < 0 && !e.closest('mjx-assistive-mml')
      && !e.querySelector('a, button, input, [tabindex="0"]')) say('scrolls, but not by keys', e);
}
const fields = all('.search-button__button').filter(seen);
if (fields.length !== 1) faults.push(`${fields.length} search buttons`);
return faults;
"""


@pytest.mark.parametrize("name", PAGES)
def test_a_page(address, browser, axe, name):
    """No error, nothing from outside, all typeset, nothing lost at an edge, nothing serious to axe-core, in the dark too."""
    browser.open(f"{address}/book/{name}.html")
    assert not browser.errors
    assert not browser.outside
    browser.picture(name)
    assert not browser.run(FAULTS)
    assert not accessible(browser, axe)
    browser.run("document.documentElement.dataset.theme = 'dark'")
    assert not accessible(browser, axe, "color-contrast")


def accessible(browser, axe, *rules):
    """What axe-core finds serious or critical, in one line each."""
    if not browser.run("return 'axe' in window"):
        browser.run(axe)
    only = f"runOnly: {list(rules)}," if rules else ""
    script = (
        f"const done = arguments[0]; axe.run(document, {{{only} resultTypes: ['violations']}}).then(r => done(r.violations))"
    )
    found = [v for v in browser.driver.execute_async_script(script) if v["impact"] in ("serious", "critical")]
    return [f"{v['id']} × {len(v['nodes'])}: {v['nodes'][0]['html'][:200]}" for v in found]


@pytest.mark.parametrize("name", VIEWERS)
def test_a_viewer_moves_by_keys_without_a_kernel(address, browser, name):
    from selenium.webdriver.common.keys import Keys

    browser.open(f"{address}/book/{name}.html")
    shown = "[...document.querySelectorAll('.widget-html img')].filter(i => i.offsetParent).map(i => i.src).join()"
    handles = browser.driver.find_elements("css selector", ".noUi-handle")
    assert handles
    for handle in handles:
        assert handle.get_attribute("aria-label")
        before = browser.run(f"return {shown}")
        at_end = handle.get_attribute("aria-valuenow") == handle.get_attribute("aria-valuemax")
        browser.run("arguments[0].focus()", handle)
        handle.send_keys(Keys.ARROW_LEFT if at_end else Keys.ARROW_RIGHT)
        browser.wait(f"{shown} !== {json.dumps(before)}", "another picture", 10)


def test_an_exercise_unfolds_by_a_key(address, browser):
    from selenium.webdriver.common.keys import Keys

    browser.open(f"{address}/book/04-spatial-attention.html")
    hidden = "document.querySelectorAll('.solution.toggle-hidden').length"
    before = browser.run(f"return {hidden}")
    assert before >= 3
    button = browser.driver.find_element("css selector", ".solution .toggle-button")
    browser.run("arguments[0].focus()", button)
    button.send_keys(Keys.ENTER)
    browser.wait(f"{hidden} === {before - 1}", "the solution unfolded", 5)


def test_the_search_finds(address, browser):
    browser.open(f"{address}/search.html?q=excitation")
    browser.wait("document.querySelectorAll('#search-results li a').length > 0", "results of the search")
    found = browser.run("return [...document.querySelectorAll('#search-results li a')].map(a => a.textContent)")
    assert any("Channel attention" in title for title in found), found
    assert not browser.errors
    assert not browser.outside


def test_the_search_opens_by_keys(address, browser):
    from selenium.webdriver.common.keys import Keys

    browser.open(f"{address}/book/intro.html")
    browser.driver.find_element("css selector", "body").send_keys(Keys.CONTROL, "k")
    browser.wait("document.activeElement.matches('input[type=search]')", "the search field", 5)


def test_the_mode_switches_to_dark(address, browser):
    browser.open(f"{address}/book/intro.html")
    colour = "getComputedStyle(document.body).backgroundColor"
    for _ in range(3):
        before = browser.run(f"return {colour}")
        button = "[...document.querySelectorAll('.theme-switch-button')].find(b => b.checkVisibility())"
        browser.run(f"{button}.focus(); {button}.click()")
        if browser.run("return document.documentElement.dataset.theme") == "dark":
            break
    assert browser.run(f"return {colour}") != before or browser.run("return document.documentElement.dataset.theme") == "dark"
    assert browser.run("return getComputedStyle(document.querySelector('.bd-main')).color") != "rgb(0, 0, 0)"
    browser.run("localStorage.clear()")


@pytest.mark.parametrize("name", ["04-spatial-attention", "intro"])
def test_the_tab_key_reaches_everything(address, browser, name):
    from selenium.webdriver.common.keys import Keys

    browser.open(f"{address}/book/{name}.html")
    wanted = browser.run(
        """window.reached = new Set(); document.addEventListener('focusin', e => reached.add(e.target));
        window.wanted = [...document.querySelectorAll('.bd-main a[href], .bd-main button, .bd-main summary, .bd-main input,'
            + '.bd-main [tabindex="0"], .noUi-handle')].filter(e => e.checkVisibility({visibilityProperty: true})
            && !e.disabled && e.tabIndex >= 0 && getComputedStyle(e).pointerEvents !== 'none');
        return wanted.length"""
    )
    assert wanted > 10
    body = browser.driver.find_element("css selector", "body")
    body.click()
    for _ in range(12):
        body.parent.switch_to.active_element.send_keys(Keys.TAB * 60)
        left = browser.run("return wanted.filter(e => !reached.has(e)).map(e => e.outerHTML.slice(0, 120))")
        if not left:
            break
    assert not left


def test_a_page_reads_from_a_folder(html, browser):
    """No server: equations and viewers stand, and the console is quiet."""
    browser.open((html / "book" / "05-channel-attention.html").as_uri())
    assert not browser.errors
    assert not browser.outside
    assert browser.run("return document.querySelectorAll('.bd-article mjx-container svg').length") > 10


# weight, and what happens without the package index


def test_pages_and_site_are_light(html):
    """A page's HTML and its pictures; the site with everything it serves."""
    for page in html.glob("book/*.html"):
        text = page.read_text()
        pictures = {(page.parent / p).resolve() for p in re.findall(r'<img [^>]*src="([^":]+)"', text)}
        size = page.stat().st_size + sum(p.stat().st_size for p in pictures)
        assert size < HEAVIEST_PAGE, f"{page.stem}: {size / 1e6:.1f} MB"
    size = sum(p.stat().st_size for p in html.rglob("*") if p.is_file())
    assert size < HEAVIEST_SITE, f"{size / 1e6:.0f} MB"


def test_pages_name_no_third_party(html):
    if not (html / "_vendor").exists():
        missing("the package index of npm cannot be reached")
    for page in html.rglob("*.html"):
        asked = re.findall(r'<(?:script|link|img|iframe|source)\b[^>]*(?:src|href)="((?:https?:)?//[^"]+)"', page.read_text())
        asked = [a for a in asked if "<link rel" not in a]
        assert not asked, f"{page.name} asks {asked}"
