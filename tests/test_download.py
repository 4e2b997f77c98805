"""data/download.py end to end against a server on this machine: cuts, corruption, escapes, no space, no connection."""

import functools
import gzip
import hashlib
import http.server
import importlib.util
import io
import json
import struct
import subprocess
import threading
import time
import types
import zipfile
from email.utils import formatdate
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from scoat_lib import phantom, upright
from scoat_lib import record as known
from scoat_lib.cohort import MASKS, RECORD_SIZE, SCANS, Cohort, download_folder, find_cases
from scoat_lib.exercises import scans, scans_for
from scoat_lib.scan import Scan

spec = importlib.util.spec_from_file_location("download", Path(__file__).parents[1] / "data" / "download.py")
download = importlib.util.module_from_spec(spec)
spec.loader.exec_module(download)

CASES = ("coronacases_001", "radiopaedia_4_85506_1", "coronacases_002")


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder, with byte ranges; `cut` ends a connection after so many bytes, as often as it says."""

    cut: list[int] = []  # noqa: RUF012
    requests: list[tuple[str, str | None]] = []  # noqa: RUF012

    def log_message(self, *_):
        pass

    def do_GET(self):
        path = Path(self.translate_path(self.path))
        wanted = self.headers.get("Range")
        self.requests.append((path.name, wanted))
        if not path.exists():
            return self.send_error(404)
        body = path.read_bytes()
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        if start >= len(body):
            return self.send_error(416)
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        part = body[start:]
        self.wfile.write(part[: self.cut.pop(0)] if self.cut else part)
        self.close_connection = True


def nifti(array, dtype):
    image = nib.Nifti1Image(array.astype(dtype), np.diag([-2.8, -2.8, 4, 1]))
    return image.to_bytes()


@pytest.fixture
def record(tmp_path, rng):
    """A server with small archives laid out like the record's, and their hashes."""
    folder = tmp_path / "served"
    folder.mkdir()

    def archive(name, make, prefix=""):
        with zipfile.ZipFile(folder / name, "w") as file:
            for case in CASES:
                file.writestr(f"{prefix}{case}.nii.gz", gzip.compress(make(case)))
            file.writestr("__MACOSX/._x.nii.gz", b"")
            file.writestr("readme.txt", b"hello")

    def scan(case):
        if case.startswith("radiopaedia"):
            return nifti(rng.integers(0, 256, (32, 32, 6)), np.uint8)
        return nifti(rng.integers(-1024, 1000, (32, 32, 6)), np.int16)

    archive("COVID-19-CT-Seg_20cases.zip", scan)
    archive("Infection_Mask.zip", lambda _: nifti(rng.integers(0, 2, (32, 32, 6)), np.uint8), prefix="Infection_Mask/")
    archive("Lung_Mask.zip", lambda _: nifti(rng.integers(0, 3, (32, 32, 6)), np.uint8))
    hashes = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    Handler.cut, Handler.requests = [], []
    yield folder, f"http://127.0.0.1:{server.server_port}", hashes
    server.shutdown()


def fetch(record, output, *extra):
    _, url, hashes = record
    return download.main(["--output", str(output), "--mirror", url, "--quiet", *extra], hashes)


def test_the_record_loads_through_the_cohorts_code(record, tmp_path, capsys):
    assert fetch(record, tmp_path / "data") == 0
    assert "3 scans" in capsys.readouterr().out
    assert {c.name for c in find_cases(tmp_path / "data")} == set(CASES)
    cohort = Cohort.open(tmp_path / "data")
    assert cohort.size == (32, 32)
    assert not (tmp_path / "data" / ".archives").exists()
    assert not (tmp_path / "data" / "Lung_Mask").exists()  # was not asked for


def test_the_size_that_is_said_is_the_commands():
    assert f"scans and infection masks, {RECORD_SIZE}," in download.__doc__


def test_a_chapter_at_real_scale_never_falls_back_to_phantoms(tmp_path, monkeypatch):
    monkeypatch.setenv("SCOAT_CACHE", str(tmp_path))
    for scale in ("quick", "paper"):
        assert scans_for(scale) == ""
    with pytest.raises(ValueError, match=rf'set data = "download" to fetch the public record \({RECORD_SIZE}, to .*d\.py'):
        scans_for("real")
    assert scans_for("real", "ct") == "ct"
    for part in (SCANS, MASKS):
        (download_folder() / part).mkdir(parents=True)
    assert scans_for("real") == str(download_folder())
    monkeypatch.setenv("SCOAT_DATA", "elsewhere")
    assert scans_for("real") == "elsewhere"


