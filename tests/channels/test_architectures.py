"""What the analysis finds in the blocks that real networks are built of: each prunable group in full, and masked equality of cuts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from graphopt.channels import Analysis, analyse
from tests.channels.build import INT64, Build
from tests.channels.masked import assert_masked_equal, least_keep

_BLOCKS: dict[str, tuple[Callable[[Build], str], list[str]]] = {}


def block(*groups: str) -> Callable[[Callable[[Build], str]], Callable[[Build], str]]:
    """Register a function that builds a model and names its output, with the prunable groups that the model should have."""

    def register(build: Callable[[Build], str]) -> Callable[[Build], str]:
        _BLOCKS[build.__name__] = (build, sorted(groups))
        return build

    return register


def described(analysis: Analysis) -> list[str]:
    """`size kind: members`, sorted; a star after inexact groups' kind, a count after members of which a unit takes several indices."""
    lines = []
    for group in analysis.groups:
        if group.prunable:
            star = "*" if group.inexact is not None else ""
            members = sorted(f"{m.name}{'' if m.indices.shape[1] == 1 else f'({m.indices.shape[1]})'}" for m in group.members)
            lines.append(f"{group.size} {group.kind}{star}: {' '.join(members)}")
    return sorted(lines)


def image(m: Build, channels: int = 3, size: int = 4) -> str:
    return m.input(2, channels, size, size)


