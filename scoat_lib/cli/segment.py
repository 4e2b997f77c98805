"""`scoat segment`: one scan, or every scan of a folder (`many.py`)."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scoat_lib.cli.app import BAD_INPUT, AsJson, Threads, app, say, set_threads
from scoat_lib.cli.app import device as choose_device

if TYPE_CHECKING:
    from scoat_lib.segmentation import Options

NIFTI = (".nii", ".nii.gz")


@app.command()
def segment(
    scan: Annotated[
        Path,
        typer.Argument(help="A chest CT as NIfTI, in HU (.nii or .nii.gz), a folder with a DICOM series, or one of scans."),
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Where the mask goes (.nii or .nii.gz); of a folder of scans, a folder.")
    ],
    weights: Annotated[str | None, typer.Option(help="A weights file; default: the ones that come with scoat.")] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Probability above which a voxel is lesion; default: the weights' own.")
    ] = None,
    flip: Annotated[
        bool | None, typer.Option(help="Average each slice with its mirror image; default: as the weights ask.")
    ] = None,
    smooth: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=100,
            help="Smooth the probabilities through the slices, σ in mm; 0 for none; default: the weights' own.",
        ),
    ] = None,
    calibrate: Annotated[
        bool | None,
        typer.Option(help="Bring the scan's own air and muscle to their HU first; default: as the weights were trained."),
    ] = None,
    assume: Annotated[
        list[str] | None,
        typer.Option(
            help="What to believe where the scan's header contradicts itself or is silent: sform, qform, mm, or its axes as "
            "LPS; even: a series may have uneven gaps; hu: take its values as HU whatever they look like. May be repeated."
        ),
    ] = None,
    probability: Annotated[
        Path | None, typer.Option(help="Also write the probability of each voxel here; of a folder of scans, a folder.")
    ] = None,
    series: Annotated[
        str | None, typer.Option(help="Of a folder with several DICOM series: the UID of the wanted one.")
    ] = None,
    dicom_seg: Annotated[
        Path | None,
        typer.Option(help="Of a DICOM series: also write the mask as DICOM SEG here (.dcm); needs the extra dicom."),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(help="Also write a page with pictures here (.html, a .png beside it); of a folder of scans, a folder."),
    ] = None,
    follow_up: Annotated[
        Path | None, typer.Option(help="Of a folder of scans: a folder for a page of each patient with two dates or more.")
    ] = None,
    dates: Annotated[
        Path | None,
        typer.Option(help="A CSV with the columns name, patient, date; default: from names like ID_2020-01-30.nii.gz."),
    ] = None,
    labels: Annotated[
        bool, typer.Option("--labels", help="Also write the mask's name and colour for 3D Slicer and ITK-SNAP beside it.")
    ] = False,
    branches: Annotated[str, typer.Option(help="output (as trained), mean of the four branches, or 1 to 4.")] = "output",
    batch: Annotated[int, typer.Option(min=1, help="Slices at once; fewer take less memory.")] = 16,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    threads: Threads = 0,
    overwrite: Annotated[
        bool,
        typer.Option(help="Replace files that exist; of a folder of scans, make again what was made otherwise."),
    ] = False,
    json_: AsJson = False,
) -> None:
    """Mark the lung opacification in a scan: a mask on the scan's own grid, and its volume (LOV) in cm³.

    Of a folder, every scan in it: its NIfTI files, and each sub-folder that holds a DICOM series. OUTPUT is a folder then; it
    gets NAME_mask.nii.gz for each, and scans.csv with one row a scan. A scan that cannot be used does not stop the rest; the
    exit code is 3 then. Stopped or killed, the same command goes on.

    Research and teaching only: no medical device, no diagnosis.
    """
    if threshold is not None and not 0 < threshold < 1:
        raise typer.BadParameter(f"{threshold} does not lie between 0 and 1", param_hint="--threshold")
    if branches not in ("output", "mean", "1", "2", "3", "4"):
        raise typer.BadParameter(f"{branches!r} is none of output, mean, 1, 2, 3, 4", param_hint="--branches")
    many = scan.is_dir() and not output.name.lower().endswith(NIFTI)
    if (follow_up or dates) and not many:
        raise typer.BadParameter("is for a folder of scans", param_hint="--follow-up" if follow_up else "--dates")
    if dates and not follow_up:
        raise typer.BadParameter("is for --follow-up, which is missing", param_hint="--dates")
    if (series or dicom_seg) and (many or not scan.is_dir()):
        from scoat_lib.nifti import holds_dicom

        if many and holds_dicom(scan):
            raise typer.BadParameter(f"{output} must end in .nii.gz: it is one series' mask", param_hint="OUTPUT")
        raise typer.BadParameter("is for one folder with DICOM files", param_hint="--series" if series else "--dicom-seg")
    if report and not many and report.suffix.lower() != ".html":
        raise typer.BadParameter(f"{report} does not end in .html", param_hint="--report")
    where = choose_device(device)
    from scoat_lib.nifti import check_assumptions
    from scoat_lib.segmentation import Options

    set_threads(threads)
    words = tuple(word for word in assume or [] if word != "hu")
    check_assumptions(words)
    choice = int(branches) if branches.isdigit() else branches
    options = Options(threshold, flip, smooth, calibrate, choice, words, "hu" in (assume or []))
    more = {"probability": probability, "report": report, "labels": labels, "batch": batch, "device": where}
    if many:
        _many(scan, output, weights, options, json_, follow_up=follow_up, dates=dates, overwrite=overwrite, **more)
    else:
        _one(scan, output, weights, options, json_, series=series, dicom_seg=dicom_seg, overwrite=overwrite, **more)


def _one(
    scan, output, weights, options: Options, json_, *, series, dicom_seg, probability, report, labels, batch, device, overwrite
) -> None:
    from scoat_lib import segmentation
    from scoat_lib.files import remove_parts
    from scoat_lib.scan import Scan, check_distinct, check_writable
    from scoat_lib.weights import load, place

    targets = [output] + ([probability] if probability else [])
    pages = [report, report.with_suffix(".png")] if report else []
    check_distinct([scan, *([Path(weights)] if weights else [])], targets + pages)
    for target in targets:
        check_writable(target, overwrite)
    for page in pages:
        check_writable(page, overwrite, (page.suffix,))
    if labels:
        check_distinct([scan, *targets, *pages], list(segmentation.check_labels(output.parent, overwrite)))
    if dicom_seg:
        from scoat_lib import dicom

        dicom.check_segmentation_path(dicom_seg, overwrite)
    volume = Scan.load(scan, assume=options.assume, series=series)
    segmenter = load(weights)
    began = time.perf_counter()
    found = segmentation.of(volume, segmenter, options, device, batch)
    seconds = time.perf_counter() - began
    percent, said = found.percent()
    warnings = [*found.warnings, *said]
    for text in warnings:
        print(f"scoat: warning: {scan}: {text}", file=sys.stderr)
    for folder in {target.parent for target in targets}:
        remove_parts(folder)
    found.save(output, overwrite)
    if probability:
        found.probability_scan.save(probability, overwrite)
    if dicom_seg:
        dicom.save_segmentation(found.mask_scan, scan, dicom_seg, series, options.assume, place(weights).stem, overwrite)
    if labels:
        segmentation.write_labels(output.parent, overwrite)
    if report:
        from scoat_lib import overview

        settled = options.settled(segmenter)
        made = segmentation.facts(place(weights).stem, settled)
        try:
            overview.write(report, *overview.report(found, scan.name, made, settled["threshold"]))
        except (ValueError, IndexError, RuntimeError) as error:  # what drawing raises; a disk's errors name themselves
            raise RuntimeError(f"{report}: the page could not be drawn ({error}); the mask {output} is written") from error
    of_lungs = percent | ({"outside": found.shares["outside"]} if percent and found.shares.get("outside") is not None else {})
    outcome = {
        "mask": str(output),
        "lov_cm3": round(found.volume, 2),
        "lesion_voxels": int(found.mask_scan.voxels.sum()),
        "spacing_mm": [round(s, 4) for s in volume.spacing],
        **({"lungs_percent": {side: round(share, 2) for side, share in of_lungs.items()}} if percent else {}),
        "warnings": warnings,
        "seconds": round(seconds, 2),
    }
    share = f", {percent['both']:.1f} % of the lungs" if "both" in percent else ""
    say(json_, outcome, f"lung opacification volume {found.volume:.1f} cm³{share} → {output}")


def _many(scan, output, weights, options: Options, json_, **more) -> None:
    from scoat_lib.cli import many

    done = many.segment(scan, output, weights, options, quiet=json_, **more)
    failed = [row for row in done if row["state"] == many.FAILED]
    masks = len(done) - len(failed)
    reasons = "".join(f"\n  {row['reason']}" for row in failed)
    say(
        json_,
        {"folder": str(output), "table": str(output / many.TABLE), "masks": masks, "failed": len(failed), "scans": done},
        f"{masks} of {len(done)} scans have their mask: {output / many.TABLE}{reasons}",
    )
    if failed:
        raise typer.Exit(BAD_INPUT)
