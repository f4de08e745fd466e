"""Tracked edits: uses are always known, nothing dangles, order is the file's, names are followed wherever they are written."""

from __future__ import annotations

from collections.abc import Callable

import networkx as nx
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import graphopt.ir as ir
from graphopt.errors import EditError, InvalidModelError
from tests.ir import features
from tests.ir.invariants import check_invariants
from tests.models import serialised

FLOAT = TensorProto.FLOAT


def graph_of(name: str) -> ir.Graph:
    return ir.Graph.from_proto(features.build(name))


def chain() -> ir.Graph:
    """x -> Relu 'a' -> va -> Neg 'b' -> vb; va, w -> Add 'c' -> vc; Clip 'd' (va, absent, w) -> vd; outputs vb, vc."""
    nodes = [
        helper.make_node("Relu", ["x"], ["va"], name="a"),
        helper.make_node("Neg", ["va"], ["vb"], name="b"),
        helper.make_node("Add", ["va", "w"], ["vc"], name="c"),
        helper.make_node("Clip", ["va", "", "limit"], ["vd"], name="d"),
    ]
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "chain",
        [info("x", FLOAT, [2])],
        [info("vb", FLOAT, [2]), info("vc", FLOAT, [2])],
        [helper.make_tensor("w", FLOAT, [2], [1.0, 2.0]), helper.make_tensor("limit", FLOAT, [], [1.0])],
    )
    return ir.Graph.from_proto(helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 21)]))


def node(graph: ir.Graph, name: str) -> ir.Node:
    return next(n for n in graph.walk() if n.name == name)


def names(graph: ir.Graph) -> list[str]:
    return [n.name for n in graph.nodes]


# --- reading ---


def test_the_networkx_graph_is_the_graph() -> None:
    graph = chain()
    assert isinstance(graph.nx, nx.MultiDiGraph)
    va, d = graph.value("va"), node(graph, "d")
    assert set(graph.nx.successors(va)) == {node(graph, name) for name in "bcd"}
    assert graph.nx.has_edge(va, d, key=0)
    assert graph.nx.has_edge(graph.value("limit"), d, key=2)
    assert nx.is_directed_acyclic_graph(graph.nx)
    check_invariants(graph)


def test_consumers_name_the_slot_and_repeat_for_two_slots() -> None:
    graph = graph_of("one_value_in_two_slots")
    squares = [(n.op_type, slot) for n, slot in graph.consumers(graph.value("x"))]
    assert squares == [("Add", 0), ("Mul", 0), ("Mul", 1)]


def test_absent_inputs_and_outputs_are_none() -> None:
    graph = graph_of("trailing_and_inner_empty_inputs_and_outputs")
    clip, clip_2, lstm = graph.nodes[-3:]
    assert clip.inputs == (graph.value("x"), None, None)
    assert clip_2.inputs == (graph.value("x"), None, graph.value("scalar"))
    assert lstm.inputs == (None, None, None)
    assert lstm.outputs == (None, graph.value("h"), None)
    assert not graph.has_value("")


def test_domain_spelled_out_reads_as_the_default_domain() -> None:
    graph = graph_of("ai_onnx_spelled_out")
    assert graph.nodes[0].domain == ""
    assert graph.opset() == 21
    assert graph.opsets[""] == 21


def test_attributes_are_python_values_and_read_only() -> None:
    graph = graph_of("bytes_that_are_not_utf8")
    attributes = graph.nodes[-1].attributes
    assert attributes["s"] == b"\xff\xfe\x00"
    assert attributes["strings"][0] == b"\x80"
    with pytest.raises(TypeError):
        attributes["s"] = 1  # type: ignore[index]


def test_an_array_handed_out_cannot_change_the_file() -> None:
    graph = chain()
    before = serialised(graph.to_proto())
    for contents in (graph.constant(graph.value("w")), graph.value("w").tensor.numpy()):  # type: ignore[union-attr]
        assert contents is not None
        try:
            contents += 1
        except ValueError:
            continue
    assert serialised(graph.to_proto()) == before


