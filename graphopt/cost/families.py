"""Families of kernels: those whose time follows one law. The split by layout and kind does most of the work of the prediction."""

from __future__ import annotations

from functools import lru_cache
from math import prod

from graphopt.cost.kernel import Signature

# Kins: what lends its coefficients to a family of which too little is known.
CONVOLUTION, DEPTHWISE, MATRIX, POOL = "convolution", "depthwise", "matrix", "pool"
ELEMENTWISE, MOVEMENT, NORMALISATION, REDUCTION, SEQUENCE = "elementwise", "movement", "normalisation", "reduction", "sequence"
VIEW, OTHER = "view", "other"


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_CONVOLUTIONS = _names("Conv FusedConv NhwcConv NhwcFusedConv ConvInteger QLinearConv DeformConv CausalConvWithState")
_QUANTIZED = _names("ConvInteger QLinearConv MatMulInteger QLinearMatMul MatMulIntegerToFloat DynamicQuantizeMatMul QGemm")
_MATRICES = _names(
    "Gemm FusedGemm MatMul FusedMatMul MatMulInteger QLinearMatMul QGemm MatMulNBits MatMulIntegerToFloat DynamicQuantizeMatMul"
)
_MAX_POOLS = _names("MaxPool MaxRoiPool GlobalMaxPool MaxUnpool")
_POOLS = _MAX_POOLS | _names("AveragePool LpPool GlobalAveragePool GlobalLpPool RoiAlign QLinearAveragePool QLinearGlobalAveragePool")

_BINARY = _names(
    "Add Sub Mul Div Max Min Mean Sum Mod And Or Xor Equal Greater GreaterOrEqual Less LessOrEqual BitShift BitwiseAnd BitwiseOr "
    "BitwiseXor QLinearAdd QLinearMul"
)
_CHEAP = _names(
    "Relu Clip LeakyRelu ThresholdedRelu PRelu Abs Neg Ceil Floor Round Sign Not BitwiseNot IsInf IsNaN Reciprocal Shrink Hardmax "
    "QLinearLeakyRelu"
)
_SIGMOIDS = _names("Sigmoid HardSigmoid HardSwish Tanh Softsign QLinearSigmoid")
_GELUS = _names("Gelu FastGelu BiasGelu")
_SWISHES = _names("QuickGelu Swish SwiGLU")
_UNARY = _names("Exp Log Sqrt Erf Pow Sin Cos Tan Sinh Cosh Asin Acos Atan Asinh Acosh Atanh Elu Selu Celu Softplus Mish Bernoulli")
_CASTS = _names("Cast CastLike BitCast QuantizeLinear DequantizeLinear DynamicQuantizeLinear")

_NORMALISATIONS = _names(
    "Softmax LogSoftmax LayerNormalization SkipLayerNormalization EmbedLayerNormalization SimplifiedLayerNormalization RMSNormalization "
    "SkipSimplifiedLayerNormalization BatchNormalization InstanceNormalization GroupNormalization LpNormalization "
    "MeanVarianceNormalization LRN BiasSoftmax NegativeLogLikelihoodLoss SoftmaxCrossEntropyLoss"
)
_SEARCHES = _names("ArgMax ArgMin TopK NonZero Unique CumSum CumProd NonMaxSuppression Multinomial")
_CONCATS = _names("Concat ConcatFromSequence QLinearConcat")
_GATHERS = _names("Gather GatherElements GatherND ScatterElements ScatterND Compress OneHot ReverseSequence TensorScatter Embedding")
_RESIZES = _names("Resize Upsample GridSample AffineGrid")
_SLICES = _names("Slice Pad CenterCropPad Trilu Tile Expand Where Col2Im")
_SHUFFLES = _names("Transpose DepthToSpace SpaceToDepth")
_FILLS = _names(
    "ConstantOfShape EyeLike Range RandomNormal RandomNormalLike RandomUniform RandomUniformLike BlackmanWindow HammingWindow "
    "HannWindow MelWeightMatrix"
)
_ATTENTIONS = _names("Attention MultiHeadAttention GroupQueryAttention LinearAttention RotaryEmbedding")
_RECURRENT = _names("LSTM GRU RNN")
_SPECTRAL = _names("DFT STFT Det Einsum")

_VIEWS = _names(
    "Reshape Flatten Squeeze Unsqueeze Identity Shape Size Dropout Constant Optional OptionalGetElement OptionalHasElement "
    "SequenceAt SequenceConstruct SequenceEmpty SequenceErase SequenceInsert SequenceLength SplitToSequence"
)
# Not here, and so "other": If, Loop, Scan and SequenceMap, whose time is that of the bodies that they run and of how often, and what works
# on texts and pictures, whose lengths no shape tells.
_DOMAINS = frozenset({"", "ai.onnx", "nchwc", "com.microsoft", "com.microsoft.nchwc", "com.ms.internal.nhwc"})

