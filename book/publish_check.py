#!/usr/bin/env python3
"""What is still a stand-in or does not agree before the book is published: one line each, exit code 1 if there is any.

python book/publish_check.py
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent


def git(*words: str) -> str:
    """What git prints; empty where it fails."""
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True).stdout.strip()


def remote(origin: str) -> str:
    """The address on the web of git's remote, whichever way it is written."""
    return re.sub(r"^git@([^:]+):", r"https://\1/", origin).removesuffix(".git").rstrip("/")


def stand_ins(
    address: str,
    origin: str,
    citation: dict,
    version: str,
    changelog: str,
    tags: list[str],
    card: str,
    named: dict[str, str],
    cite: str,
) -> list[str]:
    """What is missing, in words.

    address: _config.yml's. origin: git's remote. citation: CITATION.cff. version: pyproject.toml's. changelog: its text.
    tags: of the last commit. card: the shipped weights' model card. named: other files that name the authors, and their texts.
    cite: the text of book/cite.md.
    """
    found = []
    if remote(origin) != address:
        found.append(
            f"_config.yml: the repository's address is {address}, and git's origin is {remote(origin) or 'not set'}; write the "
            "published address there, then `python book/build.py --badges`"
        )
    if str(citation["version"]) != version:
        found.append(f"CITATION.cff: version {citation['version']}; pyproject.toml has {version}")
    names = [author for author in citation["authors"] if "family-names" not in author]
    if names:
        found.append(f"CITATION.cff: {names[0]['name']!r} is no person; name the authors")
    for file, text in named.items():
        if "book's authors" in text:
            found.append(f'{file}: still says "The SCOAT-Net book\'s authors"; name the authors')
    of_bibtex = re.findall(r"version = \{([^}]*)\}", cite)
    if of_bibtex != [version]:
        found.append(f"book/cite.md: its BibTeX has version {', '.join(of_bibtex) or 'none'}; pyproject.toml has {version}")
    heading = re.search(r"^## (.+)$", changelog, flags=re.M).group(1)
    if not re.fullmatch(rf"{re.escape(version)}, \d{{4}}-\d{{2}}-\d{{2}}", heading):
        found.append(f"CHANGELOG.md: begins with {heading!r}; an edition begins with '{version}, ' and its date")
    elif not heading.endswith(str(citation["date-released"])):
        found.append(f"CITATION.cff: released on {citation['date-released']}; CHANGELOG.md says {heading}")
    if f"v{version}" not in tags:
        found.append(f"git: the last commit has no tag v{version}")
    if "edition is void" in card:
        found.append("scoat_lib/shipped/README.md: the shipped weights belong to an edition that is void")
    return found


def main() -> int:
    """The command line; 0, or 1 and what is missing."""
    found = stand_ins(
        yaml.safe_load((ROOT / "_config.yml").read_text())["repository"]["url"],
        git("remote", "get-url", "origin"),
        yaml.safe_load((ROOT / "CITATION.cff").read_text()),
        tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"],
        (ROOT / "CHANGELOG.md").read_text(),
        git("tag", "--points-at", "HEAD").split(),
        (ROOT / "scoat_lib" / "shipped" / "README.md").read_text(),
        {name: (ROOT / name).read_text() for name in ("_config.yml", "LICENSE", "book/cite.md")},
        (ROOT / "book" / "cite.md").read_text(),
    )
    print("\n".join(found) if found else "nothing is a stand-in")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
