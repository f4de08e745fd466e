"""The answer to how long a model takes on a target."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, Literal

from graphopt.cost.families import kin
from graphopt.cost.kernel import Kernel
from graphopt.cost.times import Model, Source

Bound = Literal["compute", "memory", "launch", ""]


@dataclass(frozen=True)
class KernelTime:
    """The time of one kernel in milliseconds, by itself; `bound` is what most of it goes to, empty where that is not known."""

    kernel: Kernel
    family: str
    ms: float
    sigma: float
    source: Source
    bound: Bound

    @property
    def nodes(self) -> tuple[str, ...]:
        """The graph's nodes that it executes."""
        return tuple(node.name or node.label for node in self.kernel.nodes)

    @property
    def operators(self) -> str:
        """Such as `Conv+Relu`."""
        return "+".join(node.op_type for node in self.kernel.nodes) or self.kernel.signature.operator


@dataclass(frozen=True)
class Prediction:
    """The latency of a model on a target with its 90 % interval, and what it is made of.

    `assumptions` say what was taken for granted, `warnings` what makes the interval too narrow to trust. `measured` is always False: nothing
    ran. The kernels' times add up to `kernels_ms`; the network's own cost (colder caches, launches) is the difference to `ms`.
    """

    ms: float
    low_ms: float
    high_ms: float
    target: str
    model: Model
    kernels: tuple[KernelTime, ...]
    assumptions: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    measured: bool = False

    @property
    def kernels_ms(self) -> float:
        return sum(kernel.ms for kernel in self.kernels)

    def families(self) -> dict[str, tuple[int, float]]:
        """Number of kernels and milliseconds by family, the slowest first."""
        found: dict[str, tuple[int, float]] = {}
        for kernel in self.kernels:
            count, ms = found.get(kernel.family, (0, 0.0))
            found[kernel.family] = (count + 1, ms + kernel.ms)
        return dict(sorted(found.items(), key=lambda item: -item[1][1]))

    def listed(self, source: Source) -> dict[str, int]:
        """How many kernels of each operator have their time from `source`, such as `unknown` or `free`."""
        return dict(sorted(Counter(kernel.kernel.signature.operator for kernel in self.kernels if kernel.source == source).items()))

    def to_json(self) -> dict[str, Any]:
        """Plain data for machines."""
        return {
            "ms": self.ms,
            "low_ms": self.low_ms,
            "high_ms": self.high_ms,
            "measured": self.measured,
            "target": self.target,
            "model": self.model,
            "kernels_ms": self.kernels_ms,
            "kernels": [
                {
                    "name": time.kernel.name,
                    "operators": time.operators,
                    "nodes": list(time.nodes),
                    "family": time.family,
                    "kin": kin(time.family),
                    "ms": time.ms,
                    "share": time.ms / self.kernels_ms if self.kernels_ms else 0.0,
                    "source": time.source,
                    "bound": time.bound or None,
                    "signature": str(time.kernel.signature),
                }
                for time in self.kernels
            ],
            "families": {name: {"kernels": count, "ms": ms} for name, (count, ms) in self.families().items()},
            "unknown": self.listed("unknown"),
            "assumed_free": self.listed("free"),
            "assumptions": list(self.assumptions),
            "warnings": list(self.warnings),
        }
