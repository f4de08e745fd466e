"""Which attributes of a kernel its time depends on, in one normal form for the rule engine and for what the runtime shows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from graphopt.cost.kernel import Attribute

MICROSOFT, NCHWC = "com.microsoft", "com.microsoft.nchwc"  # ONNX Runtime's own domains

# Each with the value that is left out: a scalar, or the number of which a list holds nothing else.
_WINDOW: dict[str, object] = {"kernel_shape": None, "strides": 1, "dilations": 1, "pads": 0, "auto_pad": "NOTSET"}
_CONV: dict[str, object] = {**_WINDOW, "group": 1, "activation": None, "output_padding": 0, "channels_last": 0}
_WINDOWED: dict[str, object] = {**_WINDOW, "channels_last": 0}
_GEMM: dict[str, object] = {"transA": 0, "transB": 0, "activation": None}
_FUSED_MATMUL: dict[str, object] = {"transA": 0, "transB": 0, "transBatchA": 0, "transBatchB": 0}
_RECURRENT: dict[str, object] = {"hidden_size": None, "direction": "forward", "layout": 0, "linear_before_reset": 0}
_AXIS: dict[str, object] = {"axis": None}
# Operators, and what is kept of them.
_TABLE: tuple[tuple[str, dict[str, object]], ...] = (
    ("Conv FusedConv NhwcFusedConv NhwcConv ConvTranspose ConvInteger QLinearConv", _CONV),
    ("MaxPool AveragePool LpPool QLinearAveragePool", _WINDOWED),
    ("GlobalAveragePool GlobalMaxPool QLinearGlobalAveragePool ReorderInput ReorderOutput", {"channels_last": 0}),
    ("Gemm FusedGemm QGemm", _GEMM),
    ("FusedMatMul", _FUSED_MATMUL),
    ("Softmax LogSoftmax Hardmax Concat Split Gather GatherElements ScatterElements ArgMax ArgMin TopK OneHot", _AXIS),
    ("LayerNormalization SimplifiedLayerNormalization RMSNormalization", _AXIS),
    ("QuantizeLinear DequantizeLinear QLinearConcat QLinearSoftmax", _AXIS),
    ("LpNormalization", {"axis": None, "p": 2}),
    ("MeanVarianceNormalization", {"axes": None}),
    ("Slice", {"axes": None, "steps": 1}),
    ("Transpose", {"perm": None}),
    ("Pad", {"mode": "constant"}),
    ("Resize Upsample", {"mode": "nearest"}),
    ("LSTM GRU RNN", _RECURRENT),
    ("Einsum", {"equation": None}),
    ("DepthToSpace SpaceToDepth", {"blocksize": None, "mode": "DCR"}),
    ("Gelu BiasGelu", {"approximate": "none"}),
    ("GroupNormalization", {"num_groups": None}),
    ("LRN", {"size": None}),
    ("Reshape Flatten Squeeze Unsqueeze Identity Shape Size Dropout Cast CastLike", {}),
    ("BatchNormalization InstanceNormalization Clip Mod Trilu CumSum ConstantOfShape EyeLike", {}),
)
_KEPT = {operator: kept for operators, kept in _TABLE for operator in operators.split()}
# Fractions of which one value is computed another way: the product of a SiLU is left out by QuickGelu, which is three times as fast then.
_FRACTIONS = {"QuickGelu": {"alpha": 1.0}}
_REDUCE: dict[str, object] = {"axes": None}
# Operators that ONNX Runtime has two kernels for, an old one and another from this opset on: it averages without vectors then, ten times as slowly.
_SINCE = {"AveragePool": 19}
# Attributes that were attributes in old opsets and are inputs now, or the other way round: where they stand as inputs.
_INPUT_SLOTS = {"Slice": {"axes": 3, "steps": 4}}
_AXES = ("axis", "axes", "perm")


def operator_name(domain: str, op_type: str) -> str:
    """What a signature calls an operator of ONNX Runtime: `Conv`, `FusedConv`, `nchwc.Conv`, `ReorderInput`; other domains in full."""
    if domain in ("", "ai.onnx", MICROSOFT) or op_type in ("ReorderInput", "ReorderOutput"):
        return op_type
    return f"nchwc.{op_type}" if domain == NCHWC else f"{domain}.{op_type}"


def timed_attributes(
    operator: str,
    attributes: Mapping[str, object],
    rank: int | None = None,
    constant: Callable[[int], Sequence[int] | None] = lambda slot: None,
    opset: int | None = None,
) -> tuple[tuple[str, Attribute], ...]:
    """The attributes of a kernel that its time depends on, sorted by name; values that mean nothing (stride 1, no padding) left out.

    `rank` is the rank of input 0, to count axes from the front; `constant(slot)` the integers of an input that is in the file, because axes
    and steps are inputs since opset 10 (Slice) and 18 (reductions). `opset` is that of the model, for ONNX Runtime's kernels alone: `opset=19`
    stands for what it computes another way since then. Fractions (epsilon, alpha) change no time and are left out, but
    for the alpha of QuickGelu where it is not 1. Of an operator that is not listed here every number and text is kept.
    """
    bare = operator.rpartition(".")[2] if operator.startswith("nchwc.") else operator
    kept = _REDUCE if bare.startswith("Reduce") else _KEPT.get(bare)
    slots = {"axes": 1} if bare.startswith("Reduce") else _INPUT_SLOTS.get(bare, {})
    found = {name: value for name, raw in attributes.items() if (value := _plain(raw)) is not None}
    for name, slot in slots.items():
        if name not in found and (content := constant(slot)) is not None:
            found[name] = tuple(int(item) for item in content)
    if kept is not None:
        found = {name: value for name, value in found.items() if name in kept and not _idle(value, kept[name])}
    for name, default in _FRACTIONS.get(bare, {}).items():
        fraction = attributes.get(name, default)
        if isinstance(fraction, float) and fraction != default:
            found[name] = round(fraction, 4)
    if rank is not None:
        found = {name: _from_front(value, rank) if name in _AXES else value for name, value in found.items()}
    since = _SINCE.get(operator)
    if since is not None and opset is not None and opset >= since:
        found["opset"] = since
    return tuple(sorted(found.items()))


def _plain(value: object) -> Attribute | None:
    """As a signature writes it; None for what it cannot hold or what does not matter."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, str):
        text = "".join(value.split())
        return text if text and not set(text) & set("{}[]") else None
    if isinstance(value, (int, bool)):
        return int(value)
    if isinstance(value, Iterable):
        items = list(value)
        if items and all(isinstance(item, int) for item in items):
            return tuple(items)
    return None


def _idle(value: Attribute, default: object) -> bool:
    if isinstance(value, tuple):
        return isinstance(default, int) and all(item == default for item in value)
    return value == default


def _from_front(value: Attribute, rank: int) -> Attribute:
    if isinstance(value, tuple):
        return tuple(item + rank if isinstance(item, int) and item < 0 else item for item in value)
    return value + rank if isinstance(value, int) and value < 0 else value
