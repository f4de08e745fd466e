"""Tensors with external data that are no initializers: in attributes, sparse tensors, functions and training information.

They are rare, so nothing is done for them until loading has met one and set `DataFolder.scattered`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import onnx
from google.protobuf.message import Message
from onnx import TensorProto

from graphopt.ir.node import Node
from graphopt.ir.tensors import ExternalTensor, Tensor

if TYPE_CHECKING:
    from graphopt.ir.external import DataFolder
    from graphopt.ir.graph import Graph


def external_tensors(message: Message) -> Iterator[TensorProto]:
    """The tensors with external data in `message`, however deep."""
    if isinstance(message, TensorProto):
        if message.data_location == TensorProto.EXTERNAL:
            yield message
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for inner in value if field.is_repeated else (value,):
                yield from external_tensors(inner)


def find(message: Message, folder: DataFolder) -> None:
    """Check where the external tensors of `message` lie, and remember that there are some."""
    for tensor in external_tensors(message):
        ExternalTensor(tensor, folder.resolve(tensor))
        folder.scattered = True


def rewrite(message: Message, folder: DataFolder, write: Callable[[Tensor, TensorProto | None, str], TensorProto]) -> None:
    """Replace the external tensors of `message` by what `write` makes of them."""
    for tensor in list(external_tensors(message)):
        tensor.CopyFrom(write(ExternalTensor(tensor, folder.resolve(tensor)), tensor, tensor.name))


def scattered(graph: Graph) -> Iterator[ExternalTensor]:
    """The external tensors of the root `graph` and its subgraphs that are no initializers."""
    folder = graph.root.folder
    messages: list[Message] = [value.sparse for value in graph.initializers if value.sparse is not None]
    if graph.parent is None:
        messages += [function.to_proto() for function in graph.functions]
        messages += graph.model.training_info
    for vertex in graph.nx:
        if isinstance(vertex, Node):
            messages += own_attributes(vertex, vertex.proto)
            for subgraph in vertex.subgraphs:
                yield from scattered(subgraph)
    for message in messages:
        for tensor in external_tensors(message):
            yield ExternalTensor(tensor, folder.resolve(tensor))


def own_attributes(node: Node, proto: onnx.NodeProto) -> list[onnx.AttributeProto]:
    """The attributes in `proto`, a message of `node`, without the subgraphs, which are graphs of their own."""
    return [attribute for attribute in proto.attribute if attribute.name not in node.subgraphs_by_attribute]
