"""Every scan of a folder, one after the other: a mask each, one table, and going on after a kill.

Beside NAME_mask.nii.gz lies NAME.json: what was asked for, of which file, and the scan's row of the table. It says "begun"
before the mask is written and "done" after, and it knows the mask's content before the mask has its name. So what a kill leaves
is told from what is whole, and both from what others put there.
"""

from __future__ import annotations

import csv
import errno
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

import scoat_lib
from scoat_lib import segmentation, weights
from scoat_lib.cli.app import in_words
from scoat_lib.cli.dated import patients_of
from scoat_lib.cli.found import Item, digest, find, is_still, print_of, written
from scoat_lib.files import amiss, one_writer, remove_parts, whole_file
from scoat_lib.nifti import ScanError, dicom_files
from scoat_lib.scan import Scan, on_grid_of

if TYPE_CHECKING:
    from scoat_lib.overview import Visit

TABLE, LOCK = "scans.csv", ".scoat.lock"
BETWEEN = " | "  # warnings in their column
BEGUN, DONE, FAILED, CHANGED = "begun", "done", "failed", "changed"
COLUMNS = ("name", "scan", "state", "volume_cm3", "right_lung_percent", "left_lung_percent", "lungs_percent", "warnings",
           "reason", "seconds", "weights", "threshold", "version")  # fmt: skip
SHARES = {"right_lung_percent": "right", "left_lung_percent": "left", "lungs_percent": "both"}
EVERY = 5.0  # seconds between two writings of the table: of ten thousand scans it is long
_FILES = {"mask": dict, "*": dict}  # of each kind, what `print_of` says
_ROW = {column: object for column in ("name", "scan", "state", "volume_cm3", "warnings", "reason")}
RECORD = {
    "made by": str, "state": str, "settings": dict, "row": _ROW, "files?": _FILES, "before?": _FILES, "of?": dict,
    "kept?": (dict, type(None)), "grid?": {"shape": [int], "affine": [[(int, float)]]},
}  # fmt: skip
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # the next scan would fare no better


def _joined(joined: str, *more: str) -> str:
    """Warnings in one text, after those that are there; what parts two of them stands in none."""
    return BETWEEN.join(filter(None, [joined, *(text.replace(BETWEEN, " / ") for text in more)]))


