"""How a trial is written in Optuna's terms, and read again.

A trial carries its pipeline, its settings and its worker from the moment it exists; RUNNING and COMPLETE are what they say, FAIL with a reason
is a failed trial and without one an abandoned one, PRUNED is a trial that was given up at once because another worker had the same. Exact
figures are in the attribute `result`; Optuna's values and parameters are there so that its tools can show them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from graphopt.search.study.liveness import shown, this_worker
from graphopt.search.study.records import Proposal, Record, Setting, State

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

OBJECTIVES = {"latency_ms": "minimize", "quality": "maximize"}  # the figures that are Optuna's values

# Attributes of an Optuna study.
IDENTITY, ABOUT, OBJECTIVE, SPACE = "graphopt", "about", "objective", "space"
# Attributes of an Optuna trial.
PIPELINE, SETTINGS, WORKER, CLAIM, BEAT, RESULT, ABANDONED = "pipeline", "settings", "worker", "claim", "beat", "result", "abandoned"

_DEAD = "worker died"


def template(proposal: Proposal, token: str, space: Mapping[str, BaseDistribution]) -> FrozenTrial:
    """A running trial of this process, to be created in one transaction."""
    import optuna

    settings = {name: _plain(value) for name, value in proposal.settings.items()}
    known = {name: value for name, value in settings.items() if name in space and _holds(space[name], value)}
    return optuna.trial.create_trial(
        state=optuna.trial.TrialState.RUNNING,
        params=known,
        distributions={name: space[name] for name in known},
        user_attrs={PIPELINE: proposal.pipeline, SETTINGS: settings, WORKER: this_worker(), CLAIM: token, BEAT: 0},
    )


@dataclass(frozen=True, slots=True)
class Entry:
    """A trial as it was read: Optuna's `id` of it, the `record` that people see, and what tells whose it is and whether that one lives."""

    id: int
    record: Record
    is_given_up: bool
    claim: str
    worker: Mapping[str, Any]
    beat: int

    @property
    def is_running(self) -> bool:
        return self.record.state == "running"

    @property
    def is_living(self) -> bool:
        """Whether its pipeline was made or is being made."""
        return not self.is_given_up and self.record.state != "abandoned"

    def abandoned(self) -> Entry:
        """As it will be read once its dead worker's trial has been ended."""
        return replace(self, record=replace(self.record, state="abandoned", reason=_DEAD))


def entry(trial: FrozenTrial) -> Entry | None:
    """A trial of ours; None for one that a person added by Optuna's means."""
    attributes = trial.user_attrs
    if PIPELINE not in attributes:
        return None
    ended = trial.state.name
    state: State = "abandoned"
    found: dict[str, Any] = {}
    if ended == "RUNNING":
        state = "running"
    elif ended == "COMPLETE":
        state, found = "complete", attributes[RESULT]
    elif ended == "FAIL" and attributes.get(RESULT, {}).get("reason"):
        state, found = "failed", attributes[RESULT]
    else:
        found = attributes.get(ABANDONED, {"reason": _DEAD})
    proposal = Proposal(attributes[PIPELINE], attributes[SETTINGS])
    record = Record(trial.number, proposal, state, worker=shown(attributes[WORKER]), **found)
    return Entry(trial._trial_id, record, ended == "PRUNED", attributes[CLAIM], attributes[WORKER], attributes[BEAT])


def objectives(values: Mapping[str, float]) -> list[float]:
    """Optuna's values; one that is not known is the worst."""
    worst = {"minimize": math.inf, "maximize": -math.inf}
    return [values.get(name, worst[direction]) for name, direction in OBJECTIVES.items()]


def counting(entries: Iterable[Entry]) -> list[Entry]:
    """Those that were made or are being made, each pipeline once: of several that were begun at once all but the first will be given up."""
    first: dict[str, Entry] = {}
    for each in entries:
        if each.is_living:
            first.setdefault(each.record.pipeline, each)
    return list(first.values())


def holder(entries: Iterable[Entry], pipeline: str) -> Entry | None:
    """The first of that pipeline."""
    return next((each for each in entries if each.record.pipeline == pipeline), None)


def _plain(value: Any) -> Setting:
    """NumPy's scalars as Python's, which JSON can hold."""
    found: Setting = value.item() if hasattr(value, "item") else value
    return found


def _holds(distribution: BaseDistribution, value: Setting) -> bool:
    """Whether a distribution can hold a value; a number is no category and the other way round."""
    try:
        return bool(distribution._contains(distribution.to_internal_repr(value)))
    except (ValueError, TypeError):
        return False
