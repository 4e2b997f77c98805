"""results/*.json → tables. Every number on a page about real scans comes through here, with its provenance."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from scoat_lib import metrics, rule
from scoat_lib.cohort import patient_of
from scoat_lib.experiments import RESULTS_VERSION
from scoat_lib.files import NUMBER
from scoat_lib.grids import Grid
from scoat_lib.training import RECIPE, Recipe, check_content, read_json

LEAST = 1000  # lesion voxels a patient needs for the primary endpoint (results/PROTOCOL.md)
BETWEEN_READERS = (
    76.9,
    62.5,
    86.2,
)  # DSC of two readers in per cent: mean, lowest, highest of four scans (results/readers.json)
BESIDE = ("readers.json", "phantom-realism.json")  # what else lies in results/ itself
BOOKS = Path("../results")  # the book's own runs, as the chapters name their folder
EVERY = -1  # "fold" of a patient whose slices were dealt over all folds
_KEY = re.compile(r"[0-9a-f]{20}")
BINS_ML = (0.0, 0.1, 1.0, 10.0, np.inf)  # lesion volumes
_COUNTS = dict.fromkeys(("tp", "fp", "fn", "Na", "Np", "Nb", "Nt"), NUMBER)
_NONE = (*NUMBER, type(None))
_MEASURES = {
    "patient?": str, "hd95_mm?": _NONE, "diagonal_mm?": NUMBER, "surface_dice?": NUMBER, "voxel_mm3?": NUMBER,
    "thresholds?": {"*": [NUMBER]}, "slices?": [[NUMBER]], "lesions?": [[NUMBER]],
}  # fmt: skip
_RESULT = {  # of a result's file, what tables and claims are made from
    "recipe": RECIPE,
    "data": {"name": str, "fingerprint?": str},
    "patients": {"*": _COUNTS},
    "measures?": {"*": _MEASURES},
    "folds?": {"*": [str]},
    "external?": {"*": {"slices": [{k: NUMBER for k in ("tp", "fp", "fn")}]}},
    "second reader?": {"*": _COUNTS},
    "provenance?": dict,
}
_READERS = {"DSC, per cent": {"*": NUMBER}, "scans": {"*": {"DSC": NUMBER}}}


def of_book(folder) -> Path:
    """The folder as it is; for a chapter's "../results" that is not there, the package's own copy of the book's runs.

    So a notebook that stands alone, as on Colab, shows the same numbers. Any other folder is never replaced.
    """
    folder, package = Path(folder), Path(__file__).parent
    copies = (package / "recorded", package.parent / "results")  # installed; in a checkout
    if folder != BOOKS or folder.is_dir():
        return folder
    return next((copy for copy in copies if (copy / "PROTOCOL.md").exists()), folder)


def load(folder) -> list[dict]:
    """The results of a folder (or `of_book`), by file name, made with this version's numerics. Empty if there is none.

    A result's file is named by its key, 20 hex digits; other files and subfolders hold other things and are left out, but where
    attention/KEY.json measures a run's maps, it is the result's "attention". ValueError names a file that is no whole result.
    """
    found = []
    for path in sorted(of_book(folder).glob("*.json")):
        if not _KEY.fullmatch(path.stem):
            continue
        result = read_json(path, "remove it, and `scoat experiment` makes it again")
        check_content(result, _RESULT, path, "is no result of a run", "move it out of the folder")
        if result.get("results_version", RESULTS_VERSION) != RESULTS_VERSION:
            continue
        result["recipe"] = Recipe().to_dict() | result["recipe"]  # a result of before a field was added has its default
        maps = path.parent / "attention" / path.name
        if maps.exists():
            result["attention"] = read_json(maps)
            check_content(result["attention"], {}, maps, "measures no run's maps", "move it out of the folder")
        found.append(result)
    return found


def strays(folder) -> list[Path]:
    """The JSON files of a folder of results that are no result by their name, and nothing else that belongs there."""
    paths = sorted(Path(folder).glob("*.json"))
    return [path for path in paths if not _KEY.fullmatch(path.stem) and path.name not in BESIDE]


def readers(folder) -> dict | None:
    """How the two readers agree, from results/readers.json (`python -m studies.readers`); None where it was not measured."""
    path = of_book(folder) / "readers.json"
    if not path.exists():
        return None
    agreement = read_json(path, "`python -m studies.readers` makes it again")
    check_content(agreement, _READERS, path, "compares no readers", "`python -m studies.readers` makes it again")
    return agreement


def against_readers(results: list[dict], agreement: dict) -> pd.DataFrame:
    """A network's DSC with each reader beside the readers' with each other, per cent, by scan that its fold left out.

    results: of one row; seeds are averaged. agreement: from `readers`. Columns "first", "second" (network with either reader),
    "readers", and "lesion_voxels", the first reader's. Empty where no such scan was scored.
    """
    rows = []
    for result in results:
        for scan, counts in result.get("second reader", {}).items():
            first = result["patients"][scan]
            dsc = [100 * metrics.from_counts(c)["DSC"] for c in (first, counts)]
            rows.append((scan, *dsc, 100 * agreement["scans"][scan]["DSC"], first["tp"] + first["fn"]))
    frame = pd.DataFrame(rows, columns=["scan", "first", "second", "readers", "lesion_voxels"])
    return frame.groupby("scan").mean()


def alike(results: list[dict], base: Recipe | None = None, **fields) -> list[dict]:
    """The results whose recipe equals `base` (default: the protocol's recipe) in all but network, fold and seed; of several
    data sets those of the one with most.

    fields: recipe fields that are to have another value than the base's, or None for "any".
    """
    wanted = (base or Recipe()).to_dict()
    free = {"network", "fold", "seed"} | {name for name, value in fields.items() if value is None}
    wanted |= {name: value for name, value in fields.items() if value is not None}
    for name, value in fields.items():
        if value is not None:
            free.discard(name)
    found = [r for r in results if all(r["recipe"][k] == v for k, v in wanted.items() if k not in free)]
    by_data: dict[tuple, list[dict]] = {}
    for result in found:
        data = result.get("data", {})
        by_data.setdefault((data.get("name"), data.get("fingerprint")), []).append(result)
    return max(by_data.values(), key=len, default=[])


def summary(results: list[dict], by: str = "network", least: int = LEAST) -> pd.DataFrame:
    """Per cent by a recipe's field: mean DSC of the patients with at least `least` lesion voxels (the primary endpoint), the
    mean over all patients, the pooled DSC, how many patients and folds; then the other five metrics' primary means.

    Of a patient's scans the counts are added, over seeds the metrics are averaged, and each patient counts once.
    """
    groups: dict[str, list[dict]] = {}
    for result in results:
        groups.setdefault(result["recipe"][by], []).append(result)
    rows = {}
    for key in sorted(groups):
        frame = per_patient(groups[key])
        large = frame[frame.lesion_voxels >= least]
        rows[key] = {
            f"DSC, ≥ {least} voxels": 100 * large.DSC.mean(),
            "patients": len(large),
            "DSC, all": 100 * frame.DSC.mean(),
            "all patients": len(frame),
            "DSC, pooled": 100 * pooled(frame),
            "folds": ", ".join(map(str, sorted({r["recipe"]["fold"] for r in groups[key]}))),
        } | {m: 100 * large[m].mean() for m in metrics.METRICS[1:]}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(by) if rows else pd.DataFrame()


def pooled(frame: pd.DataFrame) -> float:
    """The DSC of all voxels of `per_patient`'s patients together, a fraction."""
    return float(2 * frame.tp.sum() / (2 * frame.tp + frame.fp + frame.fn).sum())


def paired(first: pd.DataFrame, second: pd.DataFrame, metric: str = "DSC", least: int = LEAST) -> pd.DataFrame:
    """Every patient's difference of two rows (from `per_patient`): index patient; "difference" in points, first minus second;
    "fold", the second's where the first's patient was dealt over all; "lesion_voxels"; over the patients of at least `least`
    lesion voxels that both have.
    """
    large = first[first.lesion_voxels >= least]
    shared = large.index.intersection(second.index, sort=False)
    large, second = large.loc[shared], second.loc[shared]
    fold = large.fold.where(large.fold != EVERY, second.fold)
    points = 100 * (large[metric] - second[metric])
    return pd.DataFrame({"difference": points, "fold": fold, "lesion_voxels": large.lesion_voxels})


def between(first: pd.DataFrame, second: pd.DataFrame, metric: str = "DSC", least: int = LEAST) -> rule.Interval:
    """The rule's interval of `paired`'s differences, in points: the one estimator of a difference between two rows."""
    found = paired(first, second, metric, least)
    return rule.interval(found.difference, found.fold)


@dataclass(frozen=True)
class Table:
    """One grid at one scale, ours beside the paper's.

    base: the recipe fields that all rows share. data: the data's name. rows: see `tables`. patients: by row, one line a
    patient, seeds averaged, of the patients that the row shares with the reference row.
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
        words = {"width": "width {}", "epochs": "{} epochs", "schedule": "{} schedule", "batch": "batch {}"}
        what = [text.format(b[name]) for name, text in words.items() if name in b]
        size = f"{b['size']} × {b['size']}" if "size" in b else "several sizes"
        return f"{self.data}, {size}, {', '.join(what)}"


def tables(results: list[dict], grid: Grid, least: int = LEAST) -> list[Table]:
    """A grid's tables, one for each scale and data that has at least one of its rows, the fullest first.

    A row is averaged over the patients that it shares with the reference row, so that a difference is the difference of two
    means over the same patients. Its columns (per cent, points, mm): "patients", those with at least `least` lesion voxels, by
    which the six metrics are averaged (the primary endpoint first); "low" and "high", DSC's 95 % interval; "difference", "diff
    low", "diff high", DSC against the reference row, and "p", Holm's over the table, all by `rule.interval`; "all patients",
    "DSC, all", "DSC, pooled"; "HD95, mm", "surface Dice"; "LOV bias", "LOV low", "LOV high" (Bland–Altman, per cent of the true
    volume) and "LOV ±", half the 95 % interval of either limit; "folds", "seeds"; and "paper DSC" … . A row that was not
    run has 0 patients; with fewer than `rule.FEWEST` patients there is no interval and no p.
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
    wanted = _wanted(grid)
    for result in results:
        label = _row_of(result["recipe"], wanted)
        if label is not None:
            base = {k: v for k, v in result["recipe"].items() if k not in grid.varied | {"fold", "seed"}}
            what = json.dumps([base, result["data"]["name"], result["data"].get("fingerprint", "")], sort_keys=True)
            groups.setdefault(what, []).append(result | {"row": label})
    ordered = sorted(groups.items(), key=lambda item: (-len({r["row"] for r in item[1]}), -len(item[1])))
    return [(*json.loads(what)[:2], group) for what, group in ordered]


def row_of(result: dict, grid: Grid) -> str | None:
    """The grid's row a result belongs to, whatever its scale; None for none."""
    return _row_of(result["recipe"], _wanted(grid))


def _row_of(recipe: dict, wanted: dict[str, dict]) -> str | None:
    return next((label for label, fields in wanted.items() if all(recipe[k] == v for k, v in fields.items())), None)


def _wanted(grid: Grid) -> dict[str, dict]:
    """By row of a grid, the fields of a recipe that make a result belong to it."""
    default = Recipe().to_dict()
    free = {k: default[k] for k in grid.varied | {"split", "options", "loss", "loss_options"}}
    wanted = {}
    for label, changes in grid.rows.items():
        recipe = Recipe(**(grid.fixed | changes)).to_dict()
        wanted[label] = free | {k: recipe[k] for k in set(grid.fixed) | set(changes)}
    return wanted


def _table(group: list[dict], grid: Grid, base: dict, data: str, least: int) -> Table:
    by_row = {label: [r for r in group if r["row"] == label] for label in grid.rows}
    whole = {label: per_patient(rows) for label, rows in by_row.items()}
    reference = whole[grid.reference]
    each = {label: frame[frame.index.isin(reference.index)] if len(reference) else frame for label, frame in whole.items()}
    lines = {}
    for label, frame in each.items():
        line: dict = {"patients": 0, "all patients": 0}
        if len(frame):
            large = frame[frame.lesion_voxels >= least]
            found = rule.interval(100 * large.DSC, large.fold)
            line = {
                "patients": len(large),
                **{m: 100 * large[m].mean() for m in metrics.METRICS},
                "low": found.low,
                "high": found.high,
                "all patients": len(frame),
                "DSC, all": 100 * frame.DSC.mean(),
                "DSC, pooled": 100 * pooled(frame),
                "HD95, mm": large.hd95_mm.mean(),
                "surface Dice": 100 * large.surface_dice.mean(),
                **_limits(large),
                "folds": ", ".join(map(str, _folds(frame, by_row[label]))),
                "seeds": _seeds(by_row[label]),
            }
            if label != grid.reference and len(reference):
                found = between(frame, reference, "DSC", least)
                line |= {"difference": found.mean, "diff low": found.low, "diff high": found.high, "p": found.p}
        line |= {f"paper {m}": value for m, value in grid.paper.get(label, {}).items()}
        lines[label] = line
    rows = pd.DataFrame.from_dict(lines, orient="index")
    wanted = (
        "p",
        "difference",
        "diff low",
        "diff high",
        "low",
        "high",
        *metrics.METRICS,
        "DSC, all",
        "DSC, pooled",
        "HD95, mm",
    )
    for column in wanted:
        if column not in rows:
            rows[column] = float("nan")
    rows["p"] = rule.holm(rows["p"])
    return Table(grid, base, data, rows, each)


def _folds(frame: pd.DataFrame, runs: list[dict]) -> list[int]:
    """The folds of a row's patients; of patients that were dealt over all, those of its runs."""
    if (frame.fold == EVERY).any():
        return sorted({r["recipe"]["fold"] for r in runs})
    return sorted({int(fold) for fold in frame.fold})


def _seeds(runs: list[dict]) -> str:
    """How many seeds a fold has: "1", or "1–3" where the folds differ."""
    each = Counter(r["recipe"]["fold"] for r in runs).values()
    return str(min(each)) if min(each) == max(each) else f"{min(each)}–{max(each)}"


def _limits(frame: pd.DataFrame) -> dict[str, float]:
    """Bland–Altman bias and limits of the volume in per cent of the true one; nan with fewer than `rule.FEWEST` patients.

    The limits are mean ± 1.96 s; "LOV ±" is half their own 95 % interval, t · s · √(1/n + 1.96² / (2 (n − 1))).
    """
    error = (100 * (frame.predicted_ml - frame.true_ml) / frame.true_ml).replace([np.inf, -np.inf], np.nan).dropna()
    n, mean = len(error), float(error.mean()) if len(error) else float("nan")
    if n < rule.FEWEST:
        return {"LOV bias": mean} | dict.fromkeys(("LOV low", "LOV high", "LOV ±"), float("nan"))
    s = float(error.std())
    half = float(stats.t.ppf(0.975, n - 1)) * s * (1 / n + 1.96**2 / (2 * (n - 1))) ** 0.5
    return {"LOV bias": mean, "LOV low": mean - 1.96 * s, "LOV high": mean + 1.96 * s, "LOV ±": half}


def per_patient(results: list[dict]) -> pd.DataFrame:
    """By patient, averaged over the seeds: the six metrics (fractions), counts, hd95_mm, surface_dice, volumes in ml, fold.

    Of a patient's scans the counts and volumes are added before any ratio, regions too; distances are averaged over the scans,
    and a scan for which nothing was predicted, or that holds no lesion, takes its own diagonal as HD95. A scan dealt out by
    slices (NAME#0 … NAME#4) is one scan, once each of its shares was reported; its fold is `EVERY`, and its distances are nan,
    as they mean nothing within a share of the slices.
    """
    whole: dict[tuple, dict] = {}
    for result in results:
        for name, counts in result["patients"].items():
            scan, dealt, _ = name.partition("#")
            more = result.get("measures", {}).get(name, {})
            run = result["recipe"]["seed"], "" if dealt else id(result)
            row = whole.setdefault(
                (more.get("patient") or patient_of(scan), *run),
                {"counts": {}, "true_ml": 0.0, "predicted_ml": 0.0, "hd95": [], "dice": []},
            )
            row["fold"] = EVERY if dealt else result["recipe"]["fold"]
            if dealt:
                shares = row.setdefault("shares", {}).setdefault(scan, set(range(result["recipe"]["folds"])))
                shares.discard(int(name.rpartition("#")[2]))
            row["counts"] = {k: row["counts"].get(k, 0) + v for k, v in counts.items()}
            voxel = more.get("voxel_mm3", float("nan")) / 1000
            row["true_ml"] += (counts["tp"] + counts["fn"]) * voxel
            row["predicted_ml"] += (counts["tp"] + counts["fp"]) * voxel
            empty = counts["tp"] + counts["fp"] + counts["fn"] == 0
            hd95 = more.get("hd95_mm")
            hd95 = (0.0 if empty else more.get("diagonal_mm", float("nan"))) if hd95 is None else hd95
            row["hd95"].append(float("nan") if dealt else hd95)
            row["dice"].append(float("nan") if dealt else more.get("surface_dice", float("nan")))
    rows = []
    for (patient, *_), row in whole.items():
        if any(row.get("shares", {}).values()):
            continue
        c = row["counts"]
        rows.append(
            {"patient": patient, "fold": row["fold"], "lesion_voxels": c["tp"] + c["fn"], **metrics.from_counts(c)}
            | {k: c[k] for k in ("tp", "fp", "fn")}
            | {"hd95_mm": float(np.mean(row["hd95"])), "surface_dice": float(np.mean(row["dice"]))}
            | {k: row[k] for k in ("true_ml", "predicted_ml")}
        )
    columns = [
        "fold",
        "lesion_voxels",
        *metrics.METRICS,
        "tp",
        "fp",
        "fn",
        "hd95_mm",
        "surface_dice",
        "true_ml",
        "predicted_ml",
    ]
    frame = pd.DataFrame(rows, columns=["patient", *columns]).groupby("patient").mean()
    return frame.astype({"fold": int}) if len(frame) else frame


def lesion_recall(results: list[dict], bins: Sequence[float] = BINS_ML) -> pd.DataFrame:
    """Lesions by volume in ml: how many, the share of which any voxel was found, and the mean share of voxels found.

    A lesion is a connected region of the truth (full connectivity). Of one that several runs reported, the mean counts, once.
    """
    rows = [
        (scan, index, size * measures["voxel_mm3"] / 1000, float(hit > 0), hit / size)
        for result in results
        for scan, measures in result.get("measures", {}).items()
        for index, (size, hit) in enumerate(measures["lesions"])
    ]
    frame = pd.DataFrame(rows, columns=["scan", "index", "ml", "found", "covered"]).groupby(["scan", "index"]).mean()
    labels = [f"{low:g}–{high:g} ml" if np.isfinite(high) else f"> {low:g} ml" for low, high in pairwise(bins)]
    groups = frame.groupby(pd.cut(frame.ml, bins, labels=labels), observed=False)
    return pd.DataFrame({"lesions": groups.size(), "found": groups.found.mean(), "covered": groups.covered.mean()})


def by_threshold(results: list[dict], least: int = LEAST) -> pd.DataFrame:
    """DSC in per cent by patient (index) and threshold on the probability (columns 0.1 … 0.9); seeds averaged.

    results: one network's runs. Of a patient's scans the counts are added; patients below `least` lesion voxels are left out.
    """
    rows = []
    for result in results:
        added: dict[str, dict[float, np.ndarray]] = {}
        for more in result.get("measures", {}).values():
            own = added.setdefault(more["patient"], {})
            for cut, counts in more.get("thresholds", {}).items():
                own[float(cut)] = own.get(float(cut), 0) + np.array(counts)
        for patient, cuts in added.items():
            if cuts and next(iter(cuts.values()))[[0, 2]].sum() >= least:
                dsc = {cut: 200 * tp / max(1, 2 * tp + fp + fn) for cut, (tp, fp, fn) in sorted(cuts.items())}
                rows.append({"patient": patient} | dsc)
    return pd.DataFrame(rows).groupby("patient").mean() if rows else pd.DataFrame()


def beside_thresholds(results: dict[str, list[dict]], least: int = LEAST) -> dict[str, pd.DataFrame]:
    """`by_threshold` of several networks (label → runs) over the patients that all of those that were run report."""
    frames = {label: by_threshold(runs, least) for label, runs in results.items()}
    frames = {label: frame for label, frame in frames.items() if len(frame)}
    shared = set.intersection(*(set(frame.index) for frame in frames.values())) if frames else set()
    return {label: frame.loc[sorted(shared)] for label, frame in frames.items()} if shared else {}


def failures(table: Table, results: list[dict], number: int = 4) -> pd.DataFrame:
    """The patients with the lowest mean DSC over a table's rows, and what goes wrong with them; a line a patient.

    results: those of the table's rows. Per cent, means over the rows: "DSC", "lowest", "highest" of a row, "SEN", "PPV"; then
    "lesions", how many regions the truth has, "largest, ml", "below 1 ml, %" of the lesion's volume that lies in regions under
    1 ml, and "volume" predicted / true.
    """
    frames = [frame.assign(row=label) for label, frame in table.patients.items() if len(frame)]
    if not frames:
        return pd.DataFrame()
    joined = pd.concat(frames)
    by = joined.groupby(level=0)
    found = 100 * pd.DataFrame(
        {"DSC": by.DSC.mean(), "lowest": by.DSC.min(), "highest": by.DSC.max(), "SEN": by.SEN.mean(), "PPV": by.PPV.mean()}
    )
    found["voxels"] = by.lesion_voxels.first()
    found["volume"] = by.predicted_ml.mean() / by.true_ml.mean()
    lesions: dict[str, dict[str, np.ndarray]] = {}
    for result in results:
        for scan, more in result.get("measures", {}).items():
            lesions.setdefault(more["patient"], {})[scan] = (
                np.array([size for size, _ in more["lesions"]]) * more["voxel_mm3"] / 1000
            )
    each = {patient: np.concatenate(list(scans.values())) for patient, scans in lesions.items()}
    found["lesions"] = {patient: len(ml) for patient, ml in each.items()}
    found["largest, ml"] = {patient: ml.max(initial=0) for patient, ml in each.items()}
    found["below 1 ml, %"] = {patient: 100 * ml[ml < 1].sum() / max(ml.sum(), 1e-9) for patient, ml in each.items()}
    return found.sort_values("DSC").head(number)


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
            "95 %": f"{_cell(row.low)} … {_cell(row.high)}" if row.low == row.low else "–",
            "paper": paper,
            **{m: _cell(row[m]) for m in metrics.METRICS[1:]},
            "Δ": f"{row.difference:+.1f}" if row.difference == row.difference else "",
            "Δ 95 %": f"{row['diff low']:+.1f} … {row['diff high']:+.1f}" if row["diff low"] == row["diff low"] else "",
            "p": p_in_words(row.p),
            "n": str(int(row.patients)),
            "all": _cell(row["DSC, all"]),
            "pooled": _cell(row["DSC, pooled"]),
            "HD95 mm": _cell(row["HD95, mm"]),
            "sDice": _cell(row["surface Dice"]),
            "LOV %": f"{row['LOV bias']:+.0f} ({row['LOV low']:+.0f} … {row['LOV high']:+.0f}, each ± {row['LOV ±']:.0f})"
            if row["LOV low"] == row["LOV low"]
            else "–",
            "folds": row.folds,
            "seeds": row.seeds,
        }
    body = pd.DataFrame.from_dict(lines, orient="index").fillna("").to_string()
    least = f'n: patients of ≥ {LEAST} lesion voxels; all but "all" and "pooled" are means over them, LOV included'
    rest = f"Δ: DSC against {table.grid.reference} over the same patients, p by Holm; no interval below {rule.FEWEST} patients"
    return f"{table.grid.title}\n{table.scale}\n{body}\n{least}\n{rest}"


