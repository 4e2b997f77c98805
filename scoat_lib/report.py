"""results/*.json → tables. Every number on a page about real scans comes through here, with its provenance."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from scoat_lib import metrics
from scoat_lib.experiments import RESULTS_VERSION
from scoat_lib.grids import Grid
from scoat_lib.training import Recipe

LEAST = 1000  # lesion voxels a patient needs for the primary endpoint (results/PROTOCOL.md)
BETWEEN_RADIOLOGISTS = (70.0, 10.0)  # lesion DSC in per cent, mean and sd (Bartoli et al. 2022, 10.1016/j.redii.2022.100003)
DRAWS = 10_000
BINS_ML = (0.0, 0.1, 1.0, 10.0, np.inf)  # lesion volumes


def load(folder) -> list[dict]:
    """The results of a folder, by file name, made with this version's numerics. Empty if there is none.

    Subfolders hold other things (development runs, peers) and are left out, but where attention/KEY.json measures a run's
    maps, it is the result's "attention".
    """
    found = []
    for path in sorted(Path(folder).glob("*.json")):
        result = json.loads(path.read_text())
        if path.name.startswith("phantom") or result.get("results_version", RESULTS_VERSION) != RESULTS_VERSION:
            continue
        result["recipe"] = Recipe().to_dict() | result["recipe"]  # a result of before a field was added has its default
        maps = path.parent / "attention" / path.name
        found.append(result | ({"attention": json.loads(maps.read_text())} if maps.exists() else {}))
    return found


def alike(results: list[dict], base: Recipe | None = None, **fields) -> list[dict]:
    """The results whose recipe equals `base` (default: the protocol's recipe) in all but network, fold and seed.

    fields: recipe fields that are to have another value than the base's, or None for "any".
    """
    wanted = (base or Recipe()).to_dict()
    free = {"network", "fold", "seed"} | {name for name, value in fields.items() if value is None}
    wanted |= {name: value for name, value in fields.items() if value is not None}
    for name, value in fields.items():
        if value is not None:
            free.discard(name)
    return [r for r in results if all(r["recipe"][k] == v for k, v in wanted.items() if k not in free)]


def patients(results: list[dict]) -> pd.DataFrame:
    """One row per network, seed and reported patient: the six metrics (fractions), lesion voxels, fold, width."""
    rows = []
    for result in results:
        recipe = result["recipe"]
        for name, counts in result["patients"].items():
            rows.append(
                {k: recipe[k] for k in ("network", "loss", "schedule", "size", "width", "seed", "fold", "split")}
                | {"data": result["data"]["name"], "patient": name, "lesion_voxels": counts["tp"] + counts["fn"]}
                | metrics.from_counts(counts)
                | {k: counts[k] for k in ("tp", "fp", "fn")}
            )
    return pd.DataFrame(rows)


def summary(results: list[dict], by: str = "network", least: int = LEAST) -> pd.DataFrame:
    """Per cent by `by`: mean per-patient DSC of patients with at least `least` lesion voxels (the primary endpoint), the mean
    over all patients, the pooled DSC, how many patients and folds; then the other five metrics' primary means.
    """
    table = patients(results)
    if table.empty:
        return pd.DataFrame()
    rows = {}
    for key, group in table.groupby(by, sort=True):
        large = group[group.lesion_voxels >= least]
        total = group[["tp", "fp", "fn"]].sum()
        rows[key] = {
            f"DSC, ≥ {least} voxels": 100 * large.DSC.mean(),
            "patients": len(large),
            "DSC, all": 100 * group.DSC.mean(),
            "all patients": len(group),
            "DSC, pooled": 200 * total.tp / (2 * total.tp + total.fp + total.fn),
            "folds": ", ".join(map(str, sorted(group.fold.unique()))),
        } | {m: 100 * large[m].mean() for m in metrics.METRICS[1:]}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(by)


def paired(
    results: list[dict], one: str, other: str, least: int = LEAST, draws: int = DRAWS, seed: int = 0
) -> dict[str, float]:
    """DSC of network `one` minus `other` over the patients that both report: mean, 95 % interval by bootstrap over patients.

    Returns {"difference", "low", "high", "patients"}, in points (per cent). ValueError if no patient is shared.
    """
    table = patients(results)
    if table.empty:
        raise ValueError("there are no results to compare")
    table = table[(table.lesion_voxels >= least) & table.network.isin([one, other])]
    wide = table.pivot_table(index=["patient", "seed"], columns="network", values="DSC").dropna()
    if one not in wide or other not in wide or wide.empty:
        raise ValueError(f"no patient is reported by both {one} and {other}")
    difference = 100 * (wide[one] - wide[other]).groupby("patient").mean().to_numpy()
    low, high = interval(difference, draws, seed)
    return {"difference": float(difference.mean()), "low": low, "high": high, "patients": len(difference)}


def interval(values, draws: int = DRAWS, seed: int = 0) -> tuple[float, float]:
    """95 % interval of the mean by bootstrap over patients; (nan, nan) for fewer than two values."""
    values = np.asarray(values, float)
    if len(values) < 2:
        return float("nan"), float("nan")
    means = np.random.default_rng(seed).choice(values, (draws, len(values))).mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def holm(p: Sequence[float]) -> list[float]:
    """Holm's correction of several p-values (Holm 1979); nan stays nan and counts for nothing."""
    values = np.asarray(p, float)
    order = [i for i in np.argsort(values) if not np.isnan(values[i])]
    adjusted, running = values.copy(), 0.0
    for rank, index in enumerate(order):
        running = max(running, (len(order) - rank) * values[index])
        adjusted[index] = min(1.0, running)
    return [float(v) for v in adjusted]


@dataclass(frozen=True)
class Table:
    """One grid at one scale, ours beside the paper's.

    base: the recipe fields that all rows share. data: the data's name. rows: see `table`. patients: by row, one line a
    patient, seeds averaged, only patients that every row that was run has.
    """

    grid: Grid
    base: dict
    data: str
    rows: pd.DataFrame
    patients: dict[str, pd.DataFrame]

    @property
    def scale(self) -> str:
        """The base in words, for a caption."""
        b = self.base
        patients = next((len(p) for p in self.patients.values() if len(p)), 0)
        words = {"width": "width {}", "epochs": "{} epochs", "schedule": "{} schedule", "batch": "batch {}"}
        what = [text.format(b[name]) for name, text in words.items() if name in b]
        size = f"{b['size']} × {b['size']}" if "size" in b else "several sizes"
        return f"{self.data}, {size}, {', '.join(what)}, {patients} patients that every row has"


def tables(results: list[dict], grid: Grid, least: int = LEAST) -> list[Table]:
    """A grid's tables, one for each scale and data that has at least one of its rows, the fullest first.

    A table's rows (per cent, points, mm, cm³): "patients", those with at least `least` lesion voxels, by which the six
    metrics are averaged (the primary endpoint first); "low" and "high", DSC's 95 % interval by bootstrap over patients;
    "difference", "p", "pairs", DSC against the reference row over all patients of the two, Holm's p of a Wilcoxon test;
    "all patients", "DSC, all", "DSC, pooled"; "HD95, mm", "surface Dice"; "LOV bias", "LOV low", "LOV high"
    (Bland–Altman); "folds", "seeds"; and "paper DSC" … . A row that was not run has 0 patients.
    """
    found = [_table(group, grid, base, data, least) for base, data, group in scales(results, grid)]
    return sorted(found, key=lambda t: (-(t.rows.patients > 0).sum(), -t.rows["all patients"].max()))


def comparing(found: list[Table]) -> list[Table]:
    """Of a grid's tables those in which at least two rows were run; the first alone where none is."""
    return [table for table in found if (table.rows["all patients"] > 0).sum() > 1] or found[:1]


def scales(results: list[dict], grid: Grid) -> list[tuple[dict, str, list[dict]]]:
    """The grid's results grouped by what its rows share: (recipe's fields, data's name, results with their "row").

    Data of one name and another fingerprint is another group. The group with most rows, then most results, comes first.
    """
    groups: dict[str, list[dict]] = {}
    for result in results:
        label = row_of(result, grid)
        if label is not None:
            base = {k: v for k, v in result["recipe"].items() if k not in grid.varied | {"fold", "seed"}}
            what = json.dumps([base, result["data"]["name"], result["data"].get("fingerprint", "")], sort_keys=True)
            groups.setdefault(what, []).append(result | {"row": label})
    ordered = sorted(groups.items(), key=lambda item: (-len({r["row"] for r in item[1]}), -len(item[1])))
    return [(*json.loads(what)[:2], group) for what, group in ordered]


def row_of(result: dict, grid: Grid) -> str | None:
    """The grid's row a result belongs to, whatever its scale; None for none."""
    recipe = result["recipe"]
    default = Recipe().to_dict()
    for label, changes in grid.rows.items():
        wanted = {k: default[k] for k in grid.varied | {"split", "options", "loss", "loss_options"}}
        wanted |= {k: Recipe(**(grid.fixed | changes)).to_dict()[k] for k in set(grid.fixed) | set(changes)}
        if all(recipe[k] == v for k, v in wanted.items()):
            return label
    return None


def _table(group: list[dict], grid: Grid, base: dict, data: str, least: int) -> Table:
    by_row = {label: [r for r in group if r["row"] == label] for label in grid.rows}
    whole = {label: per_patient(rows) for label, rows in by_row.items()}
    common = set.intersection(*(set(frame.index) for frame in whole.values() if len(frame)))
    each = {label: frame[frame.index.isin(common)] if len(frame) else frame for label, frame in whole.items()}
    lines = {}
    for label, frame in each.items():
        line: dict = {"patients": 0, "all patients": 0}
        if len(frame):
            large = frame[frame.lesion_voxels >= least]
            low, high = interval(100 * large.DSC)
            volumes = (frame.predicted_ml - frame.true_ml).dropna()
            line = {
                "patients": len(large),
                **{m: 100 * large[m].mean() for m in metrics.METRICS},
                "low": low,
                "high": high,
                "all patients": len(frame),
                "DSC, all": 100 * frame.DSC.mean(),
                "DSC, pooled": 200 * frame.tp.sum() / (2 * frame.tp + frame.fp + frame.fn).sum(),
                "HD95, mm": large.hd95_mm.mean(),
                "surface Dice": 100 * large.surface_dice.mean(),
                "LOV bias": volumes.mean(),
                "LOV low": volumes.mean() - 1.96 * volumes.std(),
                "LOV high": volumes.mean() + 1.96 * volumes.std(),
                "folds": ", ".join(
                    map(str, sorted({r["recipe"]["fold"] for r in by_row[label] if common & set(r["patients"])}))
                ),
                "seeds": len({r["recipe"]["seed"] for r in by_row[label]}),
            }
        reference = whole[grid.reference]
        if label != grid.reference and len(frame) and len(reference):
            large = whole[label][whole[label].lesion_voxels >= least]
            points = (100 * (large.DSC - reference.DSC.reindex(large.index))).dropna()
            line["difference"], line["pairs"] = points.mean(), len(points)
            line["p"] = stats.wilcoxon(points).pvalue if len(points) > 1 and points.any() else float("nan")
        line |= {f"paper {m}": value for m, value in grid.paper.get(label, {}).items()}
        lines[label] = line
    rows = pd.DataFrame.from_dict(lines, orient="index")
    for column in ("p", "difference", "low", "high", *metrics.METRICS, "DSC, all", "DSC, pooled", "HD95, mm"):
        if column not in rows:
            rows[column] = float("nan")
    rows["p"] = holm(rows["p"])
    return Table(grid, base, data, rows, each)


def per_patient(results: list[dict]) -> pd.DataFrame:
    """By patient, averaged over the seeds: the six metrics (fractions), counts, hd95_mm, surface_dice, volumes in ml.

    Results written before the measures were kept have nan for these. A scan dealt out by slices (NAME#0 … NAME#4) is one
    patient: its hands' counts are added up, and its distances are nan, as they mean nothing within a share of the slices.
    """
    whole: dict[tuple, dict] = {}
    for result in results:
        for name, counts in result["patients"].items():
            patient, dealt, _ = name.partition("#")
            more = result.get("measures", {}).get(name, {})
            row = whole.setdefault((patient, result["recipe"]["seed"], "" if dealt else id(result)), {"counts": {}})
            row["counts"] = {k: row["counts"].get(k, 0) + v for k, v in counts.items()}
            row["voxel"] = more.get("voxel_mm3", float("nan")) / 1000
            row["hd95_mm"] = float("nan") if dealt else _number(more.get("hd95_mm"))
            row["surface_dice"] = float("nan") if dealt else more.get("surface_dice", float("nan"))
    rows = []
    for (patient, *_), row in whole.items():
        c, voxel = row["counts"], row["voxel"]
        rows.append(
            {"patient": patient, "lesion_voxels": c["tp"] + c["fn"], **metrics.from_counts(c)}
            | {k: c[k] for k in ("tp", "fp", "fn")}
            | {k: row[k] for k in ("hd95_mm", "surface_dice")}
            | {"true_ml": (c["tp"] + c["fn"]) * voxel, "predicted_ml": (c["tp"] + c["fp"]) * voxel}
        )
    columns = ["lesion_voxels", *metrics.METRICS, "tp", "fp", "fn", "hd95_mm", "surface_dice", "true_ml", "predicted_ml"]
    return pd.DataFrame(rows, columns=["patient", *columns]).groupby("patient").mean()


def _number(value) -> float:
    return float("nan") if value is None else float(value)


def lesion_recall(results: list[dict], bins: Sequence[float] = BINS_ML) -> pd.DataFrame:
    """Lesions by volume in ml: how many, the share of which any voxel was found, and the mean share of voxels found.

    A lesion is a connected region of the truth (full connectivity); seeds and networks given together count together.
    """
    rows = [
        (size * measures["voxel_mm3"] / 1000, hit > 0, hit / size)
        for result in results
        for measures in result.get("measures", {}).values()
        for size, hit in measures["lesions"]
    ]
    frame = pd.DataFrame(rows, columns=["ml", "found", "covered"], dtype=float)
    labels = [f"{low:g}–{high:g} ml" if np.isfinite(high) else f"> {low:g} ml" for low, high in pairwise(bins)]
    groups = frame.groupby(pd.cut(frame.ml, bins, labels=labels), observed=False)
    return pd.DataFrame({"lesions": groups.size(), "found": groups.found.mean(), "covered": groups.covered.mean()})


def worst(table: Table, number: int = 3) -> pd.DataFrame:
    """The patients with the lowest DSC, over all rows of a table: row, patient, DSC in per cent, lesion voxels."""
    frames = [f.assign(row=label) for label, f in table.patients.items() if len(f)]
    joined = pd.concat(frames).reset_index()[["row", "patient", "DSC", "lesion_voxels"]]
    joined["DSC"] *= 100
    return joined.sort_values(["DSC", "row"]).groupby("row", sort=False).head(number).reset_index(drop=True)


def seed_spread(results: list[dict], metric: str = "DSC", least: int = LEAST) -> dict[str, float]:
    """How much the seed alone moves a metric's primary mean of a fold, in points.

    Over all recipes and folds that were run with two seeds or more: {"sd": pooled, "freedom": degrees of freedom, "groups",
    "runs"}; sd is nan where no run was repeated.
    """
    groups: dict[str, list[float]] = {}
    for result in results:
        frame = per_patient([result])
        large = frame[frame.lesion_voxels >= least]
        if len(large):
            recipe = {k: v for k, v in result["recipe"].items() if k != "seed"}
            what = json.dumps([recipe, result["data"]], sort_keys=True)
            groups.setdefault(what, []).append(100 * large[metric].mean())
    repeated = [values for values in groups.values() if len(values) > 1]
    freedom = sum(len(v) - 1 for v in repeated)
    squares = sum(((np.array(v) - np.mean(v)) ** 2).sum() for v in repeated)
    sd = float(np.sqrt(squares / freedom)) if freedom else float("nan")
    return {"sd": sd, "freedom": freedom, "groups": len(repeated), "runs": sum(map(len, repeated))}


NOT_RUN = "not run"


def as_text(table: Table) -> str:
    """A table for a terminal: ours, the interval, the paper's, the test, and what else the protocol asks for."""
    r, lines = table.rows, {}
    for label, row in r.iterrows():
        paper = f"{row['paper DSC']:.2f}" if "paper DSC" in r and row["paper DSC"] == row["paper DSC"] else "–"
        if not row.patients and not row["all patients"]:
            lines[label] = {"DSC": NOT_RUN, "paper": paper}
            continue
        lines[label] = {
            "DSC": _cell(row.DSC),
            "95 %": f"{_cell(row.low)}–{_cell(row.high)}" if row.low == row.low else "–",
            "paper": paper,
            **{m: _cell(row[m]) for m in metrics.METRICS[1:]},
            "Δ": f"{row.difference:+.1f}" if row.difference == row.difference else "",
            "p": f"{row.p:.2f} ({int(row.pairs)})" if row.p == row.p else "",
            "n": str(int(row.patients)),
            "all": _cell(row["DSC, all"]),
            "pooled": _cell(row["DSC, pooled"]),
            "HD95 mm": _cell(row["HD95, mm"]),
            "sDice": _cell(row["surface Dice"]),
            "LOV ml": f"{row['LOV bias']:+.0f} ({row['LOV low']:+.0f}…{row['LOV high']:+.0f})"
            if row["LOV low"] == row["LOV low"]
            else "–",
            "folds": row.folds,
            "seeds": str(int(row.seeds)),
        }
    body = pd.DataFrame.from_dict(lines, orient="index").fillna("").to_string()
    least = f'n: patients of ≥ {LEAST} lesion voxels; all metrics but "all" and "pooled" are means over them'
    return f"{table.grid.title}\n{table.scale}\n{body}\n{least}; Δ, p (pairs): DSC against {table.grid.reference}"


def _cell(value: float) -> str:
    return f"{value:.1f}" if value == value else "–"


def as_latex(table: Table) -> str:
    """A table for a paper (booktabs): the six metrics, ours over the paper's."""
    lines = {}
    for label, row in table.rows.iterrows():
        run = row["all patients"] > 0
        lines[label] = {"n": int(row.patients) if run else NOT_RUN}
        for m in metrics.METRICS:
            paper = (
                f" ({row[f'paper {m}']:.2f})" if f"paper {m}" in table.rows and row[f"paper {m}"] == row[f"paper {m}"] else ""
            )
            lines[label][m] = f"{_cell(row[m]) if run else '–'}{paper}"
    caption = f"{table.grid.title}. {table.scale}. In brackets: the paper's, on other data."
    frame = pd.DataFrame.from_dict(lines, orient="index")
    return frame.to_latex(caption=caption, label=f"tab:{table.grid.name}", column_format="lr" + "l" * len(metrics.METRICS))


def provenance(results: list[dict]) -> pd.DataFrame:
    """Where each result came from: network, fold, seed, commit, device, minutes, date."""
    rows = [
        {k: r["recipe"][k] for k in ("network", "width", "fold", "seed")}
        | {"commit": (r["provenance"]["commit"] or "unknown")[:8], "device": r["provenance"]["device"]}
        | {"minutes": round(r["provenance"]["seconds"] / 60, 1), "date": r["provenance"]["date"]}
        for r in results
    ]
    return pd.DataFrame(rows)