def test_constants_are_what_nobody_can_override() -> None:
    graph = graph_of("overridable_initializer")
    assert graph.constant(graph.value("w")) is None
    graph = chain()
    np.testing.assert_array_equal(graph.constant(graph.value("w")), [1.0, 2.0])
    assert graph.constant(graph.value("x")) is None
    assert graph.constant(graph.value("va")) is None
    made = graph.add_node("Constant", [], ["k"], {"value_ints": [3, 4]})
    graph.add_node("Identity", [made.outputs[0]], ["k2"])
    np.testing.assert_array_equal(graph.constant(graph.value("k2")), [3, 4])


def test_duplicate_outputs_are_listed_as_often_as_the_file_does() -> None:
    assert [v.name for v in graph_of("duplicate_outputs").outputs] == ["y", "by", "y", "y"]


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (lambda m: m.graph.node[0].input.append("nowhere"), "nowhere"),
        (lambda m: m.graph.node[0].output.append("y"), "y"),
        (lambda m: m.graph.node.add(op_type="Relu", input=["x"], output=["y"]), "y"),
        (lambda m: m.graph.node.add(op_type="Relu", input=["x"], output=["x"]), "x"),
        (lambda m: m.graph.output.add(name="nothing"), "nothing"),
        (lambda m: m.graph.input.append(m.graph.input[0]), "x"),
        (lambda m: m.graph.initializer.append(m.graph.initializer[0]), "w"),
    ],
)
def test_models_out_of_ssa_form_are_refused(break_it: object, said: str) -> None:
    model = features.base()
    break_it(model)  # type: ignore[operator]
    with pytest.raises(InvalidModelError, match=said):
        ir.Graph.from_proto(model)


def test_a_cycle_is_refused_with_a_node_of_it() -> None:
    model = features.base()
    model.graph.node.append(helper.make_node("Relu", ["p"], ["q"], name="knot"))
    model.graph.node.append(helper.make_node("Relu", ["q"], ["p"], name="knot"))
    with pytest.raises(InvalidModelError, match=r"cycle.*knot"):
        _ = ir.Graph.from_proto(model).nodes


# --- order ---


def test_nodes_are_topological_and_otherwise_as_in_the_file() -> None:
    model = features.base()
    late = helper.make_node("Relu", ["after"], ["later"], name="later")
    model.graph.node.insert(0, late)
    model.graph.node.append(helper.make_node("Relu", ["x"], ["after"], name="after"))
    assert names(ir.Graph.from_proto(model)) == ["main", "bystander", "bystander_2", "after", "later"]


def test_a_node_is_placed_before_at() -> None:
    graph = chain()
    graph.add_node("Relu", [graph.value("x")], ["first"], name="first", at=node(graph, "a"))
    graph.add_node("Relu", [graph.value("va")], ["mid"], name="mid", at=node(graph, "c"))
    assert names(graph) == ["first", "a", "b", "mid", "c", "d"]


def test_an_edit_moves_no_other_node() -> None:
    graph = graph_of("nested_subgraphs_with_captures")
    before = names(graph)
    graph.add_node("Relu", [graph.value("captured")], ["new"], name="new")
    graph.rename(graph.value("captured"), "renamed")
    assert [name for name in names(graph) if name != "new"] == before


def test_the_order_is_the_same_in_every_process() -> None:
    import subprocess
    import sys

    code = (
        "from tests.ir import features; import graphopt.ir as ir, hashlib\n"
        "g = ir.Graph.from_proto(features.build('nested_subgraphs_with_captures'))\n"
        "g.rename(g.value('captured'), 'c2'); g.add_node('Relu', [g.value('x')], ['n'])\n"
        "print([n.label for n in g.walk()], [v.name for v in g.nx if isinstance(v, ir.Value)], [n.label for n, _ in g.consumers(g.value('x'))])\n"
        "print(hashlib.sha256(g.to_proto().SerializeToString(deterministic=True)).hexdigest())"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)}, capture_output=True, check=True
        )
        for seed in ("1", "2")
    ]
    assert runs[0].stdout == runs[1].stdout


