from __future__ import annotations

import pytest

from graphopt.report.groups import percent, some_names
from graphopt.report.words import amount, change, data_size, milliseconds, score, times


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (9999, "9,999"), (10_000, "10.0 k"), (235_946, "236 k"), (7_277_312, "7.28 M"), (1.81e9, "1.81 G"), (9.99e12, "9.99 T")],
)
def test_amounts(number: float, text: str) -> None:
    assert amount(number) == text


@pytest.mark.parametrize(("number", "text"), [(999, "999 B"), (1500, "1.50 kB"), (13_900, "13.9 kB"), (948_808, "949 kB")])
def test_sizes(number: float, text: str) -> None:
    assert data_size(number) == text


@pytest.mark.parametrize(("number", "text"), [(0.0716, "0.0716 ms"), (8, "8.00 ms"), (69.83, "69.8 ms"), (1234.5, "1234 ms"), (0, "0 ms")])
def test_latencies(number: float, text: str) -> None:
    assert milliseconds(number) == text


def test_factors_scores_and_changes() -> None:
    assert (times(1.5), times(123.4)) == ("1.50x", "123x")
    assert (score(0.99666), score(1.0), score(0)) == ("0.9967", "1", "0")
    assert (change(200, 100), change(100, 100), change(0, 5)) == ("-50.0 %", "", "")
    assert change(100_000, 99_999) == "-0.001 %"


def test_shares_are_never_rounded_to_none_or_all() -> None:
    assert [percent(share) for share in (0, 0.004, 0.37, 0.9999, 1.0)] == ["0 %", "under 1 %", "37 %", "99 %", "100 %"]


def test_long_lists_are_cut() -> None:
    assert some_names(["a", "b", "c"]) == "a, b, c"
    assert some_names(list("abcde")) == "a, b, c and 2 more"
