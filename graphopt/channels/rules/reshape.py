"""Operators that regroup axes in row-major order."""

from __future__ import annotations

from ..operator import Operator, channel_rule


@channel_rule("", "Flatten")
def flatten(op: Operator) -> None:
    """Axes merge in row-major order."""
    op.output(op.reshape(op.input(0), op.shape(0), op.output_shape()), zero=op.is_zero(0))
