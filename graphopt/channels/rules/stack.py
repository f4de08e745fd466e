"""Operators that put axes one after the other, or pick or repeat indices of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from graphopt.channels.labels import Label
from graphopt.channels.operator import CannotFollow, Left, Operator, Size, channel_rule


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


@channel_rule("", "Split")
def split(op: Operator) -> None:
    """Each output has a run of the axis; the run's lengths follow."""
    labels = op.input(0)
    axis = op.attribute("axis", 0) % len(labels)
    label = labels[axis]
    outputs = range(len(op.node.outputs))
    if label is None:
        for slot in outputs:
            op.output(labels, slot, zero=op.is_zero(0))
        return
    sizes = op.integers(1) if op.has(1) else op.attribute("split")
    if sizes is None and op.has(1):
        raise CannotFollow("its lengths are not known before it runs")
    if sizes is None:
        whole = len(label)
        length = -(-whole // len(outputs))  # equal runs, the last one shorter where it must be
        sizes = [min(length, whole - slot * length) for slot in outputs]
    bounds = np.cumsum([0, *sizes])
    runs = [op.take(label, np.arange(bounds[slot], bounds[slot + 1])) for slot in outputs]
    for slot in outputs:
        op.output([*labels[:axis], runs[slot], *labels[axis + 1 :]], slot, zero=op.is_zero(0))
    lengths: list[Size] = [run if run is not None else int(size) for run, size in zip(runs, sizes, strict=True)]
    op.follow_sizes(1 if op.opset() >= 13 else "split", lengths)
    if "num_outputs" in op.node.attributes:
        op.follow("num_outputs", lambda left: None)  # the lengths are stated instead


@channel_rule("", "Slice")
def slice_(op: Operator) -> None:
    """The output has a run of each sliced axis; starts and ends follow."""
    labels, shape = op.input(0), op.shape(0)
    if all(label is None for label in labels):
        op.output([None] * len(labels))
        return
    starts, ends, axes, steps = _slice_arguments(op, len(labels))
    result = list(labels)
    changed: list[tuple[int, int, int, Label]] = []  # (place in starts, start, end, label)
    for place, axis in enumerate(axes):
        label, size = labels[axis], shape[axis]
        if label is None:
            continue
        if starts[place] is None or ends[place] is None or steps[place] is None or not isinstance(size, int):
            raise CannotFollow("its bounds are not known before it runs")
        start, end, step = slice(starts[place], ends[place], steps[place]).indices(size)
        if (start, end, step) == (0, size, 1):
            changed.append((place, 0, size, label))
        elif step == 1:
            result[axis] = op.take(label, np.arange(start, max(start, end)))
            changed.append((place, start, max(start, end), label))
        else:
            op.freeze(label, "a slice with a step")
            result[axis] = None
    for position, (name, bounds) in enumerate((("starts", starts), ("ends", ends))):
        if changed:
            if any(bound is None for bound in bounds):
                raise CannotFollow("its bounds are not known before it runs")
            stated = [int(bound) for bound in bounds if bound is not None]
            op.follow(position + 1 if op.has(1) else name, _new_bounds(stated, changed, position))
    op.output(result, zero=op.is_zero(0))


def _new_bounds(stated: list[int], changed: list[tuple[int, int, int, Label]], position: int) -> Callable[[Left], list[int]]:
    def required(left: Left) -> list[int]:
        new = list(stated)
        for place, start, end, label in changed:
            assert label is not None
            old = (start, end)[position]
            kept = left(label)
            if len(kept) < len(label):  # counted from the front, whatever the file counts from
                new[place] = int(np.searchsorted(kept, old))
        return new

    return required


def _slice_arguments(op: Operator, rank: int) -> tuple[list[int | None], list[int | None], list[int], list[int | None]]:
    """Starts, ends, axes and steps, with axes non-negative; None for bounds that are not known."""
    if not op.has(1):
        starts, ends = list(op.attribute("starts")), list(op.attribute("ends"))
        axes = list(op.attribute("axes", range(len(starts))))
        return starts, ends, [axis % rank for axis in axes], [1] * len(starts)
    starts, ends = op.partial(1), op.partial(2)
    count = len(starts)
    known = op.integers(3) if op.has(3) else list(range(count))
    if known is None:
        raise CannotFollow("its axes are not known before it runs")
    axes = known
    steps: list[int | None] = op.partial(4) if op.has(4) else [1] * count
    return starts, ends, [axis % rank for axis in axes], steps


@channel_rule("", "Gather")
def gather(op: Operator) -> None:
    """The axis is replaced by the indices' axes; constant indices follow, others hold the axis. Tables of embeddings are cut by columns."""
    labels, indices = op.input(0), op.input(1)
    axis = op.attribute("axis", 0) % len(labels)
    picked = labels[axis]
    middle: list[Label] = [None] * len(indices)
    op.freeze_all(indices, "indices of Gather")
    if picked is not None:
        known = op.constant(1)
        if known is not None and known.ndim == 1:
            positions = np.where(known < 0, known + len(picked), known)
            middle = [op.take(picked, positions)]
            op.follow_indices(1, picked, known)
        else:
            op.freeze(picked, "its entries are looked up by position")
    op.output([*labels[:axis], *middle, *labels[axis + 1 :]], zero=op.is_zero(0))


@channel_rule("", "GatherND")
def gather_nd(op: Operator) -> None:
    """Axes that the indices address stay; those after them pass."""
    labels, indices = op.input(0), op.input(1)
    batch, depth = op.attribute("batch_dims", 0), op.shape(1)[-1]
    if not isinstance(depth, int):
        raise CannotFollow("the depth of its indices is unknown")
    op.freeze_all([*labels[: batch + depth], *indices], "its entries are looked up by position")
    op.output([*[None] * (len(indices) - 1), *labels[batch + depth :]], zero=op.is_zero(0))


@channel_rule("", "ScatterND")
def scatter_nd(op: Operator) -> None:
    """Axes that the indices address stay; those after them are equal in data and updates."""
    labels, indices, updates = op.input(0), op.input(1), op.input(2)
    depth = op.shape(1)[-1]
    if not isinstance(depth, int):
        raise CannotFollow("the depth of its indices is unknown")
    first = len(updates) - (len(labels) - depth)
    op.freeze_all([*labels[:depth], *indices, *updates[:first]], "its entries are written by position")
    rest = [op.equate(a, b) for a, b in zip(labels[depth:], updates[first:], strict=True)]
    op.output([*[None] * depth, *rest], zero=op.is_zero(0) and op.is_zero(2))


@channel_rule("", "Pad")
def pad(op: Operator) -> None:
    """Indices that are invented cannot go; cutting (negative) pads and modes that copy hold the axis."""
    labels = op.input(0)
    rank = len(labels)
    if all(label is None for label in labels):
        op.output([None] * rank)
        return
    axes = op.integers(3) if op.has(3) else list(range(rank))
    pads = op.partial(1) if op.has(1) else list(op.attribute("pads", op.attribute("paddings")))
    if axes is None:
        raise CannotFollow("its axes are not known before it runs")
    result = list(labels)
    for place, axis in enumerate(axes):
        label, before, after = labels[axis], pads[place], pads[place + len(axes)]
        if label is None or (before == 0 and after == 0):
            continue
        if before is None or after is None or before < 0 or after < 0 or op.attribute("mode", "constant") != "constant":
            op.freeze(label, "padded by copies, or by an unknown amount")
            result[axis] = None
        else:
            result[axis] = op.concat([(before, None), (len(label), label), (after, None)])
    fill = op.constant(2) if op.has(2) else np.asarray(op.attribute("value", 0.0))
    op.output(result, zero=op.is_zero(0) and fill is not None and not fill.any())


@channel_rule("", "Tile")
def tile(op: Operator) -> None:
    """Axes are repeated, with the same units each time."""
    labels, repeats = op.input(0), op.partial(1)
    result: list[Label] = []
    for label, count in zip(labels, repeats, strict=True):
        if label is None or count == 1:
            result.append(label)
        elif count is None:
            op.freeze(label, "repeated an unknown number of times")
            result.append(None)
        else:
            result.append(op.take(label, np.tile(np.arange(len(label)), count)))
    op.output(result, zero=op.is_zero(0))


@channel_rule("", "Expand")
def expand(op: Operator) -> None:
    """Axes that the input has in full pass; a broadcast axis can have any size, so it follows what it meets. Sizes in the target follow."""
    labels, before, after = op.input(0), op.shape(0), op.output_shape()
    new = len(after) - len(labels)
    made: list[Label] = []
    target = [None] * (len(after) - len(op.partial(1))) + op.partial(1)
    sizes: list[Size | None] = []
    for axis, size in enumerate(after):
        own = axis - new
        if own >= 0 and before[own] is not None and before[own] == size:
            made.append(labels[own])
            sizes.append(1)  # leaves the axis as it is
        elif own >= 0 and labels[own] is not None:
            raise CannotFollow("broadcasts to a size that is not known before it runs")
        else:
            label = op.fresh(size) if isinstance(size, int) else None
            made.append(label)
            sizes.append(label if label is not None else target[axis])
    if all(label is None for label in made):
        op.output(made, zero=op.is_zero(0))
        return
    stated: list[Size] = [size for size in sizes[len(after) - len(op.partial(1)) :] if size is not None]
    if len(stated) != len(op.partial(1)):
        # A size that only the model knows when it runs: then nothing here may change.
        op.freeze_all(made, "broadcasts to a size that is not known before it runs")
        op.output([None] * len(after))
        return

    def required(left: Left) -> list[int]:
        return [size if isinstance(size, int) else len(left(size)) for size in stated]

    def fits(current: Sequence[int | None], left: Left) -> bool:
        return all(
            now == then or (then == 1 and now is not None and now == _size_after(made[axis], after[axis], left))
            for axis, now, then in zip(range(len(after) - len(stated), len(after)), current, required(left), strict=True)
        )

    op.follow(1, required, fits)
    op.output(made, zero=op.is_zero(0))


def _size_after(label: Label, size: int | str | None, left: Left) -> int | str | None:
    return size if label is None else len(left(label))
