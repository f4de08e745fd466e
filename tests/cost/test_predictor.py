from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import graphopt
from graphopt.cost.fitting import fit_target
from graphopt.cost.predictor import Predictor, predict
from graphopt.cost.target import Target
from graphopt.errors import OpenShapeError, TargetError

from ..networks import network, write_network
from ..padding import same_padded
from .kernels_by_law import conv, elementwise, law, measured_target, network_ms, random_network, without_kernels


@pytest.fixture(scope="module")
def predictor(fitted: Target) -> Predictor:
    return Predictor(fitted)


def test_a_measured_kernel_takes_what_was_measured(predictor: Predictor, fitted: Target) -> None:
    signatures = [kernel.signature for kernel in fitted.kernels]
    assert predictor.time(signatures).tolist() == [kernel.ms for kernel in fitted.kernels]
    assert Predictor(fitted, "linear").time(signatures).tolist() != [kernel.ms for kernel in fitted.kernels]


def test_kernels_near_the_table(fitted: Target) -> None:
    hidden = [sig for seed in range(5) for sig in random_network(np.random.default_rng(100 + seed))]
    truth = np.array([law(sig) for sig in hidden])
    off = {model: np.abs(Predictor(fitted, model).time(hidden) / truth - 1).mean() for model in ("fused", "lut", "linear")}
    assert off["fused"] < off["linear"] < off["lut"]
    assert off["fused"] < 0.04


def test_networks_that_were_never_measured(predictor: Predictor) -> None:
    off = []
    inside = []
    for seed in range(30):
        signatures = random_network(np.random.default_rng(200 + seed))
        found, truth = predictor.latency(signatures), network_ms(signatures)
        off.append(abs(found.ms / truth - 1))
        inside.append(found.low_ms <= truth <= found.high_ms)
    assert np.mean(off) < 0.02
    assert np.mean(inside) > 0.8


def test_a_prediction_is_pure(predictor: Predictor, fitted: Target) -> None:
    graph = graphopt.Graph.from_proto(network())
    first = predictor.predict(graph)
    again = Predictor(fitted).predict(graphopt.Graph.from_proto(network()))
    assert first.to_json() == again.to_json()
    assert first.to_json() == predictor.predict(graph).to_json()


def test_a_prediction_says_what_it_is_made_of(predictor: Predictor) -> None:
    found = predictor.predict(graphopt.Graph.from_proto(network()))
    assert found.low_ms < found.ms < found.high_ms
    assert not found.measured
    first = found.kernels[0]
    assert first.nodes[0] == "conv1"
    assert first.family == "nchwc.image"
    assert {kernel.source for kernel in found.kernels} <= {"table", "near", "linear", "free"}
    assert found.kernels_ms == pytest.approx(sum(ms for _, ms in found.families().values()))
    assert sum(count for count, _ in found.families().values()) == len(found.kernels)
    assert found.assumptions == ("dimension 'batch' taken as 1",)
    assert any("never measured on board" in warning and "gemv" in warning for warning in found.warnings)


def test_bounds(predictor: Predictor) -> None:
    graph = graphopt.Graph.from_proto(network())
    assert next(kernel for kernel in predictor.predict(graph, {"batch": 64}).kernels if "conv2" in kernel.nodes).bound == "compute"


def test_views_are_assumed_free(predictor: Predictor) -> None:
    found = predictor.predict(graphopt.Graph.from_proto(network()))
    views = [kernel for kernel in found.kernels if kernel.family == "view"]
    assert [(view.ms, view.source) for view in views] == [(0.0, "free")] * len(views)
    assert sum(found.listed("free").values()) == len(views) > 0


def _single(op_type: str, shape: list[int | str], made: list[int | str] | None = None, domain: str = "") -> graphopt.Graph:
    node = helper.make_node(op_type, ["x"], ["y"], op_type.lower(), domain=domain)
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, made or shape)]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("mine", 1)]
    return graphopt.Graph.from_proto(
        helper.make_model(helper.make_graph([node], "one", inputs, outputs), ir_version=8, opset_imports=opsets)
    )


def test_an_operator_of_unknown_cost_is_listed_and_left_out(predictor: Predictor) -> None:
    found = predictor.predict(_single("Magic", [1, 8, 4, 4], domain="mine"))
    assert found.listed("unknown") == {"mine.Magic": 1}
    assert found.kernels[0].ms == 0
    assert any("unknown cost" in warning and "mine.Magic" in warning for warning in found.warnings)
    assert found.to_json()["unknown"] == {"mine.Magic": 1}


def test_doubt_grows_with_families_that_were_never_measured(predictor: Predictor) -> None:
    known = [conv(64, 64, 28)] * 10
    certain = predictor.latency(known)
    doubtful = predictor.latency([*known, *[elementwise("Softmax", 64, 512)] * 10])
    assert doubtful.high_ms / doubtful.ms > certain.high_ms / certain.ms


