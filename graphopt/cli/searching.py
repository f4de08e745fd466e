"""What commands that search have in common: a line on the terminal that says how far they are, and how they end."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Protocol

from rich.progress import BarColumn, Progress, TaskID, TextColumn

from graphopt.cli.console import console, notes
from graphopt.cli.files import write_results
from graphopt.errors import BudgetError
from graphopt.ir import Graph
from graphopt.report import Report
from graphopt.report.words import milliseconds, score
from graphopt.search import Progress as Moment

_LONGEST = 100  # characters of a pipeline that are shown


class Found(Protocol):
    """What a search found. `missed` says why the budget is not met, and is empty where it is."""

    @property
    def graph(self) -> Graph: ...
    @property
    def report(self) -> Report: ...
    @property
    def missed(self) -> str: ...
    @property
    def notes(self) -> tuple[str, ...]: ...


def is_written(found: Found, best_effort: bool) -> bool:
    """Whether the model is: where the budget is missed, only for --best-effort."""
    return best_effort or not found.missed


def write_found(found: Found, output: Path, report: Path | None, best_effort: bool) -> Report:
    """Write the model and the report; the report as it was written. Raises OutputError."""
    return write_results(found.graph if is_written(found, best_effort) else None, output, found.report, report)


def conclude(found: Found, noun: str, output: Path, best_effort: bool) -> None:
    """Print what is to be noted of the `noun` that was found. Raises BudgetError where the budget is missed."""
    notes(found.notes)
    if found.missed:
        written = f"{output} holds the best {noun} all the same"
        not_written = "no model was written; --best-effort writes the best one"
        raise BudgetError(f"the budget is missed: {found.missed} ({written if is_written(found, best_effort) else not_written})")


class SearchBar:
    """The best so far, the time left, and what is being tried; nothing where stderr is no terminal. `seconds` is how long a search may take."""

    def __init__(self, seconds: float) -> None:
        screen = console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(bar_width=20), TextColumn("{task.fields[facts]}"))
        self._bar = Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal, refresh_per_second=4)
        self._seconds = seconds
        self._task: TaskID | None = None

    def __enter__(self) -> SearchBar:
        self._bar.start()
        self._task = self._bar.add_task("opening the model", total=1.0, facts="")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bar.stop()

    def show(self, moment: Moment) -> None:
        assert self._task is not None
        self._bar.update(self._task, description=moment.doing, completed=self._share(moment), facts=facts(moment))

    def _share(self, moment: Moment) -> float:
        """How much of the search is over, by time or by trials, whichever is further."""
        by_time = 0.0 if moment.seconds_left is None else 1 - moment.seconds_left / max(self._seconds, 1e-9)
        by_trials = moment.made / moment.of if moment.of else 0.0
        return max(by_time, by_trials)


def facts(moment: Moment) -> str:
    """Such as "12 of 40 trials, 31 s left; best 0.9874 at 1.2 ms (prune-channels...); trying ..."."""
    if moment.seconds_left is None:
        return shortened(moment.trying)
    of = f" of {moment.of}" if moment.of is not None else ""
    words = [f"{moment.made}{of} trials, {moment.seconds_left:.0f} s left"]
    if moment.best is not None:
        latency = moment.best.values.get("latency_ms")
        predicted = f", {milliseconds(latency)} predicted" if latency is not None else ""
        words.append(f"best {score(moment.best.values['quality'])}{predicted}")
    if moment.trying:
        words.append(f"trying {shortened(moment.trying)}")
    return "; ".join(words)


def shortened(pipeline: str) -> str:
    return pipeline if len(pipeline) <= _LONGEST else f"...{pipeline[3 - _LONGEST :]}"
