"""A pipeline as a search sees it, and how one is changed into another."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Point:
    """A sequence of compressing passes.

    `steps` are the passes, as texts without a goal. `shares` (one fewer) say how much of what is still to be saved each step but the last
    saves, as a place among the space's shares; the last step saves all that is left. `repair`: whether the repairing pass follows. `level`
    is the place of the goal among the space's goals.
    """

    steps: tuple[str, ...]
    shares: tuple[int, ...] = ()
    repair: bool = False
    level: int = 0

    def __post_init__(self) -> None:
        if len(self.shares) != len(self.steps) - 1:
            raise ValueError(f"{len(self.steps)} steps need {len(self.steps) - 1} shares, not {len(self.shares)}")

    def at(self, level: int) -> Point:
        return replace(self, level=level)


def name_of(step: str) -> str:
    """The name of the pass of a step."""
    return step.partition("{")[0]
