"""Operators that models compute sizes with, on small arrays that are known in full: integers and floats alike, in the model's own precision."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import helper

from graphopt.ir.node import Node

Array = npt.NDArray[Any]


def evaluate(node: Node, inputs: Sequence[Array | None]) -> Array | None:
    """The first output of `node` on these inputs, None for one that is left out; None for an operator that is not among these, and for bad input."""
    rule = _RULES.get(node.op_type) if not node.domain else None
    if rule is None:
        return None
    try:
        with np.errstate(all="ignore"):
            return np.asarray(rule(node.attributes, *inputs))
    except (IndexError, KeyError, OverflowError, TypeError, ValueError, ZeroDivisionError):
        return None  # a model that is wrong here is reported by the checker or the runtime


def _cast(attributes: Mapping[str, Any], data: Array) -> Array:
    dtype = helper.tensor_dtype_to_np_dtype(attributes["to"])
    if np.issubdtype(dtype, np.integer) and not np.isfinite(data).all():
        raise OverflowError("no integer is infinite")
    return data.astype(dtype)


def _divide(attributes: Mapping[str, Any], a: Array, b: Array) -> Array:
    """Integers are divided towards zero."""
    if not np.issubdtype(a.dtype, np.integer):
        return np.asarray(a / b)
    if not np.all(b):
        raise ZeroDivisionError
    return np.asarray(np.sign(a) * np.sign(b) * (np.abs(a) // np.abs(b)))


def _clip(attributes: Mapping[str, Any], data: Array, low: Array | None = None, high: Array | None = None) -> Array:
    """The bounds are attributes until opset 11."""
    for bound, function in (
        (attributes.get("min") if low is None else low, np.maximum),
        (attributes.get("max") if high is None else high, np.minimum),
    ):
        if bound is not None:
            data = function(data, np.asarray(bound, data.dtype))
    return data


def _axes(attributes: Mapping[str, Any], axes: Array | None) -> tuple[int, ...] | None:
    """Attributes until opset 13."""
    found = attributes.get("axes") if axes is None else axes.reshape(-1).tolist()
    return None if found is None else tuple(found)


def _squeeze(attributes: Mapping[str, Any], data: Array, axes: Array | None = None) -> Array:
    return np.squeeze(data, _axes(attributes, axes))


def _unsqueeze(attributes: Mapping[str, Any], data: Array, axes: Array | None = None) -> Array:
    found = _axes(attributes, axes)
    if found is None:
        raise ValueError("no axes")
    return np.expand_dims(data, found)


def _of_all(function: Callable[[Array, Array], Array]) -> Callable[..., Array]:
    def rule(attributes: Mapping[str, Any], first: Array, *others: Array) -> Array:
        for other in others:
            first = function(first, other)
        return first

    return rule


_RULES: Mapping[str, Callable[..., Any]] = {
    "Abs": lambda attributes, a: np.abs(a),
    "Add": lambda attributes, a, b: a + b,
    "Cast": _cast,
    "Ceil": lambda attributes, a: np.ceil(a),
    "Clip": _clip,
    "Concat": lambda attributes, *parts: np.concatenate(parts, attributes["axis"]),
    "Div": _divide,
    "Floor": lambda attributes, a: np.floor(a),
    "Gather": lambda attributes, a, at: np.take(a, at, attributes.get("axis", 0)),
    "Identity": lambda attributes, a: a,
    "Max": _of_all(np.maximum),
    "Min": _of_all(np.minimum),
    "Mul": lambda attributes, a, b: a * b,
    "Neg": lambda attributes, a: -a,
    "Reciprocal": lambda attributes, a: 1 / a,
    "Relu": lambda attributes, a: np.maximum(a, 0),
    "Round": lambda attributes, a: np.rint(a),
    "Sqrt": lambda attributes, a: np.sqrt(a),
    "Squeeze": _squeeze,
    "Sub": lambda attributes, a, b: a - b,
    "Unsqueeze": _unsqueeze,
}
