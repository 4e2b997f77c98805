"""book/own-scan.md: its commands exist, what it quotes is what the package says, and its Python runs."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import numpy as np

from scoat_lib import report, words

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
    import parts

    from scoat_lib import weights

    (tmp_path / "own-scan.md").write_text(PAGE)
    parts.fill_in(tmp_path, tmp_path)
    text = (tmp_path / "own-scan.md").read_text()
    assert 'id="drawing-path"' in text
    assert f"above {weights.load().threshold:g}" in text
    assert "<!-- path" not in text


def test_the_page_says_how_wrong_a_volume_may_be():
    """Bias, limits of agreement and the change to believe, recomputed from the runs at both thresholds."""
    runs = words.of_network(report.load(ROOT / "results"), "scoatnet")
    for cut, bias in (
        ("0.5", "{:.0f} % too small on average at threshold 0.5"),
        ("0.3", "it is {:.0f} % too large on average"),
    ):
        whole: dict[str, list[np.ndarray]] = {}
        for result in runs:
            of_run: dict[str, np.ndarray] = {}
            for scan in result["patients"]:
                more = result["measures"][scan]
                of_run[more["patient"]] = of_run.get(more["patient"], np.zeros(3)) + more["thresholds"][cut][:3]
            for patient, counts in of_run.items():
                whole.setdefault(patient, []).append(counts)
        means = [np.mean(seeds, axis=0) for seeds in whole.values()]
        large = np.array([v for v in means if v[0] + v[2] >= report.LEAST])
        assert f"{len(large)} patients with at least 1 000 lesion voxels" in PAGE
        error = 100 * ((large[:, 0] + large[:, 1]) / (large[:, 0] + large[:, 2]) - 1)
        assert bias.format(abs(error.mean())) in PAGE
        half = 1.96 * error.std(ddof=1)
        said = {"0.3": "it must exceed {:.0f} % of the volume by these limits", "0.5": "and {:.0f} %"}[cut]
        assert said.format(np.sqrt(2) * half) in PAGE
    limits = f"from {error.mean() - half:.0f} to {error.mean() + half:+.0f} %".replace("-", "−")
    assert limits in PAGE
