"""Which values of the sites are worth offering to a solver."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from graphopt.allocation.sites import Costs, Floats, Held, Plan, Resource, Site

_SAME = 1e-9  # relative; less is rounding


class _Narrowed:
    """Costs over some values of some sites, `places[i]` of site `numbers[i]`; the other sites stay as they are."""

    def __init__(self, costs: Costs, numbers: Sequence[int], places: Sequence[Sequence[int]], sites: int) -> None:
        self._costs, self._numbers, self._places, self._sites = costs, numbers, places, sites

    def of(self, resource: Resource, plan: Plan) -> float:
        return self._costs.of(resource, self._whole(plan))

    def along(self, resource: Resource, site: int, plan: Plan) -> Floats:
        return self._costs.along(resource, self._numbers[site], self._whole(plan))[list(self._places[site])]

    def held(self, plan: Plan) -> Held:
        return self._costs.held(self._whole(plan))

    def _whole(self, plan: Plan) -> Plan:
        whole = [0] * self._sites
        for number, places, chosen in zip(self._numbers, self._places, plan, strict=True):
            whole[number] = places[chosen]
        return tuple(whole)


def worthwhile(sites: Sequence[Site], costs: Costs, resources: Collection[Resource], timed: bool) -> tuple[tuple[Site, ...], Costs]:
    """The sites with the values that take less of some of `resources` than every milder one does, and their costs.

    Values are in order of strength. Where latencies are known (`timed`), none is offered that is slower than a milder one; sites at which nothing is won are left out.
    """
    numbers, places = [], []
    untouched = (0,) * len(sites)
    for number in range(len(sites)):
        alongs = {resource: costs.along(resource, number, untouched) for resource in resources}
        ms = costs.along("latency", number, untouched) if timed and "latency" not in alongs else alongs.get("latency")
        kept = [0]
        for place in range(1, len(sites[number].values)):
            milder = range(place)
            slower = ms is not None and ms[place] > min(ms[other] for other in milder) * (1 + _SAME)
            if not slower and any(along[place] < min(along[other] for other in kept) * (1 - _SAME) for along in alongs.values()):
                kept.append(place)
        if len(kept) > 1:
            numbers.append(number)
            places.append(kept)
    offered = tuple(
        replace(sites[number], values=tuple(sites[number].values[p] for p in kept), harms=tuple(sites[number].harms[p] for p in kept))
        for number, kept in zip(numbers, places, strict=True)
    )
    return offered, _Narrowed(costs, numbers, places, len(sites))
