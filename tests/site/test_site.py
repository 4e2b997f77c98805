"""The rendered site in a real browser, on a desktop and on a phone, with nothing but the site to ask.

Needs Debian's chromium and chromium-driver. Without them, or without the package index, the tests are skipped and say what is
missing; with CI set, that is a failure. PICTURES=folder keeps a picture of every page for a person to look at.
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
from xml.etree import ElementTree

import pandas as pd
import pytest
import yaml
from PIL import Image

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "book"))
import book_pages  # noqa: E402
import build  # noqa: E402
import gallery  # noqa: E402
import links  # noqa: E402
import parts  # noqa: E402
import slides  # noqa: E402
import stored  # noqa: E402
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
VIEWERS = [path.stem for path in build.chapters() if stored.WIDGET_VIEW in path.read_text()]
# a chapter → the id of its viewer
_OWN = r'viewer\.(?:ct|threshold|epochs|two_masks|spatial_attention)\((?:[^"]|\\")*?\\"([\w-]+)\\"'
OWN = {path.stem: found.group(1) for path in build.chapters() if (found := re.search(_OWN, path.read_text()))}
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

    def open(self, page):
        """Load a page until its equations and widgets stand; what the console and the network said on the way."""
        self.driver.get_log("browser"), self.driver.get_log("performance")
        self.driver.get(page)
        self.wait("document.readyState === 'complete'", "the page's scripts")
        self.run("document.head.insertAdjacentHTML('beforeend', '<style>* {transition: none !important}</style>')")
        self.wait("[...document.querySelectorAll('.bd-article .math')].every(m => m.querySelector('mjx-container'))", "typeset")
        views = "document.querySelectorAll('script[type*=\"widget-view\"]').length"
        self.wait(f"document.querySelectorAll('.widget-slider').length >= {views}", "every widget shown")
        time.sleep(0.25)  # book.js looks at a changed page 0.1 s later
        errors = [e["message"] for e in self.driver.get_log("browser") if e["level"] == "SEVERE"]
        self.errors = [e for e in errors if not any(k in e for k in KNOWN)]
        sent = [json.loads(e["message"])["message"] for e in self.driver.get_log("performance")]
        sent = [m["params"]["request"]["url"] for m in sent if m["method"] == "Network.requestWillBeSent"]
        self.outside = [u for u in sent if not u.startswith(("http://127.0.0.1", "file:", "data:", "blob:", "chrome:"))]

    def check(self, axe, colours):
        """What axe-core finds serious or critical, a line each. Equations, thousands of paths, have a check of their own."""
        if not self.run("return 'axe' in window"):
            self.run(axe)
        options = {"resultTypes": ["violations"], **colours}
        where = {"exclude": [["mjx-container"]]}
        script = "const [where, options, done] = arguments; axe.run(where, options).then(r => done(r.violations))"
        found = self.driver.execute_async_script(script, where, options)
        found = [v for v in found if v["impact"] in ("serious", "critical")]
        return [f"{v['id']} × {len(v['nodes'])}: {v['nodes'][0]['html'][:200]}" for v in found]

    def picture(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        self.resize(min(6000, self.run("return document.documentElement.scrollHeight")))
        self.driver.save_screenshot(str(folder / f"{self.name}-{self.width}.png"))
        self.resize(900)


@pytest.fixture(scope="session", params=WIDTHS)
def browser(request, tmp_path_factory):
    """One browser a width, for all its tests."""
    if not (CHROMIUM and DRIVER):
        missing("no Chromium to read the site with: `apt-get install chromium chromium-driver poppler-utils`, or their like")
    one = Browser(WIDTHS[request.param], tmp_path_factory.mktemp("profile"))
    yield one
    one.driver.quit()


@pytest.fixture(scope="session")
def axe():
    try:
        return (vendor.fetch("axe-core") / "axe.min.js").read_text()
    except vendor.Unavailable as error:
        missing(f"axe-core cannot be had: {error}")


PRINTED = """
const paper = document.documentElement.clientWidth, faults = [];
for (const e of document.querySelectorAll('.bd-article *')) {
  if (!e.checkVisibility() || e.closest('mjx-container, svg')) continue;
  const right = e.getBoundingClientRect().right;
  if (right > paper + 1) faults.push(`off the paper, ${right - paper}: ` + e.outerHTML);
}
for (const e of document.querySelectorAll('.bd-sidebar, .bd-header-article, .prev-next-area, .toggle-button, .copybtn'))
  if (e.checkVisibility()) faults.push('on paper: ' + e.outerHTML);
