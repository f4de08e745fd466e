"""A line on the terminal that says how far a search is."""

from __future__ import annotations

from types import TracebackType

from rich.progress import BarColumn, Progress, TaskID, TextColumn

from graphopt.cli.console import console
from graphopt.report.words import milliseconds, score
from graphopt.search import Progress as Moment

_LONGEST = 100  # characters of a pipeline that are shown


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
