"""The passes one after the other, in every order: the model stays valid, and its own text makes it again."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

import graphopt
import graphopt.ir as ir
from tests.channels.build import Build
from tests.passes.factorized import inputs
from tests.passes.small_nets import mobilenet, resnet, vit
from tests.passes.test_prune_blocks import residual

DIGITS = Path(__file__).parents[2] / "examples" / "digits" / "digits.onnx"

STEPS = (
    "factorize{ratio=0.3 align=1}",
    "prune-channels{ratio=0.25 align=1}",
    "group-convs{groups=2}",
    "prune-blocks{samples=4}",
    "simplify,fuse-bn",
)


def normalized_mixer(seed: int = 0) -> ir.Graph:
    """Tokens x [n, 6, 8] -> twice: x + MatMul(Relu(MatMul(LayerNormalization(x)))) -> mean -> Gemm."""
    model = Build(opset=17, seed=seed)
    x = model.input("n", 6, 8)
    for _ in range(2):
        y = model.node("LayerNormalization", x, model.tensor(np.ones(8, np.float32)), model.tensor(np.zeros(8, np.float32)))
        y = model.node("Relu", model.node("Add", model.node("MatMul", y, model.weight(8, 16)), model.weight(16)))
        x = model.node("Add", x, model.node("MatMul", y, model.weight(16, 8)))
    model.output(model.node("Gemm", model.node("ReduceMean", x, axes=[1], keepdims=0), model.weight(8, 5), model.weight(5)))
    return model.graph()


MODELS = {"residual": residual, "mixer": normalized_mixer, "digits": lambda: ir.load(DIGITS)}


@pytest.mark.parametrize("name", MODELS)
def test_every_order_gives_a_valid_model(name: str) -> None:
    graph = MODELS[name]()
    data = inputs(graph, 4)
    orders = list(itertools.permutations(STEPS))
    for steps in orders[:: 5 if name == "residual" else 20]:
        run = graphopt.run(graph, ",".join(steps), data=data)
        ir.verify(run.graph)
        assert run.changed


@pytest.mark.parametrize("name", MODELS)
def test_with_repair_at_the_end_the_text_makes_the_model_again(name: str) -> None:
    graph = MODELS[name]()
    data = inputs(graph, 6)
    run = graphopt.run(graph, ",".join((*STEPS, "reconstruct{everything=true}")), data=data, seed=1)
    ir.verify(run.graph)
    assert graphopt.run(graph, run.pipeline, data=data, seed=1).graph.to_proto() == run.graph.to_proto()


def test_factorize_then_prune_inside_the_factor_then_group() -> None:
    graph = residual()
    run = graphopt.run(
        graph, "factorize{rank=4 method=channel layers=[a0]},prune-channels{ratio=0.5 align=1},group-convs{groups=2 layers=[a0]}"
    )
    ir.verify(run.graph)
    inner = next(node for node in run.graph.nodes if node.name == "a0/0")
    weight = run.graph.constant(inner.input(1))
    assert weight is not None
    assert weight.shape[0] == 2
    assert next(node for node in run.graph.nodes if node.name == "a0").attributes["group"] == 2


ARCHITECTURES = {"resnet": resnet, "mobilenet": mobilenet, "vit": vit}
MODERATE = (
    "resize-input{size=12}",
    "factorize{ratio=0.3 align=1}",
    "prune-channels{ratio=0.25 align=1}",
    "group-convs{pairs=2}",
    "prune-blocks{samples=4}",
    "simplify,fuse-bn",
)
ORDERS = list(itertools.permutations(MODERATE))


def assert_its_own_record(name: str, steps: tuple[str, ...]) -> None:
    """Every order gives a valid model, and what it says it did makes that model again."""
    graph = ARCHITECTURES[name]()
    data = inputs(graph, 4)
    run = graphopt.run(graph, ",".join(steps), data=data)
    ir.verify(run.graph)
    assert sum(result.changed for result in run.results) >= 3
    assert graphopt.run(graph, run.pipeline, data=data).graph.to_proto() == run.graph.to_proto()


@pytest.mark.parametrize("steps", ORDERS[::145], ids=str)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_some_orders_of_all_passes(name: str, steps: tuple[str, ...]) -> None:
    assert_its_own_record(name, steps)


@pytest.mark.slow
@pytest.mark.parametrize("first", itertools.permutations(MODERATE, 2), ids=str)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_order_of_all_passes(name: str, first: tuple[str, str]) -> None:
    for steps in ORDERS:
        if steps[:2] == first:
            assert_its_own_record(name, steps)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_goals_that_fall_along_the_pipeline(name: str) -> None:
    graph = ARCHITECTURES[name]()
    data = inputs(graph, 4)
    text = "factorize{to=0.9x-macs align=1},prune-blocks{to=0.8x-macs},prune-channels{to=0.6x-macs align=1},reconstruct"
    run = graphopt.run(graph, text, data=data)
    ir.verify(run.graph)
    assert run.after.macs <= 0.6 * run.before.macs
    assert graphopt.run(graph, run.pipeline, data=data).graph.to_proto() == run.graph.to_proto()
