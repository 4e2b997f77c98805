"""The rule: known values, invariances, coverage, and that the study chose what the module does."""

import importlib.util
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from scoat_lib import rule

ROOT = Path(__file__).parents[1]
FOLDS = np.repeat(range(5), (3, 3, 3, 2, 2))
EIGHT = np.array([3.0, -1.0, 4.0, 1.0, -5.0, 9.0, 2.0, 6.0])
points = st.floats(-100, 100).map(lambda v: round(v, 3))
cohorts = st.lists(st.tuples(points, st.integers(0, 4)), min_size=5, max_size=16).filter(lambda c: len({f for _, f in c}) > 1)


@pytest.fixture(scope="module")
def study():
    spec = importlib.util.spec_from_file_location("studies_rule", ROOT / "studies" / "rule.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def stored():
    return json.loads((ROOT / "results" / "rule" / "simulation.json").read_text(encoding="utf-8"))


def test_one_patient_a_fold_is_student_over_patients():
    found = rule.interval(EIGHT, range(8))
    wanted = stats.ttest_1samp(EIGHT, 0)
    low, high = wanted.confidence_interval(rule.LEVEL)
    assert (found.mean, found.low, found.high, found.p) == pytest.approx((EIGHT.mean(), low, high, wanted.pvalue))
    assert (found.patients, found.folds, found.freedom) == (8, 8, pytest.approx(7))


def test_equal_folds_that_differ_are_student_over_fold_means():
    values = EIGHT + np.repeat([0.0, 30.0, -20.0, 5.0], 2)
    found = rule.interval(values, list("aabbccdd"))
    wanted = stats.ttest_1samp(values.reshape(4, 2).mean(1), 0)
    assert (found.low, found.high) == pytest.approx(tuple(wanted.confidence_interval(rule.LEVEL)))
    assert (found.p, found.freedom) == (pytest.approx(wanted.pvalue), pytest.approx(3))


def test_folds_that_agree_leave_the_patients_error():
    values = np.tile([-4.0, 10.0], 4)
    found = rule.interval(values, list("aabbccdd"))
    half = stats.t.isf(0.025, 3) * values.std(ddof=1) / np.sqrt(8)
    assert (found.low, found.high) == pytest.approx((3 - half, 3 + half))


def test_unequal_folds_by_hand():
    """Sizes 4 and 2 and 1, only the folds' error; degrees of freedom from 7 × 7 matrices over patients."""
    sizes = np.array([4, 2, 1])
    folds = np.repeat([0, 1, 2], sizes)
    values = np.repeat([0.0, 7.0, 21.0], sizes)
    adjust = np.diag(1 / np.sqrt(1 - sizes[folds] / 7))
    sums = np.array([np.where(folds == f, 1.0, 0.0) for f in range(3)]) @ adjust @ (np.eye(7) - 1 / 7)
    form = sums.T @ sums / 49
    mean, error, freedom = rule.errors(values, folds)
    assert mean == pytest.approx(5)
    assert error**2 == pytest.approx(values @ form @ values)
    assert freedom == pytest.approx(np.trace(form) ** 2 / np.trace(form @ form))


@settings(deadline=None, max_examples=60)
@given(cohorts, st.randoms(use_true_random=False))
def test_order_sign_shift_and_unit(cohort, shuffler):
    values, folds = (np.array(part) for part in zip(*cohort, strict=True))
    assume(np.ptp(values) > 0.01)
    found = rule.interval(values, folds)
    order = list(range(len(values)))
    shuffler.shuffle(order)
    other = rule.interval(values[order], folds[order])
    assert (other.low, other.high, other.p) == pytest.approx((found.low, found.high, found.p), abs=1e-6)
    turned = rule.interval(-values, folds)
    assert (turned.low, turned.high, turned.p) == pytest.approx((-found.high, -found.low, found.p), abs=1e-6)
    moved = rule.interval(10 * values + 7, [f"fold {f}" for f in folds])
    assert (moved.low, moved.high) == pytest.approx((10 * found.low + 7, 10 * found.high + 7), abs=1e-6)


@settings(deadline=None, max_examples=60)
@given(cohorts, st.sampled_from([0.9, 0.95, 0.99]))
def test_p_says_what_the_interval_says(cohort, level):
    values, folds = zip(*cohort, strict=True)
    found = rule.interval(values, folds, level)
    assert not any(math.isnan(v) for v in (found.mean, found.low, found.high, found.p, found.freedom))
    assert 0 <= found.p <= 1
    assert 1 - 1e-9 <= found.freedom <= len(values) - 1 + 1e-9
    assume(abs(found.p - (1 - level)) > 1e-9)
    assert (found.p < 1 - level) == (found.low > 0 or found.high < 0)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(1, 6), min_size=2, max_size=6).filter(lambda s: sum(s) >= 5))
