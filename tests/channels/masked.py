"""Masked equality, the promise of every cut: the smaller model does what the original does with the removed slices set to zero."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnxruntime as ort

import graphopt.ir as ir
from graphopt.channels import Analysis, ChannelGroup, analyse, cut, without_emptied

Kept = Mapping[str, Mapping[str, Sequence[int]]]
Keep = Mapping[str, Sequence[int]]
Arrays = dict[str, np.ndarray]

_TOLERANCE = {np.dtype(np.float64): 1e-4, np.dtype(np.float32): 1e-4, np.dtype(np.float16): 2e-2}


class UnfitModelError(Exception):
    """The original model itself does not run, or gives infinities; it says nothing about pruning."""


@dataclass(frozen=True)
class Comparison:
    """What was cut and how it went."""

    analysis: Analysis
    keep: Keep
    kept: Kept
    pruned: ir.Graph
    error: float  # the worst relative error over all outputs


def run(model: onnx.ModelProto, feeds: Mapping[str, Any]) -> Arrays:
    """The model's outputs in ONNX Runtime without graph optimisations."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(feeds)), strict=True))


def random_feeds(graph: ir.Graph, rng: np.random.Generator) -> Arrays:
    """Something for every input that the file does not fill; dynamic dimensions become 2, or 3 where they have a name."""
    feeds: Arrays = {}
    types = graph.types()
    for value in graph.inputs:
        if value.tensor is not None:
            continue
        known = types[value]
        assert known.shape is not None
        shape = [size if isinstance(size, int) else 3 if size else 2 for size in known.shape]
        dtype = onnx.helper.tensor_dtype_to_np_dtype(known.elem_type)
        if dtype == np.bool_:
            feeds[value.name] = rng.integers(0, 2, shape).astype(bool)
        elif np.issubdtype(dtype, np.integer):
            feeds[value.name] = rng.integers(0, 2, shape).astype(dtype)
        else:
            feeds[value.name] = rng.uniform(0.5, 1.5, shape).astype(dtype)
    return feeds


def random_keep(analysis: Analysis, rng: np.random.Generator, *, include_inexact: bool = False) -> dict[str, list[int]]:
    """A random choice of units to keep in each prunable group; at least one, and somewhere not all, and something of every axis."""
    groups = prunable(analysis, include_inexact=include_inexact)
    keep = {group.name: _some(group.size, int(rng.integers(1, group.size + 1)), rng) for group in groups}
    if groups and all(len(keep[group.name]) == group.size for group in groups):
        group = groups[int(rng.integers(len(groups)))]
        keep[group.name] = _some(group.size, group.size - 1, rng)
    return without_emptied(analysis, keep)


def least_keep(analysis: Analysis, *, include_inexact: bool = False) -> dict[str, list[int]]:
    """One unit of each prunable group, the last: axes of one index are where broadcasting, squeezing and defaults go wrong."""
    keep = {group.name: [group.size - 1] for group in prunable(analysis, include_inexact=include_inexact)}
    return without_emptied(analysis, keep)


def _some(size: int, count: int, rng: np.random.Generator) -> list[int]:
    return sorted(rng.choice(size, count, replace=False).tolist())


def prunable(analysis: Analysis, *, include_inexact: bool = False) -> list[ChannelGroup]:
    return [group for group in analysis.groups if group.prunable and (include_inexact or group.inexact is None)]


def masked_copy(graph: ir.Graph, kept: Kept) -> ir.Graph:
    """A copy of `graph`, of the same shapes, that has zeros where `kept` has nothing left; stored quantized weights have their zero point."""
    masked = graph.copy()
    readers = {node.input(0).name: node for node in masked.nodes if node.op_type == "DequantizeLinear" and node.input(2) is not None}
    for name in sorted(kept, key=lambda name: name in readers):  # zero points before what counts from them
        array = np.array(contents(masked, name))
        zero = _zero_points(masked, readers[name]) if name in readers else np.zeros_like(array)
        for axis, left in kept[name].items():
            gone = (slice(None),) * int(axis) + (np.setdiff1d(np.arange(array.shape[int(axis)]), left),)
            array[gone] = np.broadcast_to(zero, array.shape)[gone]
        _set_contents(masked, name, array)
    return masked


def _zero_points(graph: ir.Graph, node: ir.Node) -> np.ndarray:
    """The zero points of a DequantizeLinear, in a shape that broadcasts to its input's."""
    zero, rank = contents(graph, node.input(2).name), contents(graph, node.input(0).name).ndim
    shape = [1] * rank
    if zero.size > 1:
        shape[int(node.attributes.get("axis", 1))] = zero.size
    return zero.reshape(shape)


def _set_contents(graph: ir.Graph, name: str, array: np.ndarray) -> None:
    value = graph.value(name)
    if value.producer is None:
        graph.set_tensor(value, array)
    elif "value_floats" in value.producer.attributes:
        graph.set_attribute(value.producer, "value_floats", array.tolist())
    else:
        graph.set_attribute(value.producer, "value", ir.ArrayTensor(array))


