"""Operators that change nothing: one rule per operator, driven by a worklist.

A rule rewrites where it can prove that shape, type and values stay. `x + 0.0` counts as `x` although it turns -0.0 into 0.0, which compare
equal.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from graphopt.ir import Graph, Node, TensorType, Value

from . import _neighbours
from ._edits import Edits, type_of
from ._operators import Operators
from ._scope import Rule, Scope, integers, same, uniform


def remove_noops(graph: Graph, types: Mapping[Value, TensorType], edits: Edits) -> None:
    """Apply the rules until none applies."""
    scope, operators = Scope(graph, types, edits), Operators(graph)
    waiting = deque(node for node in graph.nodes if node.op_type in _RULES)
    queued = set(waiting)
    while waiting:
        node = waiting.popleft()
        queued.discard(node)
        if node.graph is not graph or not operators.standard(node):
            continue
        for changed in _RULES[node.op_type](scope, node):
            if changed.op_type in _RULES and changed.graph is graph and changed not in queued:
                queued.add(changed)
                waiting.append(changed)


def _always(scope: Scope, node: Node) -> Iterable[Node]:
    return scope.drop(node, node.input(0))


def _one_input(scope: Scope, node: Node) -> Iterable[Node]:
    return scope.drop(node, node.inputs[0]) if len(node.inputs) == 1 else ()


def _one_output(scope: Scope, node: Node) -> Iterable[Node]:
    return scope.drop(node, node.input(0)) if len(node.outputs) == 1 else ()


def _same_shape(scope: Scope, node: Node) -> Iterable[Node]:
    shapes = scope.shape(node.input(0)), scope.shape(node.outputs[0])
    return scope.drop(node, node.input(0)) if same(*shapes) else ()


def _dropout(scope: Scope, node: Node) -> Iterable[Node]:
    if scope.opset < 7:
        inference = bool(node.attributes.get("is_test", 0))
    else:
        training = node.input(2)
        inference = training is None or uniform(scope, training, 0) is not None
    return scope.drop(node, node.input(0)) if inference else ()


def _cast(scope: Scope, node: Node) -> Iterable[Node]:
    before, after = type_of(scope.types, node.input(0)), type_of(scope.types, node.outputs[0])
    if before is None or after is None or before.elem_type != after.elem_type or not before.elem_type:
        return ()
    return scope.drop(node, node.input(0))


def _flat(scope: Scope, node: Node, number: int, slots: Sequence[int]) -> Iterable[Node]:
    """Element-wise with `number` in one of `slots`, where that is the neutral element and broadcasts nothing."""
    for slot in slots:
        neutral, other = uniform(scope, node.input(slot), number), node.input(1 - slot)
        if neutral is None or other is None:
            continue
        shape = scope.shape(other)
        rank = 0 if shape is None else len(shape)
        if (neutral.size == 1 and neutral.ndim <= rank) or neutral.ndim == 0 or same(shape, scope.shape(node.outputs[0])):
            return scope.drop(node, other)
    return ()


def _expand(scope: Scope, node: Node) -> Iterable[Node]:
    shape, target = scope.shape(node.input(0)), uniform(scope, node.input(1), 1)
    if shape is not None and target is not None and target.size <= len(shape):
        return scope.drop(node, node.input(0))
    return _same_shape(scope, node)


def _tile(scope: Scope, node: Node) -> Iterable[Node]:
    return scope.drop(node, node.input(0)) if scope.opset >= 6 and uniform(scope, node.input(1), 1) is not None else ()


def _pad(scope: Scope, node: Node) -> Iterable[Node]:
    pads = integers(scope, node, "paddings" if scope.opset < 2 else "pads", 1)
    return scope.drop(node, node.input(0)) if pads is not None and not any(pads) else ()


def _slice(scope: Scope, node: Node) -> Iterable[Node]:
    """Everything from the start in steps of 1."""
    starts, ends = integers(scope, node, "starts", 1), integers(scope, node, "ends", 2)
    if node.input(4) is not None and uniform(scope, node.input(4), 1) is None:
        return ()
    shape = scope.shape(node.input(0))
    if same(shape, scope.shape(node.outputs[0])):
        return scope.drop(node, node.input(0))
    if starts is None or ends is None or any(starts):
        return ()
    axes = integers(scope, node, "axes", 3)
    if axes is None and node.input(3) is not None:
        return ()
    sizes = dict(enumerate(shape or ()))
    for axis, end in zip(range(len(ends)) if axes is None else axes, ends, strict=False):
        size = sizes.get(axis if axis >= 0 else axis + len(sizes))
        if end < np.iinfo(np.int32).max and not (isinstance(size, int) and end >= size):
            return ()
    return scope.drop(node, node.input(0))


def _resize(scope: Scope, node: Node) -> Iterable[Node]:
    """Same size: every interpolation reads exactly one element, except where the coordinates are shifted or cropped."""
    if node.attributes.get("coordinate_transformation_mode") in ("tf_crop_and_resize", "tf_half_pixel_for_nn"):
        return ()
    value = node.input(1 if node.op_type == "Upsample" or scope.opset < 11 else 2)
    scales = node.attributes.get("scales", scope.constant(value))
    if value is not None and scales is None:
        return ()
    if scales is not None and len(scales):
        return scope.drop(node, node.input(0)) if all(scale == 1 for scale in scales) else ()
    return _same_shape(scope, node)


def _where(scope: Scope, node: Node) -> Iterable[Node]:
    for slot, number in ((1, 1), (2, 0)):
        condition, taken = uniform(scope, node.input(0), number), node.input(slot)
        if condition is not None and same(scope.shape(taken), scope.shape(node.outputs[0])):
            return scope.drop(node, taken)
    return ()


_RULES: dict[str, Rule] = {
    **_neighbours.RULES,
    "Identity": _always,
    "Dropout": _dropout,
    "Cast": _cast,
    "CastLike": _cast,
    "Expand": _expand,
    "Tile": _tile,
    "Pad": _pad,
    "Slice": _slice,
    "Resize": _resize,
    "Upsample": _resize,
    "Where": _where,
    "Sum": _one_input,
    "Max": _one_input,
    "Min": _one_input,
    "Mean": _one_input,
    "Split": _one_output,
    "Add": lambda scope, node: _flat(scope, node, 0, (0, 1)),
    "Sub": lambda scope, node: _flat(scope, node, 0, (1,)),
    "Mul": lambda scope, node: _flat(scope, node, 1, (0, 1)),
    "Div": lambda scope, node: _flat(scope, node, 1, (1,)),
    "Pow": lambda scope, node: _flat(scope, node, 1, (1,)),
}
