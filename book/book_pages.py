"""A Sphinx extension: what this book's pages do differently from the theme's.

Scripts come from the site itself (`vendor.py`), the ones no page uses are left out, and pictures carry their size and wait
until a reader comes near them. Footer, social card, site map and the page for a wrong address are made here.
"""

from __future__ import annotations

import html
import json
import os
import re
from pathlib import Path
from urllib.parse import unquote

import vendor
import yaml
from PIL import Image

# terms that the glossary explains and that ordinary sentences use all the time
PLAIN = set(
    ["apex", "base", "dome", "step", "skip", "precision", "channel", "slope", "weights", "parameters", "peripheral", "lesion"]
)
UNMARKED = {"book/api", "book/changelog", "book/references", "book/gallery", "book/notation"}
RUN = "[0-9a-f]{20}"  # how a run's file in results/ is named, but for its end
SERVED = "_served"  # below the source folder: copied to the site's top as it is


def choose_scripts(app, config) -> None:
    """Addresses of MathJax and the widget manager: the site's own where build.py put them, else a CDN's."""
    served = Path(app.srcdir) / SERVED
    local = (served / "_vendor" / vendor.MATHJAX).exists()
    config.html_extra_path = [*config.html_extra_path, *([SERVED] if served.exists() else [])]
    # Sphinx counts addresses from _static, where jupyter-book would load every script it finds
    address = (lambda path: f"../_vendor/{path}") if local else vendor.cdn
    config.mathjax_path = address(vendor.MATHJAX)
    config.nb_ipywidgets_js = {address(path): {} for path in vendor.WIDGETS}


def address_of(repository: str) -> str:
    """Where GitHub publishes a repository's site, from the repository's address."""
    owner, name = repository.removeprefix("https://github.com/").split("/")
    return f"https://{owner}.github.io/{name}/"


def footer(edition: dict, results: Path) -> str:
    """The edition that is cited, and how new the newest run is that its pages were made from."""
    runs = [json.loads(path.read_text(encoding="utf-8")) for path in results.glob("*.json") if re.fullmatch(RUN, path.stem)]
    newest = max((run["provenance"]["date"] for run in runs), default="")
    text = f"Second edition, {edition['version']}, {edition['date-released']}"
    return f"{text}; results up to {newest}" if newest else text


def choose_words(app, config) -> None:
    """The published address, where it is known, and the edition in the footer: that of CITATION.cff."""
    config.html_baseurl = os.environ.get("BOOK_ADDRESS", "")
    edition = yaml.safe_load((Path(app.srcdir) / "CITATION.cff").read_text())
    config.html_theme_options["extra_footer"] = footer(edition, Path(__file__).resolve().parents[1] / "results")
    config.book_glossary = [list(pair) for pair in glossary((Path(app.srcdir) / "book" / "notation.md").read_text())]


def add_pages(app):
    """The page for a wrong address; served at any depth, so its addresses count from the site's top where that is known."""
    home = f"{app.config.html_baseurl}book/intro.html"
    body = (
        f'<h1>No such page</h1><p>It may have moved. <a href="{home}">The book begins here</a>; the search finds the rest.</p>'
    )
    yield "404", {"title": "No such page", "body": body}, "page.html"


def write_map(app, error) -> None:
    """sitemap.xml: every page of the table of contents, where the site's address is known."""
    if error is None and app.builder.name == "html" and app.config.html_baseurl:
        places = "".join(f"<url><loc>{app.config.html_baseurl}{name}.html</loc></url>" for name in sorted(app.env.found_docs))
        text = f'<?xml version="1.0"?><urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{places}</urlset>'
        (Path(app.outdir) / "sitemap.xml").write_text(text)


def card(title: str, body: str, address: str) -> str:
    """What a link to a page shows elsewhere: its title, its first sentence or two, the book's picture."""
    texts = [" ".join(re.sub(r"<[^>]*>", "", t).split()) for t in re.findall(r"<p>(.*?)</p>", body, re.DOTALL)]
    about = next((text for text in texts if len(text) > 40), title)[:200]
    title = re.sub(r"<[^>]*>", "", title)
    pairs = {"og:title": title, "og:description": about, "og:type": "article"}
    if address:  # elsewhere only a whole address finds the picture
        pairs |= {"og:image": f"{address}_static/card.png", "og:image:width": "1200", "og:image:height": "630"}
    tags = "".join(f'<meta property="{key}" content="{quote(value)}" />' for key, value in pairs.items())
    return (
        f'{tags}<meta name="description" content="{quote(about)}" /><meta name="twitter:card" content="summary_large_image" />'
    )


