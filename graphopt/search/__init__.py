"""Searching for the model that meets a budget (docs/search.md)."""

from graphopt.search.bench import Bench, CpuBench, Effort, Timing
from graphopt.search.budget import Budget
from graphopt.search.job import SECONDS, Optimized, optimize
from graphopt.search.objective import Objective
from graphopt.search.point import Point
from graphopt.search.predicted import PredictedBench
from graphopt.search.progress import Progress
from graphopt.search.request import FIRST
from graphopt.search.space import Space
from graphopt.search.strategies import STRATEGIES

__all__ = [
    "FIRST",
    "SECONDS",
    "STRATEGIES",
    "Bench",
    "Budget",
    "CpuBench",
    "Effort",
    "Objective",
    "Optimized",
    "Point",
    "PredictedBench",
    "Progress",
    "Space",
    "Timing",
    "optimize",
]
