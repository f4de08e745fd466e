"""The graph: networkx over ONNX. Load, save, tensors, shapes, verify."""

from graphopt.ir.constants import constant
from graphopt.ir.function import Function
from graphopt.ir.graph import Graph
from graphopt.ir.inlining import inline_functions
from graphopt.ir.integers import INTEGERS, IntegerEvaluator, is_known, known_integers, partial_integers
from graphopt.ir.load import load
from graphopt.ir.node import AttributeValue, Node, Value
from graphopt.ir.save import save
from graphopt.ir.stepwise import TypeWalk
from graphopt.ir.tensors import ArrayTensor, ExternalTensor, LazyTensor, ProtoTensor, Tensor
from graphopt.ir.types import TensorType
from graphopt.ir.verify import verify

__all__ = [
    "INTEGERS",
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
    "TypeWalk",
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
