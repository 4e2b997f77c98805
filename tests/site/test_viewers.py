"""The viewers of scoat_lib/viewers in a real browser, at both widths, on small pages made from the functions."""

import functools
import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from test_site import CHROMIUM, DRIVER, ROOT, WIDTHS, Browser, axe, missing  # noqa: F401  (axe is a fixture)

from scoat_lib import drawings, metrics, viewer
from scoat_lib.attention import SpatialAttention
from scoat_lib.scan import Scan

SCRIPTS = sorted((ROOT / "scoat_lib" / "viewers").glob("*.js"))
PAGE = """<!doctype html><html lang="en"{theme}><head><meta charset="utf-8"><title>viewers</title>
<meta name="viewport" content="width=device-width"><style>body {{ margin: 8px; background: {ground}; color: {ink}; }}
html {{ --pst-color-text-base: {ink}; --pst-color-background: {ground}; --pst-color-text-muted: #777; }}</style></head>
<body><main class="bd-article"><h1>Viewers</h1>{body}</main></body></html>"""
LIGHT, DARK = (
    {"ground": "#fff", "ink": "#222", "theme": ""},
    {"ground": "#14181e", "ink": "#ced6dd", "theme": ' data-theme="dark"'},
)


def made():
    """A scan of 6 slices, its masks and probabilities of three epochs."""
    rng = np.random.default_rng(3)
    hu = rng.integers(-1000, 300, (6, 20, 24)).astype(np.float32)
    scan = Scan(hu.transpose(2, 1, 0).copy(), np.diag([-3.0, -2.0, 5.0, 1.0]))
    assert np.array_equal(scan.axial(), hu)
    truth = np.zeros(hu.shape, bool)
    truth[1:5, 4:14, 6:17] = True
    fog = rng.random((3, *hu.shape))
    return scan, truth, [np.clip(0.6 * f + 0.25 * k * truth, 0, 1) for k, f in enumerate(fog)]


EXAMPLES = {
    "two blocks": (np.eye(8, 12, dtype=bool), np.roll(np.eye(8, 12, dtype=bool), 1, 1)),
    "nothing": (np.zeros((8, 12), bool), np.zeros((8, 12), bool)),
}
HERE, BELOW = np.diag([2.0, 0, 2, 2]), np.array([[0.0, 0], [0, 3]])


def page_of(*views, colours=LIGHT):
    return PAGE.format(body="".join(v._repr_html_() for v in views), **colours)


@pytest.fixture(scope="module", params=WIDTHS)
def browser(request, tmp_path_factory):
    if not (CHROMIUM and DRIVER):
        missing("no Chromium to read the viewers with: `apt-get install chromium chromium-driver`, or their like, on the PATH")
    one = Browser(WIDTHS[request.param], tmp_path_factory.mktemp("profile"))
    yield one
    one.driver.quit()


@pytest.fixture(scope="module")
def five():
    scan, truth, answers = made()
    return [
        viewer.ct(scan, "ct-one", truth, answers[2] > 0.5),
        viewer.threshold(scan, answers[2], "cut-one", truth),
        viewer.epochs(scan, answers, "growing-one", truth, of=16),
        viewer.two_masks("paint-one", EXAMPLES),
        viewer.spatial_attention("map-one", HERE, BELOW),
    ]


@pytest.fixture(params=[LIGHT, DARK], ids=["light", "dark"])
def page(request, browser, five, tmp_path):
    """All five on one page, read from a folder."""
    path = tmp_path / "page.html"
    path.write_text(page_of(*five, colours=request.param))
    opened(browser, path)
    return browser


@pytest.fixture
def light(browser, five, tmp_path):
    path = tmp_path / "page.html"
    path.write_text(page_of(*five))
    opened(browser, path)
    return browser


def opened(browser, path):
    browser.open(path.as_uri())
    browser.wait("[...document.querySelectorAll('.scoat-viewer')].every(v => v.dataset.ready)", "every viewer ready", 10)


