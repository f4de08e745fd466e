"""What `to` says: how much of a resource a pass may leave, such as `6ms`, `0.7x`, `0.5x-macs`, `30M-macs`, `2M-params`, `1.5MB`, `0.5x-peak`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

_NUMBER = r"(?P<amount>\d+\.?\d*|\.\d+)(?:e(?P<exponent>[+-]?\d+))?"
_GOAL = re.compile(rf"{_NUMBER}(?P<unit>[a-zA-Z]*)(?:-(?P<of>[a-z-]+))?")
_OF = {"latency": "latency", "macs": "macs", "params": "params", "bytes": "bytes", "peak": "peak-memory", "peak-memory": "peak-memory"}
_TIMES = {"us": 1e-3, "ms": 1.0, "s": 1e3}
_BYTES = {"B": 1.0, "kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9}
_COUNTS = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9}
_SHAPE = (
    "a time (6ms), a share of the original (0.7x, 0.5x-macs, -params, -bytes, -peak) or an amount (30M-macs, 2M-params, 1.5MB, 8MB-peak)"
)


@dataclass(frozen=True)
class Goal:
    """At most `amount` of a resource (milliseconds, a number, bytes), or that share of the original's where `relative`."""

    resource: str
    amount: float
    relative: bool = False


def read_goal(text: str) -> Goal:
    """The goal of one text. Raises ValueError, which says what is allowed."""
    match = _GOAL.fullmatch(text.strip())
    found = None if match is None else _goal(float(f"{match['amount']}e{match['exponent'] or 0}"), match["unit"], match["of"])
    if found is None:
        raise ValueError(f"{_SHAPE}; got {text!r}")
    if not found.amount > 0 or (found.relative and found.amount > 1):
        raise ValueError(f"an amount above 0, and of a share at most 1; got {text!r}")
    return found


def read_goals(texts: str | Iterable[str]) -> tuple[Goal, ...]:
    """The goals of one text or of several. Raises ValueError."""
    return tuple(read_goal(text) for text in ([texts] if isinstance(texts, str) else texts))


def limits_of(goals: Iterable[Goal], original: Callable[[str], float]) -> dict[str, float]:
    """The most that the goals allow of each resource that they name, where `original` gives what the original takes of one."""
    limits: dict[str, float] = {}
    for goal in goals:
        amount = goal.amount * original(goal.resource) if goal.relative else goal.amount
        limits[goal.resource] = min(amount, limits.get(goal.resource, amount))
    return limits


def amount_words(resource: str, amount: float) -> str:
    """An amount of a resource for people: `6.12 ms`, `30.1 M MACs`."""
    if resource == "latency":
        return f"{amount:.4g} ms"
    nouns = {"macs": "MACs", "params": "parameters", "bytes": "bytes", "peak-memory": "bytes of activations"}
    for unit, size in (("G ", 1e9), ("M ", 1e6), ("k ", 1e3)):
        if amount >= size:
            return f"{amount / size:.4g} {unit}{nouns[resource]}"
    return f"{amount:.4g} {nouns[resource]}"


def _goal(amount: float, unit: str, of: str | None) -> Goal | None:
    resource = None if of is None else _OF.get(of)
    if of is not None and resource is None:
        return None
    if unit == "x":
        return Goal(resource or "latency", amount, relative=True)
    if unit in _TIMES and resource in (None, "latency"):
        return Goal("latency", amount * _TIMES[unit])
    if unit in _BYTES and resource in (None, "bytes", "peak-memory"):
        return Goal(resource or "bytes", amount * _BYTES[unit])
    if unit in _COUNTS and resource in ("macs", "params"):
        return Goal(resource, amount * _COUNTS[unit])
    return None
