"""Random models, random cuts, masked equality."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.channels.limits import time_limit
from tests.channels.masked import assert_masked_equal, least_keep
from tests.channels.random_blocks import BLOCKS
from tests.channels.random_models import RandomModel

_SETTINGS = settings(
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink),
    print_blob=True,
)


def grow(data: st.DataObject, steps: int) -> RandomModel:
    def choose(alternatives):  # type: ignore[no-untyped-def]
        return alternatives[data.draw(st.integers(0, len(alternatives) - 1))]

    ir_version = choose([8, 8, 3])
    model = RandomModel(choose, ir_version=ir_version, dynamic=choose([False, True]))
    model.start(choose(["image", "tokens", "vector"]))
    for _ in range(steps):
        model.grow(BLOCKS)
    model.finish()
    return model


def check(data: st.DataObject, steps: int) -> None:
    graph = grow(data, steps).graph()
    with time_limit(30):
        for keep in (None, least_keep):
            assert_masked_equal(graph, np.random.default_rng(0), keep=keep)
        assert_masked_equal(graph, np.random.default_rng(0), include_inexact=True)


@settings(_SETTINGS, max_examples=150)
@given(st.data(), st.integers(1, 10))
def test_a_cut_equals_its_masked_original(data: st.DataObject, steps: int) -> None:
    check(data, steps)


@pytest.mark.slow
@settings(_SETTINGS, max_examples=5000)
@given(st.data(), st.integers(1, 25))
def test_a_cut_equals_its_masked_original_in_many_larger_models(data: st.DataObject, steps: int) -> None:
    check(data, steps)
