"""Shapes under other widths against those of graphs that are really cut."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphopt.ir as ir
from graphopt.channels import analyse, cut, without_emptied
from graphopt.cost import Widths, fixed_types
from graphopt.errors import EditError
from tests.passes.test_prune_channels import attention

from ..networks import network
from .staircase import inverted, joined, mixed, residual

DIGITS = Path(__file__).parents[2] / "examples" / "digits" / "digits.onnx"
NETWORKS: dict[str, Callable[[], ir.Graph]] = {
    "network": lambda: ir.Graph.from_proto(network()),
    "digits": lambda: ir.load(DIGITS),
    "attention": attention,
    "residual": residual,
    "inverted": inverted,
    "joined": joined,
    "mixed": mixed,
}


@pytest.mark.parametrize("name", NETWORKS)
@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_shapes_are_those_of_the_graph_that_is_cut(name: str, data: st.DataObject) -> None:
    graph = NETWORKS[name]()
    widths = Widths(analyse(graph))
    assert widths.groups
    assert widths.exact
    twin = graph.copy()
    analysis = analyse(twin)
    kept = {
        group.name: data.draw(st.lists(st.integers(0, group.size - 1), min_size=1, max_size=group.size, unique=True), label=group.name)
        for group in widths.groups
    }
    kept = without_emptied(analysis, kept)
    cut(analysis, kept)
    shape = widths.shapes({name: len(units) for name, units in kept.items()})
    after = fixed_types(twin)
    for value in graph.values.values():
        if twin.has_value(value.name):
            assert shape(value) == after.static(twin.value(value.name)), value.name


@pytest.mark.parametrize("name", NETWORKS)
def test_whole_widths_change_nothing(name: str) -> None:
    graph = NETWORKS[name]()
    types = fixed_types(graph)
    shape = Widths(analyse(graph), types).shapes({})
    assert all(shape(value) == types.static(value) for value in graph.values.values())


def test_heads_times_dimensions_are_a_product() -> None:
    graph = attention(heads=4, dims=8)
    widths = Widths(analyse(graph))
    shape = widths.shapes({group.name: {"heads": 3, "head dimensions": 5}[group.kind] for group in widths.groups})
    query = next(node for node in graph.nodes if node.op_type == "MatMul").output()
    assert shape(query) == (2, 3, 15)


def test_a_part_of_a_group_is_not_exact() -> None:
    graph = ir.Graph.from_proto(network())
    relu = graph.value("r2")
    starts, ends, axes = (graph.add_initializer(name, [at]) for name, at in (("s", 0), ("e", 16), ("a", 1)))
    part = graph.add_node("Slice", [relu, starts, ends, axes], ["part"]).output()
    graph.add_node("GlobalMaxPool", [part], ["unread"])
    widths = Widths(analyse(graph))
    assert not widths.exact
    group = next(
        group for group in widths.groups if group.size == 64 and any(m.value.name == "conv2.weight" and m.axis == 0 for m in group.members)
    )
    shape = widths.shapes({group.name: 32})(part)
    assert shape is not None
    assert shape[1] == 8


def test_widths_that_cannot_be() -> None:
    widths = Widths(analyse(residual()))
    with pytest.raises(EditError, match="no channel group 'nobody'"):
        widths.shapes({"nobody": 3})
    with pytest.raises(EditError, match="cannot keep 0"):
        widths.shapes({widths.groups[0].name: 0})
