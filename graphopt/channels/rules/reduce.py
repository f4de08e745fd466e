"""Reductions: the reduced axes vanish."""

from __future__ import annotations

from graphopt.channels.labels import Label
from graphopt.channels.operator import CannotFollow, Operator, channel_rule

# Sums to which an absent entry contributes what a zero does.
_EXACT = {"ReduceSum", "ReduceL1", "ReduceL2", "ReduceSumSquare"}
_ZERO_AT_ZERO = {*_EXACT, "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd"}


@channel_rule(
    "",
    *("ReduceSum", "ReduceMean", "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceLogSum"),
    "ReduceLogSumExp",
)
def reduce(op: Operator) -> None:
    """Reduced axes vanish; a sum over a labelled axis is exact where absent entries are zero, anything else is inexact."""
    labels = op.input(0)
    axes = _reduced_axes(op, len(labels))
    if axes is None:
        raise CannotFollow("its axes are not known before it runs")
    name = op.node.op_type
    for axis in axes:
        if not (name in _EXACT and op.is_zero(0)):
            op.inexact(labels[axis], "reduces over it")
    if name == "ReduceLogSum" and not op.is_positive(0):
        for label in labels:
            op.inexact(label, "takes the logarithm of what may be zero")
    something = all(isinstance(size := op.shape(0)[axis], int) and size > 0 for axis in axes)  # of nothing, the product is 1
    zero = op.is_zero(0) and (name in _EXACT or (name in _ZERO_AT_ZERO and something))
    op.output(_without(labels, axes, op.attribute("keepdims", 1)), zero=zero)


@channel_rule("", "ArgMax", "ArgMin")
def arg(op: Operator) -> None:
    """The axis is held, since its positions are the result; the others pass."""
    labels = op.input(0)
    axis = op.attribute("axis", 0) % len(labels)
    op.freeze(labels[axis], "its positions are the result")
    op.output(_without(labels, [axis], op.attribute("keepdims", 1)))


@channel_rule("", "TopK")
def top_k(op: Operator) -> None:
    """The axis is held, since its positions are part of the result; the others pass."""
    labels = op.input(0)
    axis = op.attribute("axis", -1) % len(labels)
    op.freeze(labels[axis], "its positions are the result")
    labels[axis] = None
    op.output(labels)
    op.output(labels, slot=1)


@channel_rule("", "CumSum")
def cumulative_sum(op: Operator) -> None:
    """The summed axis is held, the others pass."""
    labels, axes = op.input(0), op.integers(1)
    if axes is None:
        raise CannotFollow("its axis is not known before it runs")
    axis = axes[0] % len(labels)
    op.freeze(labels[axis], "summed along")
    labels[axis] = None
    op.output(labels, zero=op.is_zero(0))


def _reduced_axes(op: Operator, rank: int) -> list[int] | None:
    if op.has(1):
        axes = op.integers(1)
        if axes is None:
            return None
    else:
        axes = list(op.attribute("axes", []))
    if not axes:
        return [] if op.attribute("noop_with_empty_axes", 0) else list(range(rank))
    return [axis % rank for axis in axes]


def _without(labels: list[Label], axes: list[int], keep: int) -> list[Label]:
    if keep:
        return [None if axis in axes else label for axis, label in enumerate(labels)]
    return [label for axis, label in enumerate(labels) if axis not in axes]
