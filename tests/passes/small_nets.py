"""Small networks that stand for ResNet, MobileNet, ViT and a pyramid. Everything that follows from the resolution is written as exporters do:
as constants; weights depend on the seed alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import graphopt.ir as ir
from tests.channels.build import Build


class Net(Build):
    """A model in the making whose convolutions have weights of a sensible size."""

    def conv(self, x: str, outs: int, ins: int, kernel: int = 3, stride: int = 1, group: int = 1, name: str | None = None) -> Any:
        weight = self.rng.standard_normal((outs, ins // group, kernel, kernel)) * (2 / (ins // group * kernel * kernel)) ** 0.5
        bias = 0.1 * self.rng.standard_normal(outs)
        made = self.name("conv") if name is None else name
        arrays = [self.tensor(array.astype(np.float32), f"{made}.{part}") for array, part in ((weight, "weight"), (bias, "bias"))]
        return self.node("Conv", x, *arrays, pads=[kernel // 2] * 4, strides=[stride] * 2, group=group, name=made)

    def linear(self, x: str, outs: int, ins: int) -> Any:
        weight = self.tensor((self.rng.standard_normal((ins, outs)) / ins**0.5).astype(np.float32), self.name("linear"))
        return self.node("Add", self.node("MatMul", x, weight), self.tensor(0.1 * self.rng.standard_normal(outs).astype(np.float32)))


def resnet(height: int = 16, width: int = 16, batch: int | str = "n") -> ir.Graph:
    """[n, 3, h, w] -> stem -> block -> block of stride 2 with a shortcut -> block -> GlobalAveragePool -> Gemm [n, 5]."""
    net = Net(opset=17)
    x = net.node("Relu", net.conv(net.input(batch, 3, height, width), 8, 3))
    for place, (outs, ins, stride) in enumerate(((8, 8, 1), (16, 8, 2), (16, 16, 1))):
        y = net.conv(net.node("Relu", net.conv(x, outs, ins, stride=stride)), outs, outs)
        other = x if stride == 1 else net.conv(x, outs, ins, 1, stride)
        x = net.node("Relu", net.node("Add", y, other, name=f"add{place}"))
    x = net.node("Flatten", net.node("GlobalAveragePool", x))
    net.output(net.node("Gemm", x, net.weight(16, 5, scale=0.3), net.weight(5)))
    return net.graph()


def mobilenet(height: int = 16, width: int = 16) -> ir.Graph:
    """[1, 3, h, w] -> inverted residuals with squeeze-and-excitation -> an AveragePool over all -> Reshape -> Gemm [1, 5]."""
    net = Net(opset=17)

    def relu6(x: str) -> Any:
        return net.node("Clip", x, net.tensor(np.float32(0)), net.tensor(np.float32(6)))

    x = relu6(net.conv(net.input(1, 3, height, width), 8, 3, stride=2))
    for place, stride in enumerate((1, 2, 1)):
        y = relu6(net.conv(x, 32, 8, 1))
        y = relu6(net.conv(y, 32, 32, 3, stride, group=32))
        gate = net.node("ReduceMean", y, axes=[2, 3], keepdims=1)
        gate = net.node("Sigmoid", net.conv(net.node("Relu", net.conv(gate, 8, 32, 1)), 32, 8, 1))
        y = net.conv(net.node("Mul", y, gate), 8, 32, 1)
        x = net.node("Add", x, y, name=f"add{place}") if stride == 1 else y
    x = net.node("AveragePool", x, kernel_shape=[height // 4, width // 4])
    x = net.node("Reshape", x, net.ints(1, 8))
    net.output(net.node("Gemm", x, net.weight(8, 5), net.weight(5)))
    return net.graph()


def vit(
    height: int = 16, width: int = 16, positions: np.ndarray | None = None, tokens: int = 1, batch: int | str = 1, last: bool = False
) -> ir.Graph:
    """[n, 3, h, w] -> patches of 4 x 4 -> class tokens before (or behind) them -> two blocks -> the first (last) token -> Gemm [n, 5].

    `positions` [1, tokens + patches, 16] are the position embeddings.
    """
    net = Net(opset=17)
    grid, width_of = (height // 4) * (width // 4), 16
    x = net.input(batch, 3, height, width)
    weight = net.tensor((0.2 * net.rng.standard_normal((width_of, 3, 4, 4))).astype(np.float32), "patch.weight")
    y = net.node("Conv", x, weight, strides=[4, 4])
    count = None if batch == 1 else net.node("Gather", net.node("Shape", x), net.ints(0))

    def reshape(value: str, *shape: int) -> Any:
        if count is None:
            return net.node("Reshape", value, net.ints(1, *shape))
        return net.node("Reshape", value, net.node("Concat", count, *(net.ints(size) for size in shape), axis=0))

    y = net.node("Transpose", reshape(y, width_of, grid), perm=[0, 2, 1])
    if tokens:
        learned = net.tensor((net.rng.standard_normal((1, tokens, width_of))).astype(np.float32), "cls")
        if count is not None:
            learned = net.node("Expand", learned, net.node("Concat", count, net.ints(tokens), net.ints(width_of), axis=0))
        y = net.node("Concat", *((y, learned) if last else (learned, y)), axis=1)
    length = grid + tokens
    if positions is None:
        positions = np.random.default_rng(7).standard_normal((1, length, width_of))
    y = net.node("Add", y, net.tensor(positions.astype(np.float32), "positions"))
    for _ in range(2):
        z = _normalized(net, y, width_of)
        heads = [net.node("Transpose", reshape(net.linear(z, width_of, width_of), length, 2, 8), perm=[0, 2, 1, 3]) for _ in range(3)]
        scores = net.node("MatMul", heads[0], net.node("Transpose", heads[1], perm=[0, 1, 3, 2]))
        mixed = net.node("MatMul", net.node("Softmax", net.node("Mul", scores, net.tensor(np.float32(8**-0.5))), axis=-1), heads[2])
        mixed = reshape(net.node("Transpose", mixed, perm=[0, 2, 1, 3]), length, width_of)
        y = net.node("Add", y, net.linear(mixed, width_of, width_of))
        z = net.node("Relu", net.linear(_normalized(net, y, width_of), 32, width_of))
        y = net.node("Add", y, net.linear(z, width_of, 32))
    token = net.node("Gather", y, net.tensor(np.int64(-1 if last else 0)), axis=1)
    net.output(net.node("Gemm", token, net.weight(width_of, 5), net.weight(5)))
    return net.graph()


def pyramid(height: int = 16, width: int = 16) -> ir.Graph:
    """[n, 3, h, w] -> three scales, the smaller ones resized to the larger by stated sizes, joined, cut -> logits [n, 2, h, w]."""
    net = Net(opset=17)
    first = net.node("Relu", net.conv(net.input("n", 3, height, width), 8, 3))
    second = net.node("Relu", net.conv(first, 8, 8, stride=2))
    third = net.node("Relu", net.conv(second, 8, 8, stride=2))
    up = net.node("Resize", third, "", net.tensor(np.array([1, 1, 2, 2], np.float32)), mode="nearest")
    second = net.node("Add", second, up)
    count = net.node("Gather", net.node("Shape", second), net.ints(0))
    sizes = net.node("Concat", count, net.ints(8), net.ints(height), net.ints(width), axis=0)
    up = net.node("Resize", second, "", "", sizes, mode="linear", coordinate_transformation_mode="half_pixel")
    joined = net.node("Concat", first, up, axis=1)
    cut = net.node("Slice", joined, net.ints(0, 1), net.ints(height, width), net.ints(2, 3))
    net.output(net.conv(cut, 2, 16, 1))
    return net.graph()


def _normalized(net: Net, x: str, size: int) -> Any:
    return net.node("LayerNormalization", x, net.weight(size, positive=True), net.weight(size, scale=0.1))
