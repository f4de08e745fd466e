"""A light view of a graph that fusion may rewrite: operations and the wires between them. The graph itself is never edited."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx.reference import ReferenceEvaluator

from graphopt.cost.sizes import KnownTypes
from graphopt.ir import Graph, Node, Value, constant
from graphopt.ir.arithmetic import evaluate

Shape = tuple[int, ...]
ShapeOf = Callable[["Wire"], "Shape | None"]
_NUMBERS = 64  # elements; what is looked at for its contents is smaller


class Wire:
    """A tensor: a value of the graph, or (`value` None) one that fusion made up, whose shape `derive` finds from other wires."""

    __slots__ = ("constant", "derive", "elem_type", "kept", "known", "looked", "numbers_", "producer", "source", "uses", "value")

    def __init__(self, value: Value | None, elem_type: int, constant: bool, known: Shape | None = None) -> None:
        self.value = value
        self.elem_type = elem_type
        self.constant = constant  # known before the first run
        self.known = known
        self.derive: Callable[[ShapeOf], Shape | None] | None = None
        self.producer: Op | None = None
        self.uses: list[Op] = []  # the operations that read it, once per slot; not kept for constants
        self.kept = False  # an output of the graph
        self.looked = False  # for the numbers
        self.numbers_: npt.NDArray[Any] | None = None
        self.source: tuple[Node, list[Wire | None]] | None = None  # of a folded constant: the node that makes it, from what

    @property
    def shape(self) -> Shape | None:
        """The shape at the sizes that fusion was asked for."""
        if self.known is None and self.derive is not None:
            self.known = self.derive(_shape)
        return self.known

    def numbers(self) -> npt.NDArray[Any] | None:
        """The contents of a small constant; None for everything else."""
        if self.constant and self.numbers_ is None and not self.looked and self.shape is not None and prod(self.shape) <= _NUMBERS:
            self.numbers_, self.looked = _contents(self), True
        return self.numbers_

    def number(self) -> float | None:
        """The number that a constant of one element holds."""
        if self.shape is None or prod(self.shape) != 1:
            return None
        found = self.numbers()
        return None if found is None or found.dtype == object or found.size != 1 else float(found.reshape(-1)[0])

    def __repr__(self) -> str:
        return f"Wire({self.value.name if self.value is not None else '?'}{self.shape})"


class Op:
    """An operation: one kernel to be, and the nodes of the graph that it stands for, the anchor first."""

    __slots__ = ("attributes", "dead", "inputs", "kind", "nodes", "order", "outputs")

    def __init__(
        self, kind: str, inputs: list[Wire | None], outputs: list[Wire | None], attributes: Mapping[str, Any], nodes: tuple[Node, ...]
    ) -> None:
        self.kind = kind
        self.inputs = inputs
        self.outputs = outputs
        self.attributes = attributes
        self.nodes = nodes
        self.order = 0.0
        self.dead = False

    def input(self, slot: int) -> Wire | None:
        return self.inputs[slot] if slot < len(self.inputs) else None

    def __repr__(self) -> str:
        return f"Op({self.kind}, {self.inputs} -> {self.outputs})"


class Overlay:
    """The operations of a graph in topological order, without those whose results are known before the first run."""

    def __init__(self, ops: list[Op], wires: dict[Value, Wire], never_fold: frozenset[str]) -> None:
        self.ops = ops
        self.wires = wires
        self.never_fold = never_fold  # operators that make something else each time

    def compact(self) -> None:
        """Drop what has been replaced, and put what was added in its place."""
        self.ops = sorted((op for op in self.ops if not op.dead), key=lambda op: op.order)

    def replace(self, old: Iterable[Op], new: list[Op]) -> None:
        """Put `new` in the place of `old`; an output wire of `old` that is still wanted must be an output of `new`."""
        gone = list(old)
        place = max(op.order for op in gone)
        for op in gone:
            op.dead = True
            disconnect(op)
        for index, op in enumerate(new):
            op.order = place + (index - len(new) + 1) * 1e-6
            connect(op)
        self.ops.extend(new)

    def drop(self, op: Op) -> None:
        """Take out an operation that nothing reads."""
        op.dead = True
        disconnect(op)

    def remove(self, op: Op, instead: Wire) -> None:
        """Take `op` out; who read its only output reads `instead`."""
        output = op.outputs[0]
        assert output is not None
        op.dead = True
        disconnect(op)
        if output.kept:  # the wire that the graph hands out keeps its name
            instead.kept = True
        for user in set(output.uses):
            user.inputs = [instead if wire is output else wire for wire in user.inputs]
        instead.uses.extend(output.uses)
        output.uses = []


def connect(op: Op) -> None:
    for wire in op.inputs:
        if wire is not None and not wire.constant:
            wire.uses.append(op)
    for wire in op.outputs:
        if wire is not None:
            wire.producer = op


def disconnect(op: Op) -> None:
    for wire in op.inputs:
        if wire is not None and not wire.constant:
            wire.uses.remove(op)
    for wire in op.outputs:
        if wire is not None and wire.producer is op:
            wire.producer = None


def overlay(graph: Graph, types: KnownTypes, never_fold: frozenset[str]) -> Overlay:
    """The overlay of the root `graph`. A node with none but constant inputs makes a constant, unless its operator is in `never_fold`."""
    wires: dict[Value, Wire] = {}
    ops: list[Op] = []
    known = types.by_value

    def wire_of(value: Value, fixed: bool = False) -> Wire:
        kind = known.get(value)
        wire = Wire(value, kind.elem_type if kind is not None else 0, fixed, kind.static if kind is not None else None)
        wires[value] = wire
        return wire

    for value in graph.inputs:
        wire_of(value, False)
    overridable = graph.ir_version >= 4
    for value in graph.initializers:
        if not (overridable and value in wires):
            wire_of(value, True)
    for node in graph.nodes:
        inputs = [None if value is None else wires.get(value) or wire_of(value) for value in node.inputs]
        kind = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
        fixed = kind not in never_fold and not node.subgraphs_by_attribute and _is_fixed(kind, inputs)
        outputs = [None if value is None else wire_of(value, fixed) for value in node.outputs]
        if fixed:
            for wire in outputs:
                if wire is not None:
                    wire.source = (node, inputs)
            continue
        op = Op(kind, inputs, outputs, node.attributes, (node,))
        op.order = float(len(ops))
        connect(op)
        for value in node.captures if node.subgraphs_by_attribute else ():
            if value in wires:
                wires[value].uses.append(op)
        ops.append(op)
    for value in graph.outputs:
        if value in wires:
            wires[value].kept = True
    return Overlay(ops, wires, never_fold)


def _is_fixed(kind: str, inputs: list[Wire | None]) -> bool:
    if kind in ("Shape", "Size"):
        return bool(inputs) and inputs[0] is not None and inputs[0].shape is not None
    return all(wire is None or wire.constant for wire in inputs)


def made_up(
    elem_type: int, derive: Callable[[ShapeOf], Shape | None], constant: bool = False, numbers: npt.NDArray[Any] | None = None
) -> Wire:
    """A wire that is no value of the graph."""
    wire = Wire(None, elem_type, constant)
    wire.derive = derive
    wire.numbers_ = numbers
    return wire


def shape_constant(sizes: int) -> Wire:
    """A constant list of `sizes` integers, as Reshape and Squeeze read."""
    return Wire(None, onnx.TensorProto.INT64, True, (sizes,))


def _shape(wire: Wire) -> Shape | None:
    return wire.shape


def _contents(wire: Wire) -> npt.NDArray[Any] | None:
    """The contents of a constant: as the file has them, or computed from what its node reads."""
    if wire.value is None:
        return None
    found = constant(wire.value)
    return _evaluated(wire) if found is None and wire.source is not None else found


def _evaluated(wire: Wire) -> npt.NDArray[Any] | None:
    """The contents of a folded constant that follow from small constants and from shapes; None where they cannot be found cheaply."""
    assert wire.source is not None
    assert wire.value is not None
    node, inputs = wire.source
    if node.op_type == "Shape" and not node.domain:
        shape = inputs[0].shape if inputs[0] is not None else None
        return None if shape is None else np.asarray(shape[node.attributes.get("start", 0) : node.attributes.get("end")], np.int64)
    arrays = [None if read is None else read.numbers() for read in inputs]
    if any(array is None and read is not None for array, read in zip(arrays, inputs, strict=True)):
        return None
    quick = evaluate(node, arrays)  # the reference implementation takes a millisecond per node
    if quick is not None:
        return quick
    named = {read.value.name: array for read, array in zip(inputs, arrays, strict=True) if read is not None and read.value is not None}
    try:
        results: Any = ReferenceEvaluator(node.proto).run([wire.value.name], named)
        return np.asarray(results[0])
    except Exception:  # whatever cannot be computed is simply not known
        return None
