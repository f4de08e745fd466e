"""Building small models: `model = Build(); x = model.input(1, 3); model.output(model.node("Relu", x)); graph = model.graph()`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import graphopt.ir as ir

FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


class Build:
    """A model in the making. Methods return value names; names are w1, w2, ... for weights, c1, ... for constants, v1, ... for the rest."""

    def __init__(self, opset: int = 21, ir_version: int = 10, seed: int = 0, **domains: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.functions: list[onnx.FunctionProto] = []
        self.opsets = {"": opset, **{domain.replace("_", "."): version for domain, version in domains.items()}}
        self.ir_version = ir_version
        self._names = dict[str, int]()

    def name(self, kind: str) -> str:
        self._names[kind] = self._names.get(kind, 0) + 1
        return f"{kind}{self._names[kind]}"

    def input(self, *shape: int | str | None, elem_type: int = FLOAT) -> str:
        name = self.name("x")
        self.inputs.append(helper.make_tensor_value_info(name, elem_type, shape))
        return name

    def tensor(self, array: Any, name: str | None = None) -> str:
        """An initializer with the given contents."""
        name = name or self.name("c")
        self.initializers.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def ints(self, *values: int) -> str:
        return self.tensor(np.array(values, np.int64))

    def weight(self, *shape: int, positive: bool = False, scale: float = 1.0, dtype: Any = np.float32) -> str:
        """An initializer of random numbers away from zero, such that sums over products stay near 1."""
        size = self.rng.uniform(0.5, 1.5, shape)
        sign = 1 if positive else self.rng.choice([-1, 1], shape)
        return self.tensor((scale * size * sign).astype(dtype), self.name("w"))

    def node(
        self, op_type: str, *inputs: str, outputs: int | Sequence[str] = 1, domain: str = "", name: str | None = None, **attributes: Any
    ) -> Any:
        """Append a node; its output's name, or a list of names where `outputs` is not 1."""
        made = [self.name("v") for _ in range(outputs)] if isinstance(outputs, int) else list(outputs)
        name = self.name("n") if name is None else name
        self.nodes.append(helper.make_node(op_type, list(inputs), made, name=name, domain=domain, **attributes))
        if domain and domain not in self.opsets:
            self.opsets[domain] = 1
        return made[0] if len(made) == 1 else made

    def output(self, *names: str, elem_type: int = FLOAT, shape: Sequence[int | str] | None = None) -> None:
        """Model outputs; without `shape` it is inferred."""
        self.outputs += [helper.make_tensor_value_info(name, elem_type, shape) for name in names]

    def proto(self) -> onnx.ModelProto:
        graph = helper.make_graph(self.nodes, "g", self.inputs, self.outputs, self.initializers)
        imports = [helper.make_opsetid(domain, version) for domain, version in self.opsets.items()]
        model = helper.make_model(graph, ir_version=self.ir_version, opset_imports=imports, functions=self.functions)
        inferred = onnx.shape_inference.infer_shapes(model)  # only for the shapes of the outputs, which a model has to state
        for output, known in zip(model.graph.output, inferred.graph.output, strict=True):
            output.CopyFrom(known)
        return model

    def graph(self) -> ir.Graph:
        return ir.Graph.from_proto(self.proto())
