"""BatchNormalization folded into what feeds it, with ONNX Runtime as the oracle; and where it must stay."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest

from graphopt import ir
from graphopt.passes.fuse_bn import FuseBn
from graphopt.pipeline import Context, PassResult, StopAfter

from .oracle import apply, assert_equal, check, operators, parse, random_inputs, run


def weights(
    channels: int, seed: int = 0, dtype: type[np.floating[Any]] = np.float32, **shapes: tuple[int, ...]
) -> dict[str, npt.NDArray[Any]]:
    """Parameters g, o, m, v of a normalization, and random tensors of the given shapes."""
    rng = np.random.default_rng(0)
    arrays = {name: rng.standard_normal(shape) for name, shape in shapes.items()}
    parameters = {"g": rng.uniform(-2, 2, channels), "o": rng.standard_normal(channels), "m": rng.standard_normal(channels)}
    return {name: np.asarray(array).astype(dtype) for name, array in {**arrays, **parameters, "v": rng.uniform(0.1, 2, channels)}.items()}


NORMALIZE = "BatchNormalization(a, g, o, m, v)"

# name: (signature, nodes before the normalization of `a`, channels, shapes of the weights)
LAYERS: dict[str, tuple[str, str, int, dict[str, tuple[int, ...]]]] = {
    "Conv": ("(float[N,3,8,8] x) => (float[N,6,H,W] y)", "a = Conv(x, w)", 6, {"w": (6, 3, 3, 3)}),
    "Conv with bias": (
        "(float[N,3,8,8] x) => (float[N,6,H,W] y)",
        "a = Conv<pads = [1, 1, 1, 1]>(x, w, b)",
        6,
        {"w": (6, 3, 3, 3), "b": (6,)},
    ),
    "Conv in groups": ("(float[N,4,8,8] x) => (float[N,6,H,W] y)", "a = Conv<group = 2>(x, w)", 6, {"w": (6, 2, 3, 3)}),
    "depthwise Conv": ("(float[N,4,8,8] x) => (float[N,8,H,W] y)", "a = Conv<group = 4>(x, w, b)", 8, {"w": (8, 1, 3, 3), "b": (8,)}),
    "Conv along one axis": ("(float[N,3,8] x) => (float[N,5,L] y)", "a = Conv(x, w)", 5, {"w": (5, 3, 3)}),
    "Conv along three axes": ("(float[N,2,4,4,4] x) => (float[N,3,D,H,W] y)", "a = Conv(x, w)", 3, {"w": (3, 2, 2, 2, 2)}),
    "ConvTranspose": ("(float[N,3,4,4] x) => (float[N,6,H,W] y)", "a = ConvTranspose<strides = [2, 2]>(x, w)", 6, {"w": (3, 6, 3, 3)}),
    "ConvTranspose in groups": (
        "(float[N,4,4,4] x) => (float[N,6,H,W] y)",
        "a = ConvTranspose<group = 2>(x, w, b)",
        6,
        {"w": (4, 3, 3, 3), "b": (6,)},
    ),
    "Gemm": ("(float[N,4] x) => (float[N,6] y)", "a = Gemm(x, w)", 6, {"w": (4, 6)}),
    "Gemm, transposed": ("(float[N,4] x) => (float[N,6] y)", "a = Gemm<transB = 1>(x, w, b)", 6, {"w": (6, 4), "b": (6,)}),
    "Gemm with factors": ("(float[N,4] x) => (float[N,6] y)", "a = Gemm<alpha = 0.5, beta = 2.0>(x, w, b)", 6, {"w": (4, 6), "b": (1, 6)}),
    "Gemm with one number as bias": ("(float[N,4] x) => (float[N,6] y)", "a = Gemm(x, w, b)", 6, {"w": (4, 6), "b": ()}),
    "MatMul": ("(float[N,4] x) => (float[N,6] y)", "a = MatMul(x, w)", 6, {"w": (4, 6)}),
    "MatMul, Add": ("(float[N,4] x) => (float[N,6] y)", "c = MatMul(x, w)  a = Add(c, b)", 6, {"w": (4, 6), "b": (6,)}),
    "Add, MatMul": ("(float[N,4] x) => (float[N,6] y)", "c = MatMul(x, w)  a = Add(b, c)", 6, {"w": (4, 6), "b": (1, 6)}),
}


LEFT = {"MatMul": ["MatMul", "Add", "Relu"]}


def layer(name: str, after: str = "y = Relu(b0)", **options: Any) -> onnx.ModelProto:
    signature, body, channels, shapes = LAYERS[name]
    return parse(f"{signature} {{ {body}  b0 = {NORMALIZE}  {after} }}", **options, **weights(channels, **shapes))


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("opset", [9, 13, 18])
def test_layers_take_the_normalization_in(name: str, opset: int) -> None:
    if opset < 11 and name == "Gemm":
        pytest.skip("Gemm has always a bias before opset 11")
    model = layer(name, opset=opset, ir_version=6)
    graph, result = check(FuseBn(), model)
    added = ["Add"] if name == "MatMul" else []
    assert operators(graph) == [
        *(node.op_type for node in model.graph.node if node.op_type not in ("BatchNormalization", "Relu")),
        *added,
        "Relu",
    ]
    assert result.summary == {"fused": 1, "left": 0}
    assert {"g", "o", "m", "v"}.isdisjoint(value.name for value in graph.initializers)


@pytest.mark.parametrize("name", ["Conv", "MatMul"])
def test_an_output_keeps_its_name(name: str) -> None:
    model = layer(name, after="")
    model.graph.node[-1].output[0] = "y"
    graph, _ = check(FuseBn(), model)
    assert operators(graph) == ([name] if name == "Conv" else [name, "Add"])


def test_double_precision_weights() -> None:
    model = parse(f"(double[N,4] x) => (double[N,6] y) {{ a = Gemm(x, w)  y = {NORMALIZE} }}", **weights(6, dtype=np.float64, w=(4, 6)))
    graph, _ = check(FuseBn(), model)
    assert graph.value("w").tensor is not None
    inputs = random_inputs(model)
    assert_equal(run(model, inputs), run(graph.to_proto(), inputs), tolerance=1e-13)


def test_one_normalization_after_another() -> None:
    model = parse(
        f"(float[N,3,8,8] x) => (float[N,6,H,W] y) {{ c = Conv(x, w)  a = BatchNormalization(c, g, o, m, v)  y = {NORMALIZE} }}",
        **weights(6, w=(6, 3, 3, 3)),
    )
    graph, result = check(FuseBn(), model)
    assert operators(graph) == ["Conv"]
    assert result.summary["fused"] == 2


def test_the_weight_stays_lazy_and_keeps_its_name() -> None:
    graph = ir.Graph.from_proto(layer("Conv with bias"))
    before = graph.value("w").tensor
    FuseBn().apply(graph, Context())
    assert isinstance(graph.value("w").tensor, ir.LazyTensor)
    assert graph.value("w").tensor is not before
    assert [value.name for value in graph.initializers] == ["w", "b"]


def test_a_shared_weight_gets_a_copy() -> None:
    model = parse(
        f"(float[N,4,8,8] x) => (float[N,4,H,W] y) {{ c = Conv(x, w)  a = Conv(c, w)  y = {NORMALIZE} }}", **weights(4, w=(4, 4, 3, 3))
    )
    graph, _ = check(FuseBn(), model)
    assert operators(graph) == ["Conv", "Conv"]
    first, second = (node.inputs[1] for node in graph.nodes)
    assert first is not None
    assert second is not None
    assert first.name == "w"
    assert first is not second


def test_shared_parameters_stay_for_the_others() -> None:
    """As torch's exporter shares them, through Identity."""
    model = parse(
        """(float[N,4,8,8] x) => (float[N,4,H,W] y, float[N,4,8,8] z) {
            i = Identity(g)  c = Conv(x, w)  y = BatchNormalization(c, i, o, m, v)  z = BatchNormalization(x, g, o, m, v)
        }""",
        **weights(4, w=(4, 4, 3, 3)),
    )
    graph, _ = check(FuseBn(), model)
    assert operators(graph) == ["Conv", "BatchNormalization"]


