"""Peak memory of the activations of one run."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

from graphopt.cost.operators import VIEWS
from graphopt.cost.sizes import KnownTypes, fixed_types
from graphopt.cost.traffic import is_weight, value_bytes
from graphopt.ir import Graph, Node, Value

ASSUMPTIONS = (
    "nodes run one after the other, in the graph's order",
    "a value is held from the node that writes it to the last one that reads it, inputs and outputs of the model throughout",
    "no node writes over its input; views (Reshape, Identity, ...) share its memory",
    "weights, scratch space and the allocator's losses are not counted",
)


@dataclass(frozen=True)
class Memory:
    """The most bytes of activations that are held at once, `peak`, first reached while `node` runs, with the values held then.

    `node` is None for a graph without nodes. `unknown` are values whose size is not known: they are not in `peak`, which is then a lower
    bound. `held` are the values in the order of their bytes, the largest first.
    """

    peak: int
    node: Node | None
    held: tuple[tuple[Value, int], ...]
    unknown: tuple[Value, ...]


def peak_memory(graph: Graph, types: KnownTypes | None = None) -> Memory:
    """The peak of a run of the root `graph`, under `ASSUMPTIONS`.

    A node with subgraphs needs beside its own inputs and outputs the peak of its subgraphs: of the larger branch of an If, of one iteration
    of a Loop or Scan. What is inside a call of a function is not counted.
    """
    return _peak(graph, types or fixed_types(graph))


def _peak(graph: Graph, types: KnownTypes) -> Memory:
    nodes = graph.nodes
    lifetimes = _lifetimes(graph, nodes)
    sizes = {value: value_bytes(value, types) for value in lifetimes}
    unknown = [value for value, size in sizes.items() if size is None]
    if not nodes:
        return Memory(sum(size or 0 for size in sizes.values()), None, _largest_first(sizes), tuple(unknown))
    steps = [0] * (len(nodes) + 1)  # by how much the bytes that are held grow from node to node
    for value, (first, last) in lifetimes.items():
        steps[first] += sizes[value] or 0
        steps[last + 1] -= sizes[value] or 0
    needed = []
    for node, held in zip(nodes, accumulate(steps), strict=False):
        inner = [_peak(subgraph, types) for subgraph in node.subgraphs]
        unknown += [value for found in inner for value in found.unknown]
        needed.append(held + max((found.peak for found in inner), default=0))
    place = max(range(len(nodes)), key=needed.__getitem__)
    held_then = {value: sizes[value] for value, (first, last) in lifetimes.items() if first <= place <= last}
    return Memory(needed[place], nodes[place], _largest_first(held_then), tuple(dict.fromkeys(unknown)))


def _largest_first(sizes: dict[Value, int | None]) -> tuple[tuple[Value, int], ...]:
    return tuple(sorted(((value, size) for value, size in sizes.items() if size), key=lambda item: -item[1]))


def _lifetimes(graph: Graph, nodes: tuple[Node, ...]) -> dict[Value, tuple[int, int]]:
    """For each activation that has memory of its own, the places of the first and the last node that need it."""
    place = {node: number for number, node in enumerate(nodes)}
    first, last = 0, max(len(nodes) - 1, 0)
    throughout = {*graph.inputs, *graph.outputs}
    found: dict[Value, tuple[int, int]] = {}
    for value, base in _storage(graph, nodes).items():
        uses = [place[node] for node, _ in graph.consumers(value)]
        made = first if value.producer is None else place[value.producer]
        start, known_end = found.get(base, (made, made))
        end = last if value in throughout else max([made, *uses])
        found[base] = min(start, made), max(end, known_end)
    return found


def _storage(graph: Graph, nodes: tuple[Node, ...]) -> dict[Value, Value]:
    """For each activation of the graph the value whose memory it lies in, itself unless it is a view."""
    storage = {value: value for value in graph.inputs if not is_weight(value)}
    for node in nodes:
        if node.op_type == "Constant" and not node.domain:
            continue
        viewed = node.input(0) if node.op_type in VIEWS and not node.domain else None
        for number, value in enumerate(node.outputs):
            if value is not None:
                storage[value] = storage[viewed] if number == 0 and viewed is not None and viewed in storage else value
    return storage
