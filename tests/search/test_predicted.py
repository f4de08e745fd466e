"""`optimize` for a target that is not at hand: nothing is measured."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

import graphopt
from graphopt.cost import Predictor, Target
from graphopt.errors import BudgetError
from graphopt.report import schema
from graphopt.search import PredictedBench
from graphopt.search.bench import FINAL, QUICK

from ..cost.staircase import predictor, residual, target
from ..networks import write_network

pytestmark = pytest.mark.usefixtures("short")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("targets") / "stairs"
    target().save(folder)
    return folder


@pytest.fixture
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measuring is an error."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("measured")

    monkeypatch.setattr("graphopt.search.bench.measure", refuse)


def test_the_bench_gives_the_prediction_whatever_the_effort() -> None:
    graph = residual()
    smaller = graphopt.run(graph, "prune-channels{ratio=0.5}").graph
    bench = PredictedBench(predictor(), graph, {"x": (2, 3, 8, 8)}, lambda scored: 0.5)
    quick, final = bench.time([smaller], QUICK), bench.time([smaller], FINAL)
    assert quick == final
    (timing,) = quick
    expected = predictor().predict(smaller, {"x": (2, 3, 8, 8)})
    assert (timing.latency.median_ms, timing.latency.low_ms, timing.latency.high_ms) == (expected.ms, expected.low_ms, expected.high_ms)
    assert timing.original.median_ms == predictor().predict(graph, {"x": (2, 3, 8, 8)}).ms
    assert timing.speedup > 1
    assert timing.uncertainty == 0
    assert bench.quality(smaller) == 0.5


@pytest.mark.usefixtures("unmeasured")
def test_a_budget_on_another_device(tmp_path: Path, folder: Path) -> None:
    model = write_network(tmp_path / "m.onnx")
    on_target = Predictor(Target.load(folder))
    before = on_target.predict(graphopt.load(model)).ms
    found = graphopt.optimize(model, target=str(folder), latency=before / 2)
    report = json.loads(found.report.to_json())
    jsonschema.validate(report, schema())
    assert found.missed == ""
    assert (report["predicted"], report["target"]) == (True, str(folder))
    after = on_target.predict(found.graph)
    assert report["after"]["latency_ms"] == after.ms <= before / 2
    assert report["after"]["latency_interval_ms"] == [after.low_ms, after.high_ms]
    assert report["before"]["latency_ms"] == before
    assert report["steps"][-1]["pass"].startswith("prune-channels{to=0.5x")
    again = graphopt.run(graphopt.load(model), ",".join(step["pass"] for step in report["steps"]), predictor=on_target)
    assert on_target.predict(again.graph).ms == after.ms


@pytest.mark.usefixtures("unmeasured")
def test_a_budget_out_of_reach_was_not_measured_either(tmp_path: Path, folder: Path) -> None:
    model = write_network(tmp_path / "m.onnx")
    with pytest.raises(BudgetError, match="the fastest that was predicted takes"):
        graphopt.optimize(model, target=str(folder), speedup=1e6)
