"""Searching for the model that meets a budget."""

from graphopt.search.bench import Bench, CpuBench, Effort, Timing
from graphopt.search.budget import Budget
from graphopt.search.job import FIRST, Optimized, optimize
from graphopt.search.predicted import PredictedBench
from graphopt.search.trial import Trial
from graphopt.search.uniform import Outcome, UniformSearch

__all__ = [
    "FIRST",
    "Bench",
    "Budget",
    "CpuBench",
    "Effort",
    "Optimized",
    "Outcome",
    "PredictedBench",
    "Timing",
    "Trial",
    "UniformSearch",
    "optimize",
]
