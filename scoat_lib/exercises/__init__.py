"""The hidden tests of the book's exercises. A chapter says `check("name", answer)`; the answer is told what it got wrong.

Each test is written from the formula and asks nothing of the package, so it can be read as a solution in disguise: try first.
"""

from scoat_lib.exercises import evidence, judgement, learning, network, projects
from scoat_lib.exercises.core import SCALES, Wrong, check, check_scale, names, verify
from scoat_lib.exercises.scans import scans_for

__all__ = [
    "SCALES",
    "Wrong",
    "check",
    "check_scale",
    "evidence",
    "judgement",
    "learning",
    "names",
    "network",
    "projects",
    "scans_for",
    "verify",
]
