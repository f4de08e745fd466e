"""What a table of measured kernels adds to the linear laws: the log ratio of the two, carried over to kernels nearby.

A Gaussian process per family over the places of kernels (Matern 5/2, one length per coordinate; Rasmussen and Williams, Gaussian Processes
for Machine Learning, 2006, chapters 2 and 5), solved for each question from the measured kernels nearest to it, so that a table may be of any size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from graphopt.cost.features import Described
from graphopt.cost.linear import UNSURE, Floats, by_family

_NEIGHBOURS = 40
_CHUNK = 256  # questions that are answered at once
_FIT_SIZE = 300  # kernels that lengths are found from
_LEAST = 12  # kernels without which lengths stay at their start
_STEPS = 40
_ROOT5 = 5.0**0.5
_AMPLITUDE, _NOISE, _LENGTH = 0.15, 0.02, 1.0  # log ratio, log ratio, units of log configuration
_BOUNDS = {"amplitude": (0.02, 1.0), "noise": (0.004, 0.2), "length": (0.15, 30.0)}


@dataclass(frozen=True)
class Smoothness:
    """How the log ratio of a family varies: its spread, the noise of one measurement, and per coordinate how far it reaches."""

    amplitude: float
    noise: float
    lengths: Mapping[str, float]

    def scaled(self, kernels: Sequence[Described]) -> Floats:
        """Places in units of the lengths."""
        names = list(self.lengths)
        places = np.array([[kernel.place.get(name, 0.0) for name in names] for kernel in kernels]).reshape(len(kernels), len(names))
        return np.asarray(places / np.array([self.lengths[name] for name in names]), dtype=np.float64)

    def covariance(self, distance: Floats) -> Floats:
        return _matern(distance) * self.amplitude**2


def _matern(distance: Floats) -> Floats:
    scaled = _ROOT5 * distance
    shape: Floats = (1.0 + scaled + scaled**2 / 3.0) * np.exp(-scaled)
    return shape


class Residual:
    """The log ratio of measured to linear time around the measured kernels of one family."""

    def __init__(self, kernels: Sequence[Described], ratios: Floats, smoothness: Smoothness, noise: Floats | None = None) -> None:
        from scipy.spatial import KDTree  # slow to import: whoever reads no table shall not wait for it

        self._smoothness, self._ratios, self._noise = smoothness, ratios, np.full(len(ratios), smoothness.noise**2)
        if noise is not None:
            self._noise += noise**2
        self._places = smoothness.scaled(kernels)
        self._tree = KDTree(self._places)

    def at(self, kernels: Sequence[Described]) -> tuple[Floats, Floats]:
        """Mean and standard deviation of the log ratio at each kernel; far from all measured ones 0 and the family's spread."""
        parts = [self._at(self._smoothness.scaled(kernels[start : start + _CHUNK])) for start in range(0, len(kernels), _CHUNK)]
        return np.concatenate([mean for mean, _ in parts]), np.concatenate([sigma for _, sigma in parts])

    def _at(self, asked: Floats) -> tuple[Floats, Floats]:
        smooth = self._smoothness
        count = min(_NEIGHBOURS, len(self._ratios))
        distance, near = (np.asarray(found).reshape(len(asked), count) for found in self._tree.query(asked, k=count))
        places = self._places[near]
        squares = (places**2).sum(axis=-1)
        between = squares[:, :, None] + squares[:, None, :] - 2.0 * places @ places.transpose(0, 2, 1)
        gram = smooth.covariance(np.sqrt(np.maximum(between, 0.0))) + self._noise[near][:, :, None] * np.eye(count)
        to = smooth.covariance(distance)
        weights = np.linalg.solve(gram, to[:, :, None])[:, :, 0]
        mean: Floats = (weights * self._ratios[near]).sum(axis=1)
        variance = smooth.amplitude**2 - (weights * to).sum(axis=1)
        return mean, np.sqrt(np.maximum(variance, 0.0) + smooth.noise**2)


def fit_smoothness(kernels: Sequence[Described], ratios: Floats, noise: Floats | None = None) -> Smoothness:
    """The smoothness under which the ratios of a family's kernels are most likely; `noise`: what is known of that of each."""
    from scipy.optimize import minimize  # half a second to import, and only fits need it

    names = _varying(kernels)
    start = _start(kernels, ratios, names)
    if len(kernels) < _LEAST or not names:
        return start
    chosen = np.unique(np.linspace(0, len(kernels) - 1, min(len(kernels), _FIT_SIZE)).astype(int))
    places = np.array([[kernels[p].place.get(name, 0.0) for name in names] for p in chosen])
    own, goal = noise[chosen] ** 2 if noise is not None else np.zeros(len(chosen)), ratios[chosen]
    first = np.log([start.amplitude, start.noise, *(start.lengths[name] for name in names)])
    lengths = [_log(_BOUNDS["length"])] * len(names)
    bounds = [_log(_BOUNDS["amplitude"]), _log(_BOUNDS["noise"]), *lengths]
    found = minimize(_unlikelihood, first, (places, goal, own), "L-BFGS-B", jac=True, bounds=bounds, options={"maxiter": _STEPS})
    amplitude, least, *reach = np.exp(found.x).tolist()
    return Smoothness(amplitude, least, dict(zip(names, reach, strict=True)))


