"""The time of each kernel by a target's table, its linear laws, or both."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import numpy.typing as npt

from graphopt.cost.families import is_unknown
from graphopt.cost.features import Described
from graphopt.cost.kernel import Signature
from graphopt.cost.linear import Floats, LinearModel, by_family
from graphopt.cost.residual import Residuals, Smoothness, residuals

if TYPE_CHECKING:
    from scipy.spatial import KDTree

Model = Literal["fused", "lut", "linear"]
MODELS: tuple[Model, ...] = get_args(Model)
Source = Literal["table", "near", "linear", "free", "unknown"]

_UNMEASURED = 0.5  # log time: how unsure a kernel of a family is that was never measured


@dataclass(frozen=True, slots=True)
class Estimate:
    """The time of a kernel in milliseconds, how unsure its logarithm is, and where it comes from."""

    ms: float
    sigma: float
    source: Source


class KernelTimes:
    """Times of kernels from measured kernels and what was fitted to them."""

    def __init__(
        self,
        measured: Sequence[Described],
        ms: Floats,
        linear: LinearModel,
        smoothness: Mapping[str, Smoothness],
        model: Model = "fused",
        spread: npt.ArrayLike = 0.0,
    ) -> None:
        self._measured, self._ms, self._linear, self._smoothness, self._spreads = measured, ms, linear, smoothness, spread
        self._table: dict[Signature, float] = dict(zip((kernel.signature for kernel in measured), ms.tolist(), strict=True))
        self._families = {kernel.family for kernel in measured}
        self._estimate: Callable[[Sequence[Described]], list[Estimate]] = {
            "fused": self._fused,
            "lut": self._nearest,
            "linear": self._by_law,
        }[model]
        self._by_table = model != "linear"

    def prepare(self) -> None:
        """Do now what the first kernel that is not in the table would have to wait for."""
        if self._estimate == self._fused and self._measured:
            self._residuals  # noqa: B018  # cached
        elif self._estimate == self._nearest:
            self._trees  # noqa: B018

    def estimate(self, kernels: Sequence[Described]) -> list[Estimate]:
        """An estimate for each kernel."""
        found: list[Estimate | None] = [self._certain(kernel) for kernel in kernels]
        open_ = [place for place, estimate in enumerate(found) if estimate is None]
        for place, estimate in zip(open_, self._estimate([kernels[place] for place in open_]), strict=True):
            found[place] = estimate
        return [estimate for estimate in found if estimate is not None]

    def _certain(self, kernel: Described) -> Estimate | None:
        """What needs no model: a measured kernel, a view, and what nothing is known of."""
        if self._by_table and (ms := self._table.get(kernel.signature)) is not None:
            return Estimate(ms, 0.0, "table")
        if kernel.free and kernel.family not in self._families:
            return Estimate(0.0, 0.0, "free")
        if is_unknown(kernel.family) and not self._linear.knows(kernel.family):
            return Estimate(0.0, 0.0, "unknown")
        return None

    @cached_property
    def _residuals(self) -> Residuals:
        with np.errstate(divide="ignore"):
            ratios = np.log(self._ms / np.maximum(self._linear.ms(self._measured), 1e-9))
        return residuals(self._measured, ratios, self._smoothness, self._spreads)

    def _fused(self, kernels: Sequence[Described]) -> list[Estimate]:
        """The law, times the ratio of measured to predicted time around the kernel."""
        if not kernels:
            return []
        trend = np.maximum(self._linear.ms(kernels), 1e-9)
        mean, sigma = self._residuals.at(kernels, unknown=_UNMEASURED)
        found = []
        for kernel, ms, ratio, unsure in zip(kernels, trend.tolist(), mean.tolist(), sigma.tolist(), strict=True):
            smooth = self._smoothness.get(kernel.family)
            if smooth is None:
                found.append(Estimate(ms, 0.0 if self._linear.knows(kernel.family) else _UNMEASURED, "linear"))
                continue
            spread = (smooth.amplitude**2 + smooth.noise**2) ** 0.5
            found.append(Estimate(ms * np.exp(ratio).item(), unsure, "near" if unsure < 0.7 * spread else "linear"))
        return found

    def _by_law(self, kernels: Sequence[Described]) -> list[Estimate]:
        trend = self._linear.ms(kernels).tolist()
        return [Estimate(ms, self._spread(kernel.family), "linear") for kernel, ms in zip(kernels, trend, strict=True)]

    def _spread(self, family: str) -> float:
        smooth = self._smoothness.get(family)
        return smooth.amplitude if smooth is not None else 0.0 if self._linear.knows(family) else _UNMEASURED

    @cached_property
    def _trees(self) -> Mapping[str, tuple[KDTree, list[str], list[int]]]:
        from scipy.spatial import KDTree  # slow to import, and only this model needs it

        found = {}
        for family, places in by_family(self._measured).items():
            names = sorted({name for place in places for name in self._measured[place].place})
            found[family] = (KDTree(_coordinates([self._measured[place] for place in places], names)), names, places)
        return found

    def _nearest(self, kernels: Sequence[Described]) -> list[Estimate]:
        """The measured kernel of the family that is most alike, as somebody with nothing but a table would take it."""
        found = [Estimate(0.0, _UNMEASURED, "unknown")] * len(kernels)
        for family, places in by_family(kernels).items():
            if family in self._trees:
                tree, names, own = self._trees[family]
                _, near = tree.query(_coordinates([kernels[place] for place in places], names))
                for place, which in zip(places, np.atleast_1d(near).tolist(), strict=True):
                    found[place] = Estimate(float(self._ms[own[which]]), self._spread(family), "near")
        return found


def _coordinates(kernels: Sequence[Described], names: Sequence[str]) -> Floats:
    return np.array([[kernel.place.get(name, 0.0) for name in names] for kernel in kernels]).reshape(len(kernels), len(names))
