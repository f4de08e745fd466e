"""What must hold for a model to be good enough."""

from __future__ import annotations

from dataclasses import dataclass

DEFAULT_DROP = 0.01  # of quality, where nothing else is asked for

# Lossless passes are promised to change outputs by at most 1e-5, relative; a drop of that size is none.
_ROUNDING = 1e-5


@dataclass(frozen=True)
class Budget:
    """At most `latency_ms` per run, at least `speedup` times as fast, at most `max_drop` less quality; None: does not matter."""

    latency_ms: float | None = None
    speedup: float | None = None
    max_drop: float | None = None

    def __post_init__(self) -> None:
        for name, value in self.limits.items():
            if not (value > 0 or (name == "max_drop" and value == 0)):
                raise ValueError(f"{name} must be above 0, not {value}")

    @property
    def limits(self) -> dict[str, float]:
        """The limits that are given, by name, as they stand in a report."""
        given = {"latency_ms": self.latency_ms, "speedup": self.speedup, "max_drop": self.max_drop}
        return {name: value for name, value in given.items() if value is not None}

    @property
    def is_timed(self) -> bool:
        return self.latency_ms is not None or self.speedup is not None

    def usage(self, original_ms: float, ms: float) -> float:
        """The share of the time allowed that a model of `ms` takes: at most 1 where both limits hold. The original takes `original_ms`."""
        allowed = [self.latency_ms or float("inf"), original_ms / self.speedup if self.speedup else float("inf")]
        return ms / min(allowed)

    def allows_drop(self, drop: float) -> bool:
        return self.max_drop is None or drop <= self.max_drop + _ROUNDING
