"""Makes ONNX models faster for a device.

    graph = graphopt.load("model.onnx")
    run = graphopt.run(graph, "fuse-bn,prune-channels{ratio=0.3}")
    graphopt.save(run.graph, "smaller.onnx")

`optimize` searches for the pipeline by itself, `predict` tells the latency on a target, `Pass` is what passes of your own derive from.
"""

from graphopt import errors
from graphopt.cost import Prediction, Predictor, Target, find_target, predict
from graphopt.errors import GraphoptError, UnsupportedError
from graphopt.ir import ArrayTensor, Graph, LazyTensor, Node, Tensor, TensorType, Value, load, save, verify
from graphopt.pipeline import Context, Pass, PassResult, Skip, parameter, surgeon_pass
from graphopt.report import Run, run
from graphopt.search import Optimized, optimize

__version__ = "0.1.0"

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
