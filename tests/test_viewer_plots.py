"""viewer.py and plots.py: pictures that show what they say, sliders that carry everything they need."""

import io

import matplotlib
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

matplotlib.use("Agg")

from matplotlib import pyplot as plt

from scoat_lib import drawings, grids, losses, plots, report, viewer


def pixels(png):
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def test_a_picture_shows_grey_and_outlines():
    image, truth = np.zeros((20, 30)), np.zeros((20, 30), bool)
    image[:, 15:] = 1
    truth[5:10, 5:10] = True
    shown = pixels(viewer.picture(image, truth, np.roll(truth, 12, axis=1), zoom=2))
    assert shown.shape == (40, 60, 3)
    assert (abs(shown[0, 0]) < 30).all()
    assert (shown[0, -1] > 225).all()
    assert abs(shown[10, 10] - [255, 59, 48]).max() < 40
    assert abs(shown[10, 34] - [0, 213, 230]).max() < 40
    assert (shown[15, 15] < 30).all()  # an outline, not a filled region


def test_a_stack_links_its_slider_in_the_browser():
    pictures = [viewer.picture(np.full((8, 8), v)) for v in (0.0, 0.5, 1.0)]
    box = viewer.stack(pictures, "slice", ["dark", "grey <b>", "light"], start=1)
    slider, shown = box.children
    assert (slider.min, slider.max, slider.value) == (0, 2, 1)
    assert shown.selected_index == 1
    assert 'alt="grey &lt;b&gt;" width="672" height="672"' in shown.children[1].value
    assert not slider.readout  # 1 says less than the line under the picture
    assert all("data:image/png;base64," in c.value for c in shown.children)
    with pytest.raises(ValueError, match="at least one"):
        viewer.stack([], "slice")
    with pytest.raises(ValueError, match="zip"):
        viewer.stack(pictures, "slice", ["one label"])


def test_without_stack_the_kernel_changes_the_picture(monkeypatch):
    from types import SimpleNamespace

    import ipywidgets

    seven = {name: getattr(ipywidgets, name) for name in ("IntSlider", "HTML", "VBox")}  # all of ipywidgets 7 that is used
    monkeypatch.setattr(viewer, "widgets", SimpleNamespace(**seven))
    pictures = [viewer.picture(np.full((8, 8), v)) for v in (0.0, 0.5, 1.0)]
    slider, shown = viewer.stack(pictures, "slice", ["dark", "grey <b>", "light"], start=1).children
    assert 'alt="grey &lt;b&gt;"' in shown.value
    slider.value = 2
    assert 'alt="light"' in shown.value
    assert "data:image/png;base64," in shown.value
    slider.value = 0
    assert 'alt="dark"' in shown.value


def test_figures_have_a_panel_for_each():
    images = [np.random.default_rng(0).random((16, 16))] * 5
    masks = [i > 0.9 for i in images]
    fig = plots.slices(images, masks, None, list("abcde"), columns=3)
    assert [a.get_title() for a in fig.axes][:5] == list("abcde")
    assert len(fig.axes) == 6
    plt.close("all")


def test_a_map_lies_under_its_outline_whatever_its_own_size():
    _, ax = plt.subplots()
    truth = np.zeros((32, 48), bool)
    truth[8:16, 24:36] = True
    drawn = plots.show_map(ax, truth[::8, ::8], torch.from_numpy(truth), "an eighth as large")
    assert drawn.cmap.name == plots.MAP
    assert drawn.get_extent() == [-0.5, 47.5, 31.5, -0.5]
    (outline,) = ax.collections
    lowest, highest = (f(np.concatenate([p.vertices for p in outline.get_paths()]), axis=0) for f in (np.min, np.max))
    assert abs(np.array([lowest, highest]) - [[23.5, 7.5], [35.5, 15.5]]).max() < 0.6
    plt.close("all")


def test_the_style_gives_a_page_twice_its_pixels_and_letters_of_one_size():
    with plt.rc_context():
        plots.style()
        figure, ax = plt.subplots(figsize=(plots.WIDTH, 2))
        ax.set(title="title", xlabel="label")
        assert figure.get_size_inches()[0] * figure.dpi == 2 * viewer.COLUMN
        texts = (ax.title, ax.xaxis.label, ax.get_xticklabels()[0], ax.text(0, 0, "text"))
        assert {t.get_fontsize() for t in texts} == {9}
        assert not ax.spines.top.get_visible()
        assert not ax.spines.right.get_visible()
        assert ax.plot([0, 1])[0].get_color() == plots.BLUE
        assert ax.imshow(np.eye(2)).cmap.name == plots.MAP
        for table in (plots.slices([np.eye(8)] * 3), plots.slices([np.eye(8)] * 5, columns=5)):
            assert table.get_size_inches()[0] == plots.WIDTH
    plt.close("all")


