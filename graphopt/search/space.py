"""The space of pipelines that a search goes through."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations, product

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution

from graphopt.search.goals import Goal, along, step_text
from graphopt.search.point import Point, name_of
from graphopt.search.study.records import Proposal, Record, Setting

SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
LONGEST = 3


@dataclass(frozen=True)
class Space:
    """Pipelines of up to `longest` compressing passes, each pass at most once.

    `passes` are their texts without a goal, several of one pass where it has alternatives; `goals` what the last of them is to reach: the
    budget, or a range from little to much where the search is to find out how much can be saved. `shares` are those a step may take of
    what is left to be saved. `first` is run before them, `repair` after them or not; empty: not. `settings` are added to each pass.
    """

    passes: tuple[str, ...]
    goals: tuple[Goal, ...]
    shares: tuple[float, ...] = SHARES
    longest: int = LONGEST
    first: str = ""
    repair: str = ""
    settings: str = ""

    def __post_init__(self) -> None:
        if not self.passes or not self.goals or not self.shares or self.longest < 1:
            raise ValueError("a space needs a pass, a goal, a share and a length")

    @property
    def most(self) -> int:
        """Steps of the longest pipeline there is."""
        return min(self.longest, len({name_of(step) for step in self.passes}))

    @property
    def repairs(self) -> tuple[bool, ...]:
        return (False, True) if self.repair else (False,)

    @property
    def size(self) -> int:
        """How many pipelines there are."""
        orders = sum(len(self.shares) ** (length - 1) * sum(1 for _ in self._orders(length)) for length in range(1, self.most + 1))
        return int(orders * len(self.repairs) * len(self.goals))

    def nearest(self, share: float) -> int:
        """The place of the share that is nearest to this one."""
        return min(range(len(self.shares)), key=lambda place: abs(self.shares[place] - share))

    def all(self) -> Iterator[Point]:
        """Every point once, the short ones first."""
        for length in range(1, self.most + 1):
            for steps in self._orders(length):
                for shares in product(range(len(self.shares)), repeat=length - 1):
                    for repair, level in product(self.repairs, range(len(self.goals))):
                        yield Point(steps, shares, repair, level)

    def _orders(self, length: int) -> Iterator[tuple[str, ...]]:
        for steps in permutations(self.passes, length):
            if len({name_of(step) for step in steps}) == length:
                yield steps

    # ---- text

    def text(self, point: Point) -> str:
        """The pipeline, which can be run."""
        goals = along(self.goals[point.level], [self.shares[place] for place in point.shares])
        steps = [step_text(step, goal, self.settings) for step, goal in zip(point.steps, goals, strict=True)]
        return ",".join([*filter(None, [self.first]), *steps, *([self.repair] if point.repair else [])])

    # ---- settings

    def distributions(self) -> dict[str, BaseDistribution]:
        """What Optuna may choose: for every step there could be, whether it is used or not."""
        found: dict[str, BaseDistribution] = {"steps": IntDistribution(1, self.most)}
        for place in range(1, self.most + 1):
            found[f"pass_{place}"] = CategoricalDistribution(self.passes)
        for place in range(1, self.most):
            found[f"share_{place}"] = IntDistribution(0, len(self.shares) - 1)
        if self.repair:
            found["repair"] = CategoricalDistribution([False, True])
        if len(self.goals) > 1:
            found["level"] = IntDistribution(0, len(self.goals) - 1)
        return found

    def settings_of(self, point: Point) -> dict[str, Setting]:
        """The settings that lead to a point; those of steps that it lacks are missing."""
        found: dict[str, Setting] = {"steps": len(point.steps)}
        found |= {f"pass_{place}": step for place, step in enumerate(point.steps, 1)}
        found |= {f"share_{place}": share for place, share in enumerate(point.shares, 1)}
        return found | ({"repair": point.repair} if self.repair else {}) | ({"level": point.level} if len(self.goals) > 1 else {})

    def point_of(self, settings: Mapping[str, Setting]) -> Point | None:
        """The point of settings, None where they are not of this space. A pass that was there before is replaced by the next that was not."""
        try:
            length = int(settings["steps"])
            if not 1 <= length <= self.most:
                return None
            steps = self._without_repeats([str(settings[f"pass_{place}"]) for place in range(1, length + 1)])
            shares = tuple(int(settings[f"share_{place}"]) for place in range(1, length))
            point = Point(steps, shares, bool(settings.get("repair", False)), int(settings.get("level", 0)))
        except (KeyError, ValueError):
            return None
        return point if self.holds(point) else None

    def holds(self, point: Point) -> bool:
        return (
            len(point.steps) <= self.most
            and all(step in self.passes for step in point.steps)
            and all(0 <= share < len(self.shares) for share in point.shares)
            and point.repair in self.repairs
            and 0 <= point.level < len(self.goals)
        )

    def _without_repeats(self, steps: Sequence[str]) -> tuple[str, ...]:
        kept: list[str] = []
        for step in steps:
            start = self.passes.index(step)
            used = {name_of(other) for other in kept}
            turned = (*self.passes[start:], *self.passes[:start])
            kept.append(next(other for other in turned if name_of(other) not in used))
        return tuple(kept)

    def proposal(self, point: Point) -> Proposal:
        return Proposal(self.text(point), self.settings_of(point))

    def point(self, record: Record) -> Point | None:
        """The point of a trial, None where it was not one of this space."""
        return self.point_of(record.proposal.settings)

    # ---- chance

    def random(self, rng: np.random.Generator) -> Point:
        """Any length is as likely as any other, and so is any pipeline of that length."""
        length = int(rng.integers(1, self.most + 1))
        drawn = [self.passes[place] for place in rng.integers(len(self.passes), size=length)]
        shares = tuple(int(place) for place in rng.integers(len(self.shares), size=length - 1))
        repair = bool(rng.integers(len(self.repairs)))
        return Point(self._without_repeats(drawn), shares, repair, int(rng.integers(len(self.goals))))
