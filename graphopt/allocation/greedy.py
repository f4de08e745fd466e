"""One move after the other, the least harm for what it saves first, with costs anew after each (NetAdapt, Yang et al., ECCV 2018)."""

from __future__ import annotations

import math

import numpy as np

from graphopt.allocation.reach import costs_of, is_within, out_of_reach
from graphopt.allocation.sites import Allocation, Plan, Problem, Resource


def greedy(problem: Problem) -> Allocation:
    """Moves from the untouched plan until it is within the limits. Raises BudgetError where no move brings it nearer.

    What a move saves is the sum over the resources above their limits, each as a share of its limit. None may bring another above its own.
    """
    plan, rounds = problem.untouched, 0
    costs = costs_of(problem, plan)
    refused: set[Plan] = set()
    while not is_within(problem, costs):
        move = _best_move(problem, plan, costs, refused)
        if move is None:
            raise out_of_reach(problem, plan, " move by move")
        changed = costs_of(problem, move)
        if _over(problem, changed) < _over(problem, costs):
            plan, costs, rounds = move, changed, rounds + 1
        else:  # the sites said more than their joint graph keeps
            refused.add(move)
    return Allocation(plan, costs, problem.harm(plan), math.inf, rounds)


def _best_move(problem: Problem, plan: Plan, costs: dict[Resource, float], refused: set[Plan]) -> Plan | None:
    best: tuple[float, Plan] | None = None
    for number, site in enumerate(problem.sites):
        saved = np.zeros(len(site.values))
        allowed = np.ones(len(site.values), bool)
        for resource, limit in problem.limits.items():
            along = problem.costs.along(resource, number, plan)
            if costs[resource] > limit:
                saved += (costs[resource] - along) / limit
            else:
                allowed &= along <= limit
        for place in np.flatnonzero(allowed & (saved > 0)).tolist():
            moved = (*plan[:number], place, *plan[number + 1 :])
            price = (site.harms[place] - site.harms[plan[number]]) / float(saved[place])
            if (best is None or price < best[0]) and moved not in refused:
                best = price, moved
    return None if best is None else best[1]


def _over(problem: Problem, costs: dict[Resource, float]) -> float:
    return sum(max(0.0, costs[resource] / limit - 1) for resource, limit in problem.limits.items())
