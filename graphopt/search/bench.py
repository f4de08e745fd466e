"""Judging models on this machine: how fast they are beside the original, and how good."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import onnxruntime as ort

from graphopt.errors import DataError
from graphopt.ir import Graph
from graphopt.quality import Data, Latency, Metric, fitted, fitted_arrays, measure, run, session
from graphopt.quality.arrays import AnyArray


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
    """This machine with ONNX Runtime. `original` is an open session with as many threads; `data` is what quality is measured on, `feeds` the
    inputs of a run that is timed, by default the first `batch` samples.
    """

    def __init__(
        self,
        original: ort.InferenceSession,
        data: Data,
        metric: Metric,
        *,
        threads: int,
        batch: int = 1,
        feeds: Mapping[str, AnyArray] | None = None,
    ) -> None:
        self._original, self._data, self._metric, self._threads = original, data, metric, threads
        self._feeds = data.one_run(batch) if feeds is None else feeds
        self._sample = next(data.runs())
        outputs = run(original, self._sample)
        self._finite = {name for name, array in outputs.items() if array.dtype.kind == "f" and np.isfinite(array).all()}
        self._session = lru_cache(maxsize=4)(self._open)  # a model is timed and scored soon after it was made, or not again

    def time(self, graphs: Sequence[Graph], effort: Effort) -> list[Timing]:
        """The latency of each graph; the original and all of them take turns."""
        sessions = [self._original, *(self._session(graph) for graph in graphs)]
        feeds = [fitted_arrays(self._feeds, opened) for opened in sessions]
        original, *others = measure(
            sessions, feeds, self._threads, min_repeats=effort.min_repeats, max_seconds=effort.max_seconds, precision=effort.precision
        )
        return [Timing(original, latency) for latency in others]

    def quality(self, graph: Graph) -> float:
        """The metric of a model. Raises DataError where its outputs are no numbers although the original's are."""
        opened = self._session(graph)
        self._check_finite(opened)
        return self._metric(opened, fitted(self._data, opened))

    def _check_finite(self, opened: ort.InferenceSession) -> None:
        for name, array in run(opened, fitted_arrays(self._sample, opened)).items():
            if array.dtype.kind == "f" and name in self._finite and not np.isfinite(array).all():
                raise DataError(f"output {name!r} of the model is not finite numbers everywhere, although the original's is")

    def _open(self, graph: Graph) -> Any:
        return session(graph, self._threads)
