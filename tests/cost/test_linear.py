from __future__ import annotations

import numpy as np
import pytest

from graphopt.cost.features import describe
from graphopt.cost.linear import ALL, LinearModel, fit_from_kernels, robust_nnls

from .kernels_by_law import BLOCK, BYTE_MS, LAUNCH_MS, MAC_MS, conv, elementwise, gemm, law

WIDTHS = (16, 32, 48, 96, 160, 256)
DENSE = [describe(conv(cin, cout, size), BLOCK) for cin in WIDTHS for cout in WIDTHS for size in (7, 14, 28)]
TIMES = np.array([law(kernel.signature, wave=0) for kernel in DENSE])


def test_the_law_is_found() -> None:
    model = fit_from_kernels(DENSE, TIMES)
    assert model.ms(DENSE) == pytest.approx(TIMES, rel=1e-3)
    parts = model.parts(DENSE[-1])
    assert sum(parts.values()) == pytest.approx(TIMES[-1], rel=1e-3)
    # Which of the amounts that grow with the operations gets the price is open, as none differs from them in these kernels.
    work = parts.keys() - {"launch", "in_bytes", "out_bytes", "weight_bytes", "out_elements"}
    assert sum(parts[name] for name in work) == pytest.approx(MAC_MS * DENSE[-1].features["macs"], rel=0.2)


def test_outliers_do_not_move_it() -> None:
    rng = np.random.default_rng(0)
    disturbed = TIMES.copy()
    disturbed[rng.choice(len(TIMES), 6, replace=False)] *= 5
    off = np.abs(fit_from_kernels(DENSE, disturbed).ms(DENSE) / TIMES - 1)
    assert np.median(off) < 0.02


def test_prices_are_never_negative() -> None:
    rng = np.random.default_rng(0)
    model = fit_from_kernels(DENSE, TIMES * np.exp(rng.normal(size=len(TIMES)) * 0.3))
    assert all(price >= 0 for law_ in (*model.families.values(), *model.kins.values()) for price in law_.values())


def test_a_family_of_few_samples_keeps_the_first_features_and_leans_on_its_kin() -> None:
    few = [describe(conv(64, 64, size, 1), BLOCK) for size in (14, 28)]
    times = np.array([law(kernel.signature, wave=0) for kernel in few])
    model = fit_from_kernels([*DENSE, *few], [*TIMES, *times])
    assert set(model.families["nchwc.pointwise"]) <= {"launch", "macs", "weight_bytes", "in_bytes", "out_bytes"}
    other = describe(conv(256, 256, 56, 1), BLOCK)
    assert model.ms([other])[0] == pytest.approx(law(other.signature, wave=0), rel=0.5)


def test_a_family_without_a_law_takes_that_of_its_kin_then_of_all() -> None:
    model = fit_from_kernels(DENSE, TIMES)
    grouped, matrix = describe(conv(64, 64, 14, operator="Conv")), describe(gemm(64, 64, 64))
    assert not model.knows(grouped.family)
    assert model.law(grouped.family) == model.kins["convolution"]
    assert model.law(matrix.family) == model.kins[ALL]
    assert model.ms([matrix])[0] > 0


def test_without_any_law_nothing_is_known() -> None:
    model = LinearModel({})
    assert model.ms([describe(elementwise("Relu", 4))])[0] == 0


def test_no_rows_no_prices() -> None:
    assert robust_nnls(np.zeros((0, 3)), np.zeros(0)).tolist() == [0, 0, 0]


def test_launches_alone() -> None:
    kernels = [describe(elementwise("Relu", 1, 1, 1, size)) for size in range(1, 40)]
    times = [LAUNCH_MS + BYTE_MS * kernel.features["in_bytes"] for kernel in kernels]
    assert fit_from_kernels(kernels, times).parts(kernels[0])["launch"] == pytest.approx(LAUNCH_MS, rel=0.05)
