"""The order of nodes."""

from __future__ import annotations

import heapq
from typing import Any

import networkx as nx

from graphopt.errors import InvalidModelError
from graphopt.ir.node import Node


def in_order(graph: nx.MultiDiGraph[Any]) -> tuple[Node, ...]:
    """Kahn's algorithm with a heap on the file's order, so that a valid order stays as it is."""
    waiting: dict[Node, int] = {}
    for vertex in graph:
        if isinstance(vertex, Node):
            waiting[vertex] = sum(value.producer is not None and value.producer in graph for value in graph.predecessors(vertex))
    ready = [(node.order, node) for node, count in waiting.items() if count == 0]
    heapq.heapify(ready)
    result: list[Node] = []
    while ready:
        _, node = heapq.heappop(ready)
        result.append(node)
        for value in graph.successors(node):
            for reader in graph.successors(value):
                waiting[reader] -= 1
                if waiting[reader] == 0:
                    heapq.heappush(ready, (reader.order, reader))
    if len(result) != len(waiting):
        stuck = min((node for node, count in waiting.items() if count > 0), key=lambda node: node.order)
        raise InvalidModelError(f"the graph has a cycle through node {stuck.label}; ONNX graphs are acyclic")
    return tuple(result)
