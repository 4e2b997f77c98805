"""overview.py: the pages are whole, small, ask nobody for anything, and say what was found."""

import csv
import io
import re
from datetime import date
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from test_many import PLAIN, small_weights

from scoat_lib import cli, overview, phantom, segmentation
from scoat_lib.cli import many
from scoat_lib.scan import Scan, ScanError

FACTS = {"weights": "w 0123", "threshold": "0.5", "date of the run": "2020-02-01 12:00"}


@pytest.fixture(scope="module")
def made():
    return phantom.patient(3, (64, 64, 24), volume=200)


@pytest.fixture
def found(made):
    """What a network that knows the truth would have found."""
    p = Scan(made.lesions.voxels.astype(np.float32) * 0.9, made.scan.affine)
    return segmentation.Segmentation(made.scan, made.lesions, p, ("its air <lies> high",))


class Tags(HTMLParser):
    """Every tag with its attributes, and the text between."""

    def __init__(self, page: str):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data


def check_page(page: str, pictures: int) -> Tags:
    """What every page must be: below 2 MB, no address in it, an alternative text for each picture, research use only."""
    read = Tags(page)
    assert len(page.encode()) < overview.MOST_BYTES
    assert not [tag for tag, _ in read.tags if tag in ("script", "link", "iframe", "base")]
    shown = [attributes for tag, attributes in read.tags if tag == "img"]
    assert len(shown) == pictures
    for picture in shown:
        assert picture["src"].startswith("data:image/jpeg;base64,")
        assert len(picture["alt"]) > 30
    assert not re.search(r"https?://|url\(|@import", page)
    assert "Research use only" in read.text
    assert "prefers-color-scheme: dark" in page
    return read


def test_a_scans_page(found, made):
    found.lungs, found.shares = made.lungs, {"both": 12.34, "right": 20.0, "left": None, "outside": 0.0}
    page, png = overview.report(found, "patient <one>", FACTS, 0.5)
    text = check_page(page, 2).text
    for words in (
        "patient <one>",
        f"{made.lesions.volume():.1f} cm³",
        "its air <lies> high",
        "w 0123",
        "2020-02-01 12:00",
        "both lungs12.3 %",
    ):
        assert words in text
    assert "left lung" not in text
    picture = Image.open(io.BytesIO(png))
    assert min(picture.size) > 500


def test_a_page_without_lesion_lungs_or_warnings(made):
    empty = Scan(np.zeros_like(made.lesions.voxels), made.scan.affine)
    found = segmentation.Segmentation(made.scan, empty, Scan(empty.voxels.astype(np.float32), made.scan.affine))
    found.lungs, found.shares = None, {}
    page, _ = overview.report(found, "healthy", FACTS, 0.5)
    text = check_page(page, 2).text
    assert "0.0 cm³" in text
    assert "No warnings." in text
    assert "Share of the lungs" not in text


def test_a_name_with_dollar_signs_is_no_formula(found, made):
    found.lungs, found.shares = made.lungs, {}
    page, png = overview.report(found, "a$_$b.nii.gz", FACTS, 0.5)
    assert "a$_$b.nii.gz" in Tags(page).text
    assert Image.open(io.BytesIO(png)).size[0] > 500
    view = overview.largest_view(made.scan, made.lesions)
    figure = overview._montage([("$_$", [view], False)], view, "$_$", "$_$")
    overview._show(figure.add_axes([0, 0, 1, 1]), overview.View(view.grey, view.mask, None, "$_$", 1.0))
    assert overview._encoded(figure, "png", dpi=30).startswith(b"\x89PNG")


def test_lungs_that_cannot_be_found_are_said(found, monkeypatch):
    def refuse(scan, **_):
        raise ScanError("no lung in it")

    monkeypatch.setattr(segmentation, "optional", lambda name: SimpleNamespace(segment=refuse))
    page, _ = overview.report(found, "x", FACTS, 0.5)
    assert "no share of the lungs: no lung in it" in Tags(page).text


def test_outlines_are_drawn_where_the_mask_is(found):
    """The outline's colour lies on the mask's edge, and nowhere in a slice without one."""
    figure = overview.Figure(figsize=(3, 3), facecolor="k")
    overview.FigureCanvasAgg(figure)
    views = overview.axial_views(found)
    marked = max(views, key=lambda view: view.mask.sum())
    axes = figure.add_axes([0, 0, 1, 1])
    overview._show(axes, marked)
    lines = [
        segment for piece in axes.collections for path in piece.get_paths() for segment in path.to_polygons(closed_only=False)
    ]
    rows, columns = np.nonzero(marked.mask > 0.5)
    points = np.concatenate(lines)
    assert abs(points[:, 0].min() - columns.min()) < 2
    assert abs(points[:, 1].max() - rows.max()) < 2
    bare = overview.View(marked.grey, np.zeros_like(marked.mask), None, "", 1.0)
    clean = figure.add_axes([0, 0, 1, 1])
    overview._show(clean, bare)
    assert not clean.collections


