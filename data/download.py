#!/usr/bin/env python3
"""Download the public cohort: 20 COVID-19 chest CT scans with lesion masks (Ma et al., DOI 10.5281/zenodo.3757476, CC BY 4.0).

    python data/download.py                       scans and infection masks, 1.1 GB, to the folder the book looks in
    python data/download.py --masks infection lung --cases coronacases_001 radiopaedia_4_85506_1
    python data/download.py --mirror http://127.0.0.1:8000    from a copy of the record's files

Cut off, the same command goes on where it stopped. Every archive is checked against its SHA-256 before it is opened.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import sys
import tempfile
import zipfile
from pathlib import Path, PurePosixPath

import nibabel as nib
import numpy as np
import pooch
import requests
import urllib3
from tqdm import tqdm

from scoat_lib.cohort import MASKS, SCANS, cache_folder

RECORD = "https://zenodo.org/records/3757476/files"
HASHES = {
    "COVID-19-CT-Seg_20cases.zip": "a5060480eff9315b069b086312dac4872777901fb80d268a5a83edd9f4e7b440",
    "Infection_Mask.zip": "87901c73fdd2230260e61d2dbc57bf56026efc28264006b8ea2bf411453c1694",
    "Lung_Mask.zip": "f060b0d0299939a6d95ddefdbfa281de1a779c4d230a5adbd32414711d6d8187",
    "Lung_and_Infection_Mask.zip": "34f5a573cb8fb53cb15abe81868395d9addf436854826a6fd6e70c2b294f19c3",
}
MASK_ARCHIVES = {"infection": "Infection_Mask.zip", "lung": "Lung_Mask.zip", "both": "Lung_and_Infection_Mask.zip"}
SPARE = 200_000_000  # bytes to leave free on the disk
CHUNK = 1 << 18
pooch.get_logger().setLevel(logging.WARNING)  # its messages repeat the progress bar's
ATTEMPTS = 5


class DownloadError(RuntimeError):
    """A download that cannot be finished; its text says why and what to do."""


class ResumingDownloader:
    """A pooch downloader that keeps what came, in NAME.part, and asks the server for the rest."""

    def __init__(self, part: Path, attempts: int = ATTEMPTS, progress: bool = True, timeout: float = 30):
        self.part, self.attempts, self.progress, self.timeout = part, attempts, progress, timeout

    def __call__(self, url: str, output_file, _pooch) -> None:
        """Fetch url into output_file, over as many connections as it takes; DownloadError when it does not get on."""
        failure = None
        for _ in range(self.attempts):
            before = self._have()
            try:
                if self._fetch(url):
                    shutil.move(self.part, output_file)
                    return
                failure = "the connection was cut"
            except requests.RequestException as error:
                failure = _in_words(error)
                if isinstance(error, requests.HTTPError):
                    break
            except urllib3.exceptions.HTTPError:
                failure = "the connection was cut"
            if self._have() > before:
                continue
        kept = f" {self._have()} bytes are kept; the same command goes on from there." if self._have() else ""
        raise DownloadError(
            f"{url}: {failure}.{kept} Check the connection, or name a copy of the record with --mirror URL; "
            "without any data the book runs on its synthetic cohort."
        )

    def _have(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _fetch(self, url: str) -> bool:
        have = self._have()
        headers = {"Range": f"bytes={have}-"} if have else {}
        with requests.get(url, headers=headers, stream=True, timeout=self.timeout) as answer:
            if answer.status_code == 416:  # nothing is left to send: whole, or longer than the file, which its hash tells
                return True
            answer.raise_for_status()
            resumed = answer.status_code == 206
            have = have if resumed else 0
            length = answer.headers.get("Content-Length")
            total = have + int(length) if length else None
            if total is not None:
                check_space(self.part.parent, total - have, f"{Path(url).name}")
            with (
                open(self.part, "ab" if resumed else "wb") as file,
                tqdm(
                    total=total, initial=have, unit="B", unit_scale=True, desc=Path(url).name, disable=not self.progress
                ) as bar,
            ):
                # read1 hands over what has come, so nothing is lost when the connection breaks
                while chunk := answer.raw.read1(CHUNK):
                    file.write(chunk)
                    file.flush()
                    bar.update(len(chunk))
        return total is None or self._have() >= total


def _in_words(error: requests.RequestException) -> str:
    if isinstance(error, requests.HTTPError):
        return f"the server answered {error.response.status_code} {error.response.reason}"
    if isinstance(error, requests.Timeout):
        return "the server did not answer in time"
    if isinstance(error, requests.ConnectionError):
        return "there is no connection to the server (offline, or it is down)"
    return f"the download failed ({type(error).__name__})"


def check_space(folder: Path, needed: int, what: str) -> None:
    """Raise DownloadError unless the disk holds `needed` bytes and some to spare."""
    free = shutil.disk_usage(folder).free
    if free < needed + SPARE:
        raise DownloadError(
            f"{folder}: {what} needs {needed / 1e6:.0f} MB, {free / 1e6:.0f} MB are free; make room or choose another --output"
        )


def fetch_archive(name: str, sha256: str, url: str, folder: Path, progress: bool = True) -> Path:
    """An archive of the record, checked; DownloadError if it cannot be had whole and right."""
    archives = folder / ".archives"
    archives.mkdir(parents=True, exist_ok=True)
    part = archives / f"{name}.part"
    try:
        found = pooch.retrieve(
            f"{url}/{name}",
            known_hash=f"sha256:{sha256}",
            fname=name,
            path=archives,
            downloader=ResumingDownloader(part, progress=progress),
        )
    except ValueError as error:  # pooch: the hash differs; it has removed the file
        part.unlink(missing_ok=True)
        raise DownloadError(
            f"{url}/{name}: what came is not the published file (its SHA-256 differs) and was removed; run the command again, "
            "and if that repeats, the copy is damaged or changed"
        ) from error
    return Path(found)


def plan(archive: Path, cases: list[str] | None) -> dict[str, zipfile.ZipInfo]:
    """The NIfTI files of an archive by the name they get, "NAME.nii.gz"; only those of the wanted cases.

    DownloadError for a member whose path leads out of the folder or that is a link, and for a case that is not in it.
    """
    members: dict[str, zipfile.ZipInfo] = {}
    try:
        with zipfile.ZipFile(archive) as file:
            infos = file.infolist()
    except zipfile.BadZipFile as error:
        raise DownloadError(f"{archive.name}: is not a zip archive ({error})") from error
    for info in infos:
        path = PurePosixPath(info.filename.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
            raise DownloadError(
                f"{archive.name}: holds the path {info.filename!r}, which leads out of the folder; not unpacked"
            )
        if (info.external_attr >> 16) & 0o170000 == 0o120000:
            raise DownloadError(f"{archive.name}: holds the link {info.filename!r}; not unpacked")
        hidden = path.name.startswith(".") or "__MACOSX" in path.parts
        if info.is_dir() or hidden or not path.name.endswith((".nii", ".nii.gz")):
            continue
        name = path.name.replace("_org_", "_")  # one release of the record names the scans so, and the masks not
        if name in members:
            raise DownloadError(f"{archive.name}: holds {name} twice; not unpacked")
        members[name] = info
    if cases:
        stems = {name.removesuffix(".gz").removesuffix(".nii"): name for name in members}
        missing = sorted(set(cases) - set(stems))
        if missing:
            raise DownloadError(f"{archive.name}: has no case {', '.join(missing)}; it has {', '.join(sorted(stems))}")
        members = {stems[case]: members[stems[case]] for case in cases}
    return members


def unpack(archive: Path, folder: Path, cases: list[str] | None = None, progress: bool = True) -> list[Path]:
    """Unpack an archive's NIfTI files into folder, each whole or not at all; files that are there already stay."""
    members = plan(archive, cases)
    folder.mkdir(parents=True, exist_ok=True)
    wanted = {name: info for name, info in members.items() if not (folder / name).exists()}
    check_space(folder, sum(info.file_size for info in wanted.values()), f"unpacking {archive.name}")
    with zipfile.ZipFile(archive) as file:
        for name, info in tqdm(wanted.items(), desc=f"unpack {folder.name}", unit="file", disable=not progress):
            suffix = ".nii.gz" if name.endswith(".gz") else ".nii"
            with tempfile.TemporaryDirectory(prefix=".", dir=folder) as temporary:
                target = Path(temporary) / f"file{suffix}"
                with file.open(info) as source, open(target, "wb") as sink:
                    shutil.copyfileobj(source, sink, CHUNK)
                if folder.name == SCANS:
                    as_hounsfield(target)
                target.replace(folder / name)
    return [folder / name for name in members]