def test_constant_nodes_before_ir_version_4() -> None:
    names = {**weights(2, w=(2, 3, 1, 1))}
    model = parse(f"(float[N,3,8,8] x) => (float[N,2,8,8] y) {{ a = Conv(x, w)  y = {NORMALIZE} }}", opset=9, ir_version=3, **names)
    constants = [onnx.helper.make_node("Constant", [], [tensor.name], value=tensor) for tensor in model.graph.initializer]
    nodes = [*constants, *model.graph.node]
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.node.extend(nodes)
    graph, _ = check(FuseBn(), model)
    assert operators(graph) == ["Constant", "Constant", "Conv"]


def test_in_a_subgraph() -> None:
    model = parse(
        """(float[1,3,8,8] x, bool c) => (float[1,6,6,6] y) {
            y = If (c) <
                then_branch = one () => (float[1,6,6,6] p) { a = Conv(x, w)  p = BatchNormalization(a, g, o, m, v) },
                else_branch = two () => (float[1,6,6,6] q) { q = Conv(x, w) }
            >
        }""",
        **weights(6, w=(6, 3, 3, 3)),
    )
    graph, _ = check(FuseBn(), model)
    assert operators(graph) == ["If", "Conv", "Conv"]
    assert [value.name for value in graph.initializers] == ["w"]