def test_a_chapter_that_asks_gets_the_record_and_hears_how_large_it_is(record, tmp_path, monkeypatch, capsys):
    _, url, hashes = record
    ours = types.SimpleNamespace(main=lambda words: download.main([*words, "--mirror", url, "--quiet"], hashes))
    monkeypatch.setattr(scans, "_downloader", lambda: ours)
    monkeypatch.setenv("SCOAT_CACHE", str(tmp_path / "cache"))
    folder = scans_for("real", "download")
    assert capsys.readouterr().out.startswith(f"fetching the public record, {RECORD_SIZE}, to {folder}")
    assert {case.name for case in find_cases(folder)} == set(CASES)
    Handler.requests.clear()
    assert scans_for("real", "download") == scans_for("real") == folder
    assert not Handler.requests
    assert not capsys.readouterr().out
    hashes["COVID-19-CT-Seg_20cases.zip"] = "0" * 64  # not the published file
    monkeypatch.setenv("SCOAT_CACHE", str(tmp_path / "other"))
    with pytest.raises(ValueError, match="was not fetched"):
        scans_for("real", "download")


def test_the_package_alone_takes_the_downloads_program_from_the_commit_it_was_installed_from(tmp_path, monkeypatch):
    """As on Colab, where pip leaves no copy of the project."""
    assert scans._downloader().HASHES == download.HASHES  # in a copy: its own
    project = tmp_path / "project"
    (project / "data").mkdir(parents=True)
    git = ["git", "-C", str(project), "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*git, "init", "-q"], check=True)
    for content in ("kept = 1", "kept = 2"):
        (project / scans.SCRIPT).write_text(content)
        subprocess.run([*git, "add", "."], check=True)
        subprocess.run([*git, "commit", "-q", "-m", content], check=True)
    commit = subprocess.run([*git, "rev-parse", "HEAD~1"], check=True, capture_output=True, text=True).stdout.strip()
    monkeypatch.setattr(scans, "__file__", str(tmp_path / "installed" / "scoat_lib" / "exercises" / "scans.py"))
    monkeypatch.setenv("SCOAT_CACHE", str(tmp_path / "cache"))
    said = {"url": project.as_uri(), "vcs_info": {"vcs": "git", "commit_id": commit}}
    ours = types.SimpleNamespace(read_text=lambda name: json.dumps(said) if name == "direct_url.json" else None)
    monkeypatch.setattr(scans.metadata, "distribution", lambda name: ours)
    assert scans._downloader().kept == 1
    said["vcs_info"]["commit_id"] = "f" * 40
    with pytest.raises(ValueError, match="could not be fetched"):
        scans._downloader()
    del said["vcs_info"]
    with pytest.raises(ValueError, match=r"not installed from git.*python data/download\.py"):
        scans._downloader()


def test_8_bit_lung_windows_become_hounsfield_units(record, tmp_path):
    fetch(record, tmp_path / "data")
    scan = Scan.load(tmp_path / "data" / "COVID-19-CT-Seg_20cases" / "radiopaedia_4_85506_1.nii.gz")
    assert -1024 <= scan.voxels.min() < -1000
    assert scan.voxels.max() > 100
    other = Scan.load(tmp_path / "data" / "COVID-19-CT-Seg_20cases" / "coronacases_001.nii.gz")
    assert other.voxels.min() < -1000


def test_a_second_call_fetches_nothing(record, tmp_path):
    fetch(record, tmp_path / "data")
    Handler.requests.clear()
    assert fetch(record, tmp_path / "data") == 0
    assert Handler.requests == []
    assert fetch(record, tmp_path / "data", "--masks", "infection", "lung") == 0
    assert [name for name, _ in Handler.requests] == ["Lung_Mask.zip"]


@pytest.mark.fault(
    "killed between the last case and the archive's end", "the archive goes the next time, nothing is fetched again"
)
@pytest.mark.parametrize("cases", [(), ("--cases", CASES[0])], ids=["all", "some cases"])
@pytest.mark.parametrize("step", range(5))
def test_no_archive_outlives_its_unpacking(step, cases, record, tmp_path, monkeypatch):
    """Killed before each of the steps that end the first archive: note, mark (of all cases), archive away, note away."""

    class Killed(BaseException):
        pass

    left = [step]

    def counted(do):
        def one(path, *more, **options):
            if path.suffix in (download.UNWANTED, ".zip") or path.name == ".complete":
                left[0] -= 1
                if left[0] < 0:
                    raise Killed
            return do(path, *more, **options)

        return one

    with monkeypatch.context() as patch:
        patch.setattr(download, "write_whole", counted(download.write_whole))
        patch.setattr(Path, "unlink", counted(Path.unlink))
        with pytest.raises(Killed):
            fetch(record, tmp_path / "data", *cases)
    Handler.requests.clear()
    assert fetch(record, tmp_path / "data", *cases) == 0
    assert f"{download.SCANS}.zip" not in [name for name, _ in Handler.requests]
    assert not (tmp_path / "data" / ".archives").exists()
    assert len(find_cases(tmp_path / "data")) == (1 if cases else 3)


def test_what_pooch_left_is_removed(record, tmp_path):
    archives = tmp_path / "data" / ".archives"
    archives.mkdir(parents=True)
    (archives / "tmpq1w2e3").write_bytes(b"half an archive")
    assert fetch(record, tmp_path / "data") == 0
    assert not archives.exists()


def test_only_the_asked_for_is_unpacked(record, tmp_path):
    assert fetch(record, tmp_path / "data", "--cases", CASES[0]) == 0
    assert [c.name for c in find_cases(tmp_path / "data")] == [CASES[0]]
    assert fetch(record, tmp_path / "data") == 0  # and the rest later
    assert len(find_cases(tmp_path / "data")) == 3
    assert fetch(record, tmp_path / "other", "--cases", "coronacases_099") == 3


@pytest.mark.fault("the connection cut", "goes on from the last byte")
def test_a_cut_download_goes_on_where_it_stopped(record, tmp_path):
    Handler.cut = [1000, 2000, 1]
    assert fetch(record, tmp_path / "data", "--masks") == 0
    ranges = [r for _, r in Handler.requests]
    assert ranges == [None, "bytes=1000-", "bytes=3000-", "bytes=3001-"]


@pytest.mark.fault("the connection cut again and again", "one line; the next call goes on")
def test_after_too_many_cuts_the_next_call_goes_on(record, tmp_path, capsys):
    Handler.cut = [100] * download.ATTEMPTS
    assert fetch(record, tmp_path / "data", "--masks") == 3
    assert "500 bytes are kept" in capsys.readouterr().err
    Handler.requests.clear()
    assert fetch(record, tmp_path / "data", "--masks") == 0
    assert Handler.requests[0][1] == "bytes=500-"


@pytest.mark.fault("another content than the published", "refused in one line, nothing kept")
def test_a_corrupted_archive_is_refused_and_removed(record, tmp_path, capsys):
    folder, _, _ = record
    path = folder / "COVID-19-CT-Seg_20cases.zip"
    body = bytearray(path.read_bytes())
    body[500] ^= 1
    path.write_bytes(body)
    assert fetch(record, tmp_path / "data") == 3
    assert "SHA-256 differs" in capsys.readouterr().err
    assert not list((tmp_path / "data").rglob("*.nii.gz"))
    assert not list((tmp_path / "data").rglob("*.zip*"))


@pytest.mark.fault("a path that leads out of the folder", "refused in one line, nothing kept")
@pytest.mark.parametrize("name", ["../escape.nii.gz", "/tmp-escape.nii.gz", "a/../../escape.nii.gz", "..\\escape.nii.gz"])
def test_no_path_escapes(tmp_path, name):
    archive = tmp_path / "COVID-19-CT-Seg_20cases.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr(name, b"x")
    with pytest.raises(download.DownloadError, match="leads out of the folder"):
        download.unpack(archive, tmp_path / "out" / "in", progress=False)
    assert not list(tmp_path.rglob("*escape*"))


@pytest.mark.fault("links, and two files of one name, in an archive", "refused in one line, nothing kept")
def test_links_and_twins_are_refused(tmp_path):
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as file:
        link = zipfile.ZipInfo("link.nii.gz")
        link.external_attr = 0o120777 << 16
        file.writestr(link, "/etc/passwd")
    with pytest.raises(download.DownloadError, match="link"):
        download.plan(archive, None)
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a/x.nii.gz", b"1")
        file.writestr("b/x.nii.gz", b"2")
    with pytest.raises(download.DownloadError, match="twice"):
        download.plan(archive, None)
    archive.write_bytes(b"no zip")
    with pytest.raises(download.DownloadError, match="not a zip"):
        download.plan(archive, None)


@pytest.mark.fault("too little space", "one line before anything is fetched")
def test_disk_space_is_checked_first(record, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: type("U", (), {"free": 1000})())
    assert fetch(record, tmp_path / "data") == 3
    assert "MB are free" in capsys.readouterr().err
    assert not list((tmp_path / "data").rglob("*.part"))


@pytest.mark.fault("no connection", "one line")
def test_offline_is_said_in_words(tmp_path, capsys):
    assert download.main(["--output", str(tmp_path / "d"), "--mirror", "http://127.0.0.1:9", "--quiet"]) == 3
    text = capsys.readouterr().err
    assert "no connection" in text
    assert "synthetic cohort" in text


@pytest.mark.fault("404 Not Found", "one line")
def test_a_missing_file_is_said_in_words(record, tmp_path, capsys):
    (record[0] / "Infection_Mask.zip").unlink()
    assert fetch(record, tmp_path / "data") == 3
    assert "404" in capsys.readouterr().err


def test_org_names_become_the_masks_names(tmp_path):
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("coronacases_org_001.nii", nifti(np.zeros((4, 4, 4)), np.int16))
    assert set(download.plan(archive, None)) == {"coronacases_001.nii"}
    assert io.BytesIO(archive.read_bytes()).getvalue()[:2] == b"PK"


# what the record gets wrong: archives made as it has them


WRONG = ("radiopaedia_10_85902_1", "radiopaedia_7_85703_0", "coronacases_001")


@pytest.fixture(scope="module")
def chest():
    return phantom.patient(41, (96, 96, 32), volume=60)


def recorded(chest, name):
    """Scan, lesion mask and lung mask of one patient as the record has them: grey of −1350 … 150 HU, header wrong."""
    hu, affine = chest.scan.voxels, chest.scan.affine
    if name.startswith("radiopaedia"):
        hu = np.rint(np.clip((hu + 1350) / 1500, 0, 1) * 255).astype(np.uint8)
        affine = affine.copy()
        for row in (1,) if name != "radiopaedia_7_85703_0" else (1, 2):
            affine[row] *= -1
    return {
        "COVID-19-CT-Seg_20cases": nib.Nifti1Image(hu, affine),
        "Infection_Mask": nib.Nifti1Image(chest.lesions.voxels, affine),
        "Lung_Mask": nib.Nifti1Image(chest.lungs.voxels * 2, affine),
        "Lung_and_Infection_Mask": nib.Nifti1Image(chest.lungs.voxels * 3, affine),
    }


@pytest.fixture
def wrong(chest, tmp_path):
    """A server with archives of three patients as the record has them."""
    folder = tmp_path / "served"
    folder.mkdir()
    files = {name: recorded(chest, name) for name in WRONG}
    for kind in files[WRONG[0]]:
        with zipfile.ZipFile(folder / f"{kind}.zip", "w") as file:
            for name in WRONG:
                file.writestr(f"{name}.nii.gz", gzip.compress(files[name][kind].to_bytes(), 1))
    hashes = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    Handler.cut, Handler.requests = [], []
    yield folder, f"http://127.0.0.1:{server.server_port}", hashes
    server.shutdown()


def check_mended(chest, folder, kinds=("Infection_Mask", "Lung_Mask", "Lung_and_Infection_Mask")):
    truth = {"Infection_Mask": chest.lesions, "Lung_Mask": chest.lungs, "Lung_and_Infection_Mask": chest.lungs}
    for name in WRONG:
        scan = Scan.load(folder / "COVID-19-CT-Seg_20cases" / f"{name}.nii.gz")
        within = (chest.scan.axial() > -1000) & (chest.scan.axial() < 100)
        assert np.abs(scan.axial() - chest.scan.axial())[within].mean() < 40, name
        assert upright.look(scan).reversed_pairs == (), name
        assert scan.voxels.min() >= -1024
        for kind in kinds:
            mask = Scan.load(folder / kind / f"{name}.nii.gz")
            np.testing.assert_array_equal(mask.affine, scan.affine)
            np.testing.assert_array_equal(mask.axial() > 0, truth[kind].axial() > 0)


def content(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_scans_and_every_kind_of_mask_are_mended(wrong, chest, tmp_path, capsys):
    assert fetch(wrong, tmp_path / "data", "--masks", "infection", "lung", "both") == 0
    check_mended(chest, tmp_path / "data")
    assert "warning" not in capsys.readouterr().err
    before = content(tmp_path / "data")
    assert fetch(wrong, tmp_path / "data", "--masks", "infection", "lung", "both") == 0  # again: nothing is mended twice
    assert content(tmp_path / "data") == before
    assert len(Cohort.open(tmp_path / "data", cache=tmp_path / "cache").names) == 3


def test_masks_fetched_later_are_mended_too(wrong, chest, tmp_path):
    assert fetch(wrong, tmp_path / "data") == 0
    assert fetch(wrong, tmp_path / "data", "--masks", "lung") == 0
    check_mended(chest, tmp_path / "data", ("Infection_Mask", "Lung_Mask"))


def test_an_earlier_editions_download_is_mended_where_it_lies(wrong, chest, tmp_path, capsys):
    for name in WRONG:
        for kind, image in recorded(chest, name).items():
            if image.get_data_dtype() == np.uint8 and kind.startswith("COVID"):
                image.header.set_slope_inter(1500 / 255, -1250)
            (tmp_path / "data" / kind).mkdir(parents=True, exist_ok=True)
            nib.save(image, tmp_path / "data" / kind / f"{name}.nii.gz")
            (tmp_path / "data" / kind / ".complete").write_text(wrong[2][f"{kind}.zip"])
    Handler.requests.clear()
    assert fetch(wrong, tmp_path / "data") == 0
    assert Handler.requests == []
    assert "radiopaedia_7_85703_0.nii.gz: mended (front and back, head and foot, HU" in capsys.readouterr().out
    check_mended(chest, tmp_path / "data")


def test_a_record_that_is_right_already_is_left_as_it_is(chest, tmp_path):
    for name in WRONG:
        for kind, scan in (("COVID-19-CT-Seg_20cases", chest.scan), ("Infection_Mask", chest.lesions)):
            (tmp_path / kind).mkdir(exist_ok=True)
            scan.save(tmp_path / kind / f"{name}.nii.gz")
    before = content(tmp_path)
    assert download.mend_folder(tmp_path) == []
    assert content(tmp_path) == before


def test_a_scan_that_still_lies_wrong_is_named(chest, tmp_path, capsys):
    archive = tmp_path / "COVID-19-CT-Seg_20cases.zip"
    turned = known.reflected(chest.scan.affine, chest.scan.voxels.shape, ("front and back",))
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("coronacases_001.nii.gz", gzip.compress(nib.Nifti1Image(chest.scan.voxels, turned).to_bytes(), 1))
    (path,) = download.unpack(archive, tmp_path / "COVID-19-CT-Seg_20cases", progress=False)
    np.testing.assert_allclose(nib.load(path).affine, turned, atol=1e-3)
    assert "coronacases_001.nii.gz: front and back seems reversed" in capsys.readouterr().err


# --from: a copy that is there already

KAGGLE = {
    "coronacases_001": "coronacases_org_001",
    "radiopaedia_10_85902_1": "radiopaedia_org_covid-19-pneumonia-10_85902_1-dcm",
    "radiopaedia_7_85703_0": "radiopaedia_org_covid-19-pneumonia-7_85703_0-dcm",
}


def kaggle(chest, folder):
    """A folder as Kaggle has it: other folders, other names of the scans, nothing zipped."""
    kinds = {"COVID-19-CT-Seg_20cases": "ct_scans"}
    for name in WRONG:
        for kind, image in recorded(chest, name).items():
            part = folder / kinds.get(kind, kind.lower())
            part.mkdir(parents=True, exist_ok=True)
            nib.save(image, part / f"{KAGGLE[name] if part.name == 'ct_scans' else name}.nii")
    return folder


def take(source, output, *extra):
    return download.main(["--from", str(source), "--output", str(output), *extra])


def test_kaggles_copy_is_paired_and_mended(chest, tmp_path, capsys):
    source = kaggle(chest, tmp_path / "k")
    before = content(source)
    assert take(source, tmp_path / "data") == 0
    out = capsys.readouterr()
    assert "3 scans" in out.out
    assert "radiopaedia_7_85703_0.nii.gz: mended (front and back, head and foot, HU by air and muscle)" in out.out
    assert "warning" not in out.err
    check_mended(chest, tmp_path / "data")
    assert content(source) == before
    assert {case.name for case in find_cases(tmp_path / "data")} == set(WRONG)
    after = content(tmp_path / "data")
    assert take(source, tmp_path / "data") == 0  # again
    assert take(tmp_path / "data", tmp_path / "more") == 0  # and of what was mended already
    assert content(tmp_path / "data") == after == content(tmp_path / "more")


def test_a_record_unpacked_by_hand_is_mended(wrong, chest, tmp_path):
    for archive in wrong[0].iterdir():
        zipfile.ZipFile(archive).extractall(tmp_path / "hand" / archive.stem)
    assert take(tmp_path / "hand", tmp_path / "data", "--masks", "infection") == 0
    check_mended(chest, tmp_path / "data", ("Infection_Mask",))
    assert not (tmp_path / "data" / "Lung_Mask").exists()


@pytest.mark.parametrize("output", ["k", "k/data", "."])
def test_nothing_is_mended_in_place(chest, tmp_path, output, capsys):
    source = kaggle(chest, tmp_path / "k")
    before = content(tmp_path)
    assert take(source, tmp_path / output) == 3
    assert "folder apart" in capsys.readouterr().err
    assert content(tmp_path) == before


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda k: (k / "infection_mask" / "coronacases_001.nii").unlink(), "no infection mask of coronacases_001"),
        (lambda k: (k / "ct_scans" / "coronacases_org_001.nii").unlink(), "without a scan: coronacases_001"),
        (lambda k: (k / "ct_scans" / "coronacases_org_001.nii").rename(k / "ct_scans" / "anna.nii"), "ct_scans/anna.nii"),
        (lambda k: (k / "ct_scans" / "coronacases_org_001.nii").write_bytes(b"x" * 400), "no readable NIfTI"),
        (lambda k: (k / "ct_scans").rename(k / "images"), "no scan of the public record"),
        (
            lambda k: nib.save(
                nib.Nifti1Image(np.zeros((4, 4, 4), np.uint8), np.eye(4)), k / "infection_mask" / "coronacases_001.nii"
            ),
            "another's mask",
        ),
    ],
)
def test_what_does_not_pair_is_refused_before_anything_is_written(chest, tmp_path, capsys, spoil, words):
    source = kaggle(chest, tmp_path / "k")
    spoil(source)
    assert take(source, tmp_path / "data") == 3
    text = capsys.readouterr().err
    assert words in text
    assert text.count("\n") == 1
    assert not (tmp_path / "data").exists()


