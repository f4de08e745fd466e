"""Saying that this process lives while it makes trials."""

from __future__ import annotations

import threading
from collections.abc import Callable

from graphopt.search.study.liveness import BEAT_SECONDS


class Heart:
    """A thread that counts up the beats of open trials, by `beat(trial, count)`, every `BEAT_SECONDS`."""

    def __init__(self, beat: Callable[[int, int], None]) -> None:
        self._beat = beat
        self._trials: dict[int, int] = {}
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, trial: int) -> None:
        with self._lock:
            self._trials[trial] = 0
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="graphopt-heart", daemon=True)
                self._thread.start()

    def remove(self, trial: int) -> None:
        with self._lock:
            self._trials.pop(trial, None)

    def stop(self) -> None:
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(BEAT_SECONDS):
            with self._lock:
                trials = list(self._trials)
            for trial in trials:
                self._once(trial)

    def _once(self, trial: int) -> None:
        with self._lock:
            if trial not in self._trials:
                return
            self._trials[trial] += 1
            count = self._trials[trial]
        try:
            self._beat(trial, count)
        except Exception:
            return  # what is wrong with the storage is said when the trial ends; until then the next beat may get through
