"""book/own-scan.md: its commands exist, what it quotes is what the package says, and its Python runs."""

import ast
import re
import subprocess
import sys
from pathlib import Path

from scoat_lib import report

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "book" / "own-scan.md").read_text()


def test_what_it_quotes_is_what_the_package_says():
    source = "".join(p.read_text() for p in (ROOT / "scoat_lib").rglob("*.py"))
    source = re.sub(r'"\s*\n\s*f?"', "", source)  # sentences over two lines of code
    table = [line for line in PAGE.splitlines() if line.startswith("| ")]
    quoted = [text for line in table for text in re.findall(r'"([^"]+)"', line)]
    assert len(quoted) > 12
    assert [text for text in quoted if text not in source] == []


def test_its_options_exist():
    help_text = subprocess.run([sys.executable, "-m", "scoat_lib", "segment", "--help"], capture_output=True, text=True).stdout
    for option in set(re.findall(r"`(--[a-z-]+)", PAGE)):
        assert option in help_text, option


def test_its_python_runs(data_folder, tmp_path):
    from scoat_lib.cohort import find_cases

    (tmp_path / "chest.nii.gz").write_bytes(find_cases(data_folder)[0].scan.read_bytes())
    code = "".join(re.findall(r"```python\n(.*?)```", PAGE, flags=re.S))
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**__import__("os").environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    volume, share, _ = done.stdout.splitlines()
    assert re.fullmatch(r"[\d.]+ cm³", volume)
    assert set(ast.literal_eval(share)) == {"both", "right", "left", "outside"}
    assert (tmp_path / "opacities.nii.gz").exists()


def test_the_readers_are_the_measured_ones():
    found = report.readers(ROOT / "results")["DSC, per cent"]
    assert f"{found['mean']:.0f} %, from {found['lowest']:.0f} to {found['highest']:.0f} %" in PAGE


def test_the_path_of_a_scan_is_drawn_when_the_site_is_built(tmp_path):
    sys.path.insert(0, str(ROOT / "book"))
    import build

    from scoat_lib import weights

    (tmp_path / "own-scan.md").write_text(PAGE)
    build.fill_in(tmp_path, tmp_path)
    text = (tmp_path / "own-scan.md").read_text()
    assert 'id="drawing-path"' in text
    assert f"above {weights.load().threshold:g}" in text
    assert "<!-- path" not in text
