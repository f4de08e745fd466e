"""Normalizations."""

from __future__ import annotations

from collections.abc import Collection

from graphopt.channels.labels import Label
from graphopt.channels.operator import CannotFollow, Operator, channel_rule


@channel_rule("", "BatchNormalization")
def batch_normalization(op: Operator) -> None:
    """Scale, bias, mean and variance carry the input's channel label."""
    if op.attribute("training_mode", 0) or len(op.node.outputs) > 1 or not op.attribute("spatial", 1):
        raise CannotFollow("runs in training mode or per activation")
    labels = op.input(0)
    for slot in (1, 2, 3, 4):
        labels[1] = op.equate(labels[1], op.input(slot)[0])
    op.output(labels, zero=_only(labels, [1]) and op.is_zero(1) and op.is_zero(2))


@channel_rule("", "InstanceNormalization")
def instance_normalization(op: Operator) -> None:
    """Scale and bias carry the channel label; spatial axes are frozen."""
    labels = op.input(0)
    op.freeze_all(labels[2:], "normalised over")
    channel = op.equate(op.equate(labels[1], op.input(1)[0]), op.input(2)[0])
    made = [labels[0], channel, *[None] * (len(labels) - 2)]
    op.output(made, zero=_only(made, [1]) and op.is_zero(1) and op.is_zero(2))


@channel_rule("", "LayerNormalization", "RMSNormalization")
def layer_normalization(op: Operator) -> None:
    """Scale and bias carry the normalised axes' labels; inexact along them."""
    labels = op.input(0)
    axis = op.attribute("axis", -1) % len(labels)
    passed = list(labels)
    for slot in (1, 2):
        if op.has(slot):
            passed = _equate_from_right(op, passed, slot)
    for label in passed[axis:]:
        op.inexact(label, "normalises over it")
    op.output(passed, zero=_only(passed, range(axis, len(passed))) and op.is_zero(1) and op.is_zero(2))
    for slot in (1, 2):
        op.output([*passed[:axis], *[None] * (len(labels) - axis)], slot=slot)


@channel_rule("com.microsoft", "SkipLayerNormalization", "SkipSimplifiedLayerNormalization")
def skip_layer_normalization(op: Operator) -> None:
    """As LayerNormalization over the last axis of the sum of two inputs."""
    labels = _equate_from_right(op, op.input(0), 1)
    for slot in range(2, op.input_count):
        if op.has(slot):
            labels[-1] = op.equate(labels[-1], op.input(slot)[-1])
    op.inexact(labels[-1], "normalises over it")
    op.output(labels)
    op.output([*labels[:-1], None], slot=1)
    op.output([*labels[:-1], None], slot=2)
    op.output(labels, slot=3)


def _equate_from_right(op: Operator, labels: list[Label], slot: int) -> list[Label]:
    other, shape = op.input(slot), op.shape(slot)
    result = list(labels)
    for axis in range(-len(other), 0):
        if shape[axis] != 1:
            result[axis] = op.equate(labels[axis], other[axis])
    return result


@channel_rule("", "GroupNormalization")
def group_normalization(op: Operator) -> None:
    """Channels are (groups, rest): a whole group goes exactly, a position in every group inexactly; `num_groups` follows."""
    labels, channels, groups = op.input(0), op.shape(0)[1], op.attribute("num_groups")
    if not isinstance(channels, int):
        raise CannotFollow("its channel count is unknown")
    op.freeze_all(labels[2:], "normalised over")
    scale, bias = op.input(1)[0], op.input(2)[0]
    outer, inner = op.reshape([labels[1]], (channels,), (groups, channels // groups))
    if op.shape(1)[0] == channels:
        channel = op.equate(op.equate(op.reshape([outer, inner], (groups, channels // groups), (channels,))[0], scale), bias)
        outer, inner = op.reshape([channel], (channels,), (groups, channels // groups))
    else:  # before opset 21 scale and bias are per group
        outer = op.equate(op.equate(outer, scale), bias)
    op.inexact(inner, "normalises over it")
    op.follow_attribute("num_groups", outer)
    op.call(outer, "groups")
    channel = op.reshape([outer, inner], (groups, channels // groups), (channels,))[0]
    made = [labels[0], channel, *[None] * (len(labels) - 2)]
    op.output(made, zero=_only(made, [1]) and op.is_zero(1) and op.is_zero(2))


@channel_rule("", "LRN")
def local_response_normalization(op: Operator) -> None:
    """The channel axis passes, inexactly: its neighbours are summed."""
    labels = op.input(0)
    op.inexact(labels[1], "normalises over neighbouring channels")
    op.output(labels, zero=op.is_zero(0))


@channel_rule("", "MeanVarianceNormalization")
def mean_variance_normalization(op: Operator) -> None:
    """Labels pass, inexactly."""
    labels = op.input(0)
    for label in labels:  # along the others too: the variance of what is gone is zero, by which it divides
        op.inexact(label, "normalises over it")
    op.output(labels)


@channel_rule("", "Softmax", "LogSoftmax", "Hardmax", "LpNormalization")
def softmax(op: Operator) -> None:
    """Labels pass; inexact along the axis."""
    labels = op.input(0)
    old = op.opset() < 13 and op.node.op_type != "LpNormalization"
    axis = op.attribute("axis", 1 if old else -1) % len(labels)
    for label in labels[axis:] if old else [labels[axis]]:
        op.inexact(label, "normalises over it")
    op.output(labels, zero=op.node.op_type == "LpNormalization" and op.is_zero(0))


def _only(labels: list[Label], axes: Collection[int]) -> bool:
    """Whether no axis but these is labelled: along others a scale and bias of zero do not make the output zero."""
    return all(label is None or axis in axes for axis, label in enumerate(labels))
