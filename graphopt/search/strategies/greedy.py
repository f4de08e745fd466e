"""The best next pass, again and again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from graphopt.search.objective import Objective
from graphopt.search.point import Point, name_of
from graphopt.search.space import Space
from graphopt.search.strategies.families import explored
from graphopt.search.strategies.history import History
from graphopt.search.study.records import Proposal, Record


@dataclass(frozen=True)
class Greedy:
    """Every pass alone, to the budget; then every pass after the best of them, each with an equal part of the work; and so on while that helps;
    at the end with repair. Ends by itself.
    """

    name: ClassVar[str] = "greedy"

    space: Space
    objective: Objective

    def propose(self, trials: Sequence[Record], seed: int) -> Proposal | None:
        history = History(self.space, self.objective, trials)
        best, height = None, float("-inf")
        candidates = [Point((step,)) for step in self.space.passes]
        while candidates:
            found = [explored(history, point) for point in candidates]
            following = next((family.next for family in found if family.next is not None), None)
            if following is not None:
                return self.space.proposal(following)
            winner = max(found, key=lambda family: float("-inf") if family.score is None else family.score)
            if winner.score is None or winner.score <= height:
                break
            best, height = winner.best.at(0), winner.score
            candidates = self._longer(best)
        if best is None or not self.space.repair:
            return None
        mended = explored(history, replace(best, repair=True)).next
        return None if mended is None else self.space.proposal(mended)

    def _longer(self, point: Point) -> list[Point]:
        """The point with each pass that it lacks after it; all steps do an equal part."""
        length = len(point.steps) + 1
        if length > self.space.most:
            return []
        shares = tuple(self.space.nearest(1 / (length - place)) for place in range(length - 1))
        used = {name_of(step) for step in point.steps}
        return [Point((*point.steps, step), shares) for step in self.space.passes if name_of(step) not in used]
