"""Makes models less deep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import ClassVar

from graphopt.allocation import CompressingPass, Site
from graphopt.cost import count
from graphopt.errors import DataError, PassParameterError
from graphopt.ir import Graph, Node, inline_functions
from graphopt.pipeline import Context, PassResult, Skip, parameter
from graphopt.quality import Data, synthetic_inputs
from graphopt.repair import calibration, output_errors

from ._joined import Joined, Kept
from ._residuals import Branch, branches
from ._timing import slower

_MADE_UP = 8  # samples


@dataclass(frozen=True)
class PruneBlocks(CompressingPass):
    """Remove the residual branches whose absence changes the model's outputs least, one after the other.

    A branch is what an Add adds to something of the same shape, or what a Concat puts beside other channels, if these are only multiplied with
    weights (of which a part goes too). Change is measured on calibration data, without data on made-up inputs. A `plan` says by the output's name
    of the Add or Concat which branch goes: 1, or where several could, their places from the cheapest on; what went with another already is
    passed over.
    """

    name: ClassVar[str] = "prune-blocks"

    blocks: int = parameter(1, minimum=0, help="how many branches to remove")
    ratio: float | None = parameter(
        None, minimum=0, below=1, help="share of the multiply-accumulates to remove at least, instead of `blocks`"
    )
    max_change: float | None = parameter(None, above=0, help="remove none that changes the outputs by more than this share of their energy")
    layers: tuple[str, ...] = parameter(
        (), help="only branches of these Adds and Concats, or that hold these nodes: names of nodes or outputs, or globs"
    )
    ignore: tuple[str, ...] = parameter((), help="Adds, Concats or nodes whose branches stay")
    samples: int = parameter(64, minimum=1, help="samples on which the change is measured")

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.to or self.plan is not None) and (self.ratio is not None or self.max_change is not None):
            raise PassParameterError(f"{self.name}: ratio and max_change do not go with to or plan")

    def sites(self, graph: Graph, context: Context) -> tuple[Site, ...]:
        """The Adds and Concats, by the names of their outputs: 0 leaves one as it is, 1 (2, ...) drops a branch.

        Harm is the change of the outputs on made-up inputs; where it will be measured on data, just the share of the work that goes.
        """
        work = inline_functions(graph)
        self._check_names(work)
        found = [(output, plans) for output, plans in self._by_add(work).items() if plans]
        dropped = [without for _, plans in found for _, without in plans]
        if context.data is None or self.harm == "weights":
            harms = iter(output_errors(work, dropped, _made_up(work, context.seed)))
        else:
            macs = max(count(work).macs, 1)
            harms = iter([1 - count(without).macs / macs for without in dropped])
        return tuple(Site(output, tuple(range(len(plans) + 1)), (0.0, *(max(next(harms), 0.0) for _ in plans))) for output, plans in found)

    def _by_add(self, graph: Graph) -> dict[str, list[tuple[Branch | Joined, Graph]]]:
        """The branches of each Add or Concat that may go, each with the graph without it, the cheapest first."""
        found: dict[str, list[tuple[Branch | Joined, Graph]]] = {}
        for node, branch in branches(graph):
            without = graph.copy()
            if self._left_alone(node, branch, graph) is None and branch.drop(without):
                found.setdefault(branch.output, []).append((branch, without))
        for sides in found.values():
            if len(sides) > 1:
                sides.sort(key=lambda side: -count(side[1]).macs)
        return found

    def compress(self, graph: Graph, context: Context) -> PassResult:
        if self.plan is not None:
            return self._carried_out(graph, context, self.plan)
        work = inline_functions(graph).copy()
        data = calibration(work, context.data) if context.data is not None else _made_up(work, context.seed)
        data = data.first(self.samples)
        original, macs = work.copy(), count(work).macs
        self._check_names(work)
        removed: list[str] = []
        skipped: dict[str, Skip] = {}
        change = 0.0
        kept: Kept = {}
        while self._wants_more(len(removed), work, macs):
            best = self._best(original, work, data, context, skipped)
            if best is None:
                break
            error, node, branch = best
            if not context.permit(f"remove a branch of {node.label} ({len(branch.nodes)} nodes)"):
                break
            removed.append(node.label)
            branch.drop(work, kept)
            change = error
        sites = len({node for node, _ in branches(work)}) + len(removed)
        summary: dict[str, int | float | str] = {"blocks": len(removed), "sites": sites, "output_change": round(change, 6)}
        if removed:
            summary["removed"] = ", ".join(removed)
            graph.become(work)
        return PassResult(bool(removed), summary, kept if removed else {}, tuple(skipped.values()))

    def _wants_more(self, removed: int, work: Graph, macs: int) -> bool:
        if self.ratio is None:
            return removed < self.blocks
        return count(work).macs > (1 - self.ratio) * macs

    def _carried_out(self, graph: Graph, context: Context, plan: Mapping[str, int]) -> PassResult:
        work = inline_functions(graph).copy()
        sides = {output: [branch for branch, _ in found] for output, found in self._by_add(work).items()}
        for output, side in plan.items():
            if output not in sides:
                raise PassParameterError(
                    f"{self.name}: the plan names {output!r}, which is no output of an Add or Concat with a branch that can go"
                )
            if not 0 <= side <= len(sides[output]):
                raise PassParameterError(f"{self.name}: the plan for {output!r} is 0 to {len(sides[output])}; got {side}")
        removed, skipped = [], []
        kept: Kept = {}
        for output, side in plan.items():
            if not side:
                continue
            branch = sides[output][side - 1]
            now = next((each for each in branches(work) if each[1].output == output and each[1].slot == branch.slot), None)
            if now is None:
                skipped.append(Skip(output, "it went with another branch, or cannot go without it"))
                continue
            node = now[0]
            if context.permit(f"remove a branch of {node.label} ({len(now[1].nodes)} nodes)") and now[1].drop(work, kept):
                removed.append(node.label)
        summary: dict[str, int | float | str] = {"blocks": len(removed), "sites": len(sides)}
        if removed:
            summary["removed"] = ", ".join(removed)
            graph.become(work)
        return PassResult(bool(removed), summary, kept, tuple(skipped))

    def _best(
        self, original: Graph, work: Graph, data: Data, context: Context, skipped: dict[str, Skip]
    ) -> tuple[float, Node, Branch | Joined] | None:
        """The branch whose absence leaves the outputs nearest to the original's."""
        sites, models = [], []
        for node, branch in branches(work):
            why = self._left_alone(node, branch, work)
            without = work.copy()
            if why is None and not branch.drop(without):
                why = "what it hands on cannot take the name of the graph's output"
            if why is None and context.predictor is not None:
                why = slower(work, without, context.predictor)
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
        node, branch = sites[place]
        return errors[place], node, branch

    def _left_alone(self, node: Node, branch: Branch | Joined, graph: Graph) -> str | None:
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


def _names(node: Node, branch: Branch | Joined, graph: Graph) -> list[str]:
    inside = [graph.value(output).producer for output in branch.nodes]
    return [name for each in (node, *inside) if each is not None for name in (each.name, each.output().name) if name]


def _fits(pattern: str, names: Sequence[str]) -> bool:
    return any(name == pattern or fnmatchcase(name, pattern) for name in names)
