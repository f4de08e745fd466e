"""Quantization: labels pass to scale and zero point."""

from __future__ import annotations

from ..operator import CannotFollow, Operator, channel_rule


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
    zero_point = op.constant(2) if op.has(2) else None
    symmetric = not op.has(2) or (zero_point is not None and not zero_point.astype("int64").any())
    op.output(labels, zero=symmetric and op.is_zero(0))
