"""The range or the choices that a parameter's values keep to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Limits:
    """The range of a scalar: `minimum` and `maximum` belong to it, `above` and `below` do not; or the `choices` it is one of."""

    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None
    below: float | None = None
    choices: tuple[object, ...] = ()

    def hold(self, value: Any) -> bool:
        return (
            (self.minimum is None or value >= self.minimum)
            and (self.maximum is None or value <= self.maximum)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
            and (not self.choices or value in self.choices)
        )

    @property
    def words(self) -> str:
        """Such as "from 0 to 1", "at least 1", "one of l1, l2"; empty if there are no limits."""
        if self.choices:
            return "one of " + ", ".join(map(str, self.choices))
        if self.minimum is not None and self.maximum is not None:
            return f"from {self.minimum} to {self.maximum}"
        bounds = [("at least", self.minimum), ("above", self.above), ("at most", self.maximum), ("below", self.below)]
        return " and ".join(f"{word} {bound}" for word, bound in bounds if bound is not None)
