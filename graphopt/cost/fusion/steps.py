"""Passes over an overlay that patterns cannot say."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

from graphopt.cost.fusion.overlay import Op, Overlay, Wire, made_up, shape_constant
from graphopt.cost.fusion.transposes import push_transposes
from graphopt.ir import Graph, Tensor

_SHARED = 8  # elements: larger constants are not compared by their contents


def common_subexpressions(overlay: Overlay) -> None:
    """Of operations with equal inputs and attributes only the first stays, in the order in which the runtime visits them.

    An output of the graph is always computed, and what reads it goes on reading it.
    """
    seen: dict[Hashable, Op] = {}
    same: dict[Wire, Wire] = {}  # values that are equal to another one
    equal: list[tuple[Op, Op]] = []
    for op in _as_the_runtime_visits(overlay.ops):
        if op.kind in overlay.never_fold or any(isinstance(value, Graph) for value in op.attributes.values()):
            continue
        attributes = tuple(sorted((name, _text(value)) for name, value in op.attributes.items()))
        key = (op.kind, len(op.outputs), tuple(_identity(same.get(wire, wire) if wire else None) for wire in op.inputs), attributes)
        first = seen.setdefault(key, op)
        if first is not op:
            equal.append((op, first))
            same |= {old: new for old, new in zip(op.outputs, first.outputs, strict=True) if old is not None and new is not None}
    for op, first in equal:
        for old, new in zip(op.outputs, first.outputs, strict=True):
            if old is not None and new is not None and not old.kept:
                for user in dict.fromkeys(old.uses):
                    user.inputs = [new if wire is old else wire for wire in user.inputs]
                new.uses.extend(old.uses)
                old.uses = []
        if not any(wire is not None and wire.kept for wire in op.outputs):
            overlay.drop(op)
    overlay.compact()
    if any(op.order < first.order for op, first in equal):
        _sort(overlay)


def _as_the_runtime_visits(ops: list[Op]) -> list[Op]:
    """`ops` in ONNX Runtime's own topological order: backwards from the operations that no other reads, depth first, the last one first."""
    order: list[Op] = []
    before = _makers(ops)
    stack = [(op, False) for op in ops if not any(wire is not None and wire.uses for wire in op.outputs)]
    visited: set[Op] = set()
    while stack:
        op, leaving = stack.pop()
        if leaving:
            order.append(op)
        elif op not in visited:
            visited.add(op)
            stack.append((op, True))
            stack.extend((maker, False) for maker in before.get(op, ()))
    return order


def _makers(ops: list[Op]) -> dict[Op, list[Op]]:
    """By operation: those whose results it reads, also inside a subgraph."""
    found: dict[Op, list[Op]] = {}
    for op in ops:
        for wire in op.outputs:
            for user in dict.fromkeys(wire.uses) if wire is not None else ():
                found.setdefault(user, []).append(op)
    return found


def _sort(overlay: Overlay) -> None:
    """Put every operation behind those that it reads from, and otherwise leave them as they are."""
    before = _makers(overlay.ops)
    order: dict[Op, None] = {}
    stack = overlay.ops[::-1]
    while stack:
        missing = [maker for maker in before.get(stack[-1], ()) if maker not in order]
        if missing and stack[-1] not in order:
            stack.extend(reversed(missing))
        else:
            order.setdefault(stack.pop())
    overlay.ops = list(order)
    for place, op in enumerate(overlay.ops):
        op.order = float(place)


def _identity(wire: Wire | None) -> Hashable:
    """What makes two inputs the same: being one value, or small constants with the same contents."""
    if wire is None or not wire.constant:
        return id(wire)
    numbers = wire.numbers()
    return id(wire) if numbers is None or numbers.size > _SHARED else (numbers.dtype.str, numbers.shape, numbers.tobytes())


def _text(value: Any) -> str:
    return repr(value.numpy().tolist()) if isinstance(value, Tensor) else repr(value)


def split_gathers(overlay: Overlay) -> None:
    """Gathers of single indices that together take a whole axis of one value become one Split."""
    _split(overlay, "Gather")


def split_slices(overlay: Overlay) -> None:
    """Slices that together take a whole axis of one value become one Split."""
    _split(overlay, "Slice")


