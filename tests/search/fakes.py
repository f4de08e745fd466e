"""A bench and a target that compute instead of measuring, so that searches are the same every time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from graphopt.cost import Predictor, Target, count, find_target
from graphopt.ir import Graph
from graphopt.quality import Latency
from graphopt.search import Effort, Timing

from ..cost import staircase


def latency(ms: float, noise: float = 0.0, repeats: int = 100) -> Latency:
    return Latency(ms, ms * (1 - noise / 2), ms * (1 + noise / 2), repeats, 2)


class FakeBench:
    """Latency is a function of the MACs, quality one of the share of them that is left. `timed` and `scored` count the calls."""

    def __init__(
        self,
        original: Graph,
        milliseconds: Callable[[int], float] = lambda macs: macs / 1e6,
        quality: Callable[[float], float] = lambda share: share,
        noise: float = 0.0,
    ) -> None:
        self.macs = count(original).macs
        self._milliseconds, self._quality, self._noise = milliseconds, quality, noise
        self.timed: list[tuple[int, Effort]] = []
        self.scored = 0

    def time(self, graphs: Sequence[Graph], effort: Effort) -> list[Timing]:
        original = latency(self._milliseconds(self.macs), self._noise)
        found = []
        for graph in graphs:
            macs = count(graph).macs
            self.timed.append((macs, effort))
            found.append(Timing(original, latency(self._milliseconds(macs), self._noise)))
        return found

    def quality(self, graph: Graph) -> float:
        self.scored += 1
        return self._quality(count(graph).macs / self.macs)


def fake_cpu(**settings: Any) -> Callable[..., FakeBench]:
    """In the place of CpuBench: the same arguments, but the model is not run."""

    def make(original: Any, data: Any, metric: Any, *, threads: int, feeds: Any = None) -> FakeBench:
        return FakeBench(settings["graph"], **{name: value for name, value in settings.items() if name != "graph"})

    return make


def computed_target(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the place of the target `cpu`, for searches and `graphopt run`: one whose kernels cost what a formula says. It is made once, and not by every search."""

    def found(name: str) -> Target:
        return staircase.target() if name == "cpu" else find_target(name)

    def predictor(target: Target) -> Predictor:
        return staircase.predictor() if target is staircase.target() else Predictor(target)

    for module in ("graphopt.search.setup", "graphopt.cli.run"):  # what a search finds is made again by `graphopt run`
        monkeypatch.setattr(f"{module}.find_target", found)
        monkeypatch.setattr(f"{module}.Predictor", predictor)
