"""What must hold for a model to be good enough."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

DEFAULT_DROP = 0.01  # of quality, where nothing else is asked for

FIGURES = {"latency": "latency_ms", "macs": "macs", "params": "params", "bytes": "bytes", "peak-memory": "peak_memory"}
"""The figure of a trial that says how much of each resource (graphopt.allocation.RESOURCES) its model takes."""

# Lossless passes are promised to change outputs by at most 1e-5, relative; a drop of that size is none.
ROUNDING = 1e-5


@dataclass(frozen=True)
class Budget:
    """At most `latency_ms` per run, at least `speedup` times as fast, at most so many multiply-accumulates, parameters, bytes of the file and
    peak bytes of activations, at most `max_drop` less quality. None: does not matter.
    """

    latency_ms: float | None = None
    speedup: float | None = None
    max_drop: float | None = None
    macs: float | None = None
    params: float | None = None
    bytes: float | None = None
    peak_memory: float | None = None

    def __post_init__(self) -> None:
        for name, value in self.limits.items():
            if not (value > 0 or (name == "max_drop" and value == 0)):
                raise ValueError(f"{name} must be above 0, not {value}")

    @property
    def limits(self) -> dict[str, float]:
        """The limits that are given, by name, as they stand in a report."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in given.items() if value is not None}

    @property
    def is_timed(self) -> bool:
        return self.latency_ms is not None or self.speedup is not None

    @property
    def is_sized(self) -> bool:
        """Whether it says how small the model must be; else the smallest of good enough quality is wanted."""
        return any(name != "max_drop" for name in self.limits)

    def shares(self, original: Mapping[str, float]) -> dict[str, float]:
        """By resource, the share of the original that may be left. `original` has its figures, by the names in FIGURES."""
        given = {resource: getattr(self, figure) for resource, figure in FIGURES.items()}
        shares = {resource: limit / max(original[FIGURES[resource]], 1e-12) for resource, limit in given.items() if limit is not None}
        if self.speedup is not None:
            shares["latency"] = min(1 / self.speedup, shares.get("latency", float("inf")))
        return shares

    def usage(self, original: Mapping[str, float], figures: Mapping[str, float]) -> float:
        """The share of what is allowed that a model takes of the resource it takes most of: at most 1 where all limits hold; 0 without limits."""
        taken = {resource: figures[name] / max(original[name], 1e-12) for resource, name in FIGURES.items() if name in figures}
        return max((taken[resource] / share for resource, share in self.shares(original).items()), default=0.0)

    def allows_drop(self, drop: float) -> bool:
        return self.max_drop is None or drop <= self.max_drop + ROUNDING
