"""The fusion rules of runtimes that are not at hand: what their documentation and published tables say that they fuse."""

from __future__ import annotations

import numpy as np
import onnx.parser
import pytest
from onnx import numpy_helper

from graphopt.cost.fusion import kernels, load_rules
from graphopt.ir import Graph

_HEAD = '<ir_version: 8, opset_import: ["" : 17]> g (float[1,8,16,16] x) => (float[1,8,16,16] y) '
_WEIGHTS = "<float[8,8,3,3] w, float[8] b, float three = {3.0}, float six = {6.0}, float zero = {0.0}, float[8] s>"
_CONV = "Conv <pads = [1,1,1,1]> (x, w, b)"


def _graph(text: str) -> Graph:
    """The graph of a text; what is declared in it without contents is a weight."""
    parsed = onnx.parser.parse_model(text)
    for info in parsed.graph.value_info:
        shape = [dim.dim_value for dim in info.type.tensor_type.shape.dim]
        parsed.graph.initializer.append(numpy_helper.from_array(np.zeros(shape, np.float32), info.name))
    parsed.graph.ClearField("value_info")
    return Graph.from_proto(parsed)


def _found(body: str, rules: str) -> list[str]:
    graph = _graph(f"{_HEAD} {_WEIGHTS} {{ {body} }}")
    found = []
    for kernel in kernels(graph, load_rules(rules)):
        sig = kernel.signature
        sums = "+sum" if sig.operator == "Conv" and sig.operand(3) is not None else ""
        activation = f"+{sig.attribute('activation')}" if sig.attribute("activation") else ""
        found.append(f"{sig.operator}{sums}{activation}")
    return found


_HARD_SWISH = "a = Add(c, three) l = Clip(a, zero, six) m = Mul(c, l) y = Div(m, six)"


@pytest.mark.parametrize(
    ("body", "tensorrt", "cpu", "gpu"),
    [
        (f"c = {_CONV} y = Relu(c)", ["Conv+Relu"], ["Conv+Relu"], ["Conv+Relu"]),
        (f"c = {_CONV} y = Sigmoid(c)", ["Conv+Sigmoid"], ["Conv", "Sigmoid"], ["Conv+Sigmoid"]),
        (f"c = {_CONV} n = BatchNormalization(c, s, b, b, s) y = Clip(n, zero, six)", ["Conv+Clip"], ["Conv+Clip"], ["Conv+Relu"]),
        (f"c = {_CONV} a = Add(c, x) y = Relu(a)", ["Conv+sum+Relu"], ["Conv", "Add+Relu"], ["Conv+sum+Relu"]),
        (f"c = {_CONV} {_HARD_SWISH}", ["Conv+HardSwish"], ["Conv", "HardSwish"], ["Conv+HardSwish"]),
        (f"c = {_CONV} h = HardSigmoid(c) y = Mul(c, h)", ["Conv+HardSwish"], ["Conv", "HardSwish"], ["Conv+HardSwish"]),
        (f"c = {_CONV} h = Sigmoid(c) y = Mul(c, h)", ["Conv+Swish"], ["Conv", "Sigmoid", "Mul"], None),
        ("n = BatchNormalization(x, s, b, b, s) y = Relu(n)", ["BatchNormalization"], ["BatchNormalization"], ["BatchNormalization"]),
        ("p = ReduceMean <axes = [2,3], keepdims = 1> (x) y = Mul(x, p)", None, ["GlobalAveragePool", "Mul"], ["GlobalAveragePool", "Mul"]),
        (f"i = Identity(x) d = Dropout(i) c = {_CONV.replace('x,', 'd,')} y = Identity(c)", ["Conv"], ["Conv"], ["Conv"]),
    ],
)  # fmt: skip
def test_what_is_fused(body: str, tensorrt: list[str] | None, cpu: list[str], gpu: list[str] | None) -> None:
    assert _bare(_found(body, "tflite-cpu")) == cpu
    if tensorrt is not None:
        assert _bare(_found(body, "tensorrt")) == tensorrt
    if gpu is not None:
        assert _bare(_found(body, "tflite-gpu")) == gpu


def _bare(found: list[str]) -> list[str]:
    """Activations of what is no convolution, sum or matrix product are not of interest."""
    return [text.partition("+")[0] if text.startswith("BatchNormalization") else text for text in found]


def test_what_something_else_reads_too_is_not_fused() -> None:
    body = f"c = {_CONV} r = Relu(c) y = Mul(c, r)"
    assert _found(body, "tensorrt")[0] == "Conv"
    assert _found(body, "tflite-gpu")[0] == "Conv"


def test_the_padding_of_tensorflow_is_part_of_the_convolution() -> None:
    graph = _graph(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[1,8,16,16] x) => (float[1,8,8,8] y) '
        "<float[8,8,3,3] w, int64[8] q = {0, 0, 0, 0, 0, 0, 1, 1}> { p = Pad(x, q) y = Conv <strides = [2,2]> (p, w) }"
    )
    for rules in ("tensorrt", "tflite-cpu", "tflite-gpu"):
        (kernel,) = kernels(graph, load_rules(rules))
        assert kernel.signature.operator == "Conv"
        assert [operand.shape for operand in kernel.signature.activations] == [(1, 8, 16, 16)]
        assert kernel.signature.attribute("pads") == (0, 0, 1, 1)


def test_padding_that_is_not_known_is_part_of_the_convolution_too() -> None:
    graph = _graph(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[1,8,16,16] x, int64[8] q) => (float[1,8,a,b] y) '
        "<float[8,8,3,3] w> { p = Pad(x, q) y = Conv <strides = [2,2]> (p, w) }"
    )
    for rules in ("tensorrt", "tflite-cpu", "tflite-gpu"):
        assert [kernel.signature.operator for kernel in kernels(graph, load_rules(rules))] == ["Conv"]


_OTHERWISE = [
    ("y = Conv <pads = [1,1,1,1]> (x, w, b)", "y = Conv <pads = [1,1,1,1]> (x, w)"),
    ("y = Relu(x)", "c = Cast <to = 1> (x) r = Relu(c) y = Concat <axis = 1> (r)"),
    (
        "l, r = Split <axis = 1> (x, halves) m = Relu(l) n = Sigmoid(r) y = Concat <axis = 1> (m, n)",
        "l = Slice(x, none, half, one) r = Slice(x, half, all, one) m = Relu(l) n = Sigmoid(r) y = Concat <axis = 1> (m, n)",
    ),
]


@pytest.mark.parametrize("rules", ["tensorrt", "tflite-cpu", "tflite-gpu"])
@pytest.mark.parametrize(("one", "other"), _OTHERWISE)
def test_what_exporters_write_differently_is_the_same(one: str, other: str, rules: str) -> None:
    constants = (
        "int64[2] halves = {4, 4}, int64[1] none = {0}, int64[1] half = {4}, int64[1] all = {9223372036854775807}, int64[1] one = {1}"
    )
    found = []
    for body in (one, other):
        graph = _graph(f"{_HEAD} {_WEIGHTS[:-1]}, {constants}> {{ {body} }}")
        found.append(sorted(str(kernel.signature) for kernel in kernels(graph, load_rules(rules))))
    assert found[0] == found[1]
