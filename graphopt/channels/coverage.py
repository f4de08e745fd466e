"""How much of a model channel groups reach."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from graphopt.channels.analysis import Analysis
from graphopt.channels.groups import ChannelGroup, shape_of
from graphopt.ir import Value

# For each weight, which indices of its axes lie under some unit.
Coverage = dict[Value, dict[int, npt.NDArray[np.bool_]]]


def prunable_parameters(analysis: Analysis, include_inexact: bool = False) -> int:
    """Elements of the weights that lie under some prunable unit: those that some cut could remove.

    Inexact groups count only with `include_inexact`.
    """
    return elements(covered(group for group in analysis.groups if group.prunable and (include_inexact or group.inexact is None)))


def covered(groups: Iterable[ChannelGroup]) -> Coverage:
    """What lies under the groups' units."""
    found: Coverage = {}
    for group in groups:
        for member in group.members:
            axes = found.setdefault(member.value, {})
            if member.axis not in axes:
                axes[member.axis] = np.zeros(shape_of(member.value)[member.axis], bool)
            axes[member.axis][member.indices.reshape(-1)] = True
    return found


def elements(coverage: Coverage) -> int:
    """Elements of weights under the covered indices. An element is under a unit when one of its indices is."""
    return sum(round(math.prod(shape_of(value)) * share_under(axes.values())) for value, axes in coverage.items())


def share_under(masks: Iterable[npt.NDArray[np.bool_]]) -> float:
    """The share of a weight's elements that lie under the indices that the masks of its axes mark."""
    return 1 - math.prod(1 - float(mask.mean()) for mask in masks)
