from __future__ import annotations

import numpy as np
import pytest

from graphopt.cost.features import describe
from graphopt.cost.residual import Smoothness, fit_residuals, fit_smoothness, residuals

from .kernels_by_law import BLOCK, conv, elementwise

WIDTHS = range(16, 272, 16)
KERNELS = [describe(conv(cin, cout, 14), BLOCK) for cin in WIDTHS for cout in WIDTHS]


def _wave(kernel_places: list[dict[str, float]]) -> np.ndarray:
    return np.array([0.2 * np.sin(1.5 * place["made"]) + 0.1 * np.cos(place["taken"]) for place in kernel_places])


RATIOS = _wave([dict(kernel.place) for kernel in KERNELS])
SEEN = np.arange(len(KERNELS)) % 3 == 0
MEASURED = [kernel for kernel, seen in zip(KERNELS, SEEN, strict=True) if seen]
HIDDEN = [kernel for kernel, seen in zip(KERNELS, SEEN, strict=True) if not seen]


def test_ratios_between_measured_kernels_are_found() -> None:
    found = residuals(MEASURED, RATIOS[SEEN], fit_residuals(MEASURED, RATIOS[SEEN]))
    mean, sigma = found.at(HIDDEN, unknown=0.5)
    assert np.abs(mean - RATIOS[~SEEN]).mean() < 0.01
    assert sigma.max() < 0.1


def test_far_away_nothing_is_claimed() -> None:
    smooth = fit_residuals(MEASURED, RATIOS[SEEN])
    found = residuals(MEASURED, RATIOS[SEEN], smooth)
    far = describe(conv(16, 16, 3584, 11), BLOCK)
    mean, sigma = found.at([far], unknown=0.5)
    near_mean, near_sigma = found.at([MEASURED[0]], unknown=0.5)
    assert abs(mean[0]) < abs(RATIOS[SEEN]).max()
    assert sigma[0] > 2 * near_sigma[0]
    assert near_mean[0] == pytest.approx(RATIOS[SEEN][0], abs=0.03)


def test_the_ratio_fades_with_distance() -> None:
    one = [describe(conv(64, 64, 14), BLOCK)]
    smooth = {"nchwc.dense": Smoothness(0.2, 0.01, {"made": 0.5})}
    found = residuals(one, np.array([0.3]), smooth)
    mean, sigma = found.at([describe(conv(64, width, 14), BLOCK) for width in (64, 96, 192, 1024)], unknown=0.5)
    assert list(mean) == sorted(mean, reverse=True)
    assert list(sigma) == sorted(sigma)
    assert mean[-1] == pytest.approx(0, abs=1e-2)


def test_a_family_without_measurements_is_unsure() -> None:
    found = residuals(MEASURED, RATIOS[SEEN], fit_residuals(MEASURED, RATIOS[SEEN]))
    mean, sigma = found.at([describe(elementwise("Relu", 8))], unknown=0.5)
    assert (mean[0], sigma[0]) == (0, 0.5)


def test_one_sample_is_enough_to_start() -> None:
    one = [describe(conv(64, 64, 14), BLOCK)]
    mean, _ = residuals(one, np.array([0.1]), fit_residuals(one, np.array([0.1]))).at(one, unknown=0.5)
    assert 0.05 < mean[0] <= 0.1


def test_noise_is_told_from_shape() -> None:
    rng = np.random.default_rng(0)
    noisy = fit_smoothness(MEASURED, rng.normal(size=len(MEASURED)) * 0.1)
    smooth = fit_smoothness(MEASURED, RATIOS[SEEN])
    assert noisy.noise > 3 * smooth.noise
