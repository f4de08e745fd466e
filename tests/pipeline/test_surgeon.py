"""Passes written as functions over an onnx-graphsurgeon graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest

import graphopt.ir as ir
from graphopt.errors import PassParameterError, PluginError
from graphopt.pipeline import Pass, PassResult, Pipeline, StopAfter, parameter, parse_pipeline, run_pipeline, surgeon_pass

from .passes import identities, registry


@surgeon_pass
def drop_identities(graph: gs.Graph, *, count: int = parameter(99, minimum=0, help="at most so many"), only: tuple[str, ...] = ()) -> None:
    """Remove Identity nodes.

    Not the first line.
    """
    for node in [node for node in graph.nodes if node.op == "Identity" and (not only or node.name in only)][:count]:
        for reader in list(node.outputs[0].outputs):
            reader.inputs = [node.inputs[0] if tensor is node.outputs[0] else tensor for tensor in reader.inputs]
        node.outputs.clear()
    graph.cleanup().toposort()


@surgeon_pass(name="replace-all")
def whatever(graph: gs.Graph) -> Any:
    return gs.Graph([gs.Node("Tanh", inputs=graph.inputs, outputs=graph.outputs)], graph.inputs, graph.outputs, opset=graph.opset)


@surgeon_pass
def touch_nothing(graph: gs.Graph) -> gs.Graph:
    return graph.cleanup().toposort()


@surgeon_pass
def return_rubbish(graph: gs.Graph) -> str:
    return "rubbish"


REGISTRY = registry(drop_identities, whatever, touch_nothing, return_rubbish)


def run(graph: ir.Graph, text: str, *instruments: Any) -> PassResult:
    (record,) = run_pipeline(graph, parse_pipeline(text, REGISTRY), None, instruments)
    return record.result


def operators(graph: ir.Graph) -> list[str]:
    return [node.op_type for node in graph.nodes]


def test_the_function_gives_the_pass_its_name_parameters_and_docstring() -> None:
    assert issubclass(drop_identities, Pass)
    info = next(info for info in REGISTRY.describe() if info.name == "drop-identities")
    assert info.summary == "Remove Identity nodes."
    assert [(p.name, p.kind.type_words, p.default_text, p.limits.words, p.help) for p in info.parameters] == [
        ("count", "int", "99", "at least 0", "at most so many"),
        ("only", "list of str", "[]", "", ""),
    ]
    assert "replace-all" in REGISTRY.names()


def test_its_text_round_trips_and_its_values_are_checked() -> None:
    pipeline = parse_pipeline("drop-identities{count=2 only=[one]},replace-all", REGISTRY)
    assert pipeline == Pipeline((drop_identities(count=2, only=("one",)), whatever()))  # type: ignore[call-arg]
    assert str(pipeline) == "drop-identities{count=2 only=[one]},replace-all"
    with pytest.raises(PassParameterError, match="expected a whole number, at least 0; got -1"):
        parse_pipeline("drop-identities{count=-1}", REGISTRY)


def test_the_given_graph_becomes_what_the_function_made(tmp_path: Path) -> None:
    graph = identities(tmp_path / "m.onnx")
    version = graph.version
    assert run(graph, "drop-identities") == PassResult(changed=True, summary={"nodes_before": 5, "nodes_after": 2})
    assert operators(graph) == ["Relu", "Sigmoid"]
    assert graph.version > version
    ir.verify(graph)
    ir.save(graph, tmp_path / "out.onnx")
    saved = onnx.load(tmp_path / "out.onnx")
    assert [node.op_type for node in saved.graph.node] == ["Relu", "Sigmoid"]
    assert saved.graph.doc_string == "kept by no bridge"


def test_parameters_reach_the_function(tmp_path: Path) -> None:
    graph = identities(tmp_path / "m.onnx")
    run(graph, "drop-identities{count=1 only=[two,three]}")
    assert [node.name for node in graph.nodes] == ["first", "one", "three", "last"]


def test_a_function_may_return_another_graph(tmp_path: Path) -> None:
    graph = identities(tmp_path / "m.onnx")
    assert run(graph, "replace-all").changed
    assert operators(graph) == ["Tanh"]
    ir.verify(graph)


@pytest.mark.parametrize("text", ["touch-nothing", "drop-identities{count=0}"])
def test_where_the_function_changes_nothing_the_graph_stays_as_it_was(tmp_path: Path, text: str) -> None:
    graph = identities(tmp_path / "m.onnx")
    version, node = graph.version, graph.nodes[0]
    assert run(graph, text) == PassResult(changed=False)
    assert (graph.version, graph.nodes[0]) == (version, node)
    ir.save(graph, tmp_path / "out.onnx")
    assert (tmp_path / "out.onnx").read_bytes() == (tmp_path / "m.onnx").read_bytes()


def test_a_change_of_a_weight_alone_is_a_change(tmp_path: Path) -> None:
    @surgeon_pass
    def halve(graph: gs.Graph) -> None:
        for tensor in graph.tensors().values():
            if isinstance(tensor, gs.Constant):
                tensor.values = tensor.values / np.float32(2)

    graph = identities(tmp_path / "m.onnx")
    weight = graph.add_initializer("w", np.full((1, 4), 3.0, np.float32))
    node = graph.add_node("Add", [graph.value("v0"), weight], ["sum"])
    graph.set_input(next(n for n in graph.nodes if n.name == "one"), 0, node.output())
    (record,) = run_pipeline(graph, Pipeline((halve(),)))
    assert record.result.changed
    tensor = graph.value("w").tensor
    assert tensor is not None
    assert tensor.numpy().tolist() == [[1.5] * 4]


def test_the_function_is_one_rewrite_that_can_be_refused(tmp_path: Path) -> None:
    graph = identities(tmp_path / "m.onnx")
    stop = StopAfter(0)
    assert run(graph, "drop-identities", stop) == PassResult(changed=False)
    assert len(graph.nodes) == 5
    assert stop.refused == 1
    stop = StopAfter(1)
    assert run(graph, "drop-identities", stop).changed
    assert stop.permitted == ["drop-identities: the whole function"]


def test_a_function_that_returns_something_else_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="pass 'return-rubbish' returned str; it must return a graphsurgeon Graph or nothing"):
        run(identities(tmp_path / "m.onnx"), "return-rubbish")


def test_an_argument_that_cannot_be_a_parameter_is_refused() -> None:
    with pytest.raises(TypeError, match="f, argument 'rest': a surgeon pass needs its parameters one by one"):

        @surgeon_pass
        def f(graph: gs.Graph, **rest: int) -> None: ...

    with pytest.raises(TypeError, match="g, argument 'count': annotate it"):

        @surgeon_pass
        def g(graph: gs.Graph, count=3) -> None: ...  # type: ignore[no-untyped-def]

    with pytest.raises(TypeError, match="kebab-case"):
        surgeon_pass(name="Not Kebab")(lambda graph: None)
