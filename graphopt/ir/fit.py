"""Channel counts that must agree but that neither ONNX's shape inference nor loading compares; they would fail only when the model runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from graphopt.ir.graph import Graph
from graphopt.ir.node import Node, Value
from graphopt.ir.types import TensorType

# Operators with one entry per channel (axis 1 of the first input) in each of these input slots.
_PER_CHANNEL = {"BatchNormalization": (1, 2, 3, 4), "InstanceNormalization": (1, 2)}


def misfits(graph: Graph) -> Iterator[str]:
    """One sentence for each node of `graph`, subgraphs included, whose known channel counts contradict each other."""
    types = graph.types()
    for node in graph.walk():
        if not node.domain:
            yield from _misfits(node, types)


def _misfits(node: Node, types: Mapping[Value, TensorType]) -> Iterator[str]:
    def size(slot: int, axis: int) -> int | None:
        value = node.input(slot)
        shape = types[value].shape if value is not None and value in types else None
        found: Any = shape[axis] if shape is not None and axis < len(shape) else None
        return found if isinstance(found, int) else None

    def compare(found: int | None, expected: int | None, what: str) -> Iterator[str]:
        if found is not None and expected is not None and found != expected:
            yield f"node {node.label}: {what} {found}, expected {expected}"

    groups = node.attributes.get("group", 1)
    if node.op_type == "Conv" and isinstance(groups, int) and groups > 0:
        per_group, filters = size(1, 1), size(1, 0)
        yield from compare(None if per_group is None else per_group * groups, size(0, 1), "input channels of the weight times groups are")
        yield from compare(size(2, 0), filters, "entries of the bias are")
        if filters is not None:
            yield from compare(filters % groups, 0, f"{filters} filters in {groups} groups leave a remainder of")
    elif node.op_type == "ConvTranspose" and isinstance(groups, int) and groups > 0:
        per_group = size(1, 1)
        yield from compare(size(1, 0), size(0, 1), "input channels of the weight are")
        yield from compare(size(2, 0), None if per_group is None else per_group * groups, "entries of the bias are")
    for slot in _PER_CHANNEL.get(node.op_type, ()):
        yield from compare(size(slot, 0), size(0, 1), f"entries of input {slot} are")
