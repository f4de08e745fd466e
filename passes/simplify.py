"""The pass that takes out of a graph what does not change its results."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from graphopt.ir import Graph
from graphopt.pipeline import Context, Pass, PassResult

from ._duplicates import merge_duplicates
from ._edits import Edits, is_used, scopes
from ._folding import Folding
from ._noops import remove_noops


@dataclass(frozen=True)
class Simplify(Pass):
    """Fold constants; remove dead nodes, dead initializers, no-ops and duplicates. Outputs stay equal, names and types of outputs stay.

    Works on the graph and its subgraphs, not in functions. Left as they are: overridable initializers (those that are graph inputs),
    weights behind DequantizeLinear, random operators, other domains' operators, and constants that the file holds in shorter form.
    """

    name: ClassVar[str] = "simplify"

    def apply(self, graph: Graph, context: Context) -> PassResult:
        edits = Edits(context)
        folding, types = Folding(edits), graph.types()
        while True:
            done, shapes = edits.counts.total(), edits.counts["target shapes"]
            for scope in scopes(graph):
                remove_dead(scope, edits)
            graphs = list(scopes(graph))
            for scope in graphs:
                remove_noops(scope, types, edits)
                merge_duplicates(scope, edits)
            again = folding.run(graphs, types)
            for scope in graphs:
                remove_dead(scope, edits)
            if edits.counts.total() == done and not again:
                return PassResult(bool(done), dict(edits.counts), skipped=edits.skipped)
            if again or edits.counts["target shapes"] > shapes:
                types = graph.types()  # more may be known now


def remove_dead(graph: Graph, edits: Edits) -> None:
    """Remove what nothing needs: nodes from the outputs backwards, then initializers. Graph inputs stay: they are the interface."""
    for node in reversed(graph.nodes):
        if not any(value is not None and is_used(graph, value) for value in node.outputs) and edits.permit("dead nodes", node.label):
            graph.remove(node)
    for value in graph.initializers:
        if not graph.is_input(value) and not is_used(graph, value) and edits.permit("dead initializers", repr(value.name)):
            graph.remove_initializer(value)
