"""Where nothing can be known nothing is removed, and the group says which node is why."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import graphopt.ir as ir
from graphopt.channels import Analysis, Operator, analyse, channel_rule, cut, functions_with_rules
from graphopt.channels.operator import _RULES
from graphopt.errors import EditError
from tests.channels.build import BOOL, FLOAT, INT64, Build
from tests.channels.masked import assert_masked_equal, prunable
from tests.channels.status import status

CUSTOM, MICROSOFT = "my.domain", "com.microsoft"
INT32 = TensorProto.INT32
EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def rules() -> Iterator[None]:
    """Rules that a test registers are gone after it."""
    before = dict(_RULES)
    yield
    _RULES.clear()
    _RULES.update(before)


def through(*nodes: tuple[str, dict[str, object]], **options: int) -> Build:
    """x (2, 4) -> MatMul w1 (4, 6) -> the given nodes -> MatMul w2 (6, 3) -> output; a node is (operator, attributes)."""
    model = Build(**options)
    value = model.node("MatMul", model.input(2, 4), model.weight(4, 6), name="first")
    for op_type, attributes in nodes:
        value = model.node(op_type, value, name="subject", **attributes)
    model.output(model.node("MatMul", value, model.weight(6, 3), name="last"))
    return model


def why(analysis: Analysis, name: str, axis: int) -> tuple[str, str]:
    """(node, reason) of the frozen group that holds the axis."""
    for group in analysis.groups:
        if any(member.value.name == name and member.axis == axis for member in group.members):
            assert group.frozen is not None, f"{group.name} is not frozen"
            return group.frozen.where, group.frozen.why
    raise AssertionError(f"{name}:{axis} is in no group")


# ---- the plain case, so that what follows is not empty


def test_a_hidden_axis_can_go_inputs_and_outputs_stay() -> None:
    analysis = analyse(through(("Relu", {})).graph())
    assert status(analysis, "w1") == "fe"
    assert status(analysis, "w2") == "ef"
    assert why(analysis, "w1", 0)[0] == "'first' (MatMul)"
    assert why(analysis, "w2", 1) == ("output 'v3'", "graph output")


def test_a_frozen_group_cannot_be_cut() -> None:
    analysis = analyse(through(("Relu", {})).graph())
    frozen = next(group for group in analysis.groups if group.frozen is not None)
    with pytest.raises(EditError, match="frozen by"):
        cut(analysis, {frozen.name: [0]})


@pytest.mark.parametrize("keep", [[], [-1], [6], [0, 17]])
def test_units_that_a_group_has_not_are_refused(keep: list[int]) -> None:
    analysis = analyse(through(("Relu", {})).graph())
    (group,) = prunable(analysis)
    with pytest.raises(EditError, match=group.name):
        cut(analysis, {group.name: keep})


def test_an_unknown_group_is_refused() -> None:
    with pytest.raises(EditError, match="nobody"):
        cut(analyse(through().graph()), {"nobody": [0]})


def test_an_outdated_analysis_is_refused() -> None:
    graph = through().graph()
    analysis = analyse(graph)
    (group,) = prunable(analysis)
    graph.rename(graph.value("w1"), "renamed")
    with pytest.raises(EditError, match="analyse it again"):
        cut(analysis, {group.name: [0]})


# ---- operators without a rule


@pytest.mark.parametrize("op_type", ["NonZero", "Det", "OneHot", "RandomNormalLike", "Unique", "EyeLike", "Bernoulli"])
def test_operators_of_onnx_without_a_rule_freeze(op_type: str) -> None:
    model = Build()
    hidden = model.node("MatMul", model.input(2, 4), model.weight(4, 6))
    extra = [model.ints(6), model.tensor(np.array([0, 1], np.float32))] if op_type == "OneHot" else []
    model.node(op_type, hidden, *extra, name="subject")
    model.output(model.node("MatMul", hidden, model.weight(6, 3)))
    where, reason = why(analyse(model.graph()), "w1", 1)
    assert where == f"'subject' ({op_type})"
    assert reason == f"no channel rule for operator ai.onnx.{op_type}"


def test_an_operator_of_an_unknown_domain_freezes_what_it_reads_and_what_it_gives() -> None:
    model = Build(my_domain=1)
    hidden = model.node("MatMul", model.input(2, 4), model.weight(4, 6))
    made = model.node("Relu", hidden, model.weight(6), domain=CUSTOM, name="subject")
    model.output(model.node("MatMul", made, model.weight(6, 3), name="last"))
    analysis = analyse(model.graph())
    for name, axis in (("w1", 1), ("w2", 0)):
        assert why(analysis, name, axis) == ("'subject' (my.domain.Relu)", "no channel rule for operator my.domain.Relu")
    assert "f" in status(analysis, "w3")
    assert prunable(analysis) == []


def test_the_example_of_a_custom_operator_runs(rules: None, capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(EXAMPLES / "custom_operator.py"), run_name="__main__")
    assert capsys.readouterr().out.splitlines() == [
        "without a rule: 16 channels frozen by 'act' (my.domain.ScaledRelu): no channel rule for operator my.domain.ScaledRelu",
        "with a rule: 16 channels in expand:1, scale:0, project:0",
        "cut to 8 channels: expand (4, 8), project (8, 3), y (2, 3)",
    ]


def test_the_rule_in_the_docs_is_the_example_s() -> None:
    text = (EXAMPLES.parent / "docs" / "channels.md").read_text()
    rule = text.split("@channel_rule(")[1].split("```")[0].split("\n", 1)[1]
    code = (EXAMPLES / "custom_operator.py").read_text()
    squeezed = ["".join(line.split("  #")[0].split()) for line in rule.splitlines() if line.strip()]
    theirs = ["".join(line.split("  #")[0].split()) for line in code.splitlines()]
    start = theirs.index(squeezed[0])
    assert theirs[start : start + len(squeezed)] == squeezed


def test_a_custom_operator_with_a_rule_is_pruned_through(rules: None) -> None:
    example = runpy.run_path(str(EXAMPLES / "custom_operator.py"))
    graph = ir.Graph.from_proto(example["make_model"]())
    assert functions_with_rules(graph) == set()
    channel_rule(CUSTOM, "ScaledRelu")(example["scaled_relu"])
    assert functions_with_rules(graph) == {(CUSTOM, "ScaledRelu")}
    cut_ = assert_masked_equal(graph, np.random.default_rng(0))
    assert set(cut_.kept) == {"expand", "scale", "project"}


def test_a_custom_operator_whose_output_the_file_describes_is_pruned_through(rules: None) -> None:
    """A kernel of the user's, of which ONNX knows nothing: what the file says of its output counts."""
    example = runpy.run_path(str(EXAMPLES / "custom_operator.py"))
    proto = example["make_model"]()
    del proto.functions[:]
    assert prunable(analyse(ir.Graph.from_proto(proto))) == []
    channel_rule(CUSTOM, "ScaledRelu")(example["scaled_relu"])
    assert prunable(analyse(ir.Graph.from_proto(proto))) == []
    proto.graph.value_info.append(helper.make_tensor_value_info("active", FLOAT, ["N", 16]))
    (group,) = prunable(analyse(ir.Graph.from_proto(proto)))
    assert [member.name for member in group.members] == ["expand:1", "scale:0", "project:0"]


