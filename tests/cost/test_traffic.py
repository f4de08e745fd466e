"""Bytes moved, node by node, against sums by hand."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, parser

from graphopt.cost import Traffic, total_traffic, traffic_by_node
from graphopt.ir import Graph

from ..networks import CHANNELS, network


def graph_of(text: str) -> Graph:
    return Graph.from_proto(parser.parse_model('<ir_version: 10, opset_import: ["" : 18, "elsewhere" : 1]>' + text))


def traffic(text: str) -> list[Traffic | None]:
    return list(traffic_by_node(graph_of(text)).values())


def test_a_network_by_hand() -> None:
    graph = Graph.from_proto(network())
    found = traffic_by_node(graph)
    by_name = {node.name: each for node, each in found.items()}
    image, plane, weights = 4 * 3 * 64, 4 * CHANNELS * 64, 4 * CHANNELS**2 * 9
    assert by_name["conv1"] == Traffic(image + 4 * CHANNELS * 27, plane, 4 * CHANNELS * 27)
    assert by_name["bn"] == Traffic(plane + 16 * CHANNELS, plane, 16 * CHANNELS)
    assert by_name["relu1"] == Traffic(plane, plane)
    assert by_name["conv2"] == Traffic(plane + weights + 4 * CHANNELS, plane, weights + 4 * CHANNELS)
    assert by_name["flatten"] == Traffic()
    total = total_traffic(found.values())
    assert total.weights == 4 * sum(prod(tensor.dims) for tensor in network().graph.initializer)
    assert total.moved == total.read + total.written == sum(each.moved for each in found.values() if each is not None)


@given(
    st.lists(st.integers(1, 5), max_size=4), st.sampled_from([TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.INT8])
)
def test_an_element_wise_operator_moves_its_operands(shape: Sequence[int], elem_type: int) -> None:
    infos = [helper.make_tensor_value_info(name, elem_type, shape) for name in "ab"]
    node = helper.make_node("Add", ["a", "b"], ["c"])
    graph = helper.make_graph([node], "g", infos, [helper.make_tensor_value_info("c", elem_type, shape)])
    [found] = traffic_by_node(
        Graph.from_proto(helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 18)]))
    ).values()
    size = prod(shape) * helper.tensor_dtype_to_np_dtype(elem_type).itemsize
    assert found == Traffic(2 * size, size)


def test_a_value_that_is_read_twice_is_read_once() -> None:
    assert traffic("g (float[4] x) => (float[4] y) { y = Add(x, x) }") == [Traffic(16, 16)]


def test_operators_that_pick_read_what_they_pick() -> None:
    text = "g (int64[3] i) => (float[3, 10] y) <float[100, 10] w> { y = Gather(w, i) }".replace(
        "w>", "w = {" + ", ".join(["0"] * 1000) + "}>"
    )
    assert traffic(text) == [Traffic(120 + 24, 120, 120)]


def test_views_move_nothing_and_constants_are_in_the_file() -> None:
    found = traffic("g (float[2, 3] x) => (float[3, 2] y) { s = Constant<value_ints=[3, 2]>()  y = Reshape(x, s) }")
    assert found == [Traffic(), Traffic()]


def test_what_is_unknown() -> None:
    text = """g (float[2] x, bool c) => (float[2] y)
        { a = elsewhere.Op(x)  b = Relu(a)
          y = If(c) <then_branch = t () => (float[2] p) { p = Neg(x) }, else_branch = e () => (float[2] q) { q = Abs(x) }> }"""
    graph = graph_of(text)
    found = {node.op_type: each for node, each in traffic_by_node(graph).items()}
    assert found == {"Op": None, "Relu": None, "If": None, "Neg": None, "Abs": None}
    assert total_traffic(found.values()) == Traffic()
