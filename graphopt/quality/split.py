"""Cutting data into disjoint parts: to calibrate on, to choose by, and to report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from graphopt.quality.arrays import AnyArray
from graphopt.quality.inputs import Data

PARTS = ("calibration", "validation", "test")
SHARES = (0.4, 0.3, 0.3)


def split(data: Data, shares: Sequence[float] = SHARES, seed: int = 0) -> tuple[Data, ...] | None:
    """The samples in a random order that `seed` decides, cut into parts of about these `shares` (which sum to 1), each at least one sample.

    A model with a fixed batch size is given whole runs, so there the runs are divided. Every sample is in exactly one part. None where
    there are fewer samples, or runs, than parts.
    """
    step = 1 if data.free_batch or not data.rows else next(iter(data.rows.values()))
    units = data.samples // step if data.rows else 1
    if units < len(shares):
        return None
    order = np.random.default_rng(seed).permutation(units)
    return tuple(_taken(data, places, step) for places in np.split(order, _ends(units, shares)))


def _ends(units: int, shares: Sequence[float]) -> list[int]:
    """Where each part but the last ends; none is empty."""
    ends = np.round(np.cumsum(shares)[:-1] * units).astype(int)
    for part, end in enumerate(ends):
        ends[part] = min(max(end, (ends[part - 1] if part else 0) + 1), units - (len(ends) - part))
    return [int(end) for end in ends]


def _taken(data: Data, places: AnyArray, step: int) -> Data:
    """The data of these runs, or samples, in the order of the data: memory-mapped arrays are read forwards."""
    places = np.sort(places)
    feeds = {}
    for name, array in data.feeds.items():
        rows = 1 if data.free_batch else data.rows.get(name, 1)
        feeds[name] = array[_rows(places, rows)] if name in data.rows else array
    labels = None if data.labels is None else data.labels[_rows(places, step)]
    return replace(data, feeds=feeds, labels=labels)


def _rows(places: AnyArray, step: int) -> AnyArray:
    return (places[:, None] * step + np.arange(step)).ravel()