def test_a_rule_that_fails_freezes_instead_of_crashing(rules: None) -> None:
    @channel_rule("", "Relu")
    def broken(op: Operator) -> None:
        op.output([op.input(0)[7]])

    where, reason = why(analyse(through(("Relu", {})).graph()), "w1", 1)
    assert where == "'subject' (Relu)"
    assert "failed" in reason


def test_a_rule_that_gives_too_few_labels_freezes(rules: None) -> None:
    @channel_rule("", "Relu")
    def broken(op: Operator) -> None:
        op.output(op.input(0)[1:])

    assert prunable(analyse(through(("Relu", {})).graph())) == []


def test_a_rule_that_forgets_its_output_freezes_what_reads_it(rules: None) -> None:
    @channel_rule("", "Relu")
    def broken(op: Operator) -> None:
        op.input(0)

    analysis = analyse(through(("Relu", {})).graph())
    assert status(analysis, "w2") == "ff"


# ---- what states positions, lengths or masks


@pytest.mark.parametrize(
    ("op_type", "domain", "attributes", "inputs", "elem_type", "reason"),
    [
        ("Attention", "", {}, [(2, 3, 4, 6)] * 3 + [(), (), (), (2,)], INT64, "lengths of attention"),
        ("MultiHeadAttention", MICROSOFT, {"num_heads": 2}, [(2, 3, 6)] * 3 + [(), (2, 3)], INT32, "mask of attention"),
        (
            "MultiHeadAttention",
            MICROSOFT,
            {"num_heads": 2},
            [(2, 3, 6)] * 3 + [()] * 3 + [(2, 2, 3, 3)],
            FLOAT,
            "has packed inputs or past keys",
        ),
        (
            "GroupQueryAttention",
            MICROSOFT,
            {"num_heads": 2, "kv_num_heads": 2},
            [(2, 3, 16)] * 3 + [(), (), (2,)],
            INT32,
            "lengths or rotations of attention",
        ),
        ("Attention", MICROSOFT, {"num_heads": 2}, [(2, 3, 4), (4, 12), (12,), (2, 3)], INT32, "mask of attention"),
        ("RotaryEmbedding", "", {}, [(2, 3, 5, 4), (7, 2), (7, 2), (2, 5)], INT64, "positions"),
        ("RotaryEmbedding", MICROSOFT, {}, [(2, 3, 5, 4), (2, 5), (7, 2), (7, 2)], INT64, "positions"),
        ("MaxRoiPool", "", {"pooled_shape": [2, 2]}, [(1, 3, 4, 4), (2, 5)], FLOAT, "states the regions"),
    ],
)
def test_what_positions_lengths_and_masks_are_made_from_stays(
    op_type: str, domain: str, attributes: dict[str, object], inputs: list[tuple[int, ...]], elem_type: int, reason: str
) -> None:
    """The last input, or the second of RotaryEmbedding's in com.microsoft, is made from a weight, the others are weights."""
    model = Build(opset=22 if op_type == "MaxRoiPool" else 24, com_microsoft=1)
    stating = 1 if (op_type, domain) == ("RotaryEmbedding", MICROSOFT) else len(inputs) - 1
    given = [model.weight(*shape) if shape else "" for shape in inputs]
    name = given[stating]
    given[stating] = model.node("Cast", name, to=elem_type)
    model.node(op_type, *given, domain=domain, name="subject", **attributes)
    model.output(model.node("Identity", model.input(1)))
    analysis = analyse(model.graph())
    for axis, size in enumerate(inputs[stating]):
        assert size == 1 or why(analysis, name, axis) == (f"'subject' ({domain and domain + '.'}{op_type})", reason)


