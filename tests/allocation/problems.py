"""Problems whose answers can be found by trying every plan."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from graphopt.allocation import Plan, Problem, Site


class Sums:
    """Costs that are sums over the sites; `tables[resource][site][place]`."""

    def __init__(self, tables: Mapping[str, Sequence[Sequence[float]]]) -> None:
        self.tables = tables

    def of(self, resource: str, plan: Plan) -> float:
        return float(sum(table[place] for table, place in zip(self.tables[resource], plan, strict=True)))

    def along(self, resource: str, site: int, plan: Plan) -> npt.NDArray[np.float64]:
        count = len(self.tables[resource][site])
        return np.array([self.of(resource, (*plan[:site], place, *plan[site + 1 :])) for place in range(count)])


class Chain(Sums):
    """A chain of layers: each costs the product of the widths around it, as matrix products do. `widths[site][place]`, as shares."""

    def __init__(self, widths: Sequence[Sequence[float]], weights: Sequence[float]) -> None:
        super().__init__({"latency": widths})
        self.weights = weights  # one more than sites

    def of(self, resource: str, plan: Plan) -> float:
        widths = [1.0, *(table[place] for table, place in zip(self.tables[resource], plan, strict=True)), 1.0]
        return sum(weight * a * b for weight, (a, b) in zip(self.weights, itertools.pairwise(widths), strict=True))


def sites(harms: Sequence[Sequence[float]]) -> tuple[Site, ...]:
    """Sites of such harms, the first of each 0; values count down to 1."""
    return tuple(Site(f"site{number}", tuple(range(len(own), 0, -1)), tuple(own)) for number, own in enumerate(harms))


def best(problem: Problem) -> tuple[float, Plan] | None:
    """The least harm within the limits, by trying every plan."""
    plans = itertools.product(*(range(len(site.values)) for site in problem.sites))
    found = [
        (problem.harm(plan), plan)
        for plan in plans
        if all(problem.costs.of(resource, plan) <= limit * (1 + 1e-9) for resource, limit in problem.limits.items())
    ]
    return min(found, default=None)
