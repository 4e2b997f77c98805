"""book/costs.py: exponents, rooflines and the model from numbers small enough to check by hand; no results, no numbers."""

import json
import re
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "book"))
import costs

MACHINE = {"clock": "wall", "processor": "P", "cores": 2, "load at the start": 0.5}


def line(what, **more):
    return {"what": what, "value": 1.5, "unit": "×", "goal": "≤ 2", "met": True, "how": "so", "check": "plain"} | more


@pytest.fixture
def kept(tmp_path):
    """A measurement of round numbers: 400 passes of 1 GFLOP and 0.1 GB, half the roof, 10 s of which the network takes 6."""
    inference = {"width": 8, "kind": "inference", "flops": 1e9, "bytes": 1e8, "gflops": 10, "roof": 20}
    training = {"width": 64, "kind": "training", "flops": 1e11, "bytes": 1e9, "gflops": 10, "roof": 40}
    rows = [{"width": w, "size": 128, "seconds": w**2 / 1e3, "training bytes": 2**20 * w} for w in (4, 8, 16)]
    scan = line("whole scan", seconds=10.0, stages={"network": 0.6}, met=False, limit="lungs 14 %")
    parts = {
        "scan": {"lines": [scan], "machine": MACHINE},
        "roofline": {"lines": [line("a", **inference), line("b", **training)], "machine": MACHINE},
        "growth": {"rows": {"width": rows}, "machine": MACHINE},
    }
    (tmp_path / "speed").mkdir()
    (tmp_path / "speed" / "cpu.json").write_text(json.dumps({"parts": parts}))
    return tmp_path


def test_without_results_every_part_says_so(tmp_path):
    for produce in (costs.speed, costs.growth, costs.machines, costs.model):
        assert produce(tmp_path) == costs.NOT_YET


def test_slopes_are_exponents(kept):
    assert costs.slope([1, 2, 4], [3 * x**2.5 for x in (1, 2, 4)]) == pytest.approx(2.5)
    text = costs.growth(kept)
    assert "| width, at 128 × 128 | time of a slice | 16 … 256 ms | 4 … 16 | 2.00 |" in text
    assert "| width, at 128 × 128 | training memory of a slice | 4 … 16 MB | 4 … 16 | 1.00 |" in text
    assert "<svg role" in text


def test_a_gpu_is_priced_by_its_roof(kept):
    need = costs.needs(costs.load(kept))
    assert (need["network"], need["host"], need["share"]) == (6.0, 4.0, 0.5)
    gpu = {"float32": 10, "16 bits": 100, "GB/s": 400}
    # 400 GFLOP and 40 GB: in float32 0.04 s of arithmetic and 0.1 s of memory; in 16 bits 0.004 s and 0.05 s
    assert costs.priced(need, gpu, "float32") == pytest.approx((0.1, 0.2))
    assert costs.priced(need, gpu, "16 bits") == pytest.approx((0.05, 0.1))
    assert costs.priced(need, gpu | {"GB/s": 1e6}, "float32") == pytest.approx((0.04, 0.08))


def test_measured_and_computed_are_told_apart(kept):
    rows = costs.machines(kept).splitlines()[2:]
    assert [row.split(" | ")[1] for row in rows] == ["**measured**"] + ["computed"] * 6
    assert "6.0 s | 10.0 s" in rows[0]


def test_many_scans_wait_for_the_slower_of_gpu_and_host(kept):
    text = costs.model(kept, scans=64, gpus=64)
    # 4 s of the host on 8 cores are 0.5 s; a T4's bandwidth needs 20 GB / 320 GB/s = 0.0625 s, by the share 0.125 s
    assert "| T4 | 0.50 s | the host's 8 cores | 0.0 min | 0.0 GPU hours |" in text
    assert "| T4 | 1.39 min" not in text
    assert "| T4 | float32 | 593 s | 2370 s |" in text  # 3 · 100 GFLOP · 16 · 1 000 slices by 8.1 TFLOP/s, by a quarter
    assert "| T4 | bfloat16" not in text  # it has none, and training knows no other 16 bits
    assert "| A100 (SXM, 80 GB) | bfloat16 | 15 s | 62 s |" in text


def test_a_missed_goal_shows_its_limit(kept):
    text = costs.speed(kept)
    assert re.search(r"<small>so; lungs 14 %(; checked: plain)?</small> \| [^|]+ \| [^|]+ \| \*\*missed\*\* \|", text)
    assert "The load was 0.5 to 0.5" in text


def test_the_faq_quotes_the_measured_memory_of_a_scan():
    root = Path(__file__).parents[2]
    (line,) = json.loads((root / "results" / "speed" / "cpu.json").read_text())["parts"]["memory"]["lines"]
    (most,) = [row["MB"] for row in line["rows"] if row["slices"] == 200]
    # the whole process with its libraries, of which the scan's own part grows with the slices
    assert f"About {most / 1000:.1f} GB for 512 × 512 × 200 voxels" in (root / "book" / "faq.md").read_text()
