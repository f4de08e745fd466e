"""Criteria by which a unit matters little when others are like it.

`fpgm`: the distance of a unit's weights to the geometric median of all units', found by Weiszfeld's iteration (He et al., Filter Pruning via
Geometric Median, 2019). `redundancy`: the mean distance to the other units. `cosine`: 1 minus the largest absolute cosine of the angle to
another unit, of which the one with the smaller norm is the one that can go.
"""

from __future__ import annotations

import numpy as np

from graphopt.channels.slices import Array, Scores

_ITERATIONS = 100
_CLOSE = 1e-9  # relative change of the median at which it is found


def to_geometric_median(rows: Array) -> Scores:
    """The distance of each row to the point with the least sum of distances."""
    median = rows.mean(axis=0)
    size = max(float(np.linalg.norm(rows, axis=1).mean()), np.finfo(np.float64).tiny)
    for _ in range(_ITERATIONS):
        nearness = 1 / np.linalg.norm(rows - median, axis=1).clip(min=1e-12 * size)
        before, median = median, nearness @ rows / nearness.sum()
        if np.linalg.norm(median - before) <= _CLOSE * size:
            break
    return np.asarray(np.linalg.norm(rows - median, axis=1))


def mean_distance(rows: Array) -> Scores:
    """The mean distance of each row to the others."""
    squares = np.square(rows).sum(axis=1)
    distances = np.sqrt((squares[:, np.newaxis] + squares - 2 * rows @ rows.T).clip(min=0))
    np.fill_diagonal(distances, 0)
    return np.asarray(distances.sum(axis=1) / max(len(rows) - 1, 1))


def unlikeness(rows: Array) -> Scores:
    """1 - |cos| to the row of a larger norm that is nearest in angle (1 for the largest), and 0 for a row of zeros."""
    norms = np.linalg.norm(rows, axis=1)
    unit = rows / np.where(norms > 0, norms, 1)[:, np.newaxis]
    cosines = np.abs(unit @ unit.T)
    order = np.lexsort((np.arange(len(rows)), -norms))  # of equals the earlier one counts as larger
    rank = np.empty(len(rows), np.int64)
    rank[order] = np.arange(len(rows))
    larger = rank[np.newaxis] < rank[:, np.newaxis]
    nearest = np.where(larger, cosines, 0).max(axis=1)
    return np.asarray(np.where(norms > 0, (1 - nearest).clip(min=0), 0))
