"""The rule by which two networks are compared: a mean difference, its interval, its p, and three words of consequence.

Two networks were trained on the same folds and scored on the same patients. Each patient gives one difference (seeds averaged
first), and their plain mean is the estimate of the difference that such networks would have over new patients. It is uncertain
for two reasons. The patients are few and differ. And all patients of a fold were scored by the same two trained networks, so
that a lucky run lifts a whole fold: the patients of a fold are not independent.

The rule works the mean's standard error out twice, once as if the patients were independent,

    e_p² = Σ_i (d_i − m)² / (n (n − 1)),

and once from the folds alone (the cluster-robust error CR2: Bell & McCaffrey 2002; Imbens & Kolesár 2016,
10.1162/REST_a_00552),

    e_f² = Σ_f (n_f / n)² (m_f − m)² / (1 − n_f / n),

and takes the larger. The interval is m ± t · max(e_p, e_f) with Student's t of the Bell–McCaffrey degrees of freedom, which
are the number of folds less one for equal folds, and fewer for unequal ones. With one patient a fold both errors are the same,
and the rule is Student's t over patients; where e_f is the larger and the folds are equal, it is Student's t over fold means.

Why not one of the two alone: with five folds the folds' error is so rough that it is often too small by luck, most harmfully
where patients are skewed; the patients' error misses what the runs add. The simulation `python -m studies.rule` compares this
rule with its rivals by a criterion written first; results/rule/simulation.json holds its numbers.

Its limits: with five patients in five folds of one, nothing protects from skewed patients; with two folds (one degree of
freedom) an interval is right and useless. And all folds of one seed begin with the same weights and draw the same changes of
slices, so part of a seed's luck is common to all folds, where neither error sees it: an interval of one seed speaks of that
seed. Only more seeds show how much that is.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

NAME = "larger of two errors"
LEVEL = 0.95
FEWEST = 5  # patients, below which there is no interval
MARGIN = 3.0  # DSC points; networks that differ by less are as good as each other
POWER = 0.8
MOST = 100_000  # patients; more are called infinitely many
_DRAWS = 20_000


@dataclass(frozen=True)
class Interval:
    """A mean difference over patients with its interval, in the unit of the differences.

    p: two-sided, of no difference; below 1 − level exactly where the interval excludes 0. It has no smallest value above 0.
    patients, folds: how many. freedom: degrees of freedom of Student's t.
    low, high, p and freedom are nan with fewer than `FEWEST` patients or than two folds, mean too with no patient.
    """

    mean: float
    low: float
    high: float
    p: float
    patients: int
    folds: int
    freedom: float


def interval(differences, folds: Sequence[Hashable], level: float = LEVEL) -> Interval:
    """The rule of this module: interval of the mean difference.

    differences: one per patient, seeds averaged. folds: each patient's fold.
    Differences that are all equal have an interval of width 0, and p = 1 if they are 0, else 0.
    ValueError if the lengths differ, a difference is not finite, or level is not between 0 and 1.
    """
    values, labels = _checked(differences, folds)
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; it must be between 0 and 1")
    n, k = len(values), len(set(labels))
    if n < FEWEST or k < 2:
        nan = float("nan")
        return Interval(float(values.mean()) if n else nan, nan, nan, nan, n, k, nan)
    mean, error, freedom = (float(v) for v in errors(values, labels))
    half = float(stats.t.isf((1 - level) / 2, freedom)) * error
    p = float(2 * stats.t.sf(abs(mean) / error, freedom)) if error else float(mean == 0)
    return Interval(mean, mean - half, mean + half, p, n, k, freedom)


def errors(values, folds: Sequence[Hashable]) -> tuple[np.ndarray, np.ndarray, float]:
    """Mean over the last axis (the patients), its standard error by the rule, and the degrees of freedom.

    The other axes are repetitions. At least two folds and two patients are needed.
    """
    values = np.asarray(values, float)
    codes, sizes = _coded(folds)
    n = len(codes)
    share = sizes / n
    mean = values.mean(-1)
    centred = values - mean[..., None]
    by_patient = (centred**2).sum(-1) / (n * (n - 1))
    member = np.eye(len(sizes))[codes] / sizes
    by_fold = ((centred @ member) ** 2 * (share**2 / (1 - share))).sum(-1)
    flat = values.max(-1) == values.min(-1)
    return mean, np.where(flat, 0.0, np.sqrt(np.maximum(by_patient, by_fold))), _freedom(sizes)


def equivalent(differences, folds: Sequence[Hashable], margin: float = MARGIN) -> bool:
    """Whether the whole interval at `LEVEL` lies within ±margin; False where there is no interval.

    This is stricter than two one-sided tests at 5 %, which would use the 90 % interval: skewed patients put nearly all of an
    interval's error on one side (results/rule/simulation.json, "equivalence").
    """
    found = interval(differences, folds)
    return bool(found.low > -margin and found.high < margin)


def spread(differences, folds: Sequence[Hashable]) -> tuple[float, float]:
    """Standard deviations (patients within a fold, folds beyond their patients), from the two mean squares; rough.

    With one patient a fold the two cannot be told apart, and all is the patients'.
    """
    values, labels = _checked(differences, folds)
    codes, sizes = _coded(labels)
    n, k = len(values), len(sizes)
    if n < 2:
        return float("nan"), float("nan")
    if n == k or k < 2:
        return float(values.std(ddof=1)), 0.0
    means = np.bincount(codes, values) / sizes
    within = float(((values - means[codes]) ** 2).sum() / (n - k))
    between = float((sizes * (means - values.mean()) ** 2).sum() / (k - 1))
    if between <= within:
        return float(values.std(ddof=1)), 0.0
    return math.sqrt(within), math.sqrt((between - within) * (k - 1) / (n - (sizes**2).sum() / n))


def visible(sizes: Sequence[int], patient_sd: float, fold_sd: float, level: float = LEVEL, power: float = POWER) -> float:
    """The true difference whose interval lies above 0 with probability `power`, in the unit of the sd's; normal effects.

    sizes: patients of each fold. fold_sd: of the two runs' joint effect on a fold, √(2 / seeds) times that of one run.
    Simulated with fixed random numbers, and right to about 1 % for normal patients; it is up to 9 % larger for skewed patients
    and up to 7 % smaller with outliers (results/rule/simulation.json, "smallest difference"). nan where there is no interval.
    """
    sizes = np.asarray(sizes)
    n, k = int(sizes.sum()), len(sizes)
    if n < FEWEST or k < 2:
        return float("nan")
    rng = np.random.default_rng(0)
    means = rng.standard_normal((_DRAWS, k)) * np.sqrt(patient_sd**2 / sizes + fold_sd**2)
    within = patient_sd**2 * rng.chisquare(n - k, _DRAWS) if n > k else 0.0
    share = sizes / n
    mean = means @ share
    squares = (means - mean[:, None]) ** 2
    by_fold = squares @ (share**2 / (1 - share))
    error = np.sqrt(np.maximum((within + squares @ sizes) / (n * (n - 1)), by_fold))
    return float(np.quantile(stats.t.isf((1 - level) / 2, _freedom(sizes)) * error - mean, power))


def smallest_visible(differences, folds: Sequence[Hashable], power: float = POWER, seeds: float = 1.0) -> float:
    """`visible` for the layout and the spread of these differences; nan where there is no interval.

    seeds: how many times as many seeds a fold as these differences have; it divides the folds' variance.
    """
    values, labels = _checked(differences, folds)
    _, sizes = _coded(labels)
    patient, fold = spread(values, labels)
    return visible(sizes, patient, fold / math.sqrt(seeds), LEVEL, power)


def patients_needed(differences, folds: Sequence[Hashable], power: float = POWER, seeds: float = 1.0) -> float:
    """How many patients in as many folds would show the observed mean, were it true, with probability `power`.

    The spread stays the observed one, so it is as rough as that. inf: hopeless, because the folds' own runs differ too much
    (more seeds help) or the mean is 0; nan: there is no interval now. Never fewer than `FEWEST` or than folds.
    """
    values, labels = _checked(differences, folds)
    k = len(set(labels))
    if len(values) < FEWEST or k < 2:
        return float("nan")
    patient, fold = spread(values, labels)

    def shown(n: int) -> bool:
        """Whether n patients are enough."""
        sizes = np.full(k, n // k) + (np.arange(k) < n % k)
        return visible(sizes, patient, fold / math.sqrt(seeds), LEVEL, power) <= abs(values.mean())

    low, high = max(FEWEST, k), MOST
    if values.mean() == 0 or not shown(high):
        return math.inf
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if shown(middle) else (middle + 1, high)
    return float(low)


def holm(p: Sequence[float]) -> list[float]:
    """Holm's correction of several p-values (Holm 1979); nan stays nan and counts for nothing."""
    values = np.asarray(p, float)
    order = [i for i in np.argsort(values) if not np.isnan(values[i])]
    adjusted, running = values.copy(), 0.0
    for rank, index in enumerate(order):
        running = max(running, (len(order) - rank) * values[index])
        adjusted[index] = min(1.0, running)
    return [float(v) for v in adjusted]


def _checked(differences, folds) -> tuple[np.ndarray, list]:
    values, labels = np.asarray(differences, float).ravel(), list(folds)
    if len(values) != len(labels):
        raise ValueError(f"{len(values)} differences, but {len(labels)} folds; each patient has one of both")
    if not np.isfinite(values).all():
        raise ValueError("a difference is not a finite number; leave such patients out")
    return values, labels


def _coded(folds) -> tuple[np.ndarray, np.ndarray]:
    """Each patient's fold as 0, 1, … in order of first appearance, and the folds' sizes."""
    place = {label: i for i, label in enumerate(dict.fromkeys(folds))}
    codes = np.array([place[label] for label in folds], int)
    return codes, np.bincount(codes, minlength=len(place))


def _freedom(sizes: np.ndarray) -> float:
    """Bell–McCaffrey's: e_f² is a quadratic form of independent patients; 2 mean² / variance of it."""
    share = sizes / sizes.sum()
    maker = (np.eye(len(sizes)) - share) * (share / np.sqrt(1 - share))[:, None]
    form = maker / sizes @ maker.T
    return float(np.trace(form) ** 2 / (form**2).sum())
