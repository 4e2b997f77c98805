"""claims.py and grids.py: the paper's numbers as data, the paper against itself, decisions that follow their rule."""

import math
import re

import numpy as np
import pytest
from scipy import stats

from scoat_lib import claims, grids, report, rule
from scoat_lib.training import Recipe


def counts(dsc, voxels=10_000):
    """Counts of a patient with about this DSC, precision equal to sensitivity."""
    tp = round(dsc * voxels)
    return {"tp": tp, "fp": voxels - tp, "fn": voxels - tp, "tn": 9, "Na": 10, "Np": 5, "Nb": 10, "Nt": 5}


def result(dsc_by_patient, fold=0, seed=0, **recipe):
    made = Recipe(fold=fold, seed=seed, **recipe).to_dict()
    patients = {n: counts(v) for n, v in dsc_by_patient.items()}
    measures = {
        n: {
            "patient": n.split("#")[0],
            "hd95_mm": 5.0,
            "diagonal_mm": 400.0,
            "surface_dice": 0.8,
            "voxel_mm3": 8.0,
            "lesions": [[9000, 8000], [10, 0]],
            "slices": [[1, 1, 1], [0, 3, 0]],
        }
        for n in patients
    }
    folds = {"train": [], "validation": [], "test": list(patients)}
    return {
        "recipe": made,
        "data": {"name": "d", "fingerprint": "f"},
        "folds": folds,
        "patients": patients,
        "measures": measures,
    }


PATIENTS = {f"p{k}": 0.6 + 0.03 * k for k in range(8)}
NOISE = dict(
    zip(PATIENTS, (0.4, -0.3, 0.2, -0.5, 0.1, 0.3, -0.4, 0.2), strict=True)
)  # points, so that no difference is certain


def folds(dsc_by_patient, **recipe):
    """The results of a network on four folds of two patients."""
    names = list(dsc_by_patient)
    return [result({n: dsc_by_patient[n] for n in names[k::4]}, fold=k, **recipe) for k in range(4)]


def shifted(points, noise=1.0):
    return {name: value + (points + noise * NOISE[name]) / 100 for name, value in PATIENTS.items()}


def table3(noise=1.0, **gains):
    """UNet++ on eight patients in four folds, and other networks by their gain in points."""
    results = folds(PATIENTS, network="unetpp")
    for network, points in gains.items():
        results += folds(shifted(points, noise), network=network.replace("_", "-"))
    return results


def test_two_rows_of_table_1_cannot_be():
    rows = claims.impossible_rows()
    assert list(rows.row) == ["MAE", "Focal"]
    assert set(rows.table) == {"table1"}
    assert rows["(SEN + PPV) / 2"].tolist() == pytest.approx([84.245, 87.605])


def test_a_sound_table_has_no_impossible_row(monkeypatch):
    sound = dict(grids.GRIDS["table1"].paper)
    for label in ("MAE", "Focal"):
        sound[label] = sound[label] | {"DSC": (sound[label]["SEN"] + sound[label]["PPV"]) / 2}
    monkeypatch.setitem(grids.GRIDS["table1"].__dict__, "paper", sound)
    assert claims.impossible_rows().empty


def test_sentences_against_tables():
    table = claims.contradictions()
    assert table.agree.tolist() == [False, False, False, True]
    assert "CE-Net" in table["the table"][2]


def test_the_papers_tables_agree_where_they_share_a_row():
    one, two, three = (grids.get(f"table{k}") for k in (1, 2, 3))
    assert one.paper["BCE-Dice"] == two.paper["SCOAT-Net"] == three.paper["SCOAT-Net"]
    assert two.paper["UNet++"] == three.paper["UNet++"]
    for grid in (one, two, three):
        assert set(grid.paper) == set(grid.rows)
        assert grid.reference in grid.rows


def test_every_grid_gives_recipes_that_differ():
    for grid in grids.GRIDS.values():
        recipes = grid.recipes(Recipe(), folds=[0])
        assert len(recipes) == len(grid.rows)
        assert len({str(r.to_dict()) for r in recipes}) == len(recipes), grid.name
    assert grids.get("table2").recipe("SCOAT-Net", Recipe()) == Recipe()
    with pytest.raises(ValueError, match="known: table1"):
        grids.get("table9")
    with pytest.raises(ValueError, match="folds 0 to 1"):
        grids.get("source").recipes(Recipe(), folds=[2])