return faults.map(f => f.slice(0, 160));
"""
FAULTS = (Path(__file__).parent / "faults.js").read_text()


@pytest.fixture(scope="module", params=PAGES)
def page(request, browser, address):
    """A page, opened once a width for all its tests."""
    browser.open(f"{address}/book/{request.param}.html")
    browser.name = request.param
    if folder := os.environ.get("PICTURES"):
        browser.picture(Path(folder))
    return browser


def test_a_page_opens_without_an_error_and_asks_nobody_else(page):
    assert not page.errors
    assert not page.outside


def test_nothing_is_lost_on_a_page(page):
    """Equations typeset, nothing off the window, figures legible, texts for pictures, all that scrolls within reach of keys."""
    assert not page.run(FAULTS)


def test_axe_finds_nothing_serious(page, axe):
    assert not page.check(axe, {"rules": {"color-contrast": {"enabled": False}}})


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_colours_can_be_told_apart(page, axe, theme):
    if page.width == WIDTHS["phone"]:
        return  # the desktop's colours
    page.run(f"document.documentElement.dataset.theme = '{theme}'")
    assert not page.check(axe, {"runOnly": ["color-contrast"]})


def test_a_page_prints_whole(page):
    """On paper nothing scrolls, so nothing may need to; what can only be clicked is left out."""
    if page.width == WIDTHS["phone"]:
        return
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    page.width = 720  # A4 between its margins
    page.resize(900)
    try:
        assert not page.run(PRINTED)
    finally:
        page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
        page.width = WIDTHS["desktop"]
        page.resize(900)


def test_viewers_move_by_keys_without_a_kernel(page):
    from selenium.webdriver.common.keys import Keys

    pictures = "[...document.querySelectorAll('.widget-html :is(img, svg)')].filter(i => i.checkVisibility())"
    shown = f"{pictures}.map(i => i.src ?? i.outerHTML).join()"
    handles = page.driver.find_elements("css selector", ".noUi-handle")
    assert bool(handles) == (page.name in VIEWERS)
    for handle in handles:
        assert handle.get_attribute("aria-label")
        before = page.run(f"return {shown}")
        at_end = handle.get_attribute("aria-valuenow") == handle.get_attribute("aria-valuemax")
        page.run("arguments[0].focus()", handle)
        handle.send_keys(Keys.ARROW_LEFT if at_end else Keys.ARROW_RIGHT)
        page.wait(f"{shown} !== {json.dumps(before)}", "another picture", 10)


def test_the_books_own_viewers_are_those_of_six_chapters():
    assert [name[:2] for name in OWN] == ["01", "04", "08", "09", "15", "18"]


@pytest.mark.parametrize("name", OWN)
def test_a_viewer_on_its_own_page_is_ready_and_answers_to_a_key(name, browser, address):
    """On the page that a reader opens, beside all else that it loads; `test_viewers.py` tries them on pages of their own."""
    from selenium.webdriver.common.keys import Keys

    browser.open(f"{address}/book/{name}.html")
    root = f"document.querySelector('#{OWN[name]}')"
    browser.run(f"{root}.scrollIntoView()")
    browser.wait(f"{root}.dataset.ready", "the viewer ready", 20)
    assert not browser.run(f"return {root}.querySelector('.still')")  # the picture that stands there without scripts
    before = browser.run(f"return {root}.textContent")
    place = browser.run(f'return {root}.querySelector(\'canvas[tabindex="0"], td[tabindex="0"]\')')
    browser.run("arguments[0].focus()", place)
    place.parent.switch_to.active_element.send_keys(Keys.ARROW_DOWN)  # a slice, or a square
    place.parent.switch_to.active_element.send_keys(Keys.SPACE)  # paints the square
    browser.wait(f"{root}.textContent !== {json.dumps(before)}", "another text", 5)
    assert not [e for e in browser.driver.get_log("browser") if e["level"] == "SEVERE"]


def test_a_sliders_value_is_the_line_under_its_picture(browser, address):
    from selenium.webdriver.common.keys import Keys

    browser.open(f"{address}/book/10-cross-validation.html")
    handle = browser.driver.find_element("css selector", ".noUi-handle")
    line = "[...document.querySelectorAll('.widget-subarea figcaption')].find(l => l.checkVisibility()).textContent"
    value = "document.querySelector('.noUi-handle').getAttribute('aria-valuetext')"
    assert browser.run(f"return {value}") == browser.run(f"return {line}") == "19 patients"
    browser.run("arguments[0].focus()", handle)
    handle.send_keys(Keys.ARROW_RIGHT)
    browser.wait(f"{value} === '40 patients' && {line} === '40 patients'", "the next value, seen and said", 5)


def test_every_solution_and_hint_of_a_page_unfolds_by_a_key(page):
    from selenium.webdriver.common.keys import Keys

    folded = "document.querySelectorAll('.bd-article .toggle-hidden').length"
    before = page.run(f"return {folded}")
    buttons = page.run("return [...document.querySelectorAll('.bd-article .toggle-hidden .toggle-button')]")
    assert len(buttons) == before
    assert before > 3 or page.name not in [path.stem for path in build.chapters()]  # every chapter has exercises
    for opened, button in enumerate(buttons, 1):
        page.run("arguments[0].focus()", button)
        button.send_keys(Keys.ENTER)
        page.wait(f"{folded} === {before - opened}", "one more unfolded", 5)


@pytest.mark.parametrize("name", VIEWERS)
def test_what_a_chapter_sets_up_folds_into_one_line(name, browser, address):
    if browser.width == WIDTHS["phone"]:
        return
    browser.open(f"{address}/book/{name}.html")
    line = browser.run("return document.querySelector('.bd-article details.setup > summary')?.textContent")
    assert line.startswith("Set-up: what Colab installs, the scale")  # and the imports, where they print nothing
    folded = browser.run("return document.querySelectorAll('details.setup .cell').length")
    assert folded == line.count(",") + 1
    assert not browser.run("return document.querySelector('details.setup').open")
    browser.run("document.querySelector('details.setup > summary').click()")
    assert browser.run("return [...document.querySelectorAll('details.setup summary')].every(s => s.checkVisibility())")


def test_what_scrolls_sideways_says_so(browser, address):
    if browser.width == WIDTHS["desktop"]:
        return  # nothing of that page is wider
    browser.open(f"{address}/book/12-networks.html")
    cut = browser.run("return document.querySelectorAll('.scrolls').length")
    said = browser.run("return getComputedStyle(document.querySelector('.scrolls'), '::before').content")
    assert cut > 0
    assert "scroll" in said


@pytest.mark.parametrize("name", ["404", "genindex", "search"])
def test_pages_beside_the_chapters_are_as_good(browser, address, axe, name):
    browser.open(f"{address}/{name}.html")
    assert not browser.errors
    assert not browser.outside
    assert browser.run("return document.documentElement.scrollWidth") <= browser.width
    assert browser.run("return document.querySelector('.bd-article') === null") or not browser.run(FAULTS)
    assert not browser.check(axe, {})


def test_the_sites_address_leads_to_the_first_page(browser, address):
    browser.open(f"{address}/index.html")
    browser.wait("location.pathname.endsWith('/book/intro.html') && document.readyState === 'complete'", "the first page", 5)
    assert browser.run("return document.querySelector('h1') !== null")


def test_the_search_finds(browser, address):
    browser.open(f"{address}/search.html?q=excitation")
    browser.wait("document.querySelectorAll('#search-results li a').length > 0", "results of the search")
    found = browser.run("return [...document.querySelectorAll('#search-results li a')].map(a => a.textContent)")
    assert any("Channel attention" in title for title in found), found
    assert not browser.errors
    assert not browser.outside


def test_the_search_opens_by_keys(browser, address):
    from selenium.webdriver.common.keys import Keys

    browser.open(f"{address}/book/intro.html")
    browser.driver.find_element("css selector", "body").send_keys(Keys.CONTROL, "k")
    browser.wait("document.activeElement.matches('input[type=search]')", "the search field", 5)
    assert browser.run("return document.activeElement.matches('input[type=search]')")


def test_the_mode_switches_to_dark(browser, address):
    browser.open(f"{address}/book/intro.html")
    for _ in range(3):  # light, dark, the system's
        browser.run("[...document.querySelectorAll('.theme-switch-button')].find(b => b.checkVisibility()).click()")
        if browser.run("return document.documentElement.dataset.mode") == "dark":
            break
    colours = browser.run("return [getComputedStyle(document.body)].map(s => [s.backgroundColor, s.color])[0]")
    ground, ink = (sum(map(float, re.findall(r"[\d.]+", colour)[:3])) for colour in colours)
    browser.run("localStorage.clear()")
    assert ground < 150 < 450 < ink


@pytest.mark.parametrize("name", ["intro", "04-spatial-attention", "08-metrics", "12-networks", "gallery", "own-scan"])
def test_the_tab_key_reaches_everything(browser, address, name):
    """On the whole page: head, search, theme and both side bars too."""
    from selenium.webdriver.common.keys import Keys

    browser.open(f"{address}/book/{name}.html")
    wanted = browser.run(
        """window.reached = new Set(); document.addEventListener('focusin', e => reached.add(e.target));
        window.wanted = [...document.querySelectorAll('a[href], button, summary, input, select, textarea, label[tabindex],'
            + '[tabindex="0"], .noUi-handle')].filter(e => e.checkVisibility({visibilityProperty: true})
            && !e.disabled && e.tabIndex >= 0 && getComputedStyle(e).pointerEvents !== 'none');
        return wanted.length"""
    )
    assert wanted > 10
    for _ in range(12):
        browser.driver.switch_to.active_element.send_keys(Keys.TAB * 60)
        left = browser.run("return wanted.filter(e => !reached.has(e)).map(e => e.outerHTML.slice(0, 120))")
        if not left:
            break
    assert not left


def test_a_page_reads_from_a_folder(browser, html):
    """No server: equations and viewers stand, and the console is quiet."""
    browser.open((html / "book" / "05-channel-attention.html").as_uri())
    assert not browser.errors
    assert not browser.outside
    assert browser.run("return document.querySelectorAll('.bd-article mjx-container svg').length") > 10


def test_viewers_move_and_the_search_finds_without_a_server(browser, html):
    from selenium.webdriver.common.keys import Keys

    browser.open((html / "book" / "04-spatial-attention.html").as_uri())
    root = f"document.querySelector('#{OWN['04-spatial-attention']}')"
    browser.wait(f"{root}.dataset.ready", "the viewer ready", 20)
    handle = browser.driver.find_element("css selector", ".noUi-handle")
    value = "document.querySelector('.noUi-handle').getAttribute('aria-valuetext')"
    before = browser.run(f"return {value}")
    browser.run("arguments[0].focus()", handle)
    handle.send_keys(Keys.ARROW_RIGHT)
    browser.wait(f"{value} !== {json.dumps(before)}", "another picture", 5)
    browser.open((html / "search.html").as_uri() + "?q=excitation")
    browser.wait("document.querySelectorAll('#search-results li a').length > 0", "results of the search")
    assert not browser.outside


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
        asked = re.findall(r'<(?:script|img|iframe|source)\b[^>]*src="((?:https?:)?//[^"]+)"', page.read_text())
        asked += re.findall(r'<link\b[^>]*rel="(?:stylesheet|preload|icon)"[^>]*href="((?:https?:)?//[^"]+)"', page.read_text())
        assert not asked, f"{page.name} asks {asked}"


def test_links_anchors_and_pictures_of_the_site_hold(html):
    assert not list(links.broken(html))


def test_broken_links_are_seen(tmp_path):
    (tmp_path / "a.html").write_text('<a href="b.html#there">1</a><a href="b.html#gone">2</a><img src="gone.png"><a href="#x">')
    (tmp_path / "b.html").write_text('<p id="there"></p>')
    assert len(list(links.broken(tmp_path))) == 3


def test_the_footer_names_the_edition_that_is_cited_and_installed(html):
    import tomllib

    edition = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == edition["version"]
    heading = re.search(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), flags=re.M).group(1)
    assert heading == f"{edition['version']}, {edition['date-released']}"
    for page in html.glob("book/*.html"):
        assert f"Second edition, {edition['version']}, {edition['date-released']}" in page.read_text()


def test_pages_say_what_they_show_and_claim_no_address_that_is_not_known(html):
    for page in html.glob("book/*.html"):
        text = page.read_text()
        assert len(re.search(r'<meta name="description" content="([^"]*)"', text).group(1)) > 15, page.name
        assert 'property="og:title"' in text
        if not build.published():
            assert 'rel="canonical"' not in text
            assert "og:image" not in text
    with Image.open(html / "_static" / "card.png") as card:
        assert card.size == (1200, 630)
        assert len(set(card.convert("L").tobytes())) > 100  # a slice, not a plain ground


def test_a_known_address_stands_on_every_page_and_in_the_map(tmp_path):
    """The extension's own words, with an address as a published site has it."""
    import types

    address = book_pages.address_of(parts.repository()[0])
    app = types.SimpleNamespace(
        builder=types.SimpleNamespace(name="html", images={}),
        config=types.SimpleNamespace(html_baseurl=address),
        env=types.SimpleNamespace(found_docs={"book/intro", "book/faq"}),
        outdir=tmp_path,
    )
    book_pages.write_map(app, None)
    assert f"<loc>{address}book/faq.html</loc>" in (tmp_path / "sitemap.xml").read_text()
    assert f'property="og:image" content="{address}_static/card.png"' in book_pages.card("A page", "<p>Words.</p>", address)
    ((_, context, _),) = book_pages.add_pages(app)
    assert f'href="{address}book/intro.html"' in context["body"]
    context = {"body": context["body"], "title": "No such page"}
    book_pages.finish_page(app, "404", "page.html", context, None)
    assert f'<base href="{address}" />' in context["metatags"]


