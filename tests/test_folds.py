"""Folds and splits by patient, and the leaks that are refused."""

import json
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest

from scoat_lib.cohort import Case, Cohort, DataError
from scoat_lib.folds import LeakageError, Split, check_leakage, fewer, make_folds, read_folds, split_of, write_folds
from scoat_lib.scan import Scan, load_pair

RECORD = [
    *(f"coronacases_{i:03d}" for i in range(1, 11)),
    *("radiopaedia_10_85902_1", "radiopaedia_10_85902_3", "radiopaedia_14_85914_0", "radiopaedia_27_86410_0"),
    *("radiopaedia_29_86490_1", "radiopaedia_29_86491_1", "radiopaedia_36_86526_0", "radiopaedia_40_86625_0"),
    *("radiopaedia_4_85506_1", "radiopaedia_7_85703_0"),
]


def test_folds_hold_every_patient_once_and_are_stratified():
    names = [f"{source}_{i:02d}" for source in ("a", "b") for i in range(10)]
    fake = SimpleNamespace(
        cases={n: Case(n, None, None) for n in names}, names=names, burden={n: (i % 10) ** 3 for i, n in enumerate(names)}
    )
    folds = make_folds(fake, 5, seed=1)
    assert sorted(name for fold in folds for name in fold) == names
    for fold in folds:
        assert sum(n.startswith("a") for n in fold) == 2
        assert sum(fake.burden[n] >= 125 for n in fold) == 2  # half of the patients are heavy: one per source
    assert make_folds(fake, 5, seed=1) == folds
    assert make_folds(fake, 5, seed=2) != folds


def test_a_patients_two_scans_fall_into_one_fold():
    fake = SimpleNamespace(cases={n: Case(n, None, None) for n in RECORD}, names=RECORD, burden=dict.fromkeys(RECORD, 5))
    for seed in range(50):
        folds = make_folds(fake, 5, seed)
        assert sorted(n for fold in folds for n in fold) == sorted(RECORD)
        for twins in (
            {"radiopaedia_10_85902_1", "radiopaedia_10_85902_3"},
            {"radiopaedia_29_86490_1", "radiopaedia_29_86491_1"},
        ):
            assert any(twins <= set(fold) for fold in folds)
    with pytest.raises(ValueError, match="5 folds of 1 patients"):
        make_folds(SimpleNamespace(cases={n: Case(n, None, None, "one") for n in RECORD}, burden=fake.burden), 5)


def test_two_scans_of_a_patient_on_both_sides_are_a_leak(cohort):
    first, second = cohort.names[:2]
    split = Split((first,), (), (second,))
    check_leakage(split, cohort)
    twins = Cohort([cohort.cases[first], Case(second, cohort.cases[second].scan, cohort.cases[second].mask, first)])
    with pytest.raises(LeakageError, match="of the same patient as"):
        check_leakage(split, twins)
    with pytest.raises(LeakageError, match="of the same patient as radiopaedia_29_86490_1"):
        check_leakage(Split(("radiopaedia_29_86490_1",), (), ("radiopaedia_29_86491_1",)))


def test_a_copy_packed_anew_with_another_mask_is_a_leak(cohort, tmp_path):
    case = cohort.cases[cohort.names[0]]
    scan, mask = load_pair(case.scan, case.mask)
    scan.save(tmp_path / "copy.nii")
    Scan(np.zeros_like(mask.voxels), mask.affine).save(tmp_path / "mask.nii")
    both = Cohort([case, Case("copy", tmp_path / "copy.nii", tmp_path / "mask.nii")], cohort.preprocessing)
    with pytest.raises(LeakageError, match="the same scan as"):
        check_leakage(Split(("copy",), (), (case.name,)), both)


