"""The page of real scans: a gallery and the paper's Figures 4, 5 and 6 on patients, made where scans are at hand at build.

Nothing it makes is for git. Pictures of patients go into the built page and into _build/scans, which git ignores; each carries
the class `real-scan`, and a test looks for it in every tracked file. Without scans the page shows phantoms, and says so.
"""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import front
import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
KEPT = ROOT / "_build" / "scans"
MARK = "real-scan"
SIDE, QUALITY = 300, 72  # pixels of a picture's longer side; of JPEG
SEEDS = (101, 103)  # of phantoms that trained nothing
FIGURE5 = ("X(1,1)", "X(2,2)", "X(1,3)")
LEAST = 1000  # lesion voxels: the primary endpoint's
RECORD = (
    "Scans: Ma et al., <em>COVID-19 CT Lung and Infection Segmentation Dataset</em>, DOI 10.5281/zenodo.3757476, "
    "CC BY 4.0, from the Coronacases Initiative and Radiopaedia."
)
MEDSEG = (
    "Slices: MedSeg's data set No. 1 (medicalsegmentation.com), collected by the Italian Society of Medical and "
    "Interventional Radiology, outlined by one radiologist."
)
REDUCED = (
    "These are reduced copies ({rows} × {columns} pixels a slice): HU are good to about 40, voxel sizes are nominal, so "
    "volumes compare within a scan and are not clinical, and the masks were made smaller with the scans."
)
OWN, PHANTOMS = "Scans: the folder that this site was built with.", "Phantoms, not patients: synthetic chests."


@dataclass(frozen=True)
class Subject:
    """One scan to be shown. truth, predicted: bool (slices, rows, columns) as the slices of `scan.axial()`.

    how: in what relation the weights stand to the patient. segmenter: the weights themselves.
    """

    name: str
    scan: object
    truth: np.ndarray
    predicted: np.ndarray
    how: str
    segmenter: object

    @property
    def dsc(self) -> float:
        """Of the whole scan, in per cent."""
        both = self.truth.sum() + self.predicted.sum()
        return 200 * (self.truth & self.predicted).sum() / both if both else 100.0


def at_hand(data: Path | None) -> Path | None:
    """The folder of real scans that chapters would read: `data`, SCOAT_DATA or the download; None for the phantoms."""
    from scoat_lib import cohort, phantom

    folder = cohort.data_folder(data)
    return None if data is None and folder == phantom.default_cohort(cohort.cache_folder()) else folder


def page(data: Path | None = None, external: Path | None = None, runs: Path | None = None) -> str:
    """The page's pictures with their captions, as markdown and HTML; kept under _build for as long as nothing changes.

    data: a folder of scans, None for phantoms. external: the folder of the second cohort (`scoat_lib.external`). runs: a folder
    of finished runs, whose weights speak for the patients that they left out.
    """
    from scoat_lib import phantom, weights

    key = hashlib.sha256(Path(__file__).read_bytes() + Path(front.__file__).read_bytes() + weights.place().read_bytes())
    key.update(str(phantom.VERSION).encode())
    for path in [p for folder in (data, external, runs) if folder for p in sorted(Path(folder).rglob("*"))]:
        if path.name.endswith((".nii", ".gz", ".csv", ".safetensors", "recipe.json")):
            key.update(f"{path} {path.stat().st_size} {path.stat().st_mtime_ns}".encode())
    kept = KEPT / f"{key.hexdigest()[:16]}.json"
    if kept.exists():
        return json.loads(kept.read_text())
    made = _of_patients(data, external, runs) if data else _of_phantoms(external)
    kept.parent.mkdir(parents=True, exist_ok=True)
    partial = kept.with_suffix(f".{os.getpid()}")
    partial.write_text(json.dumps(made))
    partial.replace(kept)
    return made


