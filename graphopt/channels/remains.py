"""What a removal of units leaves of labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from graphopt.channels.labels import Label
from graphopt.channels.units import Units
from graphopt.ir import Value

if TYPE_CHECKING:
    from graphopt.channels.analysis import Analysis


class Remains:
    """Called with a label, the indices that stay of it, ascending. Most axes of a model share a few labels, each of which is looked at once."""

    def __init__(self, analysis: Analysis, removed: npt.NDArray[np.bool_]) -> None:
        self._analysis = analysis
        self._removed = removed
        self._known: dict[int, tuple[Label, Units]] = {}  # by identity: the label, which has to live as long, and what stays
        self._lists: dict[int, list[int]] = {}  # the same of labels in `_known`

    def __call__(self, label: Label) -> Units:
        assert label is not None
        if (known := self._known.get(id(label))) is not None:
            return known[1]
        resolved = self._analysis.resolve(label)
        if resolved is None:
            stay: Units = np.arange(len(label))
        elif resolved is label:
            stay = np.flatnonzero(~self._gone(label))
        else:
            stay = self(resolved)
        self._known[id(label)] = label, stay
        return stay

    def listed(self, label: Label) -> list[int]:
        """The same as a list of its own."""
        if (known := self._lists.get(id(label))) is None:
            known = self._lists[id(label)] = self(label).tolist()
        return list(known)

    def all_of(self, label: Label) -> bool:
        """Whether every index stays."""
        return label is None or len(self(label)) == len(label)

    def emptied(self) -> tuple[Value, int, Units] | None:
        """The first axis of which nothing is left, as (value, axis, resolved label)."""
        if self._removed.any():
            for value, axis, label in self._analysis.distinct:
                if np.count_nonzero(self._gone(label)) == len(label):
                    return value, axis, label
        return None

    def _gone(self, resolved: Units) -> npt.NDArray[np.bool_]:
        """Whether each index goes."""
        if resolved.shape[1] == 1:
            return self._removed[resolved[:, 0]]
        return np.asarray(self._removed[resolved].any(axis=1))
