from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from graphopt.cost.features import describe
from graphopt.cost.pooled import Observed, PoolOptions, fit_from_networks, leave_one_out

from .kernels_by_law import BLOCK, conv, law, random_network

RNG = np.random.default_rng(3)
NETWORKS = []
for place in range(24):
    sigs = random_network(RNG)
    NETWORKS.append(Observed(f"{place}", [(describe(sig, BLOCK), 1) for sig in sigs], sum(law(sig, wave=0) for sig in sigs) + 0.2))
TIMES = np.array([network.ms for network in NETWORKS])
FIXED = PoolOptions(strength=0.001, constant=True)


def test_networks_that_the_fit_did_not_see_are_predicted() -> None:
    off = np.abs(leave_one_out(NETWORKS, FIXED) / TIMES - 1)
    assert off.mean() < 0.03


def test_the_constant_of_a_run_is_found() -> None:
    with_it = fit_from_networks(NETWORKS, FIXED)
    assert 0.05 < with_it.constant_ms < 0.5
    assert fit_from_networks(NETWORKS, replace(FIXED, constant=False)).constant_ms == 0


def test_what_is_known_already_is_kept_but_for_a_scale() -> None:
    known = [
        Observed(n.name, [pair for pair in n.kernels if pair[0].family == "relu"], n.ms, n.ms * 0.8)
        for n in NETWORKS
        if any(kernel.family == "relu" for kernel, _ in n.kernels)
    ]
    fit = fit_from_networks(known, FIXED)
    assert 0.8 < fit.scale < 1.3
    assert set(fit.model.families) == {"relu"}


def test_a_family_that_is_ignored_costs_nothing() -> None:
    fit = fit_from_networks(NETWORKS, replace(FIXED, ignored=frozenset({"relu"})))
    relu = next(kernel for network in NETWORKS for kernel, _ in network.kernels if kernel.family == "relu")
    assert fit.model.ms([relu])[0] == 0


def test_groups_share_prices() -> None:
    fit = fit_from_networks(NETWORKS, replace(FIXED, groups={"nchwc.dense": "conv", "nchwc.pointwise": "conv"}))
    assert fit.model.families["nchwc.dense"] == fit.model.families["nchwc.pointwise"] != fit.model.families["nchwc.depthwise"]


def test_a_strong_pull_makes_one_law_of_kin() -> None:
    fit = fit_from_networks(NETWORKS, replace(FIXED, strength=1e6))
    dense, pointwise = fit.model.families["nchwc.dense"], fit.model.families["nchwc.pointwise"]
    assert dense["macs"] == pytest.approx(pointwise["macs"], rel=0.01)


def test_the_pull_is_chosen_where_none_is_given() -> None:
    fit = fit_from_networks(NETWORKS[:10])
    assert fit.strength > 0
    assert fit.model.ms([describe(conv(64, 64, 28), BLOCK)])[0] > 0


def test_a_price_for_traffic_is_one_for_both_directions() -> None:
    prices = fit_from_networks(NETWORKS, FIXED).model.families["nchwc.dense"]
    assert prices["in_bytes"] == prices["out_bytes"]
