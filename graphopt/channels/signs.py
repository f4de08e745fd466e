"""Values that cannot be zero, as far as the graph tells: what a division needs to know of its divisor."""

from __future__ import annotations

from graphopt.ir import Graph, Value

NONNEGATIVE, POSITIVE = 1, 2
_DEPTH = 16  # producers looked back at; a divisor is seldom more than a norm and an epsilon away

_POSITIVE = {"Exp", "Sigmoid", "Softplus"}
_NONNEGATIVE = {"Abs", "Relu", "HardSigmoid", "ReduceL1", "ReduceL2", "ReduceSumSquare", "Softmax", "GlobalLpPool", "LpPool"}
_KEEP_SIGN = {"Sqrt", "Identity", "Cast", "Expand", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "ReduceMean", "ReduceSum", "ReduceMax"}
_KEEP_SIGN |= {"ReduceMin", "Flatten", "Dropout", "Slice", "GlobalAveragePool", "Reciprocal"}


def sign(graph: Graph, value: Value | None, depth: int = _DEPTH) -> int:
    """POSITIVE or NONNEGATIVE where that holds for every input and any cut weights; 0 where it is not known."""
    if value is None or depth == 0:
        return 0
    node = value.producer
    if node is None or node.op_type == "Constant":
        return _sign_of_constant(graph, value)
    if node.domain:
        return 0
    op = node.op_type
    if op in _POSITIVE:
        return POSITIVE
    if op in _NONNEGATIVE or (op == "Mul" and node.inputs[0] is node.inputs[1]) or (op == "Pow" and _is_even(graph, node.input(1))):
        return NONNEGATIVE
    if op == "Clip":
        low = graph.constant(node.input(1)) if node.input(1) is not None else node.attributes.get("min")
        return 0 if low is None or low < 0 else POSITIVE if low > 0 else NONNEGATIVE
    signs = [sign(graph, source, depth - 1) for source in node.inputs[: 1 if op in _KEEP_SIGN else None]]
    if op in _KEEP_SIGN or op in ("Mul", "Div", "Min"):
        return min(signs)
    if op == "Max":
        return max(signs)
    return max(signs) if op in ("Add", "Sum") and min(signs) > 0 else 0


def _sign_of_constant(graph: Graph, value: Value) -> int:
    contents = graph.constant(value)
    if contents is None or contents.dtype.kind not in "fiu" or contents.size == 0 or not bool((contents >= 0).all()):
        return 0
    # What can be cut counts as zero where it is.
    return POSITIVE if contents.size == 1 and bool((contents > 0).all()) else NONNEGATIVE


def _is_even(graph: Graph, exponent: Value | None) -> bool:
    contents = graph.constant(exponent)
    return contents is not None and bool((contents % 2 == 0).all())
