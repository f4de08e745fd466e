"""Array types."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

AnyArray = npt.NDArray[Any]
