"""Neighbours that undo or repeat each other: Transposes, reshapes, Concats; and target shapes that can be constants."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from onnx import TensorProto

from graphopt.ir import ArrayTensor, Node, is_known

from ._edits import add_constant, fixed_tensor, storable
from ._scope import Rule, Scope, Shape, integers, same_count


def _permutation(scope: Scope, node: Node) -> list[int] | None:
    if "perm" in node.attributes:
        return list(node.attributes["perm"])
    shape = scope.shape(node.input(0))
    return None if shape is None else list(reversed(range(len(shape))))


def _transpose(scope: Scope, node: Node) -> Iterable[Node]:
    perm, source = _permutation(scope, node), node.input(0)
    if perm is None or source is None:
        return ()
    if perm == sorted(perm):
        return scope.drop(node, source)
    first = _inner(scope, node, ("Transpose",))
    inner = None if first is None else _permutation(scope, first)
    if first is None or inner is None:
        return ()
    both = [inner[axis] for axis in perm]
    if both == sorted(both):
        return scope.drop(node, first.input(0))
    if not _only_use(scope, first) or not scope.edits.permit("merged", node.label):
        return ()
    scope.graph.set_attribute(node, "perm", both)
    return _skip_inner(scope, node, first)


_SHAPERS = ("Reshape", "Flatten", "Squeeze", "Unsqueeze")


def _reshaping(scope: Scope, node: Node) -> Iterable[Node]:
    """Reshape, Flatten, Squeeze, Unsqueeze: the elements stay in order, so equal shapes are all that counts."""
    if not node.outputs or node.outputs[0] is None:
        return ()
    shape = scope.shape(node.outputs[0])
    if same_count(scope.shape(node.input(0)), shape):
        return scope.drop(node, node.input(0))
    first = _inner(scope, node, _SHAPERS)
    if first is not None and (same_count(scope.shape(first.input(0)), shape) or _undoes(scope, first, node)):
        return scope.drop(node, first.input(0))
    if node.op_type != "Reshape" or "shape" in node.attributes:
        return ()
    if fixed_tensor(node.input(1)) is None:
        return _fix_target(scope, node)
    target = scope.constant(node.input(1))
    if first is None or target is None or not _only_use(scope, first) or (not node.attributes.get("allowzero", 0) and 0 in target):
        return ()
    return _skip_inner(scope, node, first) if scope.edits.permit("merged", node.label) else ()


def _undoes(scope: Scope, first: Node, second: Node) -> bool:
    """Unsqueeze, then Squeeze of the same axes, or the other way around."""
    if {first.op_type, second.op_type} != {"Squeeze", "Unsqueeze"}:
        return False
    axes = integers(scope, first, "axes", 1)
    return axes is not None and axes == integers(scope, second, "axes", 1)


def _fix_target(scope: Scope, node: Node) -> Iterable[Node]:
    """Make a target shape that depends on the input's shape a constant. What is known in full is left to folding."""
    known = scope.integers.get(node.inputs[1]) if node.inputs[1] is not None else None
    if known is None or is_known(known) or node.attributes.get("allowzero", 0) or not storable(scope.graph, TensorProto.INT64):
        return ()
    sizes = _constant_target(known.reshape(-1).tolist(), scope.shape(node.input(0)) or ())
    if sizes is None or not scope.edits.permit("target shapes", node.label):
        return ()
    name = scope.edits.free_name(scope.graph, f"{node.output().name}/shape")
    scope.graph.set_input(node, 1, add_constant(scope.graph, name, ArrayTensor(np.array(sizes, dtype=np.int64)), node))
    return (node,)


def _constant_target(known: list[int | str | None], source: Shape) -> list[int] | None:
    """The target with 0 for a dimension that the input has in the same place, and -1 for one that follows from the rest.

    None where more than one would follow, or one could not be told from the rest when that is empty.
    """
    taken = [isinstance(size, str) and place < len(source) and source[place] == size for place, size in enumerate(known)]
    result = [size if isinstance(size, int) else 0 if own else -1 for size, own in zip(known, taken, strict=True)]
    added = result.count(-1) - known.count(-1)
    return None if result.count(-1) > 1 or (added and 0 in result) else result


def _concat(scope: Scope, node: Node) -> Iterable[Node]:
    """A single input, or a Concat of Concats along the same axis."""
    if len(node.inputs) == 1:
        return scope.drop(node, node.inputs[0])
    inner = [_inner(scope, node, ("Concat",), slot) for slot in range(len(node.inputs))]
    inner = [c if c and c.attributes.get("axis") == node.attributes.get("axis") and _only_use(scope, c) else None for c in inner]
    if not any(inner) or not scope.edits.permit("merged", node.label):
        return ()
    parts = [part for value, first in zip(node.inputs, inner, strict=True) for part in (first.inputs if first else (value,))]
    for slot, part in enumerate(parts):
        scope.graph.set_input(node, slot, part)
    for first in inner:
        if first is not None:
            scope.graph.remove(first)
    return (node,)


def _inner(scope: Scope, node: Node, operators: tuple[str, ...], slot: int = 0) -> Node | None:
    """The node before this one, if it is of one of these operators and in the same graph."""
    source = node.input(slot)
    first = None if source is None else source.producer
    if first is None or first.op_type not in operators or first.domain or first.graph is not scope.graph or first.input(0) is None:
        return None
    return first


def _only_use(scope: Scope, first: Node) -> bool:
    """Whether one node alone reads what `first` writes, so that merging removes it."""
    output = first.output()
    return scope.graph.nx.out_degree(output) == 1 and not scope.graph.is_output(output) and not scope.graph.pinned(output)


def _skip_inner(scope: Scope, node: Node, first: Node) -> Iterable[Node]:
    scope.graph.set_input(node, 0, first.input(0))
    scope.graph.remove(first)
    return (node,)


RULES: dict[str, Rule] = {
    "Concat": _concat,
    "Flatten": _reshaping,
    "Reshape": _reshaping,
    "Squeeze": _reshaping,
    "Transpose": _transpose,
    "Unsqueeze": _reshaping,
}
