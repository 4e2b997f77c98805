"""cli/many.py: a folder of scans as a user meets it: bad scans, second starts, other options, other people's files, kills."""

import contextlib
import csv
import json
import os
import subprocess
import sys
import time
import weakref
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import torch
from filelock import FileLock
from test_kills import TIMES, in_child, run_disturbed, whole_files

from scoat_lib import cli, networks, phantom, segmentation, weights
from scoat_lib.cli import found, many
from scoat_lib.cohort import Preprocessing, find_cases
from scoat_lib.files import PART, BusyError
from scoat_lib.scan import Scan, ScanError

PLAIN = segmentation.Options(threshold=0.5, flip=False)


def small_weights(path: Path) -> Path:
    """An untrained network of a few channels: what it marks does not matter here, but it is neither nothing nor all."""
    torch.manual_seed(1)
    return weights.save(path, networks.create("unet", width=4), Preprocessing(spacing=5.6))


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return small_weights(tmp_path_factory.mktemp("weights") / "w.safetensors")


@pytest.fixture
def folder(data_folder, tmp_path):
    """Three scans, and what is none."""
    scans = tmp_path / "scans"
    scans.mkdir()
    for case, name in zip(find_cases(data_folder), ("a.nii.gz", "b.nii.gz", "c.nii.gz"), strict=False):
        (scans / name).write_bytes(case.scan.read_bytes())
    (scans / "notes.txt").write_text("no scan")
    (scans / ".a.nii.gz").write_text("what a file manager leaves")
    return scans


@pytest.fixture
def run(folder, file, tmp_path):
    """Segment the folder; the rows of the table by name."""

    def segment(output=tmp_path / "masks", options=PLAIN, **more):
        rows = many.segment(folder, output, str(file), options, quiet=True, **more)
        return {row["name"]: row for row in rows}

    return segment


@pytest.fixture
def counted(monkeypatch):
    """The paths of the scans that were segmented."""
    seen = []
    plain = segmentation.of

    def of(scan, *words):
        seen.append(scan.path.name)
        return plain(scan, *words)

    monkeypatch.setattr(segmentation, "of", of)
    return seen


