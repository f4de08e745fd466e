"""Repairs a compressed model without labels or gradients."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import ClassVar

import networkx as nx

from graphopt.errors import DataError, UnsupportedError
from graphopt.ir import Graph, Node, inline_functions
from graphopt.pipeline import Context, Pass, PassResult, parameter
from graphopt.quality import Data, check_time
from graphopt.repair import (
    Chain,
    Change,
    Kept,
    Layer,
    Match,
    NoMatch,
    Walk,
    as_read,
    calibration,
    chain_from,
    errors_of_runs,
    outputs,
    repaired_before,
    restate,
    set_constant,
    solution,
)

from ._families import Family, Selection
from ._resolution import as_small
from ._stages import shift_bias

_CHECKED = 256  # samples on which the outputs are compared in the end


@dataclass(frozen=True)
class Reconstruct(Pass):
    """Solve least squares for the weights of layers that lost inputs or were approximated, so that they match the original's outputs.

    Layers are taken in order, each with the inputs that it has in the compressed model. BatchNormalization after them gets the statistics
    of its new inputs. Needs calibration data. If the model's outputs do not come closer to the original's, nothing is changed.
    """

    name: ClassVar[str] = "reconstruct"

    layers: tuple[str, ...] = parameter((), help="only these nodes, outputs or weights, by name or glob")
    ignore: tuple[str, ...] = parameter((), help="nodes, outputs or weights to leave alone, by name or glob")
    everything: bool = parameter(False, help="also layers that only have other layers' errors before them")
    statistics: bool = parameter(True, help="also estimate the statistics of BatchNormalization anew")

    def apply(self, graph: Graph, context: Context) -> PassResult:
        if context.original is None:
            raise UnsupportedError(f"{self.name} compares with the original model, and there is none; run it as a part of a pipeline")
        if context.data is None:
            raise DataError(f"{self.name} needs calibration data (--data, or data= in Python)")
        original = as_small(inline_functions(context.original), graph)
        repaired = inline_functions(graph).copy()
        match = Match(original, repaired, Kept(result.kept for result in context.history))
        data = calibration(repaired, context.data)
        selection = Selection(self.name, self.layers, self.ignore)
        families = {family.layers[0].node: family for family in self._families(match, selection)}
        dirty = {node for family in families.values() for layer in family.layers for node in nx.descendants(repaired.nx, layer.node)}
        walks = Walk(repaired, data), Walk(original, calibration(original, context.data))
        layers = norms = 0
        try:
            waiting = dict(families)
            for node in repaired.nodes:
                check_time()
                if node in waiting:
                    for due in (*self._due(waiting[node], match, waiting), node):
                        if due in waiting:
                            layers += self._repair(due, match, waiting, walks, context, selection, node)
                elif self.statistics and node in dirty and node.op_type == "BatchNormalization":
                    norms += self._restate(node, match, walks, context)
            summary: dict[str, int | float | str] = {"layers": layers, "statistics": norms}
            if not layers and not norms:
                return PassResult(False, summary, skipped=tuple(selection.skipped))
            before, after = _errors(graph, data, walks)
        finally:
            for walk in walks:
                walk.close()
        summary |= {"output_error_before": round(before, 6), "output_error": round(min(before, after), 6)}
        if after >= before:
            return PassResult(False, summary | {"layers": 0, "statistics": 0, "taken_back": layers}, skipped=tuple(selection.skipped))
        graph.become(repaired)
        return PassResult(True, summary, skipped=tuple(selection.skipped))

    def _families(self, match: Match, selection: Selection) -> list[Family]:
        """The layers that need repair."""
        found = []
        for family in selection.families(match.graph):
            if family.graph is not match.graph:
                selection.skip_all(family, "it lies in a subgraph")
            elif not self.everything and not self.layers and not any(match.changed(layer) for layer in family.layers):
                continue
            else:
                found.append(family)
        return found

    def _due(self, family: Family, match: Match, waiting: Collection[Node]) -> list[Node]:
        """What is repaired before a family although it comes later: the other branch of a sum, for the errors of which the family makes good."""
        if len(family.layers) > 1:
            return []
        chain = chain_from(match, family.layers[0])
        layer = family.layers[0] if chain is None else chain.stages[-1]
        try:
            return repaired_before(match, layer, match.goal(layer), waiting)
        except NoMatch:
            return []

    def _repair(
        self,
        at: Node,
        match: Match,
        waiting: dict[Node, Family],
        walks: tuple[Walk, Walk],
        context: Context,
        selection: Selection,
        start: Node,
    ) -> int:
        """Repair the family that begins at a node, or the whole chain of layers, and take what was repaired from those that wait."""
        family = waiting.pop(at)
        chain = _chain(family, match, waiting)
        if chain is not None:
            for stage in chain.stages[1:]:
                del waiting[stage.node]
        layers: tuple[Layer, ...] = family.layers if chain is None else (chain.whole,)
        later = {layer.node for other in waiting.values() for layer in other.layers}
        try:
            goals = [as_read(match, layer, match.goal(layer if chain is None else chain.stages[-1]), later) for layer in layers]
        except NoMatch as obstacle:
            selection.skip_all(family, str(obstacle))
            return 0
        change = solution(
            family.graph,
            list(zip(layers, goals, strict=True)),
            walks,
            context.seed,
            start if len(layers) == 1 else None,
            None if chain is None else chain.within_reach,
        )
        if change is None:
            selection.skip_all(family, "no change brings it closer to the original on the samples held out")
            return 0
        if not context.permit(f"reconstruct {layers[0].node.label}"):
            return 0
        return _change(family, chain, change, walks)

    def _restate(self, node: Node, match: Match, walks: tuple[Walk, Walk], context: Context) -> int:
        found = match.normalization(node)
        if found is None or node.attributes.get("training_mode", 0) or not context.permit(f"estimate the statistics of {node.label}"):
            return 0
        restate(match.graph, node, *found, walks)
        return 1


def _chain(family: Family, match: Match, waiting: dict[Node, Family]) -> Chain | None:
    """The chain that begins with a family of one layer, if its other layers wait for repair, too, each with a weight of its own."""
    chain = chain_from(match, family.layers[0]) if len(family.layers) == 1 else None
    if chain is None or not all(stage.node in waiting and len(waiting[stage.node].layers) == 1 for stage in chain.stages[1:]):
        return None
    return chain


def _change(family: Family, chain: Chain | None, change: Change, walks: tuple[Walk, Walk]) -> int:
    """Store what was found for a family or a chain; how many layers that changes."""
    graph, layers = family.graph, family.layers if chain is None else (chain.whole,)
    matrix = layers[0].matrix + change.matrix
    if len(layers) == 1 and layers[0].bias(graph) is not None:
        shift_bias(graph, layers[0], change.bias)
    if chain is not None:
        for layer, stage in zip(chain.stages, chain.factors(matrix).stages, strict=True):
            contents = layer.stored(stage.weight.reshape(*stage.weight.shape[:2], -1))
            set_constant(graph, [(layer.node, layer.slot)], contents, layer.value.name)
        return len(chain.stages)
    set_constant(graph, [(layer.node, layer.slot) for layer in layers], layers[0].stored(matrix), family.weight.name)
    if len(layers) > 1:
        walks[0].forget()  # it has passed all but the last of them
    return len(layers)


def _errors(graph: Graph, data: Data, walks: tuple[Walk, Walk]) -> list[float]:
    """How far the outputs of the graph, and of the repaired one that is walked through, are from the original's.

    The walks have come to the end already: only what is left of these models is run. The graph is run on the first samples alone.
    """
    repaired, original = walks
    runs = zip(outputs(graph, data.first(_CHECKED)), original.outputs(), repaired.outputs(), strict=False)
    return errors_of_runs((wanted, before, after) for before, wanted, after in runs) or [0.0, 0.0]
