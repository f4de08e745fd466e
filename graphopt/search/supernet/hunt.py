"""Finding the best subnet within a budget: by running subnets, or by a predictor of quality that is trained on those that were run."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from graphopt.errors import PassParameterError
from graphopt.search.supernet.accuracy import AccuracyPredictor, RankCorrelation, rank_correlation
from graphopt.search.supernet.allowed import Allowed, Floats
from graphopt.search.supernet.qualities import Qualities, Subnet
from graphopt.search.supernet.strategies import ROUNDS, Evolution, RandomSearch, Strategy, Tpe
from graphopt.supernet import Rows

STRATEGIES = (Evolution.name, RandomSearch.name, Tpe.name)
JUDGES = ("predictor", "evaluator")

_AT_FIRST = 0.6  # of the runs: random subnets that the predictor is trained on
_AGAIN = 3  # times that the predictor is trained, and the best by it are run
_PROPOSED = 1000  # the best that a strategy has asked for, from which those to be run are taken
_STALE = 20  # proposals in turn that hold nothing new


@dataclass
class Effort:
    """Subnets are run for `seconds`, until there are `most` of them; None: no bound. At least `least` are run."""

    seconds: float | None = None
    most: int | None = None
    least: int = 5
    started: float = field(default_factory=time.monotonic)
    run: int = 0

    @property
    def spent(self) -> float:
        """The share that is gone, 1 where all is."""
        if self.run < self.least and (self.most is None or self.run < self.most):
            return min(self.run / self.least, 0.99)
        shares = [0.0]
        if self.seconds is not None:
            shares.append((time.monotonic() - self.started) / self.seconds)
        if self.most is not None:
            shares.append(self.run / self.most)
        return min(max(shares), 1.0)


def made_strategy(name: str, allowed: Allowed, seed: int, population: int = 100) -> Strategy:
    """Raises PassParameterError for a name that there is not."""
    if name == Evolution.name:
        return Evolution(allowed, seed, population)
    if name == RandomSearch.name:
        return RandomSearch(allowed, seed, population)
    if name == Tpe.name:
        return Tpe(allowed, seed)
    raise PassParameterError(f"there is no strategy {name!r} for subnets; there are {', '.join(STRATEGIES)}")


@dataclass
class Hunt:
    """`judge` says by what a strategy is told how good subnets are: a `predictor`, or the `evaluator` itself."""

    qualities: Qualities
    strategy: str
    judge: str
    seed: int
    correlation: RankCorrelation | None = None

    def __post_init__(self) -> None:
        if self.judge not in JUDGES:
            raise PassParameterError(f"quality cannot be judged by {self.judge!r}; there are {', '.join(JUDGES)}")

    def best(self, allowed: Allowed, effort: Effort) -> Subnet | None:
        """The best subnet within the budget of all that were run, which `effort` bounds; None where none is within it."""
        rng = np.random.default_rng(self.seed)
        starts = np.stack([allowed.space.largest, allowed.fastest()[0]])
        self._run(allowed.brought_in(starts, rng), effort)
        if self.judge == "evaluator":
            self._directly(allowed, effort)
        else:
            self._by_predictor(allowed, effort, rng)
        return self.qualities.best(allowed.limit)

    def _run(self, rows: Rows, effort: Effort) -> None:
        for row in self.qualities.new(rows):
            if effort.spent >= 1:
                return
            self.qualities.of(row)
            effort.run += 1

    def _directly(self, allowed: Allowed, effort: Effort) -> None:
        """The strategy is told the true quality. Its population is smaller where few subnets may be run, so that there are four generations."""
        population = 100 if effort.most is None else min(100, max(effort.most // 4, 8))
        strategy, stale = made_strategy(self.strategy, allowed, self.seed, population), 0
        while effort.spent < 1 and stale < _STALE:
            rows = strategy.ask()
            before = effort.run
            self._run(rows, effort)
            known = rows[[tuple(row.tolist()) in self.qualities.known for row in rows]]
            if len(known):
                strategy.tell(known, self.qualities(known))
            stale = 0 if effort.run > before else stale + 1

    def _by_predictor(self, allowed: Allowed, effort: Effort, rng: np.random.Generator) -> None:
        while effort.spent < _AT_FIRST:
            rows = self.qualities.new(allowed.brought_in(allowed.space.sample(rng, 20), rng))[:1]
            if not len(rows):
                break
            self._run(rows, effort)
        for again in range(_AGAIN):
            until = _AT_FIRST + (1 - _AT_FIRST) * (again + 1) / _AGAIN
            for row in self._promising(allowed, self._trained()):
                if effort.spent >= until:
                    break
                self._run(row[None], effort)
        rows = self.qualities.rows
        self.correlation = rank_correlation(allowed.space, rows, self.qualities(rows), self.seed)

    def _trained(self) -> AccuracyPredictor:
        rows = self.qualities.rows
        return AccuracyPredictor(self.qualities.space, rows, self.qualities(rows))

    def _promising(self, allowed: Allowed, predicted: Callable[[Rows], Floats]) -> Rows:
        """Subnets that were not run yet and that the strategy finds with the predictor, the best first."""
        strategy = made_strategy(self.strategy, allowed, self.seed)
        scores: dict[tuple[int, ...], float] = {}
        stale = 0
        for _ in range(ROUNDS):
            rows, before = strategy.ask(), len(scores)
            quality = predicted(rows)
            strategy.tell(rows, quality)
            scores.update(zip(map(tuple, rows.tolist()), quality.tolist(), strict=True))
            stale = 0 if len(scores) > before else stale + 1
            if stale == _STALE:
                break
        best = sorted(scores, key=lambda row: -scores[row])[:_PROPOSED]
        return self.qualities.new(np.array(best, np.intp).reshape(len(best), len(allowed.space.sites)))