# the gallery, the slides, the glossary, paper


def test_the_gallery_shows_every_figure_and_leads_to_it(html):
    text = (html / "book" / "gallery.html").read_text()
    shown = set(re.findall(r'<li><a href="([^"]+\.html#[^"]+)"><img ', text))
    there = {
        f"{page.name}#{name}"
        for page in html.glob("book/*.html")
        for name in re.findall(r'<figure\b[^>]*\bid="([^"]+)"', page.read_text())
    }
    assert shown == there
    assert len(shown) > 80
    assert text.count('loading="lazy"') >= len(shown)
    assert all(re.search(rf"<b>Fig\. {n}</b>", text) for n in range(1, len(shown) - 2))
    pictures = {html / "book" / path for path in re.findall(r'<img src="([^"]+)"', text)}
    assert sum(path.stat().st_size for path in pictures) + len(text) < HEAVIEST_PAGE
    for drawing in html.glob("gallery/*.svg"):
        ElementTree.parse(drawing)  # alone, a drawing has to be XML


def test_every_part_has_slides_of_all_its_chapters(html):
    links_ = re.findall(r'<a href="\.\./slides/([^"]+)"', (html / "book" / "teachers.html").read_text())
    parts = gallery.pages(part_by_part=True)
    assert links_ == [slides.file_of(title) for title, _ in parts]
    for file, (_, names) in zip(links_, parts, strict=True):
        text = (html / "slides" / file).read_text()
        for name in names:
            page = (html / "book" / f"{name}.html").read_text().split('<section id="exercises">')[0]
            figures = re.findall(r'<span class="caption-number">(.*?) ?</span>', page)
            assert all(f"<b>{number}</b>" in text for number in figures), name
            assert f'href="../book/{name}.html"' in text
        assert text.count("<h3>What we found</h3>") == len(names)
        assert text.count("<blockquote>") == len(names)
    network = (html / "slides" / "the-network.html").read_text()
    assert all(f"\\tag{{{n}}}" in network for n in range(1, 7))