def test_many_at_once_are_as_one_by_one(sizes):
    folds = np.repeat(range(len(sizes)), sizes)
    many = np.random.default_rng(1).normal(size=(3, len(folds)))
    mean, error, freedom = rule.errors(many, folds)
    for values, m, e in zip(many, mean, error, strict=True):
        found = rule.interval(values, folds)
        assert (found.mean, found.high) == pytest.approx((m, m + stats.t.isf(0.025, freedom) * e))


@pytest.mark.parametrize("n", range(5))
def test_fewer_than_five_patients_have_no_interval(n):
    found = rule.interval(EIGHT[:n], range(n))
    assert all(math.isnan(v) for v in (found.low, found.high, found.p, found.freedom))
    assert math.isnan(found.mean) if n == 0 else found.mean == pytest.approx(EIGHT[:n].mean())
    assert (found.patients, found.folds) == (n, n)
    assert rule.equivalent(np.zeros(n), range(n)) is False
    assert math.isnan(rule.smallest_visible(EIGHT[:n], range(n)))
    assert math.isnan(rule.patients_needed(EIGHT[:n], range(n)))


def test_one_fold_has_no_interval():
    with np.errstate(all="raise"):
        found = rule.interval(EIGHT, [0] * 8)
    assert math.isnan(found.p)
    assert found.mean == pytest.approx(EIGHT.mean())
    assert math.isnan(rule.smallest_visible(EIGHT, [0] * 8))
    assert math.isnan(rule.patients_needed(EIGHT, [0] * 8))


@pytest.mark.parametrize("value", [0.0, 0.1, -2.5])
def test_equal_differences(value):
    found = rule.interval(np.full(13, value), FOLDS)
    assert (found.low, found.mean, found.high) == pytest.approx((value,) * 3)
    assert found.p == (1.0 if value == 0 else 0.0)
    assert found.high - found.low == 0
    assert rule.equivalent(np.full(13, value), FOLDS)
    assert rule.smallest_visible(np.full(13, value), FOLDS) == pytest.approx(0, abs=1e-9)


def test_what_is_no_comparison_is_refused():
    with pytest.raises(ValueError, match="each patient"):
        rule.interval(EIGHT, range(7))
    with pytest.raises(ValueError, match="finite"):
        rule.interval([*EIGHT[:7], math.nan], range(8))
    with pytest.raises(ValueError, match="level"):
        rule.interval(EIGHT, range(8), level=95)


def test_equivalent_means_the_whole_interval():
    values = np.array([-1.0, 1, 0, -1, 1, 0, -1, 1, 0, -1, 1, -1, 1])
    high = rule.interval(values, FOLDS).high
    assert rule.equivalent(values, FOLDS)
    assert rule.equivalent(values + (rule.MARGIN - high) - 0.01, FOLDS)
    assert not rule.equivalent(values + (rule.MARGIN - high) + 0.01, FOLDS)
    assert not rule.equivalent(-values - (rule.MARGIN - high) - 0.01, FOLDS)
    assert not rule.equivalent(values, FOLDS, margin=high / 2)


