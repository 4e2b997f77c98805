"""claims.py and grids.py: the paper's numbers as data, the paper against itself, decisions that follow their rule."""

import copy
import math

import pytest

from scoat_lib import claims, grids, report
from scoat_lib.training import Recipe


def counts(dsc, voxels=10_000):
    """Counts of a patient with about this DSC, precision equal to sensitivity."""
    tp = round(dsc * voxels)
    return {"tp": tp, "fp": voxels - tp, "fn": voxels - tp, "tn": 9, "Na": 10, "Np": 5, "Nb": 10, "Nt": 5}


def result(dsc_by_patient, fold=0, seed=0, **recipe):
    made = Recipe(fold=fold, seed=seed, **recipe).to_dict()
    patients = {n: counts(v) for n, v in dsc_by_patient.items()}
    measures = {
        n: {"hd95_mm": 5.0, "surface_dice": 0.8, "voxel_mm3": 8.0, "lesions": [[9000, 8000], [10, 0]]} for n in patients
    }
    return {"recipe": made, "data": {"name": "d", "fingerprint": "f"}, "patients": patients, "measures": measures}


PATIENTS = {f"p{k}": 0.6 + 0.03 * k for k in range(8)}


def shifted(points):
    return {name: value + points / 100 for name, value in PATIENTS.items()}


def table3(repeats=(0.2, 0.1, -0.1, -0.2), **gains):
    """UNet++ on eight patients, repeated with more seeds, which fixes the tolerance; other networks by their gain."""
    base = [result(PATIENTS, network="unetpp")]
    base += [result(shifted(points), network="unetpp", seed=k) for k, points in enumerate(repeats, 1)]
    return base + [result(shifted(points), network=network.replace("_", "-")) for network, points in gains.items()]


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
    for recipe in grid.recipes(Recipe(), folds=[0]):
        made = result(PATIENTS)
        made["recipe"] = recipe.to_dict()
        if recipe.split == "slice":  # a scan's slices are dealt out as NAME#0 … NAME#4
            made["patients"] = {f"{n}#{recipe.fold}": c for n, c in made["patients"].items()}
            made["measures"] = {f"{n}#{recipe.fold}": m for n, m in made["measures"].items()}
        results.append(made)
    (table,) = report.tables(results, grid)
    assert (table.rows.patients == len(PATIENTS)).all(), table.rows
    assert report.NOT_RUN not in report.as_text(table)
    assert "toprule" in report.as_latex(table)


def test_the_hands_of_a_scan_dealt_by_slice_are_one_patient():
    hands = [result({"p0": 0.5}, split="slice", fold=f) for f in range(2)]
    for fold, made in enumerate(hands):
        made["patients"] = {f"p0#{fold}": counts(0.2 + 0.6 * fold)}
        made["measures"] = {f"p0#{fold}": made["measures"]["p0"]}
    frame = report.per_patient(hands)
    assert list(frame.index) == ["p0"]
    assert frame.lesion_voxels["p0"] == 20_000
    assert frame.DSC["p0"] == pytest.approx(0.5)
    assert math.isnan(frame.hd95_mm["p0"])  # a distance within a fifth of the slices means nothing


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


def test_the_tolerance_is_the_spread_over_seeds():
    results = table3(repeats=(0.2,))
    spread = report.seed_spread(results)
    assert (spread["groups"], spread["freedom"]) == (1, 1)
    assert spread["sd"] == pytest.approx(0.2 / math.sqrt(2), abs=0.02)
    assert claims.tolerance(results) == pytest.approx(12.706 * 0.2, abs=0.2)  # one repeat says little
    more = report.seed_spread(table3())
    assert more["freedom"] == 4
    assert claims.tolerance(table3()) == pytest.approx(2.776 * math.sqrt(2) * more["sd"], rel=1e-3)
    assert math.isnan(claims.tolerance(results[:1]))
    assert report.seed_spread(results, "RLP")["sd"] == 0


def test_the_tolerance_is_that_of_the_runs_that_are_compared():
    results = table3(repeats=(0.2, 0.1, -0.1))
    short = [copy.deepcopy(r) for r in results if r["recipe"]["network"] == "unetpp"][:1] * 2
    short = [copy.deepcopy(r) for r in short]
    for seed, made in enumerate(short):  # other epochs, wild seeds
        made["recipe"] |= {"epochs": 2, "seed": seed}
        for name, found in made["patients"].items():
            made["patients"][name] = found if seed else found | {"tp": 0, "fp": found["tp"]}
    assert claims.tolerance([*results, *short]) > 5 * claims.tolerance(results)
    assert claims.at_scale([*results, *short], grids.get("table3")) == results
    elsewhere = copy.deepcopy(results[0])
    elsewhere["data"] = elsewhere["data"] | {"fingerprint": "of other scans"}
    assert claims.at_scale([*results, elsewhere], grids.get("table3")) == results
    assert claims.at_scale([]) == []
    words = ("SCOAT-Net", "UNet++")
    assert claims.compare([*results, *short], grids.get("table3"), *words) == claims.compare(
        results, grids.get("table3"), *words
    )


