"""How the chapters are told: captions, tables, hints, exercises of each kind, and what was found, with numbers."""

import io
import re
import tokenize
from itertools import pairwise
from pathlib import Path

import nbformat
import pytest

BOOK = Path(__file__).parents[2] / "book"
TOLD = ("02", "05", "07", "11", "14", "16", "17")
NOTEBOOKS = {path.name[:2]: nbformat.read(path, 4) for path in sorted(BOOK.glob("[0-9][0-9]-*.ipynb"))}
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


@pytest.mark.parametrize("number", NOTEBOOKS)
def test_every_exercise_has_a_hint(number):
    exercises = re.findall(DIRECTIVE % ("exercise-start", "solution-start"), markdown(NOTEBOOKS[number]), flags=re.S)
    assert len(exercises) >= 5
    for title, body in exercises:
        assert "```{admonition} Hint\n:class: tip dropdown\n" in body, title


ASKS = r"(Compare|Look|Read|Go|Count|Cover|Follow|Then|First|Once)\b"  # how a sentence begins that sends a reader to look
POINTS = (  # and what a sentence says that sends them elsewhere for the answer
    r"\b(sentences?|lines?|lists?|tables?)\b[^.]*\b(says? (it|so)|has|have|gives?|counts?|names?)\b|^It says\b|^The verdicts?\b"
    r"|\bare in words\b|\bnothing (is|can be) said\b|has the (measure|verdict)"
)


def unanswered(text, computed=False):
    """The questions of a passage that no statement follows first. computed: the next cell makes a sentence of numbers."""
    sentences = [s for s in re.split(r"(?<=[.?!:])\s+", re.sub(r"[*_]", "", text).strip()) if s]
    asked = [k for k, s in enumerate(sentences) if s.endswith("?")]
    if not asked:
        return [] if any(not re.match(ASKS, s) and not re.search(POINTS, s) for s in sentences) else [text]
    left = []
    for k, following in zip(asked, [*asked[1:], len(sentences)], strict=True):
        several = following == k + 1 and following < len(sentences)  # the next sentence asks on: one answer for both
        last = following == len(sentences)
        first = next((s for s in sentences[k + 1 : following] if not re.match(ASKS, s)), "It says")
        if not several and re.search(POINTS, first) and not (last and computed):
            left.append(sentences[k])
    return left


@pytest.mark.parametrize(
    "text",
    [
        "Does any row hold two different words? The sentence above says it.",
        "Does any single map matter, and do all of them together? The sentences under the table have the numbers.",
        "Count the patients on each side of zero. Does the mean still lie on the same side? The last line above says it.",
        "Is MAE's row the lowest, and does any loss hold? Where a row says *not run*, nothing can be said yet.",
        "Once both are run, a table gives the difference over the patients that both have. It says what knowing it is worth.",
        "Do the lines fall? Do they fall along the epochs? The verdicts are claims 5a to 5c. They are in words at the end.",
    ],
)
def test_a_passage_that_only_asks_is_seen(text):
    assert unanswered(text)
    assert "?" not in text or unanswered(f"{text} Whatever it is, it is a choice.")
    assert not unanswered(re.sub(r"(\?|^Once[^.]*\.)(?!.*\?)", r"\1 It does, by three points.", text))


@pytest.mark.parametrize("number", NOTEBOOKS)
def test_what_to_look_at_is_answered_right_there(number):
    """By the passage itself, or by the next cell, which makes a sentence of what was measured."""
    cells = NOTEBOOKS[number].cells
    for cell, after in zip(cells, [*cells[1:], None], strict=True):
        for match in re.finditer(r"\*\*What to look at\.\*\*(.*?)(?=\n\n|\Z)", cell.source, flags=re.S):
            at_the_end = match.end() == len(cell.source.rstrip())
            computed = at_the_end and after is not None and "display(Markdown(" in after.source
            listed = re.match(r"\n\n(- .*?)(\n\n|\Z)", cell.source[match.end() :], flags=re.S)
            beside = match[1] + listed[1] if listed else ""
            assert not unanswered(match[1], computed) or (beside and not unanswered(beside)), match[0][:120]


ELSEWHERE = (  # words for a place that moves when a page does
    r"\b(the|these|those) (tables?|plots?|figures?|pictures?|cells?|lists?|sentences?|drawings?|tests?|lines?|rule|example|"
    r"inequality|finding|smoothing|(rank )?correlation|numbers?|ratios|(six|four|three) \w+) (above|below)\b"
    r"(?! (the patient|[\d.]))|\b(as|than|defined|computed|asked|shown|described) (above|below)\b|\((above|below)\)"
    r"|\bthe next cell\b|\bfurther (up|down)\b"
)


@pytest.mark.parametrize("number", NOTEBOOKS)
def test_a_figure_or_table_is_named_and_not_pointed_at(number):
    for cell in NOTEBOOKS[number].cells:
        if cell.cell_type == "markdown":
            text = re.sub(r"```\{admonition\} Predict first.*?```", "", cell.source, flags=re.S)
            found = re.search(ELSEWHERE, text)
            assert not found, text[max(0, found.start() - 60) : found.end() + 20]
    known = {
        n
        for book in NOTEBOOKS.values()
        for c in book.cells
        if (n := c.metadata.get("mystnb", {}).get("figure", {}).get("name"))
    }
    known |= set(re.findall(r":name: (fig-[\w-]+)", markdown(NOTEBOOKS[number])))
    assert set(re.findall(r"\{numref\}`(?:[^`<]*<)?(fig-[\w-]+)", markdown(NOTEBOOKS[number]))) <= known


def crooked(source):
    """The lines of a cell that do not stand where the first line of their bracket stands; comments, where their code does."""
    magic = re.sub(r"^(\s*)[%!].*$", r"\1pass", source, flags=re.M)
    found, first, before = [], [], 0
    for token in tokenize.generate_tokens(io.StringIO(magic).readline):
        line, column = token.start
        if token.type in (tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER):
            continue
        if line != before and first and token.type != tokenize.COMMENT and token.string not in ")]}":
            first[-1] = column if first[-1] is None else first[-1]
            if column != first[-1]:
                found.append(token.line)
        before = line
        if token.type == tokenize.OP and token.string in "([{":
            first.append(None)
        elif token.type == tokenize.OP and token.string in ")]}":
            first.pop()
    lines = magic.splitlines()
    for line, following in pairwise(lines):
        comment, code = line.lstrip().startswith("#"), following.strip() and following.lstrip()[0] not in ")]}#"
        if comment and code and re.match(r"\s*", line)[0] != re.match(r"\s*", following)[0]:
            found.append(line)
    return found


def test_a_crooked_line_is_seen():
    assert crooked("x = [\n        1,\n    2,\n]\n")
    assert crooked("def f():\n        # why\n    return 1\n")
    assert crooked('print(\n    f"a {1}"\n        f"b"\n)\n')
    assert not crooked("x = f(\n    [\n        1,\n    ],\n    # why\n    2,\n)\n%matplotlib inline\n")


@pytest.mark.parametrize("number", NOTEBOOKS)
def test_code_stands_straight(number):
    for cell in NOTEBOOKS[number].cells:
        if cell.cell_type == "code":
            assert not crooked(cell.source), cell.source[:80]