def test_networks_of_one_table_and_losses_are_told_apart_by_colour():
    for name in ("table2", "table3"):
        colours = [plots.COLOURS[label] for label in grids.get(name).rows]
        assert len(set(colours)) == len(colours)
    assert tuple(plots.LOSSES) == losses.names()
    for key in ("color", "ls"):
        looks = [str(look[key]) for look in plots.LOSSES.values()]
        assert len(set(looks)) >= (len(looks) if key == "color" else 5)


@pytest.mark.parametrize("scale", ["linear", "log"])
def test_names_stand_apart_in_the_order_of_their_lines(scale):
    figure, ax = plt.subplots()
    ax.set(yscale=scale, ylim=(1e-6, 1), xlim=(0, 1))
    values = {"b": 2e-6, "a": 1e-6, "c": 0.99, "d": 1.0}
    plots.names(ax, {name: (1, value, "C0") for name, value in values.items()}, 1.02)
    heights = {t.get_text(): ax.transData.transform(t.xy)[1] for t in ax.texts}
    assert sorted(heights, key=heights.get) == ["a", "b", "c", "d"]
    assert np.diff(sorted(heights.values())).min() * 72 / figure.dpi > 10.9  # points
    assert max(heights.values()) <= ax.transData.transform((0, 1))[1] + 1e-6
    plt.close("all")


def followed_run(fold, seen, unseen, epochs=True):
    areas = {name: [0.9, 0.8, 0.7 + 0.01 * k] for k, name in enumerate([*seen, *unseen])}
    course = {name: [0.9, 0.8, 0.7, 0.6 + 0.01 * k] for k, name in enumerate([*seen, *unseen])}
    contrast = {name: [1.2, 1.1, 0.9] for name in areas}
    attention = {"nodes": areas, "epochs": course if epochs else {}, "contrast": contrast}
    return {"recipe": {"fold": fold, "seed": 0}, "folds": {"test": list(unseen)}, "attention": attention}


def test_maps_of_followed_runs_have_a_line_an_unseen_patient_and_a_name_a_run():
    nodes = ("X(1,1)", "X(2,2)", "X(1,3)")
    runs = [followed_run(1, ["b", "c"], ["a"]), followed_run(0, ["a"], ["b", "c"]), {"folds": {}}]
    figure = plots.followed(runs, nodes)
    areas, course, contrast = figure.axes
    assert [t.get_text() for t in areas.get_xticklabels()] == list(nodes)
    (legend,) = figure.legends
    assert [t.get_text() for t in legend.get_texts()] == ["fold 0, seed 0", "fold 1, seed 0"], "folds in order"
    assert {len(line.get_xdata()) for line in course.lines} == {4}
    for ax in (areas, course):
        assert len(ax.lines) == 3 + 2  # each patient that a run had not seen, and the means
    for ax in figure.axes:
        assert ax.get_ylabel()
        assert ax.get_position().x0 == pytest.approx(areas.get_position().x0, abs=0.02), "one above the other"
    thick = [line for line in areas.lines if line.get_linewidth() > 2]
    assert [round(line.get_ydata()[-1], 3) for line in thick] == [0.715, 0.72]  # of patients not seen: b and c; a
    assert thick[0].get_color() != thick[1].get_color()
    (even,) = [line for line in contrast.lines if list(line.get_ydata()) == [1, 1]]
    assert even.get_xdata()[0] < even.get_xdata()[-1]
    figure = plots.followed([followed_run(0, ["a"], ["b"], epochs=False)], nodes)  # measured once, after the last epoch
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["From node to node", "Lesion over elsewhere, from node to node"]
    with pytest.raises(ValueError, match="no run were measured"):
        plots.followed([], nodes)
    plt.close("all")


