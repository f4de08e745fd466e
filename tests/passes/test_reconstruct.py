"""reconstruct: what can be repaired is, nothing becomes worse, and the original's channels are found after any passes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphopt
import graphopt.ir as ir
from graphopt.errors import DataError, UnsupportedError
from graphopt.passes.reconstruct import Reconstruct
from graphopt.pipeline import Context
from graphopt.quality import load_data, session, top1
from graphopt.repair import calibration
from graphopt.repair import outputs as model_outputs
from tests.channels.build import Build
from tests.channels.masked import contents
from tests.passes.factorized import inputs, outputs
from tests.passes.small_nets import resnet, vit

DIGITS = Path(__file__).parents[2] / "examples" / "digits"


def twins(group: int = 1, normalized: bool = False, seed: int = 0) -> ir.Graph:
    """x -> Conv to 16 channels, of which the last 8 are the first 8 over again -> Relu -> Conv (in groups, or depthwise and 1 x 1) -> Relu -> Conv.

    So half of them can go and nothing is lost, but only when the layer after them is solved anew.
    """
    model = Build(opset=17, seed=seed)
    rng = model.rng
    half = rng.standard_normal((8, 3, 3, 3)).astype(np.float32)
    doubled = np.concatenate([half, half]) if group == 1 else np.repeat(half, 2, axis=0)
    x = model.node("Conv", model.input("n", 3, 8, 8), model.tensor(doubled, "w"), pads=[1] * 4)
    if normalized:
        x = model.node("BatchNormalization", x, *(model.tensor(np.full(16, number, np.float32)) for number in (1, 0.1, 0, 4)))
    x = model.node("Relu", x)
    second = rng.standard_normal((12, 16 // group, 3, 3)).astype(np.float32)
    x = model.node("Conv", x, model.tensor(second, "second"), model.tensor(rng.standard_normal(12).astype(np.float32), "bias"), group=group)
    model.output(model.node("Conv", model.node("Relu", x), model.tensor(rng.standard_normal((4, 12, 1, 1)).astype(np.float32), "third")))
    return model.graph()


def error(graph: ir.Graph, original: ir.Graph, feeds: dict[str, np.ndarray]) -> float:
    found, wanted = outputs(graph, feeds).astype(np.float64), outputs(original, feeds)
    return float(np.square(found - wanted).sum() / np.square(wanted, dtype=np.float64).sum())


def errors(graph: ir.Graph, pipeline: str, samples: int = 40, **options: Any) -> tuple[float, float]:
    """On fresh inputs, without and with reconstruct."""
    data, fresh = inputs(graph, samples), inputs(graph, 8, seed=5)
    plain = graphopt.run(graph, pipeline, data=data)
    repaired = graphopt.run(graph, f"{pipeline},reconstruct", data=data)
    ir.verify(repaired.graph)
    return error(plain.graph, graph, fresh), error(repaired.graph, graph, fresh)


@pytest.mark.parametrize("normalized", [False, True])
def test_what_remains_takes_over_what_went(normalized: bool) -> None:
    first = "prune-channels{keep={w:0:[0,1,2,3,4,5,6,7]} ratio=0}".replace("w:0", '"w:0"')
    before, after = errors(twins(normalized=normalized), first)
    assert before > 0.05
    assert after < 1e-4


def test_in_groups_too() -> None:
    before, after = errors(twins(group=2), "prune-channels{ratio=0.5 align=1}")
    assert after < before


@pytest.mark.parametrize(
    "pipeline",
    [
        "fuse-bn,prune-channels{ratio=0.5 align=1}",
        "prune-channels{ratio=0.5 align=1}",
        "prune-channels{ratio=0.5 align=1},fuse-bn",
        "prune-channels{ratio=0.3 align=1},prune-channels{ratio=0.3 align=1}",
        "factorize{ratio=0.6 align=1}",
        "fuse-bn,factorize{ratio=0.6 align=1}",
        "factorize{ratio=0.3 align=1},prune-channels{ratio=0.3 align=1}",
        "prune-channels{ratio=0.3 align=1},factorize{ratio=0.3 align=1},fuse-bn",
    ],
)
def test_after_any_passes_the_outputs_come_closer(pipeline: str) -> None:
    before, after = errors(twins(normalized=True), pipeline)
    assert after < before


def test_depthwise_layers_are_solved_for_each_channel() -> None:
    model = Build(opset=17)
    x = model.node("Conv", model.input("n", 3, 8, 8), model.tensor(model.rng.standard_normal((8, 3, 1, 1)).astype(np.float32), "w"))
    depthwise = model.tensor(model.rng.standard_normal((8, 1, 3, 3)).astype(np.float32), "depthwise")
    model.output(model.node("Conv", model.node("Relu", x), depthwise, group=8))
    original = model.graph()
    broken = original.copy()
    broken.set_tensor(broken.value("depthwise"), np.ones((8, 1, 3, 3), np.float32))
    data = inputs(original, 40)
    result = Reconstruct().apply(broken, Context(data=data, original=original))
    assert result.summary["layers"] == 1
    np.testing.assert_allclose(contents(broken, "depthwise"), contents(original, "depthwise"), atol=1e-3)


def test_layers_that_share_a_weight_go_on_sharing() -> None:
    model = Build(opset=17)
    weight = model.tensor(model.rng.standard_normal((6, 6)).astype(np.float32), "w")
    model.output(model.node("MatMul", model.node("Tanh", model.node("MatMul", model.input("n", 6), weight)), weight))
    original = model.graph()
    broken = original.copy()
    broken.set_tensor(broken.value("w"), np.eye(6, dtype=np.float32))
    data = inputs(original, 400)
    before = error(broken, original, data)
    Reconstruct().apply(broken, Context(data=data, original=original))
    assert [node.input(1) for node in broken.nodes if node.op_type == "MatMul"] == [broken.value("w")] * 2
    assert error(broken, original, data) < before / 2


@pytest.mark.parametrize("net", [resnet, vit], ids=lambda net: net.__name__)
@pytest.mark.parametrize("pipeline", ["prune-channels{ratio=0.25 align=1}", "factorize{ratio=0.4 align=1}"])
def test_the_output_errors_that_are_reported_are_those_of_the_models(net: Callable[[], ir.Graph], pipeline: str) -> None:
    """Also where branches of sums were repaired out of order, and though the repaired model is not run from its inputs again."""
    graph = net()
    data = {"x1": np.random.default_rng(0).standard_normal((130, 3, 16, 16)).astype(np.float32)}
    plain = graphopt.run(graph, pipeline, data=data)
    repaired = graphopt.run(graph, f"{pipeline},reconstruct{{everything=true}}", data=data)
    summary = repaired.results[-1].summary
    assert summary["layers"]
    wanted = [session_outputs(model, data) for model in (graph, plain.graph, repaired.graph)]
    before, after = (np.square(found - wanted[0]).sum() / np.square(wanted[0]).sum() for found in wanted[1:])
    assert summary["output_error_before"] == pytest.approx(before, rel=1e-3, abs=2e-6)
    assert summary["output_error"] == pytest.approx(after, rel=1e-3, abs=2e-6)


def session_outputs(graph: ir.Graph, data: dict[str, np.ndarray]) -> np.ndarray:
    return np.concatenate([np.ravel(next(iter(part.values()))) for part in model_outputs(graph, calibration(graph, data))]).astype(
        np.float64
    )


def test_statistics_follow_the_inputs() -> None:
    """Mean and variance move as much as those of the input did; what the data is like cancels out."""
    model = Build(opset=17)
    x = model.node("Conv", model.input("n", 3, 6, 6), model.tensor(model.rng.standard_normal((4, 3, 1, 1)).astype(np.float32), "w"))
    scale, shift, mean, variance = (
        model.tensor(np.full(4, number, np.float32), name) for name, number in zip("sbmv", (1, 0, 7, 3), strict=True)
    )
    model.output(model.node("BatchNormalization", x, scale, shift, mean, variance))
    original = model.graph()
    broken = original.copy()
    broken.set_tensor(
        broken.value("w"), 2 * np.array(contents(original, "w")) + 0.01 * model.rng.standard_normal((4, 3, 1, 1)).astype(np.float32)
    )
    data = inputs(original, 30)
    result = Reconstruct(layers=("w",), statistics=True).apply(broken, Context(data=data, original=original))
    assert result.summary["statistics"] == 1
    np.testing.assert_allclose(contents(broken, "m"), 7, atol=1e-3)  # the layer before it could be repaired in full
    np.testing.assert_allclose(contents(broken, "v"), 3, rtol=1e-3)


def test_what_is_as_it_was_is_left_alone() -> None:
    graph = twins(normalized=True)
    run = graphopt.run(graph, "fuse-bn,reconstruct", data=inputs(graph, 8))
    assert run.results[1].summary == {"layers": 0, "statistics": 0}
    assert not run.results[1].changed


def test_it_is_the_seed_s() -> None:
    graph = twins()
    runs = [graphopt.run(graph, "prune-channels{ratio=0.5},reconstruct", data=inputs(graph, 20), seed=3).graph for _ in range(2)]
    assert runs[0].to_proto() == runs[1].to_proto()


def test_an_original_in_which_nothing_corresponds_says_so() -> None:
    graph = twins()
    broken = graphopt.run(graph, "prune-channels{ratio=0.5}").graph
    result = Reconstruct().apply(broken, Context(data=inputs(graph, 8), original=graph))  # without the history
    assert not result.changed or result.skipped
    assert any("nothing is recorded of which" in skip.why for skip in result.skipped)


def test_prune_channels_can_call_it() -> None:
    graph = twins()
    data = inputs(graph, 20)
    one, two = (graphopt.run(graph, text, data=data) for text in ("prune-channels{repair=true}", "prune-channels,reconstruct"))
    assert one.graph.to_proto() == two.graph.to_proto()
    assert one.results[0].summary["repaired"] == 2


def test_it_needs_data_and_an_original() -> None:
    graph = twins()
    with pytest.raises(DataError, match="needs calibration data"):
        graphopt.run(graph, "reconstruct")
    with pytest.raises(UnsupportedError, match="compares with the original"):
        Reconstruct().apply(graph, Context(data=inputs(graph)))


@pytest.mark.parametrize("pipeline", ["fuse-bn,prune-channels{ratio=0.7}", "fuse-bn,factorize{ratio=0.5}"])
def test_on_digits_at_least_half_of_the_loss_is_made_good(pipeline: str) -> None:
    graph = ir.load(DIGITS / "digits.onnx")
    data, validation = load_data(DIGITS / "calibration.npz", graph), load_data(DIGITS / "validation.npz", graph)
    quality = [top1(session(graphopt.run(graph, text, data=data).graph), validation) for text in ("", pipeline, f"{pipeline},reconstruct")]
    assert quality[0] - quality[2] <= (quality[0] - quality[1]) / 2
