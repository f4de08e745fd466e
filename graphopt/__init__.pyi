from . import errors
from .cost import Prediction, Predictor, Target, find_target, predict
from .errors import GraphoptError, UnsupportedError
from .ir import ArrayTensor, Graph, LazyTensor, Node, Tensor, TensorType, Value, load, save, verify
from .pipeline import Context, Pass, PassResult, Skip, parameter, surgeon_pass
from .report import Run, run
from .search import Optimized, optimize

__version__: str

__all__ = [
    "ArrayTensor",
    "Context",
    "Graph",
    "GraphoptError",
    "LazyTensor",
    "Node",
    "Optimized",
    "Pass",
    "PassResult",
    "Prediction",
    "Predictor",
    "Run",
    "Skip",
    "Target",
    "Tensor",
    "TensorType",
    "UnsupportedError",
    "Value",
    "errors",
    "find_target",
    "load",
    "optimize",
    "parameter",
    "predict",
    "run",
    "save",
    "surgeon_pass",
    "verify",
]
