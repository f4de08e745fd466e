"""Quantization: labels pass to scale and zero point."""

from __future__ import annotations

from graphopt.channels.operator import CannotFollow, Operator, channel_rule


@channel_rule("", "QuantizeLinear", "DequantizeLinear")
def quantize(op: Operator) -> None:
    """Per-axis scale and zero point carry the axis's label."""
    labels = op.input(0)
    if op.attribute("block_size", 0):
        raise CannotFollow("quantizes in blocks")
    for slot in (1, 2):
        if op.has(slot) and op.input(slot):
            axis = op.attribute("axis", 1) % len(labels)
            if op.shape(slot)[0] != 1 or op.shape(0)[axis] == 1:
                labels[axis] = op.equate(labels[axis], op.input(slot)[0])
    if op.node.op_type == "QuantizeLinear":
        # A scale that is cut counts as zero, and what is divided by it does not.
        zero = _is_symmetric(op) and not (op.has(1) and any(label is not None for label in op.input(1)))
    else:
        # A stored weight that is cut counts as its zero point.
        zero = op.is_weight(0) or _is_symmetric(op)
    op.output(labels, zero=zero and op.is_zero(0))


def _is_symmetric(op: Operator) -> bool:
    zero_point = op.constant(2) if op.has(2) else None
    return not op.has(2) or (zero_point is not None and not zero_point.astype("int64").any())
