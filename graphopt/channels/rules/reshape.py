"""Operators that regroup or reorder axes without touching the order of the elements, or moving whole axes."""

from __future__ import annotations

from collections.abc import Sequence

from graphopt.channels.labels import Label
from graphopt.channels.operator import CannotFollow, Left, Operator, Shape, Size, channel_rule


@channel_rule("", "Flatten")
def flatten(op: Operator) -> None:
    """Axes merge in row-major order."""
    op.output(op.reshape(op.input(0), op.shape(0), op.output_shape()), zero=op.is_zero(0))


@channel_rule("", "Reshape")
def reshape(op: Operator) -> None:
    """Axes split and merge in row-major order; sizes in the target follow."""
    labels, before = op.input(0), op.shape(0)
    if all(label is None for label in labels):
        op.output([None] * len(op.output_shape()))
        return
    after = op.output_shape()
    made = op.reshape(labels, before, after)
    place: int | str = 1 if op.has(1) else "shape"
    target = _target(before, after, made)

    def required(left: Left) -> list[int]:
        return [size if isinstance(size, int) else len(left(size)) for size in target]

    def fits(current: Sequence[int | None], left: Left) -> bool:
        # -1 stands for what remains, which is right when the others are.
        new_before = [size if label is None else len(left(label)) for size, label in zip(before, labels, strict=True)]
        new_after = [size if label is None else len(left(label)) for size, label in zip(after, made, strict=True)]
        return all(
            stated in (-1, wanted)
            or (stated is None and made[axis] is None)
            or (stated == 0 and axis < len(before) and new_before[axis] == wanted)
            for axis, (stated, wanted) in enumerate(zip(current, new_after, strict=True))
        )

    # A 0 in the target is to mean the input's size; without allowzero it does.
    op.follow(place, required, fits, **({"allowzero": None} if op.attribute("allowzero", 0) else {}))
    op.output(made, zero=op.is_zero(0))


def _target(before: Shape, after: Shape, labels: Sequence[Label]) -> list[Size]:
    """A target that says `after`: labels for sizes that may change, 0 for unknown sizes that are the input's, -1 for one other."""
    target: list[Size] = []
    for axis, (size, label) in enumerate(zip(after, labels, strict=True)):
        if label is not None:
            target.append(label)
        elif isinstance(size, int):
            target.append(size)
        elif size is not None and axis < len(before) and before[axis] == size:
            target.append(0)
        elif -1 not in [s for s in target if isinstance(s, int)]:
            target.append(-1)
        else:
            raise CannotFollow("its target has several sizes that are not known before it runs")
    return target


@channel_rule("", "Transpose")
def transpose(op: Operator) -> None:
    """Axes are permuted."""
    labels = op.input(0)
    perm = op.attribute("perm") or range(len(labels))[::-1]
    op.output([labels[axis] for axis in perm], zero=op.is_zero(0))


@channel_rule("", "Squeeze")
def squeeze(op: Operator) -> None:
    """Axes of size 1 vanish."""
    labels, shape = op.input(0), op.shape(0)
    axes = _axes(op)
    gone = {axis % len(labels) for axis in axes} if axes is not None else {axis for axis, size in enumerate(shape) if size == 1}
    if axes is None and any(label is not None for label in labels):
        # An axis that a cut leaves with a single index is not to go as well.
        op.follow(1 if op.opset() >= 13 else "axes", lambda left: sorted(gone))
    op.output([label for axis, label in enumerate(labels) if axis not in gone], zero=op.is_zero(0))


@channel_rule("", "Unsqueeze")
def unsqueeze(op: Operator) -> None:
    """Axes of size 1 appear."""
    labels, axes = op.input(0), _axes(op)
    if axes is None:
        raise CannotFollow("its axes are not known before it runs")
    rank = len(labels) + len(axes)
    new = {axis % rank for axis in axes}
    old = iter(labels)
    op.output([None if axis in new else next(old) for axis in range(rank)], zero=op.is_zero(0))


def _axes(op: Operator) -> list[int] | None:
    if not op.has(1):
        axes = op.attribute("axes")
        return None if axes is None else list(axes)
    axes = op.integers(1)
    if axes is None:
        raise CannotFollow("its axes are not known before it runs")
    return axes


@channel_rule("", "DepthToSpace")
def depth_to_space(op: Operator) -> None:
    """Channels split into (block, block, rest) or (rest, block, block); the blocks stay."""
    labels, shape, block = op.input(0), op.shape(0), op.attribute("blocksize")
    channels = _known(shape[1])
    rest = channels // (block * block)
    by_column = op.attribute("mode", "DCR") == "CRD"
    parts = op.reshape([labels[1]], (channels,), (rest, block, block) if by_column else (block, block, rest))
    kept = parts[0] if by_column else parts[2]
    op.freeze_all(parts[1:] if by_column else parts[:2], "a block of DepthToSpace")
    op.freeze_all([labels[0], *labels[2:]], "spatial axis of DepthToSpace")
    op.output([None, kept, None, None], zero=op.is_zero(0))


@channel_rule("", "SpaceToDepth")
def space_to_depth(op: Operator) -> None:
    """Output channels are (block, block, channels)."""
    labels, shape, block = op.input(0), op.shape(0), op.attribute("blocksize")
    channels = _known(shape[1])
    op.freeze_all([labels[0], *labels[2:]], "spatial axis of SpaceToDepth")
    merged = op.reshape([None, None, labels[1]], (block, block, channels), (block * block * channels,))
    op.output([None, merged[0], None, None], zero=op.is_zero(0))


def _known(size: int | str | None) -> int:
    if not isinstance(size, int):
        raise CannotFollow("its channel count is unknown")
    return size
