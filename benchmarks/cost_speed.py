"""How fast predictions are.

    python benchmarks/cost_speed.py [--target NAME|FOLDER] [--resnet FILE.onnx]

- A ResNet-50 after loading: the time of the first prediction of the graph, and of one more. At most 20 ms.
- A graph of 10,000 nodes: at most 1 s.

How many width configurations are scored per second is measured by scoring.py.

The ResNet-50 is made here, from torchvision's description of it (random weights), unless a file is given. Each time is processor time of this
one thread, the least of a few repeats, so that other work on the machine does not count. Exits with status 1 where a goal is missed.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from _machine import machine
from onnx import TensorProto, helper, numpy_helper

from graphopt.cost import Predictor, find_target
from graphopt.ir import Graph, load

RESNET_MS, LARGE_MS = 20.0, 1000.0
NODES = 10_000


class Net:
    """Layers one after the other."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.rng = np.random.default_rng(0)

    def weight(self, *shape: int) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(self.rng.standard_normal(shape, np.float32), name))
        return name

    def node(self, operator: str, *inputs: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [f"v{len(self.nodes)}"], f"n{len(self.nodes)}", **attributes))
        return self.nodes[-1].output[0]

    def conv(self, x: str, into: int, out: int, kernel: int, stride: int = 1) -> str:
        weight, bias = self.weight(out, into, kernel, kernel), self.weight(out)
        return self.node("Conv", x, weight, bias, kernel_shape=[kernel] * 2, pads=[kernel // 2] * 4, strides=[stride] * 2)

    def graph(self, last: str, *shape: int) -> Graph:
        given = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 224, 224])
        made = helper.make_tensor_value_info(last, TensorProto.FLOAT, shape)
        graph = helper.make_graph(self.nodes, "net", [given], [made], self.weights)
        return Graph.from_proto(helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 18)]))


def resnet50() -> Graph:
    """He et al., Deep Residual Learning for Image Recognition, 2015, with the stride in the 3 x 3 convolution, as in torchvision."""
    net = Net()
    x = net.node("Relu", net.conv("x", 3, 64, 7, 2))
    x, into = net.node("MaxPool", x, kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2]), 64
    for stage, blocks in enumerate((3, 4, 6, 3)):
        inner = 64 * 2**stage
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            y = net.node("Relu", net.conv(x, into, inner, 1))
            y = net.node("Relu", net.conv(y, inner, inner, 3, stride))
            y = net.conv(y, inner, 4 * inner, 1)
            x = net.conv(x, into, 4 * inner, 1, stride) if not block else x
            x, into = net.node("Relu", net.node("Add", y, x)), 4 * inner
    pooled = net.node("Flatten", net.node("GlobalAveragePool", x))
    return net.graph(net.node("Gemm", pooled, net.weight(into, 1000), net.weight(1000)), 1, 1000)


def large() -> Graph:
    """A chain of convolutions, activations and sums of different widths, of at least as many nodes as asked for."""
    net = Net()
    x, into = net.conv("x", 3, 16, 3, 8), 16
    while len(net.nodes) < NODES:
        out = 16 + 8 * (len(net.nodes) % 7)
        y = net.node("Relu", net.conv(x, into, out, 1))
        x, into = net.node("Add", net.node("Sigmoid", y), y), out
    return net.graph(x, 1, into, 28, 28)


def fastest(call: Callable[[], object], repeats: int) -> float:
    """Milliseconds of processor time of the quickest call."""
    found = []
    for _ in range(repeats):
        started = time.thread_time()
        call()
        found.append(time.thread_time() - started)
    return 1000 * min(found)


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--target", default="jetson-nano")
    arguments.add_argument("--resnet", type=Path)
    given = arguments.parse_args()
    target = find_target(given.target)
    print(f"{machine('numpy')}; target {target.name}")
    graph = resnet50() if given.resnet is None else load(given.resnet)
    missed = 0

    def judge(what: str, found: float, goal: float, good: bool, unit: str) -> None:
        nonlocal missed
        missed += not good
        print(f"{'PASS' if good else 'FAIL'}  {what}: {found:,.4g} {unit} (goal {goal:,.4g})")

    graph.types()
    first = fastest(lambda: Predictor(target).predict(graph), 3) - fastest(lambda: Predictor(target), 3)
    predictor = Predictor(target)
    predictor.predict(graph)
    print(f"      ResNet-50, with every kernel new: {first:.1f} ms")
    again = fastest(lambda: predictor.predict(graph), 7)
    judge(f"predicting ResNet-50, {len(graph.nodes)} nodes", again, RESNET_MS, again <= RESNET_MS, "ms")
    chain = large()
    chain.types()
    chained = fastest(lambda: Predictor(target).predict(chain), 2)
    judge(f"predicting {len(chain.nodes):,} nodes", chained, LARGE_MS, chained <= LARGE_MS, "ms")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
