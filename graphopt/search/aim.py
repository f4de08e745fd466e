"""Where passes are to aim so that what they make keeps the budget on the bench.

Passes aim at shares of the predicted latency. On this machine the prediction is that of another one, or of another number of threads, so a
model of half the predicted latency may take more or less than half the time; how much, one model tells.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from graphopt.errors import DefectError, GraphoptError
from graphopt.search.bench import QUICK, Timing
from graphopt.search.budget import FIGURES
from graphopt.search.candidate import Candidate, Scale
from graphopt.search.goals import Goal, step_text
from graphopt.search.setup import Setup

_ROUNDS = 5
NEAR = 0.93  # of the budget; a model that takes as much of it is aimed at well enough
_SAME = 0.02  # a correction that changes by less is known well enough
_MARGIN = 0.97  # of a goal that was corrected, for noise
_APART = 0.1  # logarithm of the ratio of two predictions, from which what is measured of them tells more than noise
_LEAST_POWER, _MOST_POWER = 0.1, 2.0
_HALVINGS = 6  # in search of the smallest model that a pass can make


@dataclass(frozen=True)
class Aimed:
    """The goal for the passes; `smallest` is the smallest model that was found where the budget is out of reach, with how fast it is."""

    goal: Goal
    smallest: tuple[Candidate, Timing] | None = None


class Aiming:
    """Looks for the goal. `passes` are those that the search may use, `needed` the shares of the original that may be left."""

    def __init__(self, setup: Setup, scale: Scale, passes: Sequence[str], settings: str = "") -> None:
        self._setup, self._scale, self._passes, self._settings = setup, scale, tuple(passes), settings
        self._resource = "latency" if setup.predict is not None else "macs"
        self._seen: list[tuple[float, float]] = []

    def aimed(self, needed: Goal) -> Aimed:
        """The goal at which a model keeps the budget on the bench as nearly as one can tell before the search."""
        goal = self.first_goal(needed)
        kept: Goal | None = None  # at which a model kept the budget
        for _ in range(_ROUNDS):
            alone = self._alone(goal)
            candidates = [alone] if alone is not None else self._smallest(goal)
            timings = self._scale.time(candidates, QUICK)
            usage, place = min((self._scale.usage(*pair), place) for place, pair in enumerate(zip(candidates, timings, strict=True)))
            candidate, timing = candidates[place], timings[place]
            if alone is None and usage > 1:
                return Aimed(goal, (candidate, timing)) if kept is None else Aimed(kept)
            if usage <= 1:
                kept = goal if alone is not None else self._reached(candidate, goal)
            corrected = self.corrected(needed, candidate, timing)
            if NEAR <= usage <= 1 or all(abs(corrected[resource] / goal[resource] - 1) <= _SAME for resource in goal):
                break
            goal = corrected
        return Aimed(goal if kept is None else kept)

    def _reached(self, candidate: Candidate, goal: Goal) -> Goal:
        """The goal that a model meets, of the resources of another goal."""
        shares = {resource: candidate.values[FIGURES[resource]] / self._setup.figures[FIGURES[resource]] for resource in goal}
        return {resource: min(max(share, goal[resource]), 1.0) for resource, share in shares.items()}

    def first_goal(self, needed: Goal) -> dict[str, float]:
        """The goal as if the prediction were right. Where there is none, time is taken to follow the multiply-accumulates."""
        goal = {resource: share for resource, share in needed.items() if share < 1}
        if "latency" in goal and self._resource == "macs":
            goal["macs"] = min(goal.pop("latency"), goal.get("macs", 1.0))
        return goal

    def corrected(self, needed: Goal, candidate: Candidate, timing: Timing) -> dict[str, float]:
        """The goal at which a model like this one keeps the budget on the bench.

        The share that is measured is taken to follow a power of the share that is predicted; which power, two models of different sizes tell,
        and before that it is 1.
        """
        goal = self.first_goal(needed)
        if "latency" not in needed or needed["latency"] >= 1:
            return goal
        predicted = candidate.values[self._setup.cost] / self._setup.figures[self._setup.cost]
        measured = 1 / timing.speedup
        if abs(measured / predicted - 1) > 1e-6:
            power = self._power(predicted, measured)
            goal[self._resource] = min(predicted * (needed["latency"] * _MARGIN / measured) ** (1 / power), 1.0)
            if self._resource == "macs" and "macs" in needed:
                goal["macs"] = min(goal["macs"], needed["macs"])
        return goal

    def _power(self, predicted: float, measured: float) -> float:
        """d log(measured) / d log(predicted), from the model that was seen before and is nearest in size."""
        others = [(p, m) for p, m in self._seen if abs(math.log(predicted / p)) > _APART]
        self._seen.append((predicted, measured))
        if not others:
            return 1.0
        p, m = min(others, key=lambda pair: abs(math.log(predicted / pair[0])))
        return min(max(math.log(measured / m) / math.log(predicted / p), _LEAST_POWER), _MOST_POWER)

    def _alone(self, goal: Goal) -> Candidate | None:
        """What the first pass makes that reaches the goal by itself."""
        for step in self._passes:
            candidate = self._made([(step, goal)])
            if candidate is not None:
                return candidate
        return None

    def _smallest(self, goal: Goal) -> list[Candidate]:
        """The smallest models that the passes make one after the other, each as small as it can on the way to the goal.

        The one after the last pass is predicted to be the fastest; whether it is, the bench must say.
        """
        steps: list[tuple[str, Goal]] = []
        base = self._made(steps)
        assert base is not None
        best = [base]
        reached = 0.0  # of the logarithm of the goal
        for step in self._passes:
            low, found = reached, None
            for part in range(_HALVINGS + 1):  # to the goal if it can, else by halves, quarters, ... of what is left
                far = low + (1 - reached) * 0.5**part
                candidate = None if far > 1 else self._made([*steps, (step, _part(goal, far))])
                if candidate is not None:
                    low, found = far, candidate
                if low >= 1:
                    break
            if found is not None:
                best.append(found)
                steps.append((step, _part(goal, low)))
                reached = low
        return best

    def _made(self, steps: Sequence[tuple[str, Goal]]) -> Candidate | None:
        """The model of these passes with these goals; None where one of them is out of reach, or fails."""
        text = ",".join([*filter(None, [self._setup.request.first]), *(step_text(step, goal, self._settings) for step, goal in steps)])
        try:
            run = self._setup.runner.run(text)
            return Candidate(text, run, self._setup.evaluator().figures(run))
        except DefectError:
            raise
        except GraphoptError:
            return None


def _part(goal: Goal, part: float) -> Goal:
    """The goal of which this part of the logarithm is done."""
    return {resource: share**part for resource, share in goal.items()}
