"""Tables I to III and the other comparisons as data: the rows, the recipe of each, and the numbers the paper prints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from scoat_lib.metrics import METRICS
from scoat_lib.networks.scoatnet import PUBLISHED
from scoat_lib.training import RESTART_EPOCHS, Recipe

LOSS_NAMES = {"mae": "MAE", "iou": "IoU", "bce": "BCE", "dice": "Dice", "focal": "Focal", "bce-dice": "BCE-Dice"}


@dataclass(frozen=True)
class Grid:
    """One comparison.

    rows: label → what its recipe changes in the base. fixed: what all rows share against `Recipe`'s defaults.
    reference: the row the others are tested against. paper: label → the six metrics in per cent, where the paper has them.
    parameters: label → millions of parameters, where the paper has them. folds: how many there are.
    """

    name: str
    title: str
    rows: dict[str, dict]
    reference: str
    fixed: dict = field(default_factory=dict)
    paper: dict[str, dict[str, float]] = field(default_factory=dict)
    parameters: dict[str, float] = field(default_factory=dict)
    folds: int = 5

    @property
    def varied(self) -> set[str]:
        """The fields of a recipe by which the rows differ."""
        return {name for changes in self.rows.values() for name in changes}

    def recipe(self, label: str, base: Recipe) -> Recipe:
        """A row's recipe: the base's, with what the grid fixes, and with the row's changes.

        A field that only other rows change is at its default.
        """
        default = Recipe()
        reset = {name: getattr(default, name) for name in self.varied - set(self.fixed)}
        return replace(base, **(reset | self.fixed | self.rows[label]))

    def recipes(self, base: Recipe, folds: Sequence[int] | None = None, seeds: Sequence[int] = (0,)) -> list[Recipe]:
        """All recipes, ordered so that every row of one fold comes before the next fold, and of one seed before the next."""
        folds = range(self.folds) if folds is None else folds
        for fold in folds:
            if not 0 <= fold < self.folds:
                raise ValueError(f"grid {self.name} has folds 0 to {self.folds - 1}, not {fold}")
        return [
            replace(self.recipe(label, base), fold=fold, seed=seed) for seed in seeds for fold in folds for label in self.rows
        ]


def _six(*values: float) -> dict[str, float]:
    return dict(zip(METRICS, values, strict=True))


_SCOATNET = _six(89.48, 88.74, 90.64, 95.26, 93.66, 91.94)
_UNETPP = _six(84.82, 83.55, 86.35, 94.23, 89.51, 85.19)

GRIDS: dict[str, Grid] = {
    grid.name: grid
    for grid in (
        Grid(
            "table1",
            "Table I: six losses on SCOAT-Net",
            {title: {"loss": loss} for loss, title in LOSS_NAMES.items()},
            "BCE-Dice",
            {"network": "scoatnet"},
            {
                "MAE": _six(85.74, 84.97, 83.52, 91.78, 82.49, 84.77),
                "IoU": _six(88.10, 86.36, 90.47, 94.69, 92.28, 88.17),
                "BCE": _six(88.53, 86.85, 91.43, 94.70, 92.47, 89.93),
                "Dice": _six(86.79, 89.24, 85.38, 90.78, 86.77, 92.30),
                "Focal": _six(87.73, 87.28, 87.93, 93.86, 88.18, 88.96),
                "BCE-Dice": _SCOATNET,
            },
        ),
        Grid(
            "table2",
            "Table II: nine networks, BCE-Dice loss",
            {
                "PSPNet": {"network": "pspnet"},
                "ESPNetv2": {"network": "espnetv2"},
                "DenseASPP": {"network": "denseaspp"},
                "DeepLabV3+": {"network": "deeplabv3plus"},
                "U-Net": {"network": "unet"},
                "CE-Net": {"network": "cenet"},
                "Attention U-Net": {"network": "attention-unet"},
                "UNet++": {"network": "unetpp"},
                "SCOAT-Net": {"network": "scoatnet"},
            },
            "SCOAT-Net",
            {},
            {
                "PSPNet": _six(85.08, 84.95, 85.84, 92.32, 90.71, 86.06),
                "ESPNetv2": _six(86.06, 83.38, 89.67, 91.03, 75.45, 90.45),
                "DenseASPP": _six(85.46, 83.80, 89.09, 91.48, 87.81, 88.23),
                "DeepLabV3+": _six(87.43, 86.23, 89.46, 94.72, 91.95, 90.58),
                "U-Net": _six(84.72, 82.23, 87.90, 91.13, 92.00, 87.68),
                "CE-Net": _six(78.77, 78.62, 81.04, 80.39, 79.24, 82.08),
                "Attention U-Net": _six(85.64, 84.87, 86.69, 94.94, 91.44, 86.30),
                "UNet++": _UNETPP,
                "SCOAT-Net": _SCOATNET,
            },
        ),
        Grid(
            "table3",
            "Table III: attention modules in UNet++",
            {
                "UNet++": {"network": "unetpp"},
                "V1, residual attention": {"network": "unetpp-residual-attention"},
                "V2, attention gates": {"network": "unetpp-attention-gate"},
                "V3, pyramid attention": {"network": "unetpp-pyramid-attention"},
                "SCOAT-Net": {"network": "scoatnet"},
            },
            "SCOAT-Net",
            {},
            {
                "UNet++": _UNETPP,
                "V1, residual attention": _six(86.22, 85.56, 87.44, 93.12, 90.60, 87.67),
                "V2, attention gates": _six(88.01, 87.14, 89.28, 94.88, 93.79, 90.96),
                "V3, pyramid attention": _six(86.91, 84.76, 89.55, 92.77, 92.61, 89.13),
                "SCOAT-Net": _SCOATNET,
            },
            {
                "UNet++": 35.02,
                "V1, residual attention": 53.43,
                "V2, attention gates": 37.63,
                "V3, pyramid attention": 35.05,
                "SCOAT-Net": 38.73,
            },
        ),
        Grid(
            "schedule",
            "Schedules: the paper's with and without its restart, and a modern one",
            {
                "modern": {},
                "paper, with restart": {"schedule": "paper", "rate": 0.01, "until": "converged", "epochs": 50},
                "paper, no restart": {
                    "schedule": "paper-no-restart",
                    "rate": 0.01,
                    "until": "converged",
                    "epochs": 50,
                },
                "modern, as long as the paper's": {"epochs": 50 + RESTART_EPOCHS},
            },
            "modern",
            {"network": "scoatnet"},
        ),
        Grid(
            "split",
            "Folds of patients against folds of slices, which leak",
            {"by patient": {}, "by slice": {"split": "slice"}},
            "by patient",
            {"network": "scoatnet"},
        ),
        Grid(
            "readings",
            "What the paper leaves open, one reading changed at a time",
            {
                "default": {},
                "eq. 1: F = 2w": {"options": {"attention_channels": "2w"}},
                "eq. 1: F = 1": {"options": {"attention_channels": "1"}},
                "eq. 2: bilinear only": {"options": {"up": "bilinear"}},
                "F_U: batch norm before the interpolation": {"options": {"up": "bilinear-1x1-early"}},
                "eq. 2: raw in attention nodes": {"options": {"attention_up": "raw"}},
                "eq. 3: k up to j − 1": {"options": {"skip_limit": "j-1"}},
                "eq. 5: r = 4": {"options": {"reduction": 4}},
                "eq. 6: H_R² of 1 × 1": {"options": {"extraction": "1x1"}},
                "deep supervision: last branch": {"supervision": 4},
                "output: mean of branches": {"options": {"output": "mean-probabilities"}},
                "eq. 7: dice per slice": {"loss_options": {"over": "sample"}},
                "eq. 7: BCE summed over pixels": {"loss_options": {"pixels": "sum"}},
                "the authors' published network": {"options": dict(PUBLISHED)},
            },
            "default",
            {"network": "scoatnet"},
        ),
        Grid(
            "alpha",
            "α of equation 7, the weight of the dice term",
            {
                "α = 0.5": {},
                "α = 0": {"loss_options": {"alpha": 0.0}},
                "α = 0.25": {"loss_options": {"alpha": 0.25}},
                "α = 1": {"loss_options": {"alpha": 1.0}},
                "α = 2": {"loss_options": {"alpha": 2.0}},
            },
            "α = 0.5",
            {"network": "scoatnet"},
        ),
        Grid(
            "matched",
            "Skip pathways or size: U-Net as wide as UNet++'s multiplications allow",
            {
                "U-Net": {"network": "unet"},
                "U-Net, widened": {"network": "unet", "width": 13},
                "UNet++": {"network": "unetpp"},
                "SCOAT-Net": {"network": "scoatnet"},
            },
            "UNet++",
        ),
        Grid(
            "patients",
            "What more patients are worth: as many optimiser steps on 2, 4, 8 and all training patients",
            {
                f"{label}, {patients or 'all'}": {"network": network} | ({"patients": patients} if patients else {})
                for label, network in (("U-Net", "unet"), ("SCOAT-Net", "scoatnet"))
                for patients in (2, 4, 8, 0)
            },
            "SCOAT-Net, all",
        ),
        Grid(
            "source",
            "Another scanner: fold 0 learns from coronacases and is tested on radiopaedia, fold 1 the other way round",
            {"UNet++": {"network": "unetpp"}, "SCOAT-Net": {"network": "scoatnet"}},
            "SCOAT-Net",
            {"split": "source"},
            folds=2,
        ),
        Grid(
            "size",
            "What resolution is worth: the same patients at three sizes",
            {"128 × 128": {"size": 128}, "256 × 256": {"size": 256}, "512 × 512": {"size": 512}},
            "512 × 512",
            {"network": "scoatnet"},
        ),
    )
}


def get(name: str) -> Grid:
    """A grid by name. ValueError lists the known ones."""
    if name not in GRIDS:
        raise ValueError(f"unknown grid {name!r}; known: {', '.join(GRIDS)}")
    return GRIDS[name]
