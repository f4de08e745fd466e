from __future__ import annotations

from math import log, prod

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphopt.allocation import read_goals
from graphopt.search.goals import along, step_text, written

SHARE = st.floats(0.01, 0.99)


@given(ratio=SHARE, shares=st.lists(SHARE, max_size=4))
def test_goals_fall_to_the_budget(ratio: float, shares: list[float]) -> None:
    goals = [goal["latency"] for goal in along({"latency": ratio}, shares)]
    assert goals[-1] == ratio
    assert goals == sorted(goals, reverse=True)
    left = [prod(1 - share for share in shares[: place + 1]) for place in range(len(shares))]
    assert [log(goal) for goal in goals[:-1]] == pytest.approx([log(ratio) * (1 - part) for part in left])


def test_every_resource_falls_alike() -> None:
    first, last = along({"latency": 0.25, "macs": 0.49}, [0.5])
    assert first == pytest.approx({"latency": 0.5, "macs": 0.7})
    assert last == {"latency": 0.25, "macs": 0.49}


@given(ratio=st.floats(1e-6, 1))
def test_what_is_written_asks_for_no_less(ratio: float) -> None:
    (goal,) = read_goals(written({"macs": ratio}))
    assert (goal.resource, goal.relative) == ("macs", True)
    assert ratio * (1 - 2e-3) <= goal.amount <= ratio * (1 + 1e-9)


def test_the_text_of_a_step() -> None:
    assert step_text("prune-channels", {"latency": 0.6999999}) == "prune-channels{to=0.6999x}"
    assert step_text("group-convs{form=pairs}", {"latency": 0.5}, "solver=greedy") == "group-convs{form=pairs to=0.5x solver=greedy}"
    assert step_text("a", {"latency": 0.5, "peak-memory": 0.25}) == "a{to=[0.5x,0.25x-peak]}"
    with pytest.raises(ValueError, match="above 0"):
        written({"latency": 0.0})