def text(browser, where):
    return browser.run(f"return [...document.querySelectorAll('{where}')].map(e => e.textContent).join(' | ')")


def slide(browser, root, label, value):
    """Move the slider of a label, as a hand or a key does."""
    return browser.run(
        """const [root, label, value] = arguments;
        const row = [...document.querySelectorAll(`#${root} label`)].find(l => l.textContent.startsWith(label));
        const input = row.control; input.value = value; input.dispatchEvent(new Event('input'));
        return input.getAttribute('aria-valuetext')""",
        root,
        label,
        value,
    )


def ink(browser, root):
    """A sum over a canvas's dots, which changes when the picture does."""
    return browser.run(
        f"const c = document.querySelector('#{root} canvas'),"
        "d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
        "let s = 0; for (let k = 0; k < d.length; k += 7) s = (s * 31 + d[k]) % 1000003; return s"
    )


def press(browser, root, *keys):
    from selenium.webdriver import ActionChains

    browser.run("document.querySelector('#' + arguments[0]).focus()", root)
    chain = ActionChains(browser.driver)
    for key in keys:
        if isinstance(key, tuple):
            chain.key_down(key[0]).send_keys(key[1]).key_up(key[0])
        else:
            chain.send_keys(key)
    chain.perform()


# every viewer


def test_nothing_is_said_asked_or_lost(page):
    assert not page.errors
    assert not page.outside
    assert page.run("return document.documentElement.scrollWidth") <= page.width
    wide = "[...document.querySelectorAll('.scoat-viewer *')].filter(e => e.getBoundingClientRect().right > innerWidth + 1)"
    assert page.run(f"return {wide}.map(e => e.outerHTML.slice(0, 120))") == []
    assert page.run("return document.querySelectorAll('.still').length") == 0


def test_axe_finds_nothing(page, axe):  # noqa: F811
    assert not page.check(axe, {})


def test_every_control_says_what_it_is(light):
    names = light.run(
        "return [...document.querySelectorAll('.scoat-viewer :is(input, select, button, canvas)')].map(e => "
        "(e.labels?.[0]?.textContent ?? e.getAttribute('aria-label') ?? e.textContent).trim())"
    )
    assert len(names) > 25
    assert all(names)
    spoken = light.run("return [...document.querySelectorAll('input[type=range]')].map(e => e.getAttribute('aria-valuetext'))")
    assert "−500 HU" in spoken
    assert "3 of 16" in spoken
    assert "0.50" in spoken


def test_what_a_key_reaches_can_be_seen_and_touched(light):
    small = light.run(
        "return [...document.querySelectorAll('.scoat-viewer :is(input, select, button, td[tabindex])')].filter(e => "
        "{ const b = (e.type === 'checkbox' ? e.closest('label') : e).getBoundingClientRect(); "
        "return b.width < 24 || b.height < 24; }).map(e => e.outerHTML)"
    )
    assert not small


def test_canvases_have_a_dot_for_each_of_the_screens(light):
    dots = light.run("return [...document.querySelectorAll('canvas')].map(c => [c.width / c.clientWidth, c.width])")
    assert all(abs(ratio - 1) < 0.02 and wide > 250 for ratio, wide in dots)
    light.run(
        "Object.defineProperty(window, 'devicePixelRatio', {value: 2}); document.querySelector('main').style.width = '240px'"
    )
    light.wait("[...document.querySelectorAll('canvas')].every(c => c.width === 2 * c.clientWidth)", "twice as many dots", 5)


