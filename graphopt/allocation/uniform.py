"""The same share of every site."""

from __future__ import annotations

import math

from graphopt.allocation.reach import costs_of, excess, is_within, out_of_reach
from graphopt.allocation.sites import Allocation, Plan, Problem, Site

_STEPS = 100


def uniform(problem: Problem) -> Allocation:
    """The smallest share, in whole percent, at which the limits are kept. Raises BudgetError where none is."""
    closest: tuple[float, Plan] | None = None
    before: Plan | None = None
    for step in range(_STEPS + 1):
        plan = tuple(_place(site, step / _STEPS) for site in problem.sites)
        if plan == before:
            continue
        before = plan
        costs = costs_of(problem, plan)
        if is_within(problem, costs):
            return Allocation(plan, costs, problem.harm(plan), math.inf, step)
        if closest is None or excess(problem, costs) < closest[0]:
            closest = excess(problem, costs), plan
    assert closest is not None
    raise out_of_reach(problem, closest[1], " with one share for all sites")


def _place(site: Site, share: float) -> int:
    """The value nearest to what is left of the first when `share` of it goes; of values that are no sizes, that share of the way through them."""
    full, last = site.values[0], len(site.values) - 1
    if all(0 < value <= full for value in site.values):
        wanted = (1 - share) * full
        return min(range(last + 1), key=lambda place: (abs(site.values[place] - wanted), place))
    return math.floor(share * last + 0.5)
