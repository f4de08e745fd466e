"""group-convs is exact where a convolution is really a grouped one in disguise, over all that a convolution may state."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphopt.ir as ir
from graphopt.passes.group_convs import GroupConvs
from graphopt.pipeline import Context
from tests.channels.masked import contents
from tests.passes.factorized import assert_same, convolutions, inputs, operators


@st.composite
def disguised(draw: st.DrawFn, parts: int) -> ir.Graph:
    """A convolution each group of which is block diagonal, in `parts` blocks, the channels that it reads in a random order.

    What it writes is the model's output, which keeps its order.
    """
    graph = draw(convolutions(parts=parts))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    weight = contents(graph, "w1").copy()
    groups = int(graph.nodes[0].attributes.get("group", 1))
    for block in np.split(weight, groups):  # a view
        outs, ins = (np.arange(size) * parts // size for size in block.shape[:2])
        block[outs[:, np.newaxis] != rng.permutation(ins)] = 0
    graph.set_tensor(graph.value("w1"), weight)
    return graph


@pytest.mark.parametrize("parts", [2, 3])
@settings(max_examples=60, deadline=None)
@given(data=st.data(), with_data=st.booleans())
def test_a_grouped_convolution_in_disguise(parts: int, data: st.DataObject, with_data: bool) -> None:
    graph = data.draw(disguised(parts))
    original, feeds = graph.copy(), inputs(graph, 6)
    groups = int(original.nodes[0].attributes.get("group", 1)) * parts
    result = GroupConvs(groups=groups, always=True).apply(graph, Context(data=feeds if with_data else None))
    assert result.summary["layers"] == 1
    assert int(next(node for node in graph.nodes if node.op_type == "Conv").attributes["group"]) == groups
    assert set(operators(graph)) <= {"Conv", "Gather"}
    assert_same(graph, original, feeds)


@settings(max_examples=40, deadline=None)
@given(convolutions())
def test_the_groups_that_there_are_change_nothing(graph: ir.Graph) -> None:
    before = graph.to_proto()
    groups = int(graph.nodes[0].attributes.get("group", 1))
    assert not GroupConvs(groups=groups).apply(graph, Context()).changed
    assert graph.to_proto() == before