def test_print_keeps_the_picture_and_no_control(light):
    light.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        shown = "[...document.querySelectorAll('.scoat-viewer {}')].filter(e => e.checkVisibility()).length"
        assert light.run("return " + shown.format(":is(.controls, details)")) == 0
        assert light.run("return " + shown.format("canvas")) == 4
    finally:
        light.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_without_scripts_a_picture_and_a_sentence_stand(browser, five, tmp_path):
    path = tmp_path / "still.html"
    path.write_text(page_of(*five))
    browser.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.driver.get(path.as_uri())
        stills = browser.driver.find_elements("css selector", ".still img")
        assert len(stills) == 4
        assert all(s.is_displayed() and s.get_attribute("alt") and s.size["width"] > 200 for s in stills)
        notes = browser.driver.find_elements("css selector", ".still noscript p")
        assert len(notes) == 5
        assert all(n.is_displayed() for n in notes)
    finally:
        browser.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_a_page_without_what_unpacks_keeps_its_picture(browser, five, tmp_path):
    """An old browser has no DecompressionStream."""
    path = tmp_path / "old.html"
    path.write_text(page_of(five[0]).replace("<body>", "<body><script>delete window.DecompressionStream</script>"))
    browser.open(path.as_uri())
    browser.wait("document.querySelector('.still p:not(noscript p)')", "a sentence", 5)
    assert browser.run("return document.querySelectorAll('.still img').length") == 1
    assert not browser.errors


# a scan


def test_hu_under_the_pointer_is_the_scans(light):
    from selenium.webdriver import ActionChains

    scan, truth, _ = made()
    canvas = light.driver.find_element("css selector", "#ct-one canvas")
    light.run("arguments[0].scrollIntoView({block: 'center'})", canvas)
    box = canvas.size
    for row, column in ((3, 5), (10, 12), (19, 23)):
        x = (column + 0.5) / 24 * box["width"] - box["width"] / 2
        y = (row + 0.5) / 20 * box["height"] - box["height"] / 2
        ActionChains(light.driver).move_to_element_with_offset(canvas, x, y).perform()
        said = text(light, "#ct-one .says")
        z = int(truth.sum((1, 2)).argmax())
        assert f"row {row}, column {column}: " in said
        hu = float(said.split(": ")[1].split(" HU")[0].replace("−", "-"))
        assert abs(hu - scan.axial()[z, row, column]) <= viewer.STEP / 2


def test_the_predictions_outline_is_dashed_and_the_truths_is_not(browser, tmp_path):
    """Cells smaller than a dash: a border drawn voxel by voxel begins its dashes anew at each and looks solid."""
    block = np.zeros((1, 120, 120), bool)
    block[0, 30:90, 30:90] = True
    scan = Scan(np.full((120, 120, 1), -1000, np.float32), np.diag([-1.0, -1.0, 5.0, 1.0]))
    path = tmp_path / "page.html"
    path.write_text(page_of(viewer.ct(scan, "ct-dashes", block, block)))
    opened(browser, path)
    along = """const c = document.querySelector('#ct-dashes canvas'), n = c.width / 2 | 0;
        const d = c.getContext('2d').getImageData(c.width / 4 + 8, c.height / 4, n - 16, 1).data;
        return Array.from({length: n - 16}, (_, k) => d[4 * k + arguments[0]] > 150)"""
    tick = (
        "[...document.querySelectorAll('#ct-dashes .tick')].find(t => t.textContent.includes('{}')).firstElementChild.click()"
    )
    browser.run(tick.format("prediction"))
    assert all(browser.run(along, 0))
    browser.run(tick.format("prediction"))
    browser.run(tick.format("truth"))
    cyan = np.array(browser.run(along, 2))
    assert 0.4 < cyan.mean() < 0.8  # three parts drawn, two left out
    assert (np.diff(cyan.astype(int)) == 1).sum() > 5


