"""A node between weights that give units to the axes of its inputs, and a consumer that does not hold the axes of its outputs.

    weights -> (times a scalar input, plus another) -> the node -> (times weights) -> sum -> output

`before` is one of
    weights   the node reads the weights themselves
    scaled    weights times a scalar: zero where weights are
    shifted   that plus a scalar: not zero where weights are
    first     shifted for the node's first input, scaled for the others
    others    scaled for the first, shifted for the others
    last      shifted for the last, scaled for the others
and `after` one of
    weighted  what comes out is multiplied by weights and summed
    summed    what comes out is summed as it is: exact only where nothing is left at indices that go
    raw       what comes out is the model's output: its axes are held
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import graphopt.ir as ir

BEFORE = ("weights", "scaled", "shifted", "first", "others", "last")
AFTER = ("weighted", "summed", "raw")
_FLOATS = {TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16}
# Through a Cast these can be given units too; other integers are indices, shapes and lengths, which the file states.
_CASTABLE = {TensorProto.BOOL, TensorProto.INT8, TensorProto.INT16, TensorProto.UINT8, TensorProto.UINT16, TensorProto.UINT32}
_QUANTIZERS = {"QuantizeLinear", "DequantizeLinear"}


class Surrounding:
    """Collects the model around one node. `opsets` are the model's."""

    def __init__(self, before: str, after: str, seed: int, opsets: Sequence[onnx.OperatorSetIdProto], ir_version: int) -> None:
        self.before, self.after = before, after
        self.rng = np.random.default_rng(seed)
        self.opsets, self.ir_version = opsets, min(max(ir_version, 4), 13)
        self.nodes: list[onnx.NodeProto] = []
        self.tensors: list[onnx.TensorProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []
        self.stated: list[onnx.ValueInfoProto] = []
        self.feeds: dict[str, Any] = {}

    def node(self, op_type: str, *names: str, **attributes: Any) -> str:
        number = len(self.nodes)
        self.nodes.append(helper.make_node(op_type, names, [f"t{number}"], name=f"n{number}", **attributes))
        return f"t{number}"

    def constant(self, name: str, array: np.ndarray) -> str:
        self.tensors.append(numpy_helper.from_array(array, name))
        return name

    def scalar(self, dtype: Any, value: float) -> str:
        name = f"s{len(self.inputs)}"
        self.inputs.append(helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), []))
        self.feeds[name] = np.asarray(value, dtype)
        return name

    def produced(self, name: str, array: np.ndarray, reader: str, slot: int, slots: int) -> str:
        """The array as `before` says, for one of the slots of an operator `reader`; integers that cannot be weights as they are."""
        elem_type = helper.np_dtype_to_tensor_dtype(array.dtype)
        castable = elem_type in _CASTABLE and reader not in _QUANTIZERS
        if array.size < 2 or not (elem_type in _FLOATS or castable) or self.before == "weights":
            return self.constant(name, array)
        dtype = np.dtype(np.float32) if castable else array.dtype
        self.constant(name, array.astype(dtype))
        made = self.node("Mul", name, self.scalar(dtype, 1.0))
        if {"shifted": True, "first": slot == 0, "others": slot > 0, "last": slot == slots - 1}.get(self.before):
            made = self.node("Add", made, self.scalar(dtype, 0.0 if elem_type == TensorProto.BOOL else 1.0 if castable else 0.125))
        return self.node("Cast", made, to=elem_type) if castable else made

    def subject(self, node: onnx.NodeProto, names: Mapping[str, str]) -> None:
        """The node that all this is about, its inputs renamed."""
        subject = onnx.NodeProto()
        subject.CopyFrom(node)
        subject.name = "subject"
        del subject.input[:]
        subject.input.extend([names.get(name, "") for name in node.input])
        self.nodes.append(subject)

    def consumed(self, name: str, elem_type: int, shape: Sequence[int | None]) -> None:
        """Read an output of the node as `after` says. Its type is stated, since ONNX infers nothing about other domains' operators."""
        self.stated.append(helper.make_tensor_value_info(name, elem_type, shape))
        if self.after == "raw":
            self.outputs.append(self.stated.pop())
            return
        result = name if elem_type == TensorProto.FLOAT else self.node("Cast", name, to=TensorProto.FLOAT)
        if self.after == "weighted" and None not in shape:
            result = self.node("Mul", result, self.constant(f"after_{name}", self.rng.uniform(0.5, 1.5, shape).astype(np.float32)))
        self.outputs.append(helper.make_tensor_value_info(self.node("ReduceSum", result, keepdims=0), TensorProto.FLOAT, []))

    def graph(self) -> ir.Graph:
        graph = helper.make_graph(self.nodes, "g", self.inputs, self.outputs, self.tensors, value_info=self.stated)
        return ir.Graph.from_proto(helper.make_model(graph, ir_version=self.ir_version, opset_imports=self.opsets))
