"""Small changes of a pipeline, and children of two: the moves of annealing and evolution."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import numpy as np

from graphopt.search.point import Point, name_of
from graphopt.search.space import Space

_T = TypeVar("_T", bool, int)
Move = Callable[[Space, Point, np.random.Generator], Point | None]


def mutate(space: Space, point: Point, rng: np.random.Generator) -> Point:
    """The point after one move that changes it: a step added, dropped, put elsewhere or replaced; a share or the goal a little higher or
    lower; repair or not. The point itself only where the space holds no other."""
    for place in rng.permutation(len(MOVES)):
        moved = MOVES[int(place)](space, point, rng)
        if moved is not None and moved != point:
            return moved
    return point


def cross(space: Space, one: Point, other: Point, rng: np.random.Generator) -> Point:
    """The first steps of one and the last of the other, without those whose pass was there before; all else from either."""
    cut, rest = int(rng.integers(1, len(one.steps) + 1)), int(rng.integers(len(other.steps)))
    used = {name_of(step) for step in one.steps[:cut]}
    added = [step for step in other.steps[rest:] if name_of(step) not in used][: space.most - cut]
    steps = (*one.steps[:cut], *added)
    pool = (*one.shares, *other.shares) or (len(space.shares) // 2,)
    shares = tuple((*one.shares[:cut], *(pool[place] for place in rng.integers(len(pool), size=len(steps))))[: len(steps) - 1])
    return Point(steps, shares, _either(one.repair, other.repair, rng), _either(one.level, other.level, rng))


def _either(one: _T, other: _T, rng: np.random.Generator) -> _T:
    return one if rng.random() < 0.5 else other


def _unused(space: Space, point: Point) -> list[str]:
    used = {name_of(step) for step in point.steps}
    return [step for step in space.passes if name_of(step) not in used]


def add(space: Space, point: Point, rng: np.random.Generator) -> Point | None:
    """A pass that was not there, anywhere."""
    free = _unused(space, point)
    if not free or len(point.steps) >= space.most:
        return None
    place = int(rng.integers(len(point.steps) + 1))
    steps = (*point.steps[:place], free[rng.integers(len(free))], *point.steps[place:])
    at = min(place, len(point.shares))
    shares = (*point.shares[:at], int(rng.integers(len(space.shares))), *point.shares[at:])
    return replace(point, steps=steps, shares=shares)


def drop(space: Space, point: Point, rng: np.random.Generator) -> Point | None:
    """One pass fewer; the others save what it did."""
    if len(point.steps) < 2:
        return None
    place = int(rng.integers(len(point.steps)))
    at = min(place, len(point.shares) - 1)
    steps = (*point.steps[:place], *point.steps[place + 1 :])
    return replace(point, steps=steps, shares=(*point.shares[:at], *point.shares[at + 1 :]))


def swap(space: Space, point: Point, rng: np.random.Generator) -> Point | None:
    """Two neighbours in the other order."""
    if len(point.steps) < 2:
        return None
    place = int(rng.integers(len(point.steps) - 1))
    steps = list(point.steps)
    steps[place], steps[place + 1] = steps[place + 1], steps[place]
    return replace(point, steps=tuple(steps))


def change(space: Space, point: Point, rng: np.random.Generator) -> Point | None:
    """Another pass, or another form of the same, in the place of one."""
    place = int(rng.integers(len(point.steps)))
    own = [step for step in space.passes if name_of(step) == name_of(point.steps[place]) and step != point.steps[place]]
    others = [*_unused(space, point), *own]
    if not others:
        return None
    return replace(point, steps=(*point.steps[:place], others[rng.integers(len(others))], *point.steps[place + 1 :]))


def retune(space: Space, point: Point, rng: np.random.Generator) -> Point | None:
    """One share a little more or less."""
    if not point.shares:
        return None
    place = int(rng.integers(len(point.shares)))
    share = _beside(point.shares[place], len(space.shares), rng)
    return None if share is None else replace(point, shares=(*point.shares[:place], share, *point.shares[place + 1 :]))


def aim(space: Space, point: Point, rng: np.random.Generator) -> Point | None:
    """The next goal, up or down."""
    level = _beside(point.level, len(space.goals), rng)
    return None if level is None else point.at(level)


def mend(space: Space, point: Point, rng: np.random.Generator) -> Point | None:
    """Repair, or none."""
    return replace(point, repair=not point.repair) if space.repair else None


MOVES: tuple[Move, ...] = (add, drop, swap, change, retune, aim, mend)


def _beside(place: int, count: int, rng: np.random.Generator) -> int | None:
    near = [other for step in (-2, -1, 1, 2) if 0 <= (other := place + step) < count]
    return near[rng.integers(len(near))] if near else None
