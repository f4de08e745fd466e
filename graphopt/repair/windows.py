"""The windows that a convolution of any number of axes sees: which, and what is in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from graphopt.ir import Node

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Windows:
    """How a Conv node moves its kernel; one number per spatial axis each, `pads` all begins and then all ends (None: as auto_pad says)."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[int, ...] | None
    lower: bool = False  # of SAME padding, the odd one goes to the beginning

    def padding(self, sizes: tuple[int, ...]) -> list[tuple[int, int]]:
        """Zeros before and after each axis of an input of these spatial sizes."""
        axes = len(self.kernel)
        if self.pads is not None:
            return [(self.pads[axis], self.pads[axis + axes]) for axis in range(axes)]
        found = []
        for axis, size in enumerate(sizes):
            count = -(-size // self.strides[axis])
            total = max((count - 1) * self.strides[axis] + self._reach(axis) - size, 0)
            less, more = total // 2, total - total // 2
            found.append((more, less) if self.lower else (less, more))
        return found

    def moves(self, axis: int) -> bool:
        """Whether outputs along an axis are anything but the places themselves."""
        kernel, stride, _, begin, end = _along(self, axis)
        return kernel > 1 or stride > 1 or begin > 0 or end > 0

    def _reach(self, axis: int) -> int:
        return self.dilations[axis] * (self.kernel[axis] - 1) + 1

    def counts(self, sizes: tuple[int, ...]) -> tuple[int, ...]:
        """How many windows there are along each axis."""
        padded = (size + sum(pad) for size, pad in zip(sizes, self.padding(sizes), strict=True))
        return tuple((size - self._reach(axis)) // self.strides[axis] + 1 for axis, size in enumerate(padded))

    def cut(self, x: Array, pick: npt.NDArray[np.int64]) -> Array:
        """The windows of x [n, channels, *sizes] with the numbers `pick`, counted over samples and then places: [windows, channels, *kernel]."""
        axes = len(self.kernel)
        sizes = x.shape[2:]
        padded = np.pad(x, [(0, 0), (0, 0), *self.padding(sizes)])
        reach = tuple(self._reach(axis) for axis in range(axes))
        view = np.lib.stride_tricks.sliding_window_view(padded, reach, axis=tuple(range(2, 2 + axes)))
        view = view[
            (slice(None), slice(None), *(slice(None, None, s) for s in self.strides), *(slice(None, None, d) for d in self.dilations))
        ]
        sample, *place = np.unravel_index(pick, (len(x), *self.counts(sizes)))
        index: tuple[Any, ...] = (sample, slice(None), *place)
        return np.asarray(view[index])


def windows_of(node: Node, kernel: tuple[int, ...]) -> Windows:
    """The windows of a Conv node whose weight has these spatial sizes."""
    attributes, axes = node.attributes, len(kernel)
    auto = attributes.get("auto_pad", "NOTSET")
    pads = tuple(attributes.get("pads", [0] * 2 * axes)) if auto == "NOTSET" else (0,) * 2 * axes if auto == "VALID" else None
    strides, dilations = (tuple(attributes.get(name, [1] * axes)) for name in ("strides", "dilations"))
    return Windows(kernel, strides, dilations, pads, auto == "SAME_LOWER")


def windows_in_turn(each: Sequence[Windows]) -> Windows | None:
    """What convolutions in turn see together; None where two of them move along one axis, or pad in different ways."""
    axes = len(each[0].kernel)
    moving = [[windows for windows in each if windows.moves(axis)] for axis in range(axes)]
    ways = {(windows.pads is None, windows.lower) for found in moving for windows in found}
    if any(len(found) > 1 for found in moving) or len(ways) > 1:
        return None
    automatic, lower = next(iter(ways), (False, False))
    # A convolution that does not move along an axis says there what standing still is.
    kernel, strides, dilations, begins, ends = zip(
        *(_along(found[0] if found else each[0], axis) for axis, found in enumerate(moving)), strict=True
    )
    return Windows(kernel, strides, dilations, None if automatic else (*begins, *ends), lower)


def _along(windows: Windows, axis: int) -> tuple[int, int, int, int, int]:
    """Kernel, stride, dilation, and zeros before and after."""
    begin, end = (0, 0) if windows.pads is None else (windows.pads[axis], windows.pads[axis + len(windows.kernel)])
    return windows.kernel[axis], windows.strides[axis], windows.dilations[axis], begin, end