def quote(text: str) -> str:
    """Text as an attribute's value."""
    return html.escape(html.unescape(text))


def finish_page(app, pagename, templatename, context, doctree) -> None:
    """Leave out the live-code scripts (no page has them, and they declare a constant twice); mend the pictures."""
    scripts = [
        s for s in context.get("script_files", []) if "thebe" not in f"{s.filename}{s.attributes.get('body', '')}".lower()
    ]
    context["script_files"] = scripts
    context["css_files"] = [c for c in context.get("css_files", []) if "thebe" not in str(c.filename)]
    if context.get("body"):
        sources = {name: Path(app.srcdir) / path for path, name in app.builder.images.items()}
        tags = card(context.get("title", ""), context["body"], app.config.html_baseurl)
        context["metatags"] = context.get("metatags", "") + tags
        if pagename == "404" and app.config.html_baseurl:
            context["metatags"] += f'<base href="{app.config.html_baseurl}" />'
        context["body"] = tidied(lazy_pictures(context["body"], sources))
        if pagename == "book/notation":
            context["body"] = anchored(context["body"])
        elif pagename.startswith("book/") and pagename not in UNMARKED:
            context["body"] = explained(context["body"], app.config.book_glossary)
        context["body"] = unbroken(context["body"])


def glossary(page: str) -> list[tuple[str, str]]:
    """(term, what it means) of every term of the glossary, from notation.md; plain words that mean themselves are left out.

    An entry of several terms explains them in turn, parted by semicolons, or all at once.
    """
    found = []
    for names, says in re.findall(r"^(?![|:#(])(\S.*)\n: (.+)$", page, flags=re.MULTILINE):
        says = re.sub(r"\[([^\]]*)\]\([^)]*\)|`([^`]*)`", r"\1\2", says)
        names, parts = re.sub(r" \(.*\)", "", names).split(", "), says.split("; ")
        if len(parts) != len(names):  # one explanation for all of them
            parts = [says] * len(names)
        found += [(name, part[0].upper() + part[1:]) for name, part in zip(names, parts, strict=True) if name not in PLAIN]
    return found


def place(term: str) -> str:
    """A term's anchor on the page of the glossary."""
    return "term-" + re.sub("[^a-z0-9]+", "-", term.lower()).strip("-")


def anchored(body: str) -> str:
    """The glossary's page with an anchor for every term."""

    def mark(found: re.Match) -> str:
        names = re.sub(r"<[^>]*>| \(.*\)", "", html.unescape(found[1])).split(", ")
        return "<dt>" + "".join(f'<span id="{place(name)}"></span>' for name in names) + found[1]

    return re.sub(r"<dt>(.*?)(?=</dt>|<dd>)", mark, body, flags=re.DOTALL)


def explained(body: str, terms: list) -> str:
    """A page whose paragraphs link each term of the glossary where it first stands, with what it means for hover and focus."""
    left = {term: says for term, says in terms}
    if not left:
        return body
    words = sorted(left, key=len, reverse=True)
    any_term = re.compile("|".join(rf"(?<![\w-]){re.escape(word)}s?(?![\w-])" for word in words), re.IGNORECASE)

    def mark(found: re.Match) -> str:
        word = next((w for w in words if w in left and found[0].lower() in (w.lower(), f"{w.lower()}s")), None)
        if word is None or (word.isupper() and word not in found[0]) or found[0] == "Windows":  # the system
            return found[0]
        says = quote(left.pop(word))
        return f'<a class="term" href="notation.html#{place(word)}" data-says="{says}">{found[0]}</a>'

    def paragraph(found: re.Match) -> str:
        depth, parts = 0, []
        for piece in re.split(r"(<[^>]*>)", found[0]):
            if re.match(r"<(a|code|span|strong|button)\b", piece):
                depth += 1
            elif re.match(r"</(a|code|span|strong|button)>", piece):
                depth -= 1
            elif not depth and not piece.startswith("<"):
                piece = any_term.sub(mark, piece)
            parts.append(piece)
        return "".join(parts)

    # below the exercises the words are known; titles, captions and quotations stay as they are
    upto = re.search(r"<h2>(?:Exercises|What to read next)", body)
    end = upto.start() if upto else len(body)
    return re.sub(r"<p>(?:(?!</p>).)*</p>", paragraph, body[:end], flags=re.DOTALL) + body[end:]


