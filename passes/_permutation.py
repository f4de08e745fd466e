"""Putting channels into another order, in every weight that knows them, so that the model stays the same."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from graphopt.channels import Analysis, ChannelGroup, Member
from graphopt.ir import LazyTensor, Tensor, Value

Order = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Axis:
    """A weight's axis whose indices are the units of one channel group, one each: `place[u]` is where unit u lies."""

    group: ChannelGroup
    place: Order


def movable(analysis: Analysis) -> dict[tuple[Value, int], Axis]:
    """The axes whose channels may be put into any order: they are the units of one group, and no unit is frozen or more than a channel.

    A group is left out where one of its members is no initializer or a vector that others share, and where two units share an index.
    """
    found = {}
    for group in analysis.groups:
        if group.frozen is not None or group.kind != "channels":
            continue
        if any(member.value.tensor is None or member.value in analysis.shared or not _once(member) for member in group.members):
            continue
        for member in group.members:
            assert member.value.tensor is not None
            if member.indices.shape == (member.value.tensor.shape[member.axis], 1):
                found[member.value, member.axis] = Axis(group, member.indices[:, 0])
    return found


def _once(member: Member) -> bool:
    """Whether no two units share an index."""
    return len(np.unique(member.indices)) == member.indices.size


def permute(group: ChannelGroup, order: Order) -> dict[str, dict[str, list[int]]]:
    """Let unit order[i] take the place of unit i everywhere; the answer says for each axis which old index each new one was."""
    record: dict[str, dict[str, list[int]]] = {}
    for member in group.members:
        graph, tensor = member.value.graph, member.value.tensor
        assert graph is not None
        assert tensor is not None
        taken = np.arange(tensor.shape[member.axis])
        taken[member.indices] = member.indices[order]
        graph.set_tensor(member.value, _taken(tensor, member.axis, taken))
        record.setdefault(member.value.name, {})[str(member.axis)] = taken.tolist()
    return record


def _taken(tensor: Tensor, axis: int, indices: Order) -> LazyTensor:
    return LazyTensor(tensor.elem_type, tensor.shape, lambda: np.take(tensor.numpy(), indices, axis=axis))


def follow(order: Order, axis: Axis) -> Order:
    """The order of a group's units that puts index order[i] of the axis in place i."""
    unit_at = np.empty(len(axis.place), np.int64)
    unit_at[axis.place] = np.arange(len(axis.place))
    # The unit that comes to where unit u lies is the one that lay at order[place of u].
    return unit_at[order[axis.place]]
