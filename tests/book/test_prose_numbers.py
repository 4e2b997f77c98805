"""Numbers in prose that no file of results/ backs, computed here once more from what stands on the page."""

import base64
import json
import re
import zlib
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import ndimage, signal
from torch.utils.flop_counter import FlopCounterMode

from scoat_lib import claims, findings, grids, inference, losses, lungs, metrics, phantom, report, training, weights, words
from scoat_lib.cohort import Cohort, data_folder, find_cases, with_statistics
from scoat_lib.folds import make_folds, split_of
from scoat_lib.networks import create
from scoat_lib.scan import Scan, load_pair
from scoat_lib.slices import Augmentation, SliceDataset
from scoat_lib.training import Recipe

BOOK = Path(__file__).parents[2] / "book"
RESULTS = BOOK.parent / "results"
NETWORKS = ("scoatnet", "unetpp", "unet")


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
    results = report.load(RESULTS)
    row = report.tables(results, grids.get("table2"))[0].rows.loc["SCOAT-Net"]
    half = (row["LOV high"] - row["LOV low"]) / 200
    courses = (428, 192, 34, 24), (369, 503, 122, 110)  # the paper's Figure 6
    said = findings.volumes.believable(results, dict(enumerate(courses)))
    assert f"more than {100 * half * 2**0.5:.0f} % of either" in said
    fall = int(re.search(r"After 428 cm³ believe a fall to less than (\d+) cm³", said)[1])
    assert 428 - fall > half * np.hypot(428, fall)
    assert 428 - (fall + 10) < half * np.hypot(428, fall + 10)
    believed, others = re.search(r"large enough: (.*?); these are not: (.*)\.", said).groups()
    steps = [pair for course in courses for pair in pairwise(course)]
    for a, b in steps:
        assert f"{a} to {b}" in (believed if abs(a - b) > half * np.hypot(a, b) else others)
    assert len(re.findall(r"\d+ to \d+", f"{believed}; {others}")) == len(steps) == 6
    assert "not measured" in findings.volumes.believable([], dict(enumerate(courses)))
    assert re.search(r"findings\.volumes\.believable\(results", "".join("".join(c["source"]) for c in cells("15")))
    assert not re.search(r"\d \\?%? of either|0\.\d+\\sqrt", prose("15")), "numbers of the runs are computed"


def test_chapter_15s_two_readers_by_their_counts():
    scans = json.loads((RESULTS / "readers.json").read_text())["scans"].values()
    more = [100 * ((c["tp"] + c["fp"]) / (c["tp"] + c["fn"]) - 1) for c in scans if c["tp"] + c["fn"] >= 1000]
    own = report.tables(report.load(RESULTS), grids.get("table2"))[0].patients["SCOAT-Net"]
    said = findings.volumes.beside_second(own, report.readers(RESULTS))
    assert max(more) < 0
    assert f"On {len(more)} scans" in said
    assert f"outlined {-max(more):.0f} to {-min(more):.0f} % less than the first, {-np.mean(more):.0f} % on average" in said
    runs = words.of_network(report.load(RESULTS), "scoatnet")
    error = {}
    for run in runs:
        for scan, c in run["patients"].items():
            if scan in run.get("second reader", {}) and c["tp"] + c["fn"] >= 1000:
                error.setdefault(scan, []).append(100 * ((c["tp"] + c["fp"]) / (c["tp"] + c["fn"]) - 1))
    mean = np.mean([np.mean(v) for v in error.values()])
    assert len(error) == len(more)
    assert f"by {words.signed(mean, 0)} % on average" in said
    assert "was not measured" in findings.volumes.beside_second(own, None)


