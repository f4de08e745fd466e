"""The main job: a model and a budget in, a smaller model and a report out."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnxruntime as ort

from graphopt.channels import analyse
from graphopt.cost import Counts, Predictor, count, find_target
from graphopt.errors import BudgetError
from graphopt.ir import Graph, load, save
from graphopt.pipeline import Context, parse_pipeline
from graphopt.quality import (
    Data,
    Latency,
    Metric,
    Source,
    default_threads,
    find_metric,
    load_data,
    needs_original,
    predict,
    session,
    synthetic_inputs,
)
from graphopt.report import Figures, FileRecord, Report, Run, figures, file_record, installed_passes, origin, recorded, verified
from graphopt.report.groups import summarise
from graphopt.report.words import score
from graphopt.search.bench import Bench, CpuBench, Timing
from graphopt.search.budget import DEFAULT_DROP, Budget
from graphopt.search.predicted import PredictedBench
from graphopt.search.trial import Trial
from graphopt.search.uniform import UniformSearch, Watch

FIRST = "simplify,fuse-bn"  # what is run before the search
THIS_MACHINE = "cpu"  # the target that is measured
_SYNTHETIC_SAMPLES = 16
_NOISY = 0.05  # relative uncertainty of a speedup


@dataclass(frozen=True)
class Optimized:
    """What `optimize` found.

    `missed` says why the budget is not met, and is empty where it is; `notes` say what the reader of the figures should know. `metric` is
    what quality is measured with, over `samples` samples; `timing` the final measurement, beside the original; `trials` are all models that
    were made on the way. The report's `output` is None until the graph is written.
    """

    graph: Graph
    report: Report
    missed: str
    notes: tuple[str, ...]
    metric: str
    samples: int
    timing: Timing
    trials: tuple[Trial, ...]
    changed: bool


def optimize(
    model: Graph | str | os.PathLike[str],
    *,
    target: str = "cpu",
    latency: float | None = None,
    speedup: float | None = None,
    max_drop: float | None = None,
    data: Data | Source | None = None,
    preprocess: str | None = None,
    metric: str | None = None,
    seed: int = 0,
    threads: int | None = None,
    batch: int = 1,
    first: str = FIRST,
    plugins: Iterable[str | os.PathLike[str]] = (),
    best_effort: bool = False,
    watch: Watch | None = None,
) -> Optimized:
    """Make a model (a file or a root graph, which stays as it is) fast enough on `target`.

    The target "cpu" is this machine with ONNX Runtime, where models are measured. Any other is the name or folder of a target for which
    latencies are predicted; the model is then pruned to widths that are worth having there. Quality is found on this machine either way.

    The budget is `latency` in milliseconds per run of `batch` samples, `speedup` as a factor, `max_drop` of quality; without the first two,
    the fastest model is sought whose quality drops by at most `max_drop` (0.01 unless given). Quality is the `metric`, one of
    graphopt.quality.METRICS or "module:function", on `data` and `preprocess` (as graphopt.quality.load_data takes them); by default top1
    where the data has labels, else fidelity. Without data, inputs are made up. `threads`: of ONNX Runtime, all processors by default.
    `first`: the pipeline that is run before pruning, with passes of `plugins` too. `watch` is called with a `Trial` after each measurement.

    Raises BudgetError where the budget cannot be met, unless `best_effort`; other GraphoptErrors for input that cannot be used; ValueError
    for a budget that is not positive.
    """
    predictor = None if target == THIS_MACHINE else Predictor(find_target(target))
    if latency is None and speedup is None and max_drop is None:
        max_drop = DEFAULT_DROP
    budget = Budget(latency, speedup, max_drop)
    passes = installed_passes(plugins)
    before_pruning = parse_pipeline(first, passes)
    threads = threads or default_threads()
    original, source = _opened(model)
    original_session = session(original, threads)
    used = _data(data, preprocess, original, seed, batch)
    name, scored = _metric(metric, used, original_session, threads)
    quality = scored(original_session, used)

    context = Context(seed, used.feeds, original=original, predictor=predictor)
    base = recorded(original, count(original), before_pruning, context)

    aligned = "" if predictor is None else " align=target"

    def make(ratio: float) -> Run:
        if ratio == 0:
            return base
        pruning = parse_pipeline(f"prune-channels{{ratio={ratio!r}{aligned}}}", passes)
        return base.then(recorded(base.graph, base.after, pruning, replace(context, history=base.results)))

    here = CpuBench(original_session, used, scored, threads=threads, batch=batch)
    bench: Bench = here
    if predictor is not None:
        shapes = {name: array.shape for name, array in used.one_run(batch).items()}
        bench = PredictedBench(predictor, original, shapes, here.quality)
    search = UniformSearch(make, bench, budget, quality, watch)
    outcome = search.search()
    best, missed = outcome.best, outcome.missed
    if missed:
        missed = f"{missed}. {_obstacles(base.graph)}"
        if not best_effort:
            raise BudgetError(missed)
    assert best.timing is not None
    report = Report(
        origin(f"graphopt.optimize({source.path!r}, ...)", seed),
        source,
        None,
        target,
        budget.limits,
        _figures(base.before, best.timing, best.timing.original, quality),
        _figures(best.run.after, best.timing, best.timing.latency, best.quality),
        best.run.steps,
        best.timing.predicted,
    )
    notes = (
        *([f"no data was given: {name} on made-up inputs is only an indication of quality"] if data is None else []),
        *best.run.notes,
        *_quality_notes(name, quality, best.quality or 0.0),
        *_noise_notes(best.timing),
        *(bench.predict(best.run.graph).warnings if isinstance(bench, PredictedBench) else ()),
        *verified(best.run.graph, original),
    )
    return Optimized(
        best.run.graph, report, missed, tuple(dict.fromkeys(notes)), name, used.samples, best.timing, search.trials, best.run.changed
    )


def _opened(model: Graph | str | os.PathLike[str]) -> tuple[Graph, FileRecord]:
    if not isinstance(model, Graph):
        return load(model), file_record(model)
    with tempfile.TemporaryDirectory(prefix="graphopt-") as folder:
        path = Path(folder) / "model.onnx"
        save(model, path)
        return model, replace(file_record(path), path=model.name or "graph")


def _data(data: Data | Source | None, preprocess: str | None, graph: Graph, seed: int, batch: int) -> Data:
    if data is None:
        return synthetic_inputs(graph, seed, max(_SYNTHETIC_SAMPLES, batch))
    return data if isinstance(data, Data) else load_data(data, graph, preprocess)


def _metric(name: str | None, data: Data, original: ort.InferenceSession, threads: int) -> tuple[str, Metric]:
    if name is None:
        name = "top1" if data.labels is not None and np.issubdtype(data.labels.dtype, np.integer) else "fidelity"
    return name, find_metric(name, predict(original, data) if needs_original(name) else None)


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


def _obstacles(graph: Graph) -> str:
    """What stands in the way of a smaller model."""
    summary = summarise(analyse(graph))
    reasons = sorted((*summary.frozen, *summary.inexact), key=lambda reason: -reason.held)
    words = [f"{reason.held:,} are held by {reason.groups[0].name}: {reason.why}" for reason in reasons[:2] if reason.held]
    frozen = f"; {', '.join(words)}" if summary.share < 0.99 else ""
    return f"{summary}{frozen}; `graphopt inspect --groups` says what can be pruned and what not"
