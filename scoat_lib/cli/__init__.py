"""The command `scoat`: phantom, train, evaluate, segment (`run.py`); experiment, report (`study.py`)."""

from scoat_lib.cli import run, study
from scoat_lib.cli.app import app, main

__all__ = ["app", "main", "run", "study"]
