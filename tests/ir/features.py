"""Handwritten probes for what the descriptor does not say: order, duplicates, spelling, storage, references between names."""

from __future__ import annotations

from collections.abc import Callable

import onnx
from onnx import AttributeProto, ModelProto, TensorProto, helper

from .probes import base

FLOAT = TensorProto.FLOAT
Feature = Callable[[ModelProto], None]
FEATURES: dict[str, Feature] = {}


def feature(change: Feature) -> Feature:
    FEATURES[change.__name__] = change
    return change


def build(name: str) -> ModelProto:
    model = base()
    FEATURES[name](model)
    return model


def info(name: str, shape: list[int | str | None] | None = None, elem_type: int = FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, elem_type, shape)


@feature
def duplicate_outputs(m: ModelProto) -> None:
    m.graph.output.append(m.graph.output[0])
    m.graph.output.append(info("y", [2]))
    m.graph.output[-1].doc_string = "the same value again, described differently"


@feature
def output_is_input(m: ModelProto) -> None:
    m.graph.output.append(info("x", [2]))


@feature
def output_is_initializer(m: ModelProto) -> None:
    m.graph.output.append(info("w", [2]))


@feature
def output_without_type(m: ModelProto) -> None:
    m.graph.output[0].ClearField("type")


@feature
def unused_initializer_and_input(m: ModelProto) -> None:
    m.graph.initializer.insert(0, helper.make_tensor("unused", FLOAT, [1], [3.0]))
    m.graph.input.insert(0, info("unused_in", [1]))


@feature
def overridable_initializer(m: ModelProto) -> None:
    m.graph.input.insert(0, info("w", [2]))


@feature
def ir_3(m: ModelProto) -> None:
    m.ir_version = 3
    m.graph.input.append(info("w", [2]))
    del m.opset_import[:]
    m.opset_import.append(helper.make_opsetid("", 9))


@feature
def ai_onnx_spelled_out(m: ModelProto) -> None:
    m.opset_import[0].domain = "ai.onnx"
    m.graph.node[0].domain = "ai.onnx"


@feature
def both_spellings_of_the_domain(m: ModelProto) -> None:
    m.opset_import.append(helper.make_opsetid("ai.onnx", 21))
    m.graph.node[0].domain = "ai.onnx"


@feature
def unused_opset_imports_in_odd_order(m: ModelProto) -> None:
    m.opset_import.insert(0, helper.make_opsetid("zzz", 3))
    m.opset_import.append(helper.make_opsetid("aaa", 1))


@feature
def raw_and_typed_storage(m: ModelProto) -> None:
    for raw in (False, True):
        data = b"\0\0\x80?" * 2 if raw else [1.0, 1.0]
        m.graph.initializer.append(helper.make_tensor(f"stored_{raw}", FLOAT, [2], data, raw=raw))


@feature
def bool_and_half_in_int32_data(m: ModelProto) -> None:
    m.graph.initializer.append(TensorProto(name="b", data_type=TensorProto.BOOL, dims=[2], int32_data=[1, 0]))
    m.graph.initializer.append(TensorProto(name="h", data_type=TensorProto.FLOAT16, dims=[1], int32_data=[15360]))
    m.graph.initializer.append(TensorProto(name="i4", data_type=TensorProto.INT4, dims=[3], int32_data=[0x21, 0x0F]))


@feature
def nan_payloads_and_signed_zeros(m: ModelProto) -> None:
    raw = bytes.fromhex("010080 7f 0100c0ff 00000080".replace(" ", ""))
    m.graph.initializer.append(TensorProto(name="nans", data_type=FLOAT, dims=[3], raw_data=raw))


@feature
def scalar_and_empty_tensors(m: ModelProto) -> None:
    m.graph.initializer.append(helper.make_tensor("scalar", FLOAT, [], [1.0]))
    m.graph.initializer.append(helper.make_tensor("none", FLOAT, [0], []))
    m.graph.initializer.append(helper.make_tensor("none_2d", TensorProto.INT64, [3, 0], b"", raw=True))


@feature
def empty_node_names_and_repeated_names(m: ModelProto) -> None:
    for n, name in enumerate(["", "", "same", "same"]):
        m.graph.node.append(helper.make_node("Relu", ["x"], [f"named_{n}"], name=name))
    m.graph.node[-1].name = ""  # set but empty


@feature
def trailing_and_inner_empty_inputs_and_outputs(m: ModelProto) -> None:
    m.graph.node.append(helper.make_node("Clip", ["x", "", ""], ["clipped"]))
    m.graph.node.append(helper.make_node("Clip", ["x", "", "scalar"], ["clipped_2"]))
    m.graph.initializer.append(helper.make_tensor("scalar", FLOAT, [], [1.0]))
    m.graph.node.append(helper.make_node("LSTM", ["", "", ""], ["", "h", ""], domain="probe"))