def test_figures_of_tables():
    import pandas as pd
    from test_report import VALUES, measured

    from scoat_lib import grids, plots, report

    (table,) = report.tables([measured("scoatnet", VALUES), measured("unetpp", VALUES)], grids.get("table2"))
    figure = plots.table_figure(table)
    texts = [t.get_text() for t in figure.axes[0].texts]
    assert texts.count("not run") == 7
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == list(grids.get("table2").rows)
    frame = table.patients["SCOAT-Net"].copy()
    frame.loc["fails"] = 0.0 * frame.loc["p5"]
    figure = plots.box_plot(frame)
    assert "fails" in {t.get_text() for t in figure.axes[0].texts}  # who fails is named
    hollow = [line for line in figure.axes[0].lines if line.get_marker() == "o" and line.get_markerfacecolor() == "none"]
    assert [list(line.get_ydata()) for line in hollow] == [[0.0]] * 6  # below the endpoint's voxels, and not in the box
    diamonds = [line.get_ydata()[0] for line in figure.axes[0].lines if line.get_marker() == "D"]
    assert diamonds[0] == pytest.approx(100 * table.patients["SCOAT-Net"].DSC.mean())
    volumes = {"predicted_ml": [10.0, 30.0, 20.0, 9.0], "true_ml": [12.0, 20.0, 20.0, 0.1], "lesion_voxels": [5000] * 3 + [7]}
    figure = plots.bland_altman(pd.DataFrame(volumes))  # the last is no patient of the primary endpoint
    lines = [line.get_ydata()[0] for line in figure.axes[0].lines if len(set(line.get_ydata())) == 1]
    assert any(abs(v - 100 / 9) < 1e-6 for v in lines)
    figure = plots.paired_differences(table, "SCOAT-Net", "UNet++")
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()][-1] == "mean of 6, 95 %"
    with pytest.raises(ValueError, match="was not run"):
        plots.paired_differences(table, "SCOAT-Net", "CE-Net")
    plots.plt.close("all")


def test_a_drawing_is_a_small_png():
    from matplotlib import pyplot as plt

    from scoat_lib import viewer

    figure, ax = plt.subplots(figsize=(2, 1))
    ax.plot([0, 1])
    png = viewer.drawing(figure)
    assert png.startswith(b"\x89PNG")
    shown = viewer.stack([png], "step").children[1].children[0].value
    assert Image.open(io.BytesIO(png)).size == (2 * viewer.COLUMN, viewer.COLUMN)  # as wide as a page's column, twice as fine
    assert f'width="{viewer.COLUMN}" height="{viewer.COLUMN // 2}"' in shown
    assert len(png) < 20_000
    assert not plt.fignum_exists(figure.number)


@pytest.mark.parametrize("across", [64, 128, 256, 500])
def test_a_sliders_slice_has_about_twice_the_pixels_of_the_column(across):
    image, truth = np.zeros((4, across)), np.zeros((4, across), bool)
    assert 1.6 * viewer.COLUMN < pixels(viewer.picture(image, truth)).shape[1] < 2.4 * viewer.COLUMN


def test_a_stack_of_drawings_holds_them_as_they_are():
    steps = drawings.order()[:2]
    views = viewer.stack([s.svg for s in steps], "step", [s.text for s in steps]).children[1].children
    for view, step in zip(views, steps, strict=True):
        assert step.svg in view.value
        assert f"<figcaption>{step.text}</figcaption>" in view.value


def table_of(rows):
    """A Table of grid table2 from label → {patient: (DSC, lesion voxels)}."""
    frames = {}
    for label in grids.get("table2").rows:
        found = rows.get(label, {})
        frames[label] = pd.DataFrame(
            {"DSC": [d for d, _ in found.values()], "lesion_voxels": [v for _, v in found.values()]}, index=list(found)
        )
    return report.Table(grids.get("table2"), {}, "d", pd.DataFrame(index=list(grids.get("table2").rows)), frames)


def test_a_heat_map_has_a_cell_for_every_patient_of_every_row():
    table = table_of({"SCOAT-Net": {"light": (0.31, 9), "heavy": (0.92, 5000)}, "U-Net": {"heavy": (0.8, 5000)}})
    figure = plots.heat_map(table)
    ax = figure.axes[0]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["heavy", "light"]
    assert sorted(t.get_text() for t in ax.texts) == ["31", "80", "92"]
    values = np.ma.filled(ax.images[0].get_array(), np.nan)
    assert np.isnan(values).sum() == 2 * 9 - 3
    assert ax.lines[0].get_xdata()[0] == 0.5  # between heavy and light
    plt.close(figure)
    with pytest.raises(ValueError, match="no row of table2"):
        plots.heat_map(table_of({}))


def test_learning_curves_keep_seen_and_left_out_patients_apart():
    content = {
        "trained_on": ["a", "b"],
        "learning": {"a": [[5, 5, 5], [9, 1, 1]], "b": [[5, 5, 5], [9, 1, 1]], "c": [[0, 5, 5], [4, 1, 1]]},
    }
    figure = plots.learning([content, {"trained_on": ["c"], "learning": {}}])
    thick = [line for line in figure.axes[0].lines if line.get_linewidth() == 2.5]
    assert [list(line.get_ydata()) for line in thick] == [[50, 90], [0, 80]]
    assert [t.get_text() for t in figure.axes[0].texts] == ["trained on", "left out"]
    plt.close(figure)
    with pytest.raises(ValueError, match="no run was followed"):
        plots.learning([])


