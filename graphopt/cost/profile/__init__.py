"""Measuring a machine through ONNX Runtime."""

import lazy_loader as _lazy

# Names are loaded when they are asked for: a process that measures should be ready soon, and so should the command line.
__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
