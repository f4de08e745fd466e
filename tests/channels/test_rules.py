"""Each operator with a rule, in the ways of calling it that tables/ lists: what the analysis says of every axis, and masked equality."""

from __future__ import annotations

import itertools
import zlib

import numpy as np
import pytest

from graphopt.channels import analyse, cut, supported_operators
from tests.channels.cases import Case, case, surround, x
from tests.channels.masked import assert_masked_equal, least_keep, masked_copy, run
from tests.channels.status import status
from tests.channels.surround import AFTER, BEFORE
from tests.channels.tables import attention, elementwise, moves, products, recurrent, reductions, spatial

CASES = {case.name: case for table in (attention, elementwise, moves, products, recurrent, reductions, spatial) for case in table.CASES}
_SURROUNDINGS = list(itertools.product(BEFORE, AFTER))


def seed_of(case: Case, before: str, after: str) -> int:
    return zlib.crc32(f"{case.name} {before} {after}".encode())


def equal(case: Case, before: str, after: str) -> None:
    seed = seed_of(case, before, after)
    graph, feeds, _ = surround(case, before, after, seed)
    for more in range(2):
        assert_masked_equal(graph, np.random.default_rng(seed + more), feeds=feeds)
    assert_masked_equal(graph, np.random.default_rng(seed), feeds=feeds, keep=least_keep)
    assert_masked_equal(graph, np.random.default_rng(seed), feeds=feeds, include_inexact=True)


@pytest.mark.parametrize("name", CASES)
def test_what_the_analysis_says(name: str) -> None:
    case = CASES[name]
    for (before, after), expected in case.expected.items():
        graph, _, weights = surround(case, before, after, seed_of(case, before, after))
        analysis = analyse(graph)
        assert " ".join(status(analysis, weight) for weight in weights) == expected, (before, after)


@pytest.mark.parametrize("name", CASES)
def test_masked_equality(name: str) -> None:
    """In two of the surroundings; all in the slow version. In one of them weights follow, which are cut wrongly where outputs are."""
    place = zlib.crc32(name.encode())
    for before, after in {(BEFORE[place % len(BEFORE)], "weighted"), _SURROUNDINGS[place % len(_SURROUNDINGS)]}:
        equal(CASES[name], before, after)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_masked_equality_in_every_surrounding(name: str) -> None:
    for before, after in _SURROUNDINGS:
        equal(CASES[name], before, after)


def test_a_row_that_is_not_zero_leaves_the_columns_of_a_product_exact() -> None:
    product = case("MatMul", x(1, 4), x(4, 5))
    graph, _, weights = surround(product, "first", "summed", 0)
    analysis = analyse(graph)
    assert [status(analysis, weight) for weight in weights] == ["-e", "ee"]


def test_group_normalization_of_opset_18_has_a_scale_and_a_bias_per_group() -> None:
    """The checker has come to refuse it; ONNX Runtime takes it."""
    graph, feeds, _ = surround(case("GroupNormalization", x(2, 6, 4), x(2), x(2), num_groups=2, opset=18), "scaled", "weighted", 0)
    cut_graph = graph.copy()
    analysis = analyse(cut_graph)
    groups = next(group for group in analysis.groups if group.kind == "groups")
    kept = cut(analysis, {groups.name: [1]})
    assert {name: kept[name] for name in ("in0", "in1", "in2")} == {"in0": {"1": [3, 4, 5]}, "in1": {"0": [1]}, "in2": {"0": [1]}}
    after, masked = (run(model.to_proto(), feeds) for model in (cut_graph, masked_copy(graph, kept)))
    for name in masked:
        assert np.allclose(after[name], masked[name], rtol=1e-4)


def test_every_operator_with_a_rule_has_a_case() -> None:
    assert {(case.domain, case.op_type) for case in CASES.values()} >= set(supported_operators())


def test_names_of_cases_are_unique() -> None:
    tables = (attention, elementwise, moves, products, recurrent, reductions, spatial)
    assert len(CASES) == sum(len(table.CASES) for table in tables)
