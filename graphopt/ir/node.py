"""The two kinds of vertices of a graph: nodes (operator calls) and values (what they read and write)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import AttributeProto, helper

from graphopt.errors import EditError
from graphopt.ir.tensors import ArrayTensor, ProtoTensor, Tensor, read_tensor

if TYPE_CHECKING:
    from graphopt.ir.graph import Graph

# Python's form of an ONNX attribute: int, float, str (bytes where they are not UTF-8), Tensor, Graph, a message of onnx, or a list of one of these.
AttributeValue = Any

# Protobuf looks an enum's member up by name each time it is asked for.
_INT, _INTS, _TENSOR, _TENSORS, _STRING, _STRINGS = (
    AttributeProto.AttributeType.Value(kind) for kind in ("INT", "INTS", "TENSOR", "TENSORS", "STRING", "STRINGS")
)


class Value:
    """A named value of a graph: an input, an initializer, or the output of a node. Compared by identity."""

    __slots__ = ("graph", "header", "info", "name", "producer", "sparse", "tensor")

    def __init__(self, graph: Graph | None, name: str) -> None:
        self.graph = graph  # the graph that defines it; None once removed
        self.name = name
        self.producer: Node | None = None
        self.tensor: Tensor | None = None  # contents, if it is an initializer
        self.header: onnx.TensorProto | None = None  # the initializer's message as loaded: its documentation and metadata
        self.sparse: onnx.SparseTensorProto | None = None  # contents, if it is a sparse initializer
        self.info: onnx.ValueInfoProto | None = None  # what the file states: input, output or value_info

    @property
    def type(self) -> onnx.TypeProto | None:
        """The type as the file states it; `Graph.types()` has the inferred ones."""
        return self.info.type if self.info is not None and self.info.HasField("type") else None

    @property
    def is_initializer(self) -> bool:
        return self.tensor is not None or self.sparse is not None

    def __repr__(self) -> str:
        return f"Value({self.name!r})"


class Node:
    """A call of an operator or function. Read it here; change it through its graph, which tracks every edit. Compared by identity."""

    __slots__ = (
        *("_attributes", "_domain", "_op_type", "graph", "inputs", "order", "outputs", "owns_proto", "proto", "stale"),
        "subgraphs_by_attribute",
    )

    def __init__(self, graph: Graph, proto: onnx.NodeProto, order: tuple[float, int]) -> None:
        self.graph: Graph | None = graph  # None once removed
        self.proto = proto  # name, operator, attributes, documentation; inputs and outputs only while not `stale`
        self.owns_proto = False  # False while `proto` is shared with the loaded file or a copy
        self.stale = False  # inputs, outputs or a name among them changed since `proto` was read
        self.order = order  # place in the file
        self.inputs: tuple[Value | None, ...] = ()
        self.outputs: tuple[Value | None, ...] = ()
        self.subgraphs_by_attribute: dict[str, list[Graph]] = {}
        self._op_type, self._domain = proto.op_type, "" if proto.domain == "ai.onnx" else proto.domain  # asked for all the time
        self._attributes: Mapping[str, AttributeValue] | None = None

    @property
    def op_type(self) -> str:
        return self._op_type

    @property
    def domain(self) -> str:
        """The operator's domain, with ONNX's own always as the empty string."""
        return self._domain

    @property
    def overload(self) -> str:
        return self.proto.overload

    @property
    def name(self) -> str:
        return self.proto.name

    @property
    def doc_string(self) -> str:
        return self.proto.doc_string

    @property
    def attributes(self) -> Mapping[str, AttributeValue]:
        """Attribute values by name, as Python values; absent attributes are absent (no defaults are filled in)."""
        if self._attributes is None:
            self._attributes = MappingProxyType({a.name: self._attribute_value(a) for a in self.proto.attribute})
        return self._attributes

    @property
    def subgraphs(self) -> list[Graph]:
        return [graph for graphs in self.subgraphs_by_attribute.values() for graph in graphs]

    @property
    def captures(self) -> list[Value]:
        """Values of outer scopes that the node's subgraphs read, each once."""
        return list(dict.fromkeys(value for graph in self.subgraphs for value in graph.captured()))

    @property
    def label(self) -> str:
        """The node for messages: its name, or where it has none its first output, and its operator."""
        operator = f"{self.domain}.{self.op_type}" if self.domain else self.op_type
        name = self.name or next((f"→ {value.name}" for value in self.outputs if value is not None), "unnamed")
        return f"{name!r} ({operator})"

    def output(self) -> Value:
        """The first output. Raises EditError where it is absent."""
        if not self.outputs or self.outputs[0] is None:
            raise EditError(f"node {self.label} has no first output")
        return self.outputs[0]

    def input(self, slot: int) -> Value | None:
        """The input in `slot`, None where it is absent or the node has fewer."""
        return self.inputs[slot] if slot < len(self.inputs) else None

    def own_proto(self) -> onnx.NodeProto:
        """The node's message, copied first if the loaded file or a copy of the graph shares it."""
        if not self.owns_proto:
            proto = onnx.NodeProto()
            proto.CopyFrom(self.proto)
            self.proto, self.owns_proto = proto, True
        self._attributes = None
        return self.proto

    def _attribute_value(self, attribute: AttributeProto) -> AttributeValue:
        if self.subgraphs_by_attribute and attribute.name in self.subgraphs_by_attribute:
            graphs = self.subgraphs_by_attribute[attribute.name]
            return graphs[0] if attribute.type == AttributeProto.GRAPH else list(graphs)
        if attribute.ref_attr_name:
            return attribute  # inside a function: the value comes with the call
        kind = attribute.type
        if kind == _INT:  # the commonest first: a model has thousands
            return attribute.i
        if kind == _INTS:
            return list(attribute.ints)
        if kind == _TENSOR:
            return self._attribute_tensor(attribute.t)
        if kind == _TENSORS:
            return [self._attribute_tensor(tensor) for tensor in attribute.tensors]
        if kind == _STRING:
            return _text(attribute.s)
        if kind == _STRINGS:
            return [_text(item) for item in attribute.strings]
        return attribute if kind == AttributeProto.UNDEFINED else helper.get_attribute_value(attribute)

    def _attribute_tensor(self, proto: onnx.TensorProto) -> Tensor:
        return ProtoTensor(proto) if self.graph is None else read_tensor(proto, self.graph.root.folder)

    def __repr__(self) -> str:
        return f"Node({self.label})"


