"""Claims, what a study holds, and who may use it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, IntDistribution

from graphopt.errors import StudyError
from graphopt.search.study import Claim, Identity, Place, Proposal, Study

from .toy import IDENTITY, place

Fresh = Callable[[], str]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "study.db"


def _claimed(study: Study, pipeline: str) -> Claim:
    claim = study.claim(Proposal(pipeline))
    assert claim is not None
    return claim


def test_what_is_written_is_read(fresh: Fresh) -> None:
    where = place(fresh())
    settings = {"ratio": np.float64(0.1) + 0.2, "kind": "a", "deep": True, "blocks": 3}
    values = {"latency_ms": 1 / 3, "quality": np.float32(0.5), "macs": 10**15 + 1}
    with Study.open(where, IDENTITY, about={"model": "m.onnx"}, objective={"limits": {"macs": 2.0}}) as study:
        claim = study.claim(Proposal("simplify,prune{ratio=0.1}", settings))
        assert claim is not None
        assert claim.record.state == "running"
        assert study.trials() == (claim.record,)
        assert claim.complete(values, "c" * 64, 1.5)
        done = claim.record
        assert _claimed(study, "b").fail("no such layer", 0.5)
        assert _claimed(study, "c").abandon()
        _claimed(study, "d")
    with Study.load(where) as study:
        trials = study.trials()
        assert study.identity == IDENTITY
        assert study.about == {"model": "m.onnx"}
        assert study.objective == {"limits": {"macs": 2.0}}
    assert trials[0] == done
    assert trials[0].values == {"latency_ms": 1 / 3, "quality": 0.5, "macs": 1e15 + 1}
    assert trials[0].proposal == Proposal("simplify,prune{ratio=0.1}", {**settings, "ratio": 0.1 + 0.2})
    assert (trials[0].model, trials[0].seconds) == ("c" * 64, 1.5)
    assert [(trial.number, trial.state, trial.reason) for trial in trials[1:]] == [
        (1, "failed", "no such layer"),
        (2, "abandoned", "interrupted"),
        (3, "running", ""),
    ]


def test_a_pipeline_is_claimed_once(path: Path) -> None:
    with Study.open(place(path), IDENTITY) as study, Study.open(place(path), IDENTITY) as other:
        claim = _claimed(study, "a")
        assert other.claim(Proposal("a", {"other": 1})) is None  # running
        claim.complete({})
        assert other.claim(Proposal("a")) is None
        _claimed(other, "b").fail("no")
        assert study.claim(Proposal("b")) is None
        _claimed(other, "c").abandon()
        _claimed(study, "c")  # nobody made it
        assert study.claim(Proposal("d"), at_most=3) is None
        assert study.claim(Proposal("d"), at_most=4) is not None


def test_of_many_that_claim_at_once_one_gets_it(fresh: Fresh) -> None:
    where = place(fresh())
    pipelines, workers, got = [f"p{number}" for number in range(5)], 4, []
    Study.open(where, IDENTITY).close()
    barrier = threading.Barrier(workers, timeout=60)

    def claim_all(index: int) -> None:
        with Study.open(where, IDENTITY) as study:
            for pipeline in pipelines:
                barrier.wait()
                if study.claim(Proposal(pipeline)) is not None:
                    got.append(pipeline)
            barrier.wait()
            if study.claim(Proposal(f"own{index}"), at_most=len(pipelines) + 2) is not None:
                got.append("own")
            barrier.wait()

    _together(workers, claim_all)
    assert sorted(got) == [*["own"] * 2, *pipelines]
    with Study.load(where) as study:
        assert len(study.trials()) == len(pipelines) + 2


def test_a_study_that_many_create_at_once(fresh: Fresh) -> None:
    where = place(fresh())
    barrier, opened = threading.Barrier(4, timeout=60), []

    def open_it(index: int) -> None:
        barrier.wait()
        with Study.open(where, IDENTITY) as study:
            opened.append(study.identity)

    _together(4, open_it)
    assert opened == [IDENTITY] * 4
    assert Study.names(where) == (where.name,) or where.file is None


def _together(count: int, function: Callable[[int], None]) -> None:
    failures: list[BaseException] = []

    def guarded(index: int) -> None:
        try:
            function(index)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(index,)) for index in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"model": "e" * 64}, r"model \(aaaaaaaaaaaa... there, eeeeeeeeeeee... here\)"),
        ({"data": "e" * 64}, "data"),
        ({"target": "jetson"}, r"target \(board 12ab there, jetson here\)"),
        ({"budget": {"latency_ms": 9.0}}, r"budget \(latency_ms=8.0 there, latency_ms=9.0 here\)"),
        ({"metric": "mse", "seed": 4}, "metric .*; seed"),
        ({"first": ""}, "first pipeline .simplify there, none here"),
        ({"version": "1"}, "version of graphopt"),
        ({"settings": {"threads": "2"}}, "settings .none there, threads=2 here"),
    ],
)
def test_a_study_of_another_search_is_refused(other: dict[str, Any], words: str, shared: Place) -> None:
    with pytest.raises(StudyError, match=f"is of another search: {words}") as refused:
        Study.open(shared, replace(IDENTITY, **other))
    assert refused.value.exit_status == 2
    with Study.open(shared, IDENTITY) as study:
        assert not study.trials()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Place:
    where = place(tmp_path_factory.mktemp("shared") / "study.db")
    Study.open(where, IDENTITY).close()
    return where


def test_a_study_of_somebody_else_is_refused(path: Path) -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    made = optuna.create_study(storage=f"sqlite:///{path}", study_name="study")
    made.add_trial(optuna.create_trial(value=1.0))
    for opened in (lambda: Study.open(place(path), IDENTITY), lambda: Study.load(place(path))):
        with pytest.raises(StudyError, match="was not made by graphopt"):
            opened()


def test_a_study_whose_creator_died_before_it_said_what_it_is(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graphopt.search.study.study._CREATOR_SECONDS", 0.1)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    optuna.create_study(storage=f"sqlite:///{path}", study_name="study", directions=["minimize", "maximize"])
    with Study.open(place(path), IDENTITY) as study:
        assert study.identity == IDENTITY


def test_optuna_sees_settings_and_figures(path: Path) -> None:
    space = {"ratio": IntDistribution(0, 10), "kind": CategoricalDistribution(["a", "b"])}
    with Study.open(place(path), IDENTITY, space=space) as study:
        for pipeline, settings in {"x": {"ratio": 3, "kind": "b", "other": 1}, "y": {"ratio": 11, "kind": "c"}}.items():
            claim = study.claim(Proposal(pipeline, settings))
            assert claim is not None
            claim.complete({"quality": 0.5} if pipeline == "y" else {"latency_ms": 2.0, "quality": 0.9})
            assert study.trials()[-1].proposal.settings == settings
    with Study.open(place(path), IDENTITY, space={"ratio": CategoricalDistribution([1])}) as study:  # the first says what the space is
        assert study.claim(Proposal("z", {"ratio": 1})) is not None
    seen = optuna.load_study(storage=f"sqlite:///{path}", study_name="study")
    assert seen.metric_names == ["latency_ms", "quality"]
    assert [trial.params for trial in seen.trials] == [{"ratio": 3, "kind": "b"}, {}, {"ratio": 1}]
    assert [trial.values for trial in seen.trials[:2]] == [[2.0, 0.9], [float("inf"), 0.5]]
    assert [trial.user_attrs["pipeline"] for trial in seen.best_trials] == ["x"]


def test_trials_that_a_person_added_by_other_means_are_left_alone(path: Path) -> None:
    with Study.open(place(path), IDENTITY) as study:
        optuna.load_study(storage=f"sqlite:///{path}", study_name="study").enqueue_trial({"x": 1})
        assert study.trials() == ()
        assert _claimed(study, "a").complete({})
        assert len(study.trials()) == 1


def test_a_worker_on_another_machine_that_falls_silent(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Study.open(place(path), IDENTITY) as study, Study.open(place(path), IDENTITY) as other:
        with monkeypatch.context() as patched:
            patched.setattr("graphopt.search.study.encoding.this_worker", lambda: {"host": "far", "pid": 1, "began": "1", "space": "far"})
            silent = _claimed(other, "a")
        assert study.claim(Proposal("a")) is None
        monkeypatch.setattr("graphopt.search.study.liveness.GRACE_SECONDS", -1.0)
        taken = _claimed(study, "a")
        assert not silent.complete({"quality": 1.0})
        assert silent.record.state == "abandoned"
        assert taken.complete({"quality": 0.5})
        assert [(trial.state, trial.values) for trial in study.trials()] == [("abandoned", {}), ("complete", {"quality": 0.5})]


def test_a_study_that_is_only_looked_at_is_not_written(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graphopt.search.study.encoding.this_worker", lambda: {"host": "far", "pid": 1, "began": "1", "space": "far"})
    with Study.open(place(path), IDENTITY) as study:
        _claimed(study, "a")
    before = path.read_bytes()
    monkeypatch.setattr("graphopt.search.study.liveness.GRACE_SECONDS", -1.0)
    with Study.load(place(path)) as study:
        assert [trial.state for trial in study.trials()] == ["abandoned"]
    assert path.read_bytes() == before


def test_a_heart_beats_while_a_trial_runs(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graphopt.search.study.heart.BEAT_SECONDS", 0.02)
    with Study.open(place(path), IDENTITY) as study:
        claim = _claimed(study, "a")
        seen = optuna.load_study(storage=f"sqlite:///{path}", study_name="study")
        deadline = time.monotonic() + 30
        while seen.trials[0].user_attrs["beat"] < 2:
            assert time.monotonic() < deadline
        assert claim.complete({})
        assert study.trials()[0].state == "complete"


def test_an_identity_is_written_and_read() -> None:
    assert Identity.from_json(IDENTITY.to_json()) == IDENTITY
    assert IDENTITY.differences(IDENTITY) == ()