@pytest.mark.parametrize("name", list(grids.GRIDS))
def test_every_grid_can_be_reported(name):
    """One result of each row: the table knows them all, and prints in each form."""
    grid = grids.get(name)
    results = []
    for recipe in grid.recipes(Recipe(), folds=range(2)):
        by_slice = recipe.split == "slice"
        made = result({n: v for k, (n, v) in enumerate(PATIENTS.items()) if by_slice or k % 2 == recipe.fold})
        made["recipe"] = recipe.to_dict()
        if by_slice:  # a scan's slices are dealt out as NAME#0 … NAME#4
            hands = range(recipe.fold, recipe.folds, 2)
            made["patients"] = {f"{n}#{k}": c for n, c in made["patients"].items() for k in hands}
            made["measures"] = {f"{n}#{k}": m for n, m in made["measures"].items() for k in hands}
        results.append(made)
    (table,) = report.tables(results, grid)
    assert (table.rows.patients == len(PATIENTS)).all(), table.rows
    assert report.NOT_RUN not in report.as_text(table)
    assert "toprule" in report.as_latex(table)


def test_the_hands_of_a_scan_dealt_by_slice_are_one_patient():
    hands = [result({"p0": 0.5}, split="slice", fold=f, folds=2) for f in range(2)]
    for fold, made in enumerate(hands):
        made["patients"] = {f"p0#{fold}": counts(0.2 + 0.6 * fold)}
        made["measures"] = {f"p0#{fold}": made["measures"]["p0"]}
    frame = report.per_patient(hands)
    assert list(frame.index) == ["p0"]
    assert frame.lesion_voxels["p0"] == 20_000
    assert frame.DSC["p0"] == pytest.approx(0.5)
    assert math.isnan(frame.hd95_mm["p0"])  # a distance within a fifth of the slices means nothing
    assert report.per_patient(hands[:1]).empty  # half a scan is no patient


def test_patients_dealt_over_all_folds_are_compared_by_the_folds_of_the_others():
    whole = folds(PATIENTS)
    dealt = [result(PATIENTS, split="slice", fold=f, folds=2) for f in range(2)]
    for fold, made in enumerate(dealt):
        for key in ("patients", "measures"):
            made[key] = {f"{name}#{fold}": value for name, value in made[key].items()}
    one, other = report.per_patient(dealt), report.per_patient(whole)
    assert set(one.fold) == {report.EVERY}
    assert report.paired(one, other).fold.tolist() == other.fold.tolist()
    there, back = report.between(one, other), report.between(other, one)
    assert there.low == pytest.approx(-back.high)
    assert not math.isnan(there.low)


def test_all_rows_of_a_fold_come_before_the_next_fold():
    recipes = grids.get("table3").recipes(Recipe(), seeds=(0, 1))
    assert [(r.seed, r.fold) for r in recipes] == sorted((r.seed, r.fold) for r in recipes)


def test_every_option_of_a_grid_exists():
    from scoat_lib import losses, networks

    for grid in grids.GRIDS.values():
        for recipe in grid.recipes(Recipe(width=4), folds=[0]):
            model = networks.create(recipe.network, width=4, **recipe.options)
            assert model.made_by["options"] == recipe.options
            assert callable(losses.create(recipe.loss, **recipe.loss_options))


def test_the_spread_over_seeds_is_pooled_within_folds():
    results = folds(PATIENTS, network="unetpp") + folds(shifted(0.2, 0), network="unetpp", seed=1)
    spread = report.seed_spread(results)
    assert (spread["groups"], spread["freedom"], spread["runs"]) == (4, 4, 8)
    assert spread["sd"] == pytest.approx(0.2 / math.sqrt(2), abs=0.02)
    assert math.isnan(report.seed_spread(results[:4])["sd"])


