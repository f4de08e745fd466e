"""Streaming least squares against numpy's on all rows at once."""

from __future__ import annotations

import numpy as np
import pytest

from graphopt.repair.normal import Sums, solve
from graphopt.repair.records import Kept


def sums(rows: np.ndarray, missing: np.ndarray, pieces: int = 1) -> Sums:
    made = Sums(rows.shape[1], missing.shape[2], rows.shape[2])
    for x, r in zip(np.array_split(rows, pieces), np.array_split(missing, pieces), strict=True):
        made.add(x, r)
    return made


def problem(groups: int = 1, noise: float = 0.0, count: int = 400) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Rows, what is missing, and the matrix and bias that it comes from."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((count, groups, 6)) + 2
    matrix, bias = rng.standard_normal((groups, 3, 6)), rng.standard_normal((groups, 3))
    missing = np.einsum("ngi,goi->ngo", rows, matrix) + bias + noise * rng.standard_normal((count, groups, 3))
    return rows, missing, matrix, bias


@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("pieces", [1, 7])
def test_what_is_linear_is_found(groups: int, pieces: int) -> None:
    rows, missing, matrix, bias = problem(groups)
    change = solve(sums(rows[:300], missing[:300], pieces), sums(rows[300:], missing[300:], pieces), intercept=True)
    assert change is not None
    np.testing.assert_allclose(change.matrix, matrix, atol=1e-4)
    np.testing.assert_allclose(change.bias, bias, atol=1e-3)
    assert change.after < 1e-6 * change.before


def test_it_is_the_least_squares_solution_of_all_rows() -> None:
    rows, missing, _, _ = problem(noise=0.5)
    change = solve(sums(rows[::2], missing[::2]), sums(rows[1::2], missing[1::2]), intercept=True)
    wanted = np.linalg.lstsq(np.column_stack([rows[:, 0], np.ones(len(rows))]), missing[:, 0], rcond=None)[0]
    assert change is not None
    np.testing.assert_allclose(change.matrix[0], wanted[:-1].T, atol=0.02)
    np.testing.assert_allclose(change.bias[0], wanted[-1], atol=0.1)


def test_without_a_bias_none_is_used() -> None:
    rows, missing, _, _ = problem(noise=0.5)
    change = solve(sums(rows[::2], missing[::2]), sums(rows[1::2], missing[1::2]), intercept=False)
    wanted = np.linalg.lstsq(rows[:, 0], missing[:, 0], rcond=None)[0]
    assert change is not None
    assert not change.bias.any()
    np.testing.assert_allclose(change.matrix[0], wanted.T, atol=0.02)


def test_noise_is_not_learnt() -> None:
    rng = np.random.default_rng(0)
    rows, missing = rng.standard_normal((40, 1, 30)), rng.standard_normal((40, 1, 3))
    change = solve(sums(rows[:30], missing[:30]), sums(rows[30:], missing[30:]), intercept=False)
    assert change is None or np.abs(change.matrix).max() < 0.2


def test_inputs_that_are_always_zero_change_nothing() -> None:
    rows, missing, matrix, _ = problem()
    rows[:, :, 2] = 0
    missing = np.einsum("ngi,goi->ngo", rows, matrix)
    change = solve(sums(rows[:300], missing[:300]), sums(rows[300:], missing[300:]), intercept=True)
    assert change is not None
    assert not change.matrix[:, :, 2].any()


@pytest.mark.parametrize("groups", [1, 3])
def test_inputs_that_never_vary_change_nothing_but_the_bias(groups: int) -> None:
    rows, missing, _, _ = problem(groups)
    rows[:] = np.random.default_rng(1).standard_normal(rows.shape[1:]) * 7
    change = solve(sums(rows[:300], missing[:300], 5), sums(rows[300:], missing[300:], 5), intercept=True)
    assert change is not None
    assert np.abs(change.matrix).max() < 1e-3


def test_records_are_counted_through() -> None:
    kept = Kept([{"w": {"0": [0, 2, 4, 6]}}, {}, {"w": {"0": [1, 3], "1": [0]}}])
    assert kept.left("w", 0).tolist() == [2, 6]  # type: ignore[union-attr]
    assert kept.left("w", 1).tolist() == [0]  # type: ignore[union-attr]
    assert kept.left("w", 2) is None
