"""weights.py and inference.py: a Segmenter survives the disk; a scan of any grid gets its mask back on that grid."""

import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from scoat_lib import claims, inference, phantom, report, rule, weights
from scoat_lib.cohort import Preprocessing
from scoat_lib.grids import GRIDS
from scoat_lib.networks import create
from scoat_lib.scan import Scan
from scoat_lib.training import Recipe
from scoat_lib.weights import Segmenter, WeightsError

ROOT = Path(__file__).parents[1]
RECIPE = {"network": "scoatnet", "width": 4, "options": {}}


@pytest.fixture
def segmenter():
    torch.manual_seed(0)
    return Segmenter(create("scoatnet", width=4).eval(), Preprocessing(spacing=4.0))


@pytest.mark.parametrize("options", [{}, {"heads": "shared"}, {"up": "bilinear", "reduction": 4}])
def test_round_trip(tmp_path, options):
    model = create("scoatnet", width=4, **options).eval()
    path = weights.save(
        tmp_path / "w.safetensors", model, Preprocessing((-1000, 400), 1.5), RECIPE | {"options": options}, note=1
    )
    again = weights.load(path)
    x = torch.randn(1, 1, 32, 32)
    assert torch.equal(again.model(x), model(x))
    assert again.preprocessing == Preprocessing((-1000, 400), 1.5)
    assert again.card["note"] == 1
    assert not again.model.training


def test_three_arguments_are_enough(tmp_path):
    model = create("unetpp", width=4, block="vgg", in_channels=2).eval()
    again = weights.load(weights.save(tmp_path / "w.safetensors", model, Preprocessing()))
    x = torch.randn(1, 2, 32, 32)
    assert torch.equal(again.model(x), model(x))


def test_bad_files_are_refused(tmp_path):
    with pytest.raises(WeightsError, match="no such file"):
        weights.load(tmp_path / "absent.safetensors")
    (tmp_path / "text.safetensors").write_text("hello")
    with pytest.raises(WeightsError, match="not a readable"):
        weights.load(tmp_path / "text.safetensors")
    save_file({"a": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match="not written by scoat"):
        weights.load(tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match="not made by"):
        weights.save(tmp_path / "x.safetensors", torch.nn.Conv2d(1, 1, 1), Preprocessing())
    model = create("unetpp", width=4)
    with pytest.raises(WeightsError, match="width differ"):
        weights.save(tmp_path / "y.safetensors", model, Preprocessing(), {"network": "unetpp", "width": 5, "options": {}})
    model.made_by["width"] = 5
    path = weights.save(tmp_path / "y.safetensors", model, Preprocessing())
    with pytest.raises(WeightsError, match="width 5"):
        weights.load(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WeightsError, match="not a readable"):
        weights.load(path)


@pytest.mark.fault("weights with a foreign header", "refused, with the file")
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"recipe": RECIPE | {"options": []}}, "options is a list of 0"),
        ({"recipe": RECIPE | {"width": "4"}}, "width is '4'"),
        ({"recipe": RECIPE | {"network": "another"}}, "unknown network 'another'"),
        ({"preprocessing": {"window": 3}}, "window is 3, not a list"),
        ({"preprocessing": {"window": [0, 1], "bins": 3}}, "bins"),
        ({"card": {"inference": {"threshold": "half"}}}, "threshold is 'half'"),
        ({"card": []}, "card is a list of 0"),
        ({"card": None}, "card is None"),
    ],
)
def test_a_foreign_header_is_named(tmp_path, change, reason):
    path = weights.save(tmp_path / "w.safetensors", create("scoatnet", width=4), Preprocessing())
    with safe_open(path, "pt") as file:
        header = json.loads(file.metadata()["scoat"]) | change
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    save_file(tensors, path, metadata={"scoat": json.dumps(header)})
    with pytest.raises(WeightsError, match=rf"w\.safetensors: was not written by scoat \(.*{re.escape(reason)}"):
        weights.load(path)
    save_file(tensors, path, metadata={"scoat": "[]"})
    with pytest.raises(WeightsError, match=r"w\.safetensors: was not written by scoat"):
        weights.load(path)


