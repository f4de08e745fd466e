"""Searching among subnets: the way into the budget, strategies, the predictor of quality, the whole job."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphopt
from graphopt.cost import Predictor, find_target
from graphopt.errors import BudgetError, PassParameterError, SupernetError
from graphopt.quality import run, session
from graphopt.search.supernet import AccuracyPredictor, Allowed, Evolution, Qualities, RandomSearch, Subnet, Tpe, search_supernet
from graphopt.search.supernet.accuracy import rank_correlation
from graphopt.search.supernet.hunt import Effort, Hunt
from graphopt.supernet import Site, Space, extract, load_config, load_supernet, parse_generic
from graphopt.supernet.space import Present

from .test_transformers import FOLDER, TOKENS

# Three stages of up to three blocks; a block's choices have no effect where it is left out.
_BLOCKS = [Site("e", 3 * stage + block, (3, 4, 6), Present(stage, block)) for stage in range(3) for block in range(3)]
SPACE = Space((*(Site("d", stage, (1, 2, 3)) for stage in range(3)), *_BLOCKS), (), {"d": 3, "e": 9})
COSTS = np.random.default_rng(0).uniform(0.5, 1.5, 9)
WORTH = np.random.default_rng(1).uniform(0.2, 2.0, 9)


def ms(rows: Any) -> Any:
    """A time that grows with every choice of a block that is there."""
    matters = SPACE.matters(rows)[:, 3:]
    return 1.0 + np.where(matters, COSTS * (1 + rows[:, 3:]), 0.0).sum(axis=1)


def quality(rows: Any) -> Any:
    return np.where(SPACE.matters(rows)[:, 3:], WORTH * np.sqrt(1 + rows[:, 3:]), 0.0).sum(axis=1)


@functools.cache
def best(limit: float) -> float:
    """The best quality within a time, of all subnets there are."""
    every = np.stack(np.meshgrid(*[np.arange(3)] * 12, indexing="ij"), axis=-1).reshape(-1, 12)
    return float(quality(every[ms(every) <= limit]).max())


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), limit=st.floats(4.6, 30))
def test_what_is_too_slow_is_brought_into_the_budget(seed: int, limit: float) -> None:
    rng, allowed = np.random.default_rng(seed), Allowed(SPACE, ms, limit)
    fastest, least = allowed.fastest()
    assert least == pytest.approx(1 + COSTS[[0, 3, 6]].sum())
    rows = SPACE.sample(rng, 20)
    found = allowed.brought_in(rows, rng)
    assert (SPACE.canonical(found) == found).all()
    fits = ms(rows) <= limit
    assert (found[fits] == rows[fits]).all()
    if least <= limit:
        assert (ms(found) <= limit).all()
    else:
        assert (found[~fits] == fastest).all()


def test_it_stops_as_soon_as_it_fits() -> None:
    """A single step too much is a single step back, not the smallest subnet."""
    allowed, rng = Allowed(SPACE, ms, float(ms(SPACE.largest[None])[0]) - 0.01), np.random.default_rng(0)
    found = allowed.brought_in(np.repeat(SPACE.largest[None], 50, axis=0), rng)
    assert (np.abs(found - SPACE.largest)[:, 3:].sum(axis=1) + np.abs(found - SPACE.largest)[:, :3].sum(axis=1) == 1).all()
    assert len(np.unique(found, axis=0)) > 5


def test_the_fastest_need_not_be_the_smallest() -> None:
    def odd(rows: Any) -> Any:
        return ms(rows) + 5.0 * (rows[:, 3] == 0)  # a width that the hardware does not like

    fastest, least = Allowed(SPACE, odd, 5.0).fastest()
    assert fastest[3] == 1
    assert least == pytest.approx(float(odd(fastest[None])[0]))


@pytest.mark.parametrize("made", [Evolution, RandomSearch, Tpe])
def test_strategies_stay_in_the_budget_and_repeat_themselves(made: Any) -> None:
    def told(seed: int) -> Any:
        strategy, asked = made(Allowed(SPACE, ms, 12.0), seed), []
        for _ in range(4):
            rows = strategy.ask()
            assert (ms(rows) <= 12.0).all()
            strategy.tell(rows, quality(rows))
            asked.append(rows)
        return np.concatenate(asked)

    assert (told(1) == told(1)).all()
    assert told(1).tolist() != told(2).tolist()


def test_evolution_has_the_published_settings_and_finds_the_best() -> None:
    strategy = Evolution(Allowed(SPACE, ms, 12.0), seed=0)
    found = 0.0
    for _ in range(60):
        rows = strategy.ask()
        assert len(rows) == 100
        strategy.tell(rows, quality(rows))
        found = max(found, float(quality(rows).max()))
    assert len(strategy._rows) == 25
    assert found >= 0.99 * best(12.0)
    random = RandomSearch(Allowed(SPACE, ms, 12.0), seed=0)
    assert found > max(float(quality(random.ask()).max()) for _ in range(60))


def test_tpe_learns() -> None:
    strategy, qualities = Tpe(Allowed(SPACE, ms, 12.0), seed=0), []
    for _ in range(60):
        rows = strategy.ask()
        strategy.tell(rows, quality(rows))
        qualities.append(float(quality(rows)[0]))
    assert np.mean(qualities[-15:]) > np.mean(qualities[:15])


def test_the_predictor_of_quality_orders_subnets_that_it_has_not_seen() -> None:
    rng = np.random.default_rng(0)
    rows = SPACE.sample(rng, 80)
    noisy = quality(rows) + rng.normal(size=80) * 0.1
    predictor, new = AccuracyPredictor(SPACE, rows, noisy), SPACE.sample(rng, 500)
    assert np.corrcoef(predictor(new), quality(new))[0, 1] > 0.95
    ranks = rank_correlation(SPACE, rows, noisy)
    assert ranks is not None
    assert 0.7 < ranks.kendall < ranks.spearman <= 1
    assert ranks.subnets == 80
    nothing = rank_correlation(SPACE, rows, rng.normal(size=80))
    assert nothing is not None
    assert abs(nothing.spearman) < 0.4
    assert rank_correlation(SPACE, rows[:5], noisy[:5]) is None
    assert rank_correlation(SPACE, rows, np.ones(80)) is None


def hunt(judge: str, limit: float, trials: int, seed: int = 0) -> tuple[Subnet, list[Subnet], Hunt]:
    seen: list[Subnet] = []
    qualities = Qualities(SPACE, lambda row: float(quality(row[None])[0]), ms, seen.append)
    search = Hunt(qualities, "evolve", judge, seed)
    found = search.best(Allowed(SPACE, ms, limit), Effort(None, trials))
    assert found is not None
    return found, seen, search


@pytest.mark.parametrize("judge", ["predictor", "evaluator"])
def test_few_runs_find_a_good_subnet(judge: str) -> None:
    found, seen, search = hunt(judge, 12.0, 60)
    assert found.ms <= 12.0
    assert len(seen) == 60  # no more runs, and each subnet once
    assert len({subnet.row for subnet in seen}) == 60
    assert found.quality >= (0.97 if judge == "predictor" else 0.9) * best(12.0)
    assert found.quality == max(subnet.quality for subnet in seen if subnet.ms <= 12.0)
    assert (search.correlation is not None) == (judge == "predictor")
    assert hunt(judge, 12.0, 60)[0] == found


def test_the_predictor_is_better_than_its_training_set() -> None:
    _, seen, _ = hunt("predictor", 12.0, 60)
    random, chosen = seen[:36], seen[36:]
    assert np.mean([subnet.quality for subnet in chosen]) > np.mean([subnet.quality for subnet in random])
    assert max(chosen, key=lambda subnet: subnet.quality).quality > max(random, key=lambda subnet: subnet.quality).quality


def test_a_space_that_is_exhausted_ends_the_search() -> None:
    tiny = Space((Site("d", 0, (1, 2)), Site("e", 0, (3, 4))), (), {"d": 1, "e": 1})
    for judge in ("predictor", "evaluator"):
        qualities = Qualities(tiny, lambda row: float(row.sum()), lambda rows: 1.0 + rows.sum(axis=1))
        found = Hunt(qualities, "evolve", judge, 0).best(Allowed(tiny, lambda rows: 1.0 + rows.sum(axis=1), 2.0), Effort(None, 50))
        assert found is not None
        assert found.row in {(0, 1), (1, 0)}
        assert len(qualities.known) <= 4


def test_names_that_there_are_not() -> None:
    qualities = Qualities(SPACE, lambda row: 0.0, ms)
    with pytest.raises(PassParameterError, match="quality cannot be judged by 'x'; there are predictor, evaluator"):
        Hunt(qualities, "evolve", "x", 0)
    with pytest.raises(PassParameterError, match="there is no strategy 'x' for subnets; there are evolve, random, tpe"):
        Hunt(qualities, "x", "predictor", 0).best(Allowed(SPACE, ms, 12.0), Effort(None, 8))


# ---- the whole job, on the encoder of examples/supernets

MODEL, SIDE_FILE = FOLDER / "hat_encoder.onnx", FOLDER / "hat_encoder.supernet.json"


@functools.cache
def largest_ms() -> float:
    return Predictor(find_target("jetson-nano")).predict(graphopt.load(MODEL)).ms


def searched(**settings: Any) -> Any:
    return search_supernet(
        MODEL,
        SIDE_FILE,
        **({"target": "jetson-nano", "seconds": None, "trials": 12, "data": {"tokens": np.tile(TOKENS, (6, 1))}} | settings),
    )


def test_the_winner_is_the_subnet_of_its_configuration(tmp_path: Path) -> None:
    found = searched(latency=0.75 * largest_ms(), config_path=tmp_path / "c.json")
    assert not found.missed
    assert found.report.after.latency_ms <= 0.75 * largest_ms()
    assert found.report.after.latency_ms == pytest.approx(Predictor(find_target("jetson-nano")).predict(found.graph).ms)
    assert found.report.before.latency_ms == pytest.approx(largest_ms())
    assert found.report.predicted
    assert len(found.subnets) == 12
    chosen = max((subnet for subnet in found.subnets if subnet.ms <= 0.75 * largest_ms()), key=lambda subnet: subnet.quality)
    assert chosen.ms == pytest.approx(found.report.after.latency_ms)
    (tmp_path / "c.json").write_text(json.dumps(found.config))
    again = graphopt.load(MODEL)
    extract(again, load_supernet(SIDE_FILE), load_config(tmp_path / "c.json"))
    outputs = [run(session(graph, threads=1), {"tokens": TOKENS})["encoded"] for graph in (found.graph, again)]
    np.testing.assert_array_equal(*outputs)
    graphopt.verify(found.graph)
    (step,) = found.report.steps
    assert step.text == f"extract-subnet{{supernet={SIDE_FILE} config={tmp_path / 'c.json'}}}"
    assert graphopt.run(graphopt.load(MODEL), step.text).graph.to_proto() == found.graph.to_proto()
    assert searched(latency=0.75 * largest_ms()).config == found.config


def test_budgets_that_cannot_be_met() -> None:
    with pytest.raises(BudgetError, match=r"no subnet was found that takes at most .*: the fastest, layers=1 .* takes .* as fast\)"):
        searched(latency=0.01 * largest_ms())
    found = searched(latency=0.01 * largest_ms(), best_effort=True, judge="evaluator")
    assert found.config["layers"] == 1
    assert found.missed
    with pytest.raises(BudgetError, match=r"the best subnet that is fast enough drops the quality by"):
        searched(speedup=1.5, max_drop=0.0, trials=6, judge="evaluator")
    with pytest.raises(PassParameterError, match="needs a time to keep: give --latency or --speedup"):
        searched(max_drop=0.1)


def test_a_budget_that_the_supernet_keeps_leaves_it() -> None:
    found = searched(latency=2 * largest_ms(), trials=6, judge="evaluator")
    assert found.config == {"layers": 3, "embed": 32, "heads": [4] * 3, "ffn": [64] * 3}
    assert found.report.after.quality == 1.0


def test_this_machine_is_measured() -> None:
    found = searched(
        target="cpu", speedup=1.01, trials=4, threads=1, best_effort=True, judge="evaluator"
    )  # how fast it is here is no test's business
    assert not found.report.predicted
    assert found.timing.latency.repeats >= 5
    assert found.report.after.latency_interval_ms is None


def test_a_side_file_without_choices(tmp_path: Path) -> None:
    document = json.loads(SIDE_FILE.read_text())
    del document["choices"]
    (tmp_path / "s.json").write_text(json.dumps(document))
    with pytest.raises(SupernetError, match="choices say nothing of 'layers'"):
        search_supernet(MODEL, tmp_path / "s.json", target="jetson-nano", latency=5.0)
    assert parse_generic(document).choices == {}
