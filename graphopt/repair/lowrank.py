"""Products of small matrices that stand for a large one, best for what it is multiplied with.

Matrices come in groups, [groups, outs, ins]. What counts is the error of the outputs: for inputs x with second moments S = E[x xᵀ], replacing
M by N costs E|Mx - Nx|² = tr((M - N) S (M - N)ᵀ). Without data S is the identity, and that is the squared Frobenius norm. With S = L Lᵀ it is
|(M - N) L|², so by Eckart and Young the best N of rank r keeps the first r singular directions of M L, and what it costs is the sum of the
squares of the other singular values (SVD-LLM, Wang et al. 2024; for convolutions Zhang et al., Accelerating Very Deep Convolutional Networks
for Classification and Detection, 2015).
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

# Of the mean second moment (of the group where it is largest): along directions in which the data varies less, a solution stays as it was.
_RIDGE = 1e-6


class Split:
    """M = U V, cut at some rank. Decomposed when it is first asked for more than its full rank."""

    def __init__(self, matrix: Array, second: Array | None) -> None:
        self._matrix, self._second = matrix, second

    @cached_property
    def _decomposed(self) -> tuple[Array, Array, Array | None]:
        """Squares of singular values [groups, full rank], largest first, vectors in that order, and, if these are of the inputs, M L."""
        matrix, second = self._matrix, self._second
        outs, ins = matrix.shape[1:]
        if outs <= ins:
            weighted = matrix if second is None else matrix @ second
            return *_descending(weighted @ matrix.swapaxes(1, 2)), None
        weighted = matrix if second is None else matrix @ root(second)
        return *_descending(weighted.swapaxes(1, 2) @ weighted), weighted

    @property
    def energies(self) -> Array:
        """[groups, full rank]: squares of singular values, largest first."""
        return self._decomposed[0]

    @property
    def full(self) -> int:
        return int(min(self._matrix.shape[1:]))

    def lost(self, rank: int) -> float:
        """What the best matrices of that rank cost, in all groups together."""
        return float(self.energies[:, rank:].sum())

    def factors(self, rank: int) -> tuple[Array, Array]:
        """U [groups, outs, rank] with orthonormal columns, and V [groups, rank, ins]."""
        _, vectors, weighted = self._decomposed
        basis = vectors[:, :, :rank]
        if weighted is not None:
            basis = np.linalg.qr(weighted @ basis)[0]
        return basis, basis.swapaxes(1, 2) @ self._matrix


def root(second: Array) -> Array:
    """L with L Lᵀ = `second`: Cholesky's, or where that fails (inputs that depend on each other) the symmetric one."""
    try:
        return np.asarray(np.linalg.cholesky(second))
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh(second)
        return np.asarray(vectors * np.sqrt(values.clip(min=0))[:, np.newaxis, :])


def cost(matrix: Array, approximation: Array, second: Array | None) -> float:
    """E|Mx - Nx|², summed over groups."""
    difference = matrix - approximation
    weighted = difference if second is None else difference @ second
    return float((weighted * difference).sum())


def marginal(second: Array | None, kept: int) -> Array | None:
    """Second moments of inputs [kept, rest] summed over the places in `rest`: [groups, kept, kept]."""
    if second is None:
        return None
    groups, ins, _ = second.shape
    return np.asarray(np.einsum("gajbj->gab", second.reshape(groups, kept, ins // kept, kept, ins // kept)))


def refit(matrix: Array, second: Array | None, reduced: Array, before: Array) -> tuple[Array, Array]:
    """The best matrix on top of features that are made of each place's inputs alike, and the second moments of those.

    Inputs are [kept, places]; the features at a place are `reduced` [groups, rank, kept] times the inputs there. The answer is
    [groups, outs, rank * places] and [groups, rank * places, rank * places], with the places last. It is found as a
    change of `before`.
    """
    groups, _, ins = matrix.shape
    rank, kept = reduced.shape[1:]
    places = ins // kept
    across = _reduce(matrix if second is None else matrix @ second, reduced, places)
    if second is None:
        square = reduced @ reduced.swapaxes(1, 2)
        moments = np.einsum("grs,jl->grjsl", square, np.eye(places)).reshape(groups, rank * places, rank * places)
    else:
        half = _reduce(second, reduced, places)  # [groups, ins, rank * places]
        moments = _reduce(half.swapaxes(1, 2), reduced, places)
    return improved(before, moments, across), moments


def by_place(tall: Array, outs: int) -> Array:
    """What `refit` starts from, where places are taken as unrelated: [groups, outs * places, rank] as [groups, outs, rank * places]."""
    groups, _, rank = tall.shape
    return np.asarray(tall.reshape(groups, outs, -1, rank).swapaxes(2, 3).reshape(groups, outs, -1))


def improved(before: Array, moments: Array, across: Array) -> Array:
    """The matrix that is best for inputs with these second moments, `across` being those of the wanted outputs with the inputs.

    It is found as a change of the matrix `before`, with a slight ridge, so that nothing is made of inputs that do not vary.
    """
    size = moments.shape[1]
    level = float(np.trace(moments, axis1=1, axis2=2).max()) / size
    system = moments + (_RIDGE * level if level > 0 else 1.0) * np.eye(size)
    missing = across - before @ moments
    return np.asarray(before + np.linalg.solve(system, missing.swapaxes(1, 2)).swapaxes(1, 2))


def expand(top: Array, reduced: Array) -> Array:
    """The matrix [groups, outs, ins] that a matrix on top of such features amounts to."""
    groups, outs, size = top.shape
    rank, kept = reduced.shape[1:]
    full = np.einsum("gorj,grk->gokj", top.reshape(groups, outs, rank, size // rank), reduced, optimize=True)
    return np.asarray(full.reshape(groups, outs, kept * (size // rank)))


def _reduce(rows: Array, reduced: Array, places: int) -> Array:
    """[groups, n, kept * places] to [groups, n, rank * places]."""
    groups, count, _ = rows.shape
    rank, kept = reduced.shape[1:]
    found = np.einsum("gnkj,grk->gnrj", rows.reshape(groups, count, kept, places), reduced, optimize=True)
    return np.asarray(found.reshape(groups, count, rank * places))


def _descending(symmetric: Array) -> tuple[Array, Array]:
    values, vectors = np.linalg.eigh(symmetric)
    return values[:, ::-1].clip(min=0), vectors[:, :, ::-1]
