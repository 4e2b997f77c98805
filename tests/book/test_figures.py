"""The pictures of the chapters: one style, one width, one colour for one thing; what a picture is said to show is in it."""

import ast
import re
import sys
from pathlib import Path

import matplotlib
import nbformat
import numpy as np
import pytest

matplotlib.use("agg")

from matplotlib import pyplot as plt

from scoat_lib import anatomy, findings, phantom, plots

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "book"))
import gallery  # noqa: E402

CHAPTERS = {p.stem: nbformat.read(p, 4) for p in sorted((ROOT / "book").glob("[0-9][0-9]-*.ipynb"))}
FULL, PHONE = plots.WIDTH, 4.2  # inches: the column of a page, and what a phone shows whole


def code(name):
    return [c.source for c in CHAPTERS[name].cells if c.cell_type == "code"]


def figure(chapter, name):
    return next(c for c in CHAPTERS[chapter].cells if c.metadata.get("mystnb", {}).get("figure", {}).get("name") == name)


@pytest.mark.parametrize("name", CHAPTERS)
def test_a_chapter_sets_the_books_style_before_its_first_figure_and_none_of_its_own(name):
    sources = code(name)
    assert not [s for s in sources if "rcParams" in s]
    draws = [k for k, s in enumerate(sources) if re.search(r"plt\.subplots|plots\.(?!style)\w+\(|\.plot\.", s)]
    styled = [k for k, s in enumerate(sources) if re.search(r"^plots\.style\(\)$", s, re.M)]
    assert len(styled) == 1
    assert styled[0] < min(draws)
    assert "check_scale(scale)" in sources[styled[0]], "a cell that sets the chapter up"


@pytest.mark.parametrize("name", CHAPTERS)
def test_figures_have_the_width_of_the_page_or_of_a_phone(name):
    for source in code(name):
        for width in re.findall(r"figsize=\(([\d.]+),", source):
            assert float(width) == (PHONE if "plots.NARROW" in source else FULL), source[:80]
        assert "fontsize=9" not in source, "the style's own size"


@pytest.mark.parametrize("name", CHAPTERS)
def test_colours_of_networks_losses_lesions_and_maps_are_the_packages(name):
    """Chapter 8 paints squares of its own: found and missed there are mixtures of the two masks' colours."""
    own = {"08-metrics": {"#ff8d85", "#6fd6de", "#5b5f97", "#b00020", "#ededed"}}.get(name, set())
    for source in code(name):
        assert set(re.findall(r"#[0-9a-fA-F]{6}\b", source)) <= own, source[:80]
        assert not re.search(r"cmap=.(magma|inferno|viridis|plasma|hot|jet)", source), source[:80]
        assert not re.search(r"imshow\([^\n]*(maps\[|probabilit)", source), "show_map has the colours of all maps"


def test_a_thing_has_one_colour_on_the_front_page_in_the_gallery_and_in_the_chapters():
    css = (ROOT / "book" / "_static" / "book.css").read_text()
    alone = gallery.alone('<svg><path class="truth"/></svg>')
    for name, colour in (("truth", plots.TRUTH), ("prediction", plots.PREDICTION)):
        rules = [*re.findall(rf"^\.front-frames \.{name} {{(.*?)}}", css, re.M), *re.findall(rf"\.{name}{{(.*?)}}", alone)]
        assert len(rules) == 2
        for rule in rules:
            plain = rule.replace(" ", "")
            assert f"stroke:{colour}" in plain
            assert "fill:none" in plain
            assert ("dasharray" in plain) == (name == "prediction")


def test_each_pattern_of_chapter_1_is_where_the_picture_is_cut():
    cell = figure("01-lungs-in-ct", "fig-patterns")
    space = {"phantom": phantom}
    made = next(s for s in cell.source.splitlines() if s.startswith("drawn = "))
    places = next(s for s in cell.source.splitlines() if s.startswith("places = "))
    exec(made + "\n" + places, space)  # at the size of the picture: a coarser grid puts some lesions elsewhere
    assert list(space["places"]) == ["ground glass", "consolidation", "crazy paving"]
    kinds = space["drawn"].kinds.axial()
    for name, (k, row, column) in space["places"].items():
        cut = kinds[k, row - 60 : row + 60, column - 60 : column + 60]
        counted = np.bincount(cut[cut > 0], minlength=5)[1:]
        assert anatomy.KINDS[counted.argmax()] == name
        assert counted.max() > 0.05 * cut.size
        if name == "consolidation":  # the page: "This one holds no air bronchogram"
            filled = cut == 1 + anatomy.KINDS.index(name)
            assert not (filled & (space["drawn"].airways.axial()[k, row - 60 : row + 60, column - 60 : column + 60] > 0)).any()


def cells_of_followed_runs():
    """Chapter 14's figure of followed runs and the cell of its words, which stands behind it."""
    cells = CHAPTERS["14-attention-maps"].cells
    first = cells.index(figure("14-attention-maps", "fig-real-maps"))
    return cells[first : first + 2]


def run(count):
    """Chapter 14's two cells over so many made-up runs: the figures and the texts that they show."""
    patients = [f"p{k}" for k in range(6)]
    runs = [
        {
            "recipe": {"fold": k, "seed": 0},
            "folds": {"test": patients[3 * k : 3 * k + 3]},
            "attention": {kind: {p: [0.9, 0.8, 0.7] for p in patients} for kind in ("nodes", "contrast", "epochs")},
        }
        for k in range(count)
    ]
    said = []
    space = {"followed": runs, "results": [], "FIGURE5": ("X(1,1)", "X(2,2)", "X(1,3)"), "plots": plots, "plt": plt}
    space |= {"findings": findings, "Markdown": str, "display": said.append}
    plt.close("all")
    for cell in cells_of_followed_runs():
        exec(cell.source.replace("plt.show()", ""), space)
    figures = [plt.figure(number) for number in plt.get_fignums()]
    return figures, said


def test_14_without_measured_maps_shows_neither_figure_nor_what_to_look_at():
    assert run(0) == ([], [])
    for cell in cells_of_followed_runs():
        assert "remove-input" in cell.metadata.tags, "no folded code over nothing"
    sentence = "The maps of no run were measured on real scans yet."
    assert sum(sentence in source for source in code("14-attention-maps")) == 1
    markdown = "\n".join(c.source for c in CHAPTERS["14-attention-maps"].cells if c.cell_type == "markdown")
    assert "claim 5a" not in markdown, "what is to be seen is said where it is to be seen"


def test_14_with_measured_maps_shows_both():
    (drawn,), (said,) = run(2)
    assert len(drawn.axes) == 3
    assert [t.get_text() for t in drawn.legends[0].get_texts()] == ["fold 0, seed 0", "fold 1, seed 0"]
    assert said.startswith("**What to look at.**")
    assert "5a" in said
    assert "\n- Claim" in said, "asked and answered"
    plt.close("all")


@pytest.mark.parametrize(
    ("chapter", "name"),
    [("04-spatial-attention", "fig-wish"), ("07-losses", "fig-one-in-a-hundred"), ("11-losses-compared", "fig-unsure-edge")],
)
def test_anatomy_is_drawn_in_the_pixels_of_a_clinical_scan(chapter, name):
    made = [
        node for node in ast.walk(ast.parse(figure(chapter, name).source))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "phantom.patient"
    ]  # fmt: skip
    assert [ast.literal_eval(call.args[1])[:2] for call in made] == [(512, 512)]
