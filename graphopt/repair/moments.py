"""Second moments of what layers multiply with their weights, summed up run by run so that memory does not grow with the data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from graphopt.ir import Graph, Value
from graphopt.quality import Data
from graphopt.repair.layers import Layer
from graphopt.repair.stream import Stream

Array = npt.NDArray[Any]

# Rows per input number of a layer that are looked at, spread evenly over the runs and drawn at random in each. More say no more: the
# moments are sums of products of `ins` numbers, and windows that overlap are alike.
ROWS_PER_INPUT = 64
FEWEST_ROWS = 4096
_MANY_ROWS, _MANY_NUMBERS = 2**16, 2**24  # what small layers get: they cost little, and are solved better for it

_MOMENT_BYTES = 2**28  # of layers whose moments are summed up in one go over the data
_EXACT_INPUTS = 512  # with up to so many inputs, products are computed in double precision
_ROWS_AT_ONCE = 2**22  # numbers in an array of rows


@dataclass(frozen=True)
class Moments:
    """Of the rows of a layer: `second` [groups, ins, ins] is the mean of row x rowᵀ, `mean` [groups, ins] that of the rows."""

    second: Array
    mean: Array

    @property
    def centered(self) -> Array:
        """The covariances."""
        return np.asarray(self.second - self.mean[:, :, np.newaxis] * self.mean[:, np.newaxis, :])


def input_moments(graph: Graph, layers: Mapping[Value, Sequence[Layer]], data: Data, seed: int) -> Iterator[tuple[Value, Moments]]:
    """The moments of the rows of each family of layers (which share a weight, their key), a family at a time."""
    families = list(layers.items())
    stream = Stream(graph, data)
    runs = sum(1 for _ in data.runs())
    while families:
        taken, size = 0, 0
        while taken < len(families) and (taken == 0 or size + _bytes(families[taken][1][0]) <= _MOMENT_BYTES):
            size += _bytes(families[taken][1][0])
            taken += 1
        batch, families = families[:taken], families[taken:]
        sums = {weight: _Sums(family[0]) for weight, family in batch}
        rng = np.random.default_rng(seed)
        sources = list(dict.fromkeys(layer.source for _, family in batch for layer in family))
        for found in stream.values(sources):
            for weight, family in batch:
                for layer in family:
                    for rows in sampled_rows(layer, found[layer.source], runs * len(family), rng):
                        sums[weight].add(rows)
        for weight, _ in batch:
            yield weight, sums.pop(weight).moments()


def sampled_rows(layer: Layer, x: Array, runs: int, rng: np.random.Generator) -> Iterator[Array]:
    """The rows of an input, or as many of them as its share of the most that are looked at, in pieces."""
    for pick in picks(layer, x, runs, rng):
        yield layer.rows(x, pick)


def picks(layer: Layer, x: Array, runs: int, rng: np.random.Generator) -> Iterator[npt.NDArray[np.int64]]:
    """The numbers of those rows, in pieces of moderate size."""
    groups, _, ins = layer.sizes
    count = layer.count(x)
    rows = max(ROWS_PER_INPUT * ins, FEWEST_ROWS, min(_MANY_ROWS, _MANY_NUMBERS // (groups * ins)))
    most = -(-rows // max(runs, 1))
    chosen = np.arange(count) if count <= most else np.sort(rng.choice(count, most, replace=False))
    step = max(_ROWS_AT_ONCE // (groups * ins), 1)
    for start in range(0, len(chosen), step):
        yield chosen[start : start + step]


def precise(rows: Array) -> Array:
    """The rows in the precision in which their products are to be computed."""
    return rows.astype(np.float64 if rows.shape[-1] <= _EXACT_INPUTS else np.float32)


class _Sums:
    def __init__(self, layer: Layer) -> None:
        groups, _, ins = layer.sizes
        self.second, self.first, self.count = np.zeros((groups, ins, ins)), np.zeros((groups, ins)), 0

    def add(self, rows: Array) -> None:
        by_group = precise(rows).transpose(1, 0, 2)
        self.second += by_group.swapaxes(1, 2) @ by_group
        self.first += by_group.sum(axis=1, dtype=np.float64)
        self.count += len(rows)

    def moments(self) -> Moments:
        count = max(self.count, 1)
        self.second /= count
        return Moments(self.second, self.first / count)


def _bytes(layer: Layer) -> int:
    groups, _, ins = layer.sizes
    return int(8 * groups * ins * ins)