def test_a_scan_moves_by_keys_wheel_and_slider(light):
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.keys import Keys

    light.run("document.querySelector('#ct-one canvas').scrollIntoView({block: 'center'})")
    before = ink(light, "ct-one")
    assert "slice 2 of 6" in text(light, "#ct-one .says")
    press(light, "ct-one canvas", Keys.ARROW_UP)
    assert "slice 3 of 6" in text(light, "#ct-one .says")
    assert ink(light, "ct-one") != before
    press(light, "ct-one canvas", Keys.PAGE_UP)
    assert "slice 6 of 6" in text(light, "#ct-one .says")
    press(light, "ct-one canvas", (Keys.SHIFT, Keys.ARROW_LEFT))
    assert "row 10, column 11: " in text(light, "#ct-one .says")
    assert slide(light, "ct-one", "slice", 0) == "1 of 6"
    assert "slice 1 of 6" in text(light, "#ct-one .says")
    canvas = light.driver.find_element("css selector", "#ct-one canvas")
    ActionChains(light.driver).move_to_element(canvas).perform()
    place = light.run("const b = arguments[0].getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]", canvas)
    wheel = {"type": "mouseWheel", "x": place[0], "y": place[1], "deltaX": 0, "deltaY": -100}
    light.driver.execute_cdp_cmd("Input.dispatchMouseEvent", wheel)
    light.wait("document.querySelector('#ct-one .says').textContent.includes('slice 2 of 6')", "the wheel's slice", 5)


def test_the_window_is_dragged_set_and_said(light):
    from selenium.webdriver import ActionChains

    canvas = light.driver.find_element("css selector", "#ct-one canvas")
    light.run("arguments[0].scrollIntoView({block: 'center'})", canvas)
    before = ink(light, "ct-one")
    ActionChains(light.driver).move_to_element(canvas).click_and_hold().move_by_offset(40, 20).release().perform()
    assert "−450 HU" in text(light, "#ct-one .control")
    assert "1700 HU, black below −1300, white above 400" in text(light, "#ct-one .control")
    assert ink(light, "ct-one") != before
    light.run("[...document.querySelectorAll('#ct-one button')].find(b => b.textContent.startsWith('soft')).click()")
    assert "black below −160, white above 240" in text(light, "#ct-one .control")
    assert slide(light, "ct-one", "window: level", -650) == "−650 HU"
    assert "black below −850, white above −450" in text(light, "#ct-one .control")


def test_masks_turn_on_and_off(light):
    light.run("document.querySelector('#ct-one canvas').scrollIntoView({block: 'center'})")
    seen = {ink(light, "ct-one")}
    for tick in light.driver.find_elements("css selector", "#ct-one input[type=checkbox]"):
        light.run("arguments[0].click()", tick)
        seen.add(ink(light, "ct-one"))
    assert len(seen) == 3


@pytest.mark.parametrize("at", [0, 24, 49, 88])
def test_volume_and_dsc_at_a_threshold_are_pythons(light, at):
    scan, truth, answers = made()
    cut = viewer.THRESHOLDS[at]
    assert slide(light, "cut-one", "threshold", at) == f"{cut:.2f}"
    mask = answers[2] > cut
    said = text(light, "#cut-one .counts")
    assert f"truth {truth.sum() * scan.voxel_volume / 1000:.1f} cm³" in said
    assert f"prediction {mask.sum() * scan.voxel_volume / 1000:.1f} cm³" in said
    assert f"DSC {metrics.evaluate(mask, truth)['DSC']:.2f}" in said


def test_a_mask_grows_with_the_epochs(light):
    scan, _, answers = made()
    light.run("document.querySelector('#growing-one canvas').scrollIntoView({block: 'center'})")
    seen = set()
    for epoch in range(3):
        assert slide(light, "growing-one", "epoch", epoch) == f"{epoch + 1} of 16"
        mask = answers[epoch] > 0.5
        assert f"prediction {mask.sum() * scan.voxel_volume / 1000:.1f} cm³" in text(light, "#growing-one .counts")
        seen.add(ink(light, "growing-one"))
    assert len(seen) == 3


# two masks