def test_slices_run_evenly_and_hold_the_largest_outline():
    mask = np.zeros((100, 4, 4), bool)
    mask[37] = True
    chosen = overview.chosen_slices(mask, None, 12)
    assert len(chosen) == 12
    assert chosen == sorted(chosen)
    assert 37 in chosen
    assert (chosen[0], chosen[-1]) == (0, 99)
    lungs = np.zeros_like(mask)
    lungs[20:60] = True
    assert [min(overview.chosen_slices(mask, lungs, 5)), max(overview.chosen_slices(mask, lungs, 5))] == [20, 59]
    assert overview.chosen_slices(mask[:3], None, 12) == [0, 1, 2]


def test_views_have_square_pixels(made):
    """A slice of 2 × 1 mm pixels is shown twice as high as wide."""
    view = overview._view(made.scan.axial()[5], made.lesions.axial()[5], None, (2.0, 1.0), "")
    assert view.grey.shape[0] == pytest.approx(2 * view.grey.shape[1], abs=1)
    assert view.mask.shape == view.grey.shape


def test_a_page_of_a_noisy_scan_stays_small(rng):
    """Noise is what packs worst."""
    hu = rng.uniform(-1200, 200, (256, 256, 12)).astype(np.float32)
    affine = np.diag([-1.4, -1.4, 20.0, 1.0])
    mask = Scan(np.zeros(hu.shape, np.uint8), affine)
    found = segmentation.Segmentation(Scan(hu, affine), mask, Scan(rng.random(hu.shape, np.float32), affine))
    found.lungs, found.shares = None, {}
    check_page(overview.report(found, "noise", FACTS, 0.5)[0], 2)


def visits(made, days) -> list[overview.Visit]:
    view = overview.largest_view(made.scan, made.lesions)
    return [overview.Visit(day, f"p_{day}", 10.0 * k, None if k else 1.5, "", view) for k, day in enumerate(days)]


def test_a_follow_up_page(made):
    days = [date(2020, 2, 14), date(2020, 1, 30), date(2020, 2, 4)]
    page = overview.follow_up("p & q", visits(made, days), FACTS)
    read = check_page(page, 3)
    assert "p & q: 3 dates" in read.text
    assert re.findall(r"<tr><td>([^<]+)</td>", page) == ["2020-01-30", "2020-02-04", "2020-02-14"]
    (line,) = [attributes["points"] for tag, attributes in read.tags if tag == "polyline"]
    x, y = np.array([point.split(",") for point in line.split()], float).T
    assert (np.diff(x) > 0).all()
    assert (x[1] - x[0]) / (x[2] - x[0]) == pytest.approx(5 / 15, abs=0.01)  # days, not visits
    assert (y[0], y[1], y[2]) == tuple(sorted(y)[k] for k in (1, 0, 2))  # 10, 20, 0 cm³: y runs downwards
    assert re.findall(r'text-anchor="end">([^<]+)<', page) == ["0.0", "10.0", "20.0"]
    with pytest.raises(ValueError, match="two dates or more"):
        overview.follow_up("p", visits(made, days[:1]), FACTS)


# --- through the folder of scans ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def dated(tmp_path_factory, made):
    """Two dates of patient p, one of q; the small weights beside."""
    base = tmp_path_factory.mktemp("dated")
    (base / "scans").mkdir()
    for name in ("p_2020-02-04", "p_2020-01-30", "q_2020-01-30"):
        made.scan.save(base / "scans" / f"{name}.nii.gz")
    small_weights(base / "w.safetensors")
    return base


def segment(base, output, **more):
    return many.segment(base / "scans", output, str(base / "w.safetensors"), PLAIN, quiet=True, **more)


