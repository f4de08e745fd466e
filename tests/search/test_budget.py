from __future__ import annotations

import pytest

from graphopt.search import Budget

ORIGINAL = {"latency_ms": 20.0, "macs": 1e6, "params": 1e4, "bytes": 5e4, "peak_memory": 8e3}


def test_the_stricter_limit_of_time_counts() -> None:
    budget = Budget(latency_ms=8, speedup=2)
    assert budget.shares(ORIGINAL) == pytest.approx({"latency": 0.4})
    assert budget.usage(ORIGINAL, {"latency_ms": 8}) == pytest.approx(1)
    assert budget.usage({**ORIGINAL, "latency_ms": 12}, {"latency_ms": 8}) == pytest.approx(8 / 6)


def test_the_resource_that_is_short_counts() -> None:
    budget = Budget(speedup=2, macs=5e5, peak_memory=4e3, params=2e4)
    assert budget.shares(ORIGINAL) == pytest.approx({"latency": 0.5, "macs": 0.5, "peak-memory": 0.5, "params": 2})
    assert budget.usage(ORIGINAL, {"latency_ms": 5, "macs": 6e5, "peak_memory": 4e3, "params": 1e4}) == pytest.approx(1.2)
    assert budget.usage(ORIGINAL, {"latency_ms": 5, "macs": 1e5, "peak_memory": 4.4e3, "params": 1e4}) == pytest.approx(1.1)


def test_a_budget_without_sizes_never_runs_out() -> None:
    assert Budget(max_drop=0.1).usage(ORIGINAL, {"latency_ms": 1e9}) == 0
    assert not Budget(max_drop=0.1).is_sized
    assert Budget(bytes=1).is_sized
    assert not Budget(bytes=1).is_timed


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
