"""training.py: schedules as stated, runs that repeat and resume bit for bit, two processes that compute what one does."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from scoat_lib import experiments, losses, training
from scoat_lib.cohort import with_statistics
from scoat_lib.folds import LeakageError, Split, make_folds, split_of
from scoat_lib.networks import create
from scoat_lib.training import Recipe, TrainingError, batches, converged, finished, rate_at, restart_epoch, supervised_loss
from scoat_lib.weights import load


@pytest.fixture(scope="module")
def prepared(cohort):
    split = split_of(make_folds(cohort, 3), 0)
    return with_statistics(cohort, split.train), split


def run(recipe, prepared, folder, **options):
    return training.train(recipe, *prepared, folder, accelerator="cpu", progress=False, **options)


def same_weights(a, b):
    one, other = load(a.weights).model.state_dict(), load(b.weights).model.state_dict()
    return all(torch.equal(one[k], other[k]) for k in one)


# the schedules


def test_the_papers_rate_falls_tenfold_every_ten_epochs():
    recipe = Recipe(schedule="paper", rate=0.01)
    assert [rate_at(recipe, e, 0.5) for e in (0, 9, 10, 19, 20)] == pytest.approx([0.01, 0.01, 0.001, 0.001, 0.0001])
    assert [rate_at(recipe, e, 0.5, restarted=24) for e in (24, 33, 34)] == pytest.approx([0.001, 0.001, 0.0001])


def test_the_modern_rate_warms_up_and_falls():
    recipe = Recipe(epochs=10, rate=0.003)
    rates = [rate_at(recipe, e, d) for e in range(10) for d in (0, 0.25, 0.5, 0.75)]
    top = rates.index(max(rates))
    assert max(rates) == pytest.approx(0.003)
    assert 1 <= top <= 2  # 5 % of ten epochs
    assert rates[:top] == sorted(rates[:top])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert rates[-1] < 0.02 * 0.003


def curve_of(values):
    return [{"loss": v} for v in values]


def test_converged_means_less_than_one_per_cent_in_five_epochs():
    falling = [1 / (i + 1) for i in range(10)]
    assert not converged(curve_of(falling))
    assert not converged(curve_of([1.0] * 5))
    assert converged(curve_of([1.0] * 6))
    assert converged(curve_of([*falling, *[0.0995] * 5]))
    assert not converged(curve_of([*falling, *[0.0985] * 5]))


def test_the_restart_comes_when_converged_or_at_the_end():
    recipe = Recipe(schedule="paper", until="converged", epochs=30)
    assert restart_epoch(recipe, curve_of([1.0] * 5)) is None
    assert restart_epoch(recipe, curve_of([1.0] * 9)) == 6
    assert restart_epoch(replace(recipe, until="end", epochs=4), curve_of([1.0] * 9)) == 4
    assert not finished(recipe, curve_of([1.0] * 55))
    assert finished(recipe, curve_of([1.0] * 56))
    assert finished(replace(recipe, schedule="paper-no-restart"), curve_of([1.0] * 6))
    assert restart_epoch(Recipe(), curve_of([1.0] * 9)) is None


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"network": "vgg"}, "known: scoatnet"),
        ({"schedule": "fast"}, "known: modern, paper"),
        ({"supervision": 5}, "known: mean, 1"),
        ({"epochs": 0}, "at least 1"),
        ({"size": 16}, "at least 32"),
        ({"lesion_free": 2}, "share"),
    ],
)
def test_recipes_that_cannot_be(wrong, word):
    with pytest.raises(TrainingError, match=word):
        Recipe(**wrong)
    with pytest.raises(TrainingError, match="no field dropout"):
        Recipe.from_dict({"dropout": 1})


def test_recipes_survive_json():
    recipe = Recipe(options={"up": "bilinear"}, loss_options={"alpha": 1.0}, window=(-1000, 400))
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


# the steps


def test_supervision_is_a_branch_or_the_mean():
    outputs = [torch.randn(2, 1, 8, 8) for _ in range(4)]
    target = (torch.rand(2, 1, 8, 8) > 0.5).float()
    bce = losses.create("bce")
    each = [bce(o, target) for o in outputs]
    torch.testing.assert_close(supervised_loss(outputs, target, bce), torch.stack(each).mean())
    torch.testing.assert_close(supervised_loss(outputs, target, bce, 2), each[1])
    torch.testing.assert_close(supervised_loss(outputs[0], target, bce, 3), each[0])


def test_every_slice_is_seen_and_processes_share_a_step():
    order = list(range(23))
    one = batches(order, 4, 2, 0, 1)
    assert [len(b) for b in one] == [4] * 6
    assert set(order) == {i for b in one for i in b}
    first, second = batches(order, 4, 1, 0, 2), batches(order, 4, 1, 1, 2)
    assert one == [b for pair in zip(first, second, strict=True) for b in pair]


def test_training_learns(prepared, tmp_path, tiny_recipe):
    done = run(replace(tiny_recipe, epochs=8, width=8), prepared, tmp_path / "run")
    assert done.finished
    assert done.curve[-1]["loss"] < 0.6 * done.curve[0]["loss"]
    assert done.curve[-1]["DSC"] > done.curve[0]["DSC"]
    text = (tmp_path / "run" / "curve.csv").read_text().splitlines()
    assert text[0].startswith("epoch,loss,DSC,rate")
    assert len(text) == 9
    assert any((tmp_path / "run" / "tensorboard").iterdir())
    assert load(done.weights).preprocessing == prepared[0].preprocessing


@pytest.mark.parametrize("extra", [{}, {"supervision": 4, "loss": "dice"}, {"schedule": "paper-no-restart", "rate": 0.01}])
def test_same_seed_same_bits(prepared, tmp_path, tiny_recipe, extra):
    recipe = replace(tiny_recipe, epochs=1, **extra)
    assert same_weights(run(recipe, prepared, tmp_path / "a"), run(recipe, prepared, tmp_path / "b"))
    other = run(replace(recipe, seed=1), prepared, tmp_path / "c")
    assert not same_weights(run(recipe, prepared, tmp_path / "a"), other)


def test_before_the_restart_and_without_it_are_one_network(prepared, tmp_path, tiny_recipe):
    """So the grid `schedule` scores one run before and after its restart (claim 8), though it holds two results."""
    recipe = replace(tiny_recipe, schedule="paper", rate=0.01, epochs=2)
    seen = {}

    def keep(epoch, model):
        seen[epoch] = {name: value.clone() for name, value in model.state_dict().items()}

    run(recipe, prepared, tmp_path / "with", on_epoch=keep, at_most=3)
    without = load(run(replace(recipe, schedule="paper-no-restart"), prepared, tmp_path / "without").weights).model
    for name, value in without.state_dict().items():
        assert torch.equal(value, seen[2][name]), name
    assert any(not torch.equal(seen[2][name], value) for name, value in seen[3].items())


def test_workers_do_not_matter(prepared, tmp_path, tiny_recipe):
    recipe = replace(tiny_recipe, epochs=1)
    assert same_weights(run(recipe, prepared, tmp_path / "a"), run(recipe, prepared, tmp_path / "b", workers=2))


def test_a_stopped_run_goes_on_to_the_same_weights(prepared, tmp_path, tiny_recipe):
    whole = run(tiny_recipe, prepared, tmp_path / "whole")
    stopped = run(tiny_recipe, prepared, tmp_path / "cut", stop_at=training.Deadline.after(-1))
    assert not stopped.finished
    assert not stopped.weights.exists()
    assert len(run(tiny_recipe, prepared, tmp_path / "cut", at_most=1).curve) == 1
    path = tmp_path / "cut" / "recipe.json"  # as if it had begun before recipes had this field
    begun = json.loads(path.read_text())
    assert begun["recipe"].pop("calibrate") is False
    path.write_text(json.dumps(begun))
    assert len(run(tiny_recipe, prepared, tmp_path / "cut", at_most=1).curve) == 2
    assert same_weights(whole, run(tiny_recipe, prepared, tmp_path / "cut"))


def command(data, runs, *extra):
    words = ["train", "--data", data, "--width", 4, "--epochs", 4, "--size", 64, "--folds", 3, "--runs", runs]
    words += ["--lesion-free", 0, "--precision", "32-true", "--device", "cpu", "--threads", 1, "--json", *extra]
    return [sys.executable, "-m", "scoat_lib", *map(str, words)]


def test_killed_between_its_last_checkpoint_and_its_curve_a_run_still_has_both(tiny_recipe, prepared, tmp_path, monkeypatch):
    """And every epoch that is kept was looked at: a measure that a kill cut short is taken again."""
    write, seen = training.write_whole, []

    def killed(path, content):
        if path.name == "curve.csv" and content.count("\n") == 1 + tiny_recipe.epochs:
            raise KeyboardInterrupt
        write(path, content)

    monkeypatch.setattr(training, "write_whole", killed)
    with pytest.raises(KeyboardInterrupt):
        run(tiny_recipe, prepared, tmp_path / "cut", on_epoch=lambda epoch, model: seen.append(epoch))
    monkeypatch.undo()
    assert seen == list(range(1, tiny_recipe.epochs + 1))
    whole = run(tiny_recipe, prepared, tmp_path / "cut", on_epoch=lambda epoch, model: seen.append(epoch))
    assert (tmp_path / "cut" / "curve.csv").read_text().count("\n") == 1 + tiny_recipe.epochs == 1 + len(whole.curve)

    def die(epoch, model):
        if epoch == 1 and not looked:
            looked.append(0)
            raise KeyboardInterrupt
        looked.append(epoch)

    looked = []
    with pytest.raises(KeyboardInterrupt):
        run(tiny_recipe, prepared, tmp_path / "early", on_epoch=die)
    run(tiny_recipe, prepared, tmp_path / "early", on_epoch=die)
    assert looked == [0, *range(1, tiny_recipe.epochs + 1)]


def test_whole_and_broken_numbers_of_a_recipe_are_one_run():
    assert Recipe(clip=1, lesion_free=0, rate=1).to_dict() == Recipe(clip=1.0, lesion_free=0.0, rate=1.0).to_dict()
    assert json.dumps(Recipe(clip=1).to_dict()) == json.dumps(Recipe().to_dict())


def test_a_killed_run_goes_on_to_the_same_weights_bit_for_bit(data_folder, tmp_path):
    def weights(folder):
        return next((tmp_path / folder).glob("*/weights.safetensors"))

    subprocess.run(command(data_folder, tmp_path / "whole"), check=True, capture_output=True)
    process = subprocess.Popen(
        command(data_folder, tmp_path / "killed"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    while not list((tmp_path / "killed").glob("*/checkpoint.ckpt")) and process.poll() is None:
        time.sleep(0.02)
    time.sleep(0.3)  # into the second epoch
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not list((tmp_path / "killed").glob("*/weights.safetensors")), "it ended before it was killed"
    subprocess.run(command(data_folder, tmp_path / "killed"), check=True, capture_output=True)
    assert weights("killed").read_bytes() == weights("whole").read_bytes()


def test_two_processes_compute_what_one_does(data_folder, tmp_path):
    def losses_of(folder, *extra):
        subprocess.run(command(data_folder, tmp_path / folder, *extra), check=True, capture_output=True, timeout=240)
        rows = next((tmp_path / folder).glob("*/curve.csv")).read_text().splitlines()[1:]
        return [float(r.split(",")[1]) for r in rows]

    one = losses_of("one", "--accumulate", 2, "--batch", 4)
    two = losses_of("two", "--devices", 2, "--batch", 4)
    assert two == pytest.approx(one, rel=1e-3)
    assert two[-1] < two[0]


# what must not happen


def test_fewer_patients_take_as_many_steps(data_folder, tmp_path, tiny_recipe):
    all_of_them = replace(tiny_recipe, epochs=1)
    few = replace(all_of_them, patients=1)
    assert experiments.key(all_of_them, "x") != experiments.key(few, "x")
    done = {}
    for recipe in (all_of_them, few):
        cohort, split = experiments.prepare(recipe, data_folder)
        done[recipe.patients] = run(recipe, (cohort, split), tmp_path / str(recipe.patients))
    assert len(done[1].split.train) == 1
    assert done[1].split.test == done[0].split.test
    assert done[1].curve[0]["steps"] == done[0].curve[0]["steps"]
    assert done[1].curve[0]["loss"] != done[0].curve[0]["loss"]


def test_a_leak_stops_before_anything_is_written(prepared, tmp_path, tiny_recipe):
    cohort, split = prepared
    leaking = Split(split.train, (), split.train[:1])
    with pytest.raises(LeakageError, match="both train and test"):
        training.train(tiny_recipe, cohort, leaking, tmp_path / "run", accelerator="cpu")
    assert not (tmp_path / "run").exists()


@pytest.mark.fault("another recipe in a run's folder", "refused; nothing is lost")
def test_a_folder_holds_one_run(prepared, tmp_path, tiny_recipe):
    recipe = replace(tiny_recipe, epochs=1)
    done = run(recipe, prepared, tmp_path / "run")
    before = done.weights.read_bytes()
    with pytest.raises(TrainingError, match="differs in rate"):
        run(replace(recipe, rate=0.1), prepared, tmp_path / "run")
    assert done.weights.read_bytes() == before


@pytest.mark.fault("a training that diverges in its first epoch", "stopped at its step")
def test_a_loss_that_is_not_finite_stops_the_run(prepared, tmp_path, tiny_recipe, monkeypatch):
    monkeypatch.setattr(training.losses, "create", lambda *_, **__: lambda logits, target: (logits * float("nan")).mean())
    with pytest.raises(TrainingError, match="lower the rate"):
        run(replace(tiny_recipe, epochs=1), prepared, tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoint.ckpt").exists()


@pytest.mark.fault("a training that diverges", "stopped at its step; the last good weights are kept")
def test_a_run_that_diverges_keeps_its_last_good_weights(prepared, tmp_path, tiny_recipe, monkeypatch):
    folder = tmp_path / "run"
    run(tiny_recipe, prepared, folder, at_most=1)
    kept = (folder / "checkpoint.ckpt").read_bytes()
    create, asked = training.losses.create, []

    def third_is_bad(*words, **options):
        loss = create(*words, **options)
        return lambda logits, target: loss(logits, target) * (float("inf") if asked.append(0) or len(asked) > 8 else 1)

    monkeypatch.setattr(training.losses, "create", third_is_bad)  # four branches a step
    with pytest.raises(TrainingError, match=r"is inf at step 3 of epoch 2; .* after epoch 1 are kept"):
        run(tiny_recipe, prepared, folder)
    assert (folder / "checkpoint.ckpt").read_bytes() == kept


@pytest.mark.fault("a checkpoint of a stranger that would run code", "refused in words; nothing of it ran")
def test_a_checkpoint_that_is_a_strangers_pickle_is_not_opened(prepared, tmp_path, tiny_recipe):
    from test_weights_inference import Writes

    folder = tmp_path / "run"
    run(tiny_recipe, prepared, folder, at_most=1)
    whole = torch.load(folder / "checkpoint.ckpt", weights_only=True)
    for stranger in ({"model": Writes(tmp_path / "ran")}, whole | {"more": Writes(tmp_path / "ran")}):
        torch.save(stranger, folder / "checkpoint.ckpt")
        with pytest.raises(TrainingError, match=r"checkpoint\.ckpt: is damaged or no checkpoint of scoat \(it holds more than"):
            run(tiny_recipe, prepared, folder)
        assert not (tmp_path / "ran").exists()
    torch.save(whole | {"curve": 5}, folder / "checkpoint.ckpt")
    with pytest.raises(TrainingError, match=r"checkpoint\.ckpt: is damaged \(curve is 5, not a list\)"):
        run(tiny_recipe, prepared, folder)


@pytest.mark.fault("a damaged checkpoint", "named; continued from the one before to the same weights")
def test_a_damaged_checkpoint_is_named_and_the_one_before_gone_on_with(prepared, tmp_path, tiny_recipe):
    whole = run(tiny_recipe, prepared, tmp_path / "whole")
    folder = tmp_path / "run"
    run(tiny_recipe, prepared, folder, at_most=2)
    checkpoint, before = folder / "checkpoint.ckpt", folder / "checkpoint-before.ckpt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    with pytest.warns(
        UserWarning, match=r"checkpoint\.ckpt: is damaged .* continued from checkpoint-before\.ckpt, after epoch 1"
    ):
        again = run(tiny_recipe, prepared, folder)
    assert same_weights(again, whole)
    assert [r["loss"] for r in again.curve] == [r["loss"] for r in whole.curve]
    for path in (checkpoint, before):
        path.write_bytes(b"none")
    with pytest.raises(
        TrainingError, match=r"checkpoint\.ckpt: is damaged .*checkpoint-before\.ckpt: is damaged .*remove the folder"
    ):
        run(replace(tiny_recipe, epochs=tiny_recipe.epochs), prepared, folder)
    checkpoint.unlink()
    before.unlink()
    run(tiny_recipe, prepared, folder, at_most=2)
    checkpoint.unlink()  # killed between the two files
    assert same_weights(run(tiny_recipe, prepared, folder), whole)


@pytest.mark.fault("two devices instead of one", "another key, another folder")
def test_a_run_of_two_devices_is_another_run(tiny_recipe):
    from scoat_lib import experiments

    assert experiments.key(replace(tiny_recipe, devices=2), "d") != experiments.key(tiny_recipe, "d")
    with pytest.raises(TrainingError, match="devices is 0"):
        replace(tiny_recipe, devices=0)


@pytest.mark.fault("a broken recipe.json", "named, in one line")
def test_a_broken_recipe_file_is_named(prepared, tmp_path, tiny_recipe):
    folder = tmp_path / "run"
    folder.mkdir()
    for text, reason in (('{"rec', "is not whole JSON"), ("[1]", "is no run's"), ('{"recipe": {}}', "is no run's")):
        (folder / "recipe.json").write_text(text)
        with pytest.raises(TrainingError, match=rf"recipe\.json: {reason}"):
            run(tiny_recipe, prepared, folder)


def test_validation_is_watched_and_never_the_reported_fold(cohort, tmp_path, tiny_recipe):
    split = split_of(make_folds(cohort, 3), 0, validation=1)
    done = run(replace(tiny_recipe, epochs=2, validation=1), (cohort, split), tmp_path / "run")
    assert 0 <= done.curve[-1]["validation_DSC"] <= 1
    assert not set(split.validation) & set(split.test)


def test_validation_adds_a_patients_scans_before_the_mean(monkeypatch):
    class Everything(torch.nn.Module):
        def forward(self, x):
            return torch.ones_like(x)

    masks = {"a": np.zeros((2, 4, 4), bool), "b": np.ones((2, 4, 4), bool), "c": np.ones((2, 4, 4), bool)}
    cohort = SimpleNamespace(images=masks, masks=masks, patients={"p": ["a", "b"], "q": ["c"]})
    monkeypatch.setattr(training, "scan_slices", lambda cohort, name, batch: [torch.zeros(2, 1, 4, 4)])
    found = training._validate(SimpleNamespace(device="cpu"), Everything(), cohort, ("a", "b", "c"))
    assert found["DSC"] == pytest.approx((2 * 32 / (64 + 32) + 1) / 2, abs=1e-6)  # not the mean of 0, 1 and 1
    assert found["pooled_DSC"] == pytest.approx(2 * 64 / (96 + 64), abs=1e-6)


@pytest.mark.parametrize("fields", [{"split": "source"}, {"fold": -1}])
def test_validation_that_no_split_would_give_is_refused(fields):
    with pytest.raises(TrainingError, match="validation needs folds"):
        Recipe(validation=1, **fields)


def test_gradients_are_clipped(prepared, tmp_path, tiny_recipe, monkeypatch):
    seen = []
    original = torch.nn.utils.clip_grad_norm_
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", lambda *a, **k: seen.append(k) or original(*a, **k))
    run(replace(tiny_recipe, epochs=1, clip=0.5), prepared, tmp_path / "a")
    assert seen
    assert all(k["max_norm"] == 0.5 for k in seen)
    seen.clear()
    run(replace(tiny_recipe, epochs=1, clip=0.0), prepared, tmp_path / "b")
    assert not seen


@pytest.mark.parametrize("name", ["scoatnet", "unetpp"])
def test_a_batch_of_one_small_slice_trains(name):
    model = create(name, width=4).train()
    loss = supervised_loss(model(torch.randn(1, 1, 32, 32)), torch.zeros(1, 1, 32, 32), losses.create("bce-dice"))
    loss.backward()
    assert torch.isfinite(loss)


def test_bf16_trains(prepared, tmp_path, tiny_recipe):
    done = run(replace(tiny_recipe, precision="bf16-mixed"), prepared, tmp_path / "run")
    assert done.curve[-1]["loss"] < done.curve[0]["loss"]
