"""Optuna's samplers over the space of pipelines. The study they see is made anew from the trials for each proposal, so that a proposal depends
on nothing else.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, NSGAIISampler, TPESampler
from optuna.trial import TrialState

from graphopt.search.objective import Objective
from graphopt.search.space import Space
from graphopt.search.strategies.history import History, Scored
from graphopt.search.study.records import Proposal, Record

_RETRIES = 10  # a sampler may propose again what was tried
_POPULATION = 16
_BELOW = 1.0  # what failed counts as that much worse, in spreads of the scores, than the worst that did not


@dataclass(frozen=True)
class Tpe:
    """Tree-structured Parzen estimators (Bergstra et al., "Algorithms for Hyper-Parameter Optimization", 2011), multivariate."""

    name: ClassVar[str] = "tpe"

    space: Space
    objective: Objective

    def propose(self, trials: Sequence[Record], seed: int) -> Proposal | None:
        history = History(self.space, self.objective, trials)
        scores = [score for _, score in history.good]
        worst = min(scores, default=0.0) - _BELOW * (max(scores, default=0.0) - min(scores, default=0.0) or 1.0)

        def values(trial: Scored) -> list[float]:
            return [worst if trial.score is None else trial.score]

        return _asked(history, values, ["maximize"], lambda s: TPESampler(seed=s, multivariate=True), _added, seed)


@dataclass(frozen=True)
class Nsga2:
    """NSGA-II (Deb et al., 2002) for quality and predicted latency: the whole front of what can be traded for what."""

    name: ClassVar[str] = "nsga2"

    space: Space
    objective: Objective

    def propose(self, trials: Sequence[Record], seed: int) -> Proposal | None:
        history = History(self.space, self.objective, trials)
        cost = self.objective.cost
        done = [trial.record.values for trial in history.scored if trial.score is not None]
        worst = [min((v["quality"] for v in done), default=0.0) - 1.0, max((v[cost] for v in done), default=0.0) + 1.0]

        def values(trial: Scored) -> list[float]:
            figures = trial.record.values
            return worst if trial.score is None else [figures["quality"], figures[cost]]

        directions: list[Literal["minimize", "maximize"]] = ["maximize", "minimize"]
        return _asked(history, values, directions, lambda s: NSGAIISampler(population_size=_POPULATION, seed=s), _replayed, seed)


_Tell = Callable[[optuna.Study, dict[str, Any], dict[str, BaseDistribution], list[float]], None]


def _asked(
    history: History,
    values: Callable[[Scored], list[float]],
    directions: list[Literal["minimize", "maximize"]],
    sampler: Callable[[int], BaseSampler],
    tell: _Tell,
    seed: int,
) -> Proposal | None:
    """What the sampler would try after the trials."""
    distributions = history.space.distributions()
    drawn = int(history.rng(seed).integers(2**31))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # experimental arguments, and parameters that are sampled independently where few trials have them
        optuna.logging.disable_default_handler()
        study = optuna.create_study(directions=directions, sampler=sampler(drawn))
        for trial in history.scored:
            settings = trial.record.proposal.settings
            tell(study, {name: settings[name] for name in distributions if name in settings}, distributions, values(trial))
        for _ in range(_RETRIES):
            asked = study.ask(distributions)
            point = history.space.point_of(asked.params)
            if point is not None and history.is_new(point):
                # All of its settings are kept, those of steps that it has not among them: the sampler learns from them too.
                return Proposal(history.space.text(point), dict(asked.params))
            study.tell(asked, state=TrialState.FAIL)
    rng = history.rng(seed)
    return history.new(lambda: history.space.random(rng))


def _added(study: optuna.Study, settings: dict[str, Any], distributions: dict[str, BaseDistribution], values: list[float]) -> None:
    known = {name: distributions[name] for name in settings}
    study.add_trial(optuna.trial.create_trial(params=settings, distributions=known, values=values))


def _replayed(study: optuna.Study, settings: dict[str, Any], distributions: dict[str, BaseDistribution], values: list[float]) -> None:
    """As if the sampler had been asked for it: it counts generations by what it was asked."""
    study.enqueue_trial(settings)
    study.tell(study.ask(distributions), values)
