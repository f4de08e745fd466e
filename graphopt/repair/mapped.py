"""Reading arrays that are mapped from files without keeping what was read."""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Iterator

import numpy as np

from graphopt.quality import Data
from graphopt.quality.arrays import AnyArray


def runs(data: Data) -> Iterator[dict[str, AnyArray]]:
    """The inputs of each run of the model; those of an earlier one take no memory any more where they are mapped."""
    for feeds in data.runs():
        yield feeds
        let_go(feeds.values())


def let_go(arrays: Iterable[AnyArray]) -> None:
    """Give back the memory in which the files that arrays are mapped from have been read; they are read again when they are used."""
    for array in arrays:
        owner: object = array
        while owner is not None and not isinstance(owner, np.memmap):
            owner = getattr(owner, "base", None)
        mapping = getattr(owner, "_mmap", None)
        # What was written to a private copy ("c") would be lost.
        if owner is not None and owner.mode != "c" and isinstance(mapping, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
            mapping.madvise(mmap.MADV_DONTNEED)
