"""One model that a search looked at."""

from __future__ import annotations

from dataclasses import dataclass

from graphopt.report import Run
from graphopt.search.bench import Timing


@dataclass(eq=False)
class Trial:
    """A model on the way to the budget: the pipeline that makes it, and what is known of it so far; None is not measured yet."""

    run: Run
    ratio: float  # of prune-channels; 0 without it
    timing: Timing | None = None
    quality: float | None = None

    @property
    def pipeline(self) -> str:
        return self.run.pipeline
