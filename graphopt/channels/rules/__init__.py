"""Channel rules of ONNX's operators, one family per module. Importing this package registers them."""

from graphopt.channels.rules import (
    attention,
    conv,
    elementwise,
    matmul,
    normalization,
    pool,
    quantize,
    recurrent,
    reduce,
    reshape,
    shape,
    spatial,
    stack,
)

__all__ = [
    "attention",
    "conv",
    "elementwise",
    "matmul",
    "normalization",
    "pool",
    "quantize",
    "recurrent",
    "reduce",
    "reshape",
    "shape",
    "spatial",
    "stack",
]
