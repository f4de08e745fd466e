"""Bytes that the nodes of a model read and write: every input read once, every output written once, nothing fused."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import onnx

from graphopt.cost.kernel import Operand
from graphopt.cost.operators import PICKING, Cost, operator_cost
from graphopt.cost.sizes import KnownTypes, fixed_types
from graphopt.ir import Graph, Node, TensorType, Value

_SIZELESS = {onnx.TensorProto.STRING, onnx.TensorProto.UNDEFINED}


@dataclass(frozen=True)
class Traffic:
    """Bytes of one run: read (`weights` of them from the model file) and written."""

    read: int = 0
    written: int = 0
    weights: int = 0

    @property
    def moved(self) -> int:
        return self.read + self.written

    def __add__(self, other: Traffic) -> Traffic:
        return Traffic(self.read + other.read, self.written + other.written, self.weights + other.weights)


NOTHING = Traffic()


def traffic_by_node(graph: Graph, types: KnownTypes | None = None) -> dict[Node, Traffic | None]:
    """The bytes that each node of the root `graph` moves in one run; None where that is unknown.

    What is assumed free (docs/costs.md) moves nothing. A node with subgraphs is unknown, and so are the nodes inside: how often a subgraph
    runs is not in the file.
    """
    types = types or fixed_types(graph)
    found = {node: node_traffic(node, types) for node in graph.nodes}
    return found | {node: None for outer in graph.nodes for subgraph in outer.subgraphs for node in subgraph.walk()}


def total_traffic(found: Iterable[Traffic | None]) -> Traffic:
    """The sum of what is known."""
    return sum((each for each in found if each is not None), NOTHING)


def node_traffic(node: Node, types: KnownTypes) -> Traffic | None:
    """The bytes that one node moves; None where they are not known.

    Contractions that multiply in a way that no rule counts still move bytes. Operators that pick (Gather, Slice) read of their data as much
    as they write, no more.
    """
    if operator_cost(node.domain, node.op_type)[0] is Cost.FREE:
        return NOTHING
    if node.subgraphs or any(value not in types.by_value for value in (*node.inputs, *node.outputs) if value is not None):
        return None
    reads = {value: value_bytes(value, types) for value in node.inputs if value is not None}
    writes = [value_bytes(value, types) for value in node.outputs if value is not None]
    written = 0
    for size in writes:
        if size is None:
            return None
        written += size
    read = weights = 0
    for place, (value, size) in enumerate(reads.items()):
        if size is None:
            return None
        if place == 0 and node.op_type in PICKING:
            size = min(size, written)
        read += size
        weights += size if is_weight(value) else 0
    return Traffic(read, written, weights)


def value_bytes(value: Value, types: KnownTypes) -> int | None:
    """Bytes of a value; None where its shape or its type is not known, and for texts."""
    known = types.by_value.get(value)
    return None if known is None else type_bytes(known)


def type_bytes(known: TensorType) -> int | None:
    """Bytes of a tensor of that type; None where its shape is not known in full, and for texts."""
    shape = known.static
    return None if shape is None or known.elem_type in _SIZELESS else Operand(shape, known.elem_type).nbytes


def is_weight(value: Value) -> bool:
    """Whether the contents of a value are in the model file: an initializer, or the output of a Constant node."""
    producer = value.producer
    return value.is_initializer or (producer is not None and producer.op_type == "Constant" and not producer.domain)
