"""Makes models less deep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import ClassVar

from graphopt.cost import count
from graphopt.errors import DataError, PassParameterError
from graphopt.ir import Graph, Node, inline_functions
from graphopt.pipeline import Context, Pass, PassResult, Skip, parameter
from graphopt.quality import Data, synthetic_inputs
from graphopt.repair import calibration, output_errors

from ._residuals import Branch, branches

_MADE_UP = 8  # samples


@dataclass(frozen=True)
class PruneBlocks(Pass):
    """Remove the residual branches whose absence changes the model's outputs least, one after the other.

    A branch is what an Add adds to something of the same shape. Change is measured on calibration data, without data on made-up inputs.
    """

    name: ClassVar[str] = "prune-blocks"

    blocks: int = parameter(1, minimum=0, help="how many branches to remove")
    ratio: float | None = parameter(
        None, minimum=0, below=1, help="share of the multiply-accumulates to remove at least, instead of `blocks`"
    )
    max_change: float | None = parameter(None, above=0, help="remove none that changes the outputs by more than this share of their energy")
    layers: tuple[str, ...] = parameter(
        (), help="only branches of these Adds, or that hold these nodes: names of nodes or outputs, or globs"
    )
    ignore: tuple[str, ...] = parameter((), help="Adds or nodes whose branches stay")
    samples: int = parameter(64, minimum=1, help="samples on which the change is measured")

    def apply(self, graph: Graph, context: Context) -> PassResult:
        work = inline_functions(graph).copy()
        data = calibration(work, context.data) if context.data is not None else _made_up(work, context.seed)
        data = data.first(self.samples)
        original, macs = work.copy(), count(work).macs
        self._check_names(work)
        removed: list[str] = []
        skipped: dict[str, Skip] = {}
        change = 0.0
        while self._wants_more(len(removed), work, macs):
            best = self._best(original, work, data, skipped)
            if best is None:
                break
            error, node, branch = best
            if not context.permit(f"remove what {node.label} adds ({len(branch.nodes)} nodes)"):
                break
            removed.append(node.label)
            branch.drop(work)
            change = error
        sites = len({node for node, _ in branches(work)}) + len(removed)
        summary: dict[str, int | float | str] = {"blocks": len(removed), "sites": sites, "output_change": round(change, 6)}
        if removed:
            summary["removed"] = ", ".join(removed)
            graph.become(work)
        return PassResult(bool(removed), summary, skipped=tuple(skipped.values()))

    def _wants_more(self, removed: int, work: Graph, macs: int) -> bool:
        if self.ratio is None:
            return removed < self.blocks
        return count(work).macs > (1 - self.ratio) * macs

    def _best(self, original: Graph, work: Graph, data: Data, skipped: dict[str, Skip]) -> tuple[float, Node, Branch] | None:
        """The branch whose absence leaves the outputs nearest to the original's."""
        sites, models = [], []
        for node, branch in branches(work):
            why = self._left_alone(node, branch, work)
            without = work.copy()
            if why is None and not branch.drop(without):
                why = "what it hands on cannot take the name of the graph's output"
            if why is not None:
                skipped[node.label] = Skip(node.label, why)
                continue
            sites.append((node, branch))
            models.append(without)
        if not sites:
            return None
        errors = output_errors(original, models, data)
        place = min(range(len(sites)), key=lambda i: errors[i])
        if self.max_change is not None and not errors[place] <= self.max_change:
            return None
        return (errors[place], *sites[place])

    def _left_alone(self, node: Node, branch: Branch, graph: Graph) -> str | None:
        names = _names(node, branch, graph)
        if any(_fits(pattern, names) for pattern in self.ignore):
            return "ignored, as asked"
        if self.layers and not any(_fits(pattern, names) for pattern in self.layers):
            return "not asked for"
        return None

    def _check_names(self, graph: Graph) -> None:
        sites = [_names(node, branch, graph) for node, branch in branches(graph)]
        for pattern in (*self.layers, *self.ignore):
            if not any(_fits(pattern, names) for names in sites):
                raise PassParameterError(f"{self.name}: {pattern!r} names no residual branch of this model, nor anything in one")


def _made_up(graph: Graph, seed: int) -> Data:
    try:
        return synthetic_inputs(graph, seed, _MADE_UP)
    except DataError:  # inputs of different fixed sizes along axis 0
        return synthetic_inputs(graph, seed)


def _names(node: Node, branch: Branch, graph: Graph) -> list[str]:
    inside = [graph.value(output).producer for output in branch.nodes]
    return [name for each in (node, *inside) if each is not None for name in (each.name, each.output().name) if name]


def _fits(pattern: str, names: Sequence[str]) -> bool:
    return any(name == pattern or fnmatchcase(name, pattern) for name in names)
