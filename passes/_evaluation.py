"""Evaluation of nodes whose inputs are constants: all in one ONNX Runtime session; what it refuses in halves, and at last one by one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from graphopt.ir import Graph, Node, Tensor, TensorType, Value

AnyArray = npt.NDArray[Any]

# Larger contents are handed over as inputs instead of being copied into the model.
_LARGEST_INLINE = 1 << 16  # bytes
_NEWEST_IR = 10  # which every supported ONNX Runtime loads; nothing in the evaluated model needs a newer one
_NATIVE = frozenset("?bBhHiIlLqQefd")  # type characters that numpy and ONNX Runtime share


class Evaluation:
    """`values` has what could be computed, `failures` the nodes that could not, with the reason."""

    def __init__(self, graph: Graph, types: Mapping[Value, TensorType], given: Mapping[Value, Tensor | AnyArray]) -> None:
        self.values: dict[Value, AnyArray] = {}
        self.failures: dict[Node, str] = {}
        self._opsets = [helper.make_opsetid(domain, version) for domain, version in graph.opsets.items()]
        self._ir_version = min(max(graph.ir_version, 4), _NEWEST_IR)
        self._types = types
        self._given = given

    def run(self, nodes: Sequence[Node], wanted: Iterable[Value]) -> None:
        """Compute `wanted` from `nodes`, which are in topological order and read each other, `given` values, and earlier results."""
        nodes, written = self._computable(nodes)
        wanted = [value for value in wanted if value in written]
        if not wanted:
            return
        try:
            self.values.update(self._session(nodes, wanted))
        except Exception as error:  # ONNX Runtime raises many types; all of them mean the same here
            if len(nodes) == 1:
                self._by_reference(nodes[0], wanted, error)
                return
            half = len(nodes) // 2
            read = {value for node in nodes[half:] for value in node.inputs}
            read.update(wanted)
            self.run(nodes[:half], [v for node in nodes[:half] for v in node.outputs if v in read and v is not None])
            self.run(nodes[half:], wanted)

    def _computable(self, nodes: Sequence[Node]) -> tuple[list[Node], set[Value | None]]:
        """The nodes whose inputs are all there, and what they write."""
        kept, written = [], set[Value | None]()
        for node in nodes:
            if all(v is None or v in self._given or v in self.values or v in written for v in node.inputs):
                kept.append(node)
                written.update(v for v in node.outputs if v is not None)
        return kept, written

    def _session(self, nodes: Sequence[Node], wanted: Sequence[Value]) -> dict[Value, AnyArray]:
        model, feeds = self._model(nodes, wanted)
        for output in model.graph.output:
            if output.type.tensor_type.elem_type == TensorProto.BFLOAT16:  # which Python cannot take from ONNX Runtime
                model.graph.node.append(helper.make_node("Cast", [output.name], [f"{output.name}_float"], to=TensorProto.FLOAT))
                output.CopyFrom(onnx.ValueInfoProto(name=f"{output.name}_float"))
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4  # what it refuses is told by the exception
        session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        inputs = {name: ort.OrtValue.ortvalue_from_numpy(array) for name, array in feeds.items()}
        results = session.run_with_ort_values([output.name for output in model.graph.output], inputs)
        return {value: self._checked(value, result.numpy(), result.element_type()) for value, result in zip(wanted, results, strict=True)}

    def _by_reference(self, node: Node, wanted: Sequence[Value], refusal: Exception) -> None:
        """Let onnx's own reference implementation compute a single node."""
        model, feeds = self._model([node], wanted)
        try:
            results = ReferenceEvaluator(model).run(None, feeds)
            self.values.update({value: self._checked(value, result) for value, result in zip(wanted, results, strict=True)})
        except Exception as error:
            self.failures[node] = f"ONNX Runtime: {_one_line(refusal)}; onnx.reference: {_one_line(error)}"

    def _checked(self, value: Value, result: Any, elem_type: int | None = None) -> AnyArray:
        """`result` in the element type that the value has."""
        array = np.asarray(result)
        if array.dtype.kind in "OSU":
            raise TypeError("the result is no tensor of numbers")
        if (known := self._types.get(value)) is not None:
            elem_type = known.elem_type
        if elem_type is None or array.dtype == (dtype := helper.tensor_dtype_to_np_dtype(elem_type)):
            return array
        if elem_type == TensorProto.BFLOAT16 and array.dtype == np.float32:
            return array.astype(dtype)
        if array.dtype == np.uint8 and dtype.itemsize == 1:
            return array.view(dtype)  # ONNX Runtime gives 8-bit floats as plain bytes
        raise TypeError(f"the result is {array.dtype} instead of {dtype}")

    def _model(self, nodes: Sequence[Node], wanted: Sequence[Value]) -> tuple[onnx.ModelProto, dict[str, AnyArray]]:
        """A model of `nodes` with the outputs `wanted`, and what to feed it: large constants are its inputs, small ones its initializers.

        Values get names of their own, as they may come from several subgraphs.
        """
        names: dict[Value | None, str] = {None: ""}
        graph = onnx.GraphProto(name="constants")
        feeds: dict[str, AnyArray] = {}
        for node in nodes:
            for value in node.inputs:
                if value not in names:
                    names[value] = f"v{len(names)}"
                    self._add_constant(graph, feeds, value, names[value])
            for value in node.outputs:
                names.setdefault(value, f"v{len(names)}")
            proto = graph.node.add()
            proto.CopyFrom(node.proto)
            for field in ("input", "output", "device_configurations"):
                proto.ClearField(field)
            proto.input.extend(names[value] for value in node.inputs)
            proto.output.extend(names[value] for value in node.outputs)
        for value in wanted:
            output = graph.output.add(name=names[value])
            if (known := self._types.get(value)) is not None:
                output.type.tensor_type.elem_type = known.elem_type
        return onnx.ModelProto(ir_version=self._ir_version, graph=graph, opset_import=self._opsets), feeds

    def _add_constant(self, graph: onnx.GraphProto, feeds: dict[str, AnyArray], value: Value | None, name: str) -> None:
        assert value is not None
        array = self.values.get(value)
        if array is None:
            given = self._given[value]
            array = given.numpy() if isinstance(given, Tensor) else given
        if array.nbytes > _LARGEST_INLINE and array.dtype.char in _NATIVE:
            graph.input.append(helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape))
            feeds[name] = np.ascontiguousarray(array)
        else:
            graph.initializer.append(numpy_helper.from_array(array, name))


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
