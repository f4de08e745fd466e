"""The latency of subnets without making them: tables of what each block costs, added up, as in Once-for-All's lookup estimator.

Which kernels a block becomes depends on its own settings, on widths that reach it, on the resolution, and on whether its input arrives in the
runtime's blocked layout. So each segment of the network has a table over the sites that it depends on and that layout, which holds what its
kernels add to the network's time and in which layout it hands on its output. Tables are filled from subnets that are really extracted: all
segments take one entry each from every one, so that some dozens fill them. The sum goes through the correction from kernels to networks.

What a segment depends on beyond the sites that edit its nodes is seen: where one entry would have to hold two different things, a site in
which the two subnets differ is found by halving, and from then on the table goes by it too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from graphopt.cost import SUMMANDS, Predictor
from graphopt.errors import UnsupportedError
from graphopt.ir import Graph
from graphopt.supernet.extract import Extraction, extract
from graphopt.supernet.family import Supernet
from graphopt.supernet.generic import ElasticGraph
from graphopt.supernet.resolution import needs_resize, resize
from graphopt.supernet.segments import Part, Segment, Segments
from graphopt.supernet.space import Rows, Space
from graphopt.supernet.transforms import Transforms

Floats = npt.NDArray[np.float64]
Choice = tuple[int, ...]

_MOST_ENTRIES = 2**17  # of one table
_CHUNK = 4096  # rows that are looked up at once, so that what is read stays in the processor's cache
_BASES = 2  # subnets around which it is found out what segments depend on
_CHECKED = 6  # random subnets that the filled tables are compared with


@dataclass(frozen=True)
class Seen:
    """One subnet that was extracted, in parts."""

    row: Choice
    parts: tuple[Part, ...]
    entered: tuple[bool, ...]  # for each segment, whether its input is in the blocked layout


@dataclass
class _Table:
    """What a segment adds, over its `sites` and the layout of its input: shape (SUMMANDS, levels of each site ..., 2), NaN where it was not seen."""

    sites: list[int]
    sums: Floats
    leaves: npt.NDArray[np.bool_]  # the layout of its output
    seen: dict[tuple[int, ...], Seen] = field(default_factory=dict)
    strides: npt.NDArray[np.intp] = field(default_factory=lambda: np.zeros(0, np.intp))


class SubnetScores:
    """Predicted milliseconds of a supernet's subnets on one target. Equal to the prediction of the subnet that is extracted, up to rounding."""

    def __init__(
        self,
        graph: Graph,
        supernet: Supernet | ElasticGraph,
        space: Space,
        predictor: Predictor,
        transforms: Transforms | None = None,
        sizes: Mapping[str, int] | None = None,
    ) -> None:
        """Of the root `graph`, which stays as it is; `sizes` gives those of free dimensions by name, by default 1.

        Raises SupernetError where names do not fit. Later, UnsupportedError where a segment depends on more settings than a table can hold,
        SupernetError where a subnet cannot be extracted, OpenShapeError.
        """
        self.space, self._graph, self._supernet, self._predictor, self._transforms = space, graph, supernet, predictor, transforms
        self._free = dict(sizes or {})
        self._divided = Segments(graph, space)
        self._memory: dict[Choice, Seen] = {}
        self._sizes: dict[int, Graph] = {}
        self.extracted = 0  # subnets that were really made
        self._refined = 0  # times that a table turned out to depend on more sites
        self._tables = [self._empty([]) for _ in self._divided.segments]
        size = [number for number, site in enumerate(space.sites) if site.key == "image_size"]
        for sites, table in zip(self._divided.sites(space), self._tables, strict=True):
            self._reset(table, sorted({*size, *sites}))
        self._explored = False
        self._rng = np.random.default_rng(0)

    # ---- what is asked

    def ms(self, rows: Rows) -> Floats:
        """Milliseconds of each row, shape (subnets,)."""
        self._explore()
        rows = self.space.canonical(np.asarray(rows, np.intp).reshape(-1, len(self.space.sites)))
        found = np.empty(len(rows))
        for start in range(0, len(rows), _CHUNK):
            found[start : start + _CHUNK] = self._looked_up(rows[start : start + _CHUNK])
        missing = np.flatnonzero(np.isnan(found))
        while len(missing):
            self._look(rows[missing[0]])
            found[missing] = self._looked_up(rows[missing])
            missing = missing[np.isnan(found[missing])]
        return found

    def fill(self) -> None:
        """Fill the tables now, as far as that can be planned, and compare them with random subnets; otherwise they are filled when asked."""
        self._explore()
        refined = -1
        while refined != self._refined:
            refined = self._refined
            for row in self.space.sample(self._rng, _CHECKED):
                self._look(row)
            while refined == self._refined and (row := self._missing()) is not None:
                self._look(row)

    def subnet(self, row: npt.ArrayLike) -> tuple[Graph, Extraction]:
        """The extracted subnet of a row, and what the extraction did."""
        config = self.space.config(row)
        made = self._sized(config.image_size).copy()
        return made, extract(made, self._supernet, config, self._transforms)

    def _explore(self) -> None:
        """Look at pairs of subnets that are alike in some segments and differ in all others, which shows what segments depend on."""
        if self._explored:
            return
        self._explored = True
        self._look(self.space.largest)
        depths = {span.present.depth for span in self.space.spans if span.present is not None}
        inside = [set(sites) - depths for sites in self._divided.sites(self.space)]
        shared = (
            set(range(len(self.space.sites))) - depths - {site for site in set().union(*inside) if sum(site in own for own in inside) == 1}
        )
        groups = [depths, shared, set().union(*inside[::2]) - shared, set().union(*inside[1::2]) - shared]
        for base in self.space.sample(self._rng, _BASES):
            base[sorted(depths)] = self.space.largest[sorted(depths)]
            self._look(base)
            for group in groups:
                sites = sorted(group)
                other = base.copy()
                other[sites] = (base[sites] + 1 + self._rng.integers(0, self.space.counts[sites] - 1)) % self.space.counts[sites]
                self._look(other)

    def _sized(self, size: int | None) -> Graph:
        """The supernet with an input of this size, from which extraction is quicker."""
        if size is None or self._supernet.input is None:
            return self._graph
        if size not in self._sizes:
            self._sizes[size] = self._graph.copy()
            if needs_resize(self._graph, self._supernet.input, size):
                resize(self._sizes[size], self._supernet.input, size)
        return self._sizes[size]

    # ---- tables

    def _looked_up(self, rows: Rows) -> Floats:
        """Milliseconds of rows, NaN where an entry is missing."""
        columns = np.ascontiguousarray(rows.T)
        sums = np.zeros((SUMMANDS, len(rows)))
        blocked = np.zeros(len(rows), np.intp)
        for segment, table in zip(self._divided.segments, self._tables, strict=True):
            place = blocked
            for site, stride in zip(table.sites, table.strides[:-1].tolist(), strict=True):
                place = place + columns[site] * stride
            flat = table.sums.reshape(SUMMANDS, -1)
            present = None if segment.span is None or segment.span.present is None else self.space.present(rows, segment.span.present)
            if present is None:
                for number in range(SUMMANDS):
                    sums[number] += flat[number].take(place)
                blocked = table.leaves.reshape(-1).take(place).astype(np.intp)
            else:
                for number in range(SUMMANDS):
                    sums[number] += np.where(present, flat[number].take(place), 0.0)
                blocked = np.where(present, table.leaves.reshape(-1).take(place), blocked).astype(np.intp)
        return self._predictor.correction.times(*sums)

    def _empty(self, sites: list[int]) -> _Table:
        table = _Table([], np.zeros((SUMMANDS, 2)), np.zeros(2, np.bool_))
        self._reset(table, sites)
        return table

    def _reset(self, table: _Table, sites: list[int]) -> None:
        shape = (*(int(self.space.counts[site]) for site in sites), 2)
        if math.prod(shape) > _MOST_ENTRIES:
            names = ", ".join(self.space.sites[site].name for site in sites)
            raise UnsupportedError(
                f"the kernels of one block depend on {names} together, {math.prod(shape):,} combinations: too many for a table"
            )
        table.sites, table.sums, table.leaves = sites, np.full((SUMMANDS, *shape), np.nan), np.zeros(shape, np.bool_)
        table.strides = np.array([math.prod(shape[place + 1 :]) for place in range(len(shape))], np.intp)
        table.seen = {}

    # ---- looking at subnets

    def _look(self, row: npt.ArrayLike) -> None:
        """Extract a subnet and enter what it comes to."""
        self._enter(self._seen(row))

    def _seen(self, row: npt.ArrayLike) -> Seen:
        key = tuple(int(place) for place in self.space.canonical(np.asarray(row, np.intp)[None])[0])
        if key not in self._memory:
            self.extracted += 1
            made, _ = self.subnet(key)
            parts = self._divided.parts(made, self._predictor.kernels(made, self._free))
            self._memory[key] = Seen(key, tuple(parts), self._entered(key, parts))
        return self._memory[key]

    def _entered(self, row: Choice, parts: list[Part]) -> tuple[bool, ...]:
        state, found = False, []
        for segment, part in zip(self._divided.segments, parts, strict=True):
            found.append(state)
            state = part.blocked if self._is_there(segment, row) else state
        return tuple(found)

    def _is_there(self, segment: Segment, row: Choice) -> bool:
        present = None if segment.span is None else segment.span.present
        return present is None or row[present.depth] >= present.least

    def _enter(self, seen: Seen) -> None:
        for number, (segment, table) in enumerate(zip(self._divided.segments, self._tables, strict=True)):
            if not self._is_there(segment, seen.row):
                continue
            place = self._place(table, seen, number)
            other = table.seen.get(place)
            if other is None:
                table.seen[place] = seen
                part = seen.parts[number]
                table.sums.reshape(SUMMANDS, -1)[:, int(np.dot(place, table.strides))] = self._predictor.summands(part.kernels).sum(axis=1)
                table.leaves[place] = part.blocked
            elif other.parts[number] != seen.parts[number]:
                self._refine(number, other, seen)

    def _place(self, table: _Table, seen: Seen, number: int) -> tuple[int, ...]:
        return (*(seen.row[site] for site in table.sites), int(seen.entered[number]))

    def _refine(self, number: int, one: Seen, other: Seen) -> None:
        """Let the table of a segment go by one more site: one whose choice alone, between two subnets, changes the segment."""
        table = self._tables[number]
        site = self._difference(number, one, other)
        self._refined += 1
        self._reset(table, sorted({*table.sites, site}))
        for seen in list(self._memory.values()):
            self._enter(seen)

    def _difference(self, number: int, one: Seen, other: Seen) -> int:
        start, end = np.array(one.row), np.array(other.row)
        differ = np.flatnonzero(start != end).tolist()
        low, high = 0, len(differ)
        segment = self._divided.segments[number]
        while high - low > 1:
            middle = (low + high) // 2
            row = start.copy()
            row[differ[:middle]] = end[differ[:middle]]
            seen = self._seen(row)
            same = self._is_there(segment, seen.row) and seen.parts[number] == one.parts[number]
            low, high = (middle, high) if same else (low, middle)
        site = int(differ[low])
        if site in self._tables[number].sites:
            raise UnsupportedError(
                f"what the kernels of {segment.name} depend on is not clear: {self.space.sites[site].name} has an effect that other settings take back"
            )
        return site

    def _missing(self) -> Rows | None:
        """A subnet that fills as many missing entries as can be planned, None where there is none to plan."""
        row = np.full(len(self.space.sites), -1, np.intp)
        planned = False
        order = self._rng.permutation(len(self._tables))
        for number in order.tolist():
            segment, table = self._divided.segments[number], self._tables[number]
            unknown = np.isnan(table.sums[0]).all(axis=-1)  # in both layouts: which of them arrives cannot be planned
            needs = None if segment.span is None else segment.span.present
            if needs is not None and needs.depth in table.sites:
                axis = table.sites.index(needs.depth)
                unknown = unknown & (np.arange(unknown.shape[axis]) >= needs.least).reshape(-1, *[1] * (unknown.ndim - axis - 1))
            if not unknown.any():
                continue
            if needs is not None and 0 <= row[needs.depth] < needs.least:
                continue
            places = np.argwhere(unknown)
            fits = np.ones(len(places), np.bool_)
            for axis, site in enumerate(table.sites):
                if row[site] >= 0:
                    fits &= places[:, axis] == row[site]
            places = places[fits]
            if not len(places):
                continue
            row[table.sites] = places[self._rng.integers(len(places))]
            if needs is not None and row[needs.depth] < 0:
                row[needs.depth] = self.space.largest[needs.depth]
            planned = True
        return np.where(row < 0, self.space.largest, row) if planned else None
