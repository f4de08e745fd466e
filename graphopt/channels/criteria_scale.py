"""Criteria by the scales of normalizations, and by how many weights are large.

`bn-scale`: the absolute scale that a BatchNormalization gives a channel (Liu et al., Learning Efficient Convolutional Networks through Network
Slimming, 2017). `threshold`: the share of a unit's weights whose magnitude lies above the median magnitude of the weight that they are of, so
that each layer is measured against its own distribution.
"""

from __future__ import annotations

import numpy as np

from graphopt.channels.groups import ChannelGroup, Member
from graphopt.channels.slices import Array, Scores, contents_of, normalised

_SCALE_SLOT = 1  # of BatchNormalization


def scales(group: ChannelGroup) -> Scores | None:
    """The mean over normalizations of each unit's normalised scale; None where no normalization takes part."""
    found = [normalised(np.abs(contents_of(member)[member.indices]).mean(axis=1)) for member in group.members if _is_scale(member)]
    return np.asarray(np.mean(found, axis=0), np.float64) if found else None


def _is_scale(member: Member) -> bool:
    graph = member.value.graph
    assert graph is not None
    readers = graph.consumers(member.value)
    return any(node.op_type == "BatchNormalization" and slot == _SCALE_SLOT for node, slot in readers)


def above_median(rows: Array) -> Scores:
    """The share of each row's elements that are larger in magnitude than the median of all."""
    magnitudes = np.abs(rows)
    return np.asarray((magnitudes > np.median(magnitudes)).mean(axis=1))
