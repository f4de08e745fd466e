"""From a graph to its kernels, in two halves: what does not depend on channel widths, and what does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graphopt.cost.attributes import timed_attributes
from graphopt.cost.fusion.layout import Item, LayoutPass, groups_of, without_layout
from graphopt.cost.fusion.match import apply_rules, every_fit, fits
from graphopt.cost.fusion.overlay import Op, Overlay, Shape, Wire, overlay
from graphopt.cost.fusion.rules import FusionRules
from graphopt.cost.fusion.steps import ALGORITHMS
from graphopt.cost.kernel import Attribute, Kernel, Operand, Signature, signature
from graphopt.cost.sizes import KnownTypes, fixed_types
from graphopt.ir import Graph, Value, inline_functions

ShapeOfValue = Callable[[Value], "Shape | None"]
# What a file need not say, and the runtime states in its optimised graph.
_DEFAULT_AXIS = {
    "Gather": 0,
    "GatherElements": 0,
    "Softmax": -1,
    "LogSoftmax": -1,
    "Hardmax": -1,
    "LayerNormalization": -1,
    "Split": 0,
    "TopK": -1,
}
_FILTERS = ("Conv", "FusedConv", "ConvTranspose")  # the size of their filters need not be stated


def kernels(graph: Graph, rules: FusionRules, types: KnownTypes | None = None) -> tuple[Kernel, ...]:
    """The kernels that a runtime executes for the root `graph`; calls of the model's own functions are replaced by their bodies first."""
    inlined = inline_functions(graph)
    if types is None or inlined is not graph:
        types = fixed_types(inlined)
    return fuse(inlined, rules, types).kernels()


def fuse(graph: Graph, rules: FusionRules, types: KnownTypes) -> Fused:
    """Everything but the layout. A value whose shape `types` does not know makes kernels with unknown sizes, taken as 1."""
    view = overlay(graph, types, rules.never_fold)
    for step in rules.steps:
        if step.algorithm:
            ALGORITHMS[step.algorithm](view)
        else:
            apply_rules(view, step)
    view.compact()
    return Fused(rules, view, graph.opset() if rules.runtime == "onnxruntime" else None)


class Fused:
    """A graph after fusion, from which the kernels for any channel widths follow; `opset` is that of the graph where kernels differ by it."""

    def __init__(self, rules: FusionRules, view: Overlay, opset: int | None = None) -> None:
        self.rules, self._opset = rules, opset
        self._ops = view.ops
        self._sums = _sums(rules, view)
        self._pairs = _pairs(rules, view)
        self._signatures: dict[Any, Signature] = {}
        self._attributes: dict[int, Any] = {}

    def kernels(self, shape: ShapeOfValue | None = None) -> tuple[Kernel, ...]:
        """The kernels in order; `shape` says the shape of a value where it is another than in the graph, None where it is the same."""
        shapes: dict[Wire, Shape | None] = {}

        def shape_of(wire: Wire) -> Shape | None:
            if wire in shapes:
                return shapes[wire]
            found = None
            if wire.value is not None:
                found = shape(wire.value) if shape is not None else None
                if found is None:
                    found = wire.known
            elif wire.derive is not None:
                found = wire.derive(shape_of)
            else:
                found = wire.known
            shapes[wire] = found
            return found

        if self.rules.layout is None:
            items = list(without_layout(self._ops))
        else:
            items = LayoutPass(self.rules, self.rules.layout, shape_of, self._sums, self._pairs).run(self._ops)
        return tuple(self._kernel(item, shape_of) for item in items)

    def _kernel(self, item: Item, shape_of: Callable[[Wire], Shape | None]) -> Kernel:
        inputs, outputs = item.inputs, item.outputs
        while outputs and outputs[-1] is None:
            outputs.pop()
        wires = [*inputs, *outputs]
        shapes = tuple(None if wire is None else shape_of(wire) for wire in wires)
        attributes = item.attributes
        key = (id(item.op), item.operator, attributes.get("activation"), shapes)
        found = self._signatures.get(key)
        if found is None:
            operands = [
                None if w is None else Operand(s if s is not None else (), w.elem_type, w.constant)
                for w, s in zip(wires, shapes, strict=True)
            ]
            made = [operand for operand in operands[len(inputs) :] if operand is not None]
            found = signature(item.operator, operands[: len(inputs)], made, _timed(item, shapes, self._opset))
            self._signatures[key] = found
        values = tuple(None if wire is None else wire.value for wire in wires)
        return Kernel(found, item.nodes, values, item.blocked)


def _timed(item: Item, shapes: tuple[Shape | None, ...], opset: int | None) -> tuple[tuple[str, Attribute], ...]:
    def constant(slot: int) -> tuple[int, ...] | None:
        wire = item.inputs[slot] if slot < len(item.inputs) else None
        found = None if wire is None else wire.numbers()
        return None if found is None else tuple(int(number) for number in found.reshape(-1).tolist())

    attributes = item.attributes
    if item.operator in _DEFAULT_AXIS and "axis" not in attributes:
        attributes = {**attributes, "axis": _DEFAULT_AXIS[item.operator]}
    first = shapes[0] if item.inputs and shapes else None
    slot = 3 if item.operator.endswith("QLinearConv") else 1
    if "group" in attributes and item.operator.endswith("Conv") and len(shapes) > slot:
        attributes = {**attributes, "group": groups_of(attributes, shapes[0], shapes[slot])}
    if "kernel_shape" not in attributes and item.operator.removeprefix("nchwc.") in _FILTERS and (weight := shapes[1]) is not None:
        attributes = {**attributes, "kernel_shape": weight[2:]}
    return timed_attributes(item.operator, attributes, None if first is None else len(first), constant, opset)


def _sums(rules: FusionRules, view: Overlay) -> dict[Op, dict[Op, Op | None]]:
    """By the Add: the convolutions that can take it, each with the activation that it can take with it."""
    found: dict[Op, dict[Op, Op | None]] = {}
    for op in view.ops:
        for rule in rules.late:
            fit = list(every_fit(rule, op)) if op.kind in rule.pattern[-1].kinds else []
            for bound in fit:
                found.setdefault(bound["add_op"], {})[bound["conv_op"]] = bound.get("act_op")
            if fit:
                break
    return found


def _pairs(rules: FusionRules, view: Overlay) -> dict[Op, tuple[Op, str]]:
    """By the first of two operations that can be one activation: the second, and the activation's name."""
    found: dict[Op, tuple[Op, str]] = {}
    for rule in rules.layout.pairs if rules.layout is not None else ():
        for op in view.ops:
            match = fits(rule, op) if op.kind in rule.pattern[-1].kinds else None
            if match is not None:
                found[match[1]["first_op"]] = (op, rule.name)
    return found
