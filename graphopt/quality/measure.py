"""Latency of models on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnxruntime as ort

from graphopt.quality.arrays import AnyArray
from graphopt.quality.runtime import Model, run, session
from graphopt.quality.threads import default_threads

_WARM_UP = 3  # runs of each model before any is timed: the first ones allocate memory and wake threads
_MIN_SECONDS = 0.3  # a pause of the machine must not be able to fall on most of the runs of a fast model


@dataclass(frozen=True)
class Latency:
    """Milliseconds per run: the median of `repeats` runs, with the lower and upper quartile."""

    median_ms: float
    low_ms: float
    high_ms: float
    repeats: int
    threads: int

    @property
    def noise(self) -> float:
        """The distance of the quartiles relative to the median: a difference well below it means nothing."""
        return (self.high_ms - self.low_ms) / self.median_ms if self.median_ms else 0.0


def measure(
    models: Sequence[Model | ort.InferenceSession],
    feeds: Mapping[str, AnyArray] | Sequence[Mapping[str, AnyArray]],
    threads: int | None = None,
    min_repeats: int = 20,
    max_seconds: float = 10.0,
    precision: float = 0.01,
) -> list[Latency]:
    """The latency of each model on the same inputs, or each on its own in a list, with `threads` threads (all processors by default).

    The models take turns, in the opposite order every other round, so that what else the machine does falls on all of them alike. At least
    `min_repeats` rounds are made. They go on until every median is known to within `precision` (two standard errors, relative) and 0.3 s
    have passed, or until `max_seconds` have passed. Sessions that are passed in must have been opened with `threads` threads. Raises
    RuntimeRefusedError.
    """
    threads = threads or default_threads()
    sessions = [model if isinstance(model, ort.InferenceSession) else session(model, threads) for model in models]
    inputs = [dict(given) for given in ([feeds] * len(sessions) if isinstance(feeds, Mapping) else feeds)]
    for opened, given in zip(sessions, inputs, strict=True):
        for _ in range(_WARM_UP):
            run(opened, given)
    runs = [lambda opened=opened, given=given: opened.run(None, given) for opened, given in zip(sessions, inputs, strict=True)]
    return [summary(times, threads) for times in take_turns(runs, min_repeats, max_seconds, precision)]


def take_turns(
    runs: Sequence[Callable[[], object]],
    min_repeats: int,
    max_seconds: float,
    precision: float,
    clock: Callable[[], float] = time.perf_counter,
) -> list[list[float]]:
    """Seconds of every call of each function, called in turns as `measure` says."""
    times: list[list[float]] = [[] for _ in runs]
    started = clock()
    rounds, next_look = 0, max(min_repeats, 1)
    while runs:
        for place in range(len(runs)) if rounds % 2 == 0 else reversed(range(len(runs))):
            before = clock()
            runs[place]()
            times[place].append(clock() - before)
        rounds += 1
        passed = clock() - started
        if rounds >= min_repeats and passed >= max_seconds:
            break
        if rounds >= next_look and passed >= _MIN_SECONDS:
            if all(_error_of_median(t) <= precision for t in times):
                break
            next_look = rounds + max(rounds // 2, 1)  # looking costs time too, the more the longer the lists are
    return times


def _error_of_median(times: Sequence[float]) -> float:
    """Two standard errors of the median, relative to it, estimated from the quartiles as for normally distributed noise."""
    low, median, high = np.percentile(times, [25, 50, 75])
    return float(2 * 1.2533 * (high - low) / 1.349 / np.sqrt(len(times)) / median) if median > 0 else 0.0


def summary(times: Sequence[float], threads: int) -> Latency:
    """The latency that the seconds of at least one run amount to."""
    low, median, high = np.percentile(np.asarray(times) * 1000, [25, 50, 75])
    return Latency(float(median), float(low), float(high), len(times), threads)
