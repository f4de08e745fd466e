"""Random search (Bergstra and Bengio, "Random Search for Hyper-Parameter Optimization", 2012)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from graphopt.search.objective import Objective
from graphopt.search.space import Space
from graphopt.search.strategies.history import History
from graphopt.search.study.records import Proposal, Record


@dataclass(frozen=True)
class RandomSearch:
    """Any pipeline that was not tried yet."""

    name: ClassVar[str] = "random"

    space: Space
    objective: Objective

    def propose(self, trials: Sequence[Record], seed: int) -> Proposal | None:
        history = History(self.space, self.objective, trials)
        rng = history.rng(seed)
        return history.new(lambda: self.space.random(rng))
