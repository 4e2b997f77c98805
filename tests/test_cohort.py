"""cohort.py: one cache per content, items that can be replayed, padding that can be undone."""

import json
import shutil
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
import torch

from scoat_lib.cohort import (
    Case,
    Cohort,
    DataError,
    Preprocessing,
    data_folder,
    find_cases,
    pad_slices,
    patient_of,
    resample_slices,
    with_statistics,
)
from scoat_lib.scan import Scan, load_pair, window
from scoat_lib.slices import Augmentation, Change, SliceDataset


def test_cached_slices_are_the_windowed_scan(data_folder, tmp_path):
    cohort = Cohort.open(data_folder, cache=tmp_path)
    case = cohort.cases[cohort.names[0]]
    scan, mask = load_pair(case.scan, case.mask)
    np.testing.assert_allclose(cohort.images[case.name], window(scan.axial()), atol=5e-4)
    np.testing.assert_array_equal(cohort.masks[case.name], mask.axial() > 0)
    assert isinstance(cohort.images[case.name], np.memmap)


def test_cache_is_written_once_and_keyed_by_content(data_folder, tmp_path):
    folder = tmp_path / "data"
    shutil.copytree(data_folder, folder)
    cache = tmp_path / "cache"
    Cohort.open(folder, cache=cache)
    times = {p: p.stat().st_mtime_ns for p in cache.rglob("*.npy")}
    Cohort.open(folder, cache=cache)
    assert {p: p.stat().st_mtime_ns for p in cache.rglob("*.npy")} == times
    Cohort.open(folder, Preprocessing(window=(-1000, 400)), cache=cache)
    assert len(list(cache.iterdir())) == 12
    case = find_cases(folder)[0]
    scan = Scan.load(case.scan)
    Scan(scan.voxels + np.int16(1), scan.affine).save(case.scan)
    assert len(list(cache.iterdir())) == 12
    Cohort.open(folder, cache=cache)
    assert len(list(cache.iterdir())) == 13


@pytest.mark.fault("a damaged cache", "made again, with the same slices")
@pytest.mark.parametrize("harm", ["cut", "gone", "foreign", "note"])
def test_a_damaged_cache_is_made_again(data_folder, tmp_path, harm):
    good = Cohort.open(data_folder, cache=tmp_path)
    images = {n: np.array(v) for n, v in good.images.items()}
    folder = sorted(tmp_path.iterdir())[0]
    path = folder / ("made-by.json" if harm == "note" else "images.npy")
    if harm == "cut":
        path.write_bytes(path.read_bytes()[:-5000])
    elif harm == "gone":
        path.unlink()
    elif harm == "foreign":
        np.save(path, np.zeros((3, 4, 5), np.float16))
    else:
        path.write_text("{")
    again = Cohort.open(data_folder, cache=tmp_path)
    for name, image in images.items():
        np.testing.assert_array_equal(again.images[name], image)
        assert again.spacing(name) == good.spacing(name)


def _open(arguments):
    return Cohort.open(*arguments[:1], cache=arguments[1]).fingerprint


def test_two_processes_may_write_the_same_cache(data_folder, tmp_path):
    with ProcessPoolExecutor(2) as pool:
        first, second = pool.map(_open, [(data_folder, tmp_path / "c")] * 2)
    assert first == second
    assert len([p for p in (tmp_path / "c").iterdir() if not p.name.startswith(".")]) == 6
    assert not [p for p in (tmp_path / "c").iterdir() if p.name.startswith(".")]


def test_data_is_looked_for_in_order(tmp_path, monkeypatch, data_folder):
    where = __import__("scoat_lib.cohort", fromlist=["data_folder"]).data_folder
    monkeypatch.setenv("SCOAT_CACHE", str(tmp_path))
    monkeypatch.setenv("SCOAT_DATA", "elsewhere")
    assert str(where("given")) == "given"
    assert str(where()) == "elsewhere"
    monkeypatch.delenv("SCOAT_DATA")
    downloaded = tmp_path / "zenodo-3757476"
    shutil.copytree(data_folder, downloaded)
    assert where() == downloaded


