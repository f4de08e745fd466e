"""What networks take in the usual of the sessions that they share."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphopt.cost.profile.two_way import usual_session

SEEDS = st.integers(0, 10_000)


def test_one_network_takes_the_geometric_mean() -> None:
    assert usual_session([[1.0, 2.0, 4.0]]).ms == pytest.approx([2.0])
    assert usual_session([[3.0]]).ms == pytest.approx([3.0])


@given(SEEDS, st.integers(2, 6), st.integers(2, 8))
@settings(max_examples=30, deadline=None)
def test_where_sessions_move_all_networks_alike_it_matters_not_which_are_missing(seed: int, networks: int, sessions: int) -> None:
    rng = np.random.default_rng(seed)
    own, moved = rng.uniform(0.5, 5, networks), rng.uniform(0.9, 1.2, sessions)
    times = own[:, None] * moved
    for row in range(1, networks):  # the first network is in all sessions, so that every session can be told from the others
        times[row, rng.permutation(sessions)[: rng.integers(0, sessions)]] = np.nan
    found = usual_session(times)
    assert found.ms == pytest.approx(own * np.exp(np.log(moved).mean()), rel=1e-4)
    assert found.moved == pytest.approx(np.log(moved) - np.log(moved).mean(), abs=1e-4)


def test_one_wild_time_hardly_counts() -> None:
    times = np.ones((4, 9))
    times[2, 5] = 3.0
    assert usual_session(times).ms == pytest.approx(np.ones(4), abs=0.01)


def test_what_was_never_measured_is_not_known() -> None:
    nothing = [float("nan")] * 2
    assert usual_session([nothing, [1.0, 4.0], nothing]).ms == pytest.approx([float("nan"), 2.0, float("nan")], nan_ok=True)
    assert np.isnan(usual_session([nothing]).ms).all()


def test_a_session_without_any_time_counts_for_nothing() -> None:
    found = usual_session([[1.0, float("nan"), 4.0], [2.0, float("nan"), 8.0]])
    assert found.ms == pytest.approx([2.0, 4.0])
    assert found.moved == pytest.approx([-np.log(2), float("nan"), np.log(2)], nan_ok=True)


def test_what_moves_one_network_alone_is_hardly_a_session() -> None:
    times = np.exp(np.random.default_rng(0).normal(size=(20, 10)) * 0.02)
    assert usual_session(times).moved.std() < 0.01
