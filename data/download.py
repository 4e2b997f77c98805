#!/usr/bin/env python3
"""Download the public cohort: 20 COVID-19 chest CT scans with lesion masks (Ma et al., DOI 10.5281/zenodo.3757476, CC BY 4.0).

    python data/download.py                       scans and infection masks, 1.1 GB, to the folder the book looks in
    python data/download.py --masks infection lung --cases coronacases_001 radiopaedia_4_85506_1
    python data/download.py --mirror http://127.0.0.1:8000    from a copy of the record's files
    python data/download.py --from FOLDER --output FOLDER     a copy unpacked by hand, or Kaggle's: mended copies of its files

Cut off, the same command goes on where it stopped. Every archive is checked against its SHA-256 before it is opened.
What the record gets wrong is mended in the unpacked files, once, and noted in their headers: the radiopaedia scans and their
masks are turned as the patient lay (front and back, one of them head and foot too), and their 8-bit grey values become HU.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from pathlib import Path, PurePosixPath

import nibabel as nib
import pooch
import requests
import urllib3
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from tqdm import tqdm

from scoat_lib import __version__, record, upright
from scoat_lib.cohort import MASKS, SCANS, download_folder
from scoat_lib.files import PART, BusyError, one_writer, sync, whole_file, write_whole
from scoat_lib.record import RecordError
from scoat_lib.scan import Scan, ScanError

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
LARGEST = 4_000_000_000  # bytes a file may have once unpacked; the record's largest has under one thousand million
BUSY = (429, 502, 503, 504)  # answers that ask to come again later
LONGEST_WAIT = 120.0  # seconds; a server that asks for more is left alone
SLOW = (60.0, 1000)  # seconds watched, and the bytes per second below which a server counts as stuck
AGENT = f"scoat-lib/{__version__} (data/download.py) {requests.utils.default_user_agent()}"
UNWANTED = ".unwanted"  # the name of a note beside an archive that goes once it is unpacked


class DownloadError(RuntimeError):
    """A download that cannot be finished; its text says why and what to do."""


class ResumingDownloader:
    """A pooch downloader that keeps what came, in NAME.part, and asks the server for the rest."""

    def __init__(self, part: Path, attempts: int = ATTEMPTS, progress: bool = True, timeout: float = 30):
        self.part, self.attempts, self.progress, self.timeout = part, attempts, progress, timeout

    def __call__(self, url: str, output_file, _pooch) -> None:
        """Fetch url into output_file, over as many connections as it takes; DownloadError when it does not get on.

        A server that is busy is asked again after the seconds it names (Retry-After), up to LONGEST_WAIT.
        """
        failure, wait = None, 1.0
        for attempt in range(self.attempts):
            try:
                if self._fetch(url):
                    self._refuse_other_than_zip(url)
                    shutil.move(self.part, output_file)
                    return
                failure = "the connection was cut"
            except requests.RequestException as error:
                failure = _in_words(error)
                answer = error.response
                if answer is not None and answer.status_code in BUSY:
                    asked = retry_after(answer.headers.get("Retry-After"))
                    if asked is not None and asked > LONGEST_WAIT:
                        failure += f" and asks to come again in {asked:.0f} seconds"
                        break
                    if attempt + 1 < self.attempts:
                        time.sleep(wait if asked is None else asked)
                        wait *= 2
                elif not isinstance(error, (requests.ConnectionError, requests.Timeout)):
                    break
            except urllib3.exceptions.ReadTimeoutError:
                failure = f"the server sent nothing for {self.timeout:g} seconds"
            except urllib3.exceptions.HTTPError:
                failure = "the connection was cut"
            except TimeoutError as error:
                failure = str(error)
                break
        kept = f" {self._have()} bytes are kept; the same command goes on from there." if self._have() else ""
        raise DownloadError(
            f"{url}: {failure}.{kept} Check the connection, or name a copy of the record with --mirror URL; "
            "without any data the book runs on its synthetic cohort."
        )

    def _have(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _fetch(self, url: str) -> bool:
        have = self._have()
        headers = {"User-Agent": AGENT, "Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
        with requests.get(url, headers=headers, stream=True, timeout=self.timeout) as answer:
            if answer.status_code == 416:  # nothing is left to send: whole, or longer than the file, which its hash tells
                return True
            answer.raise_for_status()
            if answer.headers.get("Content-Type", "").lower().startswith("text/html"):
                raise _not_a_zip(url, "a web page")
            resumed = answer.status_code == 206
            if resumed and not answer.headers.get("Content-Range", f"bytes {have}-").startswith(f"bytes {have}-"):
                self.part.unlink()  # another part than the one asked for
                return False
            have = have if resumed else 0
            length = answer.headers.get("Content-Length", "")
            total = have + int(length) if length.isdecimal() else None
            if total is not None:
                check_space(self.part.parent, total - have, f"{Path(url).name}")
            with (
                open(self.part, "ab" if resumed else "wb") as file,
                tqdm(
                    total=total, initial=have, unit="B", unit_scale=True, desc=Path(url).name, disable=not self.progress
                ) as bar,
            ):
                since, came = time.monotonic(), 0
                # read1 hands over what has come, so nothing is lost when the connection breaks
                while chunk := answer.raw.read1(CHUNK):
                    file.write(chunk)
                    file.flush()
                    bar.update(len(chunk))
                    came += len(chunk)
                    if time.monotonic() - since > SLOW[0]:
                        if came < SLOW[0] * SLOW[1]:
                            raise TimeoutError(f"the server sends less than {SLOW[1]} bytes a second")
                        since, came = time.monotonic(), 0
        return total is None or self._have() >= total

    def _refuse_other_than_zip(self, url: str) -> None:
        """DownloadError, and nothing kept, if what came as NAME.zip does not begin as a zip archive does."""
        with open(self.part, "rb") as file:
            begin = file.read(256)
        if url.endswith(".zip") and not begin.startswith(b"PK"):
            self.part.unlink()
            raise _not_a_zip(
                url, "a web page" if b"<html" in begin.lower() or b"<!doctype" in begin.lower() else "something else"
            )


def _not_a_zip(url: str, what: str) -> DownloadError:
    return DownloadError(
        f"{url}: the server sent {what} instead of the zip archive; look at the address in a browser (a log-in or a notice?), "
        "or name a copy of the record with --mirror URL"
    )


def retry_after(text: str | None) -> float | None:
    """Seconds to wait by a Retry-After header (seconds, or a date), from 0 up; None where it says nothing."""
    if text is None:
        return None
    if text.strip().isdecimal():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (TypeError, ValueError):
        return None


def _in_words(error: requests.RequestException) -> str:
    if isinstance(error, requests.HTTPError):
        return f"the server answered {error.response.status_code} {error.response.reason}"
    if isinstance(error, requests.TooManyRedirects):
        return "the server sends from address to address in a circle"
    if isinstance(error, requests.Timeout):
        return "the server did not answer in time"
    if isinstance(error, requests.ConnectionError):
        return "there is no connection to the server (offline, or it is down)"
    if isinstance(error, ValueError):  # requests' own, for an address without a scheme or a host
        return "this is not an address of the web (http:// or https://)"
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
        if path.is_absolute() or ".." in path.parts or (path.parts and ":" in path.parts[0]):
            raise DownloadError(
                f"{archive.name}: holds the path {info.filename!r}, which leads out of the folder; not unpacked"
            )
        if (info.external_attr >> 16) & 0o170000 not in (0, 0o040000, 0o100000):  # neither unsaid, nor a folder, nor a file
            raise DownloadError(f"{archive.name}: holds the link {info.filename!r}; not unpacked")
        hidden = path.name.startswith(".") or "__MACOSX" in path.parts
        if info.is_dir() or hidden or not path.name.endswith((".nii", ".nii.gz")):
            continue
        if info.file_size > LARGEST:
            raise DownloadError(
                f"{archive.name}: {info.filename!r} would unpack to {info.file_size / 1e9:.0f} GB, no scan's size; not unpacked"
            )
        suffix = ".nii.gz" if path.name.endswith(".gz") else ".nii"
        stem = path.name.removesuffix(suffix)
        name = (record.case_name(path.name) or stem.replace("_org_", "_")) + suffix  # releases differ in the scans' names
        other = next((n for n in members if n.split(".nii")[0] == name.split(".nii")[0]), None)
        if other:
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
    """Unpack an archive's NIfTI files into folder, mended, each whole or not at all; files that are there already stay.

    Scans go to a folder named as the record's, masks beside it, after their scans. DownloadError for a damaged archive or file.
    """
    members = plan(archive, cases)
    folder.mkdir(parents=True, exist_ok=True)
    wanted = {name: info for name, info in members.items() if not (folder / name).exists()}
    check_space(folder, sum(info.file_size for info in wanted.values()), f"unpacking {archive.name}")
    with zipfile.ZipFile(archive) as file:
        for name, info in tqdm(wanted.items(), desc=f"unpack {folder.name}", unit="file", disable=not progress):
            suffix = ".nii.gz" if name.endswith(".gz") else ".nii"
            with tempfile.TemporaryDirectory(prefix=PART, dir=folder) as temporary:
                target = Path(temporary) / f"file{suffix}"
                try:
                    with file.open(info) as source, open(target, "wb") as sink:
                        shutil.copyfileobj(source, sink, CHUNK)
                except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
                    raise DownloadError(
                        f"{archive.name}: {info.filename} is damaged ({error}); remove the archive and run the command again"
                    ) from error
                mend(target, folder, name, f"{archive.name}: {info.filename}")
                sync(target)
                target.replace(folder / name)
            if folder.name == SCANS:
                _warn(folder / name)
    return [folder / name for name in members]


def _warn(path: Path) -> None:
    """Say it if a scan still seems to lie otherwise than its header says."""
    text = upright.warning(Scan.load(path), path.name)
    if text:
        print(f"download: warning: {text}", file=sys.stderr)


def mend(path: Path, folder: Path, name: str, where: str) -> tuple[str, ...]:
    """Mend a file of the record in place (see `scoat_lib.record`); returns what was done, () for nothing.

    folder, name: where the file belongs, which say what it is: a scan, or a mask with its scan beside it (with none there it
    stays as it is). where: for messages. DownloadError for a file that cannot be read.
    """
    kind, case = record.kind_of(folder.name), name.removesuffix(".gz").removesuffix(".nii")
    if kind is None:
        return ()
    try:
        image = _opened(path, where)
        if kind == "scan":
            new, done = record.mended_scan(image, case)
        else:
            scan = next((p for p in (folder.parent / SCANS).glob(f"{case}.nii*")), None)
            new, done = record.mended_mask(image, nib.load(scan), case) if scan else (image, ())
        if done:
            with whole_file(path, ".nii.gz" if path.name.endswith(".gz") else ".nii") as temporary:
                nib.save(new, temporary)
    except RecordError as error:
        raise DownloadError(f"{where}: {error}") from error
    except (ImageFileError, HeaderDataError, ScanError, EOFError, zlib.error, ValueError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # the disk's fault, not the file's
            raise
        raise DownloadError(
            f"{where}: is no readable NIfTI file ({error}); take it from the record again and compare its size"
        ) from error
    return done


def _opened(path: Path, where: str):
    """A NIfTI image whose voxels are not read yet; DownloadError if they would be more than LARGEST bytes."""
    image = nib.load(path)
    voxels = 1
    for n in image.shape:
        voxels *= int(n)
    size = voxels * image.get_data_dtype().itemsize
    if size > LARGEST:
        raise DownloadError(f"{where}: its header promises {size / 1e9:.0f} GB of voxels, no scan's size; not unpacked")
    return image


def mend_folder(output: Path) -> list[str]:
    """Mend what an earlier edition of this program left as the record has it; returns one line a file that was changed.

    Files with the note of having been mended are not opened beyond their header.
    """
    lines = []
    for kind in record.FOLDERS.values():
        for path in sorted((output / kind).glob("radiopaedia_*.nii*")):
            done = mend(path, path.parent, path.name, str(path))
            if done:
                lines.append(f"{kind}/{path.name}: mended ({', '.join(done)})")
    return lines


def convert(source: Path, output: Path, kinds: list[str] | None = None, say: Callable[[str], None] = print) -> list[Path]:
    """Copy the record's files from a folder where they are named otherwise, and mend the copies; returns the scans' paths.

    source: a copy unpacked by hand, or Kaggle's (see `scoat_lib.record.find`); never changed. output: another folder, where
    files that are there already stay. kinds: masks to take, None for all that are there. say: called with a line for each file
    that was mended. Raises DownloadError before anything is written if files are missing, unknown or do not pair, or one folder
    lies in the other.
    """
    here, there = source.resolve(), output.resolve()
    if here == there or here in there.parents or there in here.parents:
        raise DownloadError(
            f"--output {output}: lies in --from {source}, or around it; give a folder apart, nothing is mended in place"
        )
    try:
        files = record.paired(record.find(source), kinds)
        for case, path in files["scan"].items():
            for kind in files.keys() - {"scan"}:
                mask = files[kind][case]
                shapes = _opened(path, str(path)).shape, _opened(mask, str(mask)).shape
                if shapes[0][:3] != shapes[1][:3]:
                    raise DownloadError(f"{mask}: has shape {shapes[1]}, its scan {path} {shapes[0]}; is it another's mask?")
    except RecordError as error:
        raise DownloadError(str(error)) from error
    except (ImageFileError, HeaderDataError, EOFError, zlib.error) as error:
        raise DownloadError(
            f"{source}: holds a file that is no readable NIfTI ({error}); take it from the record again"
        ) from error
    output.mkdir(parents=True, exist_ok=True)
    with _alone(output):
        return _copied(source, files, output, say)


def _copied(source: Path, files: dict[str, dict[str, Path]], output: Path, say: Callable[[str], None]) -> list[Path]:
    """Copy and mend paired files; the scans' paths."""
    check_space(output, sum(path.stat().st_size for part in files.values() for path in part.values()), f"copying {source}")
    scans = []
    for kind, part in files.items():
        folder = output / record.FOLDERS[kind]
        folder.mkdir(exist_ok=True)
        for case, path in part.items():
            target = folder / f"{case}.nii.gz"
            if not target.exists():
                with tempfile.TemporaryDirectory(prefix=PART, dir=folder) as temporary:
                    new = Path(temporary) / "file.nii.gz"
                    if path.name.lower().endswith(".gz"):
                        shutil.copyfile(path, new)
                    else:
                        nib.save(nib.load(path), new)
                    done = mend(new, folder, target.name, str(path))
                    sync(new)
                    new.replace(target)
                if done:
                    say(f"{record.FOLDERS[kind]}/{target.name}: mended ({', '.join(done)})")
                if kind == "scan":
                    _warn(target)
            if kind == "scan":
                scans.append(target)
    return scans


