"""Units: union says that two live and die together, refine that one goes when either of two goes."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from graphopt.channels.units import UnitTable
from tests.channels.oracle import frozen, leaves


def column(*units: int) -> np.ndarray:
    return np.array(units, np.int64)


def test_fresh_units_are_new_and_never_zero() -> None:
    table = UnitTable()
    assert table.fresh(3).tolist() == [1, 2, 3]
    assert table.fresh(2).tolist() == [4, 5]
    assert table.count == 6


def test_the_table_grows_as_needed() -> None:
    table = UnitTable()
    few, many = table.fresh(1000), table.fresh(5000)
    assert table.find(few).tolist() == few.tolist()
    assert table.find(many).tolist() == many.tolist()
    assert table.resolve(many)[0].tolist() == many.tolist()


def test_united_units_have_one_representative() -> None:
    table = UnitTable()
    a, b, c = table.fresh(2), table.fresh(2), table.fresh(2)
    table.union(a, b)
    table.union(b, c)
    assert table.find(a).tolist() == table.find(b).tolist() == table.find(c).tolist()
    assert table.find(a)[0] != table.find(a)[1]


def test_union_of_one_unit_with_several_at_once() -> None:
    table = UnitTable()
    a, b = table.fresh(1), table.fresh(3)
    table.union(np.repeat(a, 3), b)
    assert len(set(table.find(np.concatenate([a, b])).tolist())) == 1


def test_a_chain_of_unions_in_one_call() -> None:
    table = UnitTable()
    units = table.fresh(50)
    table.union(units[:-1], units[1:])
    assert set(table.find(units).tolist()) == {1}


def test_zero_is_no_unit() -> None:
    table = UnitTable()
    table.fresh(2)
    assert table.find(column(0, 0)).tolist() == [0, 0]
    assert [part.tolist() for part in table.resolve(column(0, 1))] == [[0, 1]]


def test_a_refined_unit_goes_when_either_part_goes() -> None:
    table = UnitTable()
    whole, head, place = table.fresh(4), table.fresh(2), table.fresh(2)
    table.refine(whole, np.repeat(head, 2), np.tile(place, 2))
    assert [leaves(table, unit) for unit in (1, 2, 3, 4)] == [{5, 7}, {5, 8}, {6, 7}, {6, 8}]


def test_refinement_holds_for_what_was_united_before() -> None:
    table = UnitTable()
    a, b, left, right = table.fresh(1), table.fresh(1), table.fresh(1), table.fresh(1)
    table.union(a, b)
    table.refine(b, left, right)
    assert leaves(table, int(a[0])) == leaves(table, int(b[0])) == {int(left[0]), int(right[0])}


def test_parts_can_be_refined_and_united_again() -> None:
    table = UnitTable()
    a, b, c, d, e = (table.fresh(1) for _ in range(5))
    table.refine(a, b, c)
    table.refine(c, d, e)
    table.union(b, d)
    assert leaves(table, 1) == {2, 5}


def test_a_remark_holds_for_what_the_unit_becomes() -> None:
    table = UnitTable()
    a, b, left, right = table.fresh(1), table.fresh(1), table.fresh(1), table.fresh(1)
    table.remark(a, "frozen", "here", "because")
    table.union(a, b)
    table.refine(a, left, right)
    assert frozen(table) == {3, 4}


def test_a_remark_about_no_unit_is_none() -> None:
    table = UnitTable()
    table.remark(column(0, 0), "frozen", "here", "because")
    assert table.remarks == []


@given(st.lists(st.tuples(st.integers(1, 20), st.integers(1, 20)), max_size=30), st.integers(1, 5))
def test_union_is_the_equivalence_that_its_pairs_generate(pairs: list[tuple[int, int]], per_call: int) -> None:
    table = UnitTable()
    table.fresh(20)
    parts = {unit: {unit} for unit in range(1, 21)}
    for start in range(0, len(pairs), per_call):
        batch = pairs[start : start + per_call]
        table.union(column(*(a for a, _ in batch)), column(*(b for _, b in batch)))
        for a, b in batch:
            merged = parts[a] | parts[b]
            parts.update(dict.fromkeys(merged, merged))
    found = table.find(np.arange(1, 21))
    for a in range(1, 21):
        for b in range(1, 21):
            assert (found[a - 1] == found[b - 1]) == (b in parts[a])
