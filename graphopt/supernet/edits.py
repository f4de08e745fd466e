"""The edits that a configuration comes to; a front end per kind of supernet lists them, the rewriter does them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from graphopt.ir import Node, Value

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Slice:
    """Keep `indices` of an axis of a constant input, in their order."""

    node: Node
    slot: int
    axis: int
    indices: Indices


@dataclass(frozen=True)
class Kernel:
    """Make the kernel of a depthwise convolution `sizes` → `wanted`, through the matrices if there are any."""

    node: Node
    sizes: tuple[int, ...]
    wanted: int
    matrices: tuple[npt.NDArray[Any], ...] = ()


@dataclass(frozen=True)
class Group:
    """Set a convolution's `group`."""

    node: Node
    count: int


@dataclass(frozen=True)
class Pads:
    """Take `less` off the padding on each side, for a kernel that became smaller around its centre; states the new `kernel_shape`."""

    node: Node
    kernel: int
    less: int


@dataclass(frozen=True)
class Scalar:
    """Fill a constant input of one element with a number."""

    node: Node
    slot: int
    number: float


@dataclass(frozen=True)
class Shape:
    """Set elements of a constant list of sizes."""

    node: Node
    slot: int
    sizes: Mapping[int, int]


@dataclass(frozen=True)
class Drop:
    """Leave a block out: whoever reads `output` reads `input` instead."""

    input: Value
    output: Value


Edit = Slice | Kernel | Group | Pads | Scalar | Shape | Drop


@dataclass(frozen=True)
class Change:
    """Edits that only make sense together, and where they are."""

    where: str
    edits: tuple[Edit, ...]
