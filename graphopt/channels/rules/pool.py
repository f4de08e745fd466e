"""Pooling: the batch and channel axes pass, spatial ones are frozen."""

from __future__ import annotations

from graphopt.channels.operator import Operator, channel_rule


@channel_rule("", "AveragePool", "MaxPool", "LpPool", "GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool")
def pool(op: Operator) -> None:
    """Passes the channel axis; spatial axes are frozen."""
    labels = op.input(0)
    op.freeze_all(labels[2:], "spatial axis of a pooling")
    if len(op.node.outputs) > 1 and op.node.outputs[1] is not None:
        op.freeze_all(labels, "MaxPool's indices count through all channels")
    op.output([*labels[:2], *[None] * (len(labels) - 2)], zero=op.is_zero(0))
