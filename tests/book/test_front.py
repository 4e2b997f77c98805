"""The first page: each number on it is computed here once more from the files of results/, without the package's tables."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "book"))
import build  # noqa: E402
import front  # noqa: E402

from scoat_lib import report, rule  # noqa: E402

RESULTS = ROOT / "results"
RUNS = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))]
RUNS = [run for run in RUNS if "recipe" in run]
WORDS = {"undecided", "holds", "does not hold", "measured", "equivalent", "not run"}


def shown(value, digits=1):
    return f"{value:+.{digits}f}".replace("-", "−")


def patient(scan):
    """A public scan's patient: radiopaedia_29_86490_1 and …86491_1 are two scans of radiopaedia_29."""
    return re.sub(r"^(radiopaedia_\d+)_.*", r"\1", scan)


def runs_of(network, **fields):
    """Runs by the protocol's recipe: but for the network (or another field) all like the widest set of SCOAT-Net's."""
    return [
        r
        for r in RUNS
        if r["recipe"]["network"] == network
        and not r["recipe"]["options"]
        and all(r["recipe"].get(k) == v for k, v in fields.items())
    ]


def per_patient(runs):
    """{patient: (fold, DSC in per cent)} of patients with at least 1 000 lesion voxels; scans pooled, seeds averaged."""
    counted = {}
    for run in runs:
        for scan, c in run["patients"].items():
            key = patient(scan), run["recipe"]["fold"], run["recipe"]["seed"]
            counted.setdefault(key, np.zeros(3))
            counted[key] += c["tp"], c["fp"], c["fn"]
    scores = {}
    for (name, fold, _), (tp, fp, fn) in counted.items():
        if tp + fn >= 1000:
            scores.setdefault((name, fold), []).append(200 * tp / (2 * tp + fp + fn))
    return {name: (fold, np.mean(values)) for (name, fold), values in scores.items()}


def interval(values, folds):
    """The rule's interval from its formulas: the larger of two standard errors, Student's t of Bell and McCaffrey."""
    values, folds = np.array(values), np.array(folds)
    n, mean = len(values), values.mean()
    labels = np.unique(folds)
    own = ((values - mean) ** 2).sum() / (n * (n - 1))
    share = np.array([(folds == f).sum() / n for f in labels])
    means = np.array([values[folds == f].mean() for f in labels])
    between = (share**2 * (means - mean) ** 2 / (1 - share)).sum()
    # degrees of freedom: the error is a quadratic form y'Ay of the values; (tr A)² / tr A² for independent ones
    centre = np.eye(n) - 1 / n
    form = np.zeros((n, n))
    for f, s in zip(labels, share, strict=True):
        row = (folds == f).astype(float) / n @ centre
        form += np.outer(row, row) / (1 - s)
    freedom = np.trace(form) ** 2 / (form**2).sum()
    half = stats.t.ppf(0.975, freedom) * np.sqrt(max(own, between))
    return mean, mean - half, mean + half


@pytest.fixture(scope="module")
def rows():
    return front.headlines(report.load(RESULTS), RESULTS)


DEALT = any(run["recipe"]["split"] == "slice" for run in RUNS)


def test_each_finding_has_one_of_the_words_and_dealing_slices_stands_there_once_it_was_run(rows):
    assert len(rows) == 4 + DEALT
    assert {word for word, _, _ in rows} <= WORDS
    assert any("dealing slices" in about for _, _, about in rows) == DEALT


def test_the_first_finding_is_the_difference_over_the_patients(rows):
    word, number, about = rows[0]
    if not (runs_of("scoatnet") and runs_of("unetpp")):
        assert word == "not run"
        return
    base = max((r["recipe"] for r in runs_of("unetpp")), key=lambda r: r["width"])
    like = {k: base[k] for k in ("width", "size", "epochs", "loss", "split", "rate", "schedule")}
    one, other = per_patient(runs_of("scoatnet", **like)), per_patient(runs_of("unetpp", **like))
    both = sorted(set(one) & set(other))
    mean, low, high = interval([one[p][1] - other[p][1] for p in both], [one[p][0] for p in both])
    assert number == shown(mean)
    assert f"95 % {shown(low)} … {shown(high)}, {len(both)} patients" in about
    alike = low > -3 and high < 3  # and the paper's own difference is larger than 3, so this refutes it
    assert word == ("holds" if low > 0 else "does not hold" if high < 0 or alike else "undecided")
    assert ("equivalent within ±3 points" in about) == alike
    assert "The paper prints +4.7" in about  # Table II: 89.48 − 84.79, checked against the tables in test_claims.py


def test_the_second_counts_what_holds_and_what_has_enough_patients(rows):
    word, number, about = rows[1]
    others = {r["recipe"]["network"] for r in RUNS if r["recipe"]["loss"] == "bce-dice" and not r["recipe"]["options"]}
    rivals = others & {"unetpp", "unet", "pspnet", "espnetv2", "denseaspp", "deeplabv3plus", "cenet", "attention-unet"}
    others = [int(n) for n in re.findall(r"(\d+) (?:is undecided|are undecided|do(?:es)? not hold|rest on too few)", about)]
    assert int(number) + sum(others) == 6 * len(rivals)
    assert "of 48 comparisons" in about
    assert word in WORDS


