"""Searching for the model that meets a budget."""

from .bench import Bench, CpuBench, Effort, Timing
from .budget import Budget
from .job import FIRST, Optimized, optimize
from .trial import Trial
from .uniform import Outcome, UniformSearch

__all__ = ["FIRST", "Bench", "Budget", "CpuBench", "Effort", "Optimized", "Outcome", "Timing", "Trial", "UniformSearch", "optimize"]
