"""Layers as matrices: rows times matrix plus bias is what ONNX Runtime computes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphopt.ir as ir
from graphopt.repair import Layer, NoLayer, layer_of
from graphopt.repair.moments import picks
from tests.channels.build import Build
from tests.passes.factorized import convolutions, inputs, outputs
from tests.passes.test_factorize_exact import PRODUCTS, product


def check(graph: ir.Graph, layer: Layer, *, with_bias: bool = True) -> None:
    feeds = inputs(graph)
    x, y = feeds[layer.source.name], outputs(graph, feeds)
    every = np.arange(layer.count(x))
    bias = layer.bias(graph) if with_bias else None
    expected = np.einsum("ngi,goi->ngo", layer.rows(x, every), layer.matrix) + (0 if bias is None else bias)
    found = layer.outputs(y, every)
    assert found.size == y.size
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
    some = np.random.default_rng(0).choice(every, (len(every) + 1) // 2, replace=False)
    assert np.array_equal(layer.rows(x, some), layer.rows(x, every)[some])
    assert np.array_equal(layer.outputs(y, some), found[some])
    assert np.array_equal(layer.stored(layer.matrix), layer.weight)


@settings(max_examples=100, deadline=None)
@given(convolutions())
def test_convolutions(graph: ir.Graph) -> None:
    check(graph, layer_of(graph, graph.nodes[0]))


@pytest.mark.parametrize("name", PRODUCTS)
def test_products(name: str) -> None:
    operator, slot, x, weight, attributes = PRODUCTS[name]
    graph = product(operator, slot, x, weight, **attributes)
    layer = layer_of(graph, graph.nodes[0])
    if "bias" in attributes and layer.bias(graph) is None:  # a bias that is no number per output stays outside
        graph = product(operator, slot, x, weight, **{key: value for key, value in attributes.items() if key != "bias"})
        layer = layer_of(graph, graph.nodes[0])
        check(graph, layer, with_bias=False)
    else:
        check(graph, layer)


@pytest.mark.parametrize("made", ["computed", "integer", "infinite", "vector", "both"])
def test_what_is_no_layer_says_why(made: str) -> None:
    model = Build(opset=17)
    x = model.input(2, 4)
    weight = model.weight(4, 4)
    match made:
        case "computed":
            given, why = [x, model.node("Relu", weight)], "not constant"
        case "infinite":
            given, why = [x, model.tensor(np.full((4, 4), np.inf, np.float32))], "NaN or infinity"
        case "vector":
            given, why = [x, model.tensor(np.ones(4, np.float32))], "vector"
        case "both":
            given, why = [weight, weight], "both of its operands"
        case _:
            given, why = (
                [model.input(2, 4, elem_type=ir.ArrayTensor(np.int32(1)).elem_type), model.tensor(np.ones((4, 4), np.int32))],
                "type int32",
            )
    model.output(model.node("MatMul", *given), elem_type=1)
    graph = model.graph()
    with pytest.raises(NoLayer, match=why):
        layer_of(graph, next(node for node in graph.nodes if node.op_type == "MatMul"))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 2), st.sampled_from(("SAME_UPPER", "SAME_LOWER")), st.integers(4, 9))
def test_same_padding_with_dilation(kernel: int, stride: int, dilation: int, auto_pad: str, size: int) -> None:
    """ONNX Runtime's own counts of places are what windows are cut by."""
    model = Build(opset=17)
    weight = model.weight(2, 3, kernel)
    model.output(model.node("Conv", model.input(2, 3, size), weight, strides=[stride], dilations=[dilation], auto_pad=auto_pad))
    graph = model.graph()
    try:
        outputs(graph, inputs(graph))
    except Exception:  # refused by ONNX Runtime
        return
    check(graph, layer_of(graph, graph.nodes[0]))


@pytest.mark.parametrize(
    ("channels", "groups", "runs", "expected"), [(3, 1, 1, 65_536), (3, 1, 4, 16_384), (64, 1, 1, 64 * 576), (64, 64, 1, 2**24 // 576)]
)
def test_rows_are_drawn_by_the_size_of_the_layer_and_shared_out_among_the_runs(
    channels: int, groups: int, runs: int, expected: int
) -> None:
    model = Build(opset=17)
    model.output(model.node("Conv", model.input("n", channels, 40, 40), model.weight(64, channels // groups, 3, 3), group=groups))
    graph = model.graph()
    layer = layer_of(graph, graph.nodes[0])
    x = np.broadcast_to(np.float32(0), (64, channels, 40, 40))
    picked = np.concatenate(list(picks(layer, x, runs, np.random.default_rng(0))))
    assert len(picked) == len({*picked.tolist()}) == expected
    assert picked.max() < layer.count(x)
