"""ONNX's own node tests as material: each node of an operator with a rule, in the surroundings of surround.py."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

import graphopt.ir as ir
from graphopt.channels import supported_operators
from tests.channels.surround import Surrounding


@dataclass(frozen=True)
class NodeTest:
    """One of ONNX's node tests: a model of a single node, and inputs for it."""

    name: str
    model: onnx.ModelProto
    inputs: tuple[np.ndarray, ...]

    @property
    def operator(self) -> tuple[str, str]:
        node = self.model.graph.node[0]
        return node.domain, node.op_type


@functools.cache
def node_tests() -> dict[str, NodeTest]:
    """The node tests of operators with a rule whose inputs and outputs are all tensors, by name."""
    return {test.name: test for test in _node_tests()}


def _node_tests() -> Iterator[NodeTest]:
    from onnx.backend.test import loader  # slow to import

    rules = supported_operators()
    for case in loader.load_model_tests(kind="node"):
        graph = case.model.graph
        values = [*graph.input, *graph.output]
        if len(graph.node) != 1 or (graph.node[0].domain, graph.node[0].op_type) not in rules:
            continue
        if not case.data_sets or any(value.type.tensor_type.elem_type in (TensorProto.UNDEFINED, TensorProto.STRING) for value in values):
            continue
        inputs = [numpy_helper.to_array(x) if isinstance(x, onnx.TensorProto) else np.asarray(x) for x in case.data_sets[0][0]]
        yield NodeTest(case.name, case.model, tuple(inputs))


def surrounded(test: NodeTest, before: str, after: str, seed: int) -> tuple[ir.Graph, dict[str, Any]]:
    """The test's node in surroundings, and what to feed the model."""
    around = Surrounding(before, after, seed, test.model.opset_import, test.model.ir_version)
    graph, node = test.model.graph, test.model.graph.node[0]
    slots = len(test.inputs)
    names = {
        value.name: around.produced(value.name, array, node.op_type, slot, slots)
        for slot, (value, array) in enumerate(zip(graph.input, test.inputs, strict=True))
    }
    around.subject(node, names)
    for value in graph.output:
        shape = [dim.dim_value if dim.HasField("dim_value") else None for dim in value.type.tensor_type.shape.dim]
        around.consumed(value.name, value.type.tensor_type.elem_type, shape)
    return around.graph(), around.feeds
