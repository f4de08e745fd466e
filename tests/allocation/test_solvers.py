"""The solvers against every plan there is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphopt.allocation import SOLVERS, Problem, Site, solve
from graphopt.errors import BudgetError
from tests.allocation.problems import Chain, Sums, best, sites

QUICK = settings(max_examples=60, deadline=None)


@st.composite
def problems(draw: st.DrawFn, resources: tuple[str, ...] = ("latency",), ascending: bool = False) -> Problem:
    """Costs and harms are whole numbers, so that ties and limits that are met exactly are common."""
    counts = draw(st.lists(st.integers(2, 5), min_size=1, max_size=4))
    numbers = st.integers(0, 30)
    harms = [[0, *draw(st.lists(numbers, min_size=count - 1, max_size=count - 1))] for count in counts]
    tables = {name: [draw(st.lists(numbers, min_size=count, max_size=count)) for count in counts] for name in resources}
    if ascending:
        harms = [sorted(own) for own in harms]
        tables = {name: [sorted(table, reverse=True) for table in own] for name, own in tables.items()}
    limits = {name: float(draw(st.integers(1, 30 * len(counts)))) for name in resources}
    return Problem(sites(harms), Sums(tables), limits)


@QUICK
@given(problems())
def test_knapsack_is_optimal_for_sums(problem: Problem) -> None:
    wanted = best(problem)
    if wanted is None:
        with pytest.raises(BudgetError):
            solve(problem)
        return
    found = solve(problem)
    assert found.harm == pytest.approx(wanted[0])
    assert found.costs == {name: problem.costs.of(name, found.plan) for name in problem.limits}


@QUICK
@given(problems(resources=("latency", "params", "peak-memory")))
def test_knapsack_is_optimal_for_several_limits(problem: Problem) -> None:
    wanted = best(problem)
    if wanted is None:
        with pytest.raises(BudgetError):
            solve(problem)
        return
    assert solve(problem).harm == pytest.approx(wanted[0])


@QUICK
@given(problems(resources=("latency", "macs")), st.sampled_from(sorted(SOLVERS)))
def test_limits_are_met_or_an_error_is_raised(problem: Problem, solver: str) -> None:
    try:
        found = solve(problem, solver)
    except BudgetError:
        return
    assert all(problem.costs.of(name, found.plan) <= limit * (1 + 1e-9) for name, limit in problem.limits.items())
    assert found.harm == problem.harm(found.plan)


@QUICK
@given(problems(ascending=True), st.sampled_from(sorted(SOLVERS)))
def test_what_can_be_met_is_met(problem: Problem, solver: str) -> None:
    """One limit, and stronger values that harm more and cost less, so that no solver runs into a dead end."""
    if best(problem) is None:
        with pytest.raises(BudgetError):
            solve(problem, solver)
    else:
        solve(problem, solver)


@QUICK
@given(problems(ascending=True), st.integers(0, 40), st.sampled_from(sorted(SOLVERS)))
def test_a_looser_limit_harms_no_more(problem: Problem, more: int, solver: str) -> None:
    try:
        tight = solve(problem, solver)
    except BudgetError:
        return
    loose = solve(Problem(problem.sites, problem.costs, {"latency": problem.limits["latency"] + more}), solver)
    assert loose.harm <= tight.harm + 1e-9


@pytest.mark.parametrize("solver", sorted(SOLVERS))
def test_the_least_that_can_be_reached_is_said(solver: str) -> None:
    problem = Problem(sites([[0, 1, 2], [0, 5]]), Sums({"latency": [[6, 4, 3], [4, 2]]}), {"latency": 4.0})
    with pytest.raises(BudgetError, match=r"is 5 ms where 4 ms is asked for"):
        solve(problem, solver)


def test_without_sites_only_a_limit_that_is_kept_already_is_met() -> None:
    assert solve(Problem((), Sums({"latency": []}), {"latency": 1.0})).plan == ()
    with pytest.raises(BudgetError, match="no site"):
        solve(Problem((), Chain([], [3.0]), {"latency": 1.0}))


def test_a_value_of_unknown_harm_is_not_chosen() -> None:
    problem = Problem(sites([[0, float("inf"), 3], [0, 2, float("nan")]]), Sums({"latency": [[5, 1, 1], [5, 1, 1]]}), {"latency": 2.0})
    assert solve(problem).plan == (2, 1)


def test_what_the_solver_tolerates_is_not_over_the_limit() -> None:
    """The second plan is over by less than HiGHS's tolerance, which is more than what counts as rounding."""
    problem = Problem(sites([[0, 1, 2]]), Sums({"latency": [[2.0, 1 + 5e-7, 0.5]]}), {"latency": 1.0})
    assert solve(problem).plan == (2,)


@pytest.mark.parametrize("seed", range(12))
def test_knapsack_is_near_the_optimum_where_costs_are_coupled(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shares = [list(np.linspace(1, 0.25, 5)) for _ in range(5)]
    harms = [[0, *np.cumsum(rng.random(4) ** 2).tolist()] for _ in shares]
    costs = Chain(shares, rng.random(6).tolist())
    full = costs.of("latency", (0,) * 5)
    for share in (0.8, 0.5, 0.3):
        problem = Problem(sites(harms), costs, {"latency": share * full})
        wanted = best(problem)
        assert wanted is not None
        found = solve(problem)
        assert found.costs["latency"] <= share * full * (1 + 1e-9)
        assert found.harm <= wanted[0] * 1.1 + 1e-9
        assert found.harm <= solve(problem, "uniform").harm + 1e-9


def test_uniform_takes_the_same_share_of_each_site() -> None:
    same = tuple(Site(str(size), tuple(range(size, 0, -size // 8)), (0.0,) + (1.0,) * 7) for size in (64, 16, 32))
    tables = [[value / site.values[0] for value in site.values] for site in same]
    found = solve(Problem(same, Sums({"latency": tables}), {"latency": 3 * 0.5}), "uniform")
    assert [site.values[place] for site, place in zip(same, found.plan, strict=True)] == [32, 8, 16]


def test_greedy_takes_the_cheapest_harm_first() -> None:
    problem = Problem(sites([[0, 4], [0, 1], [0, 6]]), Sums({"latency": [[4, 2], [3, 2], [9, 4]]}), {"latency": 15.0})
    assert solve(problem, "greedy").plan == (0, 1, 0)  # 1 per ms, before 1.2 and 2


def test_the_same_problem_has_the_same_answer() -> None:
    rng = np.random.default_rng(0)
    harms = [[0, *np.cumsum(rng.random(7)).tolist()] for _ in range(12)]
    widths = [np.linspace(1, 0.1, 8).tolist() for _ in harms]
    costs = Chain(widths, rng.random(13).tolist())
    problem = Problem(sites(harms), costs, {"latency": 0.4 * costs.of("latency", (0,) * 12)})
    first, *others = (solve(problem) for _ in range(3))
    assert all(other == first for other in others)


def test_brute_force_tries_every_plan() -> None:
    problem = Problem(sites([[0, 1], [0, 2]]), Sums({"latency": [[2, 1], [2, 1]]}), {"latency": 3.0})
    assert best(problem) == (1, (1, 0))