def test_the_metrics_of_painted_masks_are_pythons(light):
    """What stands on the page, and the numbers behind it, against scoat_lib.metrics on random masks with every reading."""
    rng = np.random.default_rng(0)
    pairs = [rng.random((2, 8, 12)) < rng.choice([0, 0.1, 0.3, 0.6, 1], 2)[:, None, None] for _ in range(40)]
    readings = [(connectivity, how) for connectivity in ("full", "face") for how in metrics.FOUND]
    all_shown = light.run(
        """const [pairs, readings] = arguments, v = document.querySelector('#paint-one');
        return pairs.map(([truth, found]) => readings.map(([connectivity, how]) => {
          v.masks.truth.set(truth); v.masks.prediction.set(found); Object.assign(v.state, {connectivity, found: how}); v.draw();
          return [v.result(), [...v.querySelectorAll('.scores td:nth-child(2)')].map(e => e.textContent)]; }))""",
        [[m.ravel().astype(int).tolist() for m in pair] for pair in pairs],
        readings,
    )
    for (truth, found), of_pair in zip(pairs, all_shown, strict=True):
        for (connectivity, how), (numbers, shown) in zip(readings, of_pair, strict=True):
            expected = metrics.evaluate(found, truth, connectivity=connectivity, found=how)
            counts = metrics.count(found, truth, connectivity=connectivity, found=how)
            assert {k: numbers[k] for k in metrics.METRICS} == pytest.approx(expected, abs=1e-12), (connectivity, how)
            assert {k: numbers[k] for k in ("tp", "Na", "Np", "Nb", "Nt")}.items() <= counts.items()
            assert [float(s.replace("−", "-")) for s in shown] == pytest.approx(list(expected.values()), abs=0.00501)
            labels, n = metrics.regions(found, connectivity)
            assert {divmod(one["at"], 12) for one in numbers["predicted"]} == set(metrics.centres(labels, n))


def test_masks_are_painted_by_hand_and_by_keys(light):
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.keys import Keys

    total = "Array.from(document.querySelector('#paint-one').masks.prediction).reduce((a, b) => a + b)"
    light.run("[...document.querySelectorAll('#paint-one button')][0].click()")
    assert light.run(f"return {total}") == 0
    canvas = light.driver.find_element("css selector", "#paint-one canvas")
    light.run("arguments[0].scrollIntoView({block: 'center'})", canvas)
    cell = canvas.size["width"] / 12
    hand = ActionChains(light.driver).move_to_element_with_offset(canvas, cell / 2, cell / 2).click_and_hold()
    hand.move_by_offset(round(2 * cell), 0).release().perform()  # a fast hand leaves no gap
    assert light.run(f"return {total}") == 3
    press(light, "paint-one canvas", Keys.ARROW_DOWN, " ", Keys.ARROW_DOWN, " ")
    assert light.run(f"return {total}") == 5
    assert "prediction" in text(light, "#paint-one .says")
    touch(light, canvas, [(1, 1), (1, 2), (1, 3)], cell)
    assert light.run(f"return {total}") == 8


def touch(browser, element, cells, size):
    """A finger over the squares (row, column) of an element."""
    left, top = browser.run("const b = arguments[0].getBoundingClientRect(); return [b.x, b.y]", element)
    send = functools.partial(browser.driver.execute_cdp_cmd, "Input.dispatchTouchEvent")
    for number, (row, column) in enumerate(cells):
        point = {"x": left + (column + 0.5) * size, "y": top + (row + 0.5) * size}
        send({"type": "touchMove" if number else "touchStart", "touchPoints": [point]})
    send({"type": "touchEnd", "touchPoints": []})


# a map


