"""Channel groups: families of interchangeable units, with everything that must be cut when one of them goes."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from graphopt.channels.labels import Label
from graphopt.channels.units import Remark, Units, UnitTable
from graphopt.ir import Value, constant

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Member:
    """An axis of an initializer (or Constant node). `indices[u]` are the indices that go with unit u; shape (units, indices per unit)."""

    value: Value
    axis: int
    indices: Indices

    @property
    def name(self) -> str:
        return f"{self.value.name}:{self.axis}"

    @property
    def share(self) -> float:
        """The share of the axis's indices that lie under the group's units."""
        return len(np.unique(self.indices)) / shape_of(self.value)[self.axis]


def shape_of(value: Value) -> tuple[int, ...]:
    """The shape of an initializer, or of the output of a Constant node."""
    if value.tensor is not None:
        return value.tensor.shape
    contents = constant(value)
    return () if contents is None else contents.shape


@dataclass(frozen=True, eq=False)
class ChannelGroup:
    """Units that have the same members. To prune it is to choose which units to keep."""

    name: str
    kind: str  # "channels", "heads", "head dimensions", "hidden units" or "groups"
    units: Units  # (size,), the analysis's numbers for them
    members: tuple[Member, ...]
    frozen: Remark | None  # why no unit may go, if so
    inexact: Remark | None  # where removal changes more than the units' own contribution, if so

    @property
    def size(self) -> int:
        return len(self.units)

    @property
    def prunable(self) -> bool:
        return self.frozen is None and self.size > 1

    @property
    def parameters(self) -> int:
        """Elements of initializers that lie under some unit of the group."""
        left: dict[Value, float] = {}
        for member in self.members:
            left[member.value] = left.get(member.value, 1.0) * (1 - member.share)
        return round(sum((1 - share) * math.prod(shape_of(value)) for value, share in left.items()))


@dataclass
class Ties:
    """The axes of initializers that units take indices of, by label. Axes that live and die together have one label, the same array."""

    axes: list[tuple[Value, int]] = field(default_factory=list)
    labels: dict[int, tuple[Units, list[int]]] = field(default_factory=dict)  # by identity: the label, and which axes have it

    def add(self, value: Value, axis: int, label: Label) -> None:
        """`label` is resolved."""
        if label is not None:
            self.labels.setdefault(id(label), (label, []))[1].append(len(self.axes))
            self.axes.append((value, axis))


def find_groups(table: UnitTable, ties: Ties) -> list[ChannelGroup]:
    """The groups of all units that are tied to some initializer, in the order in which the walk met them."""
    if not ties.axes:
        return []
    # (unit, label, index) triples, one for each index of a label that a unit takes along.
    places = [_places(label) for label, _ in ties.labels.values()]
    units, indices = (np.concatenate(part) for part in zip(*places, strict=True))
    labels = np.repeat(np.arange(len(places)), [len(own) for own, _ in places])
    frozen, inexact, kinds = (_first_remarks(table, kind) for kind in ("frozen", "inexact", "kind"))
    # Sorted by unit, those of a unit lie together, in the order of labels and indices.
    by_unit = np.argsort(units, kind="stable")
    start = np.flatnonzero(np.diff(units[by_unit], prepend=0))
    count = np.diff(start, append=len(units))
    present, first_tie = units[by_unit[start]], by_unit[start]
    # A fingerprint of the labels of each unit, counted: a sum of random words over its ties. Equal labels, equal sum.
    words = np.random.default_rng(0).integers(1, 2**62, size=(len(places), 2), dtype=np.int64)
    prints = [np.add.reduceat(word[labels[by_unit]], start) for word in words.T]
    key = np.stack([*prints, frozen[present] >= 0, inexact[present]], axis=1)
    axes = [own for _, own in ties.labels.values()]
    groups, names, widths = [], dict[str, int](), count.tolist()
    for family in _families(key, first_tie):
        width = widths[family[0]]
        rows = first_tie[family][:, None] if width == 1 else by_unit[start[family][:, None] + np.arange(width)]
        found = tuple(_members(ties, axes, labels[rows[0]], indices[rows]))
        unit = present[family[0]]
        why_frozen, why_inexact, kind = (table.remarks[first[unit]] if first[unit] >= 0 else None for first in (frozen, inexact, kinds))
        name = _unused(found[0].name, names)
        groups.append(ChannelGroup(name, "channels" if kind is None else kind.why, present[family], found, why_frozen, why_inexact))
    return groups


def _places(label: Units) -> tuple[Units, Indices]:
    """The units of a label, row by row, and the indices that they stand at."""
    if np.count_nonzero(label) < label.size:
        found = np.nonzero(label)
        return label[found], found[0]
    return label.reshape(-1), np.repeat(np.arange(len(label)), label.shape[1])


def _families(key: Indices, first_tie: Indices) -> list[Indices]:
    """Places of equal keys, those of a family and the families in the order in which their first ties came."""
    # Units that lie side by side are mostly of one family: runs of equal keys are few.
    starts = np.flatnonzero(np.concatenate([[True], (key[1:] != key[:-1]).any(axis=1)]))
    numbers: dict[tuple[int, ...], int] = {}
    of_run = [numbers.setdefault(tuple(each), len(numbers)) for each in key[starts].tolist()]
    family = np.repeat(of_run, np.diff(starts, append=len(key)))
    places = np.lexsort((first_tie, family))
    bounds = [0, *np.cumsum(np.bincount(family)).tolist()]
    return sorted([places[start:end] for start, end in pairwise(bounds)], key=lambda own: int(first_tie[own[0]]))


def _members(ties: Ties, axes: list[list[int]], labels: Indices, indices: Indices) -> list[Member]:
    """Members from the labels that each unit of a group is tied to, and the indices, of shape (units, ties per unit).

    `axes` says for each label which axes have it. Labels are in ascending order.
    """
    found: dict[int, Indices] = {}
    bounds = [0, *(np.flatnonzero(labels[1:] != labels[:-1]) + 1).tolist(), len(labels)] if len(labels) > 1 else [0, 1]
    for start, end in pairwise(bounds):
        # Column by column, as they are summed: long columns, few indices to a unit.
        own = np.asfortranarray(indices[:, start:end])
        for place in axes[int(labels[start])]:
            found[place] = own
    return [Member(value, axis, found[place]) for place in sorted(found) for value, axis in [ties.axes[place]]]


def _unused(name: str, names: dict[str, int]) -> str:
    """`name`, or `name/1`, `name/2`, ... for further groups of the same axis."""
    seen = names.get(name, 0)
    names[name] = seen + 1
    return f"{name}/{seen}" if seen else name


def _first_remarks(table: UnitTable, kind: str) -> npt.NDArray[Any]:
    """For each unit, the number of the first remark of `kind` that holds for it, or -1."""
    none = len(table.remarks)
    first = np.full(table.count, none, np.int64)
    said = [(number, remark.units) for number, remark in enumerate(table.remarks) if remark.kind == kind]
    if said:
        numbers = np.repeat([number for number, _ in said], [len(units) for _, units in said])
        for part in table.resolve(np.concatenate([units for _, units in said])):
            np.minimum.at(first, part, numbers)
    first[0] = none
    return np.where(first == none, -1, first)