def conv(m: Build, x: str, out: int, into: int, kernel: int = 1, *, group: int = 1, bias: bool = False) -> str:
    extra = [m.tensor(m.rng.standard_normal(out).astype(np.float32), m.name("b"))] if bias else []
    return m.node("Conv", x, m.weight(out, into // group, kernel, kernel, scale=0.3), *extra, group=group, pads=[kernel // 2] * 4)


def norm(m: Build, x: str, channels: int) -> str:
    return m.node(
        "BatchNormalization", x, *(m.tensor(m.rng.uniform(0.5, 1.5, channels).astype(np.float32), m.name("bn")) for _ in range(4))
    )


def linear(m: Build, x: str, into: int, out: int, *, bias: bool = False) -> str:
    made = m.node("MatMul", x, m.weight(into, out, scale=0.3))
    return m.node("Add", made, m.tensor(m.rng.standard_normal(out).astype(np.float32), m.name("b"))) if bias else made


def scalar(m: Build, value: float) -> str:
    return m.tensor(np.float32(value))


@block("6 channels: b1:0 bn1:0 bn2:0 bn3:0 bn4:0 w1:0 w2:1")
def a_chain(m: Build) -> str:
    return conv(m, m.node("Relu", norm(m, conv(m, image(m), 6, 3, bias=True), 6)), 4, 6, 3)


@block("6 channels: w1:0 w2:1 w3:0 w4:1", "8 channels: w2:0 w3:1")
def a_residual_block(m: Build) -> str:
    x = conv(m, image(m), 6, 3)
    inner = conv(m, m.node("Relu", conv(m, x, 8, 6)), 6, 8)
    return conv(m, m.node("Relu", m.node("Add", inner, x)), 4, 6)


@block("6 channels: b1:0 bn1:0 bn2:0 bn3:0 bn4:0 w1:0 w2:0 w3:1")
def a_depthwise_block(m: Build) -> str:
    x = m.node("HardSwish", norm(m, conv(m, conv(m, image(m), 6, 3), 6, 6, 3, group=6, bias=True), 6))
    return conv(m, x, 4, 6)


@block("2 channels: w2:0(3) w3:1(3)", "3 channels: w1:0 w2:0(2) w3:1(2)")
def a_depthwise_multiplier(m: Build) -> str:
    return conv(m, conv(m, conv(m, image(m), 3, 3), 6, 3, 3, group=3), 4, 6)


@block("4 channels: w1:0 w2:1 w3:1", "5 channels: w2:0 w3:1")
def a_dense_block(m: Build) -> str:
    x = conv(m, image(m), 4, 3)
    return conv(m, m.node("Concat", x, conv(m, x, 5, 4), axis=1), 4, 9)


@block("2 groups: w1:0(4) w2:0(6) w3:1(6)", "4 channels: w1:0(2) w2:1", "6 channels: w2:0(2) w3:1(2)")
def a_grouped_convolution(m: Build) -> str:
    return conv(m, conv(m, conv(m, image(m), 8, 3), 12, 8, group=2), 4, 12)


@block("2 groups: w1:0(3) w2:0(3) w3:0(3) w4:1(4)", "3 channels: w1:0(2) w2:0(2) w3:0(2)", "4 channels: w3:1 w4:1(2)")
def transposed_convolutions(m: Build) -> str:
    """A depthwise one, and one in two groups."""
    x = conv(m, image(m), 6, 3)
    x = m.node("ConvTranspose", x, m.weight(6, 1, 2, 2), group=6, strides=[2, 2])
    x = m.node("ConvTranspose", x, m.weight(6, 4, 1, 1), group=2)
    return conv(m, x, 4, 8)


@block("2 channels: w2:0(6) w3:1(2)", "4 channels: w3:0(3) w4:1(3)", "6 channels: w1:0(2) w2:1")
def grouped_convolutions_of_unequal_groups(m: Build) -> str:
    x = conv(m, conv(m, conv(m, image(m), 12, 3), 12, 12, group=2), 12, 12, group=3)
    return conv(m, x, 4, 12)


@block("4 channels: c2:0 c3:0 w1:0(2) w2:0(2) w3:0(2) w4:1(2)")
def a_group_normalization(m: Build) -> str:
    x = conv(m, image(m), 8, 3)
    grouped = m.node("Reshape", x, m.ints(0, 4, -1))
    made = m.node("InstanceNormalization", grouped, m.tensor(np.ones(4, np.float32)), m.tensor(np.zeros(4, np.float32)))
    back = m.node("Reshape", made, m.node("Shape", x))
    scaled = m.node("Add", m.node("Mul", back, m.weight(8, 1, 1)), m.weight(8, 1, 1))
    return conv(m, m.node("Relu", scaled), 4, 8)


@block("4 channels: w1:0 w2:1", "4 channels: w1:0 w3:0 w4:1(2)", "4 channels: w2:0 w3:1")
def a_channel_shuffle(m: Build) -> str:
    """A ShuffleNetV2 unit: one half passes, the other is worked on, and the halves are shuffled."""
    x = conv(m, image(m), 8, 3)
    left, right = m.node("Split", x, m.ints(4, 4), outputs=2, axis=1)
    right = m.node("Relu", conv(m, m.node("Relu", conv(m, right, 4, 4)), 4, 4))
    both = m.node("Concat", left, right, axis=1)
    turned = m.node("Transpose", m.node("Reshape", both, m.ints(0, 2, 4, 4, 4)), perm=[0, 2, 1, 3, 4])
    return conv(m, m.node("Reshape", turned, m.ints(0, 8, 4, 4)), 4, 8)


@block("4 channels: b1:0 w2:0 w3:1", "8 channels: b2:0 w1:0 w2:1 w3:0 w4:1")
def squeeze_and_excite(m: Build) -> str:
    x = conv(m, image(m), 8, 3)
    small = m.node("Relu", conv(m, m.node("GlobalAveragePool", x), 4, 8, bias=True))
    return conv(m, m.node("Mul", x, m.node("Sigmoid", conv(m, small, 8, 4, bias=True))), 4, 8)


@block("5 channels: w2:0 w3:0 w4:1", "6 channels: w1:0 w2:1(4)")
def a_classifier(m: Build) -> str:
    """Each channel is four columns of the first matrix."""
    x = m.node("MaxPool", m.node("Relu", conv(m, image(m), 6, 3)), kernel_shape=[2, 2], strides=[2, 2])
    hidden = m.node("Relu", m.node("Gemm", m.node("Flatten", x), m.weight(5, 24), m.weight(5), transB=1))
    return m.node("Gemm", hidden, m.weight(3, 5), m.weight(3), transB=1)


@block("6 channels: w1:0 w2:0 w3:1")
def channels_last(m: Build) -> str:
    """As tf2onnx writes it: Transpose around each convolution."""
    x = m.node("Transpose", m.input(2, 4, 4, 3), perm=[0, 3, 1, 2])
    x = m.node("Transpose", conv(m, x, 6, 3), perm=[0, 2, 3, 1])
    x = m.node("Relu", m.node("Add", x, m.weight(6)))
    x = conv(m, m.node("Transpose", x, perm=[0, 3, 1, 2]), 4, 6)
    return m.node("Transpose", x, perm=[0, 2, 3, 1])


def attend(m: Build, q: str, k: str, v: str, dims: int) -> str:
    scores = m.node("Mul", m.node("MatMul", q, m.node("Transpose", k, perm=[0, 1, 3, 2])), scalar(m, dims**-0.5))
    return m.node("MatMul", m.node("Softmax", scores, axis=-1), v)


def heads_of(m: Build, x: str, count: int, heads: int, dims: int) -> str:
    return m.node("Transpose", m.node("Reshape", x, m.ints(0, count, heads, dims)), perm=[0, 2, 1, 3])


def merged(m: Build, x: str, count: int, width: int) -> str:
    return m.node("Reshape", m.node("Transpose", x, perm=[0, 2, 1, 3]), m.ints(0, count, width))


@block(
    "3 heads: b1:0(4) b2:0(4) b3:0(4) w1:1(4) w2:1(4) w3:1(4) w4:0(4)",
    "4 head dimensions: b1:0(3) b2:0(3) w1:1(3) w2:1(3)",
    "4 head dimensions: b3:0(3) w3:1(3) w4:0(3)",
)
def attention(m: Build) -> str:
    x = m.input(2, 5, 6)
    q, k, v = (heads_of(m, linear(m, x, 6, 12, bias=True), 5, 3, 4) for _ in range(3))
    return linear(m, merged(m, attend(m, q, k, v, 4), 5, 12), 12, 6)


@block("3 heads: b1:0(12) w1:1(12) w2:0(4)", "4 head dimensions: b1:0(9) w1:1(9) w2:0(3)")
def packed_attention(m: Build) -> str:
    """As timm writes it: one product for all three, its columns (3, heads, dims)."""
    x = m.input(2, 5, 6)
    packed = m.node("Reshape", linear(m, x, 6, 36, bias=True), m.ints(0, 5, 3, 3, 4))
    turned = m.node("Transpose", packed, perm=[2, 0, 3, 1, 4])
    q, k, v = (m.node("Gather", turned, m.tensor(np.int64(i)), axis=0) for i in range(3))
    return linear(m, merged(m, attend(m, q, k, v, 4), 5, 12), 12, 6)


@block("3 heads: w1:1(4) w2:1(4) w3:1(4) w4:0(4)", "4 head dimensions: w1:1(3) w2:1(3)", "4 head dimensions: w3:1(3) w4:0(3)")
def attention_by_einsum(m: Build) -> str:
    x = m.input(2, 5, 6)
    q, k, v = (m.node("Reshape", linear(m, x, 6, 12), m.ints(0, 5, 3, 4)) for _ in range(3))
    scores = m.node("Softmax", m.node("Einsum", q, k, equation="bqhd,bkhd->bhqk"), axis=-1)
    mixed = m.node("Einsum", scores, v, equation="bhqk,bkhd->bqhd")
    return linear(m, m.node("Reshape", mixed, m.ints(0, 5, 12)), 12, 6)


@block("4 channels: w1:1 w2:0")
def a_product_by_einsum(m: Build) -> str:
    """No batch on both sides, so no heads."""
    hidden = m.node("Einsum", m.input(2, 5, 6), m.weight(6, 4), equation="bti,ij->btj")
    return m.node("Einsum", hidden, m.weight(4, 3), equation="btj,jk->btk")


def rotated(m: Build, x: str, count: int, dims: int) -> str:
    first = m.node("Slice", x, m.ints(0), m.ints(dims // 2), m.ints(3))
    second = m.node("Slice", x, m.ints(dims // 2), m.ints(2**63 - 1), m.ints(3))
    turned = m.node("Concat", m.node("Neg", second), first, axis=-1)
    angles = np.outer(np.arange(count), 0.5 ** np.arange(dims // 2))
    cos, sin = (m.tensor(np.concatenate([f(angles), f(angles)], 1).astype(np.float32), m.name(f.__name__)) for f in (np.cos, np.sin))
    return m.node("Add", m.node("Mul", x, cos), m.node("Mul", turned, sin))


@block(
    "2 heads: w1:1(12) w2:1(6) w3:1(6) w4:0(12)",
    "2 heads: w1:1(12) w4:0(12)",
    "3 head dimensions: cos1:1(2) cos2:1(2) sin1:1(2) sin2:1(2) w1:1(8) w2:1(4)",
    "6 head dimensions: w3:1(2) w4:0(4)",
)
def grouped_queries_with_rotary_embedding(m: Build) -> str:
    """As Llama: 4 query heads, 2 key heads, halves of 3 dimensions that are rotated together."""
    x = m.input(2, 5, 6)
    q = rotated(m, heads_of(m, linear(m, x, 6, 24), 5, 4, 6), 5, 6)
    k = rotated(m, heads_of(m, linear(m, x, 6, 12), 5, 2, 6), 5, 6)
    v = heads_of(m, linear(m, x, 6, 12), 5, 2, 6)
    wide = [m.node("Expand", m.node("Unsqueeze", part, m.ints(2)), m.ints(1, 1, 2, 1, 1)) for part in (k, v)]
    k, v = (m.node("Reshape", part, m.ints(0, 4, 5, 6)) for part in wide)
    return linear(m, merged(m, attend(m, q, k, v, 6), 5, 24), 24, 6)


@block("2 heads: b1:0(12) w2:1(12) w3:1 w4:0(4)", "4 head dimensions: b1:0(6) w2:1(6) w4:0(2)", "6 channels: w1:1 w2:0 w4:1 w5:0")
def windowed_attention(m: Build) -> str:
    """As Swin: windows by Reshape and Transpose, a bias per head and pair of positions."""
    x = linear(m, m.input(2, 16, 3), 3, 6)
    split = m.node("Reshape", x, m.ints(-1, 2, 2, 2, 2, 6))
    rows = m.node("Reshape", m.node("Transpose", split, perm=[0, 1, 3, 2, 4, 5]), m.ints(-1, 4, 6))
    packed = m.node("Reshape", linear(m, rows, 6, 24, bias=True), m.ints(-1, 4, 3, 2, 4))
    turned = m.node("Transpose", packed, perm=[2, 0, 3, 1, 4])
    q, k, v = (m.node("Gather", turned, m.tensor(np.int64(i)), axis=0) for i in range(3))
    scores = m.node("Add", m.node("MatMul", q, m.node("Transpose", k, perm=[0, 1, 3, 2])), m.weight(1, 2, 4, 4))
    made = merged(m, m.node("MatMul", m.node("Softmax", scores), v), 4, 8)
    back = m.node("Reshape", linear(m, made, 8, 6), m.ints(-1, 2, 2, 2, 2, 6))
    tokens = m.node("Reshape", m.node("Transpose", back, perm=[0, 1, 3, 2, 4, 5]), m.ints(-1, 16, 6))
    return linear(m, m.node("Add", tokens, x), 6, 3)


@block("6 channels*: b2:0 w1:1 w2:0 w3:0 w4:0 w5:1 w6:0 w7:0 w8:0 w9:0", "8 channels: b1:0 w4:1 w5:0")
def a_transformer_block(m: Build) -> str:
    """LayerNormalization, layer scale and a feed-forward part around an embedding width that is inexact."""
    x = linear(m, m.input(2, 5, 3), 3, 6)
    inner = m.node("LayerNormalization", x, m.weight(6), m.weight(6))
    wide = m.node("Gelu", linear(m, inner, 6, 8, bias=True))
    x = m.node("Add", x, m.node("Mul", linear(m, wide, 8, 6, bias=True), m.weight(6)))
    return linear(m, m.node("LayerNormalization", x, m.weight(6), m.weight(6)), 6, 3)


@block("6 channels: w1:0 w2:2 w3:2 w4:0")
def a_patch_embedding(m: Build) -> str:
    """Patches by a strided convolution, a class token in front, positions added."""
    patches = m.node("Conv", image(m), m.weight(6, 3, 2, 2), strides=[2, 2])
    tokens = m.node("Transpose", m.node("Reshape", patches, m.ints(0, 6, -1)), perm=[0, 2, 1])
    size = m.node("Gather", m.node("Shape", tokens), m.ints(0))
    first = m.node("Expand", m.weight(1, 1, 6), m.node("Concat", size, m.ints(1, 1), axis=0))
    x = m.node("Add", m.node("Concat", first, tokens, axis=1), m.weight(1, 5, 6))
    return linear(m, m.node("Gather", x, m.tensor(np.int64(0)), axis=1), 6, 3)


@block("5 channels: w2:1 w3:0", "6 channels: w1:1 w2:0 w3:1")
def an_embedding_tied_to_the_output(m: Build) -> str:
    table = m.weight(7, 6)
    x = m.node("Gather", table, m.input(2, 4, elem_type=INT64))
    hidden = m.node("Relu", linear(m, x, 6, 5))
    back = m.node("Tanh", linear(m, hidden, 5, 6))
    return m.node("MatMul", back, m.node("Transpose", table, perm=[1, 0]))


@block("4 hidden units: w1:1(4) w2:1(4) w2:2 w3:2(2)", "5 hidden units: w3:1(3) w4:1(3) w4:2 w5:1(6) w6:0")
def stacked_recurrent_layers(m: Build) -> str:
    """A bidirectional LSTM, a GRU on its merged outputs, and a linear layer on the last state."""
    x = m.input(5, 2, 3)
    y = m.node("LSTM", x, m.weight(2, 16, 3), m.weight(2, 16, 4), outputs=["y", "", ""], hidden_size=4, direction="bidirectional")[0]
    both = m.node("Reshape", m.node("Transpose", y, perm=[0, 2, 1, 3]), m.ints(0, 0, -1))
    last = m.node("GRU", both, m.weight(1, 15, 8), m.weight(1, 15, 5), m.weight(1, 30), outputs=["", "h"], hidden_size=5)[1]
    return linear(m, m.node("Squeeze", last, m.ints(0)), 5, 3)


@block("2 channels: w1:0(4) w2:1(4)", "4 channels: w1:0(2) w2:1(2)")
def shapes_computed_by_the_model(m: Build) -> str:
    """As TorchScript writes x.view(n, c // 2, 2, -1): every size from Shape, Gather and Div."""
    x = conv(m, m.input("N", 3, 4, 4), 8, 3)
    sizes = [m.node("Gather", m.node("Shape", x), m.tensor(np.int64(axis))) for axis in range(4)]
    half = m.node("Div", sizes[1], m.tensor(np.int64(2)))
    ends = [m.node("Unsqueeze", size, m.ints(0)) for size in (sizes[0], half)]
    split = m.node("Reshape", x, m.node("Concat", *ends, m.ints(2), m.ints(16), axis=0))
    turned = m.node("Transpose", split, perm=[0, 2, 1, 3])
    again = [m.node("Unsqueeze", size, m.ints(0)) for size in sizes]
    return conv(m, m.node("Reshape", turned, m.node("Concat", *again, axis=0)), 4, 8)


@block("6 channels: q1:0 q2:0 q3:0 q4:1 w1:0")
def quantized_weights(m: Build) -> str:
    def quantized(*shape: int) -> str:
        stored = m.tensor(m.rng.integers(-100, 100, shape).astype(np.int8), m.name("q"))
        scale = m.tensor(m.rng.uniform(0.01, 0.02, shape[0]).astype(np.float32), m.name("q"))
        return m.node("DequantizeLinear", stored, scale, m.tensor(np.zeros(shape[0], np.int8), m.name("q")), axis=0)

    x = m.node("Relu", m.node("Conv", image(m), quantized(6, 3, 1, 1), m.weight(6)))
    low = m.tensor(np.float32(0.02)), m.tensor(np.uint8(3))
    x = m.node("DequantizeLinear", m.node("QuantizeLinear", x, *low), *low)
    return m.node("Conv", x, quantized(4, 6, 1, 1))


@block("6 channels: w1:0 w2:1 zeros:0", "6 channels: w2:0 w3:1 zeros:0")
def a_bias_shared_through_identity(m: Build) -> str:
    """PyTorch's exporters write equal vectors once; each reader loses its own channels."""
    bias = m.tensor(np.zeros(6, np.float32), "zeros")
    x = m.node("Conv", image(m), m.weight(6, 3, 1, 1), bias)
    y = m.node("Conv", m.node("Relu", x), m.weight(6, 6, 1, 1), m.node("Identity", bias))
    return conv(m, m.node("Relu", y), 4, 6)


@block("4 channels: w1:0 w3:1(2)", "6 channels: w2:0 w3:1")
def nested_concats(m: Build) -> str:
    """Channels that are stacked, cut apart elsewhere, and stacked again."""
    a, b = conv(m, image(m), 4, 3), conv(m, "x1", 6, 3)
    both = m.node("Concat", a, b, axis=1)
    first, second = m.node("Split", both, m.ints(5, 5), outputs=2, axis=1)
    return conv(m, m.node("Concat", second, m.node("Relu", first), a, axis=1), 4, 14)


@pytest.mark.parametrize("name", _BLOCKS)
def test_groups(name: str) -> None:
    build, expected = _BLOCKS[name]
    model = Build()
    model.output(build(model))
    assert described(analyse(model.graph())) == expected


@pytest.mark.parametrize("name", _BLOCKS)
def test_masked_equality(name: str) -> None:
    model = Build(seed=1)
    model.output(_BLOCKS[name][0](model))
    graph = model.graph()
    for seed in range(3):
        assert assert_masked_equal(graph, np.random.default_rng(seed)).kept
    assert_masked_equal(graph, np.random.default_rng(0), keep=least_keep)
    assert_masked_equal(graph, np.random.default_rng(0), include_inexact=True)
