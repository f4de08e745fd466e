"""`graphopt.run`: a pipeline over a copy of a graph, with figures around each pass."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import graphopt
from graphopt.cost import count
from graphopt.errors import PluginError, UnknownPassError
from graphopt.pipeline import Pipeline, StopAfter
from graphopt.quality import load_data
from graphopt.report import Figures, figures, run

from ..models import serialised
from ..networks import CHANNELS, network, write_data, write_network

EXAMPLE = Path(__file__).parents[2] / "examples" / "single_file_pass.py"


@pytest.fixture
def graph(tmp_path: Path) -> graphopt.Graph:
    return graphopt.load(write_network(tmp_path / "m.onnx"))


def test_an_empty_pipeline_gives_the_same_model(graph: graphopt.Graph) -> None:
    done = graphopt.run(graph, "")
    assert serialised(done.graph.to_proto()) == serialised(network())
    assert done.graph is not graph
    assert (done.steps, done.changed, done.pipeline, done.before) == ((), False, "", done.after)


def test_figures_around_each_pass(graph: graphopt.Graph) -> None:
    done = run(graph, "fuse-bn,prune-channels{ratio=0.5}")
    assert serialised(graph.to_proto()) == serialised(network())  # a copy was changed
    fused, pruned = done.steps
    assert fused.before == figures(done.before) == figures(count(graph))
    assert fused.after == pruned.before
    assert pruned.after == figures(done.after) == figures(count(done.graph))
    assert fused.after.params < fused.before.params
    assert pruned.after.macs < pruned.before.macs
    assert (pruned.after.latency_ms, pruned.after.quality) == (None, None)
    assert done.pipeline == "fuse-bn,prune-channels"  # 0.5 is the default
    assert done.changed
    assert pruned.kept["conv2.weight"]["0"] == sorted(pruned.kept["conv2.weight"]["0"])
    assert len(pruned.kept["conv2.weight"]["0"]) == CHANNELS // 2
    assert any(skip.why for skip in pruned.skipped)
    assert pruned.seconds > 0


def test_pruning_alone_folds_renames_and_fuses_nothing(graph: graphopt.Graph) -> None:
    done = graphopt.run(graph, "prune-channels{ratio=0.5 criterion=l2}")
    assert [node.name for node in done.graph.nodes] == [node.name for node in graph.nodes]
    assert [node.op_type for node in done.graph.nodes] == [node.op_type for node in graph.nodes]
    assert [value.name for value in done.graph.initializers] == [value.name for value in graph.initializers]
    (step,) = done.steps
    for name, axes in step.kept.items():
        before, after = graph.constant(graph.value(name)), done.graph.constant(done.graph.value(name))
        assert before is not None
        for axis, indices in axes.items():
            before = np.take(before, indices, axis=int(axis))
        np.testing.assert_array_equal(before, after)


def test_a_pipeline_object_data_seed_plugins_and_instruments(graph: graphopt.Graph, tmp_path: Path) -> None:
    assert graphopt.run(graph, Pipeline()).graph is not graph
    data = load_data(write_data(tmp_path / "d.npz"), graph)
    for given in (data, data.feeds):
        assert graphopt.run(graph, "simplify", data=given, seed=1).pipeline == "simplify"
    done = graphopt.run(graph, "swap-activation{old=Relu new=Elu}", plugins=[EXAMPLE])
    assert [node.op_type for node in done.graph.nodes].count("Elu") == 2
    assert not graphopt.run(graph, "prune-channels", instruments=[StopAfter(0)]).changed
    one, other = (graphopt.run(graph, "prune-channels{criterion=random}", seed=seed).steps[0].kept for seed in (0, 1))
    assert one != other


def test_two_runs_as_one(graph: graphopt.Graph) -> None:
    first = graphopt.run(graph, "fuse-bn")
    both = first.then(graphopt.run(first.graph, "prune-channels{ratio=0.25}"))
    assert both.pipeline == "fuse-bn,prune-channels{ratio=0.25}"
    assert (both.before, both.graph.name) == (first.before, "network")
    assert both.after == graphopt.run(graph, both.pipeline).after


def test_notes_say_what_is_taken_for_granted(graph: graphopt.Graph) -> None:
    assert graphopt.run(graph, "").notes == ("MACs are counted with dimension 'batch' taken as 1",)
    graph.add_node("Mystery", [graph.value("r1")], ["strange"], domain="com.example")
    assert "MACs leave out nodes that cannot be counted: 1 x com.example.Mystery" in graphopt.run(graph, "").notes


def test_errors_pass_through(graph: graphopt.Graph, tmp_path: Path) -> None:
    with pytest.raises(UnknownPassError):
        graphopt.run(graph, "no-such-pass")
    with pytest.raises(PluginError):
        graphopt.run(graph, "", plugins=[tmp_path / "absent.py"])


def test_counts_become_figures(graph: graphopt.Graph) -> None:
    counted = count(graph)
    assert figures(counted, 1.5, 0.9) == Figures(counted.params, counted.macs, counted.bytes, 1.5, 0.9)
