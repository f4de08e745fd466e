"""The contents of initializers: immutable tensors that are read when they are used, not when they are loaded."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from graphopt.errors import EditError, InvalidModelError
from graphopt.ir.external import DataFolder, DataRange

AnyArray = npt.NDArray[Any]

# Bits per element where numpy's item size does not say it: the sub-byte types are stored packed.
_PACKED_BITS = {
    onnx.TensorProto.UINT4: 4,
    onnx.TensorProto.INT4: 4,
    onnx.TensorProto.FLOAT4E2M1: 4,
    getattr(onnx.TensorProto, "UINT2", -1): 2,
    getattr(onnx.TensorProto, "INT2", -2): 2,
    getattr(onnx.TensorProto, "FLOAT6E2M3", -3): 6,
    getattr(onnx.TensorProto, "FLOAT6E3M2", -4): 6,
}


# The types that weights and shapes mostly have, which `raw_data` holds as numpy does: read here without onnx's many questions.
_PLAIN: dict[int, np.dtype[Any]] = {
    onnx.TensorProto.FLOAT: np.dtype("<f4"),
    onnx.TensorProto.FLOAT16: np.dtype("<f2"),
    onnx.TensorProto.DOUBLE: np.dtype("<f8"),
    onnx.TensorProto.INT64: np.dtype("<i8"),
    onnx.TensorProto.INT32: np.dtype("<i4"),
}

_KNOWN_TYPES = frozenset(onnx.TensorProto.DataType.values()) - {onnx.TensorProto.UNDEFINED}


class Tensor(ABC):
    """Immutable contents of an initializer or of a tensor attribute.

    `elem_type` is a value of `onnx.TensorProto.DataType`, `shape` a tuple of ints.
    """

    elem_type: int
    shape: tuple[int, ...]

    @abstractmethod
    def numpy(self) -> AnyArray:
        """The contents as an array of `shape`; do not write to it. Strings come as an object array of bytes."""

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the contents as ONNX stores them raw; 0 for strings, which have no fixed size."""
        if self.elem_type == onnx.TensorProto.STRING:
            return 0
        bits = _PACKED_BITS.get(self.elem_type)
        if bits is not None:
            return (self.size * bits + 7) // 8
        return self.size * helper.tensor_dtype_to_np_dtype(self.elem_type).itemsize

    def raw(self) -> bytes | memoryview:
        """The contents as little-endian packed bytes, as `raw_data` and external data hold them."""
        array = self.numpy()
        if array.shape != self.shape:
            raise EditError(f"a tensor declared with shape {self.shape} evaluates to shape {array.shape}")
        if self.elem_type in _PACKED_BITS:
            return bytes(numpy_helper.from_array(array).raw_data)
        return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data

    def __repr__(self) -> str:
        return f"{type(self).__name__}({onnx.TensorProto.DataType.Name(self.elem_type)}{list(self.shape)})"


class ArrayTensor(Tensor):
    """Contents given as a numpy array (of a type that ONNX has; ml_dtypes for the small floats and ints)."""

    def __init__(self, array: npt.ArrayLike, elem_type: int | None = None) -> None:
        data = np.asarray(array)
        if elem_type is None:
            try:
                elem_type = int(onnx.TensorProto.STRING) if data.dtype.kind in "OSU" else int(helper.np_dtype_to_tensor_dtype(data.dtype))
            except (KeyError, ValueError) as error:
                raise EditError(f"ONNX has no tensor type for numpy's {data.dtype}; convert the array first") from error
        self.elem_type, self.shape, self._array = elem_type, data.shape, data

    def numpy(self) -> AnyArray:
        return self._array


class LazyTensor(Tensor):
    """Contents computed when read: a pending edit of a weight, evaluated one at a time while saving.

    `compute` returns an array of `shape` and of the element type; it may be called more than once and must give the same each time.
    """

    def __init__(self, elem_type: int, shape: tuple[int, ...], compute: Callable[[], AnyArray]) -> None:
        self.elem_type, self.shape, self._compute = int(elem_type), tuple(shape), compute

    def numpy(self) -> AnyArray:
        array = np.asarray(self._compute())
        if self.elem_type == onnx.TensorProto.STRING:
            return array
        return array.astype(helper.tensor_dtype_to_np_dtype(self.elem_type), copy=False)


