"""`graphopt.optimize`, with latencies that follow the MACs; the last test measures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest

import graphopt
from graphopt.cost import count, peak_memory
from graphopt.errors import BudgetError, DataError, InvalidModelError, RuntimeRefusedError, StudyError, TargetError, UnknownPassError
from graphopt.ir import Graph
from graphopt.quality import load_data
from graphopt.report import file_record, schema
from graphopt.search import Budget, Effort, Progress, Timing
from graphopt.search.aim import Aimed
from graphopt.search.bench import FINAL
from graphopt.search.parts import parts_of
from graphopt.search.request import Request
from graphopt.search.setup import prepare

from ..cost.staircase import predictor
from ..models import serialised
from ..networks import network, write_data, write_network
from .fakes import FakeBench, fake_cpu, latency

EXAMPLE = Path(__file__).parents[2] / "examples" / "single_file_pass.py"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_network(tmp_path / "m.onnx")


pytestmark = pytest.mark.usefixtures("short")


@pytest.fixture
def computed(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Latency and quality are computed from the MACs."""
    monkeypatch.setattr("graphopt.search.setup.CpuBench", fake_cpu(graph=graphopt.load(model)))


@pytest.mark.usefixtures("computed")
def test_a_speedup_is_met_and_reported(model: Path) -> None:
    found = graphopt.optimize(model, speedup=1.5, seed=3)
    report = json.loads(found.report.to_json())
    jsonschema.validate(report, schema())
    before, after = report["before"], report["after"]
    assert found.missed == ""
    assert before["latency_ms"] / after["latency_ms"] >= 1.5
    assert report["budget"] == {"speedup": 1.5}
    assert report["graphopt"]["seed"] == 3
    assert report["input"] == {"path": str(model), "sha256": file_record(model).sha256}
    assert report["output"] is None
    assert report["target"] == "cpu"
    assert [step["pass"].partition("{")[0] for step in report["steps"]] == ["simplify", "fuse-bn", "prune-channels"]
    for name, counted in (("before", count(graphopt.load(model))), ("after", count(found.graph))):
        assert (report[name]["params"], report[name]["macs"], report[name]["bytes"]) == (counted.params, counted.macs, counted.bytes)
    # The steps hang together, and their texts are the recipe.
    figures = [report["before"], *(step["after"] for step in report["steps"])]
    assert [step["before"]["macs"] for step in report["steps"]] == [figure["macs"] for figure in figures[:-1]]
    assert figures[-1]["macs"] == report["after"]["macs"]
    again = graphopt.run(graphopt.load(model), ",".join(step["pass"] for step in report["steps"]), seed=3, predictor=predictor())
    assert serialised(again.graph.to_proto()) == serialised(found.graph.to_proto())
    assert found.pipeline == again.pipeline


@pytest.mark.usefixtures("computed")
def test_without_a_budget_quality_may_drop_by_one_percent(model: Path, tmp_path: Path) -> None:
    found = graphopt.optimize(model, data=write_data(tmp_path / "d.npz"))
    assert found.report.budget == {"max_drop": 0.01}
    assert found.metric == "top1"
    assert found.samples == 4  # of 12; the others are for calibration and for the search


@pytest.mark.usefixtures("computed")
def test_the_metric_is_fidelity_without_labels_and_data_may_be_left_out(model: Path, tmp_path: Path) -> None:
    assert graphopt.optimize(model, speedup=1.2, data=write_data(tmp_path / "d.npz", labels=False)).metric == "fidelity"
    found = graphopt.optimize(model, speedup=1.2)
    assert (found.metric, found.report.before.quality) == ("fidelity", 1.0)
    assert "no data was given: fidelity on made-up inputs is only an indication of quality" in found.notes


@pytest.mark.usefixtures("computed")
def test_a_graph_stays_as_it_is(model: Path) -> None:
    graph = graphopt.load(model)
    found = graphopt.optimize(graph, speedup=2)
    assert serialised(graph.to_proto()) == serialised(network())
    assert found.report.input == file_record(model).__class__("network", file_record(model).sha256)