def test_spread_finds_both_variances():
    rng = np.random.default_rng(3)
    folds = np.repeat(range(400), 5)
    values = 4 * rng.normal(size=2000) + np.repeat(3 * rng.normal(size=400), 5)
    assert rule.spread(values, folds) == pytest.approx((4, 3), rel=0.05)
    assert rule.spread([0.0, 2, 10, 12], "aabb") == pytest.approx((2**0.5, 7))  # mean squares 2 and 100
    assert rule.spread(EIGHT, range(8)) == pytest.approx((EIGHT.std(ddof=1), 0))
    assert rule.spread(np.tile([-4.0, 10.0], 4), list("aabbccdd"))[1] == 0


@pytest.mark.parametrize(("patient", "fold"), [(4.0, 0.0), (2.0, 4.0)])
def test_the_smallest_visible_difference_is_seen_four_times_in_five(patient, fold):
    true = rule.visible((3, 3, 3, 2, 2), patient, fold)
    rng = np.random.default_rng(11)
    values = true + patient * rng.normal(size=(20_000, 13)) + (fold * rng.normal(size=(20_000, 5)))[:, FOLDS]
    mean, error, freedom = rule.errors(values, FOLDS)
    assert (mean > stats.t.isf(0.025, freedom) * error).mean() == pytest.approx(0.8, abs=0.012)
    assert rule.visible((3, 3, 3, 2, 2), 10 * patient, 10 * fold) == pytest.approx(10 * true)


def test_more_seeds_and_more_patients_show_more():
    values = 3 * EIGHT + np.repeat([0.0, 30.0, -20.0, 5.0], 2)
    folds = list("aabbccdd")
    assert rule.smallest_visible(values, folds, seeds=3) < 0.8 * rule.smallest_visible(values, folds)
    assert rule.smallest_visible(values, folds, power=0.5) < rule.smallest_visible(values, folds)
    assert rule.patients_needed(values, folds) == math.inf  # the folds alone differ by more than the mean


