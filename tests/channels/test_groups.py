from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from graphopt.channels.groups import _places

rows = st.integers(1, 6).flatmap(lambda wide: st.lists(st.lists(st.integers(0, 9), min_size=wide, max_size=wide), min_size=1, max_size=6))


@given(rows)
def test_each_unit_of_a_label_stands_at_its_index(label: list[list[int]]) -> None:
    """Units of one index lie side by side in a row; 0 is no unit."""
    units, indices = _places(np.array(label, dtype=np.int64))
    expected = [(unit, index) for index, row in enumerate(label) for unit in row if unit]
    assert list(zip(units.tolist(), indices.tolist(), strict=True)) == expected
