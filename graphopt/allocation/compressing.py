"""What compressing passes have in common: they take a plan, or a goal that they allocate over their sites by themselves."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from graphopt.allocation.goals import amount_words, limits_of, read_goals
from graphopt.allocation.graph_costs import GraphCosts, figure, held_at_peak
from graphopt.allocation.harm import HARMS, judges_of, with_harms
from graphopt.allocation.joint import refined
from graphopt.allocation.moments import PEAK, by_moment, moments_over
from graphopt.allocation.offer import worthwhile
from graphopt.allocation.sites import Allocation, Costs, Problem, Resource, Site
from graphopt.allocation.solve import SOLVERS, solve
from graphopt.cost import peak_memory
from graphopt.errors import BudgetError, PassParameterError
from graphopt.ir import Graph
from graphopt.pipeline import Context, Pass, PassResult, parameter
from graphopt.quality import check_time

_ROUNDS = 8  # of solving again, where the graph that is really made takes more than its parts let expect
_SLACK = 1e-9  # relative; more is over the limit


@dataclass(frozen=True, kw_only=True)
class CompressingPass(Pass):
    """A pass that makes a graph smaller at sites, each more or less.

    A subclass says what its `sites` are, and what it does in `compress`: where there is a `plan`, what that says and nothing at other sites (an
    empty one is a plan too); otherwise what its own parameters say. With `to`, the values that meet the goal at the least harm are found,
    and carried out as a plan.
    """

    states_activations: ClassVar[bool] = (
        False  # whether the harms that `sites` states are layers' errors on calibration data where there is any
    )

    variants: ClassVar[tuple[str, ...]] = ("",)
    """Its forms that a search tries as alternatives, as the text of parameters beside the goal; empty: a search does not offer the pass."""

    to: str | tuple[str, ...] = parameter(
        (), help="make it so small, at the least harm: 6ms, 0.7x (of the original), 0.5x-macs, 2M-params, ..."
    )
    plan: Mapping[str, int] | None = parameter(None, help="what to do at each site, by its name; the other sites stay as they are")
    solver: str = parameter("knapsack", choices=tuple(SOLVERS), help="how a goal is shared out among the sites")
    harm: str = parameter("auto", choices=HARMS, help="how harm is estimated: from weights alone, or from what calibration data shows")

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            read_goals(self.to)
        except ValueError as error:
            raise PassParameterError(f"pass '{self.name}', parameter 'to': expected {error}") from None
        if self.to and self.plan is not None:
            raise PassParameterError(f"{self.name}: give a goal (to) or a plan")

    @abstractmethod
    def sites(self, graph: Graph, context: Context) -> tuple[Site, ...]:
        """Where the pass can act on the root `graph`, which stays as it is.

        The values of a site are in order of strength; its harms are data-free estimates, from the weights. Those from data are found by
        carrying out plans.
        """

    @abstractmethod
    def compress(self, graph: Graph, context: Context) -> PassResult:
        """Change `graph` in place as `plan` says, or without a plan as the pass's other parameters do; `to` is not looked at."""

    def costs(self, graph: Graph, context: Context, sites: Sequence[Site]) -> Costs:
        """What `graph` costs under plans over `sites`: by default by rebuilding it."""
        return GraphCosts(lambda plan: self.rebuilt(graph, context, plan), sites, context.predictor)

    def rebuilt(self, graph: Graph, context: Context, plan: Mapping[str, int]) -> Graph:
        """A copy of the graph, compressed by `plan`. No instrument is asked or told. Raises OutOfTimeError where the time is over."""
        check_time()
        copy = graph.copy()
        self.planned(plan).compress(copy, replace(context, instruments=()))
        return copy

    def planned(self, plan: Mapping[str, int]) -> Self:
        """The same pass with a plan in place of a goal."""
        return replace(self, to=(), plan=plan)

    def apply(self, graph: Graph, context: Context) -> PassResult:
        if not self.to:
            return self.compress(graph, context)
        plan, allocation = self._allocated(graph, context)
        figures: dict[str, int | float | str] = {
            **{f"predicted {resource}": amount_words(str(resource), cost) for resource, cost in allocation.costs.items()},
            "harm": float(f"{allocation.harm:.6g}"),
        }
        if math.isfinite(allocation.gap):
            figures["gap"] = float(f"{allocation.gap:.2g}")
        result = self.planned(plan).compress(graph, context)
        return replace(result, summary={**result.summary, **figures})

    def _allocated(self, graph: Graph, context: Context) -> tuple[dict[str, int], Allocation]:
        """The plan, and what it costs and harms in the graph that is really made."""
        goals = read_goals(self.to)
        if context.predictor is None and any(goal.resource == "latency" for goal in goals):
            raise PassParameterError(f"{self.name}: to={self._to_text} needs to know the target; name it with --target")
        original = graph if context.original is None else context.original
        limits = limits_of(goals, lambda resource: figure(original, resource, context.predictor))
        untouched = self.rebuilt(graph, context, {})
        before: dict[Resource, float] = {resource: figure(untouched, resource, context.predictor) for resource in limits}
        if all(before[resource] <= limit * (1 + _SLACK) for resource, limit in limits.items()):
            return {}, Allocation((), before, 0.0)
        try:
            return self._solved(graph, context, limits)
        except BudgetError as error:
            raise BudgetError(f"{self.name}: to={self._to_text} cannot be met: {error}") from None

    def _solved(self, graph: Graph, context: Context, limits: dict[str, float]) -> tuple[dict[str, int], Allocation]:
        """The plan for limits that do not hold yet. Raises BudgetError."""
        sites = self.sites(graph, context)
        costs = self.costs(graph, context, sites)
        moments = moments_over(sites, costs, limits[PEAK]) if PEAK in limits else ()
        offered, costs = worthwhile(sites, costs, by_moment(limits, moments), context.predictor is not None)
        stated = offered
        offered = with_harms(self, graph, context, offered)
        judges = judges_of(self, graph, context, offered) if self.solver == "knapsack" and offered else None
        tightened = dict(limits)
        for _ in range(_ROUNDS):
            problem = Problem(offered, costs, by_moment(tightened, moments))
            found = solve(problem, self.solver) if judges is None else refined(problem, stated, *judges)
            plan = {site.name: site.values[place] for site, place in zip(offered, found.plan, strict=True) if place}
            made = self.rebuilt(graph, context, plan)
            true: dict[Resource, float] = {resource: figure(made, resource, context.predictor) for resource in limits}
            over = {resource: true[resource] / limit for resource, limit in limits.items() if true[resource] > limit * (1 + _SLACK)}
            if not over:
                return plan, replace(found, costs=true)
            if PEAK in over and (peak := held_at_peak(peak_memory(made))) not in moments:
                moments = (*moments, peak)
                del over[PEAK]
            for resource, excess in over.items():
                expected = max(found.costs[moment] for moment in moments) if resource == PEAK else found.costs[resource]
                tightened[resource] = min(tightened[resource], expected) / excess * (1 - _SLACK)
        left = (f"{amount_words(r, true[r])} where {amount_words(r, limit)} is asked for" for r, limit in limits.items() if true[r] > limit)
        raise BudgetError(f"the nearest model has {', '.join(left)}")

    @property
    def _to_text(self) -> str:
        return self.to if isinstance(self.to, str) else "[" + ",".join(self.to) + "]" if len(self.to) != 1 else self.to[0]
