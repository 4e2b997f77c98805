"""Which scans a chapter reads at its scale: `real` never falls back to phantoms."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
from importlib import metadata
from pathlib import Path
from types import ModuleType

from scoat_lib.cohort import MASKS, RECORD_SIZE, SCANS, cache_folder, download_folder

SCRIPT = Path("data") / "download.py"


def scans_for(scale: str, data: str = "") -> str:
    """What a chapter reads: a folder of scans, or "" for what `cohort.data_folder` finds.

    data: the chapter's parameter. A folder is taken as it is; "download" is the public record, fetched unless it is there,
    after a line that says how large it is; "" at scale `real` is the variable SCOAT_DATA or the download's folder.
    ValueError where `real` would have to show phantoms, or where the download did not end; it says what to do.
    """
    folder = download_folder()
    if data == "download":
        if not all((folder / part / ".complete").exists() for part in (SCANS, MASKS)):
            print(f"fetching the public record, {RECORD_SIZE}, to {folder}; cut off, this cell goes on where it stopped")
            if _downloader().main(["--output", str(folder)]):
                raise ValueError('the public record was not fetched, see above; run this cell again, or set data = "FOLDER"')
        return str(folder)
    if data or scale != "real":
        return data
    if os.environ.get("SCOAT_DATA"):
        return os.environ["SCOAT_DATA"]
    if (folder / SCANS).is_dir() and (folder / MASKS).is_dir():
        return str(folder)
    raise ValueError(
        f'scale is "real", and no scans are here, only phantoms: in the cell of parameters set data = "download" to fetch the '
        f'public record ({RECORD_SIZE}, to {folder}; `python data/download.py` does the same), or data = "FOLDER" of your own'
    )


def _downloader() -> ModuleType:
    """The project's data/download.py: of the copy that this package lies in, else of the commit that pip installed."""
    script = Path(__file__).parents[2] / SCRIPT
    if not script.exists():
        script = _fetched()
    spec = importlib.util.spec_from_file_location("download", script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _fetched() -> Path:
    """data/download.py alone, from the repository and the commit that pip notes of an installation from git."""
    try:
        origin = json.loads(metadata.distribution("scoat-lib").read_text("direct_url.json") or "{}")
        url, commit = origin["url"], origin["vcs_info"]["commit_id"]
    except (metadata.PackageNotFoundError, KeyError):
        raise ValueError(
            "this package was not installed from git, so the download's program is not here: run `python data/download.py` in "
            'a copy of the project, then set data = "FOLDER" to its folder'
        ) from None
    copy = cache_folder() / f"project-{commit[:12]}"
    if not (copy / SCRIPT).exists():
        shutil.rmtree(copy, ignore_errors=True)  # a clone that was cut off
        clone = ["git", "clone", "-q", "--no-checkout", "--filter=blob:none", url, str(copy)]
        for words in (clone, ["git", "-C", str(copy), "checkout", "-q", commit, "--", str(SCRIPT)]):
            done = subprocess.run(words, capture_output=True, text=True)
            if done.returncode:
                said = (done.stderr.strip().splitlines() or ["git said nothing"])[-1]
                raise ValueError(f"{url}: the download's program could not be fetched ({said}); run this cell again")
    return copy / SCRIPT
