"""Strategies on landscapes that are computed; what they find is compared with the best of all pipelines."""

from __future__ import annotations

from dataclasses import replace

import pytest

from graphopt.search import STRATEGIES, Objective, Point
from graphopt.search.study import Record

from .landscape import OBJECTIVE, pipelines, recorded, searched, space, worth

BEST = max(space().all(), key=lambda point: worth(point)["quality"])
GUIDED = ["auto", "tpe", "nsga2", "anneal", "evolve", "greedy"]


@pytest.mark.parametrize("name", STRATEGIES)
def test_nothing_is_tried_twice_and_the_end_is_said(name: str) -> None:
    where = space(passes=("prune", "svd"), shares=(0.25, 0.75))
    found = pipelines(searched(STRATEGIES[name](where, OBJECTIVE), where, 100))
    assert len(found) == len(set(found))
    assert set(found) <= {where.text(point) for point in where.all()}
    if name not in ("greedy", "auto"):  # which end when they have nothing more to gain
        assert len(found) == where.size == 12


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_proposal_depends_on_trials_and_seed_alone(name: str) -> None:
    where = space()
    records = searched(STRATEGIES[name](where, OBJECTIVE), where, 24, seed=3)
    again = [replace(record, number=5 * record.number + 7, seconds=1.5, worker="other") for record in records]
    for count in (0, 1, 10, 23):
        assert STRATEGIES[name](where, OBJECTIVE).propose(again[:count], 3) == (records[count].proposal if count < len(records) else None)
    if name in ("random", "tpe", "nsga2", "anneal", "evolve"):
        assert pipelines(searched(STRATEGIES[name](where, OBJECTIVE), where, 24, seed=4)) != pipelines(records)


@pytest.mark.parametrize("name", GUIDED)
def test_better_than_chance(name: str) -> None:
    """Regret, averaged over seeds, against that of random search with as many trials."""
    where = space()

    def regret(strategy: str, seed: int) -> float:
        records = searched(STRATEGIES[strategy](where, OBJECTIVE), where, 60, seed)
        return worth(BEST)["quality"] - max(record.values["quality"] for record in records)

    seeds = range(4 if name != "tpe" else 2) if name not in ("auto", "greedy") else range(1)
    by_chance = sum(regret("random", seed) for seed in range(4)) / 4
    assert sum(regret(name, seed) for seed in seeds) / len(seeds) <= by_chance


def test_auto_begins_with_what_is_known_to_work() -> None:
    where = space()
    found = pipelines(searched(STRATEGIES["auto"](where, OBJECTIVE), where, 60))
    assert found[:2] == ["first,prune{to=0.5x}", "first,prune{to=0.5x},mend"]
    assert all(f"first,{step}" in ",".join(found[2:6]) for step in ("svd", "group{form=a", "group{form=b", "drop"))
    assert all("to=0.7071x" in text for text in found[6:12])  # pairs that share the work
    assert where.text(BEST) in found


def test_auto_goes_on_where_every_pass_alone_is_out_of_reach() -> None:
    where = space()
    records = searched(STRATEGIES["auto"](where, OBJECTIVE), where, 40, of=lambda point: worth(point) if len(point.steps) > 1 else None)
    assert any(record.state == "complete" for record in records)


def test_auto_repairs_where_it_cannot_tell_whether_that_helps() -> None:
    where = space()
    records = searched(STRATEGIES["auto"](where, OBJECTIVE), where, 20, of=lambda point: worth(point) if len(point.steps) > 1 else None)
    assert all(record.pipeline.endswith(",mend") for record in records if record.state == "complete")


@pytest.mark.parametrize("best", [0, 1, 7])
def test_auto_looks_for_how_two_passes_share_the_work(best: int) -> None:
    """What is near the best is tried, and not left to chance: a slope is climbed to its top."""
    where = space(shares=tuple(share / 10 for share in range(1, 10)), passes=("prune", "svd"), longest=2)

    def slope(point: Point) -> dict[str, float]:
        quality = 0.9 - 0.05 * abs(point.shares[0] - best) if point.steps == ("svd", "prune") else 0.2
        return {"quality": quality, "latency_ms": 4.0}

    records = searched(STRATEGIES["auto"](where, OBJECTIVE), where, 14, of=slope)
    assert max(record.values["quality"] for record in records) == 0.9


