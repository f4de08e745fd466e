"""What strategies ask of the trials that were made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from graphopt.search.objective import Objective
from graphopt.search.point import Point
from graphopt.search.space import Space
from graphopt.search.study.records import Proposal, Record

_ATTEMPTS = 200
_ENUMERATED = 20_000  # pipelines; in a larger space, one whose neighbourhood was tried without success is taken to be exhausted


@dataclass(frozen=True)
class Scored:
    """A trial of the space; `score` is None where it failed, runs still, or is over the budget."""

    point: Point
    record: Record
    score: float | None


@dataclass(frozen=True)
class History:
    """The trials of a study, in order, as `space` and `objective` see them; those of other spaces are known only by their text."""

    space: Space
    objective: Objective
    trials: Sequence[Record]

    @cached_property
    def scored(self) -> tuple[Scored, ...]:
        found = []
        for record in self.trials:
            point = self.space.point(record)
            if point is not None:
                found.append(Scored(point, record, self.objective.score(record)))
        return tuple(found)

    @cached_property
    def good(self) -> tuple[tuple[Point, float], ...]:
        """Points with their scores, those that have one, in order."""
        return tuple((trial.point, trial.score) for trial in self.scored if trial.score is not None)

    @cached_property
    def best(self) -> tuple[tuple[Point, float], ...]:
        """The same, the best first, of equals the earliest."""
        return tuple(sorted(self.good, key=lambda pair: -pair[1]))

    @cached_property
    def texts(self) -> frozenset[str]:
        return frozenset(record.pipeline for record in self.trials)

    def rng(self, seed: int) -> np.random.Generator:
        """What is drawn depends on the seed and on how many trials there are."""
        return np.random.default_rng((seed, len(self.trials)))

    def is_new(self, point: Point) -> bool:
        return self.space.text(point) not in self.texts

    def first_new(self, points: Sequence[Point]) -> Proposal | None:
        """The first of the points that was not tried."""
        return next((self.space.proposal(point) for point in points if self.is_new(point)), None)

    def new(self, draw: Callable[[], Point]) -> Proposal | None:
        """A point that was not tried yet: drawn, or where only few are left, the first there is; None where all were tried."""
        for _ in range(_ATTEMPTS):
            point = draw()
            if self.is_new(point):
                return self.space.proposal(point)
        if self.space.size > _ENUMERATED:
            return None
        return next((self.space.proposal(point) for point in self.space.all() if self.is_new(point)), None)
