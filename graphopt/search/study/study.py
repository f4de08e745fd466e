"""A study: trials that several processes and machines share, each of which is made once."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from graphopt.errors import StudyError
from graphopt.search.study.database import connect, disconnect, patiently, quiet, translated
from graphopt.search.study.encoding import (
    ABANDONED,
    ABOUT,
    BEAT,
    IDENTITY,
    OBJECTIVE,
    OBJECTIVES,
    RESULT,
    SPACE,
    Entry,
    counting,
    entry,
    holder,
    objectives,
    template,
)
from graphopt.search.study.heart import Heart
from graphopt.search.study.identity import Identity
from graphopt.search.study.liveness import Pulse
from graphopt.search.study.place import Place, study_folder
from graphopt.search.study.records import Proposal, Record, State

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.storages import BaseStorage

_CREATOR_SECONDS = 5.0  # how long the creator of a study may take to say what it is


class Study:
    """Trials in an Optuna storage, where `optuna-dashboard` shows them too.

    Its trials are written as `encoding` says. A trial is begun in one transaction, and it ends in one.
    """

    def __init__(self, storage: BaseStorage, place: Place | None, name: str, *, writes: bool) -> None:
        """Use `open` or `load`."""
        import optuna

        self.place, self.name = place, name
        self._shown = place.shown if place is not None else "memory"
        self._storage, self._writes = storage, writes
        with translated(self._shown), quiet():
            self._id = storage.get_study_id_from_name(name)
            self._optuna = optuna.load_study(study_name=name, storage=storage)  # reads finished trials only once
        attributes = patiently(self._shown, lambda: self._optuna.user_attrs)
        self.identity = _identity(attributes, name, self._shown)
        self.about: dict[str, str] = attributes.get(ABOUT, {})
        self.objective: dict[str, Any] = attributes.get(OBJECTIVE, {})
        self._space = {name: optuna.distributions.json_to_distribution(text) for name, text in attributes.get(SPACE, {}).items()}
        self._pulse = Pulse()
        self._ended: dict[int, Entry] = {}  # what has ended does not change, and need not be read again
        self._heart = Heart(lambda trial, count: storage.set_trial_user_attr(trial, BEAT, count))

    @classmethod
    def open(
        cls,
        place: Place | None,
        identity: Identity,
        *,
        about: Mapping[str, str] | None = None,
        objective: Mapping[str, Any] | None = None,
        space: Mapping[str, BaseDistribution] | None = None,
    ) -> Self:
        """The study at `place`, to work on; created where there is none; in memory where `place` is None.

        What follows only counts for a study that is created. `about` is shown to people (the model's file), `objective` is what JSON can
        hold of how trials are judged, for those that look at the study later. `space` says what the settings of proposals may be, so that
        Optuna's tools can show them; settings outside of it are kept all the same.

        Raises StudyError for a study with another identity, and where the storage cannot be used.
        """
        import optuna

        if place is not None and place.file is not None:
            _make_folder(place)
        storage = connect(place)
        name = place.name if place is not None else "memory"
        directions = [optuna.study.StudyDirection[direction.upper()] for direction in OBJECTIVES.values()]
        distributions = {key: optuna.distributions.distribution_to_json(value) for key, value in (space or {}).items()}
        where = place.shown if place is not None else "memory"
        with translated(where), quiet():
            try:
                storage.create_new_study(directions, name)
                creates = True
            except optuna.exceptions.DuplicatedStudyError:
                if storage.get_study_directions(storage.get_study_id_from_name(name)) != directions:
                    raise StudyError(f"the study {name!r} at {where} was not made by graphopt") from None
                creates = not _is_described(storage, name)
            if creates:
                optuna.load_study(study_name=name, storage=storage).set_metric_names(list(OBJECTIVES))
                study_id = storage.get_study_id_from_name(name)
                storage.set_study_user_attr(study_id, SPACE, distributions)
                storage.set_study_user_attr(study_id, ABOUT, dict(about or {}))
                storage.set_study_user_attr(study_id, OBJECTIVE, dict(objective or {}))
                storage.set_study_user_attr(study_id, IDENTITY, identity.to_json())  # last: a study that has one is complete
        study = cls(storage, place, name, writes=True)
        different = study.identity.differences(identity)
        if different:
            study.close()
            raise StudyError(f"the study {name!r} at {where} is of another search: {'; '.join(different)}. Name another study, or none")
        return study

    @classmethod
    def load(cls, place: Place) -> Self:
        """The study at `place`, to look at: nothing is written. Raises StudyError where there is none."""
        names = cls.names(place)
        name = place.name
        if name not in names:
            if place.file is None or len(names) != 1:
                raise StudyError(f"{place.shown} holds no study {name!r}; it holds {', '.join(names) or 'none'}")
            name = names[0]  # a file that was renamed
        return cls(connect(place), place, name, writes=False)

    @staticmethod
    def names(place: Place) -> tuple[str, ...]:
        """The studies in the database at `place`. Raises StudyError where there is no database, or it cannot be read."""
        if place.file is not None and not place.file.is_file():
            raise StudyError(f"there is no study at {place.shown}; `graphopt study list` lists those that were only named")
        storage = connect(place)
        with translated(place.shown):
            found = tuple(study.study_name for study in storage.get_all_studies())
        disconnect(storage)
        return found

    def trials(self) -> tuple[Record, ...]:
        """All trials, by number; those of dead workers are abandoned."""
        found = self._entries()
        shown = {each.id for each in counting(found)}
        return tuple(each.record for each in found if each.id in shown or (each.record.state == "abandoned" and not each.is_given_up))

    def claim(self, proposal: Proposal, at_most: int | None = None) -> Claim | None:
        """Begin a trial, so that no other worker makes it; None where it is running, complete or failed already.

        None also where the study holds `at_most` trials that are begun and not abandoned. Of two workers that claim one pipeline at once,
        on whatever machines, one gets it.
        """
        made = counting(self._entries())
        if holder(made, proposal.pipeline) or (at_most is not None and len(made) >= at_most):
            return None
        token = uuid.uuid4().hex
        patiently(self._shown, lambda: self._storage.create_new_trial(self._id, template(proposal, token, self._space)))
        # The storage numbers trials one after the other, and each is visible with its text before the next gets its number. So of all that
        # claim this text, the first knows of no other, and the others see it. Two with our token: an answer of the server was lost.
        found = self._entries()
        made = counting(found)
        mine = [each for each in found if each.claim == token]
        first = holder(made, proposal.pipeline)
        has_it = first is not None and first.claim == token and (at_most is None or made.index(first) < at_most)
        for each in mine[1:] if has_it else mine:
            self._finish(each.id, "PRUNED")
        if not has_it:
            return None
        if self.place is not None:
            self._heart.add(mine[0].id)
        return Claim(self, mine[0].id, mine[0].record)

    def close(self) -> None:
        """Let go of the database. Claims that are open stay so until this process ends."""
        self._heart.stop()
        disconnect(self._storage)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _entries(self) -> list[Entry]:
        """The trials, by number. Those of dead workers are abandoned, in the storage too where this study writes."""
        found = self._read()
        dead = {each.id for each in found if each.is_running and self._pulse.is_dead(each.id, each.worker, each.beat)}
        if not dead:
            return found
        if self._writes:
            for trial in dead:
                self._finish(trial, "FAIL")
        # Read again: a worker may have finished a trial after it was read, and then have ended.
        return [each.abandoned() if each.id in dead and each.is_running else each for each in self._read()]

    def _read(self) -> list[Entry]:
        found = []
        for trial in patiently(self._shown, lambda: self._optuna.get_trials(deepcopy=False)):
            known = self._ended.get(trial._trial_id) or entry(trial)
            if known is not None:
                found.append(known)
                if not known.is_running:
                    self._ended[known.id] = known
        return found

    def _set(self, trial: int, attribute: str, value: Any) -> bool:
        """Set an attribute; False where the trial has ended."""
        try:
            patiently(self._shown, lambda: self._storage.set_trial_user_attr(trial, attribute, value))
        except RuntimeError:  # what Optuna raises where a trial has ended
            return False
        return True

    def _finish(self, trial: int, state: str, values: list[float] | None = None) -> bool:
        """Set the final state; False where the trial has ended otherwise."""
        import optuna

        final = optuna.trial.TrialState[state]
        try:
            return patiently(self._shown, lambda: self._storage.set_trial_state_values(trial, final, values))
        except RuntimeError:  # it has ended; perhaps by us, and the answer was lost
            return patiently(self._shown, lambda: self._storage.get_trial(trial)).state == final


class Claim:
    """A trial that this process makes, until it is completed, failed or abandoned. `record` is the trial as it stands."""

    def __init__(self, study: Study, trial: int, record: Record) -> None:
        self.record = record
        self._study, self._trial = study, trial

    @property
    def proposal(self) -> Proposal:
        return self.record.proposal

    def complete(self, values: Mapping[str, float], model: str = "", seconds: float = 0.0) -> bool:
        """Record what was found; once this returns, the trial is never made again.

        False where the study had given this worker up, because it was silent for too long. Raises StudyError where the study cannot be
        written; the trial then counts as abandoned once this process has ended.
        """
        found = {name: float(value) for name, value in values.items()}
        return self._end("complete", objectives(found), values=found, model=model, seconds=seconds)

    def fail(self, reason: str, seconds: float = 0.0) -> bool:
        """Record that the pipeline cannot be made or judged, and why. It is not tried again. Returns and raises as `complete`."""
        return self._end("failed", reason=reason or "unknown", seconds=seconds)

    def abandon(self, reason: str = "interrupted") -> bool:
        """Leave the trial to others. Returns and raises as `complete`."""
        return self._end("abandoned", reason=reason)

    def _end(self, state: State, optuna_values: list[float] | None = None, **found: Any) -> bool:
        self._study._heart.remove(self._trial)
        written = self._study._set(self._trial, ABANDONED if state == "abandoned" else RESULT, found)
        done = written and self._study._finish(self._trial, "COMPLETE" if state == "complete" else "FAIL", optuna_values)
        self.record = replace(self.record, state=state, **found) if done else replace(self.record, state="abandoned")
        return done


def _make_folder(place: Place) -> None:
    """The folder of studies that are only named is made; any other must be there."""
    assert place.file is not None
    if place.file.parent == study_folder():
        try:
            place.file.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StudyError(f"{place.file.parent}: {error.strerror}; name a file ending in .db for the study") from error


def _is_described(storage: BaseStorage, name: str) -> bool:
    """Whether a study that exists says what it is, which its creator may be about to write; False where the creator died before."""
    study_id = storage.get_study_id_from_name(name)
    deadline = time.monotonic() + _CREATOR_SECONDS
    while IDENTITY not in storage.get_study_user_attrs(study_id):
        if storage.get_n_trials(study_id):
            return True  # somebody else's study
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _identity(attributes: Mapping[str, Any], name: str, where: str) -> Identity:
    if IDENTITY not in attributes:
        raise StudyError(f"the study {name!r} at {where} was not made by graphopt")
    try:
        return Identity.from_json(attributes[IDENTITY])
    except (TypeError, ValueError) as error:
        raise StudyError(f"the study {name!r} at {where} was made by another version of graphopt") from error
