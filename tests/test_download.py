"""data/download.py end to end against a server on this machine: cuts, corruption, escapes, no space, no connection."""

import functools
import hashlib
import http.server
import importlib.util
import io
import threading
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from scoat_lib.cohort import Cohort, find_cases
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
    import gzip

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


def test_8_bit_lung_windows_become_hounsfield_units(record, tmp_path):
    fetch(record, tmp_path / "data")
    scan = Scan.load(tmp_path / "data" / "COVID-19-CT-Seg_20cases" / "radiopaedia_4_85506_1.nii.gz")
    assert scan.voxels.min() == pytest.approx(-1250, abs=10)
    assert scan.voxels.max() == pytest.approx(250, abs=10)
    other = Scan.load(tmp_path / "data" / "COVID-19-CT-Seg_20cases" / "coronacases_001.nii.gz")
    assert other.voxels.min() < -1000


def test_a_second_call_fetches_nothing(record, tmp_path):
    fetch(record, tmp_path / "data")
    Handler.requests.clear()
    assert fetch(record, tmp_path / "data") == 0
    assert Handler.requests == []
    assert fetch(record, tmp_path / "data", "--masks", "infection", "lung") == 0
    assert [name for name, _ in Handler.requests] == ["Lung_Mask.zip"]


def test_only_the_asked_for_is_unpacked(record, tmp_path):
    assert fetch(record, tmp_path / "data", "--cases", CASES[0]) == 0
    assert [c.name for c in find_cases(tmp_path / "data")] == [CASES[0]]
    assert fetch(record, tmp_path / "data") == 0  # and the rest later
    assert len(find_cases(tmp_path / "data")) == 3
    assert fetch(record, tmp_path / "other", "--cases", "coronacases_099") == 3


def test_a_cut_download_goes_on_where_it_stopped(record, tmp_path):
    Handler.cut = [1000, 2000, 1]
    assert fetch(record, tmp_path / "data", "--masks") == 0
    ranges = [r for _, r in Handler.requests]
    assert ranges == [None, "bytes=1000-", "bytes=3000-", "bytes=3001-"]


def test_after_too_many_cuts_the_next_call_goes_on(record, tmp_path, capsys):
    Handler.cut = [100] * download.ATTEMPTS
    assert fetch(record, tmp_path / "data", "--masks") == 3
    assert "500 bytes are kept" in capsys.readouterr().err
    Handler.requests.clear()
    assert fetch(record, tmp_path / "data", "--masks") == 0
    assert Handler.requests[0][1] == "bytes=500-"


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


@pytest.mark.parametrize("name", ["../escape.nii.gz", "/tmp-escape.nii.gz", "a/../../escape.nii.gz", "..\\escape.nii.gz"])
def test_no_path_escapes(tmp_path, name):
    archive = tmp_path / "COVID-19-CT-Seg_20cases.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr(name, b"x")
    with pytest.raises(download.DownloadError, match="leads out of the folder"):
        download.unpack(archive, tmp_path / "out" / "in", progress=False)
    assert not list(tmp_path.rglob("*escape*"))


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


def test_disk_space_is_checked_first(record, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: type("U", (), {"free": 1000})())
    assert fetch(record, tmp_path / "data") == 3
    assert "MB are free" in capsys.readouterr().err
    assert not list((tmp_path / "data").rglob("*.part"))


def test_offline_is_said_in_words(tmp_path, capsys):
    assert download.main(["--output", str(tmp_path / "d"), "--mirror", "http://127.0.0.1:9", "--quiet"]) == 3
    text = capsys.readouterr().err
    assert "no connection" in text
    assert "synthetic cohort" in text


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
