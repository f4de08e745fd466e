"""Which kernels of a pool to measure next: those that bear the time of networks, and are predicted worst."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from graphopt.cost.features import Described, describe
from graphopt.cost.kernel import Signature
from graphopt.cost.linear import fit_from_kernels
from graphopt.cost.residual import fit_residuals
from graphopt.cost.times import KernelTimes

_FOLDS = 3
_UNKNOWN = 0.5  # log error taken for a family of which too little was measured to tell
_LEAST_ERROR = 0.02  # about what repeating a measurement gives
_LEAST = 6  # kernels of a family before its error is believed
_SEEDS = 4  # kernels of every family that are measured whatever its share

# Before anything is measured: a guess at the time of a kernel, from which only the order of magnitude matters.
_MACS_PER_MS, _BYTES_PER_MS, _LAUNCH_MS = 5e7, 2e7, 1e-3


@dataclass(frozen=True)
class Pool:
    """Kernels to choose from: how often each is launched in all networks of the pool."""

    counts: Mapping[Signature, int]
    block: int

    def described(self) -> dict[Signature, Described]:
        return {sig: describe(sig, self.block) for sig in self.counts}


def choose(pool: Pool, measured: Mapping[Signature, float], avoid: frozenset[str], count: int, rng: np.random.Generator) -> list[Signature]:
    """At most `count` kernels of the pool that were not measured (milliseconds by signature in `measured`), none whose text is in `avoid`.

    Families get kernels by the square root of their share of the time, times the error with which those measured predict each other;
    within a family, kernels are drawn by the square root of their own share. Unweighted, a sample is mostly of kernels that take no time.
    """
    described = {sig: kernel for sig, kernel in pool.described().items() if not kernel.free}
    predict, errors = _state(described, measured, pool.block)
    ms = dict(zip(described, predict(list(described.values())), strict=True))
    shares: defaultdict[str, float] = defaultdict(float)
    free: defaultdict[str, list[Signature]] = defaultdict(list)
    for sig, kernel in described.items():
        shares[kernel.family] += ms[sig] * pool.counts[sig]
        if sig not in measured and str(sig) not in avoid:
            free[kernel.family].append(sig)
    known: defaultdict[str, int] = defaultdict(int)
    for sig in measured:
        if sig in described:
            known[described[sig].family] += 1
    families = sorted(free)
    weights = np.array([shares[name] ** 0.5 * max(errors.get(name, _UNKNOWN), _LEAST_ERROR) for name in families])
    chosen: list[Signature] = []
    for name, share in zip(families, weights / max(weights.sum(), 1e-12), strict=True):
        number = min(max(round(count * share), _SEEDS - known[name], 0), len(free[name]))
        if number:
            worth = np.array([(ms[sig] * pool.counts[sig]) ** 0.5 for sig in free[name]]) + 1e-9
            places = rng.choice(len(worth), size=number, replace=False, p=worth / worth.sum())
            chosen += [free[name][place] for place in places]
    return [chosen[place] for place in rng.permutation(len(chosen))][:count]


def _state(
    described: Mapping[Signature, Described], measured: Mapping[Signature, float], block: int
) -> tuple[Callable[[Sequence[Described]], list[float]], dict[str, float]]:
    """A predictor of milliseconds, and the log error of each family by cross-validation."""
    kernels = [describe(sig, block) for sig in measured]
    ms = np.array(list(measured.values()), float)
    if len(kernels) < 2 * _LEAST:
        return (lambda kernels: [_guess(kernel) for kernel in kernels]), {}
    linear = fit_from_kernels(kernels, ms)
    with np.errstate(divide="ignore"):
        ratios = np.log(ms / np.maximum(linear.ms(kernels), 1e-9))
    smoothness = fit_residuals(kernels, ratios)
    times = KernelTimes(kernels, ms, linear, smoothness)
    known = {kernel.family for kernel in kernels}

    def predict(wanted: Sequence[Described]) -> list[float]:
        found = times.estimate(wanted)
        return [estimate.ms if kernel.family in known else _guess(kernel) for kernel, estimate in zip(wanted, found, strict=True)]

    squares: defaultdict[str, list[float]] = defaultdict(list)
    for fold in range(_FOLDS):
        inside = [place for place in range(len(kernels)) if place % _FOLDS != fold]
        outside = [place for place in range(len(kernels)) if place % _FOLDS == fold]
        partial = KernelTimes([kernels[i] for i in inside], ms[inside], linear, smoothness)
        for place, estimate in zip(outside, partial.estimate([kernels[i] for i in outside]), strict=True):
            squares[kernels[place].family].append(float(np.log(max(estimate.ms, 1e-6) / ms[place])) ** 2)
    return predict, {name: float(np.mean(found)) ** 0.5 for name, found in squares.items() if len(found) >= _LEAST}


def _guess(kernel: Described) -> float:
    sig = kernel.signature
    moved = sum(operand.nbytes for operand in (*sig.operands, *sig.outputs) if operand is not None)
    return kernel.features["macs"] / _MACS_PER_MS + moved / _BYTES_PER_MS + _LAUNCH_MS
