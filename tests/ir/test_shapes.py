"""Shapes are never stale, neither in `types()` nor in the saved file, and never contradict what ONNX Runtime computes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper, shape_inference

import graphopt.ir as ir
from tests.ir import corpus
from tests.models import serialised

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
info = helper.make_tensor_value_info


def model_of(
    nodes: list[onnx.NodeProto], inputs: list[Any], outputs: list[Any], weights: dict[str, Any] | None = None, opset: int = 21
) -> onnx.ModelProto:
    initializers = [numpy_helper.from_array(np.asarray(array), name) for name, array in (weights or {}).items()]
    graph = helper.make_graph(nodes, "g", inputs, outputs, initializers)
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", opset)])


def weights(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def convnet() -> onnx.ModelProto:
    """x [N,3,16,16] -> Conv 'c1' (8) -> Relu -> MaxPool -> Conv 'c2' (4) -> Flatten -> out, with value_info for everything."""
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], name="c1", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"], name="r1"),
        helper.make_node("MaxPool", ["r1"], ["p1"], name="p1", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["p1", "w2"], ["c2"], name="c2", pads=[1, 1, 1, 1]),
        helper.make_node("Sigmoid", ["p1"], ["s"], name="s"),
        helper.make_node("Flatten", ["c2"], ["out"], name="f"),
    ]
    tensors = {"w1": weights(8, 3, 3, 3), "b1": weights(8), "w2": weights(4, 8, 3, 3)}
    model = model_of(nodes, [info("x", FLOAT, ["N", 3, 16, 16])], [info("out", FLOAT, ["N", 256])], tensors)
    return shape_inference.infer_shapes(model, strict_mode=True)


def fresh_types(graph: ir.Graph) -> dict[str, ir.TensorType]:
    """Types by name, inferred from the saved model without any value_info."""
    proto = graph.to_proto()
    del proto.graph.value_info[:]
    other = ir.Graph.from_proto(proto)
    return {value.name: type_ for value, type_ in other.types().items()}


def stated(graph: ir.Graph) -> dict[str, list[Any]]:
    """What value_info of the saved model says: dimensions by name."""
    entries = graph.to_proto().graph.value_info
    return {
        entry.name: [dim.dim_value if dim.HasField("dim_value") else dim.dim_param or None for dim in entry.type.tensor_type.shape.dim]
        for entry in entries
    }


def node(graph: ir.Graph, name: str) -> ir.Node:
    return next(n for n in graph.walk() if n.name == name)


def halve_channels(graph: ir.Graph) -> None:
    graph.set_tensor(graph.value("w1"), weights(4, 3, 3, 3))
    graph.set_tensor(graph.value("b1"), weights(4))
    graph.set_tensor(graph.value("w2"), weights(4, 4, 3, 3))


def stride(graph: ir.Graph) -> None:
    graph.set_attribute(node(graph, "p1"), "strides", [4, 4])


def drop_pool(graph: ir.Graph) -> None:
    assert graph.bypass(node(graph, "p1"))


def read_elsewhere(graph: ir.Graph) -> None:
    graph.set_input(node(graph, "s"), 0, graph.value("c2"))


def to_half(graph: ir.Graph) -> None:
    made = graph.add_node("Cast", [graph.value("r1")], ["half"], {"to": int(TensorProto.FLOAT16)})
    graph.set_input(node(graph, "s"), 0, made.outputs[0])


def lazily(graph: ir.Graph) -> None:
    graph.set_tensor(graph.value("w2"), ir.LazyTensor(FLOAT, (6, 8, 3, 3), lambda: weights(6, 8, 3, 3)))


def rename_and_stride(graph: ir.Graph) -> None:
    graph.rename(graph.value("p1"), "pooled")
    graph.set_attribute(node(graph, "p1"), "strides", [4, 4])


def replace(graph: ir.Graph) -> None:
    pooled = graph.add_node("AveragePool", [graph.value("r1")], ["avg"], {"kernel_shape": [4, 4], "strides": [4, 4]})
    graph.replace_uses(graph.value("p1"), pooled.outputs[0])  # type: ignore[arg-type]
    graph.remove(node(graph, "p1"))


EDITS = [halve_channels, stride, drop_pool, read_elsewhere, to_half, lazily, rename_and_stride, replace]


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("asked_before", [True, False])
def test_types_and_value_info_are_fresh_after_an_edit(edit: Callable[[ir.Graph], None], asked_before: bool) -> None:
    graph = ir.Graph.from_proto(convnet())
    if asked_before:
        assert graph.shape(graph.value("p1")) == ("N", 8, 8, 8)
    edit(graph)
    expected = fresh_types(graph)
    assert {value.name: type_ for value, type_ in graph.types().items()} == expected
    for name, dims in stated(graph).items():
        assert tuple(dims) == expected[name].shape, f"value_info of {name} is stale"
    again = ir.Graph.from_proto(graph.to_proto())
    assert {value.name: type_.shape for value, type_ in again.types().items()} == {name: type_.shape for name, type_ in expected.items()}
    out = again.shape(again.value("out"))
    assert out is not None
    assert out[0] == "N"


def test_a_chain_of_edits_each_seen_at_once() -> None:
    graph = ir.Graph.from_proto(convnet())
    assert graph.shape(graph.value("s")) == ("N", 8, 8, 8)
    stride(graph)
    assert graph.shape(graph.value("s")) == ("N", 8, 4, 4)
    halve_channels(graph)
    assert graph.shape(graph.value("s")) == ("N", 4, 4, 4)
    copy = graph.copy()
    drop_pool(copy)
    assert copy.shape(copy.value("s")) == ("N", 4, 16, 16)
    assert graph.shape(graph.value("s")) == ("N", 4, 4, 4)
    twice = copy.copy()
    assert twice.shape(twice.value("s")) == ("N", 4, 16, 16)
    assert stated(twice)["s"] == ["N", 4, 16, 16]


def test_what_the_file_says_wrongly_is_not_believed() -> None:
    model = convnet()
    for entry in model.graph.value_info:
        if entry.name == "p1":
            entry.type.CopyFrom(helper.make_tensor_type_proto(FLOAT, [1, 2]))
    graph = ir.Graph.from_proto(model)
    assert graph.shape(graph.value("p1")) == ("N", 8, 8, 8)
    assert graph.shape(graph.value("s")) == ("N", 8, 8, 8)


def test_an_edit_inside_a_branch_is_seen_outside_and_inside() -> None:
    def branch(name: str, op: str) -> onnx.GraphProto:
        return helper.make_graph(
            [helper.make_node(op, ["x", f"{name}_w"], [f"{name}_o"], name=name)],
            name,
            [],
            [onnx.ValueInfoProto(name=f"{name}_o")],
            [numpy_helper.from_array(weights(4, 6), f"{name}_w")],
        )

    nodes = [
        helper.make_node("If", ["cond"], ["y"], then_branch=branch("t", "MatMul"), else_branch=branch("e", "MatMul")),
        helper.make_node("Relu", ["y"], ["z"]),
    ]
    model = model_of(nodes, [info("cond", TensorProto.BOOL, []), info("x", FLOAT, [2, 4])], [onnx.ValueInfoProto(name="z")])
    model.graph.value_info.append(info("y", FLOAT, [2, 6]))
    graph = ir.Graph.from_proto(model)
    assert graph.shape(graph.value("z")) == (2, 6)
    for branch_graph in graph.nodes[0].subgraphs:
        name = branch_graph.name
        assert graph.types()[branch_graph.value(f"{name}_o")].shape == (2, 6)
        branch_graph.set_tensor(branch_graph.value(f"{name}_w"), weights(4, 3))
        assert graph.types()[branch_graph.value(f"{name}_o")].shape == (2, 3)
    assert graph.shape(graph.value("z")) == (2, 3)
    assert stated(graph)["y"] == [2, 3]


def test_unrelated_value_info_that_nobody_can_infer_stays() -> None:
    model = convnet()
    model.opset_import.append(helper.make_opsetid("custom", 1))
    model.graph.node.append(helper.make_node("Mystery", ["x"], ["m"], domain="custom"))
    model.graph.node.append(helper.make_node("Mystery", ["r1"], ["m1"], domain="custom"))
    model.graph.value_info.append(info("m", FLOAT, ["N", 7]))
    model.graph.value_info.append(info("m1", FLOAT, ["N", 8, 16, 16]))
    graph = ir.Graph.from_proto(model)
    halve_channels(graph)
    after = stated(graph)
    assert after["m"] == ["N", 7]
    assert "m1" not in after or after["m1"][1:] != [8, 16, 16], "downstream of the edit and not inferable: it may be wrong"


# --- the graph's own integer arithmetic ---


def reshape_model(chain: list[onnx.NodeProto], constants: dict[str, Any], x_shape: list[Any]) -> onnx.ModelProto:
    """`chain` computes 'target' from x; x is reshaped to it."""
    nodes = [*chain, helper.make_node("Reshape", ["x", "target"], ["y"]), helper.make_node("Relu", ["y"], ["z"])]
    return model_of(nodes, [info("x", FLOAT, x_shape)], [onnx.ValueInfoProto(name="z")], constants)


N = helper.make_node
CHAINS: dict[str, tuple[list[onnx.NodeProto], dict[str, Any], Any]] = {
    "gather, concat": (
        [
            N("Shape", ["x"], ["s"]),
            N("Gather", ["s", "zero"], ["n"]),
            N("Unsqueeze", ["n", "axes"], ["nu"]),
            N("Concat", ["nu", "rest"], ["target"], axis=0),
        ],
        {"zero": np.int64(0), "axes": np.array([0]), "rest": np.array([-1])},
        None,
    ),
    "slice": (
        [N("Shape", ["x"], ["s"]), N("Slice", ["s", "a", "b"], ["h"]), N("Concat", ["h", "rest"], ["target"], axis=0)],
        {"a": np.array([0]), "b": np.array([2]), "rest": np.array([-1])},
        None,
    ),
    "shape with start and end": (
        [N("Shape", ["x"], ["h"], start=0, end=-2), N("Concat", ["h", "rest"], ["target"], axis=0)],
        {"rest": np.array([-1])},
        None,
    ),
    "arithmetic": (
        [
            N("Shape", ["x"], ["s"]),
            N("Gather", ["s", "two"], ["h"]),
            N("Gather", ["s", "three"], ["w"]),
            N("Mul", ["h", "w"], ["hw"]),
            N("Div", ["hw", "two"], ["half"]),
            N("Cast", ["half"], ["half32"], to=TensorProto.INT32),
            N("Cast", ["half32"], ["half64"], to=TensorProto.INT64),
            N("Reshape", ["half64", "one"], ["halfv"]),
            N("Concat", ["minus", "halfv"], ["target"], axis=0),
        ],
        {"two": np.int64(2), "three": np.int64(3), "one": np.array([1]), "minus": np.array([-1])},
        10,
    ),
    "through constants": (
        [N("Constant", [], ["rest"], value_ints=[12, -1]), N("Identity", ["rest"], ["target"])],
        {},
        None,
    ),
    "negative index": (
        [N("Shape", ["x"], ["s"]), N("Gather", ["s", "last"], ["w"]), N("Concat", ["minus", "w"], ["target"], axis=0)],
        {"last": np.array([-1]), "minus": np.array([-1])},
        5,
    ),
    "where and equal": (
        [
            N("Equal", ["given", "minus"], ["is"]),
            N("Where", ["is", "ones", "given"], ["t0"]),
            N("Mul", ["t0", "two"], ["t1"]),
            N("Concat", ["t1", "minus"], ["target"], axis=0),
        ],
        {"given": np.array([3]), "minus": np.array([-1]), "ones": np.array([1]), "two": np.array([2])},
        None,
    ),
    "mod, min, max, range": (
        [
            N("Shape", ["x"], ["s"]),
            N("Gather", ["s", "two"], ["h"]),
            N("Mod", ["h", "three"], ["one"]),
            N("Max", ["one", "three"], ["m"]),
            N("Unsqueeze", ["m", "zero"], ["mu"]),
            N("Concat", ["mu", "minus"], ["target"], axis=0),
        ],
        {"two": np.int64(2), "three": np.int64(3), "zero": np.array([0]), "minus": np.array([-1])},
        None,
    ),
    "size": (
        [
            N("Size", ["x4"], ["n"]),
            N("Reshape", ["n", "one"], ["nv"]),
            N("Div", ["nv", "four"], ["q"]),
            N("Concat", ["minus", "q"], ["target"], axis=0),
        ],
        {"x4": weights(8), "one": np.array([1]), "four": np.array([4]), "minus": np.array([-1])},
        2,
    ),
    "reduce prod": (
        [N("Shape", ["x"], ["h"], start=2), N("ReduceProd", ["h"], ["p"], keepdims=1), N("Concat", ["minus", "p"], ["target"], axis=0)],
        {"minus": np.array([-1])},
        20,
    ),
    "expand and constant of shape": (
        [
            N("ConstantOfShape", ["one"], ["t0"], value=helper.make_tensor("v", INT64, [1], [6])),
            N("Concat", ["t0", "minus"], ["target"], axis=0),
        ],
        {"one": np.array([1]), "minus": np.array([-1])},
        None,
    ),
}


@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize("batch", [2, "N"])
def test_computed_shapes(name: str, batch: int | str) -> None:
    chain, constants, last = CHAINS[name]
    model = reshape_model(chain, constants, [batch, 3, 4, 5])
    graph = ir.Graph.from_proto(model)
    inferred = graph.shape(graph.value("z"))
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    actual = session.run(None, {"x": np.zeros((2, 3, 4, 5), np.float32)})[0].shape
    assert inferred is not None
    assert len(inferred) == len(actual)
    if batch == 2:
        assert inferred == actual
    else:
        assert all(not isinstance(size, int) or size == real for size, real in zip(inferred, actual, strict=True)), (inferred, actual)
        if last is not None:
            assert inferred[-1] == last


def test_computed_shapes_follow_edits() -> None:
    chain, constants, _ = CHAINS["gather, concat"]
    graph = ir.Graph.from_proto(reshape_model(chain, constants, [2, 3, 4, 5]))
    assert graph.shape(graph.value("z")) == (2, 60)
    graph.set_tensor(graph.value("zero"), np.array(1))
    assert graph.shape(graph.value("z")) == (3, 40)
    graph.set_tensor(graph.value("rest"), np.array([5, 8]))
    assert graph.shape(graph.value("z")) == (3, 5, 8)


def test_an_overridable_constant_is_not_counted_on() -> None:
    model = reshape_model([], {"target": np.array([12, -1])}, [2, 3, 4, 5])
    model.graph.input.append(info("target", INT64, [2]))
    graph = ir.Graph.from_proto(model)
    shape = graph.shape(graph.value("z"))
    assert shape is None or not any(isinstance(size, int) for size in shape)


# --- ONNX Runtime as the oracle ---


def observed_shapes(model: onnx.ModelProto, feeds: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor that ONNX Runtime computes, by name."""
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    del watched.graph.output[:]
    watched.graph.output.extend(onnx.ValueInfoProto(name=name) for n in model.graph.node for name in n.output if name)
    options = ort.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(watched.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return {name: array.shape for name, array in zip(names, session.run(None, feeds), strict=True) if isinstance(array, np.ndarray)}


def contradictions(graph: ir.Graph, actual: dict[str, tuple[int, ...]]) -> list[str]:
    wrong = []
    for name, shape in actual.items():
        inferred = graph.shape(graph.value(name))
        if inferred is None:
            continue
        if len(inferred) != len(shape) or any(isinstance(a, int) and a != b for a, b in zip(inferred, shape, strict=True)):
            wrong.append(f"{name}: inferred {inferred}, computed {shape}")
    return wrong


def blind(model: onnx.ModelProto) -> onnx.ModelProto:
    """`model` without what it says about the shapes of its outputs and inner values."""
    copy = onnx.ModelProto.FromString(serialised(model))
    del copy.graph.value_info[:]
    for output in copy.graph.output:
        if output.type.HasField("tensor_type"):
            output.type.tensor_type.ClearField("shape")
    return copy


def test_inferred_shapes_agree_with_onnx_runtime_on_the_node_models() -> None:
    from onnx.backend.test.loader import load_model_tests

    compared, wrong = 0, []
    for case in load_model_tests(kind="node"):
        if not case.data_sets or any(not isinstance(array, np.ndarray) for array in case.data_sets[0][0]):
            continue
        model = blind(case.model)
        names = [i.name for i in model.graph.input]
        try:
            actual = observed_shapes(model, dict(zip(names, case.data_sets[0][0], strict=False)))
        except Exception:  # not for this runtime: an opset or a type that it does not have
            continue
        compared += 1
        wrong += [f"{case.name}: {line}" for line in contradictions(ir.Graph.from_proto(model), actual)]
    assert compared > 1000
    assert not wrong, f"{len(wrong)} contradictions:\n" + "\n".join(wrong[:20])


@pytest.mark.parametrize(
    "name", ["light/light_squeezenet.onnx", "light/light_resnet50.onnx", "light/light_shufflenet.onnx", "light/light_inception_v1.onnx"]
)
def test_every_value_of_a_real_topology_has_the_shape_that_is_computed(name: str) -> None:
    model = blind(onnx.load(corpus.WHEEL_DATA / name))
    graph = ir.Graph.from_proto(model)
    given = {tensor.name for tensor in model.graph.initializer}
    shapes = {i.name: [d.dim_value for d in i.type.tensor_type.shape.dim] for i in model.graph.input if i.name not in given}
    feeds = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    actual = observed_shapes(model, feeds)
    assert not contradictions(graph, actual)
    unknown = {name for name in actual if (type_ := graph.types().get(graph.value(name))) is None or type_.static is None}
    masks = {n.output[1] for n in model.graph.node if n.op_type == "Dropout" and len(n.output) > 1}  # opset 9 says nothing of them
    assert unknown <= masks
