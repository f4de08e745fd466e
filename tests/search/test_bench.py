from __future__ import annotations

from pathlib import Path

import pytest

import graphopt
from graphopt.quality import Fidelity, predict, session, synthetic_inputs
from graphopt.search import CpuBench, Effort, Timing

from ..networks import write_network
from .fakes import latency


def test_speedup_and_its_uncertainty() -> None:
    timing = Timing(latency(3.0, noise=0.3, repeats=9), latency(2.0, noise=0.4, repeats=16))
    assert timing.speedup == pytest.approx(1.5)
    assert timing.uncertainty == pytest.approx(2 * 0.93 * (0.1**2 + 0.1**2) ** 0.5)


def test_the_original_is_measured_beside_each_and_scores_as_itself(tmp_path: Path) -> None:
    graph = graphopt.load(write_network(tmp_path / "m.onnx"))
    smaller = graphopt.run(graph, "prune-channels{ratio=0.5}").graph
    opened, data = session(graph, 1), synthetic_inputs(graph, samples=3)
    bench = CpuBench(opened, data, Fidelity(predict(opened, data)), threads=1)
    one, other = bench.time([graph, smaller], Effort(3, 0.05, 0.5))
    assert one.original is other.original
    assert one.latency.threads == 1
    assert one.latency.repeats >= 3
    assert bench.quality(graph) == pytest.approx(1)
    assert bench.quality(smaller) < 1
