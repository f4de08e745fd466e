"""Leaving blocks out, where the graph makes it awkward."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

import graphopt
from graphopt.quality import run, session
from graphopt.supernet import extract, parse_config, parse_generic


def layers(count: int) -> tuple[graphopt.Graph, dict[str, Any]]:
    """x → layer0 → … → the output y: each layer adds x's own number to what it gets. The last layer writes the model's output."""
    text = "<ir_version: 10, opset_import: ['' : 18]> g (float[2] x) => (float[2] y) {".replace("'", '"')
    names = [*(f"v{place}" for place in range(count - 1)), "y"]
    for place, (before, after) in enumerate(zip(["x", *names], names, strict=False)):
        text += f" h{place} = Add ({before}, w{place})  {after} = Mul (h{place}, two)"
    model = onnx.parser.parse_model(text + " }")
    for place in range(count):
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32([place, 1]), f"w{place}"))
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32([2]), "two"))
    blocks = [{"slot": place, "input": ["x", *names][place], "output": names[place]} for place in range(count)]
    return graphopt.Graph.from_proto(model), {"schema": "elastic-graph/1", "edits": [], "sequences": [{"depth": "n", "blocks": blocks}]}


@pytest.mark.parametrize("kept", [[0, 1, 2], [0, 1], [0], [2], [0, 2], [1], []])
def test_the_output_keeps_its_name_whichever_layers_stay(kept: list[int]) -> None:
    graph, document = layers(3)
    done = extract(graph, parse_generic(document), parse_config({"n": kept}))
    graphopt.verify(graph)
    assert done.summary["blocks_left_out"] == 3 - len(kept)
    x = expected = np.float32([3, 5])
    for place in kept:
        expected = (expected + np.float32([place, 1])) * 2
    np.testing.assert_array_equal(run(session(graph), {"x": x})["y"], expected)
    assert [value.name for value in graph.outputs] == ["y"]
    assert {value.name for value in graph.initializers} == {f"w{place}" for place in kept} | ({"two"} if kept else set())
    assert sum(node.op_type == "Identity" for node in graph.nodes) == (0 if kept else 1)


def test_a_layer_that_is_read_elsewhere_too() -> None:
    graph, document = layers(3)
    extra = graph.add_node("Neg", [graph.value("v1")], ["negative"])
    graph.add_node("Add", [extra.output(), graph.value("h2")], ["unused"])
    extract(graph, parse_generic(document), parse_config({"n": 1}))
    graphopt.verify(graph)
    assert not graph.has_value("negative")
