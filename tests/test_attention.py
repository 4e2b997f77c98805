"""attention.py: equations 1 to 6 against numpy loops written from the formulas, which import nothing of ours."""

import itertools
import math

import numpy as np
import pytest
import torch

from scoat_lib.attention import (
    AttentionGate,
    AttentionNode,
    ChannelAttention,
    PyramidAttention,
    ResidualAttention,
    SpatialAttention,
)
from scoat_lib.blocks import BatchNorm, ResidualBlock, Up, crop_like, h_r, h_s, level_widths, pad_to_multiple


def settle(module, seed=0):
    """Random batch-norm statistics, so that evaluation mode is no identity, and evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    for layer in module.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.running_mean = torch.randn(layer.num_features, generator=generator) * 0.3
            layer.running_var = torch.rand(layer.num_features, generator=generator) + 0.5
            layer.weight.data = torch.randn(layer.num_features, generator=generator)
            layer.bias.data = torch.randn(layer.num_features, generator=generator) * 0.3
    return module.eval()


def values(layer):
    return {k: v.detach().double().numpy() for k, v in layer.state_dict().items()}


def np_conv(x, w):
    """x (C, H, W), w (O, C, k, k), zero padding that keeps the size."""
    o, c, k, _ = w.shape
    _, h, width = x.shape
    padded = np.zeros((c, h + k - 1, width + k - 1))
    padded[:, k // 2 : k // 2 + h, k // 2 : k // 2 + width] = x
    out = np.zeros((o, h, width))
    for i in range(h):
        for j in range(width):
            for n in range(o):
                out[n, i, j] = (padded[:, i : i + k, j : j + k] * w[n]).sum()
    return out


def np_norm(x, v, prefix):
    scale = v[f"{prefix}.weight"] / np.sqrt(v[f"{prefix}.running_var"] + 1e-5)
    return (x - v[f"{prefix}.running_mean"][:, None, None]) * scale[:, None, None] + v[f"{prefix}.bias"][:, None, None]


def np_h_r(x, v, prefix="", first=0):
    return np.maximum(np_norm(np_conv(x, v[f"{prefix}{first}.weight"]), v, f"{prefix}{first + 1}"), 0)


def np_up(x, size):
    """Bilinear with half-pixel centres, edges repeated."""
    out = np.zeros((len(x), *size))
    for i in range(size[0]):
        for j in range(size[1]):
            a = min(max((i + 0.5) * x.shape[1] / size[0] - 0.5, 0), x.shape[1] - 1)
            b = min(max((j + 0.5) * x.shape[2] / size[1] - 0.5, 0), x.shape[2] - 1)
            i0, j0 = int(a), int(b)
            i1, j1 = min(i0 + 1, x.shape[1] - 1), min(j0 + 1, x.shape[2] - 1)
            s, t = a - i0, b - j0
            out[:, i, j] = (1 - s) * ((1 - t) * x[:, i0, j0] + t * x[:, i0, j1]) + s * (
                (1 - t) * x[:, i1, j0] + t * x[:, i1, j1]
            )
    return out


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@pytest.fixture
def maps():
    torch.manual_seed(1)
    return torch.randn(1, 3, 6, 4), torch.randn(1, 5, 6, 4)


def test_equations_1_and_2(maps):
    skip, up = maps
    module = settle(SpatialAttention(3, 5, 4))
    x_s, x_M = module(skip, up)
    v, a, b = values(module), skip[0].double().numpy(), up[0].double().numpy()
    summed = np_h_r(a, v, "from_skip.") + np_h_r(b, v, "from_up.")
    expected_map = sigmoid(np_norm(np_conv(summed, v["to_map.0.weight"]), v, "to_map.1"))
    assert x_M.shape == (1, 1, 6, 4)
    np.testing.assert_allclose(x_M[0].detach(), expected_map, atol=1e-5)
    np.testing.assert_allclose(x_s[0].detach(), (1 + expected_map) * b, atol=1e-5)


def test_equations_4_and_5():
    torch.manual_seed(2)
    module = ChannelAttention(32, reduction=16).eval()
    x = torch.randn(2, 32, 3, 5)
    w1, w2 = module.w1.weight.detach().double().numpy(), module.w2.weight.detach().double().numpy()
    assert w1.shape == (2, 32)
    assert w2.shape == (32, 2)
    assert module.w1.bias is None
    for n in range(2):
        x_g = [sum(x[n, c, i, j].item() for i in range(3) for j in range(5)) / 15 for c in range(32)]
        inner = [max(0.0, sum(w1[k][c] * x_g[c] for c in range(32))) for k in range(2)]
        x_V = [1 / (1 + math.exp(-sum(w2[c][k] * inner[k] for k in range(2)))) for c in range(32)]
        np.testing.assert_allclose(module(x)[n, :, 0, 0].detach(), x_V, atol=1e-5)


@pytest.mark.parametrize("skip_limit", ["j", "j-1"])
@pytest.mark.parametrize("kernel", [3, 1])
def test_a_whole_node_is_equations_1_to_6(skip_limit, kernel):
    torch.manual_seed(3)
    node = settle(AttentionNode([4, 4], 8, 4, 4, skip_limit=skip_limit, kernel=kernel, reduction=4))
    skips, below = [torch.randn(1, 4, 6, 6), torch.randn(1, 4, 6, 6)], torch.randn(1, 8, 3, 3)
    v = values(node)
    s0, s1, b = (t[0].double().numpy() for t in (*skips, below))
    up = np_up(np_norm(np_conv(b, v["up.reduce.0.weight"]), v, "up.reduce.1"), (6, 6))
    summed = np_h_r(s1, v, "spatial.from_skip.") + np_h_r(up, v, "spatial.from_up.")
    x_M = sigmoid(np_norm(np_conv(summed, v["spatial.to_map.0.weight"]), v, "spatial.to_map.1"))
    x_s = (1 + x_M) * up
    x_c = np.concatenate([s0, s1, x_s] if skip_limit == "j" else [s0, x_s])
    x_V = sigmoid(v["channel.w2.weight"] @ np.maximum(v["channel.w1.weight"] @ x_c.mean((1, 2)), 0))
    extracted = np_h_r(np_h_r(x_V[:, None, None] * x_c, v, "extract."), v, "extract.", first=3)
    expected = extracted + np_h_r(x_c, v, "shortcut.")
    np.testing.assert_allclose(node(skips, below)[0].detach(), expected, atol=1e-4)


def test_residual_block_is_two_convolutions_and_a_shortcut():
    torch.manual_seed(4)
    block = settle(ResidualBlock(3, 4))
    x = torch.randn(1, 3, 5, 5)
    v, a = values(block), x[0].double().numpy()
    inner = np.maximum(np_norm(np_conv(a, v["body.0.weight"]), v, "body.1"), 0)
    expected = np_norm(np_conv(inner, v["body.3.weight"]), v, "body.4") + np_norm(
        np_conv(a, v["shortcut.0.weight"]), v, "shortcut.1"
    )
    np.testing.assert_allclose(block(x)[0].detach(), np.maximum(expected, 0), atol=1e-4)


def test_h_s_is_one_channel_in_0_to_1():
    out = h_s(6)(torch.randn(4, 6, 5, 5) * 50)
    assert out.shape == (4, 1, 5, 5)
    assert out.min() >= 0
    assert out.max() <= 1
    assert (h_r(6, 2)(torch.randn(4, 6, 5, 5)) >= 0).all()


def test_f_u_normalises_after_the_interpolation_unless_asked_otherwise():
    """In training the two orders differ, by the batch's statistics; in evaluation they are one map."""
    torch.manual_seed(0)
    x = torch.randn(4, 8, 9, 9)
    late = Up(8, 4)
    early = Up(8, 4, "bilinear-1x1-early")
    early.load_state_dict(late.state_dict())
    out, other = late.train()(x, (18, 18)), early.train()(x, (18, 18))
    assert out.std(dim=(0, 2, 3), correction=0).detach().numpy() == pytest.approx(1.0, abs=1e-3)
    assert (other.std(dim=(0, 2, 3)) < 0.85).all()
    by_hand = torch.nn.functional.interpolate(x, size=(18, 18), mode="bilinear")
    by_hand = torch.nn.functional.conv2d(by_hand, late.reduce[0].weight)
    by_hand = (by_hand - by_hand.mean((0, 2, 3), keepdim=True)) / by_hand.var((0, 2, 3), correction=0, keepdim=True).sqrt()
    torch.testing.assert_close(out, by_hand, atol=1e-3, rtol=1e-3)
    early.load_state_dict(late.state_dict())
    torch.testing.assert_close(late.eval()(x, (18, 18)), early.eval()(x, (18, 18)), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("kind", "channels"), [("bilinear-1x1", 4), ("bilinear-1x1-early", 4), ("bilinear-1x1-bare", 4), ("bilinear", 8)]
)
def test_up_keeps_or_reduces_channels(kind, channels):
    up = Up(8, 4, kind)
    out = up(torch.randn(2, 8, 3, 3), (7, 6))
    assert out.shape == (2, channels, 7, 6)
    assert up.out_channels == channels