def table(output: Path) -> list[dict]:
    with open(output / many.TABLE, newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def test_ten_scans_one_broken(folder, file, data_folder, tmp_path):
    """Ten different ones: eight NIfTI files, a DICOM series, and one that is cut off; a page for each."""
    from test_dicom import write_series

    for case, name in zip(find_cases(data_folder)[3:], "def", strict=True):
        (folder / f"{name}.nii.gz").write_bytes(case.scan.read_bytes())
    for seed, name in ((91, "g"), (92, "h")):
        phantom.patient(seed, (64, 64, 16)).scan.save(folder / f"{name}.nii.gz")
    series = phantom.patient(93, (64, 64, 16)).scan
    write_series(folder / "i", series)
    (folder / "broken.nii.gz").write_bytes((folder / "a.nii.gz").read_bytes()[:3000])
    out, pages = tmp_path / "new" / "masks", tmp_path / "pages"
    words = ["segment", folder, "-o", out, "--report", pages, "--weights", file, "--threshold", "0.5", "--threads", 1]
    done = subprocess.run([sys.executable, "-m", "scoat_lib", *map(str, words)], capture_output=True, text=True)
    assert done.returncode == 3, done.stderr[-2000:]
    assert "9 of 10 scans have their mask" in done.stdout
    assert "broken.nii.gz: is cut off" in done.stdout
    assert "10 of 10: i, about 0.0 min left" in done.stderr
    assert "Traceback" not in done.stderr
    rows = table(out)
    assert [row["name"] for row in rows] == sorted(["broken", *"abcdefghi"])
    assert sorted(p.name for p in pages.glob("[!.]*")) == sorted(f"{n}{s}" for n in "abcdefghi" for s in (".html", ".png"))
    assert len({row["volume_cm3"] for row in rows}) == 10
    for row in rows:
        mask = out / f"{row['name']}_mask.nii.gz"
        if row["name"] == "broken":
            assert (row["state"], row["volume_cm3"], mask.exists()) == ("failed", "", False)
            assert "cut off" in row["reason"]
            continue
        assert (row["state"], row["reason"]) == ("done", "")
        assert float(row["volume_cm3"]) == pytest.approx(Scan.load(mask, mask=True).volume(), abs=0.01)
        assert row["weights"].startswith("w ")
        assert float(row["seconds"]) > 0
    alone = segmentation.segment(folder / "b.nii.gz", weights=file, threshold=0.5)
    np.testing.assert_array_equal(Scan.load(out / "b_mask.nii.gz").voxels, alone.mask)
    assert 0 < alone.mask.mean() < 1
    of_series = Scan.load(out / "i_mask.nii.gz")
    np.testing.assert_allclose(of_series.affine @ [1, 2, 3, 1], series.affine @ [1, 2, 3, 1], atol=0.01)
    np.testing.assert_array_equal(of_series.voxels, segmentation.segment(series, weights=file, threshold=0.5).mask)


def test_what_is_finished_is_not_done_again(run, folder, counted, tmp_path):
    kept = (folder / "b.nii.gz").read_bytes()
    (folder / "b.nii.gz").write_bytes(kept[:3000])
    first = run()
    assert [first[name]["state"] for name in "abc"] == ["done", "failed", "done"]
    assert counted == ["a.nii.gz", "c.nii.gz"]
    (folder / "b.nii.gz").write_bytes(kept)
    os.utime(folder / "c.nii.gz", ns=(1, 1))  # copied, not changed
    again = run()
    assert counted == ["a.nii.gz", "c.nii.gz", "b.nii.gz"]
    assert {row["state"] for row in again.values()} == {"done"}
    assert (again["a"], again["c"]) == (first["a"], first["c"])
    assert [row["name"] for row in table(tmp_path / "masks")] == ["a", "b", "c"]
    (tmp_path / "masks" / "c_mask.nii.gz").unlink()
    run()
    assert counted[3:] == ["c.nii.gz"]


def test_other_options_are_refused_and_made_again_when_asked(run, counted, tmp_path):
    run()
    masks = {p: p.read_bytes() for p in (tmp_path / "masks").iterdir()}
    other = segmentation.Options(threshold=0.49, flip=False)
    with pytest.raises(ScanError, match=r"3 of its files were made otherwise .*threshold 0.5, now 0.49.*--overwrite"):
        run(options=other)
    assert {p: p.read_bytes() for p in (tmp_path / "masks").iterdir()} == masks
    assert len(counted) == 3
    assert {row["threshold"] for row in run(options=other, overwrite=True).values()} == {0.49}
    assert len(counted) == 6
    run(options=other, overwrite=True)  # killed and started again with the same words, it goes on
    assert len(counted) == 6


def test_other_weights_of_the_same_name_are_refused(run, file, tmp_path):
    run()
    torch.manual_seed(2)
    weights.save(file, networks.create("unet", width=4), Preprocessing(spacing=5.6))
    try:
        with pytest.raises(ScanError, match=r"made otherwise .a has weights w "):
            run()
    finally:
        small_weights(file)


def test_a_scan_that_changed_is_refused(run, folder):
    run()
    (folder / "a.nii.gz").write_bytes((folder / "b.nii.gz").read_bytes())
    with pytest.raises(ScanError, match=r"a\.nii\.gz has changed since its mask was made"):
        run()


def test_a_mask_corrected_by_hand_is_kept(run, counted, tmp_path):
    path = tmp_path / "masks" / "b_mask.nii.gz"
    run()
    mask = Scan.load(path)
    mask.voxels[:] = 0
    mask.voxels[:5, :5, :5] = 1
    mask.save(path)
    corrected = path.read_bytes()
    row = run()["b"]
    assert path.read_bytes() == corrected
    assert row["state"] == "changed"
    assert row["volume_cm3"] == pytest.approx(mask.volume(), abs=0.01)
    assert "changed since" in row["warnings"]
    assert len(counted) == 3


def test_files_of_others_are_never_replaced_unasked(run, tmp_path):
    theirs = tmp_path / "masks" / "c_mask.nii.gz"
    theirs.parent.mkdir()
    theirs.write_text("a mask drawn by hand")
    with pytest.raises(ScanError, match=r"c_mask\.nii\.gz was not made by this command"):
        run()
    assert theirs.read_text() == "a mask drawn by hand"
    assert not (tmp_path / "masks" / "a_mask.nii.gz").exists()
    run(overwrite=True)
    assert Scan.load(theirs, mask=True)


@pytest.mark.fault("a foreign record beside the masks", "refused, named; nothing is written")
@pytest.mark.parametrize(
    "more", [{}, {"state": 3}, {"state": "done", "row": 3}, {"state": "done", "settings": {}, "files": {}}, {"state": "done"}]
)
def test_a_record_that_only_looks_like_ours_is_named(run, tmp_path, more):
    row = dict.fromkeys(many.COLUMNS, "")
    content = {"made by": "scoat segment"} | ({"settings": {}, "row": row} if more else {}) | more
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "a.json").write_text(json.dumps(content))
    with pytest.raises(ScanError, match=r"made otherwise \(a\.json was not made by this command\)"):
        run()
    assert [p.name for p in (tmp_path / "masks").iterdir() if not p.name.startswith(".") and p.suffix != ".csv"] == ["a.json"]


