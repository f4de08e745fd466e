"""How the Once-for-All spaces round channel counts."""

from __future__ import annotations

import math


def make_divisible(size: float, divisor: int) -> int:
    """The multiple of `divisor` nearest to `size`, halves up, at least `divisor`, and one step more where that is under 90 % of `size`."""
    rounded = max(divisor, int(size + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * size else rounded


def middle(width: int, ratio: float, divisor: int) -> int:
    """Channels in the middle of a block: of an inverted bottleneck from its input width, of a bottleneck from its active output width."""
    return make_divisible(round(width * ratio), divisor)


def squeezed(mid: int, reduction: int, divisor: int) -> int:
    """Channels in the middle of a squeeze-and-excitation branch, from the active width of the block's middle."""
    return make_divisible(math.floor(mid / reduction), divisor)
