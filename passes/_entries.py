"""Entries of the lists of integers that nodes read: target shapes, ends of slices."""

from __future__ import annotations

import numpy as np

from graphopt.ir import Graph, Node, TypeWalk, Value
from graphopt.repair import add_constant

from ._grids import Misfit


def set_entries(graph: Graph, walk: TypeWalk, node: Node, slot: int, wanted: dict[int, int]) -> None:
    """Let `node` read a list whose entries at these places are the wanted ones; what else reads the list as it is does so still.

    Where the list is put together from constants and computed sizes, only the constants change. Raises Misfit where an entry is computed.
    """
    value = node.input(slot)
    assert value is not None
    graph.set_input(node, slot, _changed(graph, walk, value, wanted, node))


def _changed(graph: Graph, walk: TypeWalk, value: Value, wanted: dict[int, int], at: Node) -> Value:
    if is_constant(value):
        contents = walk.contents(value)
        if contents is None:
            raise Misfit(f"the list {value.name!r} that it reads is too long")
        made = np.array(contents)
        for place, size in wanted.items():
            made.reshape(-1)[place] = size
        new = add_constant(graph, f"{value.name}/resized", made, at)
        if new.producer is not None:
            walk.visit(new.producer)
        return new
    producer = value.producer
    if producer is None or producer.op_type != "Concat" or producer.domain:
        raise Misfit(f"the sizes that it reads from {value.name!r} are computed, and not as the resolution needs")
    inputs, start = [], 0
    for part in producer.inputs:
        assert part is not None
        shape = walk.shape(part)
        if shape is None:
            raise Misfit(f"the sizes that it reads from {value.name!r} are computed, and not as the resolution needs")
        count = shape[0]
        inside = {place - start: size for place, size in wanted.items() if start <= place < start + count}
        inputs.append(_changed(graph, walk, part, inside, at) if inside else part)
        start += count
    made_node = graph.add_node("Concat", inputs, [graph.unique_name(f"{value.name}/resized")], {"axis": 0}, at=at)
    walk.visit(made_node)
    return made_node.output()


def is_constant(value: Value) -> bool:
    """Whether a value is the same in every run."""
    stack, seen = [value], set[Value]()
    while stack:
        value = stack.pop()
        if value in seen:
            continue
        seen.add(value)
        if value.producer is None:
            if value.graph is None or value.tensor is None or (value.graph.is_input(value) and value.graph.ir_version >= 4):
                return False
        else:
            stack += [v for v in (*value.producer.inputs, *value.producer.captures) if v is not None]
    return True
