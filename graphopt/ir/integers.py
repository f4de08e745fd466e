"""Evaluation of small integer tensors, element by element: what a model computes about its own shapes.

An element is an int, the name of a symbolic dimension, or None where nothing is known. ONNX's own data propagation knows fewer operators
and gives up on a tensor when one element is unknown.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper

from graphopt.ir.constants import constant
from graphopt.ir.node import Node, Value

if TYPE_CHECKING:
    from graphopt.ir.graph import Graph
    from graphopt.ir.types import TensorType

# Arrays of dtype object that hold ints, names of dimensions, and None.
Partial = npt.NDArray[np.object_]
INTEGERS: dict[int, int] = {
    TensorProto.INT64: 63,
    TensorProto.INT32: 31,
    TensorProto.BOOL: 1,
}  # and how many bits their largest number has
_LARGEST = 256


class IntegerEvaluator:
    """Evaluates a graph's integers node by node, in topological order; `partial` holds what is known so far.

    `types` may grow while the nodes are visited.
    """

    def __init__(self, types: Mapping[Value, TensorType]) -> None:
        self.types = types
        self.partial: dict[Value, Partial] = {}

    def read(self, value: Value | None) -> Partial | None:
        if value is None:
            return None
        found = self.partial.get(value)
        if found is None and (value.producer is None or value.producer.op_type == "Constant"):
            contents = constant(value) if _small_integer(value, self.types) else None
            if contents is not None:
                found = self.partial[value] = contents.astype(object)
        return found

    def visit(self, node: Node) -> None:
        rule = _RULES.get(node.op_type) if not node.domain else None
        output = node.outputs[0] if rule is not None and node.outputs else None
        if rule is None or output is None:
            return
        known = self.types.get(output)
        elem_type = TensorProto.INT64 if known is None else known.elem_type
        if elem_type not in INTEGERS:
            return
        try:
            result = rule(node, [self.read(value) for value in node.inputs], self.types)
        except (IndexError, ValueError, TypeError, ZeroDivisionError, OverflowError):
            return  # a model that is wrong here is reported by the checker or the runtime, not by an estimate of ours
        if result is not None and result.size <= _LARGEST and fits(result, elem_type):
            self.partial[output] = result


def partial_integers(graph: Graph, types: Mapping[Value, TensorType]) -> dict[Value, Partial]:
    """Every integer value of `graph` of at most 256 elements of which something is known."""
    evaluator = IntegerEvaluator(types)
    for node in graph.nodes:
        if not node.domain and node.op_type in _RULES:
            for value in node.inputs:
                evaluator.read(value)
        evaluator.visit(node)
    return evaluator.partial


def known_integers(graph: Graph, types: Mapping[Value, TensorType]) -> dict[Value, npt.NDArray[Any]]:
    """The node outputs of `graph` that are integers known in full, in their own element type."""
    result = {}
    for value, contents in partial_integers(graph, types).items():
        known = types.get(value)
        if value.producer is not None and known is not None and is_known(contents):
            result[value] = contents.astype(helper.tensor_dtype_to_np_dtype(known.elem_type))
    return result


def fits(contents: Partial, elem_type: int) -> bool:
    """Whether no element leaves the range of its type, where runtimes differ."""
    limit = 1 << INTEGERS[elem_type]
    return all(-limit <= element < limit for element in contents.reshape(-1).tolist() if isinstance(element, int))


def is_known(contents: Partial) -> bool:
    """Whether every element is a number."""
    return all(isinstance(element, int) for element in contents.flat)


def _small_integer(value: Value, types: Mapping[Value, TensorType]) -> bool:
    if value.tensor is not None:
        return value.tensor.elem_type in INTEGERS and value.tensor.size <= _LARGEST
    known = types.get(value)
    return known is not None and known.elem_type in INTEGERS and known.static is not None and math.prod(known.static) <= _LARGEST


# ---- rules: (node, inputs, types) -> the first output, or None

Rule = Callable[[Node, list[Partial | None], Mapping[Value, "TensorType"]], Partial | None]


def _objects(items: Iterable[Any]) -> Partial:
    items = list(items)
    result = np.empty(len(items), dtype=object)
    result[:] = items
    return result


def _scalar(item: Any) -> Partial:
    result = np.empty((), dtype=object)
    result[()] = item
    return result


def _dims(node: Node, types: Mapping[Value, TensorType]) -> list[int | str | None] | None:
    value = node.input(0)
    known = types.get(value) if value is not None else None
    if known is None or known.shape is None:
        return None
    return list(known.shape)


def _shape(node: Node, inputs: list[Partial | None], types: Mapping[Value, TensorType]) -> Partial | None:
    dims = _dims(node, types)
    return None if dims is None else _objects(dims[node.attributes.get("start", 0) : node.attributes.get("end")])


def _size(node: Node, inputs: list[Partial | None], types: Mapping[Value, TensorType]) -> Partial | None:
    dims = _dims(node, types)
    if dims is None or not all(isinstance(size, int) for size in dims):
        return None
    return _scalar(math.prod(size for size in dims if isinstance(size, int)))


def _same(node: Node, inputs: list[Partial | None], types: Mapping[Value, TensorType]) -> Partial | None:
    return inputs[0]


def _cast(node: Node, inputs: list[Partial | None], types: Mapping[Value, TensorType]) -> Partial | None:
    if inputs[0] is None or node.attributes["to"] not in INTEGERS:
        return None
    if node.attributes["to"] == TensorProto.BOOL:
        return _each(lambda a: int(bool(a)), inputs[0])
    return inputs[0]


def _gather(node: Node, inputs: list[Partial | None], types: Mapping[Value, TensorType]) -> Partial | None:
    data, indices = inputs[0], inputs[1]
    if data is None or indices is None or not is_known(indices):
        return None
    taken: Any = np.take(data, indices.astype(np.int64), axis=node.attributes.get("axis", 0))
    return taken if isinstance(taken, np.ndarray) else _scalar(taken)


def _concat(node: Node, inputs: list[Partial | None], types: Mapping[Value, TensorType]) -> Partial | None:
    parts = []
    for value, known in zip(node.inputs, inputs, strict=True):
        if known is None:
            stated = types.get(value) if value is not None else None
            if stated is None or stated.static is None or len(stated.static) != 1 or stated.static[0] > _LARGEST:
                return None
            known = _objects([None] * stated.static[0])
        parts.append(known)
    return np.concatenate(parts, axis=node.attributes["axis"])


def _axes(node: Node, inputs: list[Partial | None], slot: int) -> list[int] | None:
    """Axes from the attribute (old opsets) or the input; None where not given or not known."""
    if "axes" in node.attributes:
        return list(node.attributes["axes"])
    axes = inputs[slot] if slot < len(inputs) else None
    return None if axes is None else [int(axis) for axis in axes.flat]


def _slice(node: Node, inputs: list[Partial | None], types: Mapping[Value, TensorType]) -> Partial | None:
    data = inputs[0]
    if data is None:
        return None
    if "starts" in node.attributes:
        starts, ends, steps = list(node.attributes["starts"]), list(node.attributes["ends"]), None
    else:
        if inputs[1] is None or inputs[2] is None or (node.input(3) is not None and inputs[3] is None):
            return None
        starts, ends = [int(i) for i in inputs[1].flat], [int(i) for i in inputs[2].flat]
        if node.input(4) is not None and inputs[4] is None:
            return None
        steps = [int(i) for i in inputs[4].flat] if len(inputs) > 4 and inputs[4] is not None else None
    axes = _axes(node, inputs, 3) or list(range(len(starts)))
    index: list[slice] = [slice(None)] * data.ndim
    for axis, start, end, step in zip(axes, starts, ends, steps or [1] * len(starts), strict=True):
        size = data.shape[axis]
        if step < 0:
            end = None if end < -size else end
        index[axis] = slice(start, end, step)
    return data[tuple(index)]


def _squeeze(node: Node, inputs: list[Partial | None], types: Mapping[Value, TensorType]) -> Partial | None:
    if inputs[0] is None or (node.input(1) is not None and inputs[1] is None):
        return None
    axes = _axes(node, inputs, 1)
    return np.squeeze(inputs[0], axis=None if axes is None else tuple(axes))


def _unsqueeze(node: Node, inputs: list[Partial | None], types: Mapping[Value, TensorType]) -> Partial | None:
    axes = _axes(node, inputs, 1)
    return None if inputs[0] is None or axes is None else np.expand_dims(inputs[0], tuple(axes))


def _reshape(node: Node, inputs: list[Partial | None], types: Mapping[Value, TensorType]) -> Partial | None:
    data, target = inputs[0], inputs[1]
    if data is None or target is None or not is_known(target):
        return None
    sizes = [data.shape[i] if size == 0 and not node.attributes.get("allowzero", 0) else size for i, size in enumerate(target)]
    return data.reshape(sizes)


def _transpose(node: Node, inputs: list[Partial | None], types: Mapping[Value, TensorType]) -> Partial | None:
    return None if inputs[0] is None else np.transpose(inputs[0], node.attributes.get("perm"))


def _expand(node: Node, inputs: list[Partial | None], types: Mapping[Value, TensorType]) -> Partial | None:
    data, target = inputs[0], inputs[1]
    if data is None or target is None or not is_known(target) or math.prod(int(i) for i in target.flat) > _LARGEST:
        return None
    return np.broadcast_to(data, np.broadcast_shapes(data.shape, tuple(int(i) for i in target.flat)))


def _constant_of_shape(node: Node, inputs: list[Partial | None], types: Mapping[Value, TensorType]) -> Partial | None:
    shape = inputs[0]
    if shape is None or not is_known(shape) or math.prod(int(i) for i in shape) > _LARGEST:
        return None
    value = node.attributes.get("value")
    if value is None or value.elem_type not in INTEGERS:
        return None
    return np.full(tuple(int(i) for i in shape), int(value.numpy().reshape(-1)[0]), dtype=object)


def _range(node: Node, inputs: list[Partial | None], types: Mapping[Value, TensorType]) -> Partial | None:
    bounds: list[Any] = [None if i is None else i.reshape(-1)[0] for i in inputs]
    if not all(isinstance(bound, int) for bound in bounds):
        return None
    numbers = range(*(int(b) for b in bounds))
    return _objects(numbers) if len(numbers) <= _LARGEST else None


def _reduce_prod(node: Node, inputs: list[Partial | None], types: Mapping[Value, TensorType]) -> Partial | None:
    data = inputs[0]
    if data is None or data.ndim > 1 or not is_known(data):
        return None
    product = _scalar(math.prod(int(i) for i in data.flat))
    return product.reshape(1) if data.ndim and node.attributes.get("keepdims", 1) else product


def _each(function: Callable[..., int], *arrays: Partial) -> Partial:
    """`function` element-wise over broadcast arrays; None where an operand is not a number."""
    parts = np.broadcast_arrays(*arrays)
    result = np.empty(parts[0].shape, dtype=object)
    for place in np.ndindex(result.shape):
        operands = [part[place] for part in parts]
        result[place] = function(*(int(o) for o in operands)) if all(isinstance(o, int) for o in operands) else None
    return result


def _elementwise(function: Callable[..., int]) -> Rule:
    def rule(node: Node, inputs: list[Partial | None], types: Mapping[Value, TensorType]) -> Partial | None:
        if any(operand is None for operand in inputs):
            return None
        return _each(function, *(operand for operand in inputs if operand is not None))

    return rule


def _where(node: Node, inputs: list[Partial | None], types: Mapping[Value, TensorType]) -> Partial | None:
    condition, then, other = inputs
    if condition is None or then is None or other is None or not is_known(condition):
        return None
    return np.where(condition.astype(bool), then, other)


def _product(node: Node, inputs: list[Partial | None], types: Mapping[Value, TensorType]) -> Partial | None:
    if inputs[0] is None or inputs[1] is None:
        return None
    return np.asarray(np.frompyfunc(_times, 2, 1)(inputs[0], inputs[1]), dtype=object)


def _times(a: Any, b: Any) -> Any:
    """The product of two numbers; a name times 1 is the name."""
    if isinstance(a, int) and isinstance(b, int):
        return a * b
    return b if a == 1 else a if b == 1 else None


def _truncated_division(a: int, b: int) -> int:
    quotient = abs(a) // abs(b)
    return quotient if (a < 0) == (b < 0) else -quotient


def _mod(node: Node, inputs: list[Partial | None], types: Mapping[Value, TensorType]) -> Partial | None:
    if inputs[0] is None or inputs[1] is None or node.attributes.get("fmod", 0):
        return None
    return _each(lambda a, b: a % b, inputs[0], inputs[1])


_RULES: dict[str, Rule] = {
    "Shape": _shape,
    "Size": _size,
    "Identity": _same,
    "Cast": _cast,
    "Gather": _gather,
    "Concat": _concat,
    "Slice": _slice,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Reshape": _reshape,
    "Transpose": _transpose,
    "Expand": _expand,
    "ConstantOfShape": _constant_of_shape,
    "Range": _range,
    "ReduceProd": _reduce_prod,
    "Where": _where,
    "Mod": _mod,
    "Add": _elementwise(lambda a, b: a + b),
    "Sub": _elementwise(lambda a, b: a - b),
    "Mul": _product,
    "Div": _elementwise(_truncated_division),
    "Min": _elementwise(min),
    "Max": _elementwise(max),
    "Neg": _elementwise(lambda a: -a),
    "Abs": _elementwise(abs),
    "Equal": _elementwise(lambda a, b: int(a == b)),
    "Less": _elementwise(lambda a, b: int(a < b)),
    "Greater": _elementwise(lambda a, b: int(a > b)),
    "Not": _elementwise(lambda a: int(not a)),
    "And": _elementwise(lambda a, b: int(bool(a and b))),
    "Or": _elementwise(lambda a, b: int(bool(a or b))),
}
