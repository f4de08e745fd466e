"""prune-channels: which groups it cuts, to how many units, and what it says about the rest."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import helper

import graphopt.ir as ir
from graphopt.channels import analyse
from graphopt.errors import PassParameterError
from graphopt.passes.prune_channels import PruneChannels
from graphopt.pipeline import Context, Instrument, PassResult, Registry, parse_pipeline
from tests.channels.build import Build
from tests.channels.masked import contents, masked_copy, random_feeds, relative_error, run
from tests.cost.staircase import BLOCK, predictor, residual


def network(widths: tuple[int, ...] = (16, 24), seed: int = 0) -> ir.Graph:
    """x -> Conv w1 -> Relu -> Conv w2 -> Sigmoid -> Conv w3 -> output; `widths` are the channels between."""
    model = Build(seed=seed)
    x, into = model.input(2, 3, 4, 4), 3
    for width in widths:
        bias = model.tensor(model.rng.standard_normal(width).astype(np.float32), model.name("b"))
        x = model.node(
            "Relu",
            model.node("Conv", x, model.tensor(model.rng.standard_normal((width, into, 1, 1)).astype(np.float32), model.name("w")), bias),
        )
        into = width
    model.output(model.node("Conv", x, model.tensor(model.rng.standard_normal((4, into, 1, 1)).astype(np.float32), model.name("w"))))
    return model.graph()


def prune(graph: ir.Graph, *, seed: int = 0, instruments: tuple[Instrument, ...] = (), **options: Any) -> PassResult:
    return PruneChannels(**options).apply(graph, Context(seed=seed, instruments=instruments))


def sizes(graph: ir.Graph) -> list[int]:
    """The output channels of the convolutions."""
    return [contents(graph, node.input(1).name).shape[0] for node in graph.nodes if node.op_type == "Conv"]


def best(graph: ir.Graph, names: dict[str, int], count: int, power: int) -> list[int]:
    """The best `count` channels, when each weight's slices along its axis are measured and divided by their mean."""
    scores = np.zeros(1)
    for name, axis in names.items():
        norms = (np.abs(np.moveaxis(contents(graph, name), axis, 0).astype(np.float64)) ** power).reshape(
            contents(graph, name).shape[axis], -1
        )
        norms = norms.sum(axis=1) ** (1 / power)
        scores = scores + norms / norms.mean()
    return sorted(np.argsort(-scores, kind="stable")[:count].tolist())


# ---- what is kept


@pytest.mark.parametrize(("criterion", "power"), [("l1", 1), ("l2", 2)])
def test_the_channels_with_the_largest_norms_stay(criterion: str, power: int) -> None:
    graph = network()
    first, second = best(graph, {"w1": 0, "w2": 1}, 8, power), best(graph, {"w2": 0, "w3": 1}, 16, power)
    result = prune(graph, criterion=criterion, ratio=0.4)
    assert result.kept == {
        "w1": {"0": first},
        "b1": {"0": first},
        "w2": {"0": second, "1": first},
        "b2": {"0": second},
        "w3": {"1": second},
    }
    assert result.changed


def test_weights_are_slices_of_the_file_s_own() -> None:
    graph = network()
    before = graph.copy()
    kept = prune(graph).kept
    for value in before.initializers:
        array = contents(before, value.name)
        for axis, left in kept.get(value.name, {}).items():
            array = np.take(array, left, axis=int(axis))
        assert np.array_equal(contents(graph, value.name), array)


def test_the_result_equals_the_masked_original() -> None:
    graph = network()
    original = graph.copy()
    kept = prune(graph, ratio=0.7, align=1).kept
    feeds = random_feeds(original, np.random.default_rng(0))
    before, masked, after = (run(g.to_proto(), feeds) for g in (original, masked_copy(original, kept), graph))
    for name in before:
        relative_error(after[name], masked[name], before[name], name)


def test_nothing_but_weights_changes() -> None:
    graph = network()
    before = graph.to_proto()
    kept = prune(graph).kept
    after = graph.to_proto()
    assert list(after.graph.node) == list(before.graph.node)
    assert list(after.graph.input) == list(before.graph.input)
    assert list(after.graph.output) == list(before.graph.output)
    assert [tensor.name for tensor in after.graph.initializer] == [tensor.name for tensor in before.graph.initializer]
    for old, new in zip(before.graph.initializer, after.graph.initializer, strict=True):
        assert old == new or new.name in kept


