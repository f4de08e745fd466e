"""The subnets that a budget allows, and the way into it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from graphopt.supernet import Rows, Space

Floats = npt.NDArray[np.float64]
Milliseconds = Callable[[Rows], Floats]


class Allowed:
    """The subnets of `space` that take at most `limit` by `ms`.

    What is proposed outside of the budget is brought into it instead of being rejected: in small spaces of fast subnets rejection would draw
    thousands for one that fits.
    """

    def __init__(self, space: Space, ms: Milliseconds, limit: float) -> None:
        self.space, self.ms, self.limit = space, ms, limit

    def fastest(self) -> tuple[Rows, float]:
        """A subnet that no change of one choice makes faster, shape (sites,), and its milliseconds.

        Found from the smallest one, which need not be it: some widths are slower than larger ones.
        """
        row = self.space.canonical(self.space.smallest[None])[0]
        best = float(self.ms(row[None])[0])
        while True:
            tried = np.repeat(row[None], int(self.space.counts.sum()), axis=0)
            sites = np.repeat(np.arange(len(row)), self.space.counts)
            tried[np.arange(len(tried)), sites] = np.concatenate([np.arange(count) for count in self.space.counts])
            found = self.ms(tried)
            at = int(found.argmin())
            if found[at] >= best:
                return row, best
            row, best = self.space.canonical(tried[at : at + 1])[0], float(found[at])

    def brought_in(self, rows: Rows, rng: np.random.Generator) -> Rows:
        """The rows with those that take too long made smaller, one random choice by one step at a time, until they fit."""
        rows = self.space.canonical(rows)
        over = np.flatnonzero(self.ms(rows) > self.limit)
        if not len(over):
            return rows
        rows = rows.copy()
        paths = self._ways_down(rows[over], rng)
        fits = self.ms(paths.reshape(-1, rows.shape[1])).reshape(paths.shape[:2]) <= self.limit
        first = fits.argmax(axis=1)
        rows[over] = paths[np.arange(len(over)), first]
        lost = over[~fits.any(axis=1)]
        if len(lost):
            rows[lost] = self.fastest()[0]
        return self.space.canonical(rows)

    def _ways_down(self, rows: Rows, rng: np.random.Generator) -> Rows:
        """For each row the rows on a random way to the smallest subnet, shape (rows, steps, sites)."""
        steps = self.space.counts - 1
        site_of = np.repeat(np.arange(rows.shape[1]), steps)
        height = np.concatenate([np.arange(1, count + 1) for count in steps] or [np.zeros(0, np.intp)])
        keys = rng.random((len(rows), len(site_of)))
        keys[height > rows[:, site_of]] = 2.0  # a step that this row is below already
        order = np.argsort(keys, axis=1)
        taken = np.take_along_axis(keys, order, axis=1) < 2.0
        down = np.zeros((len(rows), len(site_of), rows.shape[1]), np.intp)
        down[np.arange(len(rows))[:, None], np.arange(len(site_of)), site_of[order]] = taken
        return np.asarray(rows[:, None] - down.cumsum(axis=1))
