"""Numbers in prose that no file of results/ backs, computed here once more from what stands on the page."""

import base64
import json
import re
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from scoat_lib import losses
from scoat_lib.networks import create

BOOK = Path(__file__).parents[2] / "book"


def cells(name):
    return json.loads(next(BOOK.glob(f"{name}-*.ipynb")).read_text())["cells"]


def prose(name):
    return " ".join("".join(c["source"]) for c in cells(name) if c["cell_type"] == "markdown")


def unpacked(text, shape):
    """What `viewer._packed` kept, column by column."""
    kept = np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8).astype(int).reshape(shape)
    found = np.zeros((shape[0], shape[1] + 1, shape[2] + 1), int)
    for r in range(shape[1]):
        for c in range(shape[2]):
            guess = (found[:, r + 1, c] + found[:, r, c + 1]) >> 1
            found[:, r + 1, c + 1] = (kept[:, r, c] + guess) & 255
    return found[:, 1:, 1:]


def test_chapter_18s_threshold_of_equal_volumes_is_the_viewers():
    outputs = [o for c in cells("18") for o in c.get("outputs", []) if "threshold-of-a-patient" in str(o.get("data", {}))]
    source = "".join(outputs[0]["data"]["text/html"])
    data = json.loads(re.search(r"begin\(scanViewer, \"[^\"]+\", (\{.*\})\);\n", source).group(1))
    truth, levels = unpacked(data["truth"], data["shape"]) > 0, unpacked(data["answers"][0], data["shape"])
    masks = [levels > k for k in range(len(data["thresholds"]))]
    equal = min(range(len(masks)), key=lambda k: abs(int(masks[k].sum()) - int(truth.sum())))
    dsc = [2 * (m & truth).sum() / (m.sum() + truth.sum()) for m in masks]
    said = re.search(r"At (0\.\d+) the two volumes agree, and DSC is close to its best, (0\.\d+)", prose("18"))
    assert abs(float(said[1]) - data["thresholds"][equal]) < 0.03
    assert abs(float(said[2]) - max(dsc)) < 0.006
    assert max(dsc) - dsc[equal] < 0.02


def passes(source, rate):
    """Chapter 9's ten passes at a rate, with its own loop."""
    names = {"torch": torch}
    exec(source, names)
    torch.manual_seed(0)
    truth = torch.zeros(4, 1, 32, 32)
    truth[:, :, 8:20, 10:22] = 1
    slices = torch.randn(4, 1, 32, 32) + 2 * truth
    small = create("scoatnet", width=4)
    size = torch.cat([p.detach().abs().ravel() for p in small.parameters() if p.dim() > 1]).mean().item()
    adam, loss = torch.optim.AdamW(small.parameters()), losses.create("bce-dice")
    return [names["one_epoch"](small, adam, [(slices, truth)], loss, lambda done: rate) for _ in range(10)], size


def test_chapter_9s_rate_of_1_does_what_its_solution_says():
    loop = next(s for s in ("".join(c["source"]) for c in cells("09")) if s.startswith("def one_epoch"))
    bare = "\n".join(line for line in loop.splitlines() if "clip_grad" not in line)
    assert bare != loop
    said = re.search(
        r"The loss jumps: (.*?), and up to (\S+) again. Yet after ten passes it is (\S+), .*? than the (\S+) of", prose("09")
    )
    fast, size = passes(loop, 1.0)
    assert [float(v) for v in said[1].split(", ")] == pytest.approx(fast[:4], abs=0.02)
    assert float(said[2]) == pytest.approx(fast[4], abs=0.03)
    assert float(said[3]) == pytest.approx(fast[-1], abs=0.02)
    assert float(said[4]) == pytest.approx(passes(loop, 0.01)[0][-1], abs=0.02)
    assert f"ends at {passes(bare, 1.0)[0][-1]:.2f} too" in prose("09")
    assert f"weights of {size:.2f} on average" in prose("09")
