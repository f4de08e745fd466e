"""Units of pruning: a union-find with refinement.

A unit is a positive int. Two things can be learnt about units while a graph is walked: that two of them live and die together (`union`),
and that one of them is really two, either of which takes it along (`refine`: a channel that lies in head i at position j goes with the
head and with the position). Both are kept in tables and applied when units are read, so that labels that were handed out earlier stay
valid. All operations work on whole arrays.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Units = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Remark:
    """Something learnt about some units: why they may not be removed, where removing them is inexact, or what people call them."""

    units: Units  # in any order, 0 for none
    kind: str  # "frozen", "inexact" or "kind"
    where: str
    why: str


class UnitTable:
    """All units of one analysis. Unit 0 is "no unit"."""

    def __init__(self) -> None:
        self._parent: Units = np.zeros(1024, np.int64)
        self._left: Units = np.zeros(1024, np.int64)  # 0: the unit is not refined
        self._right: Units = np.zeros(1024, np.int64)
        self._settled = np.ones(1024, bool)  # neither united with a smaller unit nor refined
        self._count = 1
        self.changes = 0  # unions and refinements so far: what was resolved before the last one may be outdated
        self.remarks: list[Remark] = []

    @property
    def count(self) -> int:
        """One more than the largest unit."""
        return self._count

    def fresh(self, size: int) -> Units:
        """`size` new units."""
        start, end = self._count, self._count + size
        if end > len(self._parent):
            room = max(end, 2 * len(self._parent)) - len(self._parent)
            self._parent = np.concatenate([self._parent, np.zeros(room, np.int64)])
            self._left = np.concatenate([self._left, np.zeros(room, np.int64)])
            self._right = np.concatenate([self._right, np.zeros(room, np.int64)])
            self._settled = np.concatenate([self._settled, np.ones(room, bool)])
        new = np.arange(start, end, dtype=np.int64)
        self._parent[start:end] = new
        self._count = end
        return new

    def settled(self, units: Units) -> bool:
        """Whether the units are representatives that are not refined: what `resolve` gives, and gives again."""
        return bool(np.count_nonzero(self._settled[units]) == units.size)  # twice as fast as all()

    def find(self, units: Units) -> Units:
        """The representative of each unit's class."""
        parent = self._parent[units]
        while True:
            above = self._parent[parent]
            if np.count_nonzero(above != parent) == 0:
                self._parent[units] = parent
                return parent
            parent = above

    def union(self, a: Units, b: Units) -> None:
        """Make a[i] and b[i] one unit, for every i. All of them are non-zero and not refined (`resolve` gives such)."""
        while True:
            a, b = self.find(a), self.find(b)
            differ = a != b
            if not np.count_nonzero(differ):
                return
            assert not self._left[a].any(), "a refined unit cannot be united"
            assert not self._left[b].any(), "a refined unit cannot be united"
            a, b = a[differ], b[differ]
            self.changes += 1
            larger = np.maximum(a, b)
            np.minimum.at(self._parent, larger, np.minimum(a, b))
            self._settled[larger] = False

    def union_apart(self, a: Units, b: Units) -> None:
        """`union` of settled units that are all different, the smaller ones in `a`: nothing has to be searched for."""
        self.changes += 1
        self._parent[b] = a
        self._settled[b] = False

    def refine(self, units: Units, left: Units, right: Units) -> None:
        """Make unit units[i] stand for the two units left[i] and right[i]: it goes when either goes."""
        representatives = self.find(units)
        assert not self._left[representatives].any(), "a unit cannot be refined twice"
        self.changes += 1
        self._left[representatives] = left
        self._right[representatives] = right
        self._settled[representatives] = False

    def resolve(self, column: Units) -> list[Units]:
        """A column of units as columns of representatives that are not refined; together they say the same."""
        column = self.find(column)
        refined = self._left[column].astype(bool)
        if not np.count_nonzero(refined):
            return [column]
        left = np.where(refined, self._left[column], column)
        right = np.where(refined, self._right[column], 0)
        return [*self.resolve(left), *self.resolve(right)]

    def remark(self, units: Units, kind: str, where: str, why: str) -> None:
        """Record something about units; it holds for whatever they are united with or refined into, before or after."""
        if np.count_nonzero(units):
            self.remarks.append(Remark(units.reshape(-1), kind, where, why))