# --- edits ---


def check_refused(graph: ir.Graph, edits: list[Callable[[], object]]) -> None:
    """Each of `edits` raises EditError and leaves the graph as it was."""
    wrong = []
    for number, edit in enumerate(edits):
        before, copy = serialised(graph.to_proto()), graph.copy()
        try:
            edit()
            wrong.append(f"number {number} was allowed")
        except EditError:
            pass
        except Exception as error:
            wrong.append(f"number {number}: {type(error).__name__}: {error}")
        if serialised(graph.to_proto()) != before:
            wrong.append(f"number {number} left something behind")
            graph.become(copy)
    assert not wrong
    check_invariants(graph)


def test_every_edit_raises_the_version() -> None:
    graph = chain()
    edits = [
        lambda: graph.add_node("Relu", [graph.value("va")], ["n"], name="n"),
        lambda: graph.add_initializer("i", np.zeros(2, np.float32)),
        lambda: graph.set_input(node(graph, "n"), 0, graph.value("vb")),
        lambda: graph.set_attribute(node(graph, "n"), "k", 1),
        lambda: graph.set_attribute(node(graph, "n"), "k", None),
        lambda: graph.set_tensor(graph.value("i"), np.ones(3, np.float32)),
        lambda: graph.replace_uses(graph.value("va"), graph.value("x")),
        lambda: graph.rename(graph.value("va"), "va2"),
        lambda: graph.remove(node(graph, "n")),
        lambda: graph.remove_initializer(graph.value("i")),
        lambda: graph.bypass(node(graph, "d")),
    ]
    for number, edit in enumerate(edits):
        before = graph.version
        edit()
        assert graph.version > before, number
        check_invariants(graph)


@pytest.mark.parametrize(
    "value", [1, 1.5, "text", b"\xff", [1, 2], [1.5], ["a"], np.arange(3.0, dtype=np.float32), np.int64(3), np.float32(0.5)]
)
def test_attributes_can_be_set_replaced_and_deleted(value: object) -> None:
    graph = chain()
    a = node(graph, "a")
    for _ in range(2):
        graph.set_attribute(a, "k", value)
        got = a.attributes["k"]
        got = got.numpy() if isinstance(got, ir.Tensor) else got
        np.testing.assert_array_equal(got, value)
        np.testing.assert_array_equal(onnx_attribute(graph, "a", "k"), as_bytes(value))
    graph.set_attribute(a, "k", None)
    assert "k" not in a.attributes
    assert not graph.to_proto().graph.node[0].attribute


def as_bytes(value: object) -> object:
    """Strings as ONNX's own reader gives them."""
    if isinstance(value, str):
        return value.encode()
    return [as_bytes(item) for item in value] if isinstance(value, list) else value


def onnx_attribute(graph: ir.Graph, node_name: str, attribute: str) -> object:
    proto = next(n for n in graph.to_proto().graph.node if n.name == node_name)
    got = helper.get_node_attr_value(proto, attribute)
    return onnx.numpy_helper.to_array(got) if isinstance(got, onnx.TensorProto) else got


def test_set_input_grows_and_shrinks_the_list() -> None:
    graph = chain()
    b, d = node(graph, "b"), node(graph, "d")
    graph.set_input(b, 2, graph.value("w"))
    assert b.inputs == (graph.value("va"), None, graph.value("w"))
    graph.set_input(d, 2, None)
    assert d.inputs == (graph.value("va"), None) or d.inputs == (graph.value("va"),)
    check_invariants(graph)


