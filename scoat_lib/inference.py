"""A scan goes in, its lesion mask and lung opacification volume come out (Figure 6), on any grid."""

from __future__ import annotations

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d
from torch.nn import functional as F

from scoat_lib.scan import Scan
from scoat_lib.weights import Segmenter, WeightsError


def probabilities(
    segmenter: Segmenter,
    scan: Scan,
    batch: int = 16,
    device: str | torch.device = "cpu",
    branches: str | int = "output",
    flip: bool | None = None,
    smooth: float | None = None,
) -> Scan:
    """The lesion probability of every voxel (float32, 0..1) on the scan's own grid.

    The slices are windowed and resampled to the spacing the weights were trained on; the probabilities are smoothed there and
    brought back bilinearly. branches: see `slice_probabilities`. flip: average each slice with its mirror image, which doubles
    the time; smooth: σ in mm, see `smooth_through`. None, for either, does as the weights' card says.
    ValueError for another value of branches, a network without them, or smooth below 0.
    """
    return enlarged(coarse_probabilities(segmenter, scan, batch, device, branches, flip, smooth), scan, batch)


def coarse_probabilities(
    segmenter: Segmenter,
    scan: Scan,
    batch: int = 16,
    device: str | torch.device = "cpu",
    branches: str | int = "output",
    flip: bool | None = None,
    smooth: float | None = None,
) -> np.ndarray:
    """`probabilities` on the network's own grid: (slices, h, w), a small part of what they are on a fine scan's."""
    slices = segmenter.preprocessing.slices(scan)
    p = slice_probabilities(segmenter, slices, batch, device, branches, segmenter.flip if flip is None else flip)
    del slices
    return smooth_through(p, scan.axial_spacing[0], segmenter.smooth if smooth is None else smooth)


def enlarged(probability: np.ndarray, scan: Scan, together: int = 16) -> Scan:
    """`coarse_probabilities` brought to the scan's own grid, so many slices at a time."""
    result = scan.blank(np.float32)
    _enlarge(probability, result.axial(), together)
    return result


def enlarged_mask(probability: np.ndarray, scan: Scan, threshold: float, together: int = 16) -> Scan:
    """What `threshold_mask` makes of `enlarged`, without a whole scan of probabilities in memory."""
    _check_threshold(threshold)
    result = scan.blank(np.uint8)
    _enlarge(probability, result.axial(), together, threshold)
    return result


@torch.inference_mode()
def slice_probabilities(
    segmenter: Segmenter,
    slices: np.ndarray,
    batch: int = 16,
    device: str | torch.device = "cpu",
    branches: str | int = "output",
    flip: bool = False,
) -> np.ndarray:
    """The one way from slices to probabilities: (slices, H, W) windowed to 0..1 → float32 in 0..1.

    branches: "output", as the network predicts; "mean", the average probability of X(0,1) … X(0,4); or one of 1 … 4.
    flip: average each slice with its mirror image. ValueError for another value of branches, or a network without them;
    WeightsError where the network answers with NaN.
    """
    model = segmenter.model.to(device).eval()
    if branches != "output" and branches != "mean" and branches not in (1, 2, 3, 4):
        raise ValueError(f"branches is {branches!r}; known: output, mean, 1, 2, 3, 4")
    if branches != "output" and not hasattr(model, "branches"):
        raise ValueError(f"{type(model).__name__} has one output only; branches must be 'output'")
    result = np.empty(slices.shape, np.float32)
    for start in range(0, len(slices), batch):
        x = torch.from_numpy(np.array(slices[start : start + batch], np.float32))[:, None].to(device)
        x = segmenter.preprocessing.normalise(x).contiguous(memory_format=torch.channels_last)
        p = _probability(model, x, branches)
        if flip:
            p = (p + _probability(model, x.flip(-1), branches).flip(-1)) / 2
        result[start : start + batch] = p[:, 0].cpu().numpy()
    bad = int(np.isnan(result).any((1, 2)).sum())
    if bad:  # NaN is above no threshold, so the mask would be empty
        raise WeightsError(
            f"{type(model).__name__}: answers with NaN in {bad} of {len(result)} slices, so its weights are damaged, or "
            "the slices are; load both again"
        )
    return result


def _enlarge(probability: np.ndarray, result: np.ndarray, together: int = 16, threshold: float | None = None) -> None:
    """Probabilities (slices, h, w) written into a result (slices, H, W) of another size, bilinearly, a few slices at a time.

    threshold: write whether they lie above it instead.

    It comes after the smoothing: both are linear and run along other axes, so their order is worth rounding errors only, and
    a slice of the network's own grid is smoothed in a sixteenth of the time of one of 512 × 512.
    """
    size = result.shape[1:]
    for start in range(0, len(probability), together):
        part = probability[start : start + together]
        if part.shape[1:] != size:
            fine = F.interpolate(torch.from_numpy(part)[:, None], size=size, mode="bilinear", align_corners=False)
            part = fine[:, 0].numpy()
        result[start : start + together] = part if threshold is None else part > threshold


def smooth_through(probability: np.ndarray, between: float, sigma: float) -> np.ndarray:
    """Probabilities (slices, H, W) after a Gaussian along the slices: a network of single slices sees no neighbours.

    between: mm from slice to slice. sigma: mm, 0 for none; the outermost slices are repeated beyond the scan's ends.
    ValueError for a sigma below 0.
    """
    if sigma < 0:
        raise ValueError(f"smooth is {sigma} mm; it must not be below 0")
    return gaussian_filter1d(probability, sigma / between, axis=0, mode="nearest") if sigma else probability


def _probability(model: torch.nn.Module, x: torch.Tensor, branches: str | int) -> torch.Tensor:
    """(N, 1, H, W) in 0..1."""
    if branches == "output":
        return torch.sigmoid(model(x).float())
    each = torch.sigmoid(torch.stack(model.branches(x)).float())
    return each.mean(0) if branches == "mean" else each[branches - 1]


def segment(segmenter: Segmenter, scan: Scan, threshold: float | None = None, **options) -> Scan:
    """The lesion mask of a scan: uint8, 1 where the probability is above threshold, on the scan's shape and affine.

    threshold: None takes the weights' own, 0.5 unless their card names another. options: those of `probabilities`.
    ValueError unless 0 < threshold < 1.
    """
    return threshold_mask(probabilities(segmenter, scan, **options), segmenter.threshold if threshold is None else threshold)


def threshold_mask(probability: Scan, threshold: float = 0.5) -> Scan:
    """A probability map's mask at a threshold in 0..1, exclusive."""
    _check_threshold(threshold)
    return Scan((probability.voxels > threshold).view(np.uint8), probability.affine, None, probability.header)


def _check_threshold(threshold: float) -> None:
    if not 0 < threshold < 1:
        raise ValueError(f"threshold is {threshold}; it must lie between 0 and 1")


def opacification_volume(mask: Scan) -> float:
    """LOV, the volume of a mask in cm³, from its affine (Figure 6)."""
    return mask.volume()
