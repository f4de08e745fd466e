"""Sorting channels by importance before slicing: the network computes the same, and prefixes hold what matters most."""

from __future__ import annotations

import numpy as np

from graphopt.supernet.edits import Indices
from graphopt.supernet.operands import Operands
from graphopt.supernet.places import Conv, Places


def by_input(operands: Operands, conv: Conv) -> Indices:
    """The input channels of a convolution by the sum of its absolute weights on them, largest first; equal ones keep their order."""
    weight = operands.array(conv.node, 1)
    importance = np.abs(weight).sum(axis=(0, *range(2, weight.ndim)), dtype=np.float64)
    return np.argsort(-importance, kind="stable").astype(np.int64)


def check_sortable(places: Places, conv: Conv, where: str) -> None:
    """Raise SupernetError where batch normalization was folded into `conv`: its rows were scaled then, which changes the order."""
    if conv.bn is None:
        raise places.error(
            f"sort_channels needs a model that kept BatchNormalization: {where} has none after {conv.node.label}; folding scaled the rows of "
            "that weight, so the order of the original is lost. Export with BatchNormalization kept, or sort before the export"
        )