def test_nothing_dangles() -> None:
    graph = chain()
    refused = [
        lambda: graph.remove(node(graph, "a")),  # read by three nodes
        lambda: graph.remove(node(graph, "b")),  # writes an output of the graph
        lambda: graph.remove_initializer(graph.value("w")),
        lambda: graph.remove_initializer(graph.value("x")),
        lambda: graph.replace_uses(graph.value("vb"), graph.value("x")),
        lambda: graph.add_node("Relu", [graph.value("x")], ["va"]),
        lambda: graph.add_node("Relu", [graph.value("x")], ["same", "same"]),
        lambda: graph.add_initializer("x", np.zeros(1)),
        lambda: graph.rename(graph.value("va"), "w"),
        lambda: graph.rename(graph.value("va"), ""),
        lambda: graph.value("nothing"),
        lambda: graph.set_tensor(graph.value("va"), np.zeros(1)),
        lambda: graph.set_input(node(graph, "a"), -1, graph.value("x")),
        lambda: graph.add_initializer("", np.zeros(1)),
    ]
    check_refused(graph, refused)


def test_values_and_nodes_of_another_graph_are_refused() -> None:
    graph, other = chain(), chain()
    twin = graph.copy()
    for stranger in (other, twin):
        refused = [
            lambda s=stranger: graph.add_node("Relu", [s.value("x")], ["n"]),
            lambda s=stranger: graph.set_input(node(graph, "a"), 0, s.value("x")),
            lambda s=stranger: graph.remove(node(s, "d")),
            lambda s=stranger: graph.rename(s.value("va"), "n"),
            lambda s=stranger: graph.replace_uses(graph.value("va"), s.value("x")),
            lambda s=stranger: graph.replace_uses(s.value("va"), graph.value("x")),
            lambda s=stranger: graph.set_attribute(node(s, "a"), "k", 1),
            lambda s=stranger: graph.set_tensor(s.value("w"), np.zeros(2)),
            lambda s=stranger: graph.remove_initializer(s.value("w")),
            lambda s=stranger: graph.bypass(node(s, "a")),
            lambda s=stranger: graph.add_node("Relu", [graph.value("x")], ["n"], at=node(s, "a")),
        ]
        check_refused(graph, refused)


def test_what_was_removed_cannot_be_used() -> None:
    graph = chain()
    d = node(graph, "d")
    vd = d.outputs[0]
    graph.remove(d)
    assert not graph.has_value("vd")
    for edit in (lambda: graph.remove(d), lambda: graph.add_node("Relu", [vd], ["n"]), lambda: graph.set_attribute(d, "k", 1)):
        with pytest.raises(EditError):
            edit()
    graph.remove_initializer(graph.value("limit"))
    assert [t.name for t in graph.to_proto().graph.initializer] == ["w"]
    check_invariants(graph)


def test_remove_and_value_info() -> None:
    model = features.build("value_info_for_everything")
    model.graph.output.pop()
    graph = ir.Graph.from_proto(model)
    graph.remove(node(graph, "bystander_2"))
    graph.remove(node(graph, "bystander"))
    assert [entry.name for entry in graph.to_proto().graph.value_info] == ["x", "w", "y", "nowhere"]


def test_bypass_in_the_middle_and_at_an_output() -> None:
    graph = chain()
    graph.add_node("Identity", [graph.value("va")], ["copy"], name="i")
    graph.set_input(node(graph, "c"), 0, graph.value("copy"))
    assert graph.bypass(node(graph, "i"))
    assert node(graph, "c").inputs[0] is graph.value("va")
    assert graph.bypass(node(graph, "b")) is True  # va takes the name of the output vb
    assert [v.name for v in graph.outputs] == ["vb", "vc"]
    assert node(graph, "a").outputs[0] is graph.value("vb")
    assert node(graph, "c").inputs[0] is graph.value("vb")
    check_invariants(graph)
    onnx.checker.check_model(graph.to_proto(), full_check=True)


def test_bypass_keeps_what_the_file_says_of_the_output() -> None:
    model = features.base()
    model.graph.output[1].doc_string = "about by"
    model.graph.output[1].metadata_props.add(key="k", value="v")
    graph = ir.Graph.from_proto(model)
    assert graph.bypass(node(graph, "bystander_2"))
    assert serialised(graph.to_proto().graph.output[1]) == serialised(model.graph.output[1])


