"""How much each unit of a group matters, from the weights alone.

Every member that is a weight (two axes or more) counts: what produces a channel and what reads it. Each member's slices are measured per
element and divided by the member's mean, so that members of different scale and size compare; the unit's score is the mean over members.
`l1`: Li et al., Pruning Filters for Efficient ConvNets, 2017; `l2` likewise with the Euclidean norm.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from graphopt.channels.groups import ChannelGroup, Member

Scores = npt.NDArray[np.float64]


def score(group: ChannelGroup, criterion: str, rng: np.random.Generator) -> Scores:
    """One score per unit of the group, larger is more important; the mean is 1 except for `random`."""
    return CRITERIA[criterion](group, rng)


def _by_norm(power: int) -> Callable[[ChannelGroup, np.random.Generator], Scores]:
    def scores(group: ChannelGroup, rng: np.random.Generator) -> Scores:
        weights = [member for member in group.members if _rank(member) >= 2] or list(group.members)
        return np.asarray(np.mean([_normalised(_norms(member, power)) for member in weights], axis=0), np.float64)

    return scores


def _random(group: ChannelGroup, rng: np.random.Generator) -> Scores:
    return rng.random(group.size)


def _rank(member: Member) -> int:
    return len(_contents(member).shape)


def _contents(member: Member) -> npt.NDArray[Any]:
    graph = member.value.graph
    assert graph is not None
    contents = graph.constant(member.value)
    assert contents is not None
    return contents


def _norms(member: Member, power: int) -> Scores:
    """The norm of each unit's slices, 1-norm or 2-norm."""
    contents = _contents(member)
    if contents.dtype not in (np.float32, np.float64):
        contents = contents.astype(np.float32)
    powers = np.square(contents) if power == 2 else np.abs(contents)
    sums = powers.sum(axis=tuple(axis for axis in range(contents.ndim) if axis != member.axis), dtype=np.float64)
    return np.asarray(sums[member.indices].sum(axis=1) ** (1 / power), np.float64)


def _normalised(norms: Scores) -> Scores:
    mean = norms.mean()
    return norms / mean if mean > 0 else np.ones_like(norms)


CRITERIA: dict[str, Callable[[ChannelGroup, np.random.Generator], Scores]] = {"l1": _by_norm(1), "l2": _by_norm(2), "random": _random}
