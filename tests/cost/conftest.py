"""A target that was measured by a known law, and fitted."""

from __future__ import annotations

import pytest

from graphopt.cost.fitting import fit_target
from graphopt.cost.target import Target

from .kernels_by_law import measured_target


@pytest.fixture(scope="session")
def measured() -> Target:
    return measured_target()


@pytest.fixture(scope="session")
def fitted(measured: Target) -> Target:
    return fit_target(measured)
