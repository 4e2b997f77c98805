"""A cohort's slices as tensors: small random changes that can be replayed, a torch Dataset, and a scan batch by batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch.utils.data import Dataset

from scoat_lib.cohort import Cohort, DataError, pad_slices


@dataclass(frozen=True)
class Change:
    """One drawn augmentation: all that `apply` needs, and nothing random any more.

    flip: mirror left and right. angle: radians. zoom: factor. shift: rows and columns in pixels. gain, offset: of windowed
    intensities (0.1 is 150 HU). gamma: exponent. noise: standard deviation, and the seed of its pattern.
    """

    flip: bool = False
    angle: float = 0.0
    zoom: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)
    gain: float = 1.0
    offset: float = 0.0
    gamma: float = 1.0
    noise: float = 0.0
    noise_seed: int = 0

    def apply(self, image: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Change (1, H, W) image in 0..1 and (1, H, W) mask alike, by MONAI's deterministic transforms."""
        from monai.transforms import Affine, Flip  # a second to import; only training needs it
        from monai.utils import convert_to_tensor

        both = torch.cat([image, mask])  # one call for the two: the transforms' own time is most of an item's
        if self.flip:
            both = Flip(spatial_axis=1)(both)
        if (self.angle, self.zoom, self.shift) != (0.0, 1.0, (0.0, 0.0)):
            both = Affine(
                rotate_params=self.angle,
                scale_params=(1 / self.zoom, 1 / self.zoom),
                translate_params=self.shift,
                mode="bilinear",
                padding_mode="border",
                image_only=True,
            )(both)
        both = convert_to_tensor(both, track_meta=False)
        image, mask = both[:1], both[1:] >= 0.5
        image = (image * self.gain + self.offset).clamp(0, 1)
        if self.gamma != 1.0:
            image = image**self.gamma
        if self.noise:
            pattern = np.random.default_rng(self.noise_seed).standard_normal(tuple(image.shape), np.float32)
            image = (image + self.noise * torch.from_numpy(pattern)).clamp(0, 1)
        return image, mask.float()


@dataclass(frozen=True)
class Augmentation:
    """The random sampler around `Change`: ranges, half-widths unless said; 0 turns a part off."""

    flip: float = 0.5  # probability
    angle: float = 0.1  # radians
    zoom: float = 0.1
    shift: float = 0.05  # of the slice's side
    gain: float = 0.1
    offset: float = 0.04
    gamma: float = 0.2  # in log
    noise: float = 0.02  # largest standard deviation

    def scaled(self, strength: float) -> Augmentation:
        """Every range but the flip's times strength."""
        return Augmentation(self.flip, **{k: strength * v for k, v in asdict(self).items() if k != "flip"})

    def draw(self, rng: np.random.Generator, size: tuple[int, int]) -> Change:
        """One change for slices of size (H, W); always the same number of draws from rng."""
        u = rng.uniform(-1, 1, 8)
        return Change(
            flip=bool((u[0] + 1) / 2 < self.flip),
            angle=float(self.angle * u[1]),
            zoom=float(1 + self.zoom * u[2]),
            shift=(float(self.shift * u[3] * size[0]), float(self.shift * u[4] * size[1])),
            gain=float(1 + self.gain * u[5]),
            offset=float(self.offset * u[6]),
            gamma=float(np.exp(self.gamma * u[7])),
            noise=float(self.noise * rng.random()),
            noise_seed=int(rng.integers(2**31)),
        )