class Writes:
    """Unpickled, it would write a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.write_text, (self.path, "run")


@pytest.mark.fault("a pickle of a stranger given as weights", "refused in words; nothing of it ran")
def test_a_pickle_is_no_weights(tmp_path):
    evil = tmp_path / "evil.safetensors"
    torch.save({"model": Writes(tmp_path / "ran")}, evil)
    with pytest.raises(WeightsError, match=r"evil\.safetensors: is not a readable safetensors file"):
        weights.load(evil)
    assert not (tmp_path / "ran").exists()
    torch.load(io.BytesIO(evil.read_bytes()), weights_only=False)
    assert (tmp_path / "ran").exists(), "this one would have"


@pytest.mark.fault("weights with a NaN or an infinite number in them", "refused, with the file and the tensor")
@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_refused(tmp_path, value, half):
    model = create("scoatnet", width=4)
    name, kernel = next((n, p) for n, p in model.named_parameters() if p.dim() == 4)
    with torch.no_grad():
        kernel[0, 0, 0, 0] = value
    path = weights.save(tmp_path / "w.safetensors", model, Preprocessing(), half=half)
    with pytest.raises(WeightsError, match=rf"w\.safetensors: is damaged \({re.escape(name)} holds NaN or infinite"):
        weights.load(path)


@pytest.mark.fault("a network that answers with NaN", "one line, no empty mask")
@pytest.mark.parametrize("flip", [False, True])
def test_an_answer_that_is_no_number_is_no_empty_mask(segmenter, flip):
    with torch.no_grad():
        next(segmenter.model.parameters())[0] = torch.nan
    with pytest.raises(WeightsError, match=r"answers with NaN in 3 of 3 slices.*load both again"):
        inference.segment(segmenter, ball((4.0, 4.0, 20.0), (32, 32, 3)), flip=flip)


def ball(spacing, shape):
    """A scan whose tissue sits in a ball of 60 mm radius, in air."""
    axes = np.meshgrid(*((np.arange(n) - (n - 1) / 2) * s for n, s in zip(shape, spacing, strict=True)), indexing="ij")
    inside = sum(a**2 for a in axes) < 60**2
    return Scan(np.where(inside, 40, -1000).astype(np.int16), np.diag([-spacing[0], -spacing[1], spacing[2], 1.0]))


class Brightness(torch.nn.Module):
    """Stands in for a network: lesion where the slice is bright."""

    def forward(self, x):
        return x * 20


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 5.0), (2.8, 2.8, 2.0), (4.0, 2.0, 3.0)])
@pytest.mark.parametrize("codes", ["LPS", "RAS", "SAR"])
def test_masks_come_back_on_the_scans_grid(spacing, codes):
    shape = tuple(round(160 / s) for s in spacing)
    scan = ball(spacing, shape).reoriented(codes)
    segmenter = Segmenter(Brightness(), Preprocessing((-1000, 40), 2.8, mean=0.5, std=1.0))
    mask = inference.segment(segmenter, scan)
    assert mask.voxels.shape == scan.voxels.shape
    assert mask.voxels.dtype == np.uint8
    np.testing.assert_array_equal(mask.affine, scan.affine)
    truth = scan.voxels > -500
    dsc = 2 * (mask.voxels * truth).sum() / (mask.voxels.sum() + truth.sum())
    assert dsc > 0.97
    volume = inference.opacification_volume(mask)
    assert volume == pytest.approx(4 / 3 * np.pi * 6**3, rel=0.06)


def test_batches_do_not_matter(segmenter):
    scan = ball((4.0, 4.0, 8.0), (48, 40, 20))
    one, many = (inference.probabilities(segmenter, scan, batch=b).voxels for b in (1, 16))
    np.testing.assert_allclose(one, many, atol=1e-3)  # convolutions sum in another order


def test_branches(segmenter):
    scan = ball((4.0, 4.0, 20.0), (40, 40, 8))
    each = [inference.probabilities(segmenter, scan, branches=b).voxels for b in (1, 2, 3, 4)]
    np.testing.assert_allclose(inference.probabilities(segmenter, scan).voxels, each[3], atol=1e-6)
    np.testing.assert_allclose(inference.probabilities(segmenter, scan, branches="mean").voxels, np.mean(each, 0), atol=1e-6)
    with pytest.raises(ValueError, match="known: output, mean"):
        inference.probabilities(segmenter, scan, branches=5)
    with pytest.raises(ValueError, match="one output only"):
        inference.probabilities(Segmenter(Brightness(), Preprocessing()), scan, branches="mean")


def test_threshold_is_exclusive_and_checked():
    p = Scan(np.full((3, 3, 3), 0.5, np.float32), np.eye(4))
    assert inference.threshold_mask(p, 0.5).voxels.sum() == 0
    assert inference.threshold_mask(p, 0.4).voxels.sum() == 27
    with pytest.raises(ValueError, match="between 0 and 1"):
        inference.threshold_mask(p, 1.0)


def test_the_model_card_quotes_the_results():
    """A card whose data results/ holds quotes the cross-validated scores of its recipe; another quotes none."""
    import re

    root = ROOT
    text = (root / "scoat_lib" / "shipped" / "README.md").read_text()
    results = report.load(root / "results")
    for name in weights.shipped():
        shipped = weights.load(name)
        recipe = shipped.card["recipe"]
        assert f"`{name}`" in text
        assert f"{shipped.card['data'][:16]}" in text
        assert not shipped.card["split"]["test"]
        assert f"threshold {shipped.threshold:g}" in text
        assert ("mirror image" in text) == shipped.flip
        assert f"σ = {shipped.smooth:g} mm" in text
        same = report.alike(results, Recipe(width=recipe["width"], epochs=recipe["epochs"]))
        ours = [r for r in same if (r["recipe"]["network"], r["recipe"]["seed"]) == ("scoatnet", 0)]
        ours = [r for r in ours if r["data"]["fingerprint"] == shipped.card["data"]]
        point = root / "results" / "shipped" / f"operating-point-w{recipe['width']}.json"
        if not ours:
            assert "void" in text, "its data has left results/: the card says so"
            assert not re.search(r"^\| (coronacases|radiopaedia)_", text, flags=re.M), "and quotes no score of a patient"
            continue
        row = report.summary(ours).loc["scoatnet"]
        for column in ("DSC, ≥ 1000 voxels", "DSC, all", "DSC, pooled"):
            assert f"| {row[column]:.1f} |" in text, (name, column)
        measured = json.loads(point.read_text())
        best = measured["best"]
        assert (shipped.threshold, shipped.flip, shipped.smooth) == tuple(best[k] for k in ("threshold", "flip", "smooth"))
        assert f"| {best['primary']:.1f} |" in text
        assert f"best point of the others | {len(measured['left out']) - 1} | {measured['left out']['mean']:.1f} |" in text
        every = report.per_patient(ours)
        large = every[every.lesion_voxels >= report.LEAST]
        chosen = next(r for r in measured["rows"] if all(r[k] == best[k] for k in ("threshold", "flip", "smooth")))
        for scores, frame in (
            (100 * every.DSC, every),
            *((100 * large[metric], large) for metric in ("DSC", "SEN", "PPV")),
            *((large.index.map(kept), large) for kept in (chosen["patients"], measured["left out"])),
        ):
            found = rule.interval(scores, frame.fold)
            assert f"{found.low:.1f} … {found.high:.1f}" in text
    agreement = report.readers(root / "results")["DSC, per cent"]
    quoted = [f"{agreement[k] / 100:.3f}" for k in ("mean", "lowest", "highest")]
    assert "mean DSC of {}, from {} to {}".format(*quoted) in text


def shipped_runs():
    """The card's text, and the results of the recipe and data of the shipped weights."""
    text = (ROOT / "scoat_lib" / "shipped" / "README.md").read_text()
    card = weights.load().card
    same = report.alike(report.load(ROOT / "results"), Recipe(width=card["recipe"]["width"], epochs=card["recipe"]["epochs"]))
    runs = [r for r in same if (r["recipe"]["network"], r["recipe"]["seed"]) == ("scoatnet", 0)]
    return text, [r for r in runs if r["data"]["fingerprint"] == card["data"]]


