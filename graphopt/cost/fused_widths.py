"""The kernels of a graph under other channel widths, without cutting it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from graphopt.channels import Analysis, ChannelGroup, analyse
from graphopt.cost.fusion import FusionRules, fuse
from graphopt.cost.kernel import Kernel
from graphopt.cost.sizes import fixed_types
from graphopt.cost.widths import Widths
from graphopt.errors import EditError, UnsupportedError
from graphopt.ir import Graph


class FusedWidths:
    """What a runtime with the fusion rules `rules` executes for the root `graph`, for any widths of its channel groups.

    `groups` are those that can be cut; `sizes` are free dimensions by name, 1 unless given. The graph, which stays as it is, has no calls of
    functions (`inline_functions`). Raises UnsupportedError for a group that cannot be told from others.
    """

    def __init__(self, graph: Graph, rules: FusionRules, sizes: Mapping[str, int] | None = None) -> None:
        own = _unshared(graph)
        types = fixed_types(own, sizes)
        self.rules = rules
        self.widths = Widths(analyse(own), types)
        self.groups = _matching(self.widths.groups, analyse(graph))
        self._fused = fuse(own, rules, types)
        self._numbers = {group.name: number for number, group in enumerate(self.groups)}

    @property
    def full(self) -> list[int]:
        """The width of every group as it is."""
        return list(self.widths.full)

    def number(self, name: str) -> int:
        """The place of a group in `groups`. Raises EditError."""
        try:
            return self._numbers[name]
        except KeyError:
            raise EditError(f"there is no channel group {name!r} that can be cut; `graphopt inspect --groups` lists them") from None

    def kernels(self, widths: Sequence[int]) -> tuple[Kernel, ...]:
        """The kernels where each group, in the order of `groups`, has such a width."""
        return self._fused.kernels(self.widths.shapes_at(widths))


def _unshared(graph: Graph) -> Graph:
    """A copy in which every reader of a vector that several nodes share has one of its own: a cut may part them."""
    copy = graph.copy()
    for value in copy.initializers:
        uses = copy.consumers(value)
        if value.tensor is None or len(uses) < 2 or copy.is_output(value) or copy.is_input(value):
            continue
        if sum(size > 1 for size in value.tensor.shape) == 1:
            for node, slot in uses[1:]:
                if slot >= 0:
                    copy.set_input(node, slot, copy.add_initializer(copy.unique_name(value.name), value.tensor))
    return copy


def _matching(groups: Sequence[ChannelGroup], analysis: Analysis) -> tuple[ChannelGroup, ...]:
    """The groups of the analysis that cut the same as `groups`, those of a copy whose shared vectors are parted."""
    found = {}
    for group in analysis.groups:
        for member in group.members:
            if member.value not in analysis.shared:
                found[member.value.name, member.axis, member.indices.tobytes()] = group
    matching = []
    for group in groups:
        keys = ((member.value.name, member.axis, member.indices.tobytes()) for member in group.members)
        same = next((found[key] for key in keys if key in found), None)
        if same is None:
            raise UnsupportedError(f"channel group {group.name!r} consists of nothing but vectors that other groups share")
        matching.append(same)
    return tuple(matching)