def test_a_mask_drawn_where_the_command_failed_is_kept(run, folder, tmp_path):
    (folder / "b.nii.gz").write_text("no scan")
    assert run()["b"]["state"] == "failed"
    theirs = tmp_path / "masks" / "b_mask.nii.gz"
    theirs.write_text("a mask drawn by hand")
    with pytest.raises(ScanError, match=r"b_mask\.nii\.gz was not made by this command"):
        run()
    assert theirs.read_text() == "a mask drawn by hand"


def drawn(path: Path) -> bytes:
    """A mask corrected by hand: one voxel."""
    mask = Scan.load(path, mask=True)
    mask.voxels[:] = 0
    mask.voxels[3, 3, 3] = 1
    mask.save(path)
    return path.read_bytes()


def test_a_mask_corrected_by_hand_is_kept_whatever_is_asked_for_now(run, counted, tmp_path):
    path = tmp_path / "masks" / "b_mask.nii.gz"
    run()
    corrected = drawn(path)
    run(options=segmentation.Options(threshold=0.4, flip=False), overwrite=True)
    assert path.read_bytes() == corrected
    assert len(counted) == 3 + 2


def test_a_mask_drawn_where_a_kill_left_its_beginning_is_kept(run, tmp_path):
    path, record = tmp_path / "masks" / "b_mask.nii.gz", tmp_path / "masks" / "b.json"
    run()
    whole = json.loads(record.read_text())
    begun = whole | {"state": "begun", "files": {"mask": whole["files"]["mask"]}}
    record.write_text(json.dumps(begun))
    assert run()["b"]["state"] == "done"  # the mask that was being written is no stranger
    record.write_text(json.dumps(begun))
    corrected = drawn(path)
    with pytest.raises(ScanError, match=r"b_mask\.nii\.gz was not made by this command"):
        run()
    assert path.read_bytes() == corrected


def test_what_fails_later_leaves_the_masks_of_before(run, folder, monkeypatch, tmp_path):
    run()
    masks = {p.name: p.read_bytes() for p in (tmp_path / "masks").glob("*.nii.gz")}

    def none(*words):
        raise MemoryError

    def killed(*words):
        raise KeyboardInterrupt

    for what in (killed, none):
        with monkeypatch.context() as patched, contextlib.suppress(KeyboardInterrupt):
            patched.setattr(segmentation, "of", what)
            rows = run(probability=tmp_path / "p")
    assert {row["state"] for row in rows.values()} == {"done"}
    assert all("could not be made: the memory is not enough" in row["warnings"] for row in rows.values())
    assert {p.name: p.read_bytes() for p in (tmp_path / "masks").glob("*.nii.gz")} == masks
    rows = run(probability=tmp_path / "p")
    assert not any("could not be made" in row["warnings"] for row in rows.values())
    assert len(list((tmp_path / "p").glob("*_probability.nii.gz"))) == 3


