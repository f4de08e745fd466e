"""Times from tables against predictions of the subnets that are really extracted."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphopt.cost import Predictor, find_target
from graphopt.supernet import SubnetScores, Transforms, parse_family, parse_generic, space_of

from .test_families import FAMILIES, supernet
from .test_space import example, rows

TARGETS = ("cpu", "jetson-nano")  # a runtime with a blocked layout, whose conversions depend on neighbours, and one without
GENERIC = ("hat_encoder", "matformer")


@functools.cache
def predictor(target: str) -> Predictor:
    return Predictor(find_target(target))


@functools.cache
def scores(name: str, target: str) -> SubnetScores:
    if name in GENERIC:
        graph, document = example(name)
        described = parse_generic(document)
        return SubnetScores(graph, described, space_of(graph, described), predictor(target))
    graph, made = supernet(name, "folded")
    family = parse_family(made.document)
    return SubnetScores(graph, family, space_of(graph, family, (48, 64)), predictor(target), Transforms(made.transforms))


def predicted(found: SubnetScores, row: Any, target: str) -> float:
    """What the extracted subnet is predicted to take, kernel by kernel."""
    kernels = predictor(target).kernels(found.subnet(row)[0])
    return predictor(target).latency([kernel.signature for kernel in kernels]).ms


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", [*FAMILIES, "hat_encoder"])
@settings(max_examples=6, deadline=None)
@given(data=st.data())
def test_the_table_is_the_prediction_of_the_extracted_subnet(name: str, target: str, data: st.DataObject) -> None:
    found = scores(name, target)
    row = data.draw(rows(found.space))
    others = found.space.sample(np.random.default_rng(0), 3)
    ms = found.ms(np.concatenate([others, row[None]]))
    assert ms[-1] == pytest.approx(predicted(found, row, target), rel=1e-3)


@pytest.mark.parametrize("name", GENERIC)
def test_filled_tables_need_no_more_subnets(name: str) -> None:
    """A few subnets fill the tables of many, and thousands more are looked up in them."""
    graph, document = example(name)
    described = parse_generic(document)
    found = SubnetScores(graph, described, space_of(graph, described), predictor("jetson-nano"))
    found.fill()
    made = found.extracted
    assert made < 60
    drawn = found.space.sample(np.random.default_rng(1), 5000)
    ms = found.ms(drawn)
    assert found.extracted <= made + 5
    for row, time in list(zip(drawn, ms, strict=True))[:5]:
        assert time == pytest.approx(predicted(found, row, "jetson-nano"), rel=1e-6)


def test_what_a_block_depends_on_is_found_out() -> None:
    """Nobody says that ResNet's blocks depend on the width that reaches them, or an encoder's layers on the embedding."""
    found = scores("hat_encoder", "jetson-nano")
    found.fill()
    names = [{found.space.sites[site].name for site in table.sites} for table in found._tables]
    assert {"embed", "ffn[1]", "heads[1]"} in names
    assert all("layers" not in each for each in names)


def test_larger_inputs_take_longer() -> None:
    found = scores("ofa_mbv3", "jetson-nano")
    size = next(number for number, site in enumerate(found.space.sites) if site.name == "image_size")
    smaller = found.space.largest.copy()
    smaller[size] = 0
    small, large = found.ms(np.stack([smaller, found.space.largest]))
    assert small < large


def test_free_dimensions() -> None:
    graph, document = example("hat_encoder")
    described = parse_generic(document)
    space = space_of(graph, described)
    one, many = (SubnetScores(graph, described, space, predictor("jetson-nano"), sizes={"batch": batch}) for batch in (1, 32))
    assert one.ms(space.largest[None])[0] < many.ms(space.largest[None])[0]
    assert one.ms(space.largest[None])[0] == pytest.approx(scores("hat_encoder", "jetson-nano").ms(space.largest[None])[0])


def test_the_graph_stays_as_it_is() -> None:
    graph, document = example("matformer")
    version = graph.version
    described = parse_generic(document)
    SubnetScores(graph, described, space_of(graph, described), predictor("jetson-nano")).ms(np.zeros((1, 5), np.intp))
    assert graph.version == version
