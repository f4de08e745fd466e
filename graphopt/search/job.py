"""The main job: a model and a budget in, a smaller model and a report out."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from graphopt.allocation import SOLVERS
from graphopt.cost import Counts
from graphopt.errors import BudgetError, PassParameterError, StudyError
from graphopt.ir import Graph, save
from graphopt.quality import Data, Latency, Source
from graphopt.report import Figures, Report, figures, origin, verified
from graphopt.report.words import score
from graphopt.search.aim import Aiming
from graphopt.search.bench import SURE, Timing
from graphopt.search.budget import DEFAULT_DROP, FIGURES, Budget
from graphopt.search.candidate import Candidate, Scale
from graphopt.search.finalists import Finalist, Finals, with_goal
from graphopt.search.goals import Goal
from graphopt.search.objective import Objective
from graphopt.search.predicted import PredictedBench
from graphopt.search.progress import Progress, Watch, unwatched
from graphopt.search.request import FIRST, THIS_MACHINE, Request
from graphopt.search.setup import Setup, compressing_passes, prepare, repair_pass
from graphopt.search.space import Space
from graphopt.search.strategies import STRATEGIES
from graphopt.search.study import Identity, Place, Record, Study
from graphopt.search.trials import Limits, make, search, temporary
from graphopt.search.words import lossy_start, obstacles, too_bad, too_large

SECONDS = 60.0  # of a search, where nothing else is asked for
_OVERTIME = 1.2  # of the time of a search, in which finalists that miss the budget are made again
_NOISY = 0.05  # relative uncertainty of a speedup
_STEP, _STEPS = 0.93, 32  # where the search finds out how much can be saved: each goal as a share of the one before; down to a tenth
_FRONT = (1.0, 1.15, 1.35, 1.6, 2.0)  # the goals of a search for a front within a budget, as powers of the budget's share


@dataclass(frozen=True)
class Optimized:
    """What `optimize` found.

    `missed` says why the budget is not met, and is empty where it is; `notes` say what the reader of the figures should know. `metric` is
    what quality is measured with, over the `samples` samples of the test part; `timing` the final measurement, beside the original; `trials`
    all that was tried, with the quality on the validation part and the figures by name of graphopt.search.study.Record; `measured` the
    timings of those that were put on the bench, by pipeline. `original` are the original's figures as those of trials, `validation_quality`
    its quality on that part. `pipeline` makes the graph again. The report's `output` is None until the graph is written.
    """

    graph: Graph
    report: Report
    missed: str
    notes: tuple[str, ...]
    metric: str
    samples: int
    timing: Timing
    trials: tuple[Record, ...]
    changed: bool
    measured: dict[str, Timing]
    original: dict[str, float]
    validation_quality: float
    pipeline: str


def optimize(
    model: Graph | str | os.PathLike[str],
    *,
    target: str = THIS_MACHINE,
    latency: float | None = None,
    speedup: float | None = None,
    max_drop: float | None = None,
    macs: float | None = None,
    params: float | None = None,
    bytes: float | None = None,
    peak_memory: float | None = None,
    data: Data | Source | None = None,
    calibration: Data | Source | None = None,
    preprocess: str | None = None,
    metric: str | None = None,
    seed: int = 0,
    threads: int | None = None,
    batch: int = 1,
    first: str = FIRST,
    plugins: Iterable[str | os.PathLike[str]] = (),
    strategy: str = "auto",
    solver: str | None = None,
    seconds: float = SECONDS,
    trials: int | None = None,
    study: str | None = None,
    workers: int = 1,
    best_effort: bool = False,
    watch: Watch | None = None,
) -> Optimized:
    """Make a model (a file or a root graph, which stays as it is) small and fast enough on `target`, with the least loss of quality.

    The target "cpu" is this machine with ONNX Runtime, where models are measured. Any other is the name or folder of a target for which
    latencies are predicted. Quality is found on this machine either way.

    The budget is `latency` in milliseconds per run of `batch` samples, `speedup` as a factor, `macs`, `params`, `bytes` of the file,
    `peak_memory` in bytes of activations, `max_drop` of quality; without all but the last, the fastest model is sought whose quality drops
    by at most `max_drop` (0.01 unless given). Quality is the `metric`, one of graphopt.quality.METRICS or "module:function", on `data` and
    `preprocess` (as graphopt.quality.load_data takes them); by default top1 where the data has labels, else fidelity. The data is cut into
    three parts: passes calibrate on the first, the search chooses by the second, the third gives the figures of the report. With
    `calibration`, data of its own, it is cut into the last two. Without data, inputs are made up, and no pass calibrates.

    Pipelines of compressing passes are tried as `strategy` (graphopt.search.STRATEGIES) says, for `seconds` or until there are `trials` of
    them; they allocate with `solver`. `first` is run before each, with passes of `plugins` too. `study` keeps the trials: a name, a file or
    a database (graphopt.search.study.Place); `workers` processes make them. `threads`: of ONNX Runtime, all processors by default. `watch`
    is called with a `Progress` as the search goes on.

    Raises BudgetError where the budget cannot be met, unless `best_effort`; StudyError for a study of another search; other GraphoptErrors
    for input that cannot be used; ValueError for a budget that is not positive.
    """
    budget = Budget(latency, speedup, max_drop, macs, params, bytes, peak_memory)
    if not budget.limits:
        budget = Budget(max_drop=DEFAULT_DROP)
    if strategy not in STRATEGIES:
        raise PassParameterError(f"there is no strategy {strategy!r}; there are {', '.join(STRATEGIES)}")
    if solver is not None and solver not in SOLVERS:
        raise PassParameterError(f"there is no solver {solver!r}; there are {', '.join(SOLVERS)}")
    with ExitStack() as stack:
        path, name = _file(model, stack)
        request = Request(
            path,
            budget,
            target,
            data,
            calibration,
            preprocess,
            metric,
            seed,
            threads,
            batch,
            first,
            tuple(os.fspath(plugin) for plugin in plugins),
            name,
        )
        place = None if study is None else Place.parse(study)
        if place is None and workers > 1:
            place = temporary(stack.enter_context(tempfile.TemporaryDirectory(prefix="graphopt-", ignore_cleanup_errors=True)))
        watch = watch or unwatched
        watch(Progress("measuring the original"))
        job = _Job(prepare(request), place, strategy, f"solver={solver}" if solver else "", Limits(seconds, trials, workers), watch)
        found = job.answer()
    if found.missed and not best_effort:
        raise BudgetError(found.missed)
    return found


class _Job:
    """One run of `optimize`."""

    def __init__(self, setup: Setup, place: Place | None, strategy: str, settings: str, limits: Limits, watch: Watch) -> None:
        self.setup, self.budget, self.place, self.strategy, self.limits, self.watch = (
            setup, setup.request.budget, place, strategy, limits, watch,
        )  # fmt: skip
        self.began = time.monotonic()
        self.settings = settings
        self.passes = compressing_passes(setup.registry)
        self.scale = Scale(setup.bench, self.budget, setup.figures)
        self.aiming = Aiming(setup, self.scale, self.passes, settings)
        self.records: tuple[Record, ...] = ()
        self.finals = Finals(setup, self.scale, self.aiming, lambda proposals, ends: ())

    def answer(self) -> Optimized:
        text = self.setup.request.first
        base = Candidate(text, self.setup.base, self._judged(text))
        found, missed = self._sized(base) if self.budget.is_sized else self._fastest(base)
        self.watch(Progress("scoring the best on the test part", found.candidate.text))
        return self._optimized(found, missed)

    def _judged(self, text: str) -> dict[str, float]:
        return dict(self.setup.evaluator().judged(self.setup.runner.run(text)).values)

    # ---- a budget of time or size

    def _sized(self, base: Candidate) -> tuple[Finalist, str]:
        """The best model of the size, and why it does not do; empty where it does."""
        (timing,) = self.scale.time([base], SURE)
        if self.scale.usage(base, timing) <= 1:
            final = self.finals.final(base)
            if final.usage <= 1:
                return final, "" if self._allows(base) else lossy_start(self.budget, self.setup.quality, base)
        needed = self.scale.shares(timing)
        self.watch(Progress("looking for what is within reach"))
        goal, smallest = self._goal(needed)
        if smallest is not None:
            final = self.finals.final(replace(smallest, values=self._judged(smallest.text)))
            return final, "" if final.usage <= 1 else too_large(self.budget, final.candidate, final.timing)
        objective = Objective(self.setup.quality, {}, self.budget.max_drop, self.setup.cost, self.setup.figures[self.setup.cost])
        space, objective = with_goal(self._space((goal,)), objective, goal, self.setup.figures)
        searched = space
        if self.strategy == "nsga2":
            searched = replace(space, goals=tuple({resource: share**power for resource, share in goal.items()} for power in _FRONT))
        with self._study(searched, objective, goal) as study:
            self.records = search(self.setup, study, searched, objective, self.strategy, self._left, self.watch)
            self.watch(Progress("measuring the best" if self.setup.request.is_measured else "choosing the best"))
            made = partial(make, self.setup, study)
            self.finals = Finals(self.setup, self.scale, self.aiming, made, self._ends)
            final_or_none = self.finals.best_within(space, objective, needed, self.records)
            self.records = study.trials()
        if final_or_none is None:
            return self._nearest(space, objective)
        best = final_or_none.candidate
        return final_or_none, "" if self._allows(best) else too_bad(self.budget, self.setup.quality, best)

    def _goal(self, needed: Goal) -> tuple[Goal, Candidate | None]:
        """Where passes are to aim; and the smallest model there is, where that is too large."""
        kept = self._remembered_goal()
        if kept is not None:
            return kept, None
        aimed = self.aiming.aimed(needed)
        return aimed.goal, aimed.smallest[0] if aimed.smallest is not None else None

    def _nearest(self, space: Space, objective: Objective) -> tuple[Finalist, str]:
        """What comes nearest to a budget that no trial keeps."""
        done = [record for record in self.records if record.state == "complete"]
        if not done:
            reasons = [f"{record.pipeline}: {record.reason}" for record in self.records if record.state == "failed"]
            raise BudgetError(f"no trial came to an end; the first: {reasons[0]}" if reasons else "no trial came to an end in that time")
        final = self.finals.final(self.finals.candidate(min(done, key=objective.usage), space))
        return final, "" if final.usage <= 1 else too_large(self.budget, final.candidate, final.timing)

    # ---- a bound on the loss alone

    def _fastest(self, base: Candidate) -> tuple[Finalist, str]:
        """The fastest model whose loss is allowed."""
        if not self._allows(base):
            return self.finals.final(base), lossy_start(self.budget, self.setup.quality, base)
        resource = next(resource for resource, name in FIGURES.items() if name == self.setup.cost)
        space = self._space(tuple({resource: _STEP**step} for step in range(1, _STEPS + 1)))
        objective = Objective(self.setup.quality, {}, self.budget.max_drop, self.setup.cost, self.setup.figures[self.setup.cost])
        with self._study(space, objective) as study:
            self.records = search(self.setup, study, space, objective, self.strategy, self._left, self.watch)
            self.watch(Progress("measuring the best" if self.setup.request.is_measured else "choosing the best"))
            return self.finals.fastest_within_drop(space, objective, base, self.records), ""

    # ---- what both need

    @property
    def _left(self) -> Limits:
        """What looking for the aim has left of the time, and half of it at least."""
        seconds = self.limits.seconds
        return replace(self.limits, seconds=max(seconds - (time.monotonic() - self.began), seconds / 2))

    @property
    def _ends(self) -> float:
        """When the last trial is to have been made, by `time.monotonic()`."""
        return self.began + self.limits.seconds * _OVERTIME

    def _allows(self, candidate: Candidate) -> bool:
        return self.budget.allows_drop(self.setup.quality - candidate.quality)

    def _space(self, goals: tuple[Goal, ...]) -> Space:
        repair = repair_pass(self.setup.registry, self.setup.parts)
        return Space(self.passes, goals, first=self.setup.request.first, repair=repair, settings=self.settings)

    @property
    def _identity(self) -> Identity:
        from graphopt import __version__  # not known yet while this module is imported

        return self.setup.identity(__version__)

    def _study(self, space: Space, objective: Objective, goal: Goal | None = None) -> Study:
        about = {"model": self.setup.request.shown} | ({"goal": json.dumps(goal)} if goal is not None else {})
        return Study.open(self.place, self._identity, about=about, objective=asdict(objective), space=space.distributions())

    def _remembered_goal(self) -> Goal | None:
        """The goal of a study that is gone on with: measured again, it would come out a little different, and all trials with it."""
        if self.place is None:
            return None
        try:
            with Study.load(self.place) as study:
                if study.identity.differences(self._identity):
                    return None  # opening it for the search says so
                found: Goal | None = json.loads(study.about["goal"]) if "goal" in study.about else None
                return found
        except StudyError:
            return None

    def _optimized(self, found: Finalist, missed: str) -> Optimized:
        setup, run, timing = self.setup, found.candidate.run, found.timing
        before, after = setup.test_quality([setup.original, run.graph])
        report = Report(
            origin(f"graphopt.optimize({setup.request.shown!r}, ...)", setup.request.seed),
            replace(setup.source, path=setup.request.shown),
            None,
            setup.request.target,
            self.budget.limits,
            _figures(run.before, timing, timing.original, before),
            _figures(run.after, timing, timing.latency, after),
            run.steps,
            timing.predicted,
        )
        made_up = setup.request.data is None
        notes = (
            *([f"no data was given: {setup.metric} on made-up inputs is only an indication of quality"] if made_up else []),
            *setup.parts.notes,
            *run.notes,
            *_quality_notes(setup.metric, before, after),
            *self._drop_notes(before - after),
            *_noise_notes(timing),
            *(setup.bench.predict(run.graph).warnings if isinstance(setup.bench, PredictedBench) else ()),
            *verified(run.graph, setup.original),
        )
        return Optimized(
            run.graph,
            report,
            f"{missed}. {obstacles(setup.base.graph)}" if missed else "",
            tuple(dict.fromkeys(notes)),
            setup.metric,
            setup.parts.test.samples,
            timing,
            self.records,
            run.changed,
            self.finals.timings,
            setup.figures,
            setup.quality,
            found.candidate.text,
        )

    def _drop_notes(self, drop: float) -> tuple[str, ...]:
        if self.budget.allows_drop(drop):
            return ()
        allowed = score(self.budget.max_drop or 0)
        return (
            f"on the test part the quality drops by {score(drop)}, more than the {allowed} allowed: the search judges by the validation part",
        )


def _file(model: Graph | str | os.PathLike[str], stack: ExitStack) -> tuple[str, str]:
    """The file of a model, and what it is called; a graph is written to one."""
    if not isinstance(model, Graph):
        return os.fspath(model), os.fspath(model)
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="graphopt-", ignore_cleanup_errors=True))
    path = Path(folder) / "model.onnx"
    save(model, path)
    return str(path), model.name or "graph"


def _figures(counts: Counts, timing: Timing, latency: Latency, quality: float | None) -> Figures:
    interval = (latency.low_ms, latency.high_ms) if timing.predicted else None
    return replace(figures(counts, latency.median_ms, quality), latency_interval_ms=interval)


def _quality_notes(metric: str, before: float, after: float) -> tuple[str, ...]:
    if before - after <= abs(before) / 4:
        return ()
    return (f"{metric} fell from {score(before)} to {score(after)}: fine-tune the model, or bound the loss (--max-drop)",)


def _noise_notes(timing: Timing) -> tuple[str, ...]:
    if timing.uncertainty <= _NOISY:
        return ()
    return (f"this machine was busy while measuring: the speedup is uncertain by {timing.uncertainty * 100:.0f} %",)
