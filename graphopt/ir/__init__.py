"""The graph: networkx over ONNX. Load, save, tensors, shapes, verify."""

from .constants import constant
from .function import Function
from .graph import Graph
from .inlining import inline_functions
from .integers import IntegerEvaluator, is_known, known_integers, partial_integers
from .load import load
from .node import AttributeValue, Node, Value
from .save import save
from .tensors import ArrayTensor, ExternalTensor, LazyTensor, ProtoTensor, Tensor
from .types import TensorType
from .verify import verify

__all__ = [
    "ArrayTensor",
    "AttributeValue",
    "ExternalTensor",
    "Function",
    "Graph",
    "IntegerEvaluator",
    "LazyTensor",
    "Node",
    "ProtoTensor",
    "Tensor",
    "TensorType",
    "Value",
    "constant",
    "inline_functions",
    "is_known",
    "known_integers",
    "load",
    "partial_integers",
    "save",
    "verify",
]
