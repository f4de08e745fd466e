"""The blocked layout: which operations work on blocks of channels, and where tensors are converted. Depends on the channel widths."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from graphopt.cost.fusion.overlay import Op, Shape, Wire
from graphopt.cost.fusion.rules import Blocked, FusionRules, Layout
from graphopt.ir import Node

_WEIGHT, _BIAS, _SUM = 1, 2, 3  # input slots of a convolution


class Item:
    """One kernel to be: the runtime's operator with what it reads and writes."""

    __slots__ = ("attributes", "blocked", "inputs", "nodes", "op", "operator", "outputs", "place", "uses")

    def __init__(
        self, op: Op | None, operator: str, inputs: list[Wire | None], outputs: list[Wire | None], attributes: Mapping[str, Any]
    ) -> None:
        self.op = op
        self.operator = operator
        self.inputs = inputs
        self.outputs = outputs
        self.attributes = attributes
        self.nodes: tuple[Node, ...] = op.nodes if op is not None else ()
        self.blocked = False
        self.uses = 0  # of the output
        self.place = -1  # among the kernels


def groups_of(attributes: Mapping[str, Any], data: Shape | None, weight: Shape | None) -> int:
    """The groups of a convolution; the attribute states them for the widths of the file, the shapes for those that are asked for."""
    stated = int(attributes.get("group", 1))
    return stated if stated == 1 or data is None or weight is None or len(data) < 2 else data[1] // weight[1]


