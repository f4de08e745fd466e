"""How good a trial is: one number for a strategy to raise."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from graphopt.search.budget import ROUNDING
from graphopt.search.study.records import Record

_SLACK = 1e-6  # relative; what is over a limit by less is a matter of rounding


@dataclass(frozen=True)
class Objective:
    """Of trials within `limits` (the most of each figure of a record) that of the best quality counts as best.

    Without limits (`is_sized` false), that of the least `cost` (a figure, of which the original takes `whole`) whose quality is at most
    `max_drop` below `quality`, the original's; what drops more is worse the more it drops.
    """

    quality: float
    limits: Mapping[str, float] = field(default_factory=dict)
    max_drop: float | None = None
    cost: str = "latency_ms"
    whole: float = 1.0

    @property
    def is_sized(self) -> bool:
        return bool(self.limits)

    def usage(self, record: Record) -> float:
        """The largest share of a limit that is used; at most 1 where all hold."""
        return max((record.values[name] / limit for name, limit in self.limits.items() if name in record.values), default=0.0)

    def score(self, record: Record) -> float | None:
        """Higher is better; None for a trial that failed, runs or is over a limit."""
        if record.state != "complete" or "quality" not in record.values or self.usage(record) > 1 + _SLACK:
            return None
        if self.is_sized:
            return record.values["quality"]  # whatever it is: the loss that is allowed is judged at the end, and less is better
        excess = self.quality - record.values["quality"] - (self.max_drop or 0.0)
        return self._saved(record) if excess <= ROUNDING else -excess - _LEAST

    def keeps(self, record: Record) -> bool:
        """Whether it is as small and as good as it must be."""
        if self.score(record) is None:
            return False
        return self.max_drop is None or self.quality - record.values["quality"] <= self.max_drop + ROUNDING

    def is_enough(self, score: float) -> bool:
        """Whether what has this score is within the budget, so that more may be asked for."""
        return self.is_sized or score >= -_LEAST

    def is_perfect(self, record: Record) -> bool:
        """Whether no trial could be noticeably better: it is small enough, and as good as the original."""
        return self.is_sized and self.score(record) is not None and record.values["quality"] >= self.quality

    def best(self, records: Sequence[Record]) -> list[Record]:
        """Those that have a score, the best first; of equals the fastest, then the earliest."""
        scored = [(score, record) for record in records if (score := self.score(record)) is not None]
        scored.sort(key=lambda pair: (-pair[0], pair[1].values.get("latency_ms", math.inf)))
        return [record for _, record in scored]

    def _saved(self, record: Record) -> float:
        """The logarithm of how many times less it takes, at least that of a hundred times as much."""
        return max(math.log(self.whole / max(record.values[self.cost], 1e-12)), -_LEAST)


_LEAST = math.log(100)
