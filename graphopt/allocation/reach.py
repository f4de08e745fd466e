"""What can be reached at most: whether a plan is within limits, and what to say where none is."""

from __future__ import annotations

from collections.abc import Mapping

from graphopt.allocation.goals import amount_words
from graphopt.allocation.linear import Bound, Sum, nearest
from graphopt.allocation.sites import Held, Plan, Problem, Resource
from graphopt.errors import BudgetError

_SLACK = 1e-9  # relative; more is over a limit
_ROUNDS = 10


def costs_of(problem: Problem, plan: Plan) -> dict[Resource, float]:
    """The costs of the limited resources."""
    return {resource: problem.costs.of(resource, plan) for resource in problem.limits}


def excess(problem: Problem, costs: Mapping[Resource, float]) -> float:
    """The largest of the costs as a share of its limit."""
    return max((costs[resource] / limit for resource, limit in problem.limits.items()), default=0.0)


def is_within(problem: Problem, costs: Mapping[Resource, float]) -> bool:
    return excess(problem, costs) <= 1 + _SLACK


def lightest(problem: Problem) -> Plan:
    """The plan that comes nearest to the limits, or stays the furthest below them, whatever its harm."""
    plan = best = problem.untouched
    for _ in range(_ROUNDS if problem.sites else 0):
        plan = nearest([Bound(Sum.around(problem.costs, resource, plan), limit) for resource, limit in problem.limits.items()])
        if excess(problem, costs_of(problem, plan)) >= excess(problem, costs_of(problem, best)):
            break
        best = plan
    return best


def out_of_reach(problem: Problem, plan: Plan, how: str = "") -> BudgetError:
    """The error that says what the best plan found comes to."""
    most: dict[str, tuple[float, float]] = {}  # of the moments of a run that which takes the most
    for resource, cost in costs_of(problem, plan).items():
        name, limit = "peak-memory" if isinstance(resource, Held) else resource, problem.limits[resource]
        if cost > limit * (1 + _SLACK):
            most[name] = max(most.get(name, (0.0, 0.0)), (cost, limit))
    words = [
        f"the least that can be reached{how} is {amount_words(name, cost)} where {amount_words(name, limit)} is asked for"
        for name, (cost, limit) in most.items()
    ]
    return BudgetError("; ".join(words) + ("" if problem.sites else " (there is no site at which anything could be won)"))
