"""Small networks built node by node, and random ones of three kinds: convolutions, mobile networks with gates, attention."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from graphopt.ir import Graph

Made = list[tuple[str, int]]  # values that may be read, with their channels


class Net:
    """Nodes in a row, each reading the result of the one before unless it says otherwise."""

    def __init__(self, *shape: int, stated: bool = True) -> None:
        """`stated`: convolutions say the size of their filters, which they need not."""
        self.shape, self.stated = shape, stated
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.last = "x"
        self.rng = np.random.default_rng(0)

    def weight(self, *shape: int) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array((self.rng.random(shape) + 0.5).astype(np.float32), name))
        return name

    def number(self, value: float | Sequence[float]) -> str:
        """A constant: of whole numbers int64, else float32."""
        name = f"w{len(self.weights)}"
        array = np.asarray(value)
        self.weights.append(numpy_helper.from_array(array.astype(np.float32 if array.dtype.kind == "f" else np.int64), name))
        return name

    def add(self, op_type: str, *more: str, data: str | None = None, **attributes: object) -> str:
        output = f"v{len(self.nodes)}"
        inputs = [self.last if data is None else data, *more]
        self.nodes.append(helper.make_node(op_type, inputs, [output], f"n{len(self.nodes)}", **attributes))
        self.last = output
        return output

    def conv(self, inside: int, outside: int, kernel: int = 1, group: int = 1, data: str | None = None, **attributes: object) -> str:
        weight = self.weight(outside, inside // group, kernel, kernel)
        stated = {"kernel_shape": [kernel] * 2} if self.stated else {}
        pads = [kernel // 2] * 4
        return self.add("Conv", weight, self.weight(outside), data=data, pads=pads, group=group, **stated, **attributes)

    def loose(self) -> list[str]:
        """The results that nothing reads, but for the last."""
        used = {name for node in self.nodes for name in node.input}
        return [name for node in self.nodes for name in node.output if name not in used and name != self.last]

    def graph(self, *more: str) -> Graph:
        """The graph with the last result as its output, and `more`."""
        inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, self.shape)]
        outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in (self.last, *more)]
        graph = helper.make_graph(self.nodes, "net", inputs, outputs, self.weights)
        model = helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", 20)])
        return Graph.from_proto(onnx.shape_inference.infer_shapes(model))


@st.composite
def convolutional(draw: st.DrawFn) -> Graph:
    """Convolutions with branches."""
    width = draw(st.sampled_from([3, 8, 16, 20, 32]))
    net = Net(1, width, 8, 8, stated=draw(st.booleans()))
    made: Made = [(net.conv(width, 16, 3), 16)]
    for _ in range(draw(st.integers(1, 7))):
        data, channels = made[draw(st.integers(max(0, len(made) - 3), len(made) - 1))]
        kind = draw(st.sampled_from(["conv", "conv", "depthwise", "group", "act", "bn", "pool", "pad", "add", "concat"]))
        if kind == "conv":
            outside = draw(st.sampled_from([8, 16, 18, 20, 32, 48]))
            made.append((net.conv(channels, outside, draw(st.sampled_from([1, 3])), data=data), outside))
        elif kind == "depthwise":
            made.append((net.conv(channels, channels, 3, channels, data=data), channels))
        elif kind == "group" and channels % 2 == 0:
            made.append((net.conv(channels, channels, 3, 2, data=data), channels))
        elif kind == "act":
            made.append((net.add(draw(st.sampled_from(["Relu", "Sigmoid", "Tanh", "HardSigmoid", "Elu"])), data=data), channels))
        elif kind == "bn":
            made.append((net.add("BatchNormalization", *(net.weight(channels) for _ in range(4)), data=data), channels))
        elif kind == "pool":
            pool = draw(st.sampled_from(["MaxPool", "AveragePool"]))
            made.append((net.add(pool, data=data, kernel_shape=[3, 3], pads=[1, 1, 1, 1]), channels))
        elif kind == "pad":
            padded = net.add("Pad", net.number([0, 0, 1, 1, 0, 0, 1, 1]), data=data)
            made.append((net.add("Conv", net.weight(16, channels, 3, 3), data=padded), 16))
        elif kind == "add":
            others = [name for name, count in made if count == channels and name != data]
            if others:
                chosen = draw(st.lists(st.sampled_from(others), min_size=1, max_size=2))
                made.append((net.add("Sum" if len(chosen) > 1 else "Add", *chosen, data=data), channels))
        elif kind == "concat":
            other, count = made[draw(st.integers(0, len(made) - 1))]
            made.append((net.add("Concat", other, data=data, axis=1), channels + count))
    net.last = made[-1][0]
    return net.graph(*net.loose())


ACTIVATIONS = (
    "Relu",
    "Sigmoid",
    "Gelu",
    "HardSwish",
    "relu6",
    "silu",
    "quick-gelu",
    "hard-swish",
    "hard-swish of a clip",
    "gelu",
    "gelu, half first",
)


def activation(net: Net, kind: str, x: str) -> str:
    """An activation as one node, or as exporters write it."""
    match kind:
        case "relu6":
            return net.add("Clip", net.number(0.0), net.number(6.0), data=x)
        case "silu":
            return net.add("Mul", net.add("Sigmoid", data=x), data=x)
        case "quick-gelu":
            return net.add("Mul", net.add("Sigmoid", data=net.add("Mul", net.number(1.702), data=x)), data=x)
        case "hard-swish":
            return net.add("Mul", net.add("HardSigmoid", data=x, alpha=1 / 6, beta=0.5), data=x)
        case "hard-swish of a clip":
            clipped = net.add("Clip", net.number(0.0), net.number(6.0), data=net.add("Add", net.number(3.0), data=x))
            return net.add("Div", net.number(6.0), data=net.add("Mul", clipped, data=x))
        case "gelu":
            one_more = net.add("Add", net.number(1.0), data=net.add("Erf", data=net.add("Div", net.number(2.0**0.5), data=x)))
            return net.add("Mul", net.number(0.5), data=net.add("Mul", one_more, data=x))
        case "gelu, half first":
            one_more = net.add("Add", net.number(1.0), data=net.add("Erf", data=net.add("Div", net.number(2.0**0.5), data=x)))
            return net.add("Mul", one_more, data=net.add("Mul", net.number(0.5), data=x))
        case "gelu of tanh":
            cubed = net.add("Mul", net.number(0.044715), data=net.add("Pow", net.number(3.0), data=x))
            inner = net.add("Mul", net.number((2 / np.pi) ** 0.5), data=net.add("Add", cubed, data=x))
            one_more = net.add("Add", net.number(1.0), data=net.add("Tanh", data=inner))
            return net.add("Mul", one_more, data=net.add("Mul", net.number(0.5), data=x))
        case _:
            return net.add(kind, data=x)


@st.composite
def gated(draw: st.DrawFn) -> Graph:
    """Inverted bottlenecks with all sorts of activations, and channels weighed by a small network on their means."""
    width = draw(st.sampled_from([16, 24, 32]))
    net = Net(1, width, 8, 8, stated=draw(st.booleans()))
    made: Made = [(net.conv(width, 16, 3), 16)]
    for _ in range(draw(st.integers(1, 5))):
        data, channels = made[draw(st.integers(max(0, len(made) - 2), len(made) - 1))]
        kind = draw(st.sampled_from(["conv", "depthwise", "act", "act", "gate", "add", "bn"]))
        if kind == "conv":
            outside = draw(st.sampled_from([8, 16, 24, 32]))
            made.append((net.conv(channels, outside, data=data), outside))
        elif kind == "depthwise":
            made.append((net.conv(channels, channels, 3, channels, data=data), channels))
        elif kind == "act":
            made.append((activation(net, draw(st.sampled_from(ACTIVATIONS)), data), channels))
        elif kind == "gate":
            mean = net.add("GlobalAveragePool", data=data) if draw(st.booleans()) else net.add("ReduceMean", net.number([2, 3]), data=data)
            inner = activation(net, draw(st.sampled_from(ACTIVATIONS)), net.conv(channels, 8, data=mean))
            gate = net.add(draw(st.sampled_from(["Sigmoid", "HardSigmoid"])), data=net.conv(8, channels, data=inner))
            made.append((net.add("Mul", gate, data=data), channels))
        elif kind == "bn":
            made.append((net.add("BatchNormalization", *(net.weight(channels) for _ in range(4)), data=data), channels))
        elif kind == "add":
            others = [name for name, count in made if count == channels and name != data]
            if others:
                made.append((net.add("Add", draw(st.sampled_from(others)), data=data), channels))
    last, channels = made[-1]
    net.last = last
    if draw(st.booleans()):
        net.add("Flatten", data=net.add("GlobalAveragePool"))
        net.add("Gemm", net.weight(10, channels), net.weight(10), transB=1)
    return net.graph(*net.loose())


@st.composite
def attentive(draw: st.DrawFn) -> Graph:
    """Transformer layers as various exporters write them."""
    heads, size, tokens, batch = draw(st.sampled_from([2, 3])), 8, 6, draw(st.sampled_from([1, 2]))
    width = heads * size
    net = Net(batch, tokens, width)
    biased, pre, mask = draw(st.booleans()), draw(st.booleans()), draw(st.booleans())
    act = draw(st.sampled_from(["Relu", "Gelu", "gelu", "gelu, half first", "gelu of tanh", "silu", "quick-gelu"]))
    projections, scaled = (
        draw(st.sampled_from(["three", "split", "gathered"])),
        draw(st.sampled_from(["q", "q divided", "both", "scores", ""])),
    )

    def linear(x: str, inside: int, outside: int, bias: bool = True) -> str:
        y = net.add("MatMul", net.weight(inside, outside), data=x)
        if not bias:
            return y
        return net.add("Add", y, data=net.weight(outside)) if draw(st.booleans()) else net.add("Add", net.weight(outside), data=y)

    def norm(x: str) -> str:
        return net.add("LayerNormalization", net.weight(width), net.weight(width), data=x)

    def attention(x: str) -> str:
        parts = []
        if projections == "three":
            for place in range(3):
                part = net.add("Reshape", net.number([batch, tokens, heads, size]), data=linear(x, width, width, biased))
                parts.append(net.add("Transpose", data=part, perm=[0, 2, 3, 1] if place == 1 and scaled != "both" else [0, 2, 1, 3]))
        else:
            y = net.add("Reshape", net.number([batch, tokens, 3, heads, size]), data=linear(x, width, 3 * width, biased))
            y = net.add("Transpose", data=y, perm=[2, 0, 3, 1, 4])
            if projections == "gathered":
                parts = [net.add("Gather", net.number(place), data=y, axis=0) for place in range(3)]
            else:
                net.nodes.append(
                    helper.make_node("Split", [y], [f"{y}_{place}" for place in range(3)], f"{y} split", axis=0, num_outputs=3)
                )
                parts = [net.add("Squeeze", net.number([0]), data=f"{y}_{place}") for place in range(3)]
        q, k, v = parts
        if projections != "three" or scaled == "both":
            k = net.add("Transpose", data=k, perm=[0, 1, 3, 2])
        if scaled == "q":
            q = net.add("Mul", net.number(size**-0.5), data=q)
        elif scaled == "q divided":
            q = net.add("Div", net.number(size**0.5), data=q)
        elif scaled == "both":
            q, k = net.add("Mul", net.number(size**-0.25), data=q), net.add("Mul", net.number(size**-0.25), data=k)
        scores = net.add("MatMul", k, data=q)
        if scaled == "scores":
            scores = net.add("Div", net.number(size**0.5), data=scores)
        if mask:
            scores = net.add("Add", net.weight(1, 1, tokens, tokens), data=scores)
        y = net.add("MatMul", v, data=net.add("Softmax", data=scores, axis=-1))
        y = net.add("Reshape", net.number([batch, tokens, width]), data=net.add("Transpose", data=y, perm=[0, 2, 1, 3]))
        return linear(y, width, width)

    x = net.add("Add", net.weight(1, tokens, width), data="x")
    for _ in range(draw(st.integers(1, 2))):
        y = attention(norm(x) if pre else x)
        x = net.add("Add", y, data=x) if pre else norm(net.add("Add", y, data=x))
        y = linear(activation(net, act, linear(norm(x) if pre else x, width, 32)), 32, width)
        x = net.add("Add", y, data=x) if pre else norm(net.add("Add", y, data=x))
    end = draw(st.sampled_from(["", "mean", "first"]))
    if end == "mean":
        x = net.add("ReduceMean", net.number([1]), data=x, keepdims=0)
    elif end == "first":
        x = net.add("Gather", net.number(0), data=x, axis=1)
    if end:
        net.add("Gemm", net.weight(10, width), net.weight(10), data=x, transB=1)
    return net.graph()
