"""experiments.py: keys that tell runs apart, results from which the tables follow, numerics that cannot change unnoticed."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter1d

from scoat_lib import engine, experiments, losses, metrics, networks, training
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
        assert ours == pytest.approx(theirs, rel=2e-4 * 1.5**step), (
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


def test_a_new_field_at_its_default_voids_no_result(monkeypatch):
    class Longer(Recipe):
        def __init__(self, novelty=0, **fields):
            super().__init__(**fields)
            object.__setattr__(self, "novelty", novelty)

        def to_dict(self):
            return super().to_dict() | {"novelty": self.novelty}

    before = experiments.key(Recipe(seed=3), "d")
    monkeypatch.setattr(experiments, "Recipe", Longer)
    assert experiments.key(Longer(seed=3), "d") == before
    assert experiments.key(Longer(seed=3, novelty=1), "d") != before
    assert set(Recipe().to_dict()) >= experiments._FIRST_FIELDS


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
    assert "external" not in content
    for name, counts in content["patients"].items():
        more = content["measures"][name]
        assert more["patient"] == name
        assert np.sum(more["slices"], 0).tolist() == [counts[k] for k in ("tp", "fp", "fn")] == more["thresholds"]["0.5"]
        assert len(more["slices"]) == len(cohort.masks[name])
        assert sum(counts[k] for k in ("tp", "fp", "fn", "tn")) == cohort.masks[name].size
        assert counts["tp"] + counts["fn"] == cohort.burden[name]


def test_counts_are_those_of_the_predicted_masks(result):
    _, run, cohort = result
    name = run.split.test[0]
    segmenter = load(run.weights)
    predicted = experiments.predict(segmenter, cohort, name)
    with torch.inference_mode():
        each = [cohort.preprocessing.normalise(torch.tensor(np.asarray(s, np.float32))) for s in cohort.images[name]]
        slow = torch.cat([torch.sigmoid(segmenter.model(s[None, None])) for s in each])[:, 0].numpy()
    assert (predicted != (slow > 0.5)).mean() < 1e-3
    counts = experiments.evaluate(segmenter, cohort, [name])[name]
    assert counts == metrics.count(predicted, cohort.masks[name], spacing=cohort.spacing(name))
    wide = 2 * cohort.spacing(name)[0]  # two slices
    smoothed = gaussian_filter1d(slow, 2.0, axis=0, mode="nearest") > 0.3
    assert (smoothed != (slow > 0.3)).mean() > 1e-3
    predicted = experiments.predict(segmenter, cohort, name, 0.3, smooth=wide)
    assert (predicted != smoothed).mean() < 1e-4
    counts = experiments.evaluate(segmenter, cohort, [name], 0.3, smooth=wide)[name]
    assert counts == metrics.count(predicted, cohort.masks[name], spacing=cohort.spacing(name))


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


def test_a_patients_scans_are_added_before_any_ratio():
    def c(tp, fp, fn):
        return {"tp": tp, "fp": fp, "fn": fn, "tn": 0, "Na": 1, "Np": 1, "Nb": 2, "Nt": 1}

    scans = {
        "radiopaedia_29_86490_1": c(3, 0, 4),
        "radiopaedia_29_86491_1": c(700, 100, 295),
        "coronacases_001": c(900, 0, 200),
    }
    added = experiments.together(scans)
    assert added["radiopaedia_29"] == {"tp": 703, "fp": 100, "fn": 299, "tn": 0, "Na": 2, "Np": 2, "Nb": 4, "Nt": 2}
    assert scans["radiopaedia_29_86490_1"]["tp"] == 3
    table = experiments.scores(scans)
    assert "mean, 2 patients of ≥ 1000 voxels" in table  # 1 002 voxels together, 7 and 995 alone
    assert table["radiopaedia_29"]["DSC"] == pytest.approx(1406 / (1406 + 399))
    assert "mean, 1 patient of ≥ 1000 voxels" in experiments.scores(scans, patients={n: n for n in scans})


def test_measures_tell_what_counts_do_not():
    truth = np.zeros((4, 20, 20), bool)
    truth[1:3, 2:8, 2:8] = True  # 72 voxels
    truth[2, 15, 15] = True
    predicted = truth.copy()
    predicted[2, 15, 15] = False
    predicted[1, 2:8, 8] = True
    probability = np.where(predicted, np.float32(0.65), np.float32(0.15))
    found = experiments.measure(probability, truth, (4.0, 2.0, 2.0))
    assert found["slices"] == [[0, 0, 0], [36, 6, 0], [36, 0, 1], [0, 0, 0]]
    assert found["thresholds"]["0.6"] == found["thresholds"]["0.2"] == [72, 6, 1]
    assert found["thresholds"]["0.1"] == [73, 4 * 400 - 73, 0]
    assert found["thresholds"]["0.7"] == [0, 0, 73]
    assert found["regions in voxels"] == {"Na": 1, "Np": 1, "Nb": 2, "Nt": 1}
    assert found["diagonal_mm"] == pytest.approx((16**2 + 2 * 40**2) ** 0.5, abs=1e-3)
    assert found["lesions"] == [[72, 72], [1, 0]]
    assert found["voxel_mm3"] == 16
    assert found["hd95_mm"] == pytest.approx(metrics.hausdorff95(predicted, truth, (4, 2, 2)), abs=1e-3)
    assert 0.9 < found["surface_dice"] < 1
    assert experiments.measure(np.zeros(truth.shape, np.float32), truth, (4.0, 2.0, 2.0))["hd95_mm"] is None


def test_a_result_is_written_so_that_a_person_can_read_it():
    content = {"a": {"b": {"tp": 1, "fp": 2.5}, "c": [[1, 2], [3, 4]]}, "d": [{"x": {"y": None}}], "e": "α", "f": []}
    text = experiments.as_json(content)
    assert json.loads(text) == content
    assert '  "b": {"fp": 2.5, "tp": 1}' in text
    assert '"c": [[1, 2], [3, 4]]' in text
    assert "α" in text


def test_a_result_holds_the_measures(result):
    path, run, cohort = result
    content = json.loads(path.read_text())
    for name in run.split.test:
        lesions = content["measures"][name]["lesions"]
        assert sum(size for size, _ in lesions) == cohort.burden[name]
        assert sum(hit for _, hit in lesions) == content["patients"][name]["tp"]
        assert content["measures"][name]["voxel_mm3"] == pytest.approx(np.prod(cohort.spacing(name)), rel=1e-4)


def test_a_split_by_source_keeps_scanners_apart(cohort, tmp_path):
    from scoat_lib.cohort import DataError
    from scoat_lib.folds import LeakageError, check_leakage, split_by_source

    mixed = experiments.Cohort(list(cohort.cases.values()), cohort.preprocessing)
    for index, (name, case) in enumerate(list(mixed.cases.items())):
        mixed.cases[name] = replace(case, name=f"{'alpha' if index < 2 else 'beta'}_{index}")
    split = split_by_source(mixed, 0)
    assert len(split.train) == 2
    assert not set(split.train) & set(split.test)
    assert set(split_by_source(mixed, 1).train) == set(split.test)
    with pytest.raises(ValueError, match="2 sources"):
        split_by_source(mixed, 2)
    with pytest.raises(ValueError, match="needs two"):
        split_by_source(cohort, 0)
    assert issubclass(LeakageError, ValueError)
    assert issubclass(DataError, ValueError)
    check_leakage(split)


# --- the engine ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def seconds_long(tiny_recipe):
    """Two recipes of two epochs, seconds each."""
    return [replace(tiny_recipe, epochs=2, seed=seed) for seed in (11, 12)]


def test_fill_does_what_is_missing_and_nothing_else(seconds_long, data_folder, tmp_path):
    jobs = engine.jobs([*seconds_long, seconds_long[0]], data_folder, results=str(tmp_path / "r"), runs=str(tmp_path / "w"))
    assert len(jobs) == 2  # a recipe asked for twice is one run
    outcome = engine.fill(jobs, processes=2, progress=False)
    assert sorted(outcome.done) == sorted(j.key for j in jobs)
    assert not outcome.failed
    assert engine.missing(jobs) == []
    before = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "r").iterdir()}
    assert engine.fill(jobs, progress=False) == engine.Outcome()
    assert before == {p.name: p.stat().st_mtime_ns for p in (tmp_path / "r").iterdir()}
    content = json.loads(jobs[0].result.read_text())
    assert content["recipe"] == seconds_long[0].to_dict()


def test_a_run_on_folds_of_slices_is_found_again_and_compared(tiny_recipe, data_folder, tmp_path):
    """Slices dealt out are the same data: one fingerprint, before and after, so that both rows of grid `split` meet."""
    from scoat_lib import grids, report

    dealt = [replace(tiny_recipe, split="slice", fold=fold) for fold in range(tiny_recipe.folds)]
    recipes = [*dealt, replace(tiny_recipe, split="patient")]  # the order must not matter
    for recipe in recipes:
        jobs = engine.jobs([recipe], data_folder, results=str(tmp_path / "r"), runs=str(tmp_path / "w"))
        assert not engine.fill(jobs, progress=False).failed
        assert engine.missing(jobs) == []
    results = report.load(tmp_path / "r")
    assert len({r["data"]["fingerprint"] for r in results}) == 1
    (table,) = report.tables(results, grids.get("split"), least=1)
    assert (table.rows["all patients"] > 0).all()


def test_a_budget_stops_at_a_checkpoint_and_the_next_call_goes_on(seconds_long, data_folder, tmp_path):
    settings = {"results": str(tmp_path / "r"), "runs": str(tmp_path / "w")}
    (job,) = engine.jobs(seconds_long[:1], data_folder, stop_at=training.Deadline.after(-1), **settings)
    assert engine.perform(job) == engine.STOPPED
    assert not job.result.exists()
    (job,) = engine.jobs(seconds_long[:1], data_folder, **settings)
    assert engine.perform(job) == engine.DONE


def test_a_run_in_other_hands_is_busy(seconds_long, data_folder, tmp_path):
    from filelock import FileLock

    (job,) = engine.jobs(seconds_long[:1], data_folder, results=str(tmp_path / "r"), runs=str(tmp_path / "w"))
    (tmp_path / "w").mkdir()
    with FileLock(f"{job.folder}.lock"):
        assert engine.perform(job) == engine.BUSY
    assert not job.folder.exists()


def test_a_run_that_fails_is_named_and_stops_no_other(seconds_long, data_folder, tmp_path):
    jobs = engine.jobs(seconds_long, data_folder, results=str(tmp_path / "r"), runs=str(tmp_path / "w"))
    jobs[0].folder.mkdir(parents=True)
    (jobs[0].folder / "recipe.json").write_text('{"recipe": {}, "data": "", "split": {}}')  # holds another run
    outcome = engine.fill(jobs, processes=1, progress=False)
    assert outcome.done == [jobs[1].key]
    assert "holds another run" in outcome.failed[jobs[0].key]


def test_two_engines_killed_and_started_again_lose_an_epoch_at_most(tiny_recipe, data_folder, tmp_path):
    """One engine is killed in the middle; two others share what is left; the results are those of an undisturbed run."""
    import os
    import signal
    import subprocess
    import sys
    import time

    recipes = [replace(tiny_recipe, epochs=6, seed=21), replace(tiny_recipe, epochs=2, seed=22)]
    words = repr([r.to_dict() for r in recipes])
    program = (
        "import sys\nfrom scoat_lib import engine\nfrom scoat_lib.training import Recipe\n"
        "if __name__ == '__main__':\n"
        f"    jobs = engine.jobs([Recipe.from_dict(r) for r in {words}], {str(data_folder)!r},\n"
        f"        results={str(tmp_path / 'r')!r}, runs={str(tmp_path / 'w')!r})\n"
        "    outcome = engine.fill(jobs, progress=False)\n    sys.exit(len(outcome.failed))\n"
    )
    (tmp_path / "fill.py").write_text(program)

    def started():
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        return subprocess.Popen([sys.executable, str(tmp_path / "fill.py")], env=environment, start_new_session=True)

    jobs = engine.jobs(recipes, data_folder, results=str(tmp_path / "r"), runs=str(tmp_path / "w"))
    first = started()
    curve = jobs[0].folder / "curve.csv"
    until = time.time() + 120
    while not (curve.exists() and curve.read_text().count("\n") >= 3) and time.time() < until:
        time.sleep(0.05)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    assert curve.exists()
    assert not jobs[0].result.exists()
    others = [started(), started()]
    assert [e.wait(timeout=240) for e in others] == [0, 0]
    for job in jobs:
        cohort, split = experiments.prepare(job.recipe, data_folder)
        alone = training.train(job.recipe, cohort, split, tmp_path / "alone" / job.key, accelerator="cpu", progress=False)
        assert (job.folder / "weights.safetensors").read_bytes() == alone.weights.read_bytes()
        content = json.loads(job.result.read_text())
        assert [row["loss"] for row in content["curve"]] == [row["loss"] for row in alone.curve]


def test_a_dask_cluster_that_loses_a_worker_gives_every_result(tiny_recipe, data_folder, tmp_path, tried):
    distributed = pytest.importorskip("distributed")
    import os
    import signal
    import threading
    import time

    recipes = [replace(tiny_recipe, epochs=4, seed=seed) for seed in (31, 32, 33)]
    jobs = engine.jobs(recipes, data_folder, results=str(tmp_path / "r"), runs=str(tmp_path / "w"))
    with (
        distributed.LocalCluster(2, threads_per_worker=1, dashboard_address=None, memory_limit=0) as cluster,
        distributed.Client(cluster) as client,
    ):
        pids = client.run(os.getpid)
        killed = []

        def kill_one():
            until = time.time() + 120
            while time.time() < until:
                busy = [worker for worker, calls in client.processing().items() if calls]
                if busy and any((job.folder / "curve.csv").exists() for job in jobs):
                    os.kill(pids[busy[0]], signal.SIGKILL)
                    killed.append(busy[0])
                    return
                time.sleep(0.1)

        thread = threading.Thread(target=kill_one)
        thread.start()
        outcome = engine.fill(jobs, scheduler=cluster.scheduler_address, progress=False)
        thread.join()
    assert killed
    assert sorted(outcome.done) == sorted(j.key for j in jobs)
    assert all(json.loads(j.result.read_text())["curve"][-1]["epoch"] == 4 for j in jobs)
    tried("a Dask worker killed in its work", "another worker went on; every result is there")


@pytest.mark.long
def test_a_dask_scheduler_that_is_killed_is_named_and_the_next_goes_on_to_the_same_bits(
    tiny_recipe, data_folder, tmp_path, tried
):
    pytest.importorskip("distributed")
    import signal
    import socket
    import subprocess
    import sys
    import threading
    import time

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"

    def started():
        """A scheduler and a worker, as two processes."""
        place, port = address.split(":")
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        of = [sys.executable, "-m"]
        first = [*of, "distributed.cli.dask_scheduler", "--host", place, "--port", port, "--no-dashboard"]
        second = [*of, "distributed.cli.dask_worker", address, "--nthreads", "1", "--no-dashboard", "--no-nanny"]
        return [subprocess.Popen(words, **quiet) for words in (first, [*second, "--death-timeout", "60"])]

    recipe = replace(tiny_recipe, epochs=8, seed=41)
    (job,) = engine.jobs([recipe], data_folder, results=str(tmp_path / "r"), runs=str(tmp_path / "w"))
    outcomes = []
    processes = started()
    try:
        one = threading.Thread(
            target=lambda: outcomes.append(engine.fill([job], scheduler=address, progress=False)), daemon=True
        )
        one.start()
        until = time.monotonic() + 120
        while not (job.folder / "checkpoint.ckpt").exists():
            assert time.monotonic() < until, "no epoch was done"
            time.sleep(0.02)
        for process in processes:
            process.send_signal(signal.SIGKILL)
        one.join(120)
        assert outcomes, "a scheduler that is gone is waited for"
        assert outcomes[0].failed == {job.key: engine.LOST}
        assert not job.result.exists()
        processes += started()
        outcomes.append(engine.fill([job], scheduler=address, progress=False))
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert outcomes[1].done == [job.key]
    cohort, split = experiments.prepare(recipe, data_folder)
    alone = training.train(recipe, cohort, split, tmp_path / "alone", accelerator="cpu", progress=False)
    assert (job.folder / "weights.safetensors").read_bytes() == alone.weights.read_bytes()
    tried("a Dask scheduler killed in its work", "said so, no half result; with another it went on to the same bits")


if __name__ == "__main__":
    STORED.parent.mkdir(exist_ok=True)
    torch.set_num_threads(1)  # as the tests run
    stored = {"results_version": experiments.RESULTS_VERSION} | {n: twenty_steps(n) for n in ("scoatnet", "unetpp")}
    STORED.write_text(json.dumps(stored, indent=1) + "\n")
