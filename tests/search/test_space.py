from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphopt.search import Point
from graphopt.search.moves import MOVES, cross, mutate
from graphopt.search.study import Proposal, Record

from .landscape import space

SEEDS = st.integers(0, 10_000)


def test_the_whole_space_by_brute_force() -> None:
    where = space()
    expected = set()
    for length in (1, 2, 3):
        for steps in permutations(where.passes, length):
            if len({step.partition("{")[0] for step in steps}) == length:
                expected |= {Point(steps, shares, repair) for shares in product(range(3), repeat=length - 1) for repair in (False, True)}
    found = list(where.all())
    assert len(found) == len(set(found)) == where.size
    assert set(found) == expected
    assert len({where.text(point) for point in found}) == where.size


def test_a_point_as_text() -> None:
    where = space(settings="solver=greedy")
    assert where.text(Point(("svd", "group{form=a}"), (1,), repair=True)) == (
        "first,svd{to=0.7071x solver=greedy},group{form=a to=0.5x solver=greedy},mend"
    )
    assert space(first="", repair="").text(Point(("svd",))) == "svd{to=0.5x}"


@given(seed=SEEDS)
def test_settings_lead_back_to_the_point(seed: int) -> None:
    where = space(goals=({"latency": 0.8}, {"latency": 0.5}))
    point = where.random(np.random.default_rng(seed))
    assert where.holds(point)
    assert where.point_of(where.settings_of(point)) == point
    known = where.distributions()
    assert all(known[name]._contains(known[name].to_internal_repr(value)) for name, value in where.settings_of(point).items())
    assert where.point(Record(0, where.proposal(point), "running")) == point


@given(seed=SEEDS)
def test_any_settings_that_optuna_may_choose_are_a_point(seed: int) -> None:
    where, rng = space(), np.random.default_rng(seed)
    chosen = {name: int(rng.integers(3)) for name in where.distributions()}
    chosen |= {"steps": 3, "repair": bool(rng.integers(2))}
    passes = {f"pass_{place}": where.passes[rng.integers(5)] for place in (1, 2, 3)}
    point = where.point_of(chosen | passes)
    assert point is not None
    assert where.holds(point)
    assert point.steps[0] == passes["pass_1"]
    assert len({step.partition("{")[0] for step in point.steps}) == 3


def test_trials_of_another_space_have_no_point() -> None:
    where = space()
    assert where.point(Record(0, Proposal("simplify"), "complete")) is None
    assert where.point_of({"steps": 1, "pass_1": "no-such-pass"}) is None
    assert where.point_of({"steps": 9, **{f"pass_{i}": "svd" for i in range(1, 10)}}) is None
    assert space(repair="").point_of({"steps": 1, "pass_1": "svd", "repair": True}) is None


@settings(max_examples=60)
@given(seed=SEEDS)
def test_moves_stay_within_the_space_and_change_something(seed: int) -> None:
    where = space(goals=({"latency": 0.8}, {"latency": 0.5}))
    rng = np.random.default_rng(seed)
    point, other = where.random(rng), where.random(rng)
    for move in MOVES:
        moved = move(where, point, rng)
        assert moved is None or (where.holds(moved) and len({step.partition("{")[0] for step in moved.steps}) == len(moved.steps))
    assert mutate(where, point, rng) != point
    child = cross(where, point, other, rng)
    assert where.holds(child)
    assert len({step.partition("{")[0] for step in child.steps}) == len(child.steps)
    assert set(child.steps) <= set(point.steps) | set(other.steps)


def test_moves_reach_the_whole_space() -> None:
    where = space(passes=("a", "b"), shares=(0.5,))
    rng, seen, point = np.random.default_rng(0), set(), Point(("a",))
    for _ in range(300):
        point = mutate(where, point, rng)
        seen.add(point)
    assert seen == set(where.all())


def test_a_space_of_one_point() -> None:
    where = space(passes=("a",), shares=(0.5,), repair="")
    assert mutate(where, Point(("a",)), np.random.default_rng(0)) == Point(("a",))
    assert where.size == 1


@pytest.mark.parametrize("change", [{"passes": ()}, {"goals": ()}, {"shares": ()}, {"longest": 0}])
def test_an_empty_space(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="a space needs"):
        space(**change)
    with pytest.raises(ValueError, match="shares"):
        Point(("a", "b"))
