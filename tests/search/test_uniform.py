"""The bisection, on a bench whose latency follows the MACs: what is found is checked against every ratio there is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import graphopt
from graphopt.cost import count
from graphopt.ir import Graph
from graphopt.report import Run
from graphopt.search import Budget, Trial, UniformSearch
from graphopt.search.bench import FINAL, QUICK, SURE

from ..networks import write_network
from .fakes import FakeBench


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    return graphopt.load(write_network(tmp_path_factory.mktemp("uniform") / "m.onnx"))


@pytest.fixture(scope="module")
def make(graph: Graph) -> Callable[[float], Run]:
    return lambda ratio: graphopt.run(graph, f"prune-channels{{ratio={ratio}}}" if ratio else "")


@pytest.fixture(scope="module")
def macs(graph: Graph, make: Callable[[float], Run]) -> list[int]:
    """MACs for each percentage."""
    return [make(percent / 100).after.macs for percent in range(100)]


def searched(make: Callable[[float], Run], bench: FakeBench, watch: Any = None, **budget: float) -> UniformSearch:
    return UniformSearch(make, bench, Budget(**budget), 1.0, watch)


@pytest.mark.parametrize("speedup", [1.0, 1.01, 1.2, 1.5, 2.0, 3.0, 5.0])
def test_the_smallest_ratio_that_is_fast_enough(graph: Graph, make: Callable[[float], Run], macs: list[int], speedup: float) -> None:
    bench = FakeBench(graph)
    outcome = searched(make, bench, speedup=speedup).search()
    wanted = next(percent for percent in range(100) if macs[0] / macs[percent] >= speedup)
    assert not outcome.missed
    assert outcome.best.run.after.macs == macs[wanted]
    assert bench.timed[-1] == (macs[wanted], FINAL)
    assert outcome.best.quality == pytest.approx(macs[wanted] / macs[0])
    assert bench.scored == 1  # quality is measured of the answer alone


def test_a_limit_in_milliseconds(graph: Graph, make: Callable[[float], Run], macs: list[int]) -> None:
    limit = macs[40] / 1e6
    outcome = searched(make, FakeBench(graph), latency_ms=limit).search()
    assert not outcome.missed
    assert outcome.best.run.after.macs == macs[40]


def test_what_is_fast_enough_already_is_not_pruned(graph: Graph, make: Callable[[float], Run]) -> None:
    outcome = searched(make, FakeBench(graph), latency_ms=1e6).search()
    assert outcome.best.ratio == 0
    assert outcome.best.pipeline == ""


def test_a_budget_out_of_reach_names_the_fastest(graph: Graph, make: Callable[[float], Run], macs: list[int]) -> None:
    outcome = searched(make, FakeBench(graph), speedup=1000).search()
    assert outcome.best.run.after.macs == min(macs)
    assert "no model was found that takes 1/1000 of the original's time" in outcome.missed
    assert "with ratio 0.99" in outcome.missed
    assert outcome.best.quality is not None


def test_no_model_is_measured_twice_as_quickly(graph: Graph, make: Callable[[float], Run]) -> None:
    bench = FakeBench(graph)
    searched(make, bench, speedup=1.5).search()
    quick = [macs for macs, effort in bench.timed if effort is QUICK]
    assert len(quick) == len(set(quick)) <= 9


def test_near_the_limit_more_repeats_decide(graph: Graph, make: Callable[[float], Run], macs: list[int]) -> None:
    sure = FakeBench(graph, noise=0.1)
    limit = macs[50] / 1e6 * 1.001
    searched(make, sure, latency_ms=limit).search()
    assert (macs[50], SURE) in sure.timed
    assert not any(effort is SURE and abs(found / macs[50] - 1) > 0.1 for found, effort in sure.timed)


def test_on_a_busy_machine_the_steadiest_final_measurement_counts(graph: Graph, make: Callable[[float], Run], macs: list[int]) -> None:
    bench = FakeBench(graph)
    honest, noises = bench.time, iter([0.8, 0.4, 0.6])

    def busy(graphs: Any, effort: Any) -> Any:
        return FakeBench(graph, noise=next(noises)).time(graphs, effort) if effort is FINAL else honest(graphs, effort)

    bench.time = busy  # type: ignore[method-assign]
    outcome = searched(make, bench, latency_ms=macs[40] / 1e6).search()
    assert next(noises, None) is None
    assert outcome.best.timing is not None
    assert outcome.best.timing.latency.noise == pytest.approx(0.4)


def test_where_the_last_measurement_disagrees_the_next_ratio_is_tried(graph: Graph, make: Callable[[float], Run], macs: list[int]) -> None:
    bench = FakeBench(graph)
    honest = bench.time

    def optimistic(graphs: Any, effort: Any) -> Any:
        timings = honest(graphs, effort)
        if effort is FINAL and count(graphs[0]).macs == macs[40]:
            return FakeBench(graph, lambda macs_: 1.0).time(graphs, effort)  # as slow as the original
        return timings

    bench.time = optimistic  # type: ignore[method-assign]
    outcome = searched(make, bench, latency_ms=macs[40] / 1e6).search()
    assert not outcome.missed
    assert outcome.best.run.after.macs == max(m for m in macs if m < macs[40])


def test_fewer_channels_may_be_slower(graph: Graph, make: Callable[[float], Run], macs: list[int]) -> None:
    """The largest ratio is slow, but one below it is fast enough."""
    bench = FakeBench(graph, lambda found: 10.0 if found == min(macs) else found / 1e6)
    outcome = searched(make, bench, latency_ms=macs[75] / 1e6).search()
    assert not outcome.missed
    assert outcome.best.run.after.macs == macs[75]


@pytest.mark.parametrize("drop", [0.0, 0.05, 0.3, 0.6, 0.95])
def test_the_fastest_whose_loss_is_allowed(graph: Graph, make: Callable[[float], Run], macs: list[int], drop: float) -> None:
    bench = FakeBench(graph)
    outcome = searched(make, bench, max_drop=drop).search()
    assert not outcome.missed
    assert outcome.best.run.after.macs == min(found for found in macs if 1 - found / macs[0] <= drop + 1e-5)
    assert bench.timed[-1][1] is FINAL


def test_quality_is_not_given_away_for_nothing(graph: Graph, make: Callable[[float], Run]) -> None:
    """Where pruning does not make it faster, nothing is pruned."""
    outcome = searched(make, FakeBench(graph, lambda macs: 1.0 + macs * 1e-12), max_drop=0.5).search()
    assert outcome.best.ratio == 0


def test_both_limits_hold(graph: Graph, make: Callable[[float], Run], macs: list[int]) -> None:
    outcome = searched(make, FakeBench(graph), speedup=1.5, max_drop=0.9).search()
    assert not outcome.missed
    assert outcome.best.run.after.macs == max(found for found in macs if macs[0] / found >= 1.5)


def test_both_limits_cannot_hold(graph: Graph, make: Callable[[float], Run], macs: list[int]) -> None:
    outcome = searched(make, FakeBench(graph), speedup=4, max_drop=0.3).search()
    assert "needs ratio" in outcome.missed
    assert "where 0.3 is allowed" in outcome.missed
    assert outcome.best.run.after.macs == min(found for found in macs if 1 - found / macs[0] <= 0.3)


def test_a_loss_before_any_pruning(graph: Graph, make: Callable[[float], Run]) -> None:
    outcome = searched(make, FakeBench(graph, quality=lambda share: 0.5), max_drop=0.01).search()
    assert "the passes before pruning alone drop the quality from 1 to 0.5, by 0.5 where 0.01 is allowed" in outcome.missed


def test_the_watcher_sees_every_trial(graph: Graph, make: Callable[[float], Run]) -> None:
    seen: list[Trial] = []
    search = searched(make, FakeBench(graph), seen.append, speedup=1.5)
    outcome = search.search()
    assert set(seen) == set(search.trials)
    assert seen[-1] is outcome.best
    assert all(trial.timing is not None for trial in search.trials)
