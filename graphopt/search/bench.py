"""Judging models on this machine: how fast they are beside the original, and how good."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import onnxruntime as ort

from graphopt.ir import Graph
from graphopt.quality import Data, Latency, Metric, measure, session


@dataclass(frozen=True)
class Effort:
    """How long to measure: until the medians are known to `precision` (relative, two standard errors), between these bounds."""

    min_repeats: int
    max_seconds: float
    precision: float


QUICK = Effort(5, 1.5, 0.02)
SURE = Effort(10, 5.0, 0.007)
FINAL = Effort(20, 10.0, 0.004)


@dataclass(frozen=True)
class Timing:
    """A model's latency, and the original's in the same minute, taken in turns; or both as predicted, with the 90 % interval as quartiles."""

    original: Latency
    latency: Latency
    predicted: bool = False

    @property
    def speedup(self) -> float:
        return self.original.median_ms / self.latency.median_ms

    @property
    def uncertainty(self) -> float:
        """Two standard errors of the speedup, relative, estimated from the quartiles as for normally distributed noise.

        None for predictions, which come out the same every time; how far off they may be, their interval says.
        """
        if self.predicted:
            return 0.0
        return math.hypot(*(2 * 0.93 * latency.noise / math.sqrt(max(latency.repeats, 1)) for latency in (self.original, self.latency)))


class Bench(Protocol):
    """Measures and scores models. The search knows no more of a target than this."""

    def time(self, graphs: Sequence[Graph], effort: Effort) -> list[Timing]: ...

    def quality(self, graph: Graph) -> float: ...


class CpuBench:
    """This machine with ONNX Runtime. `original` is an open session with as many threads; `data` is what quality is measured on."""

    def __init__(self, original: ort.InferenceSession, data: Data, metric: Metric, *, threads: int, batch: int = 1) -> None:
        self._original, self._data, self._metric = original, data, metric
        self._feeds, self._threads = data.one_run(batch), threads
        self._session = lru_cache(maxsize=4)(self._open)  # a model is timed and scored soon after it was made, or not again

    def time(self, graphs: Sequence[Graph], effort: Effort) -> list[Timing]:
        """The latency of each graph; the original and all of them take turns."""
        sessions = [self._original, *(self._session(graph) for graph in graphs)]
        original, *others = measure(
            sessions, self._feeds, self._threads, min_repeats=effort.min_repeats, max_seconds=effort.max_seconds, precision=effort.precision
        )
        return [Timing(original, latency) for latency in others]

    def quality(self, graph: Graph) -> float:
        return self._metric(self._session(graph), self._data)

    def _open(self, graph: Graph) -> Any:
        return session(graph, self._threads)
