"""Stating other types for inputs and outputs of a graph."""

from __future__ import annotations

import onnx
import pytest
from onnx import TensorProto

from graphopt.errors import EditError
from graphopt.ir import Graph

TEXT = (
    '<ir_version: 10, opset_import: ["" : 18]> g (float[N,3] x) => (float[N,3] y, float[N,3] z) { h = Relu (x)  y = Neg (h)  z = Abs (h) }'
)


def graph() -> Graph:
    model = onnx.parser.parse_model(TEXT)
    model.graph.value_info.append(onnx.helper.make_tensor_value_info("h", TensorProto.FLOAT, ["N", 3]))
    return Graph.from_proto(model)


def shapes(model: onnx.ModelProto) -> dict[str, list[int | str]]:
    infos = [*model.graph.input, *model.graph.output, *model.graph.value_info]
    return {info.name: [dim.dim_value or dim.dim_param for dim in info.type.tensor_type.shape.dim] for info in infos}


def test_an_input_takes_what_follows_from_it_along() -> None:
    made = graph()
    made.declare(made.value("x"), TensorProto.FLOAT, ("N", 5))
    for output in made.outputs:
        made.declare(output, TensorProto.FLOAT, None)
    assert made.shape(made.value("h")) == made.shape(made.value("z")) == ("N", 5)
    for output in made.outputs:
        made.declare(output, TensorProto.FLOAT, made.shape(output))
    assert shapes(made.to_proto()) == {name: ["N", 5] for name in "xyzh"}


def test_an_output_alone() -> None:
    made = graph()
    made.declare(made.value("z"), TensorProto.FLOAT, None)
    assert [info.type.tensor_type.HasField("shape") for info in made.to_proto().graph.output] == [True, False]


def test_only_the_interface_is_declared() -> None:
    made = graph()
    with pytest.raises(EditError, match="'h' is neither an input nor an output of graph 'g'"):
        made.declare(made.value("h"), TensorProto.FLOAT, (1, 3))