def test_chapter_12s_rings_stand_where_it_says():
    results, grid = report.load(RESULTS), grids.get("table2")
    of_row = {label: [r for r in results if report.row_of(r, grid) == label] for label in grid.rows}
    best = {label: frame.mean().idxmax() for label, frame in report.beside_thresholds(of_row).items()}
    assert len(best) == 9
    half = {label: frame.mean().max() / 200 for label, frame in report.beside_thresholds(of_row).items()}
    text, low = findings.margins.rings(of_row), min(best.values())
    assert text.startswith(f"The best thresholds lie from {low:g} to {max(best.values()):g}. Lowest, at {low:g}, lie")
    lowest, below = text.split("half of the DSC is")[0], re.search(r"rings? of (.*?) stand", text)
    for label in best:
        assert (best[label] == low) == bool(re.search(rf"(lies?|,|and) {re.escape(label)}[ ,;]", lowest)), label
        little = low < best[label] < half[label]
        assert little == bool(below and label in re.split(", | and ", below[1])), label
    assert "too careful" not in prose("12")


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


def test_chapter_9s_loop_and_the_packages_end_one_epoch_with_the_same_weights(cohort, tiny_recipe, tmp_path):
    """The page says so, but for rounding. A loop that keeps the rate of the epoch's first step ends elsewhere."""
    names = {"torch": torch}
    source = next(s for s in ("".join(c["source"]) for c in cells("09")) if s.startswith("def one_epoch"))
    recipe = replace(tiny_recipe, epochs=1, accumulate=1)
    split = split_of(make_folds(cohort, 3), 0)
    prepared = with_statistics(cohort, split.train)
    ended = training.train(recipe, prepared, split, tmp_path / "run", accelerator="cpu", progress=False)
    theirs = weights.load(ended.weights).model.state_dict()

    def ours(source):
        exec(source, names)
        torch.manual_seed(recipe.seed)
        model = create(recipe.network, width=recipe.width, **recipe.options)
        dataset = SliceDataset(
            prepared,
            split.train,
            recipe.lesion_free,
            Augmentation().scaled(recipe.augment),
            recipe.seed,
            thin_below=recipe.thin_below,
        )
        dataset.set_epoch(0)
        parts = training.batches(dataset.order(), recipe.batch, 1, 0, 1)
        dealt = [tuple(map(torch.stack, zip(*(dataset[i] for i in part), strict=True))) for part in parts]
        adam, loss = training.make_optimiser(recipe, model), losses.create(recipe.loss)
        names["one_epoch"](model, adam, dealt, loss, lambda done: training.rate_at(recipe, 0, done, None))
        return max((v - theirs[k]).abs().max().item() for k, v in model.state_dict().items() if v.is_floating_point())

    moved = max((v - b).abs().max().item() for v, b in zip(theirs.values(), fresh(recipe).values(), strict=True))
    assert ours(source) < 0.01 * moved
    assert ours(source.replace("rate(step / len(batches))", "rate(0)")) > 0.1 * moved
    assert "after an epoch of either loop the weights are the same but for rounding" in prose("09")
    assert any("inspect.getsource(training._epoch)" in "".join(c["source"]) for c in cells("09")), "the package's loop is shown"


def run_cells(name, *starts, **space):
    """What the cells of a chapter that begin so leave behind, run in order in one namespace; a chapter's name is its number."""
    for start in starts:
        (source,) = [s for s in ("".join(c["source"]) for c in cells(name) if c["cell_type"] == "code") if s.startswith(start)]
        exec(source, space)
    return space


def millions(network, **options):
    with torch.device("meta"):
        return sum(p.numel() for p in create(network, **options).parameters()) / 1e6


@pytest.fixture(scope="module")
def chapter_1s():
    """The scan that chapter 1 shows, and its mask: the fourth heaviest of the phantom cohort."""
    pairs = {case.name: load_pair(case.scan, case.mask) for case in find_cases(data_folder(None))}
    heaviest = sorted(pairs, key=lambda name: pairs[name][1].volume())
    return heaviest[-4], *pairs[heaviest[-4]]


