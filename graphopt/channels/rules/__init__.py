"""Channel rules of ONNX's operators, one family per module. Importing this package registers them."""

from . import conv, elementwise, matmul, normalization, pool, reshape, stack

__all__ = ["conv", "elementwise", "matmul", "normalization", "pool", "reshape", "stack"]
