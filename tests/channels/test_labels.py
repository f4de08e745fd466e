"""Labels by hand: what each operation makes of small labels, and what it freezes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from graphopt.channels.labels import Label, Labels
from graphopt.channels.units import UnitTable
from tests.channels.oracle import frozen, indices, leaves, positions, removable

Sizes = tuple[int | str | None, ...]


@pytest.fixture
def labels() -> Labels:
    labels = Labels(UnitTable())
    labels.where = "'n' (Op)"
    return labels


def of(labels: Labels, label: Label, size: int) -> list[set[int]]:
    return [set(found) for found in indices(labels.units, label, size)]


def test_every_index_of_a_fresh_label_has_a_unit_of_its_own(labels: Labels) -> None:
    assert of(labels, labels.fresh(3), 3) == [{1}, {2}, {3}]


def test_an_axis_of_one_index_has_none(labels: Labels) -> None:
    assert labels.fresh(1) is None


# ---- equate


def test_equal_axes_lose_the_same_indices(labels: Labels) -> None:
    a, b = labels.fresh(3), labels.fresh(3)
    common = labels.equate(a, b)
    assert of(labels, a, 3) == of(labels, b, 3) == of(labels, common, 3) == [{1}, {2}, {3}]


def test_an_axis_that_cannot_change_freezes_its_partner(labels: Labels) -> None:
    a = labels.fresh(3)
    assert labels.equate(None, a) is None
    assert labels.equate(labels.fresh(2), None) is None
    assert frozen(labels.units) == {1, 2, 3, 4, 5}
    assert labels.units.remarks[0].where == "'n' (Op)"


def test_axes_of_different_size_freeze_each_other(labels: Labels) -> None:
    a, b = labels.fresh(2), labels.fresh(3)
    assert labels.equate(a, b) is None
    assert removable(labels.units, a, b) == set()


def test_indices_of_one_unit_unite_the_units_of_the_other_side(labels: Labels) -> None:
    pair = labels.take(labels.fresh(2), np.array([0, 0, 1, 1]))
    single = labels.fresh(4)
    labels.equate(single, pair)
    found = of(labels, single, 4)
    assert found[0] == found[1] != found[2] == found[3]
    assert found == of(labels, pair, 4)


def test_a_plain_axis_is_refined_by_one_of_two_columns(labels: Labels) -> None:
    rows, columns = labels.fresh(2), labels.fresh(3)
    (grid,) = labels.reshape([rows, columns], (2, 3), (6,))
    plain = labels.fresh(6)
    labels.equate(plain, grid)
    assert of(labels, plain, 6) == of(labels, grid, 6) == [{1, 3}, {1, 4}, {1, 5}, {2, 3}, {2, 4}, {2, 5}]


def test_a_plain_axis_is_refined_by_one_of_three_columns(labels: Labels) -> None:
    parts = [labels.fresh(2), labels.fresh(2), labels.fresh(2)]
    (cube,) = labels.reshape(parts, (2, 2, 2), (8,))
    plain = labels.fresh(8)
    labels.equate(cube, plain)
    assert of(labels, plain, 8) == [{a, b, c} for a in (1, 2) for b in (3, 4) for c in (5, 6)]


@pytest.mark.parametrize("turned", [False, True])
def test_a_plain_axis_is_refined_by_columns_that_do_not_fill_a_grid(labels: Labels, turned: bool) -> None:
    corner = labels.take(grid(labels, 2, 2), np.array([0, 1, 2]))
    plain = labels.fresh(3)
    labels.equate(*((corner, plain) if turned else (plain, corner)))
    assert of(labels, plain, 3) == of(labels, corner, 3) == [{1, 3}, {1, 4}, {2, 3}]


@pytest.mark.parametrize("order", itertools.permutations(range(3)))
def test_a_plain_axis_is_refined_by_columns_of_which_one_determines_another(labels: Labels, order: tuple[int, ...]) -> None:
    """Positions (i, j) of (4, 2) that have a unit for i, one for its half, and one for j."""
    i, j = np.divmod(np.arange(8), 2)
    parts = [labels.take(labels.fresh(size), indices) for size, indices in ((4, i), (2, i // 2), (2, j))]
    columns, plain = np.concatenate([parts[place] for place in order], axis=1), labels.fresh(8)
    labels.equate(plain, columns)
    assert of(labels, plain, 8) == of(labels, columns, 8) == [{1 + i, 5 + i // 2, 7 + j} for i in range(4) for j in range(2)]


def test_two_splits_that_fit_are_united_column_by_column(labels: Labels) -> None:
    (a,) = labels.reshape([labels.fresh(2), labels.fresh(3)], (2, 3), (6,))
    (b,) = labels.reshape([labels.fresh(2), labels.fresh(3)], (2, 3), (6,))
    labels.equate(a, b)
    assert of(labels, a, 6) == of(labels, b, 6)
    assert len(removable(labels.units, a, b)) == 5


def test_two_splits_that_do_not_fit_are_never_wrong(labels: Labels) -> None:
    (a,) = labels.reshape([labels.fresh(2), labels.fresh(3)], (2, 3), (6,))
    (b,) = labels.reshape([labels.fresh(3), labels.fresh(2)], (3, 2), (6,))
    labels.equate(a, b)
    assert of(labels, a, 6) == of(labels, b, 6)


def test_an_index_without_units_holds_its_partner(labels: Labels) -> None:
    a = labels.concat([(2, labels.fresh(2)), (1, None)])
    b = labels.fresh(3)
    labels.equate(a, b)
    assert of(labels, b, 3) == [{1}, {2}, set()]


def test_a_refined_unit_is_refined_wherever_it_stands(labels: Labels) -> None:
    channels = labels.fresh(6)
    elsewhere = labels.take(channels, np.array([5, 0]))
    labels.reshape([channels], (6,), (2, 3))
    assert of(labels, elsewhere, 2) == [of(labels, channels, 6)[5], of(labels, channels, 6)[0]]
    assert all(len(found) == 2 for found in of(labels, elsewhere, 2))


def grid(labels: Labels, rows: int, columns: int) -> Label:
    """The label of an axis that two axes were merged into."""
    return labels.reshape([labels.fresh(rows), labels.fresh(columns)], (rows, columns), (rows * columns,))[0]


def test_an_axis_that_meets_two_splits_in_different_places_follows_both(labels: Labels) -> None:
    plain, one, other = labels.fresh(4), grid(labels, 2, 2), grid(labels, 2, 2)
    labels.equate(labels.concat([(4, plain), (4, one)]), labels.concat([(4, other), (4, plain)]))
    assert of(labels, plain, 4) == of(labels, one, 4) == of(labels, other, 4)


def test_an_axis_that_meets_a_part_of_itself_is_not_refined_into_itself(labels: Labels) -> None:
    channels = labels.fresh(12)
    first = labels.take(channels, np.array([0, 0, 0]))
    _, inner = labels.reshape([channels], (12,), (4, 3))
    labels.equate(first, inner)
    assert of(labels, first, 3) == of(labels, inner, 3)


def test_a_reversed_axis_meets_itself(labels: Labels) -> None:
    channels = labels.fresh(4)
    labels.equate(channels, labels.take(channels, np.array([3, 2, 1, 0])))
    found = of(labels, channels, 4)
    assert found[0] == found[3] != found[1] == found[2]


# ---- take and concat


def test_take_picks_indices_and_keeps_minus_one_free(labels: Labels) -> None:
    taken = labels.take(labels.fresh(3), np.array([2, -1, 0, 2]))
    assert of(labels, taken, 4) == [{3}, set(), {1}, {3}]


def test_take_of_nothing_is_nothing(labels: Labels) -> None:
    assert labels.take(None, np.array([0, 1])) is None


def test_take_leaves_the_label_it_reads_alone(labels: Labels) -> None:
    label = labels.fresh(2)
    labels.take(label, np.array([-1, -1]))
    assert of(labels, label, 2) == [{1}, {2}]


def test_concat_stacks_labels_of_different_width(labels: Labels) -> None:
    (grid,) = labels.reshape([labels.fresh(2), labels.fresh(2)], (2, 2), (4,))
    stacked = labels.concat([(1, None), (4, grid), (2, labels.fresh(2))])
    assert of(labels, stacked, 7) == [set(), {1, 3}, {1, 4}, {2, 3}, {2, 4}, {5}, {6}]


def test_concat_of_axes_that_cannot_change_is_one(labels: Labels) -> None:
    assert labels.concat([(2, None), (3, None)]) is None


# ---- reshape


def test_a_split_refines_channels_into_rows_and_columns(labels: Labels) -> None:
    channels = labels.fresh(6)
    rows, columns = labels.reshape([channels], (6,), (2, 3))
    (r0, r1), (c0, c1, c2) = ([set(x) for x in indices(labels.units, axis, size)] for axis, size in ((rows, 2), (columns, 3)))
    assert of(labels, channels, 6) == [r0 | c0, r0 | c1, r0 | c2, r1 | c0, r1 | c1, r1 | c2]
    assert len(removable(labels.units, channels)) == 5


def test_a_merge_gives_each_index_its_row_and_its_column(labels: Labels) -> None:
    (merged,) = labels.reshape([labels.fresh(2), labels.fresh(3)], (2, 3), (6,))
    assert of(labels, merged, 6) == [{1, 3}, {1, 4}, {1, 5}, {2, 3}, {2, 4}, {2, 5}]


def test_splitting_what_was_merged_gives_it_back(labels: Labels) -> None:
    a, b = labels.fresh(2), labels.fresh(3)
    (merged,) = labels.reshape([a, b], (2, 3), (6,))
    rows, columns = labels.reshape([merged], (6,), (2, 3))
    assert of(labels, rows, 2) == [{1}, {2}]
    assert of(labels, columns, 3) == [{3}, {4}, {5}]


def test_splitting_in_three_gives_three_kinds_of_units(labels: Labels) -> None:
    channels = labels.fresh(12)
    made = labels.reshape([channels], (12,), (2, 3, 2))
    assert [len(removable(labels.units, label)) for label in made] == [2, 3, 2]
    assert len(removable(labels.units, channels)) == 7


def test_a_channel_shuffle_couples_rows_and_columns(labels: Labels) -> None:
    channels = labels.fresh(6)
    rows, columns = labels.reshape([channels], (6,), (2, 3))
    (shuffled,) = labels.reshape([columns, rows], (3, 2), (6,))
    before, after = of(labels, channels, 6), of(labels, shuffled, 6)
    assert after == [before[i] for i in (0, 3, 1, 4, 2, 5)]


def test_axes_of_one_come_and_go(labels: Labels) -> None:
    channels = labels.fresh(4)
    made = labels.reshape([None, channels, None], (1, 4, 1), (4, 1, 1))
    assert of(labels, made[0], 4) == [{1}, {2}, {3}, {4}]
    assert made[1:] == [None, None]


def test_axes_of_unknown_size_are_matched_by_name_and_from_the_end(labels: Labels) -> None:
    channels = labels.fresh(6)
    made = labels.reshape([None, None, channels], ("N", "T", 6), ("N", "T", 2, 3))
    assert made[:2] == [None, None]
    assert [len(removable(labels.units, label)) for label in made[2:]] == [2, 3]
    again = labels.reshape([None, labels.fresh(4)], (None, 4), (None, 4))
    assert len(removable(labels.units, again[1])) == 4


def test_a_unit_in_two_columns_of_a_split_unites_those(labels: Labels) -> None:
    """Positions 0 and 4 of (2, 3) are one: rows 0 and 1 go together, and so do columns 0 and 1."""
    twice = labels.take(labels.fresh(5), np.array([0, 1, 2, 3, 0, 4]))
    rows, columns = labels.reshape([twice], (6,), (2, 3))
    first, second, third = of(labels, columns, 3)
    assert of(labels, rows, 2) == [set(), set()]
    assert first == second != third
    assert of(labels, twice, 6) == [first, second, third] * 2


@pytest.mark.parametrize(
    ("before", "after", "labelled"),
    [
        ((None, 6), (None, 2, 3), [1]),
        ((None, 2, 3), (None, 6), [1, 2]),
        (("N", "M", 4), (None, 4), [2]),
        ((None, 4), ("N", "M", 4), [1]),
        (("A", 6), (6,), [1]),
        ((6,), ("A", 6), [0]),
        ((2, 3, "N", 2, 3), (6, "N", 6), [0, 1, 3, 4]),
        ((6, "N", 6), (2, 3, "N", 2, 3), [0, 2]),
        (("N", 2, 3, "M"), ("N", 6, "M"), [1, 2]),
        (("N", 6, 5, "M"), ("N", 2, 3, 5, "M"), [1, 2]),
        ((4, 1, "N"), (2, 2, "N", 1), [0]),
    ],
)
def test_a_reshape_around_unknown_sizes(labels: Labels, before: Sizes, after: Sizes, labelled: list[int]) -> None:
    """Nothing is frozen, and elements keep their units, here where each unknown size is 1."""
    given = [labels.fresh(int(size or 0)) if axis in labelled else None for axis, size in enumerate(before)]
    made = labels.reshape(given, before, after)
    sizes_in, sizes_out = ([size if isinstance(size, int) else 1 for size in shape] for shape in (before, after))
    assert positions(labels.units, given, sizes_in) == positions(labels.units, made, sizes_out)
    assert frozen(labels.units) == set()


def test_an_axis_mixed_with_an_unknown_size_is_frozen(labels: Labels) -> None:
    channels = labels.fresh(6)
    assert labels.reshape([None, channels], ("N", 6), ("M",)) == [None]
    assert removable(labels.units, channels) == set()


def test_a_unit_that_fills_a_reshaped_axis_is_frozen(labels: Labels) -> None:
    channels = labels.fresh(2)
    same = labels.take(channels, np.zeros(4, np.int64))
    made = labels.reshape([same], (4,), (2, 2))
    assert of(labels, made[0], 2) == of(labels, made[1], 2) == [set(), set()]
    assert removable(labels.units, channels) == {2}


def test_a_row_beside_an_index_that_cannot_go_is_frozen(labels: Labels) -> None:
    channels = labels.concat([(5, labels.fresh(5)), (1, None)])
    rows, columns = labels.reshape([channels], (6,), (2, 3))
    assert [set(found) for found in positions(labels.units, [rows, columns], (2, 3))] == of(labels, channels, 6)
    assert of(labels, channels, 6)[5] == set()
    assert leaves(labels.units, 1) != set()


# ---- remarks


def test_inexact_marks_without_freezing(labels: Labels) -> None:
    label = labels.fresh(3)
    labels.inexact(label, "averages")
    assert [(remark.kind, remark.why) for remark in labels.units.remarks] == [("inexact", "averages")]
    assert removable(labels.units, label) == {1, 2, 3}


def test_nothing_is_frozen_where_there_is_no_label(labels: Labels) -> None:
    labels.freeze(None, "why")
    labels.inexact(None, "why")
    assert labels.units.remarks == []
