"""What a fit makes of a target's measurements: the numbers in `coefficients.json`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from graphopt.cost.interval import Interval
from graphopt.cost.linear import LinearModel
from graphopt.cost.network import Correction
from graphopt.cost.residual import Smoothness

VERSION = 1


@dataclass(frozen=True)
class Coefficients:
    """Laws per family, smoothness of the residuals per family, and by model (`fused`, `lut`, `linear`) the network correction and interval.

    `kernels` says how many measured kernels the residuals are relative to: with another table they mean nothing.
    """

    linear: LinearModel
    corrections: Mapping[str, Correction]
    intervals: Mapping[str, Interval]
    smoothness: Mapping[str, Smoothness] = field(default_factory=dict)
    kernels: int = 0

    def to_json(self) -> dict[str, Any]:
        return {
            "version": VERSION,
            "kernels": self.kernels,
            "linear": {"families": _plain(self.linear.families), "kins": _plain(self.linear.kins)},
            "smoothness": {name: asdict(smooth) for name, smooth in self.smoothness.items()},
            "corrections": {name: asdict(correction) for name, correction in self.corrections.items()},
            "intervals": {name: asdict(interval) for name, interval in self.intervals.items()},
        }

    @classmethod
    def from_json(cls, document: Any) -> Coefficients:
        """Raises KeyError, TypeError or ValueError where the document is no such thing."""
        if document["version"] != VERSION:
            raise ValueError(f"version {document['version']!r} is not {VERSION}, which this graphopt reads")
        return cls(
            LinearModel(_laws(document["linear"]["families"]), _laws(document["linear"]["kins"])),
            {name: _correction(values) for name, values in document["corrections"].items()},
            {name: Interval(**_numbers(values)) for name, values in document["intervals"].items()},
            {name: _smoothness(values) for name, values in document["smoothness"].items()},
            int(document["kernels"]),
        )


def _plain(laws: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    return {family: dict(law) for family, law in sorted(laws.items())}


def _laws(document: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    return {family: _numbers(law) for family, law in document.items()}


def _correction(document: Mapping[str, Any]) -> Correction:
    numbers = {name: value for name, value in document.items() if name != "covariance"}
    covariance = [_numbers(dict(enumerate(line))) for line in document.get("covariance", ())]
    return Correction(**_numbers(numbers), covariance=tuple(tuple(line.values()) for line in covariance))


def _smoothness(document: Mapping[str, Any]) -> Smoothness:
    return Smoothness(float(document["amplitude"]), float(document["noise"]), _numbers(document["lengths"]))


def _numbers(document: Mapping[Any, Any]) -> dict[Any, Any]:
    found = {name: float(value) for name, value in document.items()}
    if any(value != value or value in (float("inf"), float("-inf")) for value in found.values()):
        raise ValueError("a number is not finite")
    return found
