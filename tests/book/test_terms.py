"""One name for one thing: what book/terms.yml forbids stands in no page's prose and in no docstring of the package."""

import ast
import json
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
RULES = yaml.safe_load((ROOT / "book" / "terms.yml").read_text())
SKIPPED = {
    "api",
    "changelog",
    "references",
}  # made from docstrings, which are read themselves; a history; other people's titles


def words(text):
    """Prose without what is code: fenced, in backticks, an address, or a directive's label."""
    text = re.sub(r"```(?:python|text)\n.*?```", " ", text, flags=re.S)
    text = re.sub(r"^:label:.*$|(?<=\{solution-start\}).*$", " ", text, flags=re.M)
    return re.sub(r"`[^`\n]*`|\]\([^)]*\)|https?://\S+", " ", text)


def prose():
    """(name, text) of every page and every module's docstrings."""
    for path in sorted((ROOT / "book").glob("*.ipynb")):
        cells = json.loads(path.read_text())["cells"]
        yield path.stem, words("\n\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown"))
    for path in sorted((ROOT / "book").glob("*.md")):
        if path.stem not in SKIPPED:
            yield path.stem, words(path.read_text())
    for path in sorted((ROOT / "scoat_lib").rglob("*.py")):
        nodes = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Module | ast.ClassDef | ast.FunctionDef)]
        yield str(path.relative_to(ROOT)), words("\n\n".join(ast.get_docstring(n) or "" for n in nodes))


def found(pattern, text):
    """Where a pattern stands, over line ends and inside no other word."""
    flat = re.sub(r"\s+", " ", text)
    return [flat[max(0, m.start() - 40) : m.end() + 40] for m in re.finditer(pattern, flat, flags=re.I)]


PAGES = dict(prose())


@pytest.mark.parametrize("term", RULES["terms"], ids=lambda t: t["name"])
def test_each_thing_has_one_name(term):
    wrong = [
        f"{page}: …{place}… (say {term['name']})"
        for page, text in PAGES.items()
        if page not in term.get("but", {})
        for pattern in term["not"]
        for place in found(pattern, text)
    ]
    assert not wrong, "\n".join(wrong)


def test_no_riddle_comes_back():
    wrong = [
        f"{page}: {riddle}" for riddle in RULES["riddles"] for page, text in PAGES.items() if found(re.escape(riddle), text)
    ]
    assert not wrong, "\n".join(wrong)


def test_what_is_forbidden_is_seen_and_code_is_not():
    assert found(RULES["terms"][0]["not"][0], words("the Dice\nscore of it"))
    assert not found(RULES["terms"][0]["not"][0], words("`Dice score` and ```python\nDice score\n```"))