def test_chapter_1s_numbers_of_a_scan(chapter_1s):
    _, scan, _ = chapter_1s
    assert "a scan of the phantom cohort holds half a million numbers" in prose("01")
    assert round(scan.voxels.size / 1e6, 1) == 0.5
    said = re.search(r"CT of (\d+) × (\d+) pixels and (\d+) to (\d+) slices holds (\d+) to (\d+) million", prose("01"))
    rows, columns, fewest, most, low, high = map(int, said.groups())
    assert (low, high) == tuple(round(rows * columns * slices / 1e6) for slices in (fewest, most))


def test_chapter_1s_peaks_are_counted_and_stand_where_it_says(chapter_1s):
    _, scan, _ = chapter_1s
    bins = np.arange(-1050, 800, 20)
    counts, _ = np.histogram(scan.voxels, bins)
    peaks = signal.find_peaks(np.log10(np.r_[1, np.maximum(counts, 1), 1]), prominence=0.2)[0] - 1
    at = bins[peaks] + 10
    (told,) = re.findall(r"There are (\w+) peaks:(.*?)The lesions, in red", prose("01"), flags=re.S)
    named = [int(v.replace("−", "-")) for v in re.findall(r"near (−?\d+)", told[1])]
    assert told[0] == {6: "six", 7: "seven", 8: "eight"}[len(at)]
    assert len(named) == len(at)
    assert np.abs(np.array(named) - at).max() <= 20


def test_chapter_1s_threshold_finds_half_and_half_of_it_is_lesion(chapter_1s):
    _, scan, mask = chapter_1s
    inside, hu, truth = lungs.segment(scan).voxels > 0, scan.voxels, mask.voxels > 0
    found, real = [], []
    for cut in (-800, -700, -600):
        guess = inside & (hu > cut)
        found.append((guess & truth).sum() / truth.sum())
        real.append((guess & truth).sum() / guess.sum())
    assert "about half of what is found is lesion; by then half of the lesion is gone" in prose("01")
    assert 0.43 < real[-1] < 0.57
    assert 0.43 < found[-1] < 0.57
    assert "The second column never comes near 100" in prose("01")
    assert max(real) < 0.6


def test_chapter_9s_finer_drawing_of_one_phantom(chapter_1s):
    name, scan, mask = chapter_1s
    finer = phantom.finer(data_folder(None), name, 256)
    dsc, volumes = [], []
    for one, truth in ((scan, mask), (finer.scan, finer.lesions)):
        found = inference.segment(weights.load(), one)
        dsc.append(metrics.evaluate(found.voxels > 0, truth.voxels > 0)["DSC"])
        volumes.append(found.volume())
    assert f"a DSC of {dsc[0]:.2f} on the first drawing and of {dsc[1]:.2f} on the second" in prose("09")
    assert f"its volume is {100 * (volumes[1] / volumes[0] - 1):.0f} % larger on the second" in prose("09")


def test_chapter_11s_best_constants():
    space = run_cells(
        "11", "truth = torch.zeros(1, 1, 20, 20)", torch=torch, losses=losses, NAMES=losses.names(), pd=pd, LABELS={}
    )
    best, share = space["best"], space["truth"].mean().item()
    text = prose("11")
    assert f"**BCE's is at {best['bce']:.2f}**, the true share" in text
    assert best["bce"] == pytest.approx(share, abs=0.001)
    assert f"**Dice's is at {best['dice']:.3f}**, near the *root* of the share, {share**0.5:.3f}" in text
    assert f"**BCE-Dice's is at {best['bce-dice']:.3f}**, between those of its two parts" in text
    assert best["bce"] < best["bce-dice"] < best["dice"]
    assert f"**Focal loss's is at {best['focal']:.2f}.**" in text
    assert (round(best["mae"]), round(best["iou"])) == (0, 1)
    assert "**MAE's is at 0**" in text
    assert "**IoU's is at 1**" in text


