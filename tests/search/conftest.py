from __future__ import annotations

from functools import partial

import pytest

import graphopt

from .fakes import computed_target


@pytest.fixture(autouse=True)
def own_target(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the target that ships says of a small model is not the matter here."""
    computed_target(monkeypatch)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """One pass, and two trials of it."""
    monkeypatch.setattr("graphopt.search.job.compressing_passes", lambda registry: ("prune-channels",))
    monkeypatch.setattr("graphopt.optimize", partial(graphopt.optimize, trials=2))
