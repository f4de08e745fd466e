"""The job for supernets: a supernet and a time in, the best subnet that keeps it out."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from graphopt.cost import Predictor, count, find_target
from graphopt.errors import BudgetError, PassParameterError, VerifyError
from graphopt.ir import Graph, load
from graphopt.quality import Data, Latency, Source, default_threads, find_metric, needs_original, predict, session
from graphopt.quality.resample import fitted_arrays
from graphopt.report import Figures, Report, Step, count_notes, figures, file_record, installed_passes, origin, verified
from graphopt.report.words import milliseconds, score, times
from graphopt.search.bench import SURE, Bench, CpuBench, Timing
from graphopt.search.budget import Budget
from graphopt.search.parts import Parts, parts_of
from graphopt.search.predicted import PredictedBench
from graphopt.search.request import Request
from graphopt.search.supernet.accuracy import RankCorrelation
from graphopt.search.supernet.allowed import Allowed
from graphopt.search.supernet.hunt import JUDGES, STRATEGIES, Effort, Hunt
from graphopt.search.supernet.qualities import Qualities, Subnet, Watch
from graphopt.search.words import needs
from graphopt.supernet import (
    Extraction,
    Space,
    SubnetScores,
    Transforms,
    load_supernet,
    load_transforms,
    recalibrate,
    space_of,
    transforms_beside,
)
from graphopt.supernet.family import Supernet
from graphopt.supernet.generic import ElasticGraph

__all__ = ["JUDGES", "STRATEGIES", "FoundSubnet", "search_supernet"]

SECONDS = 60.0
_ROUNDS = 4  # searches, where what is measured differs from what the table says
_MARGIN = 0.99  # of the time allowed, that the table is held to after a measurement
_AGAIN = 0.25  # of the effort, for each search after the first
_ROUNDING = 1e-9
_ROOM = 0.93  # of the time allowed: what takes less leaves room worth another search

_PASS = "extract-subnet"


@dataclass(frozen=True)
class FoundSubnet:
    """What `search_supernet` found.

    `config` is the configuration, JSON's own types. `missed` says why the budget is not met, and is empty where it is. `timing` is the final
    one, beside the largest network's; `subnets` all that were run, with the quality on the validation part; `metric` what quality is, over
    `samples` samples of the test part; `correlation` how well the predictor orders subnets, None where there was none or too few were run.
    `extracted` subnets filled the tables of times. The report's `output` is None until the graph is written.
    """

    graph: Graph
    config: dict[str, Any]
    report: Report
    missed: str
    notes: tuple[str, ...]
    metric: str
    samples: int
    timing: Timing
    subnets: tuple[Subnet, ...]
    correlation: RankCorrelation | None
    extracted: int


def search_supernet(
    model: str | os.PathLike[str],
    supernet: str | os.PathLike[str],
    *,
    target: str = "cpu",
    latency: float | None = None,
    speedup: float | None = None,
    max_drop: float | None = None,
    transforms: str | os.PathLike[str] | None = None,
    image_sizes: Sequence[int] | None = None,
    data: Data | Source | None = None,
    calibration: Data | Source | None = None,
    preprocess: str | None = None,
    metric: str | None = None,
    strategy: str = "evolve",
    judge: str = "predictor",
    recalibrated: bool = False,
    seconds: float | None = SECONDS,
    trials: int | None = None,
    seed: int = 0,
    threads: int | None = None,
    batch: int = 1,
    config_path: str | os.PathLike[str] = "config.json",
    best_effort: bool = False,
    watch: Watch | None = None,
) -> FoundSubnet:
    """The best subnet of a supernet (a file, with its side file) that takes at most `latency` milliseconds, or 1/`speedup` of the largest.

    The target, data, metric, seed, threads and batch are those of `graphopt.optimize`. Times of subnets are looked up in tables of what each
    block costs on the target (graphopt.supernet.SubnetScores); where the target is this machine, the best subnet is measured, and searched
    for again where that differs. `image_sizes`: those on offer, by default `usual_sizes`; `transforms` as for extraction.

    `strategy` is one of STRATEGIES. `judge`: by what it goes, a `predictor` of quality that is trained on the subnets that are run, or the
    `evaluator`, that is, on runs alone. Subnets are run for `seconds`, until there are `trials`. `recalibrated`: statistics of batch
    normalization are computed anew, from the calibration part of the data, in each subnet that is run. `config_path` is what the report calls
    the file of the configuration, which this does not write. `watch` is called with each `Subnet` that was run.

    Raises BudgetError where the budget cannot be met, unless `best_effort`; SupernetError and other GraphoptErrors for input that cannot be
    used; ValueError for a budget that is not positive.
    """
    budget = Budget(latency, speedup, max_drop)
    if not budget.is_timed:
        raise PassParameterError("a search over a supernet needs a time to keep: give --latency or --speedup")
    if strategy not in STRATEGIES:
        raise PassParameterError(f"there is no strategy {strategy!r} for subnets; there are {', '.join(STRATEGIES)}")
    request = Request(
        os.fspath(model), budget, target, data, calibration, preprocess, metric, seed, threads, batch, first="", plugins=()
    )  # fmt: skip
    described = load_supernet(supernet)
    matrices = transforms_beside(described) if transforms is None else load_transforms(transforms)
    setup = _Setup(request, described, matrices, image_sizes, recalibrated)
    found = _Job(setup, strategy, judge, seconds, trials, watch).answer(_step_text(config_path, supernet, transforms, recalibrated))
    if found.missed and not best_effort:
        raise BudgetError(found.missed)
    return found


def _step_text(
    config_path: str | os.PathLike[str], supernet: str | os.PathLike[str], transforms: str | os.PathLike[str] | None, recalibrated: bool
) -> str:
    """The pipeline that makes the subnet from the supernet."""
    settings = {"supernet": os.fspath(supernet), "config": os.fspath(config_path)}
    if transforms is not None:
        settings["transforms"] = os.fspath(transforms)
    return str(installed_passes().get(_PASS)(**settings, **({"recalibrate": True} if recalibrated else {})))


class _Setup:
    """A request with its supernet opened, its space, and what subnets are judged by."""

    def __init__(
        self,
        request: Request,
        supernet: Supernet | ElasticGraph,
        transforms: Transforms | None,
        image_sizes: Sequence[int] | None,
        recalibrated: bool,
    ) -> None:
        self.request, self.recalibrated = request, recalibrated
        self.predictor = Predictor(find_target(request.target))
        self.graph, self.source = load(request.model), file_record(request.model)
        self.space: Space = space_of(self.graph, supernet, image_sizes)
        self.threads = request.threads or default_threads()
        self._opened = session(self.graph, self.threads)
        self.parts: Parts = parts_of(request, self.graph)
        self.metric = request.metric or _default_metric(self.parts.whole)
        here = self._bench(self.parts.validation)
        self.quality = here.quality
        self.bench: Bench = here
        if not request.is_measured:
            shapes = {name: array.shape for name, array in self._feeds.items()}
            self.bench = PredictedBench(self.predictor, self.graph, shapes, here.quality)
        free = {}
        for value in self.graph.inputs:
            shape = self.graph.shape(value)
            if shape and isinstance(shape[0], str) and value.name in self._feeds:
                free[shape[0]] = len(self._feeds[value.name])
        self.scores = SubnetScores(self.graph, supernet, self.space, self.predictor, transforms, free)

    @property
    def _feeds(self) -> dict[str, Any]:
        return self.parts.whole.one_run(self.request.batch)

    def _bench(self, data: Data) -> CpuBench:
        scored = find_metric(self.metric, predict(self._opened, data) if needs_original(self.metric) else None)
        return CpuBench(self._opened, data, scored, threads=self.threads, feeds=self._feeds)

    def subnet(self, row: npt.ArrayLike) -> tuple[Graph, Extraction]:
        """The subnet as it is run and written."""
        made, done = self.scores.subnet(row)
        if self.recalibrated:
            data = self.parts.calibration or self.parts.validation
            recalibrate(made, fitted_arrays(data.feeds, made))
        return made, done

    def test_quality(self, graphs: Sequence[Graph]) -> list[float]:
        bench = self._bench(self.parts.test)
        return [bench.quality(graph) for graph in graphs]


class _Job:
    """One run of `search_supernet`."""

    def __init__(self, setup: _Setup, strategy: str, judge: str, seconds: float | None, trials: int | None, watch: Watch | None) -> None:
        self.setup, self.budget = setup, setup.request.budget
        self.qualities = Qualities(setup.space, lambda row: setup.quality(setup.subnet(row)[0]), setup.scores.ms, watch)
        self.hunt = Hunt(self.qualities, strategy, judge, setup.request.seed)
        self.seconds, self.trials = seconds, trials

    def answer(self, text: str) -> FoundSubnet:
        setup = self.setup
        setup.scores.fill()
        found, timing, missed = self._best()
        started = time.monotonic()
        graph, extraction = setup.subnet(found.row)
        taken = time.monotonic() - started
        if not missed and not self.budget.allows_drop(self._quality_of_largest() - found.quality):
            drop = score(self._quality_of_largest() - found.quality)
            missed = f"the best subnet that is fast enough drops the quality by {drop}, where {score(self.budget.max_drop or 0)} is allowed"
        try:
            remarks = verified(graph, setup.graph)
        except VerifyError as error:
            raise VerifyError(f"the subnet {found.text} is no valid model: {error}") from error
        before, after = count(setup.graph), count(graph)
        qualities = setup.test_quality([setup.graph, graph])
        step = Step(text, taken, figures(before), figures(after), extraction.kept)
        report = Report(
            origin(f"graphopt.search_supernet({setup.source.path!r}, ...)", setup.request.seed),
            setup.source,
            None,
            setup.request.target,
            self.budget.limits,
            _timed(figures(before, timing.original.median_ms, qualities[0]), timing, timing.original),
            _timed(figures(after, timing.latency.median_ms, qualities[1]), timing, timing.latency),
            (step,),
            timing.predicted,
        )
        made_up = setup.request.data is None
        notes = (
            *([f"no data was given: {setup.metric} on made-up inputs says little of which subnet is good"] if made_up else []),
            *setup.parts.notes,
            *extraction.notes,
            *count_notes(after),
            *(setup.bench.predict(graph).warnings if isinstance(setup.bench, PredictedBench) else ()),
            *remarks,
        )
        return FoundSubnet(
            graph,
            setup.space.document(found.row),
            report,
            missed,
            tuple(dict.fromkeys(notes)),
            setup.metric,
            setup.parts.test.samples,
            timing,
            tuple(self.qualities.known.values()),
            self.hunt.correlation,
            setup.scores.extracted,
        )

    def _quality_of_largest(self) -> float:
        return self.setup.quality(self.setup.graph)

    def _best(self) -> tuple[Subnet, Timing, str]:
        """The best subnet, its timing, and why it does not do; empty where it does."""
        setup = self.setup
        largest = float(setup.scores.ms(setup.space.largest[None])[0])
        limit = largest / self._usage(setup.bench.time([setup.graph], SURE)[0])
        tried: list[tuple[Subnet, Timing]] = []
        for number in range(_ROUNDS if setup.request.is_measured else 1):
            allowed = Allowed(setup.space, setup.scores.ms, limit)
            row, ms = allowed.fastest()
            if ms > limit:
                found = self.qualities.of(row)
                tried.append((found, setup.bench.time([setup.subnet(row)[0]], SURE)[0]))
                break
            best = self.hunt.best(allowed, self._effort(1.0 if number == 0 else _AGAIN))
            assert best is not None  # at least the fastest was run
            timing = setup.bench.time([setup.subnet(best.row)[0]], SURE)[0]
            tried.append((best, timing))
            usage = self._usage(timing)
            if _ROOM <= usage <= 1 or (usage <= 1 and limit >= largest):
                break
            limit *= _MARGIN / usage
        keeping = [(subnet, timing) for subnet, timing in tried if self._usage(timing) <= 1 + _ROUNDING]
        if keeping:
            return (*max(keeping, key=lambda pair: (pair[0].quality, -pair[0].ms)), "")
        subnet, timing = min(tried, key=lambda pair: self._usage(pair[1]))
        took = f"{milliseconds(timing.latency.median_ms)} ({times(timing.speedup)} as fast)"
        return subnet, timing, f"no subnet was found that takes {needs(self.budget)}: the fastest, {subnet.text}, takes {took}"

    def _usage(self, timing: Timing) -> float:
        """The share of the time allowed that a model takes."""
        shares = [0.0 if self.budget.latency_ms is None else timing.latency.median_ms / self.budget.latency_ms]
        shares.append(0.0 if self.budget.speedup is None else self.budget.speedup / timing.speedup)
        return max(shares)

    def _effort(self, share: float) -> Effort:
        seconds = None if self.seconds is None else self.seconds * share
        return Effort(seconds, None if self.trials is None else max(round(self.trials * share), 1))


def _timed(found: Figures, timing: Timing, latency: Latency) -> Figures:
    return replace(found, latency_interval_ms=(latency.low_ms, latency.high_ms)) if timing.predicted else found


def _default_metric(data: Data) -> str:
    return "top1" if data.labels is not None and np.issubdtype(data.labels.dtype, np.integer) else "fidelity"
