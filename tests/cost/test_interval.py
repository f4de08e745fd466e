from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphopt.cost.interval import Interval, coverage, drift, fit_interval, score


def test_nine_in_ten_new_networks_lie_in_the_interval() -> None:
    rng = np.random.default_rng(0)
    inside = []
    for _ in range(300):
        errors = rng.normal(size=31) * 0.04
        scores = [score(5.0 * math.exp(error), 5.0, 0.0) for error in errors]
        low, high = fit_interval(scores[:-1]).around(5.0 * math.exp(errors[-1]), 0.0)
        inside.append(low <= 5.0 <= high)
    assert 0.85 <= np.mean(inside) <= 0.96


def test_without_networks_it_is_a_guess_and_few_are_not_trusted() -> None:
    assert fit_interval([]).networks == 0
    assert fit_interval([0.1, 0.2]).quantile > fit_interval([0.1, 0.2] * 20).quantile


def test_coverage_leaves_each_network_out() -> None:
    assert coverage([1.0] * 20) == 1.0
    assert coverage([*([1.0] * 19), 5.0]) == 0.95
    assert math.isnan(coverage([]))


def test_of_next_to_nothing_next_to_nothing_is_known() -> None:
    low, high = Interval(2.0, 30).around(1e-5, 0.1)
    assert 0 < low < 1e-5 < high < 1e-3


@given(st.floats(0.02, 1e4), st.floats(0, 1), st.floats(0, 1))
def test_it_holds_the_prediction_and_widens_with_doubt(ms: float, sigma: float, unseen: float) -> None:
    interval = Interval(1.5, 30)
    low, high = interval.around(ms, sigma, unseen)
    assert 0 < low < ms < high
    wider = interval.around(ms, sigma + 0.1, unseen + 0.1)
    assert wider[0] < low
    assert wider[1] > high


def test_a_family_never_measured_counts_even_where_the_fit_was_perfect() -> None:
    low, high = Interval(0.01, 30).around(10.0, 0.0, unseen=0.5)
    assert low == pytest.approx(10 * math.exp(-0.82), rel=0.01)
    assert high > 20


def test_what_is_unlike_the_networks_of_the_fit_is_less_sure() -> None:
    interval = Interval(1.5, 30)
    ends = [interval.around(10.0, 0.0, leverage=leverage)[1] for leverage in (0.0, 0.5, 3.0)]
    assert math.log(ends[2] / 10) == pytest.approx(2 * math.log(ends[0] / 10))
    assert ends == sorted(ends)
    assert score(10.0, 9.0, 0.0, leverage=3.0) == pytest.approx(score(10.0, 9.0, 0.0) / 2)


def test_nothing_takes_no_time() -> None:
    assert Interval().around(0.0, 0.0) == (0.0, 0.0)


@pytest.mark.parametrize("deviation", [0.02, 0.04, 0.06])
@pytest.mark.parametrize("count", [3, 4, 8, 16])
def test_nine_in_ten_means_of_as_many_other_sessions_lie_within_the_drift(deviation: float, count: int) -> None:
    sessions = np.random.default_rng(0).normal(size=(4000, 2 * count)) * deviation
    profiled, later = sessions[:, :count], sessions[:, count:]
    spreads = profiled.std(axis=1, ddof=1)
    off = np.abs(profiled.mean(axis=1) - later.mean(axis=1))
    assert 0.88 <= np.mean(off <= drift([(spread, count) for spread in spreads.tolist()])) <= 0.92


def test_the_steadiest_machine_drifts_and_no_machine_does_without_limit() -> None:
    assert drift([]) == 0.0
    assert drift([(0.02, 1)]) == 0.0  # one session does not tell
    assert 0.005 < drift([(0.0, 4), (0.001, 4)]) < 0.05
    assert drift([(3.0, 4)]) == drift([(5.0, 4)]) < 0.2
