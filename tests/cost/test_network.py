from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from graphopt.cost.network import Correction, Totals, fit_correction, spilled_bytes, streamed_bytes

RNG = np.random.default_rng(0)
TOTALS = [
    Totals(float(ms), float(n), float(w))
    for ms, n, w in zip(RNG.uniform(1, 40, 60), RNG.integers(10, 200, 60), RNG.uniform(1e6, 6e7, 60), strict=True)
]
TRUTH = Correction(1.05, 0.0005, 0.025, 0.004, 0.03, 6.0)


def test_the_correction_is_found() -> None:
    found = fit_correction(TOTALS, [TRUTH.ms(totals) for totals in TOTALS])
    off = [found.ms(totals) / TRUTH.ms(totals) - 1 for totals in TOTALS]
    assert np.abs(off).mean() < 0.003


def test_no_network_no_correction() -> None:
    assert fit_correction([], []) == Correction()
    assert Correction().ms(Totals(3.0, 10, 1e6)) == 3.0


def test_few_networks_stay_near_the_prior() -> None:
    found = fit_correction(TOTALS[:1], [TOTALS[0].kernels_ms * 1.5])
    assert 1.0 < found.scale < 1.5
    assert found.scale > fit_correction(TOTALS[:1], [TOTALS[0].kernels_ms * 1.01]).scale


def test_one_network_far_off_does_not_spoil_the_others() -> None:
    times = [TRUTH.ms(totals) for totals in TOTALS[:20]]
    times[3] *= 3
    found = fit_correction(TOTALS[:20], times)
    off = sorted(abs(found.ms(totals) / TRUTH.ms(totals) - 1) for totals in TOTALS)
    assert np.median(off) < 0.05


def test_a_large_cost_of_a_run_is_only_believed_where_kernels_were_measured_otherwise() -> None:
    times = [totals.kernels_ms + 2.0 for totals in TOTALS[:12]]
    assert fit_correction(TOTALS[:12], times, alike=False).run_ms > fit_correction(TOTALS[:12], times).run_ms
    assert fit_correction(TOTALS[:12], times, alike=False).run_ms == pytest.approx(2.0, rel=0.3)


def test_products_and_others_count_apart() -> None:
    correction = Correction(1.1, 0.001, 0.02, 0.003, 0.05, 6.0, products=1.2, others=0.9)
    correction = replace(correction, plain=0.8)
    totals = Totals(10.0, 20, 8e6, products_ms=4.0, others_ms=1.0, plain_ms=2.0)
    expected = 1.1 * (3.0 + 1.2 * 4.0 + 0.9 * 1.0 + 0.8 * 2.0) + 0.001 * 20 + 0.003 * 6 + 0.05
    expected += 0.02 * 2 / (1 + 10.3**-4)  # of what is wanted again after 10.3 ms
    assert correction.ms(totals) == pytest.approx(expected)
    weighed = (
        3.0 * correction.factor("nchwc.dense")
        + 2.0 * correction.factor("conv.dense")
        + 4.0 * correction.factor("gemm")
        + 1.0 * correction.factor("relu")
    )
    assert correction.times(np.array([weighed]), np.array([20.0]), np.array([8e6]), np.array([0.0])) == pytest.approx([expected])
    assert correction.streamed(totals.weight_bytes, expected) == pytest.approx(0.04 / (1 + expected**-4) / expected)


def test_weights_are_streamed_whole_by_products_and_in_part_by_convolutions() -> None:
    assert streamed_bytes("gemm", 3e6) == 3e6
    assert streamed_bytes("nchwc.dense", 3e6) == streamed_bytes("conv.depthwise", 3e6) == pytest.approx(2.4e6)
    assert streamed_bytes("gather", 3e6) == 0.0
    assert streamed_bytes("gemm", 100e6) == streamed_bytes("gemm", 6e6)  # beyond 6 MB its own time tells


