"""The strategy for those who do not want to choose one: what is known to work first, then what is near the best of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from graphopt.search.objective import Objective
from graphopt.search.point import Point, name_of
from graphopt.search.space import Space
from graphopt.search.strategies.evolve import child
from graphopt.search.strategies.families import explored
from graphopt.search.strategies.history import History
from graphopt.search.study.records import Proposal, Record

_AFTER = 2  # passes that are tried after the one that does best alone
_SPLITS = (0.25, 0.75)  # beside one half, for the best pairs
_SPLIT = 2  # pairs
_BEFORE = 0.25  # of the work, for a pass that is added
_PARENTS = 8
_PATIENCE = 24  # children in a row that are no better than what was there, before the search is over


@dataclass(frozen=True)
class Auto:
    """Each pass alone to the budget, the space's first with and without repair at the start; every other before the best of them, and
    two after it, half of the work each; the best pairs at other splits. Then what is near the best of all, and where nothing there is better,
    evolution from the best few, until it has not helped for a while.

    The order follows what was measured of such searches: one knapsack is better than a hundred samples of any sampler, evolution that
    starts from it better than evolution from nothing, and how two passes share the work matters most, so that it is not left to chance.
    """

    name: ClassVar[str] = "auto"

    space: Space
    objective: Objective

    def propose(self, trials: Sequence[Record], seed: int) -> Proposal | None:
        history = History(self.space, self.objective, trials)
        portfolio = set()
        for family in self._portfolio(history):
            following = explored(history, family).next
            if following is not None:
                return self.space.proposal(following)
            portfolio.add(family)
        parents = [point for point, _ in history.best[:_PARENTS]]
        if not parents or self._idle(history, portfolio) >= _PATIENCE:
            return None
        rng = history.rng(seed)
        return history.first_new(self._near(parents[0])) or history.new(lambda: child(self.space, parents, rng))

    def _portfolio(self, history: History) -> Iterator[Point]:
        """Points whose goals are to be explored, each after what it depends on was."""
        first = [Point((self.space.passes[0],), repair=repair) for repair in self.space.repairs]
        yield from first
        repair = max(reversed(first), key=lambda point: _score(history, point)).repair  # it is, where neither reaches the budget
        alone = [Point((step,), repair=repair) for step in self.space.passes[1:]]
        yield from alone
        if self.space.most < 2:
            return
        ranked = sorted([*(p for p in first if p.repair == repair), *alone], key=lambda point: -_score(history, point))
        best, others = ranked[0].steps[0], [point.steps[0] for point in ranked[1:]]
        # A pass that cannot reach the budget alone may still do well before another.
        orders = [*((other, best) for other in others), *((best, other) for other in others[:_AFTER])]
        pairs = [Point(steps, (self.space.nearest(0.5),), repair) for steps in orders if name_of(steps[0]) != name_of(steps[1])]
        yield from pairs
        for pair in sorted(pairs, key=lambda point: -_score(history, point))[:_SPLIT]:
            for split in _SPLITS:
                yield Point(pair.steps, (self.space.nearest(split),), repair)

    def _near(self, best: Point) -> list[Point]:
        """Its shares a little less or more, and each pass that it lacks before it; all with the next goal, where there is one."""
        shares = [
            (*best.shares[:place], share + step, *best.shares[place + 1 :])
            for step in (-1, 1, -2, 2)
            for place, share in enumerate(best.shares)
            if 0 <= share + step < len(self.space.shares)
        ]
        used = {name_of(step) for step in best.steps}
        others = [step for step in self.space.passes if name_of(step) not in used and len(best.steps) < self.space.most]
        near = [
            *(replace(best, shares=each) for each in shares),
            *(replace(best, steps=(step, *best.steps), shares=(self.space.nearest(_BEFORE), *best.shares)) for step in others),
        ]
        return [point.at(min(best.level + 1, len(self.space.goals) - 1)) for point in near]

    def _idle(self, history: History, portfolio: set[Point]) -> int:
        """How many children were made since the best was found."""
        best, idle = float("-inf"), 0
        for trial in history.scored:
            if trial.score is not None and trial.score > best:
                best, idle = trial.score, 0
            elif trial.point.at(0) not in portfolio:
                idle += 1
        return idle


def _score(history: History, point: Point) -> float:
    score = explored(history, point).score
    return float("-inf") if score is None else score
