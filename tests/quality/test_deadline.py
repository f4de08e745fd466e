"""Giving up: nothing is given up without a time, and the nearer of two times counts."""

from __future__ import annotations

import math
import time

import pytest

from graphopt.errors import OutOfTimeError
from graphopt.passes.prune_channels import PruneChannels
from graphopt.pipeline import Context
from graphopt.quality import check_time, run, session, until
from tests.passes.factorized import inputs
from tests.passes.small_nets import resnet


def test_only_what_is_past_its_time_is_given_up() -> None:
    check_time()
    with until(time.monotonic() + 1000):
        check_time()
        with until(time.monotonic() - 1), until(math.inf), pytest.raises(OutOfTimeError):
            check_time()
        check_time()
    check_time()


def test_runs_of_models_and_plans_of_passes_are_given_up() -> None:
    graph = resnet()
    data = inputs(graph, 4)
    opened = session(graph, 1)
    with until(time.monotonic() - 1):
        with pytest.raises(OutOfTimeError):
            run(opened, data)
        with pytest.raises(OutOfTimeError):
            PruneChannels(to="0.7x-macs").apply(graph.copy(), Context(data=data))
    run(opened, data)


def test_what_is_done_in_time_is_the_same() -> None:
    made = []
    for ends in (math.inf, time.monotonic() + 1000):
        graph = resnet()
        with until(ends):
            PruneChannels(to="0.7x-macs").apply(graph, Context(data=inputs(graph, 4)))
        made.append(graph.to_proto().SerializeToString(deterministic=True))
    assert made[0] == made[1]
