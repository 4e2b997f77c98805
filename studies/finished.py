"""Finished runs of one recipe, and a patient's answers by them: what the scripts that measure such runs share."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from scoat_lib import inference
from scoat_lib.cohort import Cohort
from scoat_lib.training import Recipe
from scoat_lib.weights import Segmenter


def same_recipe(folders: list[Path], free: tuple[str, ...]) -> tuple[dict, list[tuple[Recipe, Path]]]:
    """What the runs' recipes share, and each run's recipe and folder; SystemExit if more than the free fields differ."""
    runs, shared = [], None
    for folder in folders:
        recipe = Recipe.from_dict(json.loads((folder / "recipe.json").read_text())["recipe"])
        rest = {k: v for k, v in recipe.to_dict().items() if k not in free}
        if shared not in (None, rest):
            raise SystemExit(f"{folder}: is of another recipe than the runs before it; only {', '.join(free)} may differ")
        shared = rest
        runs.append((recipe, folder))
    return shared, runs


def answers(segmenter: Segmenter, cohort: Cohort, name: str) -> tuple[np.ndarray, np.ndarray]:
    """A patient's probabilities (slices, H, W): plain, and of the mirror image, mirrored back."""
    images = cohort.images[name]
    plain = inference.slice_probabilities(segmenter, images)
    return plain, inference.slice_probabilities(segmenter, images[..., ::-1])[..., ::-1]
