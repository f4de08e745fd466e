from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphopt.cost.profile.clock import is_clean, pinned, processors, repeat, timing

TIMES = st.lists(st.floats(1e-5, 1.0), min_size=1, max_size=40)


@given(TIMES)
def test_the_time_lies_among_the_runs(times: list[float]) -> None:
    found = timing([(seconds, seconds) for seconds in times])
    assert min(times) * 1000 * 0.999 <= found.ms <= max(times) * 1000 * 1.001
    assert found.runs == found.clean == len(times)


def test_disturbed_runs_do_not_count_where_enough_are_clean() -> None:
    clean, disturbed = [(0.010, 0.010)] * 12, [(0.030, 0.012)] * 50
    found = timing(clean + disturbed)
    assert found.ms == pytest.approx(10)
    assert (found.runs, found.clean) == (62, 12)


def test_on_a_busy_machine_processor_time_counts() -> None:
    assert timing([(0.030, 0.0101), (0.050, 0.0100), (0.020, 0.0102)] * 10).ms == pytest.approx(10.0, rel=0.01)


def test_where_other_threads_compute_only_the_wall_clock_counts() -> None:
    runs = [(0.010, 0.001)] * 20
    assert timing(runs, own_thread=False).ms == pytest.approx(10)
    assert timing(runs, own_thread=True).ms == pytest.approx(1)


def test_a_run_is_clean_when_little_time_went_elsewhere() -> None:
    assert is_clean((100e-6, 70e-6))  # reading the clocks takes time
    assert not is_clean((100e-6, 50e-6))
    assert is_clean((0.1, 0.0995))
    assert not is_clean((0.1, 0.098))


def test_repeating_stops_at_enough_clean_runs_and_makes_the_least_number() -> None:
    calls: list[int] = []
    assert len(repeat(lambda: calls.append(1), seconds=0.0, least=4, most=100)) == 4
    assert len(calls) == 5  # one to warm up
    assert len(repeat(lambda: None, seconds=60.0, least=1, most=7)) <= 8


def test_pinning_ends_with_the_block() -> None:
    before = processors()
    if not before:
        pytest.skip("this system does not pin processes")
    with pinned(before[0]):
        assert os.sched_getaffinity(0) == {before[0]}
    assert processors() == before
    with pinned(None):
        assert processors() == before
    with pinned(10**6):  # no such processor: measuring goes on without
        assert processors() == before