def test_folds_of_uneven_cohorts_differ_by_one_at_most(cohort):
    sizes = [len(f) for f in make_folds(cohort, 4)]
    assert max(sizes) - min(sizes) <= 1
    with pytest.raises(ValueError, match="2 to the number"):
        make_folds(cohort, 7)
    with pytest.raises(ValueError, match="1 folds of 6 patients"):
        make_folds(cohort, 1)
    assert [len(f) for f in make_folds(cohort, 2)] == [3, 3]  # the fewest, and the most
    assert [len(f) for f in make_folds(cohort, 6)] == [1] * 6


def test_splits_and_leaks(cohort):
    folds = make_folds(cohort, 3)
    split = split_of(folds, 1, validation=1)
    assert set(split.test) == set(folds[1])
    assert not set(split.validation) & set(split.test)
    check_leakage(split, cohort)
    a, b, *_ = cohort.names
    with pytest.raises(LeakageError, match=f"{a} stands in both train and test"):
        check_leakage(Split((a, b), (), (a,)))
    with pytest.raises(ValueError, match="does not exist"):
        split_of(folds, 3)


def test_the_same_scan_under_two_names_is_a_leak(cohort):
    twin = Case("twin", cohort.cases[cohort.names[0]].scan, cohort.cases[cohort.names[0]].mask)
    both = Cohort([cohort.cases[cohort.names[0]], twin], cohort.preprocessing)
    with pytest.raises(LeakageError, match="the same scan"):
        check_leakage(Split(("twin",), (), (cohort.names[0],)), both)


def test_dealing_by_slice_leaks_and_is_caught(cohort):
    dealt = cohort.dealt_by_slice(3)
    assert sum(len(m) for m in dealt.masks.values()) == sum(len(m) for m in cohort.masks.values())
    assert sum(dealt.burden.values()) == sum(cohort.burden.values())
    split = Split(tuple(n for n in dealt.names if not n.endswith("#0")), (), tuple(n for n in dealt.names if n.endswith("#0")))
    with pytest.raises(LeakageError):
        check_leakage(split, dealt)
    with pytest.raises(LeakageError):
        check_leakage(split)  # by the names alone


def test_folds_are_kept_in_a_file(cohort, tmp_path):
    folds = make_folds(cohort, 3)
    write_folds(tmp_path / "folds.json", folds, cohort, 0)
    assert read_folds(tmp_path / "folds.json", cohort) == folds
    content = json.loads((tmp_path / "folds.json").read_text())
    content["folds"][0].pop()
    (tmp_path / "folds.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match="differing"):
        read_folds(tmp_path / "folds.json", cohort)


def test_fewer_patients_are_among_more_and_of_every_source(cohort):
    split = split_of(make_folds(cohort, 3, seed=1), 0)
    sizes = range(1, len(split.train) + 1)
    chosen = [fewer(split, cohort, n, seed=4) for n in sizes]
    for less, more in pairwise(chosen):
        assert set(less.train) < set(more.train)
        assert (less.test, less.validation) == (split.test, split.validation)
    assert chosen[-1] == split
    sources = {cohort.cases[name].source for name in split.train}
    assert {cohort.cases[name].source for name in chosen[len(sources) - 1].train} == sources
    assert fewer(split, cohort, 1, seed=4) == chosen[0]
    for wrong in (0, len(split.train) + 1):
        with pytest.raises(ValueError, match=f"the split has {len(split.train)}"):
            fewer(split, cohort, wrong)


def test_a_patients_two_scans_count_as_one_of_fewer():
    cases = {"a_1": "a", "a_2": "a", "b": "b"}
    cohort = SimpleNamespace(cases={n: SimpleNamespace(patient=p, source="one") for n, p in cases.items()})
    split = Split(tuple(cases), (), ())
    for seed in range(5):
        assert fewer(split, cohort, 1, seed).train in (("a_1", "a_2"), ("b",))
    assert fewer(split, cohort, 2).train == split.train


def test_validation_folds_are_the_next_ones_round_the_ring():
    folds = [[f"p{k}"] for k in range(5)]
    split = split_of(folds, 3, validation=2)
    assert (split.test, split.validation, split.train) == (("p3",), ("p0", "p4"), ("p1", "p2"))
