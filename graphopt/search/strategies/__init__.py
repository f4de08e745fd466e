"""How to go through the space of pipelines. Each strategy is a pure function of the trials so far and the seed."""

from __future__ import annotations

from collections.abc import Callable

from graphopt.search.objective import Objective
from graphopt.search.space import Space
from graphopt.search.strategies.anneal import Anneal
from graphopt.search.strategies.auto import Auto
from graphopt.search.strategies.evolve import Evolve
from graphopt.search.strategies.greedy import Greedy
from graphopt.search.strategies.grid import Grid
from graphopt.search.strategies.optuna_samplers import Nsga2, Tpe
from graphopt.search.strategies.random import RandomSearch
from graphopt.search.study.records import Strategy

STRATEGIES: dict[str, Callable[[Space, Objective], Strategy]] = {
    made.name: made for made in (Auto, RandomSearch, Grid, Tpe, Nsga2, Anneal, Evolve, Greedy)
}

__all__ = ["STRATEGIES", "Anneal", "Auto", "Evolve", "Greedy", "Grid", "Nsga2", "RandomSearch", "Tpe"]
