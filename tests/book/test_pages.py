"""The pages on Colab, errata, questions, downloads: what they quote is said, what they count is counted, their files hold."""

import io
import json
import re
import sys
import zipfile
from pathlib import Path

import pandas as pd

from scoat_lib import grids, report, weights

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "book"))
import parts  # noqa: E402


def page(name):
    return (ROOT / "book" / f"{name}.md").read_text()


def test_the_messages_of_the_questions_are_what_the_package_says():
    source = "".join(p.read_text() for p in (ROOT / "scoat_lib").rglob("*.py"))
    source = re.sub(r'"\s*\n\s*f?"', "", source)  # sentences over two lines of code
    plain = source.replace("`", "")  # a message may name a command in ticks; on the page the whole of it stands in them
    rows = [line for line in page("faq").splitlines() if line.startswith("| `")]
    quoted = [re.match(r"\| `([^`]+?)(?: ?…)?` \|", line).group(1) for line in rows]
    assert len(quoted) > 10
    assert [text for text in quoted if text not in plain] == []
    assert len(rows) == sum(line.startswith("| ") for line in page("faq").splitlines()) - 2 * page("faq").count("\n| ---")


def test_the_errata_count_right():
    text = page("errata")
    over = {}
    for name in ("table1", "table2", "table3"):
        for label, row in grids.get(name).paper.items():
            if row["DSC"] > (bound := (row["SEN"] + row["PPV"]) / 2):
                over[label] = bound
                assert all(f"{row[metric]:.2f}" in text for metric in ("DSC", "SEN", "PPV"))
                assert f"{bound:.3f}" in text
    assert len(over) == 2
    table1, table2, table3 = (pd.DataFrame(grids.get(n).paper).T for n in ("table1", "table2", "table3"))
    assert table1.PPV.idxmax() == "BCE"
    assert table1.DSC.idxmax() == "BCE-Dice"
    assert table2.SEN.idxmin() == "CE-Net"
    assert table3.RLP.max() > table3.RLP["SCOAT-Net"]


def test_what_colab_takes_is_counted():
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from scoat_lib.networks import create

    with torch.device("meta"):
        model, x = create("scoatnet", width=64).eval(), torch.empty(1, 1, 512, 512)
        with FlopCounterMode(display=False) as counter:
            model(x)
    flop, text = counter.get_total_flops(), page("colab")
    assert f"{flop / 1e9:,.0f}".replace(",", " ") + " GFLOP" in text
    minutes = 680 * 3 * flop / (8.1e12 / 2) / 60
    assert f"about {minutes:.0f} minutes" in text
    assert f"about {2 * 80 * minutes / 60:.0f} hours" in text  # the chapter trains twice
    assert round(80 * minutes / 60) == 11
    assert "**Eleven hours** for one run" in text
    steps = [epoch["steps"] for r in report.alike(report.load(ROOT / "results")) for epoch in r["curve"]]
    assert abs(4 * sum(steps) / len(steps) - 680) < 40
    assert "below a minute of arithmetic" in text  # width 8, 128 × 128: 1 GFLOP forward
    assert 16 * 680 * 3 * 1e9 / (8.1e12 / 2) < 60


def test_the_command_of_the_colab_page_names_the_one_address():
    assert parts.repository()[0] in parts.clone()
    assert "<!-- clone -->" in page("colab")
    assert parts.repository()[0] not in page("colab")


def test_the_options_of_the_colab_page_exist():
    source = (ROOT / "scoat_lib" / "cli" / "run.py").read_text()
    options = set(re.findall(r"--([a-z][a-z-]+)", page("colab"))) - {"branch", "depth", "output"}  # git's, and the download's
    assert len(options) >= 6
    for option in options:
        assert re.search(rf"^    {option.replace('-', '_')}: ", source, flags=re.M), option
    assert '"--output"' in (ROOT / "data" / "download.py").read_text()


def test_downloads_are_the_results(tmp_path):
    folder = tmp_path / "downloads"
    said = parts.table_files(folder)
    results = report.load(ROOT / "results")
    names = re.findall(r"\{download\}`([^`]+) <downloads/\1>`", said)
    assert len(names) >= 2
    assert set(names) == {path.name for path in folder.iterdir()}
    for name in [n.removesuffix(".csv") for n in names if n.endswith(".csv")]:
        one = report.comparing(report.tables(results, grids.get(name)))[0]
        csv = pd.read_csv(folder / f"{name}.csv", index_col=0)
        assert csv.index.tolist() == one.rows.index.tolist()
        pd.testing.assert_series_equal(csv.DSC, one.rows.DSC, check_names=False)
        done = csv[csv["all patients"] > 0]
        assert len(done) >= 2
        folds, grid = sum(len(set(str(text).split(", "))) for text in done.folds), grids.get(name)
        there = f"{len(done)} of {len(grid.rows)} rows, {folds} of {len(grid.rows) * 5} folds of them"
        assert there in next(line for line in said.splitlines() if f"{name}.csv" in line)
        assert "tabular" in (folder / f"{name}.tex").read_text()


def test_the_archive_of_runs_is_whole_and_the_same_each_time(tmp_path):
    said = parts.run_files(tmp_path / "one")
    parts.run_files(tmp_path / "two")
    content = (tmp_path / "one" / "results.zip").read_bytes()
    assert content == (tmp_path / "two" / "results.zip").read_bytes()
    archive = zipfile.ZipFile(io.BytesIO(content))
    files = [path for path in (ROOT / "results").rglob("*") if path.suffix in (".json", ".md")]
    assert {one.date_time for one in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    assert f"{len(files)} files" in said
    assert len(archive.namelist()) == len(files)
    for path in files:
        assert archive.read(path.relative_to(ROOT).as_posix()) == path.read_bytes()
        if path.suffix == ".json":
            json.loads(path.read_text())


def test_weights_come_with_their_card(tmp_path):
    said = parts.weight_files(tmp_path / "downloads")
    assert "model-card.txt" in said
    for name in weights.shipped():
        there = tmp_path / "downloads" / f"{name}.safetensors"
        assert there.read_bytes() == (ROOT / "scoat_lib" / "shipped" / there.name).read_bytes()
    assert "No medical device" in said
