"""Element types and shapes: ONNX's shape inference, helped by our own evaluation of sizes where it stops."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress

import onnx
from onnx import TensorProto, helper, numpy_helper, shape_inference

from graphopt.errors import InvalidModelError
from graphopt.ir.graph import Graph
from graphopt.ir.node import Node, Value, names
from graphopt.ir.sizes import SizeEvaluator
from graphopt.ir.symbols import infer_symbolic
from graphopt.ir.tensors import Tensor, inline, tensor_header
from graphopt.ir.types import TensorType

# Contents of larger tensors are left out of what shape inference sees: none of them is a shape, and weights are big. Of floats it reads
# scales and regions of interest, two to an axis, and every bias that is left out saves time.
_LARGEST_SHAPE = 256
_LARGEST_FLOATS = 16


def infer_types(graph: Graph) -> dict[Value, TensorType]:
    """Types of the values of the root `graph` and its subgraphs, from the declared inputs, the initializers and the operators alone.

    Dimensions that nothing names get names of ours, which start with a question mark: equal names, equal sizes.
    """
    types = dict(_collect(graph, _infer(_skeleton(graph)).graph))
    for given in graph.inputs:
        _name_dimensions(given, types)
    integers = SizeEvaluator(types)
    nodes = graph.nodes
    last = max((place for place, node in enumerate(nodes) if not _are_static(node.outputs, types)), default=-1)
    for node in nodes[: last + 1]:  # after the last one that is not understood yet, no integer is asked for
        if not _are_static(node.outputs, types):
            types.update(_infer_node(node, types, integers))
            types.update(infer_symbolic(node, types, integers))
            types.update(_stated(node, types))
            for value in node.outputs:
                _name_dimensions(value, types)
        integers.visit(node)
    return types


def _are_static(values: Iterable[Value | None], types: dict[Value, TensorType]) -> bool:
    return None not in [known.static if (known := types.get(value)) is not None else None for value in values if value is not None]


def _stated(node: Node, types: dict[Value, TensorType]) -> dict[Value, TensorType]:
    """What the file says of the outputs of an operator that onnx does not know, unless an edit may have changed it."""
    from graphopt.ir.emit import downstream_of_edits

    graph = node.graph
    if graph is None or onnx.defs.has(node.op_type, node.domain) or all(v is None or v in types for v in node.outputs):
        return {}
    stale = downstream_of_edits(graph) if graph.root.version else set()
    said = {v: _tensor_type(v.type) for v in node.outputs if v is not None and v.type is not None and stale is not None and v not in stale}
    return {value: known for value, known in said.items() if known is not None and value not in types}


def _name_dimensions(value: Value | None, types: dict[Value, TensorType]) -> None:
    known = types.get(value) if value is not None else None
    if value is not None and known is not None and known.shape is not None and None in known.shape:
        shape = tuple(f"?{value.name}:{axis}" if size is None else size for axis, size in enumerate(known.shape))
        types[value] = TensorType(known.elem_type, shape)


def _infer_node(node: Node, types: dict[Value, TensorType], integers: SizeEvaluator) -> dict[Value, TensorType]:
    """What ONNX infers for one node from what is known by now; nothing where that is no more than before."""
    graph = node.graph
    if graph is None or node.subgraphs_by_attribute or not onnx.defs.has(node.op_type, node.domain):
        return {}
    stated = {
        v.name: helper.make_tensor_type_proto(types[v].elem_type, types[v].shape) for v in node.inputs if v is not None and v in types
    }
    data = {}
    for value in node.inputs:
        known = integers.contents(value)
        if value is not None and known is not None:
            data[value.name] = numpy_helper.from_array(known, value.name)
    proto = node.proto
    if node.stale:
        proto = onnx.NodeProto()
        proto.CopyFrom(node.proto)
        del proto.input[:]
        del proto.output[:]
        proto.input.extend(names(node.inputs))
        proto.output.extend(names(node.outputs))
    version = graph.opset(node.domain)
    try:
        schema = onnx.defs.get_schema(node.op_type, version or 1, node.domain)
        found = shape_inference.infer_node_outputs(
            schema, proto, stated, data, opset_imports=list(graph.root.model.opset_import), ir_version=graph.ir_version
        )
    except Exception:  #  see _infer
        return {}
    better = {}
    for value in node.outputs:
        type_proto = found.get(value.name) if value is not None else None
        inferred = _tensor_type(type_proto) if type_proto is not None else None
        if value is not None and inferred is not None and inferred.shape is not None:
            better[value] = inferred
    return better


def _skeleton(graph: Graph) -> onnx.ModelProto:
    from graphopt.ir.emit import emit_graph

    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    model.ClearField("training_info")
    emit_graph(graph, _without_large_contents, infos=False, into=model.graph)
    model.graph.SetInParent()
    if graph.ir_version >= 4:  # what can be overridden when the model is run says nothing about shapes
        inputs = {info.name for info in model.graph.input}
        fixed = [tensor for tensor in model.graph.initializer if tensor.name not in inputs]
        if len(fixed) < len(model.graph.initializer):
            del model.graph.initializer[:]
            model.graph.initializer.extend(fixed)
    return model


def _without_large_contents(tensor: Tensor, header: TensorProto | None, name: str) -> TensorProto:
    bare = tensor_header(None, tensor, name)
    largest = _LARGEST_FLOATS if tensor.elem_type == TensorProto.FLOAT else _LARGEST_SHAPE
    if tensor.size <= largest and tensor.elem_type != TensorProto.STRING:
        with suppress(InvalidModelError):
            return inline(bare, tensor)
    bare.data_location = TensorProto.EXTERNAL
    bare.external_data.add(key="location", value="not-read-by-shape-inference")
    return bare


def _infer(model: onnx.ModelProto) -> onnx.ModelProto:
    # Without onnx's data propagation, which has no limit to the size of what it evaluates; SizeEvaluator does that work.
    try:
        return shape_inference.infer_shapes(model)
    except Exception:  # onnx raises its own and built-in types alike; without inference the declared types remain
        return model


def _collect(graph: Graph, proto: onnx.GraphProto) -> Iterator[tuple[Value, TensorType]]:
    for info in (*proto.value_info, *proto.output, *proto.input):
        value = graph.values.get(info.name)
        if value is not None and (found := _tensor_type(info.type)) is not None:
            yield value, found
    for value in graph.initializers:
        if value.tensor is not None:
            yield value, TensorType(value.tensor.elem_type, value.tensor.shape)
        elif value.sparse is not None:
            yield value, TensorType(value.sparse.values.data_type, tuple(value.sparse.dims))
    if graph._owners:
        by_outputs = {tuple(message.output): message for message in proto.node}
        for node in graph._owners:
            message = by_outputs.get(tuple("" if v is None else v.name for v in node.outputs))
            for attribute in message.attribute if message is not None else ():
                for subgraph, inner in zip(
                    node.subgraphs_by_attribute.get(attribute.name, ()), attribute.graphs or [attribute.g], strict=False
                ):
                    yield from _collect(subgraph, inner)


def _tensor_type(proto: onnx.TypeProto) -> TensorType | None:
    kind = proto.WhichOneof("value")
    if kind not in ("tensor_type", "sparse_tensor_type"):
        return None
    tensor = proto.tensor_type if kind == "tensor_type" else proto.sparse_tensor_type
    if not tensor.HasField("shape"):
        return TensorType(tensor.elem_type, None)
    sizes = [dim.dim_value for dim in tensor.shape.dim]
    if min(sizes, default=1) > 0:
        return TensorType(tensor.elem_type, tuple(sizes))
    dims: list[int | str | None] = []
    for dim in tensor.shape.dim:
        known = dim.WhichOneof("value")
        dims.append(
            dim.dim_value if known == "dim_value" and dim.dim_value >= 0 else (dim.dim_param or None) if known == "dim_param" else None
        )
    return TensorType(tensor.elem_type, tuple(dims))
