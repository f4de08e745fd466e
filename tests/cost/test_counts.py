from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper, parser

import graphopt.ir as ir
from graphopt.cost import count, counts, macs_by_node, parameters, serialised_bytes

DIGITS = Path(__file__).parents[2] / "examples" / "digits" / "digits.onnx"


def graph_of(text: str) -> ir.Graph:
    return ir.Graph.from_proto(parser.parse_model('<ir_version: 10, opset_import: ["" : 18, "elsewhere" : 1]>' + text))


def weights(**arrays: np.ndarray) -> list[onnx.TensorProto]:
    return [numpy_helper.from_array(array, name) for name, array in arrays.items()]


def test_a_network_counted_by_hand() -> None:
    """The digits model, layer by layer: (weights, positions) of each convolution; four parameters per normalised channel."""
    convolutions = [
        (64 * 1 * 9, 64),
        (64 * 64 * 9, 64),
        (64 * 64 * 9, 64),
        (96 * 64 * 9, 16),
        (96 * 96 * 9, 16),
        (96 * 64, 16),
        (96 * 9, 16),
        (128 * 96, 16),
    ]
    normalised = 64 * 3 + 96 * 4 + 128
    head = 128 * 10
    found = count(ir.load(DIGITS))
    assert found.params == sum(size for size, _ in convolutions) + 4 * normalised + head + 10
    assert found.macs == sum(size * positions for size, positions in convolutions) + head
    assert found.bytes == DIGITS.stat().st_size
    assert found.uncounted == {}
    assert found.assumptions == ("dimension 'batch' taken as 1",)
    assert count(ir.load(DIGITS), {"batch": 8}).macs == 8 * found.macs


def test_parameters_are_floats_and_quantized_weights_wherever_they_are() -> None:
    graph = helper.make_graph(
        [
            helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(np.zeros((2, 3), np.float16))),
            helper.make_node("Constant", [], ["s"], value_float=1.0),
            helper.make_node("Constant", [], ["v"], value_floats=[1.0, 2.0]),
            helper.make_node("Constant", [], ["i"], value_ints=[1, 2, 3, 4, 5]),
            helper.make_node("Constant", [], ["j"], value=numpy_helper.from_array(np.zeros(100, np.int64))),
        ],
        "g",
        [],
        [helper.make_tensor_value_info("s", TensorProto.FLOAT, [])],
        weights(
            f=np.zeros((4, 5), np.float32),
            d=np.zeros(7),
            q=np.zeros((3, 3), np.int8),
            bias=np.zeros(11, np.int32),
            shape=np.zeros(4, np.int64),
        ),
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    assert parameters(ir.Graph.from_proto(model)) == 6 + 1 + 2 + 20 + 7 + 9


def test_a_weight_used_twice_counts_once_and_one_in_a_subgraph_counts() -> None:
    graph = graph_of("""
        g (float[2, 2] x, bool c) => (float[2, 2] y)
        <float[2, 2] w = {1.0, 2.0, 3.0, 4.0}>
        { a = MatMul(x, w)
          b = MatMul(a, w)
          y = If(c) <
            then_branch = t () => (float[2, 2] p) <float[2] v = {1.0, 2.0}> { p = Add(b, v) },
            else_branch = e () => (float[2, 2] q) { k = Constant<value = float[3] {1.0, 2.0, 3.0}>()  q = Identity(b) }
          > }
    """)
    assert parameters(graph) == 4 + 2 + 3
    assert count(graph).macs == 2 * 2**3


def test_constants_of_functions_count_and_calls_are_uncounted() -> None:
    graph = ir.Graph.from_proto(
        parser.parse_model("""
        <ir_version: 10, opset_import: ["" : 18, "elsewhere" : 1]>
        g (float[2, 2] x) => (float[2, 2] y) { y = elsewhere.Twice(x) }
        <opset_import: ["" : 18], domain: "elsewhere">
        Twice (x) => (y) { w = Constant<value = float[2, 2] {1.0, 0.0, 0.0, 1.0}>()  y = MatMul(x, w) }
    """)
    )
    found = count(graph)
    assert found.params == 4
    assert found.uncounted == {"elsewhere.Twice": 1}


def test_what_is_left_out_is_listed() -> None:
    graph = graph_of("""
        g (float[2, 2] x, bool c) => (float[2, 2] y)
        { a = elsewhere.Op(x)  b = elsewhere.Op(a)  d = Det(x)
          y = If(c) <then_branch = t () => (float[2, 2] p) { p = MatMul(x, x) }, else_branch = e () => (float[2, 2] q) { q = Relu(x) }> }
    """)
    assert count(graph).uncounted == {"Det": 1, "MatMul": 1, "elsewhere.Op": 2}
    assert [node.op_type for node in macs_by_node(graph) if node.graph is not graph] == ["MatMul"]


def test_sparse_weights_count_what_is_stored() -> None:
    sparse = helper.make_sparse_tensor(
        numpy_helper.from_array(np.ones(3, np.float32), "w"), numpy_helper.from_array(np.array([0, 5, 9]), "w_indices"), [4, 4]
    )
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [4, 4]) for name in "xy"]
    graph = helper.make_graph([node], "g", info[:1], info[1:], sparse_initializer=[sparse])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    assert parameters(ir.Graph.from_proto(model)) == 3


def test_bytes_are_those_of_the_saved_file_after_edits_too(tmp_path: Path) -> None:
    graph = ir.load(DIGITS)
    graph.set_tensor(graph.value("head.bias"), np.zeros(3, np.float32))
    ir.save(graph, tmp_path / "edited.onnx")
    assert serialised_bytes(graph) == (tmp_path / "edited.onnx").stat().st_size


def test_bytes_of_a_large_model_are_the_same_but_for_the_bookkeeping(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = ir.load(DIGITS)
    whole = serialised_bytes(graph)
    monkeypatch.setattr(counts, "_LARGEST_IN_MEMORY", 0)
    assert serialised_bytes(graph) == pytest.approx(whole, rel=0.001)


def test_bytes_include_external_data(tmp_path: Path) -> None:
    onnx.save(onnx.load(DIGITS), tmp_path / "model.onnx", save_as_external_data=True, location="model.data", size_threshold=0)
    graph = ir.load(tmp_path / "model.onnx")
    assert serialised_bytes(graph) == pytest.approx(DIGITS.stat().st_size, rel=0.01)
    assert count(graph).params == count(ir.load(DIGITS)).params
