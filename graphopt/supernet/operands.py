"""What the inputs of nodes hold, where that is fixed in the file or follows from what is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper
from onnx.reference import ReferenceEvaluator

from graphopt.errors import SupernetError
from graphopt.ir import ArrayTensor, Graph, Node, Tensor, TensorType, Value

Array = npt.NDArray[Any]

# Computed operands are small: zero biases, axes, shapes.
_LARGEST_COMPUTED = 1 << 20

# Deterministic, without subgraphs, and cheap in proportion to what they write.
_COMPUTING = frozenset(
    {
        "Add",
        "Cast",
        "Concat",
        "ConstantOfShape",
        "Div",
        "Expand",
        "Flatten",
        "Gather",
        "Mul",
        "Neg",
        "Pow",
        "Range",
        "Reciprocal",
        "Reshape",
        "Slice",
        "Sqrt",
        "Squeeze",
        "Sub",
        "Transpose",
        "Unsqueeze",
    }
)


class Operands:
    """The constant operands of a graph as it was when this was made."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._types: Mapping[Value, TensorType] | None = None

    @property
    def types(self) -> Mapping[Value, TensorType]:
        """Types before the first edit: inferring them again after each would take most of the time."""
        if self._types is None:
            self._types = self.graph.types()
        return self._types

    def array(self, node: Node, slot: int) -> Array:
        """The contents of a constant input. Raises SupernetError."""
        return self.tensor(node, slot).numpy()

    def tensor(self, node: Node, slot: int) -> Tensor:
        """The tensor of a constant input, unread where the file holds it. Raises SupernetError where it is not constant."""
        value = node.input(slot)
        tensor = None if value is None else stored(value)
        if tensor is None and value is not None:
            computed = self._compute(value, 0)
            tensor = None if computed is None else ArrayTensor(computed)
        if tensor is None:
            said = "absent" if value is None else f"{value.name!r}, which is not constant"
            raise SupernetError(f"input {slot} of node {node.label} must be constant to be changed, and is {said}")
        return tensor

    def _compute(self, value: Value, depth: int) -> Array | None:
        """What nodes compute from constants and known shapes alone, None where they do not or it is large."""
        tensor = stored(value)
        if tensor is not None:
            return tensor.numpy() if tensor.size <= _LARGEST_COMPUTED else None
        node = value.producer
        if node is None or node.domain or depth > 50:
            return None
        if node.op_type == "Shape":
            return self._shape(node)
        if node.op_type == "CastLike":
            return self._cast_like(node, depth)
        known = self.types.get(value)
        size = None if known is None or known.static is None else int(np.prod(known.static, dtype=np.int64))
        if node.op_type not in _COMPUTING or size is None or size > _LARGEST_COMPUTED:
            return None
        feeds = {}
        for source in node.inputs:
            if source is not None and source.name not in feeds:
                array = self._compute(source, depth + 1)
                if array is None:
                    return None
                feeds[source.name] = array
        if node.op_type == "Expand" and node.inputs[0] is not None and node.inputs[1] is not None:  # by far the most frequent
            return _expanded(feeds[node.inputs[0].name], feeds[node.inputs[1].name])
        return _run(node, feeds, self.graph.opset() or 1)

    def _shape(self, node: Node) -> Array | None:
        source = node.input(0)
        known = self.types.get(source) if source is not None else None
        if known is None or known.static is None:
            return None
        attributes = node.attributes
        return np.asarray(known.static[attributes.get("start", 0) : attributes.get("end")], np.int64)

    def _cast_like(self, node: Node, depth: int) -> Array | None:
        source, like = node.input(0), node.input(1)
        array = None if source is None else self._compute(source, depth + 1)
        known = self.types.get(like) if like is not None else None
        if array is None or known is None:
            return None
        return array.astype(helper.tensor_dtype_to_np_dtype(known.elem_type))


def stored(value: Value) -> Tensor | None:
    """The tensor that the file holds for a value: an initializer that is no graph input, or a Constant; Identity nodes are looked through."""
    while value.producer is not None and value.producer.op_type == "Identity" and not value.producer.domain:
        source = value.producer.input(0)
        if source is None:
            return None
        value = source
    graph, node = value.graph, value.producer
    if graph is None:
        return None
    if node is None:
        return value.tensor if not graph.is_input(value) or graph.ir_version < 4 else None
    if node.op_type != "Constant" or node.domain:
        return None
    held = next((content for content in node.attributes.values() if isinstance(content, Tensor)), None)
    if held is not None:
        return held
    array = graph.constant(value)
    return None if array is None else ArrayTensor(array)


def initializer_of(value: Value | None) -> Value | None:
    """The initializer that a value is, or stands for through Identity nodes."""
    while value is not None and value.producer is not None and value.producer.op_type == "Identity" and not value.producer.domain:
        value = value.producer.input(0)
    return value if value is not None and value.is_initializer else None


def is_computed(value: Value) -> bool:
    """Whether nodes other than Constant and Identity compute it."""
    while value.producer is not None and value.producer.op_type == "Identity" and value.producer.input(0) is not None:
        value = value.producer.inputs[0]  # type: ignore[assignment]
    return value.producer is not None and value.producer.op_type != "Constant"


def _expanded(array: Array, shape: Array) -> Array | None:
    try:
        return np.broadcast_to(array, np.broadcast_shapes(array.shape, tuple(int(size) for size in shape)))
    except ValueError:
        return None


def give_operand(graph: Graph, node: Node, slot: int, tensor: Tensor) -> tuple[Value, str] | None:
    """Let one input of a node hold `tensor`, without a change for any other reader of what it held.

    Where that takes a new initializer, the answer is the initializer and the name that it may take once that is free.
    """
    value = node.input(slot)
    assert value is not None
    alone = value.is_initializer and graph.nx.out_degree(value) == 1 and value.sparse is None
    if alone and value.graph is graph and not graph.pinned(value) and not graph.is_output(value):
        graph.set_tensor(value, tensor)
        return None
    fresh = graph.add_initializer(graph.unique_name(f"{value.name}_new"), tensor)
    graph.set_input(node, slot, fresh)
    return fresh, value.name


def _run(node: Node, feeds: dict[str, Array], opset: int) -> Array | None:
    proto = onnx.NodeProto()
    proto.CopyFrom(node.proto)
    del proto.input[:], proto.output[:]
    proto.input.extend("" if value is None else value.name for value in node.inputs)
    proto.output.append("result")
    try:
        inputs = [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape) for name, array in feeds.items()
        ]
        outputs = [onnx.ValueInfoProto(name="result")]
        model = helper.make_model(helper.make_graph([proto], "g", inputs, outputs), opset_imports=[helper.make_opsetid("", opset)])
        results: Any = ReferenceEvaluator(model).run(None, feeds)
        return np.asarray(results[0])
    except Exception:  # the reference raises whatever numpy does; what it cannot compute is not constant for us
        return None