def test_chapter_12s_counts_are_its_networks():
    text = prose("12")
    for name, network in (
        ("U-Net", "unet"), ("UNet++", "unetpp"), ("SCOAT-Net", "scoatnet"), ("Attention U-Net", "attention-unet"),
        ("CE-Net", "cenet"), ("ESPNetv2", "espnetv2"), ("PSPNet", "pspnet"), ("DenseASPP", "denseaspp"),
        ("DeepLabV3+", "deeplabv3plus"),
    ):  # fmt: skip
        about = re.search(rf"\*\*{re.escape(name)}\*\* \{{cite\}}.*?(?=\n|\*\*)", text, flags=re.S)[0]
        assert f"{millions(network):.2f} million" in about, f"{name}: {millions(network):.2f}"
    assert f"PSPNet has {millions('pspnet'):.0f} million parameters, UNet++ {millions('unetpp'):.0f}." in text


def test_chapter_12s_work_of_two_networks():
    work = {}
    for network in ("pspnet", "unetpp"):
        with torch.device("meta"), FlopCounterMode(display=False) as counter:
            create(network).eval()(torch.empty(1, 1, 512, 512))
        work[network] = counter.get_total_flops()
    assert f"UNet++, {work['unetpp'] / work['pspnet']:.1f} times as much" in prose("12")


def test_chapter_12_says_of_its_figure_what_the_figure_shows():
    """The cell that makes the sentence, with scores whose means are known: no word of it is fixed."""
    said = []
    scores = {"PSPNet": [0.9, 0.5, 0.0], "U-Net": [0.8, 0.8, 0.6]}
    run_cells("12", "of_slices, of_networks = (", np=np, dsc_of=scores, five=[1, 2, 3], Markdown=str, display=said.append)
    assert "of one network has a standard deviation of 0.28 on average" in said[0], "0.451 and 0.115"
    assert "that of one slice 0.24" in said[0], "0.071, 0.212 and 0.424"
    assert "So here the slices differ more than the networks" in said[0]
    assert "PSPNet 1, U-Net 0" in said[0]


def test_chapter_13s_counts_of_the_modules():
    plain, text = millions("unetpp"), prose("13")
    paper = grids.get("table3").parameters
    assert f'`gate_channels="2w"`: {millions("unetpp-attention-gate", gate_channels="2w"):.1f} M' in text
    more = paper["V3, pyramid attention"] - paper["UNet++"]
    assert f"adds {millions('unetpp-pyramid-attention') - plain:.2f} M, the paper's difference is {more:.2f}" in text
    assert "V3 is met" not in text
    assert "there are many ways to add 18 million parameters" in text
    assert round(paper["V1, residual attention"] - paper["UNet++"]) == 18


def test_patients_differ_more_than_networks_in_chapters_9_and_13():
    """Standard deviations of DSC from patient to patient and from network to network on one patient, in points."""
    results = report.load(RESULTS)
    for name, grid, rows in (("09", "table2", ("SCOAT-Net", "UNet++", "U-Net")), ("13", "table3", None)):
        frames = report.tables(results, grids.get(grid))[0].patients
        wide = 100 * pd.DataFrame({label: frames[label].DSC for label in rows or frames}).dropna()
        assert wide.std().mean() > 3 * wide.std(axis=1).mean(), name
    assert "Two patients, by far" in prose("09")
    assert "The scatter, by far" in prose("13")


def test_chapter_9s_words_about_the_losses_of_three_networks():
    results = report.load(RESULTS)
    mean = {n: np.mean([[e["loss"] for e in r["curve"]] for r in words.of_network(results, n)], axis=0) for n in NETWORKS}
    text = prose("09")
    assert "The U-Net's loss is much lower than the other two's in the first epoch, and a little lower from then on" in text
    for other in ("scoatnet", "unetpp"):
        assert mean["unet"][0] < 0.75 * mean[other][0]
        assert (mean["unet"][1:] < mean[other][1:]).all()
        assert (mean["unet"][3:] > 0.75 * mean[other][3:]).all()
    assert all((np.diff(loss)[:2] < 3 * np.diff(loss)[3:].min()).all() for loss in mean.values()), "steep at first"


