"""Criteria of prune-channels beyond norms, each against its definition computed another way."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import graphopt.ir as ir
from graphopt.channels import CRITERIA, ChannelGroup, analyse, score
from graphopt.errors import DataError
from graphopt.passes.prune_channels import PruneChannels
from graphopt.pipeline import Context
from graphopt.repair import DATA_CRITERIA, calibration, data_scores
from tests.channels.build import Build
from tests.channels.masked import contents, run
from tests.passes.factorized import inputs

RNG = np.random.default_rng(0)


def network(kernel: int = 1, normalized: bool = False, width: int = 6) -> ir.Graph:
    """x [n, 3, 5, 5] -> Conv `first` to `width` channels -> (BatchNormalization) -> Relu -> Conv `second` with bias."""
    model = Build(opset=17)
    rng = model.rng

    def tensor(name: str, *shape: int) -> str:
        return model.tensor(rng.standard_normal(shape).astype(np.float32), name)

    x = model.node("Conv", model.input("n", 3, 5, 5), tensor("first", width, 3, 1, 1), tensor("b", width))
    if normalized:
        rest = [model.tensor(np.full(width, number, np.float32)) for number in (0.3, 0.1, 2)]
        x = model.node("BatchNormalization", x, tensor("scale", width), *rest)
    model.output(model.node("Conv", model.node("Relu", x), tensor("second", 5, width, kernel, kernel), tensor("c", 5)))
    return model.graph()


def group_of(graph: ir.Graph) -> ChannelGroup:
    return next(group for group in analyse(graph).groups if group.name.startswith("first:0"))


def by_weights(graph: ir.Graph, measure: Any) -> np.ndarray:
    """The mean of a measure [units] over both weights, each divided by its mean."""
    first, second = contents(graph, "first").reshape(6, -1), np.moveaxis(contents(graph, "second"), 1, 0).reshape(6, -1)
    return np.mean([(found := measure(rows.astype(np.float64))) / found.mean() for rows in (first, second)], axis=0)


def distances(rows: np.ndarray) -> np.ndarray:
    return np.array([[np.linalg.norm(a - b) for b in rows] for a in rows])


def hidden(graph: ir.Graph, feeds: dict[str, np.ndarray]) -> np.ndarray:
    """What `second` reads, [n, width, 5, 5]."""
    exposed = graph.to_proto()
    source = next(node.input[0] for node in exposed.graph.node if node.input[1:2] == ["second"])
    exposed.graph.output.append(type(exposed.graph.output[0])(name=source))
    return run(exposed, feeds)[source].astype(np.float64)


# ---- from the weights


def test_redundancy_is_the_mean_distance_to_the_others() -> None:
    graph = network(3)
    expected = by_weights(graph, lambda rows: distances(rows).sum(axis=1) / 5)
    np.testing.assert_allclose(score(group_of(graph), "redundancy", RNG), expected, rtol=1e-6)


def test_fpgm_finds_the_geometric_median() -> None:
    """No point near it has a smaller sum of distances, and the scores are the distances to it."""
    graph = network(3)

    def measure(rows: np.ndarray) -> np.ndarray:
        from scipy.optimize import minimize

        found = minimize(lambda point: np.linalg.norm(rows - point, axis=1).sum(), rows.mean(axis=0), tol=1e-12)
        return np.linalg.norm(rows - found.x, axis=1)

    np.testing.assert_allclose(score(group_of(graph), "fpgm", RNG), by_weights(graph, measure), rtol=1e-3)


def test_cosine_lets_copies_go() -> None:
    graph = network(3)
    for name, axis in (("first", 0), ("second", 1)):
        array = np.moveaxis(np.array(contents(graph, name)), axis, 0)
        array[4] = -0.5 * array[1]
        graph.set_tensor(graph.value(name), np.moveaxis(array, 0, axis))
    scores = score(group_of(graph), "cosine", RNG)
    assert scores.argmin() == 4
    assert scores[4] == pytest.approx(0, abs=1e-6)
    assert scores[1] > 0.1  # of two alike only the smaller goes


def test_threshold_counts_large_weights() -> None:
    graph = network(3)
    expected = by_weights(graph, lambda rows: (np.abs(rows) > np.median(np.abs(rows))).mean(axis=1))
    np.testing.assert_allclose(score(group_of(graph), "threshold", RNG), expected, rtol=1e-6)


def test_bn_scale_is_the_normalization_s() -> None:
    graph = network(normalized=True)
    scales = np.abs(contents(graph, "scale").astype(np.float64))
    np.testing.assert_allclose(score(group_of(graph), "bn-scale", RNG), scales / scales.mean(), rtol=1e-6)


def test_bn_scale_without_normalization_is_l2() -> None:
    group = group_of(network())
    assert np.array_equal(score(group, "bn-scale", RNG), score(group, "l2", RNG))


# ---- from data


def scores(graph: ir.Graph, criterion: str, feeds: dict[str, np.ndarray]) -> np.ndarray:
    group = group_of(graph)
    return data_scores(graph, [group], criterion, calibration(graph, feeds), 0)[group]


def test_activation_is_the_mean_magnitude_and_apoz_the_share_that_is_not_zero() -> None:
    graph = network(3)
    feeds = inputs(graph, 10)
    x = hidden(graph, feeds)
    for criterion, by_unit in (("activation", np.abs(x).mean(axis=(0, 2, 3))), ("apoz", (x != 0).mean(axis=(0, 2, 3)))):
        np.testing.assert_allclose(scores(graph, criterion, feeds), by_unit / by_unit.mean(), rtol=1e-5)


def contributions(graph: ir.Graph, feeds: dict[str, np.ndarray]) -> np.ndarray:
    """What each unit adds to the outputs of `second` (1 x 1): [units, rows, outs]."""
    x = hidden(graph, feeds).transpose(1, 0, 2, 3).reshape(6, -1)
    return x[:, :, np.newaxis] * contents(graph, "second")[:, :, 0, 0].T[:, np.newaxis, :]


def test_reconstruction_takes_next_what_changes_the_outputs_least() -> None:
    graph = network(1)
    feeds = inputs(graph, 10)
    parts, gone, order = contributions(graph, feeds), np.zeros(1), []
    for _ in range(6):
        left = [unit for unit in range(6) if unit not in order]
        order.append(min(left, key=lambda unit: np.square(gone + parts[unit]).sum()))
        gone = gone + parts[order[-1]]
    assert np.argsort(scores(graph, "reconstruction", feeds)).tolist() == order


def test_obs_is_the_error_when_the_others_make_good() -> None:
    graph = network(1)
    feeds = inputs(graph, 40)
    x = hidden(graph, feeds).transpose(0, 2, 3, 1).reshape(-1, 6)
    weight = contents(graph, "second")[:, :, 0, 0].astype(np.float64)
    errors = []
    for unit in range(6):
        others = np.column_stack([np.delete(x, unit, axis=1), np.ones(len(x))])
        missing = np.outer(x[:, unit], weight[:, unit])
        errors.append(np.square(missing - others @ np.linalg.lstsq(others, missing, rcond=None)[0]).sum())
    np.testing.assert_allclose(scores(graph, "obs", feeds), np.array(errors) / np.mean(errors), rtol=2e-3)


@pytest.mark.parametrize("criterion", ["reconstruction", "obs"])
def test_windows_of_several_places_count_whole(criterion: str) -> None:
    """A channel that is always zero matters least, one that never shows in the weights too."""
    graph = network(3)
    second = np.array(contents(graph, "second"))
    second[:, 2] = 0
    graph.set_tensor(graph.value("second"), second)
    found = scores(graph, criterion, inputs(graph, 10))
    assert found.argmin() == 2
    assert found.shape == (6,)


@pytest.mark.parametrize(("criterion", "flattened"), list(itertools.product(DATA_CRITERIA, [False, True])))
def test_readers_of_every_kind(criterion: str, flattened: bool) -> None:
    """Depthwise convolutions and products after a Flatten read units too; groups that nothing like that reads are measured by their weights."""
    model = Build(opset=17)
    x = model.node("Relu", model.node("Conv", model.input("n", 3, 4, 4), model.weight(8, 3, 1, 1)))
    if flattened:
        x = model.node("Gemm", model.node("Flatten", x), model.weight(10, 8 * 16), transB=1)
        x = model.node("MatMul", model.node("Relu", x), model.weight(10, 4))
    else:
        x = model.node("Conv", x, model.weight(8, 1, 3, 3), group=8)
        x = model.node("ConvTranspose", x, model.weight(8, 4, 1, 1))
    model.output(x)
    graph = model.graph()
    result = PruneChannels(criterion=criterion, ratio=0.5, align=1).apply(graph, Context(data=inputs(graph, 6)))
    ir.verify(graph)
    assert result.summary["units_removed"] == (9 if flattened else 4)


def test_data_criteria_need_data() -> None:
    with pytest.raises(DataError, match="criterion apoz needs calibration data"):
        PruneChannels(criterion="apoz").apply(network(), Context())


def test_every_criterion_is_offered_by_the_pass() -> None:
    for criterion in (*CRITERIA, *DATA_CRITERIA):
        graph = network(3, normalized=True)
        assert PruneChannels(criterion=criterion, ratio=0.5, align=1).apply(graph, Context(data=inputs(graph, 5))).changed
