"""The search that removes one and the same share of every channel group.

The ratio is a whole percentage, found by bisection: for a limit of time the smallest that is measured to keep it, for a limit on the loss
of quality the fastest whose loss keeps it. A latency near its limit is measured again, longer; the answer is measured once more in turns
with the original, and where that disagrees, the next ratio is tried.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from graphopt.report import Run
from graphopt.report.words import milliseconds, score, times
from graphopt.search.bench import FINAL, QUICK, SURE, Bench, Effort, Timing
from graphopt.search.budget import Budget
from graphopt.search.trial import Trial

LAST = 99  # percent; 100 would leave nothing
_COMPARED = 4  # models within the loss allowed, of the fewest MACs, that are measured against each other
_ATTEMPTS = 3  # final measurements, until one is steady
_STEADY = 0.03  # relative uncertainty of a speedup
_WORTH = 0.02  # a smaller gain of speed is not worth a loss of quality; it may be due to where the weights lie in memory

Watch = Callable[[Trial], None]


@dataclass(frozen=True)
class Outcome:
    """The best model, and why it does not meet the budget; empty where it does."""

    best: Trial
    missed: str


class UniformSearch:
    """`make` gives the model of a ratio (0: nothing pruned), `quality` is the original's; `watch` is told of every measurement."""

    def __init__(self, make: Callable[[float], Run], bench: Bench, budget: Budget, quality: float, watch: Watch | None = None) -> None:
        self._make, self._bench, self._budget, self._quality, self._watch = make, bench, budget, quality, watch
        self._by_percent: dict[int, Trial] = {}
        self._by_model: dict[object, Trial] = {}

    @property
    def trials(self) -> tuple[Trial, ...]:
        """Every model that was made, in the order of the search."""
        return tuple(self._by_model.values())

    def search(self) -> Outcome:
        """Find the best model. Raises what a pass or ONNX Runtime raises."""
        if not self._budget.is_timed:
            best, missed = self._fastest_within_drop(), ""
        else:
            found = self._smallest_in_time()
            best, missed = (found, "") if found is not None else (self._fastest(), self._too_slow(self._fastest()))
            if found is not None and not self._is_good(found):
                best = self._fastest_within_drop()
                missed = "" if self._usage(best) <= 1 else self._too_bad(found, best)
        if not missed and not self._is_good(best):
            missed = f"the passes before pruning alone drop the quality {self._drop_words(best)}"
        self._score(best)
        return Outcome(best, missed)

    # ---- time

    def _smallest_in_time(self) -> Trial | None:
        """The model of the smallest ratio that is measured to be in time."""
        percent = self._first_in_time()
        while percent is not None:
            trial = self._trial(percent)
            self._time_finally(trial)
            if self._usage(trial) <= 1:
                return trial
            percent = next((p for p in range(percent + 1, LAST + 1) if self._trial(p) is not trial), None)
        return None

    def _first_in_time(self) -> int | None:
        if self._is_in_time(0):
            return 0
        # Fewer channels are not always faster: kernels like some counts better. So the largest ratio may be slower than others.
        high = next((percent for percent in (LAST, 75, 50) if self._is_in_time(percent)), None)
        return None if high is None else _bisect(0, high, self._is_in_time)

    def _is_in_time(self, percent: int) -> bool:
        trial = self._trial(percent)
        if trial.timing is None:
            self._time([trial], QUICK)
            if abs(self._usage(trial) - 1) <= 2 * _uncertainty(trial):
                self._time([trial], SURE)
        return self._usage(trial) <= 1

    def _usage(self, trial: Trial) -> float:
        assert trial.timing is not None
        return self._budget.usage(trial.timing.original.median_ms, trial.timing.latency.median_ms)

    def _fastest(self) -> Trial:
        return max((trial for trial in self.trials if trial.timing is not None), key=lambda trial: _speedup(trial))

    def _time_finally(self, trial: Trial) -> None:
        """The measurement that decides and is reported; on a busy machine the steadiest of a few."""
        found: list[Timing] = []
        while len(found) < _ATTEMPTS and (not found or found[-1].uncertainty > _STEADY):
            found += self._bench.time([trial.run.graph], FINAL)
        trial.timing = min(found, key=lambda timing: timing.uncertainty)
        self._tell(trial)

    def _time(self, trials: list[Trial], effort: Effort) -> None:
        for trial, timing in zip(trials, self._bench.time([trial.run.graph for trial in trials], effort), strict=True):
            trial.timing = timing
            self._tell(trial)

    # ---- quality

    def _fastest_within_drop(self) -> Trial:
        """The fastest model whose loss is allowed; of those that are as fast, the one of the best quality."""
        if self._is_good(self._trial(0)):
            _bisect(0, LAST + 1, lambda percent: not self._is_good(self._trial(percent)))
        good = [trial for trial in self.trials if trial.quality is not None and self._is_good(trial)]
        least = sorted(good, key=lambda trial: (trial.run.after.macs, trial.ratio))[:_COMPARED]
        compared = list(dict.fromkeys([self._trial(0), *least]))
        self._time(compared, SURE)
        fastest = max(compared, key=_speedup)
        noise = max(_WORTH, 2 * _uncertainty(fastest))
        as_fast = [trial for trial in compared if _speedup(trial) >= _speedup(fastest) * (1 - noise)]
        best = max(as_fast, key=lambda trial: (self._score(trial), -trial.ratio))
        self._time_finally(best)
        return best

    def _is_good(self, trial: Trial) -> bool:
        return self._budget.max_drop is None or self._budget.allows_drop(self._quality - self._score(trial))

    def _score(self, trial: Trial) -> float:
        if trial.quality is None:
            trial.quality = self._bench.quality(trial.run.graph)
            self._tell(trial)
        return trial.quality

    # ---- trials

    def _trial(self, percent: int) -> Trial:
        """The trial of a ratio; ratios whose models are the same, because channel counts are aligned, share one."""
        if percent not in self._by_percent:
            run = self._make(percent / 100)
            known = self._by_model.setdefault(_shape_of(run), Trial(run, percent / 100))
            self._by_percent[percent] = known
        return self._by_percent[percent]

    def _tell(self, trial: Trial) -> None:
        if self._watch is not None:
            self._watch(trial)

    # ---- words

    def _too_slow(self, best: Trial) -> str:
        return f"no model was found that takes {self._time_words()}: the fastest that was {_how(best)} takes {_time_of(best)}"

    def _too_bad(self, fast: Trial, good: Trial) -> str:
        return (
            f"a model that takes {self._time_words()} needs ratio {fast.ratio:g}, which drops the quality {self._drop_words(fast)}; "
            f"the fastest that was {_how(good)} without such a drop takes {_time_of(good)}"
        )

    def _time_words(self) -> str:
        latency, speedup = self._budget.latency_ms, self._budget.speedup
        words = [] if latency is None else [f"at most {latency:g} ms"]
        return " and ".join(words if speedup is None else [*words, f"1/{speedup:g} of the original's time"])

    def _drop_words(self, trial: Trial) -> str:
        left, allowed = self._score(trial), self._budget.max_drop or 0
        return f"from {score(self._quality)} to {score(left)}, by {score(self._quality - left)} where {score(allowed)} is allowed"


def _bisect(low: int, high: int, holds: Callable[[int], bool]) -> int:
    """The first number after `low`, for which `holds` is false, up to `high`, for which it is taken to be true."""
    while high - low > 1:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle
    return high


def _shape_of(run: Run) -> object:
    """What differs between the models of two ratios: how much is left of each weight."""
    kept = ((name, axis, len(left)) for result in run.results for name, axes in result.kept.items() for axis, left in axes.items())
    return run.after.params, run.after.macs, tuple(kept)


def _speedup(trial: Trial) -> float:
    assert trial.timing is not None
    return trial.timing.speedup


def _uncertainty(trial: Trial) -> float:
    assert trial.timing is not None
    return trial.timing.uncertainty


def _how(trial: Trial) -> str:
    return "predicted" if trial.timing is not None and trial.timing.predicted else "measured"


def _time_of(trial: Trial) -> str:
    assert trial.timing is not None
    how = f"with ratio {trial.ratio:g}" if trial.ratio else "without pruning"
    return f"{milliseconds(trial.timing.latency.median_ms)} ({times(trial.timing.speedup)} as fast, {how})"
