"""Costs over channel widths against the graphs that are really cut."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import graphopt.ir as ir
from graphopt.allocation import RESOURCES, Site, WidthCosts, figure
from graphopt.channels import analyse, cut
from graphopt.cost import candidate_widths
from tests.cost.staircase import BLOCK, inverted, joined, mixed, predictor, residual


def sites_of(graph: ir.Graph) -> tuple[Site, ...]:
    groups = [group for group in analyse(graph).groups if group.prunable]
    values = {group.name: tuple(reversed(candidate_widths(group, BLOCK))) for group in groups}
    return tuple(Site(name, widths, (0.0,) * len(widths)) for name, widths in values.items())


@pytest.mark.parametrize("make", [residual, inverted, joined, mixed])
def test_equal_to_the_figures_of_the_graph_that_is_cut(make: Callable[[], ir.Graph]) -> None:
    graph = make()
    sites = sites_of(graph)
    costs = WidthCosts(graph, sites, predictor())
    rng = np.random.default_rng(0)
    for _ in range(4):
        plan = tuple(int(rng.integers(len(site.values))) for site in sites)
        twin = graph.copy()
        cut(analyse(twin), {site.name: list(range(site.values[place])) for site, place in zip(sites, plan, strict=True)})
        for resource in RESOURCES:
            close = 1e-3 if resource in ("latency", "bytes") else 0  # a file states sizes in more or fewer digits
            assert costs.of(resource, plan) == pytest.approx(figure(twin, resource, predictor()), rel=close), resource


@pytest.mark.parametrize("make", [residual, inverted, joined, mixed])
def test_the_peak_is_the_most_of_the_moments(make: Callable[[], ir.Graph]) -> None:
    graph = make()
    sites = sites_of(graph)
    costs = WidthCosts(graph, sites, predictor())
    rng = np.random.default_rng(1)
    plans = [tuple(int(rng.integers(len(site.values))) for site in sites) for _ in range(4)]
    for plan in plans:
        moment = costs.held(plan)
        assert costs.of(moment, plan) == costs.of("peak-memory", plan)
        assert all(costs.of(moment, other) <= costs.of("peak-memory", other) for other in plans)


def test_along_a_site_the_others_stay() -> None:
    graph = residual()
    sites = sites_of(graph)
    costs = WidthCosts(graph, sites, predictor())
    plan = (1, *(0 for _ in sites[1:]))
    for resource in RESOURCES:
        wanted = [costs.of(resource, (1, place, *plan[2:])) for place in range(len(sites[1].values))]
        assert costs.along(resource, 1, plan).tolist() == pytest.approx(wanted)


def test_groups_that_are_no_sites_are_whole_or_as_wide_as_they_are_said_to_be() -> None:
    graph = residual()
    sites = sites_of(graph)
    whole = WidthCosts(graph, sites[1:], predictor())
    fixed = WidthCosts(graph, sites[1:], predictor(), {sites[0].name: sites[0].values[2]})
    every = WidthCosts(graph, sites, predictor())
    rest = (1,) * (len(sites) - 1)
    for resource in RESOURCES:
        assert whole.of(resource, rest) == pytest.approx(every.of(resource, (0, *rest)))
        assert fixed.of(resource, rest) == pytest.approx(every.of(resource, (2, *rest)))
