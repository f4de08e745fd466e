"""From a `Graph` back to ONNX's messages: untouched messages as they came, the rest made anew from them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

import onnx
from google.protobuf.message import Message

from graphopt.ir.graph import Graph
from graphopt.ir.infos import renamed, with_tensor_type
from graphopt.ir.node import Node, Value, names
from graphopt.ir.scattered import rewrite
from graphopt.ir.tensors import ExternalTensor, ProtoTensor, Tensor, inline, tensor_header
from graphopt.ir.types import TensorType

AnyMessage = TypeVar("AnyMessage", bound=Message)

# How a tensor is written: (tensor, the message it was loaded from or None, name) -> message.
WriteTensor = Callable[[Tensor, onnx.TensorProto | None, str], onnx.TensorProto]


def inline_tensor(tensor: Tensor, header: onnx.TensorProto | None, name: str) -> onnx.TensorProto:
    """The contents inside the message."""
    if isinstance(tensor, ProtoTensor) and tensor.proto is header:
        return _renamed_tensor(tensor.proto, name)
    return inline(tensor_header(header, tensor, name), tensor)


def reference_tensor(tensor: Tensor, header: onnx.TensorProto | None, name: str) -> onnx.TensorProto:
    """The loaded message where it still holds, with its reference to external data; the contents inside the message otherwise."""
    if isinstance(tensor, ExternalTensor) and tensor.proto is header:
        return _renamed_tensor(tensor.proto, name)
    return inline_tensor(tensor, header, name)


def _name_tensor(tensor: Tensor, header: onnx.TensorProto | None, name: str) -> onnx.TensorProto:
    """For copies, which take the contents over by themselves."""
    if isinstance(tensor, ExternalTensor) and tensor.proto is header:
        return _renamed_tensor(tensor.proto, name)
    return onnx.TensorProto(name=name)


def emit_model(graph: Graph, write: WriteTensor = inline_tensor) -> onnx.ModelProto:
    """The model of the root `graph`, its tensors written by `write`."""
    model = _emit_shell(graph, write)
    emit_graph(graph, write, into=model.graph)
    model.graph.SetInParent()
    return model


def _emit_shell(graph: Graph, write: WriteTensor) -> onnx.ModelProto:
    """The model of the root `graph` without its graph."""
    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    if any(function.to_proto() is not function.proto for function in graph.functions):
        model.ClearField("functions")
        model.functions.extend(function.to_proto() for function in graph.functions)
    if graph.folder.scattered:
        for message in (*model.functions, *model.training_info):
            rewrite(message, graph.folder, write)
    return model


def emit_graph(
    graph: Graph, write: WriteTensor = inline_tensor, infos: bool = True, into: onnx.GraphProto | None = None
) -> onnx.GraphProto:
    """The message of `graph`, in `into` if given; without `infos`, value_info (what the file states of intermediate values) is left out."""
    proto = onnx.GraphProto() if into is None else into
    proto.MergeFrom(_emit_frame(graph, write, infos))
    proto.node.extend([_emit_node(node, write, infos) for node in _in_file_order(graph)])
    for value, tensor in _dense(graph):
        proto.initializer.append(write(tensor, value.header, value.name))
    return proto


def model_pieces(graph: Graph, write: WriteTensor = inline_tensor) -> Iterator[bytes]:
    """The serialised model, cut so that no weight is ever held in two messages; in the order of fields in which protobuf writes.

    The first piece says how long the rest is, so all of them are made before the first is handed out.
    """
    shell = _emit_shell(graph, write)
    frame = _emit_frame(graph, write, infos=True)
    start = _split(frame, onnx.GraphProto.INITIALIZER_FIELD_NUMBER)
    start.node.extend([_emit_node(node, write, True) for node in _in_file_order(graph)])
    inside = [start.SerializeToString()]
    for value, tensor in _dense(graph):
        contents = write(tensor, value.header, value.name).SerializeToString()
        inside += (_tag(onnx.GraphProto.INITIALIZER_FIELD_NUMBER, len(contents)), contents)
    inside.append(frame.SerializeToString())
    before = _split(shell, onnx.ModelProto.GRAPH_FIELD_NUMBER)
    size = sum(map(len, inside))
    yield before.SerializeToString()
    yield _tag(onnx.ModelProto.GRAPH_FIELD_NUMBER, size)
    yield from inside
    yield shell.SerializeToString()


def _split(message: AnyMessage, number: int) -> AnyMessage:
    """Move the fields of `message` below `number` into a message of their own."""
    start = type(message)()
    start.CopyFrom(message)
    start.DiscardUnknownFields()  # those stay with the rest
    for field, _ in start.ListFields():
        (message if field.number < number else start).ClearField(field.name)
    return start


def _tag(field: int, size: int) -> bytes:
    """Protobuf's start of a field that holds `size` bytes."""
    result = bytearray()
    for number in (field << 3 | 2, size):
        while number > 127:
            result.append(number & 127 | 128)
            number >>= 7
        result.append(number)
    return bytes(result)


def _dense(graph: Graph) -> Iterator[tuple[Value, Tensor]]:
    return ((value, value.tensor) for value in graph.initializers if value.tensor is not None)