# ---- subgraphs and functions


def branch(name: str, *nodes: onnx.NodeProto, output: str) -> onnx.GraphProto:
    return helper.make_graph(nodes, name, [], [helper.make_tensor_value_info(output, FLOAT, None)])


def test_values_that_a_branch_captures_are_frozen() -> None:
    model = Build()
    hidden = model.node("MatMul", model.input(2, 4), model.weight(4, 6))
    condition = model.input(elem_type=BOOL)
    yes = branch("yes", helper.make_node("Relu", [hidden], ["a"]), output="a")
    no = branch("no", helper.make_node("Neg", [hidden], ["b"]), output="b")
    chosen = model.node("If", condition, then_branch=yes, else_branch=no, name="subject")
    model.output(model.node("MatMul", chosen, model.weight(6, 3)))
    graph = model.graph()
    analysis = analyse(graph)
    assert why(analysis, "w1", 1) == ("'subject' (If)", "values that enter or leave a subgraph stay")
    assert prunable(analysis) == []


def test_weights_that_a_branch_captures_are_frozen() -> None:
    model = Build()
    x, weight = model.input(2, 4), model.weight(4, 6)
    hidden = model.node("MatMul", x, weight)
    condition = model.input(elem_type=BOOL)
    yes = branch("yes", helper.make_node("MatMul", [x, weight], ["a"]), output="a")
    no = branch("no", helper.make_node("Identity", [x], ["b"]), output="b")
    model.output(model.node("If", condition, then_branch=yes, else_branch=no, name="subject"))
    model.output(model.node("MatMul", hidden, model.weight(6, 3)))
    assert why(analyse(model.graph()), "w1", 1)[0] == "'subject' (If)"


