"""What labels mean, computed the slow way: an index disappears when any of its units is removed.

An index is described by the set of its removable units: its *leaves*, the representatives that stand behind its units and are not frozen.
As removal is an "or" over that set, two indices disappear together in every allowed cut exactly when their sets are equal. That makes the
comparison of sets below complete: it covers all 2^n removals.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphopt.channels.labels import Label
from graphopt.channels.units import UnitTable

Leaves = frozenset[int]


def leaves(table: UnitTable, unit: int) -> Leaves:
    """The units whose removal removes `unit`; 0 stands for no unit."""
    found = (int(column[0]) for column in table.resolve(np.array([unit], np.int64)))
    return frozenset(unit for unit in found if unit)


def frozen(table: UnitTable) -> Leaves:
    """All leaves that may not be removed."""
    units = [int(unit) for remark in table.remarks if remark.kind == "frozen" for unit in remark.units]
    return frozenset().union(*(leaves(table, unit) for unit in units))


def indices(table: UnitTable, label: Label, size: int) -> list[Leaves]:
    """For each index of an axis, the removable units that take it along."""
    if label is None:
        return [frozenset()] * size
    assert len(label) == size
    kept = frozen(table)
    return [frozenset().union(*(leaves(table, int(unit)) for unit in row)) - kept for row in label]


def positions(table: UnitTable, labels: Sequence[Label], shape: Sequence[int]) -> list[Leaves]:
    """For each position of a tensor in row-major order, the removable units that take it along."""
    axes = [indices(table, label, size) for label, size in zip(labels, shape, strict=True)]
    return [frozenset().union(*(axis[i] for axis, i in zip(axes, place, strict=True))) for place in np.ndindex(*shape)]


def removable(table: UnitTable, *labels: Label) -> Leaves:
    """The leaves of some labels that may be removed."""
    units = {int(unit) for label in labels if label is not None for unit in label.flat}
    return frozenset().union(*(leaves(table, unit) for unit in units)) - frozen(table)
