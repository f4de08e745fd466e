"""Dividing the channels on both sides of a layer into groups so that most of its energy lies between channels of one group."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

Array = npt.NDArray[Any]
Order = npt.NDArray[np.int64]

_STARTS = 6
_ROUNDS = 30
_LARGEST_EXACT = 256  # channels; more are assigned greedily, because the exact way takes the cube of their number


def divide(energy: Array, groups: int, rng: np.random.Generator, fixed_outs: bool = False, starts: int = _STARTS) -> tuple[Order, Order]:
    """Orders of the outputs and of the inputs of `energy` [outs, ins] that put equal groups of both into blocks along the diagonal.

    Both sides in turn are assigned to the groups of the other, from several `starts`; the best is no worse than the order as it is. With
    `fixed_outs` the outputs keep their order. Both sizes must be multiples of `groups`.
    """
    outs, ins = energy.shape
    start_outs, start_ins = np.repeat(np.arange(groups), outs // groups), np.repeat(np.arange(groups), ins // groups)
    best, best_kept = (start_outs, start_ins), _kept(energy, start_outs, start_ins)
    for attempt in range(starts):
        of_out = start_outs if attempt == 0 or fixed_outs else rng.permutation(start_outs)
        kept = -1.0
        for _ in range(_ROUNDS):
            of_in = _assigned(_one_hot(of_out, groups).T @ energy, groups)
            if not fixed_outs:
                of_out = _assigned((energy @ _one_hot(of_in, groups)).T, groups)
            now = _kept(energy, of_out, of_in)
            if now <= kept * (1 + 1e-9):
                break
            kept = now
            if kept > best_kept:
                best, best_kept = (of_out, of_in), kept
        if fixed_outs:
            break
    return np.argsort(best[0], kind="stable"), np.argsort(best[1], kind="stable")


def _kept(energy: Array, of_out: Order, of_in: Order) -> float:
    return float(energy[of_out[:, np.newaxis] == of_in].sum())


def _one_hot(groups_of: Order, groups: int) -> Array:
    return np.eye(groups)[groups_of]


def _assigned(worth: Array, groups: int) -> Order:
    """A group for each column of `worth` [groups, channels], as many channels to each, so that the sum of the worths is large."""
    channels = worth.shape[1]
    size = channels // groups
    if channels <= _LARGEST_EXACT:
        rows, columns = linear_sum_assignment(np.repeat(worth, size, axis=0), maximize=True)
        found = np.empty(channels, np.int64)
        found[columns] = rows // size
        return found
    left = np.full(groups, size)
    found = np.empty(channels, np.int64)
    two = np.sort(worth, axis=0)[-2:]
    for channel in np.argsort(two[0] - two[1], kind="stable"):  # those first for which it matters most
        group = int(np.argmax(np.where(left > 0, worth[:, channel], -np.inf)))
        found[channel] = group
        left[group] -= 1
    return found