def test_a_model_with_a_loop_is_pruned_around_it() -> None:
    model = Build()
    x = model.node("Relu", model.node("MatMul", model.input(2, 4), model.weight(4, 6)))
    narrow = model.node("MatMul", x, model.weight(6, 5))
    body = helper.make_graph(
        [helper.make_node("Identity", ["going"], ["goes_on"]), helper.make_node("Mul", ["state", "w3"], ["next"])],
        "body",
        [
            helper.make_tensor_value_info("i", INT64, []),
            helper.make_tensor_value_info("going", BOOL, []),
            helper.make_tensor_value_info("state", FLOAT, [2, 5]),
        ],
        [helper.make_tensor_value_info("goes_on", BOOL, []), helper.make_tensor_value_info("next", FLOAT, [2, 5])],
    )
    model.weight(5)
    looped = model.node("Loop", model.tensor(np.int64(2)), model.tensor(np.bool_(True)), narrow, body=body, name="subject")
    model.output(model.node("MatMul", looped, model.weight(5, 3)), shape=(2, 3))
    found = assert_masked_equal(model.graph(), np.random.default_rng(0))
    assert status(found.analysis, "w1") == "fe"
    assert status(found.analysis, "w2") == "ef"
    assert why(found.analysis, "w2", 1)[0] == "'subject' (Loop)"


def function(name: str, domain: str, *nodes: onnx.NodeProto, inputs: tuple[str, ...] = ("a",)) -> onnx.FunctionProto:
    return helper.make_function(domain, name, list(inputs), ["z"], list(nodes), [helper.make_opsetid("", 21)])


def test_a_call_of_a_function_freezes() -> None:
    model = Build(my_domain=1)
    model.functions.append(function("Twice", CUSTOM, helper.make_node("Add", ["a", "a"], ["z"])))
    hidden = model.node("MatMul", model.input(2, 4), model.weight(4, 6))
    model.output(model.node("MatMul", model.node("Twice", hidden, domain=CUSTOM, name="subject"), model.weight(6, 3)))
    assert why(analyse(model.graph()), "w1", 1)[0] == "'subject' (my.domain.Twice)"


def test_a_function_with_the_name_of_an_operator_with_a_rule_is_not_that_operator() -> None:
    """Here com.microsoft.Gelu is a running sum along the channels, whatever ONNX Runtime's kernel of that name does."""
    model = Build(com_microsoft=1)
    summed = helper.make_node("CumSum", ["a", "axis"], ["z"])
    axis = helper.make_node("Constant", [], ["axis"], value=numpy_helper.from_array(np.array(1)))
    model.functions.append(function("Gelu", "com.microsoft", axis, summed))
    hidden = model.node("MatMul", model.input(2, 4), model.weight(4, 6))
    model.output(model.node("MatMul", model.node("Gelu", hidden, domain="com.microsoft", name="subject"), model.weight(6, 3)))
    assert prunable(analyse(model.graph())) == []


# ---- what others may give or need


def test_an_initializer_that_can_be_overridden_is_no_weight() -> None:
    model = through(("Relu", {}))
    model.inputs.append(helper.make_tensor_value_info("w1", FLOAT, [4, 6]))
    analysis = analyse(model.graph())
    assert prunable(analysis) == []
    assert status(analysis, "w2") == "ff"


def test_before_ir_4_initializers_are_inputs_and_weights() -> None:
    model = through(("Relu", {}), opset=17, ir_version=3)
    for tensor in model.initializers:
        model.inputs.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    found = assert_masked_equal(model.graph(), np.random.default_rng(0))
    assert set(found.kept) == {"w1", "w2"}
    shapes = {value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in found.pruned.to_proto().graph.input}
    left = len(found.kept["w1"]["1"])
    assert (shapes["w1"], shapes["w2"]) == ([4, left], [left, 3])


def test_a_weight_that_is_an_output_stays() -> None:
    model = through(("Relu", {}))
    model.outputs.append(helper.make_tensor_value_info("w1", FLOAT, [4, 6]))
    analysis = analyse(model.graph())
    assert why(analysis, "w1", 1) == ("output 'w1'", "graph output")


def test_a_hidden_value_that_is_an_output_stays() -> None:
    model = through(("Relu", {}))
    model.outputs.append(helper.make_tensor_value_info("v2", FLOAT, [2, 6]))
    assert prunable(analyse(model.graph())) == []


