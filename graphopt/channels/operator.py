"""What a channel rule sees of the node it is about, and the registry of rules.

A rule says how the labels of a node's inputs and outputs relate. It can equate labels, pass them on, or freeze them; it cannot invent
units or change weights, so a wrong rule of a user may freeze or couple too much, but only forgetting a relation can go unnoticed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from graphopt.channels.labels import Label, Labels
from graphopt.channels.signs import POSITIVE, sign
from graphopt.ir import AttributeValue, Graph, IntegerEvaluator, Node, TensorType, Value, is_known

Shape = tuple[int | str | None, ...]
Rule = Callable[["Operator"], None]

_RULES: dict[tuple[str, str], Rule] = {}


def channel_rule(domain: str, *op_types: str) -> Callable[[Rule], Rule]:
    """Register the decorated function as the rule of operators of `domain` ("" for ONNX's own). A later rule replaces an earlier one."""

    def register(rule: Rule) -> Rule:
        for op_type in op_types:
            _RULES[domain, op_type] = rule
        return rule

    return register


def rule_for(node: Node) -> Rule | None:
    """The rule of the node's operator. A call of one of the model's own functions has one only if a user gave it one."""
    key = (node.domain, node.op_type)
    rule = _RULES.get(key)
    functions = node.graph.root.functions if node.graph is not None else ()
    if rule is not None and functions and rule.__module__.startswith(__package__ + "."):
        return None if any(function.key[:2] == key for function in functions) else rule
    return rule


def functions_with_rules(graph: Graph) -> set[tuple[str, str]]:
    """(domain, name) of the model's functions for which a user registered a rule, so that their bodies need not be looked into."""
    keys = {function.key[:2] for function in graph.functions} & set(_RULES)
    return {key for key in keys if not _RULES[key].__module__.startswith(__package__ + ".")}


def supported_operators() -> dict[tuple[str, str], str]:
    """(domain, operator) → the first line of its rule's docstring, for every operator that has a rule."""
    return {key: (rule.__doc__ or "").strip().split("\n")[0] for key, rule in sorted(_RULES.items(), key=lambda item: item[0])}


class CannotFollow(Exception):
    """Raised by a rule that cannot say how labels relate here; everything that the node touches is then frozen with the message."""


# What is left of an axis: from its label (not None) to the indices that stay, ascending.
Left = Callable[[Label], npt.NDArray[np.int64]]
# A size in a shape: a number, or the label of the axis whose size it is.
Size = int | npt.NDArray[np.int64]


@dataclass(frozen=True)
class Follow:
    """An attribute or an integer input that states sizes or positions, and must say something else once indices are gone.

    `place` is the attribute's name or the input's slot. `required` gives the new contents. `fits`, for inputs, says whether contents that
    the graph itself computes after the cut (ints, None where unknown) will do.
    """

    node: Node
    place: str | int
    required: Callable[[Left], AttributeValue]
    fits: Callable[[Sequence[int | None], Left], bool] | None = None
    # Attributes to set where an input is replaced, None to delete.
    attributes: Mapping[str, AttributeValue] = field(default_factory=dict)


@dataclass
class Walk:
    """What is known while the graph is walked."""

    graph: Graph
    labels: Labels
    types: dict[Value, TensorType]
    integers: IntegerEvaluator
    of: dict[Value, list[Label]] = field(default_factory=dict)
    # Values that are zero at every index that disappears, when the removed slices of the weights are zero.
    zero: set[Value] = field(default_factory=set)
    follow: list[Follow] = field(default_factory=list)


# Labels of a value as a node reads it in a slot.
Read = Callable[[Value, Node | None, int], list[Label]]


class Operator:
    """One node during the walk. Slots count from 0; labels are lists with one entry per axis (None: an axis that cannot change)."""

    def __init__(self, node: Node, walk: Walk, read: Read) -> None:
        self.node = node
        self._walk = walk
        self._read = read

    # ---- the node

    @property
    def input_count(self) -> int:
        return len(self.node.inputs)

    def has(self, slot: int) -> bool:
        return self.node.input(slot) is not None

    def attribute(self, name: str, default: AttributeValue = None) -> AttributeValue:
        return self.node.attributes.get(name, default)

    def opset(self) -> int:
        return self._walk.graph.opset(self.node.domain) or 1

    def shape(self, slot: int) -> Shape:
        """The input's shape; a rule on an input of unknown rank gives up."""
        value = self.node.input(slot)
        known = self._walk.types.get(value) if value is not None else None
        if known is None or known.shape is None:
            raise CannotFollow(f"the shape of its input {slot} is unknown")
        return known.shape

    def output_shape(self, slot: int = 0) -> Shape:
        known = self._walk.types.get(self._output(slot))
        if known is None or known.shape is None:
            raise CannotFollow("the shape of its output is unknown")
        return known.shape

    def constant(self, slot: int) -> np.ndarray[Any, Any] | None:
        """The contents of an input that is fixed in the file."""
        return self._walk.graph.constant(self.node.input(slot))

    def integers(self, slot: int) -> list[int] | None:
        """The elements of an integer input that are known in full, from the file or by evaluation."""
        partial = self._walk.integers.read(self.node.input(slot))
        if partial is None or not is_known(partial):
            return None
        return [int(element) for element in partial.flat]

    def partial(self, slot: int) -> list[int | None]:
        """The elements of an integer input, None for those that are not known; a rule gives up where nothing is."""
        partial = self._walk.integers.read(self.node.input(slot))
        if partial is None:
            raise CannotFollow(f"its input {slot} is not known before it runs")
        return [element if isinstance(element, int) else None for element in partial.reshape(-1).tolist()]

    # ---- labels in and out

    def input(self, slot: int) -> list[Label]:
        """Labels of the input's axes."""
        value = self.node.input(slot)
        if value is None:
            return []
        self.shape(slot)
        return list(self._read(value, self.node, slot))

    def output(self, labels: Sequence[Label], slot: int = 0, *, zero: bool = False) -> None:
        """Give the output its labels. `zero`: where indices have gone, the masked original has zeros."""
        if slot >= len(self.node.outputs) or self.node.outputs[slot] is None:
            return
        value = self._output(slot)
        known = self._walk.types.get(value)
        shape = known.shape if known is not None else None
        fits = shape is not None and self._agrees(labels, shape)
        made: list[Label] = []
        for label in labels:
            if label is None:
                pass
            elif not fits:
                self.freeze(
                    label, "the shape of its output is unknown" if shape is None else "the shape of its output is not what the rule expects"
                )
                label = None
            elif len(label) == 1:
                self.freeze(label, "the only index of an axis")
                label = None
            made.append(label)
        self._walk.of[value] = made
        if known is not None and not fits:
            self._walk.types[value] = TensorType(known.elem_type, None)  # the inference is wrong, or the rule: believe neither
        if zero:
            self._walk.zero.add(value)

    @staticmethod
    def _agrees(labels: Sequence[Label], shape: Shape) -> bool:
        return len(labels) == len(shape) and all(label is None or len(label) == size for label, size in zip(labels, shape, strict=True))

    def is_weight(self, slot: int) -> bool:
        """Whether the input is an initializer or the output of a Constant node."""
        value = self.node.input(slot)
        return value is not None and (value.is_initializer or (value.producer is not None and value.producer.op_type == "Constant"))

    def is_zero(self, slot: int) -> bool:
        """Whether the input is zero wherever its indices go. An absent input is."""
        value = self.node.input(slot)
        if value is None:
            return True
        self._read(value, self.node, slot)  # a weight is known as one once it has been read
        return value in self._walk.zero

    def is_positive(self, slot: int) -> bool:
        """Whether the input cannot be zero, whatever is cut."""
        return sign(self._walk.graph, self.node.input(slot)) == POSITIVE

    def _output(self, slot: int) -> Value:
        value = self.node.outputs[slot]
        assert value is not None
        return value

    # ---- relations

    def fresh(self, size: int) -> Label:
        """Units for an axis whose indices are all alike, so that it can have any size that what it meets asks for."""
        return self._walk.labels.fresh(size)

    def equate(self, a: Label, b: Label) -> Label:
        """The two axes lose the same indices."""
        return self._walk.labels.equate(a, b)

    def freeze(self, label: Label, why: str) -> None:
        """No index of the axis may go."""
        self._walk.labels.freeze(label, why)

    def freeze_all(self, labels: Sequence[Label], why: str) -> None:
        for label in labels:
            if label is not None:
                self.freeze(label, why)

    def inexact(self, label: Label, why: str) -> None:
        """Removing indices of the axis changes more than their own contribution."""
        self._walk.labels.inexact(label, why)

    def call(self, label: Label, kind: str) -> None:
        """Say what people call the units of the label: "heads", "head dimensions", "hidden units", "groups"; else they are "channels"."""
        self._walk.labels.call(label, kind)

    def contract(self, a: Label, b: Label, zero: bool) -> None:
        """The axes are summed over together; exact where one side is zero at every index that goes."""
        common = self.equate(a, b)
        if not zero:
            self.inexact(common, "sums over entries that are not zero when their weights are")

    def reshape(self, labels: Sequence[Label], before: Shape, after: Shape) -> list[Label]:
        """Labels after a row-major reshape."""
        return self._walk.labels.reshape(labels, before, after)

    def concat(self, parts: Sequence[tuple[int, Label]]) -> Label:
        """The label of axes one after the other, as (size, label)."""
        return self._walk.labels.concat(parts)

    def take(self, label: Label, indices: np.ndarray[Any, Any]) -> Label:
        """The label of an axis that picks `indices` of another."""
        return self._walk.labels.take(label, indices)

    # ---- what must be rewritten when indices go

    def follow_attribute(self, name: str, label: Label) -> None:
        """The attribute is the size of the axis."""
        if label is not None:
            self.follow(name, lambda left: len(left(label)))

    def follow_sizes(self, place: int | str, sizes: Sequence[Size]) -> None:
        """The list of ints holds sizes of axes, given by number or by the axis's label."""
        if any(not isinstance(size, int) for size in sizes):
            self.follow(place, lambda left: [size if isinstance(size, int) else len(left(size)) for size in sizes])

    def follow_indices(self, place: int | str, label: Label, indices: np.ndarray[Any, Any]) -> None:
        """The list of ints holds positions on the axis: those that stay are counted anew, the others go."""
        if label is not None:
            self.follow(place, lambda left: _counted_anew(left(label), len(label), indices))

    def follow(
        self,
        place: int | str,
        required: Callable[[Left], AttributeValue],
        fits: Callable[[Sequence[int | None], Left], bool] | None = None,
        **attributes: AttributeValue,
    ) -> None:
        """The general form of the above; see `Follow`."""
        self._walk.follow.append(Follow(self.node, place, required, fits, attributes))


def _counted_anew(left: npt.NDArray[np.int64], size: int, indices: np.ndarray[Any, Any]) -> list[int]:
    place = np.full(size, -1, np.int64)
    place[left] = np.arange(len(left))
    found = place[np.where(indices < 0, indices + size, indices)]
    return [int(i) for i in found if i >= 0]