@pytest.mark.parametrize("name", STRATEGIES)
def test_where_every_trial_fails_the_search_goes_on_or_ends(name: str) -> None:
    where = space()
    records = searched(STRATEGIES[name](where, OBJECTIVE), where, 30, of=lambda point: None)
    assert len(records) == 30 or name in ("auto", "greedy")


@pytest.mark.parametrize("name", STRATEGIES)
def test_what_runs_elsewhere_is_left_to_others(name: str) -> None:
    where = space()
    strategy = STRATEGIES[name](where, OBJECTIVE)
    records: list[Record] = []
    for number in range(8):
        proposal = strategy.propose(records, 0)
        if proposal is None:
            break
        records.append(Record(number, proposal, "running"))
    assert len(set(pipelines(records))) == len(records) >= 1


def test_a_drop_that_is_just_allowed_is_allowed() -> None:
    """0.99 - 0.98 is a little more than 0.01."""
    proposal = space().proposal(Point(("svd",)))
    for limits in ({}, {"latency_ms": 5.0}):
        objective = Objective(quality=0.99, limits=limits, max_drop=0.01, whole=10.0)
        kept, missed = (recorded(proposal, 0, {"quality": quality, "latency_ms": 4.0}) for quality in (0.98, 0.979))
        assert objective.keeps(kept)
        assert not objective.keeps(missed)
        assert (objective.score(kept) or 0) > (objective.score(missed) or 0)


def test_what_is_over_the_budget_counts_for_nothing() -> None:
    where = space()
    records = [
        recorded(where.proposal(Point((step,))), n, {"quality": 1.0 + n, "latency_ms": 4.0 + n}) for n, step in enumerate(where.passes)
    ]
    assert [OBJECTIVE.score(record) for record in records] == [1.0, 2.0, None, None, None]
    assert [record.number for record in OBJECTIVE.best(records)] == [1, 0]
    assert OBJECTIVE.usage(records[2]) == pytest.approx(6 / 5)


# ---- how much can be saved

LEVELS = tuple({"latency": 0.9**step} for step in range(1, 21))
FASTEST = Objective(quality=1.0, max_drop=0.1, whole=10.0)


def falling(point: Point) -> dict[str, float]:
    """Quality falls with what is saved, less for svd."""
    share = LEVELS[point.level]["latency"]
    return {"latency_ms": 10 * share, "quality": 1 - (1 - share) * (0.2 if point.steps == ("svd",) else 0.4)}


@pytest.mark.parametrize("name", ["auto", "greedy", "evolve", "tpe"])
def test_without_a_size_the_most_that_keeps_the_quality_is_found(name: str) -> None:
    where = space(goals=LEVELS, longest=1, repair="")
    records = searched(STRATEGIES[name](where, FASTEST), where, 60, of=falling)
    best = FASTEST.best(records)[0]
    wanted = min(falling(point)["latency_ms"] for point in where.all() if falling(point)["quality"] >= 0.9)
    assert best.values["latency_ms"] == pytest.approx(wanted, rel=1e-9 if name in ("auto", "greedy") else 0.35)
    assert FASTEST.keeps(best)


def test_bisection_needs_few_trials() -> None:
    where = space(passes=("svd",), goals=LEVELS, longest=1, repair="")
    assert len(searched(STRATEGIES["greedy"](where, FASTEST), where, 60, of=falling)) <= 5


def test_a_model_as_good_as_the_original_ends_a_search_within_a_budget() -> None:
    where = space()
    proposal = where.proposal(Point(("svd",)))
    assert OBJECTIVE.is_perfect(recorded(proposal, 0, {"quality": 1.0, "latency_ms": 4}))
    assert not OBJECTIVE.is_perfect(recorded(proposal, 0, {"quality": 1.0, "latency_ms": 6}))
    assert not OBJECTIVE.is_perfect(recorded(proposal, 0, {"quality": 0.9, "latency_ms": 4}))
    assert not FASTEST.is_perfect(recorded(proposal, 0, {"quality": 1.0, "latency_ms": 4}))
