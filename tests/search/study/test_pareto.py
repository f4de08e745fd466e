from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from graphopt.search.study import Proposal, Record, pareto

_figures = st.tuples(st.integers(0, 6), st.integers(0, 6))


def _records(figures: list[tuple[int, int]]) -> list[Record]:
    return [
        Record(number, Proposal(f"p{number}"), "complete", {"latency_ms": float(latency), "quality": float(quality)})
        for number, (latency, quality) in enumerate(figures)
    ]


@settings(deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(_figures, max_size=12))
def test_the_front_is_what_its_definition_says(figures: list[tuple[int, int]]) -> None:
    def beaten(mine: tuple[int, int]) -> bool:
        return any(other[0] <= mine[0] and other[1] >= mine[1] and other != mine for other in figures)

    front = pareto(_records(figures))
    assert [(trial.values["latency_ms"], trial.values["quality"]) for trial in front] == sorted(
        {each for each in figures if not beaten(each)}
    )
    assert all(figures.index(figures[trial.number]) == trial.number for trial in front)  # of equals the first


def test_only_complete_trials_with_both_figures_count() -> None:
    good, *others = _records([(2, 2), (1, 1), (1, 3)])
    failed = Record(1, others[0].proposal, "failed", others[0].values)
    partly = Record(2, others[1].proposal, "complete", {"latency_ms": 1.0})
    assert pareto([failed, partly, good]) == (good,)
    assert pareto([good], latency="measured_ms") == ()