@feature
def one_value_in_two_slots(m: ModelProto) -> None:
    m.graph.node.append(helper.make_node("Mul", ["x", "x"], ["squared"]))


@feature
def bytes_that_are_not_utf8(m: ModelProto) -> None:
    node = m.graph.node.add(op_type="Probe", domain="probe", output=["bytes_out"])
    node.attribute.add(name="s", type=AttributeProto.STRING, s=b"\xff\xfe\x00")
    node.attribute.add(name="strings", type=AttributeProto.STRINGS, strings=[b"\x80", b"", b"ok"])
    m.graph.initializer.append(TensorProto(name="strings", data_type=TensorProto.STRING, dims=[2], string_data=[b"\xff", b""]))


@feature
def empty_lists_in_attributes(m: ModelProto) -> None:
    node = m.graph.node.add(op_type="Probe", domain="probe", output=["lists_out"])
    for name in ("FLOATS", "INTS", "STRINGS", "TENSORS", "GRAPHS", "SPARSE_TENSORS", "TYPE_PROTOS"):
        node.attribute.add(name=name.lower(), type=AttributeProto.AttributeType.Value(name))


@feature
def attributes_in_odd_order_and_twice(m: ModelProto) -> None:
    node = m.graph.node.add(op_type="Probe", domain="probe", output=["attributes_out"])
    for name in ("z", "a", "m", "a"):
        node.attribute.add(name=name, type=AttributeProto.INT, i=len(node.attribute))


@feature
def nodes_in_odd_but_valid_order(m: ModelProto) -> None:
    nodes = list(m.graph.node)
    del m.graph.node[:]
    m.graph.node.extend([nodes[1], nodes[0], nodes[2]])


@feature
def functions(m: ModelProto) -> None:
    m.opset_import.append(helper.make_opsetid("local", 1))
    for overload in ("", "second"):
        body = [helper.make_node("Mul", ["a", "a"], ["aa"]), helper.make_node("Elu", ["aa"], ["b"])]
        body[1].attribute.add(name="alpha", type=AttributeProto.FLOAT, ref_attr_name="alpha")
        function = helper.make_function("local", "Square", ["a", "unused"], ["b"], body, [helper.make_opsetid("", 21)], ["other"])
        function.overload = overload
        function.doc_string = "squares"
        function.attribute_proto.append(helper.make_attribute("alpha", 0.5))
        function.value_info.append(info("aa", ["N"]))
        function.metadata_props.add(key="by", value="hand")
        m.functions.append(function)
    m.graph.node.append(helper.make_node("Square", ["x"], ["squared"], domain="local", overload="second", alpha=0.25))


@feature
def function_calls_function(m: ModelProto) -> None:
    m.opset_import.append(helper.make_opsetid("local", 1))
    imports = [helper.make_opsetid("", 21), helper.make_opsetid("local", 1)]
    m.functions.append(
        helper.make_function("local", "Outer", ["a"], ["b"], [helper.make_node("Inner", ["a"], ["b"], domain="local")], imports)
    )
    m.functions.append(helper.make_function("local", "Inner", ["a"], ["b"], [helper.make_node("Relu", ["a"], ["b"])], imports))
    m.graph.node.append(helper.make_node("Outer", ["x"], ["called"], domain="local"))


def sparse(name: str) -> onnx.SparseTensorProto:
    values = helper.make_tensor(name, FLOAT, [2], [1.0, 2.0])
    values.metadata_props.add(key="sparse", value="yes")
    return helper.make_sparse_tensor(values, helper.make_tensor("", TensorProto.INT64, [2], [0, 3]), [5])


@feature
def sparse_initializers(m: ModelProto) -> None:
    m.graph.sparse_initializer.extend([sparse("sparse_b"), sparse("sparse_a")])
    m.graph.node.append(helper.make_node("Relu", ["sparse_a"], ["dense"]))


@feature
def sparse_attributes(m: ModelProto) -> None:
    node = m.graph.node.add(op_type="Constant", output=["constant"])
    node.attribute.add(name="sparse_value", type=AttributeProto.SPARSE_TENSOR).sparse_tensor.CopyFrom(sparse("s"))


@feature
def training_info_with_bindings(m: ModelProto) -> None:
    training = m.training_info.add()
    training.initialization.name = "init"
    training.initialization.node.append(helper.make_node("Constant", [], ["w_start"], value_floats=[0.0, 0.0]))
    training.initialization.output.append(info("w_start", [2]))
    training.initialization_binding.add(key="w", value="w_start")
    training.algorithm.name = "step"
    training.algorithm.initializer.append(helper.make_tensor("rate", FLOAT, [1], [0.1]))
    training.algorithm.node.append(helper.make_node("Sub", ["w", "rate"], ["w_new"]))
    training.algorithm.node.append(helper.make_node("Sub", ["w_new", "y"], ["w_newer"]))
    training.algorithm.output.append(info("w_newer", [2]))
    training.update_binding.add(key="w", value="w_newer")
    m.training_info.add()


