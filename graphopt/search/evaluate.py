"""Running a pipeline and judging the model that it makes."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from graphopt.cost import Prediction, peak_memory
from graphopt.ir import Graph
from graphopt.pipeline import Context, Pipeline, Registry, parse_pipeline
from graphopt.quality import check_time
from graphopt.report import Run, recorded
from graphopt.search.study.loop import Evaluation
from graphopt.search.study.records import Proposal, Record

_KEPT = 6  # runs that are remembered: pipelines of a search often begin like others


class Runner:
    """Runs pipelines on one graph; what several have in common at the start is run once. `start` is the run of no pass at all."""

    def __init__(self, start: Run, registry: Registry, context: Context) -> None:
        self._start, self._registry, self._context = start, registry, context
        self._runs: OrderedDict[str, Run] = OrderedDict()

    def run(self, text: str) -> Run:
        """What the pipeline makes. Raises what its passes raise, and OutOfTimeError where the time is over."""
        passes = parse_pipeline(text, self._registry).passes
        run, begun = self._start, 0
        for count in range(len(passes), 0, -1):
            known = self._runs.get(str(Pipeline(passes[:count])))
            if known is not None:
                run, begun = known, count
                break
        for count in range(begun, len(passes)):
            check_time()
            context = replace(self._context, history=run.results)
            run = run.then(recorded(run.graph, run.after, Pipeline((passes[count],)), context))
            self._remember(str(Pipeline(passes[: count + 1])), run)
        return run

    def _remember(self, text: str, run: Run) -> None:
        self._runs[text] = run
        self._runs.move_to_end(text)
        while len(self._runs) > _KEPT:
            self._runs.popitem(last=False)


@dataclass
class Evaluator:
    """Makes trials: runs a pipeline, counts and predicts its model, scores it, each model once however it came to be.

    `quality` scores a model on the validation part; `predict` gives its latency, None where it cannot be predicted; `with_memory` says
    whether the peak memory of activations matters; `known` gives the trials that were made elsewhere.
    """

    runner: Runner
    quality: Callable[[Graph], float]
    predict: Callable[[Graph], Prediction] | None
    with_memory: bool = False
    known: Callable[[], Iterable[Record]] = tuple
    _scores: dict[str, float] = field(default_factory=dict)

    def __call__(self, proposal: Proposal) -> Evaluation:
        """The figures of a proposal, as a study keeps them. Raises what a pass, ONNX Runtime or the metric raises."""
        return self.judged(self.runner.run(proposal.pipeline))

    def judged(self, run: Run) -> Evaluation:
        model = content_hash(run.graph)
        return Evaluation(self.figures(run) | {"quality": self._quality(run.graph, model)}, model)

    def figures(self, run: Run) -> dict[str, float]:
        """All that is known of a model without running it."""
        found: dict[str, float] = {"macs": run.after.macs, "params": run.after.params, "bytes": run.after.bytes}
        if self.with_memory:
            found["peak_memory"] = peak_memory(run.graph).peak
        if self.predict is not None:
            predicted = self.predict(run.graph)
            found |= {"latency_ms": predicted.ms, "low_ms": predicted.low_ms, "high_ms": predicted.high_ms}
        return found

    def _quality(self, graph: Graph, model: str) -> float:
        if model not in self._scores:
            same = (record.values["quality"] for record in self.known() if record.model == model and record.state == "complete")
            found = next(same, None)
            self._scores[model] = self.quality(graph) if found is None else found
        return self._scores[model]


def content_hash(graph: Graph) -> str:
    """SHA-256 of the root `graph` as a model, in hexadecimal."""
    message: Any = graph.to_proto()
    return hashlib.sha256(message.SerializeToString(deterministic=True)).hexdigest()
