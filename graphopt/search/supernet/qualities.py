"""How good subnets are, found by running them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from graphopt.supernet import Rows, Space

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Subnet:
    """A subnet that was run: its choices, its configuration on one line, its milliseconds, its quality."""

    row: tuple[int, ...]
    text: str
    ms: float
    quality: float


Watch = Callable[[Subnet], None]


class Qualities:
    """Runs each subnet once: `evaluate` scores a row, `ms` is what the table says of rows; `watch` hears of every run."""

    def __init__(self, space: Space, evaluate: Callable[[Rows], float], ms: Callable[[Rows], Floats], watch: Watch | None = None) -> None:
        self.space, self._evaluate, self._ms, self._watch = space, evaluate, ms, watch
        self.known: dict[tuple[int, ...], Subnet] = {}

    def __call__(self, rows: Rows) -> Floats:
        """The quality of each row, shape (subnets,)."""
        return np.array([self.of(row).quality for row in self.space.canonical(rows)], np.float64)

    def of(self, row: Rows) -> Subnet:
        key = tuple(row.tolist())
        if key not in self.known:
            subnet = Subnet(key, self.space.text(row), float(self._ms(row[None])[0]), self._evaluate(row))
            self.known[key] = subnet
            if self._watch is not None:
                self._watch(subnet)
        return self.known[key]

    def new(self, rows: Rows) -> Rows:
        """Those of the rows that were not run yet, each once, in their order."""
        fresh = {tuple(row.tolist()): row for row in self.space.canonical(rows) if tuple(row.tolist()) not in self.known}
        return np.array(list(fresh.values()), np.intp).reshape(len(fresh), len(self.space.sites))

    @property
    def rows(self) -> Rows:
        """All rows that were run."""
        return np.array(list(self.known), np.intp).reshape(len(self.known), len(self.space.sites))

    def best(self, limit: float) -> Subnet | None:
        """The best of those that take at most `limit` milliseconds, of equals the fastest."""
        allowed = [subnet for subnet in self.known.values() if subnet.ms <= limit]
        return max(allowed, key=lambda subnet: (subnet.quality, -subnet.ms), default=None)