def test_chapter_10s_price_of_seeds():
    table = findings.simulated.visible(json.loads((RESULTS / "rule" / "simulation.json").read_text()))
    gain = table["1 seed"] - table["3 seeds"]
    assert "in the third line they take nearly three points off" in prose("10")
    assert 2.6 < gain.iloc[2] < 3
    assert gain.idxmax() == gain.index[2]
    assert "Where patients differ by 8 points they buy little" in prose("10")
    assert (gain.loc[8.0] / table["1 seed"].loc[8.0]).max() < 0.15


def test_chapter_15s_noise():
    space = run_cells("15", "DATES = [[", "first = visits[0][0]", np=np, pd=pd, phantom=phantom)
    quiet, segmenter, rng = space["visits"][0][0], weights.load(), np.random.default_rng(0)
    volumes = {}
    for sd in (0, 10, 20, 40, 80):
        noisy = quiet.scan.voxels + sd * rng.standard_normal(quiet.scan.voxels.shape)
        volumes[sd] = inference.segment(segmenter, Scan(noisy.astype(np.float32), quiet.scan.affine)).volume()
    change = {sd: abs(v / volumes[0] - 1) for sd, v in volumes.items()}
    assert "Up to 40 HU the volume moves by a few per cent" in prose("15")
    assert 0.01 < max(change[sd] for sd in (10, 20, 40)) < 0.05
    assert "At 80 HU it grows by nearly a fifth" in prose("15")
    assert 0.16 < volumes[80] / volumes[0] - 1 < 0.2


def test_chapter_16s_and_18s_numbers_of_files():
    runs = words.of_network(report.load(RESULTS), "scoatnet")
    frame, scans = report.per_patient(runs), {name for r in runs for name in r["patients"]}
    assert f"There are {len(frame)} patients, one of which has {frame.lesion_voxels.min():.0f} lesion voxels" in prose("16")
    assert f"Reduced copies of {len(scans)} public scans of {len(frame)} patients" in prose("16")
    rows = json.loads((RESULTS / "shipped" / "operating-point-w8.json").read_text())["rows"]
    at = {(r["flip"], r["smooth"], r["threshold"]): r["primary"] for r in rows}
    widest = max(r["smooth"] for r in rows)
    start = at[False, 0.0, 0.5]
    alone, smoothed, mirrored = (
        max(v for k, v in at.items() if k[:2] == way) for way in ((False, 0.0), (False, widest), (True, widest))
    )
    assert f"protocol's point, {start:.1f}, a lower threshold alone brings {alone - start:.1f} points" in prose("18")
    said = f"the widest smoothing beside it {smoothed - alone:.1f} more, and the mirror image {mirrored - smoothed:.1f} more"
    assert said in prose("18")
    best = max(k[2] for k, v in at.items() if k[:2] == (False, 0.0) and v == alone)
    assert f"a lower threshold alone brings {alone - start:.1f} points, at {best:g}," in prose("18")
    point = json.loads((RESULTS / "shipped" / "operating-point-w8.json").read_text())
    doubt = json.loads((RESULTS / "uncertainty" / "w8.json").read_text())
    code = "".join("".join(c["source"]) for c in cells("18") if c["cell_type"] == "code")
    assert code.count("one run a fold, of seed 0") == 2
    assert point["recipe"]["seed"] == 0
    assert {seed for seeds in doubt["runs"].values() for seed in seeds} == {0}
    assert f"copies of {len(frame)} patients' scans" in (BOOK / "intro.md").read_text()


def fresh(recipe):
    """The first weights of a recipe."""
    torch.manual_seed(recipe.seed)
    return create(recipe.network, width=recipe.width, **recipe.options).state_dict()


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


