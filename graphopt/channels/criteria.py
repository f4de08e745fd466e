"""How much each unit of a group matters, from the weights alone.

Every member that is a weight (two axes or more) counts: what produces a channel and what reads it. Each member's slices are measured per
element and divided by the member's mean, so that members of different scale and size compare; the unit's score is the mean over members.
`l1`: Li et al., Pruning Filters for Efficient ConvNets, 2017; `l2` likewise with the Euclidean norm. The others are described in files of their
own; `bn-scale` measures by `l2` where a group has no BatchNormalization.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from graphopt.channels.criteria_scale import above_median, scales
from graphopt.channels.criteria_similarity import mean_distance, to_geometric_median, unlikeness
from graphopt.channels.groups import ChannelGroup, Member
from graphopt.channels.slices import Scores, contents_of, mean_over_weights, weights
from graphopt.ir import Tensor

# By tensor, power and axis. Most weights are members of two groups, one per axis, and reading one costs as much as summing it.
_known_sums: WeakKeyDictionary[Tensor, dict[int, dict[int, Scores]]] = WeakKeyDictionary()


def score(group: ChannelGroup, criterion: str, rng: np.random.Generator) -> Scores:
    """One score per unit of the group, larger is more important; the mean is 1 except for `random`."""
    return CRITERIA[criterion](group, rng)


def _by_norm(power: int) -> Callable[[ChannelGroup, np.random.Generator], Scores]:
    def scores(group: ChannelGroup, rng: np.random.Generator) -> Scores:
        norms = _norms(weights(group), power)
        means = norms.mean(axis=1, keepdims=True)
        normal = np.divide(norms, means, out=np.ones_like(norms), where=means > 0)  # as `normalised`, of all members at once
        return np.asarray(normal.mean(axis=0), np.float64)

    return scores


def _random(group: ChannelGroup, rng: np.random.Generator) -> Scores:
    return rng.random(group.size)


def _norms(members: Sequence[Member], power: int) -> npt.NDArray[np.float64]:
    """[members, units]: the norm of each unit's slices, 1-norm or 2-norm."""
    alike: dict[int, list[int]] = {}  # places of the members whose axes have one label, and so the same array of indices
    for place, member in enumerate(members):
        alike.setdefault(id(member.indices), []).append(place)
    norms = np.empty((len(members), len(members[0].indices)))
    for places in alike.values():
        indices, sums = members[places[0]].indices, [_axis_sums(members[place], power) for place in places]
        if indices.shape[1] == 1:
            norms[places] = np.stack(sums)[:, indices[:, 0]]
        else:
            norms[places] = [each[indices].sum(axis=1) for each in sums]
    return norms ** (1 / power)


def _axis_sums(member: Member, power: int) -> Scores:
    """The sum of the absolute values' powers at each index of the member's axis."""
    tensor = member.value.tensor
    known = {} if tensor is None else _known_sums.setdefault(tensor, {}).setdefault(power, {})
    if member.axis not in known:
        known |= _sums(contents_of(member), power, member.axis)
    return known[member.axis]


def _sums(contents: npt.NDArray[Any], power: int, axis: int) -> dict[int, Scores]:
    """By axis, the sums of the absolute values' powers over all other axes; of the first two axes both, from one reading."""
    if contents.dtype not in (np.float32, np.float64):
        contents = contents.astype(np.float32)
    if axis > 1:
        contents = np.moveaxis(contents, axis, 0)
    rows = contents.reshape(len(contents), -1)
    # einsum multiplies and adds without an array in between, which is several times as fast
    term, both = ("ij,ij", (rows, rows)) if power == 2 else ("ij", (np.abs(rows),))
    found = {axis if axis > 1 else 0: np.einsum(f"{term}->i", *both).astype(np.float64)}
    if axis <= 1 and contents.ndim > 1 and (axis == 1 or contents.shape[1] > 1):
        columns = np.einsum(f"{term}->j", *both)
        found[1] = columns.reshape(contents.shape[1], -1).sum(axis=1, dtype=np.float64)
    return found


def _bn_scale(group: ChannelGroup, rng: np.random.Generator) -> Scores:
    found = scales(group)
    return CRITERIA["l2"](group, rng) if found is None else found


CRITERIA: dict[str, Callable[[ChannelGroup, np.random.Generator], Scores]] = {
    "l1": _by_norm(1),
    "l2": _by_norm(2),
    "random": _random,
    "bn-scale": _bn_scale,
    "fpgm": mean_over_weights(to_geometric_median),
    "cosine": mean_over_weights(unlikeness),
    "redundancy": mean_over_weights(mean_distance),
    "threshold": mean_over_weights(above_median),
}
