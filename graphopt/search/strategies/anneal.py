"""Simulated annealing over pipelines."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from graphopt.search.moves import mutate
from graphopt.search.objective import Objective
from graphopt.search.point import Point
from graphopt.search.space import Space
from graphopt.search.strategies.history import History, Scored
from graphopt.search.study.records import Proposal, Record

_HOT = 0.5  # the first temperature, in standard deviations of the scores so far
_HALF_LIFE = 15  # trials in which the temperature falls to half


@dataclass(frozen=True)
class Anneal:
    """Metropolis moves (Kirkpatrick, Gelatt and Vecchi, "Optimization by Simulated Annealing", 1983): add, drop, swap, retune a step.

    A worse pipeline becomes the current one with probability exp(-loss / temperature). Which one is current is worked out again from all
    trials; what runs or failed is passed over.
    """

    name: ClassVar[str] = "anneal"

    space: Space
    objective: Objective

    def propose(self, trials: Sequence[Record], seed: int) -> Proposal | None:
        history = History(self.space, self.objective, trials)
        rng = history.rng(seed)
        current = _current(history.scored, seed)
        if current is None:
            return history.new(lambda: self.space.random(rng))
        walked = [current]

        def step() -> Point:
            walked[0] = mutate(self.space, walked[0], rng)  # further and further, where what is near was tried
            return walked[0]

        return history.new(step)


def _current(trials: Sequence[Scored], seed: int) -> Point | None:
    """Where the walk stands after the trials."""
    at: Point | None = None
    height, seen = 0.0, []
    for number, trial in enumerate(trials):
        if trial.score is None:
            continue
        seen.append(trial.score)
        spread = float(np.std(seen))
        temperature = _HOT * spread * 0.5 ** (number / _HALF_LIFE)
        chance = np.random.default_rng((seed, number, 1)).random()
        if at is None or trial.score >= height or (temperature > 0 and chance < math.exp((trial.score - height) / temperature)):
            at, height = trial.point, trial.score
    return at