def p_in_words(p: float) -> str:
    """A p-value for a table: two digits, "< 0.001" below, nothing for nan."""
    return "" if p != p else "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def pair_as_text(table: Table, one: str, other: str, metric: str = "DSC") -> str:
    """Every patient's difference between two rows of a table, largest first, and what the rule makes of them.

    ValueError for a row that the table does not have.
    """
    for label in (one, other):
        if label not in table.grid.rows:
            raise ValueError(f"grid {table.grid.name} has no row {label}; known: {', '.join(table.grid.rows)}")
    first, second = table.patients[one], table.patients[other]
    if not len(first) or not len(second):
        return f"{one} minus {other}: {NOT_RUN}"
    every = paired(first, second, metric, least=0).sort_values("difference", ascending=False)
    lines = {
        name: {one: _cell(100 * first[metric][name]), other: _cell(100 * second[metric][name])}
        | {"Δ": f"{row.difference:+.1f}", "fold": str(int(row.fold)), "voxels": str(int(row.lesion_voxels))}
        | {"": "" if row.lesion_voxels >= LEAST else f"below {LEAST} voxels, not in the mean"}
        for name, row in every.iterrows()
    }
    found = between(first, second, metric)
    said = f"mean Δ {found.mean:+.1f} over {found.patients} patients in {found.folds} folds"
    if found.low == found.low:
        large = paired(first, second, metric)
        seen = rule.smallest_visible(large.difference, large.fold)
        said += (
            f", 95 % {found.low:+.1f} … {found.high:+.1f}, p {p_in_words(found.p)}; smallest difference to be seen {seen:.1f}"
        )
    return f"{metric}, {one} minus {other}\n{pd.DataFrame.from_dict(lines, orient='index').to_string()}\n{said}"


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
