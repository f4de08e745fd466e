"""A search without models: what a pipeline would be worth is computed from its point."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from graphopt.search import Objective, Point, Space
from graphopt.search.study import Proposal, Record, Strategy

Worth = Callable[[Point], dict[str, float] | None]
"""The figures of a point; None where its trial fails."""

BUDGET = {"latency": 0.5}
OBJECTIVE = Objective(quality=1.0, limits={"latency_ms": 5.0}, whole=10.0)


def space(**changes: object) -> Space:
    return replace(
        Space(("prune", "svd", "group{form=a}", "group{form=b}", "drop"), (BUDGET,), (0.25, 0.5, 0.75), 3, "first", "mend"), **changes
    )  # type: ignore[arg-type]


def worth(point: Point) -> dict[str, float]:
    """Best is svd, prune at the first split, repaired; every other choice loses something, and what comes first matters."""
    quality = 0.5
    quality += 0.2 * ("svd" in point.steps) + 0.1 * ("prune" in point.steps) - 0.1 * ("drop" in point.steps)
    quality += 0.1 * (point.steps[0] == "svd") - 0.05 * abs(sum(point.shares)) - 0.02 * len(point.steps)
    return {"quality": quality + 0.05 * point.repair, "latency_ms": 4.9 - 0.01 * len(point.steps)}


def recorded(proposal: Proposal, number: int, figures: dict[str, float] | None) -> Record:
    if figures is None:
        return Record(number, proposal, "failed", reason="as the test wants it")
    return Record(number, proposal, "complete", figures)


def searched(strategy: Strategy, where: Space, trials: int, seed: int = 0, of: Worth = worth) -> list[Record]:
    """The trials that a study would hold."""
    records: list[Record] = []
    while len(records) < trials:
        proposal = strategy.propose(records, seed)
        if proposal is None:
            break
        point = where.point_of(proposal.settings)
        assert point is not None
        assert where.text(point) == proposal.pipeline
        records.append(recorded(proposal, len(records), of(point)))
    return records


def pipelines(records: Sequence[Record]) -> list[str]:
    return [record.pipeline for record in records]