@pytest.mark.parametrize("title", [title for title, _ in gallery.pages(part_by_part=True)])
def test_slides_turn_by_keys_and_ask_nobody_else(browser, address, axe, title):
    from selenium.webdriver.common.keys import Keys

    browser.open(f"{address}/slides/{slides.file_of(title)}")
    browser.wait("[...document.querySelectorAll('.math')].every(m => m.querySelector('mjx-container'))", "equations")
    assert not browser.errors
    assert not browser.outside
    count = browser.run("return document.querySelectorAll('main > section').length")
    shown = "[...document.querySelectorAll('main > section')].filter(s => getComputedStyle(s).visibility === 'visible').length"
    body = browser.driver.find_element("css selector", "body")
    for key, place in ((Keys.ARROW_RIGHT, 2), (Keys.SPACE, 3), (Keys.ARROW_LEFT, 2), (Keys.END, count), (Keys.HOME, 1)):
        body.send_keys(key)
        assert browser.run("return document.querySelector('#where').textContent") == f"{place} of {count}"
        assert browser.run(f"return {shown}") == 1
    wide = "document.documentElement.scrollWidth > innerWidth || document.documentElement.scrollHeight > innerHeight + 1"
    for place in range(1, count + 1):
        browser.run(f"turn({place - 1})")
        assert not browser.run(f"return {wide}"), f"slide {place} is larger than the window"
    assert not browser.check(axe, {})


