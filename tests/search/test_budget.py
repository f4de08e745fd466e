from __future__ import annotations

import pytest

from graphopt.search import Budget


def test_the_stricter_limit_of_time_counts() -> None:
    budget = Budget(latency_ms=8, speedup=2)
    assert budget.usage(20, 8) == pytest.approx(1)
    assert budget.usage(12, 8) == pytest.approx(8 / 6)
    assert Budget(speedup=2).usage(10, 4) == pytest.approx(0.8)
    assert Budget(latency_ms=8).usage(10, 4) == pytest.approx(0.5)


def test_a_budget_without_time_never_runs_out() -> None:
    assert Budget(max_drop=0.1).usage(1, 1e9) == 0
    assert not Budget(max_drop=0.1).is_timed


def test_a_drop_as_small_as_rounding_is_none() -> None:
    assert Budget(max_drop=0).allows_drop(5e-6)
    assert not Budget(max_drop=0).allows_drop(1e-3)
    assert Budget(max_drop=0.01).allows_drop(-0.5)
    assert Budget(speedup=2).allows_drop(1)


def test_the_limits_are_those_that_were_given() -> None:
    assert Budget(speedup=1.5, max_drop=0).limits == {"speedup": 1.5, "max_drop": 0}


@pytest.mark.parametrize("limits", [{"latency_ms": 0}, {"speedup": -1}, {"max_drop": -0.1}, {"latency_ms": float("nan")}])
def test_limits_that_make_no_sense(limits: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be above 0"):
        Budget(**limits)
