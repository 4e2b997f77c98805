"""`scoat`: `run.py` (phantom, train, evaluate), `segment.py` (a folder: `many.py`, `found.py`, `dated.py`), `study.py`."""

from scoat_lib.cli import run, segment, study
from scoat_lib.cli.app import app, main

__all__ = ["app", "main", "run", "segment", "study"]
