"""Branches of a Concat: what one operand puts beside the channels of the others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from graphopt.ir import Graph, Node, Value
from graphopt.repair import set_constant

Kept = dict[str, dict[str, list[int]]]
_Cut = tuple[Node, int, int, range]  # of what a node reads in a slot, along an axis, these indices go

# Operators that work on each channel (axis 1) by itself, with the same rule for all of them.
_CHANNELWISE = frozenset(
    {"AveragePool", "Cast", "Dropout", "Elu", "Erf", "Gelu", "GlobalAveragePool", "GlobalMaxPool", "HardSigmoid", "HardSwish", "Identity"}
    | {"LeakyRelu", "MaxPool", "Mish", "Relu", "Selu", "Sigmoid", "Softplus", "Tanh"}
)


@dataclass(frozen=True)
class Joined:
    """The operand `slot` of a Concat along axis 1, without which what reads the channels reads fewer; the Concat by its output."""

    output: str
    slot: int
    nodes: tuple[str, ...]  # outputs of the nodes that nothing else needs

    def drop(self, graph: Graph, kept: Kept | None = None) -> bool:
        """Remove the operand and the weights that its channels were multiplied with; False, and nothing done, where that is impossible.

        What is left of weights goes into `kept`, by the indices that they had before all cuts in it.
        """
        from ._residuals import remove_dead

        concat = graph.value(self.output).producer
        assert concat is not None
        cuts = cuts_behind(graph, concat, self.slot)
        gone = concat.input(self.slot)
        if cuts is None or gone is None:
            return False
        for node, slot, axis, indices in cuts:
            _cut(graph, node, slot, axis, indices, {} if kept is None else kept)
        for place in range(self.slot, len(concat.inputs) - 1):
            graph.set_input(concat, place, concat.input(place + 1))
        graph.set_input(concat, len(concat.inputs) - 1, None)
        if len(concat.inputs) == 1:
            graph.bypass(concat)  # where it cannot be, it hands on its only operand
        remove_dead(graph, gone)
        return True


def cuts_behind(graph: Graph, concat: Node, slot: int) -> list[_Cut] | None:
    """The weights behind a Concat that lose something with its operand `slot`; None where its channels are not only multiplied with weights."""
    sizes = [_channels(graph, value) for value in concat.inputs]
    known = [size for size in sizes if size is not None]
    if len(known) < len(sizes) or len(sizes) < 2 or not _joins_channels(graph, concat):
        return None
    start = sum(known[:slot])
    cuts: list[_Cut] = []
    return cuts if _follow(graph, concat.output(), range(start, start + known[slot]), cuts) else None


def _follow(graph: Graph, value: Value, gone: range, cuts: list[_Cut]) -> bool:
    """Collect the cuts of what reads the channels `gone` of a value; whether that is all that reads them."""
    if graph.is_output(value) or graph.pinned(value):
        return False
    return all(_reader(graph, node, slot, gone, cuts) for node, slot in graph.consumers(value))


def _reader(graph: Graph, node: Node, slot: int, gone: range, cuts: list[_Cut]) -> bool:
    if (
        node.domain
        or (slot and node.op_type != "Concat")
        or any(value is not None and graph.consumers(value) for value in node.outputs[1:])
    ):
        return False
    match node.op_type:
        case "Conv":
            return _conv(graph, node, gone, cuts)
        case "BatchNormalization":
            found = [(node, place, 0, gone) for place in range(1, 5)]
        case "Concat" if _joins_channels(graph, node):
            before = [_channels(graph, operand) for operand in node.inputs[:slot]]
            if None in before:
                return False
            shift = sum(size or 0 for size in before)
            return _follow(graph, node.output(), range(gone.start + shift, gone.stop + shift), cuts)
        case "Flatten":
            return _flattened(graph, node, gone, cuts)
        case operator if operator in _CHANNELWISE:
            found = []
        case _:
            return False
    return _add(graph, found, cuts) and _follow(graph, node.output(), gone, cuts)


def _conv(graph: Graph, node: Node, gone: range, cuts: list[_Cut]) -> bool:
    weight, groups = graph.constant(node.input(1)), int(node.attributes.get("group", 1))
    if weight is None:
        return False
    if groups == 1:
        return _add(graph, [(node, 1, 1, gone)], cuts)
    if groups != weight.shape[0] or weight.shape[1] != 1:  # neither dense nor one kernel for each channel
        return False
    bias = [(node, 2, 0, gone)] if node.input(2) is not None else []
    return _add(graph, [(node, 1, 0, gone), *bias], cuts) and _follow(graph, node.output(), gone, cuts)


def _flattened(graph: Graph, node: Node, gone: range, cuts: list[_Cut]) -> bool:
    """A Flatten of axis 1 under products with weights: each channel is as many numbers in a row as it has places."""
    source = node.input(0)
    shape = graph.shape(source) if source is not None else None
    if shape is None or int(node.attributes.get("axis", 1)) != 1 or not all(isinstance(size, int) for size in shape[2:]):
        return False
    places = int(np.prod([size for size in shape[2:] if isinstance(size, int)], dtype=np.int64))
    rows = range(gone.start * places, gone.stop * places)
    value = node.output()
    if graph.is_output(value) or graph.pinned(value):
        return False
    for reader, slot in graph.consumers(value):
        if (
            slot
            or reader.domain
            or reader.op_type not in ("Gemm", "MatMul")
            or (reader.op_type == "Gemm" and reader.attributes.get("transA", 0))
        ):
            return False
        axis = 1 if reader.op_type == "Gemm" and reader.attributes.get("transB", 0) else 0
        weight = graph.constant(reader.input(1))
        if weight is None or weight.ndim != 2 or not _add(graph, [(reader, 1, axis, rows)], cuts):
            return False
    return True


def _add(graph: Graph, found: list[_Cut], cuts: list[_Cut]) -> bool:
    """Note cuts of constants that nothing else reads."""
    for node, slot, _, _ in found:
        value = node.input(slot)
        if value is None or graph.constant(value) is None or not value.is_initializer or graph.consumers(value) != [(node, slot)]:
            return False
        if graph.is_output(value) or graph.pinned(value):
            return False
    cuts += found
    return True


def _cut(graph: Graph, node: Node, slot: int, axis: int, gone: range, kept: Kept) -> None:
    value = node.input(slot)
    contents = graph.constant(value)
    assert value is not None
    assert contents is not None
    left = [index for index in range(contents.shape[axis]) if index not in gone]
    set_constant(graph, [(node, slot)], np.take(contents, left, axis=axis), value.name)
    axes = kept.setdefault(value.name, {})
    before = axes.get(str(axis))
    axes[str(axis)] = left if before is None else [before[index] for index in left]
    if node.op_type == "Conv" and slot == 1 and axis == 0:  # one kernel for each channel
        graph.set_attribute(node, "group", len(left))


def _channels(graph: Graph, value: Value | None) -> int | None:
    shape = graph.shape(value) if value is not None else None
    return shape[1] if shape is not None and len(shape) > 1 and isinstance(shape[1], int) else None


def _joins_channels(graph: Graph, concat: Node) -> bool:
    shape = graph.shape(concat.output())
    return shape is not None and len(shape) > 1 and int(concat.attributes.get("axis", 0)) % len(shape) == 1


def operands(graph: Graph) -> Iterator[tuple[Node, int]]:
    """The Concats of channels, with each of their slots."""
    for node in graph.nodes:
        if node.op_type == "Concat" and not node.domain and len(set(node.inputs)) == len(node.inputs) and _joins_channels(graph, node):
            yield from ((node, slot) for slot in range(len(node.inputs)))
