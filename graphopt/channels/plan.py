"""Choosing which units to keep."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

import numpy as np

from graphopt.channels.groups import ChannelGroup
from graphopt.channels.slices import Scores


def step(group: ChannelGroup, align: int) -> int:
    """The unit counts of the group that keep its axes multiples of `align` are multiples of this number.

    A head takes a run of indices along, whose length counts. A dimension of every head takes one index of each; how many heads are left is
    not known here, so that dimensions carry the alignment by themselves.
    """
    indices = group.members[0].indices
    per_unit = indices.shape[1]
    in_runs = per_unit == 1 or bool((indices.max(axis=1) - indices.min(axis=1) == per_unit - 1).all())
    return align // math.gcd(align, per_unit) if in_runs else align


def aligned_count(group: ChannelGroup, ratio: float, align: int) -> int:
    """How many units to keep so that about `ratio` of them go: a multiple of the group's step, at least one step, halves rounded up."""
    size = step(group, align)
    wanted = group.size * (1 - ratio) / size
    return min(group.size, max(1, math.floor(wanted + 0.5)) * size)


def best_units(scores: Scores, count: int) -> list[int]:
    """The positions of the `count` units with the highest scores, in ascending order; among equals the earlier ones."""
    best: list[int] = np.sort(np.argsort(-scores, kind="stable")[:count]).tolist()
    return best


def global_ratios(scores: Mapping[ChannelGroup, Scores], ratio: float, max_ratio: float) -> dict[ChannelGroup, float]:
    """The share of each group's units that goes when the lowest-scoring `ratio` of all units do, whatever their group.

    No group loses more than `max_ratio`; what it is spared, others lose. Scores of different groups compare because each group's are
    normalised (Molchanov et al., Pruning Convolutional Neural Networks for Resource Efficient Inference, 2017).
    """
    groups = list(scores)
    owner = np.concatenate([np.full(group.size, number) for number, group in enumerate(groups)])
    order = np.argsort(np.concatenate([scores[group] for group in groups]), kind="stable")
    most = [math.floor(group.size * max_ratio) for group in groups]
    wanted, gone = round(len(owner) * ratio), [0] * len(groups)
    for number in owner[order].tolist():
        if wanted and gone[number] < most[number]:
            gone[number] += 1
            wanted -= 1
    return {group: gone[number] / group.size for number, group in enumerate(groups)}


def is_ignored(group: ChannelGroup, patterns: Iterable[str]) -> bool:
    """Whether a pattern names the group or one of the tensors that it cuts."""
    return any(names_group(pattern, group) for pattern in patterns)


def names_group(pattern: str, group: ChannelGroup) -> bool:
    """Whether `pattern` (a name, or a glob with * and ?) names the group or one of the tensors that it cuts."""
    names: Sequence[str] = [group.name, *(member.value.name for member in group.members)]
    return any(name == pattern or fnmatchcase(name, pattern) for name in names)
