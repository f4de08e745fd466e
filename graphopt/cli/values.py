"""Values with units on the command line: 8ms, 1.5x, 1 %, 2.5M, 900kB."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import click

_NUMBER = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*(\S*?)\s*")

_COUNT = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "b": 1e9, "t": 1e12}
_BYTES = {"": 1.0, "b": 1.0} | {
    f"{letter}{suffix}": base**power
    for power, letter in enumerate("kmgt", start=1)
    for suffix, base in (("", 1000.0), ("b", 1000.0), ("ib", 1024.0))
}


class Quantity(click.ParamType):  # type: ignore[type-arg]  # not generic before click 8.2
    """A positive number with a unit; `units` (lower case) say how much each is."""

    def __init__(self, name: str, units: Mapping[str, float], example: str, *, minimum: float = 0.0, zero: bool = False) -> None:
        self.name, self._units, self._example, self._minimum, self._zero = name, units, example, minimum, zero

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number in the unit whose size is 1; a usage error for anything else."""
        if isinstance(value, float):
            return value
        match = _NUMBER.fullmatch(str(value))
        if match is None or match[2].lower() not in self._units:
            self.fail(f"{value!r} is no {self.name}; write it like {self._example}.", param, ctx)
        number = float(match[1]) * self._units[match[2].lower()]
        if not math.isfinite(number) or number < self._minimum or (number == 0 and not self._zero):
            least = "must not be negative" if self._zero else f"must be at least {self._minimum:g}" if self._minimum else "must be above 0"
            self.fail(f"{value!r} {least}.", param, ctx)
        return number


class Share(Quantity):
    """A share such as 1 % or 0.01; 1 and more without a percent sign is refused, because it is meant otherwise more often than not."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = super().convert(value, param, ctx)
        if number >= 1 and "%" not in str(value):
            self.fail(f"{value!r} is {number * 100:g} %; if that is meant, write it so.", param, ctx)
        return number


MILLISECONDS = Quantity("time", {"": 1.0, "ms": 1.0, "s": 1e3, "us": 1e-3, "\N{MICRO SIGN}s": 1e-3}, "8ms, 0.008s or 8 (milliseconds)")
DURATION = Quantity("duration", {"": 1.0, "s": 1.0, "sec": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}, "90s, 2m or 1h")
FACTOR = Quantity("factor", {"": 1.0, "x": 1.0}, "1.5x or 1.5", minimum=1.0)
SHARE = Share("share", {"": 1.0, "%": 0.01}, "1% or 0.01", zero=True)
COUNT = Quantity("count", _COUNT, "2500000 or 2.5M", zero=True)
SIZE = Quantity("size", _BYTES, "900kB, 1.5MB, 2MiB or a number of bytes", zero=True)
