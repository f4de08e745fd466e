"""The search: propose, claim, evaluate, record, until enough was tried."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from graphopt.errors import GraphoptError, OutOfTimeError
from graphopt.quality import until
from graphopt.search.study.records import Proposal, Record, Strategy, history
from graphopt.search.study.study import Claim, Study

Ended = Literal["trials", "seconds", "exhausted", "stopped"]

_REPEATS = 500  # so often in a row may a strategy propose what was tried already before the search takes it that nothing is left
_POLL_SECONDS = (0.05, 1.0)  # how often to look whether other workers have finished: at first, later


@dataclass(frozen=True)
class Evaluation:
    """What is known of a pipeline once it was run: figures by name as in `Record.values`, and the content hash of its model."""

    values: Mapping[str, float]
    model: str = ""


Evaluate = Callable[[Proposal], Evaluation]
Watch = Callable[[Record], None]


def run_study(
    study: Study,
    strategy: Strategy,
    evaluate: Evaluate,
    *,
    trials: int | None = None,
    seconds: float | None = None,
    seed: int,
    watch: Watch | None = None,
    should_stop: Callable[[Sequence[Record]], bool] | None = None,
) -> Ended:
    """Make trials until the study holds `trials` finished ones, or for `seconds`, or until nothing is left to be tried. Says which.

    What fails with a GraphoptError, runs out of memory, or gives a figure that is no finite number is a failed trial, and the search goes
    on. Any other exception, Ctrl-C among them, abandons the trial and is passed on; the study stays usable. `watch` is called with each
    trial of this worker when it begins and when it has ended; `should_stop` with the trials so far, before the next is begun.

    A trial that is not done when the seconds are over is abandoned, so that a search with more time makes it; unless the study holds no complete
    one yet, because a search that finds nothing is worth nothing.

    Several workers may run at once: where all trials are begun or nothing new is proposed, a worker waits for those of the others, because
    they may lead to more or die. One worker alone makes the same trials, however often it is killed and run again.

    Raises StudyError where the study cannot be read or written.
    """
    deadline = math.inf if seconds is None else time.monotonic() + seconds
    exhausted: tuple[Record, ...] | None = None  # the trials after which nothing new was proposed
    pause = _POLL_SECONDS[0]
    while True:
        past = history(study.trials())
        if should_stop is not None and should_stop(past):
            return "stopped"
        if time.monotonic() >= deadline:
            return "seconds"
        begun_all = trials is not None and len(past) >= trials
        if not begun_all and past != exhausted:
            proposal = _untried(strategy, past, seed)
            if proposal is None:
                exhausted = past
            else:
                claim = study.claim(proposal, at_most=trials)  # None where another worker was quicker
                if claim is not None:
                    is_first = not any(trial.state == "complete" for trial in past)
                    _make(claim, evaluate, watch, math.inf if is_first else deadline)
            pause = _POLL_SECONDS[0]
        elif any(trial.state == "running" for trial in past):
            time.sleep(pause)
            pause = min(2 * pause, _POLL_SECONDS[1])
        else:
            return "trials" if begun_all else "exhausted"


def _untried(strategy: Strategy, past: tuple[Record, ...], seed: int) -> Proposal | None:
    """The strategy's next proposal that is not among the trials; None where it has no other."""
    tried = {trial.pipeline: trial for trial in past}
    for _ in range(_REPEATS):
        proposal = strategy.propose(past, seed)
        if proposal is None or proposal.pipeline not in tried:
            return proposal
        past = (*past, tried[proposal.pipeline])
    return None


def _make(claim: Claim, evaluate: Evaluate, watch: Watch | None, deadline: float) -> None:
    if watch is not None:
        watch(claim.record)
    began = time.perf_counter()
    try:
        with until(deadline):
            found = evaluate(claim.proposal)
    except OutOfTimeError:
        claim.abandon("ran out of time")
    except GraphoptError as error:
        claim.fail(str(error), time.perf_counter() - began)
    except MemoryError:
        claim.fail("not enough memory", time.perf_counter() - began)
    except BaseException as error:
        claim.abandon("interrupted" if isinstance(error, KeyboardInterrupt) else f"{type(error).__name__}: {error}")
        raise
    else:
        elapsed = time.perf_counter() - began
        wrong = [f"{name} is {value}" for name, value in found.values.items() if not math.isfinite(value)]
        if wrong:
            claim.fail(", ".join(wrong), elapsed)
        else:
            claim.complete(found.values, found.model, elapsed)
    if watch is not None:
        watch(claim.record)
