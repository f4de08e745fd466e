"""Which of the original's indices a model has left, from what the passes since then recorded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]


class Kept:
    """What several passes in a row kept: `kept` of each, {initializer: {axis: [indices]}}, counted before that pass."""

    def __init__(self, records: Iterable[Mapping[str, Mapping[str, Sequence[int]]]]) -> None:
        self._left: dict[tuple[str, int], Indices] = {}
        for record in records:
            for name, axes in record.items():
                for axis, indices in axes.items():
                    place, left = (name, int(axis)), np.asarray(indices, np.int64)
                    before = self._left.get(place)
                    self._left[place] = left if before is None else before[left]

    def left(self, name: str, axis: int) -> Indices | None:
        """The original's indices of an initializer's axis that are left, in order; None where all are."""
        return self._left.get((name, axis))