def test_threshold_curves_mark_one_half_and_the_best():
    measures = {"a": {"patient": "a", "thresholds": {f"{t / 10:.1f}": [900 + 10 * t, 100, 500 - 50 * t] for t in range(1, 10)}}}
    figure = plots.against_threshold({"U-Net": [{"measures": measures}], "UNet++": []})
    assert [t.get_text() for t in figure.axes[0].texts] == ["U-Net"]
    dots = [tuple(line.get_xdata()) for line in figure.axes[0].lines if len(line.get_xdata()) == 1]
    assert dots == [(0.5,), (0.9,)]
    plt.close(figure)
    with pytest.raises(ValueError, match="none of these"):
        plots.against_threshold({})


def test_the_crop_holds_the_lungs_and_leaves_the_rest_out():
    from scoat_lib import phantom
    from scoat_lib.scan import window

    person = phantom.patient(3, (128, 128, 32), volume=300)
    k = int(person.lungs.axial().sum((1, 2)).argmax())
    image, lungs = window(person.scan.axial()[k]), person.lungs.axial()[k].astype(bool)
    rows, columns = plots.around_lungs(image)
    assert lungs[rows, columns].sum() > 0.98 * lungs.sum()
    assert image[rows, columns].size < 0.6 * image.size
    assert plots.around_lungs(np.zeros((9, 9))) == (slice(None), slice(None))


def test_errors_are_filled_each_in_its_colour():
    truth, prediction = np.zeros((2, 8, 8), bool)
    truth[:4], prediction[2:6] = True, True
    _, ax = plt.subplots()
    plots.show_errors(ax, np.full((8, 8), 0.5), truth, prediction, "both")
    _, hit, wrong, missed = (np.asarray(shown.get_array()) for shown in ax.images)
    for filled, colour, rows in ((hit, plots.HIT, (2, 4)), (wrong, plots.FALSE, (4, 6)), (missed, plots.MISSED, (0, 2))):
        assert (filled[slice(*rows), :, 3] > 0.5).all()
        assert (filled[..., 3] > 0).sum() == 16
        assert filled[rows[0], 0, :3] == pytest.approx(matplotlib.colors.to_rgb(colour))
    plt.close("all")


@pytest.mark.parametrize("kind", ["none", "protanopia", "deuteranopia", "tritanopia"])
def test_the_three_colours_of_errors_stay_apart_for_the_colour_blind(kind):
    """Machado et al. 2009, severity 1, on linear light; the distance is CIE76's, about 2 of which can just be seen."""
    from skimage.color import rgb2lab

    matrix = {
        "none": np.eye(3),
        "protanopia": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
        "deuteranopia": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
        "tritanopia": [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
    }[kind]
    seen = []
    for colour in (plots.HIT, plots.FALSE, plots.MISSED):
        rgb = np.array(matplotlib.colors.to_rgb(colour))
        linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        linear = np.clip(np.array(matrix) @ linear, 0, 1)
        seen.append(rgb2lab(np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)))
    for one in range(3):
        assert np.linalg.norm(seen[one] - seen[one - 1]) > 35


def test_a_score_is_drawn_from_0_to_100_and_an_arrow_says_where_its_interval_goes_on():
    from test_report import VALUES, measured

    (table,) = report.tables([measured("scoatnet", VALUES)], grids.get("table2"))
    frame = table.patients["SCOAT-Net"]
    frame["DSC"] = [0.05 if k % 2 else 0.95 for k in range(len(frame))]
    frame["fold"] = [k % 2 for k in range(len(frame))]  # two folds far apart: an interval of hundreds
    figure = plots.table_figure(table)
    bars = [line for line in figure.axes[0].lines if line.get_linewidth() == 2 and len(line.get_xdata()) == 2]
    assert [tuple(bar.get_xdata()) for bar in bars] == [(0, 100)]
    assert [line.get_marker() for line in figure.axes[0].lines if line.get_marker() in ("<", ">")] == ["<", ">"]
    plt.close(figure)