@pytest.mark.parametrize(
    ("points", "noise", "status", "equivalent", "excluded"),
    [
        (3.0, 1.0, claims.HOLDS, False, True),
        (-2.0, 1.0, claims.FAILS, True, True),
        (0.1, 1.0, claims.FAILS, True, True),  # equivalent within 3, and the paper says 4.66
        (0.1, 15.0, claims.OPEN, False, False),
        (1.0, 7.0, claims.OPEN, False, True),
        (-4.0, 1.0, claims.FAILS, False, True),
        (9.0, 15.0, claims.HOLDS, False, False),
    ],
)
def test_decisions_follow_the_rule(points, noise, status, equivalent, excluded):
    grid = grids.get("table3")
    found = claims.compare(table3(noise, scoatnet=points), grid, "SCOAT-Net", "UNet++")
    wanted = rule.interval([points + noise * v for v in NOISE.values()], [k % 4 for k in range(8)])
    assert found["patients"] == 8
    assert found["difference"] == pytest.approx(wanted.mean, abs=0.02)
    assert (found["low"], found["high"]) == pytest.approx((wanted.low, wanted.high), abs=0.1)
    assert (found["status"], found["equivalent"], found["excluded"]) == (status, equivalent, excluded), found
    assert found["paper"] == pytest.approx(4.66)
    reason = claims.all_of([found], "x").reason
    assert ("equivalent within" in reason) is equivalent
    assert ("the paper's 4.7 points are excluded" in reason) is excluded
    assert ("could have been seen" in reason) is (status == claims.OPEN)


def test_equivalence_speaks_of_dsc_only_and_refutes_no_small_claim():
    grid, results = grids.get("table2"), table3(scoatnet=0.1, unet=0.1)
    found = claims.compare(results, grid, "SCOAT-Net", "UNet++", "RLP")
    assert not found["equivalent"]
    found = claims.compare(results, grid, "UNet++", "U-Net")  # the paper's own difference is 0.1
    assert found["equivalent"]
    assert found["status"] == claims.OPEN


def test_what_has_no_interval_waits_for_runs():
    grid = grids.get("table3")
    few = {n: PATIENTS[n] for n in list(PATIENTS)[:4]}
    results = [*table3(), *folds({n: v + 0.05 for n, v in few.items()}, network="scoatnet")]
    found = claims.compare(results, grid, "SCOAT-Net", "UNet++")
    assert (found["status"], found["patients"]) == (claims.WAITS, 4)
    assert math.isnan(found["low"])
    assert "4 patients, too few" in claims.all_of([found], "x").reason
    missing = claims.compare([], grid, "SCOAT-Net", "UNet++")
    assert missing["status"] == claims.WAITS
    assert "not run" in claims.all_of([missing], "x").reason
    assert claims.all_of([found, missing], "x").status == claims.WAITS
    open_one = claims.compare(table3(scoatnet=0.1), grid, "SCOAT-Net", "UNet++") | {"status": claims.OPEN}
    assert claims.all_of([open_one, missing], "x").status == claims.OPEN
    assert claims.all_of([open_one | {"status": claims.HOLDS}, missing], "x").status == claims.OPEN  # a part is no whole


def test_seeds_are_averaged_before_patients_are_compared():
    grid = grids.get("table3")
    results = table3(noise=0, scoatnet=2.0) + folds(shifted(6.0, 0), network="scoatnet", seed=1)
    assert claims.compare(results, grid, "SCOAT-Net", "UNet++")["difference"] == pytest.approx(4.0, abs=0.02)


def test_a_claim_about_all_falls_with_one_that_survives_holm():
    claim = next(c for c in claims.CLAIMS if c.number == "3")
    gains = {"scoatnet": 3.0, "unetpp_pyramid_attention": 1.0, "unetpp_residual_attention": 1.0}
    verdict = claim.decide(table3(unetpp_attention_gate=-3.0, **gains))
    assert verdict.status == claims.FAILS
    assert "the contrary" in verdict.reason
    # against one comparison alone this would be refuted; among eleven it is not
    weak = claim.decide(table3(noise=4.0, unetpp_attention_gate=-1.6, **gains))
    gate = next(c for c in weak.comparisons if (c["one"], c["metric"]) == ("V2, attention gates", "DSC"))
    assert gate["status"] == claims.FAILS
    assert 0.05 / 11 < gate["refuted"] < 0.05
    assert weak.status == claims.OPEN
    assert "not after Holm's correction" in weak.reason
    both = [gate | {"refuted": 0.001}, gate | {"status": claims.HOLDS}]
    assert claims.all_of(both, "x").status == claims.FAILS
    assert claims.all_of([gate | {"status": claims.HOLDS}] * 2, "x").status == claims.HOLDS


def test_the_ledger_has_every_claim_and_no_other_word():
    table = claims.ledger([])
    assert len(table) == len(claims.CLAIMS)
    assert set(table.verdict) <= {claims.HOLDS, claims.WAITS, claims.UNTESTABLE}
    assert "85.74 > 84.245" in claims.as_text([])
    few = table[table.claim.str.startswith("4.")].iloc[0]
    assert few.verdict == claims.HOLDS  # 3.4 % more is few: at most 15
    assert "+15 %" in few.why


