"""Repairing one layer, or one normalization, of a compressed model beside its original."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from graphopt.ir import Graph, Node
from graphopt.repair.frontier import Walk
from graphopt.repair.layers import Layer, set_constant
from graphopt.repair.match import Goal
from graphopt.repair.moments import picks
from graphopt.repair.normal import HELD_OUT, Change, Sums, Within, solve
from graphopt.repair.records import Indices
from graphopt.repair.stream import Store

Array = npt.NDArray[Any]
Walks = tuple[Walk, Walk]  # over the compressed model and over the original

_TURNS = 4  # solutions that are tried for a rectified goal; the first takes negative numbers as they were
_AT_ONCE = 2**21  # numbers in the rows that are summed up at a time
_LEAST_VARIANCE = 1e-12
_LARGEST_FACTOR = 1e3  # by which a variance may change


def solution(
    graph: Graph,
    layers: Sequence[tuple[Layer, Goal]],
    walks: Walks,
    seed: int,
    start: Node | None = None,
    within: Within | None = None,
) -> Change | None:
    """The best change of layers that share a weight (mostly one layer); None where leaving it as it is is best.

    Nodes from `start` on (the first of the layers) may be edited later. `within` keeps the change to what the layer can take.

    Where only what is above zero is read, anything below will do in the place of what is below in the original. Such goals are met in turns:
    there the last solution's own outputs become what is wanted, and the rest is solved anew (as the auxiliary outputs of Zhang et al.,
    Accelerating Very Deep Convolutional Networks for Classification and Detection, 2015), while the samples held out gain by it.
    """
    first = layers[0][0]
    intercept = len(layers) == 1 and first.bias(graph) is not None
    rectified = any(goal.rectified for _, goal in layers)
    rows = _rows(layers, walks, seed, start)
    if not rectified:
        return _solved(rows, first, intercept, 1, within)
    with _Again(rows) as again:
        return _solved(again, first, intercept, _TURNS, within)


def _solved(rows: Iterable[_Rows], first: Layer, intercept: bool, turns: int, within: Within | None) -> Change | None:
    """The solution of one turn, or the best of several; the rows are gone through once, or once more than there are turns."""
    fit, held = Sums(*first.sizes), Sums(*first.sizes)
    least = np.inf
    best: Change | None = None
    change: Change | None = None
    for turn in range(turns + 1):
        error = 0.0
        for some in rows:
            total = some.outputs + some.beside
            if change is not None:
                total = total + some.times(change.matrix) + change.bias
            error += some.error(total)
            missing = (some.aim(total) if turn else some.wanted) - some.beside - some.outputs
            fit.add(some.inputs[~some.aside], missing[~some.aside])
            held.add(some.inputs[some.aside], missing[some.aside])
        if not fit.count or not held.count or error >= least:
            break
        least, best = error, change
        change = solve(fit, held, intercept, like=change, within=within) if turn < turns else None
        if change is None or turns == 1:
            return change or best
        fit.retarget()
        held.retarget()
    return best


@dataclass(frozen=True)
class _Rows:
    """Some rows of a layer [n, groups, ins], its outputs, what is added to them, and what the sum is to be [n, groups, outs]."""

    inputs: Array
    outputs: Array
    beside: Array
    wanted: Array
    aside: npt.NDArray[np.bool_]  # which are held out
    rectified: bool

    @property
    def size(self) -> int:
        return self.inputs.size + self.outputs.size + self.beside.size + self.wanted.size

    def times(self, matrix: Array) -> Array:
        """The inputs multiplied with a matrix [groups, outs, ins], in their own precision."""
        return np.asarray(np.einsum("ngi,goi->ngo", self.inputs, matrix.astype(np.result_type(self.inputs, np.float32)), optimize=True))

    def aim(self, total: Array) -> Array:
        """What is wanted where the sum is `total`, and what it is below zero may be anything."""
        return np.where(self.wanted > 0, self.wanted, np.minimum(total, 0)) if self.rectified else self.wanted

    def error(self, total: Array) -> float:
        """The squared error of the rows held out, of what is read of them."""
        found, wanted = total[self.aside], self.wanted[self.aside]
        if self.rectified:
            found, wanted = found.clip(min=0), wanted.clip(min=0)
        return float(np.square(found - wanted, dtype=np.float64).sum())


def _rows(layers: Sequence[tuple[Layer, Goal]], walks: Walks, seed: int, start: Node | None) -> Iterator[_Rows]:
    """The same rows in each call with the same seed."""
    rng = np.random.default_rng(seed)
    count_of_runs = walks[0].runs * len(layers)
    for layer, goal in layers:
        yield from _joined(_rows_of(layer, goal, walks, count_of_runs, rng, start))


def _rows_of(layer: Layer, goal: Goal, walks: Walks, count_of_runs: int, rng: np.random.Generator, start: Node | None) -> Iterator[_Rows]:
    output = layer.node.output()
    mine = walks[0].values([layer.source, output, *([] if goal.beside is None else [goal.beside])], start or layer.node)
    theirs = walks[1].values([goal.value], goal.at)
    seen = 0
    for now, then in zip(mine, theirs, strict=True):
        x, wanted = now[layer.source], goal.of(then[goal.value])
        count = layer.count(x)
        per_sample = count // len(x) if count % len(x) == 0 and count >= len(x) else 1
        for pick in picks(layer, x, count_of_runs, rng):
            aside = (seen + pick // per_sample) % HELD_OUT == HELD_OUT - 1
            beside = np.zeros(1) if goal.beside is None else layer.outputs(now[goal.beside], pick)
            yield _Rows(layer.rows(x, pick), layer.outputs(now[output], pick), beside, layer.outputs(wanted, pick), aside, goal.rectified)
        seen += count // per_sample


def _joined(parts: Iterator[_Rows]) -> Iterator[_Rows]:
    """The rows of one layer in larger pieces: sums are large matrices, to which nothing small is to be added."""
    waiting: list[_Rows] = []
    numbers = 0
    for part in parts:
        waiting.append(part)
        numbers += part.size
        if numbers >= _AT_ONCE:
            yield _concatenated(waiting)
            waiting.clear()
            numbers = 0
    if waiting:
        yield _concatenated(waiting)


def _concatenated(parts: Sequence[_Rows]) -> _Rows:
    inputs, outputs, wanted, aside = (
        np.concatenate(each) for each in zip(*((part.inputs, part.outputs, part.wanted, part.aside) for part in parts), strict=True)
    )
    beside = np.concatenate([part.beside for part in parts]) if parts[0].beside.ndim > 1 else parts[0].beside
    return _Rows(inputs, outputs, beside, wanted, aside, parts[0].rectified)


class _Again:
    """Rows that are gone through several times: the first time as they are computed, then as they are in a temporary file."""

    def __init__(self, rows: Iterator[_Rows]) -> None:
        self._rows, self._store, self._complete = rows, Store[str](), False

    def __iter__(self) -> Iterator[_Rows]:
        if self._complete:
            for arrays in self._store.runs():
                rectified = bool(arrays.pop("rectified"))
                yield _Rows(**arrays, rectified=rectified)
            return
        for some in self._rows:
            self._store.append({name: np.asarray(array) for name, array in vars(some).items()})
            yield some
        self._complete = True

    def __enter__(self) -> _Again:
        return self

    def __exit__(self, *_: object) -> None:
        self._store.close()


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