def test_weights_that_training_information_refers_to_stay() -> None:
    proto = through(("Relu", {})).proto()
    training = proto.training_info.add()
    training.algorithm.name = "step"
    training.algorithm.node.append(helper.make_node("Identity", ["w1"], ["w1_new"]))
    training.algorithm.output.append(helper.make_tensor_value_info("w1_new", FLOAT, [4, 6]))
    training.update_binding.append(onnx.StringStringEntryProto(key="w1", value="w1_new"))
    analysis = analyse(ir.Graph.from_proto(proto))
    assert prunable(analysis) == []


def test_a_sparse_weight_stays() -> None:
    proto = through(("Relu", {})).proto()
    dense = next(tensor for tensor in proto.graph.initializer if tensor.name == "w1")
    proto.graph.initializer.remove(dense)
    values = numpy_helper.from_array(np.ones(24, np.float32), "w1")
    places = numpy_helper.from_array(np.arange(24), "places")
    proto.graph.sparse_initializer.append(helper.make_sparse_tensor(values, places, [4, 6]))
    analysis = analyse(ir.Graph.from_proto(proto))
    assert prunable(analysis) == []


def test_a_sparse_constant_stays() -> None:
    model = Build()
    values = numpy_helper.from_array(np.ones(24, np.float32), "values")
    places = numpy_helper.from_array(np.arange(24), "places")
    weight = model.node("Constant", sparse_value=helper.make_sparse_tensor(values, places, [4, 6]))
    model.output(model.node("MatMul", model.node("MatMul", model.input(2, 4), weight), model.weight(6, 3)))
    assert prunable(analyse(model.graph())) == []


# ---- unknown shapes and values


def test_a_rotation_of_a_sequence_of_unknown_length() -> None:
    model = Build(opset=23)
    x = model.node("MatMul", model.input("N", "T", 6), model.weight(6, 24))
    heads = model.node("Transpose", model.node("Reshape", x, model.ints(0, 0, 3, 8)), perm=[0, 2, 1, 3])
    made = model.node("RotaryEmbedding", heads, model.weight(7, 4), model.weight(7, 4), model.input("N", "T", elem_type=INT64))
    merged = model.node("Reshape", model.node("Transpose", made, perm=[0, 2, 1, 3]), model.ints(0, 0, 24))
    model.output(model.node("MatMul", merged, model.weight(24, 3)))
    found = assert_masked_equal(model.graph(), np.random.default_rng(0))
    assert sorted(group.size for group in prunable(found.analysis)) == [3, 4]


def test_packed_attention_without_a_bias() -> None:
    """ONNX Runtime 1.31 crashes on it."""
    model = Build(com_microsoft=1)
    x = model.node("Attention", model.input(2, 3, 8), model.weight(8, 36), num_heads=3, domain=MICROSOFT)
    model.output(model.node("MatMul", x, model.weight(12, 4)), shape=(2, 3, 4))
    proto = model.proto()
    proto.graph.value_info.append(helper.make_tensor_value_info(x, FLOAT, [2, 3, 12]))
    analysis = analyse(ir.Graph.from_proto(proto))
    assert sorted((group.kind, group.size) for group in prunable(analysis)) == [("head dimensions", 4), ("heads", 3)]


def test_an_axis_of_unknown_size_may_be_broadcast() -> None:
    """x (N, C) of unknown C plus a bias of 6: C may be 1."""
    model = Build()
    made = model.node("Add", model.input("N", "C"), model.weight(6), name="subject")
    model.output(model.node("MatMul", made, model.weight(6, 3)))
    assert prunable(analyse(model.graph())) == []


def test_a_batch_of_unknown_size_may_be_broadcast() -> None:
    model = Build()
    model.output(model.node("MatMul", model.input("B", 2, 4), model.weight(3, 4, 6), name="subject"))
    analysis = analyse(model.graph())
    assert why(analysis, "w1", 0) == ("'subject' (MatMul)", "meets an axis of unknown size, which may be broadcast")


@pytest.mark.parametrize(("op_type", "attributes"), [("Conv", {"group": 2}), ("GroupNormalization", {"num_groups": 2})])
def test_groups_of_an_unknown_number_of_channels_freeze(op_type: str, attributes: dict[str, int]) -> None:
    model = Build()
    weights = [model.weight(6, 2, 1, 1)] if op_type == "Conv" else [model.weight(6), model.weight(6)]
    x = model.node(op_type, model.input(1, "C", 4, 4), *weights, name="subject", **attributes)
    model.output(model.node("Conv", x, model.weight(3, 6, 1, 1)))
    analysis = analyse(model.graph())
    assert prunable(analysis) == []
    assert why(analysis, "w1", 0) == (f"'subject' ({op_type})", "its channel count is unknown")


