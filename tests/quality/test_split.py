from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from graphopt.quality import Data, split


def numbered(samples: int, rows: int = 1, free: bool = True) -> Data:
    """Sample n holds the number n, in both inputs and as its label."""
    feeds = {"x": np.arange(samples)[:, None].repeat(2, axis=1), "table": np.zeros((3, 3))}
    return Data(feeds, np.arange(samples), {"x": 64 if free else rows}, free)


@given(samples=st.integers(3, 200), seed=st.integers(0, 5), rows=st.integers(1, 4), free=st.booleans())
def test_every_sample_is_in_one_part_with_its_label(samples: int, seed: int, rows: int, free: bool) -> None:
    step = 1 if free else rows
    data = numbered(samples * step, rows, free)
    parts = split(data, (0.4, 0.3, 0.3), seed)
    assert parts is not None
    assert sorted(n for part in parts for n in part.feeds["x"][:, 0]) == list(range(samples * step))
    for part, share in zip(parts, (0.4, 0.3, 0.3), strict=True):
        assert part.labels is not None
        assert (part.feeds["x"][:, 0] == part.labels).all()
        assert part.samples % step == 0
        assert abs(part.samples / step - share * samples) <= 1
        assert part.samples
        assert (part.feeds["table"] == 0).all()
        assert all(len(set(part.labels[start : start + step] // step)) == 1 for start in range(0, part.samples, step))  # whole runs


def test_the_seed_decides() -> None:
    one, again, other = (split(numbered(50), seed=seed) for seed in (1, 1, 2))
    assert one is not None
    assert again is not None
    assert other is not None
    assert all((a.feeds["x"] == b.feeds["x"]).all() for a, b in zip(one, again, strict=True))
    assert any((a.feeds["x"] != b.feeds["x"]).any() for a, b in zip(one, other, strict=True))


def test_too_few_samples() -> None:
    assert split(numbered(2)) is None
    assert split(numbered(8, rows=4, free=False)) is None
    assert split(Data({"x": np.zeros(3)})) is None
    assert split(numbered(2), (0.5, 0.5)) is not None
