"""Times that hold on a busy machine.

With one thread a run is computed by the calling thread, whose processor time is known. A run is clean if wall-clock time and processor time
agree, so that nothing else ran in between; the tenth percentile of the clean runs is the same on a busy machine as on a quiet one, where a
median of wall-clock times is 5 to 50 % off. With several threads, or on another device than the processor, the processor time of the
calling thread says nothing: then it is the tenth percentile of wall-clock times, which a busy machine does disturb.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

Run = tuple[float, float]  # seconds of wall-clock time and of the thread's processor time

_SLACK = 40e-6  # seconds between both that reading the clocks may take
_SLACK_SHARE = 0.01
_PERCENTILE = 10
_ENOUGH_CLEAN = 10  # below, the percentile of the few clean runs is worth less than that of processor times


@dataclass(frozen=True)
class Timing:
    """Milliseconds per run, how far the runs spread (the quartiles' distance relative to it), and how many there were, clean ones apart."""

    ms: float
    spread: float
    runs: int
    clean: int


def timed(call: Callable[[], object]) -> Run:
    """One call."""
    cpu, wall = time.thread_time(), time.perf_counter()
    call()
    wall_end, cpu_end = time.perf_counter(), time.thread_time()
    return wall_end - wall, cpu_end - cpu


def is_clean(run: Run) -> bool:
    """Whether nothing else ran on the processor meanwhile."""
    wall, cpu = run
    return wall - cpu < max(_SLACK, _SLACK_SHARE * wall)


def timing(runs: Sequence[Run], own_thread: bool = True, enough: int = _ENOUGH_CLEAN) -> Timing:
    """What at least one run amounts to; `own_thread`: the calling thread computes, and alone."""
    clean = [wall for wall, cpu in runs if is_clean((wall, cpu))]
    if not own_thread:
        seconds = [wall for wall, _ in runs]
    elif len(clean) >= min(enough, len(runs)):
        seconds = clean
    else:
        seconds = [min(cpu, wall) for wall, cpu in runs]
    low, first, third = np.percentile(seconds, [_PERCENTILE, 25, 75])
    return Timing(float(low) * 1000, float((third - first) / low) if low > 0 else 0.0, len(runs), len(clean))


def repeat(call: Callable[[], object], seconds: float, least: int, most: int, own_thread: bool = True) -> list[Run]:
    """Calls after one to warm up: until `most` clean ones, or until `seconds` have passed and `least` were made."""
    call()
    runs: list[Run] = []
    clean = 0
    end = time.perf_counter() + seconds
    while clean < most and (len(runs) < least or time.perf_counter() < end):
        runs.append(timed(call))
        clean += not own_thread or is_clean(runs[-1])
    return runs


@contextmanager
def pinned(processor: int | None) -> Iterator[None]:
    """Keep the calling thread on one processor, where the system can; on None, or where it cannot, nothing changes."""
    if processor is None or not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {processor})
    except OSError:  # the processor was taken away from this process
        yield
        return
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def processors() -> list[int]:
    """The processors that this process may use; empty where it cannot choose among them."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