class ProtoTensor(Tensor):
    """Contents held by a `TensorProto` of the file; the message itself is written again."""

    def __init__(self, proto: onnx.TensorProto) -> None:
        self.elem_type, self.shape, self.proto = proto.data_type, tuple(proto.dims), proto

    def numpy(self) -> AnyArray:
        proto, dtype = self.proto, _PLAIN.get(self.elem_type)
        if dtype is not None and proto.HasField("raw_data") and not proto.data_location and not proto.HasField("segment"):
            raw = proto.raw_data  # a copy each time
            if len(raw) == self.size * dtype.itemsize:
                return np.frombuffer(raw, dtype).reshape(self.shape)
        try:
            if self.elem_type == onnx.TensorProto.STRING:  # onnx would decode them, but they need not be UTF-8
                strings = np.empty(len(self.proto.string_data), dtype=object)
                strings[:] = list(self.proto.string_data)
                return strings.reshape(self.shape)
            return numpy_helper.to_array(self.proto)
        except (ValueError, TypeError, KeyError) as error:
            raise InvalidModelError(f"tensor {self.proto.name!r} cannot be read: {error}") from error

    @property
    def nbytes(self) -> int:
        if self.elem_type not in _KNOWN_TYPES:  # of a later ONNX, or undefined: kept as it is
            return self.proto.ByteSize()
        return super().nbytes


class ExternalTensor(Tensor):
    """Contents in an external data file, memory-mapped while they are read."""

    def __init__(self, proto: onnx.TensorProto, data: DataRange) -> None:
        self.elem_type, self.shape, self.proto, self.data = proto.data_type, tuple(proto.dims), proto, data
        if self.elem_type not in _KNOWN_TYPES or any(size < 0 for size in self.shape):
            raise InvalidModelError(
                f"tensor {proto.name!r} has element type {self.elem_type} and shape {list(self.shape)}; external data cannot hold that"
            )
        if data.length != self.nbytes:
            raise InvalidModelError(
                f"tensor {proto.name!r} of shape {list(self.shape)} needs {self.nbytes} bytes, but its external data entry gives {data.length}; "
                "export the model again"
            )

    def raw(self) -> memoryview:
        return self.data.view()

    def numpy(self) -> AnyArray:
        view = self.raw()
        if self.elem_type in _PACKED_BITS:
            inline = onnx.TensorProto(dims=self.shape, data_type=self.elem_type, raw_data=bytes(view))
            return numpy_helper.to_array(inline)
        return np.frombuffer(view, dtype=helper.tensor_dtype_to_np_dtype(self.elem_type)).reshape(self.shape)


def read_tensor(proto: onnx.TensorProto, folder: DataFolder) -> Tensor:
    """The contents that `proto` holds or, in external data, names. Raises ExternalDataError."""
    if proto.data_location == onnx.TensorProto.EXTERNAL:
        return ExternalTensor(proto, folder.resolve(proto))
    return ProtoTensor(proto)


def as_tensor(contents: npt.ArrayLike | Tensor) -> Tensor:
    """`contents` as a `Tensor`, wrapping arrays."""
    return contents if isinstance(contents, Tensor) else ArrayTensor(contents)


def tensor_header(proto: onnx.TensorProto | None, tensor: Tensor, name: str) -> onnx.TensorProto:
    """A `TensorProto` without contents for `tensor`: name, type and shape, with documentation and metadata of `proto` kept."""
    header = onnx.TensorProto()
    if proto is not None:
        header.CopyFrom(proto)
        for field in DATA_FIELDS:
            header.ClearField(field)
        del header.dims[:]
    header.dims.extend(tensor.shape)
    header.data_type = tensor.elem_type
    header.name = name
    return header


DATA_FIELDS = (
    "float_data",
    "int32_data",
    "string_data",
    "int64_data",
    "raw_data",
    "double_data",
    "uint64_data",
    "external_data",
    "data_location",
    "segment",
)


def inline(header: onnx.TensorProto, tensor: Tensor) -> onnx.TensorProto:
    """`header` with the contents of `tensor` inside the message."""
    if tensor.elem_type == onnx.TensorProto.STRING:
        header.string_data.extend(item.encode() if isinstance(item, str) else bytes(item) for item in tensor.numpy().reshape(-1))
    else:
        header.raw_data = bytes(tensor.raw())
    return header
