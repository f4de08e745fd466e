"""Shapes where ONNX's inference gives up: reshapes and broadcasts to sizes that the model reads off its inputs, and some operators."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from graphopt.ir.integers import IntegerEvaluator
from graphopt.ir.node import Node, Value
from graphopt.ir.types import TensorType

Shape = tuple[int | str | None, ...]

# Operators without an inference of their own in onnx, and the input whose type the first output has.
_LIKE_INPUT = {
    ("", "GroupNormalization"): 0,
    ("", "MeanVarianceNormalization"): 0,
    ("com.microsoft", "RotaryEmbedding"): 0,
    ("com.microsoft", "SkipLayerNormalization"): 0,
    ("com.microsoft", "SkipSimplifiedLayerNormalization"): 0,
} | {("com.microsoft", name): 0 for name in ("BiasGelu", "FastGelu", "Gelu", "QuickGelu")}


def infer_symbolic(node: Node, types: Mapping[Value, TensorType], integers: IntegerEvaluator) -> dict[Value, TensorType]:
    """The type of the output of a Reshape or Expand whose target is known but for names; empty where that says nothing new."""
    if not node.outputs or node.outputs[0] is None:
        return {}
    if node.domain == "com.microsoft" and node.op_type in ("Attention", "GroupQueryAttention", "MultiHeadAttention"):
        return _attention(node, types)
    if (node.domain, node.op_type) in _LIKE_INPUT:
        return _like_input(node, types)
    if node.domain or node.op_type not in ("Reshape", "Expand"):
        return {}
    source, output = node.input(0), node.outputs[0]
    known, target = types.get(source) if source is not None else None, integers.read(node.input(1))
    if known is None or known.shape is None or target is None:
        return {}
    sizes: Shape = tuple(target.reshape(-1).tolist())
    shape = (
        _broadcast(known.shape, sizes) if node.op_type == "Expand" else _reshaped(known.shape, sizes, node.attributes.get("allowzero", 0))
    )
    stated = types.get(output)
    if stated is not None and stated.shape is not None and len(stated.shape) == len(shape):
        shape = tuple(
            new if old is None else old if isinstance(old, int) or new is None else new
            for old, new in zip(stated.shape, shape, strict=True)
        )
    return {output: TensorType(known.elem_type, shape)}


def _like_input(node: Node, types: Mapping[Value, TensorType]) -> dict[Value, TensorType]:
    slot, found = _LIKE_INPUT[node.domain, node.op_type], {}
    source = node.input(slot)
    for value in (node.outputs[0], *node.outputs[3:4]):  # the fourth, where there is one, is the sum that is normalised
        if value is not None and source is not None and source in types:
            found[value] = types[source]
    return found


def _attention(node: Node, types: Mapping[Value, TensorType]) -> dict[Value, TensorType]:
    """(batch, sequence of the queries, width of the values), and for grouped queries the caches of keys and values."""
    query, key, value = (types[v].shape if v is not None and v in types else None for v in (node.input(0), node.input(1), node.input(2)))
    if query is None or len(query) != 3:
        return {}
    elem_type = types[node.inputs[0]].elem_type if node.inputs[0] is not None else 0
    width: int | str | None = None
    if node.op_type == "Attention":
        columns = key[1] if key is not None else None
        width = node.attributes.get("qkv_hidden_sizes", [columns // 3 if isinstance(columns, int) else None] * 3)[2]
    elif node.op_type == "GroupQueryAttention":
        width = query[2] if key is not None else None
    elif value is not None:
        width = value[2] if len(value) == 3 else None
    found = {node.outputs[0]: TensorType(elem_type, (*query[:2], width))}
    heads = node.attributes.get("kv_num_heads")
    if node.op_type == "GroupQueryAttention" and isinstance(heads, int) and key is not None and isinstance(key[2], int):
        for cache in node.outputs[1:3]:
            found[cache] = TensorType(elem_type, (query[0], heads, None, key[2] // heads))
    return {output: known for output, known in found.items() if output is not None}


def _reshaped(before: Shape, target: Shape, allowzero: int) -> Shape:
    sizes = [before[axis] if size == 0 and not allowzero and axis < len(before) else size for axis, size in enumerate(target)]
    if -1 in sizes:
        place = sizes.index(-1)
        sizes[place] = _quotient(before, [size for axis, size in enumerate(sizes) if axis != place])
    elif sizes.count(None) == 1:
        place = sizes.index(None)
        sizes[place] = _quotient(before, [size for axis, size in enumerate(sizes) if axis != place])
    return tuple(sizes)


def _quotient(whole: Sequence[int | str | None], parts: Sequence[int | str | None]) -> int | str | None:
    """What is left of a product of sizes when others are divided out: a number, a name, or None for anything else."""
    if None in whole or None in parts:
        return None
    names = Counter(size for size in whole if isinstance(size, str))
    names.subtract(size for size in parts if isinstance(size, str))
    left = [name for name, count in names.items() for _ in range(count)]
    if any(count < 0 for count in names.values()):
        return None
    number, rest = divmod(math.prod(s for s in whole if isinstance(s, int)), max(1, math.prod(s for s in parts if isinstance(s, int))))
    if rest or len(left) > 1 or (left and number != 1):
        return None
    return left[0] if left else number


def _broadcast(before: Shape, target: Shape) -> Shape:
    rank = max(len(before), len(target))
    aligned = zip((1,) * (rank - len(before)) + before, (1,) * (rank - len(target)) + target, strict=True)
    return tuple(
        b if a == 1 else a if b == 1 or a == b else a if isinstance(a, int) else b if isinstance(b, int) else None for a, b in aligned
    )
