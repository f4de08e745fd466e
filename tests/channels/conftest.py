from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.channels.limits import time_limit


@pytest.fixture(autouse=True)
def _must_end(request: pytest.FixtureRequest) -> Iterator[None]:
    """Every test here ends within a minute, but for those marked slow."""
    if request.node.get_closest_marker("slow"):
        yield
    else:
        with time_limit(60):
            yield
