"""What a removal of units leaves of labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from graphopt.channels.labels import Label
from graphopt.channels.units import Units

if TYPE_CHECKING:
    from graphopt.channels.analysis import Analysis


class Remains:
    """Called with a label, the indices that stay of it, ascending. Most axes of a model share a few labels, each of which is looked at once."""

    def __init__(self, analysis: Analysis, removed: npt.NDArray[np.bool_]) -> None:
        self._analysis = analysis
        self._removed = removed
        self._known: dict[int, Units] = {}  # by identity of the resolved label, which the analysis keeps

    def __call__(self, label: Label) -> Units:
        assert label is not None
        resolved = self._analysis.resolve(label)
        if resolved is None:
            return np.arange(len(label))
        if id(resolved) not in self._known:
            self._known[id(resolved)] = np.flatnonzero(~self._removed[resolved].any(axis=1))
        return self._known[id(resolved)]

    def all_of(self, label: Label) -> bool:
        """Whether every index stays."""
        return label is None or len(self(label)) == len(label)
