"""Numbers as people read them."""

from __future__ import annotations

import math

_SI = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def amount(number: float) -> str:
    """Such as "7.28 M"; below ten thousand in full."""
    if number < 10_000:
        return f"{number:,.0f}"
    size, letter = next((size, letter) for size, letter in _SI if number >= size)
    return f"{_three_digits(number / size)} {letter}"


def data_size(number: float) -> str:
    """Bytes, such as "949 kB"."""
    return f"{number:,.0f} B" if number < 1000 else f"{amount(number) if number >= 10_000 else _three_digits(number / 1000) + ' k'}B"


def milliseconds(number: float) -> str:
    return f"{_three_digits(number)} ms"


def times(factor: float) -> str:
    """Such as "1.53x"."""
    return f"{factor:.3g}x" if factor >= 100 else f"{factor:.2f}x"


def score(number: float) -> str:
    return f"{number:.4g}"


def change(before: float, after: float) -> str:
    """The change relative to `before`, such as "-46.1 %"; empty where there is none."""
    if before == after or not before:
        return ""
    relative = (after - before) / before * 100
    return f"{relative:+.1f} %" if abs(relative) >= 0.05 else f"{relative:+.2g} %"


def _three_digits(number: float) -> str:
    places = 2 - math.floor(math.log10(number)) if number > 0 else 0
    return f"{number:.{max(0, places)}f}"