def arithmetic(here, below, beta):
    """Equations 1 and 2 by the package: one channel, convolutions of weight 1, batch norms that do nothing but what is said."""
    up = torch.nn.functional.interpolate(torch.tensor(below)[None, None], scale_factor=2, mode="bilinear").double()
    skip = torch.tensor(here)[None, None].double()
    module = SpatialAttention(1, 1, 1).double().eval()
    mean = (skip.relu() + up.relu()).mean()
    with torch.no_grad():
        for part in (module.from_skip, module.from_up, module.to_map):
            part[0].weight.fill_(1)
            part[1].running_var.fill_(1 - part[1].eps)
        module.to_map[1].running_mean.fill_(mean)
        module.to_map[1].bias.fill_(beta)
        x_s, x_M = module(skip, up)
    return up.ravel().tolist(), x_M.ravel().tolist(), x_s.ravel().tolist()


def test_the_painted_map_is_the_packages(light):
    rng = np.random.default_rng(1)
    for beta in (-8, -1.5, 0, 4):
        here, below = rng.integers(0, 13, 16) / 2, rng.integers(0, 13, 4) / 2
        slide(light, "map-one", "β", beta)
        got = light.run(
            """const [here, below] = arguments, v = document.querySelector('#map-one');
            v.state.here = here; v.state.below = below;
            v.querySelector('.control:nth-child(2) input').dispatchEvent(new Event('input')); return v.state.result""",
            here.tolist(),
            below.tolist(),
        )
        up, x_M, x_s = arithmetic(here.reshape(4, 4), below.reshape(2, 2), beta)
        assert got["up"] == pytest.approx(up, abs=1e-9)
        assert got["x_M"] == pytest.approx(x_M, abs=1e-9)
        assert got["x_s"] == pytest.approx(x_s, abs=1e-9)
        cells = light.run("return [...document.querySelectorAll('#map-one table:nth-child(4) td')].map(e => e.textContent)")
        assert [float(c) for c in cells] == pytest.approx(x_M, abs=0.00501)


def test_a_map_is_painted_by_hand_by_keys_and_by_touch(light):
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.keys import Keys

    here = "document.querySelector('#map-one').state.here"
    slide(light, "map-one", "paint with", 4.5)
    cells = light.driver.find_elements("css selector", "#map-one table:nth-child(1) td")
    light.run("arguments[0].scrollIntoView({block: 'center'})", cells[0])
    ActionChains(light.driver).move_to_element(cells[4]).click_and_hold().move_to_element(cells[5]).release().perform()
    assert light.run(f"return {here}")[4:6] == [4.5, 4.5]
    press(light, "map-one td[tabindex='0']", Keys.ARROW_RIGHT, "6", Keys.ARROW_DOWN, " ")
    assert light.run(f"return {here}")[1] == 6
    assert "6.0" in text(light, "#map-one table:nth-child(1) td:nth-child(2)")
    size = cells[0].size["width"] + 2
    touch(light, cells[12], [(0, 0), (0, 1)], size)
    assert light.run(f"return {here}")[12:14] == [4.5, 4.5]


# a node of Figure 1


@pytest.fixture(params=[LIGHT, DARK], ids=["light", "dark"])
def figure1(request, browser, tmp_path):
    """The grids of UNet++ and SCOAT-Net on one page."""
    path = tmp_path / "grids.html"
    path.write_text(page_of(drawings.grid("unetpp"), drawings.grid("scoatnet"), colours=request.param))
    browser.open(path.as_uri())
    browser.wait("document.querySelectorAll('[data-ready]').length === 2", "both grids ready", 10)
    assert not browser.errors
    assert not browser.outside
    return browser


def lit(browser, root):
    """How strongly each connection of a grid is drawn, by where it ends: {"12": {opacities}}, and the words below."""
    edges = browser.run(
        f"return [...document.querySelectorAll('#{root} g[class^=p-] .e')].map(e => "
        "[/to(\\d\\d)/.exec(e.className.baseVal)[1], Number(getComputedStyle(e).opacity)])"
    )
    found = {}
    for end, opacity in edges:
        found.setdefault(end, set()).add(opacity)
    return found, text(browser, f"#{root} .says")


