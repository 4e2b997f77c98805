"""Finished runs of one recipe, and a patient's answers by them: what the scripts that measure such runs share."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from scoat_lib.slices import scan_slices
from scoat_lib.training import Recipe


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


def answers(model, cohort, name: str) -> tuple[np.ndarray, np.ndarray]:
    """A patient's probabilities (slices, H, W): plain, and of the mirror image, mirrored back."""
    plain, mirrored = [], []
    with torch.inference_mode():
        for x in scan_slices(cohort, name, 16):
            x = x.contiguous(memory_format=torch.channels_last)
            plain.append(torch.sigmoid(model(x))[:, 0].numpy())
            mirrored.append(torch.sigmoid(model(x.flip(-1)))[:, 0].flip(-1).numpy())
    return np.concatenate(plain), np.concatenate(mirrored)
