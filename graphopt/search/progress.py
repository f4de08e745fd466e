"""What a search tells the one who waits for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from graphopt.search.study import Record


@dataclass(frozen=True)
class Progress:
    """`doing` says in a few words what happens now, `trying` is the pipeline it happens to. `made` trials have ended, of `of` that were asked
    for; `seconds_left` are those of the search. `best` is the best trial so far.
    """

    doing: str
    trying: str = ""
    made: int = 0
    of: int | None = None
    seconds_left: float | None = None
    best: Record | None = None


Watch = Callable[[Progress], None]


def unwatched(progress: Progress) -> None:
    """Nobody waits."""