def download(
    output: Path,
    masks: list[str],
    cases: list[str] | None = None,
    mirror: str = RECORD,
    hashes: dict[str, str] = HASHES,
    keep: bool = False,
    progress: bool = True,
) -> list[Path]:
    """Fetch, check, unpack and mend the scans and the wanted masks; returns the scans' paths. What is there already stays,
    and is mended if it was not. BusyError while another download writes into the folder.
    """
    output.mkdir(parents=True, exist_ok=True)
    with _alone(output):
        return _download(output, masks, cases, mirror, hashes, keep, progress)


@contextmanager
def _alone(output: Path) -> Iterator[None]:
    """Hold the folder's lock, and remove what killed downloads left."""
    with one_writer(output / ".lock", "another download"):
        for part in output.glob(f"*/{PART}*"):
            if part.is_dir():
                shutil.rmtree(part, ignore_errors=True)
            else:
                part.unlink()
        for part in output.glob(".archives/tmp*"):  # pooch's, while it takes over what came
            part.unlink()
        yield


def _download(output, masks, cases, mirror, hashes, keep, progress) -> list[Path]:
    """`download` within its folder's lock."""
    wanted = {f"{SCANS}.zip": SCANS} | {MASK_ARCHIVES[m]: MASK_ARCHIVES[m].removesuffix(".zip") for m in masks}
    scans: list[Path] = []
    archives = output / ".archives"
    for name, target in wanted.items():
        there, unwanted = output / target, archives / f"{name}{UNWANTED}"
        marker = there / ".complete"  # holds the archive's hash once all its cases are unpacked
        done = marker.exists() and marker.read_text() == hashes[name]
        if cases and all(any(there.glob(f"{case}.nii*")) for case in cases):
            done = True
        if not done:
            archive = fetch_archive(name, hashes[name], mirror.rstrip("/"), output, progress)
            if not keep:
                write_whole(unwanted, "")  # also if this is killed once the last case is there
            unpack(archive, there, cases, progress)
            if not cases:
                write_whole(marker, hashes[name])
        if unwanted.exists():
            if not keep:
                (archives / name).unlink(missing_ok=True)
            unwanted.unlink()
        if target == SCANS:
            scans = sorted(p for p in there.iterdir() if p.name.endswith((".nii", ".nii.gz")))
    for line in mend_folder(output):
        print(line)
    if archives.is_dir() and not any(archives.iterdir()):
        archives.rmdir()
    return scans


