"""`graphopt.optimize`, with latencies that follow the MACs; the last test measures."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

import graphopt
from graphopt.cost import count
from graphopt.errors import BudgetError, DataError, InvalidModelError, RuntimeRefusedError, TargetError, UnknownPassError
from graphopt.quality import load_data
from graphopt.report import file_record, schema

from ..models import serialised
from ..networks import network, write_data, write_network
from .fakes import fake_cpu

EXAMPLE = Path(__file__).parents[2] / "examples" / "single_file_pass.py"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_network(tmp_path / "m.onnx")


@pytest.fixture
def computed(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Latency and quality are computed from the MACs."""
    monkeypatch.setattr("graphopt.search.job.CpuBench", fake_cpu(graph=graphopt.load(model)))


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
    again = graphopt.run(graphopt.load(model), ",".join(step["pass"] for step in report["steps"]), seed=3)
    assert serialised(again.graph.to_proto()) == serialised(found.graph.to_proto())


@pytest.mark.usefixtures("computed")
def test_without_a_budget_quality_may_drop_by_one_percent(model: Path, tmp_path: Path) -> None:
    found = graphopt.optimize(model, data=write_data(tmp_path / "d.npz"))
    assert found.report.budget == {"max_drop": 0.01}
    assert found.metric == "top1"
    assert found.samples == 12


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
    assert found.report.after.macs == min(trial.run.after.macs for trial in found.trials)


def test_a_missed_budget_says_what_is_frozen(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = graphopt.load(model)
    conv = next(node for node in graph.nodes if node.name == "conv2")
    graph.set_input(conv, 0, graph.add_node("RandomUniformLike", [graph.value("r1")], ["s"], at=conv).output())
    monkeypatch.setattr("graphopt.search.job.CpuBench", fake_cpu(graph=graph))
    with pytest.raises(BudgetError, match=r"prunable: \d\d % of parameters; .* held by .*: "):
        graphopt.optimize(graph, speedup=1e6)


def test_a_great_loss_is_remarked(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graphopt.search.job.CpuBench", fake_cpu(graph=graphopt.load(model), quality=lambda share: 0.1, noise=0.9))
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


def test_a_metric_of_ones_own(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_metric.py").write_text("def outputs(session, data):\n    return float(len(session.get_outputs())) + data.samples\n")
    monkeypatch.chdir(tmp_path)
    found = graphopt.optimize(model, metric="my_metric:outputs", data=write_data(tmp_path / "d.npz"), max_drop=0.5)
    assert (found.report.before.quality, found.report.after.quality) == (13.0, 13.0)


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