@pytest.mark.parametrize("broken", ["folder", "scans", "mask", "empty"])
def test_bad_folders_are_refused_in_words(data_folder, tmp_path, broken):
    folder = tmp_path / "data"
    if broken != "folder":
        shutil.copytree(data_folder, folder)
    if broken == "scans":
        shutil.rmtree(folder / "COVID-19-CT-Seg_20cases")
    if broken == "mask":
        next((folder / "Infection_Mask").iterdir()).unlink()
    if broken == "empty":
        for path in (folder / "COVID-19-CT-Seg_20cases").iterdir():
            path.unlink()
    with pytest.raises(DataError, match="expected COVID-19-CT-Seg_20cases"):
        find_cases(folder)


def test_a_name_tells_the_patient():
    assert patient_of("radiopaedia_29_86490_1") == patient_of("radiopaedia_29_86491_1") == "radiopaedia_29"
    assert patient_of("radiopaedia_29_86490_1#3") == "radiopaedia_29"
    assert patient_of("coronacases_001") == "coronacases_001"
    assert patient_of("follow_a_01-30") == patient_of("follow_a_2020-02-14") == "follow_a"
    assert patient_of("hospital_12_3") == "hospital_12_3"  # not the record's: nothing is guessed
    assert Case("x", None, None, patient="y").patient == "y"


def test_the_first_edition_of_the_reduced_copies_is_refused(data_folder, tmp_path):
    folder = tmp_path / "data"
    shutil.copytree(data_folder, folder)
    for part in ("COVID-19-CT-Seg_20cases", "Infection_Mask"):
        next(iter(sorted((folder / part).iterdir()))).rename(folder / part / "radiopaedia_011.nii.gz")
    with pytest.raises(DataError, match="radiopaedia_011, names of the first edition"):
        find_cases(folder)


def test_a_table_may_say_who_the_patients_are(data_folder, tmp_path):
    folder = tmp_path / "data"
    shutil.copytree(data_folder, folder)
    names = [case.name for case in find_cases(folder)]
    rows = [f"{name},{'A' if i < 2 else f'P{i}'}" for i, name in enumerate(names)]
    (folder / "patients.csv").write_text("scan,patient\n" + "\n".join(rows) + "\n")
    told = Cohort.open(folder)
    assert told.patients["A"] == names[:2]
    assert told.fingerprint != Cohort.open(data_folder).fingerprint
    for text, reason in (
        ("scan,patient\n" + "\n".join(rows[1:]), f"differing: {names[0]}"),
        ("scan,patient\n" + "\n".join([*rows, rows[0]]), "named twice"),
        ("scan,who\n" + "\n".join(rows), "columns scan and patient"),
        ("", "columns scan and patient"),
    ):
        (folder / "patients.csv").write_text(text)
        with pytest.raises(DataError, match=reason):
            find_cases(folder)


def test_what_lies_below_air_is_raised_to_the_floor(data_folder):
    scan = Scan.load(find_cases(data_folder)[0].scan)
    padded = np.array(scan.voxels, np.int16)
    padded[:3] = -3024
    raised = np.maximum(padded, -1024)
    for preprocessing in (Preprocessing(), Preprocessing(spacing=11.2)):
        np.testing.assert_array_equal(
            preprocessing.slices(Scan(padded, scan.affine)), preprocessing.slices(Scan(raised, scan.affine))
        )
    assert Preprocessing().padding == pytest.approx(226 / 1500)


def test_padding_is_undone_by_its_slices(rng):
    array = rng.random((3, 5, 8)).astype(np.float32)
    padded, where = pad_slices(array, (9, 8))
    assert padded.shape == (3, 9, 8)
    np.testing.assert_array_equal(padded[..., *where], array)
    assert padded.sum() == pytest.approx(array.sum())
    with pytest.raises(ValueError, match="do not fit"):
        pad_slices(array, (4, 8))
    for size in ((5, 8), (6, 9), (8, 11), (11, 13), (12, 12)):
        _, (rows, columns) = pad_slices(array, size)
        around = [(rows.start, size[0] - rows.stop), (columns.start, size[1] - columns.stop)]
        assert all(after - before in (0, 1) for before, after in around), "centred"


