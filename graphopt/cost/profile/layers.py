"""A small writer of random networks: layers by name, weights made up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from graphopt.quality.arrays import AnyArray

OPSET = 17


@dataclass(frozen=True)
class Wire:
    """A value of the network and its shape."""

    name: str
    shape: tuple[int, ...]

    @property
    def channels(self) -> int:
        """Of a picture [N, C, H, W]."""
        return self.shape[1]


class Network:
    """A network that grows layer by layer. Batch 1; convolutions carry a bias, as they do once normalisation is folded into them."""

    def __init__(self, name: str, rng: np.random.Generator) -> None:
        self.rng = rng
        self._name = name
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []

    # ---- the frame

    def input(self, *shape: int, elem_type: int = onnx.TensorProto.FLOAT) -> Wire:
        """An input of the network."""
        name = f"input{len(self._inputs)}"
        self._inputs.append(helper.make_tensor_value_info(name, elem_type, shape))
        return Wire(name, shape)

    def model(self, *outputs: Wire) -> onnx.ModelProto:
        """The model that ends in `outputs`."""
        results = [helper.make_tensor_value_info(output.name, onnx.TensorProto.FLOAT, output.shape) for output in outputs]
        graph = helper.make_graph(self._nodes, self._name, self._inputs, results, self._weights)
        return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="graphopt profile")

    def node(self, op_type: str, inputs: Sequence[Wire | str], shape: Sequence[int], **attributes: Any) -> Wire:
        """Any operator with one output."""
        name = f"{op_type}_{len(self._nodes)}"
        names = [wire if isinstance(wire, str) else wire.name for wire in inputs]
        self._nodes.append(helper.make_node(op_type, names, [name], name, **attributes))
        return Wire(name, tuple(shape))

    def weight(self, *shape: int, positive: bool = False) -> str:
        """Random weights; every filter differs, but large ones repeat a stretch, because making random numbers takes time."""
        size = int(np.prod(shape))
        stretch = self.rng.normal(size=min(size, 10007)).astype(np.float32) * np.float32(0.05)
        return self.constant(np.resize(np.abs(stretch) + np.float32(0.5) if positive else stretch, shape))

    def constant(self, contents: AnyArray) -> str:
        """An initializer."""
        name = f"weight_{len(self._weights)}"
        self._weights.append(numpy_helper.from_array(contents, name))
        return name

    def integers(self, *values: int) -> str:
        return self.constant(np.array(values, np.int64))

    # ---- pictures

    def conv(self, x: Wire, out: int, kernel: int = 1, stride: int = 1, group: int = 1, act: str = "", dilation: int = 1) -> Wire:
        """A convolution that keeps the size of the picture (over the stride), and an activation."""
        pad = dilation * (kernel - 1) // 2
        sizes = [(size + 2 * pad - dilation * (kernel - 1) - 1) // stride + 1 for size in x.shape[2:]]
        weights = [self.weight(out, x.channels // group, kernel, kernel), self.weight(out)]
        y = self.node(
            "Conv",
            [x, *weights],
            [1, out, *sizes],
            kernel_shape=[kernel] * 2,
            strides=[stride] * 2,
            pads=[pad] * 4,
            group=group,
            dilations=[dilation] * 2,
        )
        return self.act(y, act)

    def act(self, x: Wire, kind: str) -> Wire:
        """An activation by name; the empty name is none."""
        match kind:
            case "":
                return x
            case "relu6":
                return self.node("Clip", [x, self.constant(np.array(0, np.float32)), self.constant(np.array(6, np.float32))], x.shape)
            case "silu":
                return self.node("Mul", [x, self.node("Sigmoid", [x], x.shape)], x.shape)
            case "gelu":
                half, one, root = (self.constant(np.array(number, np.float32)) for number in (0.5, 1.0, 2**0.5))
                erf = self.node("Erf", [self.node("Div", [x, root], x.shape)], x.shape)
                return self.node("Mul", [self.node("Mul", [x, self.node("Add", [erf, one], x.shape)], x.shape), half], x.shape)
            case "hardsigmoid":
                return self.node("HardSigmoid", [x], x.shape, alpha=1 / 6, beta=0.5)
            case _:
                return self.node({"relu": "Relu", "sigmoid": "Sigmoid", "hardswish": "HardSwish", "leaky": "LeakyRelu"}[kind], [x], x.shape)

    def pool(self, x: Wire, kind: str = "MaxPool", kernel: int = 3, stride: int = 2) -> Wire:
        pad = (kernel - 1) // 2
        sizes = [(size + 2 * pad - kernel) // stride + 1 for size in x.shape[2:]]
        attributes = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": [pad] * 4}
        return self.node(kind, [x], [1, x.channels, *sizes], **attributes)

    def norm(self, x: Wire, act: str = "") -> Wire:
        """BatchNormalization that no convolution takes in."""
        weights = [self.weight(x.channels) for _ in range(3)]
        return self.act(self.node("BatchNormalization", [x, *weights, self.weight(x.channels, positive=True)], x.shape), act)

    def add(self, x: Wire, y: Wire) -> Wire:
        return self.node("Add", [x, y], x.shape if len(x.shape) >= len(y.shape) else y.shape)

    def mul(self, x: Wire, y: Wire) -> Wire:
        return self.node("Mul", [x, y], x.shape)

    def concat(self, *parts: Wire) -> Wire:
        """Pictures side by side."""
        return self.node("Concat", parts, [1, sum(part.channels for part in parts), *parts[0].shape[2:]], axis=1)

    def halves(self, x: Wire) -> tuple[Wire, Wire]:
        """The two halves of the channels."""
        name = f"Split_{len(self._nodes)}"
        shape = (1, x.channels // 2, *x.shape[2:])
        self._nodes.append(helper.make_node("Split", [x.name], [f"{name}a", f"{name}b"], name, axis=1))
        return Wire(f"{name}a", shape), Wire(f"{name}b", shape)

    def shuffle(self, x: Wire, groups: int = 2) -> Wire:
        """Channels of the groups interleaved."""
        _, channels, height, width = x.shape
        y = self.reshape(x, 1, groups, channels // groups, height, width)
        y = self.transpose(y, 0, 2, 1, 3, 4)
        return self.reshape(y, 1, channels, height, width)

    def squeeze_excite(self, x: Wire, inner: int, act: str = "relu", gate: str = "sigmoid") -> Wire:
        """Channels weighed by a small network on their means."""
        y = self.node("GlobalAveragePool", [x], [1, x.channels, 1, 1])
        return self.mul(x, self.conv(self.conv(y, inner, act=act), x.channels, act=gate))

    def grow(self, x: Wire, factor: int, mode: str = "nearest") -> Wire:
        scales = self.constant(np.array([1, 1, factor, factor], np.float32))
        transformation = "asymmetric" if mode == "nearest" else "half_pixel"
        shape = [1, x.channels, x.shape[2] * factor, x.shape[3] * factor]
        how = {"mode": mode, "coordinate_transformation_mode": transformation, "nearest_mode": "floor"}
        return self.node("Resize", [x, "", scales], shape, **how)

    def head(self, x: Wire, classes: int) -> Wire:
        """Means of the channels, and a linear layer over them."""
        y = self.node("Flatten", [self.node("GlobalAveragePool", [x], [1, x.channels, 1, 1])], [1, x.channels], axis=1)
        return self.gemm(y, classes)

    def gemm(self, x: Wire, out: int, act: str = "") -> Wire:
        y = self.node("Gemm", [x, self.weight(out, x.shape[1]), self.weight(out)], [x.shape[0], out], transB=1)
        return self.act(y, act)

    # ---- sequences [1, tokens, width]

    def reshape(self, x: Wire, *shape: int) -> Wire:
        return self.node("Reshape", [x, self.integers(*shape)], shape)

    def transpose(self, x: Wire, *perm: int) -> Wire:
        return self.node("Transpose", [x], [x.shape[axis] for axis in perm], perm=list(perm))

    def linear(self, x: Wire, out: int, act: str = "") -> Wire:
        y = self.node("MatMul", [x, self.weight(x.shape[-1], out)], [*x.shape[:-1], out])
        return self.act(self.node("Add", [y, self.weight(out)], y.shape), act)

    def layer_norm(self, x: Wire) -> Wire:
        return self.node("LayerNormalization", [x, self.weight(x.shape[-1]), self.weight(x.shape[-1])], x.shape, axis=-1)

    def attention(self, x: Wire, heads: int, size: int) -> Wire:
        """Self-attention of `heads` heads, each `size` wide."""
        tokens = x.shape[1]
        q, k, v = (self.reshape(self.linear(x, heads * size), 1, tokens, heads, size) for _ in range(3))
        q, v, k = self.transpose(q, 0, 2, 1, 3), self.transpose(v, 0, 2, 1, 3), self.transpose(k, 0, 2, 3, 1)
        scores = self.node("MatMul", [q, k], [1, heads, tokens, tokens])
        scores = self.node("Mul", [scores, self.constant(np.array(size**-0.5, np.float32))], scores.shape)
        mixed = self.node("MatMul", [self.node("Softmax", [scores], scores.shape, axis=-1), v], [1, heads, tokens, size])
        return self.linear(self.reshape(self.transpose(mixed, 0, 2, 1, 3), 1, tokens, heads * size), x.shape[2])
