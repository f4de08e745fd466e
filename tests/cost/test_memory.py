"""Peak memory against lifetimes by hand, and against a simulation."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, parser

from graphopt.cost import peak_memory
from graphopt.ir import Graph


def graph_of(text: str) -> Graph:
    return Graph.from_proto(parser.parse_model('<ir_version: 10, opset_import: ["" : 18, "elsewhere" : 1]>' + text))


def test_a_chain_holds_the_input_and_two_values() -> None:
    found = peak_memory(graph_of("g (float[10] x) => (float[10] y) { a = Relu(x)  b = Relu(a)  c = Relu(b)  y = Relu(c) }"))
    assert found.peak == 3 * 40
    assert found.node is not None
    assert found.node.output().name == "b"  # the first time
    assert {value.name for value, _ in found.held} == {"x", "a", "b"}


def test_a_branch_holds_what_is_read_later() -> None:
    found = peak_memory(graph_of("g (float[10] x) => (float[10] y) { a = Relu(x)  b = Relu(a)  c = Relu(b)  d = Relu(c)  y = Add(a, d) }"))
    assert found.peak == 4 * 40  # x, a, and two of the chain


def test_outputs_are_held_to_the_end_and_weights_are_not_counted() -> None:
    text = "g (float[10] x) => (float[10] y, float[10] z) <float[1] w = {1.0}> { y = Mul(x, w)  a = Relu(x)  z = Relu(a) }"
    assert peak_memory(graph_of(text)).peak == 4 * 40


def test_views_share_memory_for_as_long_as_any_of_them_is_read() -> None:
    text = "g (float[2, 5] x) => (float[10] y) { a = Relu(x)  b = Flatten(a)  s = Constant<value_ints=[10]>()  c = Reshape(b, s)  d = Relu(c)  y = Add(c, d) }"
    found = peak_memory(graph_of(text))
    assert found.peak == 4 * 40  # x, a, d, y
    assert found.node is not None
    assert found.node.op_type == "Add"


def test_a_subgraph_needs_its_own_peak_and_an_if_that_of_the_larger_branch() -> None:
    text = """g (float[10] x, bool c) => (float[10] y)
        { y = If(c) <then_branch = t () => (float[10] p) { u = Relu(x)  v = Relu(u)  p = Add(u, v) },
                     else_branch = e () => (float[10] q) { q = Abs(x) }> }"""
    assert peak_memory(graph_of(text)).peak == 40 + 1 + 40 + 3 * 40


def test_values_of_unknown_size_are_named() -> None:
    found = peak_memory(graph_of("g (float[10] x) => (float[10] y) { a = elsewhere.Op(x)  y = Relu(a) }"))
    assert [value.name for value in found.unknown] == ["a"]
    assert found.peak == 80


def test_a_graph_without_nodes() -> None:
    found = peak_memory(graph_of("g (float[10] x) => (float[10] x) { }"))
    assert (found.peak, found.node) == (40, None)


@given(st.data())
def test_any_graph_against_a_simulation(data: st.DataObject) -> None:
    sizes = data.draw(st.lists(st.integers(1, 20), min_size=2, max_size=9))
    inputs = [data.draw(st.lists(st.integers(0, place), min_size=1, max_size=3, unique=True)) for place in range(len(sizes) - 1)]
    outputs = data.draw(st.lists(st.integers(0, len(sizes) - 1), min_size=1, max_size=3, unique=True))
    nodes = [helper.make_node("Op", [f"v{i}" for i in read], [f"v{place + 1}"], domain="elsewhere") for place, read in enumerate(inputs)]
    infos = [helper.make_tensor_value_info(f"v{i}", TensorProto.INT8, [size]) for i, size in enumerate(sizes)]
    graph = helper.make_graph(nodes, "g", infos[:1], [infos[i] for i in outputs], value_info=infos)
    model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 18), helper.make_opsetid("elsewhere", 1)])
    expected = 0
    for place in range(len(nodes)):
        held = {0, place + 1}
        for value in range(place + 1):
            read_now_or_later = any(value in read for read in inputs[place:])
            if read_now_or_later or value in outputs:
                held.add(value)
        expected = max(expected, sum(sizes[value] for value in held))
    assert peak_memory(Graph.from_proto(model)).peak == expected
