"""Contents for a kernel's inputs with which it runs and takes the time that it takes in a network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil

import numpy as np
import onnx
from onnx import helper

from graphopt.cost.kernel import Operand, Signature
from graphopt.quality.arrays import AnyArray

_FLOATS = ("FLOAT", "BFLOAT", "DOUBLE")
# Of these, inputs must be above 0: roots, logarithms, variances, scales of quantization.
_POSITIVE = frozenset({"Sqrt", "Log", "Pow", "Reciprocal", "BatchNormalization", "QuantizeLinear", "DequantizeLinear", "Div"})
_LARGEST_POWER = 2.0


def contents(sig: Signature, slot: int, shape: Sequence[int], rng: np.random.Generator) -> AnyArray:
    """An array of `shape` (that of the operand at `slot`, padded where the kernel wants that).

    Numbers are of ordinary size, without denormals, infinities or NaN; indices lie in range; shapes, axes and sizes are those that the
    signature's outputs tell.
    """
    operand = sig.operand(slot)
    assert operand is not None
    stated = _STATED.get(_kind(sig), {}).get(slot)
    if stated is not None and (content := stated(sig)) is not None:
        numbers: AnyArray = np.asarray(content)
        if numbers.size == np.prod(shape, dtype=int):
            return numbers.astype(helper.tensor_dtype_to_np_dtype(operand.elem_type)).reshape(tuple(shape))
    name = onnx.TensorProto.DataType.Name(operand.elem_type)
    if name.startswith(_FLOATS):
        return _floats(sig, slot, shape, rng).astype(helper.tensor_dtype_to_np_dtype(operand.elem_type))
    return _integers(sig, slot, shape, rng)


def _kind(sig: Signature) -> str:
    return "Reduce" if sig.operator.startswith("Reduce") else sig.operator


def _floats(sig: Signature, slot: int, shape: Sequence[int], rng: np.random.Generator) -> AnyArray:
    size = int(np.prod(shape, dtype=np.int64))
    # A short stretch again and again: making random numbers takes longer than measuring, and no kernel looks at them.
    stretch = rng.uniform(0.05, 1.0, min(size, 4093)).astype(np.float32)
    if sig.operator.startswith(("QLinear", "QGemm")) and slot in _SCALES.get(sig.operator, ()):
        return np.full(tuple(shape), 0.02, np.float32)
    if sig.operator == "Pow" and slot == 1:
        return np.full(tuple(shape), _LARGEST_POWER, np.float32)
    if sig.operator not in _POSITIVE:
        stretch *= rng.choice(np.array([-1, 1], np.float32), len(stretch))
    return np.resize(stretch, tuple(shape)) if size else np.zeros(tuple(shape), np.float32)


def _integers(sig: Signature, slot: int, shape: Sequence[int], rng: np.random.Generator) -> AnyArray:
    operand = sig.operand(slot)
    assert operand is not None
    if operand.elem_type == onnx.TensorProto.STRING:
        return np.full(tuple(shape), "a", dtype=np.str_).astype(object)
    dtype = helper.tensor_dtype_to_np_dtype(operand.elem_type)
    if operand.elem_type in (onnx.TensorProto.INT8, onnx.TensorProto.UINT8) and np.prod(shape, dtype=int) > 1:
        low, high = (0, 256) if operand.elem_type == onnx.TensorProto.UINT8 else (-127, 128)
        return rng.integers(low, high, tuple(shape)).astype(dtype)
    top = _bound(sig, slot)
    return rng.integers(0, max(top, 1), tuple(shape)).astype(dtype)


def _bound(sig: Signature, slot: int) -> int:
    """One more than the largest integer that the input may hold."""
    data = sig.operand(0)
    if data is None or slot == 0:
        return 2
    match sig.operator:
        case "Gather" | "GatherElements" | "ScatterElements" if slot == 1:
            axis = sig.attribute("axis", 0)
            return data.shape[axis] if isinstance(axis, int) and data.shape else 1
        case "GatherND" | "ScatterND" if slot == 1:
            indices = sig.operand(1)
            return min(data.shape[: indices.shape[-1]], default=1) if indices is not None and indices.shape else 1
        case _ if np.dtype(helper.tensor_dtype_to_np_dtype(sig.operands[slot].elem_type)).itemsize < 4:  # type: ignore[union-attr]
            return 1  # a zero point
    return 2


def _shape(operand: Operand | None) -> tuple[int, ...]:
    return operand.shape if operand is not None else ()


def _axes(sig: Signature) -> tuple[int, ...] | None:
    axes = sig.attribute("axes")
    return tuple(int(axis) for axis in axes) if isinstance(axes, tuple) else None


def _slice(part: str) -> Callable[[Signature], Sequence[int] | None]:
    def find(sig: Signature) -> Sequence[int] | None:
        data, result = _shape(sig.operand(0)), sig.outputs[0].shape
        count = _shape(sig.operand(1))[0] if _shape(sig.operand(1)) else 1
        axes = _axes(sig) or tuple(axis for axis in range(len(data)) if data[axis] != result[axis])[:count] or tuple(range(count))
        if len(axes) != count:
            return None
        steps = sig.attribute("steps")
        strides = [abs(int(step)) for step in steps] if isinstance(steps, tuple) else [1] * count
        ends = [min(data[axis], (result[axis] - 1) * stride + 1) for axis, stride in zip(axes, strides, strict=True)]
        return {"starts": [0] * count, "ends": ends, "axes": list(axes), "steps": strides}[part]

    return find


def _pads(sig: Signature) -> Sequence[int] | None:
    data, result = _shape(sig.operand(0)), sig.outputs[0].shape
    given = _shape(sig.operand(1))
    if not given or given[0] != 2 * len(data):
        return None
    more = [after - before for before, after in zip(data, result, strict=True)]
    return [size // 2 for size in more] + [size - size // 2 for size in more]


def _changed_axes(short: Sequence[int], long: Sequence[int]) -> list[int]:
    """The axes of size 1 that `long` has and `short` has not."""
    axes, place = [], 0
    for axis, size in enumerate(long):
        if place < len(short) and short[place] == size and len(long) - axis - 1 >= len(short) - place - 1 and len(long) - axis > 0:
            if size == 1 and len(long) - axis > len(short) - place:
                axes.append(axis)
                continue
            place += 1
        else:
            axes.append(axis)
    return axes


def _on_axis(sig: Signature, default: int) -> int:
    axis = sig.attribute("axis", default)
    return axis if isinstance(axis, int) else default


def _scales(sig: Signature) -> Sequence[float]:
    return [after / before for before, after in zip(_shape(sig.operand(0)), sig.outputs[0].shape, strict=True)]


def _lengths(sig: Signature) -> Sequence[int]:
    data = _shape(sig.operand(0))
    return [data[0]] * data[1]


# What an input must hold, from the shapes around it, by operator and slot.
_STATED: dict[str, dict[int, Callable[[Signature], object]]] = {
    "Reshape": {1: lambda sig: sig.outputs[0].shape},
    "Expand": {1: lambda sig: sig.outputs[0].shape},
    "ConstantOfShape": {0: lambda sig: sig.outputs[0].shape},
    "Tile": {1: lambda sig: [ceil(after / before) for before, after in zip(_shape(sig.operand(0)), sig.outputs[0].shape, strict=True)]},
    "Resize": {1: lambda sig: [], 2: _scales, 3: lambda sig: sig.outputs[0].shape},
    "Upsample": {1: _scales},
    "Slice": {1: _slice("starts"), 2: _slice("ends"), 3: _slice("axes"), 4: _slice("steps")},
    "Pad": {1: _pads},
    "Split": {1: lambda sig: [output.shape[_on_axis(sig, 0)] for output in sig.outputs]},
    "Reduce": {1: _axes},
    "Squeeze": {1: lambda sig: _changed_axes(sig.outputs[0].shape, _shape(sig.operand(0)))},
    "Unsqueeze": {1: lambda sig: _changed_axes(_shape(sig.operand(0)), sig.outputs[0].shape)},
    "TopK": {1: lambda sig: [sig.outputs[0].shape[_on_axis(sig, -1)]]},
    "Range": {0: lambda sig: 0, 1: lambda sig: sig.outputs[0].shape[0], 2: lambda sig: 1},
    "OneHot": {1: lambda sig: sig.outputs[0].shape[_on_axis(sig, -1)], 2: lambda sig: [0, 1]},
    "Clip": {1: lambda sig: 0.25, 2: lambda sig: 6},
    "CumSum": {1: lambda sig: 0},
    "Trilu": {1: lambda sig: 0},
    "Dropout": {1: lambda sig: 0.5, 2: lambda sig: False},
    "LSTM": {4: _lengths},
    "GRU": {4: _lengths},
    "RNN": {4: _lengths},
    "NonMaxSuppression": {2: lambda sig: max(1, sig.outputs[0].shape[0]), 3: lambda sig: 0.5, 4: lambda sig: 0.0},
}
_SCALES = {
    "QLinearConv": (1, 4, 6),
    "QLinearMatMul": (1, 4, 6),
    "QGemm": (1, 4, 7),
    "QLinearAdd": (1, 4, 6),
    "QLinearMul": (1, 4, 6),
    "QLinearSigmoid": (1, 3),
    "QLinearLeakyRelu": (1, 3),
    "QLinearGlobalAveragePool": (1, 3),
    "QLinearAveragePool": (1, 3),
    "QLinearSoftmax": (1, 3),
}
