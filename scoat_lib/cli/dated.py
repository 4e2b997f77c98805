"""Which scans are of one patient, and of which days: by their names, or by a table."""

from __future__ import annotations

import csv
import re
import sys
from datetime import date
from pathlib import Path

from scoat_lib.cli.found import Item
from scoat_lib.nifti import ScanError

DATED = re.compile(r"(?P<patient>.+)[_-](?P<day>\d{4}-\d{2}-\d{2})")


def patients_of(items: list[Item], dates: Path | None) -> dict[str, list[tuple[date, Item]]]:
    """The dates of each patient who has two or more; ScanError where the dates cannot be read, or where nobody has two."""
    patients: dict[str, list[tuple[date, Item]]] = {}
    if dates is None:
        for item in items:
            if found := DATED.fullmatch(item.name):
                patients.setdefault(found["patient"], []).append((_day(found["day"], item.shown), item))
    else:
        known = {key: item for item in items for key in (item.name, item.shown)}
        rows, strange = _dated_rows(dates), []
        for row in rows:
            if row["name"] in known:
                day = _day(row["date"], f"{dates}: {row['name']}")
                patients.setdefault(row["patient"], []).append((day, known[row["name"]]))
            else:
                strange.append(row["name"])
        if strange:
            shown = ", ".join(strange[:3]) + (", …" if len(strange) > 3 else "")
            are = "is no scan" if len(strange) == 1 else "are no scans"
            print(f"scoat: warning: {dates}: {len(strange)} of its {len(rows)} names {are} here: {shown}", file=sys.stderr)
    several = {patient: visits for patient, visits in patients.items() if len(visits) > 1}
    if not several:
        raise ScanError(
            "no patient has two dates, so there is no follow-up; name scans ID_2020-01-30.nii.gz, or give --dates a CSV with "
            "the columns name, patient, date"
        )
    for patient in several:
        if not patient or patient.startswith(".") or re.search(r"[/\\\0]", patient):
            raise ScanError(f"{dates}: {patient!r} cannot be a page's name; use letters, digits, - and _")
    return several


def _dated_rows(dates: Path) -> list[dict]:
    try:
        with open(dates, newline="", encoding="utf-8-sig") as lines:
            reader = csv.DictReader(lines)
            missing = {"name", "patient", "date"} - set(reader.fieldnames or ())
            if missing:
                raise ScanError(f"{dates}: has no column {', '.join(sorted(missing))}; needed: name, patient, date")
            return [{key: (row[key] or "").strip() for key in ("name", "patient", "date")} for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ScanError(f"{dates}: is not a CSV in UTF-8 ({error})") from error


def _day(text: str, where: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ScanError(f"{where}: {text!r} is no date; write it as 2020-01-30") from None