def test_an_input_of_unknown_rank_freezes() -> None:
    proto = through(("Relu", {})).proto()
    proto.graph.input[0].type.tensor_type.ClearField("shape")
    analysis = analyse(ir.Graph.from_proto(proto))
    assert prunable(analysis) == []


@pytest.mark.parametrize(
    ("op_type", "inputs"),
    [
        ("Reshape", [(2,)]),
        ("Slice", [(1,), (1,), [1]]),
        ("Expand", [(2,)]),
        ("Tile", [(2,)]),
        ("Pad", [(4,)]),
        ("Gather", [(2,)]),
        ("ReduceSum", [(1,)]),
        ("CumSum", [()]),
    ],
)
def test_positions_that_are_only_known_when_the_model_runs_freeze(op_type: str, inputs: list[object]) -> None:
    model = Build()
    hidden = model.node("MatMul", model.input(2, 4), model.weight(4, 6))
    given = [model.input(*shape, elem_type=INT64) if isinstance(shape, tuple) else model.ints(*shape) for shape in inputs]  # type: ignore[misc]
    attributes = {"axis": 1} if op_type == "Gather" else {}
    made = model.node(op_type, hidden, *given, name="subject", **attributes)
    model.output(made)
    graph = model.graph()
    where, _ = why(analyse(graph), "w1", 1)
    assert where == f"'subject' ({op_type})" or where.startswith("output")
    assert prunable(analyse(graph)) == []


def test_a_size_that_is_an_output_freezes() -> None:
    model = through(("Relu", {}))
    model.output(model.node("Shape", "v2"), elem_type=INT64)
    analysis = analyse(model.graph())
    assert status(analysis, "w1") == "ff"
    assert why(analysis, "w1", 1)[1] == "a graph output states its size"


def test_a_size_that_a_formula_reads_keeps_its_value() -> None:
    """1 / sqrt(d), computed from the shape, belongs to the function."""
    model = Build()
    hidden = model.node("MatMul", model.input(2, 4), model.weight(4, 6))
    size = model.node("Gather", model.node("Shape", hidden), model.tensor(np.int64(1)))
    scaled = model.node("Div", hidden, model.node("Sqrt", model.node("Cast", size, to=TensorProto.FLOAT)))
    model.output(model.node("MatMul", scaled, model.weight(6, 3)))
    found = assert_masked_equal(model.graph(), np.random.default_rng(0))
    assert set(found.kept) == {"w1", "w2"}


@pytest.mark.parametrize("training", [True, None])
def test_dropout_that_may_be_random_freezes(training: bool | None) -> None:
    model = Build()
    hidden = model.node("MatMul", model.input(2, 4), model.weight(4, 6))
    mode = model.input(elem_type=BOOL) if training is None else model.tensor(np.bool_(True))
    made = model.node("Dropout", hidden, model.tensor(np.float32(0.5)), mode, name="subject")
    model.output(model.node("MatMul", made, model.weight(6, 3)))
    assert why(analyse(model.graph()), "w1", 1)[0] == "'subject' (Dropout)"


def test_a_recurrent_layer_with_the_batch_first_freezes() -> None:
    model = Build()
    w, r = model.weight(1, 20, 4), model.weight(1, 20, 5)
    made = model.node("LSTM", model.input(2, 3, 4), w, r, outputs=["y", "", ""], hidden_size=5, layout=1, name="subject")
    model.output(model.node("MatMul", made[0], model.weight(5, 3)))
    assert prunable(analyse(model.graph())) == []


def test_batch_normalization_in_training_mode_freezes() -> None:
    model = Build()
    hidden = model.node("Conv", model.input(1, 3, 4, 4), model.weight(6, 3, 1, 1))
    vectors = [model.weight(6), model.weight(6), model.weight(6), model.weight(6, positive=True)]
    made = model.node("BatchNormalization", hidden, *vectors, outputs=3, training_mode=1, name="subject")
    model.output(model.node("Conv", made[0], model.weight(4, 6, 1, 1)))
    assert prunable(analyse(model.graph())) == []
