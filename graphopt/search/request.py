"""What a search is asked for."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from graphopt.quality import Data, Source
from graphopt.search.budget import Budget

FIRST = "simplify,fuse-bn"  # what is run before the search
LEADING = "prune-channels"  # what is tried before other passes, where it is installed
REPAIR = "reconstruct"  # what may follow, where it is installed and there is data to calibrate on
THIS_MACHINE = "cpu"  # the target that is measured


@dataclass(frozen=True)
class Request:
    """A model's file, what it is to become, and how quality is found; all that another process needs to make the same trials.

    The fields mean what the parameters of `graphopt.optimize` of the same names mean.
    """

    model: str
    budget: Budget
    target: str = THIS_MACHINE
    data: Data | Source | None = None
    calibration: Data | Source | None = None
    preprocess: str | None = None
    metric: str | None = None
    seed: int = 0
    threads: int | None = None
    batch: int = 1
    first: str = FIRST
    plugins: tuple[str, ...] = field(default=())
    name: str = ""  # what the model is called for people, where it is no file of theirs

    @property
    def is_measured(self) -> bool:
        """Whether latencies are measured here, and not predicted."""
        return self.target == THIS_MACHINE

    @property
    def shown(self) -> str:
        return self.name or os.fspath(self.model)