def test_a_second_folder_adds_to_the_table(run, folder, file, tmp_path):
    run()
    other = tmp_path / "other"
    other.mkdir()
    (other / "z.nii.gz").write_bytes((folder / "a.nii.gz").read_bytes())
    many.segment(other, tmp_path / "masks", str(file), PLAIN, quiet=True)
    assert [row["name"] for row in table(tmp_path / "masks")] == ["z", "a", "b", "c"]


def test_a_corrected_mask_on_another_grid_is_not_counted(run, tmp_path):
    run()
    path = tmp_path / "masks" / "b_mask.nii.gz"
    mask = Scan.load(path, mask=True)
    Scan(mask.voxels, mask.affine * np.array([1.5, 1.5, 1, 1])).save(path)
    row = run()["b"]
    assert (row["state"], row["volume_cm3"]) == ("failed", "")
    assert "b_mask" in row["reason"]


def test_a_slice_that_replaces_another_of_its_size_is_seen(tmp_path):
    series = tmp_path / "series"
    series.mkdir()
    for name in ("1", "2"):
        (series / name).write_bytes(bytes(128) + b"DICM" + name.encode())
    known = found.print_of(series)
    assert found.is_still(series, known)
    (series / "Thumbs.db").write_text("what a file manager leaves")
    assert found.is_still(series, known)
    (series / "1").write_bytes(bytes(128) + b"DICM3")
    os.utime(series / "1", ns=(1, 1))  # older than the others, as an unpacked or copied file is
    assert not found.is_still(series, known)


def test_folders_that_are_links_are_looked_into_and_loops_end(folder, tmp_path):
    series = tmp_path / "elsewhere"
    series.mkdir()
    (series / "1").write_bytes(bytes(128) + b"DICM")
    (folder / "linked").symlink_to(series)
    (folder / "loop").symlink_to(folder)
    assert [item.name for item in found.find(folder)] == ["a", "b", "c", "linked"]


def test_a_directory_of_a_disk_is_no_series(folder):
    (folder / "disk" / "S1").mkdir(parents=True)
    for place in ("DICOMDIR", "S1/1"):
        (folder / "disk" / place).write_bytes(bytes(128) + b"DICM")
    assert [item.name for item in found.find(folder)] == ["a", "b", "c", "disk_S1"]


def test_masks_never_go_into_a_series(run, folder):
    (folder / "series").mkdir()
    (folder / "series" / "1").write_bytes(bytes(128) + b"DICM")
    with pytest.raises(ScanError, match="holds a DICOM series"):
        run(output=folder / "series")


def test_long_and_strange_names_stop_nobody(run, folder, tmp_path):
    deep = folder / ("u" * 90) / ("v" * 90) / ("w" * 90)
    deep.mkdir(parents=True)
    (deep / "1").write_bytes(bytes(128) + b"DICM")
    os.rename(folder / "c.nii.gz", os.fsencode(folder) + b"/M\xfcller.nii.gz")
    rows = run()
    assert {row["state"] for name, row in rows.items() if len(name) < 100} == {"done"}
    (long,) = (name for name in rows if len(name) > 100)
    assert rows[long]["state"] == "failed"  # it is no whole DICOM file, and says so
    assert len(long.encode()) <= found.LONGEST
    strange = next(row for name, row in rows.items() if "ller" in name)
    assert "\\udcfc" in strange["scan"]
    assert (tmp_path / "masks" / f"{strange['name']}_mask.nii.gz").exists()
    assert len(table(tmp_path / "masks")) == 4


def test_a_table_of_the_users_own_is_kept(run, tmp_path):
    theirs = tmp_path / "masks" / many.TABLE
    theirs.parent.mkdir()
    theirs.write_text("patient,age\n")
    with pytest.raises(ScanError, match="is another table"):
        run()
    assert theirs.read_text() == "patient,age\n"