def test_cost_stands_against_score_with_an_interval_and_a_name():
    patients = {f"p{k}": (0.6 + 0.03 * k, 5000) for k in range(6)}
    table = table_of({"SCOAT-Net": patients, "U-Net": {n: (d - 0.1, v) for n, (d, v) in patients.items()}})
    for frame in table.patients.values():
        frame["fold"] = [k % 3 for k in range(len(frame))]
    rows = {n: {"DSC": 100 * f.DSC.mean(), "patients": len(f)} for n, f in table.patients.items()}
    table = report.Table(table.grid, {}, "d", pd.DataFrame(rows).T, table.patients)
    figure = plots.against_cost(table, {"SCOAT-Net": 1000.0, "U-Net": 380.0}, "GFLOP")
    ax = figure.axes[0]
    assert [t.get_text() for t in ax.texts] == ["U-Net", "SCOAT-Net"]
    bars, dots = (
        sorted((one for one in ax.lines if len(one.get_xdata()) == n), key=lambda one: one.get_xdata()[0]) for n in (2, 1)
    )
    assert [line.get_xdata()[0] for line in dots] == [380, 1000]
    for bar, name in zip(bars, ax.texts, strict=True):  # each name above its own bar
        assert name.xy == (bar.get_xdata()[0], max(bar.get_ydata()))
        assert name.get_position()[1] > 0
    for bar, dot in zip(bars, dots, strict=True):
        low, high = bar.get_ydata()
        assert low < dot.get_ydata()[0] < high
    assert dots[1].get_ydata()[0] == pytest.approx(67.5)
    plt.close(figure)
    alike = table.patients | {"U-Net": table.patients["SCOAT-Net"]}
    same = report.Table(table.grid, {}, "d", table.rows.assign(DSC=67.5), alike)
    figure = plots.against_cost(same, {"SCOAT-Net": 1000.0, "U-Net": 900.0}, "GFLOP")
    points = np.diff(sorted(t.get_position()[1] for t in figure.axes[0].texts))[0]  # above bars that end at one height
    assert points > 8, "names of equal scores stand a line apart"
    plt.close(figure)
    few = report.Table(table.grid, {}, "d", table.rows, table.patients | {"U-Net": table.patients["U-Net"].head(2)})
    figure = plots.against_cost(few, {"SCOAT-Net": 1000.0, "U-Net": 380.0}, "GFLOP")
    assert [t.get_text() for t in figure.axes[0].texts] == ["U-Net, n = 2", "SCOAT-Net"]
    assert [d.get_markerfacecolor() == "none" for d in figure.axes[0].lines if len(d.get_xdata()) == 1] == [True, False]
    plt.close(figure)
    with pytest.raises(ValueError, match="no row of table2"):
        plots.against_cost(report.Table(table.grid, {}, "d", pd.DataFrame({"DSC": [], "patients": []}), {}), {}, "GFLOP")


def test_the_patients_right_is_marked_on_its_side():
    figure = plots.slices([np.zeros((8, 8))] * 2, mirrored=[False, True])
    marks = [text for ax in figure.axes for text in ax.texts]
    assert [text.get_text() for text in marks] == ["R", "R"]
    assert marks[0].get_position()[0] < 0.1 < 0.9 < marks[1].get_position()[0]
    for draw in (plots.show_slice, lambda ax, image, **k: plots.show_errors(ax, image, image > 1, image > 1, **k)):
        for mirrored, places in ((False, [0.03]), (True, [0.97]), (None, [])):
            _, ax = plt.subplots()
            draw(ax, np.zeros((8, 8)), mirrored=mirrored)
            assert [text.get_position()[0] for text in ax.texts] == places
    plt.close("all")


def test_a_sliders_slice_has_its_r_on_the_patients_right():
    """White with a black edge, so that it is seen on air and on a white wall."""
    for grey in (0.0, 1.0):
        image = np.full((64, 64), grey)
        plain, right, left = (pixels(viewer.picture(image, mirrored=m)) for m in (None, False, True))
        half = plain.shape[1] // 2
        assert (abs(plain - 255 * grey) < 20).all()
        assert (right[:, :half] != plain[:, :half]).any()
        assert (right[:, half:] == plain[:, half:]).all()
        assert (left[:, half:] != plain[:, half:]).any()
        assert (left[:, :half] == plain[:, :half]).all()


@pytest.mark.parametrize("columns", [2, 3, 4, 5])
def test_titles_of_slices_do_not_touch_the_row_before(columns):
    with plt.rc_context():
        plots.style()
        figure = plots.slices([np.eye(64)] * 3 * columns, titles=["slice 9: 4.9 cm²"] * 3 * columns, columns=columns)
        figure.canvas.draw()
        over = figure.axes[0].get_window_extent()
        title = figure.axes[columns].title.get_window_extent()
        point = figure.dpi / 72
        assert over.y0 - title.y1 > 2 * point
        assert title.y1 < over.y0
        assert figure.axes[0].title.get_window_extent().y1 <= figure.bbox.y1
    plt.close("all")
