"""Ways to go through the subnets that a budget allows."""

from __future__ import annotations

import warnings
from typing import Protocol

import numpy as np
import optuna

from graphopt.search.supernet.allowed import Allowed, Floats
from graphopt.supernet import Rows

ROUNDS = 500


class Strategy(Protocol):
    """Proposes subnets within the budget and is told how good they are; larger is better. The same seed leads to the same proposals."""

    name: str

    def ask(self) -> Rows:
        """The next subnets, shape (some, sites)."""

    def tell(self, rows: Rows, qualities: Floats) -> None:
        """How good the subnets are that were asked for last."""


class RandomSearch:
    """Subnets with uniform choices, brought into the budget."""

    name = "random"

    def __init__(self, allowed: Allowed, seed: int = 0, at_once: int = 100) -> None:
        self._allowed, self._rng, self._at_once = allowed, np.random.default_rng(seed), at_once

    def ask(self) -> Rows:
        return self._allowed.brought_in(self._allowed.space.sample(self._rng, self._at_once), self._rng)

    def tell(self, rows: Rows, qualities: Floats) -> None:
        pass


class Evolution:
    """The evolutionary search of Once-for-All (Cai et al., 2020, https://arxiv.org/abs/1908.09791), with its published settings.

    The best quarter of a generation are parents. The next one is the parents, as many mutants as make half the population (each choice made
    anew with probability 0.1), and children of two parents each for the rest. Once-for-All draws again what is outside of the budget; here
    it is brought into it.
    """

    name = "evolve"

    def __init__(
        self, allowed: Allowed, seed: int = 0, population: int = 100, parents: float = 0.25, mutation: float = 0.1, mutants: float = 0.5
    ) -> None:
        self._allowed, self._rng, self._population = allowed, np.random.default_rng(seed), population
        self._keep, self._mutation, self._mutants = max(round(parents * population), 2), mutation, round(mutants * population)
        self._rows = np.zeros((0, len(allowed.space.sites)), np.intp)
        self._qualities = np.zeros(0)

    def ask(self) -> Rows:
        space, rng = self._allowed.space, self._rng
        if not len(self._rows):
            return self._allowed.brought_in(space.sample(rng, self._population), rng)
        mutants = space.mutated(self._rows[rng.integers(len(self._rows), size=self._mutants)], rng, self._mutation)
        pairs = rng.integers(len(self._rows), size=(2, self._population - self._mutants))
        children = space.crossed(self._rows[pairs[0]], self._rows[pairs[1]], rng)
        return self._allowed.brought_in(np.concatenate([mutants, children]), rng)

    def tell(self, rows: Rows, qualities: Floats) -> None:
        rows, qualities = np.concatenate([self._rows, rows]), np.concatenate([self._qualities, qualities])
        _, first = np.unique(rows, axis=0, return_index=True)  # a parent counts once, or the best would crowd out all others
        best = first[np.argsort(-qualities[first], kind="stable")][: self._keep]
        self._rows, self._qualities = rows[best], qualities[best]


class Tpe:
    """Optuna's tree-structured Parzen estimator, several choices at once; it learns from the subnets as they were brought into the budget."""

    name = "tpe"

    def __init__(self, allowed: Allowed, seed: int = 0) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = optuna.samplers.TPESampler(seed=seed, multivariate=True)
        self._allowed, self._rng = allowed, np.random.default_rng(seed)
        self._study = optuna.create_study(direction="maximize", sampler=sampler)
        self._kinds = {
            str(number): optuna.distributions.IntDistribution(0, int(count) - 1) for number, count in enumerate(allowed.space.counts)
        }

    def ask(self) -> Rows:
        trial = self._study.ask(dict(self._kinds))
        self._study.tell(trial, state=optuna.trial.TrialState.FAIL)  # what is told is another row, perhaps
        row = np.array([[trial.params[name] for name in self._kinds]], np.intp)
        return self._allowed.brought_in(row, self._rng)

    def tell(self, rows: Rows, qualities: Floats) -> None:
        for row, quality in zip(rows.tolist(), qualities.tolist(), strict=True):
            params = dict(zip(self._kinds, row, strict=True))
            self._study.add_trial(optuna.trial.create_trial(params=params, distributions=dict(self._kinds), value=quality))