@pytest.mark.fault("one of the scans as an output", "refused; the scans are whole")
def test_an_output_is_never_an_input(run, folder, tmp_path):
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    (tmp_path / "link").symlink_to(folder)
    for place in (folder, tmp_path / "link", folder / ".." / "scans"):
        for overwrite in (False, True):
            with pytest.raises(ScanError, match="is the folder of the scans"):
                run(place, overwrite=overwrite)
    with pytest.raises(ScanError, match="is the folder of the scans"):
        run(probability=folder)
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "a_mask.nii.gz").symlink_to(folder / "a.nii.gz")
    with pytest.raises(ScanError, match="holds a link to one of the scans"):
        run(overwrite=True)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


def test_masks_within_the_folder_of_scans_are_no_scans(run, folder):
    run(folder / "masks")
    assert list(run(folder / "masks")) == ["a", "b", "c"]


@pytest.mark.fault("two on one folder of scans", "the second refused in one line")
def test_a_second_process_is_told_that_the_folder_is_busy(run, tmp_path):
    (tmp_path / "masks").mkdir()
    with FileLock(tmp_path / "masks" / many.LOCK), pytest.raises(BusyError, match="another scoat is writing here already"):
        run()
    assert [p.name for p in (tmp_path / "masks").iterdir()] == [many.LOCK]


def test_one_scan_is_in_memory_at_a_time(run, monkeypatch):
    alive = []
    plain = Scan.load

    def load(path, **more):
        assert all(reference() is None for reference in alive), "a scan was still held when the next was read"
        scan = plain(path, **more)
        alive.append(weakref.ref(scan.voxels))
        return scan

    monkeypatch.setattr(many.Scan, "load", load)
    assert {row["state"] for row in run().values()} == {"done"}
    assert len(alive) == 3


@pytest.mark.fault("any error while one scan of many is segmented", "its row says it; the others go on")
def test_whatever_a_library_raises_is_a_row_but_a_full_disk_stops(run, monkeypatch):
    plain = segmentation.of

    def of(scan, *words):
        if scan.path.name == "b.nii.gz":
            raise IndexError("list index out of range")
        return plain(scan, *words)

    monkeypatch.setattr(segmentation, "of", of)
    rows = run()
    assert [rows[name]["state"] for name in "abc"] == ["done", "failed", "done"]
    unforeseen = "b.nii.gz: something was met that nobody foresaw (IndexError: list index out of range)"
    assert rows["b"]["reason"].startswith(unforeseen)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(segmentation, "of", full)
    with pytest.raises(OSError, match="No space"):
        run()


def test_a_page_that_cannot_be_drawn_costs_no_mask(run, counted, monkeypatch, tmp_path):
    from scoat_lib import overview

    plain = overview.report

    def report(found, name, *words):
        if name == "b":
            raise IndexError("list index out of range")
        return plain(found, name, *words)

    monkeypatch.setattr(overview, "report", report)
    rows = run(report=tmp_path / "pages")
    assert {row["state"] for row in rows.values()} == {"done"}
    assert [name for name in "abc" if "IndexError: list index out of range" in rows[name]["warnings"]] == ["b"]
    assert table(tmp_path / "masks")[1]["warnings"] == rows["b"]["warnings"]
    mask = tmp_path / "masks" / "b_mask.nii.gz"
    assert Scan.load(mask, mask=True).volume() == pytest.approx(rows["b"]["volume_cm3"], abs=0.01)
    assert sorted(p.name for p in (tmp_path / "pages").glob("[a-z]*")) == ["a.html", "a.png", "c.html", "c.png"]
    monkeypatch.setattr(overview, "report", plain)
    assert "no report page" not in run(report=tmp_path / "pages")["b"]["warnings"]
    assert counted[3:] == ["b.nii.gz"]
    assert (tmp_path / "pages" / "b.html").exists()


