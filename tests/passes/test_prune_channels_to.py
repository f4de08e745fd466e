"""prune-channels with a goal or a plan: what is met, what is left alone, and that it can be repeated."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphopt
import graphopt.ir as ir
from graphopt.allocation import figure
from graphopt.channels import analyse
from graphopt.cost import WidthAdvice
from graphopt.errors import BudgetError, PassParameterError
from graphopt.passes.prune_channels import PruneChannels
from graphopt.pipeline import Context, PassResult
from graphopt.repair import data_scores
from tests.cost.staircase import BLOCK, inverted, predictor, residual


def varied(graph: ir.Graph, seed: int = 0) -> ir.Graph:
    """The graph with random weights, of channels of different sizes."""
    rng = np.random.default_rng(seed)
    for value in graph.initializers:
        if value.tensor is not None and len(value.tensor.shape) > 1:
            shape = value.tensor.shape
            scale = np.exp(rng.normal(size=(shape[0],) + (1,) * (len(shape) - 1)))
            graph.set_tensor(value, (rng.standard_normal(shape) * scale).astype(np.float32))
    return graph


def prune(graph: ir.Graph, **options: Any) -> PassResult:
    return PruneChannels(**options).apply(graph, Context(predictor=predictor()))


def widths(graph: ir.Graph) -> dict[str, int]:
    return {group.name: group.size for group in analyse(graph).groups if group.prunable}


@pytest.mark.parametrize("solver", ["knapsack", "greedy", "uniform"])
@pytest.mark.parametrize("goal", ["0.7x", "0.5x-macs", "0.5x-params", "0.6x-bytes", "0.8x-peak"])
def test_the_goal_is_met(goal: str, solver: str) -> None:
    graph = varied(residual())
    share, _, of = goal.partition("x")
    resource = {"": "latency", "-peak": "peak-memory"}.get(of, of[1:])
    before = figure(graph, resource, predictor())
    result = prune(graph, to=goal, solver=solver)
    assert result.changed
    assert figure(graph, resource, predictor()) <= float(share) * before


def test_knapsack_harms_no_more_than_the_others() -> None:
    for goal in ("0.8x", "0.6x", "0.5x"):
        harms = {}
        for solver in ("knapsack", "greedy", "uniform"):
            harms[solver] = float(prune(varied(residual()), to=goal, solver=solver).summary["harm"])
        assert harms["knapsack"] <= min(harms.values()) + 1e-9


def test_no_width_is_chosen_that_is_slower_than_a_larger_one() -> None:
    graph = varied(inverted())
    before = widths(graph)
    advice = WidthAdvice(predictor(), graph)
    result = prune(graph, to="0.6x", align=1)
    assert result.changed
    for name, width in widths(graph).items():
        if width < before[name]:
            site = advice.site(name, candidates=range(1, before[name] + 1))
            place = site.widths.index(width)
            assert site.ms[place] <= min(site.ms[place:]) * (1 + 1e-9)


def test_a_plan_says_how_many_units_are_kept() -> None:
    graph = residual()
    first, second, *others = widths(graph).items()
    prune(graph, plan={first[0]: 20, second[0]: 7})
    after = widths(graph)
    assert after[first[0]], after[second[0]] == (20, 7)
    assert [after[name] for name, _ in others] == [size for _, size in others]


def test_an_empty_plan_changes_nothing() -> None:
    assert not prune(residual(), plan={}).changed


def test_what_is_ignored_kept_or_given_a_ratio_is_not_allocated() -> None:
    graph = varied(residual())
    (ignored, size), (kept, _), (given, _) = list(widths(graph).items())[:3]
    before = figure(graph, "macs", None)
    prune(graph, to="0.6x-macs", ignore=(ignored,), keep={kept: (0, 3, 5)}, ratios={given: 0.25})
    after = widths(graph)
    assert after[ignored] == size
    assert after[kept] == 3
    assert after[given] == 64  # 80 less a quarter, in steps of 8
    assert figure(graph, "macs", None) <= 0.6 * before


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ({"nowhere": 3}, "plan names the channel group 'nowhere'"),
        ({"w0:0": 0}, "cannot be to keep 0"),
        ({"w0:0": 999}, "cannot be to keep 999"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(plan: dict[str, int], message: str) -> None:
    with pytest.raises(PassParameterError, match=message):
        prune(residual(), plan=plan)


def test_a_plan_for_an_ignored_group_is_refused() -> None:
    with pytest.raises(PassParameterError, match="to be ignored"):
        prune(residual(), plan={"w0:0": 16}, ignore=("w0:0",))


def test_no_group_loses_more_than_max_ratio() -> None:
    graph = varied(residual())
    before = widths(graph)
    with pytest.raises(BudgetError, match="the least that can be reached"):
        prune(graph, to="0.1x-macs", max_ratio=0.5)
    prune(graph, to="0.5x-macs", max_ratio=0.5)
    assert all(width >= before[name] / 2 for name, width in widths(graph).items())


def test_the_target_says_which_widths_there_are() -> None:
    graph = varied(residual())
    prune(graph, to="0.7x", align="target")
    assert all(width % BLOCK == 0 for width in widths(graph).values())


def test_the_same_text_data_target_and_seed_give_the_same_bytes(tmp_path: Any) -> None:
    texts = (
        "prune-channels{to=0.7x}",
        "prune-channels{to=0.5x-macs solver=greedy criterion=random}",
        "prune-channels{to=0.5x-params harm=weights align=1}",
    )
    data = {"x": np.random.default_rng(0).standard_normal((8, 3, 8, 8)).astype(np.float32)}
    for text in texts:
        made = []
        for number in range(2):
            done = graphopt.run(varied(residual()), text, data=data, seed=3, predictor=predictor())
            path = tmp_path / f"{number}.onnx"
            graphopt.save(done.graph, path)
            made.append(path.read_bytes())
        assert made[0] == made[1], text


def test_scores_from_data_are_found_once_for_all_plans(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def counted(*arguments: Any) -> Any:
        asked.append(len(arguments[1]))
        return data_scores(*arguments)

    monkeypatch.setattr("graphopt.passes.prune_channels.data_scores", counted)
    graph = varied(residual())
    data = {"x": np.random.default_rng(0).standard_normal((8, 3, 8, 8)).astype(np.float32)}
    PruneChannels(to="0.7x", criterion="activation", harm="evaluation").apply(graph, Context(data=data, predictor=predictor()))
    assert [count for count in asked if count] == [len(widths(residual())), asked[-1]]
