"""Operators that put axes one after the other or pick indices of them."""

from __future__ import annotations

from ..labels import Label
from ..operator import CannotFollow, Operator, channel_rule


@channel_rule("", "Concat")
def concat(op: Operator) -> None:
    """The axis is the inputs' axes one after the other; the other axes are equal."""
    inputs = [op.input(slot) for slot in range(op.input_count)]
    shapes = [op.shape(slot) for slot in range(op.input_count)]
    rank = len(shapes[0])
    axis = op.attribute("axis", 1) % rank
    labels: list[Label] = []
    for place in range(rank):
        if place == axis:
            sizes = [shape[place] for shape in shapes]
            if any(label[place] is not None for label in inputs) and not all(isinstance(size, int) for size in sizes):
                raise CannotFollow("stacks axes of unknown size")
            labels.append(op.concat([(size, x[place]) for size, x in zip(sizes, inputs, strict=True) if isinstance(size, int)]))
            continue
        label = inputs[0][place]
        for x in inputs[1:]:
            label = op.equate(label, x[place])
        labels.append(label)
    op.output(labels, zero=all(op.is_zero(slot) for slot in range(op.input_count)))