def test_a_1x1_and_an_interpolation_commute():
    up = settle(Up(8, 4))
    x = torch.randn(1, 8, 3, 5)
    after = up.reduce(torch.nn.functional.interpolate(x, size=(6, 10), mode="bilinear"))
    torch.testing.assert_close(up(x, (6, 10)), after, atol=1e-5, rtol=1e-5)


def test_batch_norm_takes_a_single_value():
    norm = BatchNorm(3).train()
    out = norm(torch.ones(1, 3, 1, 1))
    assert torch.isfinite(out).all()
    with pytest.raises(ValueError, match="more than 1 value"):
        torch.nn.BatchNorm2d(3).train()(torch.ones(1, 3, 1, 1))
    two = torch.randn(2, 3, 1, 1)
    torch.testing.assert_close(norm(two), torch.nn.BatchNorm2d(3).train()(two))


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (1, 5), (128, 81)])
def test_padding_repeats_the_border_and_is_cropped(size):
    x = torch.randn(1, 2, *size)
    padded = pad_to_multiple(x)
    assert padded.shape[2] % 16 == padded.shape[3] % 16 == 0
    assert min(padded.shape[2:]) >= 32
    assert torch.equal(crop_like(padded, *size), x)
    assert (padded[..., -1, -1] == x[..., -1, -1]).all()