def test_the_card_says_what_is_marked_where_there_is_nearly_nothing():
    text, runs = shipped_runs()
    shipped = weights.load()
    found = {}
    for run in runs:
        for scan, counts in run["patients"].items():
            if counts["tp"] + counts["fn"] < 10:
                of = run["measures"][scan]
                for threshold in (0.5, shipped.threshold):
                    tp, fp, _ = of["thresholds"][f"{threshold:g}"]
                    found.setdefault(scan, []).append((tp + fp) * of["voxel_mm3"] / 1000)
    ((scan, (at_half, at_card)),) = found.items()
    assert shipped.quiet == pytest.approx(at_card, abs=0.05)
    assert shipped.card["quiet"]["scan"] == scan
    assert f"`{scan}`" in text
    own = (ROOT / "book" / "own-scan.md").read_text()
    for page in (text, own):
        assert f"{at_half:.0f} cm³" in page
        assert f"{at_card:.0f} cm³" in page


def dice(counts):
    return 2 * counts["tp"] / (2 * counts["tp"] + counts["fp"] + counts["fn"])


def test_the_card_quotes_the_second_cohort():
    text, runs = shipped_runs()
    slices = np.array([[dice(c) for c in r["external"]["ct100"]["slices"] if c["tp"] + c["fn"]] for r in runs])
    assert f"mean over {slices.shape[1]} slices with opacification" in text
    found = claims.second_cohort(runs)
    assert found["mean"] == pytest.approx(100 * slices.mean())
    assert f"| some 40 | {100 * slices.mean():.1f} | {found['low']:.0f} … {found['high']:.0f} |" in text