CONV = "a = Conv(x, w)"
STAYS: dict[str, tuple[str, str]] = {
    "no layer before it": ("b = Relu(x)  a = Concat<axis = 1>(b, x)  y = BN", "Concat"),
    "an input before it": ("a = Identity(x)  c = BatchNormalization(x, g, o, m, v)  y = Add(a, c)", "nothing in its graph feeds it"),
    "another reader": (f"{CONV}  b = BN  c = Relu(a)  y = Add(b, c)", "read elsewhere"),
    "two slots of one reader": (f"{CONV}  b = BatchNormalization(a, g, o, m, v)  c = Relu(a)  y = Add(b, c)", "read elsewhere"),
    "parameters that are not constant": (f"{CONV}  h = Relu(z)  y = BatchNormalization(a, h, o, m, v)", "its scale is not constant"),
    "a weight that is not constant": ("k = Abs(w)  a = Conv(x, k)  y = BN", "not constant"),
    "a bias that is not constant": ("a = Conv(x, w, z)  y = BN", "the bias of '→ a' (Conv)"),
    "an Add without MatMul": ("b = Conv(x, w)  a = Add(b, b)  y = BN", "adds to no MatMul"),
    "no scale": (f"{CONV}  y = BatchNormalization<epsilon = -1000.0>(a, g, o, m, v)", "no finite scale"),
    "training": (f"{CONV}  y, p, q = BatchNormalization<training_mode = 1>(a, g, o, m, v)", "training mode"),
}


def stays(model: onnx.ModelProto) -> PassResult:
    graph, result = apply(FuseBn(), model)
    assert operators(graph) == [node.op_type for node in model.graph.node]
    assert not result.changed
    assert len(result.skipped) == 1
    return result


@pytest.mark.parametrize("name", STAYS)
def test_where_it_stays_it_says_why(name: str) -> None:
    body, why = STAYS[name]
    channels = 8 if name == "no layer before it" else 4
    body = body.replace("BN", NORMALIZE)
    model = parse(f"(float[N,4,8,8] x, float[4] z) => (float[N,C,H,W] y) {{ {body} }}", **weights(channels, w=(4, 4, 1, 1)))
    assert why in stays(model).skipped[0].why


def test_a_layer_whose_result_is_an_output_stays() -> None:
    model = parse(f"(float[N,4,8,8] x) => (float[N,4,H,W] y, float[N,4,H,W] a) {{ {CONV}  y = {NORMALIZE} }}", **weights(4, w=(4, 4, 1, 1)))
    assert "also a graph output" in stays(model).skipped[0].why


def test_statistics_stay() -> None:
    model = parse(
        f"(float[N,4,8,8] x) => (float[N,4,H,W] y) {{ {CONV}  y, p, q, r, s = {NORMALIZE} }}", opset=9, **weights(4, w=(4, 4, 1, 1))
    )
    graph = ir.Graph.from_proto(model)
    assert "statistics" in FuseBn().apply(graph, Context()).skipped[0].why


def test_overridable_weights_stay() -> None:
    arrays = weights(4, w=(4, 4, 1, 1))
    model = parse(f"(float[N,4,8,8] x, float[4,4,1,1] w) => (float[N,4,H,W] y) {{ {CONV}  y = {NORMALIZE} }}", **arrays)
    assert "not constant" in stays(model).skipped[0].why


def test_half_precision_stays() -> None:
    arrays = weights(4, dtype=np.float16, w=(4, 4, 1, 1))
    model = parse(f"(float16[N,4,8,8] x) => (float16[N,4,H,W] y) {{ {CONV}  y = {NORMALIZE} }}", **arrays)
    assert "too few bits" in stays(model).skipped[0].why


def test_quantized_weights_stay() -> None:
    arrays = {**weights(4), "q": np.ones((4, 4, 1, 1), np.int8), "s": np.float32(0.5)}
    model = parse(f"(float[N,4,8,8] x) => (float[N,4,H,W] y) {{ w = DequantizeLinear(q, s)  {CONV}  y = {NORMALIZE} }}", **arrays)
    assert "not constant" in stays(model).skipped[0].why


def test_a_product_of_higher_rank_stays() -> None:
    """There the channels are not the last axis."""
    model = parse(f"(float[N,4,4] x) => (float[N,4,4] y) {{ a = MatMul(x, w)  y = {NORMALIZE} }}", **weights(4, w=(4, 4)))
    assert "last axis" in stays(model).skipped[0].why


def test_a_bias_of_one_number_per_row_stays() -> None:
    model = parse(f"(float[4,4] x) => (float[4,4] y) {{ a = Gemm(x, w, b)  y = {NORMALIZE} }}", **weights(4, w=(4, 4), b=(4, 1)))
    assert "one number per channel" in stays(model).skipped[0].why


def test_stopping_after_n_rewrites() -> None:
    body = f"c = Conv(x, w)  d = BatchNormalization(c, g, o, m, v)  a = Relu(d)  y = {NORMALIZE}"
    model = parse(
        f"(float[N,4,8,8] x) => (float[N,4,H,W] y) {{ {body.replace('a = Relu(d)', 'e = Relu(d)  a = Conv(e, w)')} }}",
        **weights(4, w=(4, 4, 1, 1)),
    )
    for rewrites, left in ((0, 2), (1, 1), (2, 0)):
        graph, result = check(FuseBn(), model, context=Context(instruments=(StopAfter(rewrites),)))
        assert operators(graph).count("BatchNormalization") == left
        assert result.changed == (rewrites > 0)