def test_a_picture_that_cannot_be_written_leaves_no_page(run, monkeypatch, tmp_path):
    from scoat_lib import overview

    def write(page, text, png):
        page.write_text(text)
        raise RuntimeError("no encoder")

    monkeypatch.setattr(overview, "write", write)
    assert all("no encoder" in row["warnings"] for row in run(report=tmp_path / "pages").values())
    assert not list((tmp_path / "pages").glob("[a-z]*"))


def test_probabilities_go_to_a_folder_of_their_own(run, tmp_path):
    run(probability=tmp_path / "p")
    p, mask = Scan.load(tmp_path / "p" / "a_probability.nii.gz"), Scan.load(tmp_path / "masks" / "a_mask.nii.gz")
    np.testing.assert_array_equal(p.voxels > 0.5, mask.voxels > 0)


def test_probabilities_asked_for_later_are_made(run, counted, tmp_path):
    run()
    run(probability=tmp_path / "p")
    assert len(counted) == 6
    assert (tmp_path / "p" / "a_probability.nii.gz").exists()


def test_names_that_clash_are_told_apart_or_refused(folder, tmp_path):
    (folder / "a.nii").write_bytes(b"")
    assert [item.name for item in found.find(folder)] == ["a.nii", "a.nii.gz", "b", "c"]
    (folder / "B.nii").write_bytes(b"")
    with pytest.raises(ScanError, match="several scans would have a mask of the name B"):
        found.find(folder)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ScanError, match="holds no scan"):
        found.find(tmp_path / "empty")


def test_a_folder_of_dicom_files_is_a_scan(folder):
    for place in ("patient/series", ".hidden", "masks"):
        (folder / place).mkdir(parents=True)
        (folder / place / "0001").write_bytes(bytes(128) + b"DICM")
    items = found.find(folder, (folder / "masks",))
    assert [item.name for item in items] == ["a", "b", "c", "patient_series"]
    assert items[-1].shown == "patient/series"


def test_a_dicom_folder_that_cannot_be_read_says_what_to_do(run, folder):
    (folder / "series").mkdir()
    (folder / "series" / "0001").write_bytes(bytes(128) + b"DICM")
    row = run()["series"]
    assert row["state"] == "failed"
    assert "series" in row["reason"]


def test_shares_of_the_lungs(run, monkeypatch, tmp_path):
    """What the lungs' module says of right and left lands in the columns of that name; its notes are warnings."""
    lungs = Scan(np.ones((64, 64, 16), np.uint8), np.eye(4), notes=("one lung only",))
    share = {"both": 12.345, "right": 20.0, "left": None, "outside": 1.0}
    module = SimpleNamespace(segment=lambda scan, **_: lungs, share=lambda mask, found: share if found is lungs else {})
    monkeypatch.setattr(segmentation, "optional", lambda name: module if name == "lungs" else None)
    run()
    row = table(tmp_path / "masks")[0]
    assert (row["right_lung_percent"], row["left_lung_percent"]) == ("20.0", "")
    assert float(row["lungs_percent"]) == pytest.approx(12.345, abs=0.006)
    assert row["warnings"].endswith("lungs: one lung only")


def test_without_a_module_for_the_lungs_their_columns_are_left_out(run, monkeypatch, tmp_path):
    monkeypatch.setattr(segmentation, "optional", lambda name: None)
    run()
    assert not [column for column in table(tmp_path / "masks")[0] if "lung" in column]


def test_lungs_that_cannot_be_found_are_a_warning(run, monkeypatch, tmp_path):
    def refuse(scan, **_):
        raise ScanError("no lung | in it")

    monkeypatch.setattr(segmentation, "optional", lambda name: SimpleNamespace(segment=refuse) if name == "lungs" else None)
    row = run()["a"]
    assert row["state"] == "done"
    assert row["warnings"].split(" | ")[-1] == "no share of the lungs: no lung / in it"  # two warnings stay two
    assert table(tmp_path / "masks")[0]["lungs_percent"] == ""


