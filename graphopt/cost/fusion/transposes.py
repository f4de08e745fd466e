"""Pushing transpositions towards each other, as ONNX Runtime's transpose optimizer does (its cost is the rank of what is transposed).

A Transpose is moved behind the operation that reads it where that takes one away, or where another one waits further down.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from graphopt.cost.fusion.overlay import Op, Overlay, Shape, ShapeOf, Wire, connect, disconnect, made_up

Perm = tuple[int, ...]

_UNARY = frozenset({
    "Abs", "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Cast", "Ceil", "Celu", "Clip", "Cos", "Cosh", "Dropout", "Elu", "Erf", "Exp",
    "Floor", "Gelu", "HardSigmoid", "HardSwish", "Identity", "LeakyRelu", "Log", "Mish", "Neg", "Not", "Reciprocal", "Relu", "Round", "Selu",
    "Sigmoid", "Sign", "Sin", "Sinh", "Softplus", "Softsign", "Sqrt", "Tan", "Tanh", "ThresholdedRelu",
})  # fmt: skip
_BROADCAST = frozenset({
    "Add", "And", "Div", "Equal", "Greater", "Less", "Max", "Mean", "Min", "Mod", "Mul", "Or", "PRelu", "Pow", "Sub", "Sum", "Where",
    "Xor",
})  # fmt: skip
_ALONG = frozenset(["Softmax", "LogSoftmax", "Hardmax", "Concat", "Split"])  # with an axis
_REDUCTIONS = frozenset({
    "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum",
    "ReduceSumSquare",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Plan:
    """How an operation looks when its input is no longer transposed: new attributes, and the order of axes of its outputs."""

    attributes: dict[str, Any]
    outputs: Perm


def push_transposes(overlay: Overlay) -> None:
    """Push the Transposes of `overlay` as far as that pays."""
    overlay.compact()
    wanted = _leading_to_transpose(overlay)
    for op in list(overlay.ops):
        slot = 0
        while not op.dead and slot < len(op.inputs):
            wire = op.inputs[slot]
            before = wire.producer if wire is not None else None
            if before is not None and before.kind == "Transpose" and _push(overlay, before, op, slot, wanted):
                slot = 0
                continue
            slot += 1
    overlay.compact()


def perm_of(op: Op) -> Perm | None:
    """The order of axes of a Transpose."""
    found = op.attributes.get("perm")
    if found is not None:
        return tuple(found)
    shape = op.inputs[0].shape if op.inputs[0] is not None else None
    return None if shape is None else tuple(reversed(range(len(shape))))


def _push(overlay: Overlay, transpose: Op, op: Op, slot: int, wanted: set[Wire]) -> bool:
    perm = perm_of(transpose)
    if perm is None or slot not in _slots(op):
        return False
    if op.kind == "Transpose":
        return _compose(overlay, transpose, op, perm)
    if not _pays(op, perm, wanted):
        return False
    plan = _plan(op, perm)
    if plan is None:
        return False
    inverse = _inverse(perm)
    for place in _slots(op):
        old = op.inputs[place]
        assert old is not None
        _read(overlay, op, place, _untransposed(overlay, old, perm, inverse))
    op.attributes = plan.attributes
    for place, output in enumerate(op.outputs):
        if output is None or plan.outputs == tuple(range(len(plan.outputs))):
            continue
        inner = made_up(output.elem_type, _back(output, plan.outputs))
        op.outputs[place] = inner
        inner.producer = op
        after = Op("Transpose", [inner], [output], {"perm": plan.outputs}, ())
        after.order = op.order + 1e-7
        after.nodes = ()
        connect(after)
        overlay.ops.append(after)
    return True


def _pays(op: Op, perm: Perm, wanted: set[Wire]) -> bool:
    if op.kind == "Reshape":
        return True
    cost = 0
    for place in _slots(op):
        wire = op.inputs[place]
        assert wire is not None
        before = wire.producer
        if wire.constant:
            continue
        if before is not None and before.kind == "Transpose":
            if perm_of(before) == perm and all(_can_push(user, wire) for user in wire.uses) and not wire.kept:
                cost -= _rank(wire)
        else:
            cost += _rank(wire)
    if cost < 0 and not any(output in wanted for output in op.outputs):
        cost += max((_rank(output) for output in op.outputs if output is not None), default=0)
    return cost < 0


def _rank(wire: Wire) -> int:
    """How much it costs to transpose `wire`, as the runtime reckons: its axes that are longer than 1."""
    return 5 if wire.shape is None else sum(size != 1 for size in wire.shape)


def _can_push(op: Op, wire: Wire) -> bool:
    return any(op.inputs[slot] is wire for slot in _slots(op))


def _slots(op: Op) -> list[int]:
    """The inputs through which a transposition can be pushed."""
    if op.kind in _BROADCAST:
        return [slot for slot, wire in enumerate(op.inputs) if wire is not None and wire.shape != ()]
    if op.kind == "Concat":
        return list(range(len(op.inputs)))
    if (
        op.kind in _UNARY
        or op.kind in _ALONG
        or op.kind in _REDUCTIONS
        or op.kind in ("Transpose", "Squeeze", "Unsqueeze", "Slice", "Pad", "Reshape")
    ):
        return [0]
    return [0] if op.kind == "Gather" and op.inputs[1] is not None and op.inputs[1].shape == () else []


def _plan(op: Op, perm: Perm) -> _Plan | None:
    rank = len(perm)
    attributes = dict(op.attributes)
    if op.kind in _BROADCAST:
        fits = all(wire is None or (wire.shape is not None and len(wire.shape) <= rank) for wire in op.inputs)
        return _Plan(attributes, perm) if fits else None
    if op.kind in _UNARY or op.kind == "Pad":
        return _Plan(attributes, perm)
    if op.kind in _ALONG:
        default = -1 if op.kind in ("Softmax", "LogSoftmax", "Hardmax") else 0
        attributes["axis"] = perm[op.attributes.get("axis", default) % rank]
        return _Plan(attributes, perm)
    if op.kind == "Gather":
        axis = perm[op.attributes.get("axis", 0) % rank]
        attributes["axis"] = axis
        return _Plan(attributes, _without(perm, (axis,)))
    if op.kind == "Reshape":
        return _reshape_plan(op, perm)
    axes = _axes(op, rank)
    if axes is None:
        return None
    new = tuple(sorted(perm[axis] for axis in axes))
    if op.kind == "Slice":
        attributes["axes"] = tuple(perm[axis] for axis in axes)
        return _Plan(attributes, perm)
    if op.kind == "Squeeze":
        attributes["axes"] = new
        return _Plan(attributes, _without(perm, new))
    if op.kind in _REDUCTIONS:
        attributes["axes"] = new
        return _Plan(attributes, perm if op.attributes.get("keepdims", 1) else _without(perm, new))
    return _Plan(attributes, _unsqueezed(perm, axes))


def _reshape_plan(op: Op, perm: Perm) -> _Plan | None:
    """Where each axis becomes some axes next to each other, the transposition can come after: it then moves those together."""
    before, after = (None if wire is None else wire.shape for wire in (op.inputs[0], op.outputs[0]))
    if before is None or after is None:
        return None
    runs = _runs(before, after) if len(after) >= len(before) else None
    if runs is None:
        return None
    order = [axis for place in _inverse(perm) for axis in runs[place]]
    return _Plan(dict(op.attributes), _inverse(tuple(order)))


def _runs(before: Shape, after: Shape) -> list[list[int]] | None:
    """For each axis of `before` the axes of `after` that it becomes, from the back; None where axes are joined."""
    runs: list[list[int]] = []
    end = len(after)
    for size in reversed(before):
        run: list[int] = []
        left = size
        while end and (left != 1 or (not run and after[end - 1] == 1)):
            end -= 1
            if left % after[end]:
                return None
            left //= after[end]
            run.insert(0, end)
        if left != 1:
            return None
        runs.insert(0, run)
    if any(size != 1 for size in after[:end]):
        return None
    if runs:
        runs[0] = [*range(end), *runs[0]]
    return runs


def _axes(op: Op, rank: int) -> tuple[int, ...] | None:
    if "axes" in op.attributes:
        found = op.attributes["axes"]
    else:
        wire = op.input(3 if op.kind == "Slice" else 1)
        numbers = None if wire is None else wire.numbers()
        if numbers is None:
            return None
        found = [int(axis) for axis in numbers.reshape(-1)]
    total = rank + len(found) if op.kind == "Unsqueeze" else rank
    return tuple(axis % total for axis in found)


def _without(perm: Perm, axes: tuple[int, ...]) -> Perm:
    """The order of the axes that are left once `axes`, counted before the transposition, are gone."""
    place = {axis: index for index, axis in enumerate(axis for axis in range(len(perm)) if axis not in axes)}
    return tuple(place[axis] for axis in perm if axis not in axes)


def _unsqueezed(perm: Perm, axes: tuple[int, ...]) -> Perm:
    """As `perm`, with new axes that stay where they are."""
    rank = len(perm) + len(axes)
    old = [axis for axis in range(rank) if axis not in axes]
    rest = iter(perm)
    return tuple(axis if axis in axes else old[next(rest)] for axis in range(rank))


def _untransposed(overlay: Overlay, wire: Wire, perm: Perm, inverse: Perm) -> Wire:
    """What `wire` is before a transposition by `perm`."""
    before = wire.producer
    if wire.constant:
        return made_up(wire.elem_type, _permuted(wire, inverse), constant=True)
    if before is not None and before.kind == "Transpose":
        source = before.inputs[0]
        old = perm_of(before)
        assert source is not None
        assert old is not None
        combined = tuple(old[axis] for axis in inverse)
        if combined == tuple(range(len(combined))):
            return source
        return _new_transpose(overlay, source, combined, before)
    return _new_transpose(overlay, wire, inverse, before)


def _new_transpose(overlay: Overlay, source: Wire, perm: Perm, after: Op | None) -> Wire:
    result = made_up(source.elem_type, _permuted(source, perm))
    op = Op("Transpose", [source], [result], {"perm": perm}, ())
    op.order = (after.order if after is not None else -1.0) + 1e-7
    connect(op)
    overlay.ops.append(op)
    return result


def _compose(overlay: Overlay, transpose: Op, op: Op, perm: Perm) -> bool:
    second = perm_of(op)
    source, output = transpose.inputs[0], op.outputs[0]
    if second is None or source is None or output is None:
        return False
    combined = tuple(perm[axis] for axis in second)
    first = transpose.outputs[0]
    if combined == tuple(range(len(combined))):
        op.nodes += transpose.nodes
        if output.kept and (source.kept or source.producer is None):  # a value cannot have two names
            op.kind, op.attributes = "Identity", {}
            _read(overlay, op, 0, source)
        else:
            overlay.remove(op, source)
            _drop_unused(overlay, first)
        return True
    nodes = transpose.nodes if first is not None and len(first.uses) == 1 and not first.kept else ()
    _read(overlay, op, 0, source)
    op.attributes = {"perm": combined}
    op.nodes += nodes
    return True


def _read(overlay: Overlay, op: Op, slot: int, wire: Wire) -> None:
    old = op.inputs[slot]
    op.inputs[slot] = wire
    if not wire.constant:
        wire.uses.append(op)
    if old is not None and not old.constant:
        old.uses.remove(op)
        _drop_unused(overlay, old)


def _drop_unused(overlay: Overlay, wire: Wire | None) -> None:
    if wire is not None and not wire.uses and not wire.kept and wire.producer is not None and wire.producer.kind == "Transpose":
        producer = wire.producer
        producer.dead = True
        disconnect(producer)


def _leading_to_transpose(overlay: Overlay) -> set[Wire]:
    wanted: set[Wire] = set()
    for op in reversed(overlay.ops):
        if op.kind == "Transpose":
            slots = [0]
        elif op.kind != "Reshape" and any(output in wanted for output in op.outputs):
            slots = _slots(op)
        else:
            continue
        wanted.update(wire for slot in slots if (wire := op.inputs[slot]) is not None)
    return wanted


def _inverse(perm: Perm) -> Perm:
    result = [0] * len(perm)
    for index, axis in enumerate(perm):
        result[axis] = index
    return tuple(result)


def _permuted(wire: Wire, perm: Perm) -> Callable[[ShapeOf], Shape | None]:
    """The shape of `wire`, with axes of size 1 put in front up to the rank of `perm`, in the order of `perm`."""

    def derive(shape: ShapeOf) -> Shape | None:
        found = shape(wire)
        if found is None:
            return None
        full = (1,) * (len(perm) - len(found)) + found
        return tuple(full[axis] for axis in perm)

    return derive


def _back(wire: Wire, perm: Perm) -> Callable[[ShapeOf], Shape | None]:
    return _permuted(wire, _inverse(perm))
