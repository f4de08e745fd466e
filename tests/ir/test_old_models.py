"""IR versions below 4: every initializer is listed as an input too, and is a constant all the same (as ONNX Runtime has it)."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest

import graphopt.ir as ir
from graphopt.errors import EditError
from tests.ir import corpus, features
from tests.ir.invariants import check_invariants


def old() -> ir.Graph:
    model = features.build("ir_3")
    onnx.checker.check_model(model)
    return ir.Graph.from_proto(model)


def test_initializers_are_constants() -> None:
    graph = old()
    np.testing.assert_array_equal(graph.constant(graph.value("w")), [1.0, 2.0])


def test_new_initializers_are_listed_as_inputs() -> None:
    graph = old()
    added = graph.add_initializer("added", np.array([3.0, 4.0], np.float32))
    graph.set_input(graph.nodes[0], 1, added)
    model = graph.to_proto()
    onnx.checker.check_model(model, full_check=True)
    assert model.ir_version == 3
    assert "added" in {entry.name for entry in model.graph.input}
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    feeds = {"x": np.array([1, 1], np.float32), "bx": np.zeros(3, np.float32)}
    np.testing.assert_array_equal(session.run(["y"], feeds)[0], [4, 5])
    check_invariants(graph)


def test_an_unused_initializer_goes_with_its_input() -> None:
    graph = old()
    with pytest.raises(EditError):
        graph.remove_initializer(graph.value("w"))
    graph.set_input(graph.nodes[0], 1, graph.value("x"))
    graph.remove_initializer(graph.value("w"))
    model = graph.to_proto()
    assert [entry.name for entry in model.graph.input] == ["x", "bx"]
    assert not model.graph.initializer
    onnx.checker.check_model(model, full_check=True)
    check_invariants(graph)


def test_new_contents_change_the_stated_type() -> None:
    graph = old()
    graph.set_tensor(graph.value("w"), np.zeros(1, np.float32))
    onnx.checker.check_model(graph.to_proto(), full_check=True)


def test_files_of_the_wheel_can_be_edited() -> None:
    """Rename everything and give every initializer new contents: still what the checker accepts, with the old IR version."""
    for name in corpus.wheel_files():
        if not name.startswith(("pytorch-converted", "simple")):
            continue
        before = onnx.load(corpus.WHEEL_DATA / name)
        graph = ir.Graph.from_proto(before)
        for value in [vertex for vertex in graph.nx if isinstance(vertex, ir.Value)]:
            graph.rename(value, graph.unique_name(f"new_{value.name}"))
        for value in graph.initializers:
            if value.tensor is not None:
                graph.set_tensor(value, value.tensor.numpy().copy())
        after = graph.to_proto()
        assert after.ir_version == before.ir_version
        onnx.checker.check_model(after)
