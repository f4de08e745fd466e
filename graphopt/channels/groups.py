"""Channel groups: families of interchangeable units, with everything that must be cut when one of them goes."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
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
    """(unit, member, index) triples, one for each index of an initializer's axis that a unit takes along."""

    units: list[Units] = field(default_factory=list)
    members: list[npt.NDArray[np.int64]] = field(default_factory=list)
    indices: list[npt.NDArray[np.int64]] = field(default_factory=list)
    axes: list[tuple[Value, int]] = field(default_factory=list)

    def add(self, value: Value, axis: int, label: Label) -> None:
        if label is None:
            return
        number = len(self.axes)
        self.axes.append((value, axis))
        rows, columns = np.nonzero(label)
        self.units.append(label[rows, columns])
        self.members.append(np.full(len(rows), number, np.int64))
        self.indices.append(rows.astype(np.int64))


def find_groups(table: UnitTable, ties: Ties) -> list[ChannelGroup]:
    """The groups of all units that are tied to some initializer, in the order in which the walk met them."""
    if not ties.units:
        return []
    units, members, indices = (np.concatenate(part) for part in (ties.units, ties.members, ties.indices))
    frozen, inexact, kinds = (_first_remarks(table, kind) for kind in ("frozen", "inexact", "kind"))
    # A fingerprint of the members of each unit, counted: a sum of random words over its ties. Equal members, equal sum.
    words = np.random.default_rng(0).integers(1, 2**62, size=(len(ties.axes), 2), dtype=np.int64)
    prints = np.zeros((table.count, 2), np.int64)
    with np.errstate(over="ignore"):
        np.add.at(prints, units, words[members])
    present, first_tie = np.unique(units, return_index=True)
    key = np.stack([prints[present, 0], prints[present, 1], frozen[present] >= 0, inexact[present]], axis=1)
    _, family = np.unique(key, axis=0, return_inverse=True)
    order = np.lexsort((first_tie, family.reshape(-1)))
    bounds = np.flatnonzero(np.diff(family.reshape(-1)[order])) + 1
    families = sorted(np.split(order, bounds), key=lambda places: int(first_tie[places[0]]))
    # Ties sorted by (unit, member, index), so that those of a unit lie together.
    by_unit = np.lexsort((indices, members, units))
    start = np.searchsorted(units[by_unit], present)
    count = np.searchsorted(units[by_unit], present, side="right") - start
    groups, names = [], dict[str, int]()
    for places in families:
        rows = by_unit[start[places][:, None] + np.arange(count[places[0]])]
        found = tuple(_members(ties, members[rows], indices[rows]))
        unit = present[places[0]]
        why_frozen, why_inexact, kind = (table.remarks[first[unit]] if first[unit] >= 0 else None for first in (frozen, inexact, kinds))
        name = _unused(found[0].name, names)
        groups.append(ChannelGroup(name, "channels" if kind is None else kind.why, present[places], found, why_frozen, why_inexact))
    return groups


def _members(ties: Ties, members: npt.NDArray[np.int64], indices: npt.NDArray[np.int64]) -> Iterable[Member]:
    """Members from arrays of shape (units, ties per unit); every unit has the same members in the same columns."""
    for number in dict.fromkeys(members[0].tolist()):
        value, axis = ties.axes[number]
        yield Member(value, axis, indices[:, members[0] == number])


def _unused(name: str, names: dict[str, int]) -> str:
    """`name`, or `name/1`, `name/2`, ... for further groups of the same axis."""
    seen = names.get(name, 0)
    names[name] = seen + 1
    return f"{name}/{seen}" if seen else name


def _first_remarks(table: UnitTable, kind: str) -> npt.NDArray[Any]:
    """For each unit, the number of the first remark of `kind` that holds for it, or -1."""
    first = np.full(table.count, -1, np.int64)
    for number, remark in enumerate(table.remarks):
        if remark.kind == kind:
            for part in table.resolve(remark.units):
                part = part[part > 0]
                part = part[first[part] < 0]
                first[part] = number
    return first
