"""The search itself: when it ends, what becomes of failures, and that it can be gone on with."""

from __future__ import annotations

import time
from collections.abc import Sequence

import pytest

from graphopt.errors import DataError, StudyError
from graphopt.quality import check_time
from graphopt.search.study import Evaluation, Place, Proposal, Record, Study, run_study

from . import toy
from .toy import IDENTITY, Climber, Line


@pytest.fixture
def study() -> Study:
    return Study.open(None, IDENTITY)


def _good(proposal: Proposal) -> Evaluation:
    return Evaluation({"latency_ms": 1.0, "quality": 0.5}, "m")


def test_it_ends_where_enough_was_tried(study: Study) -> None:
    assert run_study(study, Line(), _good, trials=3, seed=0) == "trials"
    assert run_study(study, Line(), _good, trials=3, seed=0) == "trials"
    assert [trial.pipeline for trial in study.trials()] == ["p0", "p1", "p2"]
    assert run_study(study, Line(5), _good, trials=9, seed=0) == "exhausted"
    assert run_study(study, Line(5), _good, seed=0) == "exhausted"
    assert len(study.trials()) == 5
    assert run_study(study, Line(), _good, seconds=0, seed=0) == "seconds"
    assert run_study(study, Line(), _good, seed=0, should_stop=lambda trials: len(trials) == 7) == "stopped"
    assert len(study.trials()) == 7


def test_what_fails_is_recorded_and_the_search_goes_on(study: Study) -> None:
    def evaluate(proposal: Proposal) -> Evaluation:
        match proposal.pipeline:
            case "p0":
                raise DataError("the metric gave nonsense")
            case "p1":
                raise MemoryError
            case "p2":
                return Evaluation({"quality": float("nan"), "latency_ms": float("inf"), "macs": 1})
        return _good(proposal)

    seen: list[tuple[str, str]] = []
    run_study(study, Line(), evaluate, trials=4, seed=0, watch=lambda trial: seen.append((trial.pipeline, trial.state)))
    assert [(trial.state, trial.reason) for trial in study.trials()] == [
        ("failed", "the metric gave nonsense"),
        ("failed", "not enough memory"),
        ("failed", "quality is nan, latency_ms is inf"),
        ("complete", ""),
    ]
    assert seen == [(f"p{number}", state) for number in range(4) for state in ("running", "complete" if number == 3 else "failed")]


def test_what_is_not_done_in_time_is_given_up_and_made_by_a_search_with_more(study: Study) -> None:
    def slow(proposal: Proposal) -> Evaluation:
        while proposal.pipeline == "p1":
            check_time()
        return _good(proposal)

    assert run_study(study, Line(3), slow, seconds=0.2, seed=0) == "seconds"
    assert [(trial.pipeline, trial.state, trial.reason) for trial in study.trials()] == [
        ("p0", "complete", ""),
        ("p1", "abandoned", "ran out of time"),
    ]
    assert run_study(study, Line(3), _good, seed=0) == "exhausted"
    assert [trial.pipeline for trial in study.trials() if trial.state == "complete"] == ["p0", "p1", "p2"]


def test_the_first_trial_is_made_to_its_end(study: Study) -> None:
    ends = time.monotonic() + 0.3

    def slow(proposal: Proposal) -> Evaluation:
        while time.monotonic() < ends:
            check_time()
        return _good(proposal)

    assert run_study(study, Line(3), slow, seconds=0.05, seed=0) == "seconds"
    assert [trial.state for trial in study.trials()] == ["complete"]


@pytest.mark.parametrize(("error", "reason"), [(KeyboardInterrupt(), "interrupted"), (KeyError("x"), "KeyError: 'x'")])
def test_what_is_no_failure_of_the_pipeline_is_passed_on(study: Study, error: BaseException, reason: str) -> None:
    def evaluate(proposal: Proposal) -> Evaluation:
        if len(study.trials()) == 2:
            raise error
        return _good(proposal)

    with pytest.raises(type(error)):
        run_study(study, Line(), evaluate, trials=3, seed=0)
    assert run_study(study, Line(), _good, trials=3, seed=0) == "trials"
    assert [(trial.pipeline, trial.state, trial.reason) for trial in study.trials()] == [
        ("p0", "complete", ""),
        ("p1", "abandoned", reason),
        ("p1", "complete", ""),
        ("p2", "complete", ""),
    ]


def test_a_strategy_that_repeats_itself_is_asked_again(study: Study) -> None:
    class Stutter:
        name = "stutter"

        def propose(self, trials: Sequence[Record], seed: int) -> Proposal:
            return Proposal(f"p{min(len(trials) // 3, 4)}")

    assert run_study(study, Stutter(), _good, seed=0) == "exhausted"
    assert [trial.pipeline for trial in study.trials()] == [f"p{number}" for number in range(5)]


def test_in_steps_as_at_once() -> None:
    whole, parts = Study.open(None, IDENTITY), Study.open(None, IDENTITY)
    run_study(whole, Climber(), toy.evaluate, trials=40, seed=1)
    for trials in (1, 2, 17, 40):
        run_study(parts, Climber(), toy.evaluate, trials=trials, seed=1)
    assert toy.outcomes(parts.trials()) == toy.outcomes(whole.trials())
    other = Study.open(None, IDENTITY)
    run_study(other, Climber(), toy.evaluate, trials=40, seed=2)
    assert toy.outcomes(other.trials()) != toy.outcomes(whole.trials())


def test_trials_of_others_are_waited_for(tmp_path: object) -> None:
    """A strategy that has nothing to propose while another's trial runs may have something after it."""
    where = Place.parse(f"{tmp_path}/study.db")
    with Study.open(where, IDENTITY) as mine, Study.open(where, IDENTITY) as others:
        running = others.claim(Proposal("p0"))
        assert running is not None

        class Next:
            name = "next"
            asked = 0

            def propose(self, trials: Sequence[Record], seed: int) -> Proposal | None:
                self.asked += 1
                if trials[0].state == "running":
                    assert running is not None
                    running.complete({"quality": 1.0})
                    return None
                return Proposal("p1") if trials[0].values["quality"] == 1.0 else None

        strategy = Next()
        assert run_study(mine, strategy, _good, trials=2, seed=0) == "trials"
        assert strategy.asked == 2
        assert [trial.state for trial in mine.trials()] == ["complete", "complete"]


def test_a_study_that_cannot_be_written_ends_the_search(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise StudyError("no room")

    monkeypatch.setattr(Study, "_finish", full)
    with pytest.raises(StudyError, match="no room"):
        run_study(study, Line(), _good, trials=2, seed=0)
