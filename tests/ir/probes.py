"""Probe models for the lossless contract: one per path of fields from ModelProto down to every field of every ONNX message.

The paths come from the descriptor of the installed onnx, so a field that a later onnx adds is probed without anybody writing it
down. `SPECIAL` holds only what must make sense for the model to stay well formed (names that are referred to, typed storage).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from onnx import AttributeProto, FunctionProto, ModelProto, NodeProto, TensorProto, helper

DATA_FILE = "probe.bin"
DATA = bytes(range(64))
Path = tuple[FieldDescriptor, ...]

# Messages that a path may pass twice: nodes of subgraphs, nested types.
TWICE = {"GraphProto", "NodeProto", "AttributeProto", "TypeProto"}

# The attribute type that goes with each value field.
ATTRIBUTE_TYPE = {
    "f": AttributeProto.FLOAT,
    "i": AttributeProto.INT,
    "s": AttributeProto.STRING,
    "t": AttributeProto.TENSOR,
    "g": AttributeProto.GRAPH,
    "floats": AttributeProto.FLOATS,
    "ints": AttributeProto.INTS,
    "strings": AttributeProto.STRINGS,
    "tensors": AttributeProto.TENSORS,
    "graphs": AttributeProto.GRAPHS,
    "tp": AttributeProto.TYPE_PROTO,
    "type_protos": AttributeProto.TYPE_PROTOS,
    "sparse_tensor": AttributeProto.SPARSE_TENSOR,
    "sparse_tensors": AttributeProto.SPARSE_TENSORS,
}


def base() -> ModelProto:
    """x, w -> Add 'main' -> y, and a branch that probes never touch: bx -> Relu 'bystander' -> bm -> Relu -> by."""
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [
            helper.make_node("Add", ["x", "w"], ["y"], name="main"),
            helper.make_node("Relu", ["bx"], ["bm"], name="bystander"),
            helper.make_node("Relu", ["bm"], ["by"], name="bystander_2"),
        ],
        "g",
        [info("x", TensorProto.FLOAT, [2]), info("bx", TensorProto.FLOAT, [3])],
        [info("y", TensorProto.FLOAT, [2]), info("by", TensorProto.FLOAT, [3])],
        [helper.make_tensor("w", TensorProto.FLOAT, [2], [1.0, 2.0])],
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("probe", 1)]
    return helper.make_model(graph, ir_version=10, opset_imports=opsets)


def descriptors() -> dict[str, Descriptor]:
    """Every message reachable from ModelProto by full name."""
    found: dict[str, Descriptor] = {}
    stack: list[Descriptor] = [ModelProto.DESCRIPTOR]
    while stack:
        message = stack.pop()
        if message.full_name not in found:
            found[message.full_name] = message
            stack.extend(field.message_type for field in message.fields if field.message_type)
    return found


def label(field: FieldDescriptor) -> str:
    """'NodeProto.input', 'TypeProto.Tensor.shape'."""
    return f"{field.containing_type.full_name.removeprefix('onnx.')}.{field.name}"


def paths() -> Iterator[Path]:
    """Every path of fields from ModelProto: no message twice, except those of TWICE."""

    def extend(path: Path, message: Descriptor, seen: tuple[str, ...]) -> Iterator[Path]:
        for field in message.fields:
            yield (*path, field)
            inner = field.message_type
            if inner and seen.count(inner.full_name) < (2 if inner.name in TWICE else 1):
                yield from extend((*path, field), inner, (*seen, inner.full_name))

    yield from extend((), ModelProto.DESCRIPTOR, (ModelProto.DESCRIPTOR.full_name,))


@dataclass
class Builder:
    """Builds the probe of one path. `variant`: 'set' gives the last field a telling value, 'default' its default with the
    presence bit on, 'unknown' leaves it and adds a field that this onnx does not know."""

    variant: str
    counter: int = 0

    def unique(self, hint: str) -> str:
        self.counter += 1
        return f"{hint}_{self.counter}"

    def build(self, path: Path) -> ModelProto:
        model = base()
        message: Message = model
        for field in path[:-1]:
            message = self.child(message, field)
        last = path[-1]
        if last.message_type:
            leaf = getattr(message, last.name)
            if self.variant == "default":
                leaf = leaf.add() if last.is_repeated else leaf
                leaf.SetInParent()
            else:
                leaf = self.child(message, last)
            if self.variant == "unknown":
                leaf.MergeFromString(b"\xba\x3e\x05probe")  # field 999, five bytes
        elif self.variant == "default" and last.is_repeated:
            getattr(message, last.name).append({FieldDescriptor.TYPE_STRING: "", FieldDescriptor.TYPE_BYTES: b""}.get(last.type, 0))
        elif self.variant == "default":
            setattr(message, last.name, last.default_value)
        elif self.variant == "set":
            self.set_scalar(message, last)
        return model

    def child(self, parent: Message, field: FieldDescriptor) -> Any:
        """A fresh, well-formed message in `field` of `parent`."""
        if isinstance(parent, AttributeProto):
            parent.type = ATTRIBUTE_TYPE.get(field.name, AttributeProto.UNDEFINED)
            parent.ClearField("i")
        if field.name == "external_data":
            make_external(parent)
            return parent.external_data[0]
        child = getattr(parent, field.name)
        child = child.add() if field.is_repeated else child
        child.SetInParent()
        prepare = getattr(self, f"prepare_{field.message_type.name.lower()}", None)
        if prepare:
            prepare(child, parent, field)
        return child

    def prepare_nodeproto(self, node: NodeProto, parent: Any, field: FieldDescriptor) -> None:
        node.op_type, node.domain, node.name = "Probe", "probe", self.unique("probe_node")
        node.output.append(self.unique("probe_out"))
        declare(parent)

    def prepare_graphproto(self, graph: Any, parent: Any, field: FieldDescriptor) -> None:
        if isinstance(parent, ModelProto):
            return
        graph.name = self.unique("inner")
        node = graph.node.add(op_type="Probe", domain="probe", name=self.unique("inner_node"))
        node.output.append(self.unique("inner_out"))

    def prepare_attributeproto(self, attribute: Any, parent: Any, field: FieldDescriptor) -> None:
        attribute.name, attribute.type, attribute.i = self.unique("attr"), AttributeProto.INT, 3

    def prepare_tensorproto(self, tensor: Any, parent: Any, field: FieldDescriptor) -> None:
        tensor.ClearField("dims")
        if field.name == "indices":
            tensor.dims.append(1)
            tensor.data_type = TensorProto.INT64
            tensor.int64_data[:] = [2]
            return
        tensor.name, tensor.data_type = self.unique("probe_tensor"), TensorProto.FLOAT
        tensor.dims.append(1)
        tensor.raw_data = b"\x00\x00\x80\x3f"

    def prepare_sparsetensorproto(self, sparse: Any, parent: Any, field: FieldDescriptor) -> None:
        sparse.dims.append(4)
        for name in ("values", "indices"):
            self.child(sparse, sparse.DESCRIPTOR.fields_by_name[name])

    def prepare_valueinfoproto(self, info: Any, parent: Any, field: FieldDescriptor) -> None:
        info.name = self.unique("probe_value")
        info.type.tensor_type.elem_type = TensorProto.FLOAT
        info.type.tensor_type.shape.dim.add(dim_value=2)
        if field.name != "input":  # outputs and inner values need somebody who makes them
            node = parent.node.add(op_type="Probe", domain="probe", name=self.unique("maker"))
            node.output.append(info.name)
            declare(parent)

    def prepare_typeproto(self, type_: Any, parent: Any, field: FieldDescriptor) -> None:
        type_.tensor_type.elem_type = TensorProto.FLOAT

    def prepare_map(self, map_: Any, parent: Any, field: FieldDescriptor) -> None:
        map_.key_type = TensorProto.INT64
        map_.value_type.tensor_type.elem_type = TensorProto.FLOAT

    def prepare_sequence(self, sequence: Any, parent: Any, field: FieldDescriptor) -> None:
        sequence.elem_type.tensor_type.elem_type = TensorProto.FLOAT

    prepare_optional = prepare_sequence

    def prepare_opaque(self, opaque: Any, parent: Any, field: FieldDescriptor) -> None:
        opaque.name = "Thing"

    def prepare_sparsetensor(self, sparse: Any, parent: Any, field: FieldDescriptor) -> None:
        sparse.elem_type = TensorProto.FLOAT
        sparse.shape.dim.add(dim_value=4)

    def prepare_stringstringentryproto(self, entry: Any, parent: Any, field: FieldDescriptor) -> None:
        if field.name.endswith("_binding"):
            entry.key, entry.value = "w", "y"
        elif field.name == "quant_parameter_tensor_names":
            entry.key, entry.value = "SCALE_TENSOR", "w"
        else:
            entry.key, entry.value = self.unique("key"), "value é"

    def prepare_functionproto(self, function: Any, parent: Any, field: FieldDescriptor) -> None:
        function.name, function.domain = self.unique("Function"), "probe"

    def prepare_tensorannotation(self, annotation: Any, parent: Any, field: FieldDescriptor) -> None:
        annotation.tensor_name = "w"

    def prepare_shardingspecproto(self, spec: Any, parent: Any, field: FieldDescriptor) -> None:
        spec.tensor_name = "x"

    def prepare_operatorsetidproto(self, opset: Any, parent: Any, field: FieldDescriptor) -> None:
        opset.domain, opset.version = self.unique("extra.domain"), 1

    def set_scalar(self, message: Any, field: FieldDescriptor) -> None:
        if isinstance(message, AttributeProto):
            if field.name in ATTRIBUTE_TYPE:
                message.ClearField("i")
                message.type = ATTRIBUTE_TYPE[field.name]
            elif field.name == "ref_attr_name":
                message.ClearField("i")
        special = SPECIAL.get(label(field))
        if special:
            special(self, message)
        elif field.is_repeated:
            getattr(message, field.name).extend([scalar(field, 0), scalar(field, 1), scalar(field, 0)])
        else:
            setattr(message, field.name, scalar(field, 0))


def declare(parent: Message) -> None:
    """A function body declares the opsets of its nodes itself."""
    if isinstance(parent, FunctionProto) and not parent.opset_import:
        parent.opset_import.add(domain="probe", version=1)


def scalar(field: FieldDescriptor, n: int) -> Any:
    """A telling value: no default, not ASCII in strings, not UTF-8 in bytes."""
    if field.type == FieldDescriptor.TYPE_STRING:
        return f"{label(field)}.é.{n}"
    if field.type == FieldDescriptor.TYPE_BYTES:
        return b"\xff\xfe\x00" + field.name.encode() + bytes([n])
    if field.enum_type:
        return field.enum_type.values[-1 - n].number
    if field.type in (FieldDescriptor.TYPE_FLOAT, FieldDescriptor.TYPE_DOUBLE):
        return (1.5, -0.0)[n]
    return (7, 2)[n]


def make_external(tensor: TensorProto, **keys: str) -> None:
    """Points `tensor` at the first bytes of DATA_FILE."""
    for name in ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data"):
        tensor.ClearField(name)  # type: ignore[arg-type]
    tensor.data_location = TensorProto.EXTERNAL
    entries = {"location": DATA_FILE, "offset": "8", "length": str(8 if tensor.data_type == TensorProto.INT64 else 4)} | keys
    del tensor.external_data[:]
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=value)


def _typed(name: str, data_type: int, values: list[Any], dims: list[int] | None = None) -> Any:
    def fill(_builder: Builder, tensor: TensorProto) -> None:
        for other in ("raw_data", "int64_data"):
            tensor.ClearField(other)  # type: ignore[arg-type]
        tensor.data_type = data_type
        tensor.dims[:] = dims or [len(values)]
        getattr(tensor, name)[:] = values

    return fill


def _extend(field: str, *values: Any) -> Any:
    return lambda _builder, message: getattr(message, field).extend(values)


def _assign(field: str, value: Any) -> Any:
    return lambda _builder, message: setattr(message, field, value)


def _append_output(builder: Builder, node: NodeProto) -> None:
    node.output.extend(["", builder.unique("second"), ""])


def _append_function_output(builder: Builder, function: Any) -> None:
    name = builder.unique("made")
    function.node.add(op_type="Probe", domain="probe").output.append(name)
    function.output.append(name)
    declare(function)


def _raw(_builder: Builder, tensor: TensorProto) -> None:
    tensor.ClearField("int64_data")
    tensor.raw_data = bytes(8 if tensor.data_type == TensorProto.INT64 else 4)


# What cannot be chosen blindly. A NodeProto in a nested graph may name outer values, hence x and w.
SPECIAL: dict[str, Any] = {
    "ModelProto.ir_version": _assign("ir_version", 9),
    "NodeProto.domain": lambda _builder, node: None,
    "NodeProto.input": lambda _builder, node: node.input.extend(["", ""]),
    "NodeProto.output": _append_output,
    "ValueInfoProto.name": lambda _builder, info: None,
    "AttributeProto.type": lambda _builder, attribute: None,
    "FunctionProto.input": _extend("input", "fx", "fy"),
    "FunctionProto.attribute": _extend("attribute", "alpha", "beta"),
    "FunctionProto.output": _append_function_output,
    "TensorProto.dims": lambda _builder, tensor: tensor.dims.extend([1, 1]),
    "TensorProto.data_type": lambda _builder, tensor: None,
    "TensorProto.float_data": _typed("float_data", TensorProto.FLOAT, [0.5, -0.0, float("inf")]),
    "TensorProto.int32_data": _typed("int32_data", TensorProto.INT16, [-3, 9]),
    "TensorProto.int64_data": _typed("int64_data", TensorProto.INT64, [1, 2]),
    "TensorProto.string_data": _typed("string_data", TensorProto.STRING, [b"\xff\xfe", b"", b"\x00a"]),
    "TensorProto.double_data": _typed("double_data", TensorProto.COMPLEX128, [0.5, 0.25, 1.5, -0.0], [2]),
    "TensorProto.uint64_data": _typed("uint64_data", TensorProto.UINT32, [5, 6]),
    "TensorProto.raw_data": _raw,
    "TensorProto.data_location": lambda _builder, tensor: make_external(tensor),
    "TensorAnnotation.tensor_name": _assign("tensor_name", "w"),
    "ShardingSpecProto.tensor_name": _assign("tensor_name", "x"),
    "OperatorSetIdProto.version": _assign("version", 1),
    "StringStringEntryProto.key": lambda _builder, entry: None,
    "StringStringEntryProto.value": lambda _builder, entry: None,
}
