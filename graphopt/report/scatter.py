"""A scatter plot with a front, as SVG."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 640, 420, 70, 20, 40, 50
_TICKS = 5
_LETTER, _BETWEEN = 6, 26  # pixels: of a letter, about, and for a mark and what is left free
_TRIED, _FRONT, _START, _CHOSEN = (3, "#bbbbbb"), (4, "#1f77b4"), (6, "#555555"), (6, "#d62728")  # radius and color of a mark


@dataclass(frozen=True)
class Spot:
    """A point; `title` is what a browser shows where the pointer rests on it."""

    x: float
    y: float
    title: str = ""


def scatter(
    title: str, x: str, y: str, spots: Sequence[Spot], front: Sequence[Spot], chosen: Spot | None = None, start: Spot | None = None
) -> str:
    """An SVG document: `spots` grey, those of the `front` joined by a line, the `chosen` one and the `start` marked, with a legend of those that are
    there. `x` and `y` name the axes.
    """
    everything = [*spots, *front, *(spot for spot in (chosen, start) if spot is not None)]
    horizontal, vertical = _Axis.around([spot.x for spot in everything]), _Axis.around([spot.y for spot in everything])

    def at(spot: Spot) -> tuple[float, float]:
        return (
            _LEFT + horizontal.share(spot.x) * (_WIDTH - _LEFT - _RIGHT),
            _HEIGHT - _BOTTOM - vertical.share(spot.y) * (_HEIGHT - _TOP - _BOTTOM),
        )

    def circle(spot: Spot, radius: float, color: str) -> str:
        across, down = at(spot)
        return f'<circle cx="{across:.1f}" cy="{down:.1f}" r="{radius}" fill="{color}"><title>{escape(spot.title)}</title></circle>'

    parts = [f'<text class="t" x="{_LEFT}" y="22">{escape(title)}</text>']
    parts.append(f'<path d="M{_LEFT} {_TOP}V{_HEIGHT - _BOTTOM}H{_WIDTH - _RIGHT}" fill="none" stroke="black"/>')
    for tick in horizontal.ticks:
        across, _ = at(Spot(tick, vertical.low))
        parts.append(f'<text x="{across:.1f}" y="{_HEIGHT - _BOTTOM + 16}" text-anchor="middle">{tick:.4g}</text>')
    for tick in vertical.ticks:
        _, down = at(Spot(horizontal.low, tick))
        parts.append(f'<text x="{_LEFT - 6}" y="{down + 4:.1f}" text-anchor="end">{tick:.4g}</text>')
    parts.append(f'<text x="{(_LEFT + _WIDTH - _RIGHT) / 2}" y="{_HEIGHT - 12}" text-anchor="middle">{escape(x)}</text>')
    parts.append(f'<text x="12" y="{_TOP - 8}">{escape(y)}</text>')
    parts += [circle(spot, *_TRIED) for spot in spots]
    line = " ".join(f"{across:.1f},{down:.1f}" for across, down in map(at, front))
    parts.append(f'<polyline points="{line}" fill="none" stroke="{_FRONT[1]}" stroke-width="1.5"/>')
    parts += [circle(spot, *_FRONT) for spot in front]
    parts += [circle(spot, *mark) for spot, mark in ((start, _START), (chosen, _CHOSEN)) if spot is not None]
    entries = {"tried": (spots, _TRIED), "the front": (front, _FRONT), "the original": (start, _START), "chosen": (chosen, _CHOSEN)}
    parts.append(_legend({text: mark for text, (shown, mark) in entries.items() if shown}))
    size = f'width="{_WIDTH}" height="{_HEIGHT}"'
    style = "text{font:12px sans-serif}.t{font-weight:bold}"
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}><style>{style}</style><rect {size} fill="white"/>{"".join(parts)}</svg>\n'


def _legend(entries: Mapping[str, tuple[int, str]]) -> str:
    """A line above the picture that ends near its right edge: a mark and what it stands for, each."""
    parts, across = [], _WIDTH - _RIGHT - sum(_LETTER * len(text) + _BETWEEN for text in entries)
    for text, (radius, color) in entries.items():
        parts.append(f'<g class="legend"><circle cx="{across}" cy="18" r="{radius}" fill="{color}"/></g>')
        parts.append(f'<text x="{across + 10}" y="22">{text}</text>')
        across += _LETTER * len(text) + _BETWEEN
    return "".join(parts)


@dataclass(frozen=True)
class _Axis:
    """From `low` to `high`, with round numbers between."""

    low: float
    high: float

    @classmethod
    def around(cls, numbers: Sequence[float]) -> _Axis:
        low, high = min(numbers, default=0.0), max(numbers, default=1.0)
        room = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
        return cls(low - room, high + room)

    def share(self, number: float) -> float:
        return (number - self.low) / (self.high - self.low)

    @property
    def ticks(self) -> list[float]:
        rough = (self.high - self.low) / _TICKS
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
        first = math.ceil(self.low / step)
        return [number * step for number in range(first, math.floor(self.high / step) + 1)]