def _text(data: bytes) -> str | bytes:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


def make_attribute(name: str, value: AttributeValue) -> AttributeProto:
    """An `AttributeProto` for a Python value, a `Tensor` or array, or an `AttributeProto` (taken as it is)."""
    if isinstance(value, AttributeProto):
        return value
    if isinstance(value, Tensor):
        return helper.make_attribute(name, tensor_proto(value, name))
    if isinstance(value, Sequence) and not isinstance(value, str | bytes) and not value:
        raise EditError(f"attribute {name!r} is an empty list, which does not say its type; pass an AttributeProto")
    if hasattr(value, "__array__") and np.ndim(value):
        return helper.make_attribute(name, tensor_proto(ArrayTensor(value), name))
    try:
        return helper.make_attribute(name, value.item() if hasattr(value, "item") else value)
    except (TypeError, ValueError) as error:
        raise EditError(f"attribute {name!r} cannot hold {value!r}: {error}") from error


def tensor_proto(tensor: Tensor, name: str) -> onnx.TensorProto:
    """A `TensorProto` with the contents of `tensor` inside."""
    from graphopt.ir.tensors import inline, tensor_header

    if isinstance(tensor, ProtoTensor):
        return tensor.proto
    return inline(tensor_header(None, tensor, name), tensor)


def names(values: Iterable[Value | None]) -> list[str]:
    """ONNX's spelling of a list of values: an absent one is the empty name."""
    return ["" if value is None else value.name for value in values]