def test_the_card_quotes_networks_and_readers():
    text, runs = shipped_runs()
    readers = json.loads((ROOT / "results" / "readers.json").read_text())["scans"]
    enough = [name for name, c in readers.items() if c["tp"] + c["fn"] >= 1000]
    first = [dice(r["patients"][n]) for r in runs for n in enough if n in r["patients"]]
    second = [dice(r["second reader"][n]) for r in runs for n in enough if n in r["second reader"]]
    assert len(first) == len(second) == len(enough)
    assert f"agree to {np.mean(first):.3f} with the first and to {np.mean(second):.3f} with the second" in text
    less = max(np.mean(first), np.mean(second)) < np.mean([dice(readers[n]) for n in enough])
    assert ("less than the readers with each other" in text) == less


def test_the_card_quotes_the_agreement_of_volumes():
    text, _ = shipped_runs()
    row = report.tables(report.load(ROOT / "results"), GRIDS["table2"])[0].rows.loc["SCOAT-Net"]
    side = "small" if row["LOV bias"] < 0 else "large"
    said = f"they are {abs(row['LOV bias']):.0f} % too {side} on average, with limits of agreement from "
    limits = f"{row['LOV low']:+.0f} to {row['LOV high']:+.0f} %".replace("-", "−")
    assert said + limits in text


def test_the_card_has_the_rule_of_the_lungs_scan_by_scan():
    text, _ = shipped_runs()
    measured = json.loads((ROOT / "results" / "lungs" / "ct128.json").read_text())
    for name, v in measured["scans"].items():
        scores = " | ".join(f"{v[k]:.3f}" for k in ("DSC", "DSC, right", "DSC, left"))
        inside = f"{v['volume error, %']:+.1f} | {v['lesion voxels']} | {100 * v['lesion inside']:.1f}"
        assert f"| {name} | {scores} | {inside} |" in text
    assert f"goal {measured['goal, DSC']}" in text
    left_out = measured["choice"]["patient left out"].values()
    ends = [
        (min(v), max(v))
        for v in (
            [one["DSC"] for one in left_out],
            [one["volume error, %"] for one in left_out],
            [100 * one["lesion inside"] for one in left_out if one["lesion voxels"] >= report.LEAST],
        )
    ]
    dsc, volume, inside = (f"{low:.{d}f} to {high:.{d}f}" for (low, high), d in zip(ends, (3, 1, 1), strict=True))
    assert f"a DSC of {dsc} that are {volume} % too large and hold {inside} % of the lesions" in text
    grid = measured["choice"]["grid"]
    assert f"among {'twelve' if len(grid) == 12 else len(grid)} others" in text
    most = {k: max(row[k] for row in grid) for k in ("threshold", "ball", "wall")}
    assert all({k: one["rule"][k] for k in most} == most for one in left_out)  # always the largest on offer
    assert not measured["below the goal"], "the card would have to say so"