_KEPT = re.compile(r"(<(script|style|pre|code|svg)\b.*?</\2>|<(span|div)[^>]*class=\"math.*?</\3>)", re.DOTALL)


def unbroken(body: str) -> str:
    """A page whose numbers stay in one line with what follows them: thousands, per cent, units; code and formulas are left."""

    def words(text: str) -> str:
        text = re.sub(r"(?<=\d) (?=\d{3}(?!\d))", "\N{NO-BREAK SPACE}", text)
        return re.sub(r"(?<=\d) (?=%|(?:cm³|mm|ml|HU|MB|GB|s)(?![\w-]))", "\N{NO-BREAK SPACE}", text)

    parts, at = [], 0
    for kept in [*_KEPT.finditer(body), None]:
        text = body[at : kept.start() if kept else len(body)]
        parts += [piece if piece.startswith("<") else words(piece) for piece in re.split(r"(<[^>]*>)", text)]
        if kept:
            parts.append(kept[0])
            at = kept.end()
    return "".join(parts)


def lazy_pictures(body: str, sources: dict[str, Path]) -> str:
    """Every <img> of a page with its width and height; all but the first wait until they come into view."""
    first = True

    def mend(found: re.Match) -> str:
        nonlocal first
        tag, more = found.group(0), ""
        path = sources.get(unquote(re.search(r'src="(?:[^"]*/)?([^"/]+)"', tag).group(1)))
        if path and path.suffix == ".png" and " width=" not in tag:
            with Image.open(path) as picture:
                width, height = picture.size
            more = f' width="{width}" height="{height}" style="--natural: {width}px"'
        if path and path.suffix == ".png":
            more += "" if first else ' loading="lazy"'
            first = False
        return tag.removesuffix("/>").removesuffix(">").rstrip() + more + " />"

    return re.sub(r"<img [^>]*>", mend, body)


def tidied(body: str) -> str:
    """What the theme says wrongly to screen readers, taken out; table cells of many words marked, to be wider on a phone;
    a table's index named in its first row of heads; a command's options kept whole."""
    body = body.replace('<summary aria-label="Toggle hidden content">', "<summary>")  # its own words say more
    body = body.replace('<div role="list" class="citation-list">', '<div class="citation-list">')  # it holds links too

    def mark(found: re.Match) -> str:
        text = re.sub(r"<[^>]*>", "", found.group(2))
        many = len(text.split()) >= (8 if found.group(1) == "td" else 6) or len(re.findall(r"[A-Za-z]{2,}", text)) >= 5
        return f'<{found.group(1)} class="words">{found.group(2)}' if many else found.group(0)

    def whole(found: re.Match) -> str:
        return found[1] + re.sub(r"(?<=\s)--?[a-z][\w-]*", r'<span class="flag">\g<0></span>', found[2]) + found[3]

    body = re.sub(r"(<pre>(?:<span></span>)?)([^<]*)(</pre>)", whole, body)
    body = re.sub(r"<(t[dh])>((?:(?!</?t[dhr]\b).)*)", mark, body, flags=re.DOTALL)
    # pandas gives an index's name a row of its own, under an empty head
    heads = r"(<tr[^>]*>\s*)<th></th>((?:\s*<th[^>]*>[^<]*</th>)+\s*</tr>)"
    named = r"\s*<tr>\s*(<th>[^<]+</th>)(?:\s*<th></th>)+\s*</tr>(?=\s*</thead>)"
    return re.sub(heads + named, r"\1\3\2", body)


def setup(app):
    """Sphinx calls this once."""
    # pages are built again when this file changes
    app.add_config_value("book_pages", Path(__file__).read_text(), "html")
    app.add_config_value("book_glossary", [], "html")
    app.connect("config-inited", choose_scripts)
    app.connect("config-inited", choose_words)
    app.connect("html-collect-pages", add_pages)
    app.connect("build-finished", write_map)
    app.connect("html-page-context", finish_page, priority=990)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
