"""What a pass is told about what was before it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import graphopt
import graphopt.ir as ir
from graphopt.cost import count
from graphopt.pipeline import Context, Pass, PassResult, Pipeline, run_pipeline
from graphopt.report import recorded
from tests.networks import network

seen: list[Context] = []


@dataclass(frozen=True)
class Look(Pass):
    name: ClassVar[str] = "look"
    number: int = 0

    def apply(self, graph: ir.Graph, context: Context) -> PassResult:
        seen.append(context)
        return PassResult(changed=False, summary={"number": self.number})


def test_each_pass_finds_the_results_of_those_before_it() -> None:
    seen.clear()
    earlier = PassResult(changed=True)
    run_pipeline(ir.Graph.from_proto(network()), Pipeline((Look(1), Look(2))), Context(history=(earlier,)))
    assert [context.history for context in seen] == [(earlier,), (earlier, PassResult(False, {"number": 1}))]


def test_the_original_is_the_graph_that_was_given() -> None:
    seen.clear()
    graph = ir.Graph.from_proto(network())
    before = graph.to_proto()
    graphopt.run(graph, Pipeline((Look(),)))
    assert seen[0].original is graph
    assert graph.to_proto() == before


def test_an_original_that_is_named_stays() -> None:
    seen.clear()
    graph, older = (ir.Graph.from_proto(network(seed)) for seed in (0, 1))
    recorded(graph, count(graph), Pipeline((Look(),)), Context(original=older))
    assert seen[0].original is older