class LayoutPass:
    """One walk over the operations, which must be in topological order."""

    def __init__(
        self,
        rules: FusionRules,
        layout: Layout,
        shape: Callable[[Wire], Shape | None],
        sums: Mapping[Op, Mapping[Op, Op | None]],
        pairs: Mapping[Op, tuple[Op, str]],
    ) -> None:
        self.rules, self.layout, self.shape, self.sums, self.pairs = rules, layout, shape, sums, pairs
        self.items: list[Item | None] = []
        self.blocked: dict[Wire, Item] = {}  # wires that exist in blocked form, and what makes them so
        self.entered: dict[Wire, Item] = {}  # wires that were converted to it
        self.left: set[Wire] = set()  # blocked wires that were converted back
        self.plain: dict[Op, Item] = {}  # convolutions that are not blocked
        self.waiting: dict[Wire, Op] = {}  # transpositions that entering can do at once, by output, until something else needs them
        self.gone: set[Op] = set()

    def run(self, ops: list[Op]) -> list[Item]:
        find = self.layout.blocked.get
        for op in ops:
            if op in self.gone:
                continue
            spec = find(op.kind)
            if spec is None or not _ROLES[spec.role](self, op, spec):
                self._plain(op)
        return [item for item in self.items if item is not None]

    # ---- roles: each says whether the operation works on the blocked layout

    def _convolution(self, op: Op, spec: Blocked) -> bool:
        source, weight = op.inputs[0], op.input(_WEIGHT)
        shape = None if weight is None else self.shape(weight)
        if source is None or weight is None or shape is None or len(shape) != 4 or not weight.constant:
            return False
        variables = {
            "out": shape[0],
            "inner": shape[1],
            "group": groups_of(op.attributes, self.shape(source), shape),
            "block": self.rules.block,
        }
        case = next((case for case in spec.cases if case.when(variables)), None)
        if case is None:
            return False
        if case.plain_input:
            self._need(source)
        else:
            self._enter(source)
        item = self._emit(op, spec.name, op.inputs)
        if len(op.inputs) > _SUM and op.inputs[_SUM] is not None:
            self._enter(op.inputs[_SUM])
        self._mark(item, op)
        return True

    def _pool(self, op: Op, spec: Blocked) -> bool:
        source = op.inputs[0]
        enters = spec.enters or (spec.enters_inputs and source is not None and source.producer is None)
        if source is None or not (enters or source in self.blocked) or len([w for w in op.outputs if w is not None]) > 1:
            return False
        if not self._allowed(spec, op, source):
            return False
        self._enter(source)
        self._mark(self._emit(op, spec.name, op.inputs[: spec.operands] if spec.operands else op.inputs), op)
        return True

    def _activation(self, op: Op, spec: Blocked) -> bool:
        source = op.inputs[0]
        made = self.blocked.get(source) if source is not None else None
        if source is None or made is None:
            return False
        pair = self.pairs.get(op)
        if pair is not None and self._can_absorb(made, uses=2):
            second, made_of_both = pair
            made.attributes = {**made.attributes, "activation": made_of_both}
            made.nodes += tuple(node for node in op.nodes if node not in second.nodes)
            self.gone.add(second)
            self._absorb(made, second)
        elif self._can_absorb(made) and op.kind in self.layout.activations:
            made.attributes = {**made.attributes, "activation": op.kind}
            self._absorb(made, op)
        else:
            self._mark(self._emit(op, op.kind, op.inputs), op)
        return True

    def _binary(self, op: Op, spec: Blocked) -> bool:
        """A sum may have more than two operands; a convolution takes only one of two."""
        operands = [wire for wire in op.inputs if wire is not None and wire in self.blocked]
        shapes = {self.shape(wire) for wire in operands}
        if len(operands) != len(op.inputs) or len(shapes) != 1 or None in shapes:
            return False
        if spec.role == "sum" and len(operands) == 2:
            for wire, other in (operands, operands[::-1]):
                made = self.blocked[wire]
                if self._can_absorb(made) and len(made.inputs) <= _SUM:
                    made.inputs = [*made.inputs, *[None] * (_SUM - len(made.inputs)), other]
                    self._put(made)  # it can only run once the other operand is there
                    self._absorb(made, op)
                    return True
        self._mark(self._emit(op, op.kind, op.inputs), op)
        return True

    def _concat(self, op: Op, spec: Blocked) -> bool:
        if op.attributes.get("axis") not in (1, -3):
            return False
        for wire in op.inputs:
            if wire is None or wire not in self.blocked or not self._allowed(spec, op, wire):
                return False
        self._mark(self._emit(op, op.kind, op.inputs), op)
        return True

    def _normalization(self, op: Op, spec: Blocked) -> bool:
        """A scale and a shift per channel: a convolution of its own."""
        source = op.inputs[0]
        shape = None if source is None else self.shape(source)
        if source is None or source not in self.blocked or shape is None or not self._allowed(spec, op, source):
            return False
        scale = op.inputs[1]
        assert scale is not None
        weight = Wire(None, scale.elem_type, True)
        weight.derive = lambda of: None if (found := of(scale)) is None else (found[0], 1, 1, 1)
        item = self._emit(op, spec.name, [source, weight, op.input(2)])
        item.attributes = {"group": shape[1], "kernel_shape": [1, 1]}
        self._mark(item, op)
        return True

    # ---- conversions

    def _allowed(self, spec: Blocked, op: Op, wire: Wire) -> bool:
        shape = self.shape(wire)
        if shape is None or len(shape) != 4:
            return False
        variables = {"channels": shape[1], "block": self.rules.block, "op": op}
        return any(case.when(variables) for case in spec.cases)

    def _enter(self, wire: Wire | None) -> None:
        if wire is None or wire in self.blocked or wire in self.entered:
            return
        before = wire.producer
        if before is not None and len(wire.uses) == 1 and self.waiting.pop(wire, None) is before:
            item = Item(before, self.layout.enter, [before.inputs[0]], [wire], {"channels_last": 1})
        else:
            self._need(wire)
            item = Item(None, self.layout.enter, [wire], [wire], {})
        self.entered[wire] = item
        self._put(item)

    def _leave(self, wire: Wire) -> None:
        if wire in self.blocked and wire not in self.left:
            self.left.add(wire)
            self._put(Item(None, self.layout.leave, [wire], [wire], {}))

    def _enters(self, op: Op) -> bool:
        """Whether `op` reorders axes in the way that entering the layout can do by itself."""
        order = self.layout.enter_with.get(op.kind)
        return order is not None and tuple(op.attributes.get("perm", ())) == order

    def _need(self, wire: Wire) -> None:
        """Have `wire` in its plain form."""
        self._leave(wire)
        op = self.waiting.pop(wire, None)
        if op is not None:
            self._emit(op, op.kind, op.inputs)

    def _plain(self, op: Op) -> None:
        perm = self.layout.leave_with.get(op.kind)
        source = op.input(0)
        if perm is not None and source is not None and source in self.blocked and tuple(op.attributes.get("perm", ())) == perm:
            self._put(Item(op, self.layout.leave, [source], list(op.outputs), {"channels_last": 1}))
            self._hand_out(op)
            return
        for wire in op.inputs:
            if wire is not None:
                self._need(wire)
        if self._enters(op) and op.outputs[0] is not None and not op.outputs[0].kept:
            self.waiting[op.outputs[0]] = op
            return
        for before, activation in self.sums.get(op, {}).items():
            if before in self.plain:
                self._fuse_sum(op, self.plain[before], activation)
                return
        item = self._emit(op, op.kind, op.inputs)
        self.plain[op] = item
        self._hand_out(op)

    def _fuse_sum(self, op: Op, conv: Item, activation: Op | None) -> None:
        """A convolution outside the blocked layout that takes the sum after it, and the activation after that."""
        other = op.inputs[1] if op.inputs[0] is conv.outputs[0] else op.inputs[0]
        conv.operator = self.layout.outside_sum
        conv.inputs = [*conv.inputs, *[None] * (_SUM - len(conv.inputs)), other]
        conv.nodes += op.nodes
        conv.outputs = list(op.outputs)
        self._put(conv)
        last = op
        if activation is not None:
            conv.attributes = {**conv.attributes, "activation": activation.kind}
            conv.nodes += activation.nodes
            conv.outputs = list(activation.outputs)
            self.gone.add(activation)
            last = activation
        self._hand_out(last)

    # ---- book-keeping

    def _put(self, item: Item) -> None:
        """At the end, wherever it was before."""
        if item.place >= 0:
            self.items[item.place] = None
        item.place = len(self.items)
        self.items.append(item)

    def _emit(self, op: Op, operator: str, inputs: list[Wire | None]) -> Item:
        item = Item(op, operator, inputs, list(op.outputs), op.attributes)
        self._put(item)
        return item

    def _mark(self, item: Item, op: Op) -> None:
        output = op.outputs[0]
        assert output is not None
        item.blocked = True
        item.uses = len(output.uses) + output.kept
        self.blocked[output] = item
        self._hand_out(op)

    def _absorb(self, item: Item, op: Op) -> None:
        item.nodes += op.nodes
        item.outputs = list(op.outputs)
        self._mark(item, op)

    def _can_absorb(self, item: Item, uses: int = 1) -> bool:
        return (
            item.operator == self.layout.convolution and item.uses == uses and "activation" not in item.attributes and item.op is not None
        )

    def _hand_out(self, op: Op) -> None:
        for wire in op.outputs:
            if wire is not None and wire.kept and wire in self.blocked:
                self._leave(wire)


_ROLES: dict[str, Callable[[LayoutPass, Op, Blocked], bool]] = {
    "convolution": LayoutPass._convolution,
    "pool": LayoutPass._pool,
    "activation": LayoutPass._activation,
    "sum": LayoutPass._binary,
    "product": LayoutPass._binary,
    "concat": LayoutPass._concat,
    "normalization": LayoutPass._normalization,
}
ROLES = frozenset(_ROLES)


def without_layout(ops: list[Op]) -> Iterator[Item]:
    """The kernels of a runtime that has no layout of its own, or hides it."""
    return (Item(op, op.kind, op.inputs, list(op.outputs), op.attributes) for op in ops)
