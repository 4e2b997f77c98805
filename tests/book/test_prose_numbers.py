"""Numbers in prose that no file of results/ backs, computed here once more from what stands on the page."""

import base64
import json
import re
import zlib
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage

from scoat_lib import claims, grids, losses, phantom, report, weights
from scoat_lib.cohort import Cohort, data_folder, find_cases, make_folds, split_of, with_statistics
from scoat_lib.networks import create
from scoat_lib.scan import load_pair
from scoat_lib.training import Recipe

BOOK = Path(__file__).parents[2] / "book"
RESULTS = BOOK.parent / "results"


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


def test_chapter_15s_changes_that_can_be_believed():
    """Each date's error is in per cent of its own volume, so a change must exceed half the limits by the squares' root."""
    row = report.tables(report.load(RESULTS), grids.get("table2"))[0].rows.loc["SCOAT-Net"]
    half = (row["LOV high"] - row["LOV low"]) / 200
    text = prose("15")
    assert f"${half:.3f}\\sqrt{{V_1^2 + V_2^2}}$" in text
    assert f"about {100 * half * 2**0.5:.0f} % of either" in text
    courses = (428, 192, 34, 24), (369, 503, 122, 110)  # the paper's Figure 6
    steps = [pair for course in courses for pair in pairwise(course)]
    needed = {(a, b): half * np.hypot(a, b) for a, b in steps}
    believed = [(a, b) for a, b in steps if abs(a - b) > needed[a, b]]
    assert believed == [(428, 192), (192, 34), (503, 122)]
    assert "three pass: 428 to 192" in text
    assert f"(by 236, and {needed[428, 192]:.0f} are needed)" in text
    assert f"(by 134, and {needed[369, 503]:.0f} are needed)" in text


def test_chapter_12s_rings_stand_where_it_says():
    results, grid = report.load(RESULTS), grids.get("table2")
    of_row = {label: [r for r in results if report.row_of(r, grid) == label] for label in grid.rows}
    best = {label: frame.mean().idxmax() for label, frame in report.beside_thresholds(of_row).items()}
    assert len(best) == 9
    assert "All stand left of 0.5." in prose("12")
    assert max(best.values()) < 0.5
    assert "ESPNetv2's ring, at 0.2, lies beyond that" in prose("12")
    assert min(best, key=best.get) == "ESPNetv2"
    assert best["ESPNetv2"] == 0.2
    assert sorted(best.values())[1] >= 0.3


def test_chapter_8s_tables_span_what_it_says():
    measured = json.loads((RESULTS / "readings" / "evaluation-w8.json").read_text())
    average, rlp = measured["average"].values(), [r["RLP"] for r in measured["regions"]]
    assert "In the first by twenty points, in the second's RLP by more than thirty" in prose("08")
    assert 19 < max(average) - min(average) < 21.5
    assert 30 < max(rlp) - min(rlp) < 40


def test_chapter_10s_point_beside_the_papers_rows():
    printed = sorted(row["DSC"] for row in grids.get("table2").paper.values())
    assert "five of the nine rows of the paper's Table II lie within one" in prose("10")
    assert max(sum(low <= v <= low + 1 for v in printed) for low in printed) == 5


def test_chapter_11s_cuts():
    """Half of the ratio that squared sums can reach, and half of the best mask's, on the page and in its exercise."""
    text, q = prose("11"), np.linspace(0, 1, 21)
    masks = 2 * np.cumsum(q[::-1]) / (np.arange(1, 22) + q.sum())
    ratio = 0.5
    for _ in range(200):
        p = np.minimum(1, q / ratio)
        ratio = 2 * (p * q).sum() / (q.sum() + (p**2).sum())
    assert f"with in-between probabilities, {ratio:.2f} here" in text
    assert f"*half of that ratio*, {ratio / 2:.2f}." in text
    assert f"at half of *its* DSC: {masks.max():.2f} here, so {masks.max() / 2:.2f}" in text
    rim = np.linspace(0.3, 0.7, 100001)
    reached = 2 * (60 + 0.45 * 40 * rim) / (60 + 18 + 60 + 40 * rim**2)
    assert f"can reach a ratio of {reached.max():.3f} here" in text
    assert f"it brings the rim to 0.45 / {reached.max():.3f} = {rim[reached.argmax()]:.2f}" in text
    assert rim[reached.argmax()] < 0.5
    assert f"2 \\cdot 60 / (60 + 78) = {120 / 138:.3f}" in text
    assert f"2 \\cdot 78 / (100 + 78) = {156 / 178:.3f}" in text


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


def test_chapter_6s_words_about_what_the_network_invents():
    """A third of what it marks is false; most of that is soft tissue beside the lungs, the rest lies at the fissure."""
    segmenter, person = weights.load(), phantom.patient(12, (128, 128, 32), volume=180)
    z = int(person.lesions.axial().sum((1, 2)).argmax())
    grey = segmenter.preprocessing.slices(person.scan)[z : z + 1].astype(np.float32)
    with torch.no_grad():
        p = torch.sigmoid(segmenter.model(torch.from_numpy(segmenter.preprocessing.normalise(grey))[None]))[0, 0].numpy()
    marked, truth, lungs, fissure = (
        p > segmenter.threshold,
        *(mask.axial()[z] > 0 for mask in (person.lesions, person.lungs, person.fissures)),
    )
    false = marked & ~truth
    assert 0.28 < false.sum() / marked.sum() < 0.38
    assert (false & ~lungs).sum() > 0.75 * false.sum()
    assert (false & lungs & fissure).sum() > 0.5 * (false & lungs).sum()
    assert "About a third of what it marks. Most of that lies beside the spine" in prose("06")


