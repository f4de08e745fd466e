"""Latency from tables against the prediction of graphs that are really cut."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import graphopt.ir as ir
from graphopt.channels import analyse, cut
from graphopt.cost import WidthTables
from graphopt.errors import EditError

from ..networks import network
from .staircase import inverted, joined, mixed, predictor, residual

NETWORKS: dict[str, Callable[[], ir.Graph]] = {
    "network": lambda: ir.Graph.from_proto(network()),
    "residual": residual,
    "inverted": inverted,
    "joined": joined,
    "mixed": mixed,
}


@pytest.mark.parametrize("name", NETWORKS)
def test_equal_to_the_prediction_of_the_graph_that_is_cut(name: str) -> None:
    graph = NETWORKS[name]()
    tables = WidthTables(predictor(), graph)
    rng = np.random.default_rng(0)
    choices = np.stack([rng.integers(len(levels), size=12) for levels in tables.levels], axis=1)
    choices[0] = tables.full
    found = tables.ms(choices)
    assert tables.exact
    for choice, ms in zip(choices.tolist(), found.tolist(), strict=True):
        twin = graph.copy()
        cut(
            analyse(twin),
            {name: sorted(rng.permutation(graph_size(tables, name))[:width].tolist()) for name, width in tables.widths(choice).items()},
        )
        assert ms == pytest.approx(predictor().predict(twin).ms, rel=1e-3)


def graph_size(tables: WidthTables, name: str) -> int:
    return next(group.size for group in tables.groups if group.name == name)


def test_levels_that_are_no_blocks() -> None:
    """Which kernels there are depends on the widths of several groups then."""
    graph = inverted()
    every = {group.name: (1, 5, 8, 12, 16, 24) for group in WidthTables(predictor(), graph).groups}
    tables = WidthTables(predictor(), graph, every)
    rng = np.random.default_rng(1)
    choices = np.stack([rng.integers(len(levels), size=20) for levels in tables.levels], axis=1)
    for choice, ms in zip(choices.tolist(), tables.ms(choices).tolist(), strict=True):
        twin = graph.copy()
        cut(analyse(twin), {name: list(range(width)) for name, width in tables.widths(choice).items()})
        assert ms == pytest.approx(predictor().predict(twin).ms, rel=1e-3)


def test_a_vector_that_several_nodes_share() -> None:
    """A cut gives each reader its own, of its own length."""
    graph = residual()
    convs = [node for node in graph.nodes if node.op_type == "Conv"]
    shared = graph.add_initializer("zeros", np.zeros(64, np.float32))
    for node in (convs[0], convs[2], convs[4]):
        graph.set_input(node, 2, shared)
    tables = WidthTables(predictor(), graph)
    choice = tuple(0 for _ in tables.levels)
    twin = graph.copy()
    cut(analyse(twin), {name: list(range(width)) for name, width in tables.widths(choice).items()})
    assert tables.ms([choice])[0] == pytest.approx(predictor().predict(twin).ms, rel=1e-3)
    assert {group.name for group in tables.groups} == {group.name for group in analyse(graph).groups if group.prunable}


def test_many_joined_widths_go_by_their_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = WidthTables(predictor(), joined())
    monkeypatch.setattr("graphopt.cost.kernel_tables._MOST_JOINED", 4)
    rough = WidthTables(predictor(), joined())
    assert rough.entries < exact.entries
    rng = np.random.default_rng(2)
    choices = np.stack([rng.integers(len(levels), size=50) for levels in exact.levels], axis=1)
    assert rough.ms(choices) == pytest.approx(exact.ms(choices), rel=0.02)


def test_one_group_at_a_time() -> None:
    tables = WidthTables(predictor(), residual())
    name = tables.groups[1].name
    along = tables.along(name)
    assert len(along) == len(tables.levels[1])
    assert along[-1] == tables.ms([tables.full])[0]
    assert along[0] == tables.ms([tables.choice({name: tables.levels[1][0]})])[0]
    base = [0] * len(tables.levels)
    assert tables.along(name, base)[0] == tables.ms([base])[0]


def test_choices_and_widths_are_each_other_s_inverse() -> None:
    tables = WidthTables(predictor(), inverted())
    choice = tuple(len(levels) // 2 for levels in tables.levels)
    assert tables.choice(tables.widths(choice)) == choice
    assert tables.choice({}) == tables.full


def test_what_cannot_be_asked() -> None:
    tables = WidthTables(predictor(), residual())
    with pytest.raises(EditError, match="no channel group 'nobody'"):
        tables.along("nobody")
    with pytest.raises(EditError, match="none of the widths"):
        tables.choice({tables.groups[0].name: 63})
    with pytest.raises(EditError, match="it cannot keep 65"):
        WidthTables(predictor(), residual(), {tables.groups[0].name: (65,)})
    with pytest.raises(ValueError, match="choices have the shape"):
        tables.ms([[0]])
