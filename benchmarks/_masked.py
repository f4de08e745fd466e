"""Comparing a pruned model with its masked original: the original with every slice that was removed set to zero."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime as ort
from onnx import TensorProto, helper

import graphopt
from graphopt.ir import Graph, Tensor, Value

Arrays = dict[str, np.ndarray[Any, Any]]
Outputs = list[list[np.ndarray[Any, Any]]]  # for each of the inputs, the outputs
Kept = Mapping[str, Mapping[str, Sequence[int]]]  # {initializer: {axis: indices that stay}}

_FLOATS = {TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16}
_FREE_SIZE = 2  # what a dynamic axis is taken as


def weights(graph: Graph) -> list[Value]:
    """Initializers and outputs of Constant nodes that hold floats."""
    found = [value for value in graph.initializers if value.tensor is not None and value.tensor.elem_type in _FLOATS]
    for node in graph.nodes:
        content = node.attributes.get("value") if node.op_type == "Constant" else None
        if isinstance(content, Tensor) and content.elem_type in _FLOATS:
            found.append(node.output())
    return found


def set_weight(graph: Graph, value: Value, array: np.ndarray[Any, Any]) -> None:
    if value.producer is None:
        graph.set_tensor(value, array)
    else:
        graph.set_attribute(value.producer, "value", graphopt.ArrayTensor(array))


def stir(graph: Graph, ratio: float, strength: float, seed: int = 0) -> None:
    """Make the model sensitive to a wrong cut, in place, by changing weights only.

    Fresh models hide one. Many of their weights have equal elements (biases of zeros, scales of ones, heads of zeros, layer scales of 1e-6):
    any slice of them is as good as any other, or what they scale does not reach the output. These get noise, after every reader of a vector
    that exporters wrote once got one of its own (one that is not zero could not be masked for a single reader). And convolutions lose so much
    of the signal that, after twenty of them, the output no longer depends on the input: with `strength` 1 they are scaled to keep it (He et
    al., Delving Deep into Rectifiers, 2015) in the model of which the share `ratio` is gone, with 0 they stay, in between they are scaled by
    that power. Too much makes a deep model chaotic: it multiplies rounding errors as well.
    """
    rng = np.random.default_rng(seed)
    _unshare(graph)
    for value in weights(graph):
        array = graph.constant(value)
        if array is not None and array.size > 1 and np.all(array == array.flat[0]) and abs(float(array.flat[0])) < 1e3:
            scale = 0.1 / math.sqrt(array.size / array.shape[-1]) if array.ndim > 1 else 0.1
            noise = rng.uniform(-1.7, 1.7, array.shape) * scale * max(1.0, abs(float(array.flat[0])))
            set_weight(graph, value, (array + noise).astype(array.dtype))
    for node in graph.nodes:
        weight = node.inputs[1] if node.op_type in ("Conv", "ConvTranspose") else None
        array = graph.constant(weight) if weight is not None else None
        if weight is not None and array is not None:
            left = 1.0 if array.shape[1] == 1 else 1 - ratio  # a depthwise convolution sums over nothing that goes
            gain = math.sqrt(2 / (math.prod(array.shape[1:]) * left) / (float(np.square(array).mean()) + 1e-30))
            set_weight(graph, weight, (array * gain**strength).astype(array.dtype))


def _unshare(graph: Graph) -> None:
    for value in weights(graph):
        array = graph.constant(value)
        if array is not None and array.size > 1 and array.size == max(array.shape):
            for node, slot in graph.consumers(value)[1:]:
                if slot >= 0:
                    graph.set_input(node, slot, graph.add_initializer(graph.unique_name(f"{value.name}_own"), array))


def mask(graph: Graph, kept: Kept) -> None:
    """Set what `kept` does not list to zero, in place."""
    for name, axes in kept.items():
        value = graph.value(name)
        array = np.array(graph.constant(value))
        for axis, indices in axes.items():
            gone = np.delete(np.arange(array.shape[int(axis)]), indices)
            np.moveaxis(array, int(axis), 0)[gone] = 0
        set_weight(graph, value, array)


def random_inputs(graph: Graph, seed: int) -> Arrays:
    """Normal numbers for floats, around a mean of its own for each row of the first two axes (pooling leaves nothing of mere noise); for
    integers any row of the table that they index, else 0 and 1. Free sizes are 2.
    """
    rng = np.random.default_rng(seed)
    feeds: Arrays = {}
    for value in graph.inputs:
        if value.is_initializer:
            continue
        known = graph.types()[value]
        shape = tuple(size if isinstance(size, int) else _FREE_SIZE for size in known.shape or ())
        dtype = helper.tensor_dtype_to_np_dtype(known.elem_type)
        if known.elem_type in _FLOATS:
            means = rng.standard_normal(shape[:2] + (1,) * len(shape[2:]))
            feeds[value.name] = (rng.standard_normal(shape) + means).astype(dtype)
        else:
            feeds[value.name] = rng.integers(0, _rows(graph, value), shape).astype(dtype)
    return feeds


def _rows(graph: Graph, indices: Value) -> int:
    """Rows of the smallest table that the value indexes directly, 2 if it indexes none."""
    gathers = [node for node, slot in graph.consumers(indices) if node.op_type == "Gather" and slot == 1]
    tables = [graph.constant(node.inputs[0]) for node in gathers if node.inputs[0] is not None]
    return min((len(table) for table in tables if table is not None), default=2)


def session(model: bytes | str) -> ort.InferenceSession:
    """A CPU session with the default optimisations, as a user would run the model."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def run(model: bytes | str, inputs: Sequence[Arrays]) -> Outputs:
    """The outputs for each of the inputs."""
    loaded = session(model)
    return [loaded.run(None, dict(feeds)) for feeds in inputs]


def relative_error(expected: Outputs, found: Outputs) -> float:
    """The worst difference over all outputs and inputs, relative to the largest magnitude in that output; inf for another shape or NaN."""
    worst = 0.0
    for outputs, others in zip(expected, found, strict=True):
        for a, b in zip(outputs, others, strict=True):
            if a.shape != b.shape:
                return math.inf
            difference = float(np.abs(a.astype(np.float64) - b).max(initial=0))
            error = difference / max(float(np.abs(a.astype(np.float64)).max(initial=0)), 1e-30) if difference else 0.0
            worst = max(worst, error if math.isfinite(error) else math.inf)
    return worst


def response(outputs: Outputs) -> float:
    """How much the outputs depend on the input: the least, over the outputs, relative difference between the first two inputs."""
    return min(relative_error([[a]], [[b]]) for a, b in zip(outputs[0], outputs[1], strict=True))
