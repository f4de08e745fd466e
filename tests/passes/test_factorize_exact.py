"""factorize is exact at full rank and where the weight has the rank asked for: every form, over all that a layer may state."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphopt.ir as ir
from graphopt.cost import count
from graphopt.passes.factorize import Factorize
from graphopt.pipeline import Context
from tests.channels.build import Build
from tests.channels.masked import contents
from tests.passes.factorized import assert_same, convolutions, inputs, operators, outputs


def at_full_rank(graph: ir.Graph, data: dict[str, np.ndarray] | None = None, **options: Any) -> int:
    """Factorize at full rank, wherever that is possible; how many layers were."""
    result = Factorize(energy=1.0, align=1, always=True, **options).apply(graph, Context(data=data))
    return int(result.summary["layers"])


@settings(max_examples=120, deadline=None)
@given(convolutions(), st.sampled_from(("channel", "spatial", "tucker", "auto")), st.booleans())
def test_convolutions_at_full_rank(graph: ir.Graph, method: str, with_data: bool) -> None:
    original, feeds = graph.copy(), inputs(graph)
    at_full_rank(graph, feeds if with_data else None, method=method)
    assert_same(graph, original, feeds)


@settings(max_examples=120, deadline=None)
@given(convolutions(), st.sampled_from(("channel", "spatial", "tucker")), st.integers(1, 3))
def test_truncated_convolutions_lose_what_the_formula_says(graph: ir.Graph, method: str, rank: int) -> None:
    """A lone layer's outputs are the model's, so what is reported can be measured; the bias makes good for the mean."""
    original, feeds = graph.copy(), inputs(graph, 8)
    weight = contents(graph, "w1")
    full = min(len(weight) // int(graph.nodes[0].attributes.get("group", 1)), weight[0].size)
    result = Factorize(rank=min(rank, full), method=method, align=1, always=True).apply(graph, Context(data=feeds))
    ir.verify(graph)
    places = tuple(axis for axis in range(outputs(original, feeds).ndim) if axis != 1)
    wanted = outputs(original, feeds).astype(np.float64)
    lost = np.square(outputs(graph, feeds) - wanted).mean(axis=places).sum() / wanted.var(axis=places).sum()
    assert result.summary["mean_loss"] == pytest.approx(lost, rel=1e-4, abs=2e-6)


@pytest.mark.parametrize(("method", "nodes"), [("channel", 2), ("spatial", 2), ("tucker", 3)])
@pytest.mark.parametrize("axes", [2, 3])
def test_each_form_is_taken(method: str, nodes: int, axes: int) -> None:
    model = Build(opset=17)
    x = model.input("batch", 6, *[7] * axes)
    weight = model.weight(8, 3, *[3] * axes)
    model.output(model.node("Conv", x, weight, group=2, strides=[1, 2, 2][:axes], pads=[1, 0, 2][:axes] + [0, 2, 1][:axes]))
    graph = model.graph()
    original = graph.copy()
    assert at_full_rank(graph, method=method) == 1
    assert operators(graph) == ["Conv"] * nodes
    assert_same(graph, original, inputs(graph))


def product(operator: str, slot: int, x: tuple[int | str, ...], weight: tuple[int, ...], opset: int = 17, **attributes: Any) -> ir.Graph:
    model = Build(opset=opset)
    source, constant = model.input(*x), model.weight(*weight)
    third = [model.tensor(model.rng.standard_normal(attributes.pop("bias")).astype(np.float32), "b")] if "bias" in attributes else []
    model.output(model.node(operator, *([source, constant] if slot else [constant, source]), *third, **attributes))
    return model.graph()


PRODUCTS = {
    "gemm": ("Gemm", 1, ("n", 6), (6, 5), {}),
    "gemm, both transposed": ("Gemm", 1, (6, "n"), (5, 6), {"transA": 1, "transB": 1, "alpha": 0.5, "beta": 2.0, "bias": (5,)}),
    "gemm, matrix bias": ("Gemm", 1, (4, 6), (6, 5), {"bias": (4, 5)}),
    "gemm, scalar bias": ("Gemm", 1, (4, 6), (6, 5), {"bias": (1,)}),
    "gemm, row bias": ("Gemm", 1, (4, 6), (6, 5), {"bias": (1, 5), "beta": 0.0}),
    "gemm of opset 9": ("Gemm", 1, (4, 6), (6, 5), {"bias": (5,), "opset": 9}),
    "gemm, constant on the left": ("Gemm", 0, (6, 4), (5, 6), {"bias": (5, 1), "alpha": 2.0}),
    "gemm, constant on the left, transposed": ("Gemm", 0, (4, 6), (6, 5), {"transA": 1, "transB": 1, "bias": (5, 4)}),
    "matmul": ("MatMul", 1, ("n", 6), (6, 5), {}),
    "matmul of 4 axes": ("MatMul", 1, ("n", 2, 3, 6), (6, 5), {}),
    "matmul of a vector": ("MatMul", 1, (6,), (6, 5), {}),
    "matmul, constant on the left": ("MatMul", 0, (6, 4), (5, 6), {}),
    "matmul of 3 axes, constant on the left": ("MatMul", 0, ("n", 6, 4), (5, 6), {}),
    "matmul by a vector, constant on the left": ("MatMul", 0, (6,), (5, 6), {}),
    "matmul by a stack": ("MatMul", 1, ("n", 3, 4, 6), (3, 6, 5), {}),
    "matmul by a stack, broadcast": ("MatMul", 1, (1, 1, 4, 6), (2, 3, 6, 5), {}),
    "matmul, stack on the left": ("MatMul", 0, ("n", 3, 6, 4), (3, 5, 6), {}),
}


@pytest.mark.parametrize("with_data", [False, True])
@pytest.mark.parametrize("case", PRODUCTS.values(), ids=PRODUCTS.keys())
def test_products_at_full_rank(case: tuple[str, int, Any, Any, dict[str, Any]], with_data: bool) -> None:
    operator, slot, x, weight, attributes = case
    graph = product(operator, slot, x, weight, **attributes)
    original, feeds = graph.copy(), inputs(graph)
    assert at_full_rank(graph, feeds if with_data else None) == 1
    assert operators(graph) == [operator] * 2
    assert_same(graph, original, feeds)


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(("channel", "spatial", "tucker")), st.integers(1, 3), st.booleans(), st.integers(0, 99))
def test_a_weight_of_the_rank_asked_for_loses_nothing_but_work(method: str, rank: int, with_data: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    outs, ins = rng.standard_normal((16, rank)), rng.standard_normal((rank, 12))
    match method:
        case "channel":
            weight = np.einsum("or,rchw->ochw", outs, rng.standard_normal((rank, 12, 3, 3)))
        case "spatial":
            weight = np.einsum("orw,rch->ochw", rng.standard_normal((16, rank, 3)), rng.standard_normal((rank, 12, 3)))
        case _:
            weight = np.einsum("or,rshw,sc->ochw", outs, rng.standard_normal((rank, rank, 3, 3)), ins)
    model = Build(opset=17)
    model.output(model.node("Conv", model.input("n", 12, 9, 9), model.tensor(weight.astype(np.float32), "w"), strides=[2, 1], pads=[1] * 4))
    graph = model.graph()
    original, feeds = graph.copy(), inputs(graph)
    result = Factorize(rank=rank, method=method).apply(graph, Context(data=feeds if with_data else None))
    assert result.summary["mean_loss"] == 0
    assert count(graph).macs < count(original).macs
    assert_same(graph, original, feeds)