def test_reports_and_follow_up_of_a_folder(dated, tmp_path):
    places = {"report": tmp_path / "pages", "follow_up": tmp_path / "follow-up"}
    segment(dated, tmp_path / "masks", labels=True, **places)
    names = {path.name for path in (tmp_path / "pages").glob("[!.]*")}
    assert names == {f"{n}.{kind}" for n in ("p_2020-02-04", "p_2020-01-30", "q_2020-01-30") for kind in ("html", "png")}
    assert [path.name for path in (tmp_path / "follow-up").glob("[!.]*")] == ["p.html"]
    assert {"lung-opacification.ctbl", "lung-opacification.txt"} <= {path.name for path in (tmp_path / "masks").iterdir()}
    with open(tmp_path / "masks" / many.TABLE, newline="") as lines:
        volumes = {row["name"]: row["volume_cm3"] for row in csv.DictReader(lines)}
    assert f"{float(volumes['p_2020-01-30']):.1f}" in Tags((tmp_path / "follow-up" / "p.html").read_text()).text
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "pages").glob("[!.]*")}
    (tmp_path / "pages" / "q_2020-01-30.png").unlink()
    segment(dated, tmp_path / "masks", **places)  # what is missing is made, the rest is left
    after = {path: path.stat().st_mtime_ns for path in (tmp_path / "pages").glob("[!.]*")}
    assert set(after) == set(before)
    assert {path.stem for path in after if after[path] != before[path]} == {"q_2020-01-30"}


def test_dates_from_a_table(dated, tmp_path):
    table = tmp_path / "dates.csv"
    table.write_text("name,patient,date\np_2020-02-04,A,2020-03-01\nq_2020-01-30.nii.gz,A,2020-03-09\n")
    segment(dated, tmp_path / "masks", follow_up=tmp_path / "f", dates=table)
    assert re.findall(r"<tr><td>([^<]+)</td><td>([^<]+)</td>", (tmp_path / "f" / "A.html").read_text()) == [
        ("2020-03-01", "p_2020-02-04"),
        ("2020-03-09", "q_2020-01-30"),
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name,patient\na,b\n", "has no column date"),
        ("name,patient,date\np_2020-02-04,A,March\n", "is no date"),
        ("name,patient,date\np_2020-02-04,A,2020-03-01\n", "no patient has two dates"),
        ("name,patient,date\np_2020-02-04,../A,2020-03-01\nq_2020-01-30,../A,2020-03-02\n", "cannot be a page's name"),
    ],
)
def test_bad_dates_are_said_before_anything_is_written(dated, tmp_path, text, words):
    table = tmp_path / "dates.csv"
    table.write_text(text)
    with pytest.raises(ScanError, match=words):
        segment(dated, tmp_path / "masks", follow_up=tmp_path / "f", dates=table)
    assert not (tmp_path / "masks").exists()


def test_names_of_a_table_that_are_no_scans_are_said(dated, tmp_path, capsys):
    table = tmp_path / "dates.csv"
    rows = "p_2020-02-04,A,2020-03-01\np_2020-01-30,A,2020-02-01\nq_misspelt,A,2020-04-01\n"
    table.write_text(f"name,patient,date\n{rows}")
    segment(dated, tmp_path / "masks", follow_up=tmp_path / "f", dates=table)
    assert f"warning: {table}: 1 of its 3 names is no scan here: q_misspelt" in capsys.readouterr().err


def test_a_patients_page_never_replaces_a_scans(dated, tmp_path):
    table = tmp_path / "dates.csv"
    table.write_text("name,patient,date\np_2020-02-04,Q_2020-01-30,2020-03-01\np_2020-01-30,Q_2020-01-30,2020-02-01\n")
    pages = {"report": tmp_path / "pages", "follow_up": tmp_path / "pages"}
    with pytest.raises(ScanError, match="a scan and a patient are both called q_2020-01-30"):
        segment(dated, tmp_path / "masks", dates=table, **pages)
    assert not (tmp_path / "masks").exists()


def test_a_page_of_the_users_own_is_kept(dated, tmp_path):
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "p.html").write_text("<p>mine")
    with pytest.raises(ScanError, match="exists and is another file"):
        segment(dated, tmp_path / "masks", follow_up=tmp_path / "f")
    assert (tmp_path / "f" / "p.html").read_text() == "<p>mine"


def test_one_scans_report_goes_where_it_is_told(dated, tmp_path, capsys):
    scan, page = dated / "scans" / "q_2020-01-30.nii.gz", tmp_path / "look.html"
    words = ["segment", scan, "-o", tmp_path / "m.nii.gz", "--weights", dated / "w.safetensors", "--report", page]
    cli.app([*map(str, words)], standalone_mode=False)
    check_page(page.read_text(), 2)
    assert {path.name for path in tmp_path.iterdir()} == {"m.nii.gz", "look.html", "look.png"}
    assert "cm³" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"look\.html: exists already"):
        cli.app([*map(str, [*words, "--labels"]), "-o", str(tmp_path / "n.nii.gz")], standalone_mode=False)