def test_a_card_may_ask_for_a_threshold_and_the_mirror_image(tmp_path):
    from scoat_lib.networks import create

    torch.manual_seed(0)
    model = create("unetpp", width=4)
    path = weights.save(tmp_path / "w.safetensors", model, Preprocessing(), inference={"threshold": 0.3, "flip": True})
    segmenter = weights.load(path)
    assert (segmenter.threshold, segmenter.flip) == (0.3, True)
    scan = Scan(np.random.default_rng(0).normal(-500, 300, (40, 36, 3)).astype(np.float32), np.diag([-2, -2, 3, 1]))
    plain = inference.probabilities(segmenter, scan, flip=False).axial()
    mirrored = inference.probabilities(segmenter, scan.with_axial(scan.axial()[:, :, ::-1].copy()), flip=False).axial()
    both = inference.probabilities(segmenter, scan)
    np.testing.assert_allclose(both.axial(), (plain + mirrored[:, :, ::-1]) / 2, atol=1e-6)
    mask = inference.segment(segmenter, scan)
    np.testing.assert_array_equal(mask.voxels, both.voxels > 0.3)
    bare = weights.load(weights.save(tmp_path / "b.safetensors", model, Preprocessing()))
    assert (bare.threshold, bare.flip, bare.smooth) == (0.5, False, 0.0)
    np.testing.assert_array_equal(inference.segment(bare, scan).voxels, inference.probabilities(bare, scan).voxels > 0.5)


def test_smoothing_goes_through_the_slices_only(tmp_path):
    """σ in mm becomes σ in slices by the scan's own spacing, whatever axis of the file runs from foot to head."""
    p = np.zeros((21, 4, 5))
    p[10, 1, 2] = 1
    for between in (1.0, 4.0):
        smoothed = inference.smooth_through(p, between, 2.0)
        weight = np.exp(-0.5 * ((np.arange(21) - 10) * between / 2.0) ** 2)
        np.testing.assert_allclose(smoothed[:, 1, 2] / smoothed[10, 1, 2], weight, atol=1e-3)
        assert smoothed.sum() == pytest.approx(1)
        smoothed[:, 1, 2] = 0
        assert not smoothed.any()
    assert inference.smooth_through(p, 1.0, 0.0) is p
    ends = inference.smooth_through(np.ones((3, 2, 2)), 1.0, 5.0)
    np.testing.assert_allclose(ends, 1)
    with pytest.raises(ValueError, match="smooth is -1 mm; it must not be below 0"):
        inference.smooth_through(p, 1.0, -1)


def test_smoothing_before_enlarging_is_smoothing_after(segmenter):
    scan = phantom.patient(3, (128, 128, 24)).scan
    found = inference.probabilities(segmenter, scan, flip=True, smooth=6.0).axial()
    slices = segmenter.preprocessing.slices(scan)
    small = torch.from_numpy(inference.slice_probabilities(segmenter, slices, flip=True))[:, None]
    assert small.shape[-2:] != found.shape[1:]
    large = torch.nn.functional.interpolate(small, size=found.shape[1:], mode="bilinear", align_corners=False)[:, 0].numpy()
    after = inference.smooth_through(large, scan.axial_spacing[0], 6.0)
    np.testing.assert_allclose(found, after, atol=2e-6)
    assert np.abs(found - large).max() > 1e-3
    threshold = float(np.median(found))
    assert np.mean((found > threshold) != (after > threshold)) < 1e-4


def test_slices_are_windowed_a_few_at_a_time_and_equal_the_whole(segmenter, monkeypatch):
    from scoat_lib import cohort

    scan = phantom.patient(3, (64, 64, 24)).scan
    whole = segmenter.preprocessing.slices(scan)
    monkeypatch.setattr(cohort, "TOGETHER", 5)
    np.testing.assert_array_equal(segmenter.preprocessing.slices(scan), whole)


