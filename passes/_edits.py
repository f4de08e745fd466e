"""What the lossless passes share: one place that asks for permission, does a rewrite, and counts it."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping

import numpy as np
from onnx import TensorProto

from graphopt.ir import ArrayTensor, Graph, Node, Tensor, TensorType, Value
from graphopt.pipeline import Context, Skip

# Initializers are constants only since IR version 4; before, each is listed as an input, and whoever runs the model may override it.
FIRST_CONSTANT_INITIALIZERS = 4


class Edits:
    """The rewrites of one application of a pass."""

    def __init__(self, context: Context) -> None:
        self.counts: Counter[str] = Counter()
        self._context = context
        self._skipped: dict[Node, str] = {}
        self._names: set[str] | None = None

    @property
    def skipped(self) -> tuple[Skip, ...]:
        """The places that are still there, with the last reason given for each."""
        return tuple(Skip(node.label, why) for node, why in self._skipped.items() if node.graph is not None)

    def skip(self, node: Node, why: str) -> None:
        """Note that a node is left alone."""
        self._skipped[node] = why

    def permit(self, kind: str, where: str, count: int = 1) -> bool:
        """Ask for one rewrite, counted under its kind if permitted."""
        if not self._context.permit(f"{kind}: {where}"):
            return False
        self.counts[kind] += count
        return True

    def replace(self, graph: Graph, node: Node, source: Value, kind: str) -> bool:
        """Put `source` in the place of the node's first output and delete the node; False where that is impossible or not permitted."""
        if not replaceable(graph, node, source) or not self.permit(kind, node.label):
            return False
        if node.input(0) is not source:
            graph.set_input(node, 0, source)
        return graph.bypass(node)

    def free_name(self, graph: Graph, hint: str) -> str:
        """`hint`, or `hint_1`, `hint_2`, ...: a name that no value of the model has. Unlike `Graph.unique_name` it lists the names once."""
        if self._names is None:
            self._names = {name for scope in scopes(graph.root) for name in scope.values}
        name = hint if hint not in self._names else next(n for i in itertools.count(1) if (n := f"{hint}_{i}") not in self._names)
        self._names.add(name)
        return name


def replaceable(graph: Graph, node: Node, source: Value | None) -> bool:
    """Whether `source` can stand for the first output of `node`, whose other outputs must be unused. A graph output keeps its name: then
    `source` must take it, so it may be no input, initializer, output or outer value itself.
    """
    output = node.outputs[0] if node.outputs else None
    if source is None or output is None or graph.pinned(output) or any(v is not None and is_used(graph, v) for v in node.outputs[1:]):
        return False
    if not graph.is_output(output):
        return True
    return source.producer is not None and source.graph is graph and not graph.is_output(source) and not graph.pinned(source)


def is_used(graph: Graph, value: Value) -> bool:
    """Whether anything needs `value`: a node, the graph's outputs, or a name reference outside of nodes."""
    return graph.nx.out_degree(value) > 0 or graph.is_output(value) or graph.pinned(value)


def scopes(graph: Graph) -> Iterator[Graph]:
    """`graph` and every subgraph in it, outer ones first."""
    yield graph
    for node in graph.nodes:
        for subgraph in node.subgraphs:
            yield from scopes(subgraph)


def fixed_tensor(value: Value | None) -> Tensor | None:
    """The tensor of an initializer that no caller can override, or of a Constant node; nothing is read. None for everything else.

    Unlike `graph.constant` this looks through no Identity, and it knows neither sparse tensors nor strings.
    """
    if value is None or value.graph is None:
        return None
    if value.producer is None:
        tensor = None if value.graph.is_input(value) else value.tensor
    else:
        tensor = _constant_tensor(value.producer)
    return None if tensor is None or tensor.elem_type == TensorProto.STRING else tensor


_SCALARS = {"value_float": np.float32, "value_floats": np.float32, "value_int": np.int64, "value_ints": np.int64}


def _constant_tensor(node: Node) -> Tensor | None:
    if node.op_type != "Constant" or node.domain:
        return None
    for name, content in node.attributes.items():
        if isinstance(content, Tensor):
            return content
        if name in _SCALARS and isinstance(content, int | float | list):
            return ArrayTensor(np.asarray(content, dtype=_SCALARS[name]))
    return None


def type_of(types: Mapping[Value, TensorType], value: Value | None) -> TensorType | None:
    """The type of a value that may be newer than `types`."""
    if value is None:
        return None
    return TensorType(value.tensor.elem_type, value.tensor.shape) if value.tensor is not None else types.get(value)


def storable(graph: Graph, elem_type: int, node: bool = False) -> bool:
    """Whether a constant may be of this type, or also a Constant `node`, which before opset 9 holds only floats. Strings are left out."""
    if elem_type in (TensorProto.UNDEFINED, TensorProto.STRING):
        return False
    node = node or graph.ir_version < FIRST_CONSTANT_INITIALIZERS
    return not node or (graph.opset() or 1) >= 9 or elem_type in (TensorProto.FLOAT16, TensorProto.FLOAT, TensorProto.DOUBLE)


def add_constant(graph: Graph, name: str, tensor: Tensor, at: Node) -> Value:
    """A new value with fixed contents: an initializer, or a Constant node before `at` where initializers are not constants."""
    if graph.ir_version >= FIRST_CONSTANT_INITIALIZERS:
        return graph.add_initializer(name, tensor)
    return add_constant_node(graph, name, tensor, at)


def add_constant_node(graph: Graph, name: str, tensor: Tensor, at: Node) -> Value:
    """The output of a new Constant node before `at`."""
    return graph.add_node("Constant", [], [name], {"value": tensor}, at=at).output()


def remove_unused_constant(graph: Graph, value: Value) -> None:
    """Remove an initializer or Constant node that nothing uses any more, in whichever graph around it lives."""
    owner = value.graph
    if owner is None or is_used(owner, value):
        return
    if value.producer is not None:
        if value.producer.op_type in ("Constant", "Identity"):
            source = value.producer.input(0)
            owner.remove(value.producer)
            if source is not None:
                remove_unused_constant(graph, source)
    elif value.is_initializer and not owner.is_input(value):
        owner.remove_initializer(value)
