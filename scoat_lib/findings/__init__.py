"""What the results say, in sentences, tables and one drawing: the pages' words about real scans are made here at each build.

Every function takes the list of results (`report.load`), a table or a file's content, and has something true to say of an empty
list, of a few runs and of all of them. Numbers in a sentence are rounded here and nowhere else.
"""

from scoat_lib.findings import (
    alarms,
    compared,
    comparisons,
    forest,
    front,
    ledger,
    maps,
    margins,
    patients,
    readers,
    simulated,
    volumes,
)

__all__ = [
    "alarms",
    "compared",
    "comparisons",
    "forest",
    "front",
    "ledger",
    "maps",
    "margins",
    "patients",
    "readers",
    "simulated",
    "volumes",
]