# servers and archives that mean no good


class Rude(http.server.BaseHTTPRequestHandler):
    """Answers by `script`: one function a request, the last one again and again."""

    script: list = []  # noqa: RUF012
    heard: list = []  # noqa: RUF012

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.heard.append(dict(self.headers))
        (self.script.pop(0) if len(self.script) > 1 else self.script[0])(self)
        self.close_connection = True

    def answer(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in ({"Content_Length": str(len(body))} | headers).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def rude(tmp_path, monkeypatch):
    """(script, fetch): a server that answers by the script, and a call that fetches one archive of it; waits are noted."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Rude)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    Rude.heard = []
    waits = []
    monkeypatch.setattr(download.time, "sleep", waits.append)

    def fetch(*script, body=b"PK"):
        Rude.script = list(script)
        digest = hashlib.sha256(body).hexdigest()
        return download.fetch_archive("a.zip", digest, f"http://127.0.0.1:{server.server_port}", tmp_path / "d", progress=False)

    fetch.waits, fetch.folder = waits, tmp_path / "d" / ".archives"
    yield fetch
    server.shutdown()


def refused(rude, *script, match, left=()):
    with pytest.raises(download.DownloadError, match=match) as caught:
        rude(*script)
    assert "\n" not in str(caught.value)
    assert sorted(p.name for p in rude.folder.iterdir()) == sorted(left)


GOOD = io.BytesIO()
with zipfile.ZipFile(GOOD, "w") as _file:
    _file.writestr("a.txt", b"a" * 500)
GOOD = GOOD.getvalue()


@pytest.mark.fault("429 or 503 with Retry-After", "waits as long as asked, then goes on")
@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again_when_it_says(rude, status):
    def busy(seconds):
        return lambda s: s.answer(status, Retry_After=seconds)

    date = formatdate(time.time() + 40, usegmt=True)
    rude(busy("7"), busy(date), lambda s: s.answer(status), lambda s: s.answer(200, GOOD), body=GOOD)
    assert rude.waits[0] == 7
    assert 30 < rude.waits[1] <= 40
    assert 0 < rude.waits[2] <= 10
    assert len(rude.waits) == 3


@pytest.mark.fault("Retry-After of hours", "one line")
def test_a_server_that_is_busy_for_hours_is_left_alone(rude):
    refused(rude, lambda s: s.answer(429, Retry_After="7200"), match="429.*come again in 7200 seconds")
    assert rude.waits == []
    refused(rude, lambda s: s.answer(503, Retry_After="1"), match="503")
    assert len(rude.waits) == download.ATTEMPTS - 1
    refused(rude, lambda s: s.answer(403), match="403")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [(None, None), ("5", 5), (" 12 ", 12), ("soon", None), ("Thu, 01 Jan 1970 00:00:00 GMT", 0), ("-3", None)],
)
def test_retry_after_is_read(text, seconds):
    assert download.retry_after(text) == seconds


def test_the_program_says_who_it_is(rude):
    rude(lambda s: s.answer(200, GOOD), body=GOOD)
    assert Rude.heard[0]["User-Agent"].startswith("scoat-lib/")
    assert Rude.heard[0]["Accept-Encoding"] == "identity"


@pytest.mark.fault("a web page for an archive", "refused in one line, nothing kept")
def test_a_web_page_is_no_archive(rude):
    page = b"<!DOCTYPE html><html>log in</html>"
    refused(rude, lambda s: s.answer(200, page, Content_Type="text/html; charset=utf-8"), match="sent a web page")
    refused(rude, lambda s: s.answer(200, page), match="sent a web page")
    refused(rude, lambda s: s.answer(200, b"{}"), match="something else")
    assert list(rude.folder.iterdir()) == []


@pytest.mark.fault("another file for an archive", "refused in one line, nothing kept")
def test_a_wrong_file_is_refused(rude):
    refused(rude, lambda s: s.answer(200, b"PKother"), match="SHA-256 differs")
    assert list(rude.folder.iterdir()) == []


@pytest.mark.fault("a wrong Content-Length", "refused in one line, nothing kept")
@pytest.mark.parametrize("length", [b"3", b"100000000000000", b"many"])
def test_a_wrong_length_is_no_way_in(rude, length):
    def lie(s):
        s.wfile.write(b"HTTP/1.0 200 OK\r\nContent-Length: " + length + b"\r\n\r\n" + b"PKother")

    with pytest.raises(download.DownloadError, match=r"SHA-256 differs|MB are free|cut") as caught:
        rude(lie)
    assert "\n" not in str(caught.value)
    assert not [p for p in rude.folder.iterdir() if p.suffix != ".part"]


@pytest.mark.fault("a Content-Length that is no number", "taken for none; the hash decides")
def test_a_length_that_is_no_number_counts_as_none(rude):
    def odd(s):
        s.wfile.write(b"HTTP/1.0 200 OK\r\nContent-Length: many\r\n\r\n" + GOOD)

    assert rude(odd, body=GOOD).read_bytes() == GOOD


@pytest.mark.fault("redirections in a circle", "one line")
def test_addresses_in_a_circle_are_left(rude):
    refused(rude, lambda s: s.answer(302, Location="/a.zip"), match="circle")
    assert list(rude.folder.iterdir()) == []


@pytest.mark.fault("another range than the one asked for", "not added; fetched anew")
def test_another_part_than_the_one_asked_for_is_not_added(rude):
    rude.folder.mkdir(parents=True)
    (rude.folder / "a.zip.part").write_bytes(GOOD[:10])

    def other(s):
        s.answer(206, GOOD[5:], Content_Range=f"bytes 5-{len(GOOD) - 1}/{len(GOOD)}")

    rude(other, lambda s: s.answer(200, GOOD), body=GOOD)
    assert "Range" not in Rude.heard[1]


@pytest.mark.fault("a server that stops or drips", "left, in one line")
def test_a_server_that_stops_or_drips_is_left(rude, monkeypatch):
    def stop(s):
        s.send_response(200)
        s.send_header("Content-Length", "100")
        s.end_headers()
        s.wfile.write(b"PK12")
        s.wfile.flush()
        ended.wait(5)

    ended = threading.Event()
    monkeypatch.setattr(download.ResumingDownloader, "__init__", quick(download.ResumingDownloader.__init__))
    refused(rude, stop, match="sent nothing for 0.3 seconds.*4 bytes are kept", left=["a.zip.part"])
    ended.set()

    def drip(s):
        s.send_response(200)
        s.send_header("Content-Length", "100")
        s.end_headers()
        for _ in range(50):
            s.wfile.write(b"P")
            s.wfile.flush()
            threading.Event().wait(0.05)

    (rude.folder / "a.zip.part").unlink()
    monkeypatch.setattr(download, "SLOW", (0.2, 1000))
    with pytest.raises(download.DownloadError, match="less than 1000 bytes a second"):
        rude(drip)


def quick(real):
    return lambda self, part, **options: real(self, part, **options | {"timeout": 0.3, "attempts": 1})


@pytest.mark.fault("an address that is none", "one line")
@pytest.mark.parametrize("address", ["nowhere", "ftp://127.0.0.1/x", "http://"])
def test_an_address_that_is_none_is_said_in_words(tmp_path, capsys, address):
    assert download.main(["--output", str(tmp_path / "d"), "--mirror", address, "--quiet"]) == 3
    assert "not an address of the web" in capsys.readouterr().err


def bomb(folder, payload, name="coronacases_001.nii.gz", **patch):
    """An archive of one member; patch: fields of its entry in the zip's directory."""
    archive = folder / "COVID-19-CT-Seg_20cases.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(name, payload)
    if "file_size" in patch:
        body = archive.read_bytes()
        at = body.rindex(b"PK\x01\x02") + 24
        archive.write_bytes(body[:at] + struct.pack("<I", patch["file_size"]) + body[at + 4 :])
    return archive


@pytest.mark.fault("a bomb of an archive or a file", "refused in one line, nothing kept")
def test_bombs_are_refused(tmp_path, monkeypatch, chest):
    out = tmp_path / "COVID-19-CT-Seg_20cases"

    def check(archive, match):
        with pytest.raises(download.DownloadError, match=match) as caught:
            download.unpack(archive, out, progress=False)
        assert "\n" not in str(caught.value)
        assert not list(out.rglob("*")) if out.exists() else True

    # a NIfTI whose header promises more voxels than any scan has
    header = nib.Nifti1Image(np.zeros((2, 2, 2), np.int16), np.eye(4)).header
    header.set_data_shape((32000, 32000, 32000))
    check(bomb(tmp_path, gzip.compress(header.binaryblock + b"\0" * 4)), "promises .* GB of voxels")
    # a member that says it unpacks to less than it does
    whole = gzip.compress(nib.Nifti1Image(chest.scan.voxels, np.eye(4)).to_bytes(), 1)
    check(bomb(tmp_path, whole, file_size=1000), "damaged")
    monkeypatch.setattr(download, "LARGEST", 1000)
    check(bomb(tmp_path, b"\0" * 10_000), "no scan's size")


@pytest.mark.fault("a damaged scan in an archive", "named, in one line, nothing left")
@pytest.mark.parametrize("payload", [b"no nifti", b"", gzip.compress(b"\0" * 1000, mtime=0)], ids=["text", "empty", "noughts"])
def test_a_damaged_scan_is_named_and_nothing_is_left(tmp_path, payload):
    out = tmp_path / "COVID-19-CT-Seg_20cases"
    with pytest.raises(download.DownloadError, match=r"COVID-19-CT-Seg_20cases.zip: coronacases_001.nii.gz: is no readable"):
        download.unpack(bomb(tmp_path, payload), out, progress=False)
    assert list(out.iterdir()) == []


@pytest.mark.fault("a member cut short", "named, in one line, nothing left")
def test_a_member_cut_short_is_named(tmp_path, chest):
    archive = tmp_path / "COVID-19-CT-Seg_20cases.zip"
    whole = gzip.compress(nib.Nifti1Image(chest.scan.voxels, np.eye(4)).to_bytes(), 1)
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("coronacases_001.nii.gz", whole[: len(whole) // 2])
    with pytest.raises(download.DownloadError, match=r"coronacases_001\.nii\.gz: is no readable"):
        download.unpack(archive, tmp_path / "COVID-19-CT-Seg_20cases", progress=False)
    body = bytearray(archive.read_bytes())
    body[1000] ^= 255
    archive.write_bytes(body)
    with pytest.raises(download.DownloadError, match="is damaged"):
        download.unpack(archive, tmp_path / "COVID-19-CT-Seg_20cases", progress=False)
    assert list((tmp_path / "COVID-19-CT-Seg_20cases").iterdir()) == []


@pytest.mark.fault("links, pipes and devices in an archive", "refused in one line, nothing kept")
@pytest.mark.parametrize("mode", [0o120777, 0o010644, 0o020644])
def test_links_pipes_and_devices_are_refused(tmp_path, mode):
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as file:
        member = zipfile.ZipInfo("x.nii.gz")
        member.external_attr = mode << 16
        file.writestr(member, "/etc/passwd")
    with pytest.raises(download.DownloadError, match="link"):
        download.plan(archive, None)


@pytest.mark.fault("one case under two names", "refused in one line, nothing kept")
def test_one_case_under_two_names_is_refused(tmp_path):
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("coronacases_001.nii.gz", b"1")
        file.writestr("coronacases_org_001.nii", b"2")
    with pytest.raises(download.DownloadError, match="twice"):
        download.plan(archive, None)