def told_alone(browser, root, node, network):
    """Only what goes into a node is drawn in full, and the words are those of `told`."""
    found, words = lit(browser, root)
    assert found[node] == {1}
    assert all(max(values) < 0.2 for end, values in found.items() if end != node)
    lines = drawings.told(network, *map(int, node))["lines"]
    assert words == "".join(re.sub("<[^>]+>", "", line) for line in lines)
    faint = browser.run(f"return [...document.querySelectorAll('#{root} .n.off')].map(e => e.dataset.node)")
    assert not {node, *drawings.told(network, *map(int, node))["takes"]} & set(faint)
    assert len(faint) == 14 - len(drawings.told(network, *map(int, node))["takes"])


def test_a_node_tells_under_the_pointer(figure1):
    from selenium.webdriver import ActionChains

    figure1.run("document.querySelector('#grid-unetpp').scrollIntoView()")
    hint = text(figure1, "#grid-unetpp .says")
    for node in ("11", "20", "00"):
        element = figure1.driver.find_element("css selector", f"#grid-unetpp .n{node} rect")
        ActionChains(figure1.driver).move_to_element(element).perform()
        if node == "00":
            assert "takes the slice, 512 × 512 × 1" in text(figure1, "#grid-unetpp .says")
        else:
            told_alone(figure1, "grid-unetpp", node, "unetpp")
    ActionChains(figure1.driver).move_to_element(figure1.driver.find_element("css selector", "h1")).perform()
    found, words = lit(figure1, "grid-unetpp")
    assert words == hint
    assert min(min(values) for values in found.values()) > 0.5


def test_a_node_tells_by_keys(figure1):
    from selenium.webdriver.common.keys import Keys

    press(figure1, "grid-scoatnet .n10", Keys.ARROW_RIGHT)
    told_alone(figure1, "grid-scoatnet", "11", "scoatnet")
    assert "(6) x(1,1) = HR²(xV × xc) + HR(xc)" in text(figure1, "#grid-scoatnet .says")
    press(figure1, "grid-scoatnet .n11", Keys.ARROW_RIGHT, Keys.ARROW_UP)
    told_alone(figure1, "grid-scoatnet", "02", "scoatnet")
    assert "3 × 64 = 192 channels" in text(figure1, "#grid-scoatnet .says")
    press(figure1, "grid-scoatnet .n02", Keys.ESCAPE)
    assert "Point at a node" in text(figure1, "#grid-scoatnet .says")


def test_a_node_tells_when_tapped(figure1):
    element = figure1.driver.find_element("css selector", "#grid-scoatnet .n10 rect")
    figure1.run("arguments[0].scrollIntoView({block: 'center', inline: 'center'})", element)
    touch(figure1, element, [(0, 0)], 20)
    figure1.wait("document.querySelector('#grid-scoatnet .self')", "a node told", 5)
    told_alone(figure1, "grid-scoatnet", "10", "scoatnet")
    assert "X(1,0) takes" in text(figure1, "#grid-scoatnet .says")


def test_the_words_about_a_node_can_be_read_and_are_seen_by_axe(figure1, axe):  # noqa: F811
    figure1.run("document.querySelector('#grid-scoatnet .n12').focus({preventScroll: true})")
    assert not figure1.check(axe, {})
    assert figure1.run("return document.documentElement.scrollWidth") <= figure1.width
    assert figure1.run(
        "const b = document.querySelector('#grid-scoatnet .says').getBoundingClientRect(); return b.right <= innerWidth"
    )


# python's side


