"""Factors are solved together: as the layer that they amount to, and as well as the closed formula says."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphopt
import graphopt.ir as ir
from graphopt.passes.factorize import Factorize
from graphopt.passes.reconstruct import Reconstruct
from graphopt.pipeline import Context
from graphopt.repair import Kept, Match, calibration, chain_from, layer_of
from graphopt.repair import outputs as model_outputs
from graphopt.repair.chain import Chain
from graphopt.repair.stream import Stream
from tests.channels.build import Build
from tests.channels.masked import contents
from tests.passes.factorized import assert_same, convolutions, inputs, operators
from tests.passes.test_factorize_exact import PRODUCTS, product


def chain_of(graph: ir.Graph, original: ir.Graph) -> Chain | None:
    return chain_from(Match(original, graph, Kept(())), layer_of(graph, graph.nodes[0]))


def assert_amounts_to(chain: Chain, graph: ir.Graph, feeds: dict[str, np.ndarray]) -> None:
    """Rows of the whole times its matrix are what ONNX Runtime says that comes out of the stages."""
    whole, output = chain.whole, graph.outputs[0]
    for found in Stream(graph, calibration(graph, feeds)).values([output]):
        x, y = feeds[whole.source.name], found[output]
        pick = np.arange(whole.count(x))
        wanted = whole.outputs(y, pick)
        bias = whole.bias(graph)
        expected = np.einsum("goi,ngi->ngo", whole.matrix, whole.rows(x, pick)) + (0 if bias is None else bias)
        np.testing.assert_allclose(expected, wanted, atol=1e-4 * np.abs(wanted).max())


@settings(max_examples=120, deadline=None)
@given(convolutions(), st.sampled_from(("channel", "spatial", "tucker")), st.integers(1, 3))
def test_a_chain_is_seen_as_the_layer_that_it_amounts_to(graph: ir.Graph, method: str, rank: int) -> None:
    original, feeds = graph.copy(), inputs(graph, 1)
    weight = contents(graph, "w1")
    full = min(len(weight) // int(graph.nodes[0].attributes.get("group", 1)), weight[0].size)
    Factorize(rank=min(rank, full), method=method, align=1, always=True).apply(graph, Context())
    chain = chain_of(graph, original)
    if len(graph.nodes) == 1:
        assert chain is None
        return
    assert chain is not None
    assert len(chain.stages) == len(graph.nodes)
    assert_amounts_to(chain, graph, feeds)
    again = chain.factors(chain.whole.matrix)
    assert [stage.weight.size for stage in again.stages] == [stage.weight.size for stage in chain.stages]
    np.testing.assert_allclose(again.matrix, chain.whole.matrix, atol=1e-6 * np.abs(chain.whole.matrix).max())


@pytest.mark.parametrize("case", PRODUCTS.values(), ids=PRODUCTS.keys())
def test_products_too(case: tuple) -> None:
    operator, slot, x, weight, attributes = case
    graph = product(operator, slot, x, weight, **attributes)
    original, feeds = graph.copy(), inputs(graph, 1)
    Factorize(rank=2, align=1, always=True).apply(graph, Context())
    chain = chain_of(graph, original)
    assert chain is not None
    assert chain.ranks == (2,)
    if chain.whole.bias(graph) is not None or graph.nodes[-1].input(2) is None:
        assert_amounts_to(chain, graph, feeds)


def related(graph: ir.Graph, samples: int) -> dict[str, np.ndarray]:
    """Inputs whose channels go together, so that the best factors for them are not those of the weights alone."""
    rng = np.random.default_rng(1)
    found = {}
    for name, array in inputs(graph, samples).items():
        mixing = rng.standard_normal((array.shape[1], array.shape[1])) * np.geomspace(1, 0.05, array.shape[1])
        found[name] = (np.tensordot(mixing, array, (1, 1)).swapaxes(0, 1) + 0.3).astype(np.float32)
    return found


def loss(graph: ir.Graph, original: ir.Graph, feeds: dict[str, np.ndarray]) -> float:
    wanted, found = (
        np.concatenate([next(iter(part.values())) for part in model_outputs(each, calibration(each, feeds))]).astype(np.float64)
        for each in (original, graph)
    )
    return float(np.square(found - wanted).sum() / np.square(wanted).sum())


def lone_convolution() -> ir.Graph:
    model = Build(opset=17)
    bias = model.tensor(model.rng.standard_normal(12).astype(np.float32), "bias")
    model.output(model.node("Conv", model.input("n", 8, 8, 8), model.weight(12, 8, 3, 3), bias, pads=[1] * 4, strides=[2, 1]))
    return model.graph()


def lone_product() -> ir.Graph:
    return product("Gemm", 1, ("n", 16), (16, 12), bias=(12,))


@pytest.mark.parametrize(
    ("net", "method", "rank", "within"),
    [
        (lone_product, "svd", 3, 1.01),
        (lone_convolution, "channel", 4, 1.01),
        (lone_convolution, "spatial", 6, 1.05),
        (lone_convolution, "tucker", 5, 1.05),
    ],
    ids=["svd", "channel", "spatial", "tucker"],
)
def test_factors_of_weights_alone_become_as_good_as_those_made_with_data(
    net: Callable[[], ir.Graph], method: str, rank: int, within: float
) -> None:
    """Which are the best that there are, by Eckart and Young, where there are two of them and one decomposition says all."""
    graph = net()
    feeds = related(graph, 400 if method == "svd" else 60)
    text = f"factorize{{rank={rank} method={method} align=1 always=true}}"
    blind, best = (graphopt.run(graph, text, data=data).graph for data in (None, feeds))
    repaired = blind.copy()
    result = Reconstruct().apply(repaired, Context(data=feeds, original=graph))
    assert result.summary["layers"] == len(blind.nodes)
    assert operators(repaired) == operators(blind)
    assert loss(repaired, graph, feeds) <= within * loss(best, graph, feeds) < 0.9 * loss(blind, graph, feeds)


def test_factors_that_are_read_twice_or_biased_are_no_chain() -> None:
    graph = lone_convolution()
    blind = graphopt.run(graph, "factorize{rank=4 method=channel align=1 always=true}").graph
    assert chain_of(blind, graph) is not None
    biased = blind.copy()
    biased.set_input(biased.nodes[0], 2, biased.add_initializer("shift", np.ones(4, np.float32)))
    assert chain_of(biased, graph) is None
    read = blind.copy()
    read.add_node("Relu", [read.nodes[0].output()], ["seen"])
    assert chain_of(read, graph) is None


def test_exact_factors_stay_as_they_are() -> None:
    graph = lone_convolution()
    feeds = related(graph, 20)
    run = graphopt.run(graph, "factorize{energy=1.0 method=tucker align=1 always=true},reconstruct", data=feeds)
    assert_same(run.graph, graph, feeds)
