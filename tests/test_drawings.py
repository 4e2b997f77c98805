"""Drawings are compared with the code that they draw: sizes, dilations, branches; they fail when a network changes."""

import dataclasses
import functools
import re
from xml.etree import ElementTree

import pytest
import torch

from scoat_lib import drawings, weights
from scoat_lib.drawings import rivals
from scoat_lib.networks import cenet, create, denseaspp, espnetv2, names, pspnet

RIVALS = tuple(rivals.TABLES)
drawn = functools.cache(drawings.network)
measured = functools.cache(rivals.measure)


@functools.cache
def built(name):
    with torch.device("meta"):
        return create(name, width=64).eval()


def sizes_of(name):
    """H × W × C of every module's outputs, found here once more."""
    model, found = built(name), {}

    def keep(path):
        def hook(module, given, out):
            out = out[0] if isinstance(out, tuple) else out
            if isinstance(out, torch.Tensor) and out.dim() == 4:
                found.setdefault(path, []).append(f"{out.shape[2]} × {out.shape[3]} × {out.shape[1]}")

        return hook

    for path, module in model.named_modules():
        module.register_forward_hook(keep(path))
    model(torch.empty(1, 1, 512, 512, device="meta"))
    return found


def words_in(svg):
    """(name, size) of every box, in order."""
    root = ElementTree.fromstring(svg)
    texts = [("".join(t.itertext()), t.get("class")) for t in root.iter("{http://www.w3.org/2000/svg}text")]
    return [
        (text, texts[k + 1][0] if k + 1 < len(texts) and texts[k + 1][1] == "size inner" else "")
        for k, (text, kind) in enumerate(texts)
        if kind == "name"
    ]


@pytest.mark.parametrize("name", RIVALS)
def test_every_box_holds_the_size_that_its_module_gives(name):
    found, parts = sizes_of(name), rivals.TABLES[name][2]
    boxes = words_in(drawn(name).svg)
    shown = [p for p in parts.values() if not p.sign and p.kind != "note"]
    assert len(boxes) == len(shown)
    counted = 0
    for part, (_, size) in zip(shown, boxes, strict=True):
        assert size == (found[part.module][part.call] if part.module and not part.small else "")
        counted += bool(size)
    assert counted >= 8


@pytest.mark.parametrize("network", ["unet", "unetpp", "scoatnet"])
def test_what_a_node_is_told_to_take_is_what_the_network_takes(network):
    """Channels side by side are the first block's own; sizes are measured by running the network."""
    model, found = built(network), sizes_of(network)
    first = {name: module for name, module in model.named_modules() if isinstance(module, torch.nn.Conv2d)}
    for i, j in [(a, b) for a in range(5) for b in range(1, 5 - a)]:
        if network == "unet":
            if i + j < 4:
                continue
            name, blocks = f"decoder.{3 - i}", (f"decoder.{3 - i}.",)
        else:
            name = f"nodes.X({i},{j})"
            blocks = (f"{name}.block.", f"{name}.extract.")
        (given,) = set(found[name])
        block = next(module for path, module in first.items() if path.startswith(blocks))
        lines = drawings.told(network, i, j)["lines"]
        assert f"= {block.in_channels} channels" in lines[1], (i, j)
        assert lines[-1] == f"It gives {given}."
        assert any("(6)" in line for line in lines) == (network == "scoatnet" and i > 0)


# how many parts of a diagram stand for the parts of a module
BRANCHES = (
    ("attention-unet", "gates", r"gates\.\d", 0),
    ("attention-unet", "encoder", r"encoder\.\d", 0),
    ("attention-unet", "decoder", r"decoder\.\d", 0),
    ("pspnet", "pyramid", r"pyramid\.\d", 0),
    ("espnetv2", "level3.0.branches", r"level3\.0\.branches\.\d", 0),
    ("denseaspp", "pyramid", r"pyramid\.\d", 0),
    ("deeplabv3plus", "pyramid", r"pyramid\.\d|image_pooling", 1),
    ("cenet", "decoder", r"decoder\.\d", 0),
    ("unetpp-residual-attention", "nodes.X(1,2).attention.up", r".*attention\.up\.\d", 0),
    ("unetpp-residual-attention", "nodes.X(1,2).attention.down", r".*attention\.down\.\d", 0),
    ("unetpp-pyramid-attention", "nodes.X(1,2).attention.to_map", r".*to_map\.\d", 0),
)


