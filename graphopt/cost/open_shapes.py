"""Sizes of the dimensions that a model leaves open: those that were given, and batch 1."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from graphopt.cost.sizes import free_dimensions
from graphopt.errors import OpenShapeError
from graphopt.ir import Graph

Sizes = Mapping[str, int | Sequence[int]]

# What exporters call the first axis of a batch: batch, batch_size, N, B, bs, and names that they make up for an unnamed one.
_BATCH = re.compile(r"(?i).*batch.*|n|b|bs|unk_.*|dynamic_axes_\d+|s\d+|\?")
_OPTION = "--shape {name}={example}"


@dataclass(frozen=True)
class FixedSizes:
    """Sizes by the name of a dimension, and whole shapes by the name of an input."""

    dimensions: Mapping[str, int]
    shapes: Mapping[str, tuple[int, ...]]


def fix_sizes(graph: Graph, given: Sizes | None = None) -> FixedSizes:
    """The sizes for the root `graph` from `given`: a whole shape by the name of an input, or a size by the name of a dimension.

    A first axis that is called like a batch, or has no name, may stay open. Raises OpenShapeError for any other that is not given, and for
    what does not fit.
    """
    given = dict(given or {})
    inputs = {value.name: value for value in graph.inputs if not value.is_initializer}
    open_ = list(free_dimensions(graph))
    shapes: dict[str, tuple[int, ...]] = {}
    dimensions: dict[str, int] = {}
    for name, size in given.items():
        if isinstance(size, int):
            if not any(symbol == name for *_, symbol in open_):
                raise OpenShapeError(f"no input has an open dimension {name!r}{_known(inputs, open_)}")
            _set(dimensions, name, size, f"size of {name!r}")
        elif name not in inputs:
            raise OpenShapeError(f"the model has no input {name!r}{_known(inputs, open_)}")
        else:
            shapes[name] = _fitting(graph, name, tuple(size), dimensions)
    for name, axis, symbol in open_:
        if name in shapes or name not in inputs or symbol in dimensions or (axis == 0 and (not symbol or _BATCH.fullmatch(symbol))):
            continue
        if any(other == symbol and position == 0 and _BATCH.fullmatch(symbol) for _, position, other in open_ if symbol):
            continue  # the batch once more, at another axis
        what = f"axis {axis} of input {name!r}" + (f", {symbol!r}," if symbol else "")
        raise OpenShapeError(f"{what} has no fixed size; say which with {_OPTION.format(name=name, example=_example(graph, name))}")
    for name, value in inputs.items():
        if (
            value.type is not None
            and value.type.HasField("tensor_type")
            and not value.type.tensor_type.HasField("shape")
            and name not in shapes
        ):
            raise OpenShapeError(f"input {name!r} has no shape; say which with {_OPTION.format(name=name, example='1x3x224x224')}")
    return FixedSizes(dimensions, shapes)


def _set(dimensions: dict[str, int], name: str, size: int, what: str) -> None:
    if size < 1:
        raise OpenShapeError(f"{what} is {size}; sizes are at least 1")
    if dimensions.setdefault(name, size) != size:
        raise OpenShapeError(f"dimension {name!r} cannot be both {dimensions[name]} and {size}")


def _fitting(graph: Graph, name: str, shape: tuple[int, ...], dimensions: dict[str, int]) -> tuple[int, ...]:
    """The shape, if it fits what the model says of the input; its named dimensions go to `dimensions`."""
    value = next(value for value in graph.inputs if value.name == name)
    if value.type is None or not value.type.HasField("tensor_type"):
        raise OpenShapeError(f"input {name!r} is not a tensor and has no shape")
    given = "x".join(map(str, shape))
    if not value.type.tensor_type.HasField("shape"):
        return shape
    dims = value.type.tensor_type.shape.dim
    if len(dims) != len(shape):
        raise OpenShapeError(f"{given} has {len(shape)} dimensions, and input {name!r} has {len(dims)}: {_example(graph, name)}")
    for axis, (dim, size) in enumerate(zip(dims, shape, strict=True)):
        if dim.HasField("dim_value") and dim.dim_value != size:
            raise OpenShapeError(f"axis {axis} of input {name!r} is {dim.dim_value} in the model, and not {size}")
        _set(dimensions, dim.dim_param or f"{name}:{axis}", size, f"axis {axis} of input {name!r}")
    return shape


def _example(graph: Graph, name: str) -> str:
    """The shape of an input with its open sizes in angle brackets, 1 for an open first one."""
    value = next(value for value in graph.inputs if value.name == name)
    assert value.type is not None
    dims = value.type.tensor_type.shape.dim
    return "x".join(
        str(dim.dim_value) if dim.HasField("dim_value") else "1" if axis == 0 else f"<{dim.dim_param or 'size'}>"
        for axis, dim in enumerate(dims)
    )


def _known(inputs: Mapping[str, object], open_: Sequence[tuple[str, int, str]]) -> str:
    symbols = dict.fromkeys(symbol for *_, symbol in open_ if symbol)
    return f"; inputs are {', '.join(map(repr, inputs))}" + (f", open dimensions {', '.join(map(repr, symbols))}" if symbols else "")
