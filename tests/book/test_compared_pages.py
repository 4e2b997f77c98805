"""Chapters 10, 12, 13: drawings are the package's, figures have captions, exercises hints; facts are recomputed."""

import re
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest

from scoat_lib import drawings, findings, grids, report, words

ROOT = Path(__file__).parents[2]
NAMES = ("10-cross-validation", "12-networks", "13-attention-compared")
PAGES = {name: nbformat.read(ROOT / "book" / f"{name}.ipynb", 4) for name in NAMES}
DRAWS = r"plt\.(subplots|show)|viewer\.stack|drawings\.(grid|beside|node|network|protocol|path)\("


def prose(name):
    return "\n\n".join(c.source for c in PAGES[name].cells if c.cell_type == "markdown")


def code_cells(name):
    return [c for c in PAGES[name].cells if c.cell_type == "code"]


@pytest.mark.parametrize("name", NAMES)
def test_figures_are_numbered_captioned_and_their_code_is_folded(name):
    names = []
    for cell in code_cells(name):
        tags = cell.metadata.get("tags", [])
        folded = "hide-input" in tags or "remove-input" in tags
        if "parameters" in tags or cell.source.startswith("import"):
            assert folded, cell.source[:60]
        if re.search(DRAWS, cell.source):
            assert folded, cell.source[:60]
            figure = cell.metadata["mystnb"]["figure"]
            assert len(figure["caption"].split()) >= 8, figure
            assert len(cell.metadata["mystnb"]["image"]["alt"]) > 60
            names.append(figure["name"])
    assert len(names) == len(set(names)) >= 5
    for label in re.findall(r"\{numref\}`([^`]+)`", prose(name)):
        known = {m.group(1) for p in ROOT.glob("book/*.ipynb") for m in re.finditer(r'"name": "(fig-[^"]+)"', p.read_text())}
        assert label in known, label


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_printed_that_should_be_a_table(name):
    for cell in code_cells(name):
        for output in cell.outputs:
            data = output.get("data", {})
            text = output.get("text", "")
            assert all(len(line) <= 100 for line in text.splitlines()), text[:120]
            only_text = set(data) == {"text/plain"}
            assert not (only_text and re.match(r"[\[{(]|.*dtype: ", data["text/plain"], re.S)), data["text/plain"][:80]


@pytest.mark.parametrize("name", NAMES)
def test_exercises_have_hints_whys_one_for_the_eye_and_one_to_break(name):
    text = prose(name)
    titles = re.findall(r"\{exercise-start\} (.+)", text)
    assert any(re.match(r"(On paper|By eye)", t) for t in titles), titles
    assert any(t.startswith("Break it and explain") for t in titles), titles
    assert text.count(":class: tip dropdown") >= 4
    for solution in re.findall(r"\{solution-start\}[^\n]*\n:class: dropdown\n```\n(.*?)(?=```\{solution-end\}|\Z)", text, re.S):
        assert len(solution.split("```")[0].split()) >= 8, f"a solution without its why: {solution[:80]!r}"


@pytest.mark.parametrize("name", NAMES)
def test_what_to_look_at_asks_and_answers(name):
    parts = re.findall(r"\*\*What to look at\.\*\*(.*?)(?=\n## |\n\*\*What|\Z)", prose(name), re.S)
    assert len(parts) >= 4
    for part in parts:
        assert "?" in part, f"asks nothing: {part[:80]}"
        assert len(part.split()) > 25, part


DRAWN = [("12-networks", n) for n in ("attention-unet", "cenet", "espnetv2", "pspnet", "denseaspp", "deeplabv3plus")] + [
    ("13-attention-compared", f"unetpp-{n}") for n in ("residual-attention", "attention-gate", "pyramid-attention")
]


@pytest.mark.parametrize(("page", "network"), DRAWN)
def test_the_pages_show_the_drawings_as_the_package_makes_them_now(page, network):
    (cell,) = (c for c in code_cells(page) if c.source == f'drawings.network("{network}")')
    assert "remove-input" in cell.metadata.tags
    shown = "".join(cell.outputs[0]["data"]["text/html"])
    assert shown == drawings.network(network)._repr_html_(), "run the chapter again"


def test_the_protocol_on_the_page_is_that_of_the_runs():
    (cell,) = (c for c in code_cells("10-cross-validation") if "drawings.protocol" in c.source)
    runs = [r for r in words.of_network(report.load(ROOT / "results"), "scoatnet") if r["recipe"]["seed"] == 0]
    assert "".join(cell.outputs[0]["data"]["text/html"]) == drawings.protocol(runs)._repr_html_()
    patients = {more["patient"] for r in runs for more in r["measures"].values()}
    assert cell.outputs[0]["data"]["text/html"].count('class="patient"') == len(patients)


def test_12_a_lesion_of_six_pixels_does_not_pass_stride_8():
    import torch
    from torch.nn import functional as F

    most = []
    for row in range(8, 16):
        mask = torch.zeros(1, 1, 40, 40)
        mask[..., row : row + 6, row : row + 6] = 1
        most.append(F.interpolate(F.avg_pool2d(mask, 8), scale_factor=8, mode="bilinear").max().item())
    text = " ".join(prose("12-networks").split())
    assert max(most) < 0.5
    assert f"covers 36 of the 64 pixels of one field, {100 * 36 / 64:.0f} %" in text
    assert f"the largest value left is {max(most):.2f}" in text


def test_10_how_far_the_mean_of_three_hundred_patients_wanders():
    (cell,) = (c for c in code_cells("10-cross-validation") if "def patients(" in c.source)
    space: dict = {"np": np}
    exec("def patients(" + cell.source.split("def patients(")[1].split("\n\n\n")[0], space)
    means = 100 * space["patients"](300 * 2000, np.random.default_rng(300)).reshape(2000, 300).mean(1)
    low, high = np.percentile(means, [2.5, 97.5])
    assert f"95 % of the means still spread over {high - low:.1f} points" in prose("10-cross-validation")


def test_spread_tells_patients_from_networks():
    frames = {
        n: pd.DataFrame({"DSC": [0.5 + g, 0.7 + g, 0.9 + g]}, index=list("abc")) for n, g in (("U-Net", 0), ("UNet++", 0.02))
    }
    text = findings.compared.spread(report.Table(grids.get("table2"), {}, "d", pd.DataFrame(), frames))
    assert "deviation of 20.0 points" in text
    assert "of 1.4 (2 rows, 3 patients)" in text
    assert "not run" in findings.compared.spread(None)


def test_13_one_plus_keeps_what_five_masks_would_take():
    text = prose("13-attention-compared")
    assert f"0.5⁵ = {100 * 0.5**5:.0f} %" in text
    assert f"1.5⁵ = {1.5**5:.1f} times" in text