@pytest.mark.usefixtures("computed")
def test_a_missed_budget_raises_or_gives_the_best(model: Path) -> None:
    with pytest.raises(BudgetError, match=r"no model was found .* prunable: 99 % of parameters") as caught:
        graphopt.optimize(model, speedup=1e6)
    assert caught.value.exit_status == 1
    found = graphopt.optimize(model, speedup=1e6, best_effort=True)
    assert found.missed == str(caught.value)
    assert found.trials == ()  # it was said before any trial was made
    assert found.report.after.macs < 0.1 * found.report.before.macs


def test_a_missed_budget_says_what_is_frozen(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = graphopt.load(model)
    conv = next(node for node in graph.nodes if node.name == "conv2")
    graph.set_input(conv, 0, graph.add_node("RandomUniformLike", [graph.value("r1")], ["s"], at=conv).output())
    monkeypatch.setattr("graphopt.search.setup.CpuBench", fake_cpu(graph=graph))
    with pytest.raises(BudgetError, match=r"prunable: \d\d % of parameters; .* held by .*: "):
        graphopt.optimize(graph, speedup=1e6)


def test_a_great_loss_is_remarked(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "graphopt.search.setup.CpuBench", fake_cpu(graph=graphopt.load(model), quality=lambda share: 1.0 if share == 1 else 0.1, noise=0.9)
    )
    notes = graphopt.optimize(model, speedup=1.5).notes
    assert any("fidelity fell from 1 to 0.1" in note for note in notes)
    assert any("this machine was busy while measuring" in note for note in notes)


@pytest.mark.usefixtures("computed")
def test_passes_of_a_plug_in_run_first(model: Path) -> None:
    found = graphopt.optimize(model, speedup=1.2, first="swap-activation{old=Relu new=Sigmoid}", plugins=[EXAMPLE])
    assert found.report.steps[0].text == "swap-activation{old=Relu new=Sigmoid}"
    assert [node.op_type for node in found.graph.nodes].count("Sigmoid") == 2


@pytest.mark.usefixtures("computed")
def test_the_same_seed_gives_the_same_model(model: Path) -> None:
    one, other = (graphopt.optimize(model, speedup=1.7, seed=5) for _ in range(2))
    assert serialised(one.graph.to_proto()) == serialised(other.graph.to_proto())


def test_what_cannot_be_used(model: Path, tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="no target 'jetsen-nano': did you mean"):
        graphopt.optimize(model, target="jetsen-nano")
    with pytest.raises(InvalidModelError, match="cannot read"):
        graphopt.optimize(tmp_path / "absent.onnx")
    with pytest.raises(DataError, match="there is no data file"):
        graphopt.optimize(model, data=tmp_path / "absent.npz")
    with pytest.raises(DataError, match="top1 needs labels"):
        graphopt.optimize(model, metric="top1")
    with pytest.raises(UnknownPassError):
        graphopt.optimize(model, first="simplfy")
    with pytest.raises(ValueError, match="speedup"):
        graphopt.optimize(model, speedup=0)
    broken = network()
    broken.graph.node[3].op_type = "NoSuchOperator"
    (tmp_path / "broken.onnx").write_bytes(broken.SerializeToString())
    with pytest.raises(RuntimeRefusedError):
        graphopt.optimize(tmp_path / "broken.onnx", speedup=1.5)


def test_a_metric_that_fails_is_named(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bad_metric.py").write_text("def explodes(session, data):\n    raise ZeroDivisionError('no samples')\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"metric 'bad_metric:explodes' failed: ZeroDivisionError: no samples"):
        graphopt.optimize(model, metric="bad_metric:explodes", speedup=1.5)


def test_parts_of_the_data(model: Path, tmp_path: Path) -> None:
    """What passes calibrate on, what the search chooses by and what is reported have no sample in common."""
    data = load_data(write_data(tmp_path / "d.npz", samples=20), graphopt.load(model))
    request = Request(str(model), Budget(speedup=1.5), data=data)
    parts = parts_of(request, graphopt.load(model))
    assert parts.calibration is not None
    firsts = [set(part.feeds["image"][:, 0, 0, 0].tolist()) for part in (parts.calibration, parts.validation, parts.test)]
    assert [len(part) for part in firsts] == [8, 6, 6]
    assert len(set.union(*firsts)) == 20
    with_own = parts_of(replace(request, calibration=data.first(3)), graphopt.load(model))
    assert with_own.calibration is not None
    assert (with_own.calibration.samples, with_own.validation.samples, with_own.test.samples) == (3, 10, 10)
    few = parts_of(replace(request, data=data.first(2)), graphopt.load(model))
    assert few.notes == ("the data has only 2 samples, too few to divide into 3 parts: the final figure is of what the search chose by",)


def test_outputs_that_are_no_numbers_fail_the_trial(model: Path, tmp_path: Path) -> None:
    setup = prepare(Request(str(model), Budget(speedup=1.5), data=write_data(tmp_path / "d.npz"), threads=1))
    broken = setup.original.copy()
    weight = broken.value("head.bias")
    broken.set_tensor(weight, np.full(4, np.nan, np.float32))
    assert setup.bench.quality(setup.original) <= 1
    with pytest.raises(DataError, match="output 'logits' of the model is not finite numbers everywhere, although the original's is"):
        setup.bench.quality(broken)


@pytest.mark.usefixtures("computed")
@pytest.mark.parametrize(
    "budget",
    [{"macs": 2e6}, {"params": 20_000}, {"bytes": 90_000}, {"peak_memory": 30_000, "macs": 2.4e6}, {"macs": 2.5e6, "speedup": 1.3}],
)
def test_other_budgets(model: Path, budget: dict[str, float]) -> None:
    found = graphopt.optimize(model, **budget)
    assert found.missed == ""
    assert found.report.budget == budget
    after = {**vars(found.report.after), "peak_memory": peak_memory(found.graph).peak}
    assert all(after[name] <= limit for name, limit in budget.items() if name != "speedup")


@pytest.mark.usefixtures("computed")
def test_a_study_is_gone_on_with(model: Path, tmp_path: Path) -> None:
    kept = str(tmp_path / "kept.db")
    one = graphopt.optimize(model, speedup=1.5, study=kept, strategy="random", trials=1)
    two = graphopt.optimize(model, speedup=1.5, study=kept, strategy="random", trials=1)
    assert [trial.pipeline for trial in two.trials] == [trial.pipeline for trial in one.trials]
    assert serialised(one.graph.to_proto()) == serialised(two.graph.to_proto())
    with pytest.raises(StudyError, match="of another search"):
        graphopt.optimize(model, speedup=1.6, study=kept)


@pytest.mark.usefixtures("computed")
def test_the_loss_that_is_allowed_bounds_the_size(model: Path) -> None:
    """Quality is the share of the MACs that is left."""
    found = graphopt.optimize(model, max_drop=0.5, trials=8)
    assert found.missed == ""
    assert 0.5 <= found.report.after.quality <= 0.7
    missed = graphopt.optimize(model, max_drop=0.1, macs=0.3 * found.report.before.macs, best_effort=True)
    assert "the best model that takes at most" in missed.missed
    assert "where 0.1 is allowed" in missed.missed


@pytest.mark.usefixtures("computed")
@pytest.mark.parametrize("aim", [0.3, 0.9])
def test_a_finalist_whose_aim_was_wrong_is_made_again(model: Path, aim: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too small, it leaves quality behind, which here is the share of the MACs that is left; too large, it misses the budget."""
    monkeypatch.setattr("graphopt.search.aim.Aiming.aimed", lambda self, needed: Aimed({"latency": aim}))
    found = graphopt.optimize(model, speedup=1.5)
    assert found.missed == ""
    assert 1.5 <= found.timing.speedup < 2  # the widths on offer are few
    assert len(found.trials) > 2


def test_a_finalist_that_is_too_slow_when_it_is_measured_longer_is_made_again(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Settling(FakeBench):
        """Every model but the original takes longer when it is measured longer."""

        def time(self, graphs: Sequence[Graph], effort: Effort) -> list[Timing]:
            slower = 1.3 if effort == FINAL else 1.0
            return [replace(each, latency=latency(each.latency.median_ms * slower)) for each in super().time(graphs, effort)]

    graph = graphopt.load(model)
    monkeypatch.setattr("graphopt.search.setup.CpuBench", lambda *_, **__: Settling(graph))
    found = graphopt.optimize(model, speedup=1.5)
    assert found.missed == ""
    assert found.timing.speedup >= 1.5


@pytest.mark.usefixtures("computed")
def test_without_time_left_what_misses_the_budget_is_made_again_and_what_keeps_it_is_not(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graphopt.search.job._OVERTIME", 0.0)
    for aim, least, most in ((0.3, 2.0, 10.0), (0.9, 1.5, 2.0)):
        monkeypatch.setattr("graphopt.search.aim.Aiming.aimed", lambda self, needed, aim=aim: Aimed({"latency": aim}))
        found = graphopt.optimize(model, speedup=1.5)
        assert found.missed == ""
        assert least <= found.timing.speedup < most


def test_a_loss_before_any_pruning(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graphopt.search.setup.CpuBench", fake_cpu(graph=graphopt.load(model), quality=lambda share: 1 - 0.5 * (share < 1)))
    found = graphopt.optimize(model, max_drop=0.01, first="prune-channels{ratio=0.5}", best_effort=True)
    assert "the passes before the search alone drop the quality from 1 to 0.5, by 0.5 where 0.01 is allowed" in found.missed


@pytest.mark.usefixtures("computed")
def test_sizes_that_nobody_knows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the latency cannot be predicted, time is taken to follow the multiply-accumulates until it is measured."""
    open_ = network()
    for axis in (2, 3):
        open_.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = f"side{axis}"
    path = tmp_path / "open.onnx"
    path.write_bytes(open_.SerializeToString())
    monkeypatch.setattr("graphopt.search.setup.CpuBench", fake_cpu(graph=graphopt.load(path)))
    found = graphopt.optimize(path, speedup=1.5)
    assert found.missed == ""
    assert found.pipeline.endswith("x-macs}")
    assert found.timing.speedup >= 1.5


@pytest.mark.usefixtures("computed")
def test_who_waits_is_told(model: Path) -> None:
    told: list[Progress] = []
    graphopt.optimize(model, speedup=1.5, watch=told.append)
    assert told[0].doing == "measuring the original"
    assert any(moment.best is not None and moment.made for moment in told)
    assert told[-1].doing == "scoring the best on the test part"


def test_a_metric_of_ones_own(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_metric.py").write_text("def outputs(session, data):\n    return float(len(session.get_outputs())) + data.samples\n")
    monkeypatch.chdir(tmp_path)
    found = graphopt.optimize(model, metric="my_metric:outputs", data=write_data(tmp_path / "d.npz"), max_drop=0.5, trials=1)
    assert (found.report.before.quality, found.report.after.quality) == (5.0, 5.0)  # 4 samples of the test part


def test_it_is_measured_on_this_machine(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is computed: the whole way, with a goal that any model meets."""
    data = load_data(write_data(tmp_path / "d.npz"), graphopt.load(model))
    found = graphopt.optimize(model, latency=10_000, data=data, threads=1, batch=4)
    assert found.missed == ""
    assert found.timing.latency.threads == 1
    assert found.report.after.latency_ms == found.timing.latency.median_ms > 0
    assert found.report.before.latency_ms == found.timing.original.median_ms
    assert found.report.after.quality == pytest.approx(found.report.before.quality)
    assert "BatchNormalization" not in [node.op_type for node in found.graph.nodes]
    assert found.changed
