"""Dense convolutions as grouped ones: which channels go together, and where they are put into that order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from graphopt.channels import ChannelGroup, analyse
from graphopt.ir import Graph, Value
from graphopt.repair import ConvLayer, Kernel, Layer, add_constant, cost, divide, improved, layer_of, set_constant

from ._permutation import Axis, Order, follow, movable, permute
from ._stages import shift_bias

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Grouping:
    """A convolution in more groups: weight [groups, outs, channels, *kernel], and what its bias gains."""

    layer: ConvLayer
    weight: Array
    shift: Array | None
    loss: float

    def carry_out(self, graph: Graph, order: Order | None) -> None:
        """Change the node; `order` is that of the channels which it is to read, None where they come in it."""
        node, name = self.layer.node, self.layer.value.name
        if order is not None:
            indices = add_constant(graph, f"{name}/order", order, node)
            hint = graph.unique_name(f"{node.output().name}/ordered")
            gathered = graph.add_node("Gather", [self.layer.source, indices], [hint], {"axis": 1}, at=node)
            graph.set_input(node, 0, gathered.output())
        if self.shift is not None:
            shift_bias(graph, self.layer, self.shift.reshape(self.layer.sizes[:2]))
        stored = self.weight.reshape(-1, *self.weight.shape[2:]).astype(self.layer.weight.dtype)
        set_constant(graph, [(node, 1)], stored, name)
        graph.set_attribute(node, "group", len(self.weight))


class Grouper:
    """Plans for the convolutions of one graph, from the last to the first; channels are put into order in the graph on the way.

    An order is settled by the first layer that asks for it. A layer whose input has an order already gets a Gather, one whose outputs have
    keeps that order.
    """

    def __init__(self, graph: Graph, rng: np.random.Generator, absorb: bool, weights: set[Value]) -> None:
        self.graph, self._rng = graph, rng
        self._axes = movable(analyse(graph)) if absorb else {}
        self._asked = {axis.group for (value, number), axis in self._axes.items() if number == 1 and value in weights}
        self._settled: set[ChannelGroup] = set()
        self.gathers: dict[Value, Order] = {}  # by weight, what its convolution must gather from its input as it is now
        self._orders: dict[Value, Order] = {}  # of the inputs of weights whose channels moved
        self.kept: dict[str, dict[str, list[int]]] = {}

    def plan(self, layer: Layer, parts: int, second: Array | None, mean: Array | None) -> Grouping:
        """Divide each group of a convolution into `parts`; `mean` of its rows where its bias may change, `second` then about it."""
        assert isinstance(layer, ConvLayer)
        node, value = layer.node, layer.value
        # Anew, because layers after it may have moved its outputs.
        current = layer_of(self.graph, node)
        assert isinstance(current, ConvLayer)
        groups, outs, ins = current.sizes
        places = int(np.prod(current.weight.shape[2:]))
        channels = ins // places
        given = self._orders.get(value)
        if second is not None and given is not None:
            rows = _spread(given, places)
            second = second[:, rows[:, np.newaxis], rows]
            mean = None if mean is None else mean[:, rows]
        matrix = current.matrix
        energy = _energy(matrix.reshape(groups, outs, channels, places), second)
        out_axis, in_axis = (self._free(value, number) if groups == 1 else None for number in (0, 1))
        if out_axis is not None and (out_axis.group in self._asked or (in_axis is not None and in_axis.group is out_axis.group)):
            out_axis = None
        orders = [divide(part, parts, self._rng, fixed_outs=out_axis is None) for part in energy]
        out_order, in_order = (
            np.concatenate([own[side] + g * size for g, own in enumerate(orders)]) for side, size in ((0, outs), (1, channels))
        )
        pieces = _pieces(matrix, second, out_order, in_order, parts, places)
        whole = np.zeros_like(matrix)
        for g, piece in enumerate(pieces):
            o, i = _block(g, parts, out_order, in_order, outs, channels, places)
            whole[g // parts, o[:, np.newaxis], i] = piece
        lost = max(cost(matrix, whole, second), 0.0) / max(cost(matrix, np.zeros_like(matrix), second), 1e-300)
        shift = None if mean is None else np.einsum("goi,gi->go", matrix - whole, mean).reshape(-1)[out_order].reshape(len(pieces), -1)
        weight = np.stack(pieces).reshape(groups * parts, outs // parts, channels // parts, *current.weight.shape[2:])
        self._move(out_axis, out_order)
        if not self._move(in_axis, in_order) and not (in_order == np.arange(len(in_order))).all():
            self.gathers[value] = in_order
        self._settle(value)
        return Grouping(current, weight, shift, lost)

    def _settle(self, value: Value) -> None:
        """What the weight's convolution writes has its order now, and unless it gathers its input, what it reads too."""
        fixed = {0} if value in self.gathers else {0, 1}
        for axis in self._axes.values():
            if any(member.value is value and member.axis in fixed for member in axis.group.members):
                self._settled.add(axis.group)

    def _free(self, value: Value, number: int) -> Axis | None:
        axis = self._axes.get((value, number))
        return None if axis is None or axis.group in self._settled else axis

    def _move(self, axis: Axis | None, order: Order) -> bool:
        """Put the channels of an axis into `order` in the whole graph, if that is possible."""
        if axis is None:
            return False
        for name, axes in permute(axis.group, follow(order, axis)).items():
            for number, taken in axes.items():
                before = self.kept.setdefault(name, {}).get(number)
                self.kept[name][number] = taken if before is None else [before[i] for i in taken]
                if number == "1":
                    value = self.graph.value(name)
                    self._orders[value] = np.array(self.kept[name][number])
                    if value in self.gathers:  # what it wants lies elsewhere now
                        self.gathers[value] = np.argsort(taken)[self.gathers[value]]
        return True


