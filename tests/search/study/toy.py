"""A search that takes milliseconds: a strategy that looks at all trials so far, and figures that follow from a pipeline's text."""

from __future__ import annotations

import os
import random
import signal
import time
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from graphopt.errors import PassParameterError
from graphopt.search.study import Evaluation, Identity, Place, Proposal, Record, Study, history, run_study

IDENTITY = Identity(
    model="a" * 64, data="b" * 64, target="board 12ab", budget={"latency_ms": 8.0}, metric="top1", seed=3, first="simplify", version="0"
)
SEED = 3


class Climber:
    """Goes on from the best trial or from anywhere, by a draw that depends on how many trials there are; repeats itself now and then."""

    name = "climber"

    def propose(self, trials: Sequence[Record], seed: int) -> Proposal:
        draw = random.Random(seed * 10_000 + len(trials))
        known = [trial for trial in trials if trial.state == "complete"]
        best = max(known, key=lambda trial: (trial.values["quality"], trial.pipeline), default=None)
        ratio = draw.randrange(1000) if best is None or draw.random() < 0.5 else int(best.proposal.settings["ratio"]) + draw.randint(-3, 3)
        return Proposal(f"prune{{ratio={ratio}}}", {"ratio": ratio, "kind": draw.choice("ab")})


class Line:
    """Proposes `count` pipelines, one after the other."""

    name = "line"

    def __init__(self, count: int = 10_000) -> None:
        self._count = count

    def propose(self, trials: Sequence[Record], seed: int) -> Proposal | None:
        return Proposal(f"p{len(trials)}") if len(trials) < self._count else None


def evaluate(proposal: Proposal) -> Evaluation:
    """Figures by a law; every eighth pipeline cannot be made, every ninth gives no number."""
    number = zlib.crc32(proposal.pipeline.encode())
    time.sleep(number % 7 / 1000)
    if number % 8 == 0:
        raise PassParameterError(f"{proposal.pipeline}: no such ratio")
    quality = float("nan") if number % 9 == 0 else number % 1009 / 1009
    return Evaluation({"latency_ms": number % 997 / 7, "quality": quality, "macs": number}, f"{number:064x}")


def place(path: Path | str) -> Place:
    return Place.parse(str(path))


def outcomes(records: Sequence[Record]) -> list[tuple[Any, ...]]:
    """What must not depend on kills: all of the trials that count but numbers, times and workers."""
    return [
        (trial.pipeline, dict(trial.proposal.settings), trial.state, dict(trial.values), trial.model, trial.reason)
        for trial in history(records)
    ]


def search(path: str, trials: int, opened: Any) -> None:
    """One worker, from opening the study, when it sets the event `opened`, to its end."""
    with Study.open(place(path), IDENTITY) as study:
        opened.set()
        run_study(study, Climber(), evaluate, trials=trials, seed=SEED)


def share(index: int, path: str, trials: int, all_ready: Any, dying: str) -> None:
    """One of several workers, which begin at the same time.

    Where `dying` names a file, the first worker kills itself in its second trial, and makes the file before; the others take that long for
    their first.
    """
    made = 0

    def evaluate_slowly(proposal: Proposal) -> Evaluation:
        nonlocal made
        made += 1
        time.sleep(0.02)
        if dying and index == 0 and made == 2:
            Path(dying).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        while dying and index > 0 and not Path(dying).exists():
            time.sleep(0.02)
        return Evaluation({"latency_ms": 1.0, "quality": 0.5}, "")

    with Study.open(place(path), IDENTITY) as study:
        all_ready.wait(60)
        run_study(study, Line(), evaluate_slowly, trials=trials, seed=SEED)