def test_chapter_9s_words_about_what_is_found_first():
    outputs = [o for c in cells("09") for o in c.get("outputs", []) if "growing-mask" in str(o.get("data", {}))]
    source = "".join(outputs[0]["data"]["text/html"])
    data = json.loads(re.search(r"begin\(scanViewer, \"[^\"]+\", (\{.*\})\);\n", source).group(1))
    truth = unpacked(data["truth"], data["shape"]) > 0
    hu = data["low"] + data["step"] * unpacked(data["voxels"], data["shape"])
    at = data["thresholds"].index(0.5)
    masks = [unpacked(answer, data["shape"]) > at for answer in data["answers"]]
    dense, veil = truth & (hu > -250), truth & (hu <= -250)
    assert masks[0][veil].mean() > 0.5 > 2 * masks[0][dense].mean(), "the large veils come first"
    assert 0.3 < masks[-1][dense].mean() < 0.7, "much of the consolidation is still missed at the end"
    labels, number = ndimage.label(truth)
    small = [k for k in range(1, number + 1) if (labels == k).sum() < 50]
    assert sum(not masks[-1][labels == k].any() for k in small) > len(small) / 2
    assert abs(masks[-1].sum() / masks[-2].sum() - 1) < 0.1, "the last two epochs differ little"
    text = prose("09")
    assert "large veils come first" in text
    assert "much of it is still missed at the end; so are the smallest spots" in text


def test_numbers_of_other_files_in_prose_are_theirs():
    readers = json.loads((RESULTS / "readers.json").read_text())["DSC, per cent"]
    said = re.search(r"on (\w+) scans of this book's own record to (0\.\d\d)", prose("01"))
    assert said[1] == {4: "four"}[readers["scans"]]
    assert float(said[2]) == round(readers["mean"] / 100, 2)
    point = json.loads((RESULTS / "shipped" / f"operating-point-w{weights.load().card['recipe']['width']}.json").read_text())
    widest = max(row["smooth"] for row in point["rows"])
    assert (point["best"]["smooth"] == widest) == ("The widest smoothing that was tried is best" in prose("18"))


def test_chapter_18s_errors_without_a_doubt():
    rows = json.loads((RESULTS / "uncertainty" / "w8.json").read_text())["doubt"]
    assert "99 % of the voxels lie in the first two rows, and with them nearly half of all wrong ones" in prose("18")
    voxels, wrong = np.array([(row["voxels"], row["voxels"] * row["wrong"]) for row in rows]).T
    assert round(100 * voxels[:2].sum() / voxels.sum()) == 99
    assert 0.4 < wrong[:2].sum() / wrong.sum() < 0.5


def test_the_phantom_cohorts_numbers_in_chapters_1_2_10_and_17():
    cohort = Cohort.open(None, Recipe().preprocessing)
    split = split_of(make_folds(cohort, 5), 0)
    some, every = (with_statistics(cohort, names).preprocessing for names in (split.train, cohort.names))
    assert (
        f"the mean from {some.mean:.4f} to {every.mean:.4f}, the standard deviation from {some.std:.4f} to {every.std:.4f}"
        in (prose("02"))
    )
    assert f"Of the {len(cohort.names)} patients {len(split.train)} were in them" in prose("02")
    assert "by a factor of more than two thousand here" in prose("02")
    assert 2000 < max(cohort.burden.values()) / min(cohort.burden.values()) < 3000
    assert "the smallest of the phantoms' lesions is lost at 64 × 64 pixels" in prose("17")
    assert min(cohort.burden.values()) > 0
    assert min(Cohort.open(None, Recipe(size=64).preprocessing).burden.values()) == 0

    pairs = [load_pair(case.scan, case.mask) for case in find_cases(data_folder(None))]
    hu = np.concatenate([scan.voxels[mask.voxels > 0] for scan, mask in pairs])
    veil, filled = hu[hu < -200], hu[hu >= -200]
    assert re.search(r"phantoms of this page most of it lies between −700 and −400 HU", prose("01"))
    assert ((veil > -700) & (veil < -400)).mean() > 0.8
    assert "In the phantoms most of it lies between −50 and 50 HU" in prose("01")
    assert ((filled > -50) & (filled < 50)).mean() > 0.95


def test_chapter_14s_map_of_noise():
    """A fresh map's batch norm spreads what stands before its sigmoid by 1."""
    noise = 1 / (1 + np.exp(-np.random.default_rng(0).standard_normal((500, 500))))
    assert 0.84 < noise.sum() ** 2 / (noise.size * (noise**2).sum()) < 0.86
    assert "its effective area is about 0.85" in prose("14")


def test_chapter_11s_runs_in_the_trap():
    runs = {r["recipe"]["fold"]: r for r in report.load(RESULTS) if report.row_of(r, grids.get("table1")) == "MAE"}
    found = [sum(c["tp"] for c in runs[fold]["patients"].values()) for fold in range(3)]
    assert "of its runs on folds 0 to 2 two find no lesion voxel at all, and one has left the trap" in prose("11")
    assert found.count(0) == 2


def test_chapter_16_counts_its_claims():
    numbers = [claim.number for claim in claims.CLAIMS]
    whole = {re.match(r"\d+", n)[0] for n in numbers}
    parted = {n[:-1] for n in numbers if not n.isdigit()}
    words = {3: "Three", 11: "eleven", 15: "fifteen"}
    said = f"{words[len(whole)]} claims were drawn that a reader will want checked. {words[len(parted)]} of them have parts"
    assert f"{said}, so there are {words[len(numbers)]} lines" in prose("16")
    captions = str([c["metadata"].get("mystnb", {}) for c in cells("16")])
    assert f"The {words[len(numbers)]} claims by their verdict" in captions
    assert f"the {words[len(numbers)]} claims of the paper" in captions
