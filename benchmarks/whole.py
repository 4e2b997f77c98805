"""A scan from file to mask: what starting and each stage cost, what memory grows with, and MONAI's sliding window beside it."""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from clock import Clock, child, line, ratio
from monai.inferers import SliceInferer
from monai.networks.nets import BasicUNetPlusPlus

from scoat_lib import inference, lungs, networks, phantom, segmentation, upright, weights
from scoat_lib.blocks import level_widths
from scoat_lib.cohort import Preprocessing
from scoat_lib.scan import Scan
from scoat_lib.weights import Segmenter

SCOAT = [sys.executable, "-m", "scoat_lib"]
NETWORK = "network"
STAGES = {  # what is timed, and where it is found
    "read": (Scan, "load"),
    "doubt: Hounsfield units": (segmentation, "check_hounsfield"),
    "doubt: upright": (upright, "warning"),
    "window and resample": (Preprocessing, "slices"),
    NETWORK: (inference, "_probability"),
    "smooth": (inference, "smooth_through"),
    "bring back": (inference, "_enlarge"),
    "lungs": (lungs, "segment"),
    "write": (Scan, "save"),
}


def chest(size: int, slices: int) -> Scan:
    """A phantom's chest of size × size × slices voxels, made of a smaller phantom's by repeating its voxels."""
    factor = max(1, size // 128)
    made = phantom.patient(3, (size // factor, size // factor, max(16, slices // factor))).scan
    voxels = made.voxels
    for axis in range(3):
        voxels = np.repeat(voxels, factor, axis)
    return Scan(np.ascontiguousarray(voxels[:, :, :slices]), made.affine @ np.diag([1 / factor] * 3 + [1]))


def start(clock: Clock, rounds: int) -> list[dict]:
    """`scoat --help` and a misspelt command, each beside an empty Python."""
    jobs = {"python": [sys.executable, "-c", "pass"], "--help": [*SCOAT, "--help"], "misspelt": [*SCOAT, "segment", "--none"]}
    seen: dict[str, list[dict]] = {name: [] for name in jobs}
    for _ in range(rounds):
        for name, words in jobs.items():
            seen[name].append(child(words))
    empty = [clock.of(c) for c in seen["python"]]
    lines = []
    for name, what in (("--help", "`scoat --help`"), ("misspelt", "a usage error")):
        seconds = [clock.of(c) for c in seen[name]]
        value = statistics.median(seconds)
        how = f"{ratio(seconds, empty):.1f} × an empty Python, {max(c['MB'] for c in seen[name]):.0f} MB at most"
        lines.append(line(what, round(value, 3), "s", "< 0.3", value < 0.3, how=how))
    return lines


@contextmanager
def timed(clock: Clock) -> Iterator[dict[str, float]]:
    """Seconds of each stage of a scan's way, summed over its calls, while the block runs."""
    seconds = dict.fromkeys(STAGES, 0.0)

    def around(name, plain):
        def call(*words, **more):
            began = clock.now()
            try:
                return plain(*words, **more)
            finally:
                seconds[name] += clock.now() - began

        return call

    with ExitStack() as patches:
        for name, (where, what) in STAGES.items():
            patches.enter_context(mock.patch.object(where, what, around(name, getattr(where, what))))
        yield seconds


def plain_mask(segmenter: Segmenter, scan: Scan) -> np.ndarray:
    """The mask by the way one would write first: slice by slice, enlarged, then smoothed, in the order of `Scan.axial`."""
    slices = segmenter.preprocessing.slices(scan)
    rows, columns = scan.axial().shape[1:]
    found = []
    for one in slices:
        p = inference.slice_probabilities(segmenter, one[None], batch=1, flip=segmenter.flip)
        p = torch.nn.functional.interpolate(torch.from_numpy(p)[None], (rows, columns), mode="bilinear", align_corners=False)
        found.append(p[0, 0].numpy())
    return inference.smooth_through(np.stack(found), scan.axial_spacing[0], segmenter.smooth) > segmenter.threshold


def whole_scan(clock: Clock, size: int, slices: int, rounds: int) -> list[dict]:
    """A whole scan, read from a file and written to one, beside the network's own time in it; and what the rest is."""
    segmenter = weights.load()
    part = chest(size, max(16, slices // 8))
    fast, plain = segmentation.of(part, segmenter, segmentation.Options()).mask_scan.axial() > 0, plain_mask(segmenter, part)
    differ = float(np.mean(fast != plain))
    runs = []
    with tempfile.TemporaryDirectory() as folder:
        chest(size, slices).save(Path(folder) / "scan.nii.gz")
        for _ in range(rounds):
            began = clock.now()
            with timed(clock) as stages:
                scan = Scan.load(Path(folder) / "scan.nii.gz")
                found = segmentation.of(scan, segmenter, segmentation.Options())
                found.percent()
                found.save(Path(folder) / "mask.nii.gz")
            runs.append((clock.now() - began, stages))
    value = statistics.median(total / stages[NETWORK] for total, stages in runs)
    own = {name: statistics.median(stages[name] / total for total, stages in runs) for name in STAGES}
    most = sorted(own.items(), key=lambda pair: -pair[1])[:4]
    seconds = statistics.median(total for total, _ in runs)
    what = f"whole scan, {size} × {size} × {slices}: time / the network's own"
    return [
        line(what, round(value, 2), "×", "≤ 1.5", value <= 1.5,
             how=f"{seconds:.1f} s in all, after the start", seconds=round(seconds, 2),
             limit=", ".join(f"{name} {100 * share:.0f} %" for name, share in most),
             stages={name: round(share, 4) for name, share in own.items()},
             check=f"{differ:.1e} of the voxels differ from the mask made slice by slice"),
    ]  # fmt: skip


def memory(clock: Clock, size: int, counts: list[int]) -> list[dict]:
    """Peak memory and time of `scoat segment` in a process of its own, against the number of slices."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        scan, mask = Path(folder) / "scan.nii.gz", Path(folder) / "mask.nii.gz"
        for slices in counts:
            chest(size, slices).save(scan)
            used = child([*SCOAT, "segment", scan, "-o", mask, "--overwrite", "--threads", torch.get_num_threads()])
            if used["code"]:
                raise RuntimeError(f"scoat segment of {slices} slices ended with {used['code']}")
            rows.append({"slices": slices, "MB": round(used["MB"]), "seconds": round(clock.of(used), 2)})
    slope, base = np.polyfit([r["slices"] for r in rows], [r["MB"] for r in rows], 1)
    of_scan = size * size * 2 / 2**20
    what = f"memory at {', '.join(str(c) for c in counts)} slices of {size} × {size}"
    how = f"{', '.join(str(r['MB']) for r in rows)} MB: {base:.0f} MB and {slope:.2f} MB a slice; the scan has {of_scan:.2f}"
    limit = "scan, mask and lungs are kept whole, twice the scan; the lungs' distances come on top"
    return [
        line(what, round(float(slope / of_scan), 1), "× the scan", "flat (≤ 4.5)", bool(slope / of_scan <= 4.5),
             how=how, limit=limit, rows=rows)
    ]  # fmt: skip


def sliding_window(clock: Clock, width: int, slices: int, size: int, rounds: int) -> list[dict]:
    """A scan's prepared slices through our network and way, beside MONAI's UNet++ and its sliding window; float32, one grid."""
    torch.manual_seed(0)
    ours = Segmenter(networks.create("scoatnet", width=width).eval(), Preprocessing())
    theirs = BasicUNetPlusPlus(2, 1, 1, features=(*level_widths(width), width)).eval()
    volume = np.random.default_rng(0).random((slices, size, size), np.float32)
    window = SliceInferer(roi_size=(size, size), sw_batch_size=16, spatial_dim=0)
    x = ours.preprocessing.normalise(torch.from_numpy(volume))[None, None]

    @torch.inference_mode()
    def through(model):
        found = window(x, model)  # MONAI's network gives a list of its branches, here of one
        return torch.sigmoid(found if torch.is_tensor(found) else found[0])

    jobs = {
        "ours": lambda: inference.slice_probabilities(ours, volume),
        "MONAI": lambda: through(theirs),
        "ours in MONAI's window": lambda: through(ours.model),
    }
    apart = float(np.abs(jobs["ours"]() - jobs["ours in MONAI's window"]()[0, 0].numpy()).max())
    seconds = clock.turns(jobs, rounds, warm=False)
    value = ratio(seconds["MONAI"], seconds["ours"])
    way = ratio(seconds["ours in MONAI's window"], seconds["ours"])
    what = f"MONAI's sliding window with its UNet++: its time / ours, width {width}"
    return [
        line(what, round(value, 2), "×", "≥ 1.5", value >= 1.5,
             how=f"{slices} slices of {size} × {size}, no mirror image; our network in MONAI's window: {way:.2f} ×",
             check=f"our network by both ways: {apart:.0e} apart at most")
    ]  # fmt: skip
