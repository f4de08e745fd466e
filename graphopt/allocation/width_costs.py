"""What a network costs under other channel widths, without cutting it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from math import prod

import numpy as np

from graphopt.allocation.graph_costs import figure, held_at_peak
from graphopt.allocation.sites import Floats, Held, Plan, Resource, Site
from graphopt.channels import analyse
from graphopt.cost import KnownTypes, Memory, Predictor, Widths, WidthTables, fixed_types, peak_memory
from graphopt.cost.counts import is_weight_type
from graphopt.cost.macs import node_macs
from graphopt.cost.traffic import value_bytes
from graphopt.ir import Graph, Node, Value

Assigned = Sequence[int]  # the width of each channel group, by its number


class WidthCosts:
    """Costs of the root `graph`, without calls of functions, where sites are channel groups and values their widths.

    `fixed` are the widths of groups that are no sites, by name; others are whole. Latencies are sums of table entries; what a vector that
    several nodes share takes more when they are cut apart is not counted. Raises UnsupportedError as `WidthTables` does.
    """

    def __init__(self, graph: Graph, sites: Sequence[Site], predictor: Predictor | None, fixed: Mapping[str, int] | None = None) -> None:
        self._graph, self._sites, self._predictor = graph, sites, predictor
        self._widths = Widths(analyse(graph), fixed_types(graph))
        self._start = self._widths.assignment(fixed or {})
        self._numbers = [self._widths.number(site.name) for site in sites]
        self._tables = None if predictor is None else self._made_tables(predictor)
        self._shapes = _ShapeSums(graph, self._widths)

    def of(self, resource: Resource, plan: Plan) -> float:
        if resource == "latency":
            return float(self._latencies([self._assigned(plan)])[0])
        return self._shapes.of(resource, self._assigned(plan))

    def along(self, resource: Resource, site: int, plan: Plan) -> Floats:
        rows = [self._assigned((*plan[:site], place, *plan[site + 1 :])) for place in range(len(self._sites[site].values))]
        if resource == "latency":
            return self._latencies(rows)
        return np.array([self._shapes.of(resource, row) for row in rows], np.float64)

    def held(self, plan: Plan) -> Held:
        return held_at_peak(self._shapes.memory(self._assigned(plan)))

    def _assigned(self, plan: Plan) -> list[int]:
        assigned = list(self._start)
        for number, site, place in zip(self._numbers, self._sites, plan, strict=True):
            assigned[number] = site.values[place]
        return assigned

    def _made_tables(self, predictor: Predictor) -> WidthTables:
        levels: dict[str, tuple[int, ...]] = {group.name: (width,) for group, width in zip(self._widths.groups, self._start, strict=True)}
        return WidthTables(predictor, self._graph, levels | {site.name: site.values for site in self._sites})

    def _latencies(self, rows: Sequence[Assigned]) -> Floats:
        assert self._tables is not None, "a latency without a predictor"
        names = [group.name for group in self._widths.groups]
        return self._tables.ms([self._tables.choice(dict(zip(names, row, strict=True))) for row in rows])


class _ShapeSums:
    """What depends on shapes alone, as sums over nodes or tensors, each of which depends on the widths of few groups."""

    def __init__(self, graph: Graph, widths: Widths) -> None:
        self._graph, self._widths = graph, widths
        self._sums: dict[Resource, _Sum] = {}
        self._peaks: dict[tuple[int, ...], float] = {}

    def of(self, resource: Resource, assigned: Assigned) -> float:
        if resource == "peak-memory":
            key = tuple(assigned)
            if key not in self._peaks:
                self._peaks[key] = float(self.memory(assigned).peak)
            return self._peaks[key]
        if resource not in self._sums:
            self._sums[resource] = self._made(resource)
        return self._sums[resource].at(assigned)

    def memory(self, assigned: Assigned) -> Memory:
        return peak_memory(self._graph, self._types_at(self._widths.types.by_value, assigned))

    def _made(self, resource: Resource) -> _Sum:
        found = _Sum(figure(self._graph, resource, None), self._widths.full)
        if isinstance(resource, Held):
            for value in (self._graph.value(name) for name in sorted(resource.values) if self._graph.has_value(name)):
                found.add(self._groups([value]), partial(self._bytes, value))
            return found
        if resource == "macs":
            for node in self._graph.nodes:
                values = [value for value in chain(node.inputs, node.outputs) if value is not None]
                found.add(self._groups(values), partial(self._macs, node, values))
            return found
        for value in self._graph.initializers:
            if value.tensor is not None and value.tensor.size and (resource == "bytes" or is_weight_type(value.tensor.elem_type)):
                each = value.tensor.nbytes / value.tensor.size if resource == "bytes" else 1.0
                found.add(self._groups([value]), partial(self._elements, value, each))
        return found

    def _groups(self, values: Sequence[Value]) -> tuple[int, ...]:
        """The groups on whose widths the shapes of the values depend."""
        sizes = chain.from_iterable(self._widths.sizes(value) or () for value in values)
        return tuple(sorted({number for size in sizes for term in size.terms for number in term.groups}))

    def _macs(self, node: Node, values: Sequence[Value], assigned: Assigned) -> float:
        return float(node_macs(node, self._types_at(values, assigned)) or 0)

    def _bytes(self, value: Value, assigned: Assigned) -> float:
        return float(value_bytes(value, self._types_at([value], assigned)) or 0)

    def _elements(self, value: Value, each: float, assigned: Assigned) -> float:
        return each * float(prod(size.at(assigned) for size in self._widths.sizes(value) or ()))

    def _types_at(self, values: Sequence[Value] | Mapping[Value, object], assigned: Assigned) -> KnownTypes:
        known = self._widths.types.by_value
        found = {}
        for value in values:
            sizes = self._widths.sizes(value)
            if value in known:
                found[value] = known[value] if sizes is None else replace(known[value], shape=tuple(size.at(assigned) for size in sizes))
        return KnownTypes(found, ())


class _Sum:
    """A figure of the whole network, from what each of its parts takes; `full` are the widths at which it is `total`."""

    def __init__(self, total: float, full: Assigned) -> None:
        self._constant, self._full = total, full
        self._parts: list[tuple[tuple[int, ...], Callable[[Assigned], float], dict[tuple[int, ...], float]]] = []

    def add(self, groups: tuple[int, ...], cost: Callable[[Assigned], float]) -> None:
        if groups:
            self._constant -= cost(self._full)
            self._parts.append((groups, cost, {}))

    def at(self, assigned: Assigned) -> float:
        total = self._constant
        for groups, cost, known in self._parts:
            key = tuple(assigned[number] for number in groups)
            if key not in known:
                known[key] = cost(assigned)
            total += known[key]
        return total
