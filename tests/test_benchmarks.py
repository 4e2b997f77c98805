"""benchmarks/run.py runs and reports; nothing here is timed."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_benchmarks_run(tmp_path):
    script = tmp_path / "run.py"
    script.write_text((ROOT / "benchmarks" / "run.py").read_text())
    words = ["--width", "4", "--size", "64", "--batch", "1", "--rounds", "1"]
    done = subprocess.run([sys.executable, str(script), *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads((tmp_path / "last" / "result.json").read_text())
    assert {r["network"] for r in result["networks"]} >= {"unetpp", "scoatnet", "MONAI BasicUNetPlusPlus"}
    assert all(r["images/s"] > 0 for r in result["networks"])
    assert result["equation 10"][0]["points"] > 10_000
    assert set(result["data path"]) == {"slices/s", "network slices/s", "data ÷ network"}