def test_bypass_says_false_where_a_name_of_the_interface_would_be_lost() -> None:
    info = helper.make_tensor_value_info
    nodes = [
        helper.make_node("Identity", ["x"], ["y"], name="i"),
        helper.make_node("Relu", ["x"], ["r"]),
        helper.make_node("Identity", ["r"], ["r2"], name="j"),
    ]
    proto = helper.make_graph(nodes, "g", [info("x", FLOAT, [1])], [info(n, FLOAT, [1]) for n in ("y", "r", "r2")])
    graph = ir.Graph.from_proto(helper.make_model(proto, ir_version=10, opset_imports=[helper.make_opsetid("", 21)]))
    before = serialised(graph.to_proto())
    assert graph.bypass(node(graph, "i")) is False
    assert graph.bypass(node(graph, "j")) is False
    assert serialised(graph.to_proto()) == before
    check_invariants(graph)


def test_initializers_that_are_inputs_stay() -> None:
    graph = graph_of("overridable_initializer")
    graph.set_input(graph.nodes[0], 1, graph.value("x"))
    with pytest.raises(EditError):
        graph.remove_initializer(graph.value("w"))
    graph.set_tensor(graph.value("w"), np.zeros((3, 4), np.float32))
    declared = next(entry for entry in graph.to_proto().graph.input if entry.name == "w")
    assert [dim.dim_value for dim in declared.type.tensor_type.shape.dim] == [3, 4]


def test_new_contents_keep_what_is_said_about_an_initializer() -> None:
    graph = graph_of("metadata_at_every_level")
    graph.set_tensor(graph.value("w"), np.array([5.0], np.float32))
    tensor = graph.to_proto().graph.initializer[0]
    assert (tensor.doc_string, len(tensor.metadata_props), list(tensor.dims)) == ("doc é", 3, [1])
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(tensor), [5.0])


def test_unique_names_are_unique_everywhere() -> None:
    graph = graph_of("nested_subgraphs_with_captures")
    taken = {v.name for n in graph.walk() for v in n.outputs if v is not None}
    for hint in ("captured", "then_own", "then_in", "new"):
        name = graph.unique_name(hint)
        assert name not in taken
        graph.add_initializer(name, np.zeros(1))
        assert graph.unique_name(hint) != name


# --- copies ---


def test_copies_share_no_node_value_or_message() -> None:
    for name in (
        "nested_subgraphs_with_captures",
        "functions",
        "training_info_with_bindings",
        "devices_and_sharding",
        "quantization_annotation",
    ):
        graph = graph_of(name)
        before = serialised(graph.to_proto())
        copy = graph.copy()
        assert not set(map(id, graph.nx)) & set(map(id, copy.nx))
        copy.rename(copy.value("y"), "other")
        copy.rename(copy.value("w"), "w2")
        copy.set_tensor(copy.value("w2"), np.zeros(2, np.float32))
        copy.set_attribute(copy.nodes[0], "k", 3)
        for inner in copy.walk():
            if inner.graph is not copy:
                inner.graph.set_attribute(inner, "k", 4)  # type: ignore[union-attr]
        assert serialised(graph.to_proto()) == before, name
        edited = serialised(copy.to_proto())
        again = copy.copy()
        assert serialised(again.to_proto()) == edited, name
        check_invariants(again)


def test_copies_keep_pending_edits() -> None:
    graph = chain()
    graph.set_tensor(graph.value("w"), ir.LazyTensor(FLOAT, (2,), lambda: np.array([7.0, 8.0], np.float32)))
    graph.add_initializer("extra", np.arange(3, dtype=np.int64))
    copy = graph.copy()
    np.testing.assert_array_equal(copy.constant(copy.value("w")), [7.0, 8.0])
    np.testing.assert_array_equal(copy.constant(copy.value("extra")), [0, 1, 2])
    assert serialised(copy.to_proto()) == serialised(graph.to_proto())
