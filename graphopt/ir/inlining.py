"""Replacing calls of a model's functions by their bodies."""

from __future__ import annotations

from onnx import inliner

from .graph import Graph


def inline_functions(graph: Graph) -> Graph:
    """The root `graph` with calls of its functions replaced by their bodies; `graph` itself where it calls none.

    Initializers keep their names. The result holds the weights in memory (`to_proto` says how much that may be).
    """
    functions = {function.key[:2] for function in graph.functions}
    if not any((node.domain, node.op_type) in functions for node in graph.walk()):
        return graph
    return Graph.from_proto(inliner.inline_local_functions(graph.to_proto()))
