"""What the tests of passes that rebuild layers share: single layers, and how far two models' outputs are apart."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

import graphopt.ir as ir
from tests.channels.build import Build
from tests.channels.masked import run

Array = np.ndarray


@st.composite
def convolutions(draw: st.DrawFn, axes: int | None = None, group: int | None = None, parts: int = 1) -> ir.Graph:
    """x -> Conv: 1 to 3 axes, strides, dilations, pads on one side or the other, auto_pad, groups, with bias or without.

    The channels of each group divide into `parts` on both sides.
    """
    axes = draw(st.integers(1, 3)) if axes is None else axes
    group = draw(st.sampled_from((1, 2))) if group is None else group
    model = Build(opset=17, seed=draw(st.integers(0, 99)))
    kernel = [draw(st.integers(1, 3)) for _ in range(axes)]
    attributes: dict[str, Any] = {"group": group} if group != 1 or draw(st.booleans()) else {}
    auto = draw(st.sampled_from(("NOTSET", "NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID")))
    if draw(st.booleans()):
        attributes["strides"] = [draw(st.integers(1, 3)) for _ in range(axes)]
    if not auto.startswith("SAME") and draw(st.booleans()):
        attributes["dilations"] = [draw(st.integers(1, 2)) for _ in range(axes)]
    if auto != "NOTSET":
        attributes["auto_pad"] = auto
    elif draw(st.booleans()):
        attributes["pads"] = [draw(st.integers(0, 2)) for _ in range(2 * axes)]
    ins, outs = draw(st.integers(1, 4)) * group * parts, draw(st.integers(1, 4)) * group * parts
    inputs = [model.input("batch", ins, *(draw(st.integers(5, 7)) for _ in range(axes))), model.weight(outs, ins // group, *kernel)]
    if draw(st.booleans()):
        inputs.append(model.tensor(model.rng.standard_normal(outs).astype(np.float32), "bias"))
    model.output(model.node("Conv", *inputs, **attributes))
    return model.graph()


def inputs(graph: ir.Graph, samples: int = 3, seed: int = 0) -> dict[str, Array]:
    """Normal numbers with a mean, so that moments about zero and about the mean differ."""
    rng = np.random.default_rng(seed)
    return {
        value.name: (rng.standard_normal([size if isinstance(size, int) else samples for size in graph.shape(value) or ()]) + 0.5).astype(
            np.float32
        )
        for value in graph.inputs
        if value.tensor is None
    }


def outputs(graph: ir.Graph, feeds: dict[str, Array]) -> Array:
    """The first output in ONNX Runtime."""
    return next(iter(run(graph.to_proto(), feeds).values()))


def assert_same(graph: ir.Graph, original: ir.Graph, feeds: dict[str, Array], tolerance: float = 1e-4) -> None:
    """The graph verifies, and its output is the original's."""
    ir.verify(graph)
    found, expected = outputs(graph, feeds).astype(np.float64), outputs(original, feeds).astype(np.float64)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= tolerance * np.abs(expected).max()


def operators(graph: ir.Graph) -> list[str]:
    return [node.op_type for node in graph.nodes]
