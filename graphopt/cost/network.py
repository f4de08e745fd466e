"""From the sum of kernels to a network: isolated kernels find warmer caches, and every launch and every run costs something besides."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from graphopt.cost.families import CONVOLUTION, DEPTHWISE, MATRIX, kin
from graphopt.cost.features import Described
from graphopt.cost.linear import Floats

SUMMANDS = 4  # figures of a kernel that add up to what `Correction.times` takes
_MB = 1e6
_CACHES_MB = (6.0, 8.0, 12.0, 16.0, 32.0)  # small networks say little of it, and would be made to pay for what fits
_USUAL_CACHE_MB = 6.0
_ENOUGH_FOR_CACHE = 20  # networks from which the size of the cache is taken from them and not for granted
_NOISE = 0.03  # relative, of one network's time
_OUTLIER = 2.0  # noises beyond which a network weighs less
_ROUNDS = 5
_LEAST_SHARE = 0.7  # of the sum of kernels
# By itself a kernel is measured on weights and outputs of a few megabytes in turn, which stay in a cache: of more than that its own time tells.
_STREAMS_MB = 6.0  # of one kernel's weights
_SPILLS_MB, _SPILLED_MB = 4.0, 16.0  # of what one kernel reads and writes: so much stays in a cache in a network too; so much not by itself
# What a run needs is mostly still in a cache if the run before was over within so long: below it networks hardly take longer than the sum of
# their kernels, beyond it by a tenth, and weights have their price; within a factor of two of it lies all of the change.
_SOON_MS = 1.0
_SOON_STEEPNESS = 4
# Weights are wanted in the same order in every run: a cache that forgets the oldest first holds all of them or, once they are too many, hardly any.
_CYCLE_MB = 6.0
_CYCLE_STEEPNESS = 4
_FILTERS_SHARE = 0.8  # of the price of weights: a convolution hides some of the reading behind its work


@dataclass(frozen=True)
class Totals:
    """Of one network: the sum of its kernels' times, how many are launched, the bytes of its weights (`streamed_bytes`) and of activations that
    leave the cache (`spilled_bytes`), and which parts of the sum matrix products, kernels of other kinds than convolutions and products, and
    convolutions in the plain layout take."""

    kernels_ms: float
    launches: float
    weight_bytes: float
    products_ms: float = 0.0
    others_ms: float = 0.0
    spilled_bytes: float = 0.0
    plain_ms: float = 0.0

    @classmethod
    def of(cls, kernels: Iterable[tuple[Described, float, int]]) -> Totals:
        """Of the kernels of a network, each with its milliseconds and how often it is launched; one that takes no time is no launch."""
        parts = dict.fromkeys((CONVOLUTIONS, PLAIN, PRODUCTS, OTHERS), 0.0)
        launches, weights, spilled = 0.0, 0.0, 0.0
        for kernel, ms, count in kernels:
            parts[part_of(kernel.family)] += ms * count
            launched, streamed, left = besides(kernel, ms)
            launches += launched * count
            weights += streamed * count
            spilled += left * count
        return cls(sum(parts.values()), launches, weights, parts[PRODUCTS], parts[OTHERS], spilled, parts[PLAIN])


@dataclass(frozen=True)
class Correction:
    """ms = (scale + lasting * L) * sum + per_kernel_ms * launches + beyond_ms_per_mb * L * (weights over the cache)
    + within_ms_per_mb * (those in it) + cycled_ms_per_mb * C * weights + spilled_ms_per_mb * (activations that leave the cache) + run_ms.

    L is what a network pays of what only those of more than a millisecond pay: 1 / (1 + (1 ms / sum)^4). C is which part of weights that are
    read run after run the next run finds no longer: 1 / (1 + (6 MB / weights)^4).
    In the sum, matrix products count `products` times, convolutions in the plain layout, as a runtime with a blocked one falls back to,
    `plain` times, and what is neither a product nor a convolution `others` times. `covariance` is that of the numbers which a fit found, in the
    order of `_row`, where a network's time is off by `_NOISE`; empty where nothing was fitted.
    """

    scale: float = 1.0
    per_kernel_ms: float = 0.0
    beyond_ms_per_mb: float = 0.0
    within_ms_per_mb: float = 0.0
    run_ms: float = 0.0
    cache_mb: float = _USUAL_CACHE_MB
    products: float = 1.0
    others: float = 1.0
    spilled_ms_per_mb: float = 0.0
    plain: float = 1.0
    lasting: float = 0.0
    cycled_ms_per_mb: float = 0.0
    covariance: tuple[tuple[float, ...], ...] = ()

    def ms(self, totals: Totals) -> float:
        """The time of a network, at least most of the sum of its kernels: a law of networks of milliseconds may say less of very small ones."""
        weighted = totals.kernels_ms + (self.products - 1) * totals.products_ms + (self.others - 1) * totals.others_ms
        weighted += (self.plain - 1) * totals.plain_ms
        figures = (weighted, totals.launches, totals.weight_bytes, totals.spilled_bytes)
        return float(self.times(*(np.array([figure]) for figure in figures))[0])

    def streamed(self, weight_bytes: float, ms: float) -> float:
        """The share of a network's time `ms` that is the price of weights beyond the cache, about which the sum of kernels says nothing."""
        weights = weight_bytes / _MB
        beyond = self.beyond_ms_per_mb * _beyond(weights, self.cache_mb, ms) + self.cycled_ms_per_mb * _cycled(weights)
        return min(max(float(beyond) / ms, 0.0), 1.0) if ms > 0 else 0.0

    def times(self, kernels_ms: Floats, launches: Floats, weight_bytes: Floats, spilled_bytes: Floats) -> Floats:
        """`ms` for arrays, one entry per network; in the sums `kernels_ms` each kernel counts `factor` of its family times."""
        weights = weight_bytes / _MB
        found = (self.scale + self.lasting * _lasting(kernels_ms)) * kernels_ms + self.per_kernel_ms * launches + self.run_ms
        found += self.beyond_ms_per_mb * _beyond(weights, self.cache_mb, kernels_ms)
        found += self.within_ms_per_mb * np.minimum(weights, self.cache_mb)
        found += self.cycled_ms_per_mb * _cycled(weights)
        found += self.spilled_ms_per_mb * spilled_bytes / _MB
        return np.maximum(found, _LEAST_SHARE * kernels_ms)

    def leverage(self, totals: Totals, ms: float) -> float:
        """How unsure the law itself is of a network of the time `ms`, as a variance in units of that of one network's time.

        About nothing between the networks of the fit; where none was as small, or had as many weights, more than one.
        """
        if not self.covariance or ms <= 0:
            return 0.0
        row = _row(totals, self.cache_mb) / ms / _NOISE
        return float(row @ np.array(self.covariance) @ row)

    def factor(self, family: str) -> float:
        """How many times a kernel of the family counts in the sum."""
        return {PRODUCTS: self.products, OTHERS: self.others, PLAIN: self.plain}.get(part_of(family), 1.0)

    @property
    def _vector(self) -> Floats:
        more = [self.scale * (factor - 1) for factor in (self.products, self.others, self.plain)]
        per = [self.per_kernel_ms, self.beyond_ms_per_mb, self.within_ms_per_mb, self.run_ms, self.spilled_ms_per_mb]
        return np.array([self.scale, *per, *more, self.lasting, self.cycled_ms_per_mb])


