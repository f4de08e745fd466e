"""Choosing among plans by what they do to the model together.

Harms found one site at a time, in a model that is otherwise whole, say little once several sites are cut hard. So they are found again around the best
plan so far and the knapsack is solved with them, and then sites are exchanged for one another. A plan is only ever left for one under
which the whole model was found to be harmed less. All that is found on few samples, so the best few are compared again on many.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import accumulate

import numpy as np

from graphopt.allocation.greedy import greedy
from graphopt.allocation.knapsack import knapsack, refilled
from graphopt.allocation.reach import costs_of, is_within
from graphopt.allocation.sites import Allocation, Plan, Problem, Site
from graphopt.allocation.uniform import uniform
from graphopt.errors import BudgetError

Judge = Callable[[Plan], float]
"""The harm of a whole plan; asked often for the same ones."""

_ROUNDS = 3  # of finding harms again
_EXCHANGES = 8  # rounds of exchanges
PER_SITE = 4 * _ROUNDS + 2 * _EXCHANGES
"""Plans that are judged for each site, at most about."""
FINALISTS = 8
"""Plans that are judged on many samples."""
_ALIKE = 1.005  # times the least harm: no sample tells such plans apart, and the one that takes least is the better


def refined(problem: Problem, stated: tuple[Site, ...], judge: Judge, sure: Judge) -> Allocation:
    """The plan within the limits that is judged best of those that are looked at; nothing is known of its gap.

    It starts from the best of what the solvers make of the harms of `problem`, and of those that are `stated` without data for the same sites.
    `judge` is asked for many plans, and `sure`, which knows better, for the best FINALISTS of them.
    Raises BudgetError where no plan was found within the limits.
    """
    within = dict.fromkeys(_starts(problem, stated))
    best = min(within, key=judge)
    sites = problem.sites
    for _ in range(_ROUNDS):
        sites = tuple(_mean(old, new) for old, new in zip(sites, _around(problem.sites, best, judge), strict=True))
        found = knapsack(replace(problem, sites=sites)).plan
        within[found] = None
        if judge(found) < judge(best):
            best = found
    around = replace(problem, sites=sites)
    for _ in range(_EXCHANGES):
        exchanged = _exchanged(around, best)
        within.update(dict.fromkeys(exchanged))
        found = min(exchanged, key=judge, default=best)
        if judge(found) >= judge(best):
            break
        best = found
    finalists = sorted(within, key=judge)[:FINALISTS]
    least = min(map(sure, finalists))
    alike = [plan for plan in finalists if sure(plan) <= _ALIKE * least]
    best = min(alike, key=lambda plan: _usage(problem, plan))
    return Allocation(best, costs_of(problem, best), sure(best), math.inf)


def _usage(problem: Problem, plan: Plan) -> float:
    """What a plan takes of the limits."""
    return sum(cost / problem.limits[resource] for resource, cost in costs_of(problem, plan).items())


def _starts(problem: Problem, stated: tuple[Site, ...]) -> list[Plan]:
    """What the solvers make of either harms, as it is and with what is left of the limits used up: where harms do not add up, milder can be worse."""
    plans = []
    for start in (problem, replace(problem, sites=stated)):
        plans.append(knapsack(start).plan)
        for solve in (greedy, uniform):
            with suppress(BudgetError):
                found = solve(start).plan
                plans += [found, refilled(start, found)]
    return plans


def _around(sites: Sequence[Site], plan: Plan, judge: Judge) -> tuple[Site, ...]:
    """The sites with the harms that their values have where the others are as in `plan`, found at a few and interpolated."""
    found = []
    for number, site in enumerate(sites):
        chosen, last = plan[number], len(site.values) - 1
        places = sorted({0, chosen // 2, chosen, (chosen + last + 1) // 2, last})
        harms = list(accumulate((judge((*plan[:number], place, *plan[number + 1 :])) for place in places), max))
        known = np.interp(np.arange(last + 1), places, np.array(harms) - harms[0])
        found.append(replace(site, harms=tuple(known.tolist())))
    return tuple(found)


def _mean(old: Site, new: Site) -> Site:
    return replace(old, harms=tuple((a + b) / 2 for a, b in zip(old.harms, new.harms, strict=True)))


def _exchanged(problem: Problem, plan: Plan) -> list[Plan]:
    """Plans with one site made stronger, a little or a lot, and what that saves given to the others."""
    found: dict[Plan, None] = {}
    for number, site in enumerate(problem.sites):
        chosen, last = plan[number], len(site.values) - 1
        for place in sorted({min(chosen + 1, last), min(chosen + 2, last), (chosen + last + 1) // 2, last} - {chosen}):
            stronger = (*plan[:number], place, *plan[number + 1 :])
            if is_within(problem, costs_of(problem, stronger)):
                held = tuple(_from(each, place) if other == number else each for other, each in enumerate(problem.sites))
                found[refilled(replace(problem, sites=held), stronger)] = None
    return [other for other in found if other != plan]


def _from(site: Site, place: int) -> Site:
    """The site as if nothing milder than the value at `place` won anything."""
    return replace(site, harms=(0.0, *(max(0.0, harm - site.harms[place]) for harm in site.harms[1:])))
