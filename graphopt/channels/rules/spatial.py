"""Resampling: batch and channel axes pass, spatial ones are frozen."""

from __future__ import annotations

import numpy as np

from graphopt.channels.labels import Label
from graphopt.channels.operator import CannotFollow, Operator, Size, channel_rule


@channel_rule("", "Resize", "Upsample")
def resize(op: Operator) -> None:
    """Axes that keep their size pass, resampled ones are frozen; sizes follow."""
    labels, before, after = op.input(0), op.shape(0), op.output_shape()
    for slot in range(1, op.input_count):
        op.freeze_all(op.input(slot), "states how to resample")
    axes = op.attribute("axes", list(range(len(labels))))
    result = list(labels)
    for axis, label in enumerate(labels):
        if label is not None and (before[axis] != after[axis] or (axis > 1 and axis in axes)):
            op.freeze(label, "resampled axis")
            result[axis] = None
    if any(label is not None for label in result):
        if op.has(3):
            _follow_sizes(op, result, axes)
        else:
            _check_scales(op, result, axes)
    op.output(result, zero=op.is_zero(0))


def _follow_sizes(op: Operator, labels: list[Label], axes: list[int]) -> None:
    stated = op.partial(3)
    sizes: list[Size] = []
    for place, axis in enumerate(axes):
        label, size = labels[axis], stated[place]
        if label is not None:
            sizes.append(label)
        elif size is not None:
            sizes.append(size)
        else:
            raise CannotFollow("its sizes are not known before it runs")
    op.follow_sizes(3, sizes)


def _check_scales(op: Operator, labels: list[Label], axes: list[int]) -> None:
    slot = 2 if op.opset() >= 11 and op.node.op_type == "Resize" else 1
    scales = op.constant(slot) if op.has(slot) else np.asarray(op.attribute("scales", []))
    if scales is None or len(scales) != len(axes) or any(scales[axes.index(a)] != 1 for a in axes if labels[a] is not None):
        raise CannotFollow("its scales are not known before it runs, or change the channel axis")


@channel_rule("", "GridSample")
def grid_sample(op: Operator) -> None:
    """The channel axis passes; the grid and spatial axes are frozen."""
    labels, grid = op.input(0), op.input(1)
    op.freeze_all([labels[0], *labels[2:], *grid], "sampled by position")
    op.output([None, labels[1], *[None] * (len(labels) - 2)], zero=op.is_zero(0))


@channel_rule("", "RoiAlign", "MaxRoiPool")
def roi(op: Operator) -> None:
    """The channel axis passes; regions and spatial axes are frozen."""
    labels = op.input(0)
    for slot in range(1, op.input_count):
        op.freeze_all(op.input(slot), "states the regions")
    op.freeze_all([labels[0], *labels[2:]], "sampled by position")
    op.output([None, labels[1], None, None], zero=op.is_zero(0))


@channel_rule("", "Trilu")
def trilu(op: Operator) -> None:
    """The last two axes are held, the others pass."""
    labels = op.input(0)
    op.freeze_all(labels[-2:], "masked by position")
    op.output([*labels[:-2], None, None], zero=op.is_zero(0))