def test_chapter_9s_fold_0_is_not_chapter_2s():
    """The phantoms are ranked by lesion voxels, and the ranks change with the pixels."""
    two, nine = (Cohort.open(None, Recipe(size=size).preprocessing) for size in (128, 64))
    there, here = ({n.removeprefix("phantom_") for n in make_folds(c, 5)[0]} for c in (two, nine))
    (left,), (came,) = there - here, here - there
    assert f"at 64 × 64 pixels the ranks of their lesions change: {came} and {left} change places" in prose("09")
    assert f"so fold 0 tests {came} here where it tests {left} there" in prose("09")
    assert "With other pixels the ranks change, and a patient may come into another fold" in prose("02")
    ranks = [sorted(c.names, key=c.burden.get) for c in (two, nine)]
    assert [{a, b} for a, b in zip(*ranks, strict=True) if a != b] == [{f"phantom_{left}", f"phantom_{came}"}] * 2


def test_chapter_1s_words_on_who_is_in_the_data():
    """Every scan of the record is of a patient with COVID-19; how many slices of the second cohort hold opacities."""
    said = re.search(r"Of the (\d+) single slices of the second cohort[^,]*, (\d+) hold opacities", prose("01"))
    runs = report.load(RESULTS)
    slices = next(r["external"]["ct100"]["slices"] for r in runs if "ct100" in r.get("external", {}))
    assert [len(slices), sum(s["tp"] + s["fn"] > 0 for s in slices)] == [int(number) for number in said.groups()]
    scans = {name for r in runs for name in r.get("measures", {})}
    assert f"The {len(scans)} real scans of this book are of patients with COVID-19" in prose("01")


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


def test_chapter_14s_sentences_on_flat_maps_are_its_tables():
    """The largest cost of one flat map from the printed cells; what follows from the word, where the word is that."""
    measured, said = findings.maps.ablations(RESULTS), []
    run_cells("14", "flat_maps = [", ablations=measured, findings=findings, Markdown=str, display=said.append)
    printed = [{name: float(f"{100 * dsc:.2f}") for name, dsc in c["pooled_dsc"].items()} for c in measured]
    most = max(c["as trained"] - v for c in printed for name, v in c.items() if name.startswith("map of"))
    assert f"one flat map costs at most {most:.2f} points" in said[0]
    alike = findings.maps.flattening_word(findings.maps.flattening(measured, "all maps flat")) == findings.maps.EQUIVALENT
    assert any("cannot be shown as the reason" in text for text in said) == alike
    assert "cannot be shown as the reason" not in prose("14"), "it follows from a word that runs decide"
    plain = []
    run_cells("14", "flat_maps = [", ablations=[], findings=findings, Markdown=str, display=plain.append)
    assert len(plain) == 1
    code = "".join("".join(c["source"]) for c in cells("14") if c["cell_type"] == "code")
    assert '{name: f"{100 * dsc:.2f}" for name, dsc in c["pooled_dsc"].items()}' in code
    assert 'name="DSC on six phantom slices").round(4)' in code, "the change is that of the printed numbers"


def test_chapter_14s_map_of_noise():
    """A fresh map's batch norm spreads what stands before its sigmoid by 1."""
    noise = 1 / (1 + np.exp(-np.random.default_rng(0).standard_normal((500, 500))))
    assert 0.84 < noise.sum() ** 2 / (noise.size * (noise**2).sum()) < 0.86
    assert "its effective area is about 0.85" in prose("14")


def test_chapter_11s_runs_in_the_trap():
    runs = {r["recipe"]["fold"]: r for r in report.load(RESULTS) if report.row_of(r, grids.get("table1")) == "MAE"}
    found = [sum(c["tp"] for c in run["patients"].values()) for run in runs.values()]
    assert "of its five runs two find no lesion voxel at all, and three have left the trap" in prose("11")
    assert (len(found), found.count(0)) == (5, 2)


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
