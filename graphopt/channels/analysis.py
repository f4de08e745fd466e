"""The walk over a graph that finds which channels live and die together."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import onnx

from graphopt.channels import rules as _rules  # noqa: F401  registers ONNX's operators
from graphopt.channels.groups import ChannelGroup, Ties, find_groups
from graphopt.channels.labels import Label, Labels
from graphopt.channels.operator import CannotFollow, Follow, Operator, Read, Walk, rule_for
from graphopt.channels.rewrite import freeze_unrewritable
from graphopt.channels.units import Units, UnitTable
from graphopt.ir import Graph, IntegerEvaluator, Node, TensorType, Value

# Initializers of other types state positions and conditions, not weights: none of their axes is a channel axis by itself.
_WITHOUT_CHANNELS = {onnx.TensorProto.INT64, onnx.TensorProto.BOOL, onnx.TensorProto.STRING, onnx.TensorProto.UNDEFINED}


@dataclass(frozen=True)
class Analysis:
    """What `analyse` found. It holds for the graph as it was; any edit makes it outdated."""

    graph: Graph
    version: int
    groups: tuple[ChannelGroup, ...]
    resolver: Labels
    weights: dict[Value, list[Label]]  # labels of initializers and Constant nodes, resolved
    shared: dict[Value, dict[tuple[Node, int], list[Label]]]  # the same for vectors with several readers, by (reader, slot)
    types: dict[Value, TensorType]
    labels: dict[Value, list[Label]]  # labels of all values, as they were found
    follow: tuple[Follow, ...]

    @property
    def table(self) -> UnitTable:
        return self.resolver.units

    def group(self, name: str) -> ChannelGroup:
        """The group of that name. Raises KeyError."""
        return self._by_name[name]

    @cached_property
    def _by_name(self) -> dict[str, ChannelGroup]:
        return {group.name: group for group in self.groups}

    def resolve(self, label: Label) -> Label:
        """The label in terms of the units that the groups have; where two say the same, the same array."""
        return self.resolver.resolve(label)

    @cached_property
    def distinct(self) -> list[tuple[Value, int, Units]]:
        """The resolved labels of all values, each once, with the first value and axis that has it."""
        found: dict[int, tuple[Value, int, Units]] = {}
        seen: set[int] = {id(None)}  # by identity, which is cheaper to ask for than what a label resolves to
        for value, labels in self.labels.items():
            for axis, label in enumerate(labels):
                if id(label) not in seen:
                    seen.add(id(label))
                    if (resolved := self.resolve(label)) is not None:
                        found.setdefault(id(resolved), (value, axis, resolved))
        return list(found.values())


def analyse(graph: Graph) -> Analysis:
    """Find the channel groups of a model's graph; the contract is docs/channels.md.

    Nothing is guessed: an operator without a rule freezes every unit of its inputs, and values that enter or leave a subgraph, the graph's
    inputs and its outputs are frozen.
    """
    table = UnitTable()
    types = dict(graph.named_types())
    walk = Walk(graph, Labels(table), types, IntegerEvaluator(types))
    weights: dict[Value, None] = {}
    shared: dict[Value, dict[tuple[Node, int], list[Label]]] = {}

    def read(value: Value, reader: Node | None, slot: int) -> list[Label]:
        if (known := walk.of.get(value)) is not None:
            return known
        # Exporters write equal vectors (biases of zeros, scales of ones) once. That couples nothing: each reader can have its own.
        uses = shared.setdefault(value, {}) if value in shared or _is_shared_vector(walk, value) else None
        if uses is not None and reader is not None:
            if (reader, slot) not in uses:
                uses[reader, slot] = _fresh(walk, value)
                # What a cut removes of it for one reader only is not zero in the masked original, unless all of it is.
                if (contents := graph.constant(value)) is not None and not contents.any():
                    walk.zero.add(value)
            return uses[reader, slot]
        walk.of[value] = _fresh(walk, value)
        if any(label is not None for label in walk.of[value]):
            weights[value] = None
            walk.zero.add(value)
        return walk.of[value]

    for node in graph.nodes:
        walk.integers.visit(node)
        walk.labels.where = node.label
        _apply_rule(Operator(node, walk, read), walk, read)
    for value in graph.outputs:
        walk.labels.where = f"output {value.name!r}"
        for label in read(value, None, -1):
            walk.labels.freeze(label, "graph output")
    freeze_unrewritable(walk)
    resolved = {value: [walk.labels.resolve(label) for label in walk.of[value]] for value in weights}
    uses = {value: {use: [walk.labels.resolve(label) for label in labels] for use, labels in by.items()} for value, by in shared.items()}
    ties = Ties()
    for value, labels in [*resolved.items(), *((value, labels) for value, by in uses.items() for labels in by.values())]:
        for axis, label in enumerate(labels):
            ties.add(value, axis, label)
    return Analysis(graph, graph.version, tuple(find_groups(table, ties)), walk.labels, resolved, uses, types, walk.of, tuple(walk.follow))


def _apply_rule(op: Operator, walk: Walk, read: Read) -> None:
    node = op.node
    if node.op_type == "Constant" and not node.domain:
        return  # read like an initializer
    rule = rule_for(node)
    why = f"no channel rule for operator {node.domain or 'ai.onnx'}.{node.op_type}"
    if node.subgraphs:
        rule, why = None, "values that enter or leave a subgraph stay"
    if rule is not None:
        try:
            rule(op)
        except CannotFollow as error:
            rule, why = None, str(error)
        except (LookupError, TypeError, ValueError) as error:  # a node that is not what its operator allows, or a mistake in a rule
            rule, why = None, f"its channel rule failed ({type(error).__name__}: {error})"
    if rule is None:
        captured = [(value, -1 - place) for place, value in enumerate(node.captures)]
        for value, slot in [*((value, slot) for slot, value in enumerate(node.inputs)), *captured]:
            if value is not None:
                for label in read(value, node, slot):
                    walk.labels.freeze(label, why)
    for value in node.outputs:
        if value is not None and (rule is None or value not in walk.of):
            known = walk.types.get(value)
            walk.of[value] = [None] * len(known.shape) if known is not None and known.shape is not None else []


def _fresh(walk: Walk, value: Value) -> list[Label]:
    """Labels of a value when it is first read: fresh units for a weight, none for a graph input or a value of an outer scope."""
    known = walk.types.get(value)
    shape = known.static if known is not None else None
    if known is None or shape is None or known.elem_type in _WITHOUT_CHANNELS or not _is_weight(walk.graph, value):
        return [None] * (len(known.shape) if known is not None and known.shape is not None else 0)
    return [walk.labels.fresh(size) for size in shape]


def _is_shared_vector(walk: Walk, value: Value) -> bool:
    """Whether the value is a weight with at most one axis that is larger than 1, and several readers."""
    known = walk.types.get(value)
    shape = known.static if known is not None else None
    if shape is None or sum(size > 1 for size in shape) != 1 or walk.graph.is_output(value) or not _is_weight(walk.graph, value):
        return False
    return walk.graph.nx.out_degree(value) > 1


def _is_weight(graph: Graph, value: Value) -> bool:
    if value.graph is not graph or value.sparse is not None or graph.pinned(value):
        return False
    if value.producer is not None:
        return _holds_tensor(value.producer)
    return value.tensor is not None and (not graph.is_input(value) or graph.ir_version < 4)


def _holds_tensor(node: Node) -> bool:
    return node.op_type == "Constant" and not node.domain and any(name in node.attributes for name in ("value", "value_floats"))