_NAMED: dict[str, tuple[str, str]] = {
    **dict.fromkeys(_CHEAP, ("relu", ELEMENTWISE)),
    **dict.fromkeys(_SIGMOIDS, ("sigmoid", ELEMENTWISE)),
    **dict.fromkeys(_GELUS, ("gelu", ELEMENTWISE)),
    **dict.fromkeys(_SWISHES, ("swish", ELEMENTWISE)),
    **dict.fromkeys(_UNARY, ("unary", ELEMENTWISE)),
    **dict.fromkeys(_CASTS, ("cast", ELEMENTWISE)),
    **{operator: (operator.lower(), NORMALISATION) for operator in _NORMALISATIONS},
    **dict.fromkeys(_SEARCHES, ("search", REDUCTION)),
    **dict.fromkeys(_CONCATS, ("concat", MOVEMENT)),
    "Split": ("split", MOVEMENT),
    **dict.fromkeys(_GATHERS, ("gather", MOVEMENT)),
    **dict.fromkeys(_RESIZES, ("resize", MOVEMENT)),
    **dict.fromkeys(_SLICES, ("slice", MOVEMENT)),
    **dict.fromkeys(_SHUFFLES, ("transpose", MOVEMENT)),
    **dict.fromkeys(_FILLS, ("fill", MOVEMENT)),
    "ReorderInput": ("reorder.input", MOVEMENT),
    "ReorderOutput": ("reorder.output", MOVEMENT),
    **dict.fromkeys(_ATTENTIONS, ("attention", MATRIX)),
    **dict.fromkeys(_RECURRENT, ("recurrent", SEQUENCE)),
    **dict.fromkeys(_SPECTRAL, ("contraction", MATRIX)),
    **dict.fromkeys(_VIEWS, ("view", VIEW)),
}


@lru_cache(maxsize=65536)
def family(sig: Signature, block: int = 1) -> str:
    """The family of a kernel on a runtime that holds channels in blocks of `block`.

    Examples: `nchwc.depthwise`, `conv.dense`, `gemm`, `gemv`, `bmm`, `pool.max`, `binary.broadcast`, `layernormalization`. An operator that
    this table does not know is a family of its own, `other:` and its name.
    """
    domain, _, operator = sig.operator.rpartition(".")
    if domain not in _DOMAINS:
        return f"other:{sig.operator}"
    blocked = domain.endswith("nchwc")
    prefix = "nchwc." if blocked else ""
    if operator in _CONVOLUTIONS or operator == "ConvTranspose":
        return _convolution(sig, operator, blocked, block)
    if operator in _MATRICES:
        return _matrix(sig, operator)
    if operator in _POOLS:
        whole = operator.startswith(("Global", "QLinearGlobal"))
        since = sig.attribute("opset")  # a kernel of its own from that opset on
        name = "pool.global" if whole else "pool.max" if operator in _MAX_POOLS else "pool.average"
        return f"{prefix}{name}" + (f".{since}" if since else "")
    if operator in _BINARY:
        return "binary" if _same_shapes(sig) else "binary.broadcast"
    if operator.startswith("Reduce"):
        return "reduce"
    if operator in _NAMED:
        return prefix + _NAMED[operator][0]
    return f"other:{sig.operator}"


def kin(name: str) -> str:
    """The wider group of a family, whose pooled law is the best guess where the family itself was never measured."""
    bare = name.removeprefix("nchwc.").removeprefix("q.")
    if bare in ("depthwise", "conv.depthwise", "grouped", "conv.grouped"):
        return DEPTHWISE
    if bare.startswith(("conv", "deconv", "pointwise", "dense", "image")) and bare != "contraction":
        return CONVOLUTION
    if bare.startswith(("gemm", "gemv", "bmm")):
        return MATRIX
    if bare.startswith("pool."):
        return POOL
    if bare.startswith("binary"):
        return ELEMENTWISE
    if bare == "reduce":
        return REDUCTION
    return _KINS.get(bare, OTHER)


def is_free(name: str) -> bool:
    """Whether kernels of the family only give a tensor another shape, which takes no time worth naming unless it was measured."""
    return kin(name) == VIEW


def is_unknown(name: str) -> bool:
    """Whether nothing in a signature of the family tells how long it takes, so that only a measurement of the very kernel would."""
    return name.startswith("other:")


_KINS = dict(_NAMED.values())


def convolution_slots(operator: str) -> tuple[int, int]:
    """The slots of a convolution's data and weight."""
    return (0, 3) if operator == "QLinearConv" else (0, 1)


def matrix_slots(operator: str) -> tuple[int, int]:
    """The slots of a matrix product's two factors."""
    return (0, 3) if operator in ("QLinearMatMul", "QGemm") else (0, 1)


def _convolution(sig: Signature, operator: str, blocked: bool, block: int) -> str:
    data, weight = (sig.operand(slot) for slot in convolution_slots(operator))
    if data is None or weight is None or len(data.shape) < 3 or len(weight.shape) < 3:
        return f"other:{sig.operator}"
    group = sig.attribute("group", 1)
    grouped = isinstance(group, int) and group > 1
    channels = data.shape[1]
    prefix = "q." if operator in _QUANTIZED else ""
    if operator == "ConvTranspose":
        return "deconv.depthwise" if grouped and group == channels else "deconv"
    prefix += "nchwc" if blocked else "conv"
    if grouped:
        return f"{prefix}.depthwise" if group == channels else f"{prefix}.grouped"
    if blocked and channels < block:
        return f"{prefix}.image"
    return f"{prefix}.pointwise" if prod(weight.shape[2:]) == 1 else f"{prefix}.dense"


def _matrix(sig: Signature, operator: str) -> str:
    a, b = (sig.operand(slot) for slot in matrix_slots(operator))
    if a is None or b is None or not a.shape or not b.shape:
        return f"other:{sig.operator}"
    prefix = "q." if operator in _QUANTIZED else ""
    if len(b.shape) <= 2:
        rows = a.shape[-1] if sig.attribute("transA", 0) and len(a.shape) == 2 else prod(a.shape[:-1])
        return prefix + ("gemv" if rows == 1 else "gemm")
    return prefix + ("bmm.transposed" if sig.attribute("transB", 0) else "bmm")


def _same_shapes(sig: Signature) -> bool:
    sizes = {operand.size for operand in sig.operands if operand is not None}
    return len(sizes) <= 1 or (len(sizes) == 2 and min(sizes) == 1)  # a scalar is read once
