#!/usr/bin/env python3
"""Do the built site's links hold? Within the site the tests ask (`broken`); those to others, this command, over the network.

python book/links.py _build/quick/_build/html
"""

from __future__ import annotations

import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import unquote, urlsplit

from bs4 import BeautifulSoup

NAMES = {"User-Agent": "Mozilla/5.0 (link check of a book)"}
REFUSES_MACHINES = (401, 403, 405, 406, 418, 429, 503)  # there, but not for a script


def links(page: Path) -> tuple[list[str], set[str]]:
    """The addresses a page names, and the anchors that it has."""
    soup = BeautifulSoup(page.read_text(), "html.parser")
    named = [tag.get("href") or tag.get("src") for tag in soup.find_all(["a", "img", "link", "script", "source"])]
    return [n for n in named if n], {tag["id"] for tag in soup.find_all(id=True)}


def broken(html: Path) -> Iterator[str]:
    """Every link within the site that leads nowhere: no such file, or no such anchor in it."""
    mine = [p for p in html.rglob("*.html") if p.name != "404.html" and "_static" not in p.relative_to(html).parts]
    pages = {page.resolve(): links(page) for page in mine}
    for page, (named, _) in pages.items():
        for address in named:
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            anchor = unquote(parts.fragment)
            if not target.exists():
                yield f"{page.name}: no file {address}"
            elif anchor and target in pages and anchor not in pages[target][1]:
                yield f"{page.name}: no anchor {address}"


def answer(address: str) -> str:
    """What is wrong with an address of someone else's, or nothing."""
    try:
        with urllib.request.urlopen(urllib.request.Request(address, headers=NAMES), timeout=30):
            return ""
    except urllib.error.HTTPError as error:
        return "" if error.code in REFUSES_MACHINES else str(error)
    except OSError as error:
        return str(error)


def main() -> int:
    """Ask every address outside the site once; 1 if one does not answer."""
    named = {n.partition("#")[0] for page in Path(sys.argv[1]).rglob("*.html") for n in links(page)[0] if n.startswith("http")}
    with ThreadPoolExecutor(8) as pool:
        wrong = [f"{address}: {what}" for address, what in zip(named, pool.map(answer, named), strict=True) if what]
    print("\n".join([*sorted(wrong), f"{len(named)} addresses, {len(wrong)} without an answer"]))
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
