"""Blocks that can go: what an Add adds to something that it could hand on alone, what a Concat puts beside other channels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import networkx as nx

from graphopt.ir import Graph, Node, Value

from ._joined import Joined, Kept, cuts_behind, operands

_LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul", "Einsum", "LSTM", "GRU", "RNN", "Attention")


@dataclass(frozen=True)
class Branch:
    """The operand `slot` of an Add, without which the Add hands on the other; both by the Add's output, so that it fits copies too."""

    output: str
    slot: int
    nodes: tuple[str, ...]  # outputs of the nodes that nothing else needs

    def drop(self, graph: Graph, kept: Kept | None = None) -> bool:
        """Remove the branch from a graph; False, and nothing done, where its output must keep a name that nothing else can take. No weight is cut (`kept`)."""
        add = graph.value(self.output).producer
        assert add is not None
        rest, gone = add.input(1 - self.slot), add.input(self.slot)
        assert rest is not None
        assert gone is not None
        before = add.input(0)
        graph.set_input(add, 0, rest)
        if not graph.bypass(add):
            graph.set_input(add, 0, before)
            return False
        remove_dead(graph, gone)
        return True


def branches(graph: Graph) -> list[tuple[Node, Branch | Joined]]:
    """Every branch of the root graph that can go: those of Adds, then those of Concats, each with its node, in order."""
    above = _dominators(graph)
    return [*_added(graph, above), *_beside(graph, above)]


def _beside(graph: Graph, above: dict[Any, Any]) -> Iterator[tuple[Node, Joined]]:
    """The operands of Concats that no other operand is computed from, and whose channels only meet weights."""
    for node, slot in operands(graph):
        own, others = node.inputs[slot], [value for place, value in enumerate(node.inputs) if place != slot]
        if (
            own is None
            or own not in above
            or any(value not in above or _leads_to(above, own, value) for value in others if value is not None)
        ):
            continue
        nodes = list(_only_for(graph, node, slot))
        if not any(other.op_type in _LAYERS for other in nodes) or _strands_input(graph, nodes):
            continue
        if cuts_behind(graph, node, slot) is not None:
            yield node, Joined(node.output().name, slot, tuple(other.output().name for other in nodes))


def _added(graph: Graph, above: dict[Any, Any]) -> list[tuple[Node, Branch]]:
    """The branches of Adds that can go with all shapes as they are.

    Where one operand comes from the other (every path to it leads through that), only what was computed on the way can go; otherwise each
    operand can. What goes must hold a layer with weights, and no graph input may be left without a reader.
    """
    types = graph.named_types()
    found = []
    for node in graph.nodes:
        if node.op_type != "Add" or node.domain or len(node.inputs) != 2:
            continue
        operands = [value for value in node.inputs if value is not None and value in above]
        shapes = [types[value].shape if value in types else None for value in (*operands, node.output())]
        if len(operands) < 2 or operands[0] is operands[1] or shapes[0] is None or any(shape != shapes[0] for shape in shapes):
            continue
        for slot in (0, 1):
            if _leads_to(above, operands[slot], operands[1 - slot]):
                continue  # the other operand is computed from this one, which is the stream itself
            nodes = list(_only_for(graph, node, slot))
            if any(other.op_type in _LAYERS for other in nodes) and not _strands_input(graph, nodes):
                found.append((node, Branch(node.output().name, slot, tuple(other.output().name for other in nodes))))
    return found


def _dominators(graph: Graph) -> dict[Any, Any]:
    """For each vertex that depends on an input, the last one that all paths to it from the inputs have in common; None at the top."""
    top: Any = "inputs"
    flow: nx.DiGraph[Any] = nx.DiGraph()
    flow.add_edges_from((top, value) for value in graph.inputs if value in graph.nx and not value.is_initializer)
    reached: set[Any] = {top}
    for node in graph.nodes:
        read = [value for value in (*node.inputs, *node.captures) if value is not None and (value in reached or flow.has_edge(top, value))]
        if read:
            flow.add_edges_from((value, node) for value in read)
            flow.add_edges_from((node, value) for value in node.outputs if value is not None)
            reached |= {value for value in node.outputs if value is not None}
    if top not in flow:
        return {}
    return dict(nx.immediate_dominators(flow, top))


def _leads_to(above: dict[Any, Any], first: Value, second: Value) -> bool:
    """Whether every path to `second` leads through `first`."""
    vertex: Any = second
    while vertex is not first:
        higher = above.get(vertex)
        if higher is None or higher == vertex:
            return False
        vertex = higher
    return True


def _only_for(graph: Graph, joint: Node, slot: int) -> Iterator[Node]:
    """The nodes that are of no use once the Add or Concat does not read that operand."""
    gone: set[Node] = {joint}
    start = joint.input(slot)
    kept = {value for place, value in enumerate(joint.inputs) if place != slot}
    stack = [start.producer] if start is not None else []
    while stack:
        node = stack.pop()
        if node is None or node in gone or node.graph is not graph:
            continue
        if not any(value is not None and _is_needed(graph, value, gone, kept) for value in node.outputs):
            gone.add(node)
            yield node
            stack += [v.producer for v in (*node.inputs, *node.captures) if v is not None]


def _is_needed(graph: Graph, value: Value, gone: set[Node], kept: set[Value | None]) -> bool:
    """Whether something beside the nodes that go needs `value`; `kept` is what is read then."""
    if value in kept or graph.is_output(value) or graph.pinned(value):
        return True
    return not {node for node, _ in graph.consumers(value)} <= gone


def _strands_input(graph: Graph, nodes: list[Node]) -> bool:
    gone = set(nodes)
    return any(
        (readers := {node for node, _ in graph.consumers(value)}) and readers <= gone for value in graph.inputs if not value.is_initializer
    )


def remove_dead(graph: Graph, value: Value) -> None:
    stack = [value]
    while stack:
        value = stack.pop()
        if value.graph is not graph or graph.consumers(value) or graph.is_output(value) or graph.pinned(value):
            continue
        node = value.producer
        if node is None:
            if value.is_initializer and (not graph.is_input(value) or graph.ir_version < 4):
                graph.remove_initializer(value)
        elif not any(v is not None and (graph.consumers(v) or graph.is_output(v) or graph.pinned(v)) for v in node.outputs):
            read = [v for v in (*node.inputs, *node.captures) if v is not None]
            graph.remove(node)
            stack += read
