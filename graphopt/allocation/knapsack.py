"""The least harm within limits, as a multiple-choice knapsack.

Costs of sites that touch each other are no sums: a convolution is faster by what either of its widths loses, but not by both in full. So the
knapsack is solved for the sums around one plan, then for those around its solution, until that is stable (Shen et al., Structural Pruning via
Latency-Saliency Knapsack, NeurIPS 2022, solves it once per pruning step).
"""

from __future__ import annotations

import numpy as np

from graphopt.allocation.linear import Bound, Sum, least
from graphopt.allocation.reach import costs_of, is_within, lightest, out_of_reach
from graphopt.allocation.sites import Allocation, Plan, Problem, Resource

_ROUNDS = 24
_TOLERANCE = 4e-6  # relative; more than HiGHS lets a plan be over a limit


def knapsack(problem: Problem) -> Allocation:
    """The plan of the least harm within the limits: optimal, up to `gap`, where costs are sums over the sites; near that otherwise.

    Raises BudgetError where no plan was found within the limits.
    """
    floor = lightest(problem)
    if not is_within(problem, costs_of(problem, floor)):
        raise out_of_reach(problem, floor)
    harms = [np.array(site.harms, np.float64) for site in problem.sites]
    best, gap, rounds = floor, 0.0, 0
    plan = problem.untouched
    sums: dict[Resource, Sum] = {}
    visited: set[Plan] = set()
    damped, room = False, 1.0
    while rounds < _ROUNDS:
        rounds += 1
        fresh = {resource: Sum.around(problem.costs, resource, plan) for resource in problem.limits}
        sums = {resource: sum_.mean(sums[resource]) if damped else sum_ for resource, sum_ in fresh.items()}
        bounds = [Bound(sums[resource], limit * room) for resource, limit in problem.limits.items()]
        answer = least(harms, bounds)
        if answer is None:  # the sums around this plan say that there is none, which those around the lightest one know better
            if plan == floor:
                break
            plan, damped = floor, False
            continue
        found, found_gap = answer
        if is_within(problem, costs_of(problem, found)) and problem.harm(found) <= problem.harm(best):
            best, gap = found, found_gap
        if found == plan:
            if is_within(problem, costs_of(problem, found)):
                break
            room *= 1 - _TOLERANCE  # over the limit by what the solver tolerates
        damped = found in visited  # back again: the truth lies between
        visited.add(found)
        plan = found
    best = refilled(problem, best)
    return Allocation(best, costs_of(problem, best), problem.harm(best), gap, rounds)


def refilled(problem: Problem, plan: Plan) -> Plan:
    """`plan` with what it leaves of the limits used up: milder values, site by site, the largest gain first."""
    while True:
        gains = []
        for number, site in enumerate(problem.sites):
            fits = np.ones(len(site.values), bool)
            for resource, limit in problem.limits.items():
                fits &= problem.costs.along(resource, number, plan) <= limit
            own = site.harms[plan[number]]
            gains += [(own - site.harms[place], number, place) for place in np.flatnonzero(fits).tolist() if site.harms[place] < own]
        for _, number, place in sorted(gains, key=lambda gain: (-gain[0], *gain[1:])):
            milder = (*plan[:number], place, *plan[number + 1 :])
            if is_within(problem, costs_of(problem, milder)):
                plan = milder
                break
        else:
            return plan