class Folder:
    """The folder of masks: which scans are done, and the files of each.

    output: for masks, records and table. settings: what two masks must share to stand in one table. probability, report:
    folders for those too, or None.
    """

    def __init__(self, output: Path, settings: dict, probability: Path | None = None, report: Path | None = None):
        self.output, self.settings, self.probability, self.report = output, settings, probability, report

    def record(self, item: Item) -> Path:
        """The JSON beside the mask."""
        return self.output / f"{item.name}.json"

    def targets(self, item: Item) -> dict[str, Path]:
        """The files that are asked for, by kind."""
        wanted = {"mask": self.output / f"{item.name}_mask.nii.gz"}
        if self.probability:
            wanted["probability"] = self.probability / f"{item.name}_probability.nii.gz"
        if self.report:
            wanted |= {"page": self.report / f"{item.name}.html", "picture": self.report / f"{item.name}.png"}
        return wanted

    def known(self, item: Item) -> dict | None:
        """The record of a scan; None where there is none that this command wrote."""
        try:
            content = json.loads(self.record(item).read_text())
        except (FileNotFoundError, ValueError, RecursionError):
            return None
        if amiss(content, RECORD) or content["made by"] != "scoat segment":
            return None
        return content if content["state"] != DONE or {"files", "of"} <= set(content) else None

    def state(self, item: Item) -> tuple[str, str]:
        """("to do" | "done" | "changed" | "other", why): other is what lies there and was made otherwise, or by others."""
        record, targets = self.known(item), self.targets(item)
        if record is None or record["state"] == FAILED:  # where it failed it left nothing
            places = [*targets.values(), *([self.record(item)] if record is None else [])]
            taken = [p.name for p in places if p.exists()]
            return ("other", f"{taken[0]} was not made by this command") if taken else ("to do", "")
        mask = targets["mask"]
        if record["state"] != DONE:  # killed: what lies there is what was being written, or what it was to replace
            known = [record[key]["mask"] for key in ("files", "before") if record.get(key)]
            if mask.exists() and not any(is_still(mask, one) for one in known):
                return "other", f"{mask.name} was not made by this command"
            return "to do", ""
        edited = mask.exists() and not is_still(mask, record["files"]["mask"])
        if mask.exists() and not is_still(item.path, record["of"]):
            by_hand = ", and that mask was changed by hand" if edited else ""
            return "other", f"{item.shown} has changed since its mask was made{by_hand}"
        if edited:  # whatever it is asked for now: it is nobody's threshold any more
            return CHANGED, ""
        for key, value in self.settings.items():
            if record["settings"].get(key) != value:
                return "other", f"{item.name} has {key} {record['settings'].get(key)}, now {value}"
        if not mask.exists():
            return "to do", ""
        files = record["files"]
        for kind, path in targets.items():
            if path.exists() and not (kind in files and is_still(path, files[kind])):
                return "other", f"{path.name} was not made with this mask"
        return (DONE, "") if all(path.exists() for path in targets.values()) else ("to do", "")

    def vouched(self, item: Item) -> dict | None:
        """The record of a mask that lies there whole, of this scan as it is and by these settings; None where there is none.

        A run that was killed since has kept it in its own.
        """
        record, mask = self.known(item), self.targets(item)["mask"]
        if record and record["state"] == BEGUN:
            record = record.get("kept")
        if record is None or record["state"] != DONE or not mask.exists():
            return None
        asked = all(record["settings"].get(key) == value for key, value in self.settings.items())
        try:
            same = is_still(item.path, record["of"])
        except OSError:  # it cannot be looked at now, which is no reason to give its mask up
            same = True
        return record if asked and same and is_still(mask, record["files"]["mask"]) else None

    def others(self, items: list[Item]) -> list[dict]:
        """The rows of scans that are not among the items, and whose masks lie here."""
        mine, rows = {self.record(item).name for item in items}, []
        for path in sorted(self.output.glob("*.json")):
            known = None if path.name in mine else self.known(Item(path.stem, path, ""))
            if known and known["state"] == DONE and self.targets(Item(path.stem, path, ""))["mask"].exists():
                rows.append(known["row"])
        return rows

    def write(self, item: Item, state: str, row: dict, **more) -> dict:
        """Write the record of a scan, whole or not at all."""
        content = {"made by": "scoat segment", "state": state, "settings": self.settings, "row": row} | more
        with whole_file(self.record(item), ".json") as temporary:
            temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False))
        return row


