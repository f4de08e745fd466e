"""How much each unit of a group matters, from the weights alone.

Every member that is a weight (two axes or more) counts: what produces a channel and what reads it. Each member's slices are measured per
element and divided by the member's mean, so that members of different scale and size compare; the unit's score is the mean over members.
`l1`: Li et al., Pruning Filters for Efficient ConvNets, 2017; `l2` likewise with the Euclidean norm.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from graphopt.channels.groups import ChannelGroup, Member, shape_of
from graphopt.ir import Tensor

Scores = npt.NDArray[np.float64]

# By tensor, power and axis. Most weights are members of two groups, one per axis, and reading one costs as much as summing it.
_known_sums: WeakKeyDictionary[Tensor, dict[int, dict[int, Scores]]] = WeakKeyDictionary()


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
    return len(shape_of(member.value))


def _contents(member: Member) -> npt.NDArray[Any]:
    graph = member.value.graph
    assert graph is not None
    contents = graph.constant(member.value)
    assert contents is not None
    return contents


def _norms(member: Member, power: int) -> Scores:
    """The norm of each unit's slices, 1-norm or 2-norm."""
    tensor = member.value.tensor
    known = {} if tensor is None else _known_sums.setdefault(tensor, {}).setdefault(power, {})
    if member.axis not in known:
        known |= _sums(_contents(member), power, member.axis)
    return np.asarray(known[member.axis][member.indices].sum(axis=1) ** (1 / power), np.float64)


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
    if axis <= 1 and contents.ndim > 1:
        columns = np.einsum(f"{term}->j", *both)
        found[1] = columns.reshape(contents.shape[1], -1).sum(axis=1, dtype=np.float64)
    return found


def _normalised(norms: Scores) -> Scores:
    mean = norms.mean()
    return norms / mean if mean > 0 else np.ones_like(norms)


CRITERIA: dict[str, Callable[[ChannelGroup, np.random.Generator], Scores]] = {"l1": _by_norm(1), "l2": _by_norm(2), "random": _random}
