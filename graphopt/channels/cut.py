"""Cutting: slicing every member of the groups to the units that are kept, and rewriting what states a size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from graphopt.channels.analysis import Analysis
from graphopt.channels.groups import ChannelGroup
from graphopt.channels.labels import Label
from graphopt.channels.remains import Remains
from graphopt.channels.rewrite import remove_idle, rewrite
from graphopt.errors import EditError
from graphopt.ir import ArrayTensor, LazyTensor, Node, Tensor, Value

Mask = npt.NDArray[np.bool_]


def cut(analysis: Analysis, keep: Mapping[str, Sequence[int]]) -> dict[str, dict[str, list[int]]]:
    """Keep only the given units of the given groups (by name; positions among the group's units), in the analysed graph itself.

    Returns, for each initializer that became smaller, its kept indices by axis. Weights are sliced lazily, when the model is saved.
    Raises EditError for a group that is unknown or frozen, for units it does not have, and for an outdated analysis.
    """
    if analysis.graph.version != analysis.version:
        raise EditError("the graph changed since it was analysed; analyse it again")
    left, nodes = Remains(analysis, removed_units(analysis, keep)), analysis.graph.nodes  # whose order no edit below changes
    if (emptied := left.emptied()) is not None:
        value, axis, _ = emptied
        raise EditError(f"nothing would be left of axis {axis} of {value.name!r}; keep more units (`without_emptied` finds some)")
    kept: dict[str, dict[str, list[int]]] = {}
    for value, labels in analysis.weights.items():
        indices = {axis: left(label) for axis, label in enumerate(labels) if not left.all_of(label)}
        if indices:
            _slice(value, indices)
            kept[value.name] = {str(axis): left.listed(labels[axis]) for axis in indices}
    for value, uses in analysis.shared.items():
        if (any_left := _cut_uses(value, uses, left)) is not None:
            kept[value.name] = any_left
    rewrite(analysis, left, nodes)
    return kept


def without_emptied(analysis: Analysis, keep: Mapping[str, Sequence[int]]) -> dict[str, list[int]]:
    """`keep` with as few units more as it takes to leave something of every axis in the model.

    A group always keeps a unit, but a Split, Slice or Gather may hand on just those indices that go.
    """
    removed = removed_units(analysis, keep)
    while emptied := Remains(analysis, removed).emptied():
        label = emptied[2]
        row = label[int(removed[label].sum(axis=1).argmin())]
        removed[row] = False
    return {name: np.flatnonzero(~removed[_group(analysis, name).units]).tolist() for name in keep}


def removed_units(analysis: Analysis, keep: Mapping[str, Sequence[int]]) -> Mask:
    """Which units go, as a mask over all units of the analysis."""
    removed = np.zeros(analysis.table.count, bool)
    for name, units in keep.items():
        removed[_removed_units(_group(analysis, name), units)] = True
    return removed


def _group(analysis: Analysis, name: str) -> ChannelGroup:
    try:
        group = analysis.group(name)
    except KeyError:
        raise EditError(f"there is no channel group {name!r}; `graphopt inspect --groups` lists them") from None
    if group.frozen is not None:
        raise EditError(f"channel group {name!r} is frozen by {group.frozen.where}: {group.frozen.why}")
    return group


def _removed_units(group: ChannelGroup, keep: Sequence[int]) -> npt.NDArray[np.int64]:
    chosen = np.asarray(keep, np.int64)
    if len(chosen) == 0:
        raise EditError(f"channel group {group.name!r} cannot lose all of its {group.size} units")
    least, most = int(chosen.min()), int(chosen.max())
    if least < 0 or most >= group.size:
        raise EditError(f"channel group {group.name!r} has units 0 to {group.size - 1}, not {least if least < 0 else most}")
    gone = np.ones(group.size, bool)
    gone[chosen] = False
    return group.units[gone]


def _cut_uses(value: Value, uses: Mapping[tuple[Node, int], list[Label]], left: Remains) -> dict[str, list[int]] | None:
    """Give the readers of a vector that are cut alike a vector of their own; the answer is what any of them still has, by axis."""
    graph = value.graph
    assert graph is not None
    axis, size = next(((axis, len(x)) for labels in uses.values() for axis, x in enumerate(labels) if x is not None), (-1, 0))
    if axis < 0:
        return None
    readers: dict[tuple[int, ...], list[tuple[Node, int]]] = {}
    for use in graph.consumers(value):
        label = uses[use][axis] if use in uses else None
        readers.setdefault(tuple(range(size) if label is None else left(label).tolist()), []).append(use)
    if list(readers) == [tuple(range(size))]:
        return None
    if len(readers) == 1:
        _slice(value, {axis: np.array(next(iter(readers)), np.int64)})
    else:
        contents = tensor_of(value)
        for indices, cut_alike in readers.items():
            if len(indices) < size:
                own = graph.add_initializer(graph.unique_name(f"{value.name}_cut"), sliced(contents, {axis: np.array(indices, np.int64)}))
                for node, slot in cut_alike:
                    graph.set_input(node, slot, own)
        remove_idle(graph, [value])
    any_left = sorted(set().union(*readers))
    return {str(axis): any_left} if len(any_left) < size else None


def _slice(value: Value, indices: Mapping[int, npt.NDArray[np.int64]]) -> None:
    graph = value.graph
    assert graph is not None
    if value.producer is None:
        assert value.tensor is not None
        graph.set_tensor(value, sliced(value.tensor, indices))
        return
    for name, content in value.producer.attributes.items():
        if isinstance(content, Tensor):
            graph.set_attribute(value.producer, name, ArrayTensor(sliced(content, indices).numpy(), content.elem_type))
        elif name == "value_floats":
            graph.set_attribute(value.producer, name, [content[i] for i in indices[0]])


def tensor_of(value: Value) -> Tensor:
    """The tensor of an initializer or of a Constant node's output."""
    if value.tensor is not None:
        return value.tensor
    assert value.graph is not None
    contents = value.graph.constant(value)
    assert contents is not None
    return ArrayTensor(contents)


def sliced(tensor: Tensor, indices: Mapping[int, npt.NDArray[np.int64]]) -> LazyTensor:
    """`tensor` with only the given indices of the given axes."""
    shape = tuple(len(indices[axis]) if axis in indices else size for axis, size in enumerate(tensor.shape))

    def compute() -> npt.NDArray[np.generic]:
        array = tensor.numpy()
        for axis, left in indices.items():
            array = np.take(array, left, axis=axis)
        return array

    return LazyTensor(tensor.elem_type, shape, compute)
