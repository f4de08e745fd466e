"""From the trials of a search to the one model that is the answer: the best are put on the bench."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from graphopt.search.aim import NEAR, Aiming
from graphopt.search.bench import FINAL, SURE, Timing
from graphopt.search.budget import FIGURES
from graphopt.search.candidate import Candidate, Scale
from graphopt.search.goals import Goal
from graphopt.search.objective import Objective
from graphopt.search.setup import Setup
from graphopt.search.space import Space
from graphopt.search.study import Proposal, Record

_COMPARED = 3  # finalists of the best quality, or within the loss allowed of the least predicted time
_ROUNDS = 5  # of correcting goals
_LESS = 0.99  # of its goal, at most, for one that takes too long
_WORTH = 0.02  # a smaller gain of speed is not worth a loss of quality; it may be due to where the weights lie in memory

Make = Callable[[Sequence[Proposal], float], Sequence[Record]]


@dataclass(frozen=True)
class Finalist:
    candidate: Candidate
    timing: Timing
    usage: float


class Finals:
    """`make` makes further trials, until a time, and gives back all that there are; `aiming` says how goals are corrected. Once `ends` has passed,
    by `time.monotonic()`, a finalist is only made again where there is no other.
    """

    def __init__(self, setup: Setup, scale: Scale, aiming: Aiming, make: Make, ends: float = math.inf) -> None:
        self._setup, self._scale, self._aiming, self._make, self._ends = setup, scale, aiming, make, ends
        self.timings: dict[str, Timing] = {}

    def best_within(self, space: Space, objective: Objective, needed: Goal, records: Sequence[Record]) -> Finalist | None:
        """The trial of the best quality that keeps the budget on the bench.

        What is predicted too low for one kind of pipeline may be right for another, so each finalist that is too slow, and better than the
        best that is not, is made again with a goal of its own, which its measurement suggests; so is the best where it leaves much of the
        budget. None where none ever keeps the budget.
        """
        waiting = [(self.candidate(record, space), space) for record in objective.best(records)[:_COMPARED]]
        best: Finalist | None = None
        for _ in range(_ROUNDS):
            if not waiting:
                break
            found = list(zip(self._timed([candidate for candidate, _ in waiting]), (where for _, where in waiting), strict=True))
            before, best = best, self._better(best, [each for each, _ in found if each.usage <= 1])
            # One that was fast enough at first and is not when it is measured longer is too slow like the others.
            found = [(self._remembered(each.candidate, self.timings[each.candidate.text]), where) for each, where in found]
            again = [(each.candidate, where, _LESS) for each, where in found if each.usage > 1]
            again = [each for each in again if best is None or each[0].quality > best.candidate.quality]
            if best is not None and best is not before and best.usage < NEAR and best.candidate.quality < self._setup.quality:
                again += [(best.candidate, where, math.inf) for each, where in found if each.candidate is best.candidate]
            waiting = []
            for candidate, where, most in again:
                ends = self._ends if waiting or best is not None else math.inf
                made = self._again(candidate, where, needed, most, ends)
                waiting += [] if made is None else [made]
        return best

    def _better(self, best: Finalist | None, kept: Sequence[Finalist]) -> Finalist | None:
        """The best of those that also keep the budget when they are measured longer."""
        for each in sorted(kept, key=lambda each: -each.candidate.quality):
            if best is not None and each.candidate.quality <= best.candidate.quality:
                break
            final = self._finally(each.candidate)
            if final.usage <= 1:
                return final
        return best

    def _again(self, candidate: Candidate, space: Space, needed: Goal, most: float, ends: float) -> tuple[Candidate, Space] | None:
        """The same pipeline with a goal that suits it, at most so many times what it was; None where that cannot be made, or not in time."""
        if candidate.point is None:
            return None
        corrected = self._aiming.corrected(needed, candidate, self.timings[candidate.text])
        goal = {resource: min(corrected[resource], share * most) for resource, share in space.goals[0].items()}
        suited = replace(space, goals=(goal,))
        proposal = suited.proposal(candidate.point)
        if proposal.pipeline == candidate.text:
            return None
        made = next((record for record in self._make([proposal], ends) if record.pipeline == proposal.pipeline), None)
        return (self.candidate(made, suited), suited) if made is not None and made.state == "complete" else None

    def fastest_within_drop(self, space: Space, objective: Objective, base: Candidate, records: Sequence[Record]) -> Finalist:
        """The fastest of those whose loss is allowed, the base among them; of those that are as fast, the one of the best quality."""
        good = [record for record in objective.best(records) if objective.keeps(record)][:_COMPARED]
        found = self._timed([base, *(self.candidate(record, space) for record in good)])
        fastest = max(found, key=lambda each: each.timing.speedup)
        noise = max(_WORTH, 2 * fastest.timing.uncertainty)
        as_fast = [each for each in found if each.timing.speedup >= fastest.timing.speedup * (1 - noise)]
        return self._finally(max(as_fast, key=lambda each: each.candidate.quality).candidate)

    def final(self, candidate: Candidate) -> Finalist:
        return self._finally(candidate)

    def candidate(self, record: Record, space: Space) -> Candidate:
        # A goal of its own, in a search over several goals, does not matter any more.
        settings = {name: value for name, value in record.proposal.settings.items() if name != "level"}
        return Candidate(record.pipeline, self._setup.runner.run(record.pipeline), record.values, space.point_of(settings))

    def _timed(self, candidates: list[Candidate]) -> list[Finalist]:
        timings = self._scale.time(candidates, SURE)
        return [self._remembered(candidate, timing) for candidate, timing in zip(candidates, timings, strict=True)]

    def _finally(self, candidate: Candidate) -> Finalist:
        return self._remembered(candidate, self._scale.final(candidate, FINAL))

    def _remembered(self, candidate: Candidate, timing: Timing) -> Finalist:
        self.timings[candidate.text] = timing
        return Finalist(candidate, timing, self._scale.usage(candidate, timing))


def with_goal(space: Space, objective: Objective, goal: Goal, original: dict[str, float]) -> tuple[Space, Objective]:
    """The space whose budget is `goal`, and the objective that goes with it."""
    limits = {FIGURES[resource]: share * original[FIGURES[resource]] for resource, share in goal.items()}
    return replace(space, goals=(goal,)), replace(objective, limits={**objective.limits, **limits})
