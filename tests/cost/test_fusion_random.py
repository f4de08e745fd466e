"""Kernels of random networks beside those of ONNX Runtime's own optimised graph.

The examples are the same every time, and few. After a change of the rules, or with another ONNX Runtime, look further: `RANDOM_NETWORKS=2000
python -m pytest tests/cost/test_fusion_random.py` makes so many new ones of each kind.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import given, settings

from graphopt.cost.profile import FAMILIES, random_network
from graphopt.ir import Graph

from .nets import attentive, convolutional, gated
from .oracle import assert_as_the_runtime

MANY = int(os.environ.get("RANDOM_NETWORKS", "0"))
few = settings(max_examples=MANY or 40, derandomize=not MANY, deadline=None)


@given(convolutional())
@few
def test_convolutional_networks(graph: Graph) -> None:
    assert_as_the_runtime(graph)


@given(gated())
@few
def test_gated_networks(graph: Graph) -> None:
    assert_as_the_runtime(graph)


@given(attentive())
@few
def test_attentive_networks(graph: Graph) -> None:
    assert_as_the_runtime(graph)


@pytest.mark.parametrize("family", FAMILIES)
def test_networks_of_the_generic_profile(family: str) -> None:
    assert_as_the_runtime(Graph.from_proto(random_network(family, 0)))
