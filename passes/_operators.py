"""What may be assumed about an operator."""

from __future__ import annotations

import functools

from onnx import defs

from graphopt.ir import Graph, Node

# Different results each time, or state.
_RANDOM = frozenset({"Bernoulli", "Dropout", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"})

# What compresses a weight must stay, or the file holds the weight at full width again. Quantizers also place one DequantizeLinear per
# reader on purpose: runtimes fuse each with its reader.
QUANTIZERS = frozenset({"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"})

# An initializer holds a tensor, nothing else.
_WITHOUT_TENSORS = frozenset({"Optional", "SequenceConstruct", "SequenceEmpty", "SplitToSequence"})


class Operators:
    """The operators that a graph's nodes call."""

    def __init__(self, graph: Graph) -> None:
        self._opset = graph.opset() or 1
        self._replaced = {name for domain, name, _ in (function.key for function in graph.root.functions) if domain in ("", "ai.onnx")}

    def standard(self, node: Node) -> bool:
        """Whether the node calls an operator of ONNX's own domain, and no function of the model that goes by its name."""
        return not node.domain and not node.overload and node.op_type not in self._replaced and _in_onnx(node.op_type, self._opset)

    def pure(self, node: Node) -> bool:
        """Whether equal inputs give equal outputs for certain: a standard operator without randomness or subgraphs."""
        return self.standard(node) and node.op_type not in _RANDOM and not node.subgraphs

    def foldable(self, node: Node) -> bool:
        """Whether the node may be replaced by what it gives for constant inputs."""
        return self.pure(node) and node.op_type not in QUANTIZERS and node.op_type not in _WITHOUT_TENSORS


@functools.cache
def _in_onnx(op_type: str, opset: int) -> bool:
    return bool(defs.has(op_type, opset, ""))