def test_weights_that_are_wanted_again_soon_are_still_in_the_cache() -> None:
    correction = Correction(beyond_ms_per_mb=0.05, cache_mb=6.0)
    extra = [correction.ms(Totals(ms, 0, 26e6)) - ms for ms in (0.1, 1.0, 9.0, 1e6)]
    assert extra == pytest.approx([0.0, 0.5, 1.0, 1.0], abs=1e-3)


def test_weights_that_no_longer_fit_are_all_read_again() -> None:
    correction = Correction(cycled_ms_per_mb=0.01)
    extra = [correction.ms(Totals(50.0, 0, mb * 1e6)) - 50 for mb in (0.0, 1.0, 6.0, 60.0)]
    assert extra == pytest.approx([0.0, 0.0, 0.03, 0.6], abs=1e-3)
    assert correction.streamed(60e6, 50.0) == pytest.approx(0.012, rel=1e-3)
    found = fit_correction(TOTALS, [correction.ms(total) for total in TOTALS])
    assert found.cycled_ms_per_mb == pytest.approx(0.01, rel=0.3)
    assert fit_correction(TOTALS, [correction.ms(total) for total in TOTALS], alike=False).cycled_ms_per_mb == 0


@pytest.mark.parametrize("total", [Totals(10.0, 40, 2e6), Totals(0.5, 20, 0.5e6), Totals(40.0, 90, 4e7)], ids=["like", "smaller", "larger"])
def test_the_law_is_as_unsure_of_a_network_as_its_leverage_says(total: Totals) -> None:
    rng = np.random.default_rng(0)
    networks = [Totals(float(ms), float(n), float(w)) for ms, n, w in rng.uniform((2, 10, 1e6), (20, 100, 8e6), (12, 3))]
    usual = float(np.median([each.kernels_ms / each.launches for each in networks]))
    off = []
    for _ in range(300):
        # Laws as the prior expects them.
        scale, launch, beyond, within, run, lasting, cycled = rng.normal(size=7) * (0.1, 0.02 * usual, 0.03, 0.003, 0.1, 0.3, 0.03)
        truth = Correction(1 + scale, launch, beyond, within, run, lasting=lasting, cycled_ms_per_mb=cycled)
        found = fit_correction(networks, [truth.ms(each) * (1 + 0.03 * rng.normal()) for each in networks])
        off.append((found.ms(total) / truth.ms(total) - 1) / 0.03 / found.leverage(total, truth.ms(total)) ** 0.5)
    assert 0.7 < float(np.sqrt(np.mean(np.square(off)))) < 1.4


def test_a_law_that_was_not_fitted_says_nothing_of_how_unsure_it_is() -> None:
    assert Correction(1.1).leverage(TOTALS[0], 10.0) == 0.0
    assert fit_correction(TOTALS, [TRUTH.ms(total) for total in TOTALS]).leverage(Totals(0.0, 0, 0.0), 0.0) == 0.0


def test_networks_of_more_than_a_millisecond_may_take_longer_than_their_kernels_and_shorter_ones_not() -> None:
    sums = np.geomspace(0.2, 20, 40)
    totals = [Totals(float(ms), 20, 1e6) for ms in sums]
    found = fit_correction(totals, [ms * (1.15 if ms > 1 else 1.0) for ms in sums])
    assert [found.ms(Totals(ms, 20, 1e6)) / ms for ms in (0.3, 0.5, 2.0, 5.0, 15.0)] == pytest.approx(
        [1.0, 1.0, 1.15, 1.15, 1.15], abs=0.02
    )


def test_activations_that_leave_the_cache_cost_by_the_byte() -> None:
    assert [spilled_bytes(each) for each in (2e6, 5e6, 9e6, 30e6)] == [0.0, 1e6, 5e6, 12e6]  # beyond 16 MB its own time tells
    totals = [replace(total, spilled_bytes=2e6 * place) for place, total in enumerate(TOTALS)]
    truth = replace(TRUTH, spilled_ms_per_mb=0.015)
    found = fit_correction(totals, [truth.ms(total) for total in totals])
    assert found.spilled_ms_per_mb == pytest.approx(0.015, rel=0.2)
    assert fit_correction(totals, [truth.ms(total) for total in totals], alike=False).spilled_ms_per_mb == 0