def test_only_new_kernels_are_computed(fitted: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = Predictor(fitted)
    asked: list[int] = []
    estimate = predictor._times.estimate

    def counted(kernels):  # type: ignore[no-untyped-def]
        asked.append(len(kernels))
        return estimate(kernels)

    monkeypatch.setattr(predictor._times, "estimate", counted)
    first = random_network(np.random.default_rng(7))
    predictor.latency(first)
    predictor.latency([*first[:-1], conv(48, 336, 14, 1)])
    assert asked == [len(set(first)), 1]


def test_predict_takes_a_path_and_a_folder(fitted: Target, tmp_path: Path) -> None:
    fitted.save(tmp_path / "board")
    path = write_network(tmp_path / "model.onnx")
    assert graphopt.predict(path, tmp_path / "board").ms == pytest.approx(predict(graphopt.load(path), fitted).ms, rel=1e-4)
    assert predict(path, fitted, model="linear").model == "linear"


def test_a_batch_costs_more(fitted: Target) -> None:
    graph = graphopt.Graph.from_proto(network())
    assert predict(graph, fitted, {"batch": 8}).ms > predict(graph, fitted).ms
    assert predict(graph, fitted, {"image": (8, 3, 8, 8)}).ms == predict(graph, fitted, {"batch": 8}).ms


@pytest.mark.parametrize(
    ("shape", "sizes", "words"),
    [
        (["batch", 3, "height", 8], {}, "axis 2 of input 'x', 'height', has no fixed size; say which with --shape x=1x3x<height>x8"),
        (["batch", 3, None, 8], {}, "axis 2 of input 'x' has no fixed size; say which with --shape x=1x3x<size>x8"),
        (["sequence", 8], {}, "axis 0 of input 'x', 'sequence'"),
        (["batch", 8], {"other": 3}, "no input has an open dimension 'other'; inputs are 'x', open dimensions 'batch'"),
        (["batch", 8], {"other": (3, 4)}, "the model has no input 'other'"),
        (["batch", 8], {"x": (1, 8, 1)}, "1x8x1 has 3 dimensions, and input 'x' has 2"),
        (["batch", 8], {"x": (1, 9)}, "axis 1 of input 'x' is 8 in the model, and not 9"),
        (["batch", 8], {"batch": 0}, "sizes are at least 1"),
        (["a", "a"], {"x": (2, 3)}, "dimension 'a' cannot be both 2 and 3"),
    ],
)
def test_sizes_that_are_open_or_do_not_fit(fitted: Target, shape: list[int | str], sizes: dict[str, int], words: str) -> None:
    with pytest.raises(OpenShapeError) as caught:
        predict(_single("Relu", shape), fitted, sizes)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("shape", "sizes", "elements"),
    [
        (["batch", 8], {}, 8),
        (["N", 8], {"N": 3}, 24),
        ([None, 8], {}, 8),
        ([None, 8], {"x": (4, 8)}, 32),
        (["batch", "height"], {"height": 5}, 5),
        (["batch", "height"], {"x": (2, 5)}, 10),
        (["s0", 4, "s0"], {}, 4),
    ],
)
def test_sizes_that_are_given_or_a_batch(fitted: Target, shape: list[int | str], sizes: dict[str, int], elements: int) -> None:
    found = predict(_single("Relu", shape), fitted, sizes)
    assert found.kernels[0].kernel.signature.outputs[0].size == elements


def test_an_input_without_a_shape(fitted: Target) -> None:
    graph = _single("Relu", [1, 8])
    model = graph.to_proto()
    for info in (*model.graph.input, *model.graph.output):
        info.type.tensor_type.ClearField("shape")
    graph = graphopt.Graph.from_proto(model)
    with pytest.raises(OpenShapeError, match="input 'x' has no shape"):
        predict(graph, fitted)
    assert predict(graph, fitted, {"x": (2, 8)}).kernels[0].kernel.signature.outputs[0].size == 16


def test_a_target_that_was_not_fitted_or_not_measured(measured: Target, fitted: Target) -> None:
    with pytest.raises(TargetError, match="not fitted yet"):
        Predictor(measured)
    with pytest.raises(TargetError, match=r"fitted from .* kernels, and kernels.csv has"):
        Predictor(replace(fitted, kernels=fitted.kernels[:-1]))
    with pytest.raises(TargetError, match="has no model 'lut': no kernel of it was measured"):
        Predictor(fit_target(replace(without_kernels(measured), fit={"strength": 0.001}), held_out=False), "lut")
    with pytest.raises(TargetError, match="no model 'magic'"):
        Predictor(fitted, "magic")  # type: ignore[arg-type]


def test_a_model_without_nodes(fitted: Target) -> None:
    info = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    model = helper.make_model(helper.make_graph([], "empty", [info], [info]), ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    onnx.checker.check_model(model)
    found = predict(graphopt.Graph.from_proto(model), fitted)
    assert found.kernels == ()
    assert found.ms >= 0


def test_a_guess_is_said_to_be_one(measured: Target) -> None:
    target = fit_target(replace(measured_target(networks=0), kernels=measured.kernels))
    assert any("guess" in warning for warning in predict(graphopt.Graph.from_proto(network()), target).warnings)


def test_sizes_that_nothing_states_make_unknown_kernels(fitted: Target) -> None:
    model = same_padded(15, 20, 3, 2)
    del model.graph.node[:-3]
    model.graph.input.append(helper.make_tensor_value_info("pads", TensorProto.INT64, [8]))
    found = predict(graphopt.Graph.from_proto(model), fitted)
    assert {kernel.source for kernel in found.kernels} == {"unknown"}
    assert any("unknown cost" in warning for warning in found.warnings)