CONVOLUTIONS, PLAIN, PRODUCTS, OTHERS = "convolutions", "plain convolutions", "products", "others"


def part_of(family: str) -> str:
    """What a kernel is to a network: convolutions fill the processor wherever their operands are, products less so, and all else is waiting for memory."""
    group = kin(family)
    if group in (CONVOLUTION, DEPTHWISE):
        return PLAIN if family.startswith("conv.") else CONVOLUTIONS
    return PRODUCTS if group == MATRIX else OTHERS


def streamed_bytes(family: str, weight_bytes: float) -> float:
    """The weights of a kernel that a network may find in memory and no longer in a cache, at a price that the kernel by itself does not show.

    Those of matrix products, of which a run uses each but a few times, and most of those of convolutions. Others have next to none; a Gather
    reads a few rows of its table.
    """
    share = {PRODUCTS: 1.0, CONVOLUTIONS: _FILTERS_SHARE, PLAIN: _FILTERS_SHARE}.get(part_of(family), 0.0)
    return share * min(weight_bytes, _STREAMS_MB * _MB)


def spilled_bytes(activation_bytes: float) -> float:
    """What a kernel reads and writes beyond what a cache holds: in a network it comes from memory, and goes back there."""
    return max(0.0, min(activation_bytes, _SPILLED_MB * _MB) - _SPILLS_MB * _MB)


_NOTHING_BESIDES = (0.0, 0.0, 0.0)


def besides(kernel: Described, ms: float) -> tuple[float, float, float]:
    """What a network pays for a kernel besides its time `ms`: a launch, bytes of weights and of activations that leave the cache."""
    if kernel.free or ms <= 0:
        return _NOTHING_BESIDES
    return 1.0, streamed_bytes(kernel.family, kernel.weight_bytes), spilled_bytes(kernel.activation_bytes)


def _lasting(kernels_ms: npt.ArrayLike) -> Floats:
    """What a network of which the kernels take so long pays of what only longer ones pay; 0 to 1."""
    sums = np.asarray(kernels_ms, dtype=np.float64) ** _SOON_STEEPNESS
    return np.asarray(sums / (sums + _SOON_MS**_SOON_STEEPNESS), dtype=np.float64)


