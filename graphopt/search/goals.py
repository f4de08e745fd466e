"""What a pipeline is to reach, as passes take it: shares of what the original costs, falling from step to step."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate

SUFFIXES = {"latency": "x", "macs": "x-macs", "params": "x-params", "bytes": "x-bytes", "peak-memory": "x-peak"}
"""How a share of the original's cost of each resource ends, in the parameter `to` of a compressing pass."""

_DIGITS = 4

Goal = Mapping[str, float]
"""The share of the original that may be left, by resource (graphopt.allocation.RESOURCES)."""


def along(goal: Goal, shares: Sequence[float]) -> list[Goal]:
    """The goals of each step. Each share is the part of the remaining logarithmic reduction that a step makes; the last makes all of it.

    A step that takes share s of a goal r leaves r ** s, which is to say that equal shares divide what is left by equal factors.
    """
    left = list(accumulate((1 - share for share in shares), lambda a, b: a * b, initial=1.0))[1:]
    done = [*(1 - part for part in left), 1.0]
    return [{resource: ratio**part for resource, ratio in goal.items()} for part in done]


def written(goal: Goal) -> str:
    """The value of `to`, such as `0.7x` or `[0.7x,0.5x-macs]`; rounded down, so that what keeps it keeps the goal."""
    texts = [f"{_floor(ratio):.{_DIGITS}g}{SUFFIXES[resource]}" for resource, ratio in goal.items()]
    return texts[0] if len(texts) == 1 else f"[{','.join(texts)}]"


def step_text(step: str, goal: Goal, settings: str = "") -> str:
    """A pass, given without a goal, with one."""
    name, _, rest = step.partition("{")
    parts = [rest.removesuffix("}"), f"to={written(goal)}", settings]
    return f"{name}{{{' '.join(filter(None, parts))}}}"


def _floor(ratio: float) -> float:
    if ratio <= 0:
        raise ValueError(f"a goal must be above 0, not {ratio}")
    scale = 10.0 ** (_DIGITS - 1 - math.floor(math.log10(ratio)))
    return math.floor(ratio * scale + 1e-9) / scale
