"""The trials of a search: who makes them, where they are kept, and when it is enough."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from graphopt.quality import at_most
from graphopt.search.objective import Objective
from graphopt.search.progress import Progress, Watch
from graphopt.search.request import Request
from graphopt.search.setup import Setup, prepare
from graphopt.search.space import Space
from graphopt.search.strategies import STRATEGIES
from graphopt.search.study import Identity, Place, Proposal, Record, Strategy, Study, history, run_study, run_workers


@dataclass(frozen=True)
class Limits:
    """How long to search: `seconds`, and `trials` in all; `workers` are the processes that do it."""

    seconds: float
    trials: int | None = None
    workers: int = 1


@dataclass(frozen=True)
class Listed:
    """Certain pipelines, one after the other."""

    name: ClassVar[str] = "listed"

    proposals: tuple[Proposal, ...]

    def propose(self, trials: Sequence[Record], seed: int) -> Proposal | None:
        tried = {record.pipeline for record in trials}
        return next((proposal for proposal in self.proposals if proposal.pipeline not in tried), None)

    def is_done(self, trials: Sequence[Record]) -> bool:
        """Whether all of them have ended."""
        ended = {record.pipeline for record in trials if record.state != "running"}
        return all(proposal.pipeline in ended for proposal in self.proposals)


def search(
    setup: Setup, study: Study, space: Space, objective: Objective, strategy: str, limits: Limits, watch: Watch
) -> tuple[Record, ...]:
    """Make trials; all that the study then holds. Raises StudyError, and what `run_workers` raises."""
    reporter = _Reporter(study, objective, limits, watch)
    if limits.workers > 1 and study.place is not None:
        request = replace(setup.request, threads=max(1, setup.threads // limits.workers))
        arguments = (request, study.place, study.identity, space, objective, strategy, limits)
        run_workers(limits.workers, _work, arguments, tick=reporter.tell)
    else:
        _run(setup, study, space, objective, strategy, limits, reporter)
    return history(study.trials())


def make(setup: Setup, study: Study, proposals: Sequence[Proposal], ends: float = math.inf) -> tuple[Record, ...]:
    """Make these trials, where they were not made yet, until `time.monotonic()` is `ends`; all that the study then holds.

    What others make besides is not waited for.
    """
    listed = Listed(tuple(proposals))
    seconds = max(ends - time.monotonic(), 0.0)
    run_study(study, listed, setup.evaluator(study.trials), seconds=seconds, seed=setup.request.seed, should_stop=listed.is_done)
    return history(study.trials())


def _run(
    setup: Setup, study: Study, space: Space, objective: Objective, strategy: str, limits: Limits, reporter: _Reporter | None = None
) -> None:
    chosen: Strategy = STRATEGIES[strategy](space, objective)

    def is_enough(trials: Sequence[Record]) -> bool:
        return strategy == "auto" and any(objective.is_perfect(record) for record in trials)

    run_study(
        study,
        chosen,
        setup.evaluator(study.trials),
        trials=limits.trials,
        seconds=limits.seconds,
        seed=setup.request.seed,
        watch=None if reporter is None else reporter.tell,
        should_stop=is_enough,
    )


def _work(
    index: int, request: Request, place: Place, identity: Identity, space: Space, objective: Objective, strategy: str, limits: Limits
) -> None:
    """What a worker's process does; the request names its part of the threads."""
    with at_most(request.threads or 1), Study.open(place, identity) as study:
        _run(prepare(request), study, space, objective, strategy, limits)


class _Reporter:
    """Tells how far the search is."""

    def __init__(self, study: Study, objective: Objective, limits: Limits, watch: Watch) -> None:
        self._study, self._objective, self._limits, self._watch = study, objective, limits, watch
        self._ends = time.monotonic() + limits.seconds

    def tell(self, record: Record | None = None) -> None:
        trials = history(self._study.trials())
        running = [trial for trial in trials if trial.state == "running"] if record is None else [record]
        best = self._objective.best(trials)
        self._watch(
            Progress(
                "searching",
                running[-1].pipeline if running else "",
                sum(trial.state != "running" for trial in trials),
                self._limits.trials,
                max(self._ends - time.monotonic(), 0.0),
                best[0] if best else None,
            )
        )


def temporary(folder: str | Path) -> Place:
    """A study that is forgotten, for workers to share."""
    return Place.parse(str(Path(folder) / "study.db"))
