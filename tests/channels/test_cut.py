"""Cutting: what is said to be kept is what is kept, and everything that states a size follows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import graphopt.ir as ir
from graphopt.channels import analyse, cut, without_emptied
from graphopt.errors import EditError
from tests.channels.build import INT64, Build
from tests.channels.masked import assert_masked_equal, contents, least_keep, prunable, random_keep


def names(graph: ir.Graph) -> set[str]:
    return {value.name for value in graph.initializers}


def hidden(model: Build, channels: int = 6) -> str:
    """x1 (2, 4) -> MatMul w1 (4, channels)."""
    return model.node("MatMul", model.input(2, 4), model.weight(4, channels))


def test_the_answer_names_the_indices_that_are_left() -> None:
    model = Build()
    model.output(model.node("MatMul", model.node("Relu", hidden(model)), model.weight(6, 3)))
    graph = model.graph()
    before = {name: contents(graph, name).copy() for name in ("w1", "w2")}
    assert cut(analyse(graph), {"w1:1": [4, 0, 4]}) == {"w1": {"1": [0, 4]}, "w2": {"0": [0, 4]}}
    assert np.array_equal(contents(graph, "w1"), before["w1"][:, [0, 4]])
    assert np.array_equal(contents(graph, "w2"), before["w2"][[0, 4]])


def test_keeping_everything_changes_nothing() -> None:
    model = Build()
    model.output(model.node("MatMul", hidden(model), model.weight(6, 3)))
    graph = model.graph()
    before = graph.to_proto().SerializeToString(deterministic=True)
    assert cut(analyse(graph), {"w1:1": range(6)}) == {}
    assert graph.to_proto().SerializeToString(deterministic=True) == before


def test_the_saved_file_is_smaller(tmp_path: Path) -> None:
    model = Build()
    model.output(model.node("MatMul", hidden(model, 64), model.weight(64, 3)))
    graph = model.graph()
    ir.save(graph, tmp_path / "before.onnx")
    cut(analyse(graph), {"w1:1": range(32)})
    ir.save(graph, tmp_path / "after.onnx")
    weights = 4 * (4 * 32 + 32 * 3)
    assert (tmp_path / "before.onnx").stat().st_size - (tmp_path / "after.onnx").stat().st_size == pytest.approx(weights, abs=8)
    assert onnx.load(tmp_path / "after.onnx").graph.initializer[0].dims == [4, 32]


def test_a_channel_that_is_several_columns_takes_them_all() -> None:
    model = Build()
    x = model.node("Conv", model.input(1, 2, 2, 2), model.weight(3, 2, 1, 1))
    model.output(model.node("Gemm", model.node("Flatten", x), model.weight(12, 2)))
    assert cut(analyse(model.graph()), {"w1:0": [0, 2]}) == {"w1": {"0": [0, 2]}, "w2": {"0": [0, 1, 2, 3, 8, 9, 10, 11]}}


def test_the_number_of_groups_follows() -> None:
    model = Build()
    x = model.node("Conv", model.input(1, 2, 2, 2), model.weight(8, 2, 1, 1))
    x = model.node("Conv", x, model.weight(12, 2, 1, 1), group=4, name="grouped")
    model.output(model.node("Conv", x, model.weight(3, 12, 1, 1)))
    graph = model.graph()
    analysis = analyse(graph)
    groups = next(group for group in analysis.groups if group.kind == "groups")
    cut(analysis, {groups.name: [0, 3]})
    assert next(node for node in graph.nodes if node.name == "grouped").attributes["group"] == 2
    assert contents(graph, "w2").shape == (6, 2, 1, 1)


# ---- shape constants


def test_a_constant_that_states_two_sizes_is_rewritten_for_its_reader_alone() -> None:
    """The same (0, 6) is a target where 6 are channels and one where they are positions."""
    model = Build()
    target = model.ints(0, 6)
    wide = model.node("Reshape", hidden(model), target, name="channels")
    positions = model.node("Reshape", model.input(2, 2, 3), target, name="positions")
    model.output(model.node("MatMul", wide, model.weight(6, 3)))
    model.output(positions)
    graph = model.graph()
    cut(analyse(graph), {"w1:1": range(4)})
    targets = {node.name: contents(graph, node.input(1).name).tolist() for node in graph.nodes if node.op_type == "Reshape"}
    assert [targets["channels"][-1], targets["positions"][-1]] == [4, 6]


def test_a_constant_that_nobody_reads_any_more_is_gone() -> None:
    model = Build()
    model.output(model.node("MatMul", model.node("Reshape", hidden(model), model.ints(2, 6)), model.weight(6, 3)))
    graph = model.graph()
    cut(analyse(graph), {"w1:1": range(4)})
    assert len(names(graph)) == 3
    assert sorted(contents(graph, name).shape for name in names(graph)) == [(2,), (4, 3), (4, 4)]


def test_a_constant_that_comes_out_right_is_left_alone() -> None:
    model = Build()
    model.output(model.node("MatMul", model.node("Reshape", hidden(model), model.ints(2, -1)), model.weight(6, 3)))
    graph = model.graph()
    before = names(graph)
    cut(analyse(graph), {"w1:1": range(4)})
    assert names(graph) == before


def test_a_target_that_the_model_computes_is_left_alone_where_it_comes_out_right() -> None:
    model = Build()
    x = model.node("MatMul", model.input("N", 4), model.weight(4, 6))
    model.output(model.node("MatMul", model.node("Reshape", x, model.node("Shape", x)), model.weight(6, 3)))
    graph = model.graph()
    cut(analyse(graph), {"w1:1": range(4)})
    assert [node.op_type for node in graph.nodes] == ["MatMul", "Shape", "Reshape", "MatMul"]


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
@pytest.mark.parametrize("as_node", [False, True])
def test_bounds_keep_their_type(dtype: type, as_node: bool) -> None:
    """Starts, ends and axes of a Slice have one type, whichever of them are rewritten."""
    model = Build()

    def bounds(*values: int) -> str:
        array = np.array(values, dtype)
        return model.node("Constant", value=onnx.numpy_helper.from_array(array)) if as_node else model.tensor(array)

    x = model.node("Slice", hidden(model), bounds(1), bounds(5), bounds(1))
    model.output(model.node("MatMul", x, model.weight(4, 3)))
    found = assert_masked_equal(model.graph(), np.random.default_rng(0), keep={"w1:1/1": [0, 2]})
    assert found.kept["w2"] == {"0": [0, 2]}


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_indices_keep_their_type(dtype: type) -> None:
    model = Build()
    indices = model.node("Identity", model.tensor(np.array([5, 1, 3, 1], dtype)))
    model.output(model.node("MatMul", model.node("Gather", hidden(model), indices, axis=1), model.weight(4, 3)))
    graph = model.graph()
    for seed in range(4):
        assert_masked_equal(graph, np.random.default_rng(seed))


def test_lengths_of_a_split_that_shares_its_constant() -> None:
    model = Build()
    lengths = model.ints(2, 4)
    a, b = model.node("Split", hidden(model), lengths, outputs=2, axis=1)
    c, d = model.node("Split", model.input(2, 6), lengths, outputs=2, axis=1)
    model.output(*(model.node("MatMul", x, model.weight(size, 3)) for x, size in ((a, 2), (b, 4), (c, 2), (d, 4))))
    graph = model.graph()
    for seed in range(4):
        assert_masked_equal(graph, np.random.default_rng(seed))


def test_sizes_of_a_resize_follow() -> None:
    model = Build()
    x = model.node("Conv", model.input(1, 3, 4, 4), model.weight(6, 3, 1, 1))
    bigger = model.node("Resize", x, "", "", model.ints(1, 6, 8, 8), name="resize")
    model.output(model.node("Conv", bigger, model.weight(2, 6, 1, 1)))
    found = assert_masked_equal(model.graph(), np.random.default_rng(0), keep={"w1:0": [1, 2]})
    resize = next(node for node in found.pruned.nodes if node.name == "resize")
    assert contents(found.pruned, resize.input(3).name).tolist() == [1, 2, 8, 8]


def test_a_computed_size_that_reaches_two_kinds_of_readers() -> None:
    """The same Shape feeds a Reshape, which must see the new size, and a scale, which must see the old one."""
    model = Build()
    x = hidden(model)
    size = model.node("Gather", model.node("Shape", x), model.ints(1))
    shaped = model.node("Reshape", x, model.node("Concat", model.ints(2), size, model.ints(1), axis=0))
    scale = model.node("Sqrt", model.node("Cast", size, to=TensorProto.FLOAT))
    flat = model.node("Squeeze", shaped, model.ints(2))
    model.output(model.node("MatMul", model.node("Div", flat, scale), model.weight(6, 3)))
    assert assert_masked_equal(model.graph(), np.random.default_rng(0)).kept


# ---- shared and tied weights


def test_a_tied_weight_is_cut_for_both_readers() -> None:
    model = Build()
    weight = model.weight(4, 4)
    once = model.node("Relu", model.node("MatMul", model.input(2, 4), model.weight(4, 4)))
    twice = model.node("MatMul", model.node("Relu", model.node("MatMul", once, weight)), weight)
    model.output(model.node("MatMul", twice, model.weight(4, 3)))
    found = assert_masked_equal(model.graph(), np.random.default_rng(0), keep={"w2:1": [0, 3]})
    assert found.kept["w1"] == {"0": [0, 3], "1": [0, 3]}
    assert found.kept["w2"] == {"1": [0, 3]}


def test_a_shared_vector_is_cut_for_each_reader_by_itself() -> None:
    model = Build()
    bias = model.tensor(np.zeros(6, np.float32), "zeros")
    x = model.node("Add", hidden(model), bias)
    y = model.node("Add", model.node("MatMul", x, model.weight(6, 6)), bias)
    model.output(model.node("MatMul", y, model.weight(6, 3)))
    graph = model.graph()
    analysis = analyse(graph)
    assert [group.size for group in prunable(analysis)] == [6, 6]
    kept = cut(analysis, {group.name: range(2 + 2 * place) for place, group in enumerate(prunable(analysis))})
    assert kept["zeros"] == {"0": [0, 1, 2, 3]}
    assert sorted(contents(graph, name).shape for name in names(graph) if contents(graph, name).ndim == 1) == [(2,), (4,)]


def test_a_shared_vector_of_which_a_reader_keeps_all_stays() -> None:
    model = Build()
    bias = model.tensor(np.ones(6, np.float32), "ones")
    x = model.node("Add", hidden(model), bias)
    y = model.node("Add", model.node("MatMul", x, model.weight(6, 6)), bias)
    model.output(model.node("MatMul", y, model.weight(6, 3)))
    graph = model.graph()
    kept = cut(analyse(graph), {"w1:1": [0, 1]})
    assert "ones" not in kept
    assert contents(graph, "ones").shape == (6,)


def test_a_shared_vector_that_is_not_zero_counts_as_zero_for_nobody() -> None:
    """What `kept` says of a shared vector holds for all of its readers; one reader's cut leaves the others' entries in it."""
    model = Build()
    bias = model.tensor(np.full(6, 0.5, np.float32), "halves")
    x = model.node("Add", hidden(model), bias)
    y = model.node("Add", model.node("MatMul", model.input(2, 4), model.weight(4, 6)), bias)
    model.output(model.node("ReduceSum", x, model.ints(1)))
    model.output(model.node("MatMul", y, model.weight(6, 3)))
    graph = model.graph()
    for seed in range(4):
        assert_masked_equal(graph, np.random.default_rng(seed))


def test_a_shared_vector_that_lies_along_the_first_of_several_axes() -> None:
    model = Build()
    bias = model.tensor(np.full((6, 1, 1), 0.5, np.float32), "halves")
    x = model.node("Add", model.node("Conv", model.input(1, 3, 2, 2), model.weight(6, 3, 1, 1)), bias)
    y = model.node("Add", model.node("Conv", x, model.weight(6, 6, 1, 1)), bias)
    model.output(model.node("Conv", y, model.weight(3, 6, 1, 1)))
    found = assert_masked_equal(model.graph(), np.random.default_rng(0), keep={"w1:0": [1, 2], "w2:0": [2, 5]})
    assert found.kept["halves"] == {"0": [1, 2, 5]}


def test_indices_that_two_nodes_share() -> None:
    """They have several readers as a vector of weights has, and no channels."""
    model = Build()
    indices = model.ints(4, 1)
    a, b = (model.node("Gather", x, indices, axis=1) for x in (hidden(model), model.input(2, 6)))
    model.output(model.node("MatMul", a, model.weight(2, 3)), model.node("MatMul", b, model.weight(2, 3)))
    assert assert_masked_equal(model.graph(), np.random.default_rng(0), keep=least_keep).kept


# ---- axes that would have nothing left


def diverging() -> ir.Graph:
    """Of 6 channels a branch takes the first two, another all; one of the branch's channels has to stay."""
    model = Build()
    x = hidden(model)
    first = model.node("Slice", x, model.ints(0), model.ints(2), model.ints(1))
    model.output(model.node("ReduceSum", first, model.ints(1)))
    model.output(model.node("MatMul", x, model.weight(6, 3)))
    return model.graph()