@pytest.mark.parametrize(("name", "path", "pattern", "more"), BRANCHES)
def test_as_many_branches_as_the_network_has(name, path, pattern, more):
    parts = rivals.TABLES[name][2].values()
    assert len({p.module for p in parts if re.fullmatch(pattern, p.module)}) == len(built(name).get_submodule(path)) + more


def test_rates_and_repeats_are_the_networks_own():
    def named(name, start):
        return [int(re.search(r"\d+", text).group()) for text, _ in words_in(drawn(name).svg) if start in text]

    assert named("denseaspp", "rate") == list(denseaspp.RATES)
    assert named("denseaspp", "dilation") == list(denseaspp.BLOCK_DILATIONS[2:])
    assert named("deeplabv3plus", "rate") == [6, 12, 18]
    assert named("pspnet", "means") == list(pspnet.BINS)
    assert named("espnetv2", "units") == list(espnetv2.REPEATS)
    fields = [3 + 2 * k for k in range(espnetv2.BRANCHES)]
    assert named("espnetv2", "dilation") == sorted((f if f <= espnetv2.REACH[2] else 3) // 2 for f in fields)
    assert named("cenet", "pooled") == [16 // k for k in cenet.POOLS]


def test_the_chains_of_ce_net_compute_what_the_module_computes():
    torch.manual_seed(0)
    module, x = cenet.DAC(4), torch.randn(1, 4, 16, 16)
    layer = {m.dilation[0]: m for m in module.dilated}
    chains = [re.findall(r"\d+", text) for text, _ in words_in(drawn("cenet").svg) if text.startswith("dilation")]
    total = x
    for number, chain in enumerate(chains):
        y = x
        for dilation in chain:
            y = layer[int(dilation)](y)
        total = total + torch.relu(module.pointwise(y) if number else y)
    assert len(chains) == 4
    assert torch.allclose(total, module(x), atol=1e-6)


@pytest.mark.parametrize("bins", [(1, 2, 3), (1, 2, 3, 6, 8)])
def test_a_branch_fewer_or_more_is_refused(monkeypatch, bins):
    monkeypatch.setattr(pspnet, "BINS", bins)
    with pytest.raises(ValueError, match=r"pspnet.*mend the table"):
        drawings.network("pspnet")


def test_a_change_of_a_rate_reaches_the_drawing(monkeypatch):
    monkeypatch.setattr(denseaspp, "RATES", (3, 6, 12, 18, 30))
    assert "rate 30" in drawings.network("denseaspp").svg


@pytest.mark.parametrize(
    ("name", "key", "takes"), [("attention-unet", "d0", "g0"), ("cenet", "p2", "s1 u1"), ("pspnet", "head", "s4")]
)
def test_a_line_to_the_wrong_place_or_none_is_refused(name, key, takes):
    parts = dict(rivals.TABLES[name][2])
    rivals.check(name, parts, measured(name))
    parts[key] = dataclasses.replace(parts[key], takes=takes)
    with pytest.raises(ValueError, match=f"the lines to {key}"):
        rivals.check(name, parts, measured(name))


def test_every_rival_has_a_drawing_and_other_names_are_listed():
    told = {"scoatnet", "unetpp", "unet"}  # as grids
    assert set(RIVALS) | told == set(names())
    with pytest.raises(ValueError, match="known: attention-unet, pspnet"):
        drawings.network("unet")


ALL = [lambda n=n: drawn(n) for n in RIVALS] + [
    lambda: drawings.path(weights.load()),
    lambda: drawings.protocol(RUNS),
]


@pytest.mark.parametrize("draw", ALL)
def test_drawings_take_the_pages_colours_and_say_what_is_to_be_seen(draw):
    drawing = draw()
    root = ElementTree.fromstring(drawing.svg)
    assert root.get("aria-label") == drawing.text
    assert len(drawing.text) > 150
    assert "None" not in drawing.svg
    assert "nan" not in drawing.svg
    assert not re.search(r'fill="(#000|#fff|black|white)"', drawing.svg)
    width, height = map(float, root.get("viewBox").split()[2:])
    for shape in root.iter("{http://www.w3.org/2000/svg}rect"):
        assert shape.get("fill") == "none" or float(shape.get("fill-opacity")) < 0.3, "the page's ground shows through"
    moved = re.search(r"translate\((-?\d+) (-?\d+)\)", drawing.svg)
    dx, dy = map(int, moved.groups()) if moved else (0, 0)
    for shape in root.iter("{http://www.w3.org/2000/svg}rect"):
        x, y, w, h = (float(shape.get(k)) for k in ("x", "y", "width", "height"))
        assert 0 <= x + dx <= x + dx + w <= width + 1
        assert 0 <= y + dy <= y + dy + h <= height + 1


def test_drawings_share_a_page():
    ids = [i for draw in ALL for i in re.findall(r'\bid="([^"]+)"', draw().svg)]
    assert len(ids) == len(set(ids)) > 30


# the protocol


def run(fold, patients, slices=70, read=()):
    measures = {f"{p}_scan": {"patient": p} for p in patients}
    external = {"ct100": {"slices": [{}] * slices}} if slices else {}
    return {"recipe": {"fold": fold}, "measures": measures, "external": external, "second reader": dict.fromkeys(read)}


RUNS = [run(0, ["a_1", "b_1", "b_2"], read=["s", "t"]), run(1, ["a_2", "a_3"], read=["u"]), run(2, ["b_3"])]


def test_the_protocol_shows_who_is_tested_when():
    drawing = drawings.protocol(RUNS[::-1])  # in whatever order the files come
    names = [text for text, _ in words_in(drawing.svg)]
    grid = [text for text in names if text in ("train", "test")]
    assert [grid[3 * k : 3 * k + 3].index("test") for k in range(3)] == [0, 1, 2]
    assert grid.count("train") == 6
    assert re.findall(r"<title>(\w+)</title>", drawing.svg) == ["a_1", "b_1", "b_2", "a_2", "a_3", "b_3"]
    assert "6 patients are dealt into 3 folds of 3, 2, 1" in drawing.text
    assert "70 single slices" in drawing.svg
    assert "3 scans, drawn again" in drawing.svg
    assert "a, 3" in drawing.svg
    assert "70 single" not in drawings.protocol([run(0, ["a_1"], slices=0), run(1, ["a_2"], slices=0)]).svg


def test_a_protocol_that_leaks_is_not_drawn():
    with pytest.raises(ValueError, match="two folds"):
        drawings.protocol([run(0, ["a_1"]), run(1, ["a_1"])])
    with pytest.raises(ValueError, match="one run of each fold"):
        drawings.protocol([run(0, ["a_1"]), run(0, ["a_2"])])
    with pytest.raises(ValueError, match="one run of each fold"):
        drawings.protocol([])


# the path of a scan


def test_the_path_tells_what_the_weights_say():
    segmenter = weights.load()
    svg = drawings.path(segmenter).svg
    low, high = segmenter.preprocessing.window
    assert f"−{-low:g} … {high:g} HU" in svg
    assert f"above {segmenter.threshold:g}" in svg
    assert f"width {segmenter.model.made_by['width']}" in svg
    assert f"{segmenter.preprocessing.spacing:g} mm pixels" in svg
    other = dataclasses.replace(segmenter.preprocessing, window=(-1000.0, 400.0), spacing=None)
    changed = drawings.path(weights.Segmenter(segmenter.model, other, {})).svg
    assert "−1000 … 400 HU" in changed
    assert "own pixels" in changed
    assert "above 0.5" in changed
    assert "mirror" not in changed


@pytest.mark.parametrize("network", ["unet", "unetpp"])
def test_a_step_lights_one_node_with_what_it_takes_and_all_of_that_is_there(network):
    steps, done = drawings.order(network), []
    for number, step in enumerate(steps, 1):
        (i, j, inputs) = re.fullmatch(rf"step {number} of {len(steps)}: X\((\d),(\d)\) takes (.*)", step.text).groups()
        named = [(int(a), int(b)) for a, b in re.findall(r"X\((\d),(\d)\)", inputs)]
        assert named == drawings.takes(int(i), int(j), network)
        assert set(named) <= set(done), "not computed yet"
        (lit,) = re.findall(r'<g class="now">.*?</g>', step.svg)
        assert f">X({i},{j})<" in lit
        assert step.svg.count('<g class="done">') == len(done)
        assert step.svg.count("<g class=") == len(steps)
        assert step.svg.count('class="e ') == len(named)
        assert step.svg.count(f'id="drawing-order-{number}"') == 1
        done.append((int(i), int(j)))
