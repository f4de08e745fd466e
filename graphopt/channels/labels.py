"""Labels: for each index of an axis, the units it depends on; and what operators do to labels.

A label is an int64 array of shape (size of the axis, columns), 0 for "no unit", or None for an axis whose indices never disappear. An
index disappears when any of its units is removed. Labels are never written to, so tensors share them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphopt.channels.units import Units, UnitTable

Label = Units | None


class Labels:
    """The operations on labels, over one table of units. `where` is the node at work, for the remarks that operations leave."""

    def __init__(self, units: UnitTable) -> None:
        self.units = units
        self.where = ""
        self._resolved: dict[int, tuple[Units, int, Label]] = {}  # by identity: the label, the table's changes then, what it was
        self._shared: dict[tuple[int, bytes], Units] = {}  # resolved labels by contents, so that equal ones are one array
        self._runs: dict[int, bool] = {}  # by identity of such a label, whether it is a run

    # ---- making and reading

    def fresh(self, size: int) -> Label:
        """A label with a unit of its own for every index; none for an axis of size 1, which has nothing to spare."""
        if size <= 1:
            return None
        label = self.units.fresh(size)[:, None]
        # It says already what `resolve` is to find.
        self._resolved[id(label)] = label, self.units.changes, label
        self._shared[1, label.tobytes()] = label
        self._runs[id(label)] = True
        return label

    def resolve(self, label: Label) -> Label:
        """The label in terms of representatives, empty columns dropped. Labels that say the same are the same array then."""
        if label is None or label.shape[1] == 0:
            return None
        known = self._resolved.get(id(label))
        if known is not None and known[1] == self.units.changes:
            return known[2]
        if known is None or (known[2] is not None and not self.units.settled(known[2])):
            resolved = self._resolve(label)
        else:
            resolved = known[2]
        for each in (label, resolved):
            if each is not None:
                self._resolved[id(each)] = each, self.units.changes, resolved
        return resolved

    def _resolve(self, label: Units) -> Label:
        as_it_is = label.shape[1] == 1 and self.units.settled(label) and np.count_nonzero(label)
        made = label if as_it_is else self._in_representatives(label)
        return None if made is None else self._shared.setdefault((made.shape[1], made.tobytes()), made)

    def _in_representatives(self, label: Units) -> Label:
        columns = [part for column in label.T for part in self.units.resolve(column)]
        columns = [column for column in columns if np.count_nonzero(column)]
        if not columns:
            return None
        if len(columns) == 1:
            return columns[0][:, np.newaxis]
        resolved: Units = np.stack(columns, axis=1)
        if np.count_nonzero(resolved) < resolved.size:  # units to the front, so that rows from different sources look alike
            resolved = np.take_along_axis(resolved, np.argsort(resolved == 0, axis=1, kind="stable"), axis=1)
            resolved = resolved[:, resolved.any(axis=0)]
        return resolved

    def freeze(self, label: Label, why: str) -> None:
        """Let no unit of the label be removed."""
        if label is not None:
            self.units.remark(label, "frozen", self.where, why)

    def inexact(self, label: Label, why: str) -> None:
        """Note that the function changes when a unit of the label goes, beyond what setting its weights to zero changes."""
        if label is not None:
            self.units.remark(label, "inexact", self.where, why)

    def call(self, label: Label, kind: str) -> None:
        """Say what people call the units of the label."""
        if label is not None:
            self.units.remark(label, "kind", self.where, kind)

    # ---- two axes that are one

    def equate(self, a: Label, b: Label) -> Label:
        """Make two axes lose the same indices, and return their common label. Sizes are equal."""
        if a is b:
            return a
        a, b = self.resolve(a), self.resolve(b)
        if a is b:
            return a
        if a is None or b is None:
            self.freeze(a if b is None else b, "meets an axis that cannot change")
            return None
        if len(a) != len(b):
            self.freeze(a, f"an axis of {len(a)} meets one of {len(b)}")
            self.freeze(b, f"an axis of {len(a)} meets one of {len(b)}")
            return None
        if a.shape[1] == b.shape[1] == 1 and (self._is_run(a) or self._is_run(b)):
            # By far the commonest cases, without the searches below.
            if self._is_run(a) and self._is_run(b):
                return self._equate_runs(a, b)
            if np.count_nonzero(a) == len(a) and np.count_nonzero(b) == len(b):  # a run parts the axis more finely than anything
                self.units.union(a[:, 0], b[:, 0])
                return self.resolve(a)
        patterns = _same_pattern(a, b)
        if len(patterns) == 1:
            self._equate_full(a, b)
        else:
            for rows in patterns:
                self.equate(a[rows], b[rows])
        return self.resolve(a)

    def _equate_runs(self, a: Units, b: Units) -> Label:
        first, second = (a, b) if a[0, 0] < b[0, 0] else (b, a)
        if first[-1, 0] < second[0, 0]:
            self.units.union_apart(first[:, 0], second[:, 0])
            self._resolved[id(second)] = second, self.units.changes, first
            return first
        self.units.union(a[:, 0], b[:, 0])
        return self.resolve(a)

    def _is_run(self, label: Units) -> bool:
        """`_is_run` of a resolved label."""
        if id(label) not in self._runs:
            self._runs[id(label)] = _is_run(label)
        return self._runs[id(label)]

    def _equate_full(self, a: Units, b: Units) -> None:
        """Equate two resolved labels whose columns are full, one step at a time: a step may change what the other columns say."""
        in_a, in_b = _unlike(list(a.T), list(b.T))
        if not in_a and not in_b:
            return
        if self._unite_twins(in_a, in_b) or self._refine_one(in_a, in_b) or self._split_off(in_a, in_b) or self._split_off(in_b, in_a):
            self.equate(a, b)
            return
        for column in (*in_a, *in_b):
            self.freeze(column[:, None], "the axis is split in two ways that do not fit each other")

    def _unite_twins(self, a: list[Units], b: list[Units]) -> bool:
        """Unite two columns that part the axis in the same way, or the last two if one parts it more finely."""
        for x in a:
            for y in b:
                if _same_partition(x, y) or (len(a) == len(b) == 1 and (_determines(x, y) or _determines(y, x))):
                    self.units.union(x, y)
                    return True
        return False

    def _refine_one(self, a: list[Units], b: list[Units]) -> bool:
        """Replace the last column of one side by the several columns of the other, where it determines them all."""
        for column, parts in ((a, b), (b, a)):
            if len(column) == 1 and len(parts) > 1 and all(_determines(column[0], part) for part in parts) and _apart(column[0], parts):
                self._refine_into(column[0], parts)
                return True
        return False

    def _split_off(self, fine: list[Units], coarse: list[Units]) -> bool:
        """Where a column of `fine` parts the axis more finely than one of `coarse`, write it as that column and a digit of its own.

        So 24 heads of 32 meet 12 heads of 64: the 24 are 12 times 2, and the 64 will be found to be 2 times 32.
        """
        for x in fine:
            for y in coarse:
                if _determines(x, y) and _apart(x, [y]) and (digit := _digit_within(x, y)) is not None:
                    self.units.refine(x, y, self.units.fresh(int(digit.max()) + 1)[digit])
                    return True
        return False

    def _refine_into(self, column: Units, parts: list[Units]) -> None:
        """Replace the units of `column` by those of several columns that it determines."""
        while len(parts) > 2:
            pair = self.units.fresh(len(column))
            # Rows that agree in both columns share one new unit.
            _, first, same = np.unique(np.stack(parts[:2]), axis=1, return_index=True, return_inverse=True)
            pair = pair[first][same.reshape(-1)]
            self.units.refine(pair, parts[0], parts[1])
            parts = [pair, *parts[2:]]
        self.units.refine(column, parts[0], parts[1])

    # ---- one axis made of indices of others

    def take(self, label: Label, indices: np.ndarray) -> Label:
        """The label of the axis that picks `indices` (-1: an index that nothing can remove)."""
        if label is None:
            return None
        taken: Units = label[indices]
        if (indices < 0).any():
            taken[indices < 0] = 0
        return taken

    def concat(self, parts: Sequence[tuple[int, Label]]) -> Label:
        """The label of axes stacked one after the other, given as (size, label)."""
        resolved = [(size, self.resolve(label)) for size, label in parts]
        width = max((label.shape[1] for _, label in resolved if label is not None), default=0)
        if width == 0:
            return None
        stacked = np.zeros((sum(size for size, _ in parts), width), np.int64)
        start = 0
        for size, label in resolved:
            if label is not None:
                stacked[start : start + size, : label.shape[1]] = label
            start += size
        return stacked

    # ---- reshapes

    def reshape(self, labels: Sequence[Label], before: Sequence[int | str | None], after: Sequence[int | str | None]) -> list[Label]:
        """Labels of the axes after a row-major reshape. Unknown sizes (None, or names) are matched by name from both ends."""
        result: list[Label] = [None] * len(after)
        for into, out_of in _blocks(before, after):
            sizes_in, sizes_out = [before[i] for i in into], [after[o] for o in out_of]
            wide_in = [i for i in into if before[i] != 1]
            wide_out = [o for o in out_of if after[o] != 1]
            if len(wide_in) == 1 and len(wide_out) == 1:
                result[wide_out[0]] = labels[wide_in[0]]
            elif all(isinstance(size, int) for size in (*sizes_in, *sizes_out)):
                known_in, known_out = [int(s) for s in sizes_in if isinstance(s, int)], [int(s) for s in sizes_out if isinstance(s, int)]
                made = self._reshape_block([labels[i] for i in into], known_in, known_out)
                for o, label in zip(out_of, made, strict=True):
                    result[o] = label
            else:
                for i in into:
                    self.freeze(labels[i], "a reshape mixes it with an axis of unknown size")
        return result

    def _reshape_block(self, labels: Sequence[Label], before: list[int], after: list[int]) -> list[Label]:
        columns: list[Units] = []
        for axis, label in enumerate(labels):
            label = self.resolve(label)
            if label is not None:
                shape = [1] * len(before)
                shape[axis] = before[axis]
                columns += [np.broadcast_to(column.reshape(shape), before).reshape(after) for column in label.T]
        if not columns:
            return [None] * len(after)
        result: list[list[Units]] = [[] for _ in after]
        pending = columns
        while pending:
            grid = pending.pop()
            parts = [part.reshape(after) for part in self.units.resolve(grid.reshape(-1))]
            if len(parts) > 1:
                pending += [part for part in parts if part.any()]
                continue
            grid = parts[0]
            varies = _varying_axes(grid)
            if len(varies) == 0:
                self.freeze(grid.reshape(-1)[:1, None], "it spans a whole reshaped axis")
            elif len(varies) == 1:
                place = tuple(slice(None) if axis == varies[0] else 0 for axis in range(grid.ndim))
                result[varies[0]].append(grid[place])
            elif not grid.all():
                self.freeze(grid.reshape(-1, 1), "a reshape splits it irregularly")
            else:
                self._refine_grid(grid, varies)
                pending.append(grid)
        return [np.stack(columns, axis=1) if columns else None for columns in result]

    def _refine_grid(self, grid: Units, varies: list[int]) -> None:
        """Refine the units of a grid that vary along several axes into units of the first such axis and units of the rest."""
        first = varies[0]
        rows = grid.shape[first]
        flat = np.moveaxis(grid, first, 0).reshape(rows, -1)
        row_units, column_units = self.units.fresh(rows), self.units.fresh(flat.shape[1])
        by_row, by_column = np.broadcast_to(row_units[:, None], flat.shape), np.broadcast_to(column_units[None, :], flat.shape)
        units, left, right = flat.reshape(-1), by_row.reshape(-1), by_column.reshape(-1)
        # A unit that stands in several places takes all their rows and columns together.
        distinct, place, back = np.unique(units, return_index=True, return_inverse=True)
        self.units.union(left, left[place][back])
        self.units.union(right, right[place][back])
        self.units.refine(distinct, left[place], right[place])


def _is_run(label: Units) -> bool:
    """Whether each index has a unit of its own, one number after the other."""
    return label.shape[1] == 1 and int(label[0, 0]) > 0 and np.count_nonzero(label[1:, 0] - label[:-1, 0] != 1) == 0


def _same_pattern(a: Units, b: Units) -> list[np.ndarray]:
    """Groups of rows that have units in the same columns, as row numbers."""
    if np.count_nonzero(a) == a.size and np.count_nonzero(b) == b.size:
        return [np.arange(len(a))]
    _, group = np.unique(np.concatenate([a != 0, b != 0], axis=1), axis=0, return_inverse=True)
    group = group.reshape(-1)
    return [np.flatnonzero(group == number) for number in range(int(group.max()) + 1)]


def _unlike(a: list[Units], b: list[Units]) -> tuple[list[Units], list[Units]]:
    """The columns of both sides that the other side does not have already."""
    rest_a = [x for x in a if not any(np.array_equal(x, y) for y in b)]
    rest_b = [y for y in b if not any(np.array_equal(x, y) for x in a)]
    return rest_a, rest_b


def _apart(column: Units, parts: list[Units]) -> bool:
    """Whether no unit of the column is among those of the parts: a unit cannot be made of itself."""
    return not any(bool(np.isin(column, part).any()) for part in parts)


def _classes(column: Units) -> int:
    return len(np.unique(column))


def _pairs(a: Units, b: Units) -> int:
    return len(np.unique(a * (int(b.max(initial=0)) + 1) + b))


def _determines(a: Units, b: Units) -> bool:
    """Whether indices that share a unit in `a` share one in `b` too."""
    return _pairs(a, b) == _classes(a)


def _same_partition(a: Units, b: Units) -> bool:
    return _determines(a, b) and _determines(b, a)


def _digit_within(fine: Units, coarse: Units) -> Units | None:
    """For each index, the rank of its class of `fine` among those in its class of `coarse`; None where these differ in number."""
    classes, first = np.unique(fine, return_index=True)
    classes = classes[np.argsort(first)]  # in order of appearance
    owner = {int(f): int(c) for f, c in zip(fine, coarse, strict=True)}
    seen: dict[int, int] = {}
    rank = {}
    for cls in classes.tolist():
        rank[cls] = seen.get(owner[cls], 0)
        seen[owner[cls]] = rank[cls] + 1
    if len(set(seen.values())) != 1:
        return None
    return np.array([rank[cls] for cls in fine.tolist()], np.int64)


def _varying_axes(grid: Units) -> list[int]:
    return [axis for axis in range(grid.ndim) if grid.shape[axis] > 1 and np.count_nonzero(grid != grid.take([0], axis=axis))]


def _blocks(before: Sequence[int | str | None], after: Sequence[int | str | None]) -> list[tuple[list[int], list[int]]]:
    """Minimal runs of axes with equal products, as (input axes, output axes), matched from the front and, past unknown sizes, the back."""
    front: list[tuple[list[int], list[int]]] = []
    i = o = 0
    while i < len(before) and o < len(after):
        run = _run(before, after, i, o)
        if run is None:
            break
        front.append((list(range(i, run[0])), list(range(o, run[1]))))
        i, o = run
    back: list[tuple[list[int], list[int]]] = []
    rest_in, rest_out = list(before[i:])[::-1], list(after[o:])[::-1]
    ri = ro = 0
    while ri < len(rest_in) and ro < len(rest_out):
        run = _run(rest_in, rest_out, ri, ro)
        if run is None:
            break
        last_in, last_out = len(before) - 1, len(after) - 1
        back.append(([last_in - k for k in range(run[0] - 1, ri - 1, -1)], [last_out - k for k in range(run[1] - 1, ro - 1, -1)]))
        ri, ro = run
    middle = (list(range(i, len(before) - ri)), list(range(o, len(after) - ro)))
    return [*front, *([middle] if middle[0] or middle[1] else []), *reversed(back)]


def _run(before: Sequence[int | str | None], after: Sequence[int | str | None], i: int, o: int) -> tuple[int, int] | None:
    """The ends of the shortest runs from (i, o) with the same product; None where an unknown size stands in the way."""
    if before[i] == after[o] and before[i] is not None:
        return i + 1, o + 1
    size_in, size_out = before[i], after[o]
    if not isinstance(size_in, int) or not isinstance(size_out, int):
        return None
    i, o = i + 1, o + 1
    while size_in != size_out:
        if size_in < size_out:
            following = before[i] if i < len(before) else None
            if not isinstance(following, int):
                return None
            size_in, i = size_in * following, i + 1
        else:
            following = after[o] if o < len(after) else None
            if not isinstance(following, int):
                return None
            size_out, o = size_out * following, o + 1
    return i, o
