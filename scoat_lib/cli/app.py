"""What the commands of `scoat` share: the app, exit codes, options that several take, words for bad input."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
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
    import torch

    if wanted not in ("auto", "cpu", "cuda"):
        raise typer.BadParameter(f"{wanted!r} is none of auto, cpu, cuda", param_hint="--device")
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
    """Run the command; errors in the input become one line on stderr and exit code 3."""
    from scoat_lib.cohort import DataError, LeakageError
    from scoat_lib.scan import ScanError
    from scoat_lib.training import TrainingError
    from scoat_lib.weights import WeightsError

    try:
        app()
    except (ScanError, DataError, LeakageError, TrainingError, WeightsError, ValueError) as error:
        print(f"scoat: {error}", file=sys.stderr)
        raise SystemExit(BAD_INPUT) from None
