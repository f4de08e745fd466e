"""Each operator with a rule, in the ways of calling it that tables/ lists: what the analysis says of every axis, and masked equality."""

from __future__ import annotations

import itertools
import zlib

import numpy as np
import pytest

from graphopt.channels import analyse, supported_operators
from tests.channels.cases import Case, surround
from tests.channels.masked import assert_masked_equal, least_keep
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
    """In two of the surroundings; all in the slow version."""
    place, count = zlib.crc32(name.encode()), len(_SURROUNDINGS)
    for before, after in {_SURROUNDINGS[place % count], _SURROUNDINGS[(place // count) % count]}:
        equal(CASES[name], before, after)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_masked_equality_in_every_surrounding(name: str) -> None:
    for before, after in _SURROUNDINGS:
        equal(CASES[name], before, after)


def test_every_operator_with_a_rule_has_a_case() -> None:
    assert {(case.domain, case.op_type) for case in CASES.values()} >= set(supported_operators())


def test_names_of_cases_are_unique() -> None:
    tables = (attention, elementwise, moves, products, recurrent, reductions, spatial)
    assert len(CASES) == sum(len(table.CASES) for table in tables)
