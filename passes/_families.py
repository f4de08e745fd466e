"""The layers of a model, those that share a weight together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from graphopt.errors import PassParameterError
from graphopt.ir import Graph, Node, Value
from graphopt.pipeline import Skip
from graphopt.repair import GemmLayer, Layer, NoLayer, layer_of

from ._edits import scopes

OPERATORS = ("Conv", "Gemm", "MatMul")


@dataclass(frozen=True)
class Family:
    """Layers that read one weight in the same way, in topological order; mostly one layer."""

    graph: Graph
    layers: tuple[Layer, ...]

    @property
    def weight(self) -> Value:
        return self.layers[0].value

    @property
    def label(self) -> str:
        return self.layers[0].node.label


def same_family(family: Family, graph: Graph) -> Family:
    """The family itself, or where the root `graph` is a copy of its own, the one of the same layers there."""
    if family.graph.root is graph:
        return family
    nodes = [graph.value(layer.node.output().name).producer for layer in family.layers]
    return Family(graph, tuple(replace(layer, node=node) for layer, node in zip(family.layers, nodes, strict=True) if node is not None))


class Selection:
    """The layers that a pass's `layers` and `ignore` ask for; a layer that is named without wildcards must be one that it can change."""

    def __init__(self, name: str, layers: Sequence[str], ignore: Sequence[str]) -> None:
        self._name, self._layers, self._ignore = name, layers, ignore
        self.skipped: list[Skip] = []

    def families(self, graph: Graph) -> list[Family]:
        """The families among the root `graph`'s nodes and its subgraphs' that are asked for.

        PassParameterError for a pattern that names nothing, and for a name of a node that is no layer.
        """
        nodes = [(scope, node) for scope in scopes(graph) for node in scope.nodes]
        for pattern in (*self._layers, *self._ignore):
            if not any(_names(pattern, node) for _, node in nodes):
                raise PassParameterError(f"{self._name}: {pattern!r} names no node, output or weight of this model")
        found: dict[Value, list[tuple[Graph, Layer]]] = {}
        for scope, node in nodes:
            if (node.op_type in OPERATORS and not node.domain and self._wanted(node)) or self._named(node):
                try:
                    layer = layer_of(scope, node)
                except NoLayer as obstacle:
                    self.skip(node, str(obstacle))
                else:
                    found.setdefault(layer.value, []).append((scope, layer))
        return list(self._whole(found))

    def skip(self, node: Node, why: str) -> None:
        """Note that a node is left alone; PassParameterError where it was asked for by its name."""
        if self._named(node):
            raise PassParameterError(f"{self._name}: layer {node.label} was asked for, but {why}")
        self.skipped.append(Skip(node.label, why))

    def skip_all(self, family: Family, why: str) -> None:
        for layer in family.layers:
            self.skip(layer.node, why)

    def _wanted(self, node: Node) -> bool:
        if any(_names(pattern, node) for pattern in self._ignore):
            self.skipped.append(Skip(node.label, "ignored, as asked"))
            return False
        return not self._layers or any(_names(pattern, node) for pattern in self._layers)

    def _named(self, node: Node) -> bool:
        return any(not set(pattern) & set("*?[") and pattern in _own_names(node) for pattern in self._layers)

    def _whole(self, found: dict[Value, list[tuple[Graph, Layer]]]) -> Iterator[Family]:
        """The families that hold every reader of their weight."""
        for value, members in found.items():
            scope, layers = members[0][0], tuple(layer for _, layer in members)
            family = Family(scope, layers)
            if value.graph is not scope or any(other is not scope for other, _ in members):
                self.skip_all(family, "its weight is also known in another graph, around it or inside")
                continue
            readers = set(scope.consumers(value)) - {(layer.node, layer.slot) for layer in layers}
            if readers:
                node = next(iter(readers))[0]
                self.skip_all(family, f"its weight is also read by {node.label}")
            elif scope.is_output(value) or scope.pinned(value):
                self.skip_all(family, "its weight is also a graph output, or named by a quantization annotation or training information")
            elif len({_role(layer) for layer in layers}) > 1:
                self.skip_all(family, "layers that share its weight read it in different ways")
            else:
                yield family


def _role(layer: Layer) -> tuple[object, ...]:
    attributes = layer.node.attributes
    factor = (attributes.get("alpha", 1.0), attributes.get("transB" if layer.slot else "transA", 0)) if isinstance(layer, GemmLayer) else ()
    return layer.node.op_type, layer.slot, layer.sizes, factor


def _own_names(node: Node) -> set[str]:
    weights = [value.name for value in node.inputs[:2] if value is not None and _is_constant(value)]
    return {node.name, *(value.name for value in node.outputs if value is not None), *weights} - {""}


def _is_constant(value: Value) -> bool:
    return value.is_initializer or (value.producer is not None and value.producer.op_type == "Constant")


def _names(pattern: str, node: Node) -> bool:
    return any(name == pattern or fnmatchcase(name, pattern) for name in _own_names(node))
