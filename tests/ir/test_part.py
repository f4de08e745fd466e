"""A part of a model computes what the whole does."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import graphopt.ir as ir
from graphopt.errors import EditError
from graphopt.ir.part import part_model
from tests.channels.masked import run
from tests.networks import network

FLOAT = TensorProto.FLOAT


def test_only_what_lies_between_is_there() -> None:
    graph = ir.Graph.from_proto(network())
    part = part_model(graph, [graph.value("r2"), graph.value("c2")], {graph.value("r1"): FLOAT, graph.value("image"): FLOAT})
    assert [node.name for node in part.graph.node] == ["conv2", "relu2"]
    assert [value.name for value in part.graph.input] == ["r1"]
    assert [value.name for value in part.graph.output] == ["r2", "c2"]
    assert {tensor.name for tensor in part.graph.initializer} == {"conv2.weight", "conv2.bias"}


def test_it_computes_the_same() -> None:
    graph = ir.Graph.from_proto(network())
    feeds = {"image": np.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype(np.float32)}
    first = run(part_model(graph, [graph.value("r1")], {graph.value("image"): FLOAT}), feeds)
    second = run(part_model(graph, [graph.value("logits")], {graph.value("r1"): FLOAT}), first)
    np.testing.assert_allclose(second["logits"], run(graph.to_proto(), feeds)["logits"], atol=1e-5)


def test_edits_are_in_it() -> None:
    graph = ir.Graph.from_proto(network())
    graph.set_tensor(graph.value("conv2.bias"), np.full(64, 7, np.float32))
    part = part_model(graph, [graph.value("c2")], {graph.value("r1"): FLOAT})
    bias = next(tensor for tensor in part.graph.initializer if tensor.name == "conv2.bias")
    assert (onnx.numpy_helper.to_array(bias) == 7).all()


def test_what_a_subgraph_reads_is_needed_too() -> None:
    def branch(name: str, operator: str) -> onnx.GraphProto:
        return helper.make_graph([helper.make_node(operator, ["h"], [name])], name, [], [helper.make_tensor_value_info(name, FLOAT, [2])])

    nodes = [
        helper.make_node("Neg", ["x"], ["h"]),
        helper.make_node("If", ["c"], ["y"], then_branch=branch("t", "Relu"), else_branch=branch("e", "Abs")),
    ]
    inputs = [helper.make_tensor_value_info("x", FLOAT, [2]), helper.make_tensor_value_info("c", TensorProto.BOOL, [])]
    model = helper.make_model(
        helper.make_graph(nodes, "g", inputs, [helper.make_tensor_value_info("y", FLOAT, [2])]),
        ir_version=10,
        opset_imports=[helper.make_opsetid("", 17)],
    )
    graph = ir.Graph.from_proto(model)
    sources = {graph.value("x"): FLOAT, graph.value("c"): TensorProto.BOOL}
    found = run(part_model(graph, [graph.value("y")], sources), {"x": np.array([-1, 2], np.float32), "c": np.array(True)})
    assert found["y"].tolist() == [1, 0]


def test_an_input_that_is_not_given_is_an_error() -> None:
    graph = ir.Graph.from_proto(network())
    with pytest.raises(EditError, match="'image' is an input"):
        part_model(graph, [graph.value("r1")], {})
