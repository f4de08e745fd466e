"""Small edits of `ValueInfoProto`: always on a copy, always keeping what they do not mean to change."""

from __future__ import annotations

from collections.abc import Sequence

import onnx


def renamed(info: onnx.ValueInfoProto, name: str) -> onnx.ValueInfoProto:
    """`info` under `name`; itself where that is its name already."""
    if info.name == name:
        return info
    copy = onnx.ValueInfoProto()
    copy.CopyFrom(info)
    copy.name = name
    return copy


def with_tensor_type(info: onnx.ValueInfoProto, elem_type: int, shape: Sequence[int | str | None] | None) -> onnx.ValueInfoProto:
    """`info` with another element type and shape; denotations of axes stay while the rank stays."""
    copy = onnx.ValueInfoProto()
    copy.CopyFrom(info)
    tensor = copy.type.tensor_type
    tensor.elem_type = elem_type
    if shape is None:
        tensor.ClearField("shape")
        return copy
    if not tensor.HasField("shape") or len(tensor.shape.dim) != len(shape):
        tensor.shape.CopyFrom(onnx.TensorShapeProto(dim=[onnx.TensorShapeProto.Dimension() for _ in shape]))
    for dim, size in zip(tensor.shape.dim, shape, strict=True):
        if isinstance(size, int):
            dim.dim_value = size
        elif isinstance(size, str):
            dim.dim_param = size
        else:
            dim.ClearField("dim_value")
            dim.ClearField("dim_param")
    return copy
