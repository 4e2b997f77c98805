"""Seven chapters as they are told: captions, tables, hints, exercises of each kind, and what was found, with numbers."""

import re
from pathlib import Path

import nbformat
import pytest

BOOK = Path(__file__).parents[2] / "book"
TOLD = ("02", "05", "07", "11", "14", "16", "17")
NOTEBOOKS = {number: nbformat.read(next(BOOK.glob(f"{number}-*.ipynb")), 4) for number in TOLD}
DIRECTIVE = r"```\{%s\} ?(.*?)\n(.*?)(?=```\{%s\})"


def markdown(notebook, outputs=False):
    """The prose in order; with outputs, also the sentences that code displays."""
    parts = []
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            parts.append(cell.source)
        elif outputs:
            parts += [o.data["text/markdown"] for o in cell.outputs if "text/markdown" in o.get("data", {})]
    return "\n\n".join(parts)


def printed(notebook):
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if output.output_type == "stream":
                yield from output.text.splitlines()


@pytest.mark.parametrize("number", TOLD)
def test_no_printed_line_runs_off_and_none_is_a_dictionary(number):
    for line in printed(NOTEBOOKS[number]):
        assert len(line) <= 100, line
        assert not line.startswith(("{", "[{")), line


@pytest.mark.parametrize("number", TOLD)
def test_every_figure_has_a_caption_of_its_own_name(number):
    names = []
    for cell in NOTEBOOKS[number].cells:
        shown = any("image/png" in o.get("data", {}) for o in cell.get("outputs", []))
        if shown or (cell.cell_type == "code" and "viewer.stack(" in cell.source):
            figure = cell.metadata.get("mystnb", {}).get("figure", {})
            assert len(figure.get("caption", "")) > 30, cell.source[:80]
            names.append(figure["name"])
            # the caption would stand below each of several, and its name would be no name
            assert len([o for o in cell.outputs if o.output_type != "stream"]) <= 1, cell.source[:80]
    assert names
    assert len(set(names)) == len(names)


def test_a_figures_name_is_no_other_chapters():
    names = []
    for path in BOOK.glob("*.ipynb"):
        cells = nbformat.read(path, 4).cells
        names += [n for c in cells if (n := c.metadata.get("mystnb", {}).get("figure", {}).get("name"))]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("number", TOLD)
def test_exercises_have_each_kind_a_hint_and_a_reason(number):
    text = markdown(NOTEBOOKS[number])
    exercises = re.findall(DIRECTIVE % ("exercise-start", "solution-start"), text, flags=re.S)
    titles = [title for title, _ in exercises]
    assert any(title.startswith(("On paper", "By eye")) for title in titles)
    assert any(title.startswith("Break it and explain") for title in titles)
    hinted = [title for title, body in exercises if "{admonition} Hint" in body and "dropdown" in body]
    free = [title for title in titles if title not in hinted]
    assert all(title.startswith(("On paper", "By eye")) for title in free), free
    for label, body in re.findall(
        r"\{solution-start\} (\S+)\n:class: dropdown\n```\n(.*?)```\{solution-end\}", text, flags=re.S
    ):
        assert len(body.split()) >= 8, f"{label}: a solution without a sentence"


@pytest.mark.parametrize("number", TOLD)
def test_it_ends_with_what_was_found_in_sentences_with_numbers(number):
    text = markdown(NOTEBOOKS[number], outputs=True)
    found = text[text.index("## What we found") : text.index("## What to read next")]
    assert len(re.findall(r"[.:](?:\s|$)", found)) >= 3
    assert len(re.findall(r"\d", found)) >= 3


@pytest.mark.parametrize("number", TOLD)
def test_what_to_look_at_is_answered(number):
    """A paragraph that says where to look holds more than questions."""
    for part in re.findall(r"\*\*What to look at\.\*\*(.*?)(?=\n## |\Z)", markdown(NOTEBOOKS[number]), flags=re.S):
        sentences = [s for s in re.split(r"(?<=[.?!:])\s", part.strip()) if len(s.split()) > 3]
        assert any(not s.endswith("?") for s in sentences), part[:80]
