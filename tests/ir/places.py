"""External data everywhere a model may hold a tensor, not only in its initializers."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto, helper

from tests.ir import features
from tests.ir.external import SIZE, external_tensor

PLACES = ["initializer", "attribute", "attribute list", "function", "sparse", "subgraph", "training"]


def put(place: str, location: str) -> onnx.ModelProto:
    """A model with one tensor, of SIZE floats, in `location`."""
    model = features.base()
    tensor = external_tensor("far", SIZE, location=location, offset="0", length=str(SIZE * 4))
    constant = helper.make_node("Constant", [], ["far_out"], name="far_node")
    constant.attribute.add(name="value", type=AttributeProto.TENSOR).t.CopyFrom(tensor)
    match place:
        case "initializer":
            model.graph.initializer.append(tensor)
        case "attribute":
            model.graph.node.append(constant)
        case "attribute list":
            node = model.graph.node.add(op_type="Probe", domain="probe", output=["far_out"])
            node.attribute.add(name="many", type=AttributeProto.TENSORS).tensors.extend([tensor, tensor])
        case "function":
            model.opset_import.append(helper.make_opsetid("local", 1))
            body = helper.make_function("local", "F", [], ["far_out"], [constant], [helper.make_opsetid("", 21)])
            model.functions.append(body)
            model.graph.node.append(helper.make_node("F", [], ["called"], domain="local"))
        case "sparse":
            sparse = model.graph.sparse_initializer.add(dims=[2 * SIZE])
            sparse.values.CopyFrom(tensor)
            indices = onnx.numpy_helper.from_array(np.arange(SIZE), "")
            sparse.indices.CopyFrom(indices)
        case "subgraph":
            info = [helper.make_tensor_value_info("far_out", TensorProto.FLOAT, [SIZE])]
            branch = helper.make_graph([constant], "b", [], info, [])
            other = helper.make_graph(
                [helper.make_node("Identity", ["far_w"], ["far_o"])], "c", [], [helper.make_tensor_value_info("far_o", 1, [SIZE])]
            )
            tensor.name = "far_w"
            other.initializer.append(tensor)
            model.graph.input.append(helper.make_tensor_value_info("cond", TensorProto.BOOL, []))
            model.graph.node.append(helper.make_node("If", ["cond"], ["if_out"], then_branch=branch, else_branch=other))
        case "training":
            training = model.training_info.add()
            training.algorithm.name = "step"
            training.algorithm.initializer.append(tensor)
    return model


def tensors(message: object) -> list[TensorProto]:
    """Every TensorProto inside `message` with external data."""
    found = []
    if isinstance(message, TensorProto) and message.data_location == TensorProto.EXTERNAL:
        found.append(message)
    for field, value in message.ListFields():  # type: ignore[attr-defined]
        if field.message_type:
            for inner in value if field.is_repeated else [value]:
                found += tensors(inner)
    return found
