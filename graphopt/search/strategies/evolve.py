"""Evolution over pipelines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from graphopt.search.moves import cross, mutate
from graphopt.search.objective import Objective
from graphopt.search.point import Point
from graphopt.search.space import Space
from graphopt.search.strategies.history import History
from graphopt.search.study.records import Proposal, Record

_POPULATION = 16
_SAMPLE = 4
_CROSSED = 0.5


@dataclass(frozen=True)
class Evolve:
    """Regularised evolution (Real et al., "Regularized Evolution for Image Classifier Architecture Search", 2019): the population are the last
    trials, so that what was lucky once dies out; a few of them are drawn, the best of these has a child. As in Once-for-All (Cai et al.,
    2020), half of the children have two parents, which meet on what all pipelines of the space keep: the budget.
    """

    name: ClassVar[str] = "evolve"

    space: Space
    objective: Objective

    def propose(self, trials: Sequence[Record], seed: int) -> Proposal | None:
        history = History(self.space, self.objective, trials)
        rng = history.rng(seed)
        if len(history.scored) < _POPULATION or len(history.good) < 2:
            return history.new(lambda: self.space.random(rng))
        population = history.good[-_POPULATION:]
        return history.new(lambda: child(self.space, [_parent(population, rng), _parent(population, rng)], rng))


def child(space: Space, parents: Sequence[Point], rng: np.random.Generator) -> Point:
    """A child of one of the parents, or of two of them."""
    one, other = (parents[int(place)] for place in rng.integers(len(parents), size=2))
    if one != other and rng.random() < _CROSSED:
        crossed = cross(space, one, other, rng)
        return crossed if crossed not in (one, other) else mutate(space, crossed, rng)
    return mutate(space, one, rng)


def _parent(population: Sequence[tuple[Point, float]], rng: np.random.Generator) -> Point:
    """The best of a few."""
    drawn = [population[int(place)] for place in rng.integers(len(population), size=_SAMPLE)]
    return max(drawn, key=lambda pair: pair[1])[0]
