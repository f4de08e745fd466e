"""Multiply-accumulates per operator: one rule each, from the shapes of inputs and outputs."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

from graphopt.cost.operators import is_uncounted
from graphopt.cost.sizes import KnownTypes
from graphopt.ir import Node

Shape = tuple[int, ...]


class _UnknownShapeError(Exception):
    """A shape that a rule needs is not known."""


class _Shapes:
    """The shapes around a node; asking for an unknown one raises _UnknownShapeError."""

    def __init__(self, node: Node, types: KnownTypes) -> None:
        self.node, self.types = node, types

    def input(self, slot: int) -> Shape:
        return self._known(self.types.static(self.node.input(slot)))

    def output(self) -> Shape:
        return self._known(self.types.static(self.node.outputs[0] if self.node.outputs else None))

    @staticmethod
    def _known(shape: Shape | None) -> Shape:
        if shape is None:
            raise _UnknownShapeError
        return shape


def node_macs(node: Node, types: KnownTypes) -> int | None:
    """Multiply-accumulates of one node, without those of its subgraphs; None where the node has some that cannot be counted.

    Counted are contractions, products summed over an axis; everything else (activations, normalisation, pooling, element-wise operators)
    counts 0. An operator of a foreign domain, a model's own function included, cannot be counted.
    """
    rule = None if node.domain else _RULES.get(node.op_type)
    if rule is None:
        return None if is_uncounted(node.domain, node.op_type) else 0
    try:
        return rule(_Shapes(node, types))
    except (_UnknownShapeError, IndexError, KeyError, ValueError, ZeroDivisionError):
        return None


def _conv(weight_slot: int) -> Callable[[_Shapes], int]:
    # A weight is [out, in / group, *kernel]: one output element sums over everything but the first axis.
    return lambda shapes: prod(shapes.output()) * prod(shapes.input(weight_slot)[1:])


def _conv_transpose(shapes: _Shapes) -> int:
    # A weight is [in, out / group, *kernel]: one input element is multiplied with everything but the first axis.
    return prod(shapes.input(0)) * prod(shapes.input(1)[1:])


def _gemm(shapes: _Shapes) -> int:
    a = shapes.input(0)
    return prod(shapes.output()) * a[0 if shapes.node.attributes.get("transA", 0) else 1]


def _matmul(shapes: _Shapes) -> int:
    return prod(shapes.output()) * shapes.input(0)[-1]


def _einsum(shapes: _Shapes) -> int:
    """Two operands: one multiplication for each combination of all indices. One operand (transposition, diagonal, sum): none."""
    equation = str(shapes.node.attributes["equation"]).replace(" ", "")
    terms = equation.partition("->")[0].split(",")
    if len(terms) == 1:
        return 0
    if len(terms) != 2:
        raise _UnknownShapeError  # depends on the order in which the runtime multiplies
    sizes: dict[str, int] = {}
    for slot, term in enumerate(terms):
        shape = shapes.input(slot)
        before, dots, after = term.partition("...")
        middle = len(shape) - len(before) - len(after)
        # Axes under the ellipsis broadcast, aligned from the right.
        labels = [*before, *(f"...{axis}" for axis in range(middle, 0, -1)), *after] if dots else list(term)
        for label, size in zip(labels, shape, strict=True):
            sizes[label] = max(sizes.get(label, 1), size)
    return prod(sizes.values())


def _recurrent(shapes: _Shapes) -> int:
    # X is [steps, batch, in] or [batch, steps, in]; every element of W and R is used once per step and row.
    x = shapes.input(0)
    return x[0] * x[1] * (prod(shapes.input(1)) + prod(shapes.input(2)))


def _attention(shapes: _Shapes) -> int:
    # Each query element meets every key, and each output element sums over every key; both layouts, [B, L, H * d] and [B, H, L, d].
    keys = shapes.input(1)[-2]
    if shapes.node.input(4) is not None:
        keys += shapes.input(4)[-2]  # past keys
    return (prod(shapes.input(0)) + prod(shapes.output())) * keys


_RULES: dict[str, Callable[[_Shapes], int]] = {
    "Attention": _attention,
    "Conv": _conv(1),
    "ConvInteger": _conv(1),
    "ConvTranspose": _conv_transpose,
    "DeformConv": _conv(1),
    "Einsum": _einsum,
    "GRU": _recurrent,
    "Gemm": _gemm,
    "LSTM": _recurrent,
    "MatMul": _matmul,
    "MatMulInteger": _matmul,
    "QLinearConv": _conv(3),
    "QLinearMatMul": _matmul,
    "RNN": _recurrent,
}
