"""Linear laws: the time of a kernel as a sum of amounts times prices that are never negative, one law per family."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from graphopt.cost.families import kin
from graphopt.cost.features import FIRST, Described

Floats = npt.NDArray[np.float64]
Law = Mapping[str, float]  # milliseconds per unit of a feature

ALL = "all"  # the pool of every kernel
_PER_FEATURE = 2  # samples that a feature needs; with fewer only the first five are kept
_OUTLIER = 2.5  # robust standard deviations beyond which a sample weighs less
UNSURE = 0.25  # of the spread between passes: how far off the least of them may be
_USUAL_ERROR = 0.05  # of a law, relative: a kernel measured more surely than that does not weigh much more
_ROUNDS = 4  # of reweighting


@dataclass(frozen=True)
class LinearModel:
    """Laws by family, and by kin and for all kernels where a family has none of its own."""

    families: Mapping[str, Law]
    kins: Mapping[str, Law] = field(default_factory=dict)

    def law(self, family: str) -> Law:
        """The law of a family, else of its kin, else of all kernels; empty where nothing is known at all."""
        return self.families.get(family) or self.kins.get(kin(family)) or self.kins.get(ALL) or {}

    def knows(self, family: str) -> bool:
        """Whether the family has a law of its own."""
        return family in self.families

    def ms(self, kernels: Sequence[Described]) -> Floats:
        """The time of each kernel in milliseconds."""
        times = np.zeros(len(kernels))
        for family, places in by_family(kernels).items():
            law = self.law(family)
            names = list(law)
            times[places] = matrix([kernels[place] for place in places], names) @ np.array([law[name] for name in names])
        return times

    def parts(self, kernel: Described) -> dict[str, float]:
        """The milliseconds of a kernel by feature."""
        return {name: price * kernel.features.get(name, 0.0) for name, price in self.law(kernel.family).items()}


def by_family(kernels: Sequence[Described]) -> dict[str, list[int]]:
    """Positions of the kernels of each family."""
    found: dict[str, list[int]] = defaultdict(list)
    for position, kernel in enumerate(kernels):
        found[kernel.family].append(position)
    return found


def matrix(kernels: Sequence[Described], names: Sequence[str]) -> Floats:
    """One row of features per kernel."""
    rows = [[kernel.features.get(name, 0.0) for name in names] for kernel in kernels]
    return np.array(rows, dtype=np.float64).reshape(len(kernels), len(names))


def fit_from_kernels(kernels: Sequence[Described], ms: npt.ArrayLike, spread: npt.ArrayLike = 0.0) -> LinearModel:
    """The laws of measured kernels, by non-negative least squares of the relative error, robust to a few outliers.

    `spread`: how far the passes over each kernel are apart, relatively; kernels that were measured less surely weigh less.
    A family with fewer than two samples per feature keeps the first five features, and leans on its kin the more the fewer it has.
    """
    times = np.asarray(ms, dtype=np.float64)
    weights = _USUAL_ERROR / np.hypot(_USUAL_ERROR, UNSURE * np.broadcast_to(np.asarray(spread, dtype=np.float64), times.shape))
    pools: dict[str, list[int]] = defaultdict(list)
    groups = by_family(kernels)
    for family, places in groups.items():
        pools[kin(family)] += places
        pools[ALL] += places
    kins = {pool: _fitted([kernels[p] for p in places], times[places], weights[places], FIRST) for pool, places in pools.items()}
    families = {}
    for family, places in groups.items():
        own = [kernels[place] for place in places]
        names = _useful(own)
        if len(own) < _PER_FEATURE * len(names):
            names = [name for name in names if name in FIRST]
        # Too few samples for so many features: what the kin pays is worth one sample for each feature that is too many.
        lean = max(0.0, len(names) - len(own) / 2) / max(1, len(names))
        families[family] = _fitted(own, times[places], weights[places], names, kins[kin(family)], lean)
    return LinearModel(families, kins)


def _useful(kernels: Sequence[Described]) -> list[str]:
    """The features that are not zero throughout, the first five first."""
    names = dict.fromkeys([*FIRST, *(name for kernel in kernels for name in kernel.features)])
    return [name for name in names if any(kernel.features.get(name) for kernel in kernels)]


def _fitted(
    kernels: Sequence[Described], ms: Floats, weights: Floats, names: Iterable[str], prior: Law | None = None, lean: float = 0.0
) -> Law:
    """A law over `names`; with `lean` in (0, 1], drawn towards the prices of `prior`."""
    columns = list(names)
    rows = matrix(kernels, columns) * (weights / ms)[:, None]
    goal = weights.copy()
    if prior is not None and lean > 0:
        # In units of what each feature adds to a typical kernel, so that all prices are held alike.
        typical = np.maximum(np.abs(rows).mean(axis=0), 1e-300)
        rows = np.vstack([rows, np.diag(lean * typical)])
        goal = np.concatenate([goal, lean * typical * np.array([prior.get(name, 0.0) for name in columns])])
    prices = robust_nnls(rows, goal, sure=rows.shape[0] - len(kernels))
    return dict(zip(columns, prices.tolist(), strict=True))


def robust_nnls(rows: Floats, goal: Floats, sure: int = 0) -> Floats:
    """Non-negative least squares in which rows far off weigh less (Huber's weights); the last `sure` rows always weigh fully."""
    scale = np.abs(rows).max(axis=0, initial=0.0)
    scale[scale == 0] = 1.0
    scaled = rows / scale
    weights = np.ones(len(goal))
    prices = _nnls(scaled, goal)
    measured = len(goal) - sure
    if measured < 8 or (not sure and measured < 2 * rows.shape[1]):
        return np.asarray(prices / scale)  # too few to tell an outlier from a law
    for _ in range(_ROUNDS):
        off = np.abs(scaled @ prices - goal)
        spread = 1.4826 * float(np.median(off[:measured]))
        limit = max(_OUTLIER * spread, 1e-9)
        weights[:measured] = np.sqrt(np.minimum(1.0, limit / np.maximum(off[:measured], 1e-12)))
        prices = _nnls(scaled * weights[:, None], goal * weights)
    found: Floats = prices / scale
    return found


def _nnls(rows: Floats, goal: Floats) -> Floats:
    from scipy.optimize import nnls  # half a second to import, and only fits need it

    if not rows.size:
        return np.zeros(rows.shape[1])
    # The normal equations' triangular root has the same solution and no more rows than columns.
    if rows.shape[0] > 4 * rows.shape[1]:
        q, rows = np.linalg.qr(rows)
        goal = q.T @ goal
    found: Floats = nnls(rows, goal, maxiter=50 * max(rows.shape))[0]
    return found
