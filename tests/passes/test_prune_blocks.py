"""prune-blocks: which branches can go, which goes first, and that what is left is the model without them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphopt.ir as ir
from graphopt.cost import count
from graphopt.errors import PassParameterError
from graphopt.passes.prune_blocks import PruneBlocks
from graphopt.pipeline import Context, PassResult, StopAfter
from tests.channels.build import Build
from tests.passes.factorized import assert_same, inputs, operators, outputs

SIZES = (0.5, 0.01, 0.2)  # of what the blocks add


def residual(sizes: tuple[float, ...] = SIZES, shortcut: bool = False, zero: tuple[int, ...] = ()) -> ir.Graph:
    """x -> Conv -> blocks x + Conv(Relu(Conv(x))) named add0, add1, ... -> Conv; with `shortcut` the first block has a Conv on both sides."""
    model = Build(opset=17)
    rng = model.rng

    def conv(x: str, outs: int, ins: int, kernel: int, scale: float, name: str) -> Any:
        weight = (scale * rng.standard_normal((outs, ins, kernel, kernel))).astype(np.float32)
        return model.node("Conv", x, model.tensor(weight, f"{name}.weight"), pads=[kernel // 2] * 4, name=name)

    x = conv(model.input("n", 3, 6, 6), 8, 3, 1, 1.0, "stem")
    for place, size in enumerate(sizes):
        y = model.node("Relu", conv(x, 8, 8, 3, 0.2, f"a{place}"))
        y = conv(y, 8, 8, 3, 0.0 if place in zero else 0.3 * size, f"b{place}")
        other = conv(x, 8, 8, 1, 0.5, "shortcut") if shortcut and place == 0 else x
        x = model.node("Add", *((y, other) if place % 2 else (other, y)), name=f"add{place}")
    model.output(conv(x, 4, 8, 1, 1.0, "head"))
    return model.graph()


def apply(graph: ir.Graph, data: dict[str, np.ndarray] | None = None, **options: Any) -> PassResult:
    return PruneBlocks(**options).apply(graph, Context(data=data))


def adds(graph: ir.Graph) -> list[str]:
    return [node.name for node in graph.nodes if node.op_type == "Add"]


@pytest.mark.parametrize("with_data", [False, True])
def test_the_block_that_adds_least_goes_first(with_data: bool) -> None:
    graph = residual()
    data = inputs(graph, 8) if with_data else None
    result = apply(graph, data)
    assert adds(graph) == ["add0", "add2"]
    assert result.summary["removed"] == "'add1' (Add)"
    assert result.summary["sites"] == 3
    ir.verify(graph)
    assert not any(name.startswith(("a1", "b1")) for name in graph.values)


def test_blocks_go_in_the_order_of_what_they_do() -> None:
    graph = residual()
    apply(graph, inputs(graph, 8), blocks=2)
    assert adds(graph) == ["add0"]
    apply(graph, inputs(graph, 8), blocks=5)
    assert operators(graph) == ["Conv", "Conv"]
    ir.verify(graph)


def test_a_block_that_adds_nothing_is_missed_by_nobody() -> None:
    graph = residual(zero=(2,))
    original = graph.copy()
    result = apply(graph, inputs(graph, 4))
    assert result.summary["output_change"] == 0
    assert_same(graph, original, inputs(graph))


def test_the_change_is_measured_on_the_outputs() -> None:
    graph = residual()
    original, data = graph.copy(), inputs(graph, 8)
    result = apply(graph, data)
    wanted = outputs(original, data).astype(np.float64)
    expected = np.square(outputs(graph, data) - wanted).sum() / np.square(wanted).sum()
    assert result.summary["output_change"] == pytest.approx(expected, abs=1e-6)


def test_a_shortcut_with_a_layer_may_go_or_stay() -> None:
    """Either side of an Add can be handed on alone where neither comes from the other."""
    graph = residual((0.5,), shortcut=True)
    apply(graph, layers=("shortcut",))
    assert [node.name for node in graph.nodes if node.op_type == "Conv"] == ["stem", "a0", "b0", "head"]
    graph = residual((0.5,), shortcut=True)
    apply(graph, layers=("a0",))
    assert [node.name for node in graph.nodes if node.op_type == "Conv"] == ["stem", "shortcut", "head"]
    ir.verify(graph)


def test_ratio_is_a_share_of_the_work() -> None:
    graph = residual()
    before = count(graph).macs
    apply(graph, ratio=0.5)
    assert count(graph).macs <= before / 2
    assert len(adds(graph)) == 1


def test_no_more_change_than_is_allowed() -> None:
    graph = residual()
    result = apply(graph, inputs(graph, 8), blocks=3, max_change=0.01)
    assert adds(graph) == ["add0", "add2"]
    assert result.summary["blocks"] == 1


@pytest.mark.parametrize("options", [{"layers": ("add0",)}, {"layers": ("b0",)}, {"ignore": ("add[12]",)}])
def test_blocks_are_chosen_by_name(options: dict[str, Any]) -> None:
    graph = residual()
    apply(graph, blocks=3, **options)
    assert adds(graph) == ["add1", "add2"]


def test_a_name_outside_of_any_branch_is_an_error() -> None:
    with pytest.raises(PassParameterError, match="'stem' names no residual branch"):
        apply(residual(), layers=("stem",))


def test_what_feeds_other_things_too_stays() -> None:
    model = Build(opset=17)
    x = model.node("Relu", model.input(2, 8))
    y = model.node("MatMul", x, model.weight(8, 8))
    model.output(model.node("Add", x, model.node("Relu", model.node("MatMul", y, model.weight(8, 8)))), y)
    graph = model.graph()
    apply(graph)
    assert operators(graph) == ["Relu", "MatMul"]
    ir.verify(graph)


def test_broadcast_sums_biases_and_sums_of_inputs_are_no_blocks() -> None:
    model = Build(opset=17)
    x, row = model.input(2, 8), model.input(1, 8)
    y = model.node("Add", model.node("MatMul", x, model.weight(8, 8)), model.weight(8))
    y = model.node("Add", y, model.node("MatMul", row, model.weight(8, 8)))
    model.output(y)
    graph = model.graph()
    assert apply(graph).summary == {"blocks": 0, "sites": 0, "output_change": 0.0}


def test_an_input_is_never_stranded() -> None:
    model = Build(opset=17)
    parts = [model.node("MatMul", model.input(2, 8), model.weight(8, 8)) for _ in range(2)]
    model.output(model.node("Relu", model.node("Add", *parts)))
    assert not apply(model.graph()).changed


def test_a_bisection_stops_between_blocks() -> None:
    graph = residual()
    PruneBlocks(blocks=3).apply(graph, Context(instruments=(StopAfter(1),)))
    assert len(adds(graph)) == 2


# ---- branches of a Concat


def inception(batch: int | str = "n") -> ir.Graph:
    """x -> Conv -> three branches, joined -> Relu -> MaxPool -> Conv and a depthwise Conv -> Conv, added -> Flatten -> Gemm."""
    model = Build(opset=17)
    x = model.node("Conv", model.input(batch, 3, 6, 6), model.weight(4, 3, 3, 3), pads=[1] * 4)
    sides = [model.node("Conv", x, model.weight(outs, 4, 1, 1), model.weight(outs), name=f"side{outs}") for outs in (2, 3, 5)]
    x = model.node("Concat", *sides, axis=1, outputs=("joined",))
    x = model.node("MaxPool", model.node("Relu", x), kernel_shape=[2, 2], strides=[2, 2])
    alone = model.node("Conv", x, model.weight(10, 1, 3, 3), model.weight(10), pads=[1] * 4, group=10)
    y = model.node("Add", model.node("Conv", alone, model.weight(6, 10, 1, 1)), model.node("Conv", x, model.weight(6, 10, 1, 1)))
    model.output(y, model.node("Gemm", model.node("Flatten", x), model.weight(4, 90), transB=1))
    return model.graph()


def dense() -> ir.Graph:
    """As in DenseNet: each layer reads all before it, through BatchNormalization."""
    model = Build(opset=17)
    x, channels = model.node("Conv", model.input("n", 3, 6, 6), model.weight(4, 3, 3, 3), pads=[1] * 4), 4
    for place in range(3):
        parameters = [model.weight(channels, positive=True) for _ in range(4)]
        y = model.node("Relu", model.node("BatchNormalization", x, *parameters))
        y = model.node("Conv", y, model.weight(2, channels, 3, 3), pads=[1] * 4, name=f"layer{place}")
        x, channels = model.node("Concat", x, y, axis=1, outputs=(f"joined{place}",)), channels + 2
    model.output(model.node("Conv", x, model.weight(5, channels, 1, 1)))
    return model.graph()


def without(graph: ir.Graph, result: PassResult) -> ir.Graph:
    """The graph with zeros for what is gone of weights that add channels up: what those hold does not count any more."""
    silent = graph.copy()
    for name, axes in result.kept.items():
        weight = graph.constant(graph.value(name))
        assert weight is not None
        if weight.ndim > 1 and "1" in axes:
            left = np.zeros(weight.shape[1], bool)
            left[axes["1"]] = True
            silent.set_tensor(silent.value(name), weight * left.reshape(1, -1, *[1] * (weight.ndim - 2)))
    return silent


@pytest.mark.parametrize(("build", "sites"), [(inception, {"joined": 3}), (dense, {f"joined{i}": 1 for i in range(3)})])
def test_a_branch_of_a_concat_goes_with_the_weights_behind_it(build: Any, sites: dict[str, int]) -> None:
    graph = build()
    found = {site.name: len(site.values) - 1 for site in PruneBlocks().sites(graph, Context()) if site.name.startswith("joined")}
    assert found == sites
    for name, count_of in sites.items():
        for place in range(1, count_of + 1):
            made = graph.copy()
            result = PruneBlocks(plan={name: place}).apply(made, Context())
            assert result.summary["blocks"] == 1
            assert count(made).macs < count(graph).macs
            assert_same(made, without(graph, result), inputs(graph))


def test_all_branches_but_one_of_a_concat_can_go() -> None:
    graph = inception()
    result = apply(graph, blocks=9, layers=("joined",))
    assert result.summary["blocks"] == 2
    assert "Concat" not in operators(graph)
    assert_same(graph, without(inception(), result), inputs(graph))


def test_a_dense_layer_and_what_is_built_on_it_record_what_is_left() -> None:
    graph = dense()
    result = apply(graph, blocks=2, layers=("joined0", "joined1"))
    assert [node.name for node in graph.nodes if node.name.startswith("layer")] == ["layer2"]
    assert_same(graph, without(dense(), result), inputs(graph))


def test_channels_that_more_than_weights_read_stay() -> None:
    model = Build(opset=17)
    x = model.input("n", 3, 6, 6)
    sides = [model.node("Conv", x, model.weight(2, 3, 1, 1)) for _ in range(2)]
    y = model.node("Concat", *sides, axis=1)
    model.output(model.node("Conv", y, model.weight(4, 4, 1, 1)), y)
    z = model.node("Softmax", model.node("Concat", *[model.node("Conv", x, model.weight(2, 3, 1, 1)) for _ in range(2)], axis=1), axis=1)
    model.output(model.node("Conv", z, model.weight(4, 4, 1, 1)))
    assert PruneBlocks().sites(model.graph(), Context()) == ()