def test_the_claims_on_maps_look_at_patients_not_seen_in_three_runs():
    claim = {c.number: c for c in claims.CLAIMS}

    def measured(**lists):
        """Runs of four folds, their maps measured on their own test patients and on one that they have learned from."""
        made = folds(PATIENTS)
        for run in made:
            names = [*run["folds"]["test"], "learned"]
            run["attention"] = {
                key: {n: [v[0], v[-1] + 0.01 * (0 if n == "learned" else int(n[1]))] for n in names} for key, v in lists.items()
            }
            run["attention"].get("nodes", {})["learned"] = [0.0, 99.0]
        return made

    narrow = measured(nodes=[0.9, 0.5], epochs=[0.5, 0.9], contrast=[1.5, 0.7])
    assert claim["5a"].decide(narrow).status == claims.HOLDS
    assert claim["5b"].decide(narrow).status == claims.FAILS
    assert claim["5c"].decide(narrow).status == claims.FAILS
    assert "8 patients not seen in training, 4 runs" in claim["5a"].decide(narrow).reason
    assert "-0.3" in claim["5a"].decide(narrow).reason
    assert claim["5a"].decide(narrow).asked == ()
    for run in narrow:  # as many maps widen as narrow, by as much
        for name in run["folds"]["test"]:
            run["attention"]["nodes"][name] = [0.5, 0.5 + 0.1 * (-1) ** int(name[1]) + 0.01 * int(name[1])]
    (asked,) = claim["5a"].decide(narrow).asked
    assert asked["patients"] == 8
    assert abs(asked["difference"]) < asked["visible"] < 1
    assert asked["needed"] > 8
    assert f"{asked['visible']:.2f} could have been seen" in claim["5a"].decide(narrow).reason
    assert claim["5a"].decide(narrow[:2]).status == claims.WAITS
    assert "3 are asked for" in claim["5a"].decide(narrow[:2]).reason


def test_tiny_lesions_are_clustered_by_patient():
    claim = next(c for c in claims.CLAIMS if c.number == "11")

    def run(label, found_of_ten):
        made = folds(PATIENTS, **grids.get("table2").rows[label])
        for one in made:
            for k, more in enumerate(one["measures"].values()):
                more["lesions"] = [[9000, 1], *([[20, 5]] * (found_of_ten + k)), *([[20, 0]] * (10 - found_of_ten - k))]
        return made

    labels = list(grids.get("table2").rows)
    one = claims.tiny_lesions(run(labels[0], 2))
    assert (one["lesions"], one["patients"]) == (80, 8)  # 20 voxels of 8 mm³ are 0.16 ml; 9000 are not tiny
    again = run(labels[0], 2)[:1]
    again[0]["recipe"] = again[0]["recipe"] | {"seed": 1}
    both = claims.tiny_lesions(run(labels[0], 2) + again)  # a second seed of one fold, alike, tells nothing new
    assert [both[k] for k in ("share", "low", "high", "lesions")] == pytest.approx(
        [one[k] for k in ("share", "low", "high", "lesions")]
    )
    assert one["share"] == pytest.approx(25)
    assert one["low"] < 25 < one["high"] < 50
    few = [r for label in labels[:5] for r in run(label, 2)]
    assert claim.decide(few).status == claims.HOLDS  # five of nine
    assert claim.decide(few[:16]).status == claims.OPEN  # four of nine
    assert claim.decide(few[:16]).asked == ()  # each that was run is decided; five were not run
    half = claim.decide(run(labels[0], 3)).asked  # 3 to 4 of 10 find
    near = [r for label in labels[:6] for r in run(label, 4)]
    asked = claim.decide(near).asked
    assert half == ()
    assert [a["what"].split(",")[0] for a in asked] == labels[:6]
    assert all(a["difference"] == pytest.approx(5) and a["visible"] > 5 and a["needed"] > 8 for a in asked)
    assert claim.decide([r for label in labels for r in run(label, 8)]).status == claims.FAILS
    assert claim.decide([]).status == claims.WAITS
    scarce = run(labels[0], 0)
    for one in scarce[:-1]:
        for more in one["measures"].values():
            more["lesions"] = [[20, 0]] * 10
    assert claims.tiny_lesions(scarce)["low"] < 0  # of the rule's interval; a share has ends of its own
    assert re.search(r" \d+ % \(0 … \d+\)", claim.decide(scarce).reason)


