"""Least squares from sums that are gathered run by run: what to add to a layer's weight and bias so that its outputs come closer to others.

The unknowns are a change of the weight and of the bias, so that a ridge draws towards the layer as it is. It is chosen by a part of the
samples that the solution has not seen; "no change at all" is among the choices. He et al., Channel Pruning for Accelerating Very Deep Neural
Networks, 2017; Luo et al., ThiNet, 2017.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import linalg

Array = npt.NDArray[Any]
# Of a change of the matrix, the inputs' second moments, and whether it is the last word: the nearest change that is possible.
Within = Callable[[Array, Array, bool], Array]

_RIDGES = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # of the inputs' mean variance
_SINGLE = 1024  # layers with more inputs are summed up and solved in single precision
_FIRST_SINGLE = 2  # how many of the smallest ridges that leaves out: they would drown in rounding
_ROUNDING = {False: 1e-10, True: 1e-6}  # of the inputs' mean square, in double and in single precision
HELD_OUT = 5  # every fifth sample


class Sums:
    """Sums over rows x [groups, ins] and what is missing in the outputs, r [groups, outs]."""

    def __init__(self, groups: int, outs: int, ins: int) -> None:
        self.single = ins > _SINGLE
        dtype: Any = np.float32 if self.single else np.float64
        self.xx: Array
        self.xx, self.rx = np.zeros((groups, ins, ins), dtype), np.zeros((groups, outs, ins))
        self.x, self.r, self.rr = np.zeros((groups, ins)), np.zeros((groups, outs)), 0.0
        self.count = 0
        self._again = False

    def add(self, rows: Array, missing: Array) -> None:
        """Rows [n, groups, ins], and [n, groups, outs]."""
        x, r = (array.astype(self.xx.dtype).transpose(1, 0, 2) for array in (rows, missing))
        self.rx += r.swapaxes(1, 2) @ x
        self.r += r.sum(axis=1, dtype=np.float64)
        self.rr += float(np.square(r, dtype=np.float64).sum())
        if not self._again:
            if len(x) == 1:
                self.xx[0] += x[0].T @ x[0]  # of which numpy computes one half alone
            else:
                self.xx += x.swapaxes(1, 2) @ x
            self.x += x.sum(axis=1, dtype=np.float64)
            self.count += rows.shape[0]

    def retarget(self) -> None:
        """Forget what is missing; the same rows are to be added again, with what is missing now."""
        self.rx[:], self.r[:], self.rr = 0, 0, 0.0
        self._again = True


@dataclass(frozen=True)
class Change:
    """What to add to a matrix [groups, outs, ins] and its bias [groups, outs]; the mean squared error per row of the part held out."""

    matrix: Array
    bias: Array
    before: float
    after: float
    ridge: float


def solve(fit: Sums, held: Sums, intercept: bool, like: Change | None = None, within: Within | None = None) -> Change | None:
    """The change that is best for both parts, its ridge chosen by `held`, or that of a change before; None where no change is best."""
    if like is not None:
        found = _solution((fit, held), like.ridge, intercept, within, final=True)
        return None if found is None else Change(*found, like.before, _error(held, *found), like.ridge)
    before = held.rr / max(held.count, 1)
    choices = _RIDGES[_FIRST_SINGLE if fit.single else 0 :]
    errors = {
        ridge: error
        for ridge in choices
        if (found := _solution((fit,), ridge, intercept, within)) and (error := _error(held, *found)) < before
    }
    if not errors:
        return None
    best = min(errors, key=lambda ridge: errors[ridge])
    found = _solution((fit, held), best, intercept, within, final=True)
    return None if found is None else Change(*found, before, errors[best], best)


def _solution(
    parts: Sequence[Sums], ridge: float, intercept: bool, within: Within | None, final: bool = False
) -> tuple[Array, Array] | None:
    """The change of matrix and bias for one ridge; None where the system cannot be solved."""
    single = parts[0].single
    count = max(sum(part.count for part in parts), 1)
    mean_x, mean_r = (np.asarray(sum(each) / count) for each in ([part.x for part in parts], [part.r for part in parts]))
    if not intercept:
        mean_x, mean_r = np.zeros_like(mean_x), np.zeros_like(mean_r)
    system = parts[0].xx.copy()
    for part in parts[1:]:
        system += part.xx
    system /= count
    raw = np.einsum("gii->gi", system).mean(axis=1, keepdims=True)
    for group, mean in zip(system, mean_x, strict=True):
        group -= np.outer(mean, mean).astype(system.dtype)
    across = (np.asarray(sum(part.rx for part in parts)) / count - mean_r[:, :, np.newaxis] * mean_x[:, np.newaxis, :]).astype(system.dtype)
    diagonal = np.einsum("gii->gi", system)  # a view that can be written to
    # What rounding leaves of the variance of inputs that do not vary must not count as variance.
    least = _ROUNDING[single] * raw
    diagonal += np.where(raw > 0, np.maximum(ridge * diagonal.mean(axis=1, keepdims=True), least), 1).astype(system.dtype)
    metric = None if within is None else system.astype(np.float64)  # solving overwrites it
    try:
        matrix = _symmetric_solve(system, across)
        if within is not None and metric is not None:
            matrix = within(matrix, metric, final)
    except (np.linalg.LinAlgError, linalg.LinAlgError):
        return None
    if not np.isfinite(matrix).all():
        return None
    return matrix, mean_r - np.einsum("goi,gi->go", matrix, mean_x)


def _symmetric_solve(system: Array, across: Array) -> Array:
    """across @ system⁻¹, for each group."""
    if len(system) > 1:
        return np.linalg.solve(system, across.swapaxes(1, 2)).swapaxes(1, 2)
    factor = linalg.cho_factor(system[0].T, lower=True, overwrite_a=True, check_finite=False)
    return np.asarray(linalg.cho_solve(factor, across[0].T, check_finite=False).T[np.newaxis], np.float64)


def _error(sums: Sums, matrix: Array, bias: Array) -> float:
    """Mean of |r - matrix @ x - bias|² over the rows."""
    weighted = matrix.astype(sums.xx.dtype) @ sums.xx
    total = sums.rr + float((weighted * matrix).sum(dtype=np.float64)) - 2 * float((sums.rx * matrix).sum())
    total += sums.count * float(np.square(bias).sum()) - 2 * float((bias * sums.r).sum())
    total += 2 * float((bias * np.einsum("goi,gi->go", matrix, sums.x)).sum())
    return total / max(sums.count, 1)