def slice_splits(overlay: Overlay) -> None:
    """A Split becomes a Slice for every piece, in runtimes that have no other way to cut a tensor."""
    for op in [op for op in overlay.ops if op.kind == "Split" and not op.dead]:
        wire = op.inputs[0]
        pieces = [output for output in op.outputs if output is not None]
        bounds: list[Wire | None] = [shape_constant(1) for _ in ("starts", "ends", "axes")]
        attributes = {"axes": [op.attributes.get("axis", 0)]}
        overlay.replace([op], [Op("Slice", [wire, *bounds], [piece], attributes, op.nodes) for piece in pieces])
    overlay.compact()


def _split(overlay: Overlay, kind: str) -> None:
    for wire in [wire for op in overlay.ops if not op.dead for wire in op.outputs if wire is not None] + list(overlay.wires.values()):
        if len(wire.uses) > 1 and not wire.constant and not wire.kept and wire.shape is not None:
            users = [user for user in dict.fromkeys(wire.uses) if user.kind == kind]
            parts = [_part(user, wire) for user in users]
            if len(users) > 1 and _cover(parts, wire):
                _to_split(
                    overlay, wire, [user for _, user in sorted(zip(parts, users, strict=True), key=lambda pair: pair[0] or (0, 0, 0))]
                )
    overlay.compact()


def _part(op: Op, wire: Wire) -> tuple[int, int, int] | None:
    """(axis, start, end) of what `op` takes out of `wire`."""
    assert wire.shape is not None
    rank = len(wire.shape)
    if op.dead or op.inputs[0] is not wire:
        return None
    if op.kind == "Gather":
        index = op.inputs[1]
        if index is None or index.shape != () or (at := index.number()) is None:
            return None
        axis = op.attributes.get("axis", 0) % rank
        start = int(at) % wire.shape[axis]
        return axis, start, start + 1
    if op.kind != "Slice":
        return None
    starts, ends, axes, steps = (_integers(op, slot, name) for slot, name in enumerate(("starts", "ends", "axes", "steps"), 1))
    if starts is None or ends is None or len(starts) != 1 or steps not in (None, [1]) or (axes is None and len(op.inputs) > 3):
        return None
    axis = (axes or [0])[0] % rank
    size = wire.shape[axis]
    return axis, _clipped(starts[0], size), _clipped(ends[0], size)


def _clipped(index: int, size: int) -> int:
    return max(0, min(size, index + size if index < 0 else index))


def _integers(op: Op, slot: int, name: str) -> list[int] | None:
    if name in op.attributes:
        return list(op.attributes[name])
    wire = op.input(slot)
    found = None if wire is None else wire.numbers()
    return None if found is None else [int(number) for number in found.reshape(-1)]


def _cover(parts: list[tuple[int, int, int] | None], wire: Wire) -> bool:
    """Whether the parts follow each other along one axis from its start to its end."""
    found = [part for part in parts if part is not None]
    ordered = sorted(found)
    assert wire.shape is not None
    if len(found) != len(parts) or len({axis for axis, _, _ in found}) != 1:
        return False
    edges = [0, *(end for _, _, end in ordered)]
    return [start for _, start, _ in ordered] == edges[:-1] and edges[-1] == wire.shape[ordered[0][0]] and len(set(edges)) == len(edges)


def _to_split(overlay: Overlay, wire: Wire, users: list[Op]) -> None:
    part = _part(users[0], wire)
    assert part is not None
    axis = part[0]
    outputs: list[Wire | None] = []
    views = []
    nodes = tuple(node for user in users for node in user.nodes)
    for user in users:
        output = user.outputs[0]
        assert output is not None
        if user.kind == "Gather":
            piece = made_up(wire.elem_type, _one_of(wire, axis))
            views.append(Op("Squeeze", [piece, shape_constant(1)], [output], {}, ()))
            outputs.append(piece)
        else:
            outputs.append(output)
    op = Op("Split", [wire, shape_constant(len(users))], outputs, {"axis": axis}, nodes)
    overlay.replace(users, [op, *views])
    op.order = min(user.order for user in users)
    for index, view in enumerate(views):
        view.order = op.order + (index + 1) * 1e-6


def _one_of(wire: Wire, axis: int) -> Callable[[Callable[[Wire], tuple[int, ...] | None]], tuple[int, ...] | None]:
    def derive(shape: Callable[[Wire], tuple[int, ...] | None]) -> tuple[int, ...] | None:
        found = shape(wire)
        return None if found is None else (*found[:axis], 1, *found[axis + 1 :])

    return derive


ALGORITHMS: dict[str, Callable[[Overlay], None]] = {
    "common-subexpressions": common_subexpressions,
    "push-transposes": push_transposes,
    "slice-splits": slice_splits,
    "split-gathers": split_gathers,
    "split-slices": split_slices,
}
