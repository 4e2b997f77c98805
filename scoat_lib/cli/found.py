"""The scans of a folder, by what name each goes, and whether a file is still what it was."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from scoat_lib.nifti import ScanError, dicom_files

SUFFIXES = (".nii", ".nii.gz")
LONGEST = 200  # bytes of a scan's name; its files' names have some more


@dataclass(frozen=True)
class Item:
    """A scan to be segmented. name: of its mask. path: a file, or a folder with a series. shown: its path within the folder."""

    name: str
    path: Path
    shown: str


def find(folder: Path, leave_out: tuple[Path, ...] = ()) -> list[Item]:
    """The scans of a folder by name: its own NIfTI files, and itself and each folder in it that holds DICOM files.

    leave_out: folders that are not looked into. ScanError where there is none, or where two scans would share a name.
    """
    paths = [p for p in sorted(folder.iterdir()) if p.name.lower().endswith(SUFFIXES) and p.is_file() and _seen(p)]
    looked_into = set()
    for inside, folders, _ in os.walk(folder, followlinks=True):
        here = os.stat(inside)
        if (here.st_dev, here.st_ino) in looked_into:  # a link that leads back
            folders.clear()
            continue
        looked_into.add((here.st_dev, here.st_ino))
        folders[:] = sorted(f for f in folders if not f.startswith(".") and not _among(Path(inside, f), leave_out))
        if dicom_files(Path(inside)):  # a DICOMDIR is none: it names the others
            paths.append(Path(inside))
    names: dict[str, list[Path]] = {}
    for path in paths:
        names.setdefault(_name(path, folder), []).append(path)
    items = []
    for name, alike in names.items():
        for path in alike:
            shown = written(path.relative_to(folder).as_posix() if path != folder else folder.resolve().name)
            items.append(Item(_short(name if len(alike) == 1 else shown.replace("/", "_")), path, shown))
    twice = sorted({i.name for i in items if sum(i.name.lower() == other.name.lower() for other in items) > 1})
    if twice:
        raise ScanError(f"{folder}: several scans would have a mask of the name {twice[0]}; rename one")
    if not items:
        raise ScanError(
            f"{folder}: holds no scan; scoat looks for .nii and .nii.gz files in it, and for folders of DICOM files"
        )
    return sorted(items, key=lambda item: item.name)


def _seen(path: Path) -> bool:
    return not path.name.startswith(".")


def _among(path: Path, others: tuple[Path, ...]) -> bool:
    return any(other.exists() and path.samefile(other) for other in others)


def _name(path: Path, folder: Path) -> str:
    if path.is_dir():
        name = folder.resolve().name if path == folder else path.relative_to(folder).as_posix().replace("/", "_")
    else:
        name = re.sub(r"\.nii(\.gz)?$", "", path.name, flags=re.IGNORECASE)
    return written(name).replace("\\", "_")


def written(text: str) -> str:
    """A file's name as it can stand in a record: bytes that are no UTF-8 as \\udcXX."""
    return text.encode("utf-8", "backslashreplace").decode()


def _short(name: str) -> str:
    """A name that leaves room for an ending: of a long one the beginning and a hash of the whole."""
    if len(name.encode()) <= LONGEST:
        return name
    return f"{name.encode()[:150].decode(errors='ignore')}-{hashlib.sha256(name.encode()).hexdigest()[:12]}"


def print_of(path: Path) -> dict:
    """What a file, or a folder of files, is known by: bytes, time of change, SHA-256."""
    return _stat_of(path) | {"sha256": digest(path)}


def is_still(path: Path, known: dict) -> bool:
    """Whether a file is what `print_of` saw; its content is read only where its time of change differs."""
    now = _stat_of(path)
    if now["bytes"] != known.get("bytes"):
        return False
    return now["changed_ns"] == known.get("changed_ns") or digest(path) == known.get("sha256")


def _files(path: Path) -> list[Path]:
    return dicom_files(path) if path.is_dir() else [path]


def _stat_of(path: Path) -> dict:
    """Bytes and time of change; of a folder, as one slice may replace another of its size, a hash of all names and times."""
    stats = [(p.name, p.stat()) for p in _files(path)]
    if path.is_dir():
        times = "\n".join(f"{written(name)} {s.st_size} {s.st_mtime_ns}" for name, s in stats)
        changed: int | str = hashlib.sha256(times.encode()).hexdigest()
    else:
        changed = stats[0][1].st_mtime_ns
    return {"bytes": sum(s.st_size for _, s in stats), "changed_ns": changed}


def digest(path: Path) -> str:
    """SHA-256 of a file, or of a folder's files one after the other, in hexadecimal."""
    whole = hashlib.sha256()
    for part in _files(path):
        with open(part, "rb") as file:
            whole.update(hashlib.file_digest(file, "sha256").digest())
    return whole.hexdigest()
