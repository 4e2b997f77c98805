"""What the commands of `scoat` share: the app, exit codes, options that several take, words for bad input."""

from __future__ import annotations

import errno
import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # rich takes longer to import than everything else that a help text needs
    context_settings={"help_option_names": ["-h", "--help"]},
    help="SCOAT-Net: segment COVID-19 lung opacification in chest CT. For research and teaching, not for clinical use.",
    epilog="Exit codes: 0 done; 2 the command was misspelt; 3 a file or folder cannot be used (the message says why); "
    "4 stopped by --budget before the end, run the same command again to go on.",
)
BAD_INPUT, STOPPED = 3, 4

Data = Annotated[
    Path | None,
    typer.Option(
        help="Folder with COVID-19-CT-Seg_20cases/ and Infection_Mask/. Default: the variable SCOAT_DATA, else the "
        "download folder, else a synthetic cohort."
    ),
]
External = Annotated[
    Path | None,
    typer.Option(help="Folder of the second cohort (tr_im.nii.gz, tr_mask.nii.gz): each run is scored on its slices too."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the outcome as one JSON object, and nothing else.")]
Threads = Annotated[int, typer.Option(min=0, help="Processor threads; 0 leaves the choice to torch.")]


def say(json_wanted: bool, outcome: dict, text: str) -> None:
    """Print the outcome as JSON, or the text."""
    print(json.dumps(outcome) if json_wanted else text)


def set_threads(number: int) -> None:
    """Limit torch to so many threads; 0 leaves it alone."""
    if number:
        import torch

        torch.set_num_threads(number)


def device(wanted: str) -> str:
    """ "cpu" or "cuda"; auto takes a GPU where there is one."""
    if wanted not in ("auto", "cpu", "cuda"):
        raise typer.BadParameter(f"{wanted!r} is none of auto, cpu, cuda", param_hint="--device")
    import torch

    if wanted == "cuda" and not torch.cuda.is_available():
        raise typer.BadParameter("torch sees no CUDA device here; use --device cpu", param_hint="--device")
    return "cuda" if wanted == "cuda" or (wanted == "auto" and torch.cuda.is_available()) else "cpu"


def options(pairs: list[str]) -> dict:
    """["up=bilinear", "reduction=8"] → {"up": "bilinear", "reduction": 8}."""
    options = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise typer.BadParameter(f"{pair!r} is not NAME=VALUE")
        try:
            options[name] = json.loads(value.lower() if value.lower() in ("true", "false") else value)
        except json.JSONDecodeError:
            options[name] = value
    return options


def main() -> None:
    """Run the command; whatever goes wrong becomes one line on stderr and exit code 3.

    The variable SCOAT_DEBUG, set to anything, lets the traceback through.
    """
    try:
        app()
    except Exception as error:  # the last resort: whoever reads a stranger's file names it before
        if os.environ.get("SCOAT_DEBUG"):
            raise
        print(f"scoat: {in_words(error)}", file=sys.stderr)
        raise SystemExit(BAD_INPUT) from None


def in_words(error: BaseException) -> str:
    """An error in one line: what, where, what to do."""
    text = " ".join(str(error).split())
    if isinstance(error, MemoryError):
        return f"the memory is not enough ({text or 'no more is given'}); use a smaller --batch, a crop, or a machine with more"
    if isinstance(error, OSError) and error.strerror:
        where = error.filename2 or error.filename
        advice = {
            errno.ENOSPC: "make room, or write elsewhere",
            errno.EDQUOT: "make room, or write elsewhere",
            errno.EACCES: "you may not read or write there: change its permissions, or choose another place",
            errno.EROFS: "choose another place",
            errno.ENOENT: "create it, or correct the name",
            errno.EISDIR: "give a file's name",
            errno.ENOTDIR: "a part of the path is a file; give a folder's name",
            errno.EEXIST: "a file has this name; give a folder's name",
            errno.ENAMETOOLONG: "choose a shorter name",
        }.get(error.errno, "correct the path, or try again")
        return f"{where}: {error.strerror}; {advice}" if where else f"{error.strerror}; {advice}"
    if isinstance(error, json.JSONDecodeError):
        return f"a file is not whole JSON ({text}); set SCOAT_DEBUG=1 to see which"
    if isinstance(error, ImportError):
        return f"{text}; install what is missing (pip install scoat-lib, with the extra that the help names)"
    if isinstance(error, RuntimeError):
        return f"{text[:300] or type(error).__name__}; set SCOAT_DEBUG=1 for the whole story"
    if isinstance(error, (ValueError, OSError)) and text:
        return text
    return (
        f"something was met that nobody foresaw ({type(error).__name__}: {text[:300]}); set SCOAT_DEBUG=1 for the whole story"
    )
