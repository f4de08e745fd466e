"""Replacing calls of a model's functions by their bodies."""

from __future__ import annotations

from collections.abc import Collection

from onnx import inliner

from graphopt.ir.graph import Graph


def inline_functions(graph: Graph, keep: Collection[tuple[str, str]] = ()) -> Graph:
    """The root `graph` with calls of its functions replaced by their bodies, but for those in `keep`, by (domain, name).

    It is `graph` itself where there is nothing to replace. Initializers keep their names. The result holds the weights in memory
    (`Graph.to_proto` says how much that may be).
    """
    wanted = {function.key[:2] for function in graph.functions} - set(keep)
    if not wanted or not any((node.domain, node.op_type) in wanted for node in graph.walk()):
        return graph
    return Graph.from_proto(inliner.inline_selected_functions(graph.to_proto(), sorted(wanted)))