def test_resampling_averages_where_it_shrinks():
    checker = (np.indices((64, 64)).sum(0) % 2).astype(np.float32)[None]
    assert resample_slices(checker, (16, 16)).std() < 0.05
    np.testing.assert_array_equal(resample_slices(checker, (64, 64)), checker)


def test_spacing_is_brought_to_the_recipes(data_folder):
    cohort = Cohort.open(data_folder, Preprocessing(spacing=11.2))
    assert cohort.size == (32, 32)


def test_items_replay_by_seed_epoch_and_position(cohort):
    first = SliceDataset(cohort, cohort.names, 0.3, Augmentation(), seed=5)
    again = SliceDataset(cohort, cohort.names, 0.3, Augmentation(), seed=5)
    again.set_epoch(4)
    again.set_epoch(0)
    for position in (0, 7, 3):
        for a, b in zip(first[position], again[position], strict=True):
            assert torch.equal(a, b)
    image, mask = first[2]
    replayed = Augmentation().draw(np.random.default_rng([5, 0, 3, 2]), first.size)
    assert replayed == first.change(2)
    plain = SliceDataset(cohort, cohort.names, 0.3, None, seed=5)
    raw = torch.from_numpy(np.asarray(cohort.images[first.index[2][0]][first.index[2][1]], np.float32))[None]
    changed, changed_mask = replayed.apply(raw, plain[2][1])
    assert torch.equal(cohort.preprocessing.normalise(changed), image)
    assert torch.equal(changed_mask, mask)
    first.set_epoch(1)
    assert not torch.equal(first[2][0], image)


def test_no_change_changes_nothing():
    image, mask = torch.rand(1, 32, 40), (torch.rand(1, 32, 40) > 0.5).float()
    a, b = Change().apply(image, mask)
    assert torch.equal(a, image)
    assert torch.equal(b, mask)


def test_a_flip_mirrors_left_and_right():
    image = torch.rand(1, 32, 40)
    flipped, _ = Change(flip=True).apply(image, image.round())
    assert torch.equal(flipped, image.flip(-1))


def test_moves_take_image_and_mask_along():
    image = torch.zeros(1, 64, 64)
    image[0, 20:30, 40:44] = 1
    moved, mask = Change(angle=0.3, zoom=1.2, shift=(4.0, -3.0)).apply(image, image.clone())
    assert ((moved > 0.5).float() - mask).abs().sum() <= 1
    assert mask.sum() == pytest.approx(40 * 1.44, rel=0.2)


def test_lesion_free_slices_are_a_stated_share(cohort):
    everything = SliceDataset(cohort, cohort.names, 1.0)
    lesions = SliceDataset(cohort, cohort.names, 0.0)
    assert len(everything) == sum(len(i) for i in cohort.images.values())
    assert len(lesions) == sum(len(s) for s in cohort.lesion_slices.values())
    assert all(lesions[i][1].any() for i in range(len(lesions)))
    half = SliceDataset(cohort, cohort.names, 0.5)
    assert len(half) == pytest.approx((len(everything) + len(lesions)) / 2, abs=4)
    chosen = set(half.index)
    half.set_epoch(1)
    assert set(half.index) != chosen


def test_of_dense_scans_every_second_slice_takes_part_in_turn(cohort):
    between = cohort.spacing(cohort.names[0])[0]
    plain = SliceDataset(cohort, cohort.names, 0.0, thin_below=between)  # not closer than this
    assert len(plain) == len(SliceDataset(cohort, cohort.names, 0.0))
    thinned = SliceDataset(cohort, cohort.names, 1.0, thin_below=between + 0.1)
    assert {z % 2 for _, z in thinned.index} == {0}
    even = set(thinned.index)
    thinned.set_epoch(3)
    assert {z % 2 for _, z in thinned.index} == {1}
    assert even | set(thinned.index) == {(n, z) for n in cohort.names for z in range(len(cohort.images[n]))}


