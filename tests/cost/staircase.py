"""A target whose kernels cost what a formula says, in whole blocks of channels, and networks with channels to cut."""

from __future__ import annotations

import functools
from collections import Counter

from onnx import TensorProto, helper

import graphopt.ir as ir
from graphopt.channels import analyse
from graphopt.cost import Predictor, Target, fit_target, fixed_types
from graphopt.cost.features import features
from graphopt.cost.fusion import fuse, load_rules
from graphopt.cost.kernel import Signature
from graphopt.cost.target import MeasuredKernel, MeasuredNetwork
from graphopt.cost.widths import Widths

BLOCK = 16
_MS = {"launch": 2e-3, "macs": 2e-7, "elements": 1e-7}


def milliseconds(sig: Signature) -> float:
    """What a kernel takes on the target."""
    found = features(sig, BLOCK)
    slow = 2 if sig.operator in ("Conv", "FusedConv") else 1  # in no blocks of channels
    return slow * sum(ms * found.get(name, 0.0) for name, ms in _MS.items())


@functools.cache
def target() -> Target:
    """Measured: the kernels of the networks below, whole and cut to some widths."""
    rules = load_rules("onnxruntime-cpu")
    kernels: dict[Signature, None] = {}
    networks = []
    for number, graph in enumerate((residual(), inverted(), joined(), mixed())):
        types = fixed_types(graph)
        fused, widths = fuse(graph, rules, types), Widths(analyse(graph), types)
        for share, step in ((1.0, 1), (0.7, BLOCK), (0.4, BLOCK), (0.85, 1), (0.6, 1), (0.35, 1)):
            shapes = widths.shapes({group.name: max(1, int(group.size * share) // step * step) for group in widths.groups})
            found = Counter(kernel.signature for kernel in fused.kernels(shapes))
            kernels |= dict.fromkeys(found)
            ms = 1.05 * sum(milliseconds(sig) * times for sig, times in found.items()) + 0.02
            networks.append(MeasuredNetwork(f"{number} at {share}", ms, 0.01, tuple(found.items())))
    measured = tuple(MeasuredKernel(sig, milliseconds(sig)) for sig in kernels)
    made = Target("stairs", "none", "onnxruntime", "onnxruntime-cpu", block=BLOCK, align=BLOCK, kernels=measured, networks=tuple(networks))
    return fit_target(made, held_out=False)


@functools.cache
def predictor() -> Predictor:
    return Predictor(target())


class _Net:
    """Layers after one another, on 8 x 8 pixels; weights are all 1, but for the shape they do not matter."""

    def __init__(self) -> None:
        self.nodes: list[object] = []
        self.weights: list[object] = []

    def weight(self, *shape: int) -> str:
        name = f"w{len(self.weights)}"
        size = 1
        for each in shape:
            size *= each
        self.weights.append(helper.make_tensor(name, TensorProto.FLOAT, shape, [float(i % 7 - 3) for i in range(size)]))
        return name

    def node(self, operator: str, *inputs: str, **attributes: object) -> str:
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], f"n{len(self.nodes)}", **attributes))
        return name

    def conv(self, x: str, out: int, into: int, kernel: int = 1, group: int = 1, relu: bool = True) -> str:
        pads = [kernel // 2] * 4
        made = self.node("Conv", x, self.weight(out, into // group, kernel, kernel), self.weight(out), group=group, pads=pads)
        return self.node("Relu", made) if relu else made

    def graph(self, last: str, width: int) -> ir.Graph:
        pooled = self.node("Flatten", self.node("GlobalAveragePool", last))
        head = self.node("Gemm", pooled, self.weight(width, 10))
        info = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, 8, 8])
        out = helper.make_tensor_value_info(head, TensorProto.FLOAT, ["batch", 10])
        graph = helper.make_graph(self.nodes, "net", [info], [out], self.weights)
        return ir.Graph.from_proto(helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 18)]))


def residual() -> ir.Graph:
    """Two residual blocks of 3 x 3 convolutions."""
    net = _Net()
    x = net.conv("x", 64, 3, 3)
    for inner in (48, 80):
        y = net.conv(net.conv(x, inner, 64, 3), 64, inner, 3, relu=False)
        x = net.node("Relu", net.node("Add", y, x))
    return net.graph(x, 64)


def inverted() -> ir.Graph:
    """Inverted residuals: 1 x 1, depthwise, 1 x 1, with a width that is no multiple of a block."""
    net = _Net()
    x = net.conv("x", 24, 3, 3)
    for inner in (96, 72):
        y = net.conv(net.conv(x, inner, 24), inner, inner, 3, group=inner)
        x = net.node("Add", net.conv(y, 24, inner, relu=False), x)
    return net.graph(net.conv(x, 80, 24), 80)


def joined() -> ir.Graph:
    """Three branches, joined and convolved."""
    net = _Net()
    x = net.conv("x", 32, 3, 3)
    whole = net.node("Concat", net.conv(x, 48, 32), net.conv(x, 32, 32, 3), net.conv(x, 20, 32), axis=1)
    return net.graph(net.conv(whole, 64, 100), 64)


def mixed() -> ir.Graph:
    """A convolution in groups, and a pool of channels that do not fill blocks."""
    net = _Net()
    x = net.conv(net.conv("x", 64, 3, 3), 64, 64, 3, group=4)
    x = net.node("MaxPool", net.conv(x, 40, 64), kernel_shape=[2, 2], strides=[2, 2])
    return net.graph(net.conv(x, 56, 40, 3), 56)
