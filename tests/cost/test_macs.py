"""Multiply-accumulates against closed formulas."""

from __future__ import annotations

from math import prod

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from graphopt.cost import fixed_types, macs_by_node
from graphopt.cost.macs import node_macs
from graphopt.ir import Graph


def macs(
    op: str, shapes: dict[str, list[int | str] | None], output: list[int | str] | None = None, outputs: int = 1, **attributes: object
) -> int | None:
    """Of a single node; a shape of None is an absent input. The output's shape is left to inference unless given."""
    domain = str(attributes.pop("domain", ""))
    elem_type = attributes.pop("elem_type", TensorProto.FLOAT)
    node = helper.make_node(
        op,
        ["" if shape is None else name for name, shape in shapes.items()],
        [f"y{i}" for i in range(outputs)],
        domain=domain,
        **attributes,
    )
    inputs = [helper.make_tensor_value_info(name, elem_type, shape) for name, shape in shapes.items() if shape is not None]
    graph = helper.make_graph([node], "g", inputs, [helper.make_tensor_value_info("y0", elem_type, output)])
    opsets = [helper.make_opsetid("", 23), helper.make_opsetid("elsewhere", 1)]
    loaded = Graph.from_proto(helper.make_model(graph, opset_imports=opsets, ir_version=10))
    return macs_by_node(loaded)[loaded.nodes[0]]


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(1, 4),
    st.integers(1, 4),
    st.integers(1, 3),
    st.integers(1, 2),
    st.integers(4, 9),
    st.integers(1, 3),
)
def test_convolution(batch: int, group: int, ins: int, outs: int, kernel: int, stride: int, size: int, rank: int) -> None:
    spatial = (size - kernel) // stride + 1
    expected = batch * (group * outs) * spatial**rank * ins * kernel**rank
    shapes: dict[str, list[int | str] | None] = {"x": [batch, group * ins] + [size] * rank, "w": [group * outs, ins] + [kernel] * rank}
    assert macs("Conv", shapes, group=group, strides=[stride] * rank) == expected


def test_transposed_convolution() -> None:
    # Every input element meets each of the out / group * 4 * 4 weights of its channel.
    assert macs("ConvTranspose", {"x": [2, 8, 5, 6], "w": [8, 3, 4, 4]}, group=2, strides=[2, 2]) == 2 * 8 * 5 * 6 * 3 * 4 * 4


@pytest.mark.parametrize("trans_a", [0, 1])
@pytest.mark.parametrize("trans_b", [0, 1])
def test_gemm(trans_a: int, trans_b: int) -> None:
    shapes: dict[str, list[int | str] | None] = {"a": [5, 3] if trans_a else [3, 5], "b": [7, 5] if trans_b else [5, 7], "c": [7]}
    assert macs("Gemm", shapes, transA=trans_a, transB=trans_b) == 3 * 5 * 7


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ([3, 5], [5, 7], 3 * 5 * 7),
        ([2, 1, 3, 5], [4, 5, 7], 2 * 4 * 3 * 5 * 7),
        ([5], [5, 7], 5 * 7),
        ([3, 5], [5], 3 * 5),
        ([5], [5], 5),
        (["batch", 3, 5], [5, 7], 3 * 5 * 7),
    ],
)
def test_matmul(a: list[int | str], b: list[int | str], expected: int) -> None:
    assert macs("MatMul", {"a": a, "b": b}) == expected


@pytest.mark.parametrize(
    ("equation", "shapes", "expected"),
    [
        ("bij,bjk->bik", ([2, 3, 5], [2, 5, 7]), 2 * 3 * 5 * 7),
        ("b h q d, b h k d -> b h q k", ([2, 4, 3, 8], [2, 4, 6, 8]), 2 * 4 * 3 * 6 * 8),
        ("...ij,...jk->...ik", ([4, 1, 3, 5], [9, 5, 7]), 4 * 9 * 3 * 5 * 7),
        ("ij->ji", ([3, 5],), 0),
        ("ij,jk,kl->il", ([3, 5], [5, 7], [7, 2]), None),
    ],
)
def test_einsum(equation: str, shapes: tuple[list[int | str], ...], expected: int | None) -> None:
    assert macs("Einsum", {f"x{i}": shape for i, shape in enumerate(shapes)}, equation=equation) == expected


