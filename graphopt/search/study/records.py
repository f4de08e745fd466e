"""What a study holds: trials that were proposed, and what became of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

Setting = int | float | str | bool
State = Literal["running", "complete", "failed", "abandoned"]


@dataclass(frozen=True)
class Proposal:
    """A trial to be made: the text of its pipeline, and the settings of the strategy's space that lead to it, if it has any."""

    pipeline: str
    settings: Mapping[str, Setting] = field(default_factory=dict)


@dataclass(frozen=True)
class Record:
    """A trial. `number` orders them by when they were begun; numbers may be missing between them.

    A trial is `abandoned` where its worker died or was interrupted: it says nothing about the pipeline, which may be tried again.

    `values` are its figures by name: `latency_ms`, `low_ms`, `high_ms` (as predicted), `measured_ms`, `quality`, `macs`, `params`, `bytes`,
    `peak_memory`; those that are not known are missing. `model` is the content hash of the model that the pipeline makes, `reason` why a
    trial failed or was abandoned, `seconds` how long it took, `worker` who made it (host:process).
    """

    number: int
    proposal: Proposal
    state: State
    values: Mapping[str, float] = field(default_factory=dict)
    model: str = ""
    seconds: float = 0.0
    reason: str = ""
    worker: str = ""

    @property
    def pipeline(self) -> str:
        return self.proposal.pipeline


class Strategy(Protocol):
    """Says what to try next. Pure: the same trials and the same seed lead to the same proposal, so that a study can be resumed."""

    @property
    def name(self) -> str: ...

    def propose(self, trials: Sequence[Record], seed: int) -> Proposal | None:
        """The next trial after `trials`, those that run and those that failed among them; None where nothing is left to be tried.

        Abandoned trials are not among them: a study that was killed and goes on must look as if nothing had happened. For the same reason
        what is proposed must not depend on `Record.number`; how many trials there are is `len(trials)`. A trial that stands there twice was
        proposed again although it had been tried.
        """


def history(trials: Sequence[Record]) -> tuple[Record, ...]:
    """What a strategy is shown of a study's trials: all but the abandoned ones."""
    return tuple(trial for trial in trials if trial.state != "abandoned")
