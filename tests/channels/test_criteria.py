"""Scores of units by the norms of their slices, against the definition."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from graphopt.channels import score
from graphopt.channels.groups import ChannelGroup, Member
from graphopt.ir import Graph


def graph() -> Graph:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy")
    model = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [x], [y])
    return Graph.from_proto(onnx.helper.make_model(model, opset_imports=[helper.make_opsetid("", 17)]))


@st.composite
def weights(draw: st.DrawFn) -> tuple[list[np.ndarray], list[int], list[np.ndarray]]:
    """Weights of two to four axes, the axis that is scored of each, and which indices go with each unit."""
    units, columns = draw(st.integers(2, 4)), draw(st.integers(1, 2))
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    arrays, axes, indices = [], [], []
    for _ in range(draw(st.integers(1, 3))):
        rank = draw(st.integers(2, 4))
        axes.append(draw(st.integers(0, rank - 1)))
        shape = [int(size) for size in rng.integers(1, 5, rank)]
        shape[axes[-1]] = units * columns
        arrays.append(rng.normal(size=shape).astype(np.float32))
        indices.append(rng.permutation(units * columns).reshape(units, columns))
    if draw(st.booleans()):  # members whose axes have one label share the array
        indices = [indices[0]] * len(indices)
    return arrays, axes, indices


@pytest.mark.parametrize(("criterion", "power"), [("l1", 1), ("l2", 2)])
@given(weights())
def test_norms_of_the_slices(criterion: str, power: int, given_: tuple[list[np.ndarray], list[int], list[np.ndarray]]) -> None:
    arrays, axes, indices = given_
    owner = graph()
    members = tuple(
        Member(owner.add_initializer(f"w{place}", array), axis, own)
        for place, (array, axis, own) in enumerate(zip(arrays, axes, indices, strict=True))
    )
    group = ChannelGroup("w0:0", "channels", np.arange(len(indices[0])), members, None, None)
    expected = []
    for array, axis, own in zip(arrays, axes, indices, strict=True):
        norms = [sum((np.abs(np.take(array, index, axis)) ** power).sum() for index in row) ** (1 / power) for row in own.tolist()]
        expected.append(np.array(norms) / np.mean(norms))
    assert score(group, criterion, np.random.default_rng(0)) == pytest.approx(np.mean(expected, axis=0), rel=1e-4)
    assert group.parameters == sum(array.size for array in arrays)
