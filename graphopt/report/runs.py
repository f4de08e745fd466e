"""Running a pipeline on a copy of a graph, with a record of what each pass did in figures."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy.typing as npt

from graphopt.cost import Counts, Predictor, count
from graphopt.ir import Graph
from graphopt.pipeline import Context, Instrument, Pass, PassResult, Pipeline, Registry, parse_pipeline, run_pipeline
from graphopt.quality import Data
from graphopt.report.report import Figures, Origin, Step

Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Run:
    """A graph after a pipeline, and what each of its passes did.

    `results` are what the passes answered, in the order of `steps`; `before` and `after` are the counts around all of them.
    """

    graph: Graph
    steps: tuple[Step, ...]
    results: tuple[PassResult, ...]
    before: Counts
    after: Counts

    @property
    def pipeline(self) -> str:
        """The text that does it again."""
        return ",".join(step.text for step in self.steps)

    @property
    def changed(self) -> bool:
        """Whether some pass changed the graph."""
        return any(result.changed for result in self.results)

    @property
    def notes(self) -> tuple[str, ...]:
        """What the counts take for granted or leave out."""
        return count_notes(self.after)

    def then(self, later: Run) -> Run:
        """Both runs as one; `later` started from this one's graph."""
        return Run(later.graph, self.steps + later.steps, self.results + later.results, self.before, later.after)


def run(
    graph: Graph,
    pipeline: str | Pipeline,
    *,
    data: Data | Arrays | None = None,
    seed: int = 0,
    plugins: Iterable[str | os.PathLike[str]] = (),
    instruments: Sequence[Instrument] = (),
    predictor: Predictor | None = None,
) -> Run:
    """Run a pipeline on a copy of the root `graph`.

    `data` are calibration arrays by input name, for passes that want some; `plugins` are Python files with further passes; `predictor`
    predicts latencies on the target that the model is made for, for passes that ask. Raises the GraphoptErrors of a text that does not parse
    and of a pass that fails. The result is not verified: `verify` does that.
    """
    if isinstance(pipeline, str):
        pipeline = parse_pipeline(pipeline, installed_passes(plugins))
    arrays = data.feeds if isinstance(data, Data) else data
    return recorded(graph, count(graph), pipeline, Context(seed, arrays, predictor=predictor), instruments)


def recorded(graph: Graph, before: Counts, pipeline: Pipeline, context: Context, instruments: Sequence[Instrument] = ()) -> Run:
    """Run a pipeline on a copy of `graph`, whose counts are `before`; it is the original unless `context` names another."""
    result = graph.copy()
    if context.original is None:
        context = replace(context, original=graph)
    each = _CountEach(result, before)
    records = run_pipeline(result, pipeline, context, [each, *instruments])
    around = zip(each.found, each.found[1:], strict=False)
    steps = [
        Step(record.text, record.seconds, figures(entering), figures(leaving), record.result.kept, record.result.skipped)
        for record, (entering, leaving) in zip(records, around, strict=True)
    ]
    return Run(result, tuple(steps), tuple(record.result for record in records), before, each.found[-1])


def installed_passes(plugins: Iterable[str | os.PathLike[str]] = ()) -> Registry:
    """The passes that are installed, and those of the plug-in files. Raises PassClashError, PluginError."""
    registry = Registry.installed()
    for path in plugins:
        registry.load_plugin(os.fspath(path))
    return registry


def figures(counts: Counts, latency_ms: float | None = None, quality: float | None = None) -> Figures:
    """The counts as they stand in a report."""
    return Figures(counts.params, counts.macs, counts.bytes, latency_ms, quality)


def count_notes(counts: Counts) -> tuple[str, ...]:
    """What the counts of a model take for granted or leave out."""
    notes = [f"MACs are counted with {', '.join(counts.assumptions)}"] if counts.assumptions else []
    if counts.uncounted:
        operators = ", ".join(f"{nodes} x {operator}" for operator, nodes in counts.uncounted.items())
        notes.append(f"MACs leave out nodes that cannot be counted: {operators}")
    return tuple(notes)


def origin(command: str, seed: int) -> Origin:
    """The origin of a report that this graphopt writes now."""
    from graphopt import __version__  # not known yet while this module is imported

    return Origin(__version__, command, seed)


class _CountEach(Instrument):
    """Counts the graph after each pass. Given first, so that nobody's clock is running."""

    def __init__(self, graph: Graph, before: Counts) -> None:
        self._version = graph.version
        self.found = [before]

    def after_pass(self, pass_: Pass, graph: Graph, result: PassResult) -> None:
        self.found.append(self.found[-1] if graph.version == self._version else count(graph))
        self._version = graph.version
