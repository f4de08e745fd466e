"""Shapes under other channel counts, without cutting: every size is a form in the widths of the channel groups."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from graphopt.channels import Analysis, ChannelGroup
from graphopt.channels.labels import Label
from graphopt.cost.sizes import KnownTypes, fixed_types
from graphopt.errors import EditError
from graphopt.ir import Value

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Term:
    """A part of an axis: `share` indices for each choice of one kept unit of every group of `groups` (numbers)."""

    share: float
    groups: tuple[int, ...]


@dataclass(frozen=True)
class Size:
    """The size of an axis: `fixed` + the sum of its terms, each share times the product of its groups' widths.

    A head and a position within it make a product. `exact` is false where an axis takes some units of a group and not others (the first
    half of some channels, say), so that it matters which are kept: the size is then that of an even choice.
    """

    fixed: int
    terms: tuple[Term, ...] = ()
    exact: bool = True

    def at(self, widths: Any) -> Any:
        """The size where `widths[number]` units of each group are left: numbers, or arrays of equal shapes."""
        if not self.terms:
            return self.fixed
        total: Any = 0
        for term in self.terms:
            product: Any = term.share
            for number in term.groups:
                product = product * widths[number]
            total = total + product
        if isinstance(total, np.ndarray):
            return self.fixed + np.rint(total).astype(np.int64)
        return self.fixed + round(total)


class Widths:
    """The shapes of an analysed graph for every choice of widths.

    `groups` are the groups that can be cut, in the order of their numbers here; `types` the graph's types with its free dimensions sized.
    It holds for the graph as it was analysed. A vector that several nodes share keeps its size here: a cut gives each its own.
    """

    def __init__(self, analysis: Analysis, types: KnownTypes | None = None) -> None:
        self.analysis = analysis
        self.types = types or fixed_types(analysis.graph)
        self.groups: tuple[ChannelGroup, ...] = tuple(group for group in analysis.groups if group.prunable)
        self.full: Shape = tuple(group.size for group in self.groups)
        self._number = {group.name: number for number, group in enumerate(self.groups)}
        self._owner = np.full(analysis.table.count, -1, np.int64)
        for number, group in enumerate(self.groups):
            self._owner[group.units] = number
        self._forms: dict[int, Size | None] = {}
        self._sizes: dict[Value, tuple[Size, ...]] = {}
        for value, labels in analysis.labels.items():
            self._add(value, labels)

    def number(self, name: str) -> int:
        """The number of the group of that name. Raises EditError for a group that cannot be cut or is not there."""
        try:
            return self._number[name]
        except KeyError:
            raise EditError(f"there is no channel group {name!r} that can be cut; `graphopt inspect --groups` lists them") from None

    def sizes(self, value: Value) -> tuple[Size, ...] | None:
        """The size of each axis; None where the shape is not known in full."""
        known = self._sizes.get(value)
        if known is not None:
            return known
        shape = self.types.static(value)
        return None if shape is None else tuple(Size(size) for size in shape)

    @property
    def distinct(self) -> list[Size]:
        """The sizes that depend on some width, each once."""
        return list(dict.fromkeys(size for sizes in self._sizes.values() for size in sizes if size.terms))

    @property
    def exact(self) -> bool:
        """Whether all sizes are exact, whichever units are kept."""
        return all(size.exact for sizes in self._sizes.values() for size in sizes)

    def assignment(self, widths: Mapping[str, int]) -> list[int]:
        """The width of every group by number; those that are not named are whole. Raises EditError for a width that cannot be."""
        found = list(self.full)
        for name, width in widths.items():
            number = self.number(name)
            if not 1 <= width <= self.full[number]:
                raise EditError(f"channel group {name!r} has {self.full[number]} units; it cannot keep {width}")
            found[number] = width
        return found

    def shapes(self, widths: Mapping[str, int]) -> Callable[[Value], Shape | None]:
        """The shape of any value when the named groups keep so many units. Raises EditError for a width that cannot be."""
        return self.shapes_at(self.assignment(widths))

    def shapes_at(self, assigned: Sequence[int]) -> Callable[[Value], Shape | None]:
        """As `shapes`, for the width of every group by its number."""
        at: dict[int, int] = {}
        changed: dict[Value, Shape] = {}
        for value, sizes in self._sizes.items():
            changed[value] = tuple(at[id(size)] if id(size) in at else at.setdefault(id(size), size.at(assigned)) for size in sizes)
        static = self.types.static

        def shape(value: Value) -> Shape | None:
            found = changed.get(value)
            return static(value) if found is None else found

        return shape

    def _add(self, value: Value, labels: list[Label]) -> None:
        shape = self.types.static(value)
        if shape is None or not any(label is not None for label in labels):
            return
        forms = [self._form(label) if label is not None else None for label in labels]
        if any(form is not None for form in forms):
            self._sizes[value] = tuple(Size(size) if form is None else form for form, size in zip(forms, shape, strict=True))

    def _form(self, label: npt.NDArray[np.int64]) -> Size | None:
        """The size of an axis with that label; None where no group changes it."""
        if id(label) not in self._forms:
            self._forms[id(label)] = self._found_form(label)
        return self._forms[id(label)]

    def _found_form(self, label: npt.NDArray[np.int64]) -> Size | None:
        resolved = self.analysis.resolve(label)
        if resolved is None:
            return None
        count = self.analysis.table.count
        owner = self._owner[resolved]
        # A unit of a group as one number that sorts by group; -1 where there is none. A unit that stands twice in a row counts once.
        rows = np.sort(np.where(owner >= 0, owner * count + resolved, -1), axis=1)
        rows[:, 1:][rows[:, 1:] == rows[:, :-1]] = -1
        rows = np.sort(rows, axis=1)
        if (rows < 0).all():
            return None
        kinds, kind = np.unique(np.where(rows >= 0, rows // count, -1), axis=0, return_inverse=True)
        fixed, terms, exact = 0, [], True
        for number, owners in enumerate(kinds.tolist()):
            of_kind = rows[kind.reshape(-1) == number]
            groups = tuple(owner for owner in owners if owner >= 0)
            if not groups:
                fixed += len(of_kind)
                continue
            combinations = math.prod(self.full[group] for group in groups)
            _, repeats = np.unique(of_kind, axis=0, return_counts=True)
            exact &= len(repeats) == combinations and int(repeats.min()) == int(repeats.max()) and len(set(groups)) == len(groups)
            terms.append(Term(len(of_kind) / combinations, groups))
        return Size(fixed, tuple(terms), exact)
