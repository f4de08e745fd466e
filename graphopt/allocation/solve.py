"""The solvers by name."""

from __future__ import annotations

from collections.abc import Callable

from graphopt.allocation.greedy import greedy
from graphopt.allocation.knapsack import knapsack
from graphopt.allocation.reach import costs_of, is_within, out_of_reach
from graphopt.allocation.sites import Allocation, Problem
from graphopt.allocation.uniform import uniform

SOLVERS: dict[str, Callable[[Problem], Allocation]] = {"knapsack": knapsack, "greedy": greedy, "uniform": uniform}


def solve(problem: Problem, solver: str = "knapsack") -> Allocation:
    """What one of SOLVERS chooses. Raises BudgetError, which says the least that can be reached."""
    costs = costs_of(problem, problem.untouched)
    if is_within(problem, costs):
        return Allocation(problem.untouched, costs, 0.0)
    if not problem.sites:
        raise out_of_reach(problem, problem.untouched)
    return SOLVERS[solver](problem)
