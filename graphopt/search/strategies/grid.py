"""Grid search: everything there is, in order. What AIMET's guide tells people to do by hand is one: the split between SVD and pruning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from graphopt.search.objective import Objective
from graphopt.search.space import Space
from graphopt.search.study.records import Proposal, Record


@dataclass(frozen=True)
class Grid:
    """The pipelines of the space one after the other, the short ones first."""

    name: ClassVar[str] = "grid"

    space: Space
    objective: Objective

    def propose(self, trials: Sequence[Record], seed: int) -> Proposal | None:
        tried = {record.pipeline for record in trials}
        return next((self.space.proposal(point) for point in self.space.all() if self.space.text(point) not in tried), None)
