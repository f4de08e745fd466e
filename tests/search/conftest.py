from __future__ import annotations

from functools import cache, partial

import pytest

import graphopt
from graphopt.cost import Predictor, Target, find_target


@cache
def _cpu() -> Predictor:
    return Predictor(find_target("cpu"))


@pytest.fixture(autouse=True)
def one_predictor(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table of this machine is read once, and not by every search of a test."""

    def found(name: str) -> Target:
        return _cpu().target if name == "cpu" else find_target(name)

    def predictor(target: Target) -> Predictor:
        return _cpu() if target is _cpu().target else Predictor(target)

    monkeypatch.setattr("graphopt.search.setup.find_target", found)
    monkeypatch.setattr("graphopt.search.setup.Predictor", predictor)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """One pass, and two trials of it."""
    monkeypatch.setattr("graphopt.search.job.compressing_passes", lambda registry: ("prune-channels",))
    monkeypatch.setattr("graphopt.optimize", partial(graphopt.optimize, trials=2))