def test_a_second_run_starts_from_what_is_left() -> None:
    graph = network((16, 32))
    prune(graph)
    assert sizes(graph) == [8, 16, 4]
    prune(graph)
    assert sizes(graph) == [8, 8, 4]


# ---- ratio and align


@pytest.mark.parametrize(
    ("ratio", "align", "expected"),
    [
        (0.5, 8, [8, 16]),  # 12 of 24 is half-way between 8 and 16, and rounds up
        (0.5, 1, [8, 12]),
        (0.25, 4, [12, 20]),  # 18 of 24 is half-way between 16 and 20
        (0.9, 8, [8, 8]),  # never less than one step
        (0.9, 1, [2, 2]),
        (0.0, 8, [16, 24]),
        (0.1, 8, [16, 24]),
        (0.5, 32, [16, 24]),  # groups smaller than the step stay whole
        (0.5, 20, [16, 20]),
    ],
)
def test_counts(ratio: float, align: int, expected: list[int]) -> None:
    graph = network()
    prune(graph, ratio=ratio, align=align)
    assert sizes(graph) == [*expected, 4]


def test_align_counts_channels_not_units() -> None:
    """Two groups of a grouped convolution are six channels each; pairs of channels come three at a time."""
    model = Build()
    x = model.node("Conv", model.input(1, 3, 2, 2), model.weight(24, 3, 1, 1))
    x = model.node("Conv", x, model.weight(24, 3, 1, 1), group=8)
    model.output(model.node("Conv", x, model.weight(4, 24, 1, 1)))
    graph = model.graph()
    prune(graph, align=8)
    assert all(size % 8 == 0 for size in sizes(graph)[:2])


def test_nothing_to_remove_is_no_change() -> None:
    graph = network()
    before = graph.to_proto()
    result = prune(graph, ratio=0.0)
    assert (result.changed, result.kept) == (False, {})
    assert graph.to_proto() == before


def test_the_summary_counts() -> None:
    result = prune(network())
    assert result.summary == {"groups": 2, "units_removed": 16, "units": 40}


# ---- align=target


@pytest.mark.parametrize(("ratio", "inner"), [(0.1, 80), (0.2, 64), (0.3, 64), (0.4, 48), (0.55, 48), (0.95, 16)])
def test_widths_are_those_worth_having_on_the_target(ratio: float, inner: int) -> None:
    """Channels that cost nothing are given back: from what the ratio leaves up to the next whole block."""
    graph = residual()
    before = predictor().predict(graph).ms
    result = PruneChannels(ratio=ratio, align="target").apply(graph, Context(predictor=predictor()))
    assert sizes(graph)[3] == inner
    assert all(size % BLOCK == 0 for size in sizes(graph))
    if result.changed:
        assert predictor().predict(graph).ms < before


def test_a_cut_that_wins_nothing_is_refused() -> None:
    graph = residual()
    result = PruneChannels(ratio=0.1, align="target").apply(graph, Context(predictor=predictor()))
    assert not result.changed
    assert [skip.why for skip in result.skipped if skip.where == "w6:0"] == [
        "no width that keeps as many units as wanted is predicted to be faster"
    ]


def test_what_is_to_be_kept_is_kept_on_a_target_too() -> None:
    graph = residual()
    prune_to = PruneChannels(ratio=0.5, align="target", keep={"w6:0": (1, 2, 3)})
    assert prune_to.apply(graph, Context(predictor=predictor())).kept["w6"]["0"] == [1, 2, 3]


def test_align_target_needs_a_target() -> None:
    with pytest.raises(PassParameterError, match="align=target needs to know the target; name it with --target"):
        prune(residual(), align="target")


