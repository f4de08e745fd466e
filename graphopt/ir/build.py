"""From ONNX's messages to a `Graph`: every message is kept, so that what is not touched can be written again as it was."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import onnx
from onnx import AttributeProto

from graphopt.errors import InvalidModelError
from graphopt.ir.external import DataFolder
from graphopt.ir.function import Function
from graphopt.ir.graph import Graph
from graphopt.ir.node import Node, Value
from graphopt.ir.scattered import find
from graphopt.ir.tensors import read_tensor

_TENSOR_ATTRIBUTES = {AttributeProto.TENSOR, AttributeProto.TENSORS, AttributeProto.SPARSE_TENSOR, AttributeProto.SPARSE_TENSORS}
_LISTS = ("node", "initializer", "sparse_initializer", "input", "output", "value_info")


def build_model(model: onnx.ModelProto, path: str | os.PathLike[str] | None = None, folder: DataFolder | None = None) -> Graph:
    """The graph of `model`, which it takes over and takes apart: give it a message of your own.

    Raises InvalidModelError where names are defined twice or not at all, ExternalDataError for its data.
    """
    if not model.HasField("graph"):
        raise InvalidModelError("the model has no graph; is this an ONNX file?")
    collecting = gc.isenabled()
    gc.disable()  # a large graph makes enough objects, none of them garbage, to have the collector look at them all again and again
    try:
        return _build_model(model, folder if folder is not None else DataFolder(None if path is None else Path(path)))
    finally:
        if collecting:
            gc.enable()


def _build_model(model: onnx.ModelProto, folder: DataFolder) -> Graph:
    graph = Graph()
    graph.folder, graph.model = folder, model
    message = model.graph
    model.ClearField("graph")  # `message` lives on
    graph.functions = tuple(Function(proto, model, graph.folder) for proto in model.functions)
    for part in (*model.functions, *model.training_info):
        find(part, graph.folder)
    build_graph(graph, message)
    return graph


def build_graph(graph: Graph, proto: onnx.GraphProto) -> None:
    """Fill the empty `graph` from `proto`, subgraphs included; `proto` is taken over: its lists are emptied, the graph keeps the rest."""
    graph.message = proto
    nodes, initializers, sparse_initializers, inputs, output_infos, value_infos = (list(getattr(proto, field)) for field in _LISTS)
    for field in _LISTS:
        proto.ClearField(field)
    for info in inputs:
        value = _define(graph, info.name, "input")
        value.info = info
        graph._inputs[value] = info
    for tensor in initializers:
        value = _initializer(graph, tensor.name)
        value.header, value.tensor = tensor, read_tensor(tensor, graph.root.folder)
    for sparse in sparse_initializers:
        _initializer(graph, sparse.values.name).sparse = sparse
        find(sparse, graph.root.folder)
    written: list[tuple[onnx.NodeProto, Node, tuple[Value | None, ...]]] = []
    for message in nodes:
        _check_text(message.op_type, "operator")
        _check_text(message.domain, "operator's domain")
        outputs = tuple(_define(graph, name, "output of a node") if name else None for name in message.output)
        written.append((message, graph.insert(message), outputs))
    for info in value_infos:
        described = graph._values.get(info.name)
        graph.value_infos.append((info, described))
        if described is not None and described.info is None:
            described.info = info
    for message, node, outputs in written:
        node.outputs = outputs
        graph.connect(node, tuple(_resolve(graph, name, node) if name else None for name in message.input), outputs)
        build_subgraphs(graph, node)
    for info in output_infos:
        value = _resolve(graph, info.name, None)
        graph._outputs.append(value)
        graph._output_infos.append(info)
        if value.info is None and value.graph is graph:
            value.info = info
        if value.graph is not graph:
            graph.nx.add_node(value)


def build_subgraphs(graph: Graph, node: Node) -> None:
    """Make graphs of the node's graph attributes, and edges of what they read from outside."""
    for attribute in node.proto.attribute:
        if attribute.HasField("g"):
            protos = [attribute.g]
        elif attribute.type == AttributeProto.GRAPHS:
            protos = list(attribute.graphs)
        else:
            if attribute.type in _TENSOR_ATTRIBUTES or attribute.HasField("t"):
                find(attribute, graph.root.folder)
            continue
        subgraphs = []
        for proto in protos:
            subgraph = Graph(parent=graph)
            subgraph.owner = node
            message = onnx.GraphProto()  # the node's own message stays whole
            message.CopyFrom(proto)
            build_graph(subgraph, message)
            subgraphs.append(subgraph)
        node.subgraphs_by_attribute[attribute.name] = subgraphs
    if node.subgraphs_by_attribute:
        graph._owners[node] = None
        graph.connect_captures(node)


def _define(graph: Graph, name: str, what: str) -> Value:
    _check_text(name, what)
    if name in graph._values:
        raise InvalidModelError(f"graph {graph.name!r} defines {name!r} twice, the second time as {what}; names must be unique (SSA form)")
    return graph.define(name)


def _check_text(text: object, what: str) -> None:
    if not isinstance(text, str):  # protobuf hands out bytes where a string is not UTF-8
        raise InvalidModelError(f"the name {text!r} of an {what} is not UTF-8; the file is damaged")


def _initializer(graph: Graph, name: str) -> Value:
    value = graph._values.get(name)
    if value is None or value not in graph._inputs or value.is_initializer:
        value = _define(graph, name, "initializer")
    graph._initializers[value] = None
    return value


def _resolve(graph: Graph, name: str, reader: Node | None) -> Value:
    scope: Graph | None = graph
    while scope is not None:
        if (value := scope._values.get(name)) is not None:
            return value
        scope = scope.parent
    what = f"node {reader.label} reads {name!r}" if reader is not None else f"graph {graph.name!r} lists the output {name!r}"
    raise InvalidModelError(f"{what}, which no input, initializer or node defines")
