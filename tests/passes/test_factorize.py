"""factorize: what it costs by the closed formula, the ranks that it takes, and what it leaves alone."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import onnx
import pytest

import graphopt
import graphopt.ir as ir
from graphopt.cost import count
from graphopt.errors import DataError, PassParameterError
from graphopt.passes.factorize import Factorize
from graphopt.pipeline import Context, PassResult, StopAfter
from tests.channels.build import Build
from tests.channels.masked import contents
from tests.passes.factorized import assert_same, inputs, operators, outputs


def convolution(kernel: int = 3, bias: bool = False, **attributes: Any) -> ir.Graph:
    """x [n, 12, 8, 8] -> Conv w1 to 16 channels."""
    model = Build(opset=17)
    given = [model.input("n", 12, 8, 8), model.tensor(model.rng.standard_normal((16, 12, kernel, kernel)).astype(np.float32), "w")]
    given += [model.tensor(model.rng.standard_normal(16).astype(np.float32), "b")] if bias else []
    model.output(model.node("Conv", *given, **attributes))
    return model.graph()


def perceptron(*widths: int) -> ir.Graph:
    """x [n, widths[0]] -> Gemm w1, MatMul w2, ... in turns."""
    model = Build(opset=17)
    x = model.input("n", widths[0])
    for place, (into, out) in enumerate(itertools.pairwise(widths)):
        x = model.node("MatMul" if place % 2 else "Gemm", x, model.weight(into, out))
    model.output(x)
    return model.graph()


def correlated(graph: ir.Graph, samples: int = 40) -> dict[str, np.ndarray]:
    """Inputs whose channels depend on each other and have a mean."""
    rng = np.random.default_rng(1)
    feeds = inputs(graph, samples)
    for name, array in feeds.items():
        mix = rng.standard_normal((array.shape[1], array.shape[1])) * np.linspace(0.05, 1, array.shape[1])
        feeds[name] = (np.einsum("ij,nj...->ni...", mix, array) + 1).astype(np.float32)
    return feeds


def apply(graph: ir.Graph, data: dict[str, np.ndarray] | None = None, **options: Any) -> PassResult:
    return Factorize(**options).apply(graph, Context(data=data))


def patches(x: np.ndarray, kernel: int) -> np.ndarray:
    """[n, c, h, w] without padding as [n * places, c * kernel * kernel]."""
    view = np.lib.stride_tricks.sliding_window_view(x, (kernel, kernel), axis=(2, 3))
    return view.transpose(0, 2, 3, 1, 4, 5).reshape(-1, x.shape[1] * kernel * kernel).astype(np.float64)


# ---- the closed formula


@pytest.mark.parametrize("rank", [1, 3, 7])
def test_the_weight_error_is_eckart_and_young_s(rank: int) -> None:
    graph = convolution()
    weight = contents(graph, "w").astype(np.float64).reshape(16, -1)
    apply(graph, rank=rank, method="channel")
    product = contents(graph, "w").reshape(16, rank).astype(np.float64) @ contents(graph, "w/0").reshape(rank, -1)
    expected = np.sqrt((np.linalg.svd(weight)[1][rank:] ** 2).sum())
    assert np.linalg.norm(weight - product) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("rank", [1, 3, 7])
def test_the_spatial_weight_error_is_eckart_and_young_s(rank: int) -> None:
    graph = convolution()
    weight = contents(graph, "w").astype(np.float64)
    apply(graph, rank=rank, method="spatial")
    first, last = contents(graph, "w/0").astype(np.float64), contents(graph, "w").astype(np.float64)
    product = np.einsum("orhw,rcij->ochjwi" if first.shape[2] == 1 else "orhw,rcij->ocijhw", last, first).reshape(weight.shape)
    if first.shape[2] == 1:
        product = np.einsum("orh,rcj->ochj", last[..., 0], first[:, :, 0])
        unfolded = weight.transpose(1, 3, 0, 2).reshape(36, 48)
    else:
        product = np.einsum("orw,rci->ociw", last[:, :, 0], first[..., 0])
        unfolded = weight.transpose(1, 2, 0, 3).reshape(36, 48)
    expected = np.sqrt((np.linalg.svd(unfolded)[1][rank:] ** 2).sum())
    assert np.linalg.norm(weight - product) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("bias", [False, True])
def test_with_data_the_truncated_singular_values_are_the_output_error(kernel: int, bias: bool) -> None:
    graph = convolution(kernel, bias)
    original, feeds = graph.copy(), correlated(graph)
    result = apply(graph, feeds, rank=4, method="channel")
    rows, weight = patches(feeds["x1"], kernel), contents(original, "w").astype(np.float64).reshape(16, -1)
    rows = rows - rows.mean(axis=0)  # a convolution can take a bias, which makes good for the mean
    root = np.linalg.cholesky(rows.T @ rows / len(rows) + 1e-12 * np.eye(rows.shape[1]))
    squares = np.linalg.svd(weight @ root)[1] ** 2
    difference = outputs(graph, feeds).astype(np.float64) - outputs(original, feeds)
    assert np.square(difference).sum(axis=1).mean() == pytest.approx(squares[4:].sum(), rel=1e-4)
    assert result.summary["mean_loss"] == pytest.approx(squares[4:].sum() / squares.sum(), abs=1e-6)


def test_a_product_without_bias_is_whitened_about_zero() -> None:
    model = Build(opset=17)
    model.output(model.node("MatMul", model.input("n", 12), model.weight(12, 16)))
    graph = model.graph()
    original, feeds = graph.copy(), correlated(graph, 200)
    apply(graph, feeds, rank=3)
    rows = feeds["x1"].astype(np.float64)
    root = np.linalg.cholesky(rows.T @ rows / len(rows))
    squares = np.linalg.svd(contents(original, "w1").T.astype(np.float64) @ root)[1] ** 2
    difference = outputs(graph, feeds).astype(np.float64) - outputs(original, feeds)
    assert np.square(difference).sum(axis=1).mean() == pytest.approx(squares[3:].sum(), rel=1e-4)


@pytest.mark.parametrize("method", ["channel", "spatial", "tucker"])
def test_the_loss_that_is_reported_is_that_of_the_outputs_and_less_than_without_data(method: str) -> None:
    errors = []
    for with_data in (True, False):
        graph = convolution(bias=True, pads=[1, 0, 1, 2], strides=[1, 2])
        original, feeds = graph.copy(), correlated(graph)
        result = apply(graph, feeds if with_data else None, rank=4, method=method)
        difference = outputs(graph, feeds).astype(np.float64) - outputs(original, feeds)
        errors.append(np.square(difference).sum(axis=1).mean() / outputs(original, feeds).var(axis=(0, 2, 3), dtype=np.float64).sum())
        if with_data:
            assert result.summary["mean_loss"] == pytest.approx(errors[0], rel=1e-4, abs=1e-6)
    assert errors[0] < 0.9 * errors[1]


def test_inputs_that_depend_on_each_other_fully_are_no_obstacle() -> None:
    graph = perceptron(12, 16)
    feeds = {"x1": np.outer(np.linspace(-1, 1, 20), np.ones(12)).astype(np.float32)}
    original = graph.copy()
    apply(graph, feeds, rank=1)
    assert_same(graph, original, feeds)


# ---- ranks


@pytest.mark.parametrize("ratio", [0.25, 0.5, 0.75])
@pytest.mark.parametrize("method", ["channel", "spatial", "tucker", "auto"])
def test_a_ratio_is_the_share_of_the_work_that_goes(ratio: float, method: str) -> None:
    graph = convolution(pads=[1] * 4)
    before = count(graph).macs
    apply(graph, ratio=ratio, method=method, align=1)
    assert 0.75 * (1 - ratio) * before <= count(graph).macs <= (1 - ratio) * before


def test_energy_is_the_least_rank_that_keeps_it() -> None:
    graph = perceptron(24, 24)
    squares = np.linalg.svd(contents(graph, "w1"))[1] ** 2
    rank = int(np.searchsorted(squares.cumsum() / squares.sum(), 0.7)) + 1
    apply(graph, energy=0.7, align=1)
    assert contents(graph, "w1/0").shape == (24, rank)


def test_ranks_are_multiples_where_they_reach_them() -> None:
    graph = perceptron(64, 64)
    apply(graph, ratio=0.3)
    assert contents(graph, "w1/0").shape == (64, 16)


def test_what_saves_nothing_is_left_alone() -> None:
    graph = perceptron(24, 24)
    before = graph.to_proto()
    result = apply(graph, rank=20)
    assert (result.changed, graph.to_proto()) == (False, before)
    assert "would save no multiply-accumulates" in result.skipped[0].why


def test_auto_loses_no_more_than_any_form() -> None:
    losses = {}
    for method in ("auto", "channel", "spatial", "tucker"):
        losses[method] = apply(convolution(), ratio=0.5, method=method, align=1).summary["mean_loss"]
    assert losses["auto"] == min(losses.values())


# ---- what stays as it is


def test_layers_that_share_a_weight_go_on_sharing() -> None:
    model = Build(opset=17)
    weight = model.tensor(model.rng.standard_normal((12, 12, 3, 3)).astype(np.float32), "w")
    x = model.input("n", 12, 9, 9)
    for stride in (1, 2):
        x = model.node("Conv", x, weight, strides=[stride, stride], pads=[1] * 4)
    model.output(x)
    graph = model.graph()
    feeds, original = inputs(graph), graph.copy()
    apply(graph, feeds, energy=1.0, method="spatial", always=True)
    assert operators(graph) == ["Conv"] * 4
    assert len({value.name for node in graph.nodes for value in [node.input(1)] if value}) == 2
    assert_same(graph, original, feeds)


def test_a_weight_with_other_readers_is_left_alone() -> None:
    model = Build(opset=17)
    x, weight = model.input("n", 12), model.weight(12, 12)
    model.output(model.node("MatMul", model.node("Gemm", x, weight), model.node("Relu", weight)))
    result = apply(model.graph(), rank=2)
    assert not result.changed
    assert any("its weight is also read by" in skip.why for skip in result.skipped)


def test_names_and_outputs_stay() -> None:
    graph = perceptron(16, 16, 16)
    before = {node.output().name: node.name for node in graph.nodes}
    apply(graph, rank=2)
    assert before.items() <= {node.output().name: node.name for node in graph.nodes}.items()


def test_a_second_run_factorizes_the_factors() -> None:
    graph = perceptron(64, 64)
    apply(graph, ratio=0.3)
    assert apply(graph, rank=4).summary["layers"] == 2


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_factors_are_of_the_weight_s_type(dtype: Any) -> None:
    model = Build(opset=17)
    elem_type = graphopt.ir.ArrayTensor(np.zeros(1, dtype)).elem_type
    x = model.input("n", 16, elem_type=elem_type)
    model.output(model.node("MatMul", x, model.weight(16, 16, dtype=dtype)), elem_type=elem_type)
    graph = model.graph()
    apply(graph, rank=4)
    ir.verify(graph)
    assert {value.tensor.numpy().dtype for value in graph.initializers if value.tensor} == {np.dtype(dtype)}


def test_initializers_of_old_files_stay_constants() -> None:
    model = Build(opset=9, ir_version=3)
    model.output(model.node("MatMul", model.input("n", 16), model.weight(16, 16)))
    proto = model.proto()
    proto.graph.input.append(onnx.helper.make_tensor_value_info("w1", onnx.TensorProto.FLOAT, [16, 16]))
    proto.graph.output[0].CopyFrom(onnx.helper.make_tensor_value_info("v1", onnx.TensorProto.FLOAT, ["n", 16]))
    graph = ir.Graph.from_proto(proto)
    apply(graph, rank=4)
    ir.verify(graph)
    assert operators(graph) == ["Constant", "MatMul", "MatMul"]


@pytest.mark.parametrize("with_data", [False, True])
def test_layers_inside_subgraphs_and_functions(with_data: bool) -> None:
    """A branch's own weights are factorized there, without moments; a function's body is put in the place of its call."""
    helper, floats = onnx.helper, onnx.TensorProto.FLOAT
    rng = np.random.default_rng(0)
    weights = {
        name: onnx.numpy_helper.from_array(rng.standard_normal((16, 16)).astype(np.float32), name) for name in ("w", "inner", "outer")
    }

    def branch(name: str, weight: str, own: list[onnx.TensorProto]) -> onnx.GraphProto:
        node = helper.make_node("MatMul", ["x", weight], [name], f"{name}.product")
        return helper.make_graph([node], name, [], [helper.make_tensor_value_info(name, floats, ["n", 16])], own)

    then, other = branch("t", "inner", [weights["inner"]]), branch("e", "outer", [])
    nodes = [
        helper.make_node("If", ["c"], ["h"], then_branch=then, else_branch=other),
        helper.make_node("Twice", ["h", "w"], ["y"], domain="own"),
    ]
    body = [helper.make_node("MatMul", ["a", "b"], ["p"]), helper.make_node("Add", ["p", "p"], ["q"])]
    function = helper.make_function("own", "Twice", ["a", "b"], ["q"], body, [helper.make_opsetid("", 17)])
    given = [helper.make_tensor_value_info("x", floats, ["n", 16]), helper.make_tensor_value_info("c", onnx.TensorProto.BOOL, [])]
    graph_proto = helper.make_graph(
        nodes, "g", given, [helper.make_tensor_value_info("y", floats, ["n", 16])], [weights["w"], weights["outer"]]
    )
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    graph = ir.Graph.from_proto(helper.make_model(graph_proto, ir_version=10, opset_imports=imports, functions=[function]))
    original = graph.copy()
    feeds = {"x": rng.standard_normal((5, 16)).astype(np.float32), "c": np.array(True)}
    result = apply(graph, feeds if with_data else None, rank=16, always=True)
    assert result.summary["layers"] == 2
    assert [skip.why for skip in result.skipped] == ["its weight is also known in another graph, around it or inside"]
    assert_same(graph, original, feeds)


# ---- layers and ignore


@pytest.mark.parametrize(("pattern", "changed"), [("n1", [True, False]), ("w2", [False, True]), ("v*", [True, True])])
def test_layers_are_chosen_by_node_weight_or_output(pattern: str, changed: list[bool]) -> None:
    graph = perceptron(16, 16, 16)
    apply(graph, rank=2, layers=(pattern,))
    assert [graph.has_value(f"w{i}/0") for i in (1, 2)] == changed


def test_what_is_ignored_stays() -> None:
    graph = perceptron(16, 16, 16)
    result = apply(graph, rank=2, ignore=("w1",))
    assert [graph.has_value(f"w{i}/0") for i in (1, 2)] == [False, True]
    assert [skip.why for skip in result.skipped] == ["ignored, as asked"]


def test_a_bisection_stops_between_layers() -> None:
    graph = perceptron(16, 16, 16)
    Factorize(rank=2).apply(graph, Context(instruments=(StopAfter(1),)))
    assert operators(graph) == ["Gemm", "Gemm", "MatMul"]


# ---- errors


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"rank": 2, "ratio": 0.5}, "one of rank, ratio, energy"),
        ({"rank": 99}, "above the full rank of every layer; the largest is 16"),
        ({"rank": 15, "layers": ("n1",)}, "'n1' .* was asked for, but rank 15 of 16 would save no"),
        ({"rank": 2, "layers": ("nobody",)}, "'nobody' names no"),
        ({"rank": 2, "ignore": ("nob*",)}, r"'nob\*' names no"),
    ],
)
def test_what_cannot_be_done_is_an_error(options: dict[str, Any], said: str) -> None:
    with pytest.raises(PassParameterError, match=said):
        apply(perceptron(16, 16, 16), **options)


def test_a_node_that_is_no_layer_named_explicitly_is_an_error() -> None:
    model = Build(opset=17)
    model.output(model.node("Relu", model.node("Gemm", model.input("n", 16), model.weight(16, 16)), name="relu"))
    with pytest.raises(PassParameterError, match=r"'relu' \(Relu\) was asked for, but it is no Conv, Gemm or MatMul"):
        apply(model.graph(), rank=2, layers=("relu",))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"x1": np.full((4, 16), np.nan, np.float32)}, "'x1' holds NaN"),
        ({"x1": np.zeros((4, 15), np.float32)}, "'x1' must have shape"),
        ({"y": np.zeros((4, 16), np.float32)}, "no array for input 'x1'"),
    ],
)
def test_data_that_does_not_fit_is_an_error(data: dict[str, np.ndarray], said: str) -> None:
    with pytest.raises(DataError, match=said):
        apply(perceptron(16, 16), data, rank=2)