@feature
def devices_and_sharding(m: ModelProto) -> None:
    m.ir_version = 11
    m.configuration.add(name="two", num_devices=2, device=["a", "b"])
    device = m.graph.node[0].device_configurations.add(configuration_id="two", pipeline_stage=1)
    for name in ("x", "w", "y"):
        spec = device.sharding_spec.add(tensor_name=name, device=[0, -1])
        spec.index_to_device_group_map.add(key=-1, value=[0, 1])
        dim = spec.sharded_dim.add(axis=-1)
        dim.simple_sharding.add(dim_value=2, num_shards=2)
        dim.simple_sharding.add(dim_param="N", num_shards=1)


@feature
def quantization_annotation(m: ModelProto) -> None:
    m.graph.initializer.append(helper.make_tensor("y_scale", FLOAT, [], [0.1]))
    m.graph.initializer.append(helper.make_tensor("y_zero", TensorProto.INT8, [], [0]))
    annotation = m.graph.quantization_annotation.add(tensor_name="y")
    annotation.quant_parameter_tensor_names.add(key="SCALE_TENSOR", value="y_scale")
    annotation.quant_parameter_tensor_names.add(key="ZERO_POINT_TENSOR", value="y_zero")


def branch(name: str, capture: str) -> onnx.GraphProto:
    inner = helper.make_graph([helper.make_node("Relu", [capture], [f"{name}_in"])], f"{name}_deep", [], [info(f"{name}_in", [2])])
    nodes = [
        helper.make_node("If", ["cond"], [f"{name}_if"], then_branch=inner, else_branch=renamed_outputs(inner, f"{name}_else_in")),
        helper.make_node("Add", [f"{name}_if", f"{name}_own"], [f"{name}_out"]),
    ]
    own = helper.make_tensor(f"{name}_own", FLOAT, [2], [1.0, 1.0])
    graph = helper.make_graph(nodes, name, [], [info(f"{name}_out", [2])], [own], doc_string="inner")
    graph.value_info.append(info(f"{name}_if", [2]))
    graph.metadata_props.add(key="level", value="1")
    graph.quantization_annotation.add(tensor_name=capture)
    return graph


def renamed_outputs(graph: onnx.GraphProto, name: str) -> onnx.GraphProto:
    copy = onnx.GraphProto()
    copy.CopyFrom(graph)
    copy.node[-1].output[0] = copy.output[0].name = name
    return copy


@feature
def nested_subgraphs_with_captures(m: ModelProto) -> None:
    m.graph.input.append(info("cond", [], TensorProto.BOOL))
    m.graph.node.append(helper.make_node("Relu", ["x"], ["captured"]))
    m.graph.node.append(
        helper.make_node("If", ["cond"], ["if_out"], name="if", then_branch=branch("then", "captured"), else_branch=branch("else", "w"))
    )
    m.graph.output.append(info("if_out", [2]))


@feature
def subgraph_outputs_from_outer_scope(m: ModelProto) -> None:
    """A branch whose output is an outer value, as exporters write for `else: return x`."""
    m.graph.input.append(info("cond", [], TensorProto.BOOL))
    then = helper.make_graph([], "then", [], [info("x", [2])])
    other = helper.make_graph([helper.make_node("Relu", ["x"], ["r"])], "else", [], [info("r", [2])])
    m.graph.node.append(helper.make_node("If", ["cond"], ["if_out"], then_branch=then, else_branch=other))


@feature
def same_inner_names_in_two_branches(m: ModelProto) -> None:
    m.graph.input.append(info("cond", [], TensorProto.BOOL))
    then = helper.make_graph([helper.make_node("Relu", ["x"], ["r"])], "same", [], [info("r", [2])])
    other = helper.make_graph([helper.make_node("Neg", ["x"], ["r"])], "same", [], [info("r", [2])])
    m.graph.node.append(helper.make_node("If", ["cond"], ["if_out"], then_branch=then, else_branch=other))


