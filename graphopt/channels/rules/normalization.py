"""Normalizations."""

from __future__ import annotations

from ..operator import CannotFollow, Operator, channel_rule


@channel_rule("", "BatchNormalization")
def batch_normalization(op: Operator) -> None:
    """Scale, bias, mean and variance carry the input's channel label."""
    if op.attribute("training_mode", 0) or len(op.node.outputs) > 1 or not op.attribute("spatial", 1):
        raise CannotFollow("runs in training mode or per activation")
    labels = op.input(0)
    for slot in (1, 2, 3, 4):
        labels[1] = op.equate(labels[1], op.input(slot)[0])
    op.output(labels, zero=op.is_zero(1) and op.is_zero(2))