@pytest.mark.parametrize(("op", "gates"), [("LSTM", 4), ("GRU", 3), ("RNN", 1)])
@pytest.mark.parametrize("directions", [1, 2])
def test_recurrent_layers(op: str, gates: int, directions: int) -> None:
    steps, batch, ins, hidden = 6, 2, 5, 4
    shapes: dict[str, list[int | str] | None] = {
        "x": [steps, batch, ins],
        "w": [directions, gates * hidden, ins],
        "r": [directions, gates * hidden, hidden],
    }
    direction = "bidirectional" if directions == 2 else "forward"
    expected = steps * batch * directions * gates * hidden * (ins + hidden)
    assert macs(op, shapes, hidden_size=hidden, direction=direction) == expected


def test_attention_of_grouped_queries_with_a_cache() -> None:
    batch, heads, kv_heads, queries, keys, past, size, value_size = 2, 8, 2, 3, 3, 10, 16, 12
    expected = batch * heads * queries * (keys + past) * (size + value_size)
    separate: dict[str, list[int | str] | None] = {
        "q": [batch, heads, queries, size],
        "k": [batch, kv_heads, keys, size],
        "v": [batch, kv_heads, keys, value_size],
        "mask": None,
        "pk": [batch, kv_heads, past, size],
        "pv": [batch, kv_heads, past, value_size],
    }
    assert macs("Attention", separate, [batch, heads, queries, value_size], outputs=3) == expected
    packed: dict[str, list[int | str] | None] = {
        "q": [batch, queries, heads * size],
        "k": [batch, keys, kv_heads * size],
        "v": [batch, keys, kv_heads * value_size],
    }
    counted = macs("Attention", packed, [batch, queries, heads * value_size], q_num_heads=heads, kv_num_heads=kv_heads)
    assert counted == batch * heads * queries * keys * (size + value_size)


def test_integer_forms() -> None:
    assert macs("MatMulInteger", {"a": [3, 5], "b": [5, 7]}, [3, 7], elem_type=TensorProto.INT8) == 3 * 5 * 7
    scalars: dict[str, list[int | str] | None] = {"xs": [], "xz": []}
    shapes: dict[str, list[int | str] | None] = {"x": [1, 4, 8, 8], **scalars, "w": [6, 4, 3, 3], "ws": [], "wz": [], "ys": [], "yz": []}
    assert macs("QLinearConv", shapes, [1, 6, 6, 6]) == prod([6, 6, 6, 4, 3, 3])


def test_what_multiplies_nothing_counts_0() -> None:
    for op in ("Relu", "Softmax", "GlobalAveragePool", "Transpose"):
        assert macs(op, {"x": [1, 4, 8, 8]}) == 0


def test_what_cannot_be_counted_is_none() -> None:
    assert macs("Mystery", {"x": [1, 4]}, [1, 4], domain="elsewhere") is None
    assert macs("Det", {"x": [4, 4]}) is None
    assert macs("MatMul", {"a": None, "b": [5, 7]}) is None


def test_a_shape_that_is_not_known_is_none() -> None:
    graph = helper.make_graph(
        [helper.make_node("Mystery", ["x"], ["h"], domain="elsewhere"), helper.make_node("MatMul", ["h", "x"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [3, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("elsewhere", 1)]
    loaded = Graph.from_proto(helper.make_model(graph, opset_imports=opsets, ir_version=10))
    assert node_macs(loaded.nodes[1], fixed_types(loaded)) is None
