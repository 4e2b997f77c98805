"""DICOM: a series in as a `Scan`, a mask out as a DICOM SEG on the series' own grid. Needs the extra `dicom`."""

from __future__ import annotations

import warnings
from collections.abc import Collection
from pathlib import Path

import numpy as np

import scoat_lib
from scoat_lib import nifti
from scoat_lib import series as _series
from scoat_lib.scan import Scan, ScanError, check_distinct, check_writable, on_grid_of, whole_file

# what is read of the source, so that nothing else of it can reach the SEG: what its standard makes it repeat, and the grid
REPEATED = ["PatientName", "PatientID", "PatientBirthDate", "PatientSex", "PatientIdentityRemoved", "DeidentificationMethod",
            "StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName",
            "SpecificCharacterSet", "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "SeriesNumber", "Modality",
            "FrameOfReferenceUID", "PositionReferenceIndicator", "ImageType", "Rows", "Columns", "PixelSpacing",
            "SliceThickness", "SpacingBetweenSlices", "ImageOrientationPatient", "ImagePositionPatient"]  # fmt: skip
LABEL = "COVID-19 lung opacity"
RESEARCH = "research use only, no medical device"


def is_series(folder) -> bool:
    """Whether a path is a folder that itself, not below it, holds DICOM files, of one series or several; nothing is raised."""
    folder = Path(folder)
    return folder.is_dir() and nifti.holds_dicom(folder)


def series(folder) -> list[_series.Series]:
    """The series of a folder: uid, description, slices, spacing, date …; ScanError as `scoat_lib.series.find`."""
    return _series.find(folder)


def load(folder, series: str | None = None, assume: Collection[str] = ()) -> Scan:
    """One CT series of a folder as a scan: voxels (columns, rows, slices) in HU, affine to mm right, anterior, superior.

    series: its UID; None takes the only CT. assume: "even" lets uneven gaps pass. Raises ScanError as `scoat_lib.series.place`.
    """
    voxels, affine, notes = _series.read(folder, series, assume)
    return Scan(voxels, affine, Path(folder), None, tuple(notes))


def save_segmentation(
    mask: Scan,
    folder,
    path,
    series: str | None = None,
    assume: Collection[str] = (),
    weights: str = "",
    overwrite: bool = False,
) -> Path:
    """Write a mask of a series as one binary DICOM SEG that refers to its slices, and compare it, read back, with the mask.

    mask: 0 and 1 on the series' grid (its axes in any order). folder, series, assume: as `load`. weights: their name, kept as a
    parameter of the algorithm. The standard has a SEG repeat the patient's name, identifier, birth date and sex, and the
    study's date, numbers and referring physician; nothing else of a person is copied (`REPEATED`). Raises ScanError for a mask
    on another grid, a place that cannot be written, a series that lacks what a SEG must repeat, or a file that reads back
    otherwise; then nothing is left.
    """
    path = Path(path)
    check_segmentation_path(path, overwrite)
    placed = _series.place(folder, series, assume)
    if placed.frames[0] is not None:
        raise ScanError(
            f"{folder}: is an enhanced CT, several slices in one file, of which no DICOM SEG is written here; keep the mask as "
            "NIfTI, or convert the scan to one file a slice first (dcm2dcm of dcm4che, or the archive it comes from)"
        )
    check_distinct(placed.paths, [path])
    grid = Scan(np.broadcast_to(np.uint8(0), placed.shape), placed.affine, Path(folder))
    voxels = on_grid_of(mask, grid).voxels
    if not np.isin(np.unique(voxels), (0, 1)).all():
        raise ScanError(f"{path}: a segmentation is made of a mask of 0 and 1; this one holds other values")
    frames = np.ascontiguousarray(voxels.transpose(2, 1, 0)).astype(np.uint8)
    with warnings.catch_warnings(), whole_file(path, ".dcm") as temporary:
        warnings.simplefilter("ignore")  # on odd values of a source's header, and on masks without a lesion
        try:
            uids = _write(frames, placed.paths, temporary, weights)
        except (AttributeError, ValueError, TypeError) as error:
            text = " ".join(str(error).split())[:200]
            raise ScanError(
                f"{folder}: lacks what a segmentation must repeat of its source ({text}); keep the mask as NIfTI, or complete "
                "the headers"
            ) from error
        if not np.array_equal(read_segmentation(temporary, uids), frames):
            raise ScanError(f"{path}: the segmentation does not read back as it was written; keep the mask as NIfTI")
    return path


def read_segmentation(path, uids) -> np.ndarray:
    """The one segment of a SEG in the order of its slices' SOP instance UIDs: (slices, rows, columns), 0 or 1.

    ValueError where it refers to other slices.
    """
    segmentation = _highdicom().seg.segread(path)
    pixels = segmentation.get_pixels_by_source_instance(list(uids), assert_missing_frames_are_empty=True)
    return pixels[..., 0]


def check_segmentation_path(path, overwrite: bool) -> None:
    """Raise ScanError, before any work is done, if a DICOM SEG cannot be written to path, ImportError without highdicom."""
    _highdicom()
    check_writable(path, overwrite, (".dcm",))


def _highdicom():
    """highdicom, which takes a second to import."""
    try:
        import highdicom
        import highdicom.seg
    except ImportError as error:
        raise ImportError(_series.INSTALL) from error
    return highdicom


def _write(frames: np.ndarray, sources, path: Path, weights: str) -> list[str]:
    """Write frames (slices, rows, columns) as a SEG of the source files; their SOP instance UIDs."""
    hd = _highdicom()
    from pydicom import dcmread
    from pydicom.sr.codedict import codes

    headers = [dcmread(source, stop_before_pixels=True, specific_tags=REPEATED) for source in sources]
    segment = hd.seg.SegmentDescription(
        segment_number=1,
        segment_label=LABEL,
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        # an opacity is what the mask shows; a code for the disease would be a diagnosis
        segmented_property_type=codes.DCM.Opacity,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name="SCOAT-Net (scoat-lib)",
            family=codes.DCM.ArtificialIntelligence,
            version=scoat_lib.__version__,
            source=RESEARCH,
            parameters={"weights": weights} if weights else None,
        ),
        anatomic_regions=[codes.SCT.Lung],
    )
    segmentation = hd.seg.Segmentation(
        source_images=headers,
        pixel_array=frames,
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[segment],
        series_instance_uid=hd.UID(),
        series_number=int(headers[0].get("SeriesNumber") or 0) + 1000,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer="scoat-lib",
        manufacturer_model_name="scoat",
        software_versions=scoat_lib.__version__,
        device_serial_number="none",
        content_label="LUNG_OPACITY",
        content_description=f"{LABEL}, {RESEARCH}",
        series_description=f"{LABEL}, {RESEARCH}",
    )
    segmentation.save_as(path)
    return [header.SOPInstanceUID for header in headers]