def test_a_cut_that_would_empty_an_axis_is_refused() -> None:
    analysis = analyse(diverging())
    with pytest.raises(EditError, match="nothing would be left of axis 1"):
        cut(analysis, {"w1:1": [3, 4]})


def test_without_emptied_keeps_as_little_more_as_it_takes() -> None:
    analysis = analyse(diverging())
    mended = without_emptied(analysis, {"w1:1": [3, 4]})
    assert mended in ({"w1:1": [0, 3, 4]}, {"w1:1": [1, 3, 4]})
    assert without_emptied(analysis, {"w1:1": [1, 4]}) == {"w1:1": [1, 4]}
    cut(analysis, mended)


def test_the_last_unit_of_a_group_cannot_go() -> None:
    analysis = analyse(diverging())
    with pytest.raises(EditError, match="cannot lose all"):
        cut(analysis, {"w1:1": []})


@pytest.mark.parametrize("opset", [11, 21])
def test_an_axis_of_one_index_is_still_an_axis(opset: int) -> None:
    """Squeeze without axes takes out axes of size 1: those that had it before, not those that a cut leaves with one index."""
    model = Build(opset=opset)
    x = model.node("Conv", model.input(1, 3, 2, 1), model.weight(6, 3, 1, 1))
    flat = model.node("Squeeze", x)  # (6, 2)
    model.output(model.node("MatMul", model.node("Transpose", flat, perm=[1, 0]), model.weight(6, 3)))
    assert assert_masked_equal(model.graph(), np.random.default_rng(0), keep=least_keep).kept


