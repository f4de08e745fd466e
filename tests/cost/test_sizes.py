from __future__ import annotations

import numpy as np
import pytest
from onnx import helper, numpy_helper, parser

from graphopt.cost import fixed_types
from graphopt.cost.fusion import kernels, load_rules
from graphopt.ir import Graph
from tests.padding import same_padded

# The shape of y is computed from that of x: [batch, time, 6] -> [batch * time, 6].
FLATTENED = """
<ir_version: 10, opset_import: ["" : 18]>
g (float[batch, time, 6] x) => (float[?, 6] y)
<int64[2] target = {-1, 6}>
{ y = Reshape(x, target) }
"""


def graph_of(text: str) -> Graph:
    return Graph.from_proto(parser.parse_model(text))


def test_free_dimensions_are_1_or_as_asked_and_are_named() -> None:
    graph = graph_of(FLATTENED)
    known = fixed_types(graph)
    assert known.static(graph.value("y")) == (1, 6)
    assert known.assumptions == ("dimension 'batch' taken as 1", "dimension 'time' taken as 1")
    known = fixed_types(graph, {"time": 5, "batch": 2})
    assert known.static(graph.value("y")) == (10, 6)
    assert known.assumptions == ("dimension 'batch' taken as 2", "dimension 'time' taken as 5")


def test_dimensions_without_a_name_are_named_by_place() -> None:
    graph = graph_of('<ir_version: 10, opset_import: ["" : 18]> g (float[?, 3] x) => (float[?, 3] y) { y = Relu(x) }')
    known = fixed_types(graph)
    assert known.static(graph.value("y")) == (1, 3)
    assert known.assumptions == ("axis 0 of input 'x', which is free, taken as 1",)


def test_nothing_is_assumed_where_nothing_is_free() -> None:
    graph = graph_of('<ir_version: 10, opset_import: ["" : 18]> g (float[2, 3] x) => (float[2, 3] y) { y = Relu(x) }')
    known = fixed_types(graph)
    assert known.static(graph.value("y")) == (2, 3)
    assert known.assumptions == ()


def test_the_graph_itself_stays_as_it_is() -> None:
    graph = graph_of(FLATTENED)
    before = graph.to_proto()
    fixed_types(graph)
    assert graph.to_proto() == before
    assert graph.shape(graph.value("x")) == ("batch", "time", 6)


def test_edits_are_seen_large_weights_and_subgraphs_included() -> None:
    graph = graph_of(
        """
        <ir_version: 10, opset_import: ["" : 18]>
        g (float[batch, 40] x, bool c) => (float[batch, ?] y)
        <float[40, 50] w = {0.0}>
        { h = MatMul(x, w)
          y = If(c) <then_branch = t () => (float[?, ?] a) { a = Relu(h) }, else_branch = e () => (float[?, ?] b) { b = Neg(h) }> }
    """.replace("= {0.0}", "= {" + ", ".join(["0.0"] * 2000) + "}")
    )
    graph.set_tensor(graph.value("w"), np.zeros((40, 30), np.float32))
    known = fixed_types(graph, {"batch": 3})
    inner = graph.nodes[-1].subgraphs[0]
    assert known.static(graph.value("h")) == (3, 30)
    assert known.static(inner.value("a")) == (3, 30)
    assert known.static(graph.value("y")) == (3, 30)


def test_absent_and_unknown_values_have_no_shape() -> None:
    assert fixed_types(graph_of(FLATTENED)).static(None) is None


@pytest.mark.parametrize("rules", ["onnxruntime-cpu", "tensorrt", "tflite-cpu", "tflite-gpu"])
@pytest.mark.parametrize("batch", [1, "N"])
def test_padding_that_is_computed_in_floats_is_known(rules: str, batch: int | str) -> None:
    computed = same_padded(15, 20, 3, 2, batch=batch)
    graph = Graph.from_proto(computed)
    types = fixed_types(graph)
    assert types.static(graph.value("y")) == (1, 8, 8, 10)
    stated = same_padded(15, 20, 3, 2)
    del stated.graph.node[:-3]
    stated.graph.initializer.append(numpy_helper.from_array(np.array([0, 0, 1, 0, 0, 0, 1, 1]), "pads"))
    expected, found = (
        [str(kernel.signature) for kernel in kernels(g, load_rules(rules), fixed_types(g))] for g in (Graph.from_proto(stated), graph)
    )
    assert found == expected


def test_padding_that_the_caller_gives_leaves_sizes_open() -> None:
    model = same_padded(15, 20, 3, 2)
    del model.graph.node[:-3]
    model.graph.input.append(helper.make_tensor_value_info("pads", 7, [8]))
    graph = Graph.from_proto(model)
    assert fixed_types(graph).static(graph.value("y")) is None
