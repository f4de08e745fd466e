"""Names and who may use them: what edits check before they change anything. All raise EditError."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphopt.errors import EditError
from graphopt.ir.node import Node, Value

if TYPE_CHECKING:
    from graphopt.ir.graph import Graph


def names(graph: Graph) -> set[str]:
    """Every name of a value in the whole model that `graph` is part of."""
    taken, graphs = set[str](), [graph.root]
    while graphs:
        inner = graphs.pop()
        taken.update(inner.values)
        graphs.extend(inner.inner_graphs())
    return taken


def check_free(graph: Graph, name: str) -> None:
    """ONNX wants a name defined once in a graph, the graphs around it and those inside it; two branches may share one."""
    if not name:
        raise EditError("a value needs a name; an absent one is None")
    graphs = [graph]
    while graphs:
        inner = graphs.pop()
        if name in inner.values:
            raise EditError(f"the name {name!r} is taken in graph {inner.name!r}; unique_name() finds a free one")
        graphs.extend(inner.inner_graphs())
    around = graph.parent
    while around is not None:
        if name in around.values:
            raise EditError(f"the name {name!r} is taken in graph {around.name!r}; unique_name() finds a free one")
        around = around.parent


def check_mine(graph: Graph, node: Node) -> None:
    """The node is one of the graph's own."""
    if node.graph is not graph:
        raise EditError(f"node {node.label} is not in graph {graph.name!r}")


def check_in_scope(graph: Graph, value: Value | None) -> None:
    """The value is defined in the graph or around it."""
    scope: Graph | None = graph
    while value is not None and scope is not None:
        if value.graph is scope:
            return
        scope = scope.parent
    if value is not None:
        raise EditError(f"value {value.name!r} is not visible in graph {graph.name!r}: it was removed or belongs to another graph")


def check_unused(graph: Graph, value: Value) -> None:
    """Nothing reads the value or names it."""
    if users := graph.consumers(value):
        raise EditError(f"value {value.name!r} is still read by node {users[0][0].label}")
    if graph.is_output(value):
        raise EditError(f"value {value.name!r} is an output of graph {graph.name!r}")
    if graph.pinned(value):
        raise EditError(f"value {value.name!r} is named by training information or a quantization annotation")
