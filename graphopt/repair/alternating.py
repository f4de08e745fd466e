"""Two stages that are solved in turns, each the best for the other: alternating least squares.

Where the first stage works at each place alike and the second joins places, no decomposition gives the best of both: the first is found as if
places were unrelated. From there on it is improved for the second as it is, by conjugate gradients (Hestenes and Stiefel, 1952), as the
normal equations of all its numbers at once would be too large; then the second is solved anew.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from graphopt.repair.lowrank import cost, expand

Array = npt.NDArray[Any]

_TURNS = 4
_STEPS = 12  # of conjugate gradients in a turn
_LEAST_GAIN = 1e-3  # of the cost, for another turn
_MOST_WORK = 5e9  # multiplications in a step: of larger layers the first stage stays as it is


def alternated(matrix: Array, second: Array, first: Array, top: Array, solved: Callable[[Array, Array], Array]) -> tuple[Array, Array]:
    """A first stage [groups, rank, kept] and a matrix on top of it [groups, outs, rank * places] that cost no more than those given.

    `matrix` [groups, outs, kept * places] is what they stand for, `second` are the second moments of its inputs, and `solved(first, top)` is
    the best on top of a first stage, given one that is nearly so.
    """
    if matrix.size * matrix.shape[2] > _MOST_WORK:
        return first, top
    least = cost(matrix, expand(top, first), second)
    for _ in range(_TURNS):
        better = _first(matrix, second, first, top)
        on_top = solved(better, top)
        now = cost(matrix, expand(on_top, better), second)
        if now >= least:
            break
        enough = least - now < _LEAST_GAIN * least
        first, top, least = better, on_top, now
        if enough:
            break
    return first, top


def _first(matrix: Array, second: Array, first: Array, top: Array) -> Array:
    """The first stage that is better for what is on top of it."""
    groups, rank, kept = first.shape
    by_place = top.reshape(groups, top.shape[1], rank, -1)

    def onto(missing: Array) -> Array:
        """How the cost falls with each number of the first stage, where outputs lack `missing` times the inputs; halved."""
        weighted = (missing @ second).reshape(groups, -1, kept, by_place.shape[3])
        return np.asarray(np.einsum("gorj,gokj->grk", by_place, weighted, optimize=True))

    change = np.zeros_like(first)
    left = onto(matrix - expand(top, first))
    direction, size = left, float((left**2).sum())
    for _ in range(_STEPS):
        bent = onto(expand(top, direction))
        curvature = float((direction * bent).sum())
        if not curvature > 0:
            break
        step = size / curvature
        change = change + step * direction
        left = left - step * bent
        before, size = size, float((left**2).sum())
        direction = left + size / before * direction
    return np.asarray(first + change)
