"""What a network costs under the plans of any pass: the graph is rebuilt and its figures are taken."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from graphopt.allocation.sites import Floats, Held, Plan, Resource, Site
from graphopt.cost import Memory, Predictor, fixed_types, macs_by_node, parameters, peak_memory, serialised_bytes
from graphopt.cost.traffic import value_bytes
from graphopt.ir import Graph

Rebuild = Callable[[Mapping[str, int]], Graph]


def figure(graph: Graph, resource: Resource, predictor: Predictor | None) -> float:
    """How much of a resource the root `graph` takes; its free dimensions count as 1. A latency needs a predictor.

    Activations that the graph does not have are held by nobody.
    """
    if isinstance(resource, Held):
        types = fixed_types(graph)
        return float(sum(value_bytes(graph.value(name), types) or 0 for name in resource.values if graph.has_value(name)))
    if resource == "latency":
        assert predictor is not None, "a latency without a predictor"
        return predictor.predict(graph).ms  # kernels that were seen before are remembered
    if resource == "macs":
        return float(sum(macs or 0 for macs in macs_by_node(graph).values()))
    if resource == "params":
        return float(parameters(graph))
    if resource == "bytes":
        return float(serialised_bytes(graph))
    if resource == "peak-memory":
        return float(peak_memory(graph).peak)
    raise ValueError(f"no resource {resource!r}")


def held_at_peak(memory: Memory) -> Held:
    return Held(frozenset(value.name for value, _ in memory.held))


class GraphCosts:
    """Costs by rebuilding: `rebuild` gives the graph under the values of the sites that are named, the others left as they are.

    `of` is exact. `along` takes what a value saves for what it saves where no other site is touched, so that it needs each value of each site
    rebuilt but once, whatever the plan.
    """

    def __init__(self, rebuild: Rebuild, sites: Sequence[Site], predictor: Predictor | None) -> None:
        self._rebuild, self._sites, self._predictor = rebuild, sites, predictor
        self._figures: dict[Plan, dict[Resource, float]] = {}
        self._graph: tuple[Plan, Graph] | None = None

    def of(self, resource: Resource, plan: Plan) -> float:
        found = self._figures.setdefault(plan, {})
        if resource not in found:
            found[resource] = figure(self._built(plan), resource, self._predictor)
        return found[resource]

    def along(self, resource: Resource, site: int, plan: Plan) -> Floats:
        alone = np.array([self.of(resource, self._only(site, place)) for place in range(len(self._sites[site].values))])
        return np.asarray(self.of(resource, plan) + alone - alone[plan[site]], np.float64)

    def held(self, plan: Plan) -> Held:
        return held_at_peak(peak_memory(self._built(plan)))

    def _only(self, site: int, place: int) -> Plan:
        return tuple(place if number == site else 0 for number in range(len(self._sites)))

    def _built(self, plan: Plan) -> Graph:
        """The graph of a plan; the last one is kept, for its other figures."""
        if self._graph is None or self._graph[0] != plan:
            touched = {site.name: site.values[place] for site, place in zip(self._sites, plan, strict=True) if place}
            self._graph = plan, self._rebuild(touched)
        return self._graph[1]