def segment(
    folder: Path,
    output: Path,
    weights_name: str | None,
    options: segmentation.Options,
    *,
    probability: Path | None = None,
    report: Path | None = None,
    follow_up: Path | None = None,
    dates: Path | None = None,
    labels: bool = False,
    batch: int = 16,
    device: str = "cpu",
    overwrite: bool = False,
    quiet: bool = False,
) -> list[dict]:
    """Segment every scan of a folder into another; the rows of the table, one a scan (COLUMNS).

    probability, report, follow_up: folders for the probabilities, the page of each scan, the page of each patient with two
    dates. dates: a CSV with the columns name, patient, date; None takes them from names like ID_2020-01-30. labels: write the
    files for viewers too. One scan is in memory at a time. Finished scans are not done again.
    Raises ScanError where a folder cannot be used, or (without overwrite) where files lie there that were made otherwise;
    BusyError where another process is at work in it.
    """
    segmenter = weights.load(weights_name)
    file = weights.place(weights_name)
    label = f"{file.stem} {digest(file)[:12]}"
    work = Folder(output, {"weights": label} | options.settled(segmenter), probability, report)
    outputs = tuple(p for p in (output, probability, report, follow_up) if p)
    for target in outputs:
        _check_folder(target, folder)
    items = find(folder, outputs)
    patients = patients_of(items, dates) if follow_up else {}
    if report and follow_up and report.resolve() == follow_up.resolve():
        both = {item.name.lower() for item in items} & {patient.lower() for patient in patients}
        if both:
            raise ScanError(f"{report}: a scan and a patient are both called {min(both)}; choose two folders for their pages")
    for target in outputs:
        target.mkdir(parents=True, exist_ok=True)
    with ExitStack() as locks:
        for target in sorted({target.resolve() for target in outputs}):
            locks.enter_context(one_writer(target / LOCK, "another scoat"))
            remove_parts(target)
        _check_table(output / TABLE, overwrite)
        if labels:
            segmentation.write_labels(output, overwrite)
        rows = _all(items, work, segmenter, options, batch, device, overwrite, quiet)
        if follow_up:
            _follow_up(patients, rows, work, options, follow_up, overwrite)
        return [rows[item] for item in items]


def _check_folder(target: Path, folder: Path) -> None:
    if target.exists() and not target.is_dir():
        raise ScanError(f"{target}: is a file; of a folder of scans the output is a folder")
    if target.exists() and target.samefile(folder):
        raise ScanError(f"{target}: is the folder of the scans; choose another one for what is written")
    if target.exists() and dicom_files(target):
        raise ScanError(f"{target}: holds a DICOM series; choose another folder for what is written")


def _check_table(path: Path, overwrite: bool) -> None:
    if path.exists() and not overwrite and not path.read_text(errors="replace").startswith(",".join(COLUMNS[:3])):
        raise ScanError(f"{path}: exists and is another table; choose another folder, or say --overwrite")


def _all(items: list[Item], work: Folder, segmenter, options, batch, device, overwrite, quiet) -> dict[Item, dict]:
    rows, left = {}, []
    states = {item: work.state(item) for item in items}
    others = [why for state, why in states.values() if state == "other"]
    if others and not overwrite:
        raise ScanError(
            f"{work.output}: {len(others)} of its files {'was' if len(others) == 1 else 'were'} made otherwise ({others[0]}); "
            "choose another folder, or say --overwrite to make them again"
        )
    inodes = {(s.st_dev, s.st_ino) for s in (item.path.stat() for item in items)}
    for item, (state, _) in states.items():
        if any(p.exists() and (p.stat().st_dev, p.stat().st_ino) in inodes for p in work.targets(item).values()):
            raise ScanError(f"{work.output}: holds a link to one of the scans, which would be lost; choose another folder")
        if state == DONE:
            rows[item] = work.known(item)["row"]
        elif state == CHANGED:
            rows[item] = _changed(work, item)
        else:
            left.append(item)
    more = work.others(items)
    _write_table(work.output, items, rows, more)
    if rows and not quiet:
        print(f"{len(rows)} of {len(items)} scans were done before", file=sys.stderr)
    written = time.monotonic()
    try:
        for item, bar in _progress(left, quiet):
            rows[item] = row = _one(item, work, segmenter, options, batch, device)
            for text in [row["reason"]] if row["reason"] else row["warnings"].split(BETWEEN):
                if text:
                    bar(f"scoat: {'' if row['reason'] else f'warning: {item.shown}: '}{text}")
            if time.monotonic() - written > EVERY:
                _write_table(work.output, items, rows, more)
                written = time.monotonic()
    finally:
        _write_table(work.output, items, rows, more)
    return rows


