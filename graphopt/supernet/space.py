"""What a supernet can be set to: its elastic dimensions as sites, and subnets as rows of choices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from graphopt.supernet.config import Config, parse_config

Rows = npt.NDArray[np.intp]
"""Subnets, shape (subnets, sites): for each site the place of what was chosen among its values."""


@dataclass(frozen=True)
class Present:
    """Something is there where the choice at site `depth` is at least `least`."""

    depth: int
    least: int


@dataclass(frozen=True)
class Site:
    """One elastic dimension: the entry `slot` of a configuration's key, or the whole key. `values` go from the smallest to the largest.

    Without effect where the block that it belongs to is left out, which `present` says; None: it always has one.
    """

    key: str
    slot: int | None
    values: tuple[float, ...]
    present: Present | None = None

    @property
    def name(self) -> str:
        return self.key if self.slot is None else f"{self.key}[{self.slot}]"


@dataclass(frozen=True)
class Span:
    """A block that may be left out, by the tensors at its border, in the order of the network; `present` is None where it never goes."""

    name: str
    input: str
    output: str
    present: Present | None


@dataclass(frozen=True)
class Space:
    """All subnets of a supernet. `fixed` are settings with one value only, `lengths` how many entries the list of a key has.

    `edited` says by the name of a node which sites, by number, change it directly. `kept`: for keys whose lists have an entry per layer that is
    kept, who is there, by slot.
    """

    sites: tuple[Site, ...]
    spans: tuple[Span, ...]
    lengths: Mapping[str, int] = field(default_factory=dict)
    fixed: Mapping[tuple[str, int | None], float] = field(default_factory=dict)
    edited: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    kept: tuple[tuple[int, Present | None], ...] | None = None

    @cached_property
    def counts(self) -> Rows:
        """How many values each site has."""
        return np.array([len(site.values) for site in self.sites], np.intp)

    @property
    def size(self) -> float:
        """How many rows there are, those among them that differ without effect."""
        return float(np.prod(self.counts, dtype=np.float64))

    @property
    def largest(self) -> Rows:
        """The row of the largest subnet, shape (sites,)."""
        return self.counts - 1

    @property
    def smallest(self) -> Rows:
        return np.zeros(len(self.sites), np.intp)

    def present(self, rows: Rows, needs: Present | None) -> npt.NDArray[np.bool_]:
        """Which rows have what `needs` tells of, shape (subnets,)."""
        if needs is None:
            return np.ones(len(rows), np.bool_)
        return np.asarray(rows[:, needs.depth] >= needs.least)

    def matters(self, rows: Rows) -> npt.NDArray[np.bool_]:
        """Which choices have an effect, shape (subnets, sites): those for blocks that are left out have none."""
        columns = [self.present(rows, site.present) for site in self.sites]
        return np.stack(columns, axis=1) if columns else np.ones((len(rows), 0), np.bool_)

    def canonical(self, rows: Rows) -> Rows:
        """The same subnets with choices that have no effect at their largest, so that equal subnets are equal rows."""
        return np.where(self.matters(rows), rows, self.largest)

    def sample(self, rng: np.random.Generator, count: int) -> Rows:
        """Random subnets, each choice uniform."""
        return self.canonical(rng.integers(0, self.counts, (count, len(self.sites)), np.intp))

    def mutated(self, rows: Rows, rng: np.random.Generator, probability: float) -> Rows:
        """The rows with each choice made anew with some probability."""
        fresh = rng.integers(0, self.counts, rows.shape, np.intp)
        return self.canonical(np.where(rng.random(rows.shape) < probability, fresh, rows))

    def crossed(self, first: Rows, second: Rows, rng: np.random.Generator) -> Rows:
        """Children of two rows each: every choice is that of one parent or the other."""
        return self.canonical(np.where(rng.random(first.shape) < 0.5, first, second))

    def encoded(self, rows: Rows) -> npt.NDArray[np.float64]:
        """One-hot encoding, shape (subnets, sum of `counts`); choices without effect are all zeros, as in Once-for-All's accuracy predictor."""
        starts = np.concatenate([[0], np.cumsum(self.counts)[:-1]]).astype(np.intp)
        found = np.zeros((len(rows), int(self.counts.sum())))
        np.put_along_axis(found, rows + starts, self.matters(rows).astype(np.float64), axis=1)
        return found

    def document(self, row: npt.ArrayLike) -> dict[str, Any]:
        """The configuration of one row as JSON's own types."""
        chosen: dict[tuple[str, int | None], float] = dict(self.fixed)
        chosen |= {(site.key, site.slot): site.values[place] for site, place in zip(self.sites, np.asarray(row).tolist(), strict=True)}
        rows = np.asarray(row, np.intp)[None]
        there = None if self.kept is None else [slot for slot, needs in self.kept if self.present(rows, needs)[0]]
        found: dict[str, Any] = {}
        for (key, slot), value in chosen.items():
            number = int(value) if value == int(value) else value
            if slot is None:
                found[key] = number
            elif there is None:
                found.setdefault(key, [None] * self.lengths[key])[slot] = number
            elif slot in there:
                found.setdefault(key, [None] * len(there))[there.index(slot)] = number
        return found

    def config(self, row: npt.ArrayLike, source: str = "subnet") -> Config:
        return parse_config(self.document(row), source)

    def text(self, row: npt.ArrayLike) -> str:
        """The choices on one line."""
        return " ".join(f"{key}={_short(value)}" for key, value in self.document(row).items())


def _short(value: float | Sequence[float | None]) -> str:
    if isinstance(value, list):
        return ",".join("-" if item is None else f"{item:g}" for item in value)
    assert isinstance(value, int | float)
    return f"{value:g}"
