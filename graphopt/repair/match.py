"""What a compressed model's values were in the original."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from graphopt.ir import Graph, Node, Value
from graphopt.repair.layers import ConvLayer, GemmLayer, Layer, MatMulLayer, NoLayer, layer_of
from graphopt.repair.records import Indices, Kept

Array = npt.NDArray[Any]

_ALIKE = 1e-6  # 1 - cosine of two rows of weights that differ by a factor only


class NoMatch(Exception):
    """Why a layer has no counterpart in the original."""


@dataclass(frozen=True)
class Goal:
    """What a layer's output is to be: a value of the original, and which of its channels (None: all, in their order).

    The first of two layers that stand for one of the original's has the goal of the second, `after`, seen through that one. Where the
    layer's output is only added to another value of the compressed model, `beside`, `value` is the original's sum: so the layer makes good
    for what is wrong with that too. `rectified`: of what comes of it, only what is above zero is read.
    """

    value: Value
    channels: Indices | None
    axis: int  # of the channels
    at: Node  # of the original, where it is looked at
    after: Through | None = None
    beside: Value | None = None
    rectified: bool = False

    def of(self, y: Array) -> Array:
        """What the layer's output, or its sum with `beside`, is to be where the original's value is `y`."""
        wanted = y if self.channels is None else np.take(y, self.channels, axis=self.axis)
        return wanted if self.after is None else self.after.back(wanted, self.axis)


@dataclass(frozen=True)
class Through:
    """A layer that maps each place by itself, turned around: the inputs [groups, ins] whose outputs come closest to given ones."""

    inverse: Array  # [groups, ins, outs]
    bias: Array  # [groups, outs]

    def back(self, y: Array, axis: int) -> Array:
        channels = np.moveaxis(y, axis, -1)
        by_group = channels.reshape(*channels.shape[:-1], *self.bias.shape) - self.bias
        found = np.einsum("...go,gio->...gi", by_group, self.inverse, optimize=True)
        return np.moveaxis(found.reshape(*found.shape[:-2], -1), -1, axis)


class Match:
    """The original beside the compressed graph; values correspond by name, channels by what the passes recorded."""

    def __init__(self, original: Graph, graph: Graph, kept: Kept) -> None:
        self.original, self.graph, self.kept = original, graph, kept

    def goal(self, layer: Layer) -> Goal:
        """Raises NoMatch."""
        value = self.value(layer.node.output())
        if value is None:
            return self._goal_of_first(layer)
        shape = self.original.shape(value)
        groups, outs, _ = layer.sizes
        axis = _channel_axis(layer)
        size = shape[axis] if shape is not None and len(shape) >= -axis and len(shape) > axis else None
        channels = self.kept.left(layer.value.name, _weight_axis(layer))
        wanted = outs if isinstance(layer, MatMulLayer) else groups * outs
        if channels is not None and len(channels) == wanted and (size is None or not isinstance(size, int) or channels.max() < size):
            return Goal(value, channels, axis, _producer(value))
        if size != wanted:
            raise NoMatch(f"nothing is recorded of which {wanted} of the original's {size if size is not None else '?'} channels are left")
        return Goal(value, None, axis, _producer(value))

    def _goal_of_first(self, layer: Layer) -> Goal:
        """The goal of the first of two layers that stand for one of the original's."""
        readers = self.graph.consumers(layer.node.output())
        try:
            after = layer_of(self.graph, readers[0][0]) if len(readers) == 1 else None
        except NoLayer:
            after = None
        if after is None or after.source is not layer.node.output() or type(after) is not type(layer) or after.slot != layer.slot:
            raise NoMatch("its output is none of the original's")
        groups, outs, ins = after.sizes
        if groups != layer.groups or ins != layer.sizes[1] or ins > outs or not _by_place(after):
            raise NoMatch("its output is none of the original's, and the layer after it cannot be turned around")
        goal, bias = self.goal(after), after.bias(self.graph)
        if goal.after is not None or (groups > 1 and isinstance(after, MatMulLayer)):
            raise NoMatch("its output is none of the original's")
        known = np.zeros((groups, outs)) if bias is None else bias
        return Goal(goal.value, goal.channels, goal.axis, goal.at, Through(np.linalg.pinv(after.matrix), known))

    def value(self, value: Value) -> Value | None:
        """The original's value that the graph's `value` stands for, if there is one of its name.

        Where a BatchNormalization was folded into what writes it, that is what the normalization wrote.
        """
        if not self.original.has_value(value.name):
            return None
        found = self.original.value(value.name)
        while len(readers := self.original.consumers(found)) == 1 and readers[0][0].op_type == "BatchNormalization":
            after = readers[0][0].output()
            if self.graph.has_value(after.name):
                break
            found = after
        return found if found.producer is not None else None

    def changed(self, layer: Layer) -> bool:
        """Whether the layer is another than the original's, but for outputs that went and factors of whole rows (folded scales)."""
        name = layer.node.output().name
        before = self.original.value(name).producer if self.original.has_value(name) else None
        if before is None or before.op_type != layer.node.op_type:
            return True
        try:
            old = layer_of(self.original, before)
        except NoLayer:
            return True
        left = self.kept.left(layer.value.name, _weight_axis(layer))
        if (
            type(old) is not type(layer)
            or old.slot != layer.slot
            or (left is not None and left.max() >= old.weight.shape[_weight_axis(old)])
        ):
            return True
        axis = _weight_axis(layer)
        weight = old.weight if left is None else np.take(old.weight, left, axis=axis)
        return weight.shape != layer.weight.shape or not _alike(weight, layer.weight, axis)

    def normalization(self, node: Node) -> tuple[Node, Indices | None] | None:
        """The original of a BatchNormalization with its channels, if it can be told."""
        name = node.output().name
        before = self.original.value(name).producer if self.original.has_value(name) else None
        mean = node.input(3)
        if before is None or before.op_type != node.op_type or before.input(0) is None or mean is None:
            return None
        channels = self.kept.left(mean.name, 0)
        now, then = self.graph.constant(mean), self.original.constant(before.input(3))
        if now is None or then is None or self.graph.constant(node.input(4)) is None:
            return None
        if channels is not None and (len(channels) != len(now) or channels.max() >= len(then)):
            return None
        return (before, channels) if channels is not None or len(now) == len(then) else None


def _producer(value: Value) -> Node:
    assert value.producer is not None
    return value.producer


def _by_place(layer: Layer) -> bool:
    """Whether each place of the output depends on the same place of the input alone."""
    if not isinstance(layer, ConvLayer):
        return True
    windows = layer.windows
    return {*windows.kernel, *windows.strides} == {1} and not any(windows.pads or ())


def _alike(a: Array, b: Array, axis: int) -> bool:
    rows = [np.moveaxis(array, axis, 0).reshape(array.shape[axis], -1).astype(np.float64) for array in (a, b)]
    products = np.einsum("ij,ij->i", rows[0], rows[1])
    sizes = np.linalg.norm(rows[0], axis=1) * np.linalg.norm(rows[1], axis=1)
    return bool((sizes - np.abs(products) <= _ALIKE * sizes).all())


def _weight_axis(layer: Layer) -> int:
    """The axis of the weight that holds the outputs."""
    match layer:
        case ConvLayer():
            return 0
        case GemmLayer():
            return 0 if layer.outs_first else 1
    return layer.weight.ndim - (1 if layer.slot else 2)


def _channel_axis(layer: Layer) -> int:
    """The axis of the layer's output that holds its channels."""
    if isinstance(layer, ConvLayer):
        return 1
    return -1 if layer.slot else -2
