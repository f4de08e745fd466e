"""The words of the rules: functions for conditions and attributes, and shapes of what fusion makes up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import Any

from graphopt.cost.fusion.overlay import Op, Shape, Wire


def _rank(wire: Wire) -> int:
    shape = wire.shape
    return -1 if shape is None else len(shape)


def _dim(wire: Wire, axis: int) -> int | None:
    shape = wire.shape
    return None if shape is None else shape[axis]


def _attribute(op: Op, name: str, default: Any = None) -> Any:
    found = op.attributes.get(name, default)
    return tuple(found) if isinstance(found, list) else found


def _numbers(wire: Wire | None) -> tuple[Any, ...] | None:
    found = None if wire is None else wire.numbers()
    return None if found is None else tuple(found.reshape(-1).tolist())


def _same_shape(*wires: Wire) -> bool:
    return wires[0].shape is not None and all(wire.shape == wires[0].shape for wire in wires)


def _last_axis(axis: Any, wire: Wire) -> bool:
    """Whether `axis`, a number or the only item of a list, is the last of `wire`."""
    if isinstance(axis, tuple | list):
        if len(axis) != 1:
            return False
        axis = axis[0]
    return bool(axis == -1 or axis == _rank(wire) - 1)


def _axes(op: Op) -> tuple[int, ...] | None:
    """The axes of a reduction or of (Un)squeeze, from its attribute or its second input."""
    found = _attribute(op, "axes")
    return tuple(found) if found is not None else _numbers(op.input(1))


def _near(wire: Wire, number: float) -> bool:
    found = wire.number()
    return found is not None and abs(found - number) <= 1e-3 * max(1e-3, abs(number))


def _perm(op: Op) -> tuple[int, ...] | None:
    found = _attribute(op, "perm")
    rank = 0 if op.inputs[0] is None else _rank(op.inputs[0])
    return tuple(found) if found is not None else tuple(reversed(range(rank)))


def _swaps_last(op: Op) -> bool:
    """Whether a Transpose exchanges the last two axes and nothing else."""
    perm = _perm(op)
    return perm is not None and len(perm) > 1 and perm == (*range(len(perm) - 2), len(perm) - 1, len(perm) - 2)


def _padded(op: Op, pads: Wire) -> tuple[int, ...] | None:
    """The padding of a convolution or pool with that of a Pad before it; None where that pads other axes, takes away, or is not known."""
    found = _numbers(pads)
    if found is None or len(found) < 6 or min(found) < 0 or _attribute(op, "auto_pad", "NOTSET") != "NOTSET":
        return None
    rank = len(found) // 2
    if any((*found[:2], *found[rank : rank + 2])):
        return None
    own = _attribute(op, "pads", (0,) * (2 * rank - 4))
    return tuple(int(a + b) for a, b in zip(own, found[2:rank] + found[rank + 2 :], strict=True))


def _moves_batch(op: Op) -> int | None:
    """What is left for MatMul once the batch axes, all but the first and the last, have been moved: 0 nothing, 1 a transposition.

    [m, batch..., k] becomes [batch..., m, k] or [batch..., k, m]. None for any other Transpose.
    """
    perm = _perm(op)
    if perm is None or len(perm) < 3:
        return None
    last = len(perm) - 1
    batch = tuple(range(1, last))
    return 0 if perm == (*batch, 0, last) else 1 if perm == (*batch, last, 0) else None


def _composed(first: Op, second: Op) -> tuple[int, ...] | None:
    """The order of axes of two Transposes, one after the other."""
    a, b = _perm(first), _perm(second)
    return None if a is None or b is None else tuple(a[axis] for axis in b)


def _in_attention(x: Wire, y: Wire) -> bool:
    """Whether MatMul and Add from `x` to `y` are of an attention block whose input is a LayerNormalization: its first three, or its last.

    The last is known for one only where one of the first three has an Add.
    """
    if _closing_sum(x) is not None:
        return True
    for other in (wire for user in y.uses if user.kind == "Add" for wire in user.inputs if wire is not None and wire is not y):
        if _closing_sum(other) is not None and _closing_sum(other) is y.producer:
            products = [user.outputs[0] for user in other.uses if user.kind == "MatMul"]
            return any(len(wire.uses) == 1 and wire.uses[0].kind == "Add" for wire in products if wire is not None)
    return False


def _closing_sum(wire: Wire) -> Op | None:
    """Of the input of an attention block, which three products read and the sum that closes the block: the Add before that sum."""
    if wire.producer is None or wire.producer.kind != "LayerNormalization":
        return None
    if sorted(user.kind for user in wire.uses) != ["Add", "MatMul", "MatMul", "MatMul"]:
        return None
    add = next(user for user in wire.uses if user.kind == "Add")
    other = next((operand for operand in add.inputs if operand is not wire), None)
    maker = None if other is None else other.producer
    return maker if maker is not None and maker.kind == "Add" else None


CONDITIONS: Mapping[str, Callable[..., Any]] = {
    "rank": _rank,
    "dim": _dim,
    "size": lambda wire: None if wire.shape is None else prod(wire.shape),
    "shape": lambda wire: wire.shape,
    "known": lambda wire: wire.shape is not None,
    "attribute": _attribute,
    "kind": lambda op: op.kind,
    "axes": _axes,
    "number": lambda wire: wire.number(),
    "numbers": _numbers,
    "near": _near,
    "same_shape": _same_shape,
    "last_axis": _last_axis,
    "swaps_last": _swaps_last,
    "moves_batch": _moves_batch,
    "padded": _padded,
    "composed": _composed,
    "in_attention": _in_attention,
    "constant": lambda wire: wire.constant,
    "uses": lambda wire: len(wire.uses),
    "kept": lambda wire: wire.kept,
    "given": lambda wire: wire is not None,
    "type": lambda wire: wire.elem_type,
    "inputs": lambda op: len(op.inputs),
    "outputs": lambda op: len(op.outputs),
    "producer": lambda wire: None if wire.producer is None else wire.producer.kind,
    "abs": abs,
    "min": min,
    "max": max,
    "len": len,
    "prod": prod,
}


# ---- shapes


def _rows(x: Shape) -> Shape:
    """Everything but the last axis in one."""
    return prod(x[:-1]), x[-1]


def _gemm(a: Shape, b: Shape) -> Shape:
    return prod(a[:-1]), b[-1]


def _matmul(a: Shape, b: Shape) -> Shape:
    """As MatMul broadcasts."""
    if len(b) == 1:
        return a[:-1]
    lead, other = a[:-2], b[:-2]
    width = max(len(lead), len(other))
    batch = tuple(max(m, n) for m, n in zip((1,) * (width - len(lead)) + lead, (1,) * (width - len(other)) + other, strict=True))
    return (*batch, *(a[-2:-1] if len(a) > 1 else ()), b[-1])


SHAPES: Mapping[str, Callable[..., Shape]] = {
    "same": lambda x: x,
    "rows": _rows,
    "gemm": _gemm,
    "matmul": _matmul,
    "channels": lambda x: (x[1],),
    "outer": lambda w: (w[0],),
}
