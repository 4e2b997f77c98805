"""Weights on disk: a Segmenter is a network together with the preprocessing it was trained for (safetensors)."""

from __future__ import annotations

import errno
import json
import os
import re
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from scoat_lib.cohort import Preprocessing
from scoat_lib.files import NUMBER, amiss, whole_file
from scoat_lib.networks import create

FORMAT = "scoat-segmenter-1"
SHIPPED = "scoatnet-w8"
_NONE = type(None)
HEADER = {
    "format": str,
    "recipe": {"network": str, "width": int, "options": dict, "in_channels?": int},
    "preprocessing": {
        "window": [NUMBER],
        "spacing?": (*NUMBER, _NONE),
        "mean?": NUMBER,
        "std?": NUMBER,
        "calibrate?": bool,
    },
    "card": {
        "inference?": {"threshold?": NUMBER, "flip?": bool, "smooth?": NUMBER},
        "quiet?": (dict, _NONE),
        "data?": str,
        "split?": {"*": [str]},
    },
}


class WeightsError(ValueError):
    """A weights file that cannot be used; its text names the file and the reason."""


@dataclass
class Segmenter:
    """model: a network in evaluation mode. preprocessing: what its input must go through. card: what is known of it.

    A card may hold "inference": {"threshold": 0..1, "flip": bool, "smooth": mm}, chosen on patients that the scores are not
    taken from; and "quiet": {"ml": cm³, …}, the most that was marked in an unseen scan with next to no lesion.
    """

    model: torch.nn.Module
    preprocessing: Preprocessing
    card: dict = field(default_factory=dict)

    @property
    def threshold(self) -> float:
        """The probability above which a voxel is lesion: the card's, else 0.5."""
        return float(self.card.get("inference", {}).get("threshold", 0.5))

    @property
    def flip(self) -> bool:
        """Whether a slice and its mirror image are averaged: as the card says, else not."""
        return bool(self.card.get("inference", {}).get("flip", False))

    @property
    def smooth(self) -> float:
        """How far probabilities are smoothed through the slices, σ in mm: the card's, else 0, not at all."""
        return float(self.card.get("inference", {}).get("smooth", 0.0))

    @property
    def quiet(self) -> float:
        """cm³ that were marked in a scan with next to no lesion, so that a volume below may be nothing: the card's, else 0."""
        return float((self.card.get("quiet") or {}).get("ml", 0.0))


def save(
    path, model: torch.nn.Module, preprocessing: Preprocessing, recipe: dict | None = None, half: bool = False, **card
) -> Path:
    """Write a network's weights, what `create` needs to build it, and its preprocessing: one file, whole or not at all.

    model: from `networks.create`. recipe: what else is known of its training, kept beside. half: keep kernels as float16, in
    half the space; once loaded they are float32 again. card: any further JSON values (data, folds, scores, licence).
    Raises WeightsError for a model that `create` did not make, or a recipe of another one.
    """
    path = Path(path)
    made_by = getattr(model, "made_by", None)
    if made_by is None:
        raise WeightsError(
            f"{path}: cannot be saved, the model was not made by networks.create, so nobody could build it again"
        )
    differing = [k for k in made_by if k in (recipe or {}) and recipe[k] != made_by[k]]
    if differing:
        raise WeightsError(f"{path}: the recipe's {', '.join(differing)} differ from the model's")
    recipe = (recipe or {}) | made_by
    header = {"format": FORMAT, "recipe": recipe, "preprocessing": preprocessing.to_dict(), "card": card}
    tensors = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    if half:
        tensors = {name: value.half() if value.dim() > 1 else value for name, value in tensors.items()}
    with whole_file(path, ".safetensors") as temporary:
        try:
            save_file(_without_twins(tensors), temporary, metadata={"scoat": json.dumps(header, sort_keys=True)})
        except SafetensorError as error:  # it hides what the system said
            number = re.search(r"os error (\d+)", str(error))
            code = int(number[1]) if number else errno.EIO
            raise OSError(code, os.strerror(code), str(path)) from error
    return path


def load(path_or_name=None) -> Segmenter:
    """A Segmenter from a file, from a name of the shipped weights, or (no argument) the default shipped weights.

    Loading runs no code of the file's. Raises WeightsError for a file that is missing, damaged (one NaN in it is enough) or of
    another kind.
    """
    path = place(path_or_name)
    try:
        if path.is_dir():
            raise WeightsError(f"{path}: is a folder; name the weights.safetensors in it")
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  (not a mapping)
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path}: is not a readable safetensors file ({error})") from error
    try:
        header = json.loads(metadata["scoat"])
        if isinstance(header, dict) and isinstance(header.get("format"), str) and header["format"] != FORMAT:
            raise WeightsError(f"{path}: has format {header['format']}; this version reads {FORMAT}")
        if wrong := amiss(header, HEADER):
            raise WeightsError(f"{path}: was not written by scoat ({wrong})")
        recipe = header["recipe"]
        # where training started does not matter any more, and must not be downloaded again
        options = {name: value for name, value in recipe["options"].items() if name != "encoder_weights"}
        model = create(recipe["network"], recipe.get("in_channels", 1), recipe["width"], **options)
        preprocessing = Preprocessing.from_dict(header["preprocessing"])
    except WeightsError:
        raise
    except KeyError as error:
        raise WeightsError(f"{path}: was not written by scoat (its header lacks {error})") from error
    except (ValueError, TypeError, RuntimeError, RecursionError) as error:
        raise WeightsError(f"{path}: was not written by scoat ({' '.join(str(error).split())[:200]})") from error
    expected = _without_twins(model.state_dict())
    if expected.keys() != tensors.keys() or any(expected[k].shape != tensors[k].shape for k in expected):
        raise WeightsError(f"{path}: its tensors are not those of {recipe['network']} at width {recipe['width']}")
    bad = [key for key, value in tensors.items() if value.is_floating_point() and not value.isfinite().all()]
    if bad:  # such a network marks nothing, anywhere
        raise WeightsError(f"{path}: is damaged ({bad[0]} holds NaN or infinite numbers); copy or download it again")
    model.load_state_dict(tensors, strict=False)
    return Segmenter(model.eval(), preprocessing, header["card"] | {"recipe": recipe})


def shipped() -> tuple[str, ...]:
    """Names of the weights that come with the package."""
    return tuple(sorted(path.stem for path in _shipped_folder().glob("*.safetensors")))


def _shipped_folder() -> Path:
    return Path(str(resources.files("scoat_lib"))) / "shipped"


def place(path_or_name=None) -> Path:
    """The file that `load` reads for a path, a name or nothing; WeightsError where there is none."""
    if path_or_name is not None and Path(path_or_name).exists():
        return Path(path_or_name)
    name = str(path_or_name or SHIPPED)
    path = _shipped_folder() / f"{name}.safetensors"
    if not path.exists():
        raise WeightsError(f"{name}: no such file, nor shipped weights of that name; shipped: {', '.join(shipped()) or 'none'}")
    return path


def _without_twins(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Leave out a shared head's second to fourth name; safetensors refuses tensors that share memory."""
    kept, seen = {}, set()
    for name, value in tensors.items():
        key = (value.data_ptr(), value.shape)
        if value.numel() and key in seen:
            continue
        seen.add(key)
        kept[name] = value
    return kept