def test_an_entry_of_several_terms_explains_each_by_its_own_part():
    page = (
        "## Words\n\nfissure, hilum\n: The border between lobes; where vessels enter.\n\nfold, share\n: Some of the patients.\n"
    )
    says = dict(book_pages.glossary(page))
    assert says["fissure"] == "The border between lobes"
    assert says["hilum"] == "Where vessels enter."
    assert says["fold"] == says["share"] == "Some of the patients."


def test_the_system_windows_is_not_the_window_of_a_ct():
    terms = [("window", "The HU between black and white")]
    assert "data-says" not in book_pages.explained("<p>On Windows it runs.</p>", terms)
    assert "data-says" in book_pages.explained("<p>Two windows of one slice.</p>", terms)


def test_an_indexs_name_has_no_row_of_heads_of_its_own():
    frame = pd.DataFrame({"DSC": [1, 2], "n": [3, 4]}, index=pd.Index(["a", "b"], name="patient"))
    heads = re.findall(r"<th>([^<]*)</th>", book_pages.tidied(frame.to_html()).split("</thead>")[0])
    assert heads == ["patient", "DSC", "n"]
    plain = frame.rename_axis(None).to_html()
    assert book_pages.tidied(plain) == plain


def test_an_option_of_a_command_is_never_broken_at_its_hyphens():
    command = "<pre><span></span>scoat segment a.nii.gz -o b.nii.gz --probability p\n</pre>"
    kept = re.findall(r'<span class="flag">([^<]*)</span>', book_pages.tidied(command))
    assert kept == ["-o", "--probability"]
    assert re.sub(r'<span class="flag">([^<]*)</span>', r"\1", book_pages.tidied(command)) == command
    assert "<span" not in book_pages.tidied("<pre>a well-known word - and −1</pre><p>a --flag</p>")