def kept_energy(kernel: Kernel, parts: int, rng: np.random.Generator) -> float:
    """The share of a kernel's energy that is kept where each group is divided into `parts`, its channels on both sides in a good order."""
    groups, outs, channels = kernel.weight.shape[:3]
    energy = np.maximum(_energy(kernel.weight.reshape(groups, outs, channels, -1), kernel.second), 0)
    kept = 0.0
    for part in energy:
        out_order, in_order = divide(part, parts, rng, starts=1)
        blocks = part[out_order[:, np.newaxis], in_order].reshape(parts, outs // parts, parts, channels // parts)
        kept += float(np.einsum("aibj,ab->", blocks, np.eye(parts)))
    whole = float(energy.sum())
    return kept / whole if whole > 0 else 1.0


def _energy(weight: Array, second: Array | None) -> Array:
    """What each pair of channels adds to the outputs by itself, [groups, outs, channels]."""
    if second is None:
        return np.asarray(np.square(weight).sum(axis=3))
    groups, _, channels, places = weight.shape
    blocks = np.einsum("gckcl->gckl", second.reshape(groups, channels, places, channels, places))
    return np.asarray(np.einsum("gock,gckl,gocl->goc", weight, blocks, weight, optimize=True))


def _pieces(matrix: Array, second: Array | None, out_order: Order, in_order: Order, parts: int, places: int) -> list[Array]:
    """The matrices of the new groups, with data the best for their inputs."""
    groups, outs, ins = matrix.shape
    before, across, moments = [], [], []
    for g in range(groups * parts):
        o, i = _block(g, parts, out_order, in_order, outs, ins // places, places)
        before.append(matrix[g // parts][o[:, np.newaxis], i])
        if second is not None:
            across.append(matrix[g // parts][o] @ second[g // parts][:, i])
            moments.append(second[g // parts][i[:, np.newaxis], i])
    return list(before if second is None else improved(np.stack(before), np.stack(moments), np.stack(across)))


def _block(g: int, parts: int, out_order: Order, in_order: Order, outs: int, channels: int, places: int) -> tuple[Order, Order]:
    """Rows and columns, within their old group, of new group g."""
    few_outs, few_channels = outs // parts, channels // parts
    o = out_order[g * few_outs : (g + 1) * few_outs] - g // parts * outs
    i = in_order[g * few_channels : (g + 1) * few_channels] - g // parts * channels
    return o, _spread(i, places)


def _spread(channels: Order, places: int) -> Order:
    return np.asarray((channels[:, np.newaxis] * places + np.arange(places)).reshape(-1))


def kernel_of(layer: Layer, second: Array | None, scale: tuple[float, ...]) -> Kernel:
    """A convolution's kernel."""
    groups, outs, _ = layer.sizes
    return Kernel(layer.matrix.reshape(groups, outs, *layer.weight.shape[1:]), second, scale)
