"""How many threads this process computes with."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from threadpoolctl import threadpool_limits

_most: int | None = None


def default_threads() -> int:
    """The number of processors that this process may use."""
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return processors if _most is None else min(processors, _most)


@contextmanager
def at_most(threads: int) -> Iterator[None]:
    """Meanwhile `default_threads` is at most so many, and BLAS has one thread: for one of several processes that share a machine."""
    global _most
    before, _most = _most, threads
    try:
        with one_blas_thread():
            yield
    finally:
        _most = before


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Meanwhile NumPy and SciPy multiply and solve with one thread.

    OpenBLAS's threads spin while they wait for each other: where products are small, or others want the processors, that costs many times what
    it gains.
    """
    with threadpool_limits(1, user_api="blas"):
        yield