def test_cells_of_words_may_wrap_and_cells_of_numbers_do_not():
    cell = "<td>{}</td>".format
    assert 'class="words"' in book_pages.tidied(cell("SCOAT-Net minus UNet++ in DSC over all"))
    assert 'class="words"' not in book_pages.tidied(cell("+1.8 (−1.0 … +4.5)") + cell("not run"))


def test_numbers_stay_in_one_line_with_what_follows_them():
    kept = "<code>1 000 %</code><pre>2 mm</pre><script>3 %</script>" + r'<span class="math notranslate">\(4 000\)</span>'
    body = f'<p title="5 000 %">12 345 voxels, 65 % of 0.7 mm and 3 small</p>{kept}<p>10 10 000 s</p>'
    shown = book_pages.unbroken(body)
    assert shown.replace("\N{NO-BREAK SPACE}", "_") == (
        f'<p title="5 000 %">12_345 voxels, 65_% of 0.7_mm and 3 small</p>{kept}<p>10 10_000_s</p>'
    )


def test_what_pages_include_is_copied_to_where_they_look_for_it():
    named = set()
    for page in (ROOT / "book").glob("*.md"):
        named |= set(re.findall(r"^```\{(?:literal)?include\} \.\./(\S+)$", page.read_text(), flags=re.M))
    assert {"CHANGELOG.md", "results/PROTOCOL.md", "scoat_lib/shipped/README.md"} <= named <= set(build.INCLUDED)


