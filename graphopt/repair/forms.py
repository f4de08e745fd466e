"""The forms into which a layer can be factorized, and what each costs.

Each form is a sequence of stages, every one a convolution (or product) with a kernel of its own. Ranks count per group.
"""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from graphopt.repair.alternating import alternated
from graphopt.repair.lowrank import Split, by_place, expand, marginal, refit

Array = npt.NDArray[Any]
Ranks = tuple[int, ...]


@dataclass(frozen=True)
class Kernel:
    """A layer's weight as [groups, outs, channels, *kernel] (products have no kernel axes), and second moments of its rows or None.

    `scale`: for each kernel axis, how many places the input has there per place of the output.
    """

    weight: Array
    second: Array | None
    scale: tuple[float, ...] = ()

    @property
    def matrix(self) -> Array:
        return self.weight.reshape(*self.weight.shape[:2], -1)

    @property
    def macs(self) -> float:
        """Multiply-accumulates for each place of the output."""
        return float(self.weight.size)


@dataclass(frozen=True)
class Stage:
    """One of the layers that stand for the original: weight [groups, outs, channels, *kernel], and the kernel axes that it moves along."""

    weight: Array
    axes: frozenset[int]


@dataclass(frozen=True)
class Factors:
    """The stages in order, and the matrix that they amount to."""

    stages: tuple[Stage, ...]
    matrix: Array


class Form(ABC):
    """One way to factorize a kernel."""

    name: str

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel

    @property
    @abstractmethod
    def full(self) -> Ranks:
        """The ranks at which it is exact."""

    @abstractmethod
    def macs(self, ranks: Ranks) -> float:
        """Multiply-accumulates for each place of the output."""

    @abstractmethod
    def within(self, macs: float, align: int) -> Ranks | None:
        """The best ranks of at most so many multiply-accumulates, multiples of `align` where they reach it; None if there are none."""

    @abstractmethod
    def keeping(self, energy: float, align: int) -> Ranks:
        """The smallest ranks that keep this share of the energy."""

    @abstractmethod
    def estimate(self, ranks: Ranks) -> float:
        """About the share of the energy that is lost: exact where one singular value decomposition is all there is to it."""

    @abstractmethod
    def factors(self, ranks: Ranks, in_turns: bool = False) -> Factors:
        """The stages of these ranks; with `in_turns` improved by alternating least squares, where they are not the best already."""

    def at(self, rank: int) -> Ranks | None:
        """The ranks that a single number asks for; None where it is too large."""
        return None if rank > max(self.full) else tuple(min(rank, full) for full in self.full)


class _OneRank(Form):
    split: Split

    @property
    def full(self) -> Ranks:
        return (self.split.full,)

    def within(self, macs: float, align: int) -> Ranks | None:
        rank = min(math.floor(macs / self.macs((1,)) + 1e-9), self.split.full)
        rank = rank // align * align if rank >= align else rank
        return (rank,) if rank else None

    def keeping(self, energy: float, align: int) -> Ranks:
        return (_smallest(self.split, energy, align),)

    def estimate(self, ranks: Ranks) -> float:
        return _lost_share(self.split, ranks[0])


class Channel(_OneRank):
    """The whole kernel to `rank` channels, then 1 x 1 to all of them; for a product, two products."""

    name = "channel"

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self.split = Split(kernel.matrix, kernel.second)

    def macs(self, ranks: Ranks) -> float:
        groups, outs = self.kernel.weight.shape[:2]
        return float(groups * ranks[0] * (math.prod(self.kernel.weight.shape[2:]) + outs))

    def factors(self, ranks: Ranks, in_turns: bool = False) -> Factors:
        weight = self.kernel.weight
        last, first = self.split.factors(ranks[0])
        axes = range(weight.ndim - 3)
        stages = (
            Stage(first.reshape(len(weight), ranks[0], *weight.shape[2:]), frozenset(axes)),
            Stage(last.reshape(*last.shape, *[1] * len(axes)), frozenset()),
        )
        return Factors(stages, last @ first)