def test_espnet_is_far_below_only_if_ten_points_below_the_others_mean():
    claim = next(c for c in claims.CLAIMS if c.number == "6")

    def runs(own):
        made = []
        for label, changes in grids.get("table2").rows.items():
            some = folds(PATIENTS, **changes)
            for one in some:
                for k, c in enumerate(one["patients"].values()):
                    c |= {"Na": 100, "Np": (own if label == "ESPNetv2" else 60) + k}
            made += some
        return made

    assert claim.decide(runs(40)).status == claims.HOLDS
    assert claim.decide(runs(55)).status == claims.FAILS
    assert "ESPNetv2's RLP minus the mean of the other eight: -5.0" in claim.decide(runs(55)).reason
    assert claim.decide(runs(40)[:-4]).status == claims.WAITS
    assert "not run: SCOAT-Net" in claim.decide(runs(40)[:-4]).reason


def test_the_second_cohort_is_set_against_left_out_slices():
    claim = next(c for c in claims.CLAIMS if c.number == "7a")

    def runs(dsc):
        made = folds(PATIENTS)
        for index, one in enumerate(made):
            each = [counts(dsc + 0.01 * (k % 5) + 0.001 * index, 1000) for k in range(20)]
            each.append({"tp": 0, "fp": 9, "fn": 0, "tn": 5})  # no opacification: left out
            one["external"] = {"ct100": {"fingerprint": "x", "slices": each}}
            for name, more in one["measures"].items():
                tp = round(1000 * PATIENTS[name])
                more["slices"] = [[tp, 1000 - tp, 1000 - tp]] * 3 + [[0, 50, 0]]
        return made

    away = claims.second_cohort(runs(0.6))
    assert (away["slices"], away["runs"]) == (20, 4)
    assert away["mean"] == pytest.approx(62.15, abs=0.05)
    scores = 100 * np.array([0.6 + 0.01 * (k % 5) for k in range(20)])
    between = np.var(0.1 * np.arange(4), ddof=1) / 4
    assert away["error"] == pytest.approx(math.sqrt(scores.var(ddof=1) / 20 * 70 / 40 + between), rel=1e-2)
    own = claims.own_slices(runs(0.6))
    assert own.DSC["p3"] == pytest.approx(PATIENTS["p3"])
    assert own.slices["p3"] == 3
    assert claim.decide(runs(0.85)).status == claims.HOLDS
    assert claim.decide(runs(0.35)).status == claims.FAILS
    for dsc, word in ((0.85, "gained"), (0.35, "lost")):
        said = re.search(
            r"([\d.]+) points are (gained|lost) before rounding \(95 % ([-+][\d.]+) … ([-+][\d.]+)",
            claim.decide(runs(dsc)).reason,
        )
        size, low, high = (float(said[k]) for k in (1, 3, 4))
        assert said[2] == word
        assert low < size < high
        assert (low + high) / 2 == pytest.approx(size, abs=0.1)  # the interval is of what the sentence tells
    undecided = claim.decide(runs(0.65))
    assert undecided.status == claims.OPEN
    assert "could have been seen" in undecided.reason
    (asked,) = undecided.asked
    assert asked["patients"] == 8
    assert abs(asked["difference"]) < asked["visible"]
    # with so many patients of its own, and the same second cohort, the difference that was seen would be seen again
    home, away = rule.interval(100 * own.DSC, own.fold), claims.second_cohort(runs(0.69))["error"]
    both = stats.t.isf(0.025, home.freedom) + stats.t.isf(0.2, home.freedom)
    (asked,) = claim.decide(runs(0.69)).asked
    own_error = (home.high - home.low) / 2 / stats.t.isf(0.025, home.freedom)
    assert asked["visible"] == pytest.approx(both * math.hypot(own_error, away))
    again = both * math.hypot(own_error * math.sqrt(8 / asked["needed"]), away)
    assert again == pytest.approx(abs(asked["difference"]))
    assert claim.decide(folds(PATIENTS)).status == claims.WAITS


def test_a_comparison_says_which_way_it_was_asked():
    grid, results = grids.get("table3"), table3(scoatnet=3.0)
    up, down = (claims.compare(results, grid, "SCOAT-Net", "UNet++", "DSC", sign) for sign in (1, -1))
    assert "SCOAT-Net minus UNet++ in DSC: +3" in claims.all_of([up], "x").reason
    assert "SCOAT-Net below UNet++ in DSC: -3" in claims.all_of([down], "x").reason
    assert claims.all_of([down], "x").reason.count("below") == 1