def test_a_card_may_ask_for_smoothing(tmp_path):
    from scoat_lib.networks import create

    torch.manual_seed(0)
    model = create("unetpp", width=4)
    segmenter = weights.load(weights.save(tmp_path / "w.safetensors", model, Preprocessing(), inference={"smooth": 3.0}))
    assert segmenter.smooth == 3.0
    voxels = np.random.default_rng(0).normal(-500, 300, (40, 5, 36)).astype(np.float32)
    affine = np.array([[-2, 0, 0, 0], [0, 0, 2, 0], [0, 4.0, 0, 0], [0, 0, 0, 1]])  # the file's second axis is the body's
    scan = Scan(voxels, affine)
    assert scan.axial_spacing[0] == 4
    plain = inference.probabilities(segmenter, scan, smooth=0).axial()
    np.testing.assert_array_equal(inference.probabilities(segmenter, scan).axial(), inference.smooth_through(plain, 4.0, 3.0))


def test_half_precision_halves_the_file_and_keeps_the_answer(tmp_path):
    from scoat_lib.networks import create

    torch.manual_seed(0)
    model = create("scoatnet", width=4).eval()
    for value in model.state_dict().values():
        if value.dim() == 1:
            value.add_(0.1 * torch.rand(value.shape))  # no fresh norm's round numbers
    whole = weights.save(tmp_path / "whole.safetensors", model, Preprocessing())
    half = weights.save(tmp_path / "half.safetensors", model, Preprocessing(), half=True)
    assert half.stat().st_size < 0.65 * whole.stat().st_size
    again = weights.load(half).model
    assert all(p.dtype == torch.float32 for p in again.parameters())
    for (name, a), b in zip(model.state_dict().items(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b) if a.dim() <= 1 else torch.allclose(a, b, rtol=1e-3, atol=1e-6), name
    x = torch.randn(1, 1, 64, 64)
    with torch.inference_mode():
        assert (model(x) - again(x)).abs().max() < 0.005 * model(x).abs().max()


@pytest.mark.fault("batches of 1, 4, 16, threads 1 and 2", "the same mask")
def test_batches_and_threads_change_less_than_one_voxel_in_100_000():
    """Sums in another order: the shipped weights' mask of a phantom, mirror image and smoothing as their card asks."""
    whole = phantom.patient(5, (96, 96, 16), volume=200).scan
    scan = Scan(np.ascontiguousarray(whole.voxels[..., 5:11]), whole.affine)
    segmenter = weights.load()
    assert segmenter.flip
    assert segmenter.smooth
    masks = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        masks += [inference.segment(segmenter, scan, batch=batch).voxels for batch in (16, 4, 1)]
    assert masks[0].any()
    for mask in masks[1:]:
        assert np.count_nonzero(mask != masks[0]) < 1e-5 * mask.size


@pytest.mark.parametrize("size", [(40, 36), (128, 120)])
def test_a_mask_is_made_without_a_whole_scan_of_probabilities(segmenter, size):
    """Batch by batch, on the network's own grid or on a finer one: what the threshold makes of the whole."""
    scan = Scan(np.random.default_rng(1).normal(-500, 300, (*size, 7)).astype(np.float32), np.diag([-2, -2, 3, 1]))
    whole = inference.probabilities(segmenter, scan, batch=3)
    coarse = inference.coarse_probabilities(segmenter, scan, batch=3)
    np.testing.assert_array_equal(inference.enlarged(coarse, scan, 2).voxels, whole.voxels)
    for threshold in (0.3, 0.5, float(whole.voxels[5, 5, 5])):  # the last is met exactly, and what meets it is not above it
        mask = inference.enlarged_mask(coarse, scan, threshold, together=2)
        assert mask.voxels.dtype == np.uint8
        np.testing.assert_array_equal(mask.voxels, inference.threshold_mask(whole, threshold).voxels)
    with pytest.raises(ValueError, match="between 0 and 1"):
        inference.enlarged_mask(coarse, scan, 1.0)