# ---- Constant nodes


def test_a_weight_in_a_constant_node_is_cut_there() -> None:
    model = Build()
    bias = model.node("Constant", value_floats=[0.5, 1.0, 1.5, 2.0, 2.5, 3.0])
    array = np.random.default_rng(0).uniform(0.5, 1.5, (6, 3)).astype(np.float32)
    weight = model.node("Constant", value=helper.make_tensor("", TensorProto.FLOAT, array.shape, array.tobytes(), raw=True))
    model.output(model.node("MatMul", model.node("Add", hidden(model), bias), weight))
    found = assert_masked_equal(model.graph(), np.random.default_rng(0), keep={"w1:1": [1, 5]})
    constants = [node for node in found.pruned.nodes if node.op_type == "Constant"]
    assert list(constants[0].attributes["value_floats"]) == [1.0, 3.0]
    assert np.array_equal(constants[1].attributes["value"].numpy(), array[[1, 5]])


# ---- every prunable unit by itself


def test_each_unit_can_go_alone() -> None:
    model = Build()
    x = model.node("Conv", model.input(1, 3, 3, 3), model.weight(8, 3, 1, 1))
    x = model.node("Conv", x, model.weight(8, 2, 1, 1), group=4)
    turned = model.node("Transpose", model.node("Reshape", x, model.ints(0, 2, 4, 3, 3)), perm=[0, 2, 1, 3, 4])
    model.output(model.node("Conv", model.node("Reshape", turned, model.ints(0, 8, 3, 3)), model.weight(3, 8, 1, 1)))
    graph = model.graph()
    groups = prunable(analyse(graph))
    assert groups
    for group in groups:
        for unit in range(group.size):
            assert_masked_equal(graph, np.random.default_rng(0), keep={group.name: [u for u in range(group.size) if u != unit]})


def test_a_random_cut_leaves_a_model_that_can_be_cut_again() -> None:
    model = Build()
    x = model.node("Conv", model.input(1, 3, 4, 4), model.weight(8, 3, 1, 1))
    model.output(model.node("Conv", model.node("Relu", x), model.weight(3, 8, 1, 1)))
    graph = model.graph()
    for seed in range(3):
        analysis = analyse(graph)
        cut(analysis, random_keep(analysis, np.random.default_rng(seed)))
        graph = ir.Graph.from_proto(graph.to_proto())
        if prunable(analyse(graph)):
            assert_masked_equal(graph, np.random.default_rng(seed))


def test_a_gather_from_an_embedding_follows_its_width_only() -> None:
    model = Build()
    x = model.node("Gather", model.weight(7, 6), model.input(2, 3, elem_type=INT64))
    model.output(model.node("MatMul", x, model.weight(6, 3)))
    found = assert_masked_equal(model.graph(), np.random.default_rng(0))
    assert set(found.kept["w1"]) == {"1"}