def test_the_p_of_equivalence_is_five_per_cent_where_the_interval_just_fits():
    found = rule.interval([0.4, -0.9, 1.3, 0.2, -0.3, 0.8, 1.1, -0.6], [0, 0, 1, 1, 2, 2, 3, 3])
    end = max(abs(found.low), abs(found.high))
    assert claims._p_of_equivalence(found, end) == pytest.approx(0.05)
    assert claims._p_of_equivalence(found, 1.1 * end) < 0.05 < claims._p_of_equivalence(found, 0.9 * end)
    assert claims._p_of_equivalence(rule.interval([0.5] * 6, [0, 0, 1, 1, 2, 2]), 1.0) == 0


def test_what_the_paper_does_not_print_is_not_excluded():
    assert claims._judged([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [0, 0, 1, 1, 2, 2], math.nan)["excluded"] is False


def test_claim_4_prints_the_papers_own_counts():
    (reason,) = (c.decide([]).reason for c in claims.CLAIMS if c.number == "4")
    printed = grids.get("table3").parameters
    more = 100 * (printed["SCOAT-Net"] / printed["UNet++"] - 1)
    assert float(re.search(r"the paper's own counts, \+([\d.]+) %", reason)[1]) == pytest.approx(more, abs=0.05)


def test_the_second_cohorts_interval_is_the_normal_one():
    runs = folds(PATIENTS)
    for index, one in enumerate(runs):
        one["external"] = {"x": {"slices": [counts(0.5 + 0.02 * k + 0.01 * index, 1000) for k in range(9)]}}
    away = claims.second_cohort(runs)
    assert away["high"] - away["mean"] == pytest.approx(1.96 * away["error"])
    assert away["mean"] - away["low"] == pytest.approx(1.96 * away["error"])


def test_many_patients_decide_a_small_difference_and_none_what_the_second_cohort_hides():
    """As the difference nears what the second cohort's own error hides, the patients that decide it grow past all bounds."""
    claim = next(c for c in claims.CLAIMS if c.number == "7a")
    own = {}
    for percent in np.arange(62, 72, 0.1):
        runs = folds(PATIENTS)
        for index, one in enumerate(runs):
            each = [counts(percent / 100 + 0.01 * (k % 5) + 0.001 * index, 100_000) for k in range(20)]
            one["external"] = {"ct100": {"fingerprint": "x", "slices": each}}
            for name, more in one["measures"].items():
                tp = round(1000 * PATIENTS[name])
                more["slices"] = [[tp, 1000 - tp, 1000 - tp]] * 3
        for asked in claim.decide(runs).asked:
            mine = claims.own_slices(runs)
            home, away = rule.interval(100 * mine.DSC, mine.fold), claims.second_cohort(runs)["error"]
            both = stats.t.isf(0.025, home.freedom) + stats.t.isf(0.2, home.freedom)
            room = (asked["difference"] / both) ** 2 - away**2
            error = (home.high - home.low) / 2 / stats.t.isf(0.025, home.freedom)
            own[room] = asked["needed"], 8 * error**2 / room
    assert any(0 < room < 0.9 for room in own)
    assert any(room < 0 for room in own)
    for room, (needed, expected) in own.items():
        assert needed == (pytest.approx(expected) if room > 0 else math.inf)


def test_one_network_finds_and_two_find():
    claim = next(c for c in claims.CLAIMS if c.number == "11")

    def told(number):
        made = [
            r for label in list(grids.get("table2").rows)[:number] for r in folds(PATIENTS, **grids.get("table2").rows[label])
        ]
        for one in made:
            for k, more in enumerate(one["measures"].values()):
                more["lesions"] = [*([[20, 5]] * (2 + k)), *([[20, 0]] * (8 - k))]
        return claim.decide(made).reason

    assert "of 1 network 1 finds fewer than half" in told(1)
    assert "of 2 networks 2 find fewer than half" in told(2)


def test_what_a_claim_on_maps_asks_is_told_with_two_decimals():
    made = folds(PATIENTS)
    for run in made:
        nodes = {n: [0.5, 0.5 + 0.1 * (-1) ** int(n[1]) + 0.01 * int(n[1])] for n in run["folds"]["test"]}
        run["attention"] = {"nodes": nodes, "epochs": {}, "contrast": {}}
    (asked,) = next(c for c in claims.CLAIMS if c.number == "5a").decide(made).asked
    assert asked["digits"] == 2