def main(argv: list[str] | None = None, hashes: dict[str, str] = HASHES) -> int:
    """The command line; returns the exit code: 0 done, 3 the download failed and the message says why."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=download_folder(), help="folder for the data (default: %(default)s)")
    parser.add_argument(
        "--masks",
        nargs="*",
        choices=sorted(MASK_ARCHIVES),
        help="which masks (default: infection; with --from, all that are there)",
    )
    parser.add_argument(
        "--from",
        dest="source",
        type=Path,
        metavar="FOLDER",
        help="take a copy that is there already, named as the record or Kaggle",
    )
    parser.add_argument("--cases", nargs="+", metavar="NAME", help="unpack only these cases (the archives hold all of them)")
    parser.add_argument("--mirror", default=RECORD, metavar="URL", help="where the record's files lie (default: %(default)s)")
    parser.add_argument("--keep-archives", action="store_true", help="keep the zip files after unpacking")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    arguments = parser.parse_args(argv)
    masks = ["infection"] if arguments.masks is None else arguments.masks
    try:
        if arguments.source:
            if arguments.cases:
                raise DownloadError("--cases goes with a download; with --from leave only the wanted files in the folder")
            scans = convert(arguments.source, arguments.output, arguments.masks)
        else:
            scans = download(
                arguments.output,
                masks,
                arguments.cases,
                arguments.mirror,
                hashes,
                arguments.keep_archives,
                not arguments.quiet,
            )
    except (DownloadError, BusyError) as error:
        print(f"download: {error}", file=sys.stderr)
        return 3
    except OSError as error:
        why = f"{error.filename2 or error.filename}: {error.strerror}" if error.strerror and error.filename else error
        advice = "make room, or choose another --output"
        print(f"download: {arguments.output}: cannot be written ({why}); {advice}", file=sys.stderr)
        return 3
    print(f"{len(scans)} scans in {arguments.output}")
    if MASKS.split("_")[0].lower() in masks:
        print(f"use them: scoat train --data {arguments.output}   or   make book SCALE=real DATA={arguments.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