def _of_phantoms(external: Path | None) -> str:
    """What stands there without scans: how to get them, and the same figures of phantoms."""
    from scoat_lib import inference, phantom, weights

    segmenter, subjects = weights.load(), []
    for seed in SEEDS:
        person = phantom.patient(seed, (192, 192, 20), volume=150.0)
        found = inference.segment(segmenter, person.scan).axial() > 0
        subjects.append(
            Subject(f"phantom {seed}", person.scan, person.lesions.axial() > 0, found, "never trained on", segmenter)
        )
    parts = [
        "This site was built without scans. To see patients here:",
        "    python data/download.py --output SCANS      # the public record, 1.1 GB\n    make book DATA=SCANS",
        "`DATA` may also be a reduced copy of the record or scans of your own, laid out as the record is. Until then the "
        "pictures below show phantoms.",
        "## Truth and prediction (Figure 4)",
        figure([t for s in subjects for t in errors(s)], f"{LEGEND} {PHANTOMS}", columns="fours"),
        "## Front to back (Figure 6)",
        figure([coronal(s) for s in subjects], f"One coronal slice of each, head up. {OUTLINES} {PHANTOMS}", columns="threes"),
    ]
    return "\n\n".join([*parts, *_of_slices(external)])


def _of_patients(data: Path, external: Path | None, runs: Path | None) -> str:
    """The figures of the scans of a folder."""
    from scoat_lib import record, weights
    from scoat_lib.cohort import Cohort, find_cases
    from scoat_lib.scan import Scan

    cases = find_cases(data)
    answering = left_out(runs, Cohort(cases).fingerprint)
    trained = set(weights.load().card["split"]["train"])
    burden = {case.name: int(np.count_nonzero(Scan.load(case.mask, mask=True).voxels)) for case in cases}
    large = sorted((n for n in burden if burden[n] >= LEAST), key=burden.get) or sorted(burden, key=burden.get)
    three = list(dict.fromkeys(large[k] for k in (0, len(large) // 2, -1)))
    gallery, wrong, side, maps, shapes = [], [], {}, {}, set()
    for case in cases:
        subject = _subject(case, answering.get(case.name), trained)
        shapes.add(subject.truth.shape[1:])
        gallery.append(middle(subject))
        wrong += errors(subject)
        if case.name in three:
            side[case.name], maps[case.name] = coronal(subject), attention(subject)
    public = all(record.case_name(f"{name}.nii.gz") for name in burden)
    whose = RECORD if public else OWN
    if public and max(max(s) for s in shapes) < 512:
        rows, columns = max(shapes)
        whose += " " + REDUCED.format(rows=rows, columns=columns)
    seen = sum(case.name not in answering and case.name in trained for case in cases)
    warning = (
        f"**{seen} of these {len(cases)} scans were seen in training by the weights that outline them here**, those that come "
        "with the package. Such a prediction looks better than it would on a new patient. It shows the tool at work and "
        "measures nothing. The scores of [chapter 12](12-networks) are of patients that were left out."
    )
    left = "Every prediction on this page is by a network that left its patient out of training."
    chosen = "the lightest of at least 1 000 lesion voxels, the middle one and the heaviest"
    order = [name for name in three if name in side]
    parts = [
        warning if seen else left,
        "## A gallery",
        f"The middle one of each scan's slices with lesion, with the truth's outline. {len(cases)} scans.",
        figure(gallery, f"The expert's outline is red. {whose}", MARK),
        "## Truth and prediction (Figure 4)",
        "Of each scan the slice with the largest true lesion: on the left both outlines, on the right the same as errors.",
        figure(wrong, f"{LEGEND} {whose}", MARK, "fours"),
        "## What the maps look at (Figure 5)",
        f"Three patients, {chosen}: a slice, and the attention maps x_M of three nodes on it, all on one scale from 0 to 1. "
        "[Chapter 14](14-attention-maps) asks what such maps are worth.",
        figure([t for name in order for t in maps[name]], f"Dark blue is 0, yellow is 1. {whose}", MARK, "fours"),
        "## Front to back (Figure 6)",
        "The same patients from the front, with the lung opacification volume (LOV). The paper follows two patients over four "
        "dates; no public record of that kind is at hand, so each patient has one date here.",
        figure([side[name] for name in order], f"One coronal slice of each, head up. {OUTLINES} {whose}", MARK, "threes"),
    ]
    return "\n\n".join([*parts, *_of_slices(external)])


def left_out(runs: Path | None, fingerprint: str) -> dict[str, Path]:
    """Scan → weights of a finished run by the protocol's recipe, on the same data, that left the scan's patient out."""
    from scoat_lib.training import Recipe

    found: dict[str, tuple] = {}
    for path in sorted(Path(runs).glob("*/recipe.json")) if runs else []:
        identity, weights = json.loads(path.read_text()), path.with_name("weights.safetensors")
        recipe = Recipe.from_dict(identity["recipe"])
        usual = replace(Recipe(), fold=recipe.fold, seed=recipe.seed, width=recipe.width, size=recipe.size)
        if identity["data"] != fingerprint or recipe != usual or not weights.exists():
            continue
        for name in identity["split"]["test"]:
            found[name] = min(found.get(name, (recipe.seed, weights)), (recipe.seed, weights))
    return {name: weights for name, (_, weights) in found.items()}


def _subject(case, answering: Path | None, trained: set[str]) -> Subject:
    """A case with its prediction: by the run that left its patient out, else by the shipped weights."""
    from scoat_lib import inference, weights
    from scoat_lib.scan import load_pair

    segmenter = weights.load(answering)
    scan, mask = load_pair(case.scan, case.mask)
    how = "left out of training" if answering else "seen in training" if case.name in trained else "not in training"
    return Subject(case.name, scan, mask.axial() > 0, inference.segment(segmenter, scan).axial() > 0, how, segmenter)


def _of_slices(external: Path | None) -> list[str]:
    """Eight slices of the second cohort, which no weights of this book were trained on; nothing where it is not given."""
    if external is None:
        return []
    from scoat_lib import inference, weights
    from scoat_lib.external import Slices

    segmenter, slices = weights.load(), Slices.load(external)
    found = inference.probabilities(segmenter, slices.scan, smooth=0.0).axial() > segmenter.threshold
    areas = slices.lesions.sum((1, 2))
    held = np.argsort(areas, kind="stable")[np.sort(areas) > 0]
    chosen = held[np.rint(np.linspace(0, len(held) - 1, min(8, len(held)))).astype(int)]
    tiles = []
    for k in chosen:
        each = Subject(f"slice {k + 1}", slices.scan, slices.lesions, found, "", segmenter)
        truth, predicted = slices.lesions[k], found[k]
        dsc = 200 * (truth & predicted).sum() / (truth.sum() + predicted.sum())
        tiles += _pair(each, int(k), f"slice {k + 1}: DSC of the slice {dsc:.0f} %")
    words = (
        f"{len(chosen)} of the second cohort's {len(held)} slices with opacification, from the smallest area to the largest in "
        "even steps. **No weights of this book were trained, chosen or tuned on them.** Outlined by the shipped weights."
    )
    return ["## Patients that no network has seen", words, figure(tiles, f"{LEGEND} {MEDSEG}", MARK, "fours")]


# --- the pictures ----------------------------------------------------------------------------------------------------


def _swatches(kinds: Sequence[tuple[str, str]]) -> str:
    """A line that says what the colours mean."""
    return " ".join(f'<span class="scan-key" data-kind="{kind}">{words}</span>' for kind, words in kinds)


OUTLINES = _swatches((("truth", "truth"), ("prediction", "prediction")))
LEGEND = f"{OUTLINES} {_swatches((('hit', 'found'), ('false', 'marked, but no lesion'), ('missed', 'missed')))}"


def figure(tiles: Sequence[str], caption: str, mark: str = "phantom", columns: str = "") -> str:
    """Tiles with a caption, in as many columns as there is room for, or in fours (on a phone twos), or in threes (ones)."""
    body = "\n".join(tiles)
    kind = f"scan-tiles {mark} {columns}".strip()
    return f'<figure class="{kind}"><div>\n{body}\n</div><figcaption>{caption}</figcaption></figure>'


def tile(picture: np.ndarray, words: str, caption: str, masks: Sequence[tuple[str, np.ndarray]] = ()) -> str:
    """One picture: (H, W) grey or (H, W, 3) in 0..1 as JPEG, and masks (class, (H, W) bool) as paths over it."""
    rows, columns = picture.shape[:2]
    scale = SIDE / max(rows, columns)
    image = Image.fromarray(np.uint8(255 * np.clip(picture, 0, 1)))
    image = image.resize((max(1, round(columns * scale)), max(1, round(rows * scale))), Image.Resampling.BICUBIC)
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=QUALITY)
    data = base64.b64encode(stream.getvalue()).decode()
    paths = "".join(f'<path class="{kind}" d="{front.outline(mask)}"/>' for kind, mask in masks if mask.any())
    return (
        f'<div class="tile"><svg role="img" aria-label="{html.escape(words)}" viewBox="0 0 {columns} {rows}">'
        f'<image width="{columns}" height="{rows}" href="data:image/jpeg;base64,{data}"/>{paths}</svg>'
        f"<p>{html.escape(caption)}</p></div>"
    )


def square(array: np.ndarray, mm: tuple[float, float]) -> np.ndarray:
    """(H, W) with pixels of mm brought to square ones; a bool array stays one."""
    least = min(mm)
    shape = tuple(max(1, round(n * m / least)) for n, m in zip(array.shape, mm, strict=True))
    if shape == array.shape:
        return array
    image = Image.fromarray(np.asarray(array, np.float32)).resize(shape[::-1], Image.Resampling.BILINEAR)
    return np.asarray(image) > 0.5 if array.dtype == bool else np.asarray(image)


def _axial(subject: Subject, z: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Grey, truth and prediction of a slice, cut to the body, in square pixels."""
    from scoat_lib.overview import body_box
    from scoat_lib.scan import window

    hu = subject.scan.axial()
    box, mm = body_box(hu[z : z + 1]), subject.scan.axial_spacing[1:]
    return tuple(square(part[z][box], mm) for part in (window(hu), subject.truth, subject.predicted))


def middle(subject: Subject) -> str:
    """The middle one of the slices with lesion, with the truth's outline."""
    held = np.flatnonzero(subject.truth.any((1, 2)))
    z = int(held[len(held) // 2]) if len(held) else len(subject.truth) // 2
    grey, truth, _ = _axial(subject, z)
    words = f"{subject.name}, slice {z + 1} of {len(subject.truth)}"
    return tile(grey, f"{words}, lesions outlined", words, [("truth", truth)])


def errors(subject: Subject) -> list[str]:
    """Two tiles of the slice with the largest lesion: both outlines, and what is found, false and missed filled."""
    z = int(subject.truth.sum((1, 2)).argmax())
    caption = f"{subject.name}, slice {z + 1}: DSC of the scan {subject.dsc:.0f} %, {subject.how}"
    return _pair(subject, z, caption)


def _pair(subject: Subject, z: int, caption: str) -> list[str]:
    grey, truth, predicted = _axial(subject, z)
    filled = [("hit", truth & predicted), ("false", predicted & ~truth), ("missed", truth & ~predicted)]
    both = [("truth", truth), ("prediction", predicted)]
    said = f"{int(filled[0][1].sum())} pixels found, {int(filled[1][1].sum())} false, {int(filled[2][1].sum())} missed"
    return [tile(grey, f"{caption}; outlines", caption, both), tile(grey, f"{caption}; errors", said, filled)]


def attention(subject: Subject) -> list[str]:
    """The slice with the largest lesion, and the maps x_M of Figure 5's nodes on it, on one scale."""
    import torch
    from matplotlib import colormaps

    from scoat_lib.networks import attention_maps

    z = int(subject.truth.sum((1, 2)).argmax())
    p = subject.segmenter.preprocessing
    slices = np.array(p.slices(subject.scan)[z : z + 1], np.float32)
    found = attention_maps(subject.segmenter.model.eval(), p.normalise(torch.from_numpy(slices)[:, None]))
    small = np.asarray(Image.fromarray(subject.truth[z]).resize(slices.shape[:0:-1], Image.Resampling.NEAREST))
    tiles = [tile(slices[0], f"{subject.name}, slice {z + 1}", f"{subject.name}, slice {z + 1}", [("truth", small)])]
    for node in FIGURE5:
        values = found[node][0, 0].numpy()
        words = f"{node}: {values.min():.2f} to {values.max():.2f}"
        tiles.append(tile(colormaps["cividis"](values)[..., :3], f"{subject.name}, map of {words}", words))
    return tiles


def coronal(subject: Subject) -> str:
    """The coronal slice with the largest lesion, head up, with both outlines and both volumes."""
    from scoat_lib.overview import body_box
    from scoat_lib.scan import window

    hu = subject.scan.axial()
    y = int(subject.truth.sum((0, 2)).argmax())
    dz, _, dx = subject.scan.axial_spacing
    columns = body_box(hu)[1]
    parts = (window(hu), subject.truth, subject.predicted)
    grey, truth, predicted = (square(np.ascontiguousarray(part[::-1, y, columns]), (dz, dx)) for part in parts)
    true, found = (part.sum() * subject.scan.voxel_volume / 1000 for part in parts[1:])
    caption = f"{subject.name}: LOV {true:.0f} cm³, predicted {found:.0f} cm³, {subject.how}"
    return tile(grey, f"{caption}; coronal slice", caption, [("truth", truth), ("prediction", predicted)])