class SliceDataset(Dataset):
    """Slices of some patients as (image, mask), both (1, H, W) float32, padded to one size and normalised.

    lesion_free: share of the slices without lesion that take part, drawn anew each epoch (1 takes all, 0 none).
    thin_below: of scans whose slices lie closer than this many mm, every second slice takes part, the even ones in even epochs
        and the odd ones in odd epochs (0 takes all): neighbours of 1 mm are nearly the same picture twice.
    augmentation: None, or drawn from (seed, epoch, position): the same again
        whatever the workers and however often resumed.
    as_many_as: cases whose slices an epoch is as long as; the slices are drawn again and again until there are so many.
    `set_epoch` draws the epoch's slices; the order is the DataLoader's or `order()`'s business.
    """

    def __init__(
        self,
        cohort: Cohort,
        names: Sequence[str],
        lesion_free: float = 1.0,
        augmentation: Augmentation | None = None,
        seed: int = 0,
        size: tuple[int, int] | None = None,
        thin_below: float = 0.0,
        as_many_as: Sequence[str] | None = None,
    ):
        unknown = [name for name in (*names, *(as_many_as or ())) if name not in cohort.images]
        if unknown:
            raise DataError(f"the cohort has no case {', '.join(unknown)}; known: {', '.join(cohort.names)}")
        self.cohort, self.names, self.lesion_free = cohort, list(names), lesion_free
        self.augmentation, self.seed, self.size, self.thin_below = augmentation, seed, size or cohort.size, thin_below
        self.as_many_as = as_many_as
        for epoch in (1, 0):
            self.set_epoch(epoch)
            if not self.index:
                raise DataError("no slice is left to train on: the chosen patients have no lesion and lesion_free is 0")

    def set_epoch(self, epoch: int) -> None:
        """Choose the slices of an epoch."""
        self.epoch = epoch
        self.index = self._pass(self.names, epoch, 0)
        wanted = len(self._pass(self.as_many_as, epoch, 0)) if self.as_many_as and self.index else 0
        turn = 0
        while len(self.index) < wanted:
            turn += 1
            self.index += self._pass(self.names, epoch, turn)
        self.length = wanted or len(self.index)

    def _pass(self, names: Sequence[str], epoch: int, turn: int) -> list[tuple[str, int]]:
        """One pass over some cases' slices; of an epoch that needs several, the turn-th."""
        rng = np.random.default_rng([self.seed, epoch, 1, turn] if turn else [self.seed, epoch, 1])
        index: list[tuple[str, int]] = []
        for name in names:
            with_lesion = self.cohort.lesion_slices[name]
            without = np.setdiff1d(np.arange(len(self.cohort.images[name])), with_lesion)
            if self.cohort.spacing(name)[0] < self.thin_below and len(with_lesion) + len(without) > 1:
                with_lesion, without = (part[part % 2 == (epoch + turn) % 2] for part in (with_lesion, without))
            taken = rng.permutation(without)[: round(self.lesion_free * len(without))]
            index += [(name, int(z)) for z in np.sort(np.concatenate([with_lesion, taken]))]
        return index

    def order(self) -> list[int]:
        """The epoch's positions, shuffled by (seed, epoch)."""
        return np.random.default_rng([self.seed, self.epoch, 2]).permutation(len(self.index)).tolist()[: self.length]

    def change(self, position: int) -> Change | None:
        """What the augmentation does to an item of this epoch; None without one."""
        if self.augmentation is None:
            return None
        return self.augmentation.draw(np.random.default_rng([self.seed, self.epoch, 3, position]), self.size)

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, position: int) -> tuple[torch.Tensor, torch.Tensor]:
        name, z = self.index[position]
        padding = self.cohort.preprocessing.padding
        image, _ = pad_slices(np.asarray(self.cohort.images[name][z], np.float32), self.size, padding)
        mask, _ = pad_slices(np.asarray(self.cohort.masks[name][z], np.float32), self.size, 0.0)
        image, mask = torch.from_numpy(image)[None], torch.from_numpy(mask)[None]
        change = self.change(position)
        if change is not None:
            image, mask = change.apply(image, mask)
        return self.cohort.preprocessing.normalise(image), mask


def scan_slices(cohort: Cohort, name: str, batch: int) -> Iterator[torch.Tensor]:
    """A case's slices in order, normalised, (≤ batch, 1, H, W), on the case's own size."""
    images = cohort.images[name]
    for start in range(0, len(images), batch):
        part = torch.from_numpy(np.asarray(images[start : start + batch], np.float32))
        yield cohort.preprocessing.normalise(part)[:, None]