def test_widths_double_by_level():
    assert level_widths(64) == (64, 128, 256, 512, 1024)
    with pytest.raises(ValueError, match="at least 1"):
        level_widths(0)


def test_one_relu_after_the_sum_is_another_map_than_one_in_each():
    """x_M = H_S(ReLU(BN(W x) + BN(W y))), from the weights."""
    torch.manual_seed(3)
    module = settle(SpatialAttention(5, 4, 6, relu="sum"))
    skip, up = torch.randn(2, 5, 7, 6), torch.randn(2, 4, 7, 6)

    def normed(layers, x):
        convolution, norm = layers[0], layers[1]
        y = torch.einsum("oc,nchw->nohw", convolution.weight[:, :, 0, 0], x)
        scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        return (y - norm.running_mean[:, None, None]) * scale[:, None, None] + norm.bias[:, None, None]

    with torch.no_grad():
        both = torch.relu(normed(module.from_skip, skip) + normed(module.from_up, up))
        expected = torch.sigmoid(normed(module.to_map, both))
        scaled, x_M = module(skip, up)
        each = settle(SpatialAttention(5, 4, 6))
        each.load_state_dict(module.state_dict())
        assert not torch.allclose(each(skip, up)[1], expected, atol=1e-3)
    torch.testing.assert_close(x_M, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(scaled, (1 + expected) * up, atol=1e-5, rtol=1e-5)


def test_pyramid_attention_looks_at_halved_scales_and_averages_their_maps():
    torch.manual_seed(4)
    module = PyramidAttention(3).eval()
    x = torch.randn(1, 3, 12, 8)
    seen = []
    for layer in module.to_map:
        assert layer.weight.shape == (1, 3, 3, 3)
        layer.register_forward_hook(lambda _, given, made: seen.append((given[0], made)))
    with torch.no_grad():
        scaled, mean = module(x)
    assert [tuple(given.shape[-2:]) for given, _ in seen] == [(12, 8), (6, 4), (3, 2)]
    torch.testing.assert_close(seen[0][0], x)
    for (fine, _), (coarse, _) in itertools.pairwise(seen):
        blocks = fine.reshape(1, 3, fine.shape[2] // 2, 2, fine.shape[3] // 2, 2)
        torch.testing.assert_close(coarse, blocks.amax((3, 5)))
    grown = [torch.nn.functional.interpolate(torch.sigmoid(made), (12, 8), mode="bilinear") for _, made in seen]
    torch.testing.assert_close(mean, sum(grown) / 3)
    torch.testing.assert_close(scaled, (1 + mean) * x)


# the modules of V1 and V2, as their papers draw them


def np_sigmoid(x):
    return 1 / (1 + np.exp(-x))


def np_biased(x, v, prefix):
    """A convolution with its bias and the batch norm behind it."""
    return np_norm(np_conv(x, v[f"{prefix}.0.weight"]) + v[f"{prefix}.0.bias"][:, None, None], v, f"{prefix}.1")


def np_unit(x, v, prefix):
    """A pre-activation bottleneck: three times norm, ReLU, convolution, and the way around."""
    y = x
    for first in (0, 3, 6):
        y = np_conv(np.maximum(np_norm(y, v, f"{prefix}.body.{first}"), 0), v[f"{prefix}.body.{first + 2}.weight"])
    return x + y


def np_units(x, v, prefix, number):
    for k in range(number):
        x = np_unit(x, v, f"{prefix}.{k}")
    return x


def np_halve(x):
    """The largest of 3 × 3, every second place; the border counts for nothing."""
    c, h, w = x.shape
    padded = np.full((c, h + 2, w + 2), -np.inf)
    padded[:, 1:-1, 1:-1] = x
    return np.array([[padded[:, i : i + 3, j : j + 3].max((1, 2)) for j in range(0, w, 2)] for i in range(0, h, 2)]).transpose(
        2, 0, 1
    )


def test_a_gate_compares_skip_and_signal_and_multiplies_the_skip():
    torch.manual_seed(4)
    gate = settle(AttentionGate(3, 5, 4))
    v, skip, signal = values(gate), torch.randn(1, 3, 6, 7), torch.randn(1, 5, 6, 7)
    summed = np.maximum(np_biased(skip[0].numpy(), v, "from_skip") + np_biased(signal[0].numpy(), v, "from_gate"), 0)
    expected = np_sigmoid(np_biased(summed, v, "to_map"))
    with torch.no_grad():
        out, coefficients = gate(skip, signal)
    np.testing.assert_allclose(coefficients[0].numpy(), expected, atol=1e-5)
    np.testing.assert_allclose(out[0].numpy(), expected * skip[0].numpy(), atol=1e-5)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_residual_attention_is_a_trunk_and_an_hourglass(depth):
    torch.manual_seed(5)
    module = settle(ResidualAttention(8, depth))
    v, x = values(module), torch.randn(1, 8, 12, 10)
    whole = np_units(x[0].numpy().astype(float), v, "before", 1)
    m, kept = whole, []
    for k in range(depth - 1):
        m = np_units(np_halve(m), v, f"down.{k}", 1)
        kept.append(np_units(m, v, f"skips.{k}", 1))
    m = np_units(np_halve(m), v, "bottom", 2)
    for k in range(depth - 1):
        skip = kept[depth - 2 - k]
        m = np_units(np_up(m, skip.shape[1:]) + skip, v, f"up.{k}", 1)
    m = np_up(m, whole.shape[1:])
    for first in (0, 3):
        m = np_conv(np.maximum(np_norm(m, v, f"to_mask.{first}"), 0), v[f"to_mask.{first + 2}.weight"])
    mask = np_sigmoid(m)
    expected = np_units((1 + mask) * np_units(whole, v, "trunk", 2), v, "after", 1)
    with torch.no_grad():
        out, seen = module(x)
    np.testing.assert_allclose(seen[0].numpy(), mask, atol=1e-4)
    np.testing.assert_allclose(out[0].numpy(), expected, atol=1e-3)
    inner = next(value for name, value in v.items() if name.endswith("body.2.weight"))
    assert inner.shape[:2] == (2, 8), "a bottleneck of a quarter of the channels"
    assert not [name for name in v if name.endswith("body.2.bias")]


def test_a_node_looks_at_the_last_of_unequal_skips():
    node = AttentionNode([3, 5], 8, 4, 4).eval()
    with torch.no_grad():
        out = node([torch.randn(1, 3, 8, 8), torch.randn(1, 5, 8, 8)], torch.randn(1, 8, 4, 4))
    assert out.shape == (1, 4, 8, 8)
