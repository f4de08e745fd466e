"""Arrays at another resolution: pictures for a model whose input was resized, position embeddings for its tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import onnxruntime as ort

from graphopt.errors import DataError
from graphopt.ir import Graph
from graphopt.quality.arrays import AnyArray
from graphopt.quality.inputs import Data, declared_shape

METHODS = ("bicubic", "linear", "area")
_A = -0.75  # of the cubic kernel (Keys, Cubic Convolution Interpolation, 1981), as PyTorch and ONNX have it


def resample(array: AnyArray, axis: int, size: int, method: str = "bicubic") -> AnyArray:
    """`array` with `size` places along `axis`, each the middle of its part of the whole (half-pixel), values beyond the ends as at them.

    "bicubic" and "linear" interpolate between the nearest four or two places; "area" is linear too, but takes the mean over all places that
    fall into a new one, as pictures that become smaller need.
    """
    weights = _weights(array.shape[axis], size, method)
    moved = np.tensordot(weights, array.astype(np.float64), axes=(1, axis))
    result = np.moveaxis(moved, 0, axis)
    if array.dtype.kind in "iu":
        info = np.iinfo(array.dtype)
        result = np.rint(result).clip(info.min, info.max)
    return np.ascontiguousarray(result.astype(array.dtype))


def fitted(data: Data, model: Graph | ort.InferenceSession) -> Data:
    """`data` for a model that takes pictures of another size than the one it was loaded for: they are resized to it (`area`).

    Labels stay as they are. Raises DataError where more than sizes differ.
    """
    feeds = fitted_arrays(data.feeds, model)
    return data if feeds is data.feeds else replace(data, feeds=feeds)


def fitted_arrays(arrays: Mapping[str, AnyArray], model: Graph | ort.InferenceSession) -> Mapping[str, AnyArray]:
    """As `fitted`, for arrays by input name; the same mapping where all of them fit."""
    changed = {}
    for name, shape in input_shapes(model).items():
        array = arrays.get(name)
        if array is None or shape is None or all(size in (had, None) for size, had in zip(shape[1:], array.shape[1:], strict=False)):
            continue
        if len(shape) != array.ndim or array.dtype.kind not in "fiu":
            raise DataError(f"the data for input {name!r} of shape {list(array.shape)} cannot be resized to {list(shape)}")
        for axis, size in enumerate(shape):
            if axis and size is not None and array.shape[axis] != size:
                array = resample(array, axis, size, "area")
        changed[name] = array
    return {**arrays, **changed} if changed else arrays


def input_shapes(model: Graph | ort.InferenceSession) -> dict[str, tuple[int | None, ...] | None]:
    """The shape that each input states, by name: sizes, None for free ones; None for no rank."""
    if isinstance(model, Graph):
        stated: dict[str, Sequence[int | str | None] | None] = {value.name: declared_shape(value) for value in model.inputs}
    else:
        stated = {given.name: given.shape for given in model.get_inputs()}
    return {
        name: None if shape is None else tuple(size if isinstance(size, int) and size >= 0 else None for size in shape)
        for name, shape in stated.items()
    }


def _weights(old: int, new: int, method: str) -> AnyArray:
    """[new, old]: how much each place gives to each new one; rows add up to 1."""
    scale = old / new
    centres = (np.arange(new) + 0.5) * scale - 0.5
    if method == "bicubic":
        reach, kernel, width = 2, _cubic, 1.0
    elif method == "linear":
        reach, kernel, width = 1, _triangle, 1.0
    elif method == "area":
        width = max(scale, 1.0)
        reach, kernel = int(np.ceil(width)), _triangle
    else:
        raise ValueError(f"no method {method!r}; there are {', '.join(METHODS)}")
    first = np.floor(centres).astype(int) - reach + 1
    places = first[:, np.newaxis] + np.arange(2 * reach)
    parts = kernel((centres[:, np.newaxis] - places) / width)
    weights = np.zeros((new, old))
    if method == "area":  # what lies beyond the ends is left out
        parts = np.where((places >= 0) & (places < old), parts, 0)
    np.add.at(weights, (np.arange(new)[:, np.newaxis], places.clip(0, old - 1)), parts)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def _cubic(x: AnyArray) -> AnyArray:
    x = np.abs(x)
    near = ((_A + 2) * x - (_A + 3)) * x * x + 1
    far = ((_A * x - 5 * _A) * x + 8 * _A) * x - 4 * _A
    return np.where(x <= 1, near, np.where(x < 2, far, 0))


def _triangle(x: AnyArray) -> AnyArray:
    return (1 - np.abs(x)).clip(min=0)
