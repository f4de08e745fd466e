from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphopt.cost import WidthAdvice, predicted_widths, worthwhile_widths
from graphopt.cost.worthwhile import candidate_widths, faster_than_larger
from graphopt.errors import EditError
from graphopt.ir import Graph

from .staircase import BLOCK, inverted, joined, mixed, predictor, residual


@given(st.lists(st.floats(0.1, 10), min_size=1, max_size=12), st.sampled_from([0.0, 0.1]))
def test_no_width_on_offer_is_slower_than_a_larger_one(ms: list[float], gain: float) -> None:
    widths = list(range(1, len(ms) + 1))
    offered = faster_than_larger(widths, ms, gain)
    assert offered[-1] == widths[-1]
    for width in offered[:-1]:
        assert all(ms[width - 1] < later for later in ms[width:])
    for width in set(widths) - set(offered):  # what is not on offer wins too little over the next one that is
        above = next(each for each in offered if each > width)
        assert ms[width - 1] >= ms[above - 1] - gain


def test_widths_worth_having_are_whole_blocks() -> None:
    advice = WidthAdvice(predictor(), residual())
    for group in advice.groups:
        site = advice.site(group.name, candidates=range(1, group.size))
        assert all(width % BLOCK == 0 or width < BLOCK for width in site.worthwhile)


@pytest.mark.parametrize("make", [residual, inverted, joined, mixed])
def test_widths_worth_having_are_faster_than_all_larger_ones(make: Callable[[], Graph]) -> None:
    advice = WidthAdvice(predictor(), make())
    for group in advice.groups:
        site = advice.site(group.name)
        ms = dict(zip(site.widths, site.ms, strict=True))
        assert all(ms[width] < ms[larger] for width in site.worthwhile for larger in site.widths if larger > width)


def test_free_channels_are_given_back() -> None:
    advice = WidthAdvice(predictor(), residual())
    group = next(group for group in advice.groups if group.size == 80)
    site = advice.site(group.name, candidates=range(1, 80))
    assert [site.at_least(wanted) for wanted in (33, 47, 48, 49, 64, 65, 80)] == [48, 48, 48, 64, 64, 80, 80]


def test_the_time_of_the_site_is_part_of_the_network_s() -> None:
    advice = WidthAdvice(predictor(), residual())
    for group in advice.groups:
        site = advice.site(group.name)
        assert site.ms[-1] == pytest.approx(advice.ms({}))
        assert all(0 < own < whole for own, whole in zip(site.site_ms, site.ms, strict=True))


def test_by_name() -> None:
    graph = residual()
    advice = WidthAdvice(predictor(), graph)
    name = advice.groups[0].name
    site = advice.site(name)
    assert predicted_widths(predictor(), graph, name) == dict(zip(site.widths, site.ms, strict=True))
    assert worthwhile_widths(predictor(), graph, name) == site.worthwhile
    with pytest.raises(EditError, match="no channel group 'nobody'"):
        worthwhile_widths(predictor(), graph, "nobody")


def test_candidates_of_a_wide_group_are_evenly_spread() -> None:
    group = WidthAdvice(predictor(), residual()).groups[0]
    assert candidate_widths(group, 16) == (16, 32, 48, 64)
    assert candidate_widths(group, 1, 8)[0] == 1
    assert len(candidate_widths(group, 1, 8)) == 8
    assert candidate_widths(group, 100) == (64,)
