"""The projects: the pipeline leaks twice, mended it passes and half mended not; each check knows right from wrong."""

import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from scoat_lib.exercises import Wrong, verify

PIPELINE = Path(__file__).parents[2] / "book" / "projects" / "leaking_pipeline.py"
DEALT = (
    """    order = np.random.default_rng(0).permutation(len(scans))
    return [[scans[i] for i in order[part::k]] for part in range(k)]
""",
    """    people = sorted({s["patient"] for s in scans})
    order = np.random.default_rng(0).permutation(len(people))
    hands = [{people[i] for i in order[part::k]} for part in range(k)]
    return [[s for s in scans if s["patient"] in hand] for hand in hands]
""",
)
CHOSEN = (
    "        train_x, test_x",
    """        chosen = best_features(np.array([s["x"] for s in train]), np.array([s["y"] for s in train]))
        train_x, test_x""",
)


def pipeline(*changes):
    text = PIPELINE.read_text()
    for old, new in changes:
        assert text.count(old) == 1
        text = text.replace(old, new)
    module = types.ModuleType("pipeline")
    exec(compile(text, "pipeline", "exec"), module.__dict__)
    return module


@pytest.mark.parametrize("changes", [(), (DEALT,), (CHOSEN,)], ids=["as given", "features still", "patients still"])
def test_it_leaks_until_both_leaks_are_mended(changes):
    module = pipeline(*changes)
    assert np.mean([module.accuracy(module.cohort(signal=0.0, seed=s)) for s in range(5)]) > 0.65
    with pytest.raises(Wrong, match="something still leaks"):
        verify("honest_accuracy", module.accuracy)


def test_mended_it_passes_and_what_guesses_does_not():
    verify("honest_accuracy", pipeline(DEALT, CHOSEN).accuracy)
    with pytest.raises(Wrong, match="too much was taken out"):
        verify("honest_accuracy", lambda scans: 0.5)


def test_the_pipeline_runs_and_says_what_the_page_says():
    done = subprocess.run([sys.executable, str(PIPELINE)], capture_output=True, text=True, check=True)
    share = int(done.stdout.split("signal 0.0: ")[1].split(" %")[0])
    assert share > 80  # "in more than eight of ten cases"


def paired(one, other, least=1000):
    def dsc(c):
        return 200 * c["tp"] / (2 * c["tp"] + c["fp"] + c["fn"])

    both = [p for p in one if p in other and one[p]["tp"] + one[p]["fn"] >= least]
    return np.mean([dsc(one[p]) - dsc(other[p]) for p in both]), len(both)


def test_the_paired_difference_minds_who_counts():
    verify("paired_difference", paired)
    with pytest.raises(Wrong):
        verify("paired_difference", lambda one, other: paired(one, other, least=0))


class Gate(nn.Module):
    def __init__(self, c_skip, c_gate, plus=0.0):
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(c_skip, 3, 1), nn.Conv2d(c_gate, 3, 1), nn.Conv2d(3, 1, 1)
        self.plus = plus

    def forward(self, skip, below):
        return skip * (self.plus + torch.sigmoid(self.c(torch.relu(self.a(skip) + self.b(below)))))


class Channels(Gate):
    """What is no gate: a weight a channel, not a coefficient a pixel."""

    def forward(self, skip, below):
        return skip * torch.sigmoid(skip.mean((2, 3), keepdim=True) + below.mean())


def test_the_gate_is_known_by_what_it_does():
    verify("gate", Gate)
    for wrong in (lambda a, b: Gate(a, b, plus=1.0), Channels):
        with pytest.raises(Wrong):
            verify("gate", wrong)


def test_the_abstracts_faults():
    verify("faults", lambda: {3, 4, 5, 6, 8})
    with pytest.raises(Wrong, match="can stand"):
        verify("faults", lambda: {2, 3, 4, 5, 6, 8})
    with pytest.raises(Wrong, match="1 more"):
        verify("faults", lambda: {3, 4, 5, 6})