@pytest.mark.parametrize(
    ("points", "repeats", "status"),
    [
        (3.0, (0.2, 0.1, -0.1, -0.2), claims.HOLDS),
        (-2.0, (0.2, 0.1, -0.1, -0.2), claims.FAILS),
        (0.1, (0.2, 0.1, -0.1, -0.2), claims.OPEN),
        (0.1, (0.2,), claims.OPEN),
        (3.0, (0.2,), claims.HOLDS),
        (1.5, (0.2,), claims.OPEN),
        (-4.0, (0.2,), claims.FAILS),
    ],
)
def test_decisions_follow_the_rule(points, repeats, status):
    found = claims.compare(table3(repeats, scoatnet=points), grids.get("table3"), "SCOAT-Net", "UNet++")
    assert found["patients"] == 8
    assert found["status"] == status, found
    assert found["paper"] == pytest.approx(4.66)
    half = math.hypot(found["high"] - found["difference"], claims.tolerance(table3(repeats)))
    assert found["most"] == pytest.approx(found["difference"] + half)


def test_an_advantage_of_the_papers_size_is_excluded_beside_the_word():
    """Noisy seeds widen the interval: they can leave a question open, never close it."""
    grid = grids.get("table3")
    for points, repeats, out in (
        (0.1, (0.2, 0.1, -0.1, -0.2), True),
        (4.5, (0.2, 0.1, -0.1, -0.2), False),
        (0.1, (5.0, 1.0, -1.0, -5.0), False),
        (-2.0, (5.0, 1.0, -1.0, -5.0), False),
    ):
        found = claims.compare(table3(repeats, scoatnet=points), grid, "SCOAT-Net", "UNet++")
        assert claims.excluded(found) is out, found
    text = claims.all_of([claims.compare(table3(scoatnet=0.1), grid, "SCOAT-Net", "UNet++")], "x").reason
    assert "the paper's 4.7 points is excluded" in text
    noisy = claims.compare(table3((5.0, 1.0, -1.0, -5.0), scoatnet=-2.0), grid, "SCOAT-Net", "UNet++")
    assert noisy["status"] == claims.OPEN


def test_what_cannot_be_decided_is_undecided():
    grid = grids.get("table3")
    few = {n: PATIENTS[n] for n in list(PATIENTS)[:4]}
    results = [*table3(), result({n: v + 0.05 for n, v in few.items()}, network="scoatnet")]
    assert claims.compare(results, grid, "SCOAT-Net", "UNet++")["status"] == claims.OPEN  # four patients
    once = [result(PATIENTS, network="unetpp"), result(shifted(5), network="scoatnet")]
    assert claims.compare(once, grid, "SCOAT-Net", "UNet++")["status"] == claims.OPEN  # no seed repeated
    assert claims.compare([], grid, "SCOAT-Net", "UNet++")["status"] == claims.OPEN
    wide = {n: v + (0.1 if k % 2 else -0.09) for k, (n, v) in enumerate(PATIENTS.items())}
    assert claims.compare([*table3(), result(wide, network="scoatnet")], grid, "SCOAT-Net", "UNet++")["status"] == claims.OPEN


def test_a_claim_about_all_falls_with_one():
    results = table3(scoatnet=3.0, unetpp_attention_gate=-3.0, unetpp_pyramid_attention=1.0, unetpp_residual_attention=1.0)
    claim = next(c for c in claims.CLAIMS if c.number == "3")
    assert claim.decide(results).status == claims.FAILS
    assert "does not hold" in claim.decide(results).reason


def test_the_ledger_has_every_claim_and_no_other_word():
    table = claims.ledger([])
    assert len(table) == len(claims.CLAIMS)
    assert set(table.verdict) <= {claims.HOLDS, claims.FAILS, claims.OPEN, claims.UNTESTABLE}
    text = claims.as_text([])
    assert "no run was repeated" in text
    assert "85.74 > 84.245" in text


def test_the_claims_on_maps_read_the_measured_areas():
    names = list(PATIENTS)
    maps = {
        "nodes": {n: [0.9, 0.8, 0.5 + 0.01 * k] for k, n in enumerate(names)},
        "epochs": {n: [0.6, 0.7, 0.8 + 0.01 * k] for k, n in enumerate(names)},
    }
    one = result(PATIENTS) | {"attention": maps | {"run": "a"}}
    claim = {c.number: c for c in claims.CLAIMS}
    assert claim["5a"].decide([one]).status == claims.OPEN  # one run only
    both = [one, result(PATIENTS, seed=1) | {"attention": maps | {"run": "b"}}]
    assert claim["5a"].decide(both).status == claims.HOLDS
    assert claim["5b"].decide(both).status == claims.FAILS
    assert "2 runs" in claim["5a"].decide(both).reason
    other = {"run": "c", "nodes": maps["epochs"], "epochs": {}}
    assert claim["5a"].decide([*both, result(PATIENTS, seed=2) | {"attention": other}]).status == claims.OPEN


def test_the_tiny_region():
    claim = next(c for c in claims.CLAIMS if c.number == "11")
    results = []
    for k, label in enumerate(grids.get("table2").rows):
        made = result(PATIENTS, **grids.get("table2").rows[label])
        made["patients"]["tiny"] = counts(0.0 if k < 6 else 0.5, voxels=20)
        results.append(made)
    assert claim.decide(results).status == claims.HOLDS
    assert claim.decide(results[:3]).status == claims.OPEN
