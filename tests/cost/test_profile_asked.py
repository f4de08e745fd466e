from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper, parser

from graphopt.cost.attributes import timed_attributes
from graphopt.cost.families import family
from graphopt.cost.fusion import kernels, load_rules
from graphopt.cost.kernel import Signature
from graphopt.cost.open_shapes import FixedSizes
from graphopt.cost.profile import FAMILIES, asked, random_network
from graphopt.cost.profile.build import variants
from graphopt.cost.profile.host import channel_block
from graphopt.errors import RuntimeRefusedError
from graphopt.ir import Graph

from ..networks import network

BLOCK = channel_block()
blocked = pytest.mark.skipif(BLOCK == 1, reason="this processor has no blocked layout in ONNX Runtime")


def conv(channels: int, filters: int, group: int = 1, act: str = "") -> Graph:
    """A convolution 3x3 over a picture 8 x 8, with an activation."""
    rng = np.random.default_rng(0)
    weights = [
        numpy_helper.from_array(rng.normal(size=(filters, channels // group, 3, 3)).astype(np.float32), "w"),
        numpy_helper.from_array(rng.normal(size=filters).astype(np.float32), "b"),
    ]
    nodes = [helper.make_node("Conv", ["x", "w", "b"], ["c"], "conv", pads=[1, 1, 1, 1], group=group)]
    if act:
        nodes.append(helper.make_node(act, ["c"], ["y"], "act"))
    shape = [1, filters, 8, 8]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, channels, 8, 8])],
        [helper.make_tensor_value_info("y" if act else "c", TensorProto.FLOAT, shape)],
        weights,
    )
    return Graph.from_proto(helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)]))


def averaging(opset: int) -> Graph:
    """An average pool between two operators that stay outside of the blocked layout."""
    nodes = [
        helper.make_node("Exp", ["x"], ["e"]),
        helper.make_node("AveragePool", ["e"], ["p"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("Exp", ["p"], ["y"]),
    ]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 40, 9, 9]) for name in "xy"]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:])
    return Graph.from_proto(helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", opset)]))


def operators(kernels: list[Signature]) -> list[str]:
    return [kernel.operator for kernel in kernels]


@blocked
def test_a_convolution_takes_in_its_activation_and_is_converted_to_blocks_and_back() -> None:
    into, kernel, out = asked(conv(32, 32, act="Relu"))
    assert [into.operator, kernel.operator, out.operator] == ["ReorderInput", "nchwc.Conv", "ReorderOutput"]
    assert kernel.attribute("activation") == "Relu"
    assert kernel.attribute("pads") == (1, 1, 1, 1)
    assert kernel.attribute("strides") is None  # ones mean nothing


@blocked
@pytest.mark.parametrize(("channels", "filters"), [(20, 36), (3, 5), (32, 1), (60, 61)])
def test_channels_are_the_models_and_not_those_of_whole_blocks(channels: int, filters: int) -> None:
    kernel = next(kernel for kernel in asked(conv(channels, filters)) if kernel.operator == "nchwc.Conv")
    shapes = [operand.shape for operand in kernel.operands if operand is not None]
    assert shapes == [(1, channels, 8, 8), (filters, channels, 3, 3), (filters,)]
    assert kernel.outputs[0].shape == (1, filters, 8, 8)
    assert [operand.constant for operand in kernel.operands if operand is not None] == [False, True, True]


@blocked
def test_filters_of_zeros_are_no_padding() -> None:
    graph = conv(32, 36)
    graph.set_tensor(graph.value("w"), np.zeros((36, 32, 3, 3), np.float32))
    graph.set_tensor(graph.value("b"), np.zeros(36, np.float32))
    kernel = next(kernel for kernel in asked(graph) if kernel.operator == "nchwc.Conv")
    assert kernel.outputs[0].shape[1] == 36


@blocked
def test_a_depthwise_convolution_has_as_many_groups_as_channels() -> None:
    kernel = next(kernel for kernel in asked(conv(20, 20, group=20)) if kernel.operator == "nchwc.Conv")
    assert kernel.attribute("group") == 20
    assert kernel.operands[1] is not None
    assert kernel.operands[1].shape == (20, 1, 3, 3)


def test_odd_channels_fall_back_to_the_plain_layout() -> None:
    kernels = asked(conv(33, 33, act="Relu"))
    assert operators(kernels) == ["FusedConv"]
    assert kernels[0].attribute("kernel_shape") == (3, 3)


def test_free_dimensions_are_sized_by_name_and_otherwise_one() -> None:
    graph = Graph.from_proto(network())
    assert asked(graph)[-1].outputs[0].shape == (1, 4)
    assert asked(graph, FixedSizes({"batch": 3}, {}))[-1].outputs[0].shape == (3, 4)
    assert asked(graph, FixedSizes({}, {"image": (2, 3, 8, 8)}))[-1].outputs[0].shape == (2, 4)


def test_a_file_and_its_graph_have_the_same_kernels(tmp_path: Path) -> None:
    model = random_network("mobilenet-v3", 1)
    path = tmp_path / "model.onnx"
    onnx.save(model, path)
    assert Counter(asked(path)) == Counter(asked(Graph.from_proto(model)))  # the runtime's order is not always the same


def test_shapes_that_only_a_run_tells_are_found() -> None:
    model = parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[2, 6] x) => (float[a, b] y) { s = Shape(x)  p = NonZero(x)  y = Cast<to = 1>(p) }'
    )
    cast = next(kernel for kernel in asked(Graph.from_proto(model)) if kernel.operator == "Cast")
    assert len(cast.outputs[0].shape) == 2
    assert cast.outputs[0].shape[0] == 2