def test_fewer_patients_make_an_epoch_as_long(cohort):
    few, everybody = cohort.names[:2], cohort.names
    plain = SliceDataset(cohort, few, 0.5, Augmentation(), seed=3)
    longer = SliceDataset(cohort, few, 0.5, Augmentation(), seed=3, as_many_as=everybody)
    whole = SliceDataset(cohort, everybody, 0.5, None, seed=8)
    for epoch in (0, 1, 2):
        for one in (plain, longer, whole):
            one.set_epoch(epoch)
        order = longer.order()
        assert len(order) == len(set(order)) == len(whole.order()) > len(plain.order())
        assert longer.index[: len(plain.index)] == plain.index
        assert {name for name, _ in longer.index} == set(few)
        same = [i for i, item in enumerate(longer.index) if item == longer.index[0]]
        assert len(same) > 1
        assert longer.change(same[0]) != longer.change(same[1])
    assert (
        SliceDataset(cohort, everybody, 0.5, None, 3, as_many_as=everybody).order()
        == SliceDataset(cohort, everybody, 0.5, None, 3).order()
    )


def test_a_slice_is_padded_with_the_floor(cohort):
    name = cohort.names[0]
    item = SliceDataset(cohort, [name], 1.0, size=(80, 80))[0]
    assert item[0][0, 0, 0] == pytest.approx(cohort.preprocessing.normalise(cohort.preprocessing.padding))
    assert item[1][0, 0, 0] == 0


def test_statistics_come_from_the_named_patients(cohort):
    name = cohort.names[2]
    normalised = with_statistics(cohort, [name])
    values = np.asarray(cohort.images[name], np.float64)
    assert normalised.preprocessing.mean == pytest.approx(values.mean(), abs=1e-4)
    assert normalised.preprocessing.std == pytest.approx(values.std(), abs=1e-4)
    kept = normalised.preprocessing.mean, normalised.preprocessing.std
    assert kept == tuple(round(value, 4) for value in kept), "of four digits, as they are stored"


def test_the_default_is_the_phantom_cohort(monkeypatch, tmp_path):
    from scoat_lib import phantom

    asked = []
    monkeypatch.setenv("SCOAT_CACHE", str(tmp_path))
    monkeypatch.setattr(phantom, "default_cohort", lambda cache: asked.append(cache) or tmp_path)
    assert data_folder() == tmp_path
    assert asked == [tmp_path]


def test_sources_are_read_from_names():
    assert Case("coronacases_001", None, None).source == "coronacases"
    assert Case("radiopaedia_10_85902_1", None, None).source == "radiopaedia"
    assert Case("scan7", None, None).source == "scan"


def test_calibrated_slices_do_not_depend_on_the_stored_scale(data_folder, tmp_path):
    """The same scan on another scale gives the same slices if calibrated, others if not; the caches are kept apart."""
    case = find_cases(data_folder)[0]
    scan = Scan.load(case.scan)
    shifted = Scan((0.9 * scan.voxels + 150).astype(np.float32), scan.affine)
    plain, asked = Preprocessing(), Preprocessing(calibrate=True)
    assert np.abs(plain.slices(shifted) - plain.slices(scan)).mean() > 0.03
    inside = scan.axial() > -1100
    assert np.abs(asked.slices(shifted) - asked.slices(scan))[inside].mean() < 0.005
    assert Preprocessing.from_dict(asked.to_dict()) == asked
    old = plain.to_dict()
    del old["calibrate"]  # a header of before
    assert Preprocessing.from_dict(old) == plain
    for preprocessing in (plain, asked):
        Cohort([case], preprocessing, cache=tmp_path)
    assert len([p for p in tmp_path.iterdir() if p.is_dir()]) == 2
    assert sorted("calibrate" in p.read_text() for p in tmp_path.glob("*/made-by.json")) == [False, True]


def test_a_calibrated_cache_says_so(data_folder, tmp_path):
    Cohort.open(data_folder, Preprocessing(calibrate=True), cache=tmp_path)
    notes = [json.loads(p.read_text()) for p in tmp_path.glob("*/made-by.json")]
    assert notes
    assert {note["calibrate"] for note in notes} == {True}


def test_two_cases_of_one_name_are_refused_by_that_name(tmp_path):
    one, other = (Case(name, tmp_path / name, tmp_path / name) for name in ("twice", "once"))
    with pytest.raises(DataError, match=r"case names repeat: twice$"):
        Cohort([one, other, one])


def test_without_statistics_the_defaults_centre_and_scale():
    assert Preprocessing().normalise(np.float64(0.75)) == pytest.approx(1.0)  # (0.75 − 0.4) / 0.35
