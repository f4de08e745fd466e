"""Choosing which units to keep."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

import numpy as np

from .criteria import Scores
from .groups import ChannelGroup


def step(group: ChannelGroup, align: int) -> int:
    """The unit counts of the group that keep its axes multiples of `align` are multiples of this number."""
    per_unit = group.members[0].indices.shape[1]
    return align // math.gcd(align, per_unit)


def aligned_count(group: ChannelGroup, ratio: float, align: int) -> int:
    """How many units to keep so that about `ratio` of them go: a multiple of the group's step, at least one step, halves rounded up."""
    size = step(group, align)
    wanted = group.size * (1 - ratio) / size
    return min(group.size, max(1, math.floor(wanted + 0.5)) * size)


def best_units(scores: Scores, count: int) -> list[int]:
    """The positions of the `count` units with the highest scores, in ascending order; among equals the earlier ones."""
    return sorted(np.argsort(-scores, kind="stable")[:count].tolist())


def is_ignored(group: ChannelGroup, patterns: Iterable[str]) -> bool:
    """Whether a pattern (a name, or a glob with * and ?) names the group or one of the tensors that it cuts."""
    names: Sequence[str] = [group.name, *(member.value.name for member in group.members)]
    return any(name == pattern or fnmatchcase(name, pattern) for pattern in patterns for name in names)