def test_axes_are_the_same_as_attribute_and_as_input() -> None:
    old = parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[2, 6, 4] x) => (float[2, 6, 1] y) { y = ReduceMean<axes = [-1]>(x) }'
    )
    new = parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 18]> g (float[2, 6, 4] x) => (float[2, 6, 1] y) <int64[1] a = {-1}> { y = ReduceMean(x, a) }'
    )
    found = [
        kernel.attribute("axes") for model in (old, new) for kernel in asked(Graph.from_proto(model)) if kernel.operator == "ReduceMean"
    ]
    assert found == [(2,), (2,)]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_signature_is_a_text_that_reads_back(family: str) -> None:
    kernels = asked(Graph.from_proto(random_network(family, 0)))
    assert kernels
    assert [Signature.parse(str(kernel)) for kernel in kernels] == kernels


def test_how_often_a_kernel_runs_is_kept() -> None:
    model = parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[4, 4] x) => (float[4, 4] y) { a = Exp(x)  b = Exp(a)  y = Exp(b) }'
    )
    assert Counter(operators(asked(Graph.from_proto(model)))) == {"Exp": 3}


def test_a_model_that_the_runtime_refuses_is_a_clear_error() -> None:
    model = parser.parse_model('<ir_version: 8, opset_import: ["" : 17, "nobody" : 1]> g (float[4] x) => (float[4] y) { y = nobody.Op(x) }')
    with pytest.raises(RuntimeRefusedError, match="cannot load"):
        asked(Graph.from_proto(model))


def test_values_that_mean_nothing_and_fractions_are_left_out() -> None:
    attributes = {"strides": [1, 1], "pads": [0, 0, 0, 0], "group": 1, "dilations": [2, 2], "auto_pad": b"NOTSET", "alpha": 0.5}
    assert timed_attributes("Conv", attributes) == (("dilations", (2, 2)),)
    assert timed_attributes("Softmax", {"axis": -1}, rank=4) == (("axis", 3),)
    assert timed_attributes("QuickGelu", {"alpha": 1.0}) == ()
    assert timed_attributes("QuickGelu", {"alpha": 1.702}) == (("alpha", 1.702),)  # three times as slow
    assert timed_attributes("Einsum", {"equation": b"b i, b j -> i j"}) == (("equation", "bi,bj->ij"),)
    assert timed_attributes("MadeUp", {"size": 3, "mode": b"fast", "epsilon": 1e-5, "empty": []}) == (("mode", "fast"), ("size", 3))


@pytest.mark.parametrize(("opset", "since"), [(11, None), (18, None), (19, 19), (20, 19)])
def test_an_average_pool_of_a_late_opset_is_another_kernel_and_measured_as_such(opset: int, since: int | None) -> None:
    graph = averaging(opset)
    pool = next(kernel for kernel in asked(graph) if kernel.operator == "AveragePool")
    assert pool.attribute("opset") == since
    assert pool in [kernel.signature for kernel in kernels(graph, load_rules("onnxruntime-cpu").with_block(BLOCK))]
    assert family(pool) == ("pool.average.19" if since else "pool.average")
    model = onnx.load_from_string(next(variants(pool)).model)
    assert (model.opset_import[0].version >= 19) == (since is not None)
    assert operators(asked(Graph.from_proto(model))) == ["AveragePool"] * len(model.graph.node)


def test_runtimes_with_one_kernel_for_all_opsets_know_no_difference() -> None:
    pools = [kernels(averaging(opset), load_rules("tflite-cpu"))[1].signature for opset in (18, 20)]
    assert pools[0] == pools[1]
