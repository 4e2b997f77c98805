"""Metrics beside the labelling alone, equation 10 beside all pairs, augmentation beside MONAI's transforms one by one."""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path

import cc3d
import numpy as np
import torch
from clock import Clock, line, ratio
from monai import transforms
from scipy import ndimage

from scoat_lib import metrics, phantom
from scoat_lib.cohort import Cohort
from scoat_lib.slices import Augmentation, SliceDataset
from scoat_lib.training import Recipe


def balls(shape: tuple[int, int, int], number: int, seed: int) -> np.ndarray:
    """A boolean array with some hundred balls of 3 to 14 voxels at random places, some of which touch."""
    rng = np.random.default_rng(seed)
    mask = np.zeros(shape, bool)
    for radius in rng.integers(3, max(4, min(14, min(shape) // 4)), number):
        ball = np.linalg.norm(np.mgrid[tuple(slice(-radius, radius + 1) for _ in shape)], axis=0) <= radius
        at = [rng.integers(0, n - 2 * radius) for n in shape]
        mask[tuple(slice(a, a + 2 * radius + 1) for a in at)] |= ball
    return mask


def six_metrics(clock: Clock, shape: tuple[int, int, int], number: int, rounds: int) -> list[dict]:
    """The six metrics of one scan, beside what any code must do for them: label both masks."""
    truth = balls(shape, number, 0)
    prediction = np.roll(truth, (1, 3, 2), (0, 1, 2)) ^ balls(shape, number // 4, 1)
    found = metrics.count(prediction, truth)
    full = np.ones((3, 3, 3))
    (of_a, a), (of_b, b) = (ndimage.label(m, full) for m in (prediction, truth))
    tp = int((prediction & truth).sum())
    centres = [tuple(c) for c in metrics.centres(of_a, a)]
    hit = {int(of_b[c]) for c in centres if truth[c]}
    plain = {"tp": tp, "Na": a, "Nb": b, "Np": sum(bool(truth[c]) for c in centres), "Nt": len(hit)}
    if any(found[key] != value for key, value in plain.items()):
        raise RuntimeError(f"the metrics count {found}, the plain way {plain}")
    jobs = {
        "six metrics": lambda: metrics.evaluate(prediction, truth),
        "labelling": lambda: [cc3d.connected_components(m.view(np.uint8), connectivity=26) for m in (prediction, truth)],
        "centres": lambda: metrics.centres(of_a, a),
    }
    seconds = clock.turns(jobs, rounds)
    value, share = (ratio(seconds[k], seconds[of]) for k, of in (("six metrics", "labelling"), ("centres", "six metrics")))
    what = f"six metrics of {' × '.join(map(str, shape[1:] + shape[:1]))}, {a} and {b} regions: time / the labelling's alone"
    return [
        line(what, round(value, 2), "×", "≤ 2", value <= 2,
             how=f"{statistics.median(seconds['six metrics']):.2f} s",
             limit=f"the centres of equation 10 take {100 * share:.0f} %",
             check="voxels and regions as scipy's labelling counts them")
    ]  # fmt: skip


def all_pairs(region: np.ndarray) -> tuple[int, ...]:
    """Equation 10 as it is printed, a thousand points at a time."""
    points = np.argwhere(region)
    worst = np.concatenate(
        [((points[i : i + 1000, None] - points[None]) ** 2).sum(-1).max(1) for i in range(0, len(points), 1000)]
    )
    return tuple(int(v) for v in points[worst.argmin()])


def centre(clock: Clock, rounds: int) -> list[dict]:
    """Equation 10 of a disc of 20 000 pixels and of a large lesion of a phantom, beside all pairs."""
    r, c = np.mgrid[:180, :180]
    lesion = phantom.patient(3, (128, 128, 32), volume=150).lesions.axial() > 0
    labels, n = metrics.regions(lesion)
    largest = labels == 1 + np.argmax(np.bincount(labels.ravel())[1:]) if n else lesion
    lines = []
    for name, region in (("a disc", (r - 90) ** 2 + (c - 90) ** 2 < 80**2), ("a phantom's lesion", largest)):
        if metrics.region_centre(region) != all_pairs(region):
            raise RuntimeError(f"the centre of {name} is not that of all pairs")
        jobs = {"ours": lambda x=region: metrics.region_centre(x), "all pairs": lambda x=region: all_pairs(x)}
        seconds = clock.turns(jobs, rounds, warm=False)
        value = ratio(seconds["all pairs"], seconds["ours"])
        what = f"all pairs by equation 10's centre, {name} of {int(region.sum())} points"
        lines.append(line(what, round(value), "×", "", None, how="", check="the same point", points=int(region.sum())))
    return lines


def monai_transforms(augmentation: Augmentation, size: tuple[int, int]) -> transforms.Compose:
    """The same kinds of change as MONAI offers them, one transform each, of the same ranges, each applied always."""
    a = augmentation
    return transforms.Compose([
        transforms.RandFlipd(("image", "mask"), prob=a.flip, spatial_axis=1),
        transforms.RandRotated(("image", "mask"), prob=1, range_x=a.angle, mode=("bilinear", "nearest"), padding_mode="border"),
        transforms.RandZoomd(("image", "mask"), prob=1, min_zoom=1 - a.zoom, max_zoom=1 + a.zoom, mode=("bilinear", "nearest")),
        transforms.RandAffined(("image", "mask"), prob=1, translate_range=[a.shift * s for s in size],
                               mode=("bilinear", "nearest"), padding_mode="border"),
        transforms.RandScaleIntensityd("image", prob=1, factors=a.gain),
        transforms.RandShiftIntensityd("image", prob=1, offsets=a.offset),
        transforms.RandAdjustContrastd("image", prob=1, gamma=(float(np.exp(-a.gamma)), float(np.exp(a.gamma)))),
        transforms.RandGaussianNoised("image", prob=1, std=a.noise),
    ])  # fmt: skip


def augmentation(clock: Clock, size: int, batch: int, rounds: int) -> list[dict]:
    """A batch of augmented slices from the cache, beside the same with MONAI's transforms one by one."""
    with tempfile.TemporaryDirectory() as folder:
        data = phantom.write_cohort(Path(folder) / "cohort", 3, (size, size, 16))
        cohort = Cohort.open(data, Recipe().preprocessing, Path(folder) / "cache")
        ours = SliceDataset(cohort, cohort.names, 1.0, Augmentation())
        bare = SliceDataset(cohort, cohort.names, 1.0, None)
        theirs = monai_transforms(Augmentation(), cohort.size)
        order = ours.order()[:batch]

        def one_by_one():
            return [theirs(dict(zip(("image", "mask"), bare[i], strict=True))) for i in order]

        for position in order:  # what was drawn, applied again to the bare slice, is what the data set gives
            name, z = ours.index[position]
            image = torch.from_numpy(np.asarray(cohort.images[name][z], np.float32))[None]
            mask = torch.from_numpy(np.asarray(cohort.masks[name][z], np.float32))[None]
            again, _ = ours.change(position).apply(image, mask)
            if not torch.equal(cohort.preprocessing.normalise(again), ours[position][0]):
                raise RuntimeError(f"the change of slice {position} does not replay")
        jobs = {"ours": lambda: [ours[i] for i in order], "MONAI": one_by_one, "bare": lambda: [bare[i] for i in order]}
        seconds = clock.turns(jobs, rounds)
    value = ratio(seconds["MONAI"], seconds["ours"])
    rate, share = batch / statistics.median(seconds["ours"]), ratio(seconds["bare"], seconds["ours"])
    return [
        line(f"MONAI's transforms one by one: their time / ours, {batch} of {size} × {size}", round(value, 2), "×", "≥ 3",
             value >= 3, how=f"{rate:.0f} slices a second",
             limit=f"MONAI's Affine in ours too; reading the slice is {100 * share:.0f} %",
             check="each change replays to the bit")
    ]  # fmt: skip