def test_align_is_a_number_or_target() -> None:
    registry = Registry.installed()
    for text in ("prune-channels{align=target}", "prune-channels{align=4}"):
        assert str(parse_pipeline(text, registry)) == text
    with pytest.raises(PassParameterError, match="expected a whole number, at least 1, or target; got"):
        parse_pipeline("prune-channels{align=tarzan}", registry)
    with pytest.raises(PassParameterError, match="or target"):
        PruneChannels(align=0)


# ---- random


def test_random_is_the_seed_s() -> None:
    results = [prune(network(), criterion="random", seed=seed).kept for seed in (1, 1, 2)]
    assert results[0] == results[1] != results[2]
    assert [len(result["w1"]["0"]) for result in results] == [8, 8, 8]


def test_norms_do_not_depend_on_the_seed() -> None:
    assert prune(network(), seed=1).kept == prune(network(), seed=2).kept


# ---- ignore, keep, ratios


@pytest.mark.parametrize("pattern", ["w1", "w1:0", "b1", "[bw]1*"])
def test_what_is_ignored_stays(pattern: str) -> None:
    graph = network()
    result = prune(graph, ignore=(pattern,))
    assert sizes(graph) == [16, 16, 4]
    assert [(skip.where, skip.why) for skip in result.skipped if skip.why == "ignored, as asked"] == [("w1:0", "ignored, as asked")]


def test_keep_is_exact_and_overrides_ratio_and_align() -> None:
    graph = network()
    kept = prune(graph, keep={"w1:0": (5, 2, 11)}).kept
    assert kept["w1"] == {"0": [2, 5, 11]}
    assert len(kept["w2"]["0"]) == 16


@pytest.mark.parametrize("keep", [{"nobody": (0,)}, {"w1:1": (0,)}])
def test_keep_of_what_cannot_be_cut_is_an_error(keep: dict[str, tuple[int, ...]]) -> None:
    with pytest.raises(PassParameterError, match=next(iter(keep))):
        prune(network(), keep=keep)


def test_a_pattern_that_names_nothing_is_an_error() -> None:
    with pytest.raises(PassParameterError, match="conv9"):
        prune(network(), ignore=("conv9*",))


def test_ratios_of_single_groups() -> None:
    graph = network((32, 32))
    prune(graph, ratios={"w1": 0.75, "w*": 0.25})
    assert sizes(graph) == [8, 24, 4]


# ---- what stays, and why


def test_frozen_groups_are_reported_with_node_and_reason() -> None:
    skipped = {skip.where: skip.why for skip in prune(network()).skipped}
    assert skipped == {
        "w1:1": "3 units frozen by 'n1' (Conv): meets an axis that cannot change",
        "w3:0": "4 units frozen by output 'v5': graph output",
    }


def normalised() -> ir.Graph:
    model = Build()
    x = model.node("MatMul", model.input(2, 3, 4), model.weight(4, 16))
    x = model.node("LayerNormalization", x, model.weight(16), model.weight(16))
    model.output(model.node("MatMul", x, model.weight(16, 4)))
    return model.graph()


def test_inexact_groups_stay_unless_they_are_asked_for() -> None:
    graph = normalised()
    result = prune(graph)
    assert not result.changed
    assert ("w1:1", "16 units inexact at 'n2' (LayerNormalization): normalises over it") in [(s.where, s.why) for s in result.skipped]
    assert prune(normalised(), include_inexact=True).kept.keys() == {"w1", "w2", "w3", "w4"}
    assert prune(normalised(), keep={"w1:1": (0, 1)}).kept["w1"] == {"1": [0, 1]}


class Refuse(Instrument):
    """Refuses every rewrite from the n-th on."""

    def __init__(self, allowed: int) -> None:
        self.allowed, self.asked = allowed, list[str]()

    def permit(self, where: str) -> bool:
        self.asked.append(where)
        return len(self.asked) <= self.allowed


def test_each_group_is_a_rewrite_that_can_be_refused() -> None:
    graph, instrument = network(), Refuse(1)
    prune(graph, instruments=(instrument,))
    assert sizes(graph) == [8, 24, 4]
    assert instrument.asked == ["prune w1:0 from 16 to 8 units", "prune w2:0 from 24 to 16 units"]


# ---- heads and head dimensions


