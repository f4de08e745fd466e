"""`graphopt.optimize` with several processes, for a target whose latencies are predicted, so that figures do not depend on what else runs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import graphopt
from graphopt.search import Budget
from graphopt.search.request import Request
from graphopt.search.setup import prepare
from graphopt.search.study import Place, Study

from ..cost.staircase import target
from ..networks import write_data, write_network

FORMS = ("prune-channels", "prune-channels{criterion=l1}", "prune-channels{criterion=random}")
TRIALS = 2 * len(FORMS)  # all there are: each form with and without repair


def test_two_workers_share_the_trials_and_make_none_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graphopt.search.job.compressing_passes", lambda registry: FORMS)
    target().save(tmp_path / "stairs")
    model, data, kept = write_network(tmp_path / "m.onnx"), write_data(tmp_path / "d.npz", samples=20), tmp_path / "kept.db"
    request = Request(str(model), Budget(speedup=1.5), str(tmp_path / "stairs"), data, metric="fidelity", threads=1)
    found = graphopt.optimize(
        model,
        target=request.target,
        speedup=1.5,
        data=data,
        metric="fidelity",
        threads=1,
        strategy="grid",  # both want the same next
        study=str(kept),
        workers=2,
    )
    assert found.missed == ""
    assert found.timing.speedup >= 1.5
    with Study.load(Place.parse(str(kept))) as study:
        trials = study.trials()
    assert len({trial.pipeline for trial in trials}) == len(trials) == TRIALS
    assert {trial.state for trial in trials} <= {"complete", "failed"}
    assert not any(trial.worker.endswith(f":{os.getpid()}") for trial in trials)  # this process only looks on
    complete = [trial for trial in trials if trial.state == "complete"]
    assert complete
    evaluate = prepare(request).evaluator()
    for trial in complete:  # what the workers made is what one process makes
        alone = evaluate(trial.proposal)
        assert (dict(trial.values), trial.model) == (alone.values, alone.model)