def contents(graph: ir.Graph, name: str) -> np.ndarray:
    """The array of an initializer (also one that is an input) or Constant node."""
    value = graph.value(name)
    array = value.tensor.numpy() if value.tensor is not None else graph.constant(value)
    assert array is not None
    return array


def assert_masked_equal(
    graph: ir.Graph,
    rng: np.random.Generator,
    *,
    keep: Keep | Callable[[Analysis], Keep] | None = None,
    include_inexact: bool = False,
    feeds: Mapping[str, Any] | None = None,
) -> Comparison:
    """Cut a copy of `graph` (by default a random cut of its exact groups) and assert all that a cut promises.

    With `include_inexact` everything but equality is asserted. Raises UnfitModelError where the original model itself fails.
    """
    feeds = random_feeds(graph, rng) if feeds is None else feeds
    original = graph.to_proto()
    try:
        before = run(original, feeds)
    except Exception as error:
        raise UnfitModelError(str(error)) from error
    if not all(_finite(array) for array in before.values()):
        raise UnfitModelError("the original gives infinities")
    pruned = graph.copy()
    analysis = analyse(pruned)
    keep = random_keep(analysis, rng, include_inexact=include_inexact) if keep is None else keep(analysis) if callable(keep) else keep
    kept = cut(analysis, keep)
    model = pruned.to_proto()
    onnx.checker.check_model(model)
    _assert_same_interface(original, model)
    _assert_no_new_operators(graph, pruned)
    _assert_sliced_as_said(graph, pruned, kept)
    after = run(model, feeds)
    for name, array in before.items():
        assert after[name].shape == array.shape, f"{name}: shape {after[name].shape}, was {array.shape}"
        assert after[name].dtype == array.dtype, f"{name}: {after[name].dtype}, was {array.dtype}"
    error = 0.0
    if not include_inexact:
        for name, expected in run(masked_copy(graph, kept).to_proto(), feeds).items():
            assert _finite(expected), f"{name}: the masked original gives infinities, so that no cut can equal it: the group is not exact"
            error = max(error, relative_error(after[name], expected, before[name], name))
    return Comparison(analysis, keep, kept, pruned, error)


def relative_error(found: np.ndarray, expected: np.ndarray, original: np.ndarray, name: str) -> float:
    """Largest difference over largest value; asserts that it is small. Values below 1e-3 of the unmasked output's count as noise."""
    if not _is_float(expected):
        assert np.array_equal(found, expected), f"{name}: differs from the masked original"
        return 0.0
    tolerance = _TOLERANCE.get(expected.dtype, 5e-2)
    found, expected, original = (array.astype(np.float64) for array in (found, expected, original))
    largest = max(np.abs(expected).max(initial=0), 1e-3 * np.abs(original).max(initial=0))
    difference = np.abs(found - expected).max(initial=0)
    error = float(difference / largest) if largest else float(difference)
    assert error <= tolerance, f"{name}: relative error {error:.2g} to the masked original"
    return error


def _is_float(array: np.ndarray) -> bool:
    return np.issubdtype(array.dtype, np.floating) or array.dtype == ml_dtypes.bfloat16


def _finite(array: np.ndarray) -> bool:
    return not _is_float(array) or bool(np.isfinite(array.astype(np.float64)).all())


def _assert_same_interface(before: onnx.ModelProto, after: onnx.ModelProto) -> None:
    def plain(values: Sequence[onnx.ValueInfoProto], model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
        stored = {tensor.name for tensor in model.graph.initializer}  # before IR 4 those are listed too
        return [value for value in values if value.name not in stored]

    assert plain(after.graph.input, after) == plain(before.graph.input, before), "inputs changed"
    assert list(after.graph.output) == list(before.graph.output), "outputs changed"
    assert after.opset_import == before.opset_import
    assert after.ir_version == before.ir_version


def _assert_no_new_operators(before: ir.Graph, after: ir.Graph) -> None:
    def count(graph: ir.Graph) -> Counter[tuple[str, str]]:
        return Counter((node.domain, node.op_type) for node in graph.walk())

    assert not count(after) - count(before), f"new operators: {count(after) - count(before)}"


def _assert_sliced_as_said(before: ir.Graph, after: ir.Graph, kept: Kept) -> None:
    """Weights are the original's, sliced where `kept` says so and nowhere else; only integers may be rewritten."""
    for value in after.initializers:
        if value.tensor is None or not before.has_value(value.name):
            continue
        expected = contents(before, value.name)
        for axis, left in kept.get(value.name, {}).items():
            assert 0 < len(left) < expected.shape[int(axis)], (
                f"{value.name}:{axis} is said to keep {len(left)} of {expected.shape[int(axis)]}"
            )
            expected = np.take(expected, left, axis=int(axis))
        found = value.tensor.numpy()
        if value.name in kept or expected.dtype != np.int64:
            assert found.shape == expected.shape, f"{value.name} has shape {found.shape}, not {expected.shape}"
            assert found.tobytes() == expected.tobytes(), f"{value.name} is not a slice of the original"
