"""Values inside a model, with stored ones in between, are those of the whole model."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto

import graphopt.ir as ir
from graphopt.errors import DataError
from graphopt.repair import Stream, Walk, calibration, errors_of_runs
from graphopt.repair import frontier as frontier_module
from tests.channels.build import Build
from tests.channels.masked import run
from tests.networks import network


def graph_and_data(samples: int = 130) -> tuple[ir.Graph, dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    return ir.Graph.from_proto(network()), {"image": rng.standard_normal((samples, 3, 8, 8)).astype(np.float32)}


def everything(graph: ir.Graph, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    model = graph.to_proto()
    known = {output.name for output in model.graph.output}
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for node in model.graph.node for name in node.output if name not in known)
    return run(model, feeds)


def joined(parts: list[dict[ir.Value, np.ndarray]], value: ir.Value) -> np.ndarray:
    return np.concatenate([part[value] for part in parts])


def test_values_come_run_by_run() -> None:
    graph, feeds = graph_and_data()
    expected = everything(graph, feeds)
    targets = [graph.value(name) for name in ("image", "c1", "r2", "logits")]
    parts = list(Stream(graph, calibration(graph, feeds)).values(targets))
    assert len(parts) > 1
    for target in targets:
        np.testing.assert_allclose(joined(parts, target), feeds.get(target.name, expected.get(target.name)), atol=1e-4)


def test_edits_after_what_is_stored_are_seen_and_nothing_before_it_runs_again() -> None:
    graph, feeds = graph_and_data()
    stream = Stream(graph, calibration(graph, feeds))
    stream.advance([graph.value("r1")])
    graph.set_tensor(graph.value("conv1.weight"), np.full((64, 3, 3, 3), np.nan, np.float32))
    graph.set_tensor(graph.value("conv2.weight"), np.zeros((64, 64, 3, 3), np.float32))
    found = joined(list(stream.values([graph.value("c2")])), graph.value("c2"))
    stream.close()
    bias = graph.constant(graph.value("conv2.bias"))
    assert bias is not None
    np.testing.assert_allclose(found, np.broadcast_to(bias.reshape(1, 64, 1, 1), found.shape), atol=1e-6)


@pytest.mark.parametrize("limit", [2**32, 0])
def test_a_walk_gives_the_same_whether_it_may_store_or_not(monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    monkeypatch.setattr(frontier_module, "_LARGEST_STORE", limit)
    graph, feeds = graph_and_data()
    expected = everything(graph, feeds)
    walk = Walk(graph, calibration(graph, feeds))
    for node in (*graph.nodes, graph.nodes[2]):  # also one step back
        value = node.output()
        np.testing.assert_allclose(joined(list(walk.values([value], node)), value), expected[value.name], atol=1e-4)
    walk.close()


def test_the_outputs_of_a_walk_are_the_model_s_also_where_one_lies_behind_it() -> None:
    model = Build(opset=17)
    early = model.node("Relu", model.input("n", 6))
    model.output(early)
    middle = model.node("MatMul", early, model.weight(6, 6))
    model.output(model.node("MatMul", model.node("Tanh", middle), model.weight(6, 3)))
    model.output(model.node("ArgMax", middle, axis=1), elem_type=TensorProto.INT64)
    graph = model.graph()
    feeds = {"x1": np.random.default_rng(0).standard_normal((130, 6)).astype(np.float32)}
    expected = run(graph.to_proto(), feeds)
    walk = Walk(graph, calibration(graph, feeds))
    for node in graph.nodes:
        list(walk.values([node.output()], node))
    parts = list(walk.outputs())
    walk.close()
    floats = {name for name, array in expected.items() if array.dtype == np.float32}
    assert len(parts) > 1
    assert {*parts[0]} == floats
    for name in floats:
        np.testing.assert_allclose(np.concatenate([part[name] for part in parts]), expected[name], atol=1e-5)


def test_a_walk_that_forgets_sees_edits_before_where_it_was() -> None:
    graph, feeds = graph_and_data()
    walk = Walk(graph, calibration(graph, feeds))
    last = graph.nodes[-1]
    list(walk.values([last.output()], last))
    graph.set_tensor(graph.value("conv1.weight"), np.zeros((64, 3, 3, 3), np.float32))
    walk.forget()
    found = joined(list(walk.values([last.output()], last)), last.output())
    walk.close()
    np.testing.assert_allclose(found, run(graph.to_proto(), feeds)[last.output().name], atol=1e-4)


def test_the_output_error_over_runs_is_that_over_all_samples() -> None:
    rng = np.random.default_rng(0)
    wanted, found = ({"y": rng.standard_normal((10, 3)), "z": rng.standard_normal((10, 2, 2))} for _ in range(2))
    parts = [tuple({name: array[rows] for name, array in each.items()} for each in (wanted, found)) for rows in (slice(0, 4), slice(4, 10))]
    expected = np.mean([np.square(found[name] - wanted[name]).sum() / np.square(wanted[name]).sum() for name in wanted])
    assert errors_of_runs((a, b, a) for a, b in parts) == pytest.approx([expected, 0])
    assert errors_of_runs([({"y": wanted["y"]}, {"y": found["y"][:, :2]})]) == [0]  # nothing to compare


def test_infinities_are_refused() -> None:
    graph, feeds = graph_and_data(4)
    feeds["image"][3, 0, 0, 0] = np.inf
    with pytest.raises(DataError, match="'image' holds NaN or infinity"):
        calibration(graph, feeds)
