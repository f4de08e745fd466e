"""A rename is followed wherever a model writes names, and by nothing else."""

from __future__ import annotations

import onnx
import pytest
from onnx import TensorProto, helper

import graphopt.ir as ir
from graphopt.errors import EditError
from tests.ir import features
from tests.ir.invariants import check_invariants
from tests.models import serialised


def renamed(feature: str, old: str, new: str) -> onnx.ModelProto:
    model = features.build(feature)
    graph = ir.Graph.from_proto(model)
    graph.rename(graph.value(old), new)
    assert graph.value(new).name == new
    assert not graph.has_value(old)
    check_invariants(graph)
    return graph.to_proto()


def attribute(node: onnx.NodeProto, name: str) -> onnx.GraphProto:
    return next(a.g for a in node.attribute if a.name == name)


def strings(message: object) -> set[str]:
    return set(str(message).replace('"', "\n").splitlines())


def test_inputs_outputs_and_initializers() -> None:
    after = renamed("value_info_for_everything", "x", "x2")
    assert "x" not in strings(after)
    assert after.graph.input[0].name == "x2"
    after = renamed("duplicate_outputs", "y", "y2")
    assert [o.name for o in after.graph.output] == ["y2", "by", "y2", "y2"]
    after = renamed("overridable_initializer", "w", "w2")
    assert (after.graph.input[0].name, after.graph.initializer[0].name) == ("w2", "w2")
    after = renamed("sparse_initializers", "sparse_a", "sparse_c")
    assert [s.values.name for s in after.graph.sparse_initializer] == ["sparse_b", "sparse_c"]
    assert after.graph.node[-1].input[0] == "sparse_c"


@pytest.mark.parametrize("name", [*sorted(features.FEATURES.keys() - {"empty_graph"})])
def test_there_and_back_is_nothing(name: str) -> None:
    model = features.build(name)
    graph = ir.Graph.from_proto(model)
    for value in [vertex for vertex in graph.nx if isinstance(vertex, ir.Value)]:
        old = value.name
        graph.rename(value, "temporary name")
        check_invariants(graph)
        graph.rename(value, old)
    assert serialised(graph.to_proto()) == serialised(model)


def test_subgraphs_follow_however_deep() -> None:
    after = renamed("nested_subgraphs_with_captures", "captured", "c2")
    then = attribute(after.graph.node[-1], "then_branch")
    assert attribute(then.node[0], "then_branch").node[0].input[0] == "c2"
    assert "captured" not in strings(after)
    assert then.quantization_annotation[0].tensor_name == "c2"
    onnx.checker.check_model(after, full_check=True)


def test_an_outer_value_that_a_subgraph_hands_out() -> None:
    after = renamed("subgraph_outputs_from_outer_scope", "x", "x2")
    assert attribute(after.graph.node[-1], "then_branch").output[0].name == "x2"


def test_inner_values_can_be_renamed() -> None:
    model = features.build("nested_subgraphs_with_captures")
    graph = ir.Graph.from_proto(model)
    then = next(n for n in graph.nodes if n.name == "if").attributes["then_branch"]
    then.rename(then.value("then_own"), "own2")
    then.rename(then.value("then_out"), "out2")
    check_invariants(graph)
    proto = attribute(graph.to_proto().graph.node[-1], "then_branch")
    assert (proto.initializer[0].name, proto.output[0].name, list(proto.node[-1].input)) == ("own2", "out2", ["then_if", "own2"])


def test_quantization_annotations_follow() -> None:
    after = renamed("quantization_annotation", "y", "y2").graph.quantization_annotation[0]
    assert after.tensor_name == "y2"
    after = renamed("quantization_annotation", "y_scale", "s2").graph.quantization_annotation[0]
    assert [(e.key, e.value) for e in after.quant_parameter_tensor_names] == [("SCALE_TENSOR", "s2"), ("ZERO_POINT_TENSOR", "y_zero")]


def test_sharding_specs_follow() -> None:
    for place, old in enumerate(["x", "w", "y"]):
        after = renamed("devices_and_sharding", old, "new")
        specs = after.graph.node[0].device_configurations[0].sharding_spec
        assert [spec.tensor_name for spec in specs] == [*["x", "w", "y"][:place], "new", *["x", "w", "y"][place + 1 :]]


def test_training_follows() -> None:
    after = renamed("training_info_with_bindings", "w", "w2").training_info[0]
    assert after.initialization_binding[0].key == after.update_binding[0].key == "w2"
    assert list(after.algorithm.node[0].input) == ["w2", "rate"]
    after = renamed("training_info_with_bindings", "y", "y2").training_info[0]
    assert list(after.algorithm.node[1].input) == ["w_new", "y2"]


def test_training_values_of_the_same_name_are_left_alone() -> None:
    model = features.build("training_info_with_bindings")
    model.graph.node.append(helper.make_node("Relu", ["x"], ["rate"]))
    graph = ir.Graph.from_proto(model)
    graph.rename(graph.value("rate"), "other")
    assert serialised(graph.to_proto().training_info[0]) == serialised(model.training_info[0])


def test_a_renamed_value_cannot_hide_one_that_a_subgraph_reads() -> None:
    graph = ir.Graph.from_proto(features.build("nested_subgraphs_with_captures"))
    for new in ("then_own", "then_in", "else_if"):  # taken inside: the capture would read the inner value
        with pytest.raises(EditError):
            graph.rename(graph.value("captured"), new)
    then = next(n for n in graph.nodes if n.name == "if").attributes["then_branch"]
    with pytest.raises(EditError):
        then.rename(then.value("then_own"), "captured")
    with pytest.raises(EditError):
        then.add_initializer("captured", [1.0])
    check_invariants(graph)


def test_function_bodies_are_a_scope_of_their_own() -> None:
    model = features.build("functions")
    model.functions[0].node[0].output[0] = model.functions[0].node[1].input[0] = "x"
    graph = ir.Graph.from_proto(model)
    graph.rename(graph.value("x"), "x2")
    assert serialised(graph.to_proto().functions[0]) == serialised(model.functions[0])


def test_attributes_that_happen_to_hold_a_name_are_left_alone() -> None:
    model = features.base()
    model.graph.node[0].attribute.append(helper.make_attribute("note", "x"))
    model.graph.metadata_props.add(key="x", value="x")
    graph = ir.Graph.from_proto(model)
    graph.rename(graph.value("x"), "x2")
    after = graph.to_proto()
    assert after.graph.node[0].attribute[0].s == b"x"
    assert after.graph.metadata_props[0].value == "x"


def test_an_initializer_that_is_removed_takes_its_annotation_along_or_stays() -> None:
    """No name in the file may refer to nothing after an edit."""
    graph = ir.Graph.from_proto(features.build("quantization_annotation"))
    try:
        graph.remove_initializer(graph.value("y_scale"))
    except EditError:
        assert graph.has_value("y_scale")
    else:
        assert "y_scale" not in strings(graph.to_proto())


def test_a_removed_node_value_leaves_no_annotation() -> None:
    model = features.build("quantization_annotation")
    model.graph.node.append(helper.make_node("Relu", ["x"], ["spare"], name="spare"))
    model.graph.quantization_annotation.add(tensor_name="spare").quant_parameter_tensor_names.add(key="SCALE_TENSOR", value="y_scale")
    model.graph.value_info.append(helper.make_tensor_value_info("spare", TensorProto.FLOAT, [2]))
    graph = ir.Graph.from_proto(model)
    graph.remove(next(n for n in graph.nodes if n.name == "spare"))
    assert "spare" not in strings(graph.to_proto())
