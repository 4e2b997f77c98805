"""Slides for each part of the book, made from its built chapters: opening words, figures, equations, what was found.

A deck is one page below the site's folder `slides/`, with nothing but the site to ask: arrows, space, Home and End turn it,
and on paper a slide takes a sheet. `book/deck/` holds its style and script.
"""

from __future__ import annotations

import html
import re
import shutil
from pathlib import Path

import gallery
import vendor

DECK = Path(__file__).parent / "deck"
BEGINS, ENDS = "<!-- slides begin -->", "<!-- slides end -->"
PIECES = re.compile(
    r"<h2>(?P<heading>.*?)<a class=\"headerlink\"|" + gallery.FIGURE.pattern + r'|<div class="math[^>]*>(?P<math>.*?)</div>',
    re.DOTALL,
)
LAST = ("Exercises", "What to read next")  # no slide shows what stands below these headings


def file_of(title: str) -> str:
    """A deck's file name, from its part's title."""
    return f"{re.sub('[^a-z]+', '-', title.lower()).strip('-')}.html"


def slide(body: str, kind: str, foot: str) -> str:
    """One slide as HTML."""
    return f'<section class="{kind}" tabindex="-1"><div class="inner">{body}</div><footer>{foot}</footer></section>'


def inner(text: str) -> str:
    """A chapter's HTML for another folder: links lead to the book, and those beside headings are left out."""
    text = re.sub(r'<a class="headerlink".*?</a>', "", text, flags=re.DOTALL)
    text = re.sub(r'<a class="term"[^>]*>(.*?)</a>', r"\1", text, flags=re.DOTALL)
    return re.sub(r' id="[^"]*"', "", text)


def linked(text: str, page: str) -> str:
    """The same with its links counted from slides/."""
    text = re.sub(r'href="#', f'href="{page}.html#', inner(text))
    return re.sub(r'href="(?!https?:|mailto:|\.\./)', 'href="../book/', text)


def chapter(site: Path, page: str, text: str) -> list[str]:
    """The slides of one chapter: its title and opening words, then equations and figures in order, then what was found."""
    title = gallery.plain(re.search(r"<h1>(.*?)(?:<a class=\"headerlink\"|</h1>)", text, re.DOTALL)[1])
    foot = f'<a href="../book/{page}.html">{html.escape(title)}</a>'
    opening = re.search(r'<blockquote class="epigraph">(.*?)</blockquote>', text, re.DOTALL)
    aim = re.search(r"<p>(<strong>After this chapter you can</strong>.*?)</p>", text, re.DOTALL)
    words = f"<blockquote>{linked(opening[1], page)}</blockquote>" if opening else ""
    words += f'<p class="aim">{linked(aim[1], page)}</p>' if aim else ""
    slides = [slide(f"<h2>{html.escape(title)}</h2>{words}", "opening", foot)]
    shown = {one.id: one for one in gallery.figures(site, page, text)}
    heading, equations = "", []

    def equations_so_far() -> None:
        if equations:
            slides.append(slide(f"<h3>{heading}</h3>{''.join(equations)}", "equations", foot))
            equations.clear()

    for piece in PIECES.finditer(text):
        if piece["heading"]:
            equations_so_far()
            heading = inner(piece["heading"])
            if gallery.plain(heading) in LAST:
                break
        elif piece["math"]:
            equations.append(f'<div class="math">{piece["math"]}</div>')
        elif one := shown.get(piece["id"]):
            equations_so_far()
            slides.append(slide(figure(one), "figure", foot))
    equations_so_far()
    found = re.search(r"<h2>What we found.*?</h2>(.*?)</section>", text, re.DOTALL)
    if found:
        slides.append(slide(f"<h3>What we found</h3>{linked(found[1], page)}", "found", foot))
    return slides


def figure(one: gallery.Shown) -> str:
    """A figure's slide: the picture, its caption, and for a viewer the way to where it moves."""
    place = f"../book/{one.page}.html#{one.id}"
    alive = f' <a href="{place}">Move it in the book.</a>' if one.alive else ""
    number = f"<b>{html.escape(one.number)}</b> " if one.number else ""
    return (
        f'<figure><img src="../{one.picture}" alt="{html.escape(one.alt)}" loading="lazy">'
        f"<figcaption>{number}{html.escape(one.caption)}{alive}</figcaption></figure>"
    )


def make(site: Path, texts: dict[str, str]) -> dict[str, int]:
    """A deck for each part below site/slides (texts: page → its HTML), linked from the teachers' page: file → its slides."""
    folder, made = site / "slides", {}
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name in ("deck.css", "deck.js"):
        shutil.copy(DECK / name, folder / name)
    served = (site / "_vendor" / vendor.MATHJAX).exists()
    mathjax = f"../_vendor/{vendor.MATHJAX}" if served else vendor.cdn(vendor.MATHJAX)
    links = []
    for title, names in gallery.pages(part_by_part=True):
        slides = [slide(f"<h1>{html.escape(title)}</h1><p>The SCOAT-Net book</p>", "first", "")]
        for name in names:
            slides += chapter(site, name, texts[name])
        page = (DECK / "deck.html").read_text()
        fields = {
            "TITLE": f"{html.escape(title)} · slides",
            "MATHJAX": mathjax,
            "SLIDES": "\n".join(slides),
            "COUNT": len(slides),
        }
        for field, value in fields.items():
            page = page.replace(f"{{{field}}}", str(value))
        (folder / file_of(title)).write_text(page)
        made[file_of(title)] = len(slides)
        links.append(f'<li><a href="../slides/{file_of(title)}">{html.escape(title)}</a>, {len(slides)} slides</li>')
    path = site / "book" / "teachers.html"
    before, rest = path.read_text().split(BEGINS)
    path.write_text(f"{before}{BEGINS}<ul>{''.join(links)}</ul>{ENDS}{rest.split(ENDS)[1]}")
    return made
