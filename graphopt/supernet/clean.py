"""Removing what no output needs."""

from __future__ import annotations

from graphopt.ir import Graph, Node, Value


def remove_dead(graph: Graph) -> int:
    """Remove nodes that reach no output, then initializers that nothing reads; the number of nodes removed."""
    live = _live(graph)
    dead = [node for node in reversed(graph.nodes) if node not in live]
    for node in dead:
        graph.remove(node)
    for value in graph.initializers:
        if graph.nx.out_degree(value) or graph.is_output(value) or (graph.is_input(value) and graph.ir_version >= 4):
            continue
        if not graph.pinned(value):
            graph.remove_initializer(value)
    return len(dead)


def _live(graph: Graph) -> set[Node]:
    live: set[Node] = set()
    stack: list[Value] = [*graph.outputs, *(value for value in graph.values.values() if value.producer is not None and graph.pinned(value))]
    while stack:
        producer = stack.pop().producer
        if producer is not None and producer not in live and producer.graph is graph:
            live.add(producer)
            stack += [value for value in (*producer.inputs, *producer.captures) if value is not None]
    return live
