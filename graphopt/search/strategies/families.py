"""Pipelines that differ only in their goal, and how far each of them can go."""

from __future__ import annotations

from dataclasses import dataclass

from graphopt.search.point import Point
from graphopt.search.strategies.history import History, Scored


@dataclass(frozen=True)
class Found:
    """What is known of the points that differ only in `level`.

    `best` is the best of them, and `score` its score, None where none has any. `next` is what to try, None where the last level that is good
    enough is known, or a trial that will tell is running.
    """

    best: Point
    score: float | None
    next: Point | None


def explored(history: History, point: Point) -> Found:
    """Bisection over the goals, which ask for more and more: the last that is good enough is looked for. With one goal that is one trial."""
    tried = {trial.point.level: trial for trial in history.scored if trial.point.at(point.level) == point}
    scores = {level: trial.score for level, trial in tried.items() if trial.score is not None}
    best = max(scores, key=lambda level: scores[level], default=None)
    following = _undecided(history, tried)
    return Found(
        point.at(0 if best is None else best),
        None if best is None else scores[best],
        None if following is None else point.at(following),
    )


def _undecided(history: History, tried: dict[int, Scored]) -> int | None:
    """The level to be tried."""
    low, high = -1, len(history.space.goals)
    while high - low > 1:
        middle = (low + high) // 2
        if middle not in tried:
            return middle
        if tried[middle].record.state == "running":
            return None
        score = tried[middle].score
        if score is not None and history.objective.is_enough(score):
            low = middle
        else:
            high = middle
    return None
