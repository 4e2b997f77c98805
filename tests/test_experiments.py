"""experiments.py: keys that tell runs apart, results from which the tables follow, numerics that cannot change unnoticed."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from scoat_lib import experiments, losses, metrics, networks, training
from scoat_lib.cohort import DataError
from scoat_lib.training import Recipe, TrainingError
from scoat_lib.weights import load

STORED = Path(__file__).parent / "stored" / "twenty_steps.json"


def twenty_steps(name):
    """Losses of twenty training steps on a fixed, generated batch: changes when networks, losses or schedules do."""
    torch.manual_seed(0)
    model = networks.create(name, width=4).train()
    recipe = Recipe(network=name, epochs=1)
    optimiser = training.make_optimiser(recipe, model)
    rng = np.random.default_rng(0)
    image = torch.from_numpy(rng.standard_normal((2, 1, 32, 32), np.float32))
    target = (torch.nn.functional.avg_pool2d(image, 5, 1, 2) > 0.1).float()
    loss, values = losses.create("bce-dice"), []
    for step in range(20):
        for group in optimiser.param_groups:
            group["lr"] = training.rate_at(recipe, 0, step / 20)
        value = training.supervised_loss(model(image), target, loss, recipe.supervision)
        optimiser.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
        optimiser.step()
        values.append(round(value.item(), 5))
    return values


@pytest.mark.parametrize("name", ["scoatnet", "unetpp"])
def test_numerics_have_not_changed_since_results_version_was_raised(name):
    stored = json.loads(STORED.read_text())
    assert stored["results_version"] == experiments.RESULTS_VERSION, "store the steps anew: python tests/test_experiments.py"
    expected = stored[name]
    # single steps amplify the last bit from one processor to another, so the tolerance grows along the run
    for step, (ours, theirs) in enumerate(zip(twenty_steps(name), expected, strict=True)):
        assert ours == pytest.approx(theirs, rel=2e-4 * 1.3**step), (
            f"step {step}: the numerics changed; raise RESULTS_VERSION and run python tests/test_experiments.py"
        )


def test_keys_tell_everything_apart(cohort):
    base = Recipe()
    keys = {experiments.key(base, "d")}
    for change in (
        {"seed": 1},
        {"fold": 1},
        {"loss_options": {"alpha": 1.0}},
        {"options": {"up": "bilinear"}},
        {"schedule": "paper"},
        {"split": "slice"},
        {"size": 256},
    ):
        keys.add(experiments.key(replace(base, **change), "d"))
    keys.add(experiments.key(base, "other data"))
    assert len(keys) == 9
    assert experiments.key(Recipe(), "d") in keys


@pytest.fixture(scope="module")
def result(data_folder, tiny_recipe, tmp_path_factory):
    folder = tmp_path_factory.mktemp("experiment")
    cohort, split = experiments.prepare(tiny_recipe, data_folder)
    run = training.train(tiny_recipe, cohort, split, folder / "run", accelerator="cpu", progress=False)
    path = experiments.evaluate_run(folder / "run", data_folder, folder / "results")
    return path, run, cohort


def test_a_result_holds_what_the_tables_need(result, tiny_recipe):
    path, run, cohort = result
    content = json.loads(path.read_text())
    assert path.stem == experiments.key(tiny_recipe, cohort.fingerprint)
    assert content["recipe"] == tiny_recipe.to_dict()
    assert content["folds"] == run.split.to_dict()
    assert content["data"] == {"name": "cohort", "fingerprint": cohort.fingerprint}
    assert set(content["patients"]) == set(run.split.test)
    assert content["curve"] == run.curve
    assert set(content["provenance"]) == {"commit", "dirty", "device", "versions", "date", "seconds"}
    for name, counts in content["patients"].items():
        assert sum(counts[k] for k in ("tp", "fp", "fn", "tn")) == cohort.masks[name].size
        assert counts["tp"] + counts["fn"] == cohort.burden[name]


def test_counts_are_those_of_the_predicted_masks(result):
    _, run, cohort = result
    name = run.split.test[0]
    segmenter = load(run.weights)
    predicted = experiments.predict(segmenter, cohort, name)
    slow = (
        torch.cat(
            [
                segmenter.model(cohort.preprocessing.normalise(torch.tensor(np.asarray(s, np.float32)))[None, None])
                for s in cohort.images[name]
            ]
        )[:, 0]
        > 0
    )
    assert (predicted != slow.detach().numpy()).mean() < 1e-3
    counts = experiments.evaluate(segmenter, cohort, [name])[name]
    assert counts == metrics.count(predicted, cohort.masks[name])


def test_summaries_keep_small_lesions_apart():
    def c(tp, fp, fn):
        return {"tp": tp, "fp": fp, "fn": fn, "tn": 0, "Na": 1, "Np": 1, "Nb": 1, "Nt": 1}

    table = experiments.scores({"large": c(900, 100, 100), "larger": c(4000, 0, 1000), "tiny": c(0, 5, 7)})
    means = list(table)[-3:]
    assert "2 patients" in means[0]
    assert table[means[0]]["DSC"] == pytest.approx((0.9 + 8 / 9) / 2)
    assert table[means[1]]["DSC"] == pytest.approx((0.9 + 8 / 9 + 0) / 3)
    assert table["pooled"]["DSC"] == pytest.approx(2 * 4900 / (2 * 4900 + 105 + 1107))


def test_what_cannot_be_scored_is_refused(result, tmp_path, data_folder):
    from scoat_lib import phantom

    path, run, _ = result
    with pytest.raises(TrainingError, match="holds no run"):
        experiments.evaluate_run(tmp_path, data_folder, tmp_path / "results")
    other = phantom.write_cohort(tmp_path / "other", 6, (64, 64, 16), seed=9)
    with pytest.raises(DataError, match="other data"):
        experiments.evaluate_run(run.folder, other, tmp_path / "results")
    run.weights.rename(run.folder / "hidden")
    with pytest.raises(TrainingError, match="not finished"):
        experiments.evaluate_run(run.folder, data_folder, tmp_path / "results")
    (run.folder / "hidden").rename(run.weights)
    assert not (tmp_path / "results").exists()
    assert path.exists()


def test_a_slice_split_is_possible_and_says_so(data_folder, tiny_recipe):
    _, split = experiments.prepare(replace(tiny_recipe, split="slice"), data_folder)
    assert {n.split("#")[0] for n in split.test} == {n.split("#")[0] for n in split.train}


if __name__ == "__main__":
    STORED.parent.mkdir(exist_ok=True)
    stored = {"results_version": experiments.RESULTS_VERSION} | {n: twenty_steps(n) for n in ("scoatnet", "unetpp")}
    STORED.write_text(json.dumps(stored, indent=1) + "\n")
