"""Sizes that a model computes in floats, as exporters write TensorFlow's SAME padding."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from graphopt.ir import Graph
from graphopt.ir.arithmetic import evaluate
from tests.padding import same_padded

N = helper.make_node


def _runs_to(model: onnx.ModelProto, *shape: int) -> tuple[int, ...]:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return tuple(session.run(None, {"x": np.zeros(shape, np.float32)})[0].shape)


@settings(max_examples=25, deadline=None)
@given(
    height=st.integers(7, 40),
    width=st.integers(7, 40),
    kernel=st.sampled_from([1, 2, 3, 5]),
    stride=st.integers(1, 4),
    elem_type=st.sampled_from([TensorProto.FLOAT, TensorProto.DOUBLE]),
)
def test_same_padding(height: int, width: int, kernel: int, stride: int, elem_type: int) -> None:
    model = same_padded(height, width, kernel, stride, elem_type)
    graph = Graph.from_proto(model)
    assert graph.shape(graph.value("y")) == _runs_to(model, 1, 3, height, width) == (1, 8, -(-height // stride), -(-width // stride))


def test_sizes_beside_an_open_batch() -> None:
    graph = Graph.from_proto(same_padded(15, 20, 3, 2, batch="N"))
    shape = graph.shape(graph.value("y"))
    assert shape is not None
    assert shape[1:] == (8, 8, 10)


def test_an_open_size_stays_open() -> None:
    model = same_padded(15, 20, 3, 2)
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"
    graph = Graph.from_proto(model)
    shape = graph.shape(graph.value("y"))
    assert shape is not None
    assert shape[1] == 8
    assert not isinstance(shape[2], int)


def test_a_float_that_the_caller_gives_is_not_counted_on() -> None:
    model = same_padded(15, 20, 3, 2)
    model.graph.input.append(helper.make_tensor_value_info("stride", TensorProto.FLOAT, []))
    graph = Graph.from_proto(model)
    shape = graph.shape(graph.value("y"))
    assert shape is None or not isinstance(shape[2], int)


def test_scales_of_a_resize() -> None:
    nodes = [
        N("Constant", [], ["one"], value_floats=[1.0, 1.0]),
        N("Constant", [], ["half"], value_floats=[0.5, 0.75]),
        N("Mul", ["half", "four"], ["up"]),
        N("Concat", ["one", "up"], ["scales"], axis=0),
        N("Resize", ["x", "", "scales"], ["y"]),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * 4)]
    four = numpy_helper.from_array(np.float32(4), "four")
    model = helper.make_model(
        helper.make_graph(nodes, "g", inputs, outputs, [four]), ir_version=8, opset_imports=[helper.make_opsetid("", 17)]
    )
    graph = Graph.from_proto(model)
    assert graph.shape(graph.value("y")) == _runs_to(model, 1, 3, 8, 8) == (1, 3, 16, 24)


_INT, _FLOAT = np.array([7, -7, 0, 3]), np.array([2.5, -2.5, 0.5, 7.0], np.float32)


@pytest.mark.parametrize("data", [_INT, _FLOAT])
@pytest.mark.parametrize("op_type", ["Add", "Sub", "Mul", "Div", "Min", "Max"])
def test_two_operands(op_type: str, data: np.ndarray) -> None:
    other = np.array([2, 2, 3, -4]).astype(data.dtype)
    if op_type == "Div" and data.dtype.kind == "i":
        expected = np.trunc(data / other).astype(data.dtype)  # the reference rounds down, ONNX Runtime towards zero
    else:
        expected = ReferenceEvaluator(N(op_type, ["a", "b"], ["y"])).run(None, {"a": data, "b": other})[0]
    _assert_same(_evaluated(N(op_type, ["a", "b"], ["y"]), data, other), expected)


@pytest.mark.parametrize("op_type", ["Abs", "Ceil", "Floor", "Identity", "Neg", "Reciprocal", "Relu", "Round", "Sqrt"])
def test_one_operand(op_type: str) -> None:
    with np.errstate(invalid="ignore"):
        expected = ReferenceEvaluator(N(op_type, ["a"], ["y"])).run(None, {"a": _FLOAT})[0]
    _assert_same(_evaluated(N(op_type, ["a"], ["y"]), _FLOAT), expected)


@pytest.mark.parametrize(
    ("node", "inputs"),
    [
        (N("Cast", ["a"], ["y"], to=TensorProto.INT64), (_FLOAT,)),
        (N("Cast", ["a"], ["y"], to=TensorProto.FLOAT), (_INT,)),
        (N("Clip", ["a", "low"], ["y"]), (_FLOAT, np.float32(0))),
        (N("Concat", ["a", "b"], ["y"], axis=0), (_INT, _INT)),
        (N("Gather", ["a", "at"], ["y"], axis=0), (_INT, np.array([1, -1]))),
        (N("Unsqueeze", ["a", "axes"], ["y"]), (_INT, np.array([0, -1]))),
        (N("Squeeze", ["a", "axes"], ["y"]), (_INT.reshape(1, 4, 1), np.array([0]))),
        (N("Squeeze", ["a"], ["y"]), (_INT.reshape(1, 4, 1),)),
    ],
)
def test_shapes_and_types(node: onnx.NodeProto, inputs: tuple[np.ndarray, ...]) -> None:
    expected = ReferenceEvaluator(node).run(None, dict(zip(node.input, inputs, strict=True)))[0]
    _assert_same(_evaluated(node, *inputs), expected)


def test_bounds_and_axes_as_attributes() -> None:
    _assert_same(_evaluated(N("Clip", ["a"], ["y"], min=0.0, max=2.0), _FLOAT), np.clip(_FLOAT, 0, 2))
    _assert_same(_evaluated(N("Unsqueeze", ["a"], ["y"], axes=[0]), _INT), _INT[None])
    _assert_same(_evaluated(N("Clip", ["a", "", "high"], ["y"]), _FLOAT, None, np.float32(1)), np.minimum(_FLOAT, 1))


@pytest.mark.parametrize(
    ("node", "inputs"),
    [
        (N("Div", ["a", "b"], ["y"]), (_INT, np.array(0))),
        (N("Cast", ["a"], ["y"], to=TensorProto.INT64), (np.array([np.inf], np.float32),)),
        (N("Gather", ["a", "at"], ["y"]), (_INT, np.array([9]))),
        (N("Unsqueeze", ["a"], ["y"]), (_INT,)),
        (N("Concat", ["a", "b"], ["y"], axis=0), (_INT, np.array(1))),
        (N("Softmax", ["a"], ["y"]), (_FLOAT,)),
        (N("Add", ["a", "b"], ["y"], domain="own"), (_INT, _INT)),
    ],
)
def test_what_has_no_answer(node: onnx.NodeProto, inputs: tuple[np.ndarray, ...]) -> None:
    assert _evaluated(node, *inputs) is None


def _evaluated(node: onnx.NodeProto, *inputs: np.ndarray | None) -> np.ndarray | None:
    infos = [onnx.ValueInfoProto(name=name) for name in node.input if name]
    graph = helper.make_graph([node], "g", infos, [onnx.ValueInfoProto(name="y")])
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("own", 1)])
    return evaluate(Graph.from_proto(model).nodes[0], inputs)


def _assert_same(found: np.ndarray | None, expected: np.ndarray) -> None:
    assert found is not None
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)
