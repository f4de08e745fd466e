"""Random programs over labels: whatever was related once stays related, after everything that comes later.

A program makes labels, equates, picks, stacks and reshapes them in any order. Each step states its relation as two lists of indices that
must disappear together; all of them are checked at the end against the brute-force reading of labels in oracle.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from graphopt.channels.labels import Label, Labels
from graphopt.channels.units import UnitTable
from tests.channels.limits import time_limit
from tests.channels.oracle import Leaves, indices, positions

Relation = Callable[[], tuple[list[Leaves], list[Leaves]]]
_PHASES = (Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink)  # without `explain`, which takes minutes to say little
_SIZES = (2, 3, 4, 6, 8)


class Program:
    """Labels made so far, and what must hold of them."""

    def __init__(self, data: st.DataObject) -> None:
        self.draw = data.draw
        self.labels = Labels(UnitTable())
        self.made: list[tuple[int, Label]] = [
            (4, self.labels.fresh(4)),
            (6, self.labels.fresh(6)),
            (4, self.grid(2, 2)),
            (4, self.grid(2, 2)),
        ]
        self.relations: list[tuple[str, Relation]] = []

    def grid(self, rows: int, columns: int) -> Label:
        """The label of an axis that was made of two."""
        return self.labels.reshape([self.labels.fresh(rows), self.labels.fresh(columns)], (rows, columns), (rows * columns,))[0]

    def pick(self, size: int | None = None) -> tuple[int, Label]:
        """A label made before, of the given size if any; sometimes, and where there is none, a new one."""
        fitting = [pair for pair in self.made if size in (None, pair[0])]
        if fitting and self.draw(st.integers(0, 3)) > 0:
            return self.draw(st.sampled_from(fitting))
        if size is None:
            size = self.draw(st.sampled_from(_SIZES))
        fresh = (size, self.labels.fresh(size))
        self.made.append(fresh)
        return fresh

    def of(self, size: int, label: Label) -> list[Leaves]:
        return indices(self.labels.units, label, size)

    def equate(self) -> None:
        size, a = self.pick()
        _, b = self.pick(size)
        common = self.labels.equate(a, b)
        self.made.append((size, common))
        self.relations.append(("equate", lambda: (self.of(size, a), self.of(size, b))))
        self.relations.append(("equate's result", lambda: (self.of(size, common), self.of(size, a))))

    def equate_stacks(self) -> None:
        """Two axes made of parts of the same sizes."""
        sizes = self.draw(st.lists(st.sampled_from([4, 4, 6, 2]), min_size=2, max_size=3))
        one, other = ([self.pick(size) for size in sizes] for _ in range(2))
        self.labels.equate(self.labels.concat(one), self.labels.concat(other))
        for (size, a), (_, b) in zip(one, other, strict=True):
            self.relations.append(("equate of stacks", lambda size=size, a=a, b=b: (self.of(size, a), self.of(size, b))))

    def take(self) -> None:
        size, label = self.pick()
        chosen = np.array(self.draw(st.lists(st.integers(-1, size - 1), min_size=2, max_size=8)))
        taken = self.labels.take(label, chosen)
        self.made.append((len(chosen), taken))
        self.relations.append(
            ("take", lambda: (self.of(len(chosen), taken), [self.of(size, label)[i] if i >= 0 else frozenset() for i in chosen]))
        )

    def concat(self) -> None:
        parts = [self.pick() for _ in range(self.draw(st.integers(1, 3)))]
        total = sum(size for size, _ in parts)
        if total > 24:
            return
        stacked = self.labels.concat(parts)
        self.made.append((total, stacked))
        self.relations.append(("concat", lambda: (self.of(total, stacked), [leaf for part in parts for leaf in self.of(*part)])))

    def reshape(self) -> None:
        parts = [self.pick() for _ in range(self.draw(st.integers(1, 3)))]
        before = [size for size, _ in parts]
        total = math.prod(before)
        if total > 96:
            return
        after = self.factors(total)
        labels = [label for _, label in parts]
        made = self.labels.reshape(labels, before, after)
        self.made += zip(after, made, strict=True)
        self.relations.append(
            (
                f"reshape {before} to {after}",
                lambda: (positions(self.labels.units, labels, before), positions(self.labels.units, made, after)),
            )
        )

    def factors(self, total: int) -> list[int]:
        """A random way to write `total` as a product."""
        sizes = []
        while total > 1 and len(sizes) < 4:
            size = self.draw(st.sampled_from([d for d in range(1, total + 1) if total % d == 0]))
            sizes.append(size)
            total //= size
        return [*sizes, total] if total > 1 or not sizes else sizes

    def freeze(self) -> None:
        _, label = self.pick()
        self.labels.freeze(label, "asked")

    def run(self, steps: int) -> None:
        kinds = [self.equate, self.equate_stacks, self.equate_stacks, self.reshape, self.reshape, self.take, self.concat, self.freeze]
        for _ in range(steps):
            self.draw(st.sampled_from(kinds))()
        for what, relation in self.relations:
            one, other = relation()
            assert one == other, f"{what}: {[set(x) for x in one]} is not {[set(x) for x in other]}"


@settings(max_examples=400, deadline=None, phases=_PHASES)
@given(st.data(), st.integers(1, 7))
def test_relations_hold_to_the_end(data: st.DataObject, steps: int) -> None:
    with time_limit(2):
        Program(data).run(steps)