@pytest.mark.parametrize(("page", "source"), [("protocol", "results/PROTOCOL.md"), ("model-card", build.INCLUDED[-1])])
def test_the_protocol_and_the_model_card_are_pages(html, page, source):
    text = (html / "book" / f"{page}.html").read_text()
    heads = [re.sub(r"[`*]", "", head) for head in re.findall(r"^#+ (.+)$", (ROOT / source).read_text(), flags=re.M)]
    shown = [re.sub(r"<[^>]*>", "", head) for head in re.findall(r'<h[12]>(.*?)<a class="headerlink"', text)]
    assert shown == heads
    assert text.count("<table") == len(re.findall(r"^\| --- ", (ROOT / source).read_text(), flags=re.M))


def test_terms_explain_themselves_once_a_page_and_lead_to_the_glossary(html):
    glossary = (html / "book" / "notation.html").read_text()
    count = 0
    for page in html.glob("book/*.html"):
        marked = re.findall(r'<a class="term" href="notation\.html#([^"]+)" data-says="([^"]{10,})">', page.read_text())
        assert len({place for place, _ in marked}) == len(marked), page.name
        assert all(f'id="{place}"' in glossary for place, _ in marked)
        count += len(marked)
    assert count > 100
    terms = [["HU", "Hounsfield unit"], ["fold", "A share"]]
    said = book_pages.explained("<p>Two folds, <a>HU</a>, HU and hu; a <code>fold</code> unfolds. HU.</p>", terms)
    assert said.count("class=") == 2
    assert ">folds</a>, <a>HU</a>, <a class" in said


def test_a_term_says_what_it_means_when_it_has_the_focus(browser, address):
    browser.open(f"{address}/book/09-training.html")
    term = browser.driver.find_element("css selector", "a.term")
    content = "return getComputedStyle(arguments[0], '::after').content"
    assert browser.run(content, term) == "none"
    from selenium.webdriver.common.keys import Keys

    term.parent.execute_script("arguments[0].previousFocus = true; arguments[0].focus({focusVisible: true})", term)
    term.send_keys(Keys.SHIFT)
    assert term.get_attribute("data-says") in browser.run(content, term)


def test_chapter_4_prints_to_pages_with_numbers_and_open_solutions(browser, address, tmp_path):
    """The PDF that a reader's browser makes; poppler's tools read it where they are there."""
    import base64
    import subprocess

    if browser.width == WIDTHS["phone"]:
        return
    browser.open(f"{address}/book/04-spatial-attention.html")
    browser.run("document.querySelectorAll('img').forEach(i => { i.loading = 'eager' })")
    browser.wait("[...document.images].every(i => i.complete)", "the pictures")
    printed = browser.driver.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True, "printBackground": True})
    path = tmp_path / "chapter.pdf"
    path.write_bytes(base64.b64decode(printed["data"]))
    if not shutil.which("pdftotext"):
        missing("no pdftotext to read a printed chapter with: `apt-get install poppler-utils`")
    text = subprocess.run(["pdftotext", "-layout", str(path), "-"], capture_output=True, text=True, check=True).stdout
    pages = text.split("\f")[:-1]
    assert 8 <= len(pages) <= 25
    numbers = [page.split()[-1] for page in pages]
    assert numbers == [str(n + 1) for n in range(len(pages))]
    assert "The one map serves all channels" in text  # a solution, folded on the screen
    assert "numpy repeats an array" in text  # a hint
    assert "Show the" not in text  # code that is folded away, and cannot be unfolded on paper
    assert all(f"Fig. {n}" in text for n in range(17, 23))
