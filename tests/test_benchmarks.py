"""benchmarks/run.py runs, compares with the plain ways and reports; nothing here is timed."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "benchmarks"))
import arrays  # noqa: E402
import clock  # noqa: E402
import run  # noqa: E402

from scoat_lib import metrics  # noqa: E402

GOALS = ["--help", "whole scan", "memory", "sliding window", "training: MONAI", "of the peak", "six metrics", "one by one"]


def test_the_benchmarks_run(tmp_path):
    names = [name for name in run.parts(clock.Clock("cpu"), run.SMALL, False) if name != "engine"]
    words = [ROOT / "benchmarks" / "run.py", "--small", "--output", tmp_path, "--only", *names]
    done = subprocess.run([sys.executable, *map(str, words)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads((tmp_path / "result.json").read_text())
    assert list(result["parts"]) == names
    lines = [line for part in result["parts"].values() for line in part.get("lines", [])]
    for goal in GOALS:
        assert any(goal in line["what"] and line["goal"] for line in lines) or goal == "of the peak", goal
    assert all(line["met"] in (True, False) for line in lines if line["goal"])
    # memory hardly grows over so few and small slices
    assert all(line["value"] > 0 for line in lines if line["unit"] and "memory" not in line["what"])
    (whole,) = [line for line in lines if "whole scan" in line["what"]]
    assert 0.5 < sum(whole["stages"].values()) <= 1.001
    assert {row["width"] for row in result["parts"]["growth"]["rows"]["width"]} == set(run.SMALL["grow"])
    assert (tmp_path / "table.md").read_text().count("\n") == len(lines) + 2


def test_a_wrong_fast_path_is_seen(monkeypatch):
    plain = metrics.count
    monkeypatch.setattr(metrics, "count", lambda *a, **k: plain(*a, **k) | {"tp": 0})
    with pytest.raises(RuntimeError, match="the plain way"):
        arrays.six_metrics(clock.Clock("cpu"), (16, 64, 64), 10, 1)
    monkeypatch.setattr(metrics, "region_centre", lambda region: (0, 0))
    with pytest.raises(RuntimeError, match="is not that of all pairs"):
        arrays.centre(clock.Clock("cpu"), 1)


def test_a_process_peak_is_its_own():
    mine = np.ones(40_000_000)  # 320 MB here do not count there
    small = clock.child([sys.executable, "-c", "pass"])
    large = clock.child([sys.executable, "-c", "x = bytearray(200_000_000)"])
    assert len(mine)
    assert small["MB"] < 60 < 180 < large["MB"] < 300
    assert clock.child([sys.executable, "-c", "raise SystemExit(3)"])["code"] == 3
