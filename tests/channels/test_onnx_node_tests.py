"""Masked equality around the nodes of ONNX's own tests: the attribute variety that a rule has to face."""

from __future__ import annotations

import itertools
import zlib

import numpy as np
import pytest

from tests.channels.masked import UnfitModelError, assert_masked_equal, least_keep
from tests.channels.nodes import node_tests, surrounded
from tests.channels.surround import AFTER, BEFORE


def check(name: str, before: str, after: str) -> bool | None:
    """Whether something was cut; None where ONNX Runtime cannot run the original."""
    seed = zlib.crc32(f"{name} {before} {after}".encode())
    graph, feeds = surrounded(node_tests()[name], before, after, seed)
    try:
        cut = assert_masked_equal(graph, np.random.default_rng(seed), feeds=feeds)
        assert_masked_equal(graph, np.random.default_rng(seed), feeds=feeds, keep=least_keep)
        assert_masked_equal(graph, np.random.default_rng(seed), feeds=feeds, include_inexact=True)
    except UnfitModelError:
        return None
    except Exception as error:
        raise AssertionError(f"{name}, {before}, {after}: {error}") from error
    return bool(cut.kept)


@pytest.mark.parametrize("op_type", sorted({test.operator[1] for test in node_tests().values()}))
def test_a_cut_around_the_node_equals_its_masked_original(op_type: str) -> None:
    """One of the surroundings for each node test of the operator, all of them in the slow version."""
    names = [name for name, test in node_tests().items() if test.operator[1] == op_type]
    surroundings = list(itertools.product(BEFORE, AFTER))
    for number, name in enumerate(names):
        check(name, *surroundings[number % len(surroundings)])


@pytest.mark.slow
@pytest.mark.parametrize("op_type", sorted({test.operator[1] for test in node_tests().values()}))
def test_a_cut_around_the_node_equals_its_masked_original_in_every_surrounding(op_type: str) -> None:
    for name, test in node_tests().items():
        if test.operator[1] == op_type:
            for before, after in itertools.product(BEFORE, AFTER):
                check(name, before, after)


def test_the_material_is_not_empty() -> None:
    """Something is cut exactly around most of the operators that ONNX Runtime runs."""
    results = {name: check(name, "weights", "weighted") for name in list(node_tests())[::10]}
    ran = [cut for cut in results.values() if cut is not None]
    assert len(ran) > 0.6 * len(results)
    assert sum(ran) > 0.6 * len(ran)