def test_what_a_killed_process_left_is_removed_and_nothing_else(run, tmp_path):
    (tmp_path / "masks").mkdir()
    for name in (f"{PART}abcd_123.nii.gz", f"{PART}abcd_123.json", ".hidden.nii.gz", "abcd_123.json.txt"):
        (tmp_path / "masks" / name).write_text("")
    run()
    names = {p.name for p in (tmp_path / "masks").iterdir()}
    assert {".hidden.nii.gz", "abcd_123.json.txt"} <= names
    assert not [name for name in names if name.startswith(PART)]


def test_the_command_says_the_same_as_one_object(folder, file, tmp_path, capsys):
    words = ["segment", folder, "-o", tmp_path / "masks", "--weights", file, "--json"]
    cli.app([*map(str, words)], standalone_mode=False)
    out = json.loads(capsys.readouterr().out)
    assert (out["masks"], out["failed"]) == (3, 0)
    assert [row["name"] for row in out["scans"]] == ["a", "b", "c"]


@pytest.mark.long
def test_memory_stays_flat_over_two_hundred_scans(data_folder, file, tmp_path):
    """Pages and pictures included: what a drawing library keeps would add up. psutil reads the child's resident memory."""
    scans, out = tmp_path / "scans", tmp_path / "masks"
    scans.mkdir()
    scan = find_cases(data_folder)[0].scan
    for number in range(200):
        (scans / f"{number:03d}.nii.gz").write_bytes(scan.read_bytes())
    words = [sys.executable, "-m", "scoat_lib", "segment", scans, "-o", out, "--weights", file, "--report", tmp_path / "pages"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    child = subprocess.Popen([*map(str, words)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    process, seen = psutil.Process(child.pid), {}
    while child.poll() is None:
        with contextlib.suppress(psutil.Error):
            seen[len(list(out.glob("*_mask.nii.gz")))] = process.memory_info().rss / 2**20
        time.sleep(0.2)
    assert child.returncode == 0
    assert len(table(out)) == 200
    early = max(mb for number, mb in seen.items() if 20 <= number <= 50)
    late = max(mb for number, mb in seen.items() if number >= 170)
    print(f"{early:.0f} MB after 20 to 50 scans, {late:.0f} MB after 170 to 200")
    assert late < 1.03 * early


# --- kills, in an interpreter of its own ------------------------------------------------------------------------------


def killed_and_started_again(folder: Path, file: Path, tmp_path: Path, times: int) -> int:
    out = tmp_path / "killed"

    def work(output=out):
        rows = many.segment(folder, output, str(file), PLAIN, quiet=True)
        assert {row["state"] for row in rows} == {"done"}

    def check():
        whole_files(out)
        for record in out.glob("*.json"):
            content = json.loads(record.read_text())
            if content["state"] == many.DONE:
                assert found.is_still(out / f"{record.stem}_mask.nii.gz", content["files"]["mask"])
                finished.setdefault(record.stem, record.stat().st_mtime_ns)
        for name, when in finished.items():
            assert (out / f"{name}.json").stat().st_mtime_ns == when, f"{name} was done again"

    def clear():
        finished.clear()
        for path in out.iterdir():
            path.unlink()

    finished = {}
    in_child(lambda: work(tmp_path / "alone"))
    killed = run_disturbed(work, check, clear, times)
    check()
    for name in ("a", "b", "c"):
        masks = [(tmp_path / place / f"{name}_mask.nii.gz") for place in ("killed", "alone")]
        np.testing.assert_array_equal(*(Scan.load(path).voxels for path in masks))
    assert not [p for p in out.iterdir() if p.name.startswith(PART)]
    return killed


@pytest.mark.parametrize("times", TIMES)
def test_killed_and_started_again(folder, file, tmp_path, times, tried):
    words = [sys.executable, __file__, folder, file, tmp_path, times]
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    killed = int(done.stdout.splitlines()[-1])
    tried("SIGKILL while a folder of scans is segmented", "started again, the same masks; none was done twice", killed)


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(killed_and_started_again(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])))