def _emit_frame(graph: Graph, write: WriteTensor, infos: bool) -> onnx.GraphProto:
    """Everything of the message of `graph` but its nodes and dense initializers."""
    proto = onnx.GraphProto()
    proto.CopyFrom(graph.message)
    for value in graph.initializers:
        if value.sparse is not None:
            proto.sparse_initializer.append(_renamed_sparse(value.sparse, value.name))
            if graph.root.folder.scattered:
                rewrite(proto.sparse_initializer[-1], graph.root.folder, write)
    proto.input.extend([renamed(info, value.name) for value, info in graph._inputs.items()])
    proto.output.extend([renamed(info, value.name) for value, info in zip(graph._outputs, graph._output_infos, strict=True)])
    if infos:
        proto.value_info.extend(_fresh_infos(graph))
    if graph.version:
        _drop_orphan_annotations(graph, proto)
    return proto


def copy_model(graph: Graph) -> Graph:
    """An independent copy of the root `graph` that shares its tensors."""
    from graphopt.ir.build import build_model

    copy = build_model(emit_model(graph, _name_tensor), folder=graph.folder)
    _share_tensors(graph, copy)
    return copy


def _share_tensors(source: Graph, copy: Graph) -> None:
    for value, _ in _dense(source):
        copied_value = copy._values[value.name]
        copied_value.tensor, copied_value.header = value.tensor, value.header
    if source.version or any(node.subgraphs_by_attribute for node in _in_file_order(source)):
        for node, twin in zip(_in_file_order(source), _in_file_order(copy), strict=True):
            for subgraph, copied in zip(node.subgraphs, twin.subgraphs, strict=True):
                _share_tensors(subgraph, copied)


def _in_file_order(graph: Graph) -> list[Node]:
    """The nodes as they are written: the file's order as it is until something is edited (even where it is not topological)."""
    if graph.version:
        return list(graph.nodes)
    return [vertex for vertex in graph.nx if isinstance(vertex, Node)]


def _emit_node(node: Node, write: WriteTensor, infos: bool) -> onnx.NodeProto:
    assert node.graph is not None
    folder = node.graph.root.folder
    if not (node.stale or node.subgraphs_by_attribute or folder.scattered):
        return node.proto
    proto = onnx.NodeProto()
    proto.CopyFrom(node.proto)
    if node.stale:
        del proto.input[:]
        del proto.output[:]
        proto.input.extend(names(node.inputs))
        proto.output.extend(names(node.outputs))
    for attribute in proto.attribute:
        graphs = node.subgraphs_by_attribute.get(attribute.name)
        if graphs is not None and attribute.type == onnx.AttributeProto.GRAPHS:
            del attribute.graphs[:]
            attribute.graphs.extend(emit_graph(graph, write, infos) for graph in graphs)
        elif graphs is not None:
            attribute.g.CopyFrom(emit_graph(graphs[0], write, infos))
        elif folder.scattered:
            rewrite(attribute, folder, write)
    return proto


def _fresh_infos(graph: Graph) -> list[onnx.ValueInfoProto]:
    """value_info as loaded; after edits, without what was removed and with inferred types where an edit may have changed them."""
    listed = [(info, value) for info, value in graph.value_infos if value is None or value.graph is graph]
    if graph.root.version == 0:
        return [info for info, _ in listed]
    types, stale = graph.types(), downstream_of_edits(graph)
    fresh = []
    for info, value in listed:
        if value is None:
            # A name that nothing defined when the file was loaded; an edit may have given it to a new value.
            if info.name not in graph._values:
                fresh.append(info)
        elif stale is not None and value not in stale:
            fresh.append(renamed(info, value.name))
        elif (known := types.get(value)) is not None:
            fresh.append(with_tensor_type(renamed(info, value.name), known.elem_type, _keep_symbols(info, known)))
    return fresh


def _keep_symbols(info: onnx.ValueInfoProto, known: TensorType) -> tuple[int | str | None, ...] | None:
    """The inferred shape, with the file's names for dimensions that inference could not say anything about."""
    if known.shape is None or not info.type.tensor_type.HasField("shape") or len(info.type.tensor_type.shape.dim) != len(known.shape):
        return known.shape
    dims = info.type.tensor_type.shape.dim
    return tuple(size if size is not None else (dim.dim_param or None) for size, dim in zip(known.shape, dims, strict=True))


def downstream_of_edits(graph: Graph) -> set[Node | Value] | None:
    """Vertices whose types an edit may have changed; None for all of them (an edit around or inside a subgraph)."""
    if graph.parent is not None or any(vertex not in graph.nx for vertex in graph.edited):
        return None
    reached = set(graph.edited)
    stack = list(reached)
    while stack:
        for successor in graph.nx.succ[stack.pop()]:
            if successor not in reached:
                reached.add(successor)
                stack.append(successor)
    return reached


def _drop_orphan_annotations(graph: Graph, proto: onnx.GraphProto) -> None:
    kept = [a for a in proto.quantization_annotation if _is_defined(graph, a.tensor_name)]
    if len(kept) != len(proto.quantization_annotation):
        copies = [onnx.TensorAnnotation.FromString(a.SerializeToString()) for a in kept]
        del proto.quantization_annotation[:]
        proto.quantization_annotation.extend(copies)


def _is_defined(graph: Graph | None, name: str) -> bool:
    while graph is not None:
        if name in graph.values:
            return True
        graph = graph.parent
    return False


def _renamed_tensor(proto: onnx.TensorProto, name: str) -> onnx.TensorProto:
    if proto.name == name:
        return proto
    copy = onnx.TensorProto()
    copy.CopyFrom(proto)
    copy.name = name
    return copy


def _renamed_sparse(proto: onnx.SparseTensorProto, name: str) -> onnx.SparseTensorProto:
    if proto.values.name == name:
        return proto
    copy = onnx.SparseTensorProto()
    copy.CopyFrom(proto)
    copy.values.name = name
    return copy
