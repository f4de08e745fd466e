"""Giving up what takes too long.

What takes long asks now and then whether there is time left. Nothing else depends on the clock: either the result is what it always is, or there
is none.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from graphopt.errors import OutOfTimeError

_ends = ContextVar("_ends", default=math.inf)


@contextmanager
def until(moment: float) -> Iterator[None]:
    """Meanwhile `check_time` raises OutOfTimeError once `time.monotonic()` is past `moment`, or past that of a `until` around this one."""
    token = _ends.set(min(moment, _ends.get()))
    try:
        yield
    finally:
        _ends.reset(token)


def check_time() -> None:
    """Raise OutOfTimeError where the time is over. Cheap enough to be called before each run of a model."""
    if time.monotonic() > _ends.get():
        raise OutOfTimeError("there was not enough time")
