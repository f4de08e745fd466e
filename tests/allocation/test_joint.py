"""Plans chosen by what they do together: never worse than what the solvers start from, within the limits, the same every time."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from graphopt.allocation import Plan, Problem, Site
from graphopt.allocation.greedy import greedy
from graphopt.allocation.joint import PER_SITE, refined
from graphopt.allocation.knapsack import knapsack
from graphopt.allocation.reach import costs_of, is_within
from graphopt.allocation.uniform import uniform
from graphopt.errors import BudgetError
from tests.allocation.problems import Sums

_SITES, _VALUES = 4, 5


class Judged:
    """Harms that are no sums: of pairs of sites that are both cut, beside their own. It counts what it is asked."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self._alone = np.cumsum(rng.uniform(0, 1, (_SITES, _VALUES)), axis=1)
        self._alone -= self._alone[:, :1]
        self._pairs = np.triu(rng.uniform(0, 2, (_SITES, _SITES)), 1)
        self.asked: set[Plan] = set()

    def __call__(self, plan: Plan) -> float:
        self.asked.add(plan)
        share = np.array(plan) / (_VALUES - 1)
        return float(sum(self._alone[site][place] for site, place in enumerate(plan)) + share @ self._pairs @ share)


def posed(seed: int) -> tuple[Problem, Judged]:
    judge = Judged(seed)
    tables = np.random.default_rng(seed + 100).uniform(1, 9, (_SITES, _VALUES))
    costs = Sums({"macs": (-np.sort(-tables, axis=1)).tolist()})
    sites = []
    for number in range(_SITES):
        harms = tuple(judge(tuple(place if site == number else 0 for site in range(_SITES))) for place in range(_VALUES))
        sites.append(Site(str(number), tuple(range(_VALUES, 0, -1)), harms))
    judge.asked.clear()
    return Problem(tuple(sites), costs, {"macs": 0.55 * costs.of("macs", (0,) * _SITES)}), judge


@pytest.mark.parametrize("seed", range(8))
def test_no_start_is_better_and_the_limit_holds(seed: int) -> None:
    problem, judge = posed(seed)
    stated = tuple(replace(site, harms=tuple(float(place) for place in range(_VALUES))) for site in problem.sites)
    try:
        found = refined(problem, stated, judge, judge)
    except BudgetError:
        with pytest.raises(BudgetError):
            knapsack(problem)
        return
    assert is_within(problem, costs_of(problem, found.plan))
    assert found.harm == judge(found.plan)
    assert len(judge.asked) <= 10 + PER_SITE * _SITES
    for start in (problem, replace(problem, sites=stated)):
        assert found.harm <= 1.005 * min(judge(solve(start).plan) for solve in (knapsack, greedy, uniform))
    assert refined(problem, stated, judge, judge) == found


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_of_plans_that_are_judged_alike_the_cheapest_is_taken(seed: int) -> None:
    problem, _ = posed(seed)
    starts = [solve(problem).plan for solve in (knapsack, greedy, uniform)]
    found = refined(problem, problem.sites, lambda plan: float(plan not in starts), lambda plan: 1.0)
    assert found.costs["macs"] <= min(costs_of(problem, plan)["macs"] for plan in starts)


def test_where_sites_do_not_add_up_it_comes_nearer_to_the_best_of_all_plans() -> None:
    """Beside enumeration: over several problems, it leaves less than a quarter of what the knapsack of the sums leaves."""
    over, over_knapsack = 0.0, 0.0
    for seed in range(20):
        problem, judge = posed(seed)
        try:
            alone = judge(knapsack(problem).plan)
        except BudgetError:
            continue
        plans = product(range(_VALUES), repeat=_SITES)
        best = min(judge(plan) for plan in plans if is_within(problem, costs_of(problem, plan)))
        over += judge(refined(problem, problem.sites, judge, judge).plan) - best
        over_knapsack += alone - best
    assert over_knapsack > 0
    assert over <= 0.25 * over_knapsack
