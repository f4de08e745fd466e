"""A value that an If, Loop or Scan body reads is used: by the node, by everything that asks, and by every edit."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto

import graphopt.ir as ir
from graphopt.errors import EditError
from tests.ir import corpus, features
from tests.ir.invariants import check_invariants

FLOAT = TensorProto.FLOAT


def nested() -> tuple[ir.Graph, ir.Node, ir.Graph]:
    """The model, its If node, and the If's then-branch, which holds an If of its own that reads 'captured'."""
    graph = ir.Graph.from_proto(features.build("nested_subgraphs_with_captures"))
    branch_node = next(n for n in graph.nodes if n.name == "if")
    return graph, branch_node, branch_node.attributes["then_branch"]


def test_captures_are_uses() -> None:
    graph, branch_node, then = nested()
    captured = graph.value("captured")
    assert set(branch_node.captures) == {captured, graph.value("w"), graph.value("cond")}
    assert any(node is branch_node and slot < 0 for node, slot in graph.consumers(captured))
    assert then.parent is graph
    with pytest.raises(EditError):
        graph.remove(captured.producer)  # type: ignore[arg-type]
    check_invariants(graph)


def test_walk_reaches_every_depth() -> None:
    graph, _, _ = nested()
    assert len(list(graph.walk())) == len(graph.nodes) + 4 + 4


def test_the_producer_of_a_capture_comes_first() -> None:
    model = features.build("nested_subgraphs_with_captures")
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(reversed(nodes))
    order = [n.op_type for n in ir.Graph.from_proto(model).nodes]
    assert order.index("If") > order.index("Relu")


def test_replace_uses_reaches_captures() -> None:
    graph, branch_node, _ = nested()
    captured = graph.value("captured")
    graph.replace_uses(captured, graph.value("x"))
    assert graph.consumers(captured) == []
    assert set(branch_node.captures) == {graph.value("x"), graph.value("w"), graph.value("cond")}
    graph.remove(captured.producer)  # type: ignore[arg-type]
    check_invariants(graph)
    onnx.checker.check_model(graph.to_proto(), full_check=True)


def test_replace_uses_reaches_what_a_branch_hands_out() -> None:
    graph = ir.Graph.from_proto(features.build("subgraph_outputs_from_outer_scope"))
    new = graph.add_node("Neg", [graph.value("bx")], ["new"]).outputs[0]
    assert new is not None
    old = graph.value("x")
    before = graph.to_proto().SerializeToString(deterministic=True)
    try:
        graph.replace_uses(old, new)
    except EditError:  # refusing is fine, half an edit is not
        assert graph.to_proto().SerializeToString(deterministic=True) == before
    else:
        assert graph.consumers(old) == []
    check_invariants(graph)


def test_edits_inside_are_tracked_outside() -> None:
    graph, branch_node, then = nested()
    version = graph.version
    add = next(n for n in then.nodes if n.op_type == "Add")
    then.set_input(add, 1, graph.value("y"))
    assert graph.version > version
    assert graph.value("y") in branch_node.captures
    then.remove_initializer(then.value("then_own"))
    deep = next(n for n in then.nodes if n.op_type == "If")
    for inner in deep.subgraphs:
        inner.set_input(inner.nodes[0], 0, graph.value("x"))
    assert graph.value("captured") not in branch_node.captures
    graph.remove(graph.value("captured").producer)  # type: ignore[arg-type]
    check_invariants(graph)
    proto = graph.to_proto()
    assert [t.name for t in next(a for a in proto.graph.node[-1].attribute if a.name == "then_branch").g.initializer] == []
    onnx.checker.check_model(proto, full_check=True)


def test_nodes_can_be_added_and_removed_inside() -> None:
    graph, branch_node, then = nested()
    add = next(n for n in then.nodes if n.op_type == "Add")
    made = then.add_node("Relu", [graph.value("bx")], ["inner new"], at=add)
    assert graph.value("bx") in branch_node.captures
    with pytest.raises(EditError):
        graph.remove(made)  # it is the subgraph's
    then.remove(made)
    assert graph.value("bx") not in branch_node.captures
    check_invariants(graph)


def test_a_value_of_a_branch_is_not_visible_outside() -> None:
    graph, branch_node, then = nested()
    with pytest.raises(EditError):
        graph.set_input(graph.nodes[0], 0, then.value("then_if"))
    with pytest.raises(EditError):
        branch_node.attributes["else_branch"].add_node("Relu", [then.value("then_if")], ["n"])
    check_invariants(graph)


def test_a_branch_cannot_read_what_comes_after_it() -> None:
    graph, _, then = nested()
    add = next(n for n in then.nodes if n.op_type == "Add")
    try:
        then.set_input(add, 1, graph.value("if_out"))
    except EditError:
        check_invariants(graph)
    else:
        with pytest.raises(Exception, match="cycle"):
            _ = graph.nodes


def test_names_taken_inside_are_not_given_outside() -> None:
    """ONNX wants names unique across a graph and its subgraphs."""
    graph, _, then = nested()
    inner = {value.name for value in (*then.initializers, *(v for n in then.walk() for v in n.outputs if v is not None))}
    for name in inner:
        assert graph.unique_name(name) != name
        with pytest.raises(EditError):
            graph.add_node("Relu", [graph.value("x")], [name])
        with pytest.raises(EditError):
            graph.add_initializer(name, np.zeros(1))


def test_removing_a_node_with_branches_frees_what_they_read() -> None:
    graph, _, _ = nested()
    proto = graph.to_proto()
    proto.graph.output.pop()
    graph = ir.Graph.from_proto(proto)
    graph.remove(next(n for n in graph.nodes if n.name == "if"))
    graph.remove(graph.value("captured").producer)  # type: ignore[arg-type]
    check_invariants(graph)


def test_subgraph_attributes_are_graphs_and_cannot_be_overwritten_silently() -> None:
    graph, branch_node, then = nested()
    assert branch_node.attributes["then_branch"] is then
    with pytest.raises(EditError):
        graph.set_attribute(branch_node, "then_branch", 3)


def test_edits_of_a_branch_run() -> None:
    graph, _, then = nested()
    add = next(n for n in then.nodes if n.op_type == "Add")
    then.set_tensor(then.value("then_own"), np.array([10.0, 20.0], np.float32))
    made = then.add_node("Neg", [then.value("then_own")], [graph.unique_name("negated")], at=add)
    then.set_input(add, 1, made.outputs[0])
    session = ort.InferenceSession(graph.to_proto().SerializeToString(), providers=["CPUExecutionProvider"])
    feeds = {"x": np.array([1, 2], np.float32), "bx": np.zeros(3, np.float32), "cond": np.array(True)}
    np.testing.assert_array_equal(session.run(["if_out"], feeds)[0], [-9, -18])


def test_node_models_with_subgraphs_keep_the_invariants() -> None:
    count = 0
    for name, model in corpus.node_models().items():
        graph = ir.Graph.from_proto(model)
        check_invariants(graph)
        if any(node.subgraphs for node in graph.nodes):
            count += 1
            for value in [v for v in graph.nx if isinstance(v, ir.Value) and v.graph is graph]:
                graph.rename(value, value.name + "_renamed")
            check_invariants(graph)
            assert len(list(ir.Graph.from_proto(graph.to_proto()).walk())) == len(list(graph.walk())), name
    assert count >= 40
