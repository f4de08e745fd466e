"""The bridge to onnx-graphsurgeon: nothing is lost on the way there and back, and what was edited there arrives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import onnxruntime as ort
import pytest

import graphopt.ir as ir
from graphopt.errors import UnsupportedError
from tests.ir import corpus, features, probes
from tests.ir.invariants import check_invariants
from tests.models import difference


def there_and_back(model: onnx.ModelProto) -> str | None:
    """What a no-op round trip changes, '' for nothing; None where the bridge refuses, clearly and without harm."""
    graph = ir.Graph.from_proto(model)
    try:
        back = ir.Graph.from_graphsurgeon(graph.to_graphsurgeon(), original=graph)
    except UnsupportedError as error:
        assert "\n" not in str(error)
        assert not difference(model, graph.to_proto())
        return None
    check_invariants(back)
    return difference(model, back.to_proto())


@pytest.mark.parametrize("name", features.FEATURES)
def test_features_survive(name: str) -> None:
    assert not there_and_back(features.build(name))


def test_every_field_survives() -> None:
    lost = []
    seen = set()
    for path in sorted(probes.paths(), key=len):
        field = probes.label(path[-1])
        if field in seen or field in ("TensorProto.external_data", "TensorProto.data_location"):
            continue
        if "external_data" in (step.name for step in path):
            continue
        seen.add(field)
        if change := there_and_back(probes.Builder("set").build(path)):
            lost.append(f"{field}: {change}")
    assert not lost, f"{len(lost)} lost:\n" + "\n".join(lost[:20])


def test_node_models_survive_and_few_are_refused() -> None:
    results = {name: there_and_back(model) for name, model in corpus.node_models().items()}
    lost = [f"{name}: {change}" for name, change in results.items() if change]
    assert not lost, f"{len(lost)} lost:\n" + "\n".join(lost[:20])
    assert sum(change is None for change in results.values()) < 30


@pytest.mark.parametrize("name", ["light/light_squeezenet.onnx", "light/light_shufflenet.onnx", "simple/test_single_relu_model/model.onnx"])
def test_wheel_models_survive(name: str) -> None:
    assert not there_and_back(onnx.load(corpus.WHEEL_DATA / name))


def test_what_graphsurgeon_cannot_hold_is_said() -> None:
    for name in ("every_type_constructor", "empty_lists_in_attributes"):
        graph = ir.Graph.from_proto(features.build(name))
        with pytest.raises(UnsupportedError) as caught:
            ir.Graph.from_graphsurgeon(graph.to_graphsurgeon(), original=graph)
        assert "\n" not in str(caught.value)


# --- edits made there ---


def rich() -> onnx.ModelProto:
    model = features.base()
    for holder in (model, model.graph, model.graph.node[0], model.graph.input[0], model.graph.output[0], model.graph.initializer[0]):
        for key in "abc":
            holder.metadata_props.add(key=key, value=key)
        holder.doc_string = "doc é"
    features.FEATURES["functions"](model)
    features.FEATURES["quantization_annotation"](model)
    features.FEATURES["training_info_with_bindings"](model)
    features.FEATURES["devices_and_sharding"](model)
    return model


def edited(edit: Callable[[gs.Graph], Any]) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    model = rich()
    graph = ir.Graph.from_proto(model)
    surgeon = graph.to_graphsurgeon()
    edit(surgeon)
    back = ir.Graph.from_graphsurgeon(surgeon, original=graph)
    check_invariants(back)
    after = back.to_proto()
    for field in ("metadata_props", "functions", "training_info", "configuration", "opset_import"):
        assert list(getattr(after, field)) == list(getattr(model, field)), field
    assert after.graph.metadata_props == model.graph.metadata_props
    assert after.graph.doc_string == model.graph.doc_string
    return model, after


def by_name(model: onnx.ModelProto, name: str) -> onnx.NodeProto:
    return next(node for node in model.graph.node if node.name == name)


def test_an_attribute() -> None:
    def edit(surgeon: gs.Graph) -> None:
        next(n for n in surgeon.nodes if n.name == "main").attrs["note"] = 3

    before, after = edited(edit)
    assert [a.name for a in by_name(after, "main").attribute] == ["note"]
    assert by_name(after, "main").doc_string == "doc é"
    assert by_name(after, "main").metadata_props == by_name(before, "main").metadata_props
    assert by_name(after, "bystander") == by_name(before, "bystander")


def test_weights() -> None:
    def edit(surgeon: gs.Graph) -> None:
        surgeon.tensors()["w"].values = np.float32([7, 8])

    _, after = edited(edit)
    tensor = next(t for t in after.graph.initializer if t.name == "w")
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(tensor), [7, 8])
    assert tensor.doc_string == "doc é"
    assert len(tensor.metadata_props) == 3


def test_a_new_node_and_a_deleted_one() -> None:
    def edit(surgeon: gs.Graph) -> None:
        tensors = surgeon.tensors()
        node = next(n for n in surgeon.nodes if n.name == "bystander")
        node.op = "Sigmoid"
        new = gs.Variable("new", np.float32, (3,))
        surgeon.nodes.append(gs.Node("Tanh", "new_node", inputs=[tensors["bm"]], outputs=[new]))
        last = next(n for n in surgeon.nodes if n.name == "bystander_2")
        last.inputs = [new]

    _, after = edited(edit)
    session = ort.InferenceSession(strip(after), providers=["CPUExecutionProvider"])
    x = np.float32([0.5, -1, 2])
    result = session.run(["by"], {"x": np.zeros(2, np.float32), "bx": x})[0]
    np.testing.assert_allclose(result, np.maximum(np.tanh(1 / (1 + np.exp(-x))), 0), rtol=1e-6)


def strip(model: onnx.ModelProto) -> bytes:
    copy = onnx.ModelProto.FromString(model.SerializeToString())
    copy.ClearField("training_info")
    for node in [node for node in copy.graph.node if node.domain == "local"]:
        copy.graph.node.remove(node)
    return copy.SerializeToString()


def test_outputs_and_inputs() -> None:
    def edit(surgeon: gs.Graph) -> None:
        surgeon.outputs = [surgeon.outputs[0]]
        surgeon.cleanup()

    model = rich()
    graph = ir.Graph.from_proto(model)
    surgeon = graph.to_graphsurgeon()
    edit(surgeon)
    after = ir.Graph.from_graphsurgeon(surgeon, original=graph).to_proto()
    assert [o.name for o in after.graph.output] == ["y"]
    assert after.graph.output[0] == model.graph.output[0]
    assert "bystander" not in {node.name for node in after.graph.node}


def test_constant_folding_arrives() -> None:
    model = features.base()
    model.graph.node.insert(0, onnx.helper.make_node("Mul", ["w", "w"], ["w_squared"]))
    by_name(model, "main").input[1] = "w_squared"
    graph = ir.Graph.from_proto(model)
    surgeon = graph.to_graphsurgeon()
    surgeon.fold_constants().cleanup()
    back = ir.Graph.from_graphsurgeon(surgeon, original=graph)
    np.testing.assert_array_equal(back.constant(back.nodes[0].inputs[1]), [1, 4])
    check_invariants(back)
    assert len(back.nodes) == 3


def test_opsets_and_ir_version_are_the_inputs() -> None:
    model = features.base()
    model.ir_version = 8
    graph = ir.Graph.from_proto(model)
    back = ir.Graph.from_graphsurgeon(graph.to_graphsurgeon(), original=graph)
    assert (back.ir_version, back.opsets) == (8, {"": 21, "probe": 1})


def test_without_an_original() -> None:
    surgeon = gs.import_onnx(features.base())
    graph = ir.Graph.from_graphsurgeon(surgeon)
    assert [n.name for n in graph.nodes] == ["main", "bystander", "bystander_2"]
    check_invariants(graph)


def test_pending_edits_go_there() -> None:
    graph = ir.Graph.from_proto(features.base())
    graph.set_tensor(graph.value("w"), ir.LazyTensor(1, (2,), lambda: np.float32([5, 6])))
    graph.rename(graph.value("bm"), "renamed")
    surgeon = graph.to_graphsurgeon()
    np.testing.assert_array_equal(surgeon.tensors()["w"].values, [5, 6])
    assert "renamed" in surgeon.tensors()
    back = ir.Graph.from_graphsurgeon(surgeon, original=graph)
    assert not difference(graph.to_proto(), back.to_proto())


def test_the_original_is_not_touched() -> None:
    model = rich()
    graph = ir.Graph.from_proto(model)
    surgeon = graph.to_graphsurgeon()
    surgeon.tensors()["w"].values[:] = 99
    surgeon.nodes.clear()
    assert not difference(model, graph.to_proto())