class Spatial(_OneRank):
    """The kernel along some axes to `rank` channels, then along the other axes to all of them.

    Jaderberg et al., Speeding up Convolutional Neural Networks with Low Rank Expansions, 2014. With data, places along the other axes are
    taken as unrelated to find the first stage, and the second is then the best for it.
    """

    name = "spatial"

    def __init__(self, kernel: Kernel, first_axes: tuple[int, ...]) -> None:
        super().__init__(kernel)
        axes = range(kernel.weight.ndim - 3)
        self._first, self._last = first_axes, tuple(axis for axis in axes if axis not in first_axes)
        # From [groups, outs, channels, *axes] to [groups, outs, channels, *first axes, *last axes].
        self._order = (0, 1, 2, *(3 + axis for axis in (*self._first, *self._last)))
        weight = kernel.weight.transpose(self._order)
        self._groups, self._outs, self._channels = weight.shape[:3]
        self._near = weight.shape[3 : 3 + len(first_axes)]
        self._far = weight.shape[3 + len(first_axes) :]
        self._kept = self._channels * math.prod(self._near)
        self._matrix = weight.reshape(self._groups, self._outs, -1)
        self._second = None if kernel.second is None else _reordered(kernel.second, kernel.weight.shape[2:], self._order)
        tall = self._matrix.reshape(self._groups, self._outs, self._kept, -1).swapaxes(2, 3).reshape(self._groups, -1, self._kept)
        self.split = Split(tall, marginal(self._second, self._kept))

    def macs(self, ranks: Ranks) -> float:
        wider = math.prod(self.kernel.scale[axis] for axis in self._last)
        return float(self._groups * ranks[0] * (self._kept * wider + self._outs * math.prod(self._far)))

    def factors(self, ranks: Ranks, in_turns: bool = False) -> Factors:
        rank, axes = ranks[0], self.kernel.weight.ndim - 3
        tall, first = self.split.factors(rank)
        last = self._solved(first, by_place(tall, self._outs))
        if in_turns and self._second is not None:
            first, last = alternated(self._matrix, self._second, first, last, self._solved)
        near = [self._near[self._first.index(axis)] if axis in self._first else 1 for axis in range(axes)]
        far = [self._far[self._last.index(axis)] if axis in self._last else 1 for axis in range(axes)]
        stages = (
            Stage(first.reshape(self._groups, rank, self._channels, *near), frozenset(self._first)),
            Stage(last.reshape(self._groups, self._outs, rank, *far), frozenset(self._last)),
        )
        whole = expand(last, first).reshape(self._groups, self._outs, self._channels, *self._near, *self._far)
        whole = whole.transpose(tuple(np.argsort(self._order)))
        return Factors(stages, whole.reshape(self._groups, self._outs, -1))

    def _solved(self, first: Array, before: Array) -> Array:
        """The last stage that is best for a first one."""
        return refit(self._matrix, self._second, first, before)[0]


