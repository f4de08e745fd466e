"""A model that may be the answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from graphopt.report import Run
from graphopt.search.bench import Bench, Effort, Timing
from graphopt.search.budget import Budget
from graphopt.search.point import Point

_ATTEMPTS = 3  # final measurements, until one is steady
_STEADY = 0.03  # relative uncertainty of a speedup


@dataclass(frozen=True)
class Candidate:
    """A pipeline, what it makes, and the figures by name that are known of that; `point` is its place in the space, if it has one there."""

    text: str
    run: Run
    values: Mapping[str, float]
    point: Point | None = None

    @property
    def quality(self) -> float:
        return self.values["quality"]


@dataclass(frozen=True)
class Scale:
    """How candidates are weighed: in turns with the original on `bench`; `original` are the figures of that."""

    bench: Bench
    budget: Budget
    original: Mapping[str, float]

    def usage(self, candidate: Candidate, timing: Timing) -> float:
        """The share of the budget that it takes, by its latency on the bench: at most 1 where all limits hold."""
        original = {**self.original, "latency_ms": timing.original.median_ms}
        return self.budget.usage(original, {**candidate.values, "latency_ms": timing.latency.median_ms})

    def shares(self, timing: Timing) -> dict[str, float]:
        """By resource, the share of the original that may be left."""
        return self.budget.shares({**self.original, "latency_ms": timing.original.median_ms})

    def time(self, candidates: list[Candidate], effort: Effort) -> list[Timing]:
        return self.bench.time([candidate.run.graph for candidate in candidates], effort)

    def final(self, candidate: Candidate, effort: Effort) -> Timing:
        """The measurement that decides and is reported; on a busy machine the steadiest of a few."""
        found: list[Timing] = []
        while len(found) < _ATTEMPTS and (not found or found[-1].uncertainty > _STEADY):
            found += self.time([candidate], effort)
        return min(found, key=lambda timing: timing.uncertainty)
