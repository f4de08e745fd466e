"""Figures of a whole model: parameters, multiply-accumulates, bytes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import prod

import onnx

from graphopt.cost.macs import node_macs
from graphopt.cost.sizes import KnownTypes, fixed_types
from graphopt.ir import Graph, Node, Tensor
from graphopt.ir.emit import emit_model
from graphopt.ir.tensors import tensor_header

_LARGEST_IN_MEMORY = 2**28  # bytes of weights; those of a larger model are not put into a message to weigh it


@dataclass(frozen=True)
class Counts:
    """Figures of a model.

    `uncounted` says, per operator, how many nodes have multiply-accumulates that `macs` leaves out; `assumptions` what it presumes.
    """

    params: int
    macs: int
    bytes: int
    uncounted: Mapping[str, int] = field(default_factory=dict)
    assumptions: tuple[str, ...] = ()


def count(graph: Graph, sizes: Mapping[str, int] | None = None) -> Counts:
    """The figures of the root `graph`, its free dimensions sized by name as in `sizes`, otherwise 1."""
    types = fixed_types(graph, sizes)
    macs = macs_by_node(graph, types)
    total = sum(found or 0 for found in macs.values())
    uncounted = Counter(_operator(node) for node, found in macs.items() if found is None)
    return Counts(parameters(graph), total, serialised_bytes(graph), dict(sorted(uncounted.items())), types.assumptions)


def macs_by_node(graph: Graph, types: KnownTypes | None = None) -> dict[Node, int | None]:
    """Multiply-accumulates of each node of one run; None where a node has some that cannot be counted.

    How often a subgraph runs is not in the file: a node inside one is in the result, as None, only if it has multiply-accumulates.
    """
    types = types or fixed_types(graph)
    found = {node: node_macs(node, types) for node in graph.nodes}
    inner = (node for outer in graph.nodes for subgraph in outer.subgraphs for node in subgraph.walk())
    return found | {node: None for node in inner if node_macs(node, types) != 0}


def parameters(graph: Graph) -> int:
    """Elements of the weights, each counted once however often it is used.

    Weights are the initializers and Constant nodes, of the model, its subgraphs and its functions, that are of floating-point type or, as
    quantized weights are, of an integer type of at most 8 bits.

    That includes the running statistics of BatchNormalization, which training frameworks do not count, and scalar constants.
    """
    functions = sum(_proto_elements(node) for function in graph.functions for node in function.to_proto().node)
    return functions + sum(_elements(inner) for inner in _graphs(graph))


def _graphs(graph: Graph) -> Iterator[Graph]:
    yield graph
    for node in graph.nodes:
        for subgraph in node.subgraphs:
            yield from _graphs(subgraph)


def _elements(graph: Graph) -> int:
    total = 0
    for value in graph.initializers:
        if value.tensor is not None and is_weight_type(value.tensor.elem_type):
            total += value.tensor.size
        elif value.sparse is not None and is_weight_type(value.sparse.values.data_type):
            total += value.sparse.values.dims[0]  # the elements that are stored
    return total + sum(_constant_elements(node) for node in graph.nodes if node.op_type == "Constant" and not node.domain)


def _constant_elements(node: Node) -> int:
    for name, content in node.attributes.items():
        if isinstance(content, Tensor):
            return content.size if is_weight_type(content.elem_type) else 0
        if name == "value_float":
            return 1
        if name == "value_floats":
            return len(content)
        if isinstance(content, onnx.SparseTensorProto):
            return content.values.dims[0] if is_weight_type(content.values.data_type) else 0
    return 0


def _proto_elements(node: onnx.NodeProto) -> int:
    if node.op_type != "Constant" or node.domain not in ("", "ai.onnx"):
        return 0
    total = 0
    for attribute in node.attribute:
        if attribute.HasField("t") and is_weight_type(attribute.t.data_type):
            total += prod(attribute.t.dims)
        total += len(attribute.floats) + (attribute.type == onnx.AttributeProto.FLOAT)
    return total


def is_weight_type(elem_type: int) -> bool:
    """Whether a tensor of that element type counts as a weight."""
    name = onnx.TensorProto.DataType.Name(elem_type)
    return name.startswith(("FLOAT", "BFLOAT", "DOUBLE")) or name in {"INT8", "UINT8", "INT4", "UINT4", "INT2", "UINT2"}


def serialised_bytes(graph: Graph) -> int:
    """Bytes of the model as it would be saved, external data included (without the padding between the tensors in a data file)."""
    if sum(value.tensor.nbytes for value in graph.initializers if value.tensor is not None) <= _LARGEST_IN_MEMORY:
        return emit_model(graph).ByteSize()
    data = 0

    def weigh(tensor: Tensor, header: onnx.TensorProto | None, name: str) -> onnx.TensorProto:
        nonlocal data
        data += tensor.nbytes
        return tensor_header(header, tensor, name)

    return emit_model(graph, weigh).ByteSize() + data


def _operator(node: Node) -> str:
    return f"{node.domain}.{node.op_type}" if node.domain else node.op_type
