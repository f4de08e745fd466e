"""What is made of a layer's output, so far as it decides what the output had best be."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import networkx as nx

from graphopt.ir import Graph, Node, Value
from graphopt.repair.layers import Layer
from graphopt.repair.match import Goal, Match


def as_read(match: Match, layer: Layer, goal: Goal, later: Collection[Node]) -> Goal:
    """The goal of a layer, with what its reader allows: a sum instead of a part of it, and any negative number in front of a rectifier.

    `later` are nodes that may still be edited: what depends on them is not known yet, and no layer can make good for it.
    """
    if goal.after is not None:
        return goal
    value = layer.node.output()
    total = _sum(match, layer, goal)
    if total is not None and not nx.ancestors(match.graph.nx, total[1]) & set(later):
        value, beside, then = total
        assert then.producer is not None
        goal = replace(goal, value=then, beside=beside, at=then.producer)
    reader = _only_reader(match.graph, value)
    return replace(goal, rectified=reader is not None and reader.op_type == "Relu" and not reader.domain)


def repaired_before(match: Match, layer: Layer, goal: Goal, later: Collection[Node]) -> list[Node]:
    """Those of the nodes `later` that had better be repaired before this layer, so that it can make good for what is wrong with them.

    They lead to what the layer's output is added to, and do not depend on it.
    """
    total = _sum(match, layer, goal) if goal.after is None else None
    if total is None:
        return []
    graph = match.graph.nx
    before, behind = nx.ancestors(graph, total[1]), nx.descendants(graph, layer.node)
    return [node for node in later if node in before and node not in behind]


def _sum(match: Match, layer: Layer, goal: Goal) -> tuple[Value, Value, Value] | None:
    """The sum of the layer's output with another value, that value, and what the sum is in the original."""
    graph, output = match.graph, layer.node.output()
    add = _only_reader(graph, output)
    if add is None or add.op_type != "Add" or add.domain or graph.shape(output) is None:
        return None
    beside = add.input(0) if add.input(1) is output else add.input(1)
    then = match.value(add.output())
    if beside is None or then is None or then.producer is None or then.producer.op_type != "Add":
        return None
    if graph.constant(beside) is not None or beside not in graph.nx or goal.value not in then.producer.inputs:
        return None
    if graph.shape(beside) != graph.shape(output) or match.original.shape(then) != match.original.shape(goal.value):
        return None
    return add.output(), beside, then


def _only_reader(graph: Graph, value: Value) -> Node | None:
    readers = graph.consumers(value)
    return readers[0][0] if len(readers) == 1 and readers[0][1] >= 0 and not graph.is_output(value) else None