def test_patients_needed_is_the_first_number_that_suffices():
    values = EIGHT - 0.5  # mean 1.875, and folds that agree
    folds = list("abcdabcd")
    patient, fold = rule.spread(values, folds)
    needed = rule.patients_needed(values, folds)

    def seen(n):
        return rule.visible([n // 4 + (i < n % 4) for i in range(4)], patient, fold)

    assert fold == 0
    assert 20 < needed < 200
    assert seen(int(needed)) <= values.mean() < seen(int(needed) - 1)
    assert rule.patients_needed(values - values.mean(), folds) == math.inf
    assert rule.patients_needed(values + 200, folds) == rule.FEWEST


def test_holm():
    assert rule.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert rule.holm([0.5, math.nan, 0.6, 0.02]) == pytest.approx([1.0, math.nan, 1.0, 0.06], nan_ok=True)
    assert rule.holm([]) == []
    p = [0.2, 0.001, math.nan, 0.02, 0.02, 0.9]
    assert rule.holm(p) == pytest.approx([0.4, 0.005, math.nan, 0.08, 0.08, 0.9], nan_ok=True)


def test_the_module_does_what_the_study_chose(study, stored):
    assert stored["chosen"] == {"name": rule.NAME, "level": rule.LEVEL}
    assert " ".join(stored["criterion"].split()) in " ".join(study.__doc__.split())
    assert stored["criterion"].startswith("13 patients in 5 folds")
    assert len(stored["grid"]["cells"]) == len(study.GRID) == 54
    (chosen,) = [c for c in stored["candidates"] if {k: c[k] for k in ("name", "level")} == stored["chosen"]]
    assert chosen["passes"]
    assert stored["confirmation"][-1]["passes"]
    able = [c for c in stored["candidates"] if c["passes"] and c["defined for every layout"] and c["mean width"] is not None]
    refused = {(c["name"], c["level"]) for c in stored["confirmation"] if not c["passes"]}
    able = [c for c in able if (c["name"], c["level"]) not in refused]
    assert min(able, key=lambda c: c["mean width"]) == chosen
    for number in (4, 24):
        d = study.draw(np.random.default_rng(number), study.SIZES, study.GRID[number], 4000)
        found = [rule.interval(row, FOLDS) for row in d]
        rate, width = chosen["cells"][number]
        assert np.mean([f.low > 0 or f.high < 0 for f in found]) == pytest.approx(rate, abs=4 * math.sqrt(rate / 4000))
        assert np.mean([f.high - f.low for f in found]) == pytest.approx(width, rel=0.03)


def test_stored_numbers_meet_the_criterion(study, stored):
    for candidate in stored["candidates"]:
        rates = [rate for rate, _ in candidate["cells"]]
        assert candidate["worst false decisions"] == max(rates)
        assert candidate["worst coverage"] == pytest.approx(1 - max(rates), abs=2e-4)  # rounded apart
        assert candidate["passes"] == study.passes(max(rates), candidate["replicates"])
    assert stored["equivalence"]["worst error at a true difference of the margin"]["whole interval"] <= 0.05
    for shape, *_, simulated, by_rule in stored["smallest difference"]:
        assert by_rule == pytest.approx(simulated, rel={"normal": 0.02, "skewed": 0.1, "outlier": 0.08}[shape])


@pytest.mark.parametrize("sizes", [(3, 3, 3, 2, 2), (3, 2), (3, 3, 2, 2), (2, 2, 2, 2, 2), (9, 1, 1, 1, 1)])
@pytest.mark.parametrize("fold", [0.0, 1.0, 4.0])
def test_coverage_with_normal_patients(sizes, fold):
    rng = np.random.default_rng(5)
    folds = np.repeat(range(len(sizes)), sizes)
    values = rng.normal(size=(20_000, len(folds))) + (fold * rng.normal(size=(20_000, len(sizes))))[:, folds]
    mean, error, freedom = rule.errors(values, folds)
    assert (np.abs(mean) <= stats.t.isf(0.025, freedom) * error).mean() > 0.945


def test_candidates_of_the_study_agree_with_scipy(study):
    d = study.draw(np.random.default_rng(2), study.SIZES, ("skewed", 4.0, 1.5, 1), 50)
    p = study.tails(d, study.SIZES)
    assert p[study.PATIENTS] == pytest.approx(stats.ttest_1samp(d, 0, axis=1).pvalue)
    means = np.array([d[:, study.labels(study.SIZES) == f].mean(1) for f in range(5)])
    assert p["Student t over fold means"] == pytest.approx(stats.ttest_1samp(means, 0).pvalue)
    assert p[rule.NAME] == pytest.approx([rule.interval(row, FOLDS).p for row in d])


def test_the_study_draws_what_it_says(study):
    for shape in study.SHAPES:
        effect = study.effects(np.random.default_rng(1), shape, (20_000, 13))
        assert (effect.mean(), effect.std()) == pytest.approx((0, 1), abs=0.02)
        assert stats.skew(effect, axis=None) == pytest.approx(2.0 if shape == "skewed" else 0.0, abs=0.15)
    d = study.draw(np.random.default_rng(1), study.SIZES, ("normal", 4.0, 3.0, 3), 40_000)
    assert d.var(0) == pytest.approx(np.full(13, 16 + 2 * 9 / 3), rel=0.04)
    assert np.cov(d[:, 0], d[:, 1])[0, 1] == pytest.approx(6, rel=0.05)
    assert np.cov(d[:, 0], d[:, 3])[0, 1] == pytest.approx(0, abs=0.5)


def test_of_a_patient_a_fold_nothing_is_within():
    """Each patient is a fold then, so the spread within folds adds nothing, whatever it is called."""
    alone, more = rule.visible([1] * 8, 2.0, 0.0), rule.visible([1] * 8, 0.0, 2.0)
    assert alone == pytest.approx(more, rel=1e-9)
    assert rule.visible([1] * 8, 4.0, 0.0) == pytest.approx(2 * alone, rel=1e-9)  # no constant is left over
