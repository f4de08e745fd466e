"""How the cost of each operator is found, before any shape is known."""

from __future__ import annotations

import functools
from enum import Enum

from onnx import defs


class Cost(Enum):
    """How the cost of an operator is found; the values are words for people."""

    COUNTED = "multiply-accumulates"
    MOVED = "bytes moved"
    FREE = "assumed free"
    UNKNOWN = "unknown"


# Contractions: graphopt.cost.macs has a rule for each of them, which is said here.
_CONV = "elements of the output x weights of one output channel"
_MATMUL = "elements of the output x the axis that is summed over"
_RECURRENT = "steps x batch x elements of the weights W and R"
COUNTED = {
    "Attention": "(elements of Q + elements of the output) x number of keys",
    "Conv": _CONV,
    "ConvInteger": _CONV,
    "ConvTranspose": "elements of the input x weights of one input channel",
    "DeformConv": _CONV,
    "Einsum": "product of all indices, for two operands; none for one; unknown for more",
    "GRU": _RECURRENT,
    "Gemm": _MATMUL,
    "LSTM": _RECURRENT,
    "MatMul": _MATMUL,
    "MatMulInteger": _MATMUL,
    "QLinearConv": _CONV,
    "QLinearMatMul": _MATMUL,
    "RNN": _RECURRENT,
}
# Contractions that no rule states.
_NO_RULE = frozenset({"CausalConvWithState", "DFT", "Det", "FlexAttention", "LinearAttention", "STFT"})
# Runtimes hand on the same memory. So does Dropout, at inference.
VIEWS = frozenset({"Dropout", "Flatten", "Identity", "Optional", "OptionalGetElement", "Reshape", "Squeeze", "Unsqueeze"})
_NO_DATA = frozenset({"OptionalHasElement", "Shape", "Size"})
# What they compute with is stated in attributes, or in another graph.
_IN_ATTRIBUTES = frozenset(
    {
        "Gradient",
        "LinearClassifier",
        "LinearRegressor",
        "SVMClassifier",
        "SVMRegressor",
        "TreeEnsemble",
        "TreeEnsembleClassifier",
        "TreeEnsembleRegressor",
    }
)
# They read no more of their data than they write.
PICKING = frozenset({"ArrayFeatureExtractor", "Compress", "Gather", "GatherElements", "GatherND", "Slice"})


def operators() -> list[tuple[str, str]]:
    """(domain, name) of every operator that the installed onnx defines, those that were withdrawn included."""
    return sorted({(schema.domain, schema.name) for schema in defs.get_all_schemas_with_history()})


@functools.cache
def operator_cost(domain: str, op_type: str) -> tuple[Cost, str]:
    """How the cost of an operator, in its latest version, is found, and a remark on it.

    ONNX's own domain is the empty string. Operators of domains that ONNX does not define are unknown.
    """
    if not defs.has(op_type, domain):
        return Cost.UNKNOWN, "no operator of ONNX"
    if op_type in _NO_RULE:
        return Cost.UNKNOWN, "multiplies in a way that no rule counts"
    if not domain and (found := _known_by_name(op_type)) is not None:
        return found
    schema = defs.get_schema(op_type, domain=domain)
    if any(attribute.type in (defs.OpSchema.AttrType.GRAPH, defs.OpSchema.AttrType.GRAPHS) for attribute in schema.attributes.values()):
        return Cost.UNKNOWN, "how often its subgraph runs is not in the file"
    if op_type in _IN_ATTRIBUTES:
        return Cost.UNKNOWN, "what it computes with is not among its inputs"
    types = {kind for parameter in (*schema.inputs, *schema.outputs) for kind in parameter.types}
    if not all(kind.startswith("tensor(") for kind in types):
        return Cost.UNKNOWN, "sequences and maps have no stated size"
    if any(set(parameter.types) == {"tensor(string)"} for parameter in (*schema.inputs, *schema.outputs)):
        return Cost.UNKNOWN, "texts have no stated size"
    if op_type in PICKING:
        return Cost.MOVED, "of its data only what it picks"
    return Cost.MOVED, ""


def _known_by_name(op_type: str) -> tuple[Cost, str] | None:
    if op_type in COUNTED:
        return Cost.COUNTED, COUNTED[op_type]
    if op_type in VIEWS:
        return Cost.FREE, "hands on the same memory"
    if op_type in _NO_DATA:
        return Cost.FREE, "reads no data"
    return (Cost.FREE, "is in the file") if op_type == "Constant" else None


def is_uncounted(domain: str, op_type: str) -> bool:
    """Whether an operator has, or may have, multiply-accumulates that no rule counts."""
    return not defs.has(op_type, domain) or op_type in _NO_RULE or op_type in _IN_ATTRIBUTES
