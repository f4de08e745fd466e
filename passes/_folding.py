"""Constant folding: what can be computed from constants alone becomes a constant, unless the file would grow.

Size rule: what becomes constant together takes no more bytes than the initializers that die with it, plus 128 for each node that goes,
about what its own record takes. So ConstantOfShape, Expand, Tile or Range with a large result stay; what is before and behind them is
folded as far as the rule allows.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import networkx as nx
import numpy.typing as npt
from onnx import helper

from graphopt.ir import ArrayTensor, Graph, Node, Tensor, TensorType, Value, known_integers

from ._edits import FIRST_CONSTANT_INITIALIZERS, Edits, add_constant, add_constant_node, fixed_tensor, is_used, storable
from ._evaluation import Evaluation
from ._operators import Operators

_RECORD = 128  # bytes
_PRICES = (1 << 16, 1 << 12, _RECORD)  # bytes that one node less may cost, if others make up for it
_LARGEST_RESULT = 1 << 28  # bytes; what is larger, and larger than the inputs, is not even computed


@dataclass
class Group:
    """Nodes of one graph that read each other's constants, and are folded together or not at all.

    `nodes` are in topological order; `stored` are the values that become constants when they go.
    """

    graph: Graph
    nodes: dict[Node, None] = field(default_factory=dict)
    stored: list[Value] = field(default_factory=list)


class Folding:
    """Folds in rounds; remembers which nodes cannot be computed, and the sizes of results that shape inference does not know."""

    def __init__(self, edits: Edits) -> None:
        self._edits = edits
        self._failed: set[Node] = set()
        self._sizes: dict[Value, int] = {}
        self._types: Mapping[Value, TensorType] = {}
        self._known: dict[Value, Tensor] = {}  # contents that need no evaluation
        self._members: dict[Node, int] = {}  # what may be folded this round, with its place in topological order

    def run(self, graphs: Iterable[Graph], types: Mapping[Value, TensorType]) -> bool:
        """One round. True where another may do more: something new is constant, cannot be computed, or is larger than expected."""
        self._types, self._known, self._members = types, {}, {}
        groups = [group for graph in graphs for group in self._groups(graph) if self._fit(group)]
        if not groups:
            return False
        known = len(self._failed) + len(self._sizes)
        evaluation = Evaluation(groups[0].graph.root, types, self._known)
        wanted = [value for group in groups for value in group.stored if value not in self._known]
        evaluation.run(self._needed(wanted), wanted)
        for node, why in evaluation.failures.items():
            self._edits.skip(node, f"cannot be computed now: {why}")
            self._failed.add(node)
        for value, array in evaluation.values.items():
            self._known[value] = ArrayTensor(array)
            self._sizes[value] = self._known[value].nbytes
        folded = [self._growth(group) <= 0 and self._apply(group) for group in groups]
        return any(folded) or len(self._failed) + len(self._sizes) > known

    # ---- what can be folded

    def _groups(self, graph: Graph) -> list[Group]:
        """The foldable nodes of `graph`, as groups."""
        operators, integers = Operators(graph), known_integers(graph, self._types)
        members = [node for node in graph.nodes if self._enlist(graph, node, operators, integers)]
        mine, sets = set(members), nx.utils.UnionFind(members)
        for node in members:
            for value in node.inputs:
                if value is not None and value.producer in mine:
                    sets.union(value.producer, node)
                elif value is not None and self._dies(graph, value, mine):
                    sets.union(next(iter(graph.nx.succ[value])), node)
        groups: dict[Node, Group] = {}
        for node in members:
            groups.setdefault(sets[node], Group(graph)).nodes[node] = None
        return list(groups.values())

    def _enlist(self, graph: Graph, node: Node, operators: Operators, integers: Mapping[Value, npt.NDArray[Any]]) -> bool:
        """Whether all that `node` writes is constant; if so it becomes a member."""
        outputs = [value for value in node.outputs if value is not None]
        if node in self._failed or not outputs or not all(self._replaceable(graph, value) for value in outputs):
            return False
        is_output = any(graph.is_output(value) for value in outputs)
        if node.op_type == "Constant" and not node.domain:
            if self._constant(outputs[0]) is None or is_output or graph.ir_version < FIRST_CONSTANT_INITIALIZERS:
                return False
        elif is_output and (len(node.outputs) > 1 or node.op_type == "Identity"):
            return False
        elif all(value in integers for value in outputs):
            self._known.update((value, ArrayTensor(integers[value])) for value in outputs)
        elif not self._computable(node, operators):
            return False
        self._members[node] = len(self._members)
        return True

    def _replaceable(self, graph: Graph, value: Value) -> bool:
        """Whether a constant may take the place of `value`."""
        known = self._types.get(value)
        return known is not None and storable(graph, known.elem_type, graph.is_output(value)) and not graph.pinned(value)

    def _computable(self, node: Node, operators: Operators) -> bool:
        inputs = [value for value in node.inputs if value is not None]
        if not inputs or not all(value.producer in self._members or self._constant(value) is not None for value in inputs):
            return False
        if not operators.foldable(node):
            return False
        largest = max(_LARGEST_RESULT, sum(self._bytes(value) for value in inputs))
        return all(self._bytes(value) <= largest for value in node.outputs)

    def _constant(self, value: Value) -> Tensor | None:
        """The contents of an initializer or Constant node."""
        if value not in self._known and (tensor := fixed_tensor(value)) is not None:
            self._known[value] = tensor
        return self._known.get(value)

    def _bytes(self, value: Value | None) -> int:
        """Size of a value's contents; 0 while it is not known."""
        if value is None:
            return 0
        if value in self._known:
            return self._known[value].nbytes
        known = self._types.get(value)
        if value in self._sizes or known is None or known.static is None or not known.elem_type:
            return self._sizes.get(value, 0)
        return math.prod(known.static) * int(helper.tensor_dtype_to_np_dtype(known.elem_type).itemsize)

    # ---- the size rule

    def _fit(self, group: Group) -> bool:
        """Choose what goes and what is stored. False where nothing goes."""
        everything = group.nodes
        group.stored = wanted = _stored(group)
        for price in _PRICES:
            if self._growth(group) <= 0:
                break
            group.nodes = self._cheapest(group.graph, everything, price)
            group.stored = _stored(group)
        for value in wanted:
            if value.producer is not None and value.producer not in group.nodes and (size := self._bytes(value)) > _RECORD:
                self._edits.skip(value.producer, f"its constant result of {size} bytes would make the file larger")
        return bool(group.stored)

    def _cheapest(self, graph: Graph, nodes: dict[Node, None], price: int) -> dict[Node, None]:
        """The nodes to let go so that bytes stored + price * nodes kept is least: a minimum cut between "now" (gone) and "kept".

        The edge from where a value comes from to the value costs its bytes; it is cut when something kept reads the value.
        """
        flow: nx.DiGraph[Any] = nx.DiGraph()
        flow.add_nodes_from(("now", "kept"))
        origins: dict[Value, Any] = {}
        for node in nodes:
            if node.op_type == "Constant":
                origins[node.output()] = "now"
                continue
            flow.add_edge("now", node, capacity=price)
            origins.update((value, node) for value in node.outputs if value is not None)
            origins.update((value, "now") for value in node.inputs if value is not None and self._dies(graph, value, nodes))
        for value, origin in origins.items():
            flow.add_edge(origin, value, capacity=self._bytes(value))
            for reader in graph.nx.succ[value]:
                flow.add_edge(value, reader if reader in nodes else "kept")  # without a capacity: never cut
            if graph.is_output(value):
                flow.add_edge(value, "kept")
        _, (now, _) = nx.minimum_cut(flow, "now", "kept")
        return {node: None for node in nodes if node.op_type == "Constant" or node in now}

    def _dies(self, graph: Graph, value: Value, gone: Collection[Node]) -> bool:
        """Whether `value` is an initializer or Constant node of `graph` that nothing needs once `gone` are."""
        if value.graph is not graph or value.producer in self._members or self._constant(value) is None:
            return False
        return not graph.is_output(value) and not graph.pinned(value) and all(reader in gone for reader in graph.nx.succ[value])

    def _growth(self, group: Group) -> int:
        """Bytes that the file gains, negative where it shrinks."""
        stored = sum(self._bytes(value) for value in group.stored)
        constants = [node.outputs[0] for node in group.nodes if node.op_type == "Constant"]
        read = {value for node in group.nodes for value in node.inputs if value is not None}
        dead = sum(self._bytes(value) for value in constants)
        dead += sum(self._bytes(value) for value in read if self._dies(group.graph, value, group.nodes))
        return stored - dead - _RECORD * (len(group.nodes) - len(constants))

    # ---- doing it

    def _needed(self, wanted: Iterable[Value]) -> list[Node]:
        """The members that must be computed for `wanted`, in topological order."""
        needed: set[Node] = set()
        stack = [value.producer for value in wanted]
        while stack:
            node = stack.pop()
            if node is not None and node not in needed:
                needed.add(node)
                stack.extend(value.producer for value in node.inputs if value is not None and value not in self._known)
        return sorted(needed, key=lambda node: self._members[node])

    def _apply(self, group: Group) -> bool:
        """Put the constants in place; True if more than Constant nodes went."""
        graph, stored = group.graph, [(value, self._known.get(value)) for value in group.stored]
        if any(tensor is None for _, tensor in stored):
            return False
        computed = sum(1 for node in group.nodes if node.op_type != "Constant")
        kind = "folded" if computed else "constant nodes"
        if not self._edits.permit(kind, next(iter(group.nodes)).label, computed or len(group.nodes)):
            return False
        names = []
        for value, tensor in stored:
            node = value.producer
            assert node is not None
            assert tensor is not None
            name = self._edits.free_name(graph, value.name)
            if graph.is_output(value):
                graph.set_input(node, 0, add_constant_node(graph, name, tensor, node))
                graph.bypass(node)
            else:
                new = add_constant(graph, name, tensor, node)
                graph.replace_uses(value, new)
                names.append((new, value.name))
        for node in reversed(group.nodes):
            if node.graph is graph and not any(value is not None and is_used(graph, value) for value in node.outputs):
                graph.remove(node)
        for new, name in names:
            if not graph.has_value(name):
                graph.rename(new, name)
        return computed > 0


def _stored(group: Group) -> list[Value]:
    """What must be in the file when the group's nodes go: their outputs that others read."""
    values = [value for node in group.nodes for value in node.outputs if value is not None]
    return [v for v in values if group.graph.is_output(v) or any(reader not in group.nodes for reader in group.graph.nx.succ[v])]
