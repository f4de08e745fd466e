"""How sure a prediction is: split conformal intervals (Vovk, Gammerman and Shafer, 2005) from networks that the fit did not see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, exp, hypot, log, sqrt

import numpy as np

COVERAGE = 0.9
_LEAST_DRIFT = 0.01  # two sessions on one network lie 1 to 2 % apart on the steadiest machines
_MOST_DRIFT = 0.1  # more is no drift but a spread of something else
_ENOUGH = 9  # scores of which the largest is a 90 % quantile
_WITHOUT = 3.0  # taken as the quantile where no network was measured: 3 x 2 %, what sums of kernels were found to be off by, and more
_SHARE = 0.02  # always unsure, relatively
_FIXED_MS = 0.01  # always unsure, in milliseconds
_WIDEST = 3.0  # log of the factor to either side: beyond twenty times more or less nothing is known
_NORMAL = 1.645  # standard deviations to either side that hold 90 %
_UNSURE = 0.15  # of the kernels' own uncertainty, weighted with their share of the time


@dataclass(frozen=True)
class Interval:
    """The 90 % interval around a time is a factor exp(+-quantile * unsureness); `networks`: how many the quantile is from.

    `drift` is how far, relatively, a network's time is off in other sessions: networks that were held out were measured in the same sessions as
    those behind the fit, and whoever measures later does it in others.
    """

    quantile: float = _WITHOUT
    networks: float = 0.0
    drift: float = 0.0

    def around(self, ms: float, sigma: float, unseen: float = 0.0, leverage: float = 0.0) -> tuple[float, float]:
        """Lower and upper end for a network of which `sigma` is unsure: its kernels in log time, on average by time, and what is no kernel's time.

        `unseen` is the same for kernels of families that were never measured, about which the networks behind the quantile say nothing;
        `leverage` is how unlike those networks this one is (`Correction.leverage`).
        """
        if ms <= 0:
            return 0.0, 0.0
        width = min(hypot(self.quantile * unsureness(ms, sigma, leverage), _NORMAL * unseen, self.drift), _WIDEST)
        return ms * exp(-width), ms * exp(width)


def unsureness(ms: float, sigma: float, leverage: float = 0.0) -> float:
    """What the error of a prediction is measured in: less sure are short networks, kernels far from all measured ones, and networks unlike those of
    the fit, of which the errors have a variance 1 + leverage times as large as those of others (as in any linear regression)."""
    return hypot(_SHARE + _FIXED_MS / ms, _UNSURE * sigma) * sqrt(1 + leverage)


def score(predicted: float, measured: float, sigma: float, leverage: float = 0.0) -> float:
    """How far off a prediction was, in units of its unsureness."""
    return abs(log(predicted / measured)) / unsureness(predicted, sigma, leverage)


def fit_interval(scores: Sequence[float]) -> Interval:
    """The interval from scores of held-out networks: their conformal quantile, between two scores where it lies between them; with fewer than nine
    the largest, stretched, counts."""
    count = len(scores)
    if not count:
        return Interval()
    ordered = np.sort(np.array(scores, dtype=np.float64))
    rank = (count + 1) * COVERAGE
    if ceil(rank) <= count:
        return Interval(float(np.interp(rank, np.arange(1, count + 1), ordered)), float(count))
    return Interval(float(max(ordered[-1] * (1 + (_ENOUGH - count) / _ENOUGH), _WITHOUT * (_ENOUGH - count) / _ENOUGH)), float(count))


def drift(spreads: Sequence[tuple[float, int]]) -> float:
    """How far off as many other sessions may be, from the relative standard deviation of the sessions over each network and their number.

    90 % of the differences between the means of n sessions and n others lie within 1.645 * sqrt(2 / n) standard deviations. The median of deviations
    that are found in n sessions is too small (n = 4: by a tenth), which the median of the chi-squared distribution tells (Wilson and Hilferty, 1931).
    """
    off = [_NORMAL * sqrt(2 / count) * spread / (1 - 2 / (9 * (count - 1))) ** 1.5 for spread, count in spreads if count > 1]
    return float(np.clip(np.median(off), _LEAST_DRIFT, _MOST_DRIFT)) if off else 0.0


def coverage(scores: Sequence[float]) -> float:
    """The share of networks that lie in the interval made from all the others."""
    inside = [own <= fit_interval([*scores[:place], *scores[place + 1 :]]).quantile for place, own in enumerate(scores)]
    return float(np.mean(inside)) if inside else float("nan")