def _log(bounds: tuple[float, float]) -> tuple[float, float]:
    return float(np.log(bounds[0])), float(np.log(bounds[1]))


def _varying(kernels: Sequence[Described]) -> list[str]:
    """Coordinates in which the kernels differ."""
    names = dict.fromkeys(name for kernel in kernels for name in kernel.place)
    return [name for name in names if len({kernel.place.get(name, 0.0) for kernel in kernels}) > 1]


def _start(kernels: Sequence[Described], ratios: Floats, names: Sequence[str]) -> Smoothness:
    spread = float(np.clip(np.sqrt(np.mean(ratios**2)), *_BOUNDS["amplitude"])) if len(ratios) >= _LEAST else _AMPLITUDE
    reach = _LENGTH * max(1, len(names)) ** 0.5  # in many dimensions everything is far apart
    return Smoothness(spread, _NOISE, dict.fromkeys(names or list(kernels[0].place)[:1], reach))


def _unlikelihood(logs: Floats, places: Floats, goal: Floats, own: Floats) -> tuple[float, Floats]:
    """Negative log marginal likelihood and its gradient, with weak priors that keep lengths and noise from running off."""
    from scipy.linalg import cho_factor, cho_solve

    amplitude, noise, lengths = np.exp(logs[0]), np.exp(logs[1]), np.exp(logs[2:])
    squares = (places[:, None, :] - places[None, :, :]) ** 2 / lengths**2
    distance = np.sqrt(squares.sum(axis=-1))
    shape = _matern(distance)
    size = len(goal)
    try:
        factor = cho_factor(amplitude**2 * shape + np.diag(noise**2 + own + 1e-10), lower=True)
    except np.linalg.LinAlgError:
        return 1e25, np.zeros_like(logs)
    solved = cho_solve(factor, goal)
    inverse = cho_solve(factor, np.eye(size))
    value = 0.5 * float(goal @ solved) + float(np.log(np.diag(factor[0])).sum())
    inner = 0.5 * (inverse - np.outer(solved, solved))
    # d shape / d log length = 5/3 (1 + sqrt5 r) exp(-sqrt5 r) * square
    slope = inner * amplitude**2 * (5.0 / 3.0) * (1.0 + _ROOT5 * distance) * np.exp(-_ROOT5 * distance)
    gradient = np.concatenate(
        [
            [2.0 * amplitude**2 * float((inner * shape).sum()), 2.0 * noise**2 * float(np.trace(inner))],
            np.einsum("ij,ijk->k", slope, squares),
        ]
    )
    middle = np.log([_AMPLITUDE, _NOISE, *([_LENGTH * max(1, places.shape[1]) ** 0.5] * places.shape[1])])
    width = np.array([1.0, 1.0, *([1.5] * places.shape[1])])
    value += 0.5 * float((((logs - middle) / width) ** 2).sum())
    return value, gradient + (logs - middle) / width**2


@dataclass(frozen=True)
class Residuals:
    """The residuals of all measured families."""

    by_name: Mapping[str, Residual]
    smoothness: Mapping[str, Smoothness]

    def at(self, kernels: Sequence[Described], unknown: float) -> tuple[Floats, Floats]:
        """Mean and standard deviation of each kernel's log ratio; 0 and `unknown` in a family without measured kernels."""
        mean, sigma = np.zeros(len(kernels)), np.full(len(kernels), unknown)
        for family, places in by_family(kernels).items():
            residual = self.by_name.get(family)
            if residual is not None:
                mean[places], sigma[places] = residual.at([kernels[place] for place in places])
        return mean, sigma


def residuals(kernels: Sequence[Described], ratios: Floats, smoothness: Mapping[str, Smoothness], spread: npt.ArrayLike = 0.0) -> Residuals:
    """The residuals of measured kernels, of the families whose smoothness is known."""
    noise = _noise(spread, len(kernels))
    found = {
        family: Residual([kernels[place] for place in places], ratios[places], smoothness[family], noise[places])
        for family, places in by_family(kernels).items()
        if family in smoothness
    }
    return Residuals(found, smoothness)


def fit_residuals(kernels: Sequence[Described], ratios: Floats, spread: npt.ArrayLike = 0.0) -> dict[str, Smoothness]:
    """The smoothness of each family of the measured kernels; `spread` as in `fit_from_kernels`."""
    groups, noise = by_family(kernels).items(), _noise(spread, len(kernels))
    return {family: fit_smoothness([kernels[place] for place in places], ratios[places], noise[places]) for family, places in groups}


def _noise(spread: npt.ArrayLike, count: int) -> Floats:
    """What is unsure of the logarithm of each kernel's time, besides what is unsure of all."""
    found: Floats = UNSURE * np.broadcast_to(np.asarray(spread, dtype=np.float64), (count,))
    return found