def test_arithmetic_runs_without_a_browser():
    """Node reads the same files: equation 10 of a C, bilinear enlargement, the volumes of a threshold."""
    node = shutil.which("node")
    if not node:
        missing("no node to run the scripts' arithmetic with: `apt-get install nodejs`")
    source = "\n".join(s.read_text() for s in SCRIPTS if s.stem in ("metrics", "attention", "scan"))
    rng = np.random.default_rng(5)
    c_shape = np.zeros((7, 7), bool)
    c_shape[1:6, 1:6], c_shape[2:5, 2:6] = True, False
    probability, truth, below = rng.random(500), rng.random(500) < 0.3, rng.random((2, 2)) * 5
    steps = np.searchsorted(viewer.THRESHOLDS, probability)
    asked = (
        f"const mask = {json.dumps(c_shape.ravel().astype(int).tolist())};"
        "const at = regionsOf(mask, 7, 7, 'full').members.map((m) => centreOf(m, 7).at);"
        f"const levels = {json.dumps(steps.tolist())}, truth = {json.dumps(truth.astype(int).tolist())};"
        f"const sums = volumes(levels, truth, {len(viewer.THRESHOLDS)});"
        f"console.log(JSON.stringify([at, enlarge({json.dumps(below.ravel().tolist())}, 2), [...sums.above], [...sums.hits]]));"
    )
    done = subprocess.run([node, "-e", f"{source}\n{asked}"], capture_output=True, text=True, check=True)
    at, large, above, hits = json.loads(done.stdout)
    assert divmod(at[0], 7) == metrics.region_centre(c_shape)
    assert large == pytest.approx(arithmetic(np.zeros((4, 4)), below, 0)[0], abs=1e-6)
    for index, cut in enumerate(viewer.THRESHOLDS):
        assert above[index + 1] == (probability > cut).sum()
        assert hits[index + 1] == ((probability > cut) & truth).sum()


def test_viewers_are_the_same_each_time_and_small():
    scan, truth, answers = made()
    for one in (lambda: viewer.epochs(scan, answers, "a", truth), lambda: viewer.two_masks("b", EXAMPLES)):
        assert one()._repr_html_() == one()._repr_html_()
    scripts = sum(p.stat().st_size for p in SCRIPTS)
    assert scripts < 40_000
    assert len(viewer.ct(scan, "c")._repr_html_()) < 40_000


def test_what_cannot_be_shown_is_refused():
    scan, truth, answers = made()
    for wrong, words in (
        (lambda: viewer.ct(scan, "c", truth[:3]), "must be equal"),
        (lambda: viewer.ct(scan, "no space"), "a viewer's name"),
        (lambda: viewer.ct(scan, "c", start=6), "slice 6 of a scan of 6"),
        (lambda: viewer.threshold(scan, answers[0], "c", at=0.333), "not one of the steps"),
        (lambda: viewer.epochs(scan, [], "c"), "at least one epoch"),
        (lambda: viewer.two_masks("c", {"a": (truth[0], truth[0, :4])}), "one shape"),
        (lambda: viewer.spatial_attention("c", HERE, HERE), "are meant"),
    ):
        with pytest.raises(ValueError, match=words):
            wrong()


def test_scripts_are_installed_with_the_package():
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["scoat_lib"]
    assert SCRIPTS
    for script in SCRIPTS:
        assert any(script.relative_to(ROOT / "scoat_lib").match(pattern) for pattern in wanted)
        assert not [w for w in ("http://", "https://", "fetch(", "import(", "</script") if w in script.read_text()]


def test_every_name_of_a_viewer_stands_once_on_a_page_and_its_script_is_todays():
    for notebook in sorted(Path(ROOT / "book").glob("*.ipynb")):
        names = []
        for cell in json.loads(notebook.read_text())["cells"]:
            for output in cell.get("outputs", []):
                source = "".join(output.get("data", {}).get("text/html", ""))
                if 'class="scoat-viewer"' in source:
                    names.append(source.split(' id="')[1].split('"')[0])
                    assert f"<style>{viewer.source('viewers.css')}</style>" in source, f"run {notebook.name} again"
                    assert sum(s.read_text() in source for s in SCRIPTS) >= 2, f"run {notebook.name} again"
                if 'id="grid-' in source:
                    assert viewer.source("grid.js") in source, f"run {notebook.name} again"
        assert len(names) == len(set(names)), notebook.name
