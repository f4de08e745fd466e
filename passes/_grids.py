"""How sizes that follow the resolution are put together: places merged to tokens, tokens beside others, what a Reshape makes of them."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

_T = TypeVar("_T")
Pair = tuple[int, int]
"""A size as it was and as it is now."""


class Misfit(Exception):
    """Why a node cannot work at the new resolution; the message is a clause about "it"."""


@dataclass(frozen=True)
class Grid:
    """An axis that holds `before` entries of another kind (class tokens), then the places of a grid, the last axis fastest, then `after`."""

    sides: tuple[Pair, ...]
    before: int = 0
    after: int = 0


class Grids:
    """What the sizes of a model that follow its resolution became, as far as its nodes were looked at."""

    def __init__(self) -> None:
        self._merged: defaultdict[Pair, set[tuple[Pair, ...]]] = defaultdict(set)
        self._beside: defaultdict[Pair, set[tuple[int, Pair, int]]] = defaultdict(set)
        self._sides: defaultdict[int, defaultdict[int, set[int]]] = defaultdict(lambda: defaultdict(set))

    def note_sides(self, old: Sequence[int], new: Sequence[int]) -> None:
        """Sizes of a picture or feature map, one for each of its axes in space."""
        for axis, (was, now) in enumerate(zip(old, new, strict=True)):
            self._sides[axis][was].add(now)

    def note_joined(self, parts: Sequence[Pair]) -> None:
        """What was put one after the other along one axis."""
        changed = [place for place, (old, new) in enumerate(parts) if old != new]
        if len(changed) == 1 and len(parts) > 1:
            before, after = (sum(old for old, _ in part) for part in (parts[: changed[0]], parts[changed[0] + 1 :]))
            whole = (sum(old for old, _ in parts), sum(new for _, new in parts))
            self._beside[whole].add((before, parts[changed[0]], after))

    def side(self, axis: int, old: int) -> int | None:
        """What a feature map's size along an axis in space became; None where no map had it, Misfit where two disagree."""
        return _only(self._sides[axis][old], f"maps of {old} places became maps of different sizes")

    def is_side(self, pair: Pair) -> bool:
        return any(pair[1] in sides.get(pair[0], ()) for sides in self._sides.values())

    def leading(self) -> int:
        """The most entries that lie before the places of a grid."""
        return max((before for found in self._beside.values() for before, _, _ in found), default=0)

    def grid(self, pair: Pair) -> Grid | None:
        """The arrangement of an axis of so many entries; None where it is not known, Misfit where there are several."""
        sides = self._factors(pair)
        if sides is not None:
            return Grid(sides)
        beside = _only(self._beside[pair], f"{pair[0]} entries were put together in different ways")
        if beside is None:
            return None
        before, inner, after = beside
        sides = self._factors(inner) or ((inner,) if self.is_side(inner) else None)
        return None if sides is None else Grid(sides, before, after)

    def _factors(self, pair: Pair) -> tuple[Pair, ...] | None:
        return _only(self._merged[pair], f"{pair[0]} places were merged from different grids")

    def reshaped(self, old_in: Sequence[int], new_in: Sequence[int], old_out: Sequence[int]) -> list[int]:
        """The shape that a Reshape is to give now. Raises Misfit where that cannot be told.

        Sizes that are merged are multiplied, what was merged is taken apart as it was. Where one size is divided into two, the second stays:
        windows and blocks keep their size, and there are fewer of them.
        """
        if 0 in (*old_in, *old_out):
            raise Misfit("an axis of it is empty")
        result: list[int] = []
        for ins, outs in _blocks(old_in, old_out):
            pairs = [(old_in[axis], new_in[axis]) for axis in ins]
            result += self._block([pair for pair in pairs if pair != (1, 1)], [old_out[axis] for axis in outs])
        return result

    def _block(self, pairs: list[Pair], outs: list[int]) -> list[int]:
        if all(old == new for old, new in pairs):
            return outs
        wide = [size for size in outs if size != 1]
        parts = _dealt(pairs, wide) or _dealt(self._expanded(pairs), wide)
        if parts is not None:
            for size, part in zip(wide, parts, strict=True):
                if len(part) > 1:
                    self._merged[size, math.prod(new for _, new in part)].add(tuple(part))
            made = [math.prod(new for _, new in part) for part in parts]
        elif len(pairs) == 1 and len(wide) == 2:
            made = _divided(pairs[0], wide)
        else:
            raise Misfit(f"it arranges {_times(old for old, _ in pairs)} places as {_times(wide)}")
        left = iter(made)
        return [1 if size == 1 else next(left) for size in outs]

    def _expanded(self, pairs: list[Pair]) -> list[Pair]:
        """The sizes with those that were merged taken apart again."""
        return [side for pair in pairs for side in ((pair[0] != pair[1] and self._factors(pair)) or (pair,))]


def _dealt(pairs: list[Pair], outs: list[int]) -> list[list[Pair]] | None:
    """For each of `outs` the sizes, in order, of which it is the product; those that stay may be divided. None where that is impossible."""
    left = list(reversed(pairs))
    parts: list[list[Pair]] = []
    for size in outs:
        part: list[Pair] = []
        while size > 1 and left:
            old, new = left.pop()
            common = old if size % old == 0 else math.gcd(size, old) if old == new else 1
            if common == 1 and old != 1:
                return None
            if common < old:
                if common != size:
                    return None
                left.append((old // common, old // common))
                new = common
            part.append((common, new))
            size //= common
        if size > 1:
            return None
        parts.append(part)
    return None if left else parts


def _divided(pair: Pair, outs: list[int]) -> list[int]:
    if pair[1] % outs[1]:
        raise Misfit(f"it divides {pair[0]} places into {_times(outs)}, and {pair[1]} cannot be divided so")
    return [pair[1] // outs[1], outs[1]]


def _times(sizes: Iterable[int]) -> str:
    return " x ".join(map(str, sizes))


def _blocks(old_in: Sequence[int], old_out: Sequence[int]) -> Iterator[tuple[list[int], list[int]]]:
    """The axes of both shapes in the smallest blocks, in order, that hold as many elements on both sides."""
    i = j = 0
    while i < len(old_in) or j < len(old_out):
        ins: list[int] = []
        outs: list[int] = []
        left = right = 1
        while not (ins or outs) or left != right:
            if j == len(old_out) or (i < len(old_in) and left <= right):
                left *= old_in[i]
                ins.append(i)
                i += 1
            else:
                right *= old_out[j]
                outs.append(j)
                j += 1
        if not outs and j < len(old_out) and old_out[j] == 1:  # of a 1 on both sides
            outs.append(j)
            j += 1
        yield ins, outs


def _only(found: set[_T], otherwise: str) -> _T | None:
    if len(found) > 1:
        raise Misfit(f"in it {otherwise}")
    return next(iter(found), None)
