"""Building ONNX networks layer by layer from parameters named as in a PyTorch state dict, in the styles that exporters have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

Array = npt.NDArray[Any]
BN = ("weight", "bias", "running_mean", "running_var")


class Builder:
    """Nodes and initializers of a network. `fold` folds normalizations; `awkward` is what exporters do to hide operands:

    weights reach their node through Identity, biases of zero are computed from the shape of the weight, and scalars are shared.
    """

    def __init__(self, parameters: Mapping[str, Array], *, fold: bool = False, awkward: bool = False, epsilon: float = 1e-5) -> None:
        self.parameters, self.fold, self.awkward, self.epsilon = parameters, fold, awkward, epsilon
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, Array] = {}
        self.weights: dict[str, str] = {}  # by node name, as the node reads it

    def node(self, op: str, inputs: list[str], name: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, inputs, [f"{name}/out"], name, **attributes))
        return f"{name}/out"

    def constant(self, name: str, value: Any, dtype: Any = np.float32) -> str:
        self.initializers[name] = np.asarray(value, dtype)
        return name

    def operand(self, name: str, array: Array) -> str:
        self.initializers[name] = array
        return self.node("Identity", [name], f"{name}/same") if self.awkward else name

    def conv(self, x: str, name: str, weight: str, bn: str | None, *, stride: int = 1, group: int = 1, bias: str | None = None) -> str:
        """A convolution with padding k//2 and its normalization, if any."""
        w = self.parameters[weight]
        b = None if bias is None else self.parameters[bias]
        if bn is not None and self.fold:
            gamma, beta, mean, variance = (self.parameters[f"{bn}.{part}"] for part in BN)
            scale = gamma / np.sqrt(variance + np.float32(self.epsilon))
            w, b, bn = w * scale[:, None, None, None], beta - mean * scale, None
        inputs = [x, self.operand(f"{name}.weight", w)]
        self.weights[name] = inputs[1]
        if b is not None:
            inputs.append(self.operand(f"{name}.bias", b))
        elif self.awkward:
            inputs.append(self._zeros(name, inputs[1], x))
        pads = [w.shape[2] // 2] * 4
        x = self.node("Conv", inputs, name, kernel_shape=list(w.shape[2:]), pads=pads, strides=[stride, stride], group=group)
        if bn is None:
            return x
        vectors = [self.operand(f"{name}.bn.{part}", self.parameters[f"{bn}.{part}"]) for part in BN]
        return self.node("BatchNormalization", [x, *vectors], f"{name}/bn", epsilon=self.epsilon)

    def _zeros(self, name: str, weight: str, x: str) -> str:
        zero = self.node("CastLike", [self.constant("zero", 0), x], f"{name}/zero")
        count = self.node("Shape", [weight], f"{name}/count", start=0, end=1)
        return self.node("Expand", [zero, count], f"{name}/zeros")

    def act(self, x: str, name: str, kind: str) -> str:
        if kind == "relu":
            return self.node("Relu", [x], name)
        if kind == "relu6":
            return self.node("Clip", [x, self.constant("low", 0), self.constant("six", 6)], name)
        return self.node("Mul", [x, self.hard_sigmoid(x, name)], name)

    def hard_sigmoid(self, x: str, name: str) -> str:
        three, low, six = self.constant("three", 3), self.constant("low", 0), self.constant("six", 6)
        clipped = self.node("Clip", [self.node("Add", [x, three], f"{name}/add"), low, six], f"{name}/clip")
        return self.node("Div", [clipped, six], f"{name}/div")

    def mean(self, x: str, name: str, keepdims: int) -> str:
        x = self.node("ReduceMean", [x, self.constant("width", [3], np.int64)], f"{name}/w", keepdims=keepdims)
        return self.node("ReduceMean", [x, self.constant("height", [2], np.int64)], f"{name}/h", keepdims=keepdims)

    def linear(self, x: str, name: str, prefix: str) -> str:
        inputs = [x, *(self.operand(f"{name}.{part}", self.parameters[f"{prefix}.{part}"]) for part in ("weight", "bias"))]
        self.weights[name] = inputs[1]
        return self.node("Gemm", inputs, name, transB=1)

    def model(self, output: str, size: int, classes: int) -> onnx.ModelProto:
        """The network from `input` (batch, 3, size, size) to `output` (batch, classes), opset 18."""
        self.nodes.append(helper.make_node("Identity", [output], ["output"], "output"))
        info = helper.make_tensor_value_info
        graph = helper.make_graph(
            self.nodes,
            "supernet",
            [info("input", TensorProto.FLOAT, ["batch", 3, size, size])],
            [info("output", TensorProto.FLOAT, ["batch", classes])],
            [numpy_helper.from_array(array, name) for name, array in self.initializers.items()],
        )
        return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 18)])

    def layer(self, name: str) -> dict[str, str]:
        return {"node": name, "weight": self.weights[name]}
