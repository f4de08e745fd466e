"""Layers that stand for one of the original's together, as `factorize` makes them, solved as the one layer that they amount to.

What is best for each of them with the others as they are is not the best that they can do together. So least squares are solved for the
matrix of all, and that is factorized again to the same ranks, for the inputs that the compressed model has: for two products this is
reduced-rank regression (Izenman, 1975; for convolutions Zhang et al., Accelerating Very Deep Convolutional Networks for Classification and
Detection, 2015), and factors along other axes are then improved by alternating least squares.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from graphopt.ir import Graph, Value
from graphopt.repair.forms import Channel, Factors, Form, Kernel, Ranks, Spatial, Tucker
from graphopt.repair.layers import ConvLayer, GemmLayer, Layer, MatMulLayer, NoLayer, Pick, layer_of
from graphopt.repair.match import Match
from graphopt.repair.windows import Windows, windows_in_turn

Array = npt.NDArray[Any]

_MOST = 3  # stages that any form has


@dataclass(frozen=True)
class Chain:
    """The stages in order, and the layer that they amount to."""

    stages: tuple[Layer, ...]
    whole: Whole

    @property
    def ranks(self) -> Ranks:
        return tuple(stage.sizes[1] for stage in self.stages[:-1])

    def factors(self, matrix: Array, second: Array | None = None, in_turns: bool = False) -> Factors:
        """The factors of these ranks of a matrix [groups, outs, ins], best for inputs with the second moments [groups, ins, ins]."""
        return self.form(matrix, second).factors(self.ranks, in_turns)

    def within_reach(self, change: Array, second: Array, final: bool) -> Array:
        """The change of the whole matrix that comes closest to a given one and leaves the ranks as they are; closer if it is `final`."""
        return self.factors(self.whole.matrix + change, second, in_turns=final).matrix - self.whole.matrix

    def form(self, matrix: Array, second: Array | None) -> Form:
        kernel = Kernel(matrix.reshape(*matrix.shape[:2], *self.whole.product.shape[2:]), second)
        if len(self.stages) == _MOST:
            return Tucker(kernel)
        last = _kernel(self.stages[-1])
        return Spatial(kernel, tuple(axis for axis, size in enumerate(last) if size == 1)) if math.prod(last) > 1 else Channel(kernel)


@dataclass(frozen=True)
class Whole(Layer):
    """The layer that a chain amounts to: it reads what the first stage reads, and is the last one's node otherwise."""

    first: Layer
    product: Array  # float64 [groups, outs, channels, *kernel]

    @property
    def source(self) -> Value:
        return self.first.source

    @property
    def sizes(self) -> tuple[int, int, int]:
        groups, outs, *ins = self.product.shape
        return groups, outs, math.prod(ins)

    @property
    def matrix(self) -> Array:
        return self.product.reshape(self.sizes)


@dataclass(frozen=True)
class _Conv(Whole, ConvLayer):
    moves: Windows

    @property
    def windows(self) -> Windows:
        return self.moves


class _Product(Whole):
    def count(self, x: Array) -> int:
        return self.first.count(x)

    def rows(self, x: Array, pick: Pick) -> Array:
        return self.first.rows(x, pick)


class _Gemm(_Product, GemmLayer):
    pass


class _MatMul(_Product, MatMulLayer):
    pass


def chain_from(match: Match, first: Layer) -> Chain | None:
    """The chain that begins with a layer of the compressed model; None where none does that could be solved as one layer."""
    stages = [first]
    while match.value(stages[-1].node.output()) is None:
        after = _next(match.graph, stages[-1])
        if after is None or len(stages) == _MOST:
            return None
        stages.append(after)
    whole = _whole(stages)
    if whole is None:
        return None
    if len(stages) == _MOST and any(size > 1 for stage in (stages[0], stages[-1]) for size in _kernel(stage)):
        return None  # as it would be in no form
    chain = Chain(tuple(stages), whole)
    full = chain.form(whole.matrix, None).full
    return chain if all(rank <= most for rank, most in zip(chain.ranks, full, strict=True)) else None


def _next(graph: Graph, layer: Layer) -> Layer | None:
    """The layer of the same kind that reads this one's output, where nothing else does and nothing is added to it."""
    output = layer.node.output()
    readers = graph.consumers(output)
    if len(readers) != 1 or graph.is_output(output) or _adds(graph, layer):
        return None
    try:
        after = layer_of(graph, readers[0][0])
    except NoLayer:
        return None
    same = type(after) is type(layer) and after.slot == layer.slot and after.source is output and after.groups == layer.groups
    turned = isinstance(after, GemmLayer) and after.node.attributes.get("transA" if after.slot else "transB", 0)
    return after if same and not turned and _channels(after) == layer.sizes[1] else None


def _adds(graph: Graph, layer: Layer) -> bool:
    """Whether the layer adds a bias to its products."""
    given = layer.node.input(2)
    if given is None or not layer.node.attributes.get("beta", 1.0):
        return False
    bias = graph.constant(given)
    return bias is None or bool(bias.any())


def _whole(stages: Sequence[Layer]) -> Whole | None:
    """What the stages amount to; None for a single one, or where two of them move along the same axis."""
    if len(stages) == 1:
        return None
    first, last = stages[0], stages[-1]
    product = _by_group(first)
    for _, stage in pairwise(stages):
        product = np.einsum("gor...,grc...->goc...", _by_group(stage), product, optimize=True)
    match last:
        case ConvLayer():
            moves = windows_in_turn([stage.windows for stage in stages if isinstance(stage, ConvLayer)])
            return None if moves is None else _Conv(last.node, last.slot, last.weight, first, product, moves)
        case GemmLayer():
            return _Gemm(last.node, last.slot, last.weight, first, product)
    return _MatMul(last.node, last.slot, last.weight, first, product)


def _by_group(layer: Layer) -> Array:
    """The matrix as [groups, outs, channels, *kernel]."""
    groups, outs, _ = layer.sizes
    return layer.matrix.reshape(groups, outs, _channels(layer), *_kernel(layer))


def _channels(layer: Layer) -> int:
    return int(layer.weight.shape[1]) if isinstance(layer, ConvLayer) else layer.sizes[2]


def _kernel(layer: Layer) -> tuple[int, ...]:
    return layer.weight.shape[2:] if isinstance(layer, ConvLayer) else ()
