"""Where a pass can act, in how many ways, and what each way is thought to cost and to harm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Plan = tuple[int, ...]
"""For each site, in order, the place of what was chosen among its `values`."""

RESOURCES = ("latency", "macs", "params", "bytes", "peak-memory")
"""What a budget can bound: milliseconds of one run, multiply-accumulates, parameters, bytes of the file, peak bytes of activations."""


@dataclass(frozen=True)
class Held:
    """The bytes of certain activations, by name: those that are held at one moment of a run. Peak memory is the most of such sums, and that
    no moment takes too much says more of each site than that the most of all does not.
    """

    values: frozenset[str]


Resource = str | Held
"""One of RESOURCES, or the bytes of one moment."""


@dataclass(frozen=True)
class Site:
    """A place of the graph where a pass can act: a channel group, a layer, a residual block, an input.

    `values` are the choices as the pass's `plan` takes them (units to keep, a rank, a number of groups, 1 to drop, a size in pixels), in order of
    strength; the first of them leaves the site as it is. `harms` says for each how much is thought to be lost, in a unit that is the same for all sites of
    one pass and one estimate; that of the first is 0. Harms of several sites add up.
    """

    name: str
    values: tuple[int, ...]
    harms: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.values or len(self.values) != len(self.harms) or self.harms[0] != 0:
            raise ValueError(f"site {self.name!r}: as many harms as values are needed, the first of them 0")


class Costs(Protocol):
    """What the network costs under a plan. Pure: the same plan costs the same."""

    def of(self, resource: Resource, plan: Plan) -> float:
        """One resource for the whole network where every site is as `plan` says."""

    def along(self, resource: Resource, site: int, plan: Plan) -> Floats:
        """The same for every value of one site, the others as `plan` says; shape (values,)."""

    def held(self, plan: Plan) -> Held:
        """What is held at the peak of memory under `plan`."""


@dataclass(frozen=True)
class Problem:
    """One value is to be chosen for each site, so that the network's costs stay within `limits` (resource: most) at the least sum of harms."""

    sites: tuple[Site, ...]
    costs: Costs
    limits: dict[Resource, float]

    @property
    def untouched(self) -> Plan:
        """The plan that leaves every site as it is."""
        return (0,) * len(self.sites)

    def harm(self, plan: Sequence[int]) -> float:
        return float(sum(site.harms[place] for site, place in zip(self.sites, plan, strict=True)))


@dataclass(frozen=True)
class Allocation:
    """What a solver chose; `costs` are those of the limited resources under `plan`.

    `gap` is how far its harm may be above the least, relative; infinite where nothing is known of that. `rounds` counts what the solver did.
    """

    plan: Plan
    costs: dict[Resource, float]
    harm: float
    gap: float = 0.0
    rounds: int = 1