def as_hounsfield(path: Path) -> bool:
    """Give a scan stored as an 8-bit lung window (the record's radiopaedia scans, 0..255 over −1250..250 HU) its slope and
    intercept, so that it reads as HU. Returns whether it was one: no CT in HU lies within 0..255, it holds air.
    """
    image = nib.load(path)
    values = np.asanyarray(image.dataobj)
    if values.min() < 0 or values.max() > 255:
        return False
    as_bytes = np.rint(values).astype(np.uint8)
    converted = nib.Nifti1Image(as_bytes, image.affine)
    converted.header.set_slope_inter(1500 / 255, -1250)
    nib.save(converted, path)
    return True


def download(
    output: Path,
    masks: list[str],
    cases: list[str] | None = None,
    mirror: str = RECORD,
    hashes: dict[str, str] = HASHES,
    keep: bool = False,
    progress: bool = True,
) -> list[Path]:
    """Fetch, check and unpack the scans and the wanted masks; returns the scans' paths. What is there already stays."""
    wanted = {f"{SCANS}.zip": SCANS} | {MASK_ARCHIVES[m]: MASK_ARCHIVES[m].removesuffix(".zip") for m in masks}
    scans: list[Path] = []
    for name, target in wanted.items():
        there = output / target
        marker = there / ".complete"  # holds the archive's hash once all its cases are unpacked
        done = marker.exists() and marker.read_text() == hashes[name]
        if cases and all(any(there.glob(f"{case}.nii*")) for case in cases):
            done = True
        if not done:
            archive = fetch_archive(name, hashes[name], mirror.rstrip("/"), output, progress)
            unpack(archive, there, cases, progress)
            if not cases:
                marker.write_text(hashes[name])
            if not keep:
                archive.unlink()
        if target == SCANS:
            scans = sorted(p for p in there.iterdir() if p.name.endswith((".nii", ".nii.gz")))
    archives = output / ".archives"
    if archives.is_dir() and not any(archives.iterdir()):
        archives.rmdir()
    return scans


