"""How sure a prediction is: split conformal intervals (Vovk, Gammerman and Shafer, 2005) from networks that the fit did not see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, exp, hypot, log

import numpy as np

COVERAGE = 0.9
_DRIFT = 0.8  # of the standard deviation of sessions, see `drift`
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

    def around(self, ms: float, sigma: float, unseen: float = 0.0) -> tuple[float, float]:
        """Lower and upper end for a network of which `sigma` is unsure: its kernels in log time, on average by time, and what is no kernel's time.

        `unseen` is the same for kernels of families that were never measured, about which the networks behind the quantile say nothing.
        """
        if ms <= 0:
            return 0.0, 0.0
        width = min(hypot(self.quantile * unsureness(ms, sigma), _NORMAL * unseen, self.drift), _WIDEST)
        return ms * exp(-width), ms * exp(width)


def unsureness(ms: float, sigma: float) -> float:
    """What the error of a prediction is measured in: short networks and kernels far from all measured ones are less sure."""
    return _SHARE + _FIXED_MS / ms + _UNSURE * sigma


def score(predicted: float, measured: float, sigma: float) -> float:
    """How far off a prediction was, in units of its unsureness."""
    return abs(log(predicted / measured)) / unsureness(predicted, sigma)


def fit_interval(scores: Sequence[float]) -> Interval:
    """The interval from scores of held-out networks: their conformal quantile; with fewer than nine the largest, stretched, counts."""
    count = len(scores)
    if not count:
        return Interval()
    ordered = np.sort(np.array(scores, dtype=np.float64))
    rank = ceil((count + 1) * COVERAGE)
    if rank <= count:
        return Interval(float(ordered[rank - 1]), float(count))
    return Interval(float(max(ordered[-1] * (1 + (_ENOUGH - count) / _ENOUGH), _WITHOUT * (_ENOUGH - count) / _ENOUGH)), float(count))


def drift(spreads: Sequence[float]) -> float:
    """How far off other sessions may be, from the standard deviations of the sessions over each network, relative.

    90 % of the differences between two means lie within 0.79 of one for sixteen sessions and six (1.645 * sqrt(1 / 16 + 1 / 6)), and 84 % for
    eight and six; with the four sessions of a short profile it is 73 %.
    """
    return float(np.clip(_DRIFT * np.median(spreads), _LEAST_DRIFT, _MOST_DRIFT)) if spreads else 0.0


def coverage(scores: Sequence[float]) -> float:
    """The share of networks that lie in the interval made from all the others."""
    inside = [own <= fit_interval([*scores[:place], *scores[place + 1 :]]).quantile for place, own in enumerate(scores)]
    return float(np.mean(inside)) if inside else float("nan")
