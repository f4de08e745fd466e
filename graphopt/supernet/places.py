"""Finding in the graph what a side file names."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from graphopt.errors import SupernetError
from graphopt.ir import Graph, Node, Value
from graphopt.supernet.edits import Edit, Indices, Slice
from graphopt.supernet.family import Block, Layer
from graphopt.supernet.neighbours import behind, readers
from graphopt.supernet.operands import Operands, initializer_of, stored

_BN_VECTORS = (1, 2, 3, 4)  # scale, bias, mean, variance
_LAYERS = frozenset({"Conv", "Gemm", "MatMul"})  # what they read is cut by an edit of their own


@dataclass(frozen=True)
class Conv:
    """A convolution with the batch normalization that alone reads it, if there is one."""

    node: Node
    bn: Node | None
    weight: str
    shape: tuple[int, ...]

    def edits(self, out: Indices | None, into: Indices | None) -> list[Edit]:
        """The slices that keep these output and input channels; None keeps all as they are."""
        found: list[Edit] = []
        if out is not None:
            self._check_readers()
            found.append(Slice(self.node, 1, 0, out))
            if self.bn is not None:
                found += [Slice(self.bn, slot, 0, out) for slot in _BN_VECTORS]
        if into is not None:
            found.append(Slice(self.node, 1, 1, into))
        if found and self.node.input(2) is not None:
            # A bias that is computed from the shape of the weight would keep the whole weight, so it is listed even where it stays.
            found.append(Slice(self.node, 2, 0, np.arange(self.shape[0]) if out is None else out))
        return found

    def _check_readers(self) -> None:
        """Raise SupernetError where something behind the convolution holds a constant per channel that nobody would cut."""
        graph, channels = self.node.graph, self.shape[0]
        assert graph is not None
        for node in behind(graph, self.node.output()):
            if node is self.bn or node.op_type in _LAYERS:
                continue
            for slot, value in enumerate(node.inputs):
                tensor = stored(value) if value is not None else None
                if tensor is not None and channels > 1 and channels in tensor.shape:
                    raise SupernetError(
                        f"{node.label} behind {self.node.label} has a constant of {channels} channels in input {slot}; only the vectors of a "
                        "BatchNormalization that alone reads a convolution are cut with it"
                    )


class Places:
    """The nodes and values of a graph by the names that a side file gives them. `source` is what messages call the side file."""

    def __init__(self, graph: Graph, source: str) -> None:
        self.graph, self.source, self.operands = graph, source, Operands(graph)
        self._nodes: dict[str, Node] = {}
        for node in graph.nodes:  # a nameless node goes by its first output
            if not node.name and node.outputs and node.outputs[0] is not None:
                self._nodes[node.outputs[0].name] = node
        self._nodes.update((node.name, node) for node in graph.nodes if node.name)
        self._repeated = {name for name, count in Counter(node.name for node in graph.nodes if node.name).items() if count > 1}

    def error(self, message: str) -> SupernetError:
        return SupernetError(f"{self.source}: {message}")

    def node(self, name: str, where: str) -> Node:
        if name in self._repeated:
            raise self.error(f"{where} names node {name!r}, and several nodes of this model are called so")
        if name not in self._nodes:
            raise self.error(f"{where} names node {name!r}, which this model does not have; is it another export of the supernet?")
        return self._nodes[name]

    def value(self, name: str, where: str) -> Value:
        if not self.graph.has_value(name):
            raise self.error(f"{where} names tensor {name!r}, which this model does not have; is it another export of the supernet?")
        return self.graph.value(name)

    def border(self, block: Block) -> tuple[Value, Value]:
        """The tensors that enter and leave a block."""
        where = f"the {block.name}"
        return self.value(block.input, where), self.value(block.output, where)

    def conv(self, layer: Layer, where: str) -> Conv:
        node = self.node(layer.node, where)
        if node.op_type != "Conv" or node.domain:
            raise self.error(f"{where}: node {layer.node!r} is no Conv but {node.op_type}")
        self.check_weight(node, layer, where)
        shape = self.operands.tensor(node, 1).shape
        value = node.input(1)
        assert value is not None
        return Conv(node, batch_norm(node), layer.weight or value.name, shape)

    def check_weight(self, node: Node, layer: Layer, where: str) -> None:
        """Raise SupernetError where the node reads another weight than the side file says."""
        value = node.input(1)
        names = {found.name for found in (value, initializer_of(value)) if found is not None}
        if layer.weight is not None and layer.weight not in names:
            said = f"{value.name!r}" if value is not None else "none"
            raise self.error(
                f"{where}: node {layer.node!r} should have the weight {layer.weight!r}, and has {said}; is it another export of the supernet?"
            )


def batch_norm(conv: Node) -> Node | None:
    """The BatchNormalization that alone reads a convolution."""
    graph, output = conv.graph, conv.output()
    if graph is None or graph.is_output(output):
        return None
    read = readers(graph, output)
    if len(read) != 1:
        return None
    node, slot = read[0]
    return node if node.op_type == "BatchNormalization" and not node.domain and slot == 0 else None


def chosen(order: Indices | None, keep: int, size: int) -> Indices | None:
    """The first `keep` of `size` channels, in `order` where there is one; None where that changes nothing."""
    if order is not None:
        return order[:keep]
    return None if keep == size else np.arange(keep)
