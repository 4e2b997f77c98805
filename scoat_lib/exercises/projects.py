"""The hidden tests of the four afternoon projects (book/projects.md)."""

from __future__ import annotations

import numpy as np

from scoat_lib.exercises.core import Wrong, exercise, same


def _people(signal: float, seed: int) -> list[dict]:
    """Forty patients with two scans each; three of 300 features differ by the signal between y = 0 and y = 1."""
    rng = np.random.default_rng([seed, 11])
    scans = []
    for number in range(40):
        y = int(number % 2)
        person = rng.normal(size=300)
        person[:3] += signal * (2 * y - 1)
        for _ in range(2):
            name = f"s{rng.integers(10**9)}"
            scans.append({"name": name, "patient": f"p{number}", "x": person + 0.5 * rng.normal(size=300), "y": y})
    return scans


@exercise
def _honest_accuracy(answer):
    nothing = np.mean([answer(_people(0.0, seed)) for seed in range(5)])
    if nothing > 0.58:
        raise Wrong(f"where nothing can be known it is right in {100 * nothing:.0f} %: something still leaks")
    much = np.mean([answer(_people(1.5, seed)) for seed in range(3)])
    if much < 0.8:
        raise Wrong(f"where the two kinds differ plainly it is right in {100 * much:.0f} % only: too much was taken out")


@exercise
def _paired_difference(answer):
    def counts(tp, fp, fn):
        """A patient's voxels, as `metrics.from_counts` takes them."""
        return {"tp": tp, "fp": fp, "fn": fn}

    one = {"a": counts(900, 100, 100), "b": counts(5000, 500, 700), "c": counts(90, 5, 5), "only": counts(2000, 1, 1)}
    other = {"b": counts(4500, 400, 1200), "a": counts(800, 300, 200), "c": counts(10, 50, 85), "new": counts(3000, 9, 9)}
    first = 2 * 900 / (2 * 900 + 200) - 2 * 800 / (2 * 800 + 500)
    second = 2 * 5000 / (2 * 5000 + 1200) - 2 * 4500 / (2 * 4500 + 1600)
    same(answer(one, other), (100 * (first + second) / 2, 2), "paired_difference")


@exercise
def _gate(answer):
    import torch

    torch.manual_seed(0)
    module = answer(6, 4).eval()
    skip, below = torch.rand(2, 6, 8, 8) + 0.1, torch.randn(2, 4, 8, 8, requires_grad=True)
    out = module(skip, below)
    out = out[0] if isinstance(out, tuple) else out
    if out is None or out.shape != skip.shape:
        raise Wrong("a gate returns the skip's shape")
    ratio = out / skip
    if not torch.allclose(ratio, ratio[:, :1].expand_as(ratio), atol=1e-5):
        raise Wrong("one coefficient a pixel: it is the same for all channels")
    if ratio.min() < 0 or ratio.max() > 1:
        raise Wrong("the gates of V2 multiply by the map itself, so the output is never larger than the skip")
    if (ratio[:, 0].flatten(1).std(1) < 1e-6).any():
        raise Wrong("the coefficient is the same at every pixel")
    out.sum().backward()
    if below.grad is None or not below.grad.abs().sum():
        raise Wrong("the gate does not listen to the node below")


@exercise
def _faults(answer):
    right, got = {3, 4, 5, 6, 8}, set(answer())
    if got - right:
        raise Wrong(f"{len(got - right)} of the sentences you name can stand")
    if right - got:
        raise Wrong(f"what you name is wrong indeed, and {len(right - got)} more sentences are")
