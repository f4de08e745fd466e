"""Types found node by node, so that nodes can be changed on the way."""

from __future__ import annotations

from collections.abc import Mapping

from graphopt.ir.graph import Graph
from graphopt.ir.node import Node, Value
from graphopt.ir.shapes import _infer_node, _tensor_type
from graphopt.ir.sizes import SizeEvaluator
from graphopt.ir.symbols import infer_symbolic
from graphopt.ir.tensors import AnyArray, Tensor
from graphopt.ir.types import TensorType


class TypeWalk:
    """Types of a root graph's values, as far as its nodes were visited, in topological order.

    The inputs' free dimensions are taken as 1. Unlike `Graph.types`, which infers everything anew after an edit, a visit costs one node.
    """

    def __init__(self, graph: Graph, shapes: Mapping[str, tuple[int, ...]] | None = None) -> None:
        """`shapes`: of inputs by name, instead of those that they state."""
        self.types: dict[Value, TensorType] = {}
        self._tensors: dict[Value, Tensor] = {}
        self._sizes = SizeEvaluator(self.types)
        for value in graph.inputs:
            known = _tensor_type(value.type) if value.type is not None else None
            if known is not None:
                stated = None if known.shape is None else tuple(size if isinstance(size, int) else 1 for size in known.shape)
                self.types[value] = TensorType(known.elem_type, (shapes or {}).get(value.name, stated))
        for value in graph.initializers:
            self._know(value)

    def shape(self, value: Value | None) -> tuple[int, ...] | None:
        """The shape in numbers, None where it is not known."""
        known = self.types.get(value) if value is not None else None
        return None if known is None else known.static

    def contents(self, value: Value | None) -> AnyArray | None:
        """A small tensor that is known in full, constant or computed from shapes."""
        return self._sizes.contents(value)

    def visit(self, node: Node) -> None:
        """Find the types of what `node` writes, as it is now."""
        for value in node.inputs:
            if value is not None and value.producer is None:
                self._know(value)
        self.types.update(_infer_node(node, self.types, self._sizes))
        self.types.update(infer_symbolic(node, self.types, self._sizes))
        self._sizes.visit(node)

    def _know(self, value: Value) -> None:
        if value.tensor is not None:
            if self._tensors.get(value) is value.tensor:
                return
            if self._tensors.pop(value, None) is not None:  # it has new contents
                self._sizes.partial.pop(value, None)
                self._sizes.floats.pop(value, None)
            self._tensors[value] = value.tensor
            self.types[value] = TensorType(value.tensor.elem_type, value.tensor.shape)
        elif value.sparse is not None:
            self.types[value] = TensorType(value.sparse.values.data_type, tuple(value.sparse.dims))
