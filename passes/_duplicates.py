"""Common subexpressions: nodes that compute the same from the same inputs, and small initializers with the same contents."""

from __future__ import annotations

from typing import Any

from onnx import TensorProto

from graphopt.ir import Graph, LazyTensor, Node, Tensor, Value

from ._edits import Edits, fixed_tensor
from ._operators import QUANTIZERS, Operators

# Equal weights are not merged: that saves little, and layers that share a weight can no longer be pruned each on its own.
_LARGEST_INDEX = 1 << 16  # bytes of int64 contents: shapes, indices, axes
_LARGEST_OTHER = 64  # bytes


def merge_duplicates(graph: Graph, edits: Edits) -> None:
    """Merge equal initializers, then equal nodes; in topological order, so that one sweep finds all."""
    _merge_initializers(graph, edits)
    seen: dict[Any, Node] = {}
    operators = Operators(graph)
    for node in graph.nodes:
        key = _key(operators, node)
        first = node if key is None else seen.setdefault(key, node)
        if first is not node:
            _merge(graph, first, node, edits)


def _merge_initializers(graph: Graph, edits: Edits) -> None:
    seen: dict[Any, Value] = {}
    for value in graph.initializers:
        tensor = fixed_tensor(value)
        if tensor is None or not _small(tensor) or graph.is_output(value) or graph.pinned(value):
            continue
        first = seen.setdefault((tensor.elem_type, tensor.shape, tensor.numpy().tobytes()), value)
        if first is not value and edits.permit("duplicate initializers", repr(value.name)):
            graph.replace_uses(value, first)
            graph.remove_initializer(value)


def _small(tensor: Tensor) -> bool:
    limit = _LARGEST_INDEX if tensor.elem_type == TensorProto.INT64 else _LARGEST_OTHER
    return tensor.elem_type != TensorProto.STRING and tensor.nbytes <= limit and not isinstance(tensor, LazyTensor)


def _key(operators: Operators, node: Node) -> Any:
    """What two nodes must have in common to be one; None for a node that must stay by itself."""
    if not operators.pure(node) or node.op_type in QUANTIZERS or not node.outputs:
        return None
    if node.op_type == "Constant" and ((tensor := fixed_tensor(node.outputs[0])) is None or not _small(tensor)):
        return None
    attributes = tuple(sorted(a.SerializeToString(deterministic=True) for a in node.proto.attribute))
    return node.op_type, attributes, node.inputs, tuple(v is None for v in node.outputs)


def _merge(graph: Graph, first: Node, node: Node, edits: Edits) -> None:
    """Let `first` do the work of `node`."""
    if len(node.outputs) == 1:
        if first.outputs[0] is not None:
            edits.replace(graph, node, first.outputs[0], "duplicates")
        return
    if any(v is not None and (graph.is_output(v) or graph.pinned(v)) for v in node.outputs) or not edits.permit("duplicates", node.label):
        return
    for old, new in zip(node.outputs, first.outputs, strict=True):
        if old is not None and new is not None:
            graph.replace_uses(old, new)
    graph.remove(node)
