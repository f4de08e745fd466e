"""A study that is killed at any moment and goes on ends with the trials of one that was not."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
from multiprocessing.context import ForkServerContext, ForkServerProcess
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from graphopt.search.study import Evaluation, Proposal, Study, run_study

from . import toy

pytestmark = pytest.mark.skipif(os.name == "nt", reason="processes are killed by signals")


@pytest.fixture(scope="module")
def forks() -> ForkServerContext:
    """Processes that have imported everything already, so that moments are not spent on that."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["graphopt.search.study", "optuna.storages._rdb.models", "sqlalchemy.dialects.sqlite", "alembic.script"])
    return context


@pytest.mark.parametrize(("kills", "count"), [(5, 12), pytest.param(20, 50, marks=pytest.mark.slow)])
def test_a_search_that_is_killed_at_random_moments(tmp_path: Path, forks: ForkServerContext, kills: int, count: int) -> None:
    with Study.open(None, toy.IDENTITY) as undisturbed:
        assert run_study(undisturbed, toy.Climber(), toy.evaluate, trials=count, seed=toy.SEED) == "trials"
        expected = toy.outcomes(undisturbed.trials())
    assert len(expected) == count
    assert {outcome[2] for outcome in expected} == {"complete", "failed"}

    path = tmp_path / "killed.db"
    draw = random.Random(kills)
    for _ in range(kills):
        process, opened = _search(forks, path, count)
        if draw.random() < 0.8:  # else the study is killed while it is opened
            opened.wait(60)
        process.join(draw.uniform(0.0, 0.4))
        process.kill()
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL)
    process, _ = _search(forks, path, count)
    process.join()
    assert process.exitcode == 0

    with Study.load(toy.place(path)) as study:
        trials = study.trials()
    assert toy.outcomes(trials) == expected
    assert all(trial.reason == "worker died" for trial in trials if trial.state == "abandoned")


def _search(forks: ForkServerContext, path: Path, count: int) -> tuple[ForkServerProcess, Event]:
    opened = forks.Event()  # its own: one that a killed process was using may be broken
    process = forks.Process(target=toy.search, args=(str(path), count, opened))
    process.start()
    return process, opened


def test_a_worker_that_dies_in_a_trial(tmp_path: Path, forks: ForkServerContext) -> None:
    path = tmp_path / "study.db"
    process = forks.Process(target=_die_in_the_fourth, args=(str(path),))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL

    with Study.load(toy.place(path)) as looked_at:
        assert [trial.state for trial in looked_at.trials()] == ["complete"] * 3 + ["abandoned"]
    with Study.open(toy.place(path), toy.IDENTITY) as study:
        assert run_study(study, toy.Line(), lambda _: Evaluation({}), trials=6, seed=0) == "trials"
        trials = study.trials()
    assert [trial.state for trial in trials] == ["complete"] * 3 + ["abandoned"] + ["complete"] * 3
    assert [trial.pipeline for trial in trials] == ["p0", "p1", "p2", "p3", "p3", "p4", "p5"]
    assert trials[3].reason == "worker died"


def _die_in_the_fourth(path: str) -> None:
    def evaluate(proposal: Proposal) -> Evaluation:
        if proposal.pipeline == "p3":
            os.kill(os.getpid(), signal.SIGKILL)
        return Evaluation({})

    with Study.open(toy.place(path), toy.IDENTITY) as study:
        run_study(study, toy.Line(), evaluate, trials=6, seed=0)
