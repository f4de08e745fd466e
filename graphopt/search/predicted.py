"""Judging models for a device that is not at hand: how fast they are is predicted, how good they are is found out on this machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from graphopt.cost import Prediction, Predictor
from graphopt.ir import Graph
from graphopt.quality import Latency, input_shapes
from graphopt.search.bench import Effort, Timing


class PredictedBench:
    """`original` and `shapes`, the shapes of its inputs by name, say what models are compared with; `quality` scores a model."""

    def __init__(
        self, predictor: Predictor, original: Graph, shapes: Mapping[str, Sequence[int]], quality: Callable[[Graph], float]
    ) -> None:
        self._predictor, self._shapes, self.quality = predictor, shapes, quality
        self.original = self.predict(original)

    def time(self, graphs: Sequence[Graph], effort: Effort) -> list[Timing]:
        """The predicted latency of each graph; no effort makes it another."""
        return [Timing(self._latency(self.original), self._latency(self.predict(graph)), predicted=True) for graph in graphs]

    def predict(self, graph: Graph) -> Prediction:
        """The latency on the target. Raises OpenShapeError."""
        stated = input_shapes(graph)  # which may be smaller pictures than the original's
        own = {v.name: stated[v.name] or self._shapes[v.name] for v in graph.inputs if not v.is_initializer and v.name in self._shapes}
        return self._predictor.predict(graph, {name: _filled(shape, self._shapes[name]) for name, shape in own.items()})

    def _latency(self, prediction: Prediction) -> Latency:
        return Latency(prediction.ms, prediction.low_ms, prediction.high_ms, 0, self._predictor.target.threads)


def _filled(shape: Sequence[int | None], given: Sequence[int]) -> tuple[int, ...]:
    return tuple(other if size is None else size for size, other in zip(shape, given, strict=True))
