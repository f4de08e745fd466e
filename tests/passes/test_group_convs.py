"""group-convs: exact where it can be, the best order of channels, written into the layers around or as a Gather."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphopt
import graphopt.ir as ir
from graphopt.cost import count
from graphopt.errors import PassParameterError
from graphopt.passes.group_convs import GroupConvs
from graphopt.pipeline import Context, PassResult
from graphopt.repair import divide
from tests.channels.build import Build
from tests.channels.masked import contents
from tests.passes.factorized import assert_same, convolutions, inputs, operators, outputs


def apply(graph: ir.Graph, data: dict[str, np.ndarray] | None = None, **options: Any) -> PassResult:
    return GroupConvs(**options).apply(graph, Context(data=data))


def scrambled(groups: int = 2, channels: int = 8, seed: int = 0, ends: bool = True, **attributes: Any) -> ir.Graph:
    """A convolution that is really grouped, its channels on both sides in a random order, between two that are not (or alone)."""
    model = Build(opset=17, seed=seed)
    rng = model.rng
    blocks = np.zeros((channels, channels, 3, 3), np.float32)
    size = channels // groups
    for g in range(groups):
        part = slice(g * size, (g + 1) * size)
        blocks[part, part] = rng.standard_normal((size, size, 3, 3))
    weight = blocks[rng.permutation(channels)][:, rng.permutation(channels)]
    x = model.input("n", 3 if ends else channels, 8, 8)
    if ends:
        first = [
            model.tensor(rng.standard_normal(shape).astype(np.float32), f"first{shape}") for shape in ((channels, 3, 1, 1), (channels,))
        ]
        x = model.node("Relu", model.node("Conv", x, *first))
    bias = model.tensor(rng.standard_normal(channels).astype(np.float32), "b")
    x = model.node("Conv", x, model.tensor(weight, "w"), bias, name="middle", pads=[1] * 4, **attributes)
    if ends:
        third = model.tensor(rng.standard_normal((4, channels, 1, 1)).astype(np.float32), "third")
        x = model.node("Conv", model.node("Relu", x), third)
    model.output(x)
    return model.graph()


def group_of(graph: ir.Graph) -> int:
    return int(next(node for node in graph.nodes if node.name == "middle").attributes.get("group", 1))


# ---- depthwise separable


@settings(max_examples=100, deadline=None)
@given(convolutions(), st.booleans())
def test_as_many_pairs_as_places_are_exact(graph: ir.Graph, with_data: bool) -> None:
    original, feeds = graph.copy(), inputs(graph)
    node = graph.nodes[0]
    weight = contents(graph, "w1")
    outs = weight.shape[0] // int(node.attributes.get("group", 1))
    pairs = min(math.prod(weight.shape[2:]), outs)
    apply(graph, feeds if with_data else None, pairs=pairs, always=True)
    assert_same(graph, original, feeds)


def test_one_pair_is_mobilenet_s_form() -> None:
    graph = scrambled()
    before = count(graph).macs
    result = apply(graph, pairs=1)
    assert result.summary["layers"] == 1
    assert operators(graph) == ["Conv", "Relu", "Conv", "Conv", "Relu", "Conv"]
    assert [node.attributes.get("group", 1) for node in graph.nodes if node.op_type == "Conv"] == [1, 8, 1, 1]
    assert count(graph).macs < before / 2
    ir.verify(graph)


@pytest.mark.parametrize("pairs", [1, 3])
def test_the_pairs_are_the_best_without_data(pairs: int) -> None:
    graph = scrambled(groups=1, ends=False)
    weight = contents(graph, "w").astype(np.float64).reshape(8, 8, 9)
    result = apply(graph, pairs=pairs, always=True)
    lost = sum((np.linalg.svd(weight[:, c])[1][pairs:] ** 2).sum() for c in range(8))
    assert result.summary["mean_loss"] == pytest.approx(lost / np.square(weight).sum(), abs=1e-6)


def test_pairs_with_data_lose_less_and_as_much_as_they_say() -> None:
    errors = []
    for with_data in (True, False):
        graph = scrambled(groups=1, ends=False)
        original, feeds = graph.copy(), inputs(graph, 20)
        result = apply(graph, feeds if with_data else None, pairs=2)
        difference = outputs(graph, feeds).astype(np.float64) - outputs(original, feeds)
        errors.append(np.square(difference).sum(axis=1).mean())
        if with_data:
            expected = outputs(original, feeds).var(axis=(0, 2, 3), dtype=np.float64).sum()
            assert result.summary["mean_loss"] == pytest.approx(errors[0] / expected, rel=1e-4)
    assert errors[0] < errors[1]


# ---- groups


@pytest.mark.parametrize("with_data", [False, True])
@pytest.mark.parametrize("groups", [2, 4])
def test_hidden_groups_are_found_and_the_orders_go_into_the_layers_around(groups: int, with_data: bool) -> None:
    graph = scrambled(groups)
    original, feeds = graph.copy(), inputs(graph, 8)
    result = apply(graph, feeds if with_data else None, groups=groups, layers=("middle",))
    assert result.summary["gathers"] == 0
    assert group_of(graph) == groups
    assert operators(graph) == operators(original)
    assert_same(graph, original, feeds)


@pytest.mark.parametrize("ends", [False, True])
def test_a_gather_stands_where_nothing_can_take_the_order_over(ends: bool) -> None:
    graph = scrambled(2, ends=ends)
    weight = contents(graph, "w")
    first = np.abs(weight).sum(axis=(2, 3))[:, 0] > 0  # the outputs that read input 0
    graph.set_tensor(graph.value("w"), np.concatenate([weight[first], weight[~first]]))  # which must stay where they are
    original = graph.copy()
    result = apply(graph, groups=2, layers=("middle",), absorb=not ends)
    assert result.summary["gathers"] == 1
    assert_same(graph, original, inputs(graph))


@pytest.mark.parametrize("with_data", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_layers_that_read_the_same_channels_in_different_orders(seed: int, with_data: bool) -> None:
    """One takes the order into the layers around, the other gathers from what that made of it, also through a Concat."""
    model = Build(opset=17, seed=seed)
    rng = model.rng

    def hidden(outs: int, ins: int) -> str:
        weight = np.zeros((outs, ins, 3, 3), np.float32)
        for g in range(2):
            weight[g * outs // 2 : (g + 1) * outs // 2, g * ins // 2 : (g + 1) * ins // 2] = rng.standard_normal(
                (outs // 2, ins // 2, 3, 3)
            )
        return model.tensor(weight[rng.permutation(outs)][:, rng.permutation(ins)], model.name("hidden"))

    x = model.input("n", 3, 7, 7)
    a, b = (model.node("Relu", model.node("Conv", x, model.weight(8, 3, 1, 1))) for _ in range(2))
    both = model.node("Conv", model.node("Concat", a, b, axis=1), hidden(8, 16), name="both")
    one = model.node("Conv", a, hidden(8, 8), name="one")
    model.output(model.node("Conv", model.node("Add", both, model.node("Conv", one, model.weight(8, 8, 1, 1))), model.weight(4, 8, 1, 1)))
    graph = model.graph()
    original, feeds = graph.copy(), inputs(graph, 12)
    result = apply(graph, feeds if with_data else None, groups=2, layers=("one", "both"))
    assert result.summary == {"layers": 2, "left": 0, "mean_loss": 0.0, "gathers": 1}
    assert_same(graph, original, feeds)


def test_inputs_that_are_always_zero_are_no_obstacle() -> None:
    """Half of the channels are dead, so that one of the groups has nothing to go by."""
    graph = scrambled(1)
    bias = np.array(contents(graph, "first(8,)"))
    bias[:4] = -1e3
    graph.set_tensor(graph.value("first(8,)"), bias)
    apply(graph, inputs(graph, 10), groups=2, layers=("middle",))
    assert np.abs(contents(graph, "w")).max() < 100
    assert np.isfinite(outputs(graph, inputs(graph, 10, seed=1))).all()


def test_the_record_says_where_the_channels_went() -> None:
    graph = scrambled(2)
    original = graph.copy()
    kept = apply(graph, groups=2, layers=("middle",)).kept
    for name in ("first(8,)", "b"):
        if name in kept:
            assert np.array_equal(contents(graph, name), contents(original, name)[kept[name]["0"]])
    assert kept["w"].keys() == {"0", "1"}


def test_one_group_changes_nothing() -> None:
    graph = scrambled()
    before = graph.to_proto()
    result = apply(graph, groups=1)
    assert (result.changed, graph.to_proto()) == (False, before)


def test_groups_can_be_divided_further() -> None:
    graph = scrambled(4)
    original = graph.copy()
    apply(graph, groups=2, layers=("middle",))
    apply(graph, groups=4, layers=("middle",))
    assert group_of(graph) == 4
    ir.verify(graph)
    assert outputs(graph, inputs(graph)).shape == outputs(original, inputs(graph)).shape


def test_reconstruct_follows_the_new_order() -> None:
    graph = scrambled(1)
    feeds = inputs(graph, 60)
    plain = graphopt.run(graph, "group-convs{groups=2 layers=[middle]}", data=feeds).graph
    repaired = graphopt.run(graph, "group-convs{groups=2 layers=[middle]},reconstruct{everything=true}", data=feeds)
    wanted = outputs(graph, feeds)
    errors = [np.square(outputs(model, feeds).astype(np.float64) - wanted).sum() for model in (plain, repaired.graph)]
    assert errors[1] < 0.9 * errors[0]


def test_in_steps_with_repair_between_them() -> None:
    graph = scrambled(1)
    feeds = inputs(graph, 60)
    wanted = outputs(graph, feeds)
    steps = ["group-convs{groups=2 layers=[middle]}", "reconstruct{everything=true}"]
    steps += ["group-convs{groups=4 layers=[middle]}", "reconstruct{everything=true}"]
    runs = [graphopt.run(graph, ",".join(steps[: count + 1]), data=feeds) for count in range(len(steps))]
    assert [group_of(run.graph) for run in runs] == [2, 2, 4, 4]
    errors = [np.square(outputs(run.graph, feeds).astype(np.float64) - wanted).sum() for run in runs]
    assert errors[1] < errors[0]
    assert errors[3] < errors[2]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.booleans(), st.booleans())
def test_with_data_the_loss_is_that_of_the_layer(seed: int, absorb: bool, ends: bool) -> None:
    """A lone layer's outputs are the model's, so what is reported can be measured."""
    graph = scrambled(1, seed=seed, ends=False)
    original, feeds = graph.copy(), inputs(graph, 12, seed)
    result = apply(graph, feeds, groups=2, absorb=absorb)
    ir.verify(graph)
    difference = outputs(graph, feeds).astype(np.float64) - outputs(original, feeds)
    whole = outputs(original, feeds).var(axis=(0, 2, 3), dtype=np.float64).sum()
    assert result.summary["mean_loss"] == pytest.approx(np.square(difference).sum(axis=1).mean() / whole, rel=1e-3)


def test_orders_of_residual_streams_are_settled_once() -> None:
    """Every layer of a residual network, all of whose streams are shared: what was not absorbed is a Gather, and the model is valid."""
    model = Build(opset=17)
    rng = model.rng

    def weight(*shape: int) -> str:
        return model.tensor(rng.standard_normal(shape).astype(np.float32), model.name("w"))

    x = model.node("Conv", model.input("n", 3, 6, 6), weight(8, 3, 1, 1))
    for _ in range(2):
        y = model.node("Relu", model.node("Conv", x, weight(8, 8, 3, 3), pads=[1] * 4))
        x = model.node("Add", x, model.node("Conv", y, weight(8, 8, 3, 3), pads=[1] * 4))
    model.output(model.node("Conv", x, weight(4, 8, 1, 1)))
    graph = model.graph()
    result = apply(graph, groups=2, ignore=("w1", "w6"))
    ir.verify(graph)
    assert result.summary["layers"] == 4
    assert 1 <= result.summary["gathers"] <= 3


@pytest.mark.parametrize("seed", range(4))
def test_dividing_keeps_at_least_what_the_order_as_it_is_keeps(seed: int) -> None:
    rng = np.random.default_rng(seed)
    energy = rng.random((12, 18)) ** 4
    outs, ins = divide(energy, 3, rng)
    assert sorted(outs) == list(range(12))
    assert sorted(ins) == list(range(18))
    blocks = energy[outs][:, ins]
    kept, before = (sum(matrix[4 * g : 4 * g + 4, 6 * g : 6 * g + 6].sum() for g in range(3)) for matrix in (blocks, energy))
    assert kept >= before
    assert divide(energy, 3, rng, fixed_outs=True)[0].tolist() == list(range(12))


# ---- what is left alone, and errors


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "give groups or pairs"),
        ({"groups": 2, "pairs": 1}, "give groups or pairs"),
        ({"groups": 3, "layers": ("middle",)}, "'middle' .* was asked for, but its 8 and 8 channels in 1 groups do not divide into 3"),
        ({"pairs": 10, "layers": ("middle",)}, "10 pairs are more than the 8 that make it exact"),
        ({"groups": 2, "layers": ("nobody",)}, "'nobody' names no"),
    ],
)
def test_what_cannot_be_done_is_an_error(options: dict[str, Any], said: str) -> None:
    with pytest.raises(PassParameterError, match=said):
        apply(scrambled(), **options)


def test_what_does_not_divide_is_left_alone() -> None:
    result = apply(scrambled(), groups=8)
    assert {skip.why for skip in result.skipped} == {
        "its 3 and 8 channels in 1 groups do not divide into 8",
        "its 8 and 4 channels in 1 groups do not divide into 8",
    }