def attention(heads: int = 4, dims: int = 8) -> ir.Graph:
    model = Build()
    x, width = model.input(2, 3, 8), heads * dims
    q, k, v = (
        model.node(
            "Transpose", model.node("Reshape", model.node("MatMul", x, model.weight(8, width)), model.ints(0, 3, heads, dims)), perm=perm
        )
        for perm in ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3])
    )
    mixed = model.node("MatMul", model.node("Softmax", model.node("MatMul", q, k)), v)
    merged = model.node("Reshape", model.node("Transpose", mixed, perm=[0, 2, 1, 3]), model.ints(0, 3, width))
    model.output(model.node("MatMul", merged, model.weight(width, 8)))
    return model.graph()


@pytest.mark.parametrize(
    ("options", "shapes"),
    [
        ({"heads": 0.5, "head_dims": 0.0}, [(8, 16), (8, 16), (8, 16), (16, 8)]),
        ({"heads": 0.0, "head_dims": 0.5}, [(8, 16), (8, 16), (8, 16), (16, 8)]),
        ({"heads": 0.5, "head_dims": 0.25}, [(8, 12), (8, 12), (8, 12), (12, 8)]),
        ({"ratio": 0.5, "heads": 0.0, "head_dims": 0.0}, [(8, 32), (8, 32), (8, 32), (32, 8)]),
    ],
)
def test_heads_and_their_dimensions_have_ratios_of_their_own(options: dict[str, Any], shapes: list[tuple[int, ...]]) -> None:
    graph = attention()
    prune(graph, align=1, **options)
    assert [contents(graph, f"w{i}").shape for i in (1, 2, 3, 4)] == shapes


def test_whole_heads_go() -> None:
    graph = attention()
    groups = {group.kind: group for group in analyse(graph).groups if group.prunable}
    kept = prune(graph, keep={groups["heads"].name: (1, 3)}, head_dims=0.0, align=1).kept
    assert kept["w4"] == {"0": [*range(8, 16), *range(24, 32)]}


def test_align_holds_for_the_width_of_all_heads() -> None:
    graph = attention(8, 8)
    prune(graph, ratio=0.4, align=8)
    assert all(contents(graph, f"w{i}").shape[1] % 8 == 0 for i in (1, 2, 3))


# ---- ranking over the whole model


def test_global_ranking_takes_from_the_weakest_group() -> None:
    graph = network((16, 16))
    for name, axis in (("w2", 0), ("b2", 0), ("w3", 1)):
        array = np.array(contents(graph, name))
        array[(slice(None),) * axis + (slice(8, 16),)] *= 1e-3
        graph.set_tensor(graph.value(name), array)
    prune(graph, global_ranking=True, ratio=0.25, align=1)
    assert sizes(graph) == [16, 8, 4]


def test_no_group_loses_more_than_max_ratio() -> None:
    graph = network((16, 16))
    prune(graph, global_ranking=True, ratio=0.8, max_ratio=0.5, align=1)
    assert sizes(graph) == [8, 8, 4]


# ---- functions


def test_channels_are_followed_into_functions() -> None:
    model = Build(my_domain=1)
    body = [helper.make_node("Relu", ["a"], ["z"])]
    model.functions.append(helper.make_function("my.domain", "Act", ["a"], ["z"], body, [helper.make_opsetid("", 21)]))
    x = model.node("Act", model.node("MatMul", model.input(2, 4), model.weight(4, 16)), domain="my.domain")
    model.output(model.node("MatMul", x, model.weight(16, 3)))
    graph = model.graph()
    assert prune(graph).kept == prune(model.graph()).kept != {}
    run(graph.to_proto(), random_feeds(graph, np.random.default_rng(0)))


def test_functions_stay_when_nothing_is_cut() -> None:
    model = Build(my_domain=1)
    body = [helper.make_node("Relu", ["a"], ["z"])]
    model.functions.append(helper.make_function("my.domain", "Act", ["a"], ["z"], body, [helper.make_opsetid("", 21)]))
    model.output(model.node("Act", model.node("MatMul", model.input(2, 4), model.weight(4, 16)), domain="my.domain"))
    graph = model.graph()
    before = graph.to_proto()
    assert not prune(graph).changed
    assert graph.to_proto() == before