def main(argv: list[str] | None = None, hashes: dict[str, str] = HASHES) -> int:
    """The command line; returns the exit code: 0 done, 3 the download failed and the message says why."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--output", type=Path, default=cache_folder() / "zenodo-3757476", help="folder for the data (default: %(default)s)"
    )
    parser.add_argument(
        "--masks", nargs="*", choices=sorted(MASK_ARCHIVES), default=["infection"], help="which masks (default: infection)"
    )
    parser.add_argument("--cases", nargs="+", metavar="NAME", help="unpack only these cases (the archives hold all of them)")
    parser.add_argument("--mirror", default=RECORD, metavar="URL", help="where the record's files lie (default: %(default)s)")
    parser.add_argument("--keep-archives", action="store_true", help="keep the zip files after unpacking")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    arguments = parser.parse_args(argv)
    try:
        scans = download(
            arguments.output,
            arguments.masks,
            arguments.cases,
            arguments.mirror,
            hashes,
            arguments.keep_archives,
            not arguments.quiet,
        )
    except DownloadError as error:
        print(f"download: {error}", file=sys.stderr)
        return 3
    except OSError as error:
        print(f"download: {arguments.output}: cannot be written ({error}); choose another --output", file=sys.stderr)
        return 3
    print(f"{len(scans)} scans in {arguments.output}")
    if MASKS.split("_")[0].lower() in arguments.masks:
        print(f"use them: scoat train --data {arguments.output}   or   make book SCALE=real DATA={arguments.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