def _progress(left: list[Item], quiet: bool) -> Iterator:
    """Each scan with a function that prints a line; a bar with the time left on a terminal, else a line a scan."""
    bar = tqdm(left, unit="scan", disable=True if quiet else None, dynamic_ncols=True, file=sys.stderr)
    began = time.monotonic()
    for number, item in enumerate(bar, 1):
        yield item, (lambda text: tqdm.write(text, file=sys.stderr))
        if bar.disable and not quiet:
            minutes = (time.monotonic() - began) / number * (len(left) - number) / 60
            print(f"{number} of {len(left)}: {item.name}, about {minutes:.1f} min left", file=sys.stderr, flush=True)


def _one(item: Item, work: Folder, segmenter, options, batch, device) -> dict:
    """Segment one scan and write its files; the row. What is wrong with the scan becomes the row's reason."""
    row = dict.fromkeys(COLUMNS, "") | {
        "name": item.name,
        "scan": item.shown,
        "weights": work.settings["weights"],
        "threshold": work.settings["threshold"],
        "version": scoat_lib.__version__,
    }
    began, targets, kept = time.perf_counter(), work.targets(item), None
    try:
        kept, of = work.vouched(item), print_of(item.path)
        before = {"before": {"mask": print_of(targets["mask"])}, "kept": kept} if targets["mask"].exists() else {}
        work.write(item, BEGUN, row, **before)
        found = segmentation.of(Scan.load(item.path, assume=options.assume), segmenter, options, device, batch)
        row |= _measured(found)
        with whole_file(targets["mask"], ".nii.gz") as temporary:
            found.save(temporary)
            work.write(item, BEGUN, row, files={"mask": print_of(temporary)}, **before)
        if "probability" in targets:
            found.probability_scan.save(targets["probability"])
        if "page" in targets and (failed := _write_report(targets, found, item, work)):
            row["warnings"] = _joined(row["warnings"], failed)
        row |= {"state": DONE, "seconds": round(time.perf_counter() - began, 2)}
        files = {kind: print_of(path) for kind, path in targets.items() if path.exists()}
        grid = {"shape": list(found.scan.voxels.shape), "affine": found.scan.affine.tolist()}
        return work.write(item, DONE, row, of=of, files=files, grid=grid)
    except Exception as error:  # whatever one scan does to a library, the others are not to wait for it
        if _stops(error):
            raise
        reason = written(in_words(error))
        if kept and targets["mask"].exists() and is_still(targets["mask"], kept["files"]["mask"]):
            return _as_it_was(work, item, kept, reason)
        for path in targets.values():  # of an earlier time: it would stand beside a row that says there is none
            path.unlink(missing_ok=True)
        reason = reason if written(item.path.name) in reason else f"{item.shown}: {reason}"
        row |= dict.fromkeys(("volume_cm3", "warnings", *SHARES), "")
        row |= {"state": FAILED, "reason": reason, "seconds": round(time.perf_counter() - began, 2)}
        return work.write(item, FAILED, row)


def _as_it_was(work: Folder, item: Item, kept: dict, reason: str) -> dict:
    """The row of an earlier run whose mask is whole, where what was asked for beside it could not be made."""
    for kind, path in work.targets(item).items():
        if path.exists() and not (kind in kept["files"] and is_still(path, kept["files"][kind])):
            path.unlink()
    more = {key: kept[key] for key in ("of", "files", "grid") if key in kept}
    work.write(item, DONE, kept["row"], **more)
    said = f"what was asked for beside the mask could not be made: {reason}; the mask is whole, the same command tries again"
    return kept["row"] | {"warnings": _joined(kept["row"]["warnings"], said)}


def _stops(error: Exception) -> bool:
    """Whether an error is not one scan's alone: the disk is full, or somebody looks for its cause."""
    return bool(os.environ.get("SCOAT_DEBUG")) or (isinstance(error, OSError) and error.errno in FULL)