class Tucker(Form):
    """1 x 1 to fewer channels, the kernel between these, 1 x 1 to all channels.

    Kim et al., Compression of Deep Convolutional Neural Networks for Fast and Low Power Mobile Applications, 2016. The input channels are
    found first, as for `Spatial`, and the other two stages are the best for them.
    """

    name = "tucker"

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        groups, outs, channels = kernel.weight.shape[:3]
        self._places = math.prod(kernel.weight.shape[3:])
        tall = kernel.weight.reshape(groups, outs, channels, -1).swapaxes(2, 3).reshape(groups, -1, channels)
        self._input = Split(tall, marginal(kernel.second, channels))
        self._output = Split(kernel.matrix, kernel.second)

    @property
    def full(self) -> Ranks:
        return self._input.full, self._output.full

    def macs(self, ranks: Ranks) -> float:
        groups, outs, channels = self.kernel.weight.shape[:3]
        few, many = ranks
        return float(groups * (few * channels * math.prod(self.kernel.scale) + few * many * self._places + many * outs))

    def within(self, macs: float, align: int) -> Ranks | None:
        base, full = self.macs((1, 0)), self.full
        best: tuple[float, Ranks] | None = None
        for few in _steps(full[0], align):
            rest = self.macs((few, 1)) - base * few
            many = min(math.floor((macs - base * few) / rest + 1e-9), full[1])
            many = many // align * align if many >= align else many
            if many < 1:
                break
            lost = self._input.lost(few) + self._output.lost(many)
            if best is None or lost < best[0]:
                best = lost, (few, many)
        return None if best is None else best[1]

    def keeping(self, energy: float, align: int) -> Ranks:
        half = 1 - (1 - energy) / 2  # the two losses add up to at most their sum
        return _smallest(self._input, half, align), _smallest(self._output, half, align)

    def estimate(self, ranks: Ranks) -> float:
        return _lost_share(self._input, ranks[0]) + _lost_share(self._output, ranks[1])

    def factors(self, ranks: Ranks, in_turns: bool = False) -> Factors:
        weight = self.kernel.weight
        groups, outs, channels, *kernel = weight.shape
        tall, first = self._input.factors(ranks[0])
        last, core = self._solved(first, by_place(tall, outs), ranks[1])
        if in_turns and self.kernel.second is not None:
            matrix, second = self.kernel.matrix, self.kernel.second
            first, top = alternated(matrix, second, first, last @ core, lambda first, top: np.matmul(*self._solved(first, top, ranks[1])))
            last, core = Split(top, None).factors(ranks[1])  # which is of that rank
        ones = [1] * len(kernel)
        stages = (
            Stage(first.reshape(groups, ranks[0], channels, *ones), frozenset()),
            Stage(core.reshape(groups, ranks[1], ranks[0], *kernel), frozenset(range(len(kernel)))),
            Stage(last.reshape(groups, outs, ranks[1], *ones), frozenset()),
        )
        return Factors(stages, expand(last @ core, first))

    def _solved(self, first: Array, before: Array, rank: int) -> tuple[Array, Array]:
        """The other two stages that are best for a first one; `before` is the matrix that they amount to, about."""
        return Split(*refit(self.kernel.matrix, self.kernel.second, first, before)).factors(rank)


def forms(kernel: Kernel, method: str) -> Iterator[Form]:
    """The forms of that `method` that the kernel can take: "auto" for all, "svd" (products and 1 x 1), "channel", "spatial", "tucker"."""
    _, outs, channels, *sizes = kernel.weight.shape
    if math.prod(sizes) == 1:
        if min(outs, channels) > 1:
            yield Channel(kernel)
        return
    if method in ("auto", "channel") and outs > 1:
        yield Channel(kernel)
    if method in ("auto", "spatial"):
        wide = [axis for axis, size in enumerate(sizes) if size > 1]
        for count in range(1, len(wide)):
            yield from (Spatial(kernel, axes) for axes in itertools.combinations(wide, count))
    if method in ("auto", "tucker") and min(outs, channels) > 1:
        yield Tucker(kernel)


def _smallest(split: Split, energy: float, align: int) -> int:
    total = split.lost(0)
    kept = next((rank for rank in range(1, split.full) if split.lost(rank) <= (1 - energy) * total), split.full)
    return min(-(-kept // align) * align, split.full)


def _lost_share(split: Split, rank: int) -> float:
    whole = split.lost(0)
    return split.lost(rank) / whole if whole > 0 else 0.0


def _steps(full: int, align: int) -> Iterator[int]:
    return iter(range(align, full + 1, align) if full >= align else range(1, full + 1))


def _reordered(second: Array, sizes: tuple[int, ...], order: tuple[int, ...]) -> Array:
    """Second moments of rows [channels, *axes] with the axes in another order; `order` is that of a weight with two axes more in front."""
    groups, count = len(second), len(sizes)
    whole = second.reshape(groups, *sizes, *sizes)
    places = [axis - 1 for axis in order[2:]]
    return whole.transpose(0, *places, *(place + count for place in places)).reshape(second.shape)
