"""Convolutions. With g groups the input channels are (g, I/g) and the output channels (g, O/g); dense and depthwise are special cases."""

from __future__ import annotations

from graphopt.channels.labels import Label
from graphopt.channels.operator import CannotFollow, Operator, channel_rule


def split(op: Operator, label: Label, size: int, groups: int) -> tuple[Label, Label]:
    """An axis of `size` as (groups, size / groups)."""
    outer, inner = op.reshape([label], (size,), (groups, size // groups))
    return outer, inner


def merge(op: Operator, outer: Label, inner: Label, groups: int, size: int) -> Label:
    """The axis of `size` that (groups, size / groups) make."""
    return op.reshape([outer, inner], (groups, size // groups), (size,))[0]


@channel_rule("", "Conv")
def conv(op: Operator) -> None:
    """Input channels equal the weight's second axis, output channels its first, in as many groups as `group` says."""
    x, weight = op.input(0), op.input(1)
    op.freeze_all([*x[2:], *weight[2:]], "spatial axis of a convolution")
    op.freeze(x[0], "batch axis of a convolution")
    groups, channels = op.attribute("group", 1), op.shape(0)[1]
    zero = op.is_zero(0) or op.is_zero(1)
    if groups == 1:
        op.contract(x[1], weight[1], zero)
        out = weight[0]
    else:
        size_in, size_out = _size(channels), _size(op.shape(1)[0])
        x_group, x_inner = split(op, x[1], size_in, groups)
        w_group, w_inner = split(op, weight[0], size_out, groups)
        op.contract(x_inner, weight[1], zero)
        group = op.equate(x_group, w_group)
        op.follow_attribute("group", group)
        if size_in > groups:
            op.call(group, "groups")
        out = merge(op, group, w_inner, groups, size_out)
    _finish(op, x, out, 2)


@channel_rule("", "ConvTranspose")
def conv_transpose(op: Operator) -> None:
    """Input channels equal the weight's first axis, output channels (per group) its second."""
    x, weight = op.input(0), op.input(1)
    op.freeze_all([*x[2:], *weight[2:]], "spatial axis of a convolution")
    op.freeze(x[0], "batch axis of a convolution")
    groups = op.attribute("group", 1)
    zero = op.is_zero(0) or op.is_zero(1)
    if groups == 1:
        op.contract(x[1], weight[0], zero)
        out = weight[1]
    else:
        size_in, per_group = _size(op.shape(1)[0]), _size(op.shape(1)[1])
        x_group, x_inner = split(op, x[1], size_in, groups)
        w_group, w_inner = split(op, weight[0], size_in, groups)
        op.contract(x_inner, w_inner, zero)
        group = op.equate(x_group, w_group)
        op.follow_attribute("group", group)
        if size_in > groups:
            op.call(group, "groups")
        out = merge(op, group, weight[1], groups, groups * per_group)
    _finish(op, x, out, 2)


def _finish(op: Operator, x: list[Label], out: Label, bias: int) -> None:
    zero = op.is_zero(1)
    if op.has(bias):
        out = op.equate(out, op.input(bias)[0])
        zero = zero and op.is_zero(bias)
    op.output([None, out, *[None] * (len(x) - 2)], zero=zero)


def _size(size: int | str | None) -> int:
    if isinstance(size, int):
        return size
    raise CannotFollow("its channel count is unknown")
