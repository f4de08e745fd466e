"""Everything a search works with, made from what it was asked for: the same in every process that is asked for the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import onnxruntime as ort

from graphopt.allocation import CompressingPass
from graphopt.cost import Prediction, Predictor, count, find_target
from graphopt.errors import OpenShapeError, PluginError
from graphopt.ir import Graph, load
from graphopt.pipeline import Context, Registry, parse_pipeline
from graphopt.quality import Data, Metric, default_threads, find_metric, needs_original, predict, session
from graphopt.quality.arrays import AnyArray
from graphopt.report import FileRecord, Run, file_record, installed_passes
from graphopt.search.bench import Bench, CpuBench
from graphopt.search.evaluate import Evaluator, Runner
from graphopt.search.parts import Parts, parts_of
from graphopt.search.point import name_of
from graphopt.search.predicted import PredictedBench
from graphopt.search.request import LEADING, REPAIR, Request
from graphopt.search.study import Identity, Record, array_hash


@dataclass(frozen=True)
class Setup:
    """A request with its model opened.

    `bench` times models and scores them on the validation part, `predict` gives the latencies that passes aim at (None where the model has
    sizes that nobody knows), `metric` is the name of what quality is, `quality` the original's on the validation part, `base` the run of
    the first pipeline.
    """

    request: Request
    original: Graph
    source: FileRecord
    parts: Parts
    threads: int
    registry: Registry
    predictor: Predictor
    predict: Callable[[Graph], Prediction] | None
    bench: Bench
    metric: str
    quality: float
    runner: Runner
    base: Run

    @property
    def cost(self) -> str:
        """The figure of a trial that says how much time its model takes, or comes nearest to saying so."""
        return "latency_ms" if self.predict is not None else "macs"

    @cached_property
    def figures(self) -> dict[str, float]:
        """The original's, by the names of a trial's values."""
        return self.evaluator().figures(Run(self.original, (), (), self.base.before, self.base.before))

    def evaluator(self, known: Callable[[], Iterable[Record]] = tuple) -> Evaluator:
        """What makes trials. `known`: those that were made already."""
        return Evaluator(self.runner, self.bench.quality, self.predict, self.request.budget.peak_memory is not None, known)

    def test_quality(self, graphs: Iterable[Graph]) -> list[float]:
        """The final figure of models: on samples that nothing was chosen by."""
        opened = session(self.original, self.threads)
        bench = _cpu_bench(opened, self.parts.test, self.parts.whole.one_run(), self.metric, self.threads)
        return [bench.quality(graph) for graph in graphs]

    def identity(self, version: str) -> Identity:
        """What a study of this search must agree on."""
        request = self.request
        arrays = {f"{part}/{name}": array for part, data in self._data.items() for name, array in data.items()}
        return Identity(
            model=self.source.sha256,
            data=array_hash(arrays),
            target=f"{request.target} {_target_hash(self.predictor)}",
            budget=request.budget.limits,
            metric=self.metric,
            seed=request.seed,
            first=request.first,
            version=version.partition(".")[0],
            settings={"threads": str(self.threads), "batch": str(request.batch)},
        )

    @property
    def _data(self) -> dict[str, dict[str, AnyArray]]:
        parts = {"data": self.parts.whole, "calibration": self.parts.calibration}
        return {
            name: dict(data.feeds) | ({} if data.labels is None else {"labels of the samples": data.labels})
            for name, data in parts.items()
            if data is not None
        }


def prepare(request: Request) -> Setup:
    """Open the model and the data, and run the first pipeline. Raises GraphoptErrors for what cannot be used."""
    predictor = Predictor(find_target(request.target))
    registry = installed_passes(request.plugins)
    parse_pipeline(request.first, registry)  # for its errors
    threads = request.threads or default_threads()
    original, source = load(request.model), file_record(request.model)
    opened = session(original, threads)
    parts = parts_of(request, original)
    name = request.metric or _default_metric(parts.whole)
    feeds = parts.whole.one_run(request.batch)
    here = _cpu_bench(opened, parts.validation, feeds, name, threads)
    predicting = _predicting(predictor, original, request)
    bench: Bench = here
    if not request.is_measured:
        bench = PredictedBench(predictor, original, {name: array.shape for name, array in feeds.items()}, here.quality)
        predicting = bench.predict
    calibration = None if parts.calibration is None else parts.calibration.feeds
    context = Context(request.seed, calibration, original=original, predictor=predictor)
    counts = count(original)
    runner = Runner(Run(original, (), (), counts, counts), registry, context)
    base = runner.run(request.first)
    quality = here.quality(original)
    return Setup(request, original, source, parts, threads, registry, predictor, predicting, bench, name, quality, runner, base)


def compressing_passes(registry: Registry) -> tuple[str, ...]:
    """The forms of the compressing passes that are registered, as texts without a goal; that which is tried first stands first."""
    found = []
    for name in registry.names():
        try:
            pass_class = registry.get(name)
        except PluginError:
            continue  # a stranger's pass that does not load; it is said where somebody asks for it
        if issubclass(pass_class, CompressingPass):
            found += [f"{name}{{{form}}}" if form else name for form in pass_class.variants]
    return tuple(sorted(found, key=lambda step: name_of(step) != LEADING))


def repair_pass(registry: Registry, parts: Parts) -> str:
    """The pass that may follow; empty where there is none, or nothing to calibrate on."""
    return REPAIR if REPAIR in registry.names() and parts.calibration is not None else ""


def _cpu_bench(opened: ort.InferenceSession, data: Data, feeds: Mapping[str, AnyArray], metric: str, threads: int) -> CpuBench:
    scored: Metric = find_metric(metric, predict(opened, data) if needs_original(metric) else None)
    return CpuBench(opened, data, scored, threads=threads, feeds=feeds)


def _default_metric(data: Data) -> str:
    return "top1" if data.labels is not None and np.issubdtype(data.labels.dtype, np.integer) else "fidelity"


def _predicting(predictor: Predictor, original: Graph, request: Request) -> Callable[[Graph], Prediction] | None:
    """The latency as passes see it. A target that is named must be able to tell it; this machine can be measured instead."""
    try:
        predictor.predict(original)
    except OpenShapeError:
        if not request.is_measured:
            raise
        return None
    return predictor.predict


def _target_hash(predictor: Predictor) -> str:
    coefficients = predictor.target.coefficients
    assert coefficients is not None  # the predictor has checked it
    text = json.dumps(coefficients.to_json(), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
