"""The order of nodes."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import Any

import networkx as nx

from graphopt.errors import InvalidModelError
from graphopt.ir.node import Node, Value


def in_order(graph: nx.MultiDiGraph[Any]) -> tuple[Node, ...]:
    """Kahn's algorithm with a heap on the file's order, so that a valid order stays as it is."""
    nodes = sorted([vertex for vertex in graph if isinstance(vertex, Node)], key=lambda node: node.order)
    return tuple(nodes) if _is_valid(nodes) else tuple(_sorted(graph))


def _is_valid(nodes: Sequence[Node]) -> bool:
    """Whether every node comes after what it reads. True for nearly every graph, and much sooner found than an order."""
    waiting = set(nodes)
    for node in nodes:
        read: Sequence[Value | None] = (*node.inputs, *node.captures) if node.subgraphs_by_attribute else node.inputs
        for value in read:
            if value is not None and value.producer in waiting:
                return False
        waiting.discard(node)
    return True


def _sorted(graph: nx.MultiDiGraph[Any]) -> list[Node]:
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
    return result
