"""Which moments of a run a limit of peak memory is about.

The peak is the most of what is held at all the moments of a run. Where several take as much, or nearly, no site lowers it alone, although several
sites together do: what a site does is seen in the bytes of each moment, which are sums over the sites.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from graphopt.allocation.knapsack import knapsack
from graphopt.allocation.sites import Costs, Held, Problem, Resource, Site

PEAK = "peak-memory"
_ROUNDS = 200


def moments_over(sites: Sequence[Site], costs: Costs, limit: float) -> tuple[Held, ...]:
    """Moments that all have to be brought within `limit` for the peak to be, the one of the untouched network first.

    Found one after the other: where the plan of the least harm that keeps all that are known to the limit has its peak elsewhere, that is the
    next. Raises BudgetError where they cannot be kept.
    """
    problem = Problem(tuple(sites), costs, {})
    plan = problem.untouched
    found: dict[Resource, float] = {}
    for _ in range(_ROUNDS):
        peak = costs.held(plan)
        if peak in found or (found and costs.of(peak, plan) <= limit):
            break
        found[peak] = limit
        plan = knapsack(Problem(problem.sites, costs, found)).plan
    return tuple(moment for moment in found if isinstance(moment, Held))


def by_moment(limits: Mapping[str, float], moments: Sequence[Held]) -> dict[Resource, float]:
    """The limits, that of peak memory as one of each moment."""
    others: dict[Resource, float] = {resource: limit for resource, limit in limits.items() if resource != PEAK}
    return {**others, **dict.fromkeys(moments, limits.get(PEAK, math.inf))}
