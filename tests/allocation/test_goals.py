"""What `to` may say."""

from __future__ import annotations

import pytest

from graphopt.allocation import Goal, limits_of, read_goal, read_goals


@pytest.mark.parametrize(
    ("text", "goal"),
    [
        ("6ms", Goal("latency", 6.0)),
        ("500us", Goal("latency", 0.5)),
        ("0.02s", Goal("latency", 20.0)),
        ("0.7x", Goal("latency", 0.7, relative=True)),
        (".5x-macs", Goal("macs", 0.5, relative=True)),
        ("30M-macs", Goal("macs", 30e6)),
        ("2e6-params", Goal("params", 2e6)),
        ("2M-params", Goal("params", 2e6)),
        ("0.5x-params", Goal("params", 0.5, relative=True)),
        ("1.5MB", Goal("bytes", 1.5e6)),
        ("300kB", Goal("bytes", 3e5)),
        ("0.5x-bytes", Goal("bytes", 0.5, relative=True)),
        ("8MB-peak", Goal("peak-memory", 8e6)),
        ("0.5x-peak", Goal("peak-memory", 0.5, relative=True)),
    ],
)
def test_goals(text: str, goal: Goal) -> None:
    assert read_goal(text) == goal


@pytest.mark.parametrize(
    "text", ["", "6", "fast", "6 apples", "3M", "6ms-macs", "4MB-macs", "0.5x-joy", "x", "0ms", "1.5x", "0x-macs", "-3ms"]
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"got '"):
        read_goal(text)


def test_shares_are_of_the_original_and_the_tightest_of_two_goals_holds() -> None:
    original = {"latency": 10.0, "params": 4e6}
    limits = limits_of(read_goals(["0.7x", "6ms", "0.5x-params", "8MB-peak"]), original.__getitem__)
    assert limits == {"latency": 6.0, "params": 2e6, "peak-memory": 8e6}