def test_comparisons_of_few_patients_are_counted_apart():
    one_fold = [r for r in report.load(RESULTS) if r["recipe"]["fold"] == 0]
    _, number, about = front.headlines(one_fold, RESULTS)[1]
    assert number == "0"
    assert about.endswith("hold, 48 rest on too few patients.")


def test_the_third_is_the_ablation_over_patients(rows):
    word, number, about = rows[2]
    files = [json.loads(p.read_text()) for p in sorted((RESULTS / "attention").glob("ablation-*.json"))]
    if not files:
        assert word == "not run"
        return
    lesion, lost = {}, {}
    for run in (r for r in RUNS if r["recipe"]["network"] == "scoatnet" and r["recipe"]["split"] == "patient"):
        own = {}
        for scan, c in run["patients"].items():
            own[patient(scan)] = own.get(patient(scan), 0) + c["tp"] + c["fn"]
        lesion |= own
    for c in files:
        for scan, dsc in c["patients"]["as trained"].items():
            if lesion[patient(scan)] >= 1000:
                lost.setdefault((patient(scan), c["fold"]), []).append(100 * (c["patients"]["all maps flat"][scan] - dsc))
    mean, low, high = interval([np.mean(v) for v in lost.values()], [fold for _, fold in lost])
    assert number == shown(mean)
    assert f"95 % {shown(low)} … {shown(high)}, {len(lost)} patients" in about
    assert word == ("measured" if not low <= 0 <= high else "equivalent" if low > -3 and high < 3 else "undecided")


@pytest.mark.skipif(not DEALT, reason="no run deals slices")
def test_the_fourth_is_the_difference_of_the_two_ways_to_deal(rows):
    _, number, _ = rows[3]
    dealt = [r for r in RUNS if r["recipe"]["split"] == "slice"]
    like = {k: dealt[0]["recipe"][k] for k in ("width", "size", "epochs", "loss", "rate", "schedule")}
    by_slice, by_patient = (per_patient(runs_of("scoatnet", split=s, **like)) for s in ("slice", "patient"))
    both = set(by_slice) & set(by_patient)
    assert number == shown(np.mean([by_slice[p][1] - by_patient[p][1] for p in both]))


def test_the_last_is_the_readers_agreement_scan_by_scan(rows):
    word, number, about = rows[-1]
    scans = json.loads((RESULTS / "readers.json").read_text())["scans"].values()
    dsc = [200 * c["tp"] / (2 * c["tp"] + c["fp"] + c["fn"]) for c in scans if c["tp"] + c["fn"] >= 1000]
    assert number == f"{np.mean(dsc):.1f}"
    assert f"over {len(dsc)} scans ({min(dsc):.1f} to {max(dsc):.1f})" in about
    assert word == "measured"


def test_without_results_the_page_says_not_run(tmp_path):
    assert [word for word, _, _ in front.headlines([], tmp_path)] == ["not run"] * 4


def test_the_footer_says_how_new_the_newest_result_is(tmp_path):
    import book_pages

    newest = max(run["provenance"]["date"] for run in RUNS)
    edition = {"version": "1.2.3", "date-released": "2026-01-02"}
    assert book_pages.footer(edition, RESULTS) == f"Second edition, 1.2.3, 2026-01-02; results up to {newest}"
    assert book_pages.footer(edition, tmp_path) == "Second edition, 1.2.3, 2026-01-02"


def test_undecided_is_shown_as_plainly_as_a_finding(rows):
    text = front.findings(report.load(RESULTS), RESULTS)
    assert text.count('class="front-word"') == text.count("<li>") == len(rows)
    for word, number, _ in rows:
        assert f'data-word="{word.replace(" ", "-")}">{word}</span><b>{number}</b>' in text


def test_every_chapter_has_a_card_with_its_own_title_and_a_line():
    text = front.cards()
    chapters = build.chapters()
    assert [p.stem for p in chapters if p.stem[:2].isdigit()] == list(front.LINES)
    for number, path in enumerate(chapters[: len(front.LINES)], 1):
        assert re.search(rf":::\{{grid-item-card\}} {number} · .+\n:link: {path.stem}\n:link-type: doc\n\n\S", text)
    assert all(len(line) < 70 for line in front.LINES.values())


def test_the_pictures_outline_is_the_masks():
    mask = np.zeros((6, 8), bool)
    mask[2:5, 3:7] = True
    numbers = np.array(re.findall(r"([\d.]+) ([\d.]+)", front.outline(mask)), float)
    (x0, y0), (x1, y1) = numbers.min(0), numbers.max(0)
    assert (x0, y0, x1, y1) == (3.0, 2.0, 7.0, 5.0)  # in pixels, edge to edge
    assert front.outline(np.zeros((4, 4), bool)) == ""


def test_the_rule_of_this_file_is_the_packages():
    rng = np.random.default_rng(0)
    for _ in range(5):
        values, folds = rng.normal(size=13), rng.integers(0, 4, 13)
        found = rule.interval(values, folds)
        assert np.allclose(interval(values, folds), (found.mean, found.low, found.high))
