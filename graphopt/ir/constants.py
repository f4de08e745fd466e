"""Values that are fixed in the file."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphopt.ir.node import Value
from graphopt.ir.tensors import AnyArray, Tensor, read_tensor


def constant(value: Value | None) -> AnyArray | None:
    """The contents of an initializer that is no graph input (from IR 4 on), or of a Constant node's output; Identity nodes are looked through."""
    while value is not None and value.producer is not None and value.producer.op_type == "Identity" and not value.producer.domain:
        value = value.producer.input(0)
    if value is None or value.graph is None:
        return None
    if value.producer is not None:
        return _constant_node(value)
    if value.graph.is_input(value) and value.graph.ir_version >= 4:
        return None  # whoever runs the model may override it; before IR 4 every initializer had to be listed as an input
    if value.tensor is not None:
        return value.tensor.numpy()
    return _dense(value) if value.sparse is not None else None


def _constant_node(value: Value) -> AnyArray | None:
    node = value.producer
    assert node is not None
    if node.op_type != "Constant" or node.domain:
        return None
    attributes = node.attributes
    for name, content in attributes.items():
        if isinstance(content, Tensor):
            return content.numpy()
        if name in _SCALARS and not hasattr(content, "ref_attr_name"):
            return np.asarray(content, dtype=_SCALARS[name])
    return None


_SCALARS: dict[str, Any] = {"value_float": np.float32, "value_floats": np.float32, "value_int": np.int64, "value_ints": np.int64}


def _dense(value: Value) -> AnyArray:
    sparse = value.sparse
    assert sparse is not None
    assert value.graph is not None
    folder = value.graph.root.folder
    values, indices = read_tensor(sparse.values, folder).numpy(), read_tensor(sparse.indices, folder).numpy()
    dense = np.zeros(tuple(sparse.dims), values.dtype)
    if indices.ndim == 1:
        dense.reshape(-1)[indices] = values
    else:
        dense[tuple(indices.T)] = values
    return dense
