"""Quality of subnets that were not run, from those that were: a linear model of the choices."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from graphopt.supernet import Rows, Space

Floats = npt.NDArray[np.float64]

_ALPHAS = np.logspace(-2, 3, 21)
_FOLDS = 5
_FEWEST = 10  # subnets from which a rank correlation means something


@dataclass(frozen=True)
class RankCorrelation:
    """How well a predictor orders subnets that it was not trained on, `subnets` of them; 1 is the same order, 0 none."""

    kendall: float
    spearman: float
    subnets: int


class AccuracyPredictor:
    """Ridge regression of the quality on the choices.

    Once-for-All (Cai et al., 2020, https://arxiv.org/abs/1908.09791) trains a network of three layers on the one-hot encoding with 16,000
    evaluated subnets. Here are dozens or hundreds. So the model is linear, its penalty is that of the least leave-one-out error, and beside
    the one-hot encoding stand how large each choice is, and how large those of a kind (`e`, `ks`) are together: what all blocks have in common
    is learnt from all of them.
    """

    def __init__(self, space: Space, rows: Rows, qualities: Floats) -> None:
        """`qualities`, one for each of `rows`; larger is better."""
        self._space = space
        encoded = _features(space, rows)
        self._centre, self._mean = encoded.mean(axis=0), float(qualities.mean())
        self._weights = _ridge(encoded - self._centre, qualities - self._mean)

    def __call__(self, rows: Rows) -> Floats:
        return np.asarray((_features(self._space, rows) - self._centre) @ self._weights + self._mean)


def _features(space: Space, rows: Rows) -> Floats:
    sizes = (rows + 1) / space.counts * space.matters(rows)
    keys = [site.key for site in space.sites]
    together = [sizes[:, [own == key for own in keys]].sum(axis=1) for key in dict.fromkeys(keys)]
    return np.concatenate([space.encoded(rows), sizes, np.stack(together, axis=1)], axis=1)


def rank_correlation(space: Space, rows: Rows, qualities: Floats, seed: int = 0) -> RankCorrelation | None:
    """Of predictors that are trained on four fifths of the subnets, on the fifth that is left; None where there are too few, or all are alike."""
    if len(rows) < _FEWEST or np.ptp(qualities) == 0:
        return None
    fold = np.random.default_rng(seed).permutation(len(rows)) % _FOLDS
    predicted = np.empty(len(rows))
    for number in range(_FOLDS):
        inside = fold != number
        predicted[~inside] = AccuracyPredictor(space, rows[inside], qualities[inside])(rows[~inside])
    kendall, spearman = stats.kendalltau(predicted, qualities).statistic, stats.spearmanr(predicted, qualities).statistic
    return RankCorrelation(float(kendall), float(spearman), len(rows)) if np.isfinite([kendall, spearman]).all() else None


def _ridge(x: Floats, y: Floats) -> Floats:
    """The weights for the penalty of the least leave-one-out error; a mean that was taken off counts as one more weight."""
    u, s, vt = np.linalg.svd(x, full_matrices=False)
    projected = u.T @ y
    best, weights = np.inf, np.zeros(x.shape[1])
    for alpha in _ALPHAS:
        shrunk = s**2 / (s**2 + alpha)
        leverage = (u**2) @ shrunk + 1 / len(y)
        error = float(np.mean(((y - u @ (shrunk * projected)) / np.maximum(1 - leverage, 1e-9)) ** 2))
        if error < best:
            best, weights = error, vt.T @ (s / (s**2 + alpha) * projected)
    return np.asarray(weights)