def _beyond(weights_mb: npt.ArrayLike, cache_mb: float, kernels_ms: npt.ArrayLike) -> Floats:
    """Megabytes of weights that come from memory in a network of which the kernels take so long."""
    return np.asarray(np.maximum(np.asarray(weights_mb, np.float64) - cache_mb, 0.0) * _lasting(kernels_ms), dtype=np.float64)


def _cycled(weights_mb: npt.ArrayLike) -> Floats:
    """Megabytes of weights that are read run after run and were forgotten between."""
    weights = np.asarray(weights_mb, dtype=np.float64)
    grown = weights**_CYCLE_STEEPNESS
    return np.asarray(weights * grown / (grown + _CYCLE_MB**_CYCLE_STEEPNESS), dtype=np.float64)


def _row(totals: Totals, cache_mb: float) -> Floats:
    weights = totals.weight_bytes / _MB
    return np.array(
        [
            totals.kernels_ms,
            totals.launches,
            float(_beyond(weights, cache_mb, totals.kernels_ms)),
            min(weights, cache_mb),
            1.0,
            totals.spilled_bytes / _MB,
            totals.products_ms,
            totals.others_ms,
            totals.plain_ms,
            totals.kernels_ms * float(_lasting(totals.kernels_ms)),
            float(_cycled(weights)),
        ]
    )


def fit_correction(networks: Sequence[Totals], ms: Sequence[float], prior: Correction | None = None, alike: bool = True) -> Correction:
    """The correction for measured networks, by ridge in relative error towards `prior`, by default no correction; few networks move it little.

    Prior standard deviations: 0.1 of the scale, 0.3 of what longer networks take besides, 0.05 of how much more products and others count, 0.1
    of plain convolutions; a microsecond, or 2 % of the usual kernel, per launch; 30 us per MB of weights beyond the cache and of those that are
    forgotten between two runs, 3 us of those within; 5 us per MB of spilled activations; 30 us, or 5 % of the quickest network, per run. A slow
    device has more of each, hence the shares.
    Where kernels and networks were not measured `alike` (one by the runtime's profiler, the other by a clock around the call), half of a
    kernel per launch and half of the quickest network per run would be no surprise; and what is in a cache is not known.
    """
    prior = prior or Correction()
    if not networks:
        return prior
    times = np.array(ms, dtype=np.float64)
    usual = float(np.median([totals.kernels_ms / max(1.0, totals.launches) for totals in networks]))
    quickest = float(times.min())
    launch, run = (max(0.001, 0.02 * usual), max(0.03, 0.05 * quickest)) if alike else (0.5 * usual, 0.5 * quickest)
    cached = np.array([0.005, 0.05, 0.05, 0.1, 0.3, 0.03]) * ([1, 1, 1, 1, 1, 1] if alike else [0, 1, 1, 0, 0, 0])
    deviations = np.array([0.1, launch, 0.03, 0.003, run, *cached])
    caches = _CACHES_MB if len(networks) >= _ENOUGH_FOR_CACHE else (prior.cache_mb,)
    found = [_ridge(networks, times, prior, deviations, cache) for cache in caches]
    return min(found, key=lambda pair: pair[1])[0]


def _ridge(networks: Sequence[Totals], ms: Floats, prior: Correction, deviations: Floats, cache_mb: float) -> tuple[Correction, float]:
    """The correction for one size of cache, and what it leaves unexplained."""
    start = prior._vector
    rows = np.array([_row(totals, cache_mb) for totals in networks]) / ms[:, None] / _NOISE
    goal = 1.0 / _NOISE - rows @ start
    weights = np.ones(len(ms))
    step = np.zeros(len(start))
    free = deviations > 0
    stacked = np.empty(0)
    for _ in range(_ROUNDS):
        stacked = np.vstack([rows * weights[:, None] * deviations, np.eye(len(start))])
        step = np.linalg.lstsq(stacked, np.concatenate([goal * weights, np.zeros(len(start))]), rcond=None)[0] * deviations
        off = np.abs(goal - rows @ step)
        weights = np.sqrt(np.minimum(1.0, _OUTLIER / np.maximum(off, 1e-9)))
    left = float(((goal - rows @ step) ** 2 * weights**2).sum() + ((step[free] / deviations[free]) ** 2).sum())
    inverse = np.linalg.inv(stacked.T @ stacked) * deviations[:, None] * deviations
    covariance = tuple(tuple(line) for line in inverse.tolist())
    scale, per_kernel, beyond, within, run, spilled, *factors, lasting, cycled = (start + step).tolist()
    products, others, plain = (1.0 + factor / scale for factor in factors)
    found = Correction(scale, per_kernel, beyond, within, run, cache_mb, products, others, spilled, plain, lasting, cycled, covariance)
    return found, left
