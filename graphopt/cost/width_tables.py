"""Tables of kernels over channel widths, added up: the latency of hundreds of thousands of width configurations a second.

A kernel's time depends on few sizes, and each of these on the width of one group, or of a few. So a table per kernel, over the levels of the
groups (or over the values of a sum of widths, where a Concat joins many), holds its time for all choices, and the time of a network is a sum
of table entries, put through the correction from kernels to networks. Which kernels there are may depend on the widths too: channel counts
that do not fill blocks make a runtime convert layouts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from graphopt.channels import ChannelGroup
from graphopt.cost.fused_widths import FusedWidths
from graphopt.cost.kernel import Kernel, Signature
from graphopt.cost.kernel_tables import Floats, KernelTables
from graphopt.cost.observed import Choice, Observer
from graphopt.cost.predictor import Predictor
from graphopt.cost.widths import Size, Term
from graphopt.cost.worthwhile import candidate_widths
from graphopt.errors import EditError
from graphopt.ir import Graph

_BATCH = 2048  # kernels that are predicted at once
_CHUNK = 2048  # choices that are looked up at once, so that what is read stays in the processor's cache


class WidthTables:
    """The predicted latency of a graph for every choice of a level for each channel group.

    `groups` are the groups that can be cut, `levels[g]` the widths of group g that are on offer, ascending, the last of them its full width.
    A choice is a level (an index into `levels[g]`) for every group. Equal to the prediction of the graph that is really cut, up to rounding;
    a Concat of very many widths counts by their sum. Where it matters which units are kept, and not only how many, the time is that of an
    even choice, and `exact` is false.
    """

    def __init__(
        self, predictor: Predictor, graph: Graph, levels: Mapping[str, Sequence[int]] | None = None, sizes: Mapping[str, int] | None = None
    ) -> None:
        """Of the root `graph`, without calls of functions (`inline_functions`). `levels` gives the widths of groups by name, by default
        `candidate_widths` for the target's `align`; `sizes` those of free dimensions by name, by default 1.

        Raises EditError for a group that is not there or a width that cannot be, UnsupportedError where kernels change with the widths in
        a way that is not known, or depend on more of them than a table holds.
        """
        self._predictor = predictor
        self._fused = FusedWidths(graph, predictor.rules, sizes)
        self.groups: tuple[ChannelGroup, ...] = self._fused.groups
        self.exact = self._fused.widths.exact
        given = {self._fused.number(name): tuple(widths) for name, widths in (levels or {}).items()}
        align = predictor.target.align
        self.levels: tuple[tuple[int, ...], ...] = tuple(
            _checked(group, given[number]) if number in given else candidate_widths(group, align)
            for number, group in enumerate(self.groups)
        )
        self._sizes = self._fused.widths.distinct
        classes = self._classes(predictor.rules.block)
        # The widths themselves: a convolution in groups states how many it has, which is the size of no axis.
        self._sizes += [Size(0, (Term(1.0, (number,)),)) for number in range(len(self.groups))]
        kernels = Observer(self._kernels, self._sizes_of, classes).kernels()
        self._tables = KernelTables(kernels, self._figures, self._sizes, self.levels, classes)

    @property
    def full(self) -> Choice:
        """The choice of the full width everywhere."""
        return tuple(len(levels) - 1 for levels in self.levels)

    @property
    def entries(self) -> int:
        """How many kernel times the tables were made from."""
        return self._tables.entries

    def choice(self, widths: Mapping[str, int]) -> Choice:
        """The choice of these widths, by group name; groups that are not named are whole. Raises EditError for a width not on offer."""
        found = list(self.full)
        for name, width in widths.items():
            number = self._fused.number(name)
            if width not in self.levels[number]:
                raise EditError(f"{width} is none of the widths of channel group {name!r} that are on offer")
            found[number] = self.levels[number].index(width)
        return tuple(found)

    def widths(self, choice: Sequence[int]) -> dict[str, int]:
        """The width of every group, by name."""
        return {group.name: levels[level] for group, levels, level in zip(self.groups, self.levels, choice, strict=True)}

    def ms(self, choices: npt.ArrayLike) -> Floats:
        """Milliseconds for each row of `choices`, shape (choices, groups): the prediction for the whole network."""
        rows = np.asarray(choices, np.intp)
        if rows.ndim != 2 or rows.shape[1] != len(self.groups):
            raise ValueError(f"choices have the shape (choices, {len(self.groups)}), not {rows.shape}")
        found = np.empty(len(rows))
        for start in range(0, len(rows), _CHUNK):
            columns = np.ascontiguousarray(rows[start : start + _CHUNK].T)
            found[start : start + _CHUNK] = self._predictor.correction.times(*self._tables.sums(columns))
        return found

    def along(self, group: str, choice: Sequence[int] | None = None) -> Floats:
        """Milliseconds for each level of one group, the others as in `choice`, by default whole."""
        number = self._fused.number(group)
        rows = np.tile(np.asarray(self.full if choice is None else choice, np.intp), (len(self.levels[number]), 1))
        rows[:, number] = np.arange(len(rows))
        return self.ms(rows)

    def _assigned(self, choice: Choice) -> list[int]:
        return [levels[level] for levels, level in zip(self.levels, choice, strict=True)]

    def _kernels(self, choice: Choice) -> tuple[Kernel, ...]:
        return self._fused.kernels(self._assigned(choice))

    def _sizes_of(self, choice: Choice) -> list[int]:
        assigned = self._assigned(choice)
        return [size.at(assigned) for size in self._sizes]

    def _figures(self, signatures: Sequence[Signature]) -> Floats:
        parts = [self._predictor.summands(signatures[start : start + _BATCH]) for start in range(0, len(signatures), _BATCH)]
        return np.concatenate([np.zeros((4, 0)), *parts], axis=1)

    def _classes(self, block: int) -> list[list[int]]:
        """For each level of each group a class: levels of one class fill blocks alike, in every axis that the group is in."""
        found = []
        for number, levels in enumerate(self.levels):
            touched = [size for size in self._sizes if any(number in term.groups for term in size.terms)]
            kinds: dict[object, int] = {}
            of_level = []
            for width in levels:
                assigned = self._fused.full
                assigned[number] = width
                at = [size.at(assigned) for size in touched]
                kind = (width == 1, *((size % block, size < block, size == 1) for size in at))
                of_level.append(kinds.setdefault(kind, len(kinds)))
            found.append(of_level)
        return found


def _checked(group: ChannelGroup, widths: Sequence[int]) -> tuple[int, ...]:
    found = tuple(sorted({*widths, group.size}))
    if found[0] < 1 or found[-1] > group.size:
        raise EditError(f"channel group {group.name!r} has {group.size} units; it cannot keep {found[0] if found[0] < 1 else found[-1]}")
    return found
