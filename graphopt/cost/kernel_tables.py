"""Sums of kernels' figures over choices of widths, as table entries added up."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from graphopt.cost.kernel import Signature
from graphopt.cost.observed import Conditional
from graphopt.cost.widths import Size
from graphopt.errors import UnsupportedError

Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.intp]

_MOST_ENTRIES = 2**19  # of one table
_MOST_JOINED = 2**12  # of the table of a Concat; beyond, it goes by the size of what is joined
_MOST_VALUES = 2**14  # of one size


@dataclass(frozen=True)
class _Axis:
    """What a table goes by: the `level` or the `class` of a group, or a `size` that depends on several groups, by number."""

    kind: str
    number: int


class KernelTables:
    """`figures` gives figures of kernels that add up, shape (figures, kernels). Groups have `levels` (widths) and, of each level, `classes`.

    Raises UnsupportedError where a kernel depends on more widths than a table can hold.
    """

    def __init__(
        self,
        kernels: Sequence[Conditional],
        figures: Callable[[Sequence[Signature]], Floats],
        sizes: Sequence[Size],
        levels: Sequence[Sequence[int]],
        classes: Sequence[Sequence[int]],
    ) -> None:
        self._sizes, self._levels, self._classes = sizes, levels, classes
        self._values: dict[int, list[int]] = {}
        kernels = [self._simplified(kernel) for kernel in kernels]
        axes = [self._axes(kernel) for kernel in kernels]
        shapes = [tuple(self._places(axis) for axis in each) for each in axes]
        signatures: dict[Signature, int] = {}
        where: list[npt.NDArray[np.int64]] = []  # for each kernel the number of the signature of every entry, -1: not there
        for kernel, each, shape in zip(kernels, axes, shapes, strict=True):
            if math.prod(shape) > _MOST_ENTRIES:
                raise UnsupportedError(
                    f"a kernel {kernel.template.skeleton.operator} depends on {len(each)} channel counts with {math.prod(shape):,} combinations; "
                    "offer fewer widths"
                )
            numbers = [-1 if sig is None else signatures.setdefault(sig, len(signatures)) for sig in self._entries(kernel, each, shape)]
            where.append(np.array(numbers, np.int64).reshape(shape))
        found = figures(list(signatures))
        found = np.concatenate([found, np.zeros((len(found), 1))], axis=1)  # what is not there costs nothing
        merged: dict[tuple[_Axis, ...], Floats] = {}
        for each, entries in zip(axes, where, strict=True):
            merged[each] = merged.get(each, 0.0) + found[:, entries]
        self.entries = sum(math.prod(shape) for shape in shapes)
        self._constant = merged.pop((), np.zeros(len(found)))
        self._tables = _absorbed(merged)
        self._lookups = {axis: self._lookup(axis) for each in self._tables for axis in each}
        self._flat = [
            (tuple(zip(each, _strides(entries.shape[1:]), strict=True)), [_flat(figure) for figure in entries])
            for each, entries in self._tables.items()
        ]

    def sums(self, columns: Places) -> Floats:
        """The figures, shape (figures, choices), of choices given as `columns`, the levels of shape (groups, choices)."""
        places = {axis: lookup(columns) for axis, lookup in self._lookups.items()}
        sums = np.repeat(self._constant[:, None], columns.shape[1], axis=1)
        for strided, figures in self._flat:
            last, _ = strided[-1]
            at = places[last]
            for axis, stride in strided[:-1]:
                at = at + places[axis] * stride
            for number, figure in enumerate(figures):
                if isinstance(figure, float):
                    sums[number] += figure
                else:
                    sums[number] += figure.take(at)
        return sums

    # ---- axes

    def _axes(self, kernel: Conditional) -> tuple[_Axis, ...]:
        varied = {number: self._varied(self._sizes[number]) for number in kernel.template.sizes}
        leveled = {groups[0] for groups in varied.values() if len(groups) == 1}
        axes = {_Axis("level", group) for group in leveled}
        axes |= {_Axis("size", number) for number, groups in varied.items() if not leveled.issuperset(groups)}
        axes |= {_Axis("class", group) for group in kernel.deciders if group not in leveled}
        return tuple(sorted(axes, key=lambda axis: (axis.kind, axis.number)))

    def _varied(self, size: Size) -> list[int]:
        """The groups with several levels that a size depends on."""
        return [group for group in _groups(size) if len(self._levels[group]) > 1]

    def _simplified(self, kernel: Conditional) -> Conditional:
        """The kernel, or where it joins so many inputs that all their sizes are too many for a table, one that goes by their sum."""
        if math.prod(self._places(axis) for axis in self._axes(kernel)) <= _MOST_JOINED:
            return kernel
        by_total = kernel.template.by_total()
        return kernel if by_total is None else replace(kernel, template=by_total)

    def _places(self, axis: _Axis) -> int:
        if axis.kind == "level":
            return len(self._levels[axis.number])
        if axis.kind == "class":
            return max(self._classes[axis.number]) + 1
        if axis.number not in self._values:
            self._values[axis.number] = self._possible(self._sizes[axis.number])
        return len(self._values[axis.number])

    def _possible(self, size: Size) -> list[int]:
        """All values of a size, and perhaps others; ascending."""
        values = {0.0}
        for term in size.terms:
            products = {term.share}
            for group in term.groups:
                products = {product * width for product in products for width in self._levels[group]}
            values = {value + product for value in values for product in products}
            if len(values) > _MOST_VALUES:
                raise UnsupportedError(
                    f"an axis that {len(_groups(size))} channel groups share can have too many sizes; offer fewer widths"
                )
        return sorted({size.fixed + round(value) for value in values})

    def _lookup(self, axis: _Axis) -> Callable[[Places], Places]:
        if axis.kind == "level":
            return lambda columns: columns[axis.number]
        if axis.kind == "class":
            classes = np.array(self._classes[axis.number], np.intp)
            return lambda columns: classes[columns[axis.number]]
        size, values = self._sizes[axis.number], self._values[axis.number]
        place = np.zeros(values[-1] + 1, np.intp)
        place[values] = np.arange(len(values))
        widths = {group: np.array(self._levels[group], np.int64) for group in _groups(size)}
        return lambda columns: place[size.at({group: each[columns[group]] for group, each in widths.items()})]

    def _entries(self, kernel: Conditional, axes: tuple[_Axis, ...], shape: tuple[int, ...]) -> Iterator[Signature | None]:
        """The signature for each place of a table, None where the kernel is not there."""
        level_of = {axis.number: place for place, axis in enumerate(axes) if axis.kind == "level"}
        class_of = {axis.number: place for place, axis in enumerate(axes) if axis.kind == "class"}
        size_of = {axis.number: place for place, axis in enumerate(axes) if axis.kind == "size"}
        by_level = [number for number in kernel.template.sizes if number not in size_of]
        widths = {group: self._levels[group][0] for number in by_level for group in _groups(self._sizes[number])}
        for places in itertools.product(*(range(size) for size in shape)):
            classes = tuple(
                places[class_of[group]] if group in class_of else self._classes[group][places[level_of[group]]] for group in kernel.deciders
            )
            if classes not in kernel.there:
                yield None
                continue
            widths |= {group: self._levels[group][places[at]] for group, at in level_of.items()}
            sizes = {number: self._sizes[number].at(widths) for number in by_level}
            sizes |= {number: self._values[number][places[at]] for number, at in size_of.items()}
            yield kernel.template.at(sizes)


def _groups(size: Size) -> list[int]:
    return sorted({group for term in size.terms for group in term.groups})


def _absorbed(tables: dict[tuple[_Axis, ...], Floats]) -> dict[tuple[_Axis, ...], Floats]:
    """The same sums in fewer tables: one whose axes another has too is added to that."""
    left: dict[tuple[_Axis, ...], Floats] = {}
    for axes in sorted(tables, key=len, reverse=True):
        host = next((other for other in left if set(axes) <= set(other)), None)
        if host is None:
            left[axes] = tables[axes].copy()
            continue
        place = {axis: number for number, axis in enumerate(axes)}
        entries = np.moveaxis(tables[axes], range(1, len(axes) + 1), [1 + place[axis] for axis in axes])
        shape = [entries.shape[1 + place[axis]] if axis in place else 1 for axis in host]
        left[host] += entries.reshape(-1, *shape)
    return left


def _strides(shape: tuple[int, ...]) -> list[int]:
    return [math.prod(shape[place + 1 :]) for place in range(len(shape))]


def _flat(figure: Floats) -> Floats | float:
    """The entries in a row, or one number where they are all the same."""
    return float(figure.flat[0]) if (figure == figure.flat[0]).all() else np.ascontiguousarray(figure).reshape(-1)
