"""What belongs to each unit in the weights of its group."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from graphopt.channels.groups import ChannelGroup, Member, shape_of

Scores = npt.NDArray[np.float64]
Array = npt.NDArray[Any]


def contents_of(member: Member) -> Array:
    """The whole weight."""
    graph = member.value.graph
    assert graph is not None
    contents = graph.constant(member.value)
    assert contents is not None
    return contents


def slices(member: Member) -> Array:
    """float64 [units, elements]: each unit's elements of the weight."""
    rows = np.moveaxis(contents_of(member), member.axis, 0)[member.indices]
    return rows.reshape(len(member.indices), -1).astype(np.float64)


def weights(group: ChannelGroup) -> list[Member]:
    """The members with two axes or more, all members where there is none."""
    return [member for member in group.members if len(shape_of(member.value)) >= 2] or list(group.members)


def normalised(scores: Scores) -> Scores:
    """The scores divided by their mean; ones where that is zero."""
    mean = scores.mean()
    return scores / mean if mean > 0 else np.ones_like(scores)


def mean_over_weights(measure: Callable[[Array], Scores]) -> Callable[[ChannelGroup, np.random.Generator], Scores]:
    """A criterion that measures the slices [units, elements] of each weight, normalises, and takes the mean over the weights."""

    def scores(group: ChannelGroup, rng: np.random.Generator) -> Scores:
        return np.asarray(np.mean([normalised(measure(slices(member))) for member in weights(group)], axis=0), np.float64)

    return scores