def _write_report(targets: dict[str, Path], found: segmentation.Segmentation, item: Item, work: Folder) -> str:
    """Write the page of a scan and its picture; what is to be said where that fails, then neither is left, else ""."""
    try:
        from scoat_lib import overview  # matplotlib is needed for pages only

        made = segmentation.facts(work.settings["weights"], work.settings)
        overview.write(targets["page"], *overview.report(found, item.name, made, work.settings["threshold"]))
    except Exception as error:  # the drawing is done by libraries, and the mask is worth more than its picture
        if _stops(error):
            raise
        for kind in ("page", "picture"):
            targets[kind].unlink(missing_ok=True)
        return f"no report page: {in_words(error)}; the mask is whole, and the same command tries the page again"
    return ""


def _measured(found: segmentation.Segmentation) -> dict:
    """Volume, shares of the lungs and warnings of a scan, as the table shows them."""
    shares, said = found.percent()
    percent = {column: round(shares[side], 2) for column, side in SHARES.items() if side in shares}
    return {"volume_cm3": round(found.volume, 2), "warnings": _joined("", *found.warnings, *said)} | percent


def _follow_up(patients: dict, rows: dict[Item, dict], work: Folder, options, folder: Path, overwrite: bool) -> None:
    """A page for each patient with two dates that have a mask; one scan in memory at a time."""
    from scoat_lib import overview

    for patient, dated in patients.items():
        page = folder / f"{patient}.html"
        if page.exists() and not overwrite and overview.GENERATOR not in page.read_text(errors="replace")[:2000]:
            raise ScanError(f"{page}: exists and is another file; choose another folder, or say --overwrite")
        usable = [(day, item) for day, item in dated if rows[item]["state"] in (DONE, CHANGED)]
        if len(usable) < 2:
            continue
        try:
            visits = [_visit(day, item, rows[item], work, options) for day, item in usable]
            made = segmentation.facts(work.settings["weights"], work.settings)
            overview.write(page, overview.follow_up(patient, visits, made))
        except Exception as error:  # as of a scan's page: one patient's is not to cost the others theirs
            if _stops(error):
                raise
            page.unlink(missing_ok=True)
            print(f"scoat: warning: {patient}: no follow-up page: {in_words(error)}", file=sys.stderr)


def _visit(day: date, item: Item, row: dict, work: Folder, options) -> Visit:
    from scoat_lib import overview

    scan = Scan.load(item.path, assume=options.assume)
    mask = Scan.load(work.targets(item)["mask"], mask=True, assume=options.assume)
    share = row.get("lungs_percent")
    view = overview.largest_view(scan, mask)
    return overview.Visit(
        day, item.name, float(row["volume_cm3"]), None if share in ("", None) else share, row["warnings"], view
    )


def _changed(work: Folder, item: Item) -> dict:
    """The row of a mask that was changed by hand since: its volume is counted anew, the file is left alone."""
    record = work.known(item)
    row = record["row"] | dict.fromkeys(SHARES, "")
    said = "the mask was changed since it was made; it is kept, and its volume counted anew"
    path = work.targets(item)["mask"]
    assume = tuple(word for word in record["settings"].get("assume", ()) if word != "hu")
    try:
        mask = Scan.load(path, mask=True, assume=assume)
        if grid := record.get("grid"):
            on_grid_of(mask, Scan(np.zeros(grid["shape"], np.uint8), np.array(grid["affine"]), item.path))
        row |= {"state": CHANGED, "volume_cm3": round(mask.volume(), 2)}
    except ScanError as error:
        row |= {"state": FAILED, "volume_cm3": "", "reason": in_words(error)}
    return row | {"warnings": _joined(row["warnings"], said)}


def _write_table(output: Path, items: list[Item], rows: dict[Item, dict], more: list[dict]) -> None:
    """The table of what is finished, then of other scans' masks; the lungs' columns are left out where no lungs are found."""
    columns = [c for c in COLUMNS if c not in SHARES or segmentation.optional("lungs")]
    with whole_file(output / TABLE, ".csv") as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows([rows[item] for item in items if item in rows] + more)
