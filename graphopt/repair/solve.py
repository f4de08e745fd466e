"""Repairing one layer, or one normalization, of a compressed model beside its original."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from graphopt.ir import Graph, Node
from graphopt.quality import Data, predict, session
from graphopt.repair.frontier import Walk
from graphopt.repair.layers import Layer, set_constant
from graphopt.repair.match import Goal
from graphopt.repair.moments import picks
from graphopt.repair.normal import HELD_OUT, Change, Sums, solve
from graphopt.repair.records import Indices

Array = npt.NDArray[Any]
Walks = tuple[Walk, Walk]  # over the compressed model and over the original

_LEAST_VARIANCE = 1e-12
_LARGEST_FACTOR = 1e3  # by which a variance may change


def solution(graph: Graph, layers: Sequence[tuple[Layer, Goal]], walks: Walks, seed: int) -> Change | None:
    """The best change of layers that share a weight (mostly one layer); None where leaving it as it is is best."""
    first = layers[0][0]
    intercept = len(layers) == 1 and first.bias(graph) is not None
    fit, held = Sums(*first.sizes), Sums(*first.sizes)
    rng = np.random.default_rng(seed)
    runs = walks[0].runs * len(layers)
    for layer, goal in layers:
        mine = walks[0].values([layer.source, layer.node.output()], layer.node)
        assert goal.value.producer is not None
        theirs = walks[1].values([goal.value], goal.value.producer)
        seen = 0
        for now, then in zip(mine, theirs, strict=True):
            x, y = now[layer.source], now[layer.node.output()]
            missing = goal.of(then[goal.value]) - y
            count = layer.count(x)
            per_sample = count // len(x) if count % len(x) == 0 and count >= len(x) else 1
            for pick in picks(layer, x, runs, rng):
                rows, wanted = layer.rows(x, pick), layer.outputs(missing, pick)
                aside = (seen + pick // per_sample) % HELD_OUT == HELD_OUT - 1
                fit.add(rows[~aside], wanted[~aside])
                held.add(rows[aside], wanted[aside])
            seen += count // per_sample
    return solve(fit, held, intercept) if held.count and fit.count else None


def restate(graph: Graph, node: Node, before: Node, channels: Indices | None, walks: Walks) -> None:
    """Move the statistics of a BatchNormalization as much as those of its input moved since the original, on the same data.

    What the statistics stood for that the data does not hold, such as the whole training set, stays in them.
    """
    value, old = node.input(0), before.input(0)
    assert value is not None
    assert old is not None
    now, then = _Statistics(), _Statistics()
    for found in walks[0].values([value], node):
        now.add(found[value])
    for found in walks[1].values([old], before):
        then.add(found[old] if channels is None else np.take(found[old], channels, axis=1))
    mean, variance = graph.constant(node.input(3)), graph.constant(node.input(4))
    assert mean is not None
    assert variance is not None
    factor = now.variance.clip(min=_LEAST_VARIANCE) / then.variance.clip(min=_LEAST_VARIANCE)
    _set(graph, node, 3, mean + (now.mean - then.mean))
    _set(graph, node, 4, variance * factor.clip(1 / _LARGEST_FACTOR, _LARGEST_FACTOR))


def output_errors(original: Graph, graphs: Sequence[Graph], data: Data) -> list[float]:
    """How far each graph's floating-point outputs are from the original's: squared error over squared size, the mean over outputs."""
    wanted = predict(session(original), data)
    errors = []
    for graph in graphs:
        found = predict(session(graph), data)
        each = [
            float(np.square(found[name].astype(np.float64) - array).sum() / max(np.square(array, dtype=np.float64).sum(), 1e-30))
            for name, array in wanted.items()
            if array.dtype.kind == "f" and found[name].shape == array.shape
        ]
        errors.append(float(np.mean(each)) if each else 0.0)
    return errors


class _Statistics:
    """Mean and variance of each channel (axis 1) over everything else."""

    def __init__(self) -> None:
        self._first: Array = np.zeros(1)
        self._second: Array = np.zeros(1)
        self._count = 0

    def add(self, x: Array) -> None:
        axes = tuple(axis for axis in range(x.ndim) if axis != 1)
        self._first = self._first + x.sum(axis=axes, dtype=np.float64)
        self._second = self._second + np.square(x, dtype=np.float64).sum(axis=axes)
        self._count += x.size // x.shape[1]

    @property
    def mean(self) -> Array:
        return np.asarray(self._first / self._count)

    @property
    def variance(self) -> Array:
        return np.asarray((self._second / self._count - self.mean**2).clip(min=0))


def _set(graph: Graph, node: Node, slot: int, contents: Array) -> None:
    value = node.input(slot)
    old = graph.constant(value)
    assert value is not None
    assert old is not None
    set_constant(graph, [(node, slot)], contents.astype(old.dtype), value.name)
