"""Operators that only move elements: the label at each position of the output is the label of the element that ONNX Runtime moved there.

The input's elements are numbered from 1, ONNX Runtime moves the numbers, and each number that comes out tells where its element was. Zeros
are elements that Pad invented.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from graphopt.channels import analyse
from tests.channels.build import Build
from tests.channels.masked import run
from tests.channels.oracle import positions

Draw = Callable[[st.SearchStrategy[Any]], Any]
Shape = tuple[int, ...]


def moved(op_type: str, *shapes: Shape, constants: tuple[Any, ...] = (), outputs: int = 1, opset: int = 21, **attributes: Any) -> int:
    """Assert the above for a node that reads numbered tensors of `shapes`, then `constants` (None: an input left out).

    Answers how many positions of the outputs can be removed.
    """
    model = Build(opset=opset)
    starts = np.cumsum([1, *(math.prod(shape) for shape in shapes)])
    numbered = [
        np.arange(start, start + math.prod(shape)).reshape(shape).astype(np.float32) for start, shape in zip(starts, shapes, strict=False)
    ]
    sources = [model.tensor(array, f"w{slot}") for slot, array in enumerate(numbered)]
    fixed = ["" if constant is None else model.tensor(constant) for constant in constants]
    found = model.node(op_type, *sources, *fixed, outputs=[f"y{slot}" for slot in range(outputs)], **attributes)
    results = [found] if outputs == 1 else found
    model.output(model.node("Identity", model.input(1)))
    analysis = analyse(model.graph())
    ran = run(with_outputs(model.proto(), results), {"x1": np.zeros(1, np.float32)})
    labels = {value.name: made for value, made in analysis.labels.items()}
    before = [leaf for name, shape in zip(sources, shapes, strict=True) for leaf in positions(analysis.table, labels[name], shape)]
    removable = 0
    for name in results:
        after = positions(analysis.table, labels[name], ran[name].shape)
        for place, (number, leaves) in enumerate(zip(ran[name].reshape(-1).astype(int), after, strict=True)):
            if number == 0:
                continue
            came = before[number - 1]
            # A broadcast axis has units of its own beside those of the element.
            assert came <= leaves if op_type == "Expand" else came == leaves, f"{name}[{place}] is element {number}: {leaves}, not {came}"
            removable += bool(leaves)
    return removable


def with_outputs(model: onnx.ModelProto, names: list[str]) -> onnx.ModelProto:
    del model.graph.output[:]
    model.graph.output.extend([helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names])
    return model


def shapes(draw: Draw, least: int = 1, most: int = 4, sizes: tuple[int, ...] = (1, 2, 3, 4, 6)) -> Shape:
    return tuple(draw(st.lists(st.sampled_from(sizes), min_size=least, max_size=most)))


def factors(draw: Draw, total: int) -> list[int]:
    """A random way to write `total` as a product of up to five sizes."""
    sizes: list[int] = []
    while total > 1 and len(sizes) < 4:
        sizes.append(draw(st.sampled_from([size for size in range(1, total + 1) if total % size == 0])))
        total //= sizes[-1]
    return [*sizes, total] if total > 1 or not sizes else sizes


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_reshape(data: st.DataObject) -> None:
    shape = shapes(data.draw)
    target = factors(data.draw, math.prod(shape))
    written = list(target)
    if data.draw(st.booleans()):
        written[data.draw(st.integers(0, len(target) - 1))] = -1
    moved("Reshape", shape, constants=(ints(*written),))


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_flatten(data: st.DataObject) -> None:
    shape = shapes(data.draw)
    moved("Flatten", shape, axis=data.draw(st.integers(-len(shape), len(shape))))


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_transpose(data: st.DataObject) -> None:
    shape = shapes(data.draw, sizes=(2, 3))
    perm = data.draw(st.none() | st.permutations(range(len(shape))))
    moved("Transpose", shape, **({} if perm is None else {"perm": list(perm)}))


@settings(max_examples=15, deadline=None)
@given(st.data(), st.booleans())
def test_squeeze(data: st.DataObject, all_of_them: bool) -> None:
    shape = shapes(data.draw, sizes=(1, 1, 2, 3))
    ones = [axis for axis, size in enumerate(shape) if size == 1]
    if all_of_them or not ones:
        moved("Squeeze", shape)
    else:
        axes = data.draw(st.lists(st.sampled_from(ones), min_size=1, unique=True))
        axes = [axis - len(shape) if data.draw(st.booleans()) else axis for axis in axes]
        if data.draw(st.booleans()):
            moved("Squeeze", shape, constants=(ints(*axes),))
        else:
            moved("Squeeze", shape, axes=axes, opset=11)


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_unsqueeze(data: st.DataObject) -> None:
    shape = shapes(data.draw, most=3, sizes=(2, 3))
    rank = len(shape) + data.draw(st.integers(1, 2))
    axes = data.draw(st.permutations(range(rank)))[: rank - len(shape)]
    axes = [axis - rank if data.draw(st.booleans()) else axis for axis in axes]
    if data.draw(st.booleans()):
        moved("Unsqueeze", shape, constants=(ints(*axes),))
    else:
        moved("Unsqueeze", shape, axes=axes, opset=11)


@settings(max_examples=10, deadline=None)
@given(st.integers(2, 3), st.integers(1, 3), st.integers(1, 2), st.integers(1, 3), st.sampled_from(["DCR", "CRD"]))
def test_depth_to_space(block: int, rest: int, height: int, width: int, mode: str) -> None:
    moved("DepthToSpace", (1, block * block * rest, height, width), blocksize=block, mode=mode)


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 2), st.integers(2, 3), st.integers(1, 3), st.integers(1, 2), st.integers(1, 3))
def test_space_to_depth(batch: int, block: int, channels: int, height: int, width: int) -> None:
    moved("SpaceToDepth", (batch, channels, block * height, block * width), blocksize=block)


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_concat(data: st.DataObject) -> None:
    shape = shapes(data.draw, most=3)
    axis = data.draw(st.integers(0, len(shape) - 1))
    parts = [(*shape[:axis], data.draw(st.integers(1, 4)), *shape[axis + 1 :]) for _ in range(data.draw(st.integers(1, 3)))]
    moved("Concat", *parts, axis=axis - len(shape) if data.draw(st.booleans()) else axis)


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_split(data: st.DataObject) -> None:
    shape = shapes(data.draw, most=3, sizes=(1, 2, 5, 6, 7))
    axis = data.draw(st.integers(0, len(shape) - 1))
    size = shape[axis]
    written = axis - len(shape) if data.draw(st.booleans()) else axis
    parts = data.draw(st.integers(1, min(3, size)))
    if data.draw(st.booleans()):
        cuts = (
            sorted(data.draw(st.lists(st.integers(1, size - 1), min_size=parts - 1, max_size=parts - 1, unique=True))) if size > 1 else []
        )
        lengths = np.diff([0, *cuts, size]).tolist()
        if data.draw(st.booleans()):
            moved("Split", shape, constants=(ints(*lengths),), outputs=len(lengths), axis=written)
        else:
            moved("Split", shape, outputs=len(lengths), axis=written, split=lengths, opset=11)
    elif -(-size // parts) * (parts - 1) < size:
        moved("Split", shape, outputs=parts, axis=written, num_outputs=parts)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_slice(data: st.DataObject) -> None:
    shape = shapes(data.draw, most=3, sizes=(1, 2, 3, 6))
    axes = data.draw(st.lists(st.integers(0, len(shape) - 1), min_size=1, unique=True))
    starts, ends, steps = [], [], []
    for axis in axes:
        size = shape[axis]
        start, end = sorted(data.draw(st.lists(st.integers(0, size), min_size=2, max_size=2, unique=True)))
        step = data.draw(st.sampled_from([1, 1, 1, 2, -1]))
        if step < 0:
            start, end = end - 1, start - 1 if start else -size - 1
        elif data.draw(st.booleans()):
            start, end = start - size, end - size if end < size else data.draw(st.sampled_from([end, 2**31 - 1, 2**63 - 1]))
        starts, ends, steps = [*starts, start], [*ends, end], [*steps, step]
    written = [axis - len(shape) if data.draw(st.booleans()) else axis for axis in axes]
    if all(step == 1 for step in steps) and data.draw(st.booleans()):
        moved("Slice", shape, starts=starts, ends=ends, axes=axes, opset=9)
    else:
        moved("Slice", shape, constants=tuple(np.array(part, np.int64) for part in (starts, ends, written, steps)))


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_gather(data: st.DataObject) -> None:
    shape = shapes(data.draw, most=3, sizes=(2, 3, 6))
    axis = data.draw(st.integers(0, len(shape) - 1))
    picked = data.draw(st.lists(st.integers(-shape[axis], shape[axis] - 1), min_size=2, max_size=6))
    indices = data.draw(st.sampled_from([np.array(picked), np.array(picked).reshape(1, -1), np.array(picked[0])]))
    moved("Gather", shape, constants=(indices.astype(np.int64),), axis=axis - len(shape) if data.draw(st.booleans()) else axis)


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_pad(data: st.DataObject) -> None:
    shape = shapes(data.draw, most=3, sizes=(2, 3, 4))
    axes = data.draw(st.none() | st.lists(st.integers(0, len(shape) - 1), min_size=1, unique=True))
    padded = range(len(shape)) if axes is None else axes
    pads = [data.draw(st.sampled_from([0, 0, 1, 2, -1])) for _ in range(2 * len(padded))]
    if any(shape[axis] + pads[place] + pads[place + len(padded)] < 1 for place, axis in enumerate(padded)):
        return
    mode = data.draw(st.sampled_from(["constant", "constant", "edge"]))
    if mode == "edge" and min(pads) < 0:
        return
    moved("Pad", shape, constants=(ints(*pads), None, None if axes is None else ints(*axes)), mode=mode)


@settings(max_examples=10, deadline=None)
@given(st.data())
def test_tile(data: st.DataObject) -> None:
    shape = shapes(data.draw, most=3, sizes=(1, 2, 3))
    moved("Tile", shape, constants=(ints(*(data.draw(st.integers(1, 3)) for _ in shape)),))


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_expand(data: st.DataObject) -> None:
    shape = shapes(data.draw, most=3, sizes=(1, 2, 3))
    target = [size if size > 1 and data.draw(st.booleans()) else 1 if size > 1 else data.draw(st.integers(1, 3)) for size in shape]
    moved("Expand", shape, constants=(ints(*(data.draw(st.integers(1, 2)) for _ in range(data.draw(st.integers(0, 1)))), *target),))


def test_the_oracle_has_something_to_compare() -> None:
    """In plain cases every position that comes out can be removed."""
    assert moved("Reshape", (6, 4), constants=(ints(2, 3, 4),)) == 24
    assert moved("Transpose", (3, 4), perm=[1, 0]) == 12
    assert moved("Concat", (3, 4), (2, 4), axis=0) == 20
    assert moved("Slice", (6,), constants=(ints(1), ints(4))) == 3
    assert moved("Gather", (6, 2), constants=(ints(1, 5, 5),)) == 6
    assert moved("Pad", (3,), constants=(ints(1, 2),)) == 3
    assert moved("Split", (6,), outputs=2, num_outputs=2) == 6
