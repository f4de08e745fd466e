"""How much of a model the channel groups reach."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from ..ir import Value
from .analysis import Analysis
from .groups import ChannelGroup, shape_of


def prunable_parameters(analysis: Analysis, include_inexact: bool = False) -> int:
    """Elements of the weights that lie under some prunable unit: those that some cut could remove.

    Inexact groups count only with `include_inexact`.
    """
    groups = [group for group in analysis.groups if group.prunable and (include_inexact or group.inexact is None)]
    return sum(round(math.prod(shape_of(value)) * share) for value, share in _shares(groups).items())


def _shares(groups: Iterable[ChannelGroup]) -> dict[Value, float]:
    """The share of each weight's elements under the groups' units. An element is under a unit when one of its indices is."""
    covered: dict[Value, dict[int, npt.NDArray[np.bool_]]] = {}
    for group in groups:
        for member in group.members:
            axes = covered.setdefault(member.value, {})
            if member.axis not in axes:
                axes[member.axis] = np.zeros(shape_of(member.value)[member.axis], bool)
            axes[member.axis][member.indices.reshape(-1)] = True
    return {value: 1 - math.prod(1 - float(mask.mean()) for mask in axes.values()) for value, axes in covered.items()}