@feature
def every_element_type(m: ModelProto) -> None:
    m.ir_version = 14
    for name, number in TensorProto.DataType.items():
        m.graph.input.append(info(f"in_{name}", [4], number))
        if number in (TensorProto.UNDEFINED, TensorProto.STRING):
            continue
        bits = {"UINT4": 4, "INT4": 4, "FLOAT4E2M1": 4, "UINT2": 2, "INT2": 2, "FLOAT6E2M3": 6, "FLOAT6E3M2": 6}.get(name)
        bits = bits or helper.tensor_dtype_to_np_dtype(number).itemsize * 8
        for count in (4, 5):  # five elements leave a packed type with padding bits
            raw = bytes((n * 37 + 1) % 120 for n in range((count * bits + 7) // 8))
            m.graph.initializer.append(TensorProto(name=f"w_{name}_{count}", data_type=number, dims=[count], raw_data=raw))
    m.graph.initializer.append(TensorProto(name="w_STRING", data_type=TensorProto.STRING, dims=[1], string_data=[b"\xff"]))


@feature
def bool_bytes_other_than_one(m: ModelProto) -> None:
    m.graph.initializer.append(TensorProto(name="odd_bool", data_type=TensorProto.BOOL, dims=[3], raw_data=b"\x00\x02\xff"))


@feature
def every_type_constructor(m: ModelProto) -> None:
    tensor = helper.make_tensor_type_proto(FLOAT, ["N", 2])
    types = {
        "optional": helper.make_optional_type_proto(helper.make_sequence_type_proto(tensor)),
        "sequence": helper.make_sequence_type_proto(tensor),
        "map": helper.make_map_type_proto(TensorProto.STRING, helper.make_sequence_type_proto(tensor)),
        "sparse": helper.make_sparse_tensor_type_proto(FLOAT, [None, 3]),
        "opaque": onnx.TypeProto(opaque_type=onnx.TypeProto.Opaque(domain="d", name="n")),
        "none": onnx.TypeProto(),
    }
    for name, type_ in types.items():
        type_.denotation = f"DENOTE_{name}"
        m.graph.input.append(onnx.ValueInfoProto(name=f"in_{name}", type=type_))
        m.graph.node.append(helper.make_node("Identity", [f"in_{name}"], [f"mid_{name}"]))
        m.graph.value_info.append(onnx.ValueInfoProto(name=f"mid_{name}", type=type_))


@feature
def shapes_absent_empty_and_unknown(m: ModelProto) -> None:
    m.graph.input.append(info("no_shape", None))
    m.graph.input.append(info("rank_0", []))
    m.graph.input.append(info("unknown_dims", [None, "N", 0, "", -1]))
    for name in ("no_shape", "rank_0", "unknown_dims"):
        m.graph.node.append(helper.make_node("Probe", [name], [f"of_{name}"], domain="probe"))
        m.graph.value_info.append(onnx.ValueInfoProto(name=f"of_{name}", type=m.graph.input[-3].type))


@feature
def value_info_for_everything(m: ModelProto) -> None:
    """Entries for inputs, initializers and outputs, twice, and for a name that nothing defines."""
    for name in ("x", "w", "y", "bm", "bm", "nowhere"):
        entry = info(name, [2] if name in "xwy" else [3])
        entry.doc_string = f"about {name}"
        entry.metadata_props.add(key="n", value=str(len(m.graph.value_info)))
        m.graph.value_info.append(entry)


@feature
def value_info_that_inference_disagrees_with(m: ModelProto) -> None:
    m.graph.node.append(helper.make_node("Relu", ["x"], ["said_otherwise"]))
    m.graph.value_info.append(info("said_otherwise", ["batch", "two"]))


@feature
def metadata_at_every_level(m: ModelProto) -> None:
    graph = m.graph
    for holder in (m, graph, graph.node[0], graph.input[0], graph.output[0], graph.initializer[0]):
        for value in ("1", "2", ""):  # the same key three times
            holder.metadata_props.add(key="k", value=value)
        holder.doc_string = "doc é"


@feature
def names_with_odd_characters(m: ModelProto) -> None:
    for n, name in enumerate(["a/b:0", " ", "é\u200b", "::", "a" * 5000, "\n"]):
        m.graph.node.append(helper.make_node("Relu", ["x"], [name], name=name + str(n)))


@feature
def empty_graph(m: ModelProto) -> None:
    m.graph.Clear()
    m.graph.name = "nothing"


@feature
def set_but_empty_strings(m: ModelProto) -> None:
    m.producer_name = m.producer_version = m.domain = m.doc_string = ""
    m.graph.doc_string = m.graph.node[0].doc_string = m.graph.node[0].domain = m.graph.node[0].overload = ""
    m.graph.input[0].doc_string = m.graph.initializer[0].doc_string = ""


@feature
def value_and_node_of_one_name(m: ModelProto) -> None:
    m.graph.node.append(helper.make_node("Relu", ["x"], ["x_out"], name="x"))


@feature
def names_that_look_generated(m: ModelProto) -> None:
    for n in range(3):
        m.graph.node.append(helper.make_node("Relu", ["x"], [f"Identity_{n}"]))
