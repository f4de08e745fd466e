"""How many units stay: the steps that keep axes aligned."""

from __future__ import annotations

import pytest

from graphopt.channels import ChannelGroup, analyse
from graphopt.channels.plan import step
from tests.channels.build import Build


def groups_of(model: Build) -> dict[str, ChannelGroup]:
    return {group.name: group for group in analyse(model.graph()).groups}


def test_a_group_of_one_member() -> None:
    model = Build()
    hidden = model.node("MatMul", model.input(2, 4), model.weight(4, 6))
    model.output(model.node("ReduceSum", hidden, model.ints(1)))
    assert step(groups_of(model)["w1:1"], 8) == 8


@pytest.mark.parametrize(("dims", "expected"), [(4, 2), (16, 1), (3, 8)])
def test_the_indices_of_a_unit_count_where_they_are_a_run(dims: int, expected: int) -> None:
    """Of 6 runs of columns; a position in every run counts by itself."""
    model = Build()
    hidden = model.node("MatMul", model.input(2, 4), model.weight(4, 6 * dims))
    split = model.node("Reshape", hidden, model.ints(2, 6, dims))
    model.output(model.node("ReduceSum", split, model.ints(1, 2)))
    heads, positions = (groups_of(model)[name] for name in ("w1:1", "w1:1/1"))
    assert step(heads, 8) == expected
    assert step(positions, 8) == 8
