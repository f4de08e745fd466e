"""Input data for a model: read from a file and checked against the model's inputs, or made up."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import helper

from graphopt.errors import DataError, UnsupportedError
from graphopt.ir import Graph, TensorType, Value
from graphopt.quality.arrays import AnyArray
from graphopt.quality.sources import LABELS, Source, read_arrays

# A model with a free batch size is run on this many samples at a time, or fewer where they are large: it bounds the memory needed.
_ROWS_PER_RUN = 64
_ELEMENTS_PER_RUN = 2**20

Shape = tuple[int | str | None, ...]


@dataclass(frozen=True)
class Data:
    """Arrays for a model's inputs, by input name, with room for many samples along axis 0.

    `rows` says, for each input that is cut along axis 0, how many rows make one run of the model; the other inputs are given whole to every
    run. `labels`, where the file had them, has one entry per sample. `assumptions` says in words what was made up.
    """

    feeds: Mapping[str, AnyArray]
    labels: AnyArray | None = None
    rows: Mapping[str, int] = field(default_factory=dict)
    free_batch: bool = False  # whether the model takes any number of rows
    assumptions: tuple[str, ...] = ()

    @property
    def samples(self) -> int:
        """Rows along axis 0 of the inputs that are cut; 1 where none is."""
        return next((len(self.feeds[name]) for name in self.rows), 1)

    def runs(self) -> Iterator[dict[str, AnyArray]]:
        """The inputs of each run of the model, in order."""
        count = max((-(-len(self.feeds[name]) // rows) for name, rows in self.rows.items()), default=1)
        for i in range(count):
            yield {name: self._part(name, array, i) for name, array in self.feeds.items()}

    def _part(self, name: str, array: AnyArray, i: int) -> AnyArray:
        rows = self.rows.get(name)
        return array if rows is None else array[i * rows : (i + 1) * rows]

    def one_run(self, batch: int = 1) -> dict[str, AnyArray]:
        """The inputs of one run, for measuring: the first `batch` samples where the batch size is free, otherwise the first run's."""
        if not self.free_batch:
            return next(self.runs())
        return {name: array[:batch] if name in self.rows else array for name, array in self.feeds.items()}

    def first(self, samples: int) -> Data:
        """The data of the first `samples` samples, or all where there are fewer; whole runs where the batch size is fixed."""
        if not self.rows:
            return self
        step = 1 if self.free_batch else next(iter(self.rows.values()))
        runs = max(samples // step, 1)
        feeds = {n: a[: runs * (1 if self.free_batch else self.rows[n])] if n in self.rows else a for n, a in self.feeds.items()}
        labels = None if self.labels is None else self.labels[: runs * step]
        return Data(feeds, labels, self.rows, self.free_batch, self.assumptions)


def load_data(source: Source, graph: Graph, preprocess: str | None = None) -> Data:
    """The arrays of `source` for the inputs of `graph`, and its array `labels` if it has one (and no input is called so).

    `source` and `preprocess` are as in graphopt.quality.sources: a mapping, an .npz file, a folder, `module:function`. Other arrays in it are
    ignored. Where axis 0 of every input and output is free, it is the batch axis, and any number of samples will do; where the inputs are
    fixed, an array may hold any multiple of the fixed size along axis 0, which then makes several runs. Raises DataError, which names the
    input and says what it must be.
    """
    expected = _expected(graph)
    arrays = read_arrays(source, [name for name, (_, optional) in expected.items() if not optional], preprocess)
    where = "the data" if isinstance(source, Mapping) else os.fspath(source)
    feeds = {}
    for name, (type_, optional) in expected.items():
        if name in arrays:
            feeds[name] = arrays[name]
            _check_kind(where, name, arrays[name], type_)
        elif not optional:
            has = ", ".join(repr(n) for n in arrays) or "nothing"
            raise DataError(f"{where} has no array for input {name!r} ({describe(type_)}); it holds {has}")
    try:
        data = _arranged(graph, {name: (feeds[name], expected[name][0].shape) for name in feeds})
    except DataError as error:
        raise DataError(f"{where}: {error}") from None
    if LABELS not in arrays or LABELS in expected:
        return data
    labels = arrays[LABELS]
    if labels.ndim == 0 or len(labels) != data.samples:
        raise DataError(f"{where}: labels has shape {list(labels.shape)}, but there are {data.samples} samples")
    return Data(data.feeds, labels, data.rows, data.free_batch)


def synthetic_inputs(graph: Graph, seed: int = 0, samples: int = 1) -> Data:
    """Made-up inputs: standard normal numbers for floats, 0 and 1 for integers (valid as indices, tokens and masks), booleans at random.

    `samples` rows where the batch size is free, else enough runs for as many. Every other free dimension is taken as 1; `assumptions` says
    which. Raises UnsupportedError for an input that is no tensor or of unknown rank.
    """
    rng = np.random.default_rng(seed)
    expected = {name: type_ for name, (type_, optional) in _expected(graph).items() if not optional}
    shapes: dict[str, Shape] = {}
    for name, type_ in expected.items():
        if type_.shape is None:
            raise UnsupportedError(f"input {name!r} has no stated rank, so no input can be made up; give data for it")
        shapes[name] = type_.shape
    batch_is_free = _has_free_batch(graph, shapes)
    assumptions: dict[str, None] = {}
    feeds = {}
    for name, shape in shapes.items():
        sizes = []
        for axis, size in enumerate(shape):
            if isinstance(size, int):
                sizes.append(size)
                continue
            is_batch = batch_is_free and axis == 0
            sizes.append(samples if is_batch else 1)
            assumptions[_assumption(name, axis, size, sizes[-1])] = None
        if not batch_is_free and sizes and sizes[0] > 0 and _is_fixed_batch(shapes):
            sizes[0] *= -(-samples // sizes[0])
        feeds[name] = _random(rng, tuple(sizes), expected[name].elem_type)
    data = _arranged(graph, {name: (feeds[name], shapes[name]) for name in feeds})
    return Data(data.feeds, None, data.rows, data.free_batch, tuple(assumptions))


def describe(type_: TensorType) -> str:
    """Such as "float32 [batch, 3, 224, 224]"."""
    if type_.shape is None:
        return _dtype_name(type_.elem_type)
    return f"{_dtype_name(type_.elem_type)} [{', '.join('?' if size is None else str(size) for size in type_.shape)}]"


def _assumption(name: str, axis: int, symbol: str | None, size: int) -> str:
    if symbol is not None:
        return f"dimension {symbol!r} taken as {size}"
    return f"axis {axis} of input {name!r}, which is free, taken as {size}"


def _dtype_name(elem_type: int) -> str:
    return "string" if elem_type == onnx.TensorProto.STRING else str(helper.tensor_dtype_to_np_dtype(elem_type))


def _expected(graph: Graph) -> dict[str, tuple[TensorType, bool]]:
    """Type of each input and whether it may be left out, because the file gives it a default."""
    expected = {}
    for value in graph.inputs:
        type_ = _declared(value)
        expected[value.name] = (type_, value.is_initializer)
    return expected


def _declared(value: Value) -> TensorType:
    kind = value.type.WhichOneof("value") if value.type is not None else None
    if kind != "tensor_type" or value.type is None:
        raise UnsupportedError(f"input {value.name!r} is not a tensor but a {kind or 'value without a type'}; only tensors can be fed")
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return TensorType(tensor.elem_type, None)
    return TensorType(tensor.elem_type, tuple(_size(dim) for dim in tensor.shape.dim))


def declared_shape(value: Value) -> Shape | None:
    """The shape that an input states; None where it states no rank, or is no tensor."""
    stated = value.type is not None and value.type.WhichOneof("value") == "tensor_type"
    return _declared(value).shape if stated else None


def _size(dim: onnx.TensorShapeProto.Dimension) -> int | str | None:
    return dim.dim_value if dim.HasField("dim_value") and dim.dim_value >= 0 else (dim.dim_param or None)


def _check_kind(path: str, name: str, array: AnyArray, type_: TensorType) -> None:
    is_string = type_.elem_type == onnx.TensorProto.STRING
    if (array.dtype.kind not in "US") if is_string else (array.dtype != helper.tensor_dtype_to_np_dtype(type_.elem_type)):
        raise DataError(f"{path}: input {name!r} must be {describe(type_)}, but the array is {array.dtype}; convert it with .astype")
    if type_.shape is not None and array.ndim != len(type_.shape):
        raise DataError(f"{path}: input {name!r} must be {describe(type_)}, but the array has shape {list(array.shape)}")


def _arranged(graph: Graph, inputs: Mapping[str, tuple[AnyArray, Shape | None]]) -> Data:
    """The arrays with their division into runs. Raises DataError where a size does not fit."""
    feeds = {name: array for name, (array, _) in inputs.items()}
    shapes = {name: shape for name, (_, shape) in inputs.items() if shape is not None}
    for name, shape in shapes.items():
        _check_sizes(name, feeds[name], shape)
    if _has_free_batch(graph, shapes):
        cut = [name for name, shape in shapes.items() if _leads_free(shape)]
        counts = {name: len(feeds[name]) for name in cut}
        if len(set(counts.values())) > 1 or 0 in counts.values():
            raise DataError("inputs must hold the same number of samples, at least one: " + _counts(counts))
        _check_fixed(feeds, {name: shape for name, shape in shapes.items() if name not in cut})
        per_sample = sum(feeds[name][0].size for name in cut)
        return Data(feeds, rows=dict.fromkeys(cut, min(max(_ELEMENTS_PER_RUN // max(per_sample, 1), 1), _ROWS_PER_RUN)), free_batch=True)
    if not _is_fixed_batch(shapes):
        _check_fixed(feeds, shapes)
        return Data(feeds)
    fixed = {name: shape[0] for name, shape in shapes.items() if shape and isinstance(shape[0], int)}
    runs = {name: len(feeds[name]) // size for name, size in fixed.items()}
    most = max(runs.values())
    for name, size in fixed.items():
        if runs[name] * size != len(feeds[name]) or runs[name] not in (1, most) or not runs[name]:
            multiple = f"a multiple of {size}" if most == 1 or not runs[name] or len(feeds[name]) % size else f"{size} or {most * size}"
            raise DataError(f"input {name!r} has {len(feeds[name])} rows along axis 0, but must have {multiple}")
    # An input that is given once is the same in every run.
    return Data(feeds, rows={name: size for name, size in fixed.items() if runs[name] == most})


def _check_sizes(name: str, array: AnyArray, shape: Shape) -> None:
    for axis, (size, actual) in enumerate(zip(shape, array.shape, strict=True)):
        if isinstance(size, int) and axis > 0 and size != actual:
            wanted = ", ".join("any" if not isinstance(s, int) else str(s) for s in shape)
            raise DataError(f"input {name!r} must have shape [{wanted}], but the array has shape {list(array.shape)}: axis {axis} differs")


def _check_fixed(feeds: Mapping[str, AnyArray], shapes: Mapping[str, Shape]) -> None:
    for name, shape in shapes.items():
        if shape and isinstance(shape[0], int) and len(feeds[name]) != shape[0]:
            raise DataError(f"input {name!r} has {len(feeds[name])} rows along axis 0, but must have {shape[0]}")


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name!r} has {count}" for name, count in counts.items())


def _leads_free(shape: Shape | None) -> bool:
    return shape is not None and len(shape) > 0 and not isinstance(shape[0], int)


def _has_free_batch(graph: Graph, shapes: Mapping[str, Shape]) -> bool:
    """Whether axis 0 is a batch axis of free size: free in an input, and in every output, and its name is no other axis's.

    Inputs whose axis 0 is fixed may stand beside; they are given whole to every run.
    """
    leading = {shape[0] for shape in shapes.values() if _leads_free(shape)}
    if not leading or len(leading - {None}) > 1:
        return False
    if any(size in leading and size is not None for shape in shapes.values() for size in shape[1:]):
        return False
    return all(_leads_free(graph.shape(value)) for value in graph.outputs)


def _is_fixed_batch(shapes: Mapping[str, Shape]) -> bool:
    """Whether the model runs on a stated number of rows, so that more of them can be cut into runs."""
    first = [shape[0] for shape in shapes.values() if shape]
    return bool(first) and all(isinstance(size, int) and size > 0 for size in first)


def _random(rng: np.random.Generator, shape: tuple[int, ...], elem_type: int) -> AnyArray:
    if elem_type == onnx.TensorProto.STRING:
        return np.full(shape, "a", dtype=np.str_)
    dtype = helper.tensor_dtype_to_np_dtype(elem_type)
    kind = onnx.TensorProto.DataType.Name(elem_type)
    if kind.startswith(("FLOAT", "BFLOAT", "DOUBLE")):
        return rng.standard_normal(shape).astype(dtype)
    if kind.startswith("COMPLEX"):
        return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(dtype)
    return rng.integers(0, 2, shape).astype(dtype)
