"""Operators whose result is a size: not channels. What they compute is evaluated again after a cut."""

from __future__ import annotations

from graphopt.channels.operator import Operator, channel_rule


@channel_rule("", "Shape", "Size")
def shape(op: Operator) -> None:
    """Labels end here; what is computed from the sizes follows."""
    op.output([None] * len(op.output_shape()))
