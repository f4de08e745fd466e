"""Kernels of small graphs beside those of ONNX Runtime's own optimised graph."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from graphopt.cost import fixed_types
from graphopt.cost.fusion import fuse, kernels
from graphopt.ir import Graph

from .nets import Net
from .oracle import RULES, assert_as_the_runtime


@pytest.mark.parametrize("activation", ["Relu", "Sigmoid", "Tanh", "LeakyRelu", "HardSigmoid", "HardSwish", "Elu", "Softplus"])
@pytest.mark.parametrize("channels", [16, 18])
def test_activation_after_a_convolution(activation: str, channels: int) -> None:
    net = Net(1, channels, 8, 8)
    net.conv(channels, 32, 3)
    net.add(activation)
    net.conv(32, 16)
    assert_as_the_runtime(net.graph())


def test_clip_with_constant_bounds() -> None:
    net = Net(1, 16, 8, 8)
    net.conv(16, 16, 3)
    net.add("Clip", net.number(0.0), net.number(6.0))
    net.conv(16, 16)
    assert_as_the_runtime(net.graph())


@pytest.mark.parametrize("before", ["Conv", "Relu"])
def test_normalization(before: str) -> None:
    net = Net(1, 16, 8, 8)
    net.conv(16, 32, 3)
    if before == "Relu":
        net.add("Relu")
    net.add("BatchNormalization", *(net.weight(32) for _ in range(4)))
    net.add("Relu")
    net.conv(32, 16)
    assert_as_the_runtime(net.graph())


@pytest.mark.parametrize("channels", [16, 20, 22])
@pytest.mark.parametrize("activation", ["", "Relu"])
def test_residual_sum(channels: int, activation: str) -> None:
    net = Net(1, channels, 8, 8)
    trunk = net.conv(channels, channels, 3)
    trunk = net.add("Relu")
    net.conv(channels, channels, 3)
    net.add("Add", trunk)
    if activation:
        net.add(activation)
    net.conv(channels, 16)
    assert_as_the_runtime(net.graph())


@pytest.mark.parametrize(
    ("inside", "outside", "group"),
    [
        (3, 16, 1),
        (12, 20, 1),
        (18, 20, 1),
        (20, 18, 1),
        (32, 32, 32),
        (20, 20, 20),
        (18, 18, 18),
        (32, 32, 2),
        (32, 64, 2),
        (32, 32, 4),
        (48, 32, 2),
    ],
)
def test_which_convolutions_are_blocked(inside: int, outside: int, group: int) -> None:
    net = Net(1, inside, 8, 8)
    net.conv(inside, outside, 3, group)
    net.conv(outside, 32)
    assert_as_the_runtime(net.graph())


@pytest.mark.parametrize("channels", [16, 24])
@pytest.mark.parametrize(
    ("pool", "attributes"),
    [
        ("MaxPool", {"kernel_shape": [2, 2], "strides": [2, 2]}),
        ("AveragePool", {"kernel_shape": [3, 3]}),
        ("GlobalAveragePool", {}),
        ("GlobalMaxPool", {}),
    ],
)
@pytest.mark.parametrize("first", ["conv", "pool"])
def test_pools(channels: int, pool: str, attributes: dict[str, object], first: str) -> None:
    net = Net(1, channels, 8, 8)
    if first == "conv":
        net.conv(channels, channels, 3)
    net.add(pool, **attributes)
    net.conv(channels, 16)
    assert_as_the_runtime(net.graph())


@pytest.mark.parametrize("widths", [(16, 32), (16, 24), (24, 24)])
def test_concatenation(widths: tuple[int, int]) -> None:
    net = Net(1, 16, 8, 8)
    stem = net.conv(16, 16)
    first, second = (net.conv(16, width, 3, data=stem) for width in widths)
    net.add("Concat", second, data=first, axis=1)
    net.conv(sum(widths), 16)
    assert_as_the_runtime(net.graph())


def test_squeeze_and_excitation() -> None:
    net = Net(1, 32, 8, 8)
    trunk = net.conv(32, 32, 3)
    net.add("GlobalAveragePool")
    net.conv(32, 8)
    net.add("Relu")
    net.conv(8, 32)
    net.add("Sigmoid")
    net.add("Mul", trunk)
    net.conv(32, 16)
    assert_as_the_runtime(net.graph())


@pytest.mark.parametrize("activation", ["", "Relu", "Gelu"])
def test_fully_connected(activation: str) -> None:
    net = Net(4, 32)
    net.add("MatMul", net.weight(32, 16))
    net.add("Add", net.weight(16))
    if activation:
        net.add(activation)
    net.add("Gemm", net.weight(8, 16), net.weight(8), transB=1)
    net.add("Sigmoid")
    assert_as_the_runtime(net.graph())


def test_products_of_tokens() -> None:
    net = Net(2, 5, 32)
    net.add("LayerNormalization", net.weight(32), net.weight(32))
    net.add("MatMul", net.weight(32, 48))
    net.add("Add", net.weight(48))
    net.add("Reshape", net.number([2, 5, 3, 16]))
    net.add("Transpose", perm=[0, 2, 1, 3])
    net.add("Softmax")
    assert_as_the_runtime(net.graph())


@pytest.mark.parametrize("scaled", [False, True])
def test_attention_scores(scaled: bool) -> None:
    net = Net(2, 5, 3, 16)
    net.add("Relu")
    queries = net.add("Transpose", perm=[0, 2, 1, 3])
    if scaled:
        queries = net.add("Mul", net.number(0.25))
    keys = net.add("Transpose", data="x", perm=[0, 2, 3, 1])
    net.add("MatMul", keys, data=queries)
    net.add("Softmax")
    assert_as_the_runtime(net.graph())


def test_gelu_as_exporters_write_it() -> None:
    net = Net(2, 5, 32)
    x = net.add("Tanh")
    net.add("Div", net.number(2.0**0.5))
    net.add("Erf")
    net.add("Add", net.number(1.0))
    net.add("Mul", x)
    net.add("Mul", net.number(0.5))
    assert_as_the_runtime(net.graph())


def test_swish() -> None:
    net = Net(1, 16, 8, 8)
    x = net.conv(16, 32, 3)
    net.add("Sigmoid")
    net.add("Mul", x)
    net.conv(32, 16)
    assert_as_the_runtime(net.graph())


@pytest.mark.parametrize("way", ["Slice", "Gather"])
def test_pieces_become_a_split(way: str) -> None:
    net = Net(2, 3, 8)
    x = net.add("Tanh")
    pieces = []
    for start in range(3):
        if way == "Gather":
            pieces.append(net.add("Gather", net.number(start), data=x, axis=1))
        else:
            pieces.append(net.add("Slice", net.number([start]), net.number([start + 1]), net.number([1]), data=x))
    net.add("Mul", pieces[1], data=pieces[0])
    net.add("Sub", pieces[2])
    assert_as_the_runtime(net.graph())


def test_skip_normalization() -> None:
    net = Net(1, 5, 32)
    a, b = net.add("Tanh"), net.add("Sigmoid", data="x")
    net.add("Add", b, data=a)
    net.add("LayerNormalization", net.weight(32), net.weight(32))
    assert_as_the_runtime(net.graph())


def test_equal_nodes_run_once() -> None:
    net = Net(1, 16, 8, 8)
    a, b = net.add("Tanh", data="x"), net.add("Tanh", data="x")
    net.add("Mul", b, data=net.add("Neg", data=a))
    assert_as_the_runtime(net.graph())


@pytest.mark.parametrize("first", ["kept", "read"])
def test_of_equal_nodes_an_output_of_the_graph_stays(first: str) -> None:
    net = Net(1, 16, 8, 8)
    x = net.conv(16, 16)
    a, b = (net.add("MaxPool", data=x, kernel_shape=[3, 3], pads=[1, 1, 1, 1]) for _ in range(2))
    kept, read = (a, b) if first == "kept" else (b, a)
    net.add("Tanh", data=read)
    assert_as_the_runtime(net.graph(kept))


@pytest.mark.parametrize("size", [8, 9])
def test_equal_constants_are_compared_by_contents_only_where_they_are_small(size: int) -> None:
    net = Net(2, 3, size)
    a, b = (net.add("Add", net.number([float(item) for item in range(size)]), data="x") for _ in range(2))
    net.add("Mul", b, data=net.add("Tanh", data=a))
    assert_as_the_runtime(net.graph())


def test_random_numbers_are_no_equal_nodes() -> None:
    net = Net(2, 3)
    a, b = (net.add("RandomNormalLike", data="x") for _ in range(2))
    net.add("Mul", b, data=a)
    assert_as_the_runtime(net.graph())


@pytest.mark.parametrize("reader", ["Conv", "MaxPool", "AveragePool", "LpPool"])
@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize("own", [0, 1])
def test_padding(reader: str, value: float, own: int) -> None:
    net = Net(1, 16, 8, 8)
    net.conv(16, 16)
    net.add("Pad", net.number([0, 0, 1, 1, 0, 0, 1, 1]), net.number(value))
    if reader == "Conv":
        net.conv(16, 8, 3)
    else:
        net.add(reader, kernel_shape=[3, 3], pads=[0, own, 0, own])
    assert_as_the_runtime(net.graph())


@pytest.mark.parametrize("channels", [16, 18])
def test_sum_of_three(channels: int) -> None:
    net = Net(1, channels, 8, 8)
    a, b, c = (net.conv(channels, channels, kernel, data="x") for kernel in (1, 3, 5))
    net.add("Sum", b, c, data=a)
    net.conv(channels, 8)
    assert_as_the_runtime(net.graph())


@pytest.mark.parametrize("alpha", [1.0, 1.702])
def test_the_slope_of_a_quick_gelu_is_in_the_signature(alpha: float) -> None:
    net = Net(2, 5, 32)
    x = net.add("Tanh")
    net.add("Sigmoid", data=net.add("Mul", net.number(alpha)))
    net.add("Mul", x)
    graph = net.graph()
    assert_as_the_runtime(graph)
    assert kernels(graph, RULES)[-1].signature.attribute("alpha", 1.0) == alpha


@pytest.mark.parametrize("channels", [16, 18])
def test_filters_whose_size_is_not_stated(channels: int) -> None:
    net = Net(1, channels, 8, 8, stated=False)
    net.conv(channels, 32, 3)
    net.add("Relu")
    net.conv(32, 16)
    assert_as_the_runtime(net.graph())


def test_normalization_of_channels_that_fill_no_block() -> None:
    net = Net(1, 16, 8, 8)
    x = net.conv(16, 20, 3)
    net.add("BatchNormalization", *(net.weight(20) for _ in range(4)))
    assert_as_the_runtime(net.graph(x))


def test_normalization_after_a_product() -> None:
    net = Net(4, 32)
    net.add("MatMul", net.weight(32, 16))
    net.add("BatchNormalization", *(net.weight(16) for _ in range(4)))
    assert_as_the_runtime(net.graph())


@pytest.mark.parametrize("first", ["blocked", "plain"])
def test_a_sum_goes_to_the_convolution_that_is_not_blocked(first: str) -> None:
    net = Net(1, 18, 8, 8)
    x = net.conv(18, 16)
    blocked, plain = net.conv(16, 16, data=x), net.conv(16, 16, 3, 2, data=x)
    a, b = (blocked, plain) if first == "blocked" else (plain, blocked)
    net.add("Add", b, data=a)
    net.add("Tanh")
    assert_as_the_runtime(net.graph())


@pytest.mark.parametrize("between", ["Tanh", "Gelu", "HardSwish", "Softplus", "Mish", ""])
def test_transpositions_before_and_after(between: str) -> None:
    net = Net(1, 8, 8, 16)
    net.add("Transpose", perm=[0, 3, 1, 2])
    if between:
        net.add(between)
    net.add("Transpose", perm=[0, 2, 3, 1])
    assert_as_the_runtime(net.graph())


def test_a_machine_without_blocks() -> None:
    net = Net(1, 16, 8, 8)
    net.conv(16, 32, 3)
    net.add("Relu")
    assert [kernel.signature.operator for kernel in kernels(net.graph(), RULES.with_block(1))] == ["FusedConv"]


def test_what_is_constant_is_no_kernel() -> None:
    net = Net(2, 12)
    net.add("Shape", data="x")
    sizes = net.add("Concat", net.number([1]), axis=0)
    net.add("Reshape", sizes, data="x")
    net.add("Tanh")
    assert_as_the_runtime(net.graph())


def test_members_and_values_of_a_fused_convolution() -> None:
    net = Net(1, 16, 8, 8)
    skip = net.conv(16, 16)
    net.add("Relu")
    net.conv(16, 16, 3)
    net.add("Add", skip)
    net.add("Relu")
    graph = net.graph()
    last = next(kernel for kernel in kernels(graph, RULES) if "v3" in {v.name for n in kernel.nodes for v in n.outputs if v is not None})
    assert [node.op_type for node in last.nodes] == ["Conv", "Add", "Relu"]
    assert last.values[-1] is graph.value("v4")
    assert last.values[3] is graph.value(skip)


def test_other_widths_without_fusing_again() -> None:
    """The kernels of a narrower network from the fusion of the wide one, as if it had been built narrow."""

    def build(width: int) -> Graph:
        net = Net(1, 3, 8, 8)
        net.conv(3, width, 3)
        net.add("Relu")
        net.conv(width, width, 3, group=width)
        net.add("Relu")
        net.conv(width, 16)
        return net.graph()

    wide = build(64)
    fused = fuse(wide, RULES, fixed_types(wide))
    for width in (48, 40, 30, 64):
        narrow = build(width)
        types = fixed_types(narrow)
        found = fused.kernels(lambda value, narrow=narrow, types=types: types.static(narrow.value(value.name)))
        assert [str(kernel.signature) for kernel in found] == [str(kernel.signature) for kernel in kernels(narrow, RULES)]


def test_a_subgraph_is_one_kernel_and_keeps_what_it_reads() -> None:
    branch = helper.make_graph(
        [helper.make_node("Neg", ["c"], ["n"])], "branch", [], [helper.make_tensor_value_info("n", TensorProto.FLOAT, [1, 16, 4, 4])]
    )
    weight = numpy_helper.from_array(np.ones((16, 16, 1, 1), np.float32), "w")
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "w"], ["c"]),
            helper.make_node("Relu", ["c"], ["r"]),
            helper.make_node("If", ["flag"], ["y"], then_branch=branch, else_branch=branch),
        ],
        "outer",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 16, 4, 4]), helper.make_tensor_value_info("flag", TensorProto.BOOL, [])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 16, 4, 4]) for name in ("r", "y")],
        [weight],
    )
    model = helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", 20)])
    operators = [kernel.signature.operator for kernel in kernels(Graph.from_proto(model), RULES)]
    assert operators.count("If") == 1
    assert "Relu" in operators  # the convolution's own result is read inside
