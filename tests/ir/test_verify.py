"""`verify` passes what is sound and names what is not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import helper

import graphopt.ir as ir
from graphopt.errors import VerifyError
from tests.ir import corpus, features
from tests.ir.external import multiply, write_model
from tests.ir.test_shapes import convnet, halve_channels, node

Damage = Callable[[ir.Graph], object]


def found(graph: ir.Graph, runtime: bool = True) -> str:
    with pytest.raises(VerifyError) as caught:
        ir.verify(graph, runtime=runtime)
    message = str(caught.value)
    assert "\n" not in message
    return message


def sound() -> list[str]:
    """The features that onnx.checker accepts."""
    names = []
    for name in features.FEATURES:
        try:
            onnx.checker.check_model(features.build(name), full_check=True)
            names.append(name)
        except Exception:  # it raises errors of several libraries
            continue
    return names


def test_sound_models_pass() -> None:
    names = sound()
    assert len(names) > 20
    for name in names:
        ir.verify(ir.Graph.from_proto(features.build(name)), runtime=False)


def test_sound_models_with_the_runtime(tmp_path: object) -> None:
    for name in ("duplicate_outputs", "output_is_input", "overridable_initializer", "ir_3", "nested_subgraphs_with_captures"):
        ir.verify(ir.Graph.from_proto(features.build(name)))
    for name in ("light/light_squeezenet.onnx", "light/light_resnet50.onnx"):
        ir.verify(ir.load(corpus.WHEEL_DATA / name))


def test_a_model_with_external_data_and_pending_edits(tmp_path: object) -> None:
    graph = ir.load(write_model(tmp_path))  # type: ignore[arg-type]
    ir.verify(graph)
    multiply(graph, 2.0)
    ir.verify(graph)


def test_verify_changes_nothing() -> None:
    graph = ir.Graph.from_proto(convnet())
    before, version = graph.to_proto(), graph.version
    ir.verify(graph)
    assert (graph.to_proto(), graph.version) == (before, version)


# --- damage done behind the graph's back ---


def drop_an_edge(graph: ir.Graph) -> str:
    graph.nx.remove_edge(graph.value("r1"), node(graph, "p1"), key=0)
    return "r1"


def add_an_edge(graph: ir.Graph) -> str:
    graph.nx.add_edge(graph.value("x"), node(graph, "f"), 5)
    return "x"


def forget_a_value(graph: ir.Graph) -> str:
    graph._values.pop("r1")
    return "r1"


def forget_a_node(graph: ir.Graph) -> str:
    graph.nx.remove_node(node(graph, "r1"))
    graph._nodes = None
    return "r1"


def lie_about_inputs(graph: ir.Graph) -> str:
    p1 = node(graph, "p1")
    p1.inputs = (graph.value("c1"),)
    return "p1"


def rename_silently(graph: ir.Graph) -> str:
    graph.value("r1").name = "other"
    return "other"


def read_a_strangers_value(graph: ir.Graph) -> str:
    p1 = node(graph, "p1")
    stranger = graph.copy().value("r1")
    graph.nx.remove_edge(graph.value("r1"), p1, key=0)
    graph.nx.add_edge(stranger, p1, 0)
    p1.inputs = (stranger,)
    return "r1"


def take_contents_away(graph: ir.Graph) -> str:
    graph.value("w1").tensor = None
    return "w1"


def lose_an_output(graph: ir.Graph) -> str:
    graph._outputs[0] = graph.copy().value("out")
    return "out"


STRUCTURE = [
    drop_an_edge,
    add_an_edge,
    forget_a_value,
    forget_a_node,
    lie_about_inputs,
    rename_silently,
    read_a_strangers_value,
    take_contents_away,
    lose_an_output,
]


@pytest.mark.parametrize("damage", STRUCTURE)
def test_inconsistent_graphs(damage: Callable[[ir.Graph], str]) -> None:
    graph = ir.Graph.from_proto(convnet())
    place = damage(graph)
    assert place in found(graph, runtime=False)


# --- models that are wrong ---


def cycle(graph: ir.Graph) -> str:
    graph.set_input(node(graph, "c1"), 0, graph.value("p1"))
    return "cycle"


def channels_that_do_not_fit(graph: ir.Graph) -> str:
    graph.set_tensor(graph.value("w2"), np.zeros((4, 7, 3, 3), np.float32))
    return "c2"


def bias_that_does_not_fit(graph: ir.Graph) -> str:
    graph.set_tensor(graph.value("b1"), np.zeros(7, np.float32))
    return "c1"


def groups_that_do_not_fit(graph: ir.Graph) -> str:
    graph.set_attribute(node(graph, "c2"), "group", 2)
    return "c2"


def norm_that_does_not_fit(graph: ir.Graph) -> str:
    ones = [graph.add_initializer(name, np.ones(size, np.float32)) for name, size in (("g", 8), ("b", 8), ("m", 8), ("v", 6))]
    norm = graph.add_node("BatchNormalization", [graph.value("c1"), *ones], ["normed"], name="norm")
    graph.set_input(node(graph, "r1"), 0, norm.outputs[0])
    return "norm"


def other_output_shape(graph: ir.Graph) -> str:
    graph.set_tensor(graph.value("w2"), np.zeros((2, 8, 3, 3), np.float32))
    return ""


def other_output_type(graph: ir.Graph) -> str:
    cast = graph.add_node("Cast", [graph.value("c2")], ["half"], {"to": int(onnx.TensorProto.FLOAT16)})
    graph.set_input(node(graph, "f"), 0, cast.outputs[0])
    return ""


def other_rank(graph: ir.Graph) -> str:
    graph.set_attribute(node(graph, "f"), "axis", 0)
    graph.set_input(node(graph, "f"), 0, graph.value("w1"))
    return ""


def unknown_operator(graph: ir.Graph) -> str:
    graph.add_node("NoSuchOperator", [graph.value("x")], ["n"])
    return "NoSuchOperator"


def unknown_domain(graph: ir.Graph) -> str:
    graph.add_node("Relu", [graph.value("x")], ["n"], domain="nobody.imports")
    return "nobody.imports"


def unknown_attribute(graph: ir.Graph) -> str:
    graph.set_attribute(node(graph, "p1"), "nonsense", 3)
    return "nonsense"


def attribute_of_the_wrong_type(graph: ir.Graph) -> str:
    graph.set_attribute(node(graph, "p1"), "kernel_shape", "3x3")
    return "kernel_shape"


def too_many_inputs(graph: ir.Graph) -> str:
    graph.set_input(node(graph, "s"), 1, graph.value("x"))
    return ""


def missing_input(graph: ir.Graph) -> str:
    graph.set_input(node(graph, "c2"), 1, None)
    return ""


def types_that_do_not_mix(graph: ir.Graph) -> str:
    graph.set_tensor(graph.value("w2"), np.zeros((4, 8, 3, 3), np.float64))
    return ""


WRONG = [
    cycle,
    channels_that_do_not_fit,
    bias_that_does_not_fit,
    groups_that_do_not_fit,
    norm_that_does_not_fit,
    other_output_shape,
    other_output_type,
    other_rank,
    unknown_operator,
    unknown_domain,
    unknown_attribute,
    attribute_of_the_wrong_type,
    too_many_inputs,
    missing_input,
    types_that_do_not_mix,
]


@pytest.mark.parametrize("runtime", [False, True])
@pytest.mark.parametrize("damage", WRONG)
def test_wrong_models(damage: Callable[[ir.Graph], str], runtime: bool) -> None:
    graph = ir.Graph.from_proto(convnet())
    place = damage(graph)
    assert place in found(graph, runtime=runtime)


def test_a_consistent_change_of_shapes_passes() -> None:
    graph = ir.Graph.from_proto(convnet())
    halve_channels(graph)
    ir.verify(graph)


def test_wrong_inside_a_branch() -> None:
    graph = ir.Graph.from_proto(features.build("nested_subgraphs_with_captures"))
    then = node(graph, "if").attributes["then_branch"]
    then.add_node("NoSuchOperator", [graph.value("x")], ["n"])
    assert "NoSuchOperator" in found(graph)


def test_a_lazy_weight_of_another_shape() -> None:
    graph = ir.Graph.from_proto(convnet())
    graph.set_tensor(graph.value("w2"), ir.LazyTensor(1, (4, 8, 3, 3), lambda: np.zeros((4, 8, 3, 4), np.float32)))
    with pytest.raises(Exception, match="shape"):
        ir.verify(graph)


def test_what_only_onnx_runtime_refuses() -> None:
    """An operator of a domain that onnx.checker knows nothing of, and an IR version that is too new for the runtime."""
    model = features.base()
    model.graph.node.append(helper.make_node("Probe", ["x"], ["n"], domain="probe"))
    graph = ir.Graph.from_proto(model)
    ir.verify(graph, runtime=False)
    assert "ONNX Runtime" in found(graph)
