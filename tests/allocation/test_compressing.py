"""What a compressing pass gets from its base class: goals, plans, costs by rebuilding, errors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import ClassVar

import numpy as np
import pytest

from graphopt.allocation import CompressingPass, GraphCosts, Site, figure
from graphopt.allocation.offer import worthwhile
from graphopt.channels import analyse, cut
from graphopt.cost import count, peak_memory
from graphopt.errors import BudgetError, PassParameterError
from graphopt.ir import Graph
from graphopt.passes.prune_channels import PruneChannels
from graphopt.pipeline import Context, Instrument, PassResult, Registry, parse_pipeline
from tests.allocation.problems import Sums
from tests.channels.build import Build
from tests.cost.staircase import predictor


def chain(widths: Sequence[int] = (64, 96, 64)) -> Graph:
    model = Build(seed=0)
    x, into = model.input(1, 3, 8, 8), 3
    for width in (*widths, 4):
        weight = model.tensor(model.rng.standard_normal((width, into, 1, 1)).astype(np.float32), model.name("w"))
        x, into = model.node("Relu", model.node("Conv", x, weight)), width
    model.output(x)
    return model.graph()


@dataclass(frozen=True)
class Halve(CompressingPass):
    """Keep the first units of groups: all, half or a quarter. It harms less at the later ones."""

    name: ClassVar[str] = "halve"

    def sites(self, graph: Graph, context: Context) -> tuple[Site, ...]:
        groups = [group for group in analyse(graph).groups if group.prunable]
        return tuple(
            Site(group.name, (group.size, group.size // 2, group.size // 4), (0.0, 1.0 / (2 + place), 3.0 / (2 + place)))
            for place, group in enumerate(groups)
        )

    def compress(self, graph: Graph, context: Context) -> PassResult:
        chosen = {name: list(range(width)) for name, width in (self.plan or {}).items() if context.permit(f"halve {name}")}
        kept = cut(analyse(graph), chosen) if chosen else {}
        return PassResult(bool(kept), {"groups": len(chosen)}, kept)


class Counting(Instrument):
    asked = 0

    def permit(self, where: str) -> bool:
        self.asked += 1
        return True


def macs(graph: Graph) -> int:
    return count(graph).macs


@pytest.mark.parametrize("goal", ["0.5x-macs", "0.5x-params", "0.6x-bytes", "0.7x-peak", "0.7x"])
@pytest.mark.parametrize("solver", ["knapsack", "greedy", "uniform"])
def test_the_goal_is_met_by_the_graph_that_is_made(goal: str, solver: str) -> None:
    graph = chain()
    context = Context(predictor=predictor())
    resource = {"0.5x-macs": "macs", "0.5x-params": "params", "0.6x-bytes": "bytes", "0.7x-peak": "peak-memory", "0.7x": "latency"}[goal]
    before = figure(graph, resource, context.predictor)
    result = Halve(to=goal, solver=solver).apply(graph, context)
    assert result.changed
    assert figure(graph, resource, context.predictor) <= float(goal.partition("x")[0]) * before


@pytest.mark.parametrize("make", [Halve, partial(PruneChannels, align=8)], ids=["halve", "prune-channels"])
@pytest.mark.parametrize("solver", ["knapsack", "greedy", "uniform"])
def test_a_peak_that_is_reached_several_times_is_lowered(make: Callable[..., CompressingPass], solver: str) -> None:
    """No site lowers it alone: by 1 x 1 convolutions of one width, it is reached at each of them."""
    graph = chain((64, 64, 64, 64))
    before = peak_memory(graph).peak
    sites = make().sites(graph, Context())
    assert all(peak_memory(make().rebuilt(graph, Context(), {site.name: site.values[-1]})).peak == before for site in sites)
    make(to="0.8x-peak", solver=solver).apply(graph, Context())
    assert peak_memory(graph).peak <= 0.8 * before


def test_a_peak_is_lowered_at_the_least_harm() -> None:
    """Beside all plans."""
    graph = chain((64, 64, 64, 64))
    limit = 0.7 * peak_memory(graph).peak
    sites = Halve().sites(graph, Context())
    harms = [
        sum(site.harms[place] for site, place in zip(sites, plan, strict=True))
        for plan in product(range(3), repeat=len(sites))
        if peak_memory(Halve().rebuilt(graph, Context(), {s.name: s.values[p] for s, p in zip(sites, plan, strict=True) if p})).peak
        <= limit
    ]
    assert Halve(to="0.7x-peak").apply(graph, Context()).summary["harm"] == pytest.approx(min(harms), rel=1e-5)


def test_a_peak_out_of_reach_says_what_can_be_reached() -> None:
    graph = chain((64, 64, 64))
    least = peak_memory(chain((16, 16, 16))).peak
    with pytest.raises(
        BudgetError, match=rf"cannot be met: the least that can be reached is {least / 1e3:.4g} k bytes of activations where 1 k"
    ):
        Halve(to="1kB-peak").apply(graph, Context())


def test_shares_are_of_the_original() -> None:
    original, graph = chain(), chain((32, 48, 64))
    assert macs(graph) < 0.6 * macs(original)
    assert not Halve(to="0.6x-macs").apply(graph, Context(original=original)).changed
    assert Halve(to="0.6x-macs").apply(graph, Context()).changed


def test_several_goals_hold_together() -> None:
    graph = chain()
    before, bytes_before = macs(graph), figure(graph, "bytes", None)
    Halve(to=("0.5x-macs", "0.4x-bytes")).apply(graph, Context())
    assert macs(graph) <= 0.5 * before
    assert figure(graph, "bytes", None) <= 0.4 * bytes_before


def test_a_goal_out_of_reach_says_what_can_be_reached() -> None:
    graph = chain()
    least = chain((16, 24, 16))
    with pytest.raises(BudgetError, match=rf"halve: to=1k-macs cannot be met: the least .* is {macs(least) / 1e3:.4g} k MACs where 1 k"):
        Halve(to="1k-macs").apply(graph, Context())
    assert macs(graph) == macs(chain())


def test_a_time_needs_a_target() -> None:
    with pytest.raises(PassParameterError, match="--target"):
        Halve(to="3ms").apply(chain(), Context())


def test_a_goal_is_checked_when_the_pass_is_made() -> None:
    with pytest.raises(PassParameterError, match=r"'to'.*got '6 apples'"):
        Halve(to="6 apples")
    with pytest.raises(PassParameterError, match=r"a goal .* or a plan"):
        Halve(to="6ms", plan={})


def test_the_text_parses_back() -> None:
    registry = Registry()
    registry.add(Halve)
    for pass_ in (Halve(to="0.5x"), Halve(to=("0.5x", "2M-params"), solver="greedy"), Halve(plan={"w_1": 3}), Halve(plan={}), Halve()):
        assert parse_pipeline(str(pass_), registry).passes == (pass_,)
    assert str(Halve(to="0.5x")) == "halve{to=0.5x}"
    assert Halve(to="0.5x") == Halve(to=("0.5x",))


def test_instruments_are_asked_for_the_final_rewrites_alone() -> None:
    counting = Counting()
    result = Halve(to="0.5x-macs").apply(chain(), Context(instruments=(counting,)))
    assert counting.asked == result.summary["groups"]


def test_values_that_are_slower_or_save_nothing_are_not_offered() -> None:
    tables = {"latency": [[3, 4, 2, 2, 1], [3, 3, 5]], "params": [[9, 1, 8, 8, 7], [9, 9, 1]]}
    given = tuple(Site(name, tuple(range(count, 0, -1)), (0.0,) * count) for name, count in (("a", 5), ("b", 3)))
    for resources in (("latency",), ("params",)):
        offered, costs = worthwhile(given, Sums(tables), resources, timed=True)
        assert [(site.name, site.values) for site in offered] == [("a", (5, 3, 1))]
        assert costs.along("latency", 0, (0,)).tolist() == [3 + 3, 2 + 3, 1 + 3]
        assert costs.of("params", (2,)) == 7 + 9
    offered, _ = worthwhile(given, Sums(tables), ("params",), timed=False)
    assert [(site.name, site.values) for site in offered] == [("a", (5, 4)), ("b", (3, 1))]


def test_costs_by_rebuilding_are_exact_for_a_plan_and_along_a_site() -> None:
    graph, context = chain(), Context(predictor=predictor())
    halve = Halve()
    sites = halve.sites(graph, context)
    costs = halve.costs(graph, context, sites)
    assert isinstance(costs, GraphCosts)
    made = replace(halve, plan={sites[0].name: 16, sites[2].name: 32}).compress
    twin = graph.copy()
    made(twin, context)
    for resource in ("latency", "macs", "params", "bytes", "peak-memory"):
        assert costs.of(resource, (2, 0, 1)) == figure(twin, resource, context.predictor)
        untouched = (0, 0, 0)
        along = costs.along(resource, 1, untouched)
        assert along.tolist() == pytest.approx([costs.of(resource, (0, place, 0)) for place in range(3)])
