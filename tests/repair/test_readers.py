"""Layers are repaired for what is made of their outputs: sums, and what is above zero."""

from __future__ import annotations

import numpy as np
import pytest

import graphopt
import graphopt.ir as ir
from graphopt.passes.reconstruct import Reconstruct
from graphopt.pipeline import Context
from graphopt.repair import Kept, Match, as_read, layer_of, repaired_before
from graphopt.repair import solve as solve_module
from tests.channels.build import Build
from tests.channels.masked import contents
from tests.passes.factorized import inputs, outputs


def error(graph: ir.Graph, original: ir.Graph, feeds: dict[str, np.ndarray]) -> float:
    found, wanted = outputs(graph, feeds).astype(np.float64), outputs(original, feeds)
    return float(np.square(found - wanted).sum() / np.square(wanted, dtype=np.float64).sum())


def branches(wide_first: bool, rectified: bool = False) -> ir.Graph:
    """x -> Conv `wide` of 3 x 3, and x -> Conv `narrow` of 1 x 1; their sum is the output, or goes through a Relu."""
    model = Build(opset=17)
    x = model.input("n", 6, 7, 7)

    def wide() -> str:
        return model.node("Conv", x, model.tensor(model.rng.standard_normal((8, 6, 3, 3)).astype(np.float32), "wide"), pads=[1] * 4)

    def narrow() -> str:
        return model.node("Conv", x, model.tensor(model.rng.standard_normal((8, 6, 1, 1)).astype(np.float32), "narrow"))

    parts = [wide(), narrow()] if wide_first else [narrow(), wide()]
    total = model.node("Add", *parts)
    model.output(model.node("Relu", total) if rectified else total)
    return model.graph()


def with_half_the_narrow_branch(original: ir.Graph) -> ir.Graph:
    """`narrow` in two groups: no weight makes it what it was. `wide` is wrong too, but can be anything."""
    broken = original.copy()
    weight = contents(original, "narrow")
    broken.set_tensor(broken.value("narrow"), np.concatenate([weight[:4, :3], weight[4:, 3:]]))
    node = next(node for node in broken.nodes if node.input(1) is broken.value("narrow"))
    broken.set_attribute(node, "group", 2)
    broken.set_tensor(broken.value("wide"), np.flip(contents(original, "wide"), axis=2).copy())
    return broken


@pytest.mark.parametrize("wide_first", [False, True])
def test_a_branch_makes_good_for_the_other_one(wide_first: bool) -> None:
    original = branches(wide_first)
    broken = with_half_the_narrow_branch(original)
    data, fresh = inputs(original, 60), inputs(original, 8, seed=5)
    before = error(broken, original, fresh)
    result = Reconstruct(layers=("wide",)).apply(broken, Context(data=data, original=original))
    assert result.summary["layers"] == 1
    assert before > 0.1
    assert error(broken, original, fresh) < 1e-6


def test_the_branch_that_comes_first_waits_for_the_other_one() -> None:
    """Both are repaired; only when the wider one is last is the sum as it was."""
    original = branches(wide_first=True)
    broken = with_half_the_narrow_branch(original)
    Reconstruct().apply(broken, Context(data=inputs(original, 60), original=original))
    assert error(broken, original, inputs(original, 8, seed=5)) < 1e-6


def test_goals_are_of_the_sum_once_the_rest_of_it_is_known() -> None:
    original = branches(wide_first=True, rectified=True)
    graph = original.copy()
    match = Match(original, graph, Kept([]))
    wide, narrow = graph.nodes[:2]
    layer = layer_of(graph, wide)
    assert repaired_before(match, layer, match.goal(layer), [narrow]) == [narrow]
    alone, together = (as_read(match, layer, match.goal(layer), later) for later in ([narrow], []))
    assert (alone.beside, alone.rectified) == (None, False)
    assert (together.beside, together.rectified) == (narrow.output(), True)
    assert together.value.name == graph.nodes[2].output().name


def test_nothing_waits_for_what_depends_on_it() -> None:
    model = Build(opset=17)
    x = model.node("Gemm", model.input("n", 6), model.weight(6, 6))
    model.output(model.node("Add", model.node("Gemm", x, model.weight(6, 6)), x))
    original = model.graph()
    match = Match(original, original.copy(), Kept([]))
    first, second = (layer_of(match.graph, node) for node in match.graph.nodes[:2])
    assert repaired_before(match, first, match.goal(first), [second.node]) == []
    assert repaired_before(match, second, match.goal(second), []) == []
    assert as_read(match, second, match.goal(second), []).beside is first.node.output()


def test_a_value_with_other_readers_has_its_own_goal() -> None:
    model = Build(opset=17)
    y = model.node("Gemm", model.input("n", 6), model.weight(6, 6))
    model.output(model.node("Mul", model.node("Relu", y), y))
    original = model.graph()
    match = Match(original, original.copy(), Kept([]))
    layer = layer_of(match.graph, match.graph.nodes[0])
    assert not as_read(match, layer, match.goal(layer), []).rectified


def test_what_is_below_zero_in_front_of_a_rectifier_may_be_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    """More turns than the first, which wants negative numbers as they were, come closer to what the rectifier lets through."""
    model = Build(opset=17)
    x = model.input("n", 2)
    hidden = model.node("Gemm", x, model.tensor(np.array([[1, -1, 0], [0, 0, 1]], np.float32), "hidden"))
    second = model.node("Gemm", model.node("Relu", hidden), model.tensor(model.rng.standard_normal((3, 12)).astype(np.float32), "second"))
    model.output(model.node("Relu", second))
    original = model.graph()
    broken = original.copy()
    mixed = np.array(contents(original, "hidden"))
    mixed[1, 0] = 0.7  # what the second layer reads holds no longer all that it did
    broken.set_tensor(broken.value("hidden"), mixed)
    rng = np.random.default_rng(2)
    data, fresh = ({"x1": rng.standard_normal((count, 2)).astype(np.float32)} for count in (3000, 3000))
    left = {}
    for turns in (1, 4):
        monkeypatch.setattr(solve_module, "_TURNS", turns)
        repaired = broken.copy()
        Reconstruct(layers=("second",)).apply(repaired, Context(data=data, original=original))
        left[turns] = error(repaired, original, fresh)
    assert left[4] < 0.9 * left[1]


@pytest.mark.parametrize("pipeline", ["prune-channels{ratio=0}", "factorize{energy=1.0 align=1 always=true}", "group-convs{groups=1}"])
def test_after_a_pass_that_takes_nothing_the_outputs_stay(pipeline: str) -> None:
    original = branches(wide_first=True, rectified=True)
    run = graphopt.run(original, f"{pipeline},reconstruct{{everything=true}}", data=inputs(original, 30))
    ir.verify(run.graph)
    assert error(run.graph, original, inputs(original, 8, seed=5)) < 1e-8
